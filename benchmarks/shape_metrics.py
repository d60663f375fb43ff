# SPDX-License-Identifier: GPL-3.0-or-later
"""How near a mesh is to the true one, in shape and in pictures; used by the benchmark `mesh`.

Lengths are in per cent of the longest side L of the true mesh's bounding box. Distances are exact, from points drawn
evenly by area on one surface to the triangles of the other.

The splat sets were made from the part of a surface that can be seen from outside; the true mesh may hold more, an inner
wall say. Headline figures therefore ask how much of the *visible* surface was found (recall); those named `_whole` ask
for all of the true surface. How much of the result is right (precision) is always measured against the whole one: a
face on a true inner wall is not wrong. It shows in `area_ratio` instead, the area over that of the whole true mesh.

Pictures are compared with those of the textured object where there is one, for the splats took their colours from its
texture. The sets' own meshes have colours at vertices only, too coarse for a label's letters: `psnr_vertex` compares
with those.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from plyfile import PlyData
from surface_distance import FaceGrid, face_grid, nearest

from engine.fields.cameras import Cameras, orbit
from engine.render.mesh_cpu import interpolate, rasterize, render_mesh
from engine.surface.mesh import Mesh
from engine.surface.report import mesh_report
from engine.training.metrics import psnr, ssim

Array = np.ndarray

SAMPLES = 200_000
"""Points drawn on each surface."""

Scores = dict[str, float | int | bool | None]

THRESHOLDS = (0.5, 1.0)
"""Of the F-scores, in per cent of L."""

PICTURE_SCORES = ("psnr", "ssim", "psnr_vertex")

VIEWS, SIZE, SUPERSAMPLE = 24, 512, 2
"""Pictures compared: directions spread evenly over the sphere, pixels along a side, samples along a pixel's side."""

TURN_DEG = 270.0
"""By which the directions of the pictures are turned about y: textures are painted from views of their own, and none of
those, neither ours nor DreamGaussian's, is within 5 degrees of a picture's."""

BACKGROUND = 1.0
"""Pictures are compared over white, as in the papers on the subject, unlit."""

FOV_Y_DEG, DISTANCE = 30.0, 4.0
"""Cameras stand so far from the object's middle, in half diagonals of its box: it just fits the picture."""

EYES, EYE_SIZE, LOWEST_COSINE, LEAST_EYES = 128, 512, 0.25, 4
"""What can be seen from outside: so steeply, in at least 4 depth pictures of this size from 128 directions. What fewer
see lies in narrow cracks, where the sets hold no Gaussians."""


@dataclass(frozen=True)
class Samples:
    """Points on a surface, drawn evenly by area."""

    points: Array  # [P, 3]
    normals: Array  # [P, 3] of the faces, unit length


class Truth:
    """A mesh with a colour per vertex, with all that is measured on it but once."""

    def __init__(
        self,
        name: str,
        vertices: Array,
        faces: Array,
        colors: Array,
        splats: Path | None = None,
        painted: Mesh | None = None,
    ) -> None:
        """vertices [V, 3] welded, faces [F, 3], colors [V, 3] in [0, 1]; `splats` is the file made from it, `painted`
        the same surface with a texture."""
        self.name, self.splats, self.colors = name, splats, np.ascontiguousarray(colors, np.float32)
        self.painted = painted
        self.mesh = Mesh(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))

    @cached_property
    def side(self) -> float:
        """L, the longest side of the bounding box."""
        low, high = self.mesh.bounds()
        return float((high - low).max())

    @cached_property
    def grid(self) -> FaceGrid:
        return face_grid(self.mesh.vertices, self.mesh.faces)

    @cached_property
    def samples(self) -> Samples:
        return surface_samples(self.mesh, SAMPLES, seed=1)

    @cached_property
    def visible(self) -> Array:
        """Which samples [P] can be seen from outside."""
        return seen_from_outside(self.mesh, self.samples)

    @cached_property
    def area(self) -> float:
        return mesh_report(self.mesh).area

    @cached_property
    def closed(self) -> bool:
        return mesh_report(self.mesh).watertight

    @cached_property
    def cameras(self) -> Cameras:
        """The 24 of the pictures; they look at the box's middle, which the origin is for them."""
        return around(self.mesh, VIEWS, SIZE, TURN_DEG)

    @cached_property
    def pictures(self) -> Array:
        """Unlit pictures [C, H, W, 3] of the textured surface, or else of the one with vertex colours."""
        if self.painted is None:
            return self.vertex_pictures
        return np.stack(list(textured_pictures(self.painted, self)))

    @cached_property
    def vertex_pictures(self) -> Array:
        """Unlit pictures [C, H, W, 3] with the vertices' colours interpolated on each face, over the background."""
        return np.stack(list(colored_pictures(self.mesh, self.colors, self.cameras)))


def truth_sets(folder: str | Path, objects: str | Path | None = None) -> list[Truth]:
    """The sets listed in `index.csv` of `folder`: a splat file each, and the mesh with vertex colours it shows.

    Their textures come from the pack of development objects in the folder `objects` (by default ../../objects), where
    that holds an object of the same name and surface.
    """
    folder = Path(folder).resolve()
    objects = folder.parents[1] / "objects" if objects is None else Path(objects)
    truths = [_read_truth(row["name"], folder / row["mesh"], folder / row["splats"]) for row in _rows(folder)]
    rows = _rows(objects, "dev_index.csv") if (objects / "dev_index.csv").is_file() else []
    for truth in truths:
        painted = next((_read_object(objects, row) for row in rows if row["name"] == truth.name), None)
        if painted is not None and nearest(truth.grid, painted.vertices)[0].max() < 1e-3 * truth.side:
            truth.painted = painted
    return truths


def _rows(folder: Path, name: str = "index.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read_object(folder: Path, row: dict[str, str]) -> Mesh:
    """One object of a pack, with its texture."""
    with np.load(folder / row["shard"]) as pack:
        bounds = {key: pack[f"{key}_offsets"] for key in ("vertex", "face", "texture")}
        part = {key: slice(*offsets[int(row["row"]) :][:2]) for key, offsets in bounds.items()}
        vertices = pack["vertices"][part["vertex"]].astype(np.float32)
        uvs = (pack["uvs"][part["vertex"]] / 65535.0).astype(np.float32)
        faces = pack["faces"][part["face"]].astype(np.int32)
        image = Image.open(io.BytesIO(pack["texture_bytes"][part["texture"]].tobytes()))
        return Mesh(vertices, faces, uvs=uvs, texture=np.asarray(image.convert("RGB")))


def _read_truth(name: str, path: Path, splats: Path) -> Truth:
    ply = PlyData.read(str(path))
    vertex = ply["vertex"]
    vertices = np.stack([vertex[axis] for axis in "xyz"], -1)
    colors = np.stack([vertex[name] for name in ("red", "green", "blue")], -1) / np.float32(255)
    return Truth(name, vertices, np.vstack(ply["face"]["vertex_indices"]), colors, splats)


def score(mesh: Mesh | None, truth: Truth) -> Scores:
    """All measures of `mesh`, which must lie in the truth's frame; those of pictures are None without a texture.

    Without a mesh nothing is found: F-scores are 0, distances None and the pictures empty.

    chamfer          mean distance to the true surface plus mean distance of the visible true surface to it, % of L
    f_0.5, f_1       F-score: harmonic mean of precision and (visible) recall within 0.5 and 1 % of L, in [0, 1]
    offset           mean distance to the true surface, outwards (in the direction of the result's own normals), % of L
    normal_deg       mean angle between normals at nearest points, both ways, sign of normals ignored, degrees
    area_ratio       area over that of the whole true mesh; `area_visible` over that of its visible part
    psnr, ssim       dB, mean over 24 pictures of 512 x 512, against the textured truth (else that of vertex colours)
    """
    if mesh is None:
        return _nothing(truth)
    samples = surface_samples(mesh, SAMPLES, seed=2)
    unit = 100 / truth.side
    to_truth, true_faces = nearest(truth.grid, samples.points)
    to_mesh, faces = nearest(face_grid(mesh.vertices, mesh.faces), truth.samples.points)
    to_truth, to_mesh, seen = to_truth * unit, to_mesh * unit, truth.visible
    angles = _angles(samples.normals, face_normals(truth.mesh)[true_faces])
    angles_back = _angles(truth.samples.normals[seen], face_normals(mesh)[faces[seen]])
    report = mesh_report(mesh)
    scores: Scores = {
        "chamfer": float(to_truth.mean() + to_mesh[seen].mean()),
        "chamfer_whole": float(to_truth.mean() + to_mesh.mean()),
    }
    for threshold in THRESHOLDS:
        precision = float((to_truth <= threshold).mean())
        recall, recall_whole = float((to_mesh[seen] <= threshold).mean()), float((to_mesh <= threshold).mean())
        scores |= {
            f"f_{threshold:g}": f_score(precision, recall),
            f"f_{threshold:g}_whole": f_score(precision, recall_whole),
            f"precision_{threshold:g}": precision,
            f"recall_{threshold:g}": recall,
            f"recall_{threshold:g}_whole": recall_whole,
        }
    scores |= {
        "offset": _offset(samples, truth, to_truth, true_faces),
        "normal_deg": float((angles.mean() + angles_back.mean()) / 2),
        "watertight": report.watertight,
        "manifold": report.manifold,
        "components": report.components,
        "genus": report.genus,
        "faces": report.triangles,
        "area_ratio": report.area / truth.area,
        "area_visible": report.area / (truth.area * float(seen.mean())),
        **dict.fromkeys(PICTURE_SCORES),
    }
    if mesh.texture is not None:
        scores |= picture_scores(mesh, truth)
    return scores


def _nothing(truth: Truth) -> Scores:
    """The scores of no mesh at all."""
    zeros = [f"{kind}_{t:g}{of}" for t in THRESHOLDS for kind, of in (("f", ""), ("f", "_whole"), ("precision", ""),
             ("recall", ""), ("recall", "_whole"))]  # fmt: skip
    empty = np.full_like(truth.pictures[0], BACKGROUND)
    pairs = zip(truth.pictures, truth.vertex_pictures, strict=True)
    found = [(psnr(empty, a), _structure(empty, a), psnr(empty, b)) for a, b in pairs]
    return {
        **dict.fromkeys((*zeros, "components", "faces", "area_ratio", "area_visible"), 0),
        **dict.fromkeys(("chamfer", "chamfer_whole", "offset", "normal_deg", "genus")),
        **dict.fromkeys(("watertight", "manifold"), False),
        **dict(zip(PICTURE_SCORES, np.mean(found, axis=0).tolist(), strict=True)),
    }


def picture_scores(mesh: Mesh, truth: Truth) -> dict[str, float]:
    """PSNR in dB and SSIM of unlit pictures of a textured mesh against the truth's, mean over the views."""
    found = []
    for c, picture in enumerate(textured_pictures(mesh, truth)):
        wanted = truth.pictures[c]
        found.append((psnr(picture, wanted), _structure(picture, wanted), psnr(picture, truth.vertex_pictures[c])))
    return dict(zip(PICTURE_SCORES, np.mean(found, axis=0).tolist(), strict=True))


def _structure(picture: Array, wanted: Array) -> float:
    """SSIM. Outside the box around both objects the pictures are equal, and it is 1 there."""
    objects = ((picture < BACKGROUND) | (wanted < BACKGROUND)).any(-1)
    if not objects.any():
        return 1.0
    rows, columns = np.flatnonzero(objects.any(1)), np.flatnonzero(objects.any(0))
    box = np.s_[max(rows[0] - 6, 0) : rows[-1] + 7, max(columns[0] - 6, 0) : columns[-1] + 7]
    share = picture[box].size / picture.size
    return 1 - share * (1 - ssim(picture[box], wanted[box]))


def f_score(precision: float, recall: float) -> float:
    """Their harmonic mean, 0 where both are 0."""
    return 2 * precision * recall / max(precision + recall, 1e-12)


def surface_samples(mesh: Mesh, count: int, seed: int) -> Samples:
    """`count` points drawn evenly by area, always the same for one seed."""
    random = np.random.default_rng(seed)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(crossed, axis=1)
    ends = np.cumsum(areas)
    # one point in each of `count` equal shares of the area: evener than independent draws, without bias
    chosen = np.searchsorted(ends, (np.arange(count) + random.random(count)) * (ends[-1] / count), side="right")
    chosen = np.minimum(chosen, len(areas) - 1)
    r, s = np.sqrt(random.random((count, 1))), random.random((count, 1))
    a, b, c = np.moveaxis(corners[chosen], 1, 0)
    normals = crossed[chosen] / np.maximum(areas[chosen], 1e-30)[:, None]
    return Samples((1 - r) * a + r * (1 - s) * b + r * s * c, normals)


def face_normals(mesh: Mesh) -> Array:
    """Unit normals [F, 3] float64; 0 where a face has no area."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    crossed = np.cross(b - a, c - a)
    return crossed / np.maximum(np.linalg.norm(crossed, axis=1, keepdims=True), 1e-30)


def directions(count: int) -> tuple[Array, Array]:
    """Azimuths and elevations [count] in degrees, spread evenly over the sphere (a Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    return np.degrees(np.pi * (1 + 5**0.5) * i) % 360, np.degrees(np.arcsin(1 - 2 * i / count))


def around(mesh: Mesh, views: int, size: int, turn_deg: float = 0.0) -> Cameras:
    """Cameras all around, turned about y, that look at the middle of the mesh's box and see all of it."""
    low, high = mesh.bounds()
    radius = DISTANCE * float(np.linalg.norm(high - low)) / 2
    azimuths, elevations = directions(views)
    cameras = orbit(azimuths + turn_deg, elevations, radius, FOV_Y_DEG, size, size)
    viewmats = cameras.viewmats.copy()
    viewmats[:, :3, 3] -= viewmats[:, :3, :3] @ ((low + high) / 2)
    return Cameras(viewmats, cameras.Ks, size, size)


def colored_pictures(mesh: Mesh, colors: Array, cameras: Cameras) -> Iterator[Array]:
    """Unlit pictures [H, W, 3] of a mesh with colours [V, 3], over the background, one per camera."""
    wide, high = cameras.width * SUPERSAMPLE, cameras.height * SUPERSAMPLE
    scale = np.array([[SUPERSAMPLE], [SUPERSAMPLE], [1]])
    for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True):
        seen = rasterize(mesh.vertices, mesh.faces, viewmat, K * scale, wide, high)
        samples = interpolate(seen, mesh.faces, colors)
        samples[seen.face_ids < 0] = BACKGROUND
        yield samples.reshape(cameras.height, SUPERSAMPLE, cameras.width, SUPERSAMPLE, 3).mean((1, 3))


def textured_pictures(mesh: Mesh, truth: Truth) -> Iterator[Array]:
    """Unlit pictures [H, W, 3] of a textured mesh from the truth's cameras."""
    for c in range(len(truth.cameras)):
        camera = Cameras(truth.cameras.viewmats[c : c + 1], truth.cameras.Ks[c : c + 1], SIZE, SIZE)
        rgba = render_mesh(mesh, camera, supersample=SUPERSAMPLE)[0][0]
        yield rgba[..., :3] * rgba[..., 3:] + BACKGROUND * (1 - rgba[..., 3:])


def seen_from_outside(mesh: Mesh, samples: Samples) -> Array:
    """Which samples [P] nothing hides in at least `LEAST_EYES` of `EYES` depth pictures taken all around the mesh.

    A sample may lie behind the depth at its pixel's centre by what the slope of its own face makes of half a
    pixel's diagonal, and by a twentieth of a pixel's width.
    """
    cameras = around(mesh, EYES, EYE_SIZE)
    counts = np.zeros(len(samples.points), int)
    for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True):
        depths = rasterize(mesh.vertices, mesh.faces, viewmat, K, EYE_SIZE, EYE_SIZE).depths
        left = np.nonzero(counts < LEAST_EYES)[0]
        points = samples.points[left] @ viewmat[:3, :3].T.astype(np.float64) + viewmat[:3, 3]
        rays = points / np.linalg.norm(points, axis=1, keepdims=True)
        cosines = np.abs(np.einsum("pi,pi->p", rays, samples.normals[left] @ viewmat[:3, :3].T))
        columns = (K[0, 0] * points[:, 0] / points[:, 2] + K[0, 2]).astype(int).clip(0, EYE_SIZE - 1)
        rows = (K[1, 1] * points[:, 1] / points[:, 2] + K[1, 2]).astype(int).clip(0, EYE_SIZE - 1)
        pixel = points[:, 2] / K[0, 0]
        slope = np.sqrt(1 - np.minimum(cosines, 1) ** 2) / np.maximum(cosines, 1e-6)
        depth = depths[rows, columns]
        behind = points[:, 2] - np.where(depth > 0, depth, np.inf)  # a pixel's centre may miss the surface
        free = (cosines >= LOWEST_COSINE) & (behind <= pixel * (0.71 * slope + 0.05))
        counts[left[free]] += 1
    return counts >= LEAST_EYES


def _angles(a: Array, b: Array) -> Array:
    """Degrees between unit vectors [P, 3], of either sign: true meshes are two-sided, their winding not sure."""
    return np.degrees(np.arccos(np.clip(np.abs(np.einsum("pi,pi->p", a, b)), 0, 1)))


def _offset(samples: Samples, truth: Truth, distances: Array, faces: Array) -> float:
    """Mean distance outwards: its sign from the plane of the nearest true face, turned as the sample's own normal."""
    normals = face_normals(truth.mesh)[faces]
    normals *= np.sign(np.einsum("pi,pi->p", normals, samples.normals))[:, None]
    heights = np.einsum("pi,pi->p", samples.points - truth.mesh.vertices[truth.mesh.faces[faces, 0]], normals)
    return float((np.sign(heights) * distances).mean())

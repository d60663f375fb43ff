# SPDX-License-Identifier: GPL-3.0-or-later
"""Assets of any make as one surface with its colours: all parts where the scene puts them, materials kept apart.

Read are base colours: factors, textures, colours of vertices and faces. Factors (also Kd of OBJ files) are linear
light, as Blender takes them; colours of vertices are linear in glTF, as its specification says, and sRGB in other
formats. Skinned meshes stand in their bind pose; only a glTF's first set of texture coordinates counts.
"""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from engine.errors import InputError
from engine.render.mesh_cpu import sample_texture

Array = np.ndarray

READ = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
"""Formats read here, best first: of one asset in several formats beside each other the first is taken."""

THROUGH_BLENDER = (".fbx", ".blend", ".dae", ".usdc", ".usd", ".usdz", ".abc")
"""Formats that Blender reads."""

GLTF = (".glb", ".gltf")

COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
"""Extensions of glTF that only some readers have."""

OPAQUE, MASK, BLEND = range(3)

GREY = (0.8, 0.8, 0.8, 1.0)
"""Colour (sRGB) of what has none."""


@dataclass(frozen=True)
class Coloring:
    """Base colour of one material: the product of a texture, a factor and the colours of vertices."""

    factor: Array  # [4] linear RGBA
    image: Array | None = None  # [H, W, 4] uint8 sRGB and alpha
    alpha: int = OPAQUE
    cutoff: float = 0.5


@dataclass(frozen=True)
class Source:
    """An asset's surface. y up once `upright` has turned it; any size and place."""

    vertices: Array  # [V, 3] float64
    faces: Array  # [F, 3] int64
    uvs: Array  # [F, 3, 2] float32 of corners, origin top left
    corner_colors: Array  # [F, 3, 4] float32, linear RGBA
    materials: tuple[Coloring, ...]
    material_of: Array  # [F] int64

    def colors(self, faces: Array, barycentrics: Array) -> Array:
        """Colours and alpha [P, 4] float32 (sRGB) at places on the surface: faces [P], barycentrics [P, 3]."""
        uvs = np.einsum("pk,pkc->pc", barycentrics, self.uvs[faces])
        tints = np.einsum("pk,pkc->pc", barycentrics, self.corner_colors[faces])
        result = np.empty((len(faces), 4), np.float32)
        kinds = self.material_of[faces]
        for kind in np.unique(kinds):
            chosen = kinds == kind
            material, tint = self.materials[kind], tints[chosen] * self.materials[kind].factor
            if material.image is None:
                rgba = np.concatenate([to_srgb(tint[:, :3]), tint[:, 3:]], axis=1)
            else:
                rgba = _looked_up(material.image, uvs[chosen])
                rgba[:, 3] *= tint[:, 3]
                if np.abs(tint[:, :3] - 1).max() > 1e-3:
                    rgba[:, :3] = to_srgb(to_linear(rgba[:, :3]) * tint[:, :3])
            result[chosen] = rgba
        return result

    def upright(self, up: str) -> "Source":
        """With the axis `up` ("y", "z", "-z", ...) of the file turned to +y."""
        return replace(self, vertices=self.vertices @ rotation_to_y(up).T)

    def without_holes(self) -> "Source":
        """Without the faces that nothing is seen of: cut out by their texture's alpha, or nearly clear.

        Raises `InputError` where that is more than half of the area.
        """
        sampled = np.array([m.alpha != OPAQUE for m in self.materials])[self.material_of]
        if not sampled.any():
            return self
        chosen = np.flatnonzero(sampled)
        places = np.array([[1, 1, 1], [4, 1, 1], [1, 4, 1], [1, 1, 4]]) / np.array([[3], [6], [6], [6]])
        alpha = np.mean([self.colors(chosen, np.tile(place, (len(chosen), 1)))[:, 3] for place in places], axis=0)
        gone = np.zeros(len(self.faces), bool)
        gone[chosen] = alpha < np.array([min(m.cutoff, 0.5) for m in self.materials])[self.material_of[chosen]]
        areas = face_areas(self.vertices, self.faces)
        if areas[gone].sum() > 0.5 * areas.sum():
            raise InputError("More than half of its surface is see-through.")
        kept = ~gone
        return replace(
            self, faces=self.faces[kept], uvs=self.uvs[kept], corner_colors=self.corner_colors[kept],
            material_of=self.material_of[kept],
        )  # fmt: skip


def read_asset(path: Path) -> Source:
    """The triangles of a file with their colours, as its scene places them. Raises `InputError` with the reason."""
    import trimesh

    if not path.is_file():
        raise InputError(f"Found no file {path}.", "Check the path.")
    document = _gltf(path)
    for name in document.get("extensionsRequired", []):
        if name in COMPRESSED:
            raise InputError(f"Its meshes are compressed ({name}), which only some versions of Blender read.")
    transforms = _texture_transforms(document)
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # what it complains of is told as a reason, or not lost
    try:
        scene = trimesh.load_scene(path, process=False)  # joining places would mix vertex colours
        nodes = [(scene.graph[name], scene.geometry) for name in scene.graph.nodes_geometry]
        pieces = [
            _piece(geometry[key], np.asarray(matrix, np.float64), path.suffix.lower() in GLTF, transforms)
            for (matrix, key), geometry in nodes
            if isinstance(geometry[key], trimesh.Trimesh) and len(geometry[key].faces)
        ]
    except Exception as error:  # readers of a dozen formats raise what they like on broken files
        if path.suffix.lower() != ".ply":
            raise InputError(f"It cannot be read: {_short(error)}.") from error
        pieces = [_polygons(path)]  # trimesh does not read faces of different numbers of corners
    if not pieces:
        raise InputError("It holds no faces.")
    return _joined(pieces)


def rotation_to_y(up: str) -> Array:
    """The rotation [3, 3] that turns the axis `up` ("x", "y", "z", "-x", "-y" or "-z") to +y."""
    matrices = {
        "y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "-y": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
        "z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
        "-z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
        "x": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        "-x": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]],
    }
    return np.array(matrices[up], np.float64)


def face_areas(vertices: Array, faces: Array) -> Array:
    """Areas [F] of triangles."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def to_linear(colors: ArrayLike) -> Array:
    """sRGB to linear light (IEC 61966-2-1)."""
    colors = np.asarray(colors)
    return np.where(colors <= 0.04045, colors / 12.92, ((np.maximum(colors, 0) + 0.055) / 1.055) ** 2.4)


def to_srgb(colors: Array) -> Array:
    """Linear light to sRGB, cut to [0, 1]."""
    colors = np.clip(colors, 0, 1)
    return np.where(colors <= 0.0031308, colors * 12.92, 1.055 * colors ** (1 / 2.4) - 0.055)


def _piece(mesh: Any, matrix: Array, linear: bool, transforms: dict[str, Array]) -> Source:
    """One geometry of a scene in the scene's frame."""
    vertices = np.asarray(mesh.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    faces = np.asarray(mesh.faces, np.int64)
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces = faces[:, ::-1]
    visual, count = mesh.visual, len(faces)
    colors, uvs, coloring = np.ones((count, 3, 4)), np.zeros((count, 3, 2)), None
    stored, per_face = None, None
    if visual.kind == "texture":
        coloring = _coloring(visual.material, linear)
        if visual.uv is not None and len(visual.uv) == len(mesh.vertices):
            flipped = np.asarray(visual.uv, np.float64) * [1, -1] + [0, 1]
            uvs = np.nan_to_num(flipped)[faces]
            transform = transforms.get(str(getattr(visual.material, "name", "")))
            if transform is not None:
                uvs = uvs @ transform[:, :2].T + transform[:, 2]
        elif coloring.image is not None:  # a texture without coordinates cannot be laid on
            coloring = replace(coloring, image=None)
        stored = visual.vertex_attributes.get("color")
    elif visual.kind == "vertex":
        stored = visual.vertex_colors
    elif visual.kind == "face":
        per_face = np.asarray(visual.face_colors)[:, None].repeat(3, 1)
    if stored is not None and len(stored) == len(mesh.vertices):
        per_face = np.asarray(stored)[faces]
    if per_face is not None:
        scale = 255 if per_face.dtype == np.uint8 else 65535 if per_face.dtype == np.uint16 else 1
        colors[..., : per_face.shape[-1]] = per_face / scale
        if not linear:
            colors[..., :3] = to_linear(colors[..., :3])
    if coloring is None:
        coloring = Coloring(np.ones(4) if per_face is not None or linear else _factor(GREY, False))
    return Source(
        vertices, faces, uvs.astype(np.float32), colors.astype(np.float32), (coloring,), np.zeros(count, np.int64)
    )


def _polygons(path: Path) -> Source:
    """A PLY file with any polygons, each cut into a fan. Raises `InputError`."""
    from plyfile import PlyData, PlyParseError

    try:
        ply = PlyData.read(path)
        vertex, corners = ply["vertex"], ply["face"].data[ply["face"].properties[0].name]
        vertices = np.stack([np.asarray(vertex[name], np.float64) for name in "xyz"], 1)
        names = [prop.name for prop in vertex.properties]
        colors = [np.asarray(vertex[name]) for name in ("red", "green", "blue") if name in names]
    except (OSError, KeyError, ValueError, IndexError, PlyParseError) as error:
        raise InputError(f"It cannot be read: {_short(error)}.") from error
    fans = [(polygon[0], polygon[k], polygon[k + 1]) for polygon in corners for k in range(1, len(polygon) - 1)]
    if not fans:
        raise InputError("It holds no faces.")
    faces, count = np.array(fans, np.int64), len(fans)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError("It has faces of vertices that are not there.")
    tints, coloring = np.ones((count, 3, 4)), Coloring(_factor(GREY, False))
    if len(colors) == 3:
        scale = 255 if colors[0].dtype == np.uint8 else 1
        tints[..., :3], coloring = to_linear(np.stack(colors, 1) / scale)[faces], Coloring(np.ones(4))
    uvs, zeros = np.zeros((count, 3, 2), np.float32), np.zeros(count, np.int64)
    return Source(vertices, faces, uvs, tints.astype(np.float32), (coloring,), zeros)


def _gltf(path: Path) -> dict[str, Any]:
    """The JSON document of a glTF file; empty for other files and for what is none (the reader says what is wrong)."""
    if path.suffix.lower() not in GLTF:
        return {}
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".glb":
                text = file.read(int.from_bytes(file.read(20)[12:16], "little"))
            else:
                text = file.read()
        document = json.loads(text)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _texture_transforms(document: dict[str, Any]) -> dict[str, Array]:
    """Name of a material -> matrix [2, 3] of its texture coordinates, as KHR_texture_transform says.

    The rotation is counter-clockwise in the picture (v down), as in the extension's examples.
    """
    found = {}
    for material in document.get("materials", []):
        texture = material.get("pbrMetallicRoughness", {}).get("baseColorTexture", {})
        transform = texture.get("extensions", {}).get("KHR_texture_transform")
        if transform and "name" in material:
            c, s = np.cos(transform.get("rotation", 0.0)), np.sin(transform.get("rotation", 0.0))
            scaled = np.array([[c, s], [-s, c]]) * np.array(transform.get("scale", (1.0, 1.0)))
            found[material["name"]] = np.column_stack([scaled, transform.get("offset", (0.0, 0.0))])
    return found


def _coloring(material: Any, linear: bool) -> Coloring:
    """Base colour of a material of trimesh: physically based (glTF), or simple (OBJ and others)."""
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    alpha = {"MASK": MASK, "BLEND": BLEND}.get(str(getattr(material, "alphaMode", None)), OPAQUE)
    cutoff = getattr(material, "alphaCutoff", None)
    if hasattr(material, "baseColorFactor"):
        factor = material.baseColorFactor
        factor = np.ones(4) if factor is None else _factor(factor, linear)
    else:  # with a texture, exporters leave any diffuse colour beside it
        diffuse = getattr(material, "diffuse", None)
        factor = _factor(GREY, False) if diffuse is None else _factor(diffuse, True)
        factor[:3] = 1 if image is not None else factor[:3]
        factor[3] *= _number((getattr(material, "kwargs", None) or {}).get("d"), 1.0)
        alpha = BLEND if factor[3] < 1 else OPAQUE
    pixels = None if image is None else _pixels(image)
    return Coloring(factor, pixels, alpha, _number(cutoff, 0.5))


def _number(value: Any, otherwise: float) -> float:
    """A value of a material as a number; readers give None, a word, or a list of one."""
    try:
        number = float(np.ravel(value)[0])
    except (TypeError, ValueError, IndexError):
        return otherwise
    return number if np.isfinite(number) else otherwise


def _factor(color: Any, linear: bool) -> Array:
    """Linear RGBA [4] of a colour of 3 or 4 numbers, bytes or in [0, 1]."""
    color = np.asarray(color)
    values = np.ones(4)
    values[: min(len(color), 4)] = color[:4] / (255 if np.issubdtype(color.dtype, np.integer) else 1)
    return values if linear else np.concatenate([to_linear(values[:3]), values[3:]])


def _pixels(image: Image.Image) -> Array:
    """A picture as RGBA bytes [H, W, 4]; 16-bit grey keeps its range."""
    if image.mode.startswith("I"):
        return _pixels(Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype(np.uint8)))
    return np.ascontiguousarray(image.convert("RGBA"))


def _looked_up(image: Array, uvs: Array) -> Array:
    """RGBA [P, 4] of a repeated picture, between its pixels."""
    uvs = np.where((uvs >= 0) & (uvs <= 1), uvs, uvs - np.floor(uvs)).astype(np.float32)
    rgb = sample_texture(np.ascontiguousarray(image[..., :3]), uvs)
    if image[..., 3].min() == 255:
        return np.concatenate([rgb, np.ones((len(rgb), 1), np.float32)], axis=1)
    alpha = sample_texture(np.ascontiguousarray(image[..., 3:].repeat(3, 2)), uvs)[:, :1]
    return np.concatenate([rgb, alpha], axis=1)


def _joined(pieces: list[Source]) -> Source:
    """Many pieces as one; faces without area and vertices that are no numbers are told apart here."""
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    vertices = np.concatenate([piece.vertices for piece in pieces])
    if not np.isfinite(vertices).all():
        raise InputError("It has vertices that are no numbers.")
    if not np.ptp(vertices, axis=0).max() > 0:
        raise InputError("All its vertices lie in one point.")
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)])
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError("It has faces of vertices that are not there.")
    joined = Source(
        vertices, faces, np.concatenate([piece.uvs for piece in pieces]),
        np.concatenate([piece.corner_colors for piece in pieces]), tuple(piece.materials[0] for piece in pieces),
        np.repeat(np.arange(len(pieces)), [len(piece.faces) for piece in pieces]),
    )  # fmt: skip
    kept = face_areas(vertices, faces) > 1e-12 * float(np.ptp(vertices, axis=0).max()) ** 2
    if not kept.any():
        raise InputError("None of its faces has an area.")
    return replace(
        joined, faces=faces[kept], uvs=joined.uvs[kept], corner_colors=joined.corner_colors[kept],
        material_of=joined.material_of[kept],
    )  # fmt: skip


def _short(error: Exception) -> str:
    """The first line of what a reader said."""
    lines = str(error).strip().splitlines()
    return (lines[0][:160].rstrip(".") if lines else "") or type(error).__name__

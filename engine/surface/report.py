# SPDX-License-Identifier: GPL-3.0-or-later
"""A mesh in figures: what its surface is like, and how well its texture coordinates spread it out."""

from dataclasses import asdict, dataclass

import numpy as np

from engine.jit import kernel
from engine.surface.cleanup import is_watertight, parts, weld
from engine.surface.halfedges import is_manifold
from engine.surface.mesh import Mesh

Array = np.ndarray

COUNTED_AT = 512
"""Coverage and overlap are counted at the centres of so many texels along each side."""


@dataclass(frozen=True)
class MeshReport:
    """A mesh in figures, vertices at the same place counted once. What cannot be told is None."""

    faces: int  # four-sided ones where `quads`
    triangles: int
    vertices: int
    quads: bool
    watertight: bool  # every edge has exactly two faces, which run along it in opposite directions
    manifold: bool  # no edge has more than two faces, and the faces around each vertex form one fan
    components: int  # pieces not joined by an edge
    genus: int | None  # handles of all components together; of closed manifolds
    area: float  # object units squared
    volume: float  # enclosed, object units cubed; of no meaning unless watertight
    charts: int | None = None  # pieces of the surface in the texture
    uv_coverage: float | None = None  # part of the texture that charts cover
    uv_overlap: float | None = None  # part of the covered texels that more than one face covers
    uv_mirrored: float | None = None  # part of the charts' area that is mirrored; of charts with an area
    uv_stretch: float | None = None  # L2 stretch, 1 at best (Sander et al. 2001); of surface and charts with an area
    texels_per_unit: float | None = None  # along a line on the surface, root mean square, per object unit; alike
    texels_per_metre: float | None = None

    def as_dict(self) -> dict:
        """Plain numbers for JSON, lengths and areas rounded to six digits."""
        return {
            name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in asdict(self).items()
        }


def mesh_report(mesh: Mesh, texture_size: int | None = None, size_m: float | None = None) -> MeshReport:
    """The figures of `mesh`, by itself welded first.

    `texture_size` in pixels (by default that of its texture) gives texel density, with `size_m`, the longest side in
    metres, also per metre.
    """
    welded = weld(mesh)
    used = len(np.unique(welded.faces))
    labels = parts(welded)[welded.faces[:, 0]] if len(welded.faces) else np.zeros(0, int)
    components = len(np.unique(labels))
    watertight, manifold = is_watertight(welded), is_manifold(welded)
    crossed = _crossed(welded.vertices[welded.faces])
    volumes = np.einsum("fi,fi->f", welded.vertices[welded.faces[:, 0]].astype(np.float64), crossed) / 6
    area = float(np.linalg.norm(crossed, axis=1).sum() / 2)
    euler = used - len(welded.faces) // 2  # a closed triangle mesh has 3/2 edges per face
    shape = MeshReport(
        faces=len(welded.faces) // 2 if mesh.quads else len(welded.faces),
        triangles=len(welded.faces),
        vertices=used,
        quads=mesh.quads,
        watertight=watertight,
        manifold=manifold,
        components=components,
        genus=(2 * components - euler) // 2 if watertight and manifold else None,
        area=area,
        volume=float(volumes.sum()),
    )
    if mesh.uvs is None or not len(mesh.faces):
        return shape
    if texture_size is None and mesh.texture is not None:
        texture_size = len(mesh.texture)
    return MeshReport(**{**asdict(shape), **_uv_figures(mesh, texture_size, size_m)})


def _uv_figures(mesh: Mesh, texture_size: int | None, size_m: float | None) -> dict:
    """The fields of `MeshReport` about uvs."""
    assert mesh.uvs is not None
    counts = np.zeros((COUNTED_AT, COUNTED_AT), np.int32)
    corners = np.ascontiguousarray(mesh.uvs[mesh.faces], np.float64)
    _count(corners * COUNTED_AT, counts)
    covered = counts > 0
    b, c = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    turns = 0.5 * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])  # negative where not mirrored: v runs down
    flat_area = float(np.abs(turns).sum())
    area = float(np.linalg.norm(_crossed(mesh.vertices[mesh.faces]), axis=1).sum() / 2)
    figures = {
        "charts": len(np.unique(parts(mesh)[mesh.faces[:, 0]])),
        "uv_coverage": float(covered.mean()),
        "uv_overlap": float((counts > 1).sum() / max(covered.sum(), 1)),
        "uv_mirrored": float(turns[turns > 0].sum() / flat_area) if flat_area else None,
    }
    if not area or not flat_area:
        return figures
    figures["uv_stretch"] = _stretch(mesh.vertices[mesh.faces].astype(np.float64), corners)
    if texture_size:
        density = texture_size * np.sqrt(flat_area / area)
        figures["texels_per_unit"] = float(density)
        if size_m:
            low, high = mesh.bounds()
            figures["texels_per_metre"] = float(density * (high - low).max() / size_m)
    return figures


def _stretch(points: Array, corners: Array) -> float:
    """The L2 stretch of Sander et al. 2001 (section 3) from the texture to the surface, scaled so that 1 is the best.

    For a face q1 q2 q3 with texture coordinates (s_i, t_i) the map's derivatives are
    S_s = (q1 (t2 - t3) + q2 (t3 - t1) + q3 (t1 - t2)) / 2A and S_t alike; L2(T)^2 = (S_s . S_s + S_t . S_t) / 2, and
    L2(M)^2 is its mean over the surface's area, times the ratio of areas. Faces of no area on the surface count
    nothing, and those of none in the texture as if they had a thousandth of the usual share. Both areas are above 0.
    """
    s, t = corners[:, :, 0], corners[:, :, 1]
    twice = (s[:, 1] - s[:, 0]) * (t[:, 2] - t[:, 0]) - (s[:, 2] - s[:, 0]) * (t[:, 1] - t[:, 0])
    areas = np.linalg.norm(_crossed(points), axis=1) / 2
    share = np.abs(twice).sum() / 2 / areas.sum()
    twice = np.maximum(np.abs(twice), 2e-3 * share * areas)
    along_s = sum(points[:, i] * (t[:, (i + 1) % 3] - t[:, (i + 2) % 3])[:, None] for i in range(3))
    along_t = sum(points[:, i] * (s[:, (i + 2) % 3] - s[:, (i + 1) % 3])[:, None] for i in range(3))
    solid = areas > 0
    squares = (np.einsum("fi,fi->f", along_s, along_s) + np.einsum("fi,fi->f", along_t, along_t))[solid]
    squares /= 2 * twice[solid] ** 2
    return float(np.sqrt((squares * areas[solid]).sum() / areas.sum() * share))


def _crossed(corners: Array) -> Array:
    """Normals of faces with `corners` [F, 3, 3], twice as long as their area, float64 [F, 3]."""
    a, b, c = np.moveaxis(corners.astype(np.float64), 1, 0)
    return np.cross(b - a, c - a)


@kernel
def _count(corners, counts):
    """Adds one to each texel whose centre lies within a face of `corners` [F, 3, 2] (in texels), edges left out."""
    height, width = counts.shape
    for f in range(len(corners)):
        xa, ya = corners[f, 0, 0], corners[f, 0, 1]
        xb, yb = corners[f, 1, 0], corners[f, 1, 1]
        xc, yc = corners[f, 2, 0], corners[f, 2, 1]
        area = (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)
        if area == 0:
            continue
        for row in range(max(0, int(np.ceil(min(ya, yb, yc) - 0.5))), min(height, int(max(ya, yb, yc) + 0.5))):
            y = row + 0.5
            for column in range(max(0, int(np.ceil(min(xa, xb, xc) - 0.5))), min(width, int(max(xa, xb, xc) + 0.5))):
                x = column + 0.5
                wa = ((xb - x) * (yc - y) - (yb - y) * (xc - x)) / area
                wb = ((xc - x) * (ya - y) - (yc - y) * (xa - x)) / area
                if wa > 1e-9 and wb > 1e-9 and wa + wb < 1 - 1e-9:
                    counts[row, column] += 1

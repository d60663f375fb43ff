# SPDX-License-Identifier: GPL-3.0-or-later
"""The colours of the Gaussians, texel by texel.

    c(x) = sum_i w_i(x) c_i / sum_i w_i(x),   w_i(x) = o_i exp(-q_i(x) / 2)

at the point x of the surface under the centre of each texel; o is the opacity, q the squared Mahalanobis distance. The
surface lies a little beside the Gaussians: their covariances are widened by the square of `SOFTNESS` times the usual
distance from a texel to the nearest of them. (Preferring small Gaussians, by powers of their size, made textures
of captured statues no more like the splats.)
"""

from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from engine.errors import OptionError
from engine.fields.gaussians import Gaussians
from engine.jit import kernel, parallel_kernel, prange
from engine.render.mesh_cpu import interpolate, rasterize
from engine.surface.density import fast_exp
from engine.surface.mesh import Mesh
from engine.texture.pad import pad

Array = np.ndarray

SMALLEST, LARGEST = 64, 8192

SOFTNESS = 0.5
"""Added standard deviation, as a part of the median distance from a texel to the nearest Gaussian."""

REACH = 3.0
"""Standard deviations after which a Gaussian no longer colours."""

CELLS = 64
"""Cells along the longest side in which Gaussians are looked up."""

CHUNK = 16
"""Texels coloured together; loops of 16 are vectorised."""


def bake(mesh: Mesh, gaussians: Gaussians, size: int = 1024) -> Mesh:
    """`mesh` (with uvs) with a texture [size, size, 3] uint8 sRGB, filled beyond the charts.

    Raises `OptionError` for a size out of range.
    """
    if not SMALLEST <= size <= LARGEST:
        raise OptionError(f"Found a texture size of {size}, expected {SMALLEST} to {LARGEST} pixels.", "Try 1024.")
    points, covered = texel_points(mesh, size)
    texture = np.zeros((size, size, 3), np.uint8)
    texture[covered] = np.rint(255 * colors_at(points, gaussians)).astype(np.uint8)
    return replace(mesh, texture=pad(texture, covered))


def texel_points(mesh: Mesh, size: int) -> tuple[Array, Array]:
    """Points [P, 3] on the surface under the texels whose centre a face covers, and the mask [size, size] of these."""
    if mesh.uvs is None:
        raise OptionError("Found a mesh without uvs, expected an unwrapped one.", "Call unwrap first.")
    flat = np.concatenate([mesh.uvs * np.float32(size), np.ones((len(mesh.uvs), 1), np.float32)], axis=1)
    eye = np.eye(4, dtype=np.float32)
    texels = rasterize(flat.astype(np.float32), mesh.faces, eye, eye[:3, :3], size, size)
    covered = texels.face_ids >= 0
    return interpolate(texels, mesh.faces, mesh.vertices)[covered], covered


def colors_at(points: Array, gaussians: Gaussians) -> Array:
    """The colour field at `points` [P, 3]: sRGB [P, 3] in [0, 1], the nearest Gaussian's where none reaches."""
    if not len(points):
        return np.zeros((0, 3), np.float32)
    tree = KDTree(gaussians.means)
    sample = points[:: -(-len(points) // 2000)]
    softness = SOFTNESS * float(np.median(tree.query(sample, workers=-1)[0]))
    covariances = gaussians.covariances().astype(np.float64) + softness**2 * np.eye(3)
    factors = np.linalg.inv(np.linalg.cholesky(covariances)).astype(np.float32)
    sizes = np.sqrt(np.einsum("nii->ni", covariances))
    cells = _Cells(points, gaussians.means, (REACH * sizes).astype(np.float32))
    ordered = np.ascontiguousarray(points[cells.order].T)
    sums = np.zeros((4, len(points)), np.float32)
    lists = cells.point_starts, cells.starts, cells.members
    _blend(ordered, *lists, gaussians.means, factors, gaussians.opacities, gaussians.colors, sums)
    colors = np.empty((len(points), 3), np.float32)
    bare = sums[3] <= 1e-6 * gaussians.opacities.mean()
    colors[cells.order] = (sums[:3] / np.where(bare, 1, sums[3])).T
    if bare.any():
        missing = cells.order[bare]
        colors[missing] = gaussians.colors[tree.query(points[missing], workers=-1)[1]]
    return np.clip(colors, 0, 1)


class _Cells:
    """Points sorted by the cell they lie in, and for each cell with points the Gaussians that reach into it."""

    order: Array  # [P] points in the order of their cells
    point_starts: Array  # [cells + 1] where the points of each cell begin in `order`
    starts: Array  # [cells + 1] where the Gaussians of each cell begin in `members`
    members: Array  # Gaussians, in their own order within each cell

    def __init__(self, points: Array, means: Array, radii: Array) -> None:
        low, high = points.min(0), points.max(0)
        edge = np.float32(max((high - low).max() / CELLS, 1e-9))
        shape = np.maximum(np.ceil((high - low) / edge), 1).astype(np.int64)
        places = np.minimum(((points - low) / edge).astype(np.int64), shape - 1)
        keys = (places[:, 0] * shape[1] + places[:, 1]) * shape[2] + places[:, 2]
        self.order = np.argsort(keys, kind="stable")
        used, firsts = np.unique(keys[self.order], return_index=True)
        self.point_starts = np.append(firsts, len(points))
        numbers = np.full(int(shape.prod()), -1, np.int32)
        numbers[used] = np.arange(len(used))
        first = np.clip(np.floor((means - radii - low) / edge), 0, shape).astype(np.int64)
        last = np.clip(np.floor((means + radii - low) / edge), -1, shape - 1).astype(np.int64)
        self.starts, self.members = _reaching(first, last, numbers.reshape(shape), len(used))


@kernel
def _reaching(first, last, numbers, count):
    """Gaussians per numbered cell, from the boxes of cells `first` to `last` [N, 3] they reach."""
    starts = np.zeros(count + 1, np.int64)
    for fill in range(2):
        if fill:
            for cell in range(count):
                starts[cell + 1] += starts[cell]
            members = np.empty(starts[count], np.int32)
            cursor = starts[:-1].copy()
        else:
            members = np.empty(0, np.int32)
            cursor = starts
        for i in range(len(first)):
            for x in range(first[i, 0], last[i, 0] + 1):
                for y in range(first[i, 1], last[i, 1] + 1):
                    for z in range(first[i, 2], last[i, 2] + 1):
                        cell = numbers[x, y, z]
                        if cell < 0:
                            continue
                        if fill:
                            members[cursor[cell]] = i
                            cursor[cell] += 1
                        else:
                            starts[cell + 1] += 1
    return starts, members


@parallel_kernel
def _blend(points, point_starts, starts, members, means, factors, weights, colors, sums):
    """Sums of w r, w g, w b, w at `points` [3, P] (sorted by cell) into `sums` [4, P]."""
    limit = np.float32(REACH * REACH)
    for cell in prange(len(point_starts) - 1):
        near = np.empty((3, CHUNK), np.float32)
        totals = np.empty((4, CHUNK), np.float32)
        for start in range(point_starts[cell], point_starts[cell + 1], CHUNK):
            count = min(CHUNK, point_starts[cell + 1] - start)
            near[:] = 0
            near[:, :count] = points[:, start : start + count]
            totals[:] = 0
            for member in range(starts[cell], starts[cell + 1]):
                i = members[member]
                mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
                f00, f10, f11 = factors[i, 0, 0], factors[i, 1, 0], factors[i, 1, 1]
                f20, f21, f22 = factors[i, 2, 0], factors[i, 2, 1], factors[i, 2, 2]
                weight, red, green, blue = weights[i], colors[i, 0], colors[i, 1], colors[i, 2]
                for k in range(CHUNK):
                    dx, dy, dz = near[0, k] - mx, near[1, k] - my, near[2, k] - mz
                    u, v, w = f00 * dx, f10 * dx + f11 * dy, f20 * dx + f21 * dy + f22 * dz
                    q = u * u + v * v + w * w
                    part = weight * fast_exp(np.float32(-0.5) * q) if q <= limit else np.float32(0)
                    totals[0, k] += part * red
                    totals[1, k] += part * green
                    totals[2, k] += part * blue
                    totals[3, k] += part
            sums[:, start : start + count] = totals[:, :count]

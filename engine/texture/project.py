# SPDX-License-Identifier: GPL-3.0-or-later
"""What cameras see, laid over the surface: each texel takes the colour of the pixel it projects to, where the camera
sees it.

A camera sees a texel where no other part of the mesh is in front of it (a depth buffer of the mesh itself, with a
tolerance), and sees it well where it faces the camera: the weight is cos^4 of the angle to the normal, and falls to 0
within `FEATHER` of the depth buffer's pixels from a silhouette, from an edge behind which something is hidden, and from
where the picture itself ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine.fields.cameras import look_at
from engine.fields.gaussians import Gaussians, view_colors
from engine.jit import kernel, parallel_kernel, prange
from engine.render.mesh_cpu import NEAR, rasterize
from engine.render.splat_cpu import render
from engine.surface.mesh import Mesh

Array = np.ndarray

FEATHER = 5.0
"""Pixels of the depth buffer over which a camera's weight grows from an edge inwards."""

LEAST_COS = 0.1
"""Cosine of the angle between normal and camera below which a texel is not seen."""

TOLERANCE = 0.004
"""Depth by which a texel may lie behind the depth buffer, as a part of the mesh's diagonal, beside its slope."""

JUMP = 0.02
"""Difference of depth between neighbouring pixels from which there is an edge, as a part of the mesh's diagonal."""

DISTANCE = 2.5
"""Distance of the cameras around the object, as a multiple of the mesh's diagonal."""

SOLID_ALPHA = 0.9
"""Alpha below which a pixel shows the object's border."""


@dataclass(frozen=True)
class View:
    """A picture, the camera that saw it, and what of the mesh that camera sees in a window of the picture.

    The window [h, w] of the depth buffer covers the mesh's projection; its pixels may be larger or smaller than the
    picture's: window = scale * picture + offset.
    """

    colors: Array  # [H, W, 3] float32
    viewmat: Array  # [4, 4]
    K: Array  # [3, 3] pixels of the window
    depths: Array  # [h, w] camera z of the mesh, 0 where there is none
    trust: Array  # [h, w] in [0, 1]: the feather
    scale: float  # picture to window
    offset: tuple[float, float]  # x, y in pixels of the window
    tolerance: float  # object units


def splat_views(mesh: Mesh, gaussians: Gaussians, count: int, size: int) -> Iterator[View]:
    """`count` views of the splats from all around, one after the other, each as large as the mesh needs within `size`
    pixels."""
    low, high = mesh.bounds()
    center, diagonal = (low + high) / 2, float(np.linalg.norm(high - low))
    for direction in directions(count):
        eye = (center + DISTANCE * diagonal * direction).astype(np.float32)
        viewmat = look_at(eye, center)
        K, width, height = window_of(mesh, viewmat, size)
        shown = replace(gaussians, colors=view_colors(gaussians, gaussians.means - eye), sh=None)
        seen = render(shown, viewmat, K, width, height)
        solid = seen.alphas[..., None]
        yield make_view(mesh, seen.colors / np.maximum(solid, 1e-3), seen.alphas, viewmat, K, 1.0, (0.0, 0.0))


def directions(count: int) -> Array:
    """Unit vectors [count, 3] spread evenly over the sphere, from above to below (a Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    height, azimuth = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - height * height)
    return np.stack([ring * np.sin(azimuth), height, ring * np.cos(azimuth)], axis=1)


def window_of(mesh: Mesh, viewmat: Array, size: int, margin: int = 2) -> tuple[Array, int, int]:
    """K [3, 3], width and height of the picture in which the mesh just fits, `size` pixels on its longer side."""
    camera = mesh.vertices @ viewmat[:3, :3].T + viewmat[:3, 3]
    projected = camera[:, :2] / np.maximum(camera[:, 2:], NEAR)
    low, high = projected.min(0), projected.max(0)
    focal = (size - 2 * margin) / max(float((high - low).max()), 1e-9)
    width, height = (min(int(np.ceil(extent)) + 2 * margin, size) for extent in focal * (high - low))
    middle = focal * (low + high) / 2
    K = np.array([[focal, 0, width / 2 - middle[0]], [0, focal, height / 2 - middle[1]], [0, 0, 1]], np.float64)
    return K, width, height


def make_view(
    mesh: Mesh, colors: Array, alphas: Array, viewmat: Array, K: Array, scale: float, offset: tuple[float, float]
) -> View:
    """The view with its depth buffer, of the size of `alphas` [h, w]: the picture's own, in the window."""
    height, width = alphas.shape
    low, high = mesh.bounds()
    diagonal = float(np.linalg.norm(high - low))
    depths = rasterize(mesh.vertices, mesh.faces, viewmat, K, width, height).depths
    edges = np.empty((height, width), np.bool_)
    _find_edges(depths, alphas.astype(np.float32), np.float32(JUMP * diagonal), edges)
    trust = np.empty((height, width), np.float32)
    _feather(edges, trust)
    return View(colors.astype(np.float32), viewmat, K, depths, trust, scale, offset, TOLERANCE * diagonal)


@parallel_kernel
def _find_edges(depths, alphas, jump, edges):
    """Pixels beside a jump of depth or the object's border, in either buffer, and on the window's."""
    height, width = depths.shape
    for index in prange(height):
        row = np.int64(index)
        for column in range(width):
            here = depths[row, column]
            edges[row, column] = True
            if here == 0 or alphas[row, column] < SOLID_ALPHA:
                continue
            if row == 0 or column == 0 or row == height - 1 or column == width - 1:
                continue
            above, below = depths[row - 1, column], depths[row + 1, column]
            left, right = depths[row, column - 1], depths[row, column + 1]
            if min(above, below, left, right) > here - jump and max(above, below, left, right) < here + jump:
                edges[row, column] = min(above, below, left, right) == 0


@parallel_kernel
def _feather(edges, trust):
    """From 0 on edges smoothly to 1 at `FEATHER` pixels from the nearest."""
    height, width = edges.shape
    reach = int(np.ceil(FEATHER))
    for index in prange(height):
        row = np.int64(index)
        nearest = np.full(width, np.float32(FEATHER * FEATHER))
        for r in range(max(0, row - reach), min(height, row + reach + 1)):
            vertical = np.float32((r - row) * (r - row))
            if vertical >= FEATHER * FEATHER:
                continue
            gap = reach
            for column in range(width):
                gap = 0 if edges[r, column] else min(gap + 1, reach)
                nearest[column] = min(nearest[column], vertical + np.float32(gap * gap))
            gap = reach
            for column in range(width - 1, -1, -1):
                gap = 0 if edges[r, column] else min(gap + 1, reach)
                nearest[column] = min(nearest[column], vertical + np.float32(gap * gap))
        for column in range(width):
            part = np.sqrt(nearest[column]) / np.float32(FEATHER)
            trust[row, column] = part * part * (3 - 2 * part)


def lay(view: View, points: Array, normals: Array, sums: Array) -> None:
    """Adds what `view` sees of `points` [P, 3] with `normals` [P, 3] to `sums` [P, 4]: weight times colour, weight."""
    viewmat, K = view.viewmat.astype(np.float32), view.K.astype(np.float32)
    center = np.ascontiguousarray(-viewmat[:3, :3].T @ viewmat[:3, 3])
    scale, offset = np.float32(1 / view.scale), np.array(view.offset, np.float32)
    buffers = view.depths, view.trust, view.colors
    _lay(points, normals, viewmat, K, center, scale, offset, np.float32(view.tolerance), *buffers, sums)


@kernel
def _corner(position, count):
    """Lower of the two samples around a position in pixels (centres at + 0.5), and the share of the upper one."""
    start = min(max(position - np.float32(0.5), np.float32(0)), np.float32(count - 1))
    lower = min(int(start), max(count - 2, 0))
    return lower, start - lower


@parallel_kernel
def _lay(points, normals, viewmat, K, center, scale, offset, tolerance, depths, trust, colors, sums):
    height, width = depths.shape
    rows, columns = colors.shape[0], colors.shape[1]
    for p in prange(len(points)):
        px, py, pz = points[p, 0], points[p, 1], points[p, 2]
        ex, ey, ez = center[0] - px, center[1] - py, center[2] - pz
        away = np.sqrt(ex * ex + ey * ey + ez * ez)
        cos = (normals[p, 0] * ex + normals[p, 1] * ey + normals[p, 2] * ez) / max(away, np.float32(1e-12))
        if cos < LEAST_COS:
            continue
        z = viewmat[2, 0] * px + viewmat[2, 1] * py + viewmat[2, 2] * pz + viewmat[2, 3]
        if z <= NEAR:
            continue
        x = K[0, 0] * (viewmat[0, 0] * px + viewmat[0, 1] * py + viewmat[0, 2] * pz + viewmat[0, 3]) / z + K[0, 2]
        y = K[1, 1] * (viewmat[1, 0] * px + viewmat[1, 1] * py + viewmat[1, 2] * pz + viewmat[1, 3]) / z + K[1, 2]
        if x < 0 or y < 0 or x >= width or y >= height:
            continue
        seen = depths[int(y), int(x)]
        slope = np.sqrt(max(1 - cos * cos, np.float32(0))) / cos
        if seen == 0 or z > seen + tolerance + slope * z / K[0, 0]:
            continue
        column, fx = _corner(x, width)
        row, fy = _corner(y, height)
        weight = (1 - fy) * ((1 - fx) * trust[row, column] + fx * trust[row, column + 1])
        weight += fy * ((1 - fx) * trust[row + 1, column] + fx * trust[row + 1, column + 1])
        weight *= cos * cos * cos * cos
        if weight <= 0:
            continue
        u, v = (x - offset[0]) * scale, (y - offset[1]) * scale
        if u < 0 or v < 0 or u >= columns or v >= rows:
            continue
        column, fx = _corner(u, columns)
        row, fy = _corner(v, rows)
        for channel in range(3):
            upper = (1 - fx) * colors[row, column, channel] + fx * colors[row, column + 1, channel]
            lower = (1 - fx) * colors[row + 1, column, channel] + fx * colors[row + 1, column + 1, channel]
            sums[p, channel] += weight * ((1 - fy) * upper + fy * lower)
        sums[p, 3] += weight

# SPDX-License-Identifier: GPL-3.0-or-later
"""The source photograph, laid over the side it shows at its own sharpness.

Where the photograph is trusted less (towards its silhouette, on surfaces it sees at a slant) the colours below come
through, and near these borders it is moved towards them by their smoothed difference: no seam in brightness shows, and
what it does not show is neither blurred nor tinted by it.
"""

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from engine.fields.cameras import Photograph
from engine.render.mesh_cpu import NEAR
from engine.surface.mesh import Mesh
from engine.texture.project import View, lay, make_view, window_of
from engine.texture.symmetry import Mirror
from engine.texture.texels import Texels

Array = np.ndarray

WINDOW = 1024
"""Longer side of the photograph's depth buffer in pixels."""

BASE_WEIGHT = 0.02
"""Weight of the colours below beside the photograph's cos^4: half where it sees the surface at 68 degrees."""

CELLS = 48
"""Cells along the window's longer side in which differences of colour are gathered."""

SPREAD = 1.5
"""Standard deviation in cells of the smoothing of these differences: what is finer stays the photograph's."""

OUTLIER = 0.08
"""Difference of colour from which a point's say in the correction falls: a drawn outline is no change of light."""

MIRROR_TOLERANCE = 3.0
"""How much deeper than usual a mirrored texel may lie: no object is exactly symmetric."""


def sharpened(photograph: Photograph, colors: Array) -> Photograph:
    """The same view with the `colors` [H', W', 3 or more] of the same picture at more pixels, cut to where `photograph`
    shows something; its alpha is enlarged."""
    height, width = photograph.rgba.shape[:2]
    scale = np.array([colors.shape[1] / width, colors.shape[0] / height])
    shown = photograph.rgba[..., 3] > 0
    if not shown.any():
        return photograph
    spans = np.array([np.flatnonzero(shown.any(axis))[[0, -1]] for axis in (0, 1)])  # x, y
    (x0, x1), (y0, y1) = np.stack([np.floor(spans[:, 0] * scale), np.ceil((spans[:, 1] + 1) * scale)], 1).astype(int)
    v, u = (np.arange(y0, y1) + 0.5) / scale[1] - 0.5, (np.arange(x0, x1) + 0.5) / scale[0] - 0.5
    alphas = _bilinear(photograph.rgba[..., 3:], v, u)
    K = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]]) @ np.diag([*scale, 1]) @ photograph.K
    return Photograph(np.concatenate([colors[y0:y1, x0:x1, :3], alphas], -1, dtype=np.float32), photograph.viewmat, K)


def photograph_view(mesh: Mesh, photograph: Photograph, texel: float) -> View | None:
    """What `photograph` sees of the mesh; None where it shows nothing of it, or the camera stands inside.

    Where its pixels are smaller than half a texel (of side `texel` in object units) it is reduced first, so that
    detail does not turn into noise.
    """
    depths = mesh.vertices @ photograph.viewmat[2, :3] + photograph.viewmat[2, 3]
    if depths.min() <= NEAR:
        return None
    window, width, height = window_of(mesh, photograph.viewmat, WINDOW)
    step = max(1, int(texel * photograph.K[0, 0] / depths.mean()))
    rgba, K = shrunk(photograph.rgba, step), np.diag([1 / step, 1 / step, 1.0]) @ photograph.K
    scale = window[0, 0] / K[0, 0]
    offset = window[:2, 2] - scale * K[:2, 2]
    # The part that the window shows, and the offset from there.
    first = np.clip(np.floor(-offset / scale).astype(int) - 1, 0, None)
    last = np.ceil((np.array([width, height]) - offset) / scale).astype(int) + 1
    rgba = rgba[first[1] : last[1], first[0] : last[0]]
    offset = offset + scale * first
    if rgba.shape[0] < 2 or rgba.shape[1] < 2:
        return None
    rows = np.floor((np.arange(height) + 0.5 - offset[1]) / scale).astype(int)
    columns = np.floor((np.arange(width) + 0.5 - offset[0]) / scale).astype(int)
    inside = ((rows >= 0) & (rows < rgba.shape[0]))[:, None] & ((columns >= 0) & (columns < rgba.shape[1]))
    alphas = rgba[rows.clip(0, rgba.shape[0] - 1)[:, None], columns.clip(0, rgba.shape[1] - 1), 3] * inside
    place = float(offset[0]), float(offset[1])
    return make_view(mesh, np.ascontiguousarray(rgba[..., :3]), alphas, photograph.viewmat, window, float(scale), place)


def lay_photograph(view: View, texels: Texels, colors: Array, mirror: Mirror | None = None) -> Array:
    """`colors` [P, 3] with the photograph over them; with `mirror`, its mirror image where that shows a texel better
    than the photograph itself."""
    points, normals = texels.points, texels.normals
    itself = np.zeros((len(texels), 4 if mirror is not None else 0), np.float32)
    if mirror is not None:
        lay(view, points, normals, itself)
        points, normals = mirror.points(points), mirror.directions(normals)
        view = replace(view, tolerance=MIRROR_TOLERANCE * view.tolerance)
    sums = np.zeros((len(texels), 4), np.float32)
    lay(view, points, normals, sums)
    seen = np.flatnonzero(sums[:, 3] > 0)
    if not len(seen):
        return colors
    sampled = seen[:: max(1, len(seen) // 400_000)]
    matched = _matched(view, points[sampled], sums[sampled], colors[sampled])
    sums[:] = 0
    lay(matched, points, normals, sums)
    if mirror is not None:
        sums *= np.clip(1 - itself[:, 3:] / np.maximum(sums[:, 3:], 1e-9), 0, 1)
    return (BASE_WEIGHT * colors + sums[:, :3]) / (BASE_WEIGHT + sums[:, 3:])


def shrunk(picture: Array, step: int) -> Array:
    """`picture` [H, W, 4] with straight alpha, averaged over blocks of `step` pixels; rows and columns too many go."""
    height, width = picture.shape[0] // step, picture.shape[1] // step
    if step <= 1 or not height or not width:
        return picture
    total = np.zeros((height, width, 4), np.float32)
    for row in range(step):
        for column in range(step):
            part = picture[row : height * step : step, column : width * step : step]
            total[..., :3] += part[..., :3] * part[..., 3:]
            total[..., 3] += part[..., 3]
    total[..., :3] /= np.maximum(total[..., 3:], 1e-6)
    total[..., 3] /= step * step
    return total


def _matched(view: View, points: Array, sums: Array, below: Array) -> View:
    """`view` with colours that agree on average with those `below` [S, 3] where both count.

    The border's weight (4 a (1 - a))^2, a the photograph's share, less where they differ wildly, gathers the
    differences of the points [S, 3]; smoothed, they fade out inwards, where there is no border to agree with.
    """
    weights = sums[:, 3:]
    share = weights / (weights + BASE_WEIGHT)
    difference = below - sums[:, :3] / weights
    border = (4 * share * (1 - share)) ** 2 / (1 + (difference**2).sum(1, keepdims=True) / OUTLIER**2)
    difference = border * difference
    height, width = view.depths.shape
    cell = max(height, width) / CELLS
    camera = points @ view.viewmat[:3, :3].T + view.viewmat[:3, 3]
    x, y = (camera[:, :2] / camera[:, 2:] * [view.K[0, 0], view.K[1, 1]] + view.K[:2, 2]).T / cell
    shape = int(np.ceil(height / cell)), int(np.ceil(width / cell))
    place = y.astype(int).clip(0, shape[0] - 1) * shape[1] + x.astype(int).clip(0, shape[1] - 1)
    grids = [np.bincount(place, values, shape[0] * shape[1]).reshape(shape)
             for values in (*difference.T, border[:, 0], np.ones(len(points)))]  # fmt: skip
    *differences, borders, counts = (gaussian_filter(grid, SPREAD) for grid in grids)
    correction = np.stack(differences, -1) / (borders + 0.1 * counts + 1e-9)[..., None]
    rows, columns = view.colors.shape[:2]
    v = ((np.arange(rows) + 0.5) * view.scale + view.offset[1]) / cell - 0.5
    u = ((np.arange(columns) + 0.5) * view.scale + view.offset[0]) / cell - 0.5
    return replace(view, colors=view.colors + _bilinear(correction.astype(np.float32), v, u))


def _bilinear(grid: Array, v: Array, u: Array) -> Array:
    """`grid` [h, w, C] at rows `v` [H] and columns `u` [W], in cells from its first one's centre: [H, W, C]."""
    for axis, where in ((0, v), (1, u)):
        where = where.clip(0, grid.shape[axis] - 1)
        lower = np.floor(where).astype(int)
        part = (where - lower).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        upper = np.minimum(lower + 1, grid.shape[axis] - 1)
        grid = grid.take(lower, axis) * (1 - part) + grid.take(upper, axis) * part
    return grid

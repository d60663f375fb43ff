# SPDX-License-Identifier: GPL-3.0-or-later
"""The colours of the Gaussians at any points, without a camera.

    c(x) = sum_i w_i(x) c_i / sum_i w_i(x),   w_i(x) = o_i exp(-q_i(x) / 2)

at a point x of the surface; o is the opacity, q the squared Mahalanobis distance. The surface lies a little beside the
Gaussians: their covariances are widened by the square of `SOFTNESS` times the usual distance from a point to the
nearest of them. (Preferring small Gaussians, by powers of their size, made textures of captured statues no more like
the splats.)
"""

import numpy as np
from scipy.spatial import KDTree

from engine.fields.gaussians import Gaussians
from engine.jit import kernel, parallel_kernel, prange
from engine.surface.density import fast_exp

Array = np.ndarray

SOFTNESS = 0.5
"""Added standard deviation, as a part of the median distance from a point to the nearest Gaussian."""

SOFTEST = 0.05
"""The most it may be, as a part of the diagonal of the points' box: Gaussians far from the surface do not blur it."""

REACH = 3.0
"""Standard deviations after which a Gaussian no longer colours."""

CELLS = 64
"""Cells along the longest side in which Gaussians are looked up; fewer where most reach far."""

CHUNK = 16
"""Points coloured together; loops of 16 are vectorised."""


def colors_at(points: Array, gaussians: Gaussians) -> tuple[Array, Array]:
    """The colour field at `points` [P, 3]: sRGB [P, 3] in [0, 1] float32, the nearest Gaussian's where none reaches;
    and the sums of weights [P], of about 1 in the midst of opaque Gaussians and 0 where none reaches."""
    if not len(points):
        return np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
    tree = KDTree(gaussians.means)
    sample = points[:: -(-len(points) // 2000)]
    low, high = points.min(0), points.max(0)
    usual = SOFTNESS * float(np.median(tree.query(sample, workers=-1)[0]))
    softness = min(usual, max(SOFTEST * float(np.linalg.norm(high - low)), 1e-9))
    factors = np.empty((len(gaussians), 6), np.float32)
    radii = np.empty((len(gaussians), 3), np.float32)
    _whiten(gaussians.quats, gaussians.scales, softness**2, factors, radii)
    edge = np.float32(max((high - low).max() / CELLS, np.median(radii) / 2, 1e-9))
    shape = np.maximum(np.ceil((high - low) / edge), 1).astype(np.int64)
    order, point_starts, numbers = _sorted_by_cell(points, low, edge, shape)
    first = np.clip(np.floor((gaussians.means - radii - low) / edge), 0, shape).astype(np.int64)
    last = np.clip(np.floor((gaussians.means + radii - low) / edge), -1, shape - 1).astype(np.int64)
    starts, members = _reaching(first, last, numbers, len(point_starts) - 1)
    colors, support = np.empty((len(points), 3), np.float32), np.empty(len(points), np.float32)
    lists = order, point_starts, starts, members
    _blend(points, *lists, gaussians.means, factors, gaussians.opacities, gaussians.colors, colors, support)
    bare = support <= 1e-6 * gaussians.opacities.mean()
    if bare.any():
        places, first = np.unique(gaussians.means, axis=0, return_index=True)  # trees are slow where many coincide
        colors[bare] = gaussians.colors[first[KDTree(places).query(points[bare], workers=-1)[1]]]
    return colors, support


@parallel_kernel
def _whiten(quats, scales, added, factors, radii):
    """Per Gaussian the inverse L^-1 of the Cholesky factor of Sigma + added I, row by row into `factors` [N, 6], and
    half the sides of the box around its REACH ellipsoid into `radii` [N, 3]."""
    for i in prange(len(quats)):
        w, x, y, z = quats[i]
        a, b, c = np.float64(scales[i, 0]) ** 2, np.float64(scales[i, 1]) ** 2, np.float64(scales[i, 2]) ** 2
        r00, r01, r02 = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
        r10, r11, r12 = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
        r20, r21, r22 = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
        s00 = r00 * r00 * a + r01 * r01 * b + r02 * r02 * c + added
        s10 = r10 * r00 * a + r11 * r01 * b + r12 * r02 * c
        s11 = r10 * r10 * a + r11 * r11 * b + r12 * r12 * c + added
        s20 = r20 * r00 * a + r21 * r01 * b + r22 * r02 * c
        s21 = r20 * r10 * a + r21 * r11 * b + r22 * r12 * c
        s22 = r20 * r20 * a + r21 * r21 * b + r22 * r22 * c + added
        l00 = np.sqrt(max(s00, 1e-30))
        l10, l20 = s10 / l00, s20 / l00
        l11 = np.sqrt(max(s11 - l10 * l10, 1e-12 * s11 + 1e-30))
        l21 = (s21 - l20 * l10) / l11
        l22 = np.sqrt(max(s22 - l20 * l20 - l21 * l21, 1e-12 * s22 + 1e-30))
        f00, f11, f22 = 1 / l00, 1 / l11, 1 / l22
        f10, f21 = -l10 * f00 * f11, -l21 * f11 * f22
        factors[i, 0], factors[i, 1], factors[i, 2] = f00, f10, f11
        factors[i, 3], factors[i, 4], factors[i, 5] = -(l20 * f00 + l21 * f10) * f22, f21, f22
        radii[i, 0], radii[i, 1], radii[i, 2] = REACH * np.sqrt(s00), REACH * np.sqrt(s11), REACH * np.sqrt(s22)


@kernel
def _sorted_by_cell(points, low, edge, shape):
    """Points sorted by the cell they lie in: their order [P], where each cell with points begins in it, and the
    numbers [x, y, z] of these cells, -1 for the others."""
    keys = np.empty(len(points), np.int32)
    counts = np.zeros((shape[0], shape[1], shape[2]), np.int32)
    flat = counts.ravel()
    for p in range(len(points)):
        x = min(int((points[p, 0] - low[0]) / edge), shape[0] - 1)
        y = min(int((points[p, 1] - low[1]) / edge), shape[1] - 1)
        z = min(int((points[p, 2] - low[2]) / edge), shape[2] - 1)
        keys[p] = (x * shape[1] + y) * shape[2] + z
        flat[keys[p]] += 1
    used = 0
    for key in range(len(flat)):
        used += flat[key] > 0
    starts, cursor = np.zeros(used + 1, np.int64), np.zeros(used, np.int64)
    used = 0
    for key in range(len(flat)):
        count = flat[key]
        flat[key] = -1
        if count > 0:
            cursor[used] = starts[used]
            starts[used + 1] = starts[used] + count
            flat[key] = used
            used += 1
    order = np.empty(len(points), np.int32)
    for p in range(len(points)):
        number = flat[keys[p]]
        order[cursor[number]] = p
        cursor[number] += 1
    return order, starts, counts


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
def _blend(points, order, point_starts, starts, members, means, factors, weights, colors, blended, support):
    """Weighted mean colours of `points` [P, 3] into `blended` [P, 3], and the sums of weights into `support` [P]."""
    limit = np.float32(REACH * REACH)
    for cell in prange(len(point_starts) - 1):
        near = np.empty((3, CHUNK), np.float32)
        totals = np.empty((4, CHUNK), np.float32)
        for start in range(point_starts[cell], point_starts[cell + 1], CHUNK):
            count = min(CHUNK, point_starts[cell + 1] - start)
            near[:] = 0
            for k in range(count):
                for axis in range(3):
                    near[axis, k] = points[order[start + k], axis]
            totals[:] = 0
            for member in range(starts[cell], starts[cell + 1]):
                i = members[member]
                mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
                f00, f10, f11 = factors[i, 0], factors[i, 1], factors[i, 2]
                f20, f21, f22 = factors[i, 3], factors[i, 4], factors[i, 5]
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
            for k in range(count):
                p = order[start + k]
                scale = 1 / max(totals[3, k], np.float32(1e-30))
                for channel in range(3):
                    blended[p, channel] = min(max(totals[channel, k] * scale, np.float32(0)), np.float32(1))
                support[p] = totals[3, k]

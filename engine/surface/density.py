# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums over Gaussians on a grid, by scatter: every Gaussian is added to the voxels it reaches, once.

    d(x) = sum_i o_i exp(-q_i(x) / 2),   q_i(x) = (x - m_i)^T (S_i + (h/2)^2 I)^-1 (x - m_i),   where q_i <= 3.5^2

with opacity o, mean m, covariance S (Kerbl et al. 2023, equations 4 and 6) and voxel h. The added variance keeps
Gaussians thinner than a voxel from falling between samples. Work grows with the voxels reached, not with their
number times that of Gaussians. Slabs of the grid are filled by one thread each and in the order of the Gaussians, so
that nothing is locked and the result does not depend on the number of threads.

Where each Gaussian also has a plane (a normal n through its mean) the same pass sums the heights above it,

    e(x) = sum_i o_i exp(-q_i(x) / 2) n_i . (x - m_i),

and e / d is the height above the planes nearby, weighted by how near they are: an implicit moving-least-squares surface
(Shen, O'Brien and Shewchuk 2004; Kolluri 2005), exact where the planes agree.
"""

import numba
import numpy as np

from engine.jit import kernel, parallel_kernel, prange

Array = np.ndarray

REACH = 3.5
"""Standard deviations after which a Gaussian is taken as 0, unless less is asked for (there it has fallen to 0.2 %)."""

SLAB = 4
"""Planes of x one thread fills at a time: with 256^2 voxels each they stay in the second-level cache."""

CHUNK = 16
"""Voxels of a row evaluated together; loops of 16 are vectorised, shorter ones unrolled."""


def scatter(
    means: Array,  # [N, 3] object units
    covariances: Array,  # [N, 3, 3]
    opacities: Array,  # [N]
    origin: Array,
    voxel: float,
    shape: tuple[int, ...],
    reach: float = REACH,
) -> Array:
    """The density at `origin + voxel * (i, j, k)` on a grid of `shape` [X, Y, Z] (Z at least 16), float32."""
    in_voxels = np.asarray(covariances, np.float64) / voxel**2 + 0.25 * np.eye(3)
    values = np.zeros(shape, np.float32)
    _fill(means, in_voxels, opacities, origin, voxel, reach, values, None, None)
    return values


def scatter_heights(
    means: Array,  # [N, 3] object units
    covariances: Array,  # [N, 3, 3] as they are: nothing is added
    opacities: Array,  # [N]
    planes: Array,  # [N, 4]: normal, unit length, and what is taken off the height, object units
    two_sided: Array,  # [N] bool: the height counts without its sign
    origin: Array,
    voxel: float,
    shape: tuple[int, ...],
    reach: float = REACH,
) -> tuple[Array, Array]:
    """Density and sum of weighted heights (object units) on the grid of `scatter`, float32 each."""
    values, heights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    planes = np.concatenate([planes, two_sided[:, None]], 1).astype(np.float32)
    planes[:, :3] *= np.float32(voxel)  # offsets are in voxels, heights are not
    _fill(
        means, np.asarray(covariances, np.float64) / voxel**2, opacities, origin, voxel, reach, values, planes, heights
    )
    return values, heights


def _fill(means, covariances, opacities, origin, voxel, reach, values, planes, heights) -> None:
    factors = np.linalg.cholesky(covariances).astype(np.float32)
    centers = ((means - origin) / voxel).astype(np.float32)
    starts, members = slabs(centers[:, 0], reach * np.sqrt(covariances[:, 0, 0]), values.shape[0])
    threads = numba.get_num_threads()
    order = np.concatenate([np.arange(thread, len(starts) - 1, threads) for thread in range(threads)])
    _scatter(
        centers,
        factors,
        opacities.astype(np.float32),
        starts,
        members,
        order,
        np.float32(reach),
        values,
        planes,
        heights,
    )


def slabs(centers: Array, radii: Array, planes: int) -> tuple[Array, Array]:
    """Which Gaussians reach which slab: `members[starts[s]:starts[s + 1]]`, in the order of the Gaussians."""
    count = -(-planes // SLAB)
    first = np.clip(np.ceil(centers - radii), 0, planes).astype(np.int64) // SLAB
    last = np.clip(np.floor(centers + radii), -1, planes - 1).astype(np.int64) // SLAB
    return _members(first, last, count)


@kernel
def _members(first, last, count):
    starts = np.zeros(count + 1, np.int64)
    for i in range(len(first)):
        for slab in range(first[i], last[i] + 1):
            starts[slab + 1] += 1
    for slab in range(count):
        starts[slab + 1] += starts[slab]
    members = np.empty(starts[count], np.int64)
    cursor = starts[:-1].copy()
    for i in range(len(first)):
        for slab in range(first[i], last[i] + 1):
            members[cursor[slab]] = i
            cursor[slab] += 1
    return starts, members


@kernel(inline="always")
def fast_exp(x):
    """exp(x) for float32 x <= 0, relative error below 2e-7 down to -87: 2^n times a polynomial, which is vectorised."""
    t = max(x * np.float32(1.4426950408889634), np.float32(-126.0))
    n = np.floor(t)
    f = t - n
    p = np.float32(1.87758e-3)
    p = p * f + np.float32(8.98934e-3)
    p = p * f + np.float32(5.582632e-2)
    p = p * f + np.float32(2.4015362e-1)
    p = p * f + np.float32(6.9315307e-1)
    p = p * f + np.float32(9.9999993e-1)
    bits = (np.int32(n) + np.int32(127)) << np.int32(23)
    return np.int32(bits).view(np.float32) * p


@parallel_kernel
def _scatter(centers, factors, opacities, starts, members, order, reach, values, planes, heights):
    """q = |L^-1 d|^2 with the Cholesky factor L: the first coordinate bounds x, the first two y, all three z.

    Without planes and heights (None) the compiler drops what concerns them.
    """
    depth, rows, columns = values.shape
    limit = reach * reach
    for o in prange(len(order)):
        slab = order[o]
        for member in range(starts[slab], starts[slab + 1]):
            i = members[member]
            l00, l10, l11 = factors[i, 0, 0], factors[i, 1, 0], factors[i, 1, 1]
            l20, l21, l22 = factors[i, 2, 0], factors[i, 2, 1], factors[i, 2, 2]
            cx, cy, cz, opacity = centers[i, 0], centers[i, 1], centers[i, 2], opacities[i]
            step = np.float32(1) / l22
            x0 = max(slab * SLAB, int(np.ceil(cx - reach * l00)))
            x1 = min(min(slab * SLAB + SLAB, depth) - 1, int(np.floor(cx + reach * l00)))
            for x in range(x0, x1 + 1):
                u = (np.float32(x) - cx) / l00
                left = limit - u * u
                if left < 0:
                    continue
                y_center = cy + l10 * u
                y_reach = l11 * np.sqrt(left)
                y0 = max(0, int(np.ceil(y_center - y_reach)))
                y1 = min(rows - 1, int(np.floor(y_center + y_reach)))
                for y in range(y0, y1 + 1):
                    v = (np.float32(y) - y_center) / l11
                    rest = left - v * v
                    if rest < 0:
                        continue
                    z_center = cz + l20 * u + l21 * v
                    z_reach = l22 * np.sqrt(rest)
                    z0 = max(0, int(np.ceil(z_center - z_reach)))
                    z1 = min(columns - 1, int(np.floor(z_center + z_reach)))
                    outer = np.float32(-0.5) * (u * u + v * v)
                    for start in range(z0, z1 + 1, CHUNK):
                        base = min(start, columns - CHUNK)
                        first, last = np.int32(start - base), np.int32(z1 - base)
                        w0 = (np.float32(base) - z_center) * step
                        row = values[x, y, base : base + CHUNK]
                        if heights is None:
                            for k in range(CHUNK):
                                w = w0 + np.float32(k) * step
                                value = opacity * fast_exp(outer - np.float32(0.5) * w * w)
                                row[k] += value if np.int32(k) >= first and np.int32(k) <= last else np.float32(0)
                        else:
                            slope = planes[i, 2]
                            rise = planes[i, 0] * (np.float32(x) - cx) + planes[i, 1] * (np.float32(y) - cy)
                            rise += slope * (np.float32(base) - cz)
                            offset, unsigned = planes[i, 3], planes[i, 4] > 0
                            sums = heights[x, y, base : base + CHUNK]
                            for k in range(CHUNK):
                                w = w0 + np.float32(k) * step
                                value = opacity * fast_exp(outer - np.float32(0.5) * w * w)
                                value = value if np.int32(k) >= first and np.int32(k) <= last else np.float32(0)
                                height = rise + np.float32(k) * slope
                                row[k] += value
                                sums[k] += value * ((abs(height) if unsigned else height) - offset)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Density of a set of Gaussians on a grid, by scatter: every Gaussian is added to the voxels it reaches, once.

    d(x) = sum_i o_i exp(-q_i(x) / 2),   q_i(x) = (x - m_i)^T (S_i + (h/2)^2 I)^-1 (x - m_i),   where q_i <= 3.5^2

with opacity o, mean m, covariance S (Kerbl et al. 2023, equations 4 and 6) and voxel h. The added variance keeps
Gaussians thinner than a voxel from falling between samples. Work grows with the voxels reached, not with their
number times that of Gaussians. Slabs of the grid are filled by one thread each and in the order of the Gaussians, so
that nothing is locked and the result does not depend on the number of threads.
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy.spatial import KDTree

from engine.errors import EmptyFieldError, OptionError
from engine.fields.gaussians import Gaussians
from engine.jit import kernel, parallel_kernel, prange

Array = np.ndarray

REACH = 3.5
"""Standard deviations after which a Gaussian is taken as 0 (there it has fallen to 0.2 %)."""

BORDER = 2
"""Empty voxels on every side, so that no surface is cut by the box."""

SLAB = 4
"""Planes of x one thread fills at a time: with 256^2 voxels each they stay in the second-level cache."""

CHUNK = 16
"""Voxels of a row evaluated together; loops of 16 are vectorised, shorter ones unrolled."""

SMALLEST, LARGEST = 16, 512

FAINT = 0.02
"""Part of the shell's density below which nothing can be surface (levels stay five times above)."""

NEIGHBOURS, OVERLAP = 8, 0.7
"""Gaussians are widened along the surface to this part of the mean distance to so many neighbours."""


@dataclass(frozen=True)
class DensityGrid:
    """Samples of a density at `origin + voxel * (i, j, k)`, zero on the border."""

    values: Array  # [X, Y, Z] float32, >= 0
    origin: Array  # [3] float64, position of the first sample
    voxel: float  # edge in object units
    alphas: list[Array]  # composited opacity [Y, Z], [X, Z], [X, Y] seen along x, y, z
    shell: float  # density that nine tenths of the Gaussians' centres (by opacity) have at least
    thickness: float  # median of the Gaussians' smallest standard deviations, object units
    spacing: float  # median distance of neighbouring Gaussians, object units


def density_grid(gaussians: Gaussians, resolution: int = 256) -> DensityGrid:
    """The density on a grid with `resolution` cells along the longest side of what the Gaussians show.

    Raises `OptionError` for a resolution out of range, `EmptyFieldError` where nothing can form a surface.
    """
    if not SMALLEST <= resolution <= LARGEST:
        raise OptionError(f"Found a resolution of {resolution}, expected {SMALLEST} to {LARGEST} cells.", "Try 256.")
    solid = gaussians.select(_forms_surface(gaussians))
    if not len(solid):
        raise EmptyFieldError("Found no Gaussian opaque enough to form a surface.", "Try another picture or seed.")
    covariances, spacing = widened(solid)
    low, high = _dense_box(solid, covariances)
    voxel = float((high - low).max() / (resolution - 2 * BORDER))
    shape = np.maximum(np.ceil((high - low) / voxel).astype(int) + 1 + 2 * BORDER, CHUNK)
    origin = (low + high) / 2 - voxel * (shape - 1) / 2
    values = scatter(solid, origin, voxel, tuple(shape), covariances)
    for axis in range(3):
        border = np.moveaxis(values, axis, 0)
        border[0] = border[-1] = 0
    seen_along = [silhouette(solid, axis, origin, voxel, values.shape) for axis in range(3)]
    shell = _shell(solid, values, origin, voxel)
    thickness = float(np.median(solid.scales.min(1)))
    return DensityGrid(values, origin, voxel, seen_along, shell, thickness, spacing)


def scatter(
    gaussians: Gaussians, origin: Array, voxel: float, shape: tuple[int, ...], covariances: Array | None = None
) -> Array:
    """The density at `origin + voxel * (i, j, k)` on a grid of `shape` [X, Y, Z] (Z at least 16), float32.

    `covariances` [N, 3, 3] replace the Gaussians' own.
    """
    values = np.zeros(shape, np.float32)
    own = gaussians.covariances().astype(np.float64) if covariances is None else covariances
    in_voxels = own / voxel**2 + 0.25 * np.eye(3)
    factors = np.linalg.cholesky(in_voxels).astype(np.float32)
    centers = ((gaussians.means - origin) / voxel).astype(np.float32)
    starts, members = _slabs(centers[:, 0], REACH * np.sqrt(in_voxels[:, 0, 0]), shape[0])
    threads = numba.get_num_threads()
    order = np.concatenate([np.arange(thread, len(starts) - 1, threads) for thread in range(threads)])
    _scatter(centers, factors, gaussians.opacities, starts, members, order, values)
    return values


def widened(gaussians: Gaussians) -> tuple[Array, float]:
    """Covariances [N, 3, 3] (float64) that join each Gaussian to its neighbours along the surface, and their spacing.

    A shell of Gaussians smaller than their spacing is a sieve. The tangent plane is that of the nearest neighbours.
    Along it the variance is raised to (`OVERLAP` times their mean distance)^2; across it only to the variance of the
    neighbours' own heights, so that a smooth shell gets no thicker and an uneven one closes. Gaussians
    without neighbours (floaters) stay as they are. The spacing is the median of the mean distances.
    """
    covariances = gaussians.covariances().astype(np.float64)
    count = min(NEIGHBOURS, len(gaussians) - 1)
    if count < 3:
        return covariances, 0.0
    distances, neighbours = KDTree(gaussians.means).query(gaussians.means, k=count + 1, workers=-1)
    reach = distances[:, 1:].mean(1)
    spacing = float(np.median(reach))
    offsets = gaussians.means[neighbours].astype(np.float64)
    offsets -= offsets.mean(1, keepdims=True)
    spreads, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets) / (count + 1))
    across = axes[:, :, 0, None] * axes[:, None, :, 0]
    along = np.eye(3) - across
    near = reach < 3 * spacing
    missing = (OVERLAP * reach) ** 2 - np.einsum("nij,nij->n", covariances, along) / 2
    uneven = spreads[:, 0] - np.einsum("nij,nij->n", covariances, across)
    for lacking, directions in ((missing, along), (uneven, across)):
        covariances = covariances + np.where(near, np.maximum(lacking, 0), 0)[:, None, None] * directions
    return covariances, spacing


def _dense_box(gaussians: Gaussians, covariances: Array) -> tuple[Array, Array]:
    """Box [3], [3] outside of which the density is far below any level; found on a coarse grid."""
    low, high = extents(gaussians)
    voxel = float((high - low).max() / 60)
    shape = np.maximum(np.ceil((high - low) / voxel).astype(int) + 1, CHUNK)
    values = scatter(gaussians, low, voxel, tuple(shape), covariances)
    dense = values > FAINT * _shell(gaussians, values, low, voxel)
    tight_low, tight_high = np.empty(3), np.empty(3)
    for axis in range(3):
        filled = np.flatnonzero(dense.any(tuple(other for other in range(3) if other != axis)))
        tight_low[axis] = max(low[axis], low[axis] + voxel * (filled[0] - 1))
        tight_high[axis] = min(high[axis], low[axis] + voxel * (filled[-1] + 1))
    return tight_low, tight_high


def silhouette(gaussians: Gaussians, axis: int, origin: Array, voxel: float, shape: tuple[int, ...]) -> Array:
    """Opacity composited along `axis`, a = 1 - prod_i (1 - o_i exp(-q_i / 2)), on the grid's other two axes; float32.

    q_i is measured with the marginal covariance, as rasterisers of Gaussians do (Zwicker et al. 2001), seen from far
    away.
    """
    kept = [other for other in range(3) if other != axis]
    covariances = gaussians.covariances().astype(np.float64)[:, kept][:, :, kept] / voxel**2 + 0.25 * np.eye(2)
    factors = np.linalg.cholesky(covariances).astype(np.float32)
    centers = ((gaussians.means - origin) / voxel).astype(np.float32)[:, kept]
    rows, columns = (shape[other] for other in kept)
    transmittance = np.ones((rows, columns), np.float32)
    starts, members = _slabs(centers[:, 0], REACH * np.sqrt(covariances[:, 0, 0]), rows)
    _composite(np.ascontiguousarray(centers), factors, gaussians.opacities, starts, members, transmittance)
    return 1 - transmittance


def _shell(gaussians: Gaussians, values: Array, origin: Array, voxel: float) -> float:
    """Density on the shell: what nine tenths of the Gaussians, by opacity, have at least at their centres."""
    cells = np.rint((gaussians.means - origin) / voxel).astype(int)
    held = np.all((cells >= 0) & (cells < values.shape), axis=1)
    densities, weights = values[tuple(cells[held].T)], gaussians.opacities[held].astype(np.float64)
    order = np.argsort(densities)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(densities[order[np.searchsorted(share, 0.1)]])


def extents(gaussians: Gaussians) -> tuple[Array, Array]:
    """Box [3], [3] (float64) that holds the Gaussians up to `REACH`, without lone floaters far away.

    On each side up to 0.1 % of the opacity may lie outside, and only what a gap of a tenth of the box's
    side separates from the rest: thin real parts stay, a floater far off does not waste the grid.
    """
    sigmas = np.sqrt(np.einsum("nii->ni", gaussians.covariances().astype(np.float64)))
    means = gaussians.means.astype(np.float64)
    weights = gaussians.opacities.astype(np.float64)
    low = -_furthest(-(means - REACH * sigmas), weights)
    high = _furthest(means + REACH * sigmas, weights)
    return low, high


def _furthest(edges: Array, weights: Array) -> Array:
    """Per axis the highest of `edges` [N, 3] that is not an outlier, [3]."""
    result = np.empty(3)
    for axis in range(3):
        order = np.argsort(edges[:, axis], kind="stable")
        ordered = edges[order, axis]
        share = np.cumsum(weights[order]) / weights.sum()
        inside = min(int(np.searchsorted(share, 0.999)), len(order) - 1)
        gaps = np.diff(ordered[inside:])
        wide = np.flatnonzero(gaps > 0.1 * (ordered[inside] - ordered[0]))
        result[axis] = ordered[inside + wide[0]] if len(wide) else ordered[-1]
    return result


def _forms_surface(gaussians: Gaussians) -> Array:
    """Mask [N] of Gaussians that can be part of a surface: not nearly transparent, and no haze around everything."""
    visible = gaussians.opacities > 0.02 * gaussians.opacities.max(initial=0)
    if not visible.any():
        return visible
    sizes = gaussians.scales.max(1)
    low, high = np.percentile(gaussians.means[visible], [2, 98], axis=0)
    side = (high - low).max() + 2 * REACH * np.median(sizes[visible])
    return visible & (sizes < 0.5 * side)


def _slabs(centers: Array, radii: Array, planes: int) -> tuple[Array, Array]:
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
def _scatter(centers, factors, opacities, starts, members, order, values):
    """q = |L^-1 d|^2 with the Cholesky factor L: the first coordinate bounds x, the first two y, all three z."""
    planes, rows, columns = values.shape
    limit = np.float32(REACH * REACH)
    for o in prange(len(order)):
        slab = order[o]
        for member in range(starts[slab], starts[slab + 1]):
            i = members[member]
            l00, l10, l11 = factors[i, 0, 0], factors[i, 1, 0], factors[i, 1, 1]
            l20, l21, l22 = factors[i, 2, 0], factors[i, 2, 1], factors[i, 2, 2]
            cx, cy, cz, opacity = centers[i, 0], centers[i, 1], centers[i, 2], opacities[i]
            step = np.float32(1) / l22
            x0 = max(slab * SLAB, int(np.ceil(cx - np.float32(REACH) * l00)))
            x1 = min(min(slab * SLAB + SLAB, planes) - 1, int(np.floor(cx + np.float32(REACH) * l00)))
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
                        for k in range(CHUNK):
                            w = w0 + np.float32(k) * step
                            value = opacity * fast_exp(outer - np.float32(0.5) * w * w)
                            row[k] += value if np.int32(k) >= first and np.int32(k) <= last else np.float32(0)


@parallel_kernel
def _composite(centers, factors, opacities, starts, members, transmittance):
    """Product of 1 - a_i per pixel; alpha does not depend on the order of depth."""
    rows, columns = transmittance.shape
    limit = np.float32(REACH * REACH)
    for slab in prange(len(starts) - 1):
        for member in range(starts[slab], starts[slab + 1]):
            i = members[member]
            l00, l10, l11, opacity = factors[i, 0, 0], factors[i, 1, 0], factors[i, 1, 1], opacities[i]
            step = np.float32(1) / l11
            x0 = max(slab * SLAB, int(np.ceil(centers[i, 0] - np.float32(REACH) * l00)))
            x1 = min(min(slab * SLAB + SLAB, rows) - 1, int(np.floor(centers[i, 0] + np.float32(REACH) * l00)))
            for x in range(x0, x1 + 1):
                u = (np.float32(x) - centers[i, 0]) / l00
                rest = limit - u * u
                if rest < 0:
                    continue
                y_center = centers[i, 1] + l10 * u
                y_reach = l11 * np.sqrt(rest)
                y0 = max(0, int(np.ceil(y_center - y_reach)))
                y1 = min(columns - 1, int(np.floor(y_center + y_reach)))
                outer = np.float32(-0.5) * u * u
                for start in range(y0, y1 + 1, CHUNK):
                    base = min(start, columns - CHUNK)
                    first, last = np.int32(start - base), np.int32(y1 - base)
                    v0 = (np.float32(base) - y_center) * step
                    row = transmittance[x, base : base + CHUNK]
                    for k in range(CHUNK):
                        v = v0 + np.float32(k) * step
                        alpha = opacity * fast_exp(outer - np.float32(0.5) * v * v)
                        row[k] *= np.float32(1) - (
                            alpha if np.int32(k) >= first and np.int32(k) <= last else np.float32(0)
                        )

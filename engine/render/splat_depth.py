# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth of Gaussians for measuring, and how much of each Gaussian is seen: forward only, no colours.

Two things differ from `engine.render.splat_cpu`, which draws pictures.

Depth is taken at the pixel, not at the Gaussian's centre. In the camera's affine approximation a Gaussian has a
covariance over (u, v, z), and along the ray of pixel (u, v) it is densest at

    z(u, v) = z_c + g . (u - u_c, v - v_c),     g = [S_zu, S_zv] [S_uu, S_uv; S_uv, S_vv]^-1

which for a flat disc is where the ray meets its plane (Huang et al. 2024, section 4.1; Zhang et al. 2024, RaDe-GS,
equation 10) and for a ball the depth of its centre.

And instead of the depth at which transmittance T falls below 1/2 (the median), which jumps from one Gaussian to the
next, it is the mean over the middle half of the light, 3/4 >= T >= 1/4: as robust, and continuous. Its standard
deviation there tells pixels whose light comes from two surfaces.

A Gaussian of a closed surface is seen from outside. Where its back is seen, a ray came in through a gap.
"""

from dataclasses import dataclass

import numpy as np

from engine.fields.cameras import Cameras
from engine.fields.gaussians import Gaussians
from engine.jit import kernel, parallel_kernel, prange
from engine.render.splat_lists import TileLists, tile_lists
from engine.render.splat_projection import (
    BLUE,
    BLUR,
    CULLED,
    DEPTH,
    GREEN,
    OPACITY,
    RADIUS_Y,
    RED,
    SLOPE,
    X_REST,
    Y_REST,
    H,
    Q,
    X,
    Y,
)
from engine.render.splat_tiles import TILE

Array = np.ndarray

_F, _I = np.float32, np.int32
_ZERO, _HALF, _ONE, _LAST = _F(0), _F(0.5), _F(1), _F(TILE - 1)
_MIN_ALPHA, _MAX_ALPHA = _F(1 / 255), _F(0.999)
_HIGH, _LOW = _F(0.75), _F(0.25)  # transmittances between which light tells the depth
_SPENT = _F(0.01)  # transmittance from which on nothing counts as seen
_PIXELS = TILE * TILE
_CHECK_EVERY = 8
_SHARPEST = 0.01  # px^2 added to a Gaussian's own covariance before its plane is taken: seen edge-on it has none
_DEVIATIONS = 3.0  # a Gaussian's depth stays within so many of its standard deviations along z

_BACK = 0.2
"""Cosine between a camera's view and the outward direction of a Gaussian from which on it sees the back."""

BATCH = 1 << 21
"""Gaussians times views composited at once: 64 bytes each."""

# exp(-u) on [0, 3/4] by a polynomial, as in splat_cpu.
_EXP = np.polynomial.Chebyshev.interpolate(lambda u: np.exp(-u), 5, [0, 0.75])
_E0, _E1, _E2, _E3, _E4, _E5 = (_F(c) for c in _EXP.convert(kind=np.polynomial.Polynomial).coef)
_EIGHTH, _MAX_SIGMA = _F(0.125), _F(6)


@dataclass(frozen=True)
class DepthViews:
    """What C cameras measure."""

    alphas: Array  # [C, H, W] float32; exact below 3/4, above it at least that
    depths: Array  # [C, H, W] float32 camera z, object units; 0 where alpha < 1/2
    deviations: Array  # [C, H, W] float32 standard deviation of the light's depth about it, object units
    backs: Array  # [C, H, W] float32 share of that light from backs of Gaussians, 0 where none are known


def depth_views(
    gaussians: Gaussians, cameras: Cameras, outward: Array | None = None, offsets: Array | None = None
) -> DepthViews:
    """Depth maps of all cameras. The cameras stand outside of the Gaussians.

    `outward` [N, 3] points out of the object; 0 for Gaussians that have no back. `offsets` [N] is how far before its
    plane a Gaussian is seen, object units.
    """
    shape = (len(cameras), cameras.height, cameras.width)
    result = DepthViews(*(np.zeros(shape, np.float32) for _ in range(4)))
    covariances = gaussians.covariances()
    outward = np.zeros((len(gaussians), 3), np.float32) if outward is None else outward
    offsets = np.zeros(len(gaussians), np.float32) if offsets is None else offsets
    for views in _batches(gaussians, cameras):
        viewmats, lists = _lists(gaussians, cameras, views)
        _planes(gaussians.means, covariances, outward, offsets, viewmats, cameras.Ks[views].astype(np.float64),
                lists.camera_depths, lists.records)  # fmt: skip
        # Depths relative to the middle of the Gaussians: float32 would lose the deviation of absolute ones.
        middle = viewmats[:, 2, :3] @ gaussians.means.mean(0, dtype=np.float64) + viewmats[:, 2, 3]
        _composite_depths(
            lists.records, lists.pairs, lists.tile_starts, lists.tiles_x, lists.tiles_y, middle.astype(np.float32),
            result.alphas[views], result.depths[views], result.deviations[views], result.backs[views],
        )  # fmt: skip
    return result


def seen_weights(gaussians: Gaussians, cameras: Cameras) -> Array:
    """Blending weight alpha_i T_i of each Gaussian summed over each view's pixels, [C, N] float32, in pixels."""
    weights = np.empty((len(cameras), len(gaussians)), np.float32)
    for views in _batches(gaussians, cameras):
        lists = _lists(gaussians, cameras, views)[1]
        of_pairs = np.empty(len(lists.pairs), np.float32)
        _composite_weights(
            lists.records, lists.pairs, lists.tile_starts, lists.tiles_x, cameras.width, cameras.height, of_pairs
        )
        _sum_pairs(lists.pairs, of_pairs, lists.tile_starts, weights[views])
    return weights


def _batches(gaussians: Gaussians, cameras: Cameras) -> list[slice]:
    step = max(1, BATCH // max(len(gaussians), 1))
    return [slice(first, min(first + step, len(cameras))) for first in range(0, len(cameras), step)]


def _lists(gaussians: Gaussians, cameras: Cameras, views: slice) -> tuple[Array, TileLists]:
    viewmats, Ks = cameras.viewmats[views].astype(np.float64), cameras.Ks[views].astype(np.float64)
    return viewmats, tile_lists(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors,
        viewmats, Ks, cameras.width, cameras.height,
    )  # fmt: skip


@parallel_kernel
def _planes(means, covariances, outward, offsets, viewmats, Ks, depths, records):
    """Puts, where records [C, N, RECORD] hold colours, dz/du, dz/dv (object units per px) and how far z may be off.

    The last is negative where the camera sees the Gaussian's back. Depths move by the offsets.
    """
    C, N = depths.shape
    for index in prange(C * N):
        c = index // N
        n = index - c * N
        if depths[c, n] == CULLED:
            continue
        view, S, record = viewmats[c], covariances[n], records[c, n]
        x, y, z = np.float64(means[n, 0]), np.float64(means[n, 1]), np.float64(depths[c, n])
        w = np.float64(means[n, 2])
        slope_x = (view[0, 0] * x + view[0, 1] * y + view[0, 2] * w + view[0, 3]) / z
        slope_y = (view[1, 0] * x + view[1, 1] * y + view[1, 2] * w + view[1, 3]) / z
        # the axes u and v of the picture, in px per object unit
        fx, fy = Ks[c, 0, 0] / z, Ks[c, 1, 1] / z
        u0, u1, u2 = (
            fx * (view[0, 0] - slope_x * view[2, 0]),
            fx * (view[0, 1] - slope_x * view[2, 1]),
            fx * (view[0, 2] - slope_x * view[2, 2]),
        )
        v0, v1, v2 = (
            fy * (view[1, 0] - slope_y * view[2, 0]),
            fy * (view[1, 1] - slope_y * view[2, 1]),
            fy * (view[1, 2] - slope_y * view[2, 2]),
        )
        z0 = S[0, 0] * view[2, 0] + S[0, 1] * view[2, 1] + S[0, 2] * view[2, 2]
        z1 = S[1, 0] * view[2, 0] + S[1, 1] * view[2, 1] + S[1, 2] * view[2, 2]
        z2 = S[2, 0] * view[2, 0] + S[2, 1] * view[2, 1] + S[2, 2] * view[2, 2]
        zz = view[2, 0] * z0 + view[2, 1] * z1 + view[2, 2] * z2
        zu, zv = u0 * z0 + u1 * z1 + u2 * z2, v0 * z0 + v1 * z1 + v2 * z2
        # the covariance over (u, v) from the conic that the record holds, without most of the blur
        vv = 0.5 / np.float64(record[Q])
        uv = -np.float64(record[SLOPE]) * vv
        uu = uv * uv / vv + 0.5 / np.float64(record[H])
        uu, vv = uu - BLUR + _SHARPEST, vv - BLUR + _SHARPEST
        det = max(uu * vv - uv * uv, _SHARPEST * _SHARPEST)
        record[RED] = (zu * vv - zv * uv) / det
        record[GREEN] = (zv * uu - zu * uv) / det
        if offsets[n] > 0:
            tangent = (record[RED] * fx) ** 2 + (record[GREEN] * fy) ** 2
            record[DEPTH] = z - offsets[n] * np.sqrt(1 + min(tangent, 9.0))
        reach = _DEVIATIONS * np.sqrt(max(zz, 0.0)) + 1e-12
        away = outward[n, 0] * view[2, 0] + outward[n, 1] * view[2, 1] + outward[n, 2] * view[2, 2]
        record[BLUE] = -reach if away > _BACK else reach


@kernel
def _exp_of_minus(sigma):
    """exp(-sigma) for sigma in [0, _MAX_SIGMA], as the eighth power of exp(-sigma / 8)."""
    u = sigma * _EIGHTH
    e = _E0 + u * (_E1 + u * (_E2 + u * (_E3 + u * (_E4 + u * _E5))))
    e *= e
    e *= e
    return e * e


@kernel
def _rows(oy, radius):
    """First row of the tile and the one after the last that the ellipse reaches; oy: row 0 minus its centre."""
    first = int(max(np.ceil(-oy - radius), _ZERO))
    last = int(min(np.floor(radius - oy), _LAST))
    return max(first, 0), last + 1


@kernel
def _brightest(state):
    """Highest transmittance of the tile."""
    highest = _ZERO
    for p in range(_PIXELS):
        highest = max(highest, state[p])
    return highest


@parallel_kernel
def _composite_depths(records, pairs, tile_starts, tiles_x, tiles_y, middle, alphas, depths, deviations, backs):
    C, height, width = alphas.shape
    tiles = tiles_x * tiles_y
    for index in prange(C * tiles):
        c = index // tiles
        tile = index - c * tiles
        y0 = (tile // tiles_x) * TILE
        x0 = (tile % tiles_x) * TILE
        # Of each pixel: transmittance, sums of weight, weight z, weight z^2, weight of backs; pixels outside the
        # picture are opaque.
        state = np.zeros(5 * _PIXELS, np.float32)
        for row in range(min(TILE, height - y0)):
            state[row * TILE : row * TILE + min(TILE, width - x0)] = _ONE
        for k in range(tile_starts[index], tile_starts[index + 1]):
            if k % _CHECK_EVERY == 0 and _brightest(state[:_PIXELS]) <= _LOW:
                break
            record = records[c, pairs[k]]
            ox = (_F(x0) - record[X]) + (_HALF - record[X_REST])
            oy = (_F(y0) - record[Y]) + (_HALF - record[Y_REST])
            h, slope, q, opacity = record[H], record[SLOPE], record[Q], record[OPACITY]
            z_right, z_down, reach = record[RED], record[GREEN], abs(record[BLUE])
            back = _ONE if record[BLUE] < _ZERO else _ZERO
            z_center = record[DEPTH] - middle[c]
            first, end = _rows(oy, record[RADIUS_Y])
            for row in range(first, end):
                dy = oy + _F(row)
                base = q * dy * dy
                start = ox + slope * dy
                z_row = z_down * dy + z_right * ox
                row16 = state[row * TILE : row * TILE + 4 * _PIXELS + TILE]
                for lane in range(TILE):
                    step = _F(_I(lane))
                    d = start + step
                    e = _exp_of_minus(min(base + h * d * d, _MAX_SIGMA))
                    alpha = min(opacity * e, _MAX_ALPHA)
                    t = row16[lane]
                    after = t - (alpha * t if alpha >= _MIN_ALPHA else _ZERO)
                    weight = max(min(t, _HIGH) - max(after, _LOW), _ZERO)
                    z = z_center + min(max(z_row + z_right * step, -reach), reach)
                    row16[lane] = after
                    row16[_PIXELS + lane] += weight
                    row16[2 * _PIXELS + lane] += weight * z
                    row16[3 * _PIXELS + lane] += weight * z * z
                    row16[4 * _PIXELS + lane] += weight * back
        for row in range(min(TILE, height - y0)):
            for column in range(min(TILE, width - x0)):
                p = row * TILE + column
                y, x = y0 + row, x0 + column
                alphas[c, y, x] = _ONE - state[p]
                depths[c, y, x] = deviations[c, y, x] = backs[c, y, x] = _ZERO
                if state[p] > _HALF:
                    continue
                weight = state[_PIXELS + p]
                z = state[2 * _PIXELS + p] / weight
                depths[c, y, x] = z + middle[c]
                deviations[c, y, x] = np.sqrt(max(state[3 * _PIXELS + p] / weight - z * z, _ZERO))
                backs[c, y, x] = state[4 * _PIXELS + p] / weight


@parallel_kernel
def _composite_weights(records, pairs, tile_starts, tiles_x, width, height, of_pairs):
    """Fills of_pairs [I] with the blending weight of each pair's Gaussian, summed over the tile's pixels."""
    tiles_y = -(-height // TILE)
    tiles = tiles_x * tiles_y
    for index in prange(len(tile_starts) - 1):
        c = index // tiles
        tile = index - c * tiles
        y0 = (tile // tiles_x) * TILE
        x0 = (tile % tiles_x) * TILE
        state = np.zeros(_PIXELS + TILE, np.float32)  # transmittances, and one Gaussian's weight per column
        sums = state[_PIXELS:]
        for row in range(min(TILE, height - y0)):
            state[row * TILE : row * TILE + min(TILE, width - x0)] = _ONE
        of_pairs[tile_starts[index] : tile_starts[index + 1]] = _ZERO
        for k in range(tile_starts[index], tile_starts[index + 1]):
            if k % _CHECK_EVERY == 0 and _brightest(state[:_PIXELS]) <= _SPENT:
                break
            record = records[c, pairs[k]]
            ox = (_F(x0) - record[X]) + (_HALF - record[X_REST])
            oy = (_F(y0) - record[Y]) + (_HALF - record[Y_REST])
            h, slope, q, opacity = record[H], record[SLOPE], record[Q], record[OPACITY]
            sums[:] = _ZERO
            first, end = _rows(oy, record[RADIUS_Y])
            for row in range(first, end):
                dy = oy + _F(row)
                base = q * dy * dy
                start = ox + slope * dy
                row16 = state[row * TILE : (row + 1) * TILE]
                for lane in range(TILE):
                    d = start + _F(_I(lane))
                    e = _exp_of_minus(min(base + h * d * d, _MAX_SIGMA))
                    alpha = min(opacity * e, _MAX_ALPHA)
                    t = row16[lane]
                    weight = alpha * t if (alpha >= _MIN_ALPHA) & (t > _SPENT) else _ZERO
                    row16[lane] = t - weight
                    sums[lane] += weight
            total = _ZERO
            for lane in range(TILE):
                total += sums[lane]
            of_pairs[k] = total


@parallel_kernel
def _sum_pairs(pairs, of_pairs, tile_starts, weights):
    C = weights.shape[0]
    tiles = (len(tile_starts) - 1) // C
    for c in prange(C):
        weights[c] = _ZERO
        for k in range(tile_starts[c * tiles], tile_starts[(c + 1) * tiles]):
            weights[c, pairs[k]] += of_pairs[k]

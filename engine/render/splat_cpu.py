# SPDX-License-Identifier: GPL-3.0-or-later
"""Splat rasteriser on the CPU: colour, alpha and depth of Gaussians, forward and backward.

Equal to `engine.render.splat_reference` up to float32. The picture is cut in tiles of 16 x 16 pixels (Kerbl et al.
2023, section 6); per tile the Gaussians are composited nearest first, row by row, 16 pixels at a time: LLVM turns the
inner loops into vector code, for which they use a polynomial instead of `exp` and no branches.

The backward pass walks the tiles in the same order and recomputes the transmittance as the forward pass did, so
nothing per pixel and Gaussian is stored. With g the gradient of a pixel's colour, g_z of its expected depth and g_A of
its alpha

    L = sum_i T_i alpha_i u_i + T_end u_end,      u_i = g . c_i + g_z z_i,   u_end = g . background - g_A
    dL/dalpha_i = T_i u_i - S_i / (1 - alpha_i),  S_i = what the sum still has to come behind i

Each (tile, Gaussian) pair writes its sums to a place of its own and `project_backward` adds them in a fixed order: one
result for any number of threads.
"""

from dataclasses import dataclass

import numpy as np

from engine.fields.gaussians import Gaussians
from engine.jit import kernel, parallel_kernel, prange
from engine.render.splat_lists import tile_lists
from engine.render.splat_projection import (
    BLUE,
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
    project_backward,
)
from engine.render.splat_tiles import TILE

Array = np.ndarray

MOMENTS = 10
"""Sums per (tile, Gaussian) pair over the pixels: v, v dx, v dy, v dx^2, v dx dy, v dy^2 with v = dL/dsigma, then
dL/dcolour (3) and dL/dz."""

_F, _I = np.float32, np.int32
_MIN_ALPHA = _F(1 / 255)
_MAX_ALPHA = _F(0.999)
_MIN_TRANSMITTANCE = _F(1e-4)
_MAX_SIGMA = _F(6.0)  # exp(-6) < 1/255: farther out alpha counts as 0 whatever the opacity
_PIXELS = TILE * TILE
_CHANNELS = 6  # floats kept per pixel while a tile is composited
_CHECK_EVERY = 8  # Gaussians between two looks at whether the whole tile is opaque

# exp(-u) on [0, 3/4] by a polynomial of degree 5 through Chebyshev nodes: 1.2e-7 relative.
_EXP = np.polynomial.Chebyshev.interpolate(lambda u: np.exp(-u), 5, [0, 0.75])
_E0, _E1, _E2, _E3, _E4, _E5 = (_F(c) for c in _EXP.convert(kind=np.polynomial.Polynomial).coef)
_ZERO, _HALF, _ONE, _EIGHTH, _LAST = _F(0), _F(0.5), _F(1), _F(0.125), _F(TILE - 1)


@dataclass(frozen=True)
class SplatImage:
    """One view of a set of Gaussians."""

    colors: Array  # [H, W, 3] over the background
    alphas: Array  # [H, W]
    depths: Array  # [H, W] median depth: camera z where transmittance falls to 1/2, 0 where alpha < 1/2
    expected_depths: Array  # [H, W] sum of weight times camera z; divide by alpha for a mean


@dataclass(frozen=True)
class SplatViews:
    """C views of one set of N Gaussians, and what `backward` needs of them (I pairs of a tile and a Gaussian)."""

    colors: Array  # [C, H, W, 3] over the background
    alphas: Array  # [C, H, W]
    depths: Array  # [C, H, W] median depth
    expected_depths: Array  # [C, H, W]
    means: Array  # [N, 3]
    quats: Array  # [N, 4]
    scales: Array  # [N, 3]
    viewmats: Array  # [C, 4, 4] float64
    Ks: Array  # [C, 3, 3] float64
    backgrounds: Array  # [C, 3]
    records: Array  # [C, N, RECORD] float32
    camera_depths: Array  # [C, N] camera z, infinity where culled
    tile_starts: Array  # [C * tiles + 1]
    tile_ends: Array  # [C * tiles] where compositing stopped, at most the next tile's start
    pairs: Array  # [I] Gaussian of each pair, tile by tile, nearest first
    slots: Array  # [I] the pairs of each Gaussian
    slot_starts: Array  # [C, N, 2]


def render(
    gaussians: Gaussians,
    viewmat: Array,  # [4, 4] world to camera, OpenCV axes
    K: Array,  # [3, 3] pixels
    width: int,
    height: int,
    background: tuple[float, float, float] | Array = (0.0, 0.0, 0.0),
) -> SplatImage:
    """One view of `gaussians` over a plain `background`. Width and height of at least 1; depths in object units."""
    views = forward(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors,
        np.asarray(viewmat, np.float64)[None], np.asarray(K, np.float64)[None], width, height,
        np.asarray(background, np.float32)[None], for_backward=False,
    )  # fmt: skip
    return SplatImage(views.colors[0], views.alphas[0], views.depths[0], views.expected_depths[0])


def forward(
    means: Array,  # [N, 3]
    quats: Array,  # [N, 4] wxyz, any non-zero length
    scales: Array,  # [N, 3] standard deviations
    opacities: Array,  # [N] in [0, 1]
    colors: Array,  # [N, 3]
    viewmats: Array,  # [C, 4, 4] float64
    Ks: Array,  # [C, 3, 3] float64
    width: int,
    height: int,
    backgrounds: Array,  # [C, 3]
    for_backward: bool = True,
) -> SplatViews:
    """C views. Unchecked arrays, C-contiguous and float32 where not said otherwise; call from one thread at a time."""
    lists = tile_lists(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, with_slots=for_backward
    )  # fmt: skip
    C = len(viewmats)
    out_colors, alphas = np.empty((C, height, width, 3), np.float32), np.empty((C, height, width), np.float32)
    depths, expected_depths = np.empty_like(alphas), np.empty_like(alphas)
    tile_ends = np.empty(len(lists.tile_starts) - 1, np.int64)
    composite(
        lists.records, lists.pairs, lists.tile_starts, backgrounds, lists.tiles_x, lists.tiles_y, tile_ends,
        out_colors, alphas, depths, expected_depths,
    )  # fmt: skip
    return SplatViews(
        out_colors, alphas, depths, expected_depths, means, quats, scales, viewmats, Ks, backgrounds,
        lists.records, lists.camera_depths, lists.tile_starts, tile_ends, lists.pairs, lists.slots, lists.slot_starts,
    )  # fmt: skip


@dataclass(frozen=True)
class SplatGradients:
    means: Array  # [N, 3]
    quats: Array  # [N, 4]
    scales: Array  # [N, 3]
    opacities: Array  # [N]
    colors: Array  # [N, 3]


def backward(views: SplatViews, grad_colors: Array, grad_alphas: Array, grad_expected_depths: Array) -> SplatGradients:
    """Gradients of the inputs from those of colors [C, H, W, 3], alphas and expected depths [C, H, W], float32.

    `views` must come from `forward` with `for_backward=True`. Median depths have no gradient. Nothing flows where
    alpha is clamped at its maximum.
    """
    height, width = views.alphas.shape[1:]
    N = len(views.means)
    moments = np.empty((len(views.pairs), MOMENTS), np.float32)
    composite_backward(
        views.records, views.pairs, views.tile_starts, views.tile_ends, -(-width // TILE), -(-height // TILE),
        views.colors, views.alphas, views.expected_depths, views.backgrounds,
        grad_colors, grad_alphas, grad_expected_depths, moments,
    )  # fmt: skip
    gradients = SplatGradients(
        np.empty((N, 3), np.float32), np.empty((N, 4), np.float32), np.empty((N, 3), np.float32),
        np.empty(N, np.float32), np.empty((N, 3), np.float32),
    )  # fmt: skip
    project_backward(
        views.means, views.quats, views.scales, views.viewmats, views.Ks, width, height, views.records,
        views.camera_depths, moments, views.slots, views.slot_starts,
        gradients.means, gradients.quats, gradients.scales, gradients.opacities, gradients.colors,
    )  # fmt: skip
    return gradients


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
def _opaque(transmittances):
    """Whether no pixel of the tile lets light through."""
    clear = _I(0)
    for p in range(_PIXELS):
        clear += _I(transmittances[p] >= _MIN_TRANSMITTANCE)
    return clear == 0


@parallel_kernel
def composite(
    records, pairs, tile_starts, backgrounds, tiles_x, tiles_y, tile_ends, colors, alphas, depths, expected_depths
):
    """Front-to-back compositing of every tile of every view into the last four arrays.

    Fills tile_ends [C * tiles] with the pair before which each tile was opaque and compositing stopped.
    """
    C, height, width = alphas.shape
    tiles = tiles_x * tiles_y
    for index in prange(C * tiles):
        c = index // tiles
        tile = index - c * tiles
        y0 = (tile // tiles_x) * TILE
        x0 = (tile % tiles_x) * TILE
        # Of each pixel: transmittance, red, green, blue, expected depth, median depth, in one array so that LLVM sees
        # that they don't overlap. Pixels
        # outside the picture keep transmittance 0 and never hold the tile back.
        state = np.zeros(_CHANNELS * _PIXELS, np.float32)
        for row in range(min(TILE, height - y0)):
            state[row * TILE : row * TILE + min(TILE, width - x0)] = _ONE

        tile_ends[index] = tile_starts[index + 1]
        for k in range(tile_starts[index], tile_starts[index + 1]):
            if k % _CHECK_EVERY == 0 and _opaque(state[:_PIXELS]):
                tile_ends[index] = k
                break
            record = records[c, pairs[k]]
            ox = (_F(x0) - record[X]) + (_HALF - record[X_REST])
            oy = (_F(y0) - record[Y]) + (_HALF - record[Y_REST])
            h, slope, q, opacity = record[H], record[SLOPE], record[Q], record[OPACITY]
            red, green, blue, depth = record[RED], record[GREEN], record[BLUE], record[DEPTH]
            first, end = _rows(oy, record[RADIUS_Y])
            for row in range(first, end):
                dy = oy + _F(row)
                base = q * dy * dy
                start = ox + slope * dy
                row16 = state[row * TILE : row * TILE + (_CHANNELS - 1) * _PIXELS + TILE]
                for lane in range(TILE):
                    d = start + _F(_I(lane))
                    e = _exp_of_minus(min(base + h * d * d, _MAX_SIGMA))
                    alpha = min(opacity * e, _MAX_ALPHA)
                    t = row16[lane]
                    weight = alpha * t if (alpha >= _MIN_ALPHA) & (t >= _MIN_TRANSMITTANCE) else _ZERO
                    after = t - weight
                    median = row16[5 * _PIXELS + lane]
                    row16[lane] = after
                    row16[_PIXELS + lane] += weight * red
                    row16[2 * _PIXELS + lane] += weight * green
                    row16[3 * _PIXELS + lane] += weight * blue
                    row16[4 * _PIXELS + lane] += weight * depth
                    row16[5 * _PIXELS + lane] = depth if (t > _HALF) & (after <= _HALF) else median

        red, green, blue = backgrounds[c, 0], backgrounds[c, 1], backgrounds[c, 2]
        for row in range(min(TILE, height - y0)):
            for column in range(min(TILE, width - x0)):
                p = row * TILE + column
                y, x = y0 + row, x0 + column
                t = state[p]
                colors[c, y, x, 0] = state[p + _PIXELS] + t * red
                colors[c, y, x, 1] = state[p + 2 * _PIXELS] + t * green
                colors[c, y, x, 2] = state[p + 3 * _PIXELS] + t * blue
                alphas[c, y, x] = _ONE - t
                expected_depths[c, y, x] = state[p + 4 * _PIXELS]
                depths[c, y, x] = state[p + 5 * _PIXELS]


@parallel_kernel
def composite_backward(
    records, pairs, tile_starts, tile_ends, tiles_x, tiles_y, colors, alphas, expected_depths, backgrounds,
    grad_colors, grad_alphas, grad_expected_depths, moments,
):  # fmt: skip
    """Fills moments [I, MOMENTS] from the gradients of the picture; see the top of the file."""
    C, height, width = alphas.shape
    tiles = tiles_x * tiles_y
    for index in prange(C * tiles):
        c = index // tiles
        tile = index - c * tiles
        y0 = (tile // tiles_x) * TILE
        x0 = (tile % tiles_x) * TILE
        # Per row of the tile: transmittance, S, gradients of red, green, blue, expected depth of 16 pixels.
        # At the end, per lane, one Gaussian's sums over rows of v, v dy, v dy^2, dL/dred, green, blue, z.
        state = np.zeros(_CHANNELS * _PIXELS + 7 * TILE, np.float32)
        sums = state[_CHANNELS * _PIXELS :]
        for row in range(min(TILE, height - y0)):
            for column in range(min(TILE, width - x0)):
                p = row * _CHANNELS * TILE + column
                y, x = y0 + row, x0 + column
                red, green, blue = grad_colors[c, y, x, 0], grad_colors[c, y, x, 1], grad_colors[c, y, x, 2]
                depth = grad_expected_depths[c, y, x]
                state[p] = _ONE
                state[p + TILE] = (
                    red * colors[c, y, x, 0]
                    + green * colors[c, y, x, 1]
                    + blue * colors[c, y, x, 2]
                    + depth * expected_depths[c, y, x]
                    - grad_alphas[c, y, x] * (_ONE - alphas[c, y, x])
                )
                state[p + 2 * TILE], state[p + 3 * TILE], state[p + 4 * TILE] = red, green, blue
                state[p + 5 * TILE] = depth

        moments[tile_ends[index] : tile_starts[index + 1]] = _ZERO
        for k in range(tile_starts[index], tile_ends[index]):
            record = records[c, pairs[k]]
            ox = (_F(x0) - record[X]) + (_HALF - record[X_REST])
            oy = (_F(y0) - record[Y]) + (_HALF - record[Y_REST])
            h, slope, q, opacity = record[H], record[SLOPE], record[Q], record[OPACITY]
            red, green, blue, depth = record[RED], record[GREEN], record[BLUE], record[DEPTH]
            sums[:] = _ZERO
            first, end = _rows(oy, record[RADIUS_Y])
            for row in range(first, end):
                dy = oy + _F(row)
                base = q * dy * dy
                start = ox + slope * dy
                row16 = state[row * _CHANNELS * TILE : (row + 1) * _CHANNELS * TILE]
                for lane in range(TILE):
                    d = start + _F(_I(lane))
                    e = _exp_of_minus(min(base + h * d * d, _MAX_SIGMA))
                    free = opacity * e
                    alpha = min(free, _MAX_ALPHA)
                    t = row16[lane]
                    alpha = alpha if (alpha >= _MIN_ALPHA) & (t >= _MIN_TRANSMITTANCE) else _ZERO
                    weight = alpha * t
                    r, g, b = row16[2 * TILE + lane], row16[3 * TILE + lane], row16[4 * TILE + lane]
                    z = row16[5 * TILE + lane]
                    gain = weight * (r * red + g * green + b * blue + z * depth)
                    rest = row16[TILE + lane] - gain
                    v = rest * (alpha / (_ONE - alpha)) - gain
                    v = v if free <= _MAX_ALPHA else _ZERO
                    row16[lane] = t - weight
                    row16[TILE + lane] = rest
                    sums[lane] += v
                    sums[TILE + lane] += v * dy
                    sums[2 * TILE + lane] += v * dy * dy
                    sums[3 * TILE + lane] += weight * r
                    sums[4 * TILE + lane] += weight * g
                    sums[5 * TILE + lane] += weight * b
                    sums[6 * TILE + lane] += weight * z
            m0 = mx = my = mxx = mxy = myy = sR = sG = sB = sZ = _ZERO
            for lane in range(TILE):
                dx = ox + _F(_I(lane))
                v, v_dy = sums[lane], sums[TILE + lane]
                m0 += v
                mx += v * dx
                my += v_dy
                mxx += v * dx * dx
                mxy += v_dy * dx
                myy += sums[2 * TILE + lane]
                sR += sums[3 * TILE + lane]
                sG += sums[4 * TILE + lane]
                sB += sums[5 * TILE + lane]
                sZ += sums[6 * TILE + lane]
            moment = moments[k]
            moment[0], moment[1], moment[2], moment[3], moment[4] = m0, mx, my, mxx, mxy
            moment[5], moment[6], moment[7], moment[8], moment[9] = myy, sR, sG, sB, sZ

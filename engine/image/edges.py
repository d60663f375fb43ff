# SPDX-License-Identifier: GPL-3.0-or-later
"""A coarse matte brought to the edges of the full-size picture: colour-guided filter, then the compositing equation.

The guided filter (He, Sun, Tang 2010; coefficients at a small size after He and Sun 2015) makes alpha locally linear
in the picture's colour, so that it steps where the picture does. In a band along that outline alpha then solves
I = a F + (1 - a) B, where F and B are the mean colours of object and background nearby: as far as these two differ by
more than they vary. The colour there becomes F, so that no rim of the background remains.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from engine.jit import parallel_kernel, prange

Array = np.ndarray

RADIUS = 3
"""Half width, in pixels of the coarse matte, of the window in which alpha is linear in colour."""

SMOOTHNESS = 1e-4
"""Variance of colour below which a window counts as even."""

BAND = 0.6
"""Half width of the band along the outline whose alpha is solved for, in pixels of the coarse matte."""


def refined(rgb: Array, alpha: Array) -> Array:
    """RGBA [H, W, 4] of picture `rgb` [H, W, 3] whose coarse matte is `alpha` [h, w]: both float32 in [0, 1]."""
    height, width = rgb.shape[:2]
    small = resized(rgb, alpha.shape[1], alpha.shape[0])
    slope, offset = _linear_in_color(small, alpha)
    planes = [resized(np.ascontiguousarray(plane), width, height) for plane in (*np.moveaxis(slope, -1, 0), offset)]
    out = np.empty((height, width, 4), np.float32)
    _apply(rgb, np.stack(planes), out)
    band = max(1, round(BAND * max(height, width) / max(alpha.shape)))
    solid = out[..., 3] > 0.5
    inner = ndimage.minimum_filter(solid.view(np.uint8), 2 * band + 1, mode="nearest")
    outer = ndimage.maximum_filter(solid.view(np.uint8), 2 * band + 1, mode="nearest")
    _solve(rgb, inner, outer, 2 * band + 2, out)
    return out


def resized(image: Array, width: int, height: int) -> Array:
    """Float image [H, W] or [H, W, C] at another size, antialiased bilinear."""
    if image.shape[:2] == (height, width):
        return image
    if image.ndim == 3:
        return np.stack([resized(image[..., c], width, height) for c in range(image.shape[2])], -1)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR), np.float32)


def _linear_in_color(rgb: Array, alpha: Array) -> tuple[Array, Array]:
    """Slope [H, W, 3] and offset [H, W] of alpha over colour, fitted in each window and averaged over windows."""

    def mean(values: Array) -> Array:
        for axis in (0, 1):
            values = ndimage.uniform_filter1d(values, 2 * RADIUS + 1, axis, mode="nearest")
        return values

    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    products = [rgb[..., i] * rgb[..., j] for i, j in pairs]
    means = mean(np.stack([*np.moveaxis(rgb, -1, 0), alpha, *products, *(rgb[..., c] * alpha for c in range(3))], -1))
    m, a = means[..., :3], means[..., 3]
    s = {pair: means[..., 4 + k] - m[..., pair[0]] * m[..., pair[1]] for k, pair in enumerate(pairs)}
    for c in range(3):
        s[c, c] = s[c, c] + np.float32(SMOOTHNESS)
    covariance = means[..., 10:] - m * a[..., None]
    # The inverse of the symmetric matrix s, by its cofactors.
    c00 = s[1, 1] * s[2, 2] - s[1, 2] ** 2
    c01 = s[0, 2] * s[1, 2] - s[0, 1] * s[2, 2]
    c02 = s[0, 1] * s[1, 2] - s[0, 2] * s[1, 1]
    c11 = s[0, 0] * s[2, 2] - s[0, 2] ** 2
    c12 = s[0, 1] * s[0, 2] - s[0, 0] * s[1, 2]
    c22 = s[0, 0] * s[1, 1] - s[0, 1] ** 2
    inverse = np.stack([c00, c01, c02, c01, c11, c12, c02, c12, c22], -1).reshape(*a.shape, 3, 3)
    determinant = s[0, 0] * c00 + s[0, 1] * c01 + s[0, 2] * c02
    slope = np.einsum("hwij,hwj->hwi", inverse, covariance) / determinant[..., None]
    offset = a - (slope * m).sum(-1)
    averaged = mean(np.concatenate([slope, offset[..., None]], -1).astype(np.float32))
    return averaged[..., :3], averaged[..., 3]


@parallel_kernel
def _apply(rgb, planes, out):
    """Alpha from colour: out [H, W, 4] gets the picture's colours and clipped alpha."""
    for row in prange(rgb.shape[0]):
        for column in range(rgb.shape[1]):
            total = planes[3, row, column]
            for c in range(3):
                value = rgb[row, column, c]
                out[row, column, c] = value
                total += planes[c, row, column] * value
            out[row, column, 3] = min(max(total, np.float32(0)), np.float32(1))


@parallel_kernel
def _solve(rgb, inner, outer, reach, out):
    """Alpha and colour of the pixels between `inner` (object) and `outer` (object and band); 1 and 0 elsewhere."""
    height, width = inner.shape
    for row in prange(height):
        for column in range(width):
            if inner[row, column]:
                out[row, column, 3] = 1
                continue
            if not outer[row, column]:
                out[row, column, 3] = 0
                continue
            fr = fg = fb = br = bg = bb = f2 = b2 = np.float32(0)
            front = back = 0
            for y in range(max(0, row - reach), min(height, row + reach + 1)):
                for x in range(max(0, column - reach), min(width, column + reach + 1)):
                    r, g, b = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
                    if inner[y, x]:
                        front += 1
                        fr += r
                        fg += g
                        fb += b
                        f2 += r * r + g * g + b * b
                    elif not outer[y, x]:
                        back += 1
                        br += r
                        bg += g
                        bb += b
                        b2 += r * r + g * g + b * b
            if front == 0 or back == 0:
                continue
            fr, fg, fb, f2 = fr / front, fg / front, fb / front, f2 / front
            br, bg, bb, b2 = br / back, bg / back, bb / back, b2 / back
            variance = max(f2 - fr * fr - fg * fg - fb * fb, np.float32(0)) + max(
                b2 - br * br - bg * bg - bb * bb, np.float32(0)
            )
            sr, sg, sb = fr - br, fg - bg, fb - bb
            length = sr * sr + sg * sg + sb * sb
            # The two colours must differ by more than they vary; between, the filter's alpha has its part.
            trust = (length / (variance + np.float32(4e-4)) - 2) / 6
            trust = min(max(trust, np.float32(0)), np.float32(1))
            r, g, b = rgb[row, column, 0] - br, rgb[row, column, 1] - bg, rgb[row, column, 2] - bb
            solved = (r * sr + g * sg + b * sb) / max(length, np.float32(1e-6))
            solved = min(max((solved - np.float32(0.1)) / np.float32(0.85), np.float32(0)), np.float32(1))
            filtered = (out[row, column, 3] - np.float32(0.5)) * 2 + np.float32(0.5)
            filtered = min(max(filtered, np.float32(0)), np.float32(1))
            alpha = trust * solved + (1 - trust) * filtered
            out[row, column, 3] = alpha
            if alpha < np.float32(0.95) and trust > 0:
                out[row, column, 0] += trust * (fr - out[row, column, 0])
                out[row, column, 1] += trust * (fg - out[row, column, 1])
                out[row, column, 2] += trust * (fb - out[row, column, 2])

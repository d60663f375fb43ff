# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the queries start: points (u, v, f) on and between the front and the back of what the picture shows.

The view frame of AGG: x right, y up, z towards the camera; the picture spans [-1, 1] in x and y at z = 0, halfway
between the object's nearest and farthest point. With t = tan(fov / 2) the camera stands at z = 1 / t, so the pixel at
(u, v) and depth z is the point (u (1 - t z), v (1 - t z), z). An anchor's fraction f is 1 on the front layer, 0 on the
back layer and in between on the rim that joins them along the silhouette.
"""

import numpy as np

from engine.errors import EmptyFieldError

Array = np.ndarray

FRONT_SHARE, BACK_SHARE = 0.4, 0.4
"""Shares of the anchors on the front and the back layer; the rest lies on the rim."""

_GOLDEN = 0.6180339887498949


def make_anchors(alpha: Array, count: int, seed: int = 0) -> tuple[Array, float]:
    """Anchors [count, 3] float32 (u, v, f) spread evenly over the silhouette, and the spacing between front neighbours.

    alpha [S, S] in [0, 1]. Points are taken at even steps along a Z-order curve through the silhouette's pixels, so
    that they cover it evenly whatever its shape; the seed moves them within their pixels. Raises `EmptyFieldError`
    where no pixel is solid.
    """
    side = alpha.shape[0]
    mask = alpha > 0.5
    if not mask.any():
        raise EmptyFieldError("The picture shows no object: no pixel is solid.", "Use a picture with a visible object.")
    rng = np.random.default_rng(seed)
    inside = _z_ordered(np.argwhere(mask))
    outline = _z_ordered(np.argwhere(mask & ~_eroded(mask)))
    front, back = round(FRONT_SHARE * count), round(BACK_SHARE * count)
    rim = count - front - back
    phases = rng.random(3)
    pixels = np.concatenate(
        [_even(inside, front, phases[0]), _even(inside, back, phases[1]), _even(outline, rim, phases[2])]
    )
    positions = (pixels + rng.random(pixels.shape)) * (2 / side) - 1
    fractions = np.concatenate([np.ones(front), np.zeros(back), (np.arange(rim) * _GOLDEN + phases[2]) % 1])
    anchors = np.stack([positions[:, 1], -positions[:, 0], fractions], -1).astype(np.float32)
    spacing = float(np.sqrt(mask.sum() / front)) * 2 / side
    return anchors, spacing


def _even(ordered: Array, count: int, phase: float) -> Array:
    """`count` rows of `ordered` at even steps; rows repeat where there are fewer."""
    return ordered[((np.arange(count) + phase) * (len(ordered) / count)).astype(int).clip(0, len(ordered) - 1)]


def _eroded(mask: Array) -> Array:
    """Pixels whose four neighbours are all inside."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _z_ordered(pixels: Array) -> Array:
    """Rows and columns [P, 2] sorted along a Z-order curve (Morton 1966)."""
    code = np.zeros(len(pixels), np.int64)
    for bit in range(12):
        code |= ((pixels[:, 0] >> bit) & 1) << (2 * bit + 1) | ((pixels[:, 1] >> bit) & 1) << (2 * bit)
    return pixels[np.argsort(code, kind="stable")]

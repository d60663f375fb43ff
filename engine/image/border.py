# SPDX-License-Identifier: GPL-3.0-or-later
"""What the border of a picture says about its background: a smooth colour through it, and which colours it holds."""

import numpy as np

Array = np.ndarray

FLOOR, CEILING = 0.01, 0.05
"""Of the noise: 8-bit steps are no structure, and a busy background is not plain."""

BINS = 10
"""Steps of each colour channel in the table of the border's colours."""


def hints(rgb: Array) -> Array:
    """How much each pixel of `rgb` [H, W, 3] differs from the border, two ways: [H, W, 2] float32 in [0, 1].

    First its distance from the polynomial through the border's colours, 0.5 at four times the noise. Then how much
    rarer its colour is along the border than in the whole picture (the background prior of salient objects, after
    Wei et al. 2012): 0 where the border has all of that colour, 1 where it has none.
    """
    height, width = rgb.shape[:2]
    flat, every, border = rgb.reshape(-1, 3), monomials(height, width), border_of(height, width)
    index = some_of(border, 800)
    terms, colors = every[index], flat[index]
    coefficients, noise = robust_fit(terms, colors, near_corners(terms, colors))
    distance = np.linalg.norm(flat - every @ coefficients, axis=1) / (4 * noise)
    cells = np.minimum((flat * BINS).astype(np.int32), BINS - 1) @ np.array([BINS * BINS, BINS, 1], np.int32)
    ring = cells[border.ravel()]
    shares = [_spread(np.bincount(some, minlength=BINS**3)) / len(some) for some in (ring, cells)]
    rarity = 1 - np.minimum(shares[0] / np.maximum(shares[1], 1e-9), 1)
    return np.stack([distance / (1 + distance), rarity[cells]], -1).reshape(height, width, 2).astype(np.float32)


def _spread(counts: Array) -> Array:
    """Counts [BINS^3] shared with the neighbouring colours."""
    table = np.pad(counts.reshape(BINS, BINS, BINS).astype(np.float64), 1, "edge")
    for axis in range(3):
        table = 0.5 * table + 0.25 * (np.roll(table, 1, axis) + np.roll(table, -1, axis))
    return table[1:-1, 1:-1, 1:-1].ravel()


def border_of(height: int, width: int) -> Array:
    """The pixels [H, W] bool along the border of a picture."""
    ring = max(2, round(0.015 * min(height, width)))
    border = np.ones((height, width), bool)
    border[ring:-ring, ring:-ring] = False
    return border


def near_corners(terms: Array, colors: Array) -> Array:
    """Weights [P] to start a fit with: corners rarely belong to the object."""
    corners = np.median(colors[(np.abs(terms[:, 1]) > 0.8) & (np.abs(terms[:, 2]) > 0.8)], 0)
    return 1 / (1 + (np.linalg.norm(colors - corners, axis=1) / 0.1) ** 4)


def some_of(mask: Array, most: int = 6000) -> Array:
    """Flat indices of at most `most` pixels of `mask`, evenly taken."""
    index = np.flatnonzero(mask)
    return index[:: -(-len(index) // most)] if len(index) else index


def monomials(height: int, width: int) -> Array:
    """The monomials 1, x, y, x^2, y^2, xy at every pixel, x and y in [-1, 1]: [H * W, 6]."""
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij"
    )
    x, y = x.ravel(), y.ravel()
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)


def robust_fit(terms: Array, colors: Array, weights: Array) -> tuple[Array, float]:
    """Coefficients [6, 3] and noise of the simplest polynomial through most `colors` [P, 3]: reweighted least squares.

    A higher degree is kept only where it explains more: it is the lower one that extrapolates well behind the object.
    """
    fits = []
    for used in (1, 3, 6):
        current, residual, noise = weights, np.zeros(len(colors)), FLOOR
        coefficients = np.zeros((6, 3), np.float32)
        for _ in range(4):
            coefficients = _least_squares(terms, colors, current, used)
            residual = np.linalg.norm(colors - terms @ coefficients, axis=1)
            noise = noise_of(_weighted_median(residual, current))
            current = 1 / (1 + (residual / (3 * noise)) ** 4)
        fits.append((float(np.minimum(residual, 6 * noise).mean()), coefficients, noise))
    best = min(cost for cost, *_ in fits)
    return next((coefficients, noise) for cost, coefficients, noise in fits if cost <= max(1.15 * best, 0.4 * FLOOR))


def noise_of(median: float) -> float:
    """The noise to reckon with, from the median distance of the background's pixels from their model."""
    return min(CEILING, max(FLOOR, 1.2 * median))


def _least_squares(terms: Array, colors: Array, weights: Array, used: int) -> Array:
    """Coefficients [6, 3] of the first `used` terms; slopes are pulled towards 0 where the data is silent."""
    kept = terms[:, :used]
    weighted = kept * weights[:, None]
    ridge = np.diag([1e-9] + [4e-4] * (used - 1)) * weights.sum()
    coefficients = np.zeros((6, 3), np.float32)
    coefficients[:used] = np.linalg.solve((weighted.T @ kept + ridge).astype(np.float64), weighted.T @ colors)
    return coefficients


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[min(len(order) - 1, np.searchsorted(total, total[-1] / 2))]])

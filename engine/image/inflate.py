# SPDX-License-Identifier: GPL-3.0-or-later
"""A silhouette blown up like a balloon: the depth one can guess without knowing the object."""

import numpy as np

from engine.jit import kernel

Array = np.ndarray

SWEEPS = 160
RELAXATION = 1.9


def inflate(mask: Array) -> Array:
    """Half thickness of the inflated silhouette [H, W] float32, in half picture widths; 0 outside.

    mask [H, W] bool, square pixels, the picture spans [-1, 1]. Solves laplace(h) = -4 inside with h = 0 on the
    boundary and returns sqrt(h): a disc becomes the sphere of its radius, a long strip an elliptic cylinder.
    """
    padded = np.pad(mask, 1)
    potential = np.zeros(padded.shape, np.float32)
    _relax(padded, potential, np.float32((2.0 / mask.shape[1]) ** 2), SWEEPS, np.float32(RELAXATION))
    return np.sqrt(potential[1:-1, 1:-1])


def inflate_alpha(alpha: Array, size: int) -> Array:
    """The inflated silhouette [size, size] of a picture's alpha [S, S]; S is a multiple of `size`."""
    step = len(alpha) // size
    return inflate(alpha.reshape(size, step, size, step).mean((1, 3)) > 0.5)


@kernel
def _relax(inside, potential, cell_area, sweeps, relaxation):
    """Successive over-relaxation of the five-point Poisson equation (Young 1954)."""
    height, width = inside.shape
    for _ in range(sweeps):
        for row in range(1, height - 1):
            for column in range(1, width - 1):
                if inside[row, column]:
                    around = (
                        potential[row - 1, column]
                        + potential[row + 1, column]
                        + potential[row, column - 1]
                        + potential[row, column + 1]
                    )
                    target = np.float32(0.25) * around + cell_area
                    potential[row, column] += relaxation * (target - potential[row, column])
    for row in range(height):
        for column in range(width):
            potential[row, column] = max(potential[row, column], np.float32(0))

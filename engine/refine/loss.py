# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a picture of the mesh is from a target, and the gradient of that.

Per pixel, with C, A, z the mesh's colour over black, alpha and depth, and t the target's colour,

    |C - A t|^2  +  ALPHA (max(0, least - A)^2 + max(0, A - most)^2)  +  DEPTH (|z - z_t| / UNIT, rounded below EXACT)

Colours are compared where both show the object (C - A t is A times the difference), so they do not move its outline;
depths that are farther apart than LIMIT belong to different surfaces. Lengths are parts of the object's longest side.
"""

import numpy as np

from engine.jit import parallel_kernel, prange
from engine.refine.targets import Target
from engine.render.mesh_gradients import MeshPicture

Array = np.ndarray

ALPHA, DEPTH = 4.0, 1.0

UNIT = 0.02
"""Difference of depth that weighs as much as that of black and white."""

EXACT = 0.0003
"""Below it depths count by their square: most are known better, some are far off and must not pull more than others."""

LIMIT = 0.04

SAME = 0.01
"""Difference of depth at which colours no longer count: they are those of another surface."""


def compare(picture: MeshPicture, target: Target, side: float) -> tuple[float, Array, Array, Array]:
    """The loss per pixel of the object, and its gradients by colors [H, W, 3], alphas and depths [H, W]; `side`
    is the object's longest side."""
    kind = picture.alphas.dtype.type
    colors, alphas, depths = (np.empty_like(a) for a in (picture.colors, picture.alphas, picture.depths))
    sums = np.zeros(target.height, np.float64)
    _compare(
        picture.colors, picture.alphas, picture.depths, target.colors, target.color_weights, target.least, target.most,
        target.depths, target.depth_weights, kind(UNIT * side), kind(EXACT * side), kind(LIMIT * side),
        kind(SAME * side), kind(1 / target.pixels), colors, alphas, depths, sums,
    )  # fmt: skip
    return float(sums.sum()), colors, alphas, depths


@parallel_kernel
def _compare(
    colors, alphas, depths, wanted, weights, least, most, deep, deep_weights, unit, exact, limit, same, scale,
    grad_colors, grad_alphas, grad_depths, sums,
):  # fmt: skip
    height, width = alphas.shape
    for index in prange(height):
        row = np.int64(index)
        total = 0.0
        for column in range(width):
            alpha, weight = alphas[row, column], weights[row, column] * scale
            below = max(least[row, column] - alpha, 0.0)
            above = max(alpha - most[row, column], 0.0)
            total += ALPHA * scale * (below * below + above * above)
            grad_alpha = 2 * ALPHA * scale * (above - below)
            grad_depths[row, column] = 0
            if deep[row, column] > 0 and depths[row, column] > 0:
                apart = depths[row, column] - deep[row, column]
                deep_weight = DEPTH * scale * deep_weights[row, column]
                bowl = np.sqrt(apart * apart + exact * exact)
                if abs(apart) < limit:
                    total += deep_weight * (bowl - exact) / unit
                    grad_depths[row, column] = deep_weight * apart / (bowl * unit)
                else:
                    total += deep_weight * limit / unit
                weight *= max(1 - apart * apart / (same * same), 0.0)
            for channel in range(3):
                t = wanted[row, column, channel]
                difference = colors[row, column, channel] - alpha * t
                total += weight * difference * difference
                grad_colors[row, column, channel] = 2 * weight * difference
                grad_alpha -= 2 * weight * difference * t
            grad_alphas[row, column] = grad_alpha
        sums[row] = total

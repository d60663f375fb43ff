# SPDX-License-Identifier: GPL-3.0-or-later
"""A signed distance on a grid: what both ways of finding a surface produce and `isosurface.extract` takes."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class SignedGrid:
    """Samples at `origin + voxel * (i, j, k)`: distance to the surface near it, of the right sign everywhere."""

    values: Array  # [X, Y, Z] float32, object units: < 0 inside, > 0 outside; > 0 on the border, clamped far away
    origin: Array  # [3] float64, position of the first sample
    voxel: float  # edge in object units

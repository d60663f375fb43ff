# SPDX-License-Identifier: GPL-3.0-or-later
"""Colour beyond the borders of charts, so that filtering and smaller copies of a texture mix in no background."""

import numpy as np
from scipy.ndimage import distance_transform_edt

Array = np.ndarray


def pad(texture: Array, covered: Array) -> Array:
    """`texture` [T, T, C] with every texel outside `covered` [T, T] (bool) taken from the nearest one inside.

    All of the texture is filled, so the padding is as wide as the charts stand apart; a texture with nothing
    covered comes back as it is.
    """
    if covered.all() or not covered.any():
        return texture
    nearest = np.empty((2, *covered.shape), np.int32)
    distance_transform_edt(~covered, return_distances=False, return_indices=True, indices=nearest)
    return texture[nearest[0], nearest[1]]

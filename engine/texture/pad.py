# SPDX-License-Identifier: GPL-3.0-or-later
"""Colour beyond the borders of charts, so that filtering and smaller copies of a texture mix in no background."""

import numpy as np

from engine.jit import parallel_kernel, prange

Array = np.ndarray


def pad(texture: Array, covered: Array) -> Array:
    """`texture` [T, T, C] with every texel outside `covered` [T, T] (bool) taken from the nearest one inside.

    All of the texture is filled, so the padding is as wide as the charts stand apart; a texture with nothing
    covered comes back as it is.
    """
    if covered.all() or not covered.any():
        return texture
    rows = np.empty(covered.shape, np.int32)
    _nearest_in_columns(covered, rows)
    padded = texture.copy()
    _from_nearest(rows, padded)
    return padded


@parallel_kernel
def _nearest_in_columns(covered, rows):
    """For each texel the row of the nearest covered one in its column, -1 where the column has none."""
    height, width = covered.shape
    strips = 32
    for strip in prange(strips):
        first, end = width * strip // strips, width * (strip + 1) // strips
        last = np.full(end - first, -1, np.int32)
        for row in range(height):
            for column in range(first, end):
                if covered[row, column]:
                    last[column - first] = row
                rows[row, column] = last[column - first]
        last[:] = -1
        for row in range(height - 1, -1, -1):
            for column in range(first, end):
                if covered[row, column]:
                    last[column - first] = row
                below, above = last[column - first], rows[row, column]
                if below >= 0 and (above < 0 or below - row < row - above):
                    rows[row, column] = below


@parallel_kernel
def _from_nearest(rows, texture):
    """Fills what lies outside from the nearest texel inside: the lower envelope of parabolas along each row
    (Felzenszwalb and Huttenlocher 2012, "Distance Transforms of Sampled Functions").

    Only texels inside are read and only others written, so that rows may be filled in any order.
    """
    height, width = rows.shape
    for row in prange(height):
        parabolas = np.empty(width, np.int32)  # columns whose parabola is part of the envelope
        begins = np.empty(width + 1, np.float64)  # where each is the lowest
        count = 0
        for column in range(width):
            if rows[row, column] < 0:
                continue
            rise = np.float64(rows[row, column] - row) ** 2 + np.float64(column) ** 2
            begin = -np.inf
            while count > 0:
                other = parabolas[count - 1]
                lower = np.float64(rows[row, other] - row) ** 2 + np.float64(other) ** 2
                begin = (rise - lower) / (2.0 * (column - other))
                if begin > begins[count - 1]:
                    break
                count -= 1
                begin = -np.inf
            parabolas[count], begins[count] = column, begin
            count += 1
        begins[count] = np.inf
        k = 0
        for column in range(width):
            while begins[k + 1] < column:
                k += 1
            source = rows[row, parabolas[k]]
            if source != row or parabolas[k] != column:
                for channel in range(texture.shape[2]):
                    texture[row, column, channel] = texture[source, parabolas[k], channel]

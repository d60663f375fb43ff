# SPDX-License-Identifier: GPL-3.0-or-later
"""What a picture says for certain of a shape: nothing of it reaches beyond the silhouette.

A network places its Gaussians to within a pixel of the small picture it sees, which frays the outline of the mesh.
Those at the rim are drawn inwards, at their depth, until they end on the outline of the full-size picture.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.fields.gaussians import Gaussians

Array = np.ndarray

REACH = 3.0
"""Standard deviations of a Gaussian that have to lie within the silhouette: beyond, it adds 1 % of its opacity."""

STEPS, STRIDE = 5, 1.5
"""Times that distance and direction of the outline are looked up anew, and pixels inwards at once: the middle of a thin
part must not be missed."""

SMALLEST = 0.4
"""Largest shrinking of a Gaussian that finds no room, in parts thinner than itself."""


def drawn_inside(gaussians: Gaussians, photo: Array, tan_half_fov: float) -> Gaussians:
    """Gaussians of the view frame (`anchors`), moved sideways until REACH of their standard deviations lie within the
    object's alpha in `photo` [S, S, 4]; where a part is too thin for that, onto its middle line, and smaller.

    Depths stay. Those that lie within already stay as they are.
    """
    half = len(photo) / 2
    distance = _distance_inside(photo[..., 3] > 0.5)
    slope_row, slope_column = np.gradient(distance)
    means = gaussians.means.astype(np.float64)
    perspective = np.maximum(1 - tan_half_fov * means[:, 2], 0.1)
    places = np.stack([half - means[:, 1] / perspective * half, means[:, 0] / perspective * half + half]) - 0.5
    near = np.flatnonzero(_sampled(distance, places) < REACH * gaussians.scales.max(1) / perspective * half)
    if not len(near):
        return gaussians
    # Rows of the rotation: how far each of the Gaussian's axes goes along the picture's x and y.
    across = Rotation.from_quat(gaussians.quats[near], scalar_first=True).as_matrix()[:, :2]
    extents = across * gaussians.scales[near, None] / perspective[near, None, None] * half
    place, reach = places[:, near], np.zeros(len(near))
    for _ in range(STEPS):
        slope = np.stack([_sampled(slope_row, place), _sampled(slope_column, place)])
        steepness = np.linalg.norm(slope, axis=0)
        outwards = slope / np.maximum(steepness, 1e-6)
        along = outwards[1, :, None] * extents[:, 0] - outwards[0, :, None] * extents[:, 1]
        # On a middle line the outline is to either side, and has no direction.
        reach = REACH * np.where(steepness > 0.3, np.linalg.norm(along, axis=1), extents.max((1, 2)))
        inside = _sampled(distance, place)
        place = place + np.clip(reach - inside, 0, np.maximum(-inside, 0) + STRIDE) * slope
    room = (_sampled(distance, place) / np.maximum(reach, 1e-6)).clip(SMALLEST, 1)
    row, column = place + 0.5
    means[near, :2] = np.stack([column - half, half - row], 1) / half * perspective[near, None]
    scales = gaussians.scales.copy()
    scales[near] *= room[:, None].astype(np.float32)
    return replace(gaussians, means=means.astype(np.float32), scales=scales)


def _distance_inside(mask: Array) -> Array:
    """Pixels to the outline of a mask [S, S], negative outside, smooth enough that its slope leads inwards."""
    inside, outside = (np.asarray(ndimage.distance_transform_edt(part)) for part in (mask, ~mask))
    return ndimage.gaussian_filter(np.where(mask, inside - 0.5, 0.5 - outside), 1.0)


def _sampled(image: Array, places: Array) -> Array:
    """Values [N] of an image between its pixels, at places [2, N] (row, column)."""
    return ndimage.map_coordinates(image, places, order=1, mode="nearest")

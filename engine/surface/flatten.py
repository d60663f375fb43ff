# SPDX-License-Identifier: GPL-3.0-or-later
"""Fat round Gaussians as discs: what cameras measure of a ball is its centre, not where its surface is."""

from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from engine.fields.gaussians import Gaussians

Array = np.ndarray

ROUND = 0.5
"""Gaussians whose smallest standard deviation is above this part of the middle one have no plane of their own."""

NEIGHBOURS = 16
"""So many give a round Gaussian its plane."""

CLOSE, OVERLAP, LONELY = 8, 1.0, 3.0
"""Discs reach this part of the mean distance to so many neighbours, so that no gaps stay, unless that is very far."""

THIN = 0.1
"""Thickness of the discs, as a part of the ball's."""

OFFSET = 1.2
"""Standard deviations from a ball's centre to the surface: where one of opacity 1 has an alpha of 1/2."""


def flattened(gaussians: Gaussians, least: float) -> tuple[Gaussians, Array]:
    """The Gaussians with round ones thicker than `least` (a standard deviation, object units) made discs.

    Only where most of the opacity is in such: among flat ones they are floaters. The plane of a disc is that of the
    nearest centres. Also returns how far off it, towards whoever looks, the surface
    lies, [N] float32: 0 for those left as they were.
    """
    offsets = np.zeros(len(gaussians), np.float32)
    ordered = np.sort(gaussians.scales, axis=1)
    fat = np.flatnonzero((ordered[:, 0] > ROUND * ordered[:, 1]) & (ordered[:, 0] > least))
    most = gaussians.opacities[fat].sum() > 0.5 * gaussians.opacities.sum()
    if not most or len(gaussians) <= NEIGHBOURS:
        return gaussians, offsets
    distances, nearest = KDTree(gaussians.means).query(gaussians.means[fat], k=NEIGHBOURS + 1, workers=-1)
    around = gaussians.means[nearest].astype(np.float64)
    around -= around.mean(1, keepdims=True)
    axes = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))[1]
    quats, scales = gaussians.quats.copy(), gaussians.scales.copy()
    quats[fat] = turned_onto(axes[:, :, 0])
    gaps = distances[:, 1 : CLOSE + 1].mean(1)
    widths = np.maximum(ordered[fat, 1], OVERLAP * np.minimum(gaps, LONELY * np.median(gaps)))
    scales[fat] = np.stack([widths, widths, THIN * ordered[fat, 0]], axis=1)
    offsets[fat] = OFFSET * ordered[fat, 0]
    return replace(gaussians, quats=quats, scales=scales), offsets


def turned_onto(normals: Array) -> Array:
    """Unit quaternions [N, 4] (wxyz) that turn +z onto unit vectors [N, 3] or, as that is the same plane, onto -n."""
    up = normals * np.where(normals[:, 2] < 0, -1.0, 1.0)[:, None]
    quats = np.stack([1 + up[:, 2], -up[:, 1], up[:, 0], np.zeros(len(up))], axis=1)
    return (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32)

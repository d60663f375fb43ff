# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Gaussians are seen from outside, how much, and from which side."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from engine.fields.cameras import Cameras, look_at
from engine.fields.gaussians import Gaussians
from engine.render.splat_depth import seen_weights

Array = np.ndarray

FOV_DEG = 24.0
"""Cameras stand far enough away that the whole object lies in this angle: nearly parallel rays, little distortion."""

CELLS = 32
"""The pictures are fitted to the cells of so coarse a grid that hold Gaussians."""

ONE_SIDED = 0.4
"""Length of a Gaussian's mean direction from which on it has a back: 2/3 if seen from all of one side, 0 if of both."""

FLAT = 0.5
"""Gaussians whose smallest standard deviation is below this part of the middle one have a normal."""

SMALLEST_PART = 0.002
"""Cells that hang together and hold less than this share of the opacity are floaters: pictures may leave them out."""


@dataclass(frozen=True)
class Seen:
    """How N Gaussians are seen by cameras spread evenly around them."""

    weights: Array  # [N] float32: blending weight alpha_i T_i over all pixels of all views, in pixels; 0 if hidden
    directions: Array  # [N, 3] float32: mean unit vector towards the views, by weight; length 1 if seen from one
    #   direction only, near 0 if seen from opposite sides alike, 0 if hidden
    pixel: float  # side of a pixel at the object, object units


def seen(gaussians: Gaussians, views: int = 16, size: int = 192) -> Seen:
    """What `views` cameras all around see of each Gaussian in pictures of `size` x `size` pixels.

    A Gaussian behind others, as on an inner wall, has a weight near 0; floaters far out are seen from every side. A
    normal n that points outwards has n . direction > 0.
    """
    if not len(gaussians):
        return Seen(np.zeros(0, np.float32), np.zeros((0, 3), np.float32), 0.0)
    cameras, pixel = surrounding(gaussians, views, size)
    weights = seen_weights(gaussians, cameras)
    total = weights.sum(0)
    # Far cameras: the direction towards one is nearly the same from everywhere on the object.
    toward = -cameras.viewmats[:, 2, :3]
    directions = weights.T @ toward / np.maximum(total, 1e-12)[:, None]
    return Seen(total, directions.astype(np.float32), pixel)


def outward_directions(gaussians: Gaussians, visible: Seen) -> Array:
    """Unit vectors [N, 3] out of the object: normals of flat Gaussians, else the mean direction they are seen from.

    0 for those that have no back: seen from opposite sides alike, as sheets are, or hidden.
    """
    directions = visible.directions
    lengths = np.linalg.norm(directions, axis=1)
    order = np.argsort(gaussians.scales, axis=1)
    rows = np.arange(len(gaussians))
    flat = gaussians.scales[rows, order[:, 0]] < FLAT * gaussians.scales[rows, order[:, 1]]
    normals = gaussians.rotations()[rows, :, order[:, 0]]
    along = np.einsum("ni,ni->n", normals, directions)
    outward = np.where(
        flat[:, None], normals * np.sign(along)[:, None], directions / np.maximum(lengths, 1e-9)[:, None]
    )
    sided = np.where(flat, np.abs(along), lengths) > ONE_SIDED
    return np.where(sided[:, None], outward, 0).astype(np.float32)


def spread_directions(count: int, turn: float = 0.0) -> Array:
    """`count` unit vectors spread evenly over the sphere (a Fibonacci lattice about y), [count, 3] float64.

    `turn`, in steps of the lattice, rotates it about y: other values give directions between those of 0.
    """
    i = np.arange(count) + 0.5
    height = 1 - 2 * i / count
    azimuth = np.pi * (1 + 5**0.5) * (i + turn)
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.sin(azimuth), height, across * np.cos(azimuth)], axis=1)


def surrounding(gaussians: Gaussians, views: int, size: int, turn: float = 0.0) -> tuple[Cameras, float]:
    """`views` cameras all around, their pictures fitted to the Gaussians, and the side of a pixel at the object.

    All pictures have one scale, that of the direction from which the object looks widest; faint floaters far away may
    lie outside of them.
    """
    points, around = _occupied(gaussians)
    middle = (points.min(0) + points.max(0)) / 2
    radius = np.linalg.norm(points - middle, axis=1).max() + around
    distance = radius / np.sin(np.radians(FOV_DEG) / 2)
    viewmats = np.stack([look_at(middle + distance * d, middle) for d in spread_directions(views, turn)])
    seen_from = np.einsum("cij,pj->cpi", viewmats[:, :3, :3], points) + viewmats[:, None, :3, 3]
    slopes = seen_from[..., :2] / seen_from[..., 2:]
    margin = around / (distance - radius)
    first, last = slopes.min(1) - margin, slopes.max(1) + margin
    focal = size / (last - first).max()
    Ks = np.zeros((views, 3, 3))
    Ks[:, 0, 0] = Ks[:, 1, 1] = focal
    Ks[:, :2, 2] = size / 2 - focal * (first + last) / 2
    Ks[:, 2, 2] = 1
    return Cameras(viewmats, Ks, size, size), float(distance / focal)


def _occupied(gaussians: Gaussians) -> tuple[Array, float]:
    """Points [P, 3] such that every Gaussian that counts lies within the returned distance of one of them."""
    centers, side, _ = _main_cells(gaussians.means, gaussians.opacities)
    return centers, float(side * 3**0.5 / 2 + 2.5 * np.percentile(gaussians.scales.max(1), 95))


def main_part(points: Array, weights: Array) -> Array:
    """Mask [P] of `points` [P, 3] without small clusters of them far from the rest; `weights` [P] say how small."""
    return _main_cells(points, weights)[2]


def _main_cells(points: Array, weights: Array) -> tuple[Array, float, Array]:
    """Centres [K, 3] and side of the cells of a coarse grid that hold what matters, and the mask [P] of points in them.

    Cells that hang together and hold hardly any weight are left out, and the grid is made anew around what is left
    while that shrinks it by much: a floater may lie a thousand objects away.
    """
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    while True:
        side = max(float((high - low).max()) / CELLS, 1e-9)
        cells = np.floor((points - low) / side).astype(np.int64)
        held = np.all((cells >= 0) & (cells <= CELLS), axis=1)
        flat = np.ravel_multi_index(tuple(cells[held].T), (CELLS + 1,) * 3)
        weight = np.bincount(flat, weights[held], (CELLS + 1) ** 3).reshape((CELLS + 1,) * 3)
        labels = np.empty(weight.shape, np.int32)
        ndimage.label(weight > 0, np.ones((3, 3, 3)), output=labels)
        sums = np.bincount(labels.ravel(), weight.ravel())
        kept = (labels > 0) & (sums >= SMALLEST_PART * weight.sum())[labels]
        if not kept.any():
            kept.ravel()[flat] = True
        centers = low + side * (np.argwhere(kept) + 0.5)
        tight_low, tight_high = centers.min(0) - side / 2, centers.max(0) + side / 2
        if (tight_high - tight_low).max() > 0.7 * (high - low).max():
            held[held] = kept.ravel()[flat]
            return centers, side, held
        low, high = tight_low, tight_high

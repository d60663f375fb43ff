# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians as pieces of a surface: which form one, the plane each lies in, how far it must reach to close it."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import KDTree

from engine.errors import EmptyFieldError
from engine.fields.gaussians import Gaussians
from engine.surface.density import CHUNK, REACH, scatter

Array = np.ndarray

NEIGHBOURS, OVERLAP, DEPTH = 8, 0.7, 0.25
"""Gaussians are widened, along the surface and across it, to these parts of the mean distance to so many neighbours."""

FLAT = 0.5
"""Gaussians whose smallest deviation is below this part of the middle one know their plane themselves."""

ROUND_NEIGHBOURS, ROUND_OVERLAP, ROUND_DEPTH = 16, 1.0, 0.5
"""For others the plane is that of so many neighbours; they reach farther along it, and so far across it."""

LONELY = 3.0
"""Gaussians this many times farther from their neighbours than usual are not widened to the full."""

FAINT = 0.1
"""Part of the shell's density that is not part of the object for sure."""

EMPTY = 1e-3
"""Smallest deviation in voxels taken for real, so that factors of covariances exist."""


@dataclass(frozen=True)
class Shell:
    """N pieces of a surface."""

    means: Array  # [N, 3] float32
    opacities: Array  # [N] float32
    tangents: Array  # [N, 3, 3] float64: covariance within the plane, widened until it meets the neighbours'
    depths: Array  # [N] deviation across the plane, widened so that bent surfaces stay closed; object units
    thickness: Array  # [N] deviation across the plane that is the Gaussian's own
    round: Array  # [N] bool, without a plane of its own
    normals: Array  # [N, 3] float64, unit length, of either sign
    spacing: float  # median of the mean distances to the neighbours, 0 where there are too few

    def __len__(self) -> int:
        return len(self.means)

    def select(self, mask: Array) -> "Shell":
        """The pieces where `mask` [N] is true."""
        names = ("means", "opacities", "tangents", "depths", "thickness", "round", "normals")
        return replace(self, **{name: getattr(self, name)[mask] for name in names})

    def covariances(self, least: float, most: float = np.inf) -> Array:
        """Covariances [N, 3, 3] whose deviation across the plane lies in this range of object units."""
        across = np.clip(self.depths, least, most) ** 2
        return self.tangents + across[:, None, None] * (self.normals[:, :, None] * self.normals[:, None, :])


def make_shell(gaussians: Gaussians) -> Shell:
    """The Gaussians that can be part of a surface, with their planes.

    A shell of Gaussians smaller than their spacing is a sieve. Along the plane the variance is raised to (`OVERLAP`
    times the mean distance of the neighbours)^2. The plane of a flat Gaussian is its own, the plane of a round one
    that through its neighbours. Raises `EmptyFieldError` where nothing can form a surface.
    """
    solid = gaussians.select(forms_surface(gaussians))
    if not len(solid):
        raise EmptyFieldError("Found no Gaussian opaque enough to form a surface.", "Try another picture or seed.")
    ordered = np.sort(solid.scales, 1).astype(np.float64)
    rotations = solid.rotations().astype(np.float64)
    normals = rotations[np.arange(len(solid)), :, solid.scales.argmin(1)]
    depths, thickness = ordered[:, 0].copy(), ordered[:, 0].copy()
    no_plane = ordered[:, 0] > FLAT * ordered[:, 1]
    overlap = np.where(no_plane, ROUND_OVERLAP, OVERLAP)
    spacing, reach = 0.0, np.zeros(len(solid))
    if len(solid) > NEIGHBOURS:
        tree = KDTree(solid.means)
        reach = tree.query(solid.means, k=NEIGHBOURS + 1, workers=-1)[0][:, 1:].mean(1)
        spacing = float(np.median(reach))
        reach = np.minimum(reach, LONELY * spacing)
        depths = np.maximum(depths, np.where(no_plane, ROUND_DEPTH, DEPTH) * reach)
        rounds = np.flatnonzero(no_plane)
        if len(rounds):
            count = min(ROUND_NEIGHBOURS + 1, len(solid))
            offsets = solid.means[tree.query(solid.means[rounds], k=count, workers=-1)[1]].astype(np.float64)
            offsets -= offsets.mean(1, keepdims=True)
            normals[rounds] = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))[1][:, :, 0]
    half = rotations * solid.scales[:, None, :]  # half half^T is the covariance
    half -= normals[:, :, None] * np.einsum("ni,nij->nj", normals, half)[:, None, :]
    tangents = half @ half.transpose(0, 2, 1)
    missing = np.maximum((overlap * reach) ** 2 - np.einsum("nii->n", tangents) / 2, 0)
    planes = np.eye(3) - normals[:, :, None] * normals[:, None, :]
    tangents += missing[:, None, None] * planes
    return Shell(solid.means, solid.opacities, tangents, depths, thickness, no_plane, normals, spacing)


def place_grid(shell: Shell, resolution: int, border: int) -> tuple[Array, float, tuple[int, int, int]]:
    """Origin [3], voxel and shape of a grid with `resolution` cells along the longest side of what is dense.

    What is dense is found on a coarse grid. `border` voxels stay free on every side.
    """
    covariances = shell.covariances(0.0)
    low, high = extents(shell.means, covariances, shell.opacities)
    coarse = float(max((high - low).max() / 60, 1e-9))
    shape = np.maximum(np.ceil((high - low) / coarse).astype(int) + 1, CHUNK)
    values = scatter(shell.means, covariances, shell.opacities, low, coarse, tuple(shape))
    dense = values > FAINT * usual(at(values, shell.means, low, coarse), shell.opacities)
    for axis in range(3):
        filled = np.flatnonzero(dense.any(tuple(other for other in range(3) if other != axis)))
        start = low[axis]
        low[axis] = max(start, start + coarse * (filled[0] - 1))
        high[axis] = min(high[axis], start + coarse * (filled[-1] + 1))
    voxel = float((high - low).max() / (resolution - 2 * border))
    shape = np.maximum(np.ceil((high - low) / voxel).astype(int) + 1 + 2 * border, CHUNK)
    origin = (low + high) / 2 - voxel * (shape - 1) / 2
    return origin, voxel, (int(shape[0]), int(shape[1]), int(shape[2]))


def at(values: Array, points: Array, origin: Array, voxel: float) -> Array:
    """The value [N] of the sample nearest to each of `points` [N, 3]."""
    cells = np.rint((points - origin) / voxel).astype(np.int64)
    return values[tuple(np.clip(cells, 0, np.array(values.shape) - 1).T)]


def usual(densities: Array, opacities: Array) -> float:
    """What nine tenths of the Gaussians, by opacity, have at least at their centres."""
    order = np.argsort(densities)
    share = np.cumsum(opacities[order], dtype=np.float64)
    return float(densities[order[np.searchsorted(share, 0.1 * share[-1])]])


def extents(means: Array, covariances: Array, opacities: Array) -> tuple[Array, Array]:
    """Box [3], [3] (float64) that holds the Gaussians up to `REACH`, without lone floaters far away.

    On each side up to 0.1 % of the opacity may lie outside, and only what a gap of a tenth of the box's
    side separates from the rest: thin real parts stay, a floater far off does not waste the grid.
    """
    sigmas = np.sqrt(np.einsum("nii->ni", covariances))
    means, weights = means.astype(np.float64), opacities.astype(np.float64)
    low = -_furthest(-(means - REACH * sigmas), weights)
    high = _furthest(means + REACH * sigmas, weights)
    return low, high


def _furthest(edges: Array, weights: Array) -> Array:
    """Per axis the highest of `edges` [N, 3] that is not an outlier, [3]."""
    result = np.empty(3)
    for axis in range(3):
        order = np.argsort(edges[:, axis], kind="stable")
        ordered = edges[order, axis]
        share = np.cumsum(weights[order]) / weights.sum()
        inside = min(int(np.searchsorted(share, 0.999)), len(order) - 1)
        gaps = np.diff(ordered[inside:])
        wide = np.flatnonzero(gaps > 0.1 * (ordered[inside] - ordered[0]))
        result[axis] = ordered[inside + wide[0]] if len(wide) else ordered[-1]
    return result


def forms_surface(gaussians: Gaussians) -> Array:
    """Mask [N] of Gaussians that can be part of a surface: not nearly transparent, and no haze around everything."""
    visible = gaussians.opacities > 0.02 * gaussians.opacities.max(initial=0)
    if not visible.any():
        return visible
    sizes = gaussians.scales.max(1)
    low, high = np.percentile(gaussians.means[visible], [2, 98], axis=0)
    side = (high - low).max() + 2 * REACH * np.median(sizes[visible])
    return visible & (sizes < 0.5 * side)

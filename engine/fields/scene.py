# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells an object from the scene it was captured in, by how densely Gaussians stand.

Training puts small Gaussians close together where many cameras look, and few large ones far behind. So the spacing of
an object's Gaussians varies by a factor of a few, also between its parts, while a captured scene has a long tail: sky,
trees, walls a hundred times sparser. Only files with such a tail are cut; within them the ground is taken away, and
what then hangs together with the largest part is the object. Everything is found on a sample of fixed size.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, binary_fill_holes
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from engine.fields.gaussians import Gaussians

Array = np.ndarray

SAMPLE = 15_000
NEIGHBOUR = 8

TAIL = 10.0
"""A Gaussian whose spacing is this many times that of a file's denser quarter belongs to no object beside those."""
TAIL_SHARE = 0.03
"""A scene has more than this share of its Gaussians in the tail; single objects with their floaters have below 0.01."""

_LINK = 5.0  # reach, in spacings, within which Gaussians hang together
_NEAR = 0.15  # of the object's diagonal: parts that stand no farther from it belong to it
_PART = 0.002  # smallest share of the object that a detached part has
_GROUND_SHARE = 0.08  # of the dense Gaussians, at least
_GROUND_REACH = 1.3  # times the reach of what stands on it, at least
_ONE_SIDED = 0.9  # of what is not ground lies on one side of it
_TRIALS = 300


@dataclass(frozen=True)
class Sample:
    """Some Gaussians that stand for all: enough to see where they are dense, few enough to ask for neighbours."""

    index: Array  # [S] positions among the Gaussians
    spacing: Array  # [S] distance to the eighth neighbour in the sample

    @staticmethod
    def of(gaussians: Gaussians, keep: Array) -> "Sample":
        """Of the Gaussians in the mask `keep` [N]; the same ones in every run."""
        index = np.flatnonzero(keep)
        if len(index) > SAMPLE:
            index = np.sort(np.random.default_rng(0).choice(index, SAMPLE, replace=False))
        means = gaussians.means[index]
        if len(index) <= NEIGHBOUR:
            return Sample(index, np.zeros(len(index)))
        return Sample(index, KDTree(means).query(means, k=NEIGHBOUR + 1, workers=-1)[0][:, -1])

    def core(self, gaussians: Gaussians) -> tuple[Array, Array]:
        """Box [3], [3] of the means that leaves out 2 % on each side."""
        low, high = np.percentile(gaussians.means[self.index], [2, 98], axis=0)
        return low, high

    def box(self, gaussians: Gaussians) -> tuple[Array, Array]:
        """Box [3], [3] float64 of the Gaussians that are not floaters: neighbours near, and not faint."""
        opacities = gaussians.opacities[self.index]
        solid = opacities >= 0.25 * opacities.max()
        index = self.index[solid & (self.spacing <= 6 * np.median(self.spacing[solid]))]
        sigmas = np.sqrt(np.einsum("nii->ni", gaussians.select(index).covariances().astype(np.float64)))
        means = gaussians.means[index].astype(np.float64)
        return (means - sigmas).min(0), (means + sigmas).max(0)


def object_mask(gaussians: Gaussians, keep: Array, sample: Sample) -> Array | None:
    """Mask [N] of the largest dense object of a scene; None where the file is no scene but an object.

    Parts near the object and about as dense are kept with it, as is the ground right under it, which closes it below.
    """
    usual = float(np.quantile(sample.spacing, 0.25))
    tail = sample.spacing > TAIL * usual
    if usual == 0 or tail.mean() < TAIL_SHARE or _beyond(gaussians.means[sample.index], tail) < TAIL_SHARE / 2:
        return None
    near = _near(gaussians, keep, sample, ~tail, TAIL * usual)
    dense = Sample.of(gaussians, near)
    points = gaussians.means[dense.index].astype(np.float64)
    ground = _ground(points, dense.spacing)
    standing = np.ones(len(points), bool) if ground is None else ground.above(points)
    reach = _LINK * float(np.median(dense.spacing[standing]))
    member = np.zeros(len(points), bool)
    member[np.flatnonzero(standing)] = _largest(points[standing], dense.spacing[standing], reach)
    mask = _near(gaussians, keep, dense, member, 2 * reach)
    if ground is not None:
        mask &= ground.above(gaussians.means)
        finer = np.sqrt(len(dense.index) / np.count_nonzero(near))  # all Gaussians stand closer than a sample of them
        mask |= _under(gaussians, keep, ground, mask, 2 * finer * reach / _LINK)
    return mask


def _beyond(points: Array, tail: Array) -> float:
    """Share of points [S] in the tail and well outside the box of the others: an object's smooth sides are inside."""
    low, high = np.percentile(points[~tail], [1, 99], axis=0)
    outside = (np.abs(points - (low + high) / 2) > 0.75 * (high - low).max()).any(1)
    return float(np.mean(tail & outside))


def _near(gaussians: Gaussians, keep: Array, sample: Sample, chosen: Array, reach: float) -> Array:
    """Mask [N] of those in `keep` within `reach` of one `chosen` [S] from a sample, and of no other that is nearer."""
    tree = KDTree(gaussians.means[sample.index])
    mask = np.zeros(len(gaussians), bool)
    index = np.flatnonzero(keep)
    for start in range(0, len(index), 1 << 18):
        part = index[start : start + (1 << 18)]
        nearest = tree.query(gaussians.means[part], distance_upper_bound=reach, workers=-1)[1]
        mask[part] = np.append(chosen, False)[nearest]
    return mask


def _largest(points: Array, spacing: Array, reach: float) -> Array:
    """Mask [P] of the largest set of points that hang together within `reach`, and of the parts that belong to it."""
    pairs = KDTree(points).query_pairs(reach, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (len(points), len(points)))
    labels = connected_components(links, directed=False)[1]
    sizes = np.bincount(labels)
    main = labels == sizes.argmax()
    low, high = points[main].min(0), points[main].max(0)
    near = _NEAR * float(np.linalg.norm(high - low))
    distances = KDTree(points[main]).query(points, distance_upper_bound=near, workers=-1)[0]
    similar = np.median(spacing[main]) * 3
    member = main.copy()
    for label in np.flatnonzero(sizes >= max(_PART * main.sum(), 3)):
        part = labels == label
        if np.isfinite(distances[part]).any() and np.median(spacing[part]) <= similar:
            member |= part
    return member


@dataclass(frozen=True)
class _Ground:
    """A plane under everything: normal . p = height, and how thick it is."""

    normal: Array  # [3] unit, towards what stands on it
    height: float
    thickness: float

    def above(self, points: Array) -> Array:
        return points @ self.normal.astype(points.dtype) - self.height > self.thickness

    def plane(self, points: Array) -> Array:
        """[P, 2] coordinates within the plane."""
        axis = np.eye(3)[np.abs(self.normal).argmin()]
        first = np.cross(self.normal, axis)
        first /= np.linalg.norm(first)
        return points @ np.stack([first, np.cross(self.normal, first)], 1).astype(points.dtype)


def _ground(points: Array, spacing: Array) -> _Ground | None:
    """The plane that most dense points lie in, where it reaches farther than the rest and that is on one side of it."""
    random = np.random.default_rng(0)
    low, high = np.percentile(points, [2, 98], axis=0)
    band = 0.01 * float(np.linalg.norm(high - low))
    some = points[random.choice(len(points), min(len(points), 3000), replace=False)]
    corners = some[random.integers(0, len(some), (_TRIALS, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    normals = normals[lengths > 0] / lengths[lengths > 0, None]
    heights = np.einsum("ti,ti->t", normals, corners[lengths > 0, 0])
    if not len(normals):
        return None
    offsets = some @ normals.T - heights  # [points, planes]
    inliers, above = (np.abs(offsets) < band).mean(0), (offsets >= band).mean(0)
    one_sided = np.maximum(above, 1 - inliers - above) >= _ONE_SIDED * (1 - inliers)
    best = int(np.argmax(np.where(one_sided, inliers, 0)))
    inside = np.abs(points @ normals[best] - heights[best]) < band
    center = points[inside].mean(0)
    normal = np.linalg.eigh(np.cov((points[inside] - center).T))[1][:, 0]
    offsets = np.sort((points - center) @ normal)
    offsets = offsets[np.abs(offsets) < 2 * band]
    share = len(offsets) * 3 // 10
    widths = offsets[share:] - offsets[: len(offsets) - share]
    narrow = int(widths.argmin())  # three tenths of normally distributed heights lie within 0.385 sigma
    center = center + normal * (offsets[narrow] + offsets[narrow + share]) / 2
    thickness = min(3 * float(widths[narrow]) / (2 * 0.385), 2 * band)
    offsets = (points - center) @ normal
    inside = np.abs(offsets) <= thickness
    side = np.sign(offsets[~inside].sum()) or 1.0
    ground = _Ground(normal * side, float(center @ normal * side), thickness)
    others = ground.above(points)
    if inside.mean() < _GROUND_SHARE or not others.any() or np.mean(others[~inside]) < _ONE_SIDED:
        return None
    flat = ground.plane(points)
    middle = np.median(flat[others], axis=0)
    reach = [float(np.quantile(np.linalg.norm(flat[rows] - middle, axis=1), 0.9)) for rows in (inside, others)]
    return ground if reach[0] >= _GROUND_REACH * reach[1] else None


def _under(gaussians: Gaussians, keep: Array, ground: _Ground, mask: Array, cell: float) -> Array:
    """Mask [N] of the ground's Gaussians under the object's `mask` [N]: under its feet and what these enclose."""
    heights = gaussians.means @ ground.normal.astype(np.float32) - ground.height - ground.thickness
    feet = ground.plane(gaussians.means[mask & (heights < 2 * cell)])
    under = np.zeros(len(gaussians), bool)
    index = np.flatnonzero(keep & (heights <= 0) & (heights >= -2 * ground.thickness))
    if not len(feet) or not len(index):
        return under
    low, high = feet.min(0), feet.max(0)
    cell = max(cell, float((high - low).max()) / 1000)
    shape = np.ceil((high - low) / cell).astype(int) + 3
    covered = np.zeros(shape, bool)
    covered[tuple(((feet - low) / cell).astype(int).T + 1)] = True
    covered = np.asarray(binary_fill_holes(binary_closing(covered, np.ones((3, 3)))))
    cells = np.floor((ground.plane(gaussians.means[index]) - low) / cell).astype(int) + 1
    within = ((cells >= 0) & (cells < shape)).all(1)
    under[index[within]] = covered[tuple(cells[within].T)]
    return under

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way of finding the surface suits a set of Gaussians, and how well a surface agrees with them: by looking.

The surface of the density runs through the Gaussians themselves. Where they lie in one layer nothing is more accurate.
Captured sets often are a fuzzy skin, many Gaussians deep, in whose unevenness the density finds pits and double walls;
what cameras see of the skin is even. How deep the light of a pixel comes from tells which of the two a set is.
"""

from dataclasses import dataclass

import numpy as np

from engine.fields.cameras import Cameras
from engine.fields.gaussians import Gaussians
from engine.render.mesh_cpu import rasterize
from engine.render.splat_depth import DepthViews, depth_views
from engine.surface.mesh import Mesh
from engine.surface.visibility import surrounding

Array = np.ndarray

VIEWS, SIZE = 8, 160
"""Pictures looked at, from directions between those from which depth is fused."""

UNEVEN = 0.5
"""Voxels: a layer whose light comes from a depth that deviates less is even for this grid."""

LOOSE = 8.0
"""A layer is loose if it is deeper than its Gaussians are thick, by this factor; else they are just fat."""

NEAR = 0.01
"""Parts of the object's longest side within which depths are taken to agree."""


@dataclass(frozen=True)
class Look:
    """What a few cameras around a set of Gaussians see."""

    cameras: Cameras
    measured: DepthViews
    extent: float  # of what the pictures show, object units


@dataclass(frozen=True)
class Choice:
    """A way to the surface, with the figures it was chosen by."""

    surface: str  # "density" or "tsdf"
    layer: float  # deviation of the depth from which a pixel's light comes, median over pixels, object units
    thickness: float  # smallest standard deviation of the Gaussians, median by opacity, object units
    voxel: float  # object units


@dataclass(frozen=True)
class Agreement:
    """How a surface looks beside the Gaussians it was made from, mean over the views; 1 is best."""

    silhouettes: float  # intersection over union of the pixels covered
    depths: float  # share of the pixels covered by both where depths differ by less than `NEAR` of the longest side


def look(gaussians: Gaussians, views: int = VIEWS, size: int = SIZE) -> Look:
    """Depth maps of `size` x `size` pixels from `views` directions that `tsdf_grid` does not use."""
    cameras, pixel = surrounding(gaussians, views, size, turn=0.5)
    return Look(cameras, depth_views(gaussians, cameras), pixel * size)


def choose_surfacer(gaussians: Gaussians, seen: Look, resolution: int = 256) -> Choice:
    """The way to the surface that suits these Gaussians on a grid of `resolution` cells; `seen` is `look`'s result."""
    covered = seen.measured.depths > 0
    layer = float(np.median(seen.measured.deviations[covered])) if covered.any() else 0.0
    smallest, opacities = gaussians.scales.min(1), gaussians.opacities
    order = np.argsort(smallest)
    share = np.cumsum(opacities[order], dtype=np.float64)
    middle = min(int(np.searchsorted(share, 0.5 * share[-1])), len(order) - 1) if len(order) else 0
    thickness = float(smallest[order[middle]]) if len(order) else 0.0
    voxel = seen.extent / resolution
    loose = layer > UNEVEN * voxel and layer > LOOSE * thickness
    return Choice("tsdf" if loose else "density", layer, thickness, voxel)


def agreement(mesh: Mesh, seen: Look) -> Agreement:
    """How far silhouettes and depths of `mesh` agree with those of the Gaussians."""
    cameras, overlaps, near = seen.cameras, [], []
    low, high = mesh.bounds()
    tolerance = NEAR * float((high - low).max())
    for c in range(len(cameras)):
        ours = rasterize(
            mesh.vertices, mesh.faces, cameras.viewmats[c], cameras.Ks[c], cameras.width, cameras.height
        ).depths
        theirs = seen.measured.depths[c]
        both, either = (ours > 0) & (theirs > 0), (ours > 0) | (theirs > 0)
        overlaps.append(both.sum() / max(either.sum(), 1))
        near.append(np.mean(np.abs(ours - theirs)[both] < tolerance) if both.any() else 0.0)
    return Agreement(float(np.mean(overlaps)), float(np.mean(near)))

# SPDX-License-Identifier: GPL-3.0-or-later
"""From a density to a closed surface: level from the Gaussians, cavities filled, marching cubes.

Gaussians sit on surfaces, so the region of high density is a shell with an outer and an inner wall. The inner wall is
never seen, doubles the faces and halves the texture: what the shell encloses is filled before the surface is taken,
also where the shell has holes no wider than the spacing of its Gaussians lets expect.
"""

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

from engine.errors import EmptyFieldError
from engine.surface.density import DensityGrid
from engine.surface.mesh import Mesh

Array = np.ndarray

LOWEST, HIGHEST = 0.1, 0.3
"""Range of the level as a part of the shell's density. Above, the shell breaks up; below, floaters merge into it."""

GAP = 3.0
"""Holes of the shell up to this many spacings of its Gaussians count as closed."""

COARSE = 128
"""Cells along the longest side of the grid on which holes are closed."""


def isosurface(grid: DensityGrid, level: float | None = None) -> Mesh:
    """The outer surface at `level` (by default `choose_level`), closed, its faces counter-clockwise seen from outside.

    Marching cubes after Lewiner et al. 2003. Raises `EmptyFieldError` where the density never reaches the level.
    """
    level = choose_level(grid) if level is None else level
    solid = grid.values > level
    if not solid.any():
        raise EmptyFieldError(
            f"Found no density above {level:.3g}; the highest is {grid.values.max():.3g}.",
            "Try another picture or seed.",
        )
    inside = enclosed(solid, radius=0.5 * GAP * grid.spacing / grid.voxel)
    field = np.where(inside, np.maximum(grid.values, 2 * level - grid.values), grid.values)
    vertices, faces, normals, _ = marching_cubes(field, level, gradient_direction="ascent")
    vertices = (vertices - _swelling(grid, level) / grid.voxel * normals) * grid.voxel + grid.origin
    return Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces, np.int32))


def choose_level(grid: DensityGrid) -> float:
    """The level whose silhouettes agree best with the composited opacity.

    Seen along an axis, the surface at level l covers the pixels whose highest density on the ray exceeds l; the
    Gaussians cover those where their composited opacity exceeds one half. Both are known for every pixel of three
    axes, so one sort of the pixels gives the intersection over union of every level at once. The level is kept within
    `LOWEST` and `HIGHEST` parts of the shell's density: silhouettes do not see a shell break up that hides another one.
    """
    peaks = np.concatenate([grid.values.max(axis).ravel() for axis in range(3)])
    covered = np.concatenate([alpha.ravel() > 0.5 for alpha in grid.alphas])
    low, high = LOWEST * grid.shell, HIGHEST * grid.shell
    order = np.argsort(-peaks)
    hits, area = np.cumsum(covered[order]), np.arange(1, len(order) + 1)
    overlap = hits / (area + covered.sum() - hits)
    best = int(np.argmax(overlap))
    return float(np.clip(peaks[order[best]], low, high))


def _swelling(grid: DensityGrid, level: float) -> float:
    """How far the variance added per voxel moves the surface outwards, object units; below one voxel.

    Across a shell of thickness s (a standard deviation) the density falls from its peak to the level at
    s sqrt(2 ln(peak / level)); the grid's shell has s^2 + (h/2)^2 instead of s^2.
    """
    deviations = np.sqrt(2 * np.log(max(grid.shell / level, 1.0)))
    thicker = np.hypot(grid.thickness, 0.5 * grid.voxel)
    return float(min(deviations * (thicker - grid.thickness), grid.voxel))


def enclosed(solid: Array, radius: float = 0.0) -> Array:
    """Mask [X, Y, Z] of what `solid` encloses, without `solid`; holes of up to `radius` voxels count as closed.

    The border of `solid` must be empty.
    """
    inside = _behind_holes(solid, radius) if radius > 0 else np.zeros_like(solid)
    free = ~(solid | inside)
    return inside | _cavities(free)


def _cavities(free: Array) -> Array:
    """The part of `free` [X, Y, Z] (bool) that is not joined, over faces of voxels, to its first corner."""
    regions = np.empty(free.shape, np.int32)
    ndimage.label(free, output=regions)
    return free & (regions != regions[0, 0, 0])


def _behind_holes(solid: Array, radius: float) -> Array:
    """Empty voxels of cavities that open only through holes of `radius` voxels.

    On a coarse grid: the solid is thickened until its holes close, the cavities that appear are thickened back by one
    cell more, so that they overlap the solid. Thickened back as far as the solid was they would end at the plane of a
    hole.
    """
    factor = max(1, round(max(solid.shape) / COARSE))
    steps = int(np.ceil(radius / factor))
    margin = steps + 2
    shape = [-(-side // factor) * factor for side in solid.shape]
    blocks = np.zeros(shape, bool)
    blocks[tuple(map(slice, solid.shape))] = solid
    x, y, z = (side // factor for side in shape)
    coarse = np.pad(blocks.reshape(x, factor, y, factor, z, factor).any((1, 3, 5)), margin)
    ball = ndimage.generate_binary_structure(3, 1)
    walls = ndimage.binary_dilation(coarse, ball, iterations=steps)
    cavities = _cavities(np.logical_not(walls))
    if not cavities.any():
        return np.zeros_like(solid)
    cavities = ndimage.binary_dilation(cavities, ball, iterations=steps + 1)
    cavities = cavities[margin:-margin, margin:-margin, margin:-margin]
    for axis in range(3):
        cavities = np.repeat(cavities, factor, axis)
    return cavities[tuple(map(slice, solid.shape))] & ~solid

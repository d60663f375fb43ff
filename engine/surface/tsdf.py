# SPDX-License-Identifier: GPL-3.0-or-later
"""Distance to the surface from depth maps taken all around (Curless and Levoy 1996), with sides told by carving.

A voxel's centre lies at height d above the plane that the pixel it falls on sees; d < 0 is behind it. Each view
says one of four things about it:

    free      it stands well in front of what is seen, or nothing is seen there
    in front  0 <= d within the band
    behind    d < 0 within the band
    hidden    farther behind

What several views call free is outside, what nobody sees is inside: so there are no inner walls, and no holes where
nobody looks. Voxels that a view or two call free, and hidden ones among free ones, go with what is around them. Rays
that end on the back of a Gaussian came in through a gap and say nothing.

Within the band the distance is the mean of d, weighted with cos^2 of the angle of view (Huang et al. 2024 fuse median
depths so). Two things are done differently from the textbook. Views of the front of a thin part do not see what is
behind its back: where those in front of a voxel and those behind look from opposite sides, the ones in front alone tell
the distance. And sheets, thinner than the grid can hold, get `SHEET` voxels on either side.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from engine.errors import EmptyFieldError, OptionError
from engine.fields.cameras import Cameras
from engine.fields.gaussians import Gaussians
from engine.render.splat_depth import DepthViews, depth_views
from engine.surface.field import SignedGrid
from engine.surface.flatten import flattened
from engine.surface.fusion import (
    BAND,
    BLOCK,
    CELL,
    ask_blocks,
    depth_ranges,
    fill_blocks,
    fuse_blocks,
    make_planes,
    reduce_signs,
    settle,
)
from engine.surface.outside import cavities
from engine.surface.visibility import main_part, outward_directions, seen, surrounding

Array = np.ndarray

SMALLEST, LARGEST = 16, 512

VIEWS = 32
"""Cameras, spread evenly over the sphere."""

PIXELS = 1.5
"""Pixels along a picture's side per cell along the grid's: then a pixel at the object is about as large as a voxel."""

BORDER = 3
"""Cells on every side outside of anything seen."""

JUMP = 5.0
"""Pixels (at the object) by which depth may change from pixel to pixel on one surface: what `STEEPEST` allows."""

UNSURE = 1.5
"""Pixels (at the object) by which the light of one pixel may spread in depth, at least."""

FAT = 0.5
"""Pixels (at the object) from which on the thickness of a round Gaussian matters."""

AROUND = 5
"""Pairs of voxels along the side of the cube that is asked about a voxel nobody measures."""


def tsdf_grid(
    gaussians: Gaussians, resolution: int = 256, views: int = VIEWS, check: Callable[[], None] | None = None
) -> SignedGrid:
    """Distance to the surface on a grid with `resolution` cells along the longest side of what the cameras see.

    `check` is called between steps and may raise to stop.
    Raises `OptionError` for a resolution out of range, `EmptyFieldError` where nothing is seen.
    """
    if not SMALLEST <= resolution <= LARGEST:
        raise OptionError(f"Found a resolution of {resolution}, expected {SMALLEST} to {LARGEST} cells.", "Try 256.")
    if not len(gaussians):
        raise EmptyFieldError("Found no Gaussians to see.", "Try another picture or seed.")
    cameras, pixel = surrounding(gaussians, views, max(64, round(PIXELS * resolution)))
    discs, offsets = flattened(gaussians, FAT * pixel)
    measured = depth_views(discs, cameras, outward_directions(discs, seen(discs)), offsets)
    if check:
        check()
    points = surface_points(measured, cameras)
    if len(points) < 3:
        raise EmptyFieldError("Found no surface: from no side is anything opaque.", "Try another picture or seed.")
    origin, voxel, shape = _place(points, resolution)
    if check:
        check()
    return fuse(measured, cameras, pixel, origin, voxel, shape)


def fuse(
    measured: DepthViews, cameras: Cameras, pixel: float, origin: Array, voxel: float, shape: tuple[int, int, int]
) -> SignedGrid:
    """The distances of `measured` on a grid of `shape` [X, Y, Z]; `pixel` is the side of one at the object."""
    usual = float(np.median(measured.deviations[measured.depths > 0])) if measured.depths.any() else 0.0
    planes = np.empty((*measured.depths.shape, 4), np.float32)
    focals = np.ascontiguousarray(cameras.Ks[:, 0, 0], np.float32)
    unsure, jump = np.float32(max(UNSURE * pixel, 4 * usual)), np.float32(JUMP * pixel)
    make_planes(measured.depths, measured.deviations, measured.backs, focals, jump, unsure, planes)
    rows, columns = (-(-side // CELL) for side in measured.depths.shape[1:])
    ranges = np.empty((len(cameras), rows, columns, 2), np.float32)
    depth_ranges(planes, ranges)

    # From a voxel's index to camera coordinates: one matrix per view, in float64 first.
    to_world = np.diag([voxel, voxel, voxel, 1.0])
    to_world[:3, 3] = origin
    to_camera = cameras.viewmats.astype(np.float64) @ to_world
    to_camera[:, 0] = cameras.Ks[:, 0, 0, None] * to_camera[:, 0] + cameras.Ks[:, 0, 2, None] * to_camera[:, 2]
    to_camera[:, 1] = cameras.Ks[:, 1, 1, None] * to_camera[:, 1] + cameras.Ks[:, 1, 2, None] * to_camera[:, 2]
    to_camera = np.ascontiguousarray(to_camera[:, :3], np.float32)
    toward = np.ascontiguousarray(-cameras.viewmats[:, 2, :3], np.float32)

    states = np.empty(tuple(-(-side // BLOCK) for side in shape), np.int8)
    unit, band = np.float32(voxel), np.float32(BAND * voxel)
    ask_blocks(to_camera, focals, ranges, unit, states)
    values, signs = np.empty(shape, np.float32), np.empty(shape, np.int8)
    fill_blocks(states, band, values, signs)
    blocks = np.argwhere(states < 0)
    fuse_blocks(blocks, to_camera, focals, toward, ranges, planes, unit, values, signs)
    reduced = np.empty(tuple(-(-side // 2) for side in shape), np.float32)
    reduce_signs(signs, reduced)
    settle(blocks, signs, ndimage.uniform_filter(reduced, AROUND, mode="nearest"), band, values)
    for axis in range(3):
        border = np.moveaxis(values, axis, 0)
        border[0] = border[-1] = band
    values[cavities(values < 0)] = -band
    return SignedGrid(values, origin, voxel)


def surface_points(measured: DepthViews, cameras: Cameras, step: int = 2) -> Array:
    """Where the rays of every `step`th pixel end, [P, 3] float32 in the world."""
    views, rows, columns = np.nonzero(measured.depths[:, ::step, ::step])
    depths = measured.depths[views, rows * step, columns * step]
    Ks, viewmats = cameras.Ks.astype(np.float32), cameras.viewmats.astype(np.float32)
    x = (columns * step + 0.5 - Ks[views, 0, 2]) / Ks[views, 0, 0] * depths
    y = (rows * step + 0.5 - Ks[views, 1, 2]) / Ks[views, 1, 1] * depths
    points = np.stack([x, y, depths], axis=1)
    starts = np.searchsorted(views, np.arange(len(cameras) + 1))
    for c in range(len(cameras)):
        held = slice(starts[c], starts[c + 1])
        points[held] = (points[held] - viewmats[c, :3, 3]) @ viewmats[c, :3, :3]
    return points


def _place(points: Array, resolution: int) -> tuple[Array, float, tuple[int, int, int]]:
    """Origin [3], voxel and shape of a grid around the points, but for small clusters far away."""
    part = points[main_part(points, np.ones(len(points), np.float32))]
    low, high = part.min(0).astype(np.float64), part.max(0).astype(np.float64)
    voxel = float((high - low).max() / (resolution - 2 * BORDER))
    voxel = max(voxel, 1e-9)
    x, y, z = (int(cells) + 1 + 2 * BORDER for cells in np.ceil((high - low) / voxel))
    origin = (low + high) / 2 - voxel * (np.array([x, y, z]) - 1) / 2
    return origin, voxel, (x, y, z)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The surface of a set of Gaussians from their density: closed, without inner walls, and where the Gaussians are.

A level of the density alone lies outside of the true surface by more than the Gaussians' own thickness, and twice over:
Gaussians sit on surfaces, so their density is a shell with an outer and an inner wall. So

1. the density says what is shell, and what can be reached from outside without crossing it (`outside.enclosed`);
2. the planes of the Gaussians (`shells`) are turned outwards: towards the side from which they can be reached sooner;
3. the weighted height above the planes nearby is the signed distance (`density.scatter_heights`), of which the level is
   taken that makes the silhouettes agree with the Gaussians' own (`silhouettes.choose_level`); flat Gaussians have
   no thickness to choose from, and their silhouettes stick out by their size along the surface: for them it is 0;
4. planes end where the Gaussians do: there half of the usual weight is left, which is where a sheet has its border and
   an edge stops. What is enclosed is inside whatever the heights say.

Gaussians with both sides outside are sheets; they get the least thickness that the grid can hold.
"""

from collections.abc import Callable

import numpy as np

from engine.errors import EmptyFieldError, OptionError
from engine.fields.gaussians import Gaussians
from engine.jit import kernel, parallel_kernel, prange
from engine.surface.density import scatter, scatter_heights
from engine.surface.field import SignedGrid
from engine.surface.outside import enclosed, grown
from engine.surface.shells import Shell, at, make_shell, place_grid, usual
from engine.surface.silhouettes import choose_level

Array = np.ndarray

SMALLEST, LARGEST = 16, 512

BORDER = 3
"""Empty voxels on every side, so that no surface is cut by the box."""

REACH = 2.8
"""Standard deviations after which a Gaussian is taken as 0: sums divided by each other need no more."""

SEEN, OPAQUE = 0.15, 0.5
"""What hides what is behind it: this part of the shell's usual density, or this density however dense the rest is."""

CLOSED = 0.12
"""Part of the usual weight below which there is a hole."""

EDGE = 0.45
"""Part of the usual weight at which planes end; half of it is left at the border of an even sheet."""

GAP = 3.0
"""Holes of the shell up to this many spacings of its Gaussians count as closed."""

THIN, THIN_SPACING, THIN_SHARE = 4.5, 1.0, 0.2
"""The grid is made finer where, of the Gaussians, more than this share has the open within so many voxels on both
sides (a part of them the shell's own), and where they lie closer than so many voxels: else they hold no more detail."""

TRIMMED, TRIMMED_SPACINGS = 4, 1.5
"""Planes that go on beyond their Gaussians are cut back by so many voxels or spacings at most."""

BAND = 3.0
"""Voxels from the surface at which distances are clamped; farther where a level may lie farther."""

LEAST = 0.75
"""Least deviation across the plane in voxels, so that grid points on both sides of the surface lie within reach."""

SHEET = 0.6
"""Half the thickness of a sheet, in voxels."""

LOOK, THROUGH = 6.0, 3.0
"""A Gaussian's outer side must be in the open within so many voxels, and so many deviations across its plane more."""

EITHER = 0.75
"""Voxels by which the ways out on both sides of a sheet differ at most."""

THICKEST = 3.0
"""The level is looked for up to so many of the Gaussians' own deviations outside of their planes."""


def density_surface(gaussians: Gaussians, resolution: int = 256, check: Callable[[], None] | None = None) -> SignedGrid:
    """Distance to the surface on a grid with `resolution` cells along the longest side of what the Gaussians show.

    Where much of the object is thinner than this grid can hold, and the Gaussians know more, it has twice as many, 512
    at most. `check` is called between steps and may raise to stop.

    Raises `OptionError` for a resolution out of range, `EmptyFieldError` where nothing can form a surface.
    """
    if not SMALLEST <= resolution <= LARGEST:
        raise OptionError(f"Found a resolution of {resolution}, expected {SMALLEST} to {LARGEST} cells.", "Try 256.")
    finer = min(2 * resolution, LARGEST)
    return _surface(gaussians, make_shell(gaussians), resolution, finer, check or (lambda: None))


def _surface(gaussians: Gaussians, shell: Shell, resolution: int, finer: int, check: Callable[[], None]) -> SignedGrid:
    """As `density_surface`; at the resolution `finer` instead where much of the object is too thin for this one."""
    origin, voxel, shape = place_grid(shell, resolution, BORDER)
    hole = 0.5 * GAP * shell.spacing / voxel

    check()
    covariances = _covariances(shell, voxel)
    density = scatter(shell.means, covariances, shell.opacities, origin, voxel, shape, REACH)
    check()
    here = at(density, shell.means, origin, voxel)
    faintest = min(SEEN * usual(here, shell.opacities), OPAQUE)
    solid = density > faintest
    del density
    _clear_border(solid)
    free = ~(solid | enclosed(solid, hole))
    check()
    reach = LOOK + THROUGH * shell.depths / voxel
    sides = _ways_out(shell.means, shell.normals, reach, origin, voxel, free)
    outward = np.where(sides[:, 1] < sides[:, 0], -1.0, 1.0)
    exposed = sides.min(1) < reach
    two_sided = exposed & (np.abs(sides[:, 0] - sides[:, 1]) < EITHER)
    used = exposed & (here > faintest)
    thin = used & (sides.max(1) < THIN)
    dense = shell.spacing < THIN_SPACING * voxel
    if dense and finer > resolution and thin @ shell.opacities > THIN_SHARE * (used @ shell.opacities):
        del solid, free
        return _surface(gaussians, shell, finer, finer, check)
    if not used.any():
        raise EmptyFieldError("Found no surface: no Gaussian can be seen from outside.", "Try another picture or seed.")

    check()
    planes = np.concatenate([shell.normals * outward[:, None], np.where(two_sided, SHEET * voxel, 0.0)[:, None]], 1)
    even = shell.opacities / np.maximum(here, faintest)
    kept = shell.select(used)
    weights, heights = scatter_heights(
        kept.means, covariances[used], even[used], planes[used], two_sided[used], origin, voxel, shape, REACH
    )
    check()
    unit = np.float32(np.median(at(weights, kept.means, origin, voxel)))
    solid, core = weights > CLOSED * unit, weights > EDGE * unit
    _clear_border(solid)
    _clear_border(core)
    steps = round(max(TRIMMED, TRIMMED_SPACINGS * shell.spacing / voxel))
    free = grown(~(solid | enclosed(solid, hole)), solid & ~core, steps)
    check()
    most = THICKEST * float(np.median(kept.thickness)) if np.median(kept.round) > 0.5 else 0.0
    far = np.float32(max(BAND * voxel, most + voxel))
    values = _distances(weights, heights, unit, free, core, np.float32(voxel), far)
    check()
    if most:
        values -= np.float32(choose_level(values, origin, voxel, gaussians, most))
    for axis in range(3):
        border = np.moveaxis(values, axis, 0)
        border[0] = border[-1] = far
    return SignedGrid(values, origin, voxel)


def _covariances(shell: Shell, voxel: float) -> Array:
    """Covariances [N, 3, 3] for this grid: flat Gaussians as thick as it needs, round ones as they are."""
    covariances = shell.covariances(LEAST * voxel, np.inf)
    return covariances + (0.2 * voxel) ** 2 * np.eye(3)


def _clear_border(mask: Array) -> None:
    for axis in range(3):
        border = np.moveaxis(mask, axis, 0)
        border[0] = border[-1] = False


@parallel_kernel
def _ways_out(means, normals, reach, origin, voxel, free):
    """Distance in voxels, [N, 2] float32, at which each plane's two sides are free; `reach` [N] where not within it."""
    sides = np.empty((len(means), 2), np.float32)
    for i in prange(len(means)):
        for side in range(2):
            sides[i, side] = reach[i]
            for half in range(1, int(2 * reach[i])):
                step = 0.5 * half * (1.0 - 2.0 * side)
                x = int(np.rint((means[i, 0] - origin[0]) / voxel + step * normals[i, 0]))
                y = int(np.rint((means[i, 1] - origin[1]) / voxel + step * normals[i, 1]))
                z = int(np.rint((means[i, 2] - origin[2]) / voxel + step * normals[i, 2]))
                beyond = min(x, y, z) < 0 or x >= free.shape[0] or y >= free.shape[1] or z >= free.shape[2]
                if beyond or free[x, y, z]:
                    sides[i, side] = 0.5 * half
                    break
    return sides


@kernel
def _free_nearby(free, x, y, z):
    return (
        free[x - 1, y, z] or free[x + 1, y, z] or free[x, y - 1, z] or free[x, y + 1, z] or free[x, y, z - 1]
        or free[x, y, z + 1]
    )  # fmt: skip


@parallel_kernel
def _distances(weights, heights, unit, free, core, voxel, far):
    """The signed distance [X, Y, Z] float32, in place of `heights`, from the sums of `scatter_heights`.

    `free` is outside, `core` has the weight of a surface and an empty border. Clamped at `far`.
    """
    planes, rows, columns = weights.shape
    for x in prange(planes):
        for y in range(rows):
            for z in range(columns):
                weight = weights[x, y, z]
                known = weight > np.float32(0.02) * unit
                value = heights[x, y, z] / weight if known else np.float32(0)
                ending = np.float32(2) * voxel * (np.float32(1) - weight / (np.float32(EDGE) * unit))
                if free[x, y, z]:
                    value = max(value, ending) if known else far
                elif core[x, y, z]:
                    value = max(value, ending) if _free_nearby(free, x, y, z) else value
                else:
                    value = min(value, np.float32(-0.5) * voxel) if known else -far
                heights[x, y, z] = min(max(value, -far), far)
    return heights

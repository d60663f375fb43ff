# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a grid lies outside of an object: what can be reached from the border, and is not behind a small hole.

Empty voxels are joined over faces. Rows of the grid are cut into runs of empty voxels; runs of neighbouring rows that
overlap are joined (union and find with path halving), so that a voxel is looked at twice and nothing else is stored
(the run-based labelling of He, Chao and Suzuki 2008, in three dimensions).
"""

import numpy as np

from engine.jit import kernel, parallel_kernel, prange

Array = np.ndarray

COARSE = 128
"""Cells along the longest side of the grid on which holes are closed."""


def enclosed(solid: Array, radius: float = 0.0) -> Array:
    """Mask [X, Y, Z] of what `solid` encloses, without `solid`; holes of up to `radius` voxels count as closed.

    The border of `solid` must be empty.
    """
    if radius <= 0:
        return cavities(solid)
    inside = _behind_holes(solid, radius)
    return inside | cavities(solid | inside) if inside.any() else cavities(solid)


def cavities(solid: Array) -> Array:
    """The part of the grid [X, Y, Z] that is not `solid` (bool) and not joined to the first corner, over faces."""
    counts = np.empty(solid.shape[:2], np.int32)
    _count_runs(solid, counts)
    starts = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts.ravel(), out=starts[1:])
    runs = np.empty((starts[-1], 2), np.int32)
    _list_runs(solid, starts, runs)
    reached = _joined_to_first(runs, starts, *solid.shape[:2])
    result = np.zeros(solid.shape, bool)
    _fill_runs(runs, starts, reached, result)
    return result


def grown(mask: Array, free: Array, steps: int) -> Array:
    """`mask` [X, Y, Z] grown over faces into `free`, `steps` voxels far; the border of `free` must be empty."""
    result = mask.copy()
    _grow(result.reshape(-1), np.flatnonzero(free & ~mask), mask.shape[1] * mask.shape[2], mask.shape[2], steps)
    return result


def _behind_holes(solid: Array, radius: float) -> Array:
    """Empty voxels of cavities that open only through holes of `radius` voxels.

    On a coarse grid: the solid is thickened until its holes close, the cavities that appear are thickened back by one
    cell more, so that they overlap the solid. Thickened back as far as the solid was they would end at the plane of a
    hole.
    """
    factor = max(1, round(max(solid.shape) / COARSE))
    steps = int(np.ceil(radius / factor))
    margin = steps + 2
    shape = [-(-side // factor) for side in solid.shape]
    coarse = np.zeros([side + 2 * margin for side in shape], bool)
    _reduce_any(solid, factor, margin, coarse)
    hollow = cavities(_thickened(coarse, steps))
    result = np.zeros_like(solid)
    if hollow.any():
        _enlarge(_thickened(hollow, steps + 1), factor, margin, solid, result)
    return result


def _thickened(mask: Array, steps: int) -> Array:
    """`mask` [X, Y, Z] grown by `steps` over faces; nothing grows into the border."""
    for _ in range(steps):
        grown = mask.copy()
        _thicken(mask, grown)
        mask = grown
    return mask


@parallel_kernel
def _reduce_any(solid, factor, margin, coarse):
    """Marks the cells of `coarse` whose block of `factor`^3 voxels has a solid one."""
    planes, rows, columns = solid.shape
    for x in prange(-(-planes // factor)):
        for fine_x in range(x * factor, min(planes, (x + 1) * factor)):
            for fine_y in range(rows):
                cells = coarse[x + margin, fine_y // factor + margin]
                for fine_z in range(columns):
                    if solid[fine_x, fine_y, fine_z]:
                        cells[fine_z // factor + margin] = True


@parallel_kernel
def _enlarge(coarse, factor, margin, solid, result):
    """Marks the voxels, where not solid, of the marked cells."""
    planes, rows, columns = solid.shape
    for x in prange(planes):
        for y in range(rows):
            cells = coarse[x // factor + margin, y // factor + margin]
            for z in range(columns):
                result[x, y, z] = cells[z // factor + margin] and not solid[x, y, z]


@parallel_kernel
def _thicken(mask, grown):
    for x in prange(1, mask.shape[0] - 1):
        for y in range(1, mask.shape[1] - 1):
            here, below, above = mask[x, y], mask[x - 1, y], mask[x + 1, y]
            before, after, out = mask[x, y - 1], mask[x, y + 1], grown[x, y]
            for z in range(1, mask.shape[2] - 1):
                out[z] = here[z] | here[z - 1] | here[z + 1] | below[z] | above[z] | before[z] | after[z]


@parallel_kernel
def _count_runs(solid, counts):
    planes, rows, columns = solid.shape
    for x in prange(planes):
        for y in range(rows):
            runs, before = 0, True
            for z in range(columns):
                now = solid[x, y, z]
                runs += before and not now
                before = now
            counts[x, y] = runs


@parallel_kernel
def _list_runs(solid, starts, runs):
    """Fills runs [R, 2] with the first voxel of each run and the one after its last."""
    planes, rows, columns = solid.shape
    for x in prange(planes):
        for y in range(rows):
            run, before = starts[x * rows + y], True
            for z in range(columns):
                now = solid[x, y, z]
                if before and not now:
                    runs[run, 0] = z
                if now and not before:
                    runs[run, 1] = z
                    run += 1
                before = now
            if not before:
                runs[run, 1] = columns


@kernel
def _root(parents, run):
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@kernel
def _joined_to_first(runs, starts, planes, rows):
    """Mask [R] of the runs joined to the first of all."""
    parents = np.arange(len(runs)).astype(np.int32)
    for x in range(planes):
        for y in range(rows):
            row = x * rows + y
            for other in (row - 1 if y else -1, row - rows if x else -1):
                if other < 0:
                    continue
                a, b = starts[row], starts[other]
                while a < starts[row + 1] and b < starts[other + 1]:
                    if max(runs[a, 0], runs[b, 0]) < min(runs[a, 1], runs[b, 1]):
                        first, second = _root(parents, a), _root(parents, b)
                        parents[max(first, second)] = min(first, second)
                    if runs[a, 1] < runs[b, 1]:
                        a += 1
                    else:
                        b += 1
    reached = np.empty(len(runs), np.bool_)
    for run in range(len(runs)):
        reached[run] = _root(parents, run) == 0
    return reached


@parallel_kernel
def _fill_runs(runs, starts, reached, result):
    """Marks the voxels of the runs not reached."""
    planes, rows, _ = result.shape
    for x in prange(planes):
        for y in range(rows):
            for run in range(starts[x * rows + y], starts[x * rows + y + 1]):
                if not reached[run]:
                    result[x, y, runs[run, 0] : runs[run, 1]] = True


@kernel
def _grow(mask, candidates, plane, row, steps):
    """Marks, `steps` times over, candidates (flat indices) with a marked neighbour."""
    waiting = candidates.copy()
    for _ in range(steps):
        kept, taken = 0, np.empty(len(waiting), np.int64)
        count = 0
        for k in range(len(waiting)):
            i = waiting[k]
            near = mask[i - 1] or mask[i + 1] or mask[i - row] or mask[i + row] or mask[i - plane] or mask[i + plane]
            if near:
                taken[count] = i
                count += 1
            else:
                waiting[kept] = i
                kept += 1
        for k in range(count):
            mask[taken[k]] = True
        waiting = waiting[:kept]

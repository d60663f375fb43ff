# SPDX-License-Identifier: GPL-3.0-or-later
"""Exact distances from points to the nearest place on a triangle mesh, with a uniform grid of cells.

Each triangle is listed in the cells its plane passes through within its box. A query visits cells in growing cubes
around its own and stops when nothing in a farther one can be nearer. The nearest point of one triangle is that of
Ericson, Real-Time Collision Detection (2004), section 5.1.5.
"""

from dataclasses import dataclass

import numpy as np

from engine.jit import kernel, parallel_kernel, prange

Array = np.ndarray

FEWEST_CELLS, MOST_CELLS = 8, 160
"""Range of cells along the longest side; between them about one per square root of a face."""


@dataclass(frozen=True)
class FaceGrid:
    """Triangles sorted into cells."""

    corners: Array  # [F, 3, 3] float64
    origin: Array  # [3]
    cell: float
    shape: Array  # [3] int64
    starts: Array  # [cells + 1] int64, first of each cell's `members`
    members: Array  # [..] int32


def face_grid(vertices: Array, faces: Array) -> FaceGrid:
    """The grid over vertices [V, 3] and faces [F, 3]; at least one face."""
    corners = np.ascontiguousarray(vertices[faces], np.float64)
    low, high = corners.min((0, 1)), corners.max((0, 1))
    cells = int(np.clip(np.sqrt(len(faces)) / 1.5, FEWEST_CELLS, MOST_CELLS))
    cell = max(float((high - low).max()), 1e-9) / cells
    shape = np.floor((high - low) / cell).astype(np.int64) + 1
    counts = np.zeros(shape.prod() + 1, np.int64)
    _list(corners, low, cell, shape, counts, np.empty(0, np.int32), False)
    starts = np.concatenate([[0], np.cumsum(counts[:-1])])
    members = np.empty(starts[-1], np.int32)
    _list(corners, low, cell, shape, starts[:-1].copy(), members, True)
    return FaceGrid(corners, low, cell, shape, starts, members)


def nearest(grid: FaceGrid, points: Array) -> tuple[Array, Array]:
    """Distance [P] float64 from each of `points` [P, 3] to the surface, and the face [P] int32 it is nearest to."""
    points = np.ascontiguousarray(points, np.float64)
    distances, ids = np.empty(len(points)), np.empty(len(points), np.int32)
    _nearest(points, grid.corners, grid.origin, grid.cell, grid.shape, grid.starts, grid.members, distances, ids)
    return distances, ids


@kernel
def _list(corners, origin, cell, shape, places, members, write):
    """Counts in `places` the triangles of each cell, or with `write` puts them at `places`, which move on."""
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for f in range(len(corners)):
        for axis in range(3):
            values = corners[f, :, axis]
            low[axis] = max(0, int(np.floor((values.min() - origin[axis]) / cell)))
            high[axis] = min(shape[axis] - 1, int(np.floor((values.max() - origin[axis]) / cell)))
        a, b, c = corners[f, 0], corners[f, 1], corners[f, 2]
        nx = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
        ny = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
        nz = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        reach = (0.5 + 1e-6) * cell * (abs(nx) + abs(ny) + abs(nz))
        for x in range(low[0], high[0] + 1):
            dx = nx * (origin[0] + (x + 0.5) * cell - a[0])
            for y in range(low[1], high[1] + 1):
                dy = ny * (origin[1] + (y + 0.5) * cell - a[1])
                for z in range(low[2], high[2] + 1):
                    dz = nz * (origin[2] + (z + 0.5) * cell - a[2])
                    if abs(dx + dy + dz) > reach:
                        continue
                    place = (x * shape[1] + y) * shape[2] + z
                    if write:
                        members[places[place]] = f
                    places[place] += 1


@kernel
def _squared_distance(p, corners):
    """Of point p [3] and the triangle with `corners` [3, 3]."""
    a, b, c = corners[0], corners[1], corners[2]
    ab0, ab1, ab2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    ac0, ac1, ac2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    ap0, ap1, ap2 = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    d1 = ab0 * ap0 + ab1 * ap1 + ab2 * ap2
    d2 = ac0 * ap0 + ac1 * ap1 + ac2 * ap2
    bp0, bp1, bp2 = p[0] - b[0], p[1] - b[1], p[2] - b[2]
    d3 = ab0 * bp0 + ab1 * bp1 + ab2 * bp2
    d4 = ac0 * bp0 + ac1 * bp1 + ac2 * bp2
    cp0, cp1, cp2 = p[0] - c[0], p[1] - c[1], p[2] - c[2]
    d5 = ab0 * cp0 + ab1 * cp1 + ab2 * cp2
    d6 = ac0 * cp0 + ac1 * cp1 + ac2 * cp2
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0 and d2 <= 0:
        v, w = 0.0, 0.0
    elif d3 >= 0 and d4 <= d3:
        v, w = 1.0, 0.0
    elif d6 >= 0 and d5 <= d6:
        v, w = 0.0, 1.0
    elif vc <= 0 and d1 >= 0 and d3 <= 0:
        v, w = d1 / (d1 - d3), 0.0
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        v, w = 0.0, d2 / (d2 - d6)
    elif va <= 0 and d4 >= d3 and d5 >= d6:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1 - w
    else:
        total = va + vb + vc
        v, w = vb / total, vc / total
    x, y, z = ap0 - v * ab0 - w * ac0, ap1 - v * ab1 - w * ac1, ap2 - v * ab2 - w * ac2
    return x * x + y * y + z * z


@kernel
def _search_cell(p, corners, members, first, last, best, face):
    for k in range(first, last):
        squared = _squared_distance(p, corners[members[k]])
        if squared < best:
            best, face = squared, members[k]
    return best, face


@parallel_kernel
def _nearest(points, corners, origin, cell, shape, starts, members, distances, ids):
    for i in prange(len(points)):
        p = points[i]
        cx = int(np.floor((p[0] - origin[0]) / cell))
        cy = int(np.floor((p[1] - origin[1]) / cell))
        cz = int(np.floor((p[2] - origin[2]) / cell))
        # the first cube around the point's cell that reaches the grid, and the last that is needed to see all of it
        ring = max(0, -cx, cx - shape[0] + 1, -cy, cy - shape[1] + 1, -cz, cz - shape[2] + 1)
        end = max(cx, shape[0] - 1 - cx, cy, shape[1] - 1 - cy, cz, shape[2] - 1 - cz)
        best, face = np.inf, np.int32(-1)
        while ring <= end and best > ((ring - 1) * cell) ** 2 * (1 if ring > 1 else 0):
            for x in range(max(0, cx - ring), min(shape[0] - 1, cx + ring) + 1):
                for y in range(max(0, cy - ring), min(shape[1] - 1, cy + ring) + 1):
                    row = (x * shape[1] + y) * shape[2]
                    if abs(x - cx) == ring or abs(y - cy) == ring:
                        first, last = max(0, cz - ring), min(shape[2] - 1, cz + ring)
                        if first <= last:  # cells of a row lie one after another
                            best, face = _search_cell(
                                p, corners, members, starts[row + first], starts[row + last + 1], best, face
                            )
                    else:
                        if 0 <= cz - ring < shape[2]:
                            at = row + cz - ring
                            best, face = _search_cell(p, corners, members, starts[at], starts[at + 1], best, face)
                        if ring > 0 and 0 <= cz + ring < shape[2]:
                            at = row + cz + ring
                            best, face = _search_cell(p, corners, members, starts[at], starts[at + 1], best, face)
            ring += 1
        distances[i], ids[i] = np.sqrt(best), face

# SPDX-License-Identifier: GPL-3.0-or-later
"""Marching cubes (Lorensen and Cline 1987) over a grid of signed values, closed by construction.

The table of cases is built here from one rule. On each face of a cube the crossings are joined so that every run of
inside corners is cut off by itself; both cubes at a face see the same corners and so draw the same lines, and the
surface has no holes (the ambiguity Nielson and Hamann 1991 describe is always decided alike). The lines of the six
faces close to loops, which become fans of triangles.

Corner number: 4 x + 2 y + z. An edge has the number 3 corner + axis of its lower corner. Vertices are numbered plane
by plane, so that planes can be worked on in parallel with only one plane of numbers kept.
"""

import numpy as np

from engine.errors import EmptyFieldError
from engine.jit import kernel, parallel_kernel, prange
from engine.surface.field import SignedGrid
from engine.surface.mesh import Mesh

Array = np.ndarray

CLOSEST = 0.01
"""Part of an edge that vertices stay away from its ends, so that no two of them fall together."""


def extract(grid: SignedGrid) -> Mesh:
    """The surface of a signed grid: closed, every edge with two faces, counter-clockwise seen from outside.

    Raises `EmptyFieldError` where nothing is inside.
    """
    vertices, faces = marching_cubes(grid.values)
    if not len(faces):
        raise EmptyFieldError("Found a field without an inside.", "Try another picture or seed.")
    return Mesh((vertices * np.float32(grid.voxel) + grid.origin).astype(np.float32), faces)


def marching_cubes(values: Array) -> tuple[Array, Array]:
    """Vertices [V, 3] float32 in voxels and faces [F, 3] int32 of the surface between values < 0 and the rest.

    `values` [X, Y, Z] float32 must be positive on the border. Faces are counter-clockwise seen from the positive side.
    """
    planes = values.shape[0]
    mixed = np.zeros(values.shape[:2], np.uint8)
    _row_signs(values, mixed)
    counts = np.zeros((planes, 2), np.int64)  # vertices and faces of each plane
    _count(values, mixed, TRIANGLE_COUNTS, counts)
    starts = np.zeros((planes + 1, 2), np.int64)
    np.cumsum(counts, axis=0, out=starts[1:])
    vertices = np.empty((starts[-1, 0], 3), np.float32)
    faces = np.empty((starts[-1, 1], 3), np.int32)
    _fill(values, mixed, starts, TRIANGLES, TRIANGLE_COUNTS, vertices, faces)
    return vertices, faces


def _loops(case: int) -> list[list[int]]:
    """The closed lines, as edges in order, by which the surface crosses a cube whose inside corners are the bits."""
    following = {}
    for axis in range(3):
        u, v = 1 << (2 - (axis + 1) % 3), 1 << (2 - (axis + 2) % 3)
        for side in (0, 1 << (2 - axis)):
            ring = [side, side + u, side + u + v, side + v]  # counter-clockwise seen from where the axis points
            if not side:
                ring.reverse()
            inside = [case >> corner & 1 for corner in ring]
            for k in range(4):
                if inside[k] and not inside[k - 1]:  # a run of inside corners begins: its line cuts it off
                    end = next(j for j in range(k, k + 4) if not inside[(j + 1) % 4])
                    following[_edge(ring[end % 4], ring[(end + 1) % 4])] = _edge(ring[k - 1], ring[k])
    loops = []
    while following:
        loop = [next(iter(following))]
        while (edge := following.pop(loop[-1])) != loop[0]:
            loop.append(edge)
        loops.append(loop)
    return loops


def _edge(a: int, b: int) -> int:
    return 3 * min(a, b) + {4: 0, 2: 1, 1: 2}[a ^ b]


def _faces_of(edge: int) -> set[tuple[int, int]]:
    """The two faces of the cube an edge lies on, as (axis, side)."""
    corner, axis = divmod(edge, 3)
    return {(other, corner >> (2 - other) & 1) for other in range(3) if other != axis}


def _fan(loop: list[int]) -> list[list[int]]:
    """Triangles over a loop; none of their inner sides lies in a face of the cube, where that can be had."""
    turns = [loop[k:] + loop[:k] for k in range(len(loop))]
    best = min(turns, key=lambda turn: sum(bool(_faces_of(turn[0]) & _faces_of(edge)) for edge in turn[2:-1]))
    return [[best[0], best[k + 1], best[k]] for k in range(1, len(best) - 1)]


def _table() -> tuple[Array, Array]:
    """Triangles [256, T, 3] as edges, and how many each case has, [256]."""
    cases = [[triangle for loop in _loops(case) for triangle in _fan(loop)] for case in range(256)]
    counts = np.array([len(case) for case in cases], np.int64)
    table = np.zeros((256, counts.max(), 3), np.int64)
    for number, case in enumerate(cases):
        if case:
            table[number, : len(case)] = case
    return table, counts


TRIANGLES, TRIANGLE_COUNTS = _table()


@parallel_kernel
def _row_signs(values, mixed):
    """Per row along z: bit 1 where it has inside samples, bit 2 where it has others."""
    planes, rows, columns = values.shape
    for x in prange(planes):
        for y in range(rows):
            inside = 0
            for z in range(columns):
                inside += values[x, y, z] < 0
            mixed[x, y] = (inside > 0) + 2 * (inside < columns)


@kernel
def _case(values, x, y, z):
    case = 0
    for corner in range(8):
        if values[x + (corner >> 2), y + (corner >> 1 & 1), z + (corner & 1)] < 0:
            case |= 1 << corner
    return case


@kernel
def _crossed(mixed, x, y):
    """Whether the rows of cubes between rows y and y + 1 of planes x and x + 1 hold both signs."""
    return (mixed[x, y] | mixed[x, y + 1] | mixed[x + 1, y] | mixed[x + 1, y + 1]) == 3


@parallel_kernel
def _count(values, mixed, triangle_counts, counts):
    planes, rows, columns = values.shape
    for x in prange(planes - 1):
        vertices, faces = 0, 0
        for y in range(rows - 1):
            if not _crossed(mixed, x, y):
                continue
            for z in range(columns - 1):
                inside = values[x, y, z] < 0
                vertices += inside != (values[x + 1, y, z] < 0)
                vertices += inside != (values[x, y + 1, z] < 0)
                vertices += inside != (values[x, y, z + 1] < 0)
                faces += triangle_counts[_case(values, x, y, z)]
        counts[x, 0], counts[x, 1] = vertices, faces


@kernel
def _number(values, mixed, x, first, numbers, vertices):
    """Numbers the crossed edges that begin in plane x into numbers [Y, Z, 3]; writes vertices if there are any."""
    _, rows, columns = values.shape
    number = first
    for y in range(rows - 1):
        if not _crossed(mixed, x, y):
            continue
        for z in range(columns - 1):
            here = values[x, y, z]
            for axis in range(3):
                there = values[x + (axis == 0), y + (axis == 1), z + (axis == 2)]
                if (here < 0) == (there < 0):
                    continue
                numbers[y, z, axis] = number
                if len(vertices):
                    part = min(max(here / (here - there), np.float32(CLOSEST)), np.float32(1 - CLOSEST))
                    vertices[number, 0] = x + (part if axis == 0 else np.float32(0))
                    vertices[number, 1] = y + (part if axis == 1 else np.float32(0))
                    vertices[number, 2] = z + (part if axis == 2 else np.float32(0))
                number += 1


@parallel_kernel
def _fill(values, mixed, starts, triangles, triangle_counts, vertices, faces):
    planes, rows, columns = values.shape
    bands = 16
    for band in prange(bands):
        low, high = band * (planes - 1) // bands, (band + 1) * (planes - 1) // bands
        numbers = np.zeros((2, rows, columns, 3), np.int32)
        for x in range(low, high):
            here, there = numbers[x & 1], numbers[x + 1 & 1]
            if x == low:
                _number(values, mixed, x, starts[x, 0], here, vertices)
            if x + 2 < planes:
                _number(values, mixed, x + 1, starts[x + 1, 0], there, vertices if x + 1 < high else vertices[:0])
            face = starts[x, 1]
            for y in range(rows - 1):
                if not _crossed(mixed, x, y):
                    continue
                for z in range(columns - 1):
                    case = _case(values, x, y, z)
                    for t in range(triangle_counts[case]):
                        for k in range(3):
                            edge = triangles[case, t, k]
                            corner, axis = edge // 3, edge % 3
                            dx, dy, dz = corner >> 2, corner >> 1 & 1, corner & 1
                            faces[face, k] = (there if dx else here)[y + dy, z + dz, axis]
                        face += 1

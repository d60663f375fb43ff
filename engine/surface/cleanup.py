# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not part of the object goes, what is stays, smoothed at equal volume."""

from dataclasses import replace

import numpy as np

from engine.errors import EmptyFieldError
from engine.jit import kernel, parallel_kernel, prange
from engine.surface.mesh import Mesh

Array = np.ndarray

SMALLEST_PART = 0.002
"""Parts with less than this share of the whole area are debris (of a teapot: less than a button on its lid)."""

SMOOTHING_STEPS = 5
"""Pairs of a shrinking and a growing step: enough for the stairs of sheets; more cost edges their sharpness."""


def clean(mesh: Mesh, smoothing: int = SMOOTHING_STEPS) -> Mesh:
    """Without debris and inner walls, and with `smoothing` steps of what keeps the volume.

    Every separate part with at least `SMALLEST_PART` of the area stays, and always the largest one. Parts turned
    inside out are walls of cavities and go. Raises `EmptyFieldError` where there are no faces.
    """
    if not len(mesh.faces):
        raise EmptyFieldError("Found a surface without faces.", "Try another picture or seed.")
    labels = parts(mesh)[mesh.faces[:, 0]]
    areas, volumes = _part_sizes(mesh.vertices, mesh.faces, labels, int(labels.max()) + 1)
    keep = (areas >= SMALLEST_PART * areas.sum()) & (volumes >= 0)
    keep[areas.argmax()] = True
    return smooth(select_faces(mesh, keep[labels]), smoothing)


def parts(mesh: Mesh) -> Array:
    """The number of the piece each vertex belongs to, [V] int32; pieces hang together by edges."""
    return _parts(mesh.faces, len(mesh.vertices))


def select_faces(mesh: Mesh, mask: Array) -> Mesh:
    """The faces where `mask` [F] is true, without vertices no longer used."""
    if mask.all():
        return mesh
    faces = mesh.faces[mask]
    used = np.zeros(len(mesh.vertices), bool)
    used[faces] = True
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    attributes = {name: getattr(mesh, name)[used] for name in ("normals", "uvs") if getattr(mesh, name) is not None}
    return replace(mesh, vertices=mesh.vertices[used], faces=renumbered[faces].astype(np.int32), **attributes)


def smooth(mesh: Mesh, steps: int = SMOOTHING_STEPS) -> Mesh:
    """Low-pass filter of the vertices that neither shrinks nor swells (Taubin 1995: lambda 0.5, pass band 0.1)."""
    if not steps:
        return mesh
    shrink = 0.5
    grow = 1 / (0.1 - 1 / shrink)
    starts, neighbours = _neighbours(mesh.faces, len(mesh.vertices))
    vertices, moved = mesh.vertices.copy(), np.empty_like(mesh.vertices)
    for _ in range(steps):
        for factor in (np.float32(shrink), np.float32(grow)):
            _step(vertices, starts, neighbours, factor, moved)
            vertices, moved = moved, vertices
    return replace(mesh, vertices=vertices)


def weld(mesh: Mesh) -> Mesh:
    """Vertices at exactly the same place become one; faces that lose a corner go, as do normals and uvs."""
    vertices, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces].astype(np.int32)
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Mesh(vertices, faces[whole])


def is_watertight(mesh: Mesh) -> bool:
    """Whether each edge has exactly two faces and they run along it in opposite directions. Expects welded vertices."""
    if not len(mesh.faces):
        return False
    starts, ends = mesh.faces.ravel().astype(np.int64), np.roll(mesh.faces, -1, 1).ravel().astype(np.int64)
    there = np.sort(starts * len(mesh.vertices) + ends)
    back = np.sort(ends * len(mesh.vertices) + starts)
    return bool(np.array_equal(there, back) and (np.diff(there) > 0).all())


@kernel
def _parts(faces, count):
    """Union and find over the faces' corners; pieces are numbered in the order of their first vertex."""
    parents = np.arange(count).astype(np.int32)
    for face in range(len(faces)):
        for k in range(1, 3):
            one, other = faces[face, 0], faces[face, k]
            while parents[one] != one:
                parents[one] = parents[parents[one]]
                one = parents[one]
            while parents[other] != other:
                parents[other] = parents[parents[other]]
                other = parents[other]
            parents[max(one, other)] = min(one, other)
    labels, found = np.empty(count, np.int32), 0
    for vertex in range(count):
        if parents[vertex] == vertex:
            labels[vertex] = found
            found += 1
        else:
            labels[vertex] = labels[parents[vertex]]
    return labels


@kernel
def _part_sizes(vertices, faces, labels, count):
    """Area and signed volume of each piece: the sums over its faces of those of tetrahedra with the origin."""
    areas, volumes = np.zeros(count), np.zeros(count)
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ax, ay, az = np.float64(vertices[a, 0]), np.float64(vertices[a, 1]), np.float64(vertices[a, 2])
        ux, uy, uz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        vx, vy, vz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        areas[labels[face]] += 0.5 * np.sqrt(nx * nx + ny * ny + nz * nz)
        volumes[labels[face]] += (ax * nx + ay * ny + az * nz) / 6
    return areas, volumes


@kernel
def _neighbours(faces, count):
    """Of each vertex the ends of the half-edges that start there and the starts of those that end there, as lists.

    Neighbours inside a surface are listed twice, those along a border once.
    """
    starts = np.zeros(count + 1, np.int64)
    for face in range(len(faces)):
        for k in range(3):
            starts[faces[face, k] + 1] += 2
    for vertex in range(count):
        starts[vertex + 1] += starts[vertex]
    cursor, neighbours = starts[:-1].copy(), np.empty(starts[count], np.int32)
    for face in range(len(faces)):
        for k in range(3):
            vertex = faces[face, k]
            neighbours[cursor[vertex]] = faces[face, (k + 1) % 3]
            neighbours[cursor[vertex] + 1] = faces[face, (k + 2) % 3]
            cursor[vertex] += 2
    return starts, neighbours


@parallel_kernel
def _step(vertices, starts, neighbours, factor, moved):
    """Moves each vertex by `factor` of the way to the mean of its neighbours."""
    for vertex in prange(len(vertices)):
        x, y, z = np.float32(0), np.float32(0), np.float32(0)
        for k in range(starts[vertex], starts[vertex + 1]):
            other = neighbours[k]
            x += vertices[other, 0]
            y += vertices[other, 1]
            z += vertices[other, 2]
        share = factor / np.float32(max(starts[vertex + 1] - starts[vertex], 1))
        own = np.float32(1) - (factor if starts[vertex + 1] > starts[vertex] else np.float32(0))
        moved[vertex, 0] = own * vertices[vertex, 0] + share * x
        moved[vertex, 1] = own * vertices[vertex, 1] + share * y
        moved[vertex, 2] = own * vertices[vertex, 2] + share * z

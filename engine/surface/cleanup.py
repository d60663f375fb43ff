# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not part of the object goes, what is stays, smoothed at equal volume."""

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.csgraph import connected_components

from engine.errors import EmptyFieldError
from engine.surface.mesh import Mesh

Array = np.ndarray

SMALLEST_PART = 0.002
"""Parts with less than this share of the whole area are debris (of a teapot: less than a button on its lid)."""

SMOOTHING_STEPS = 10
"""Pairs of a shrinking and a growing step: they halve the normals' error, at the same distance to the true surface."""


def clean(mesh: Mesh) -> Mesh:
    """Without debris and inner walls, and with the stairs of marching cubes smoothed away at equal volume.

    Every separate part with at least `SMALLEST_PART` of the area stays, and always the largest one. Parts turned
    inside out are walls of cavities and go. Raises `EmptyFieldError` where there are no faces.
    """
    if not len(mesh.faces):
        raise EmptyFieldError("Found a surface without faces.", "Try another picture or seed.")
    labels = parts(mesh)[mesh.faces[:, 0]]
    areas = np.bincount(labels, _face_areas(mesh))
    volumes = np.bincount(labels, _face_volumes(mesh))
    keep = (areas >= SMALLEST_PART * areas.sum()) & (volumes >= 0)
    keep[areas.argmax()] = True
    return smooth(select_faces(mesh, keep[labels]))


def parts(mesh: Mesh) -> Array:
    """The number of the piece each vertex belongs to, [V] int32; pieces hang together by edges."""
    return connected_components(_neighbours(mesh), directed=False)[1]


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
    shrink = 0.5
    grow = 1 / (0.1 - 1 / shrink)
    adjacency = _neighbours(mesh)
    counts = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    average = csr_matrix(diags(1 / counts) @ adjacency, dtype=np.float32)
    vertices = mesh.vertices
    for _ in range(steps):
        for factor in (np.float32(shrink), np.float32(grow)):
            vertices = vertices + factor * (average @ vertices - vertices)
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


def _neighbours(mesh: Mesh):
    """Which vertices share an edge, as a sparse matrix [V, V] of ones."""
    rows = mesh.faces.ravel()
    columns = np.roll(mesh.faces, -1, axis=1).ravel()
    ones = np.ones(2 * len(rows), np.float32)
    both = (np.concatenate([rows, columns]), np.concatenate([columns, rows]))
    matrix = coo_matrix((ones, both), shape=(len(mesh.vertices),) * 2).tocsr()
    matrix.data[:] = 1
    return matrix


def _face_areas(mesh: Mesh) -> Array:
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def _face_volumes(mesh: Mesh) -> Array:
    """Signed volumes of the tetrahedra between each face and the origin; their sum is the enclosed volume."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    return np.einsum("fi,fi->f", a, np.cross(b, c)) / 6

# SPDX-License-Identifier: GPL-3.0-or-later
"""Faces without area are taken out of a closed mesh, by turning their longest edge or collapsing their shortest."""

import numpy as np

from engine.surface.halfedges import mates
from engine.surface.mesh import Mesh

Array = np.ndarray

FLAT = 1e-7
"""A face is flat where its height is below this part of the bounding box's diagonal: a few steps of float32."""

PASSES = 20


def is_flat(mesh: Mesh) -> Array:
    """Which faces [F] have no area to speak of."""
    lengths = _edge_lengths(mesh)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    doubled = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return doubled <= _tolerance(mesh) * lengths.max(1)


def without_slivers(mesh: Mesh) -> Mesh:
    """`mesh` (each edge with two faces) without flat faces, as far as it stays a manifold without them."""
    for _ in range(PASSES):
        flat = np.flatnonzero(is_flat(mesh))
        if not len(flat):
            break
        changed = _pass(mesh, flat)
        if changed is mesh:
            break
        mesh = changed
    return mesh


def _pass(mesh: Mesh, flat: Array) -> Mesh:
    """One change near each flat face, where no other one is near; returns `mesh` itself where none is possible."""
    faces, vertices = mesh.faces.copy(), mesh.vertices.copy()
    mate = mates(faces)
    lengths = _edge_lengths(mesh)
    around: dict[int, list[int]] = {}
    wanted = np.zeros(len(vertices), bool)
    wanted[faces[flat]] = True
    for _ in range(2):  # the faces around the flat ones' corners and around those of their neighbours
        wanted[faces[wanted[faces].any(1)]] = True
    for face in np.flatnonzero(wanted[faces].any(1)):
        for vertex in faces[face]:
            around.setdefault(int(vertex), []).append(int(face))
    touched: set[int] = set()
    gone = np.zeros(len(faces), bool)
    shortest = _tolerance(mesh) * 10
    for face in flat:
        k = int(lengths[face].argmin())
        needle = lengths[face, k] < shortest
        if not needle:
            k = int(lengths[face].argmax())
        side, other = 3 * int(face) + k, int(mate[3 * face + k])
        if other < 0:
            continue
        start, end, corner = (int(faces[face, (k + turn) % 3]) for turn in range(3))
        beyond = int(faces[other // 3, (other + 2) % 3])
        near = {neighbour for vertex in (start, end, corner, beyond) for neighbour in around[vertex]}
        if touched.intersection(near):
            continue
        if needle:
            if len(_ring(faces, around, start) & _ring(faces, around, end)) != 2:
                continue
            vertices[start] = (vertices[start] + vertices[end]) / 2
            for neighbour in around[end]:
                faces[neighbour][faces[neighbour] == end] = start
            gone[[side // 3, other // 3]] = True
        else:
            if corner == beyond or beyond in _ring(faces, around, corner):
                continue
            faces[side // 3] = corner, start, beyond
            faces[other // 3] = beyond, end, corner
        touched |= near
    if not touched:
        return mesh
    return _compact(vertices, faces[~gone])


def _ring(faces: Array, around: dict[int, list[int]], vertex: int) -> set[int]:
    """The neighbours of a vertex."""
    return {int(other) for face in around[vertex] for other in faces[face]} - {vertex}


def _compact(vertices: Array, faces: Array) -> Mesh:
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    return Mesh(vertices[used], (np.cumsum(used) - 1)[faces].astype(np.int32))


def _edge_lengths(mesh: Mesh) -> Array:
    """Lengths [F, 3] of the edges that begin at each corner."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    return np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)


def _tolerance(mesh: Mesh) -> float:
    low, high = mesh.bounds()
    return FLAT * float(np.linalg.norm(high - low))

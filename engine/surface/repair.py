# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes every edge of a closed mesh the edge of exactly two faces, where collapses have let sheets touch."""

import numpy as np

from engine.surface.mesh import Mesh

Array = np.ndarray

PASSES = 8
"""A face is changed once per pass; more than a few passes are never needed in practice."""


def separate_sheets(mesh: Mesh) -> Mesh:
    """Pulls sheets apart that share an edge; expects welded vertices.

    Faces with the same corners and opposite sides cancel. Where four or more faces meet at an edge they are paired,
    each with the one that continues it most flatly; all pairs but the first get a vertex of their own in the middle
    of the edge, a twentieth of the way towards the pair's other corners. Edges with a single face stay: holes are not
    closed.
    """
    mesh = _without_flaps(mesh)
    for _ in range(PASSES):
        split = _split_shared_edges(mesh)
        if split is mesh:
            break
        mesh = split
    return mesh


def _without_flaps(mesh: Mesh) -> Mesh:
    """Without pairs of faces that have the same corners in opposite order: they enclose nothing."""
    order = np.sort(mesh.faces, axis=1)
    _, index, counts = np.unique(order, axis=0, return_inverse=True, return_counts=True)
    if (counts == 1).all():
        return mesh
    index = index.reshape(-1)
    turns = np.where(_is_even(mesh.faces), 1, -1)
    surplus = np.bincount(index, turns).astype(int)  # faces of one orientation more than of the other
    keep = np.zeros(len(mesh.faces), bool)
    seen: dict[int, int] = {}
    for face in np.flatnonzero(turns == np.sign(surplus[index])):
        group = int(index[face])
        seen[group] = seen.get(group, 0) + 1
        keep[face] = seen[group] <= abs(surplus[group])
    return Mesh(mesh.vertices, mesh.faces[keep])


def _is_even(faces: Array) -> Array:
    """Whether the corners of each face are an even permutation of their sorted order."""
    a, b, c = faces.T
    return ((a < b).astype(int) + (b < c) + (a < c)) % 2 == 1


def _split_shared_edges(mesh: Mesh) -> Mesh:
    """One pass over the edges with four or more faces; returns `mesh` itself where there are none."""
    faces = mesh.faces
    starts, ends = faces.ravel().astype(np.int64), np.roll(faces, -1, axis=1).ravel().astype(np.int64)
    keys = np.minimum(starts, ends) * len(mesh.vertices) + np.maximum(starts, ends)
    order = np.argsort(keys, kind="stable")
    firsts = np.flatnonzero(np.r_[True, np.diff(keys[order]) > 0])
    counts = np.diff(np.r_[firsts, len(order)])
    shared = np.flatnonzero(counts > 2)
    if not len(shared):
        return mesh
    corners = mesh.vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    used, dropped = set(), []
    new_vertices, new_faces = [], []
    for edge in shared:
        sides = order[firsts[edge] : firsts[edge] + counts[edge]]
        for pair in _pairs(sides, starts, normals)[1:]:
            pair_faces = [int(side) // 3 for side in pair]
            if used.intersection(pair_faces) or len(set(pair_faces)) < 2:
                continue
            used.update(pair_faces)
            dropped += pair_faces
            middle = len(mesh.vertices) + len(new_vertices)
            opposite = [int(faces[side // 3, (side + 2) % 3]) for side in pair]
            on_edge = mesh.vertices[[starts[pair[0]], ends[pair[0]]]].mean(0)
            new_vertices.append(0.95 * on_edge + 0.05 * mesh.vertices[opposite].mean(0))
            for side, corner in zip(pair, opposite, strict=True):
                new_faces += [[starts[side], middle, corner], [middle, ends[side], corner]]
    if not dropped:
        return mesh
    kept = np.delete(faces, dropped, axis=0)
    return Mesh(
        np.concatenate([mesh.vertices, np.array(new_vertices, np.float32)]),
        np.concatenate([kept, np.array(new_faces, np.int32)]),
    )


def _pairs(sides: Array, starts: Array, normals: Array) -> list[tuple[int, int]]:
    """Half-edges at one edge in pairs of opposite direction, the flattest pair first; a surplus stays unpaired."""
    forward = [int(side) for side in sides if starts[side] == starts[sides[0]]]
    backward = [int(side) for side in sides if starts[side] != starts[sides[0]]]
    pairs = []
    while forward and backward:
        flatness = [[normals[f // 3] @ normals[b // 3] for b in backward] for f in forward]
        f, b = np.unravel_index(int(np.argmax(flatness)), (len(forward), len(backward)))
        pairs.append((forward.pop(int(f)), backward.pop(int(b))))
    return pairs

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls apart what touches: afterwards no edge has more than two faces, and the faces around each vertex form one fan.

A mesh is cut where it is not a manifold and stitched where faces continue each other, after Guéziec et al. 2001
("Cutting and Stitching: Converting Sets of Polygons to Manifold Surfaces").
"""

from dataclasses import replace

import numpy as np

from engine.surface.halfedges import fans, grouped_edges, mates
from engine.surface.mesh import Mesh

Array = np.ndarray

PASSES = 8
"""A face is changed once per pass; more than a few passes are never needed in practice."""

STEP = 0.02
"""Vertices in one place move apart by this part of the way to their neighbours: welding keeps them apart."""


def separate_sheets(mesh: Mesh) -> Mesh:
    """Pulls sheets apart that share an edge or a vertex; expects welded vertices and consistently oriented faces.

    Faces with the same corners and opposite sides cancel. Where more than two faces meet at an edge they are paired
    around it, each with the neighbour that continues it most flatly. Vertices with several fans of faces become
    several. Where both ends of an edge stay shared, all its pairs but the first get a vertex in the middle of it.
    Edges with a single face stay: holes are not closed.
    """
    mesh = _without_flaps(mesh)
    for _ in range(PASSES):
        mate = _stitched(mesh)
        split = _one_fan_each(mesh, mate)
        if split is mesh and not len(_crowds(mesh)):
            break
        mesh = _without_flaps(_middles(split))
    return mesh


def part_fans(mesh: Mesh) -> Mesh:
    """Each fan of faces with a vertex of its own: sheets part that share vertices or, with both ends, edges.

    Faces stay as they are, in their order, and quads whole; an edge with one end still shared keeps all its faces.
    """
    return replace(_one_fan_each(mesh, _stitched(mesh)), quads=mesh.quads)


def _stitched(mesh: Mesh) -> Array:
    """The half-edge beside each, [3 F]; at crowded edges that of its pair, or -1 where it has none."""
    mate = mates(mesh.faces, oriented=True)
    for sides in _crowds(mesh, mate):
        mate[sides] = -1
        for group in _groups(mesh, sides):
            mate[group] = group[::-1] if len(group) > 1 else -1
    return mate


def _crowds(mesh: Mesh, mate: Array | None = None) -> list[Array]:
    """The half-edges of each edge with more than two faces, or with two that run along it in the same direction."""
    mate = mates(mesh.faces, oriented=True) if mate is None else mate
    order, starts = grouped_edges(mesh.faces)
    return [order[starts[edge] : starts[edge + 1]] for edge in np.flatnonzero(mate[order[starts[:-1]]] == -2)]


def _without_flaps(mesh: Mesh) -> Mesh:
    """Without pairs of faces that have the same corners in opposite order: they enclose nothing."""
    order = np.sort(mesh.faces, axis=1).astype(np.int64)
    size = int(mesh.faces.max(initial=0)) + 1
    low = order[:, 0] * size + order[:, 1]
    ranked = np.lexsort((order[:, 2], low))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(low[ranked]) != 0) | (np.diff(order[ranked, 2]) != 0)
    if fresh.all():
        return mesh
    group = np.empty(len(order), np.int64)
    group[ranked] = np.cumsum(fresh) - 1
    turns = np.where(_is_even(mesh.faces), 1, -1)
    surplus = np.bincount(group, turns).astype(int)  # faces of one orientation more than of the other
    keep = np.zeros(len(mesh.faces), bool)
    seen: dict[int, int] = {}
    for face in np.flatnonzero(turns == np.sign(surplus[group])):
        number = int(group[face])
        seen[number] = seen.get(number, 0) + 1
        keep[face] = seen[number] <= abs(surplus[number])
    return Mesh(mesh.vertices, mesh.faces[keep])


def _is_even(faces: Array) -> Array:
    """Whether the corners of each face are an even permutation of their sorted order."""
    a, b, c = faces.T
    return ((a < b).astype(int) + (b < c) + (a < c)) % 2 == 1


def _groups(mesh: Mesh, sides: Array) -> list[list[int]]:
    """Half-edges at one edge in pairs of neighbours around it, the flattest first; what finds no partner comes last.

    The two of a pair run along the edge in opposite directions. A face that runs along the edge has the outside ahead
    of it, counter-clockwise, one that runs back has it behind. Among equally flat pairs those around the inside come
    first: solids that touch are parted.
    """
    faces, flat = mesh.faces, mesh.faces.ravel()
    start = flat[sides[0]]
    forward = flat[sides] == start
    end = flat[int(sides[0]) // 3 * 3 + (int(sides[0]) + 1) % 3]
    origin = mesh.vertices[start].astype(np.float64)
    axis = mesh.vertices[end] - origin
    axis /= max(float(np.linalg.norm(axis)), 1e-30)
    arms = mesh.vertices[[faces[side // 3, (side + 2) % 3] for side in sides]] - origin
    right = arms[0] - arms[0] @ axis * axis
    right /= max(float(np.linalg.norm(right)), 1e-30)
    angles = np.arctan2(arms @ np.cross(axis, right), arms @ right)
    ring = [int(i) for i in np.argsort(angles, kind="stable")]
    groups = []
    while len(ring) > 1:
        best, least = -1, np.inf
        for place, one in enumerate(ring):
            other = ring[(place + 1) % len(ring)]
            if forward[one] == forward[other]:
                continue
            wedge = (angles[other] - angles[one]) % (2 * np.pi)
            bend = abs(wedge - np.pi) + (1e-3 if forward[one] else 0)
            if bend < least:
                best, least = place, bend
        if best < 0:
            break
        one, other = ring[best], ring[(best + 1) % len(ring)]
        groups.append([int(sides[one]), int(sides[other])])
        ring = [i for i in ring if i not in (one, other)]
    return groups + [[int(sides[one])] for one in ring]


def _one_fan_each(mesh: Mesh, mate: Array) -> Mesh:
    """A vertex for each fan of faces; returns `mesh` itself where no vertex has several.

    The most hollow fan of a vertex keeps its place, the others move a little towards their own neighbours; flat ones,
    whose neighbours lie all around, against their normal.
    """
    corners = mesh.faces.ravel().astype(np.int64)
    fan = fans(mesh.faces, mate)
    count = int(fan.max(initial=-1)) + 1
    origin = np.empty(count, np.int64)
    origin[fan] = corners
    if np.bincount(origin, minlength=1).max() < 2:
        return mesh
    places = mesh.vertices[origin].astype(np.float64)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    across = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    middles = np.stack([b + c, c + a, a + b], 1).reshape(-1, 3) / 2
    sizes = np.bincount(fan, minlength=count)[:, None]
    normals = np.stack([np.bincount(fan, across[:, axis], count) for axis in range(3)], 1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    offsets = np.stack([np.bincount(fan, middles[:, axis], count) for axis in range(3)], 1) / sizes - places
    reach = np.bincount(fan, np.linalg.norm(middles - mesh.vertices[corners], axis=1), count)[:, None] / sizes
    hollow = np.einsum("fi,fi->f", offsets, normals) / np.maximum(reach[:, 0], 1e-30)
    offsets -= np.where(np.linalg.norm(offsets, axis=1, keepdims=True) < 0.1 * reach, 0.5 * reach, 0) * normals
    order = np.lexsort((-hollow, origin))
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count) - np.searchsorted(origin[order], origin[order])
    vertices = places + np.minimum(STEP * rank, 0.3)[:, None] * offsets
    return Mesh(vertices.astype(np.float32), fan.reshape(-1, 3).astype(np.int32))


def _middles(mesh: Mesh) -> Mesh:
    """One pass over the crowded edges: a vertex in the middle for all groups of faces but the first."""
    used, dropped = set(), []
    new_vertices, new_faces = [], []
    flat = mesh.faces.ravel()
    for sides in _crowds(mesh):
        for group in _groups(mesh, sides)[1:]:
            group_faces = [side // 3 for side in group]
            if used.intersection(group_faces):
                continue
            used.update(group_faces)
            dropped += group_faces
            middle = len(mesh.vertices) + len(new_vertices)
            opposite = [int(mesh.faces[side // 3, (side + 2) % 3]) for side in group]
            ends = [(int(flat[side]), int(flat[side // 3 * 3 + (side + 1) % 3])) for side in group]
            on_edge = mesh.vertices[list(ends[0])].mean(0)
            new_vertices.append((1 - STEP) * on_edge + STEP * mesh.vertices[opposite].mean(0))
            for (start, end), corner in zip(ends, opposite, strict=True):
                new_faces += [[start, middle, corner], [middle, end, corner]]
    if not dropped:
        return mesh
    kept = np.delete(mesh.faces, dropped, axis=0)
    return Mesh(
        np.concatenate([mesh.vertices, np.array(new_vertices, np.float32)]),
        np.concatenate([kept, np.array(new_faces, np.int32)]),
    )

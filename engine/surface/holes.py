# SPDX-License-Identifier: GPL-3.0-or-later
"""Holes of a mesh: found, and closed by a patch as small as its border allows, refined and faired like what is around.

The patch is the triangulation of least area (Barequet and Sharir 1995). Where the surface runs on into it, it is
cut as finely as its border and bent as a thin plate (after Liepa 2003).
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.linalg import splu

from engine.jit import kernel
from engine.surface.halfedges import mates
from engine.surface.mesh import Mesh

Array = np.ndarray

LARGEST_LOOP = 128
"""Longer borders are cut along chords first: the triangulation of least area takes cubic time."""

LONG_EDGE = 1.5
"""Edges within a patch longer than this many average edges of its border are halved."""

SMALL = 5
"""Holes with at most so many edges are closed without vertices of their own."""

RUNS_ON = 0.5
"""The surface runs on into a patch when the cosine between their mean normals is at least this."""

ROUNDS, FLIPS, FINEST = 40, 10, 20
"""Rounds of halving (of the longest edges that share no face) and of turning edges; faces per edge of the border."""


@dataclass(frozen=True)
class Hole:
    """The border of a hole."""

    loop: Array  # [L] vertices in the order in which the missing faces run along them
    side: Array  # [L] the half-edge of the mesh at each edge of the loop


@dataclass(frozen=True)
class Patch:
    """What closes a hole: its faces' indices go on after the mesh's vertices for its own."""

    vertices: Array  # [N, 3] float32
    faces: Array  # [F, 3]
    area: float  # object units squared


def find_holes(mesh: Mesh) -> list[Hole]:
    """The borders of `mesh`, whose faces around each vertex must form one fan."""
    open_sides = np.flatnonzero(mates(mesh.faces, oriented=True) == -1)
    flat = mesh.faces.ravel()
    starts, ends = flat[open_sides], flat[open_sides // 3 * 3 + (open_sides + 1) % 3]
    leaving = {int(end): i for i, end in enumerate(ends)}  # a missing face runs from the end to the start
    holes, done = [], np.zeros(len(open_sides), bool)
    for first in range(len(open_sides)):
        loop, i = [], first
        while not done[i]:
            done[i] = True
            loop.append(i)
            i = leaving[int(starts[i])]
        if loop:
            holes.append(Hole(ends[loop], open_sides[loop]))
    return holes


class Surroundings:
    """A mesh with the faces around each of its vertices."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        corners = mesh.faces.ravel()
        self._order = np.argsort(corners, kind="stable") // 3
        self._starts = np.append(0, np.cumsum(np.bincount(corners, minlength=len(mesh.vertices))))

    def faces_around(self, vertices: Array) -> Array:
        """The faces [F, 3] with at least one of `vertices` as a corner."""
        found = [self._order[self._starts[vertex] : self._starts[vertex + 1]] for vertex in vertices]
        return self.mesh.faces[np.unique(np.concatenate(found))]

    def joined(self, loop: Array) -> Array:
        """Which vertices of `loop` share an edge, [L, L] bool."""
        faces = self.faces_around(loop)
        place = {int(vertex): i for i, vertex in enumerate(loop)}
        local = np.array([[place.get(vertex, -1) for vertex in face] for face in faces.tolist()])
        result = np.zeros((len(loop),) * 2, bool)
        for one, other in ((0, 1), (1, 2), (2, 0)):
            both = local[(local[:, one] >= 0) & (local[:, other] >= 0)]
            result[both[:, one], both[:, other]] = result[both[:, other], both[:, one]] = True
        return result


def close_hole(around: Surroundings, hole: Hole) -> Patch | None:
    """A patch for `hole` of a mesh, None where its border is that of one face."""
    mesh, loop, count = around.mesh, hole.loop, len(hole.loop)
    places = mesh.vertices[loop].astype(np.float64)
    if count == 3:
        if len(set((hole.side // 3).tolist())) == 1:
            return None
        return _patch(places, np.array([[0, 1, 2]]), loop, len(mesh.vertices))
    joined = around.joined(loop)  # chords that are edges already would have three faces
    faces = _triangulated(places, joined)
    if faces is None:  # a fan around the middle needs no chord
        turn = np.arange(count)
        faces = np.stack([turn, np.roll(turn, -1), np.full(count, count)], 1)
        places = np.concatenate([places, places.mean(0, keepdims=True)])
    beside = _normal(mesh.vertices[mesh.faces[np.unique(hole.side // 3)]])
    if count > SMALL and _normal(places[faces]) @ beside > RUNS_ON:
        places, faces = _refined(places, _flipped(places, faces, joined), joined)
        places = _faired(around, loop, places, faces)
    return _patch(places, faces, loop, len(mesh.vertices))


def _patch(places: Array, faces: Array, loop: Array, offset: int) -> Patch:
    own = len(places) - len(loop)
    numbers = np.concatenate([loop, offset + np.arange(own)])
    a, b, c = np.moveaxis(places[faces], 1, 0)
    area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
    return Patch(places[len(loop) :].astype(np.float32), numbers[faces].astype(np.int32), area)


def _triangulated(places: Array, joined: Array) -> Array | None:
    """Faces [L - 2, 3] over a loop of `places` [L, 3] without a chord of `joined` [L, L]; None where there are none."""
    pending, faces = [np.arange(len(places))], []
    while pending:
        part = pending.pop()
        if len(part) > LARGEST_LOOP:
            cut = _chord(places[part], joined[np.ix_(part, part)])
            if cut is None:
                return None
            i, j = cut
            pending += [part[i : j + 1], np.concatenate([part[j:], part[: i + 1]])]
            continue
        own = joined[np.ix_(part, part)].copy()
        around = np.arange(len(part))
        own[around, (around + 1) % len(part)] = own[(around + 1) % len(part), around] = False
        total, local = _least_area(places[part], own)
        if not np.isfinite(total):
            return None
        faces.append(part[local])
    return np.concatenate(faces)


def _chord(places: Array, joined: Array) -> tuple[int, int] | None:
    """The shortest chord i < j that leaves at least a quarter of the loop on either side."""
    count = len(places)
    apart = np.abs(np.arange(count)[:, None] - np.arange(count)[None])
    lengths = np.linalg.norm(places[:, None] - places[None], axis=2)
    lengths[joined | (np.minimum(apart, count - apart) < count // 4)] = np.inf
    i, j = np.unravel_index(int(lengths.argmin()), lengths.shape)
    return (int(min(i, j)), int(max(i, j))) if np.isfinite(lengths[i, j]) else None


@kernel
def _least_area(places, joined):
    """Area and faces [L - 2, 3] of the triangulation of least area of a loop, by dynamic programming over its arcs."""
    count = len(places)
    best = np.zeros((count, count))
    middle = np.zeros((count, count), np.int64)
    for span in range(2, count):
        for i in range(count - span):
            k = i + span
            best[i, k] = np.inf
            if joined[i, k]:
                continue
            for j in range(i + 1, k):
                ux, uy, uz = places[j] - places[i]
                vx, vy, vz = places[k] - places[i]
                nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
                total = best[i, j] + best[j, k] + 0.5 * np.sqrt(nx * nx + ny * ny + nz * nz)
                if total < best[i, k]:
                    best[i, k] = total
                    middle[i, k] = j
    faces = np.empty((count - 2, 3), np.int64)
    stack = np.empty((count, 2), np.int64)
    stack[0, 0], stack[0, 1] = 0, count - 1
    depth, found = 1, 0
    while depth and best[0, count - 1] < np.inf:
        depth -= 1
        i, k = stack[depth]
        j = middle[i, k]
        faces[found] = i, j, k
        found += 1
        for low, high in ((i, j), (j, k)):
            if high - low > 1:
                stack[depth, 0], stack[depth, 1] = low, high
                depth += 1
    return best[0, count - 1], faces


def _refined(places: Array, faces: Array, joined: Array) -> tuple[Array, Array]:
    """The patch with its long inner edges halved; its loop's edges stay, and no chord of `joined` [L, L] appears."""
    border = len(joined)
    loop_edges = np.linalg.norm(places[:border] - np.roll(places[:border], -1, axis=0), axis=1)
    limit = LONG_EDGE * float(loop_edges.mean())
    for _ in range(ROUNDS):
        mate = mates(faces)
        starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
        lengths = np.linalg.norm(places[starts] - places[ends], axis=1)
        inner = np.flatnonzero((mate > np.arange(len(mate))) & (lengths > limit))
        if not len(inner) or len(faces) > FINEST * border:
            break
        taken = np.zeros(len(faces), bool)
        extra, halves = [], []
        for h in inner[np.argsort(-lengths[inner], kind="stable")]:
            sides = int(h), int(mate[h])
            if taken[sides[0] // 3] or taken[sides[1] // 3]:
                continue
            longest = max(lengths[3 * (side // 3) : 3 * (side // 3) + 3].max() for side in sides)
            if lengths[h] < 0.7 * longest and longest > limit:
                continue  # a longer edge of these faces is halved first
            middle = len(places) + len(extra)
            extra.append((places[starts[h]] + places[ends[h]]) / 2)
            for side in sides:
                taken[side // 3] = True
                corner = faces[side // 3, (side + 2) % 3]
                halves += [(starts[side], middle, corner), (middle, ends[side], corner)]
        if not extra:
            break
        places = np.concatenate([places, extra])
        faces = _flipped(places, np.concatenate([faces[~taken], np.array(halves)]), joined)
    return places, faces


def _flipped(places: Array, faces: Array, joined: Array) -> Array:
    """Inner edges turned until the angles opposite each add up to at most pi (Delaunay), none of them into `joined`."""
    known = set(map(tuple, np.argwhere(joined).tolist()))
    for _ in range(FLIPS):
        mate = mates(faces)
        inner = np.flatnonzero(mate > np.arange(len(mate)))
        opposite = np.roll(faces, -2, axis=1).ravel()
        starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
        to_start, to_end = places[starts] - places[opposite], places[ends] - places[opposite]
        lengths = np.linalg.norm(to_start, axis=1) * np.linalg.norm(to_end, axis=1)
        cosines = np.einsum("hi,hi->h", to_start, to_end) / np.maximum(lengths, 1e-30)
        excess = (np.arccos(np.clip(cosines, -1, 1)) + np.arccos(np.clip(cosines[mate], -1, 1)))[inner] - np.pi
        there = known.union(zip(starts.tolist(), ends.tolist(), strict=True))
        taken = np.zeros(len(faces), bool)
        faces = faces.copy()
        for i in np.argsort(-excess, kind="stable"):
            if excess[i] < 1e-6:
                break
            one, other = int(inner[i]), int(mate[inner[i]])
            a, b = int(opposite[one]), int(opposite[other])
            if taken[one // 3] or taken[other // 3] or (a, b) in there or (b, a) in there:
                continue
            taken[[one // 3, other // 3]] = True
            there.add((a, b))
            faces[one // 3], faces[other // 3] = (a, starts[one], b), (b, ends[one], a)
        if not taken.any():
            break
    return faces


def _faired(around: Surroundings, loop: Array, places: Array, faces: Array) -> Array:
    """The patch's own vertices moved to where they bend least, L^2 x = 0, going on as the faces around the hole do.

    L is the Laplacian of Pinkall and Polthier 1993: half the sum of the cotangents opposite each edge.
    """
    border, count = len(loop), len(places)
    if count == border:
        return places
    beside = around.faces_around(loop)
    numbers = {int(vertex): i for i, vertex in enumerate(loop)}
    outer = [vertex for vertex in np.unique(beside).tolist() if vertex not in numbers]
    numbers.update({vertex: count + i for i, vertex in enumerate(outer)})
    ring = np.array([[numbers[vertex] for vertex in face] for face in beside.tolist()])
    held = np.concatenate([places, around.mesh.vertices[outer]])
    every = np.concatenate([faces, ring])
    rows, columns, weights = [], [], []
    mass = np.zeros(len(held))
    for k in range(3):
        apex, one, other = every[:, k], every[:, (k + 1) % 3], every[:, (k + 2) % 3]
        u, v = held[one] - held[apex], held[other] - held[apex]
        doubled = np.maximum(np.linalg.norm(np.cross(u, v), axis=1), 1e-12 * np.einsum("fi,fi->f", u, u))
        rows += [one, other]
        columns += [other, one]
        weights += [np.einsum("fi,fi->f", u, v) / (2 * doubled)] * 2
        mass += np.bincount(apex, doubled / 6, len(held))
    joint = np.clip(np.concatenate(weights), -10, 10), (np.concatenate(rows), np.concatenate(columns))
    adjacency = coo_matrix(joint, shape=(len(held),) * 2).tocsc()
    laplacian = csc_matrix(diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency)
    free = np.arange(border, count)
    fixed = np.setdiff1d(np.arange(len(held)), free)
    rows_free = csc_matrix(laplacian @ diags(1 / np.maximum(mass, 1e-30)) @ laplacian)[free]
    held[free] = splu(csc_matrix(rows_free[:, free])).solve(-np.asarray(rows_free[:, fixed] @ held[fixed]))
    return held[:count]


def _normal(corners: Array) -> Array:
    """Mean normal [3] of faces with `corners` [F, 3, 3], weighted by area; shorter than 1 where they are not flat."""
    a, b, c = np.moveaxis(corners.astype(np.float64), 1, 0)
    normals = np.cross(b - a, c - a)
    return normals.sum(0) / max(float(np.linalg.norm(normals, axis=1).sum()), 1e-30)

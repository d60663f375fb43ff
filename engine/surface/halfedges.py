# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is whose neighbour: half-edges, their mates on the other side, and the fans of faces around vertices.

Half-edge h = 3 f + k runs along face f from its corner k to its corner (k + 1) % 3; corner h is where it starts.
"""

import numpy as np

from engine.jit import kernel
from engine.surface.mesh import Mesh

Array = np.ndarray


def edge_keys(faces: Array) -> Array:
    """One number per undirected edge, of each half-edge, [3 F] int64."""
    starts = faces.ravel().astype(np.int64)
    ends = np.roll(faces, -1, axis=1).ravel().astype(np.int64)
    return np.minimum(starts, ends) * (int(faces.max(initial=0)) + 1) + np.maximum(starts, ends)


def grouped_edges(faces: Array) -> tuple[Array, Array]:
    """Half-edges in the order of their edges [3 F], and where the ones of each edge begin in it [E + 1]."""
    keys = edge_keys(faces)
    order = np.argsort(keys, kind="stable")
    firsts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return order, np.append(firsts, len(order))


def mates(faces: Array, oriented: bool = False) -> Array:
    """The half-edge beside each, [3 F] int64; -1 at edges with one face, -2 at edges with more than two.

    With `oriented` also -2 where an edge's two faces run along it in the same direction.
    """
    order, starts = grouped_edges(faces)
    counts = np.diff(starts)
    mate = np.full(len(order), -1, np.int64)
    firsts = starts[:-1][counts == 2]
    mate[order[firsts]], mate[order[firsts + 1]] = order[firsts + 1], order[firsts]
    mate[order[np.repeat(counts > 2, counts)]] = -2
    if oriented:
        one, other = order[firsts], order[firsts + 1]
        same = faces.ravel()[one] == faces.ravel()[other]
        mate[one[same]] = mate[other[same]] = -2
    return mate


def fans(faces: Array, mate: Array) -> Array:
    """Number of the fan each corner belongs to, [3 F]: faces around one vertex, joined over mated edges."""
    return _fans(np.ascontiguousarray(faces, np.int64), mate)


def is_manifold(mesh: Mesh) -> bool:
    """Whether each edge has one or two faces and the faces around each vertex form one fan. Expects welded vertices."""
    if not len(mesh.faces):
        return False
    mate = mates(mesh.faces)
    if (mate == -2).any():
        return False
    return int(fans(mesh.faces, mate).max()) + 1 == len(np.unique(mesh.faces))


@kernel
def _fans(faces, mate):
    """Union of corners over mated edges: at both ends, whichever way the other face runs along the edge."""
    flat = faces.ravel()
    parent = np.arange(len(flat))
    for h in range(len(flat)):
        m = mate[h]
        if m < h:
            continue
        after_h, after_m = h - h % 3 + (h + 1) % 3, m - m % 3 + (m + 1) % 3
        for end in range(2):
            one = h if end == 0 else after_h
            other = m if flat[m] == flat[one] else after_m
            while parent[one] != one:
                parent[one] = parent[parent[one]]
                one = parent[one]
            while parent[other] != other:
                parent[other] = parent[parent[other]]
                other = parent[other]
            parent[max(one, other)] = min(one, other)
    numbers = np.empty(len(flat), np.int64)
    count = 0
    for h in range(len(flat)):
        if parent[h] == h:
            numbers[h] = count
            count += 1
        else:
            numbers[h] = numbers[parent[h]]
    return numbers

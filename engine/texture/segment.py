# SPDX-License-Identifier: GPL-3.0-or-later
"""Cuts a surface into charts: neighbouring faces that look about the same way, merged from single faces upwards.

Pieces are merged as in hierarchical face clustering (Garland, Willmott and Heckbert 2001), all pairs that prefer each
other at a time. The price of a merger is the spread of normals it adds (Ward 1963), lower along long common borders.
A piece is a chart as long as its normals agree: |sum of n_f A_f| / sum of A_f, which is 1 for a plane and
(1 + cos a) / 2 for a cap of half-angle a.
"""

import numpy as np

from engine.jit import kernel
from engine.surface.halfedges import mates
from engine.surface.mesh import Mesh

Array = np.ndarray

AGREEMENT = 0.8
"""Charts' normals agree at least this much (a cap of 53 degrees)."""

SMALL, SMALL_AGREEMENT = 0.003, 0.5
"""Charts with less than this part of the area join others down to this agreement of both together."""

ASIDE, SMALL_ASIDE = 0.4, 0.0
"""Cosine between the mean normal of a piece and that of the chart it joins, at least."""

STRAIGHTENED = 4
"""Rounds in which faces move to the neighbouring chart they share most of their border with."""


def segment(mesh: Mesh, agreement: float = AGREEMENT, small: float = SMALL) -> Array:
    """The chart of each face, [F] int64, numbered from 0. The halves of a quad are in one chart.

    Normals within a chart agree by `agreement`; charts with less than the part `small` of the area join others.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    mate = mates(mesh.faces)
    sides = np.flatnonzero(mate > np.arange(len(mate)))
    lengths = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2).ravel()[sides]
    one, other = sides // 3, mate[sides] // 3
    unit = np.arange(len(crossed)) // 2 if mesh.quads else np.arange(len(crossed))
    count = int(unit[-1]) + 1
    normals = np.stack([np.bincount(unit, crossed[:, axis], count) for axis in range(3)], 1)
    areas = np.bincount(unit, np.linalg.norm(crossed, axis=1), count)
    areas = np.maximum(areas, 1e-12 * areas.sum() / count)
    apart = unit[one] != unit[other]
    edges = np.stack([unit[one[apart]], unit[other[apart]]], 1)
    lengths = np.maximum(lengths[apart], 1e-12)
    labels = np.arange(count)
    for smallest, least, aside in ((np.inf, agreement, ASIDE), (small * areas.sum(), SMALL_AGREEMENT, SMALL_ASIDE)):
        labels = _merged(labels, normals, areas, edges, lengths, smallest, least, aside)
    labels = _straightened(labels, normals, areas, edges, lengths, STRAIGHTENED)
    return labels[unit]


def _merged(
    labels: Array,
    normals: Array,
    areas: Array,
    edges: Array,
    lengths: Array,
    smallest: float,
    least: float,
    aside: float,
):
    """Labels [U] after mergers in which at least one piece has less area than `smallest`."""
    count = int(labels.max()) + 1
    total = np.stack([np.bincount(labels, normals[:, axis], count) for axis in range(3)], 1)
    area = np.bincount(labels, areas, count)
    ends, length = _joined(labels, edges, lengths, count)
    while len(ends):
        parent = _choose(total, area, ends, length, smallest, least, aside)
        numbers = np.unique(parent, return_inverse=True)[1].reshape(-1)
        merged = int(numbers.max(initial=-1)) + 1
        if merged == count:
            break
        total = np.stack([np.bincount(numbers, total[:, axis], merged) for axis in range(3)], 1)
        area = np.bincount(numbers, area, merged)
        ends, length = _joined(numbers, ends, length, merged)
        labels, count = numbers[labels], merged
    return labels


def _joined(labels: Array, edges: Array, lengths: Array, count: int) -> tuple[Array, Array]:
    """The edges between different labels, each pair of labels once with its length."""
    ends = np.sort(labels[edges], axis=1)
    apart = ends[:, 0] != ends[:, 1]
    keys, index = np.unique(ends[apart, 0] * count + ends[apart, 1], return_inverse=True)
    return np.stack([keys // count, keys % count], 1), np.bincount(index.reshape(-1), lengths[apart], len(keys))


@kernel
def _choose(total, area, ends, length, smallest, least, aside):
    """The piece each one becomes part of, [pieces]: pairs merge where each is the other's cheapest neighbour."""
    count = len(area)
    best = np.full(count, -1, np.int64)
    price = np.full(count, np.inf)
    for e in range(len(ends)):
        a, b = ends[e, 0], ends[e, 1]
        if min(area[a], area[b]) >= smallest:
            continue
        sum_x, sum_y, sum_z = total[a, 0] + total[b, 0], total[a, 1] + total[b, 1], total[a, 2] + total[b, 2]
        both = area[a] + area[b]
        if sum_x * sum_x + sum_y * sum_y + sum_z * sum_z < (least * both) ** 2:
            continue
        size = np.sqrt(sum_x * sum_x + sum_y * sum_y + sum_z * sum_z)
        agree = True
        for end in range(2):
            piece = a if end == 0 else b
            along = total[piece, 0] * sum_x + total[piece, 1] * sum_y + total[piece, 2] * sum_z
            own = np.sqrt(total[piece, 0] ** 2 + total[piece, 1] ** 2 + total[piece, 2] ** 2)
            agree &= along >= aside * own * size
        if not agree:
            continue
        spread = 0.0
        for axis in range(3):
            spread += (total[a, axis] / area[a] - total[b, axis] / area[b]) ** 2
        less = min(area[a], area[b])
        cost = (area[a] * area[b] / both * spread + 1e-3 * less) * np.sqrt(less) / length[e]
        for end in range(2):
            piece = a if end == 0 else b
            if cost < price[piece]:
                price[piece], best[piece] = cost, e
    parent = np.arange(count)
    for e in range(len(ends)):
        a, b = ends[e, 0], ends[e, 1]
        if best[a] == e and best[b] == e:
            parent[b] = a
    return parent


@kernel
def _straightened(labels, normals, areas, edges, lengths, rounds):
    """Units that share more border with another label than with their own go there, where they look that way too."""
    count = len(labels)
    pieces = labels.max() + 1
    degree = np.zeros(count + 1, np.int64)
    for e in range(len(edges)):
        degree[edges[e, 0] + 1] += 1
        degree[edges[e, 1] + 1] += 1
    for u in range(count):
        degree[u + 1] += degree[u]
    cursor = degree[:-1].copy()
    around, shared = np.empty(2 * len(edges), np.int64), np.empty(2 * len(edges))
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
        around[cursor[a]], shared[cursor[a]] = b, lengths[e]
        around[cursor[b]], shared[cursor[b]] = a, lengths[e]
        cursor[a] += 1
        cursor[b] += 1
    labels = labels.copy()
    for _ in range(rounds):
        axes = np.zeros((pieces, 3))
        for u in range(count):
            axes[labels[u]] += normals[u]
        moved = 0
        for u in range(count):
            own, best, most = 0.0, -1, 0.0
            for i in range(degree[u], degree[u + 1]):
                label = labels[around[i]]
                if label == labels[u]:
                    own += shared[i]
                    continue
                length = 0.0
                for j in range(degree[u], degree[u + 1]):
                    if labels[around[j]] == label:
                        length += shared[j]
                if length > most:
                    best, most = label, length
            if best < 0 or most <= own:
                continue
            axis = axes[best]
            along = normals[u, 0] * axis[0] + normals[u, 1] * axis[1] + normals[u, 2] * axis[2]
            size = np.sqrt(axis[0] ** 2 + axis[1] ** 2 + axis[2] ** 2)
            if along > 0.3 * size * areas[u]:
                labels[u] = best
                moved += 1
        if moved == 0:
            break
    return labels

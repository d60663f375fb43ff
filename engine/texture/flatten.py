# SPDX-License-Identifier: GPL-3.0-or-later
"""Lays charts flat: seen from where they face, untangled, then relaxed so that triangles keep their shape and size.

Faces that look away are unfolded by moving their vertices to the mean of their neighbours, as in barycentric maps
(Tutte 1963). The relaxation is as rigid as possible (Liu et al. 2008, "A Local/Global Approach to Mesh
Parameterization"), its global step done vertex by vertex. A vertex stays where it is if a face would turn over.
"""

import numpy as np

from engine.jit import kernel, parallel_kernel, prange

Array = np.ndarray

UNTANGLED = 40
"""Rounds of unfolding."""

RELAXED, SWEEPS = 6, 4
"""Rounds of relaxation: in each the best turn of every face is found, then every vertex is moved so often."""

OVER = 1.6
"""Vertices move further than to their best place by this factor: that evens out large charts sooner."""

SQUEEZED = 0.12
"""Faces may become this much narrower."""

THINNEST = 0.05
"""No face is squeezed below this part of its area, and no weight of an edge falls below it."""


def flatten(vertices: Array, faces: Array, charts: Array) -> Array:
    """Places [V, 2] (float64, object units, v down, not mirrored) of vertices [V, 3].

    charts [V] is the chart of each vertex, in rising order; no face [F, 3] joins two. Faces that could not be unfolded
    stay turned over: see `strained`.
    """
    faces = np.ascontiguousarray(faces, np.int64)
    vertices = np.ascontiguousarray(vertices, np.float64)
    count = int(charts[-1]) + 1
    flat = _projected(vertices, faces, charts, count)
    incident = np.argsort(faces.ravel(), kind="stable")
    starts = np.append(0, np.cumsum(np.bincount(faces.ravel(), minlength=len(vertices))))
    chart_starts = np.searchsorted(charts, np.arange(count + 1))
    shapes = _shapes(vertices[faces])
    _untangle(flat, faces, incident, starts, UNTANGLED)
    _relax(flat, faces, incident, starts, chart_starts, *shapes, RELAXED, SWEEPS)
    return flat * np.array([1, -1])


def strained(corners: Array, flat: Array) -> Array:
    """Which faces [F] lie upside down or are squeezed below `SQUEEZED`: corners [F, 3, 3], laid flat [F, 3, 2]."""
    plane = _shapes(corners.astype(np.float64))[0]
    width, across, height = plane[:, 1, 0], plane[:, 2, 0], np.maximum(plane[:, 2, 1], 1e-30)
    b, c = (flat[:, 1] - flat[:, 0]) / width[:, None], flat[:, 2] - flat[:, 0]
    c = (c - across[:, None] * b) / height[:, None]  # the map's derivatives along and across the first side
    area = c[:, 0] * b[:, 1] - c[:, 1] * b[:, 0]
    squares = (b * b + c * c).sum(1)
    least = np.sqrt(np.maximum(squares - np.sqrt(np.maximum(squares**2 - 4 * area**2, 0)), 0) / 2)
    sound = width * height > 1e-12 * np.maximum(width, height) ** 2
    return sound & ((area <= 0) | (least < SQUEEZED))


def _projected(vertices: Array, faces: Array, charts: Array, count: int) -> Array:
    """Places [V, 2] against the mean normal of each chart, v up."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    crossed, chart = np.cross(b - a, c - a), charts[faces[:, 0]]
    ahead = np.stack([np.bincount(chart, crossed[:, axis], count) for axis in range(3)], 1)
    sizes = np.linalg.norm(ahead, axis=1, keepdims=True)
    ahead = np.where(sizes > 1e-30, ahead / np.maximum(sizes, 1e-30), np.array([0, 0, 1]))
    up = np.where(np.abs(ahead[:, 1:2]) > 0.9, np.array([[0.0, 0, -1]]), np.array([[0.0, 1, 0]]))
    right = np.cross(up, ahead)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up = np.cross(ahead, right)
    return np.stack([np.einsum("vi,vi->v", vertices, side[charts]) for side in (right, up)], 1)


def _shapes(corners: Array) -> tuple[Array, Array]:
    """Of faces [F, 3, 3]: their corners laid flat [F, 3, 2], and half the cotangent at each corner [F, 3]."""
    a, b, c = np.moveaxis(corners, 1, 0)
    along = b - a
    width = np.maximum(np.linalg.norm(along, axis=1), 1e-30)
    along = along / width[:, None]
    across = np.linalg.norm(np.cross(along, c - a), axis=1)
    plane = np.zeros((len(corners), 3, 2))
    plane[:, 1, 0] = width
    plane[:, 2, 0], plane[:, 2, 1] = np.einsum("fi,fi->f", along, c - a), across
    weights = np.empty((len(corners), 3))
    doubled = np.maximum(width * across, 1e-30)
    for k in range(3):
        u, v = plane[:, (k + 1) % 3] - plane[:, k], plane[:, (k + 2) % 3] - plane[:, k]
        weights[:, k] = 0.5 * np.clip(np.einsum("fi,fi->f", u, v) / doubled, THINNEST, 1 / THINNEST)
    return plane, weights


@kernel
def _double_area(flat, faces, f):
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    return (flat[b, 0] - flat[a, 0]) * (flat[c, 1] - flat[a, 1]) - (flat[b, 1] - flat[a, 1]) * (flat[c, 0] - flat[a, 0])


@kernel
def _untangle(flat, faces, incident, starts, rounds):
    """Vertices of faces that are turned over go to the mean of their neighbours, again and again."""
    marked = np.zeros(len(flat), np.bool_)
    for round_ in range(rounds):
        over = 0
        if round_ % 8 == 0:
            marked[:] = False
        for f in range(len(faces)):
            if _double_area(flat, faces, f) <= 0:
                over += 1
                for k in range(3):
                    marked[faces[f, k]] = True
        if over == 0:
            break
        for i in range(len(flat)):
            if not marked[i]:
                continue
            x, y, count = 0.0, 0.0, 0
            for j in range(starts[i], starts[i + 1]):
                f, k = incident[j] // 3, incident[j] % 3
                for turn in (1, 2):
                    other = faces[f, (k + turn) % 3]
                    x += flat[other, 0]
                    y += flat[other, 1]
                    count += 1
            flat[i, 0], flat[i, 1] = x / count, y / count


@parallel_kernel
def _relax(flat, faces, incident, starts, chart_starts, plane, weights, rounds, sweeps):
    turns = np.empty((len(faces), 2))
    for chart in prange(len(chart_starts) - 1):
        for _ in range(rounds):
            for i in range(chart_starts[chart], chart_starts[chart + 1]):
                for j in range(starts[i], starts[i + 1]):
                    if incident[j] % 3 == 0:  # each face once, at its first corner
                        _best_turn(flat, faces, incident[j] // 3, plane, weights, turns)
            for _ in range(sweeps):
                for i in range(chart_starts[chart], chart_starts[chart + 1]):
                    _move(flat, faces, incident, starts, i, plane, weights, turns)


@kernel
def _best_turn(flat, faces, f, plane, weights, turns):
    """The turn (cosine, sine) that carries the laid-out face nearest to where its corners are."""
    cosine, sine = 0.0, 0.0
    for k in range(3):
        i, j = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        px = plane[f, (k + 2) % 3, 0] - plane[f, (k + 1) % 3, 0]
        py = plane[f, (k + 2) % 3, 1] - plane[f, (k + 1) % 3, 1]
        ux, uy = flat[j, 0] - flat[i, 0], flat[j, 1] - flat[i, 1]
        cosine += weights[f, k] * (px * ux + py * uy)
        sine += weights[f, k] * (px * uy - py * ux)
    size = np.sqrt(cosine * cosine + sine * sine)
    if size > 0:
        turns[f, 0], turns[f, 1] = cosine / size, sine / size
    else:
        turns[f, 0], turns[f, 1] = 1.0, 0.0


@kernel
def _move(flat, faces, incident, starts, i, plane, weights, turns):
    """Vertex i towards where the turned faces around it want it."""
    x, y, total = 0.0, 0.0, 0.0
    for h in range(starts[i], starts[i + 1]):
        f, k = incident[h] // 3, incident[h] % 3
        for turn in (1, 2):
            other = (k + turn) % 3
            weight = weights[f, 3 - k - other]
            px, py = plane[f, k, 0] - plane[f, other, 0], plane[f, k, 1] - plane[f, other, 1]
            x += weight * (flat[faces[f, other], 0] + turns[f, 0] * px - turns[f, 1] * py)
            y += weight * (flat[faces[f, other], 1] + turns[f, 1] * px + turns[f, 0] * py)
            total += weight
    if total == 0:
        return
    old_x, old_y = flat[i, 0], flat[i, 1]
    step_x, step_y = OVER * (x / total - old_x), OVER * (y / total - old_y)
    for _ in range(3):
        flat[i, 0], flat[i, 1] = old_x + step_x, old_y + step_y
        fits = True
        for h in range(starts[i], starts[i + 1]):
            f = incident[h] // 3
            if _double_area(flat, faces, f) < THINNEST * plane[f, 1, 0] * plane[f, 2, 1]:
                fits = False
                break
        if fits:
            return
        step_x *= 0.4
        step_y *= 0.4
    flat[i, 0], flat[i, 1] = old_x, old_y

# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain texture coordinates that never fail: faces projected along the axis they face, rectangles on shelves."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from engine.render.mesh_cpu import rasterize, vertex_normals
from engine.surface.mesh import Mesh

Array = np.ndarray

CHECKED_AT = 1024
"""Overlaps are looked for at the centres of so many texels along each side."""

ROUNDS = 12
"""Faces that hide each other are moved to further charts so many times; what is left then gets a chart per face."""


def project_charts(mesh: Mesh, margin: float) -> tuple[Array, Array, Array]:
    """Original vertex [W] int32, faces [F, 3] int32 and uvs [W, 2] in [0, 1] of the mesh cut into projected charts.

    Each chart keeps `margin`, a part of the texture's side, to itself all around; less where there are very many.
    """
    axes = _facing(mesh)
    flat = _projected(mesh, axes)
    layers = np.zeros(len(mesh.faces), np.int64)
    for round_ in range(ROUNDS):
        charts = _connected(mesh, axes + 6 * layers)
        corners = _packed(flat, charts, margin)
        hidden = _overlapping(corners)
        if not len(hidden):
            break
        layers[hidden] = round_ + 1
    else:
        charts = np.where(np.isin(np.arange(len(charts)), hidden), charts.max() + 1 + np.arange(len(charts)), charts)
        charts = np.unique(charts, return_inverse=True)[1].reshape(-1)
        corners = _packed(flat, charts, margin)
    keys = mesh.faces.astype(np.int64) + charts[:, None] * len(mesh.vertices)
    _, first, faces = np.unique(keys, return_index=True, return_inverse=True)
    origins = mesh.faces.ravel()[first]
    return origins.astype(np.int32), faces.reshape(-1, 3).astype(np.int32), corners.reshape(-1, 2)[first]


def _facing(mesh: Mesh) -> Array:
    """The axis each face looks along, [F]: 0 to 2 for +x +y +z, 3 to 5 for -x -y -z; taken from smoothed normals."""
    normals = vertex_normals(mesh.vertices, mesh.faces)[mesh.faces].sum(1)
    return np.argmax(np.concatenate([normals, -normals], axis=1), axis=1)


def _projected(mesh: Mesh, axes: Array) -> Array:
    """Corners of the faces as seen against their axis, [F, 3, 2] in object units, v down; never mirrored."""
    points = mesh.vertices[mesh.faces]
    right = np.array([2, 0, 0, 2, 0, 0])[axes]
    right_sign = np.array([-1, 1, 1, 1, 1, -1], np.float32)[axes]
    down = np.array([1, 2, 1, 1, 2, 1])[axes]
    down_sign = np.array([-1, 1, -1, -1, -1, -1], np.float32)[axes]
    index = np.arange(len(points))
    return np.stack([points[index, :, right] * right_sign[:, None], points[index, :, down] * down_sign[:, None]], -1)


def _connected(mesh: Mesh, labels: Array) -> Array:
    """Number of the chart of each face, [F]: faces with the same label joined by edges."""
    starts, ends = mesh.faces.ravel().astype(np.int64), np.roll(mesh.faces, -1, axis=1).ravel().astype(np.int64)
    keys = np.minimum(starts, ends) * len(mesh.vertices) + np.maximum(starts, ends)
    order = np.argsort(keys, kind="stable")
    same_edge = np.diff(keys[order]) == 0
    one, other = order[:-1][same_edge] // 3, order[1:][same_edge] // 3
    joined = labels[one] == labels[other]
    ones = np.ones(int(joined.sum()), bool)
    graph = coo_matrix((ones, (one[joined], other[joined])), shape=(len(labels),) * 2)
    return connected_components(graph, directed=False)[1]


def _packed(flat: Array, charts: Array, margin: float) -> Array:
    """Corners of the faces in the texture, [F, 3, 2] in [0, 1]: charts at one scale, on shelves of falling height."""
    count = int(charts.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    for corner in range(3):
        np.minimum.at(low, charts, flat[:, corner])
        np.maximum.at(high, charts, flat[:, corner])
    spacing = 2 * min(margin, 0.25 / np.sqrt(count))
    sizes = np.maximum(high - low, 1e-6)
    order = np.argsort(-sizes[:, 1], kind="stable")
    smallest, largest = 0.0, 1.0 / sizes.max()
    positions = np.zeros((count, 2))
    for _ in range(16):
        scale = (smallest + largest) / 2
        placed = _shelves(sizes[order] * scale, spacing)
        if placed is None:
            largest = scale
        else:
            smallest = scale
            positions[order] = placed
    return ((flat - low[charts][:, None]) * smallest + positions[charts][:, None]).astype(np.float32)


def _shelves(sizes: Array, spacing: float) -> Array | None:
    """Places [N, 2] of rectangles of falling height in the unit square, `spacing` apart; None if they do not fit."""
    places = np.empty_like(sizes)
    x = y = spacing
    shelf = 0.0
    for i, (width, height) in enumerate(sizes):
        if x + width + spacing > 1:
            x, y, shelf = spacing, y + shelf + spacing, 0.0
        if x + width + spacing > 1 or y + height + spacing > 1:
            return None
        places[i] = x, y
        x += width + spacing
        shelf = max(shelf, height)
    return places


def _overlapping(corners: Array) -> Array:
    """Faces that cover a texel's centre which an earlier face covers too."""
    points = np.concatenate([corners.reshape(-1, 2) * CHECKED_AT, np.ones((3 * len(corners), 1), np.float32)], axis=1)
    points = points.astype(np.float32)
    faces = np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
    eye = np.eye(4, dtype=np.float32)
    first = rasterize(points, faces, eye, eye[:3, :3], CHECKED_AT, CHECKED_AT).face_ids
    last = rasterize(points, faces[::-1], eye, eye[:3, :3], CHECKED_AT, CHECKED_AT).face_ids
    last = np.where(last >= 0, len(faces) - 1 - last, -1)
    return np.unique(last[last != first])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Quick texture coordinates: faces that look the same way along an axis, laid flat on it, packed in shelves.

For pieces whose normals turn slowly. Where a chart folds back over itself two places share a texel, which a colour that
is a function of space hardly shows. A hundred times faster than charts that never overlap.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from engine.jit import kernel
from engine.surface.halfedges import mates

Array = np.ndarray

MARGIN = 1.5
"""Texels around each chart; less where there are so many that the margins alone take most of the texture."""


def box_charts(vertices: Array, faces: Array, labels: Array, size: int) -> tuple[Array, Array, Array]:
    """Original vertex [W], faces [F, 3] and uvs [W, 2] (in [0, 1], v down) of a surface cut into charts.

    A chart is connected faces of one label [F] with the same dominant direction; all have the same scale in a texture
    of `size` pixels.
    """
    corners = vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.abs(normals).argmax(1)
    direction = 2 * axis + (np.take_along_axis(normals, axis[:, None], 1)[:, 0] < 0)
    charts = _connected(faces, labels.astype(np.int64) * 6 + direction)
    count = int(charts.max()) + 1
    keys, first, split = np.unique(faces + charts[:, None] * len(vertices), return_index=True, return_inverse=True)
    origins, split = faces.ravel()[first], split.reshape(-1, 3)
    of_vertex = keys // len(vertices)
    axis_of_chart = np.zeros(count, np.int64)
    axis_of_chart[charts] = axis
    along = axis_of_chart[of_vertex]
    points = vertices[origins].astype(np.float64)
    row = np.arange(len(points))
    flat = np.stack([points[row, (along + 1) % 3], points[row, (along + 2) % 3]], 1)
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, of_vertex, flat)
    np.maximum.at(high, of_vertex, flat)
    flat, extent = flat - low[of_vertex], high - low
    upright = extent[:, 1] > extent[:, 0]  # lying charts make low shelves
    flat[upright[of_vertex]] = flat[upright[of_vertex]][:, ::-1]
    extent[upright] = extent[upright][:, ::-1]
    order = np.lexsort((-extent[:, 0], -extent[:, 1]))
    places = np.empty((count, 2))
    full = np.sqrt(size * size / max(float(extent.prod(1).sum()), 1e-12))
    scale, margin = full, MARGIN
    while not _shelves(extent[order] * scale + 2 * margin, float(size), places):
        scale *= 0.96
        if scale < 0.3 * full:
            scale, margin = full, margin / 2
    where = np.empty_like(places)
    where[order] = places
    uvs = (where[of_vertex] + margin + flat * scale) / size
    return origins, split.astype(np.int32), uvs.clip(0, 1).astype(np.float32)


def _connected(faces: Array, labels: Array) -> Array:
    """Number of the chart of each face [F]: faces with the same label that share sides."""
    mate = mates(faces)
    sides = np.flatnonzero(mate > np.arange(len(mate)))
    one, other = sides // 3, mate[sides] // 3
    joined = labels[one] == labels[other]
    graph = coo_matrix((np.ones(joined.sum(), bool), (one[joined], other[joined])), shape=(len(faces),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64)


@kernel
def _shelves(sizes, side, places):
    """Rectangles [C, 2], highest first, put side by side in rows; whether they all fit into side x side."""
    x, y, height = 0.0, 0.0, 0.0
    for c in range(len(sizes)):
        if x + sizes[c, 0] > side:
            x, y, height = 0.0, y + height, 0.0
        if sizes[c, 0] > side or y + sizes[c, 1] > side:
            return False
        places[c, 0], places[c, 1] = x, y
        x += sizes[c, 0]
        height = max(height, sizes[c, 1])
    return True

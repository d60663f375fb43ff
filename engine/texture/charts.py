# SPDX-License-Identifier: GPL-3.0-or-later
"""Texture coordinates of our own: few charts, laid flat with little stretch, packed tightly, never overlapping.

What cannot be laid flat beside the rest of its chart becomes one of its own; a chart that comes to lie over itself is
parted half-way between the places that meet. What still fails after some rounds gets a chart per face, so that any mesh
has texture coordinates in the end.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from engine.jit import kernel
from engine.surface.halfedges import mates
from engine.surface.mesh import Mesh
from engine.texture.flatten import flatten, strained
from engine.texture.packing import pack, pack_loosely, upright
from engine.texture.segment import segment

Array = np.ndarray

FLATTER = (0.86, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98)
"""How much the normals of pieces agree that are taken out of their charts, in each round."""

CHECKED_AT = 1024
"""Overlaps are looked for at the centres of so many texels along each side."""

FULL = 0.6
"""Where less than this part of the texture is covered, sparse charts are divided."""

SPARSE, LARGE, SAVED = 0.65, 0.015, 0.8
"""Charts are divided that fill less than this part of their bounding box and have at least this part of the area, where
the boxes of both halves have at most this part of it."""


def flat_charts(mesh: Mesh, margin: float, check: Callable[[], None] | None = None) -> tuple[Array, Array, Array]:
    """Original vertex [W] int32, faces [F, 3] int32 and uvs [W, 2] in [0, 1] of `mesh` cut into charts.

    Faces keep their order, and the halves of a quad lie in one chart. Each chart keeps `margin`, a part of the
    texture's side, to itself all around; less where there are very many. `check` is called between steps.
    """
    low, high = mesh.bounds()
    vertices = (mesh.vertices.astype(np.float64) - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-30)
    mesh = replace(mesh, vertices=vertices)
    charts, corners = _laid_flat(mesh, check or (lambda: None))
    result = _packed(mesh, charts, corners, margin)
    if _area(result) < FULL:
        divided = _divided(mesh, charts, corners)
        if divided.max() > charts.max():
            result = max(result, _packed(mesh, divided, corners, margin), key=_area)
    return result


def _packed(mesh: Mesh, charts: Array, corners: Array, margin: float) -> tuple[Array, Array, Array]:
    origins, faces, of_vertex = _split(mesh.faces, charts)
    flat = np.empty((len(origins), 2))
    flat[faces.ravel()] = corners.reshape(-1, 2)
    return origins.astype(np.int32), faces.astype(np.int32), pack(flat, faces, of_vertex, margin)


def _area(result: tuple[Array, Array, Array]) -> float:
    """The part of the texture that is covered."""
    a, b, c = np.moveaxis(result[2][result[1]].astype(np.float64), 1, 0)
    return float(np.abs(np.cross(b - a, c - a)).sum() / 2)


def _laid_flat(mesh: Mesh, check: Callable[[], None]) -> tuple[Array, Array]:
    """The chart of each face [F], and its corners laid flat [F, 3, 2]: none turned over, squeezed or on another one."""
    charts = _connected(mesh.faces, segment(mesh))
    corners = np.zeros((len(mesh.faces), 3, 2))
    unit, pending, round_ = 2 if mesh.quads else 1, np.arange(len(mesh.faces)), 0
    while True:
        check()
        faces, labels = mesh.faces[pending], np.unique(charts[pending], return_inverse=True)[1].reshape(-1)
        origins, split, of_vertex = _split(faces, labels)
        flat = flatten(mesh.vertices[origins], split, of_vertex)
        corners[pending] = flat[split]
        heights = _heights(mesh.vertices[faces], labels)
        bad = _whole(strained(mesh.vertices[faces], flat[split]), mesh.quads)
        under, above = _overlapping(flat, split, of_vertex, heights)
        divisible = np.bincount(labels)[labels] > unit
        broken = np.isin(labels, labels[(bad | under) & divisible])
        if not broken.any():
            return np.unique(charts, return_inverse=True)[1].reshape(-1), corners
        pending, bad, under, above = pending[broken], bad[broken], under[broken], above[broken]
        faces, fresh = mesh.faces[pending], int(charts.max()) + 1
        if round_ < len(FLATTER):
            bad = _whole(_grown(bad, faces), mesh.quads)
            beyond = _whole(_nearer(faces, charts[pending], under, above), mesh.quads)
            charts[pending[beyond]] += fresh
            pieces = segment(Mesh(mesh.vertices, faces[bad], quads=mesh.quads), FLATTER[round_], 0) if bad.any() else 0
            charts[pending[bad]] = 2 * fresh + pieces
        else:  # a face by itself is flat
            bad = _whole(bad | under, mesh.quads) | (round_ > 2 * len(FLATTER))
            charts[pending[bad]] = fresh + np.arange(bad.sum()) // unit
        charts[pending] = charts.max() + 1 + _connected(faces, charts[pending])
        round_ += 1


def _nearer(faces: Array, charts: Array, one: Array, other: Array) -> Array:
    """Faces [F] that fewer steps within their chart lead to from faces of `one` than from faces of `other`."""
    mate = mates(faces)
    owner = np.zeros(len(faces), np.int8)
    _spread(mate, charts, np.flatnonzero(other), np.flatnonzero(one), owner)
    return owner == 2


@kernel
def _spread(mate, charts, first, second, owner):
    """Marks faces 1 or 2: by which set, `first` or `second`, they are reached first."""
    queue = np.empty(len(owner), np.int64)
    count = 0
    for f in first:
        owner[f] = 1
        queue[count] = f
        count += 1
    for f in second:
        if owner[f] == 0:
            owner[f] = 2
            queue[count] = f
            count += 1
    at = 0
    while at < count:
        f = queue[at]
        at += 1
        for k in range(3):
            m = mate[3 * f + k]
            if m >= 0 and owner[m // 3] == 0 and charts[m // 3] == charts[f]:
                owner[m // 3] = owner[f]
                queue[count] = m // 3
                count += 1


def _grown(mask: Array, faces: Array) -> Array:
    """Faces of the mask [F] and those that share a vertex with one."""
    beside = np.zeros(int(faces.max()) + 1, bool)
    beside[faces[mask]] = True
    return beside[faces].any(1)


def _heights(corners: Array, labels: Array) -> Array:
    """How far each face [F, 3, 3] lies ahead along the mean normal of its chart."""
    a, b, c = np.moveaxis(corners.astype(np.float64), 1, 0)
    crossed = np.cross(b - a, c - a)
    ahead = np.stack([np.bincount(labels, crossed[:, axis]) for axis in range(3)], 1)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-30)
    return np.einsum("fi,fi->f", a + b + c, ahead[labels])


def _whole(mask: Array, quads: bool) -> Array:
    """Both halves of a quad where one is meant."""
    return np.repeat(mask.reshape(-1, 2).any(1), 2) if quads else mask


def _split(faces: Array, charts: Array) -> tuple[Array, Array, Array]:
    """Vertices doubled between charts: the original of each [W], faces [F, 3] of them, and their chart [W], rising."""
    size = int(faces.max()) + 1
    keys, first, split = np.unique(faces + charts[:, None] * size, return_index=True, return_inverse=True)
    return faces.ravel()[first], split.reshape(-1, 3), keys // size


def _connected(faces: Array, labels: Array) -> Array:
    """Number of the chart of each face, [F]: faces with the same label joined by edges."""
    mate = mates(faces)
    sides = np.flatnonzero(mate > np.arange(len(mate)))
    one, other = sides // 3, mate[sides] // 3
    joined = labels[one] == labels[other]
    graph = coo_matrix((np.ones(joined.sum(), bool), (one[joined], other[joined])), shape=(len(labels),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _overlapping(flat: Array, faces: Array, charts: Array, heights: Array) -> tuple[Array, Array]:
    """Faces [F] that come to lie under a higher one of their chart, at some texel's centre, and those higher ones."""
    places = pack_loosely(flat, charts) * CHECKED_AT
    order = np.argsort(-heights, kind="stable")
    owners = np.full((CHECKED_AT, CHECKED_AT), -1, np.int32)
    sorted_under, sorted_above = np.zeros(len(faces), bool), np.zeros(len(faces), bool)
    _find_overlaps(places[faces[order]], owners, sorted_under, sorted_above)
    under, above = np.empty_like(sorted_under), np.empty_like(sorted_above)
    under[order], above[order] = sorted_under, sorted_above
    return under, above


@kernel
def _find_overlaps(corners, owners, under, above):
    """Draws the faces one by one, their edges left out, and marks those that meet another one."""
    size = len(owners)
    for f in range(len(corners)):
        xa, ya = corners[f, 0, 0], corners[f, 0, 1]
        xb, yb = corners[f, 1, 0], corners[f, 1, 1]
        xc, yc = corners[f, 2, 0], corners[f, 2, 1]
        area = (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)
        if area == 0:
            continue
        for row in range(max(0, int(np.ceil(min(ya, yb, yc) - 0.5))), min(size, int(max(ya, yb, yc) + 0.5))):
            y = row + 0.5
            for column in range(max(0, int(np.ceil(min(xa, xb, xc) - 0.5))), min(size, int(max(xa, xb, xc) + 0.5))):
                x = column + 0.5
                wa = ((xb - x) * (yc - y) - (yb - y) * (xc - x)) / area
                wb = ((xc - x) * (ya - y) - (yc - y) * (xa - x)) / area
                if wa > 1e-6 and wb > 1e-6 and wa + wb < 1 - 1e-6:
                    if owners[row, column] < 0:
                        owners[row, column] = f
                    else:
                        under[f] = True
                        above[owners[row, column]] = True


def _divided(mesh: Mesh, charts: Array, corners: Array) -> Array:
    """Charts [F] with large and sparse ones cut in two across the side that saves most."""
    count = int(charts.max()) + 1
    turned = upright(corners.reshape(-1, 2), np.repeat(charts, 3), count).reshape(-1, 3, 2)
    low, high = turned.min(1), turned.max(1)
    b, c = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.bincount(charts, np.abs(b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0]) / 2, count)
    divided = charts.copy()
    for _ in range(2):
        for chart in np.flatnonzero(areas >= LARGE * areas.sum()):
            own = np.flatnonzero(divided == chart)
            if not len(own):
                continue
            box = np.prod(high[own].max(0) - low[own].min(0))
            covered = np.abs(b[own, 0] * c[own, 1] - b[own, 1] * c[own, 0]).sum() / 2
            if covered > SPARSE * box:
                continue
            beyond, least = None, SAVED * box
            for axis in range(2):
                middles = turned[own, :, axis].mean(1)
                for cut in np.linspace(middles.min(), middles.max(), 18)[1:-1]:
                    side = middles > cut
                    if not side.any() or side.all():
                        continue
                    boxes = [np.prod(high[own[part]].max(0) - low[own[part]].min(0)) for part in (side, ~side)]
                    if sum(boxes) < least:
                        beyond, least = _whole(side, mesh.quads), sum(boxes)
            if beyond is not None:
                divided[own[beyond]] = divided.max() + 1
    return _connected(mesh.faces, divided)

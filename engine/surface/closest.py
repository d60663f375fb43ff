# SPDX-License-Identifier: GPL-3.0-or-later
"""The nearest place on a surface, for many points."""

import numpy as np
from scipy.spatial import KDTree

from engine.surface.mesh import Mesh

Array = np.ndarray

CANDIDATES = 4
"""Nearest samples whose triangles are measured exactly."""


class Surface:
    """A mesh with samples on it: a point's nearest triangle is one that a near sample lies on."""

    def __init__(self, mesh: Mesh, spacing: float) -> None:
        """`spacing`: usual distance of samples, object units; places are the more certain the smaller it is."""
        self.corners = mesh.vertices[mesh.faces].astype(np.float64)
        a, b, c = np.moveaxis(self.corners, 1, 0)
        crossed = np.cross(b - a, c - a)
        doubled = np.linalg.norm(crossed, axis=1)
        self.normals = crossed / np.maximum(doubled, 1e-30)[:, None]
        counts = np.maximum(np.ceil(doubled / 2 / spacing**2), 1).astype(np.int64)
        self.owners = np.repeat(np.arange(len(counts)), counts)
        turn = np.arange(len(self.owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        u = np.where(counts[self.owners] == 1, 1 / 3, (0.5 + turn * 0.7548776662466927) % 1)  # the R2 sequence
        v = np.where(counts[self.owners] == 1, 1 / 3, (0.5 + turn * 0.5698402909980532) % 1)
        over = u + v > 1
        u, v = np.where(over, 1 - u, u)[:, None], np.where(over, 1 - v, v)[:, None]
        self.samples = (1 - u - v) * a[self.owners] + u * b[self.owners] + v * c[self.owners]
        self._tree = KDTree(self.samples)

    def closest(self, points: Array, normals: Array | None = None) -> tuple[Array, Array]:
        """The nearest places [P, 3] (float64) to `points` [P, 3], and their faces [P].

        With `normals` [P, 3] faces that look the other way count only where there is no other near: a thin part's
        other side is not taken for this one.
        """
        count = min(CANDIDATES, len(self.samples))
        faces = self.owners[self._tree.query(points, k=count, workers=-1)[1].reshape(len(points), count)]
        best, places, nearest = (
            np.full(len(points), np.inf),
            np.empty((len(points), 3)),
            np.zeros(len(points), np.int64),
        )
        for k in range(count):
            found = _on_triangles(points, self.corners[faces[:, k]])
            distances = np.linalg.norm(found - points, axis=1)
            if normals is not None:
                away = np.einsum("pi,pi->p", normals, self.normals[faces[:, k]]) < 0
                distances = np.where(away, 1e6 + distances, distances)
            better = distances < best
            best[better], places[better], nearest[better] = distances[better], found[better], faces[better, k]
        return places, nearest


def _on_triangles(points: Array, corners: Array) -> Array:
    """The nearest place on each triangle [P, 3, 3] to each point [P, 3]."""
    a, b, c = np.moveaxis(corners, 1, 0)
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (np.einsum("pi,pi->p", one, other) for one, other in ((u, u), (u, v), (v, v)))
    wu, wv = np.einsum("pi,pi->p", w, u), np.einsum("pi,pi->p", w, v)
    bottom = uu * vv - uv * uv
    safe = np.where(bottom > 0, bottom, 1)
    s, t = (vv * wu - uv * wv) / safe, (uu * wv - uv * wu) / safe
    inside = (bottom > 0) & (s >= 0) & (t >= 0) & (s + t <= 1)
    places = a + s[:, None] * u + t[:, None] * v
    best = np.where(inside, -1.0, np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        along = end - start
        share = np.einsum("pi,pi->p", points - start, along) / np.maximum(np.einsum("pi,pi->p", along, along), 1e-30)
        found = start + np.clip(share, 0, 1)[:, None] * along
        distances = np.einsum("pi,pi->p", found - points, found - points)
        nearer = distances < best
        places[nearer], best[nearer] = found[nearer], distances[nearer]
    return places

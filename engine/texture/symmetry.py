# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an object is the mirror image of itself, measured on its surface."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from engine.surface.mesh import Mesh

Array = np.ndarray

MEAN_LIMIT, TAIL_LIMIT = 0.008, 0.025
"""Mean and 95th percentile of the distance between the surface and its mirror image, as parts of the diagonal, up to
which an object counts as symmetric."""

TURNS = 24
"""Upright planes that are tried, evenly turned about y, beside x = 0."""

COARSE, FINE, DENSE = 400, 2000, 60_000
"""Points that are mirrored to find the best plane, and to judge it; points that stand for the surface."""


@dataclass(frozen=True)
class Mirror:
    """A plane: normal . x = offset."""

    normal: Array  # [3] unit length
    offset: float

    def points(self, points: Array) -> Array:
        """The mirror images of `points` [P, 3], float32."""
        return self._reflected(points, self.offset)

    def directions(self, directions: Array) -> Array:
        """The mirror images of `directions` [P, 3], float32."""
        return self._reflected(directions, 0.0)

    def _reflected(self, vectors: Array, offset: float) -> Array:
        normal = self.normal.astype(np.float32)
        return (vectors - 2 * ((vectors @ normal) - np.float32(offset))[:, None] * normal).astype(np.float32)


def find_mirror(mesh: Mesh) -> Mirror | None:
    """The upright plane the object is symmetric about, or None.

    x = 0 (through the box's centre: a picture's left and right) wins where it fits; otherwise the best plane does. A
    mirror image maps the surface onto itself exactly when itself onto the mirror image, so one direction is measured.
    """
    points, normals = _samples(mesh, DENSE)
    low, high = mesh.bounds()
    diagonal = max(float(np.linalg.norm(high - low)), 1e-12)
    tree = KDTree(points)

    def misfit(mirror: Mirror, samples: int = FINE) -> float:
        """Above 1 where a limit is passed. Surfaces that face away do not match."""
        few = slice(None, None, len(points) // samples)
        distances, found = tree.query(mirror.points(points[few]), workers=-1)
        agree = np.einsum("pi,pi->p", mirror.directions(normals[few]), normals[found]) > 0
        distances = np.where(agree, distances, np.maximum(distances, TAIL_LIMIT * diagonal)) / diagonal
        floor = np.sqrt(_area(mesh) / len(points)) / diagonal / 2  # samples miss even a perfect image by this much
        return max((distances.mean() - floor) / MEAN_LIMIT, (np.percentile(distances, 95) - floor) / TAIL_LIMIT)

    across = _through_center(mesh, np.array([1.0, 0, 0]))
    if misfit(across) <= 1:
        return across
    angles = np.arange(1, TURNS) * np.pi / TURNS
    others = [_through_center(mesh, np.array([np.cos(a), 0, np.sin(a)])) for a in angles]
    best = min(others, key=lambda mirror: misfit(mirror, COARSE))
    angle = np.arctan2(best.normal[2], best.normal[0])
    finer = angle + np.linspace(-1, 1, 9) * np.pi / TURNS
    best = min((_through_center(mesh, np.array([np.cos(a), 0, np.sin(a)])) for a in finer), key=misfit)
    return best if misfit(best) <= 1 else None


def _through_center(mesh: Mesh, normal: Array) -> Mirror:
    """The plane with this normal halfway between the object's outermost points."""
    along = mesh.vertices @ normal
    return Mirror(normal, float(along.min() + along.max()) / 2)


def _area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def _samples(mesh: Mesh, count: int) -> tuple[Array, Array]:
    """Points [count, 3] drawn evenly over the surface (the same ones each time), with their faces' normals."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    normals = np.cross(b - a, c - a)
    areas = np.linalg.norm(normals, axis=1)
    rng = np.random.default_rng(0)
    steps = (np.arange(count) + rng.random(count)) / count * areas.sum()
    faces = np.searchsorted(np.cumsum(areas), steps).clip(0, len(areas) - 1)
    rng.shuffle(faces)
    u, v = rng.random((2, count, 1))
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    points = a[faces] + u * (b - a)[faces] + v * (c - a)[faces]
    return points.astype(np.float32), (normals[faces] / np.maximum(areas[faces, None], 1e-30)).astype(np.float32)

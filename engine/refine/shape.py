# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a mesh's shape that may change, and how: smoothly, within bounds, without turning a face over.

A gradient by vertices is noise for a surface: each vertex sees a few pixels. So both the gradient g and how strongly
the views pull at each vertex, d, are diffused over the surface with S = (I + LAMBDA L)^-1, L the graph Laplacian
(Nicolet et al. 2021, equation 8), and vertices move along S (S g / S d): neighbours move together, and where all views
agree that there is far to go the step has the length allowed, whatever the number of pixels. Steps have momentum.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu
from scipy.spatial import KDTree

from engine.render.mesh_cpu import vertex_normals
from engine.surface.mesh import Mesh

Array = np.ndarray

LAMBDA = 2.0
"""Strength of the smoothing of steps: about 2 rings of neighbours move together."""

BOUND = 0.03
"""How far a vertex may move, as a part of the object's longest side."""

GAP, NEARBY = 0.4, 48
"""Part of the way to the nearest of so many vertices nearby that face the other way: thin walls stay walls."""

OPPOSED = -0.3
"""Cosine between normals below which two vertices face each other, or away from each other."""

TURNED = 0.5
"""Cosine of the angle a face may turn by in all."""

MEMORY = 0.85
"""Part of a step's direction that comes from the ones before."""

LEAST = 1.0
"""Pull, as a part of the mean one of an equal area, below which steps are shorter: what no view sees stays."""

BATCH = 50_000


@dataclass(frozen=True)
class Weld:
    """Vertices of one position as one."""

    positions: Array  # [V, 3] float32
    index: Array  # [W] the position of each vertex of the mesh
    faces: Array  # [F, 3] int32, into positions


def weld(mesh: Mesh) -> Weld:
    positions, index = np.unique(mesh.vertices + np.float32(0), axis=0, return_inverse=True)
    index = index.reshape(-1)
    return Weld(positions, index, np.ascontiguousarray(index[mesh.faces], np.int32))


class Shape:
    """Positions on their way, [V, 3] float32, and the rules for moving them."""

    def __init__(self, welded: Weld, pull: Array) -> None:
        """`pull` [V]: length of the gradient of each vertex, per step, where all that it sees pulls one way."""
        self.faces, self.start = welded.faces, welded.positions
        self.side = float(np.ptp(self.start, axis=0).max())
        self.limits = np.minimum(BOUND * self.side, GAP * _gaps(welded))[:, None].astype(np.float32)
        self.normals, self.areas = _face_normals(self.start, self.faces)
        self.solver = _smoother(self.faces, len(self.start))
        smooth = self.solver.solve(np.asarray(pull, np.float64))
        spread = np.bincount(self.faces.ravel(), np.repeat(self.areas, 3), len(self.start))
        usual = float(smooth.sum()) / max(float(spread.sum()), 1e-30)
        self.pull = np.maximum(np.maximum(smooth, LEAST * usual * self.solver.solve(spread)), 1e-30)[:, None]
        self.reset(self.start)

    def reset(self, positions: Array) -> None:
        """Goes on from `positions` [V, 3], without momentum."""
        self.positions, self.mean, self.steps = positions, np.zeros(positions.shape), 0

    def step(self, gradient: Array, rate: float) -> None:
        """One step against `gradient` [V, 3], of at most `rate` in object units."""
        self.steps += 1
        self.mean = MEMORY * self.mean + (1 - MEMORY) * self.solver.solve(gradient) / self.pull
        direction = self.solver.solve(self.mean / (1 - MEMORY**self.steps))
        direction /= np.maximum(1, np.linalg.norm(direction, axis=1, keepdims=True))
        if not np.isfinite(direction).all():
            return
        moved = (self.positions - self.start) - (rate * direction).astype(np.float32)
        lengths = np.linalg.norm(moved, axis=1, keepdims=True)
        moved *= np.minimum(1, self.limits / np.maximum(lengths, 1e-20))
        self.positions = self._unturned(self.start + moved)

    def _unturned(self, positions: Array) -> Array:
        """`positions`, with corners of faces that would turn too far left where they are."""
        for _ in range(4):
            turned = self._turned(positions)
            if not turned.any():
                return positions
            positions = positions.copy()
            stay = self.faces[turned]
            positions[stay] = self.positions[stay]
        return self.positions if self._turned(positions).any() else positions

    def _turned(self, positions: Array) -> Array:
        normals, areas = _face_normals(positions, self.faces)
        turned = np.einsum("fi,fi->f", normals, self.normals) < TURNED * areas * self.areas
        return turned & (self.areas > 1e-6 * self.side**2 / len(self.faces))


def _face_normals(positions: Array, faces: Array) -> tuple[Array, Array]:
    """Normals [F, 3] as long as twice the area, and these lengths [F]."""
    a, b, c = (positions[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    return normals, np.linalg.norm(normals, axis=1)


def _gaps(welded: Weld) -> Array:
    """Distance [V] to the nearest of the vertices nearby that faces the other way, infinity where none does."""
    normals = vertex_normals(welded.positions, welded.faces)
    tree = KDTree(welded.positions)
    count = min(NEARBY, len(welded.positions))
    gaps = np.empty(len(welded.positions))
    for first in range(0, len(gaps), BATCH):
        part = slice(first, first + BATCH)
        distances, found = tree.query(welded.positions[part], count, workers=-1)
        opposed = np.einsum("vi,vki->vk", normals[part], normals[found]) < OPPOSED
        gaps[part] = np.where(opposed, distances, np.inf).min(1)
    return gaps


def _smoother(faces: Array, count: int) -> SuperLU:
    """The factors of I + LAMBDA L."""
    starts, ends = faces.ravel(), np.roll(faces, -1, 1).ravel()
    one = sparse.coo_array((np.ones(len(starts)), (starts, ends)), (count, count)).tocsr()
    joined = ((one + one.T) > 0).astype(np.float64)
    laplacian = sparse.diags_array(np.asarray(joined.sum(1)).ravel()) - joined
    matrix = sparse.csc_array(sparse.eye_array(count) + LAMBDA * laplacian)
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

# SPDX-License-Identifier: GPL-3.0-or-later
"""Solids as signed distances on a grid: simple bodies joined, melted and cut away, meshed by marching cubes."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from engine.errors import EmptyFieldError
from engine.jit import kernel
from engine.surface.field import SignedGrid
from engine.surface.isosurface import extract
from engine.surface.mesh import Mesh
from engine.surface.simplify import simplify
from engine.training.data.procedural_noise import noise

Array = np.ndarray

ELLIPSOID, BOX, CYLINDER, TORUS, CAPSULE = range(5)
UNION, DIFFERENCE, INTERSECTION = range(3)


@dataclass
class Solid:
    """Bodies joined in order. Their frame is that of the object, about [-1, 1]^3."""

    rows: list[Array] = field(default_factory=list)

    def add(
        self,
        kind: int,
        half: ArrayLike,
        at: ArrayLike = (0, 0, 0),
        rotation: Array | None = None,
        op: int = UNION,
        blend: float = 0.0,
        rounding: float = 0.0,
    ) -> None:
        """Joins a body with half sides [3]: of a torus its radius and its tube's, of a capsule radius below, half
        length, radius above.

        `blend` is the width over which it melts into what is there already (smooth minimum, Quilez 2013).
        """
        rotation = np.eye(3) if rotation is None else rotation
        self.rows.append(np.concatenate([[kind, op, blend, rounding], at, half, rotation.T.ravel()]))

    def mesh(self, resolution: int, faces: int, rough: tuple[float, float, int] | None = None) -> tuple[Mesh, Array]:
        """The surface with about `faces` faces and the body each face belongs to, [F].

        `rough` (height, frequency, seed) moves the surface in and out. Raises `EmptyFieldError` where nothing is left.
        """
        table = np.stack(self.rows)
        reach = table[:, 7:10].copy()
        reach[table[:, 0] == TORUS] = table[table[:, 0] == TORUS][:, [7]] + table[table[:, 0] == TORUS][:, [8]]
        radius = np.linalg.norm(reach, axis=1)[:, None]
        solid = table[:, 1] == UNION
        low, high = (table[:, 4:7] - radius)[solid].min(0), (table[:, 4:7] + radius)[solid].max(0)
        voxel = float((high - low).max()) / resolution
        cells = np.ceil((high - low) / voxel).astype(int) + 4
        origin = low - 1.5 * voxel
        values = np.empty(tuple(cells), np.float32)
        _fill(table, origin, voxel, values)
        if rough is not None:
            height, frequency, seed = rough
            near = np.flatnonzero(np.abs(values.ravel()) < height + 2 * voxel)
            points = np.stack(np.unravel_index(near, values.shape), 1) * voxel + origin
            values.ravel()[near] += (height * noise(points * frequency, seed, 3)).astype(np.float32)
        for axis in range(3):
            for end in (0, -1):
                np.moveaxis(values, axis, 0)[end] = voxel
        mesh = simplify(extract(SignedGrid(values, origin.astype(np.float32), voxel)), faces)
        if len(mesh.faces) < 40:
            raise EmptyFieldError("Found a solid of which nearly nothing is left.")
        owners = np.empty(len(mesh.faces), np.int64)
        _owners(table, mesh.vertices[mesh.faces].mean(1).astype(np.float64), owners)
        return mesh, owners


@kernel
def _distance(row, x, y, z):
    """Signed distance of one body, exact but for the ellipsoid."""
    x, y, z = x - row[4], y - row[5], z - row[6]
    u = row[10] * x + row[11] * y + row[12] * z
    v = row[13] * x + row[14] * y + row[15] * z
    w = row[16] * x + row[17] * y + row[18] * z
    a, b, c, r = row[7], row[8], row[9], row[3]
    kind = int(row[0])
    if kind == ELLIPSOID:
        k0 = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (w / c) ** 2)
        k1 = np.sqrt((u / (a * a)) ** 2 + (v / (b * b)) ** 2 + (w / (c * c)) ** 2)
        return k0 * (k0 - 1) / max(k1, 1e-9) if k0 > 1e-6 else -min(a, b, c)
    if kind == BOX:
        dx, dy, dz = abs(u) - a + r, abs(v) - b + r, abs(w) - c + r
        outside = np.sqrt(max(dx, 0.0) ** 2 + max(dy, 0.0) ** 2 + max(dz, 0.0) ** 2)
        return outside + min(max(dx, dy, dz), 0.0) - r
    if kind == CYLINDER:
        dr, dy = np.sqrt(u * u + w * w) - a + r, abs(v) - b + r
        return np.sqrt(max(dr, 0.0) ** 2 + max(dy, 0.0) ** 2) + min(max(dr, dy), 0.0) - r
    if kind == TORUS:
        ring = np.sqrt(u * u + w * w) - a
        return np.sqrt(ring * ring + v * v) - b
    t = min(max((v + b) / (2 * b), 0.0), 1.0)
    v -= (2 * t - 1) * b
    return np.sqrt(u * u + v * v + w * w) - (a + (c - a) * t)


@kernel
def _joined(table, x, y, z):
    total = 1e9
    for k in range(len(table)):
        d = _distance(table[k], x, y, z)
        op, blend = int(table[k, 1]), table[k, 2]
        if op == INTERSECTION:
            total = max(total, d)
            continue
        sign = 1.0 if op == UNION else -1.0
        a, b = sign * total, d  # a difference is the union of the outside and the body, turned inside out
        h = max(blend - abs(a - b), 0.0)
        total = sign * (min(a, b) - (h * h / (4 * blend) if blend > 0 else 0.0))
    return total


@kernel
def _fill(table, origin, voxel, values):
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            for k in range(values.shape[2]):
                values[i, j, k] = _joined(table, origin[0] + i * voxel, origin[1] + j * voxel, origin[2] + k * voxel)


@kernel
def _owners(table, points, owners):
    for p in range(len(points)):
        nearest, best = 1e9, 0
        for k in range(len(table)):
            d = abs(_distance(table[k], points[p, 0], points[p, 1], points[p, 2]))
            if d < nearest:
                nearest, best = d, k
        owners[p] = best

# SPDX-License-Identifier: GPL-3.0-or-later
"""Simple closed surfaces that procedural shapes are made of: boxes, superquadrics, lofts, tubes; and ways to bend them.

All lie within about [-1, 1]^3, counter-clockwise seen from outside, vertices shared.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from engine.surface.cleanup import weld
from engine.surface.mesh import Mesh

Array = np.ndarray


@dataclass(frozen=True)
class Part:
    """A piece of an object with one material."""

    vertices: Array  # [V, 3] float64
    faces: Array  # [F, 3] int32
    local: Array  # [V, 3] float64: where each vertex lies in the material
    material: int = 0

    def placed(self, scale: ArrayLike = 1.0, rotation: Array | None = None, at: ArrayLike = (0, 0, 0)) -> "Part":
        """Scaled, then turned by `rotation` [3, 3], then moved; the material goes along, at the new size."""
        vertices = self.vertices * np.asarray(scale)
        local = self.local * np.asarray(scale)
        if rotation is not None:
            vertices = vertices @ rotation.T
        flipped = np.prod(np.broadcast_to(scale, 3)) < 0
        return replace(self, vertices=vertices + at, local=local, faces=self.faces[:, ::-1] if flipped else self.faces)

    def mirrored(self, axis: int = 0) -> "Part":
        """Its mirror image in the plane through the origin across `axis`."""
        sign = np.where(np.arange(3) == axis, -1, 1)
        return replace(self, vertices=self.vertices * sign, faces=self.faces[:, ::-1])


def part(vertices: Array, faces: Array) -> Part:
    """A surface as a part whose material lies where it lies itself."""
    vertices = np.asarray(vertices, np.float64)
    return Part(vertices, np.asarray(faces, np.int32), vertices)


@lru_cache(32)
def _cube_grid(n: int) -> tuple[Array, Array]:
    """Integer vertices in 0..n and faces of a cube whose sides have n x n squares."""
    i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    corner = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    square = np.array([[0, n + 1, n + 2], [0, n + 2, 1]])
    points, faces = [], []
    for axis in range(3):
        for side in (0, n):
            grid = np.full(((n + 1) ** 2, 3), side)
            grid[:, (axis + 1) % 3], grid[:, (axis + 2) % 3] = i.ravel(), j.ravel()
            triangles = (corner[:, None, None] + square).reshape(-1, 3)
            faces.append((triangles if side else triangles[:, ::-1]) + len(points) * (n + 1) ** 2)
            points.append(grid)
    unique, index = np.unique(np.concatenate(points), axis=0, return_inverse=True)
    return unique, index.reshape(-1)[np.concatenate(faces)].astype(np.int32)


def box(half: ArrayLike = (1, 1, 1), n: int = 1) -> Part:
    """A box with half sides [3], n x n squares on each side."""
    grid, faces = _cube_grid(n)
    return part((grid * (2 / n) - 1) * np.asarray(half, np.float64), faces)


def rounded_box(half: ArrayLike, radius: float) -> Part:
    """A box with half sides [3] whose edges are rounded by `radius`, 0 for sharp ones."""
    half = np.asarray(half, np.float64)
    if radius <= 0:
        return box(half)
    radius = min(radius, 0.98 * float(half.min()))
    grid, faces = _cube_grid(5)
    inner = half - radius
    steps = np.stack([-half, -inner - 0.42 * radius, -inner, inner, inner + 0.42 * radius, half])
    points = np.take_along_axis(steps, grid, axis=0)
    kept = np.clip(points, -inner, inner)
    away = points - kept
    away *= radius / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    return part(kept + away, faces)


def superquadric(p: float = 2.0, q: float = 2.0, n: int = 10) -> Part:
    """((|x|^p + |z|^p)^(q/p) + |y|^q)^(1/q) = 1 (Barr 1981): 2, 2 is a sphere, large exponents approach a box."""
    grid, faces = _cube_grid(n)
    points = np.tan((grid * (2 / n) - 1) * np.pi / 4)
    sizes = np.abs(points)
    across = (sizes[:, 0] ** p + sizes[:, 2] ** p) ** (1 / p)
    return part(points / ((across**q + sizes[:, 1] ** q) ** (1 / q))[:, None], faces)


def circle(n: int = 24) -> Array:
    """n points [n, 2] of the unit circle, from +x to +z."""
    angles = np.arange(n) * 2 * np.pi / n
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def loft(profile: ArrayLike, section: Array | None = None) -> Part:
    """The section [S, 2] (x, z) drawn along y and scaled as the profile [K, 2] (scale, y) says, bottom to top.

    Scales of 0 at both ends close it; a profile that ends where it began makes a ring. With a circle this is a lathe.
    """
    profile = np.asarray(profile, np.float64)
    section = circle() if section is None else section
    count, rings = len(section), len(profile)
    points = np.empty((rings, count, 3))
    points[..., 0], points[..., 2] = profile[:, :1] * section[:, 0], profile[:, :1] * section[:, 1]
    points[..., 1] = profile[:, 1:]
    return sewn(points)


def tube(path: ArrayLike, radius: ArrayLike, sides: int = 8, closed: bool = False) -> Part:
    """A pipe along the path [K, 3] with radii [K] or one for all, its ends closed (or joined, where `closed`)."""
    path = np.asarray(path, np.float64)
    radii = np.broadcast_to(radius, len(path)).astype(np.float64)
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-12)
    side = np.cross(ahead[0], np.eye(3)[np.abs(ahead[0]).argmin()])
    frames = np.empty((len(path), 2, 3))
    for k, direction in enumerate(ahead):  # each frame is the one before, turned as little as the path asks for
        side = side - direction * (side @ direction)
        side /= max(float(np.linalg.norm(side)), 1e-12)
        frames[k] = side, np.cross(side, direction)
    rings = path[:, None] + radii[:, None, None] * np.einsum("sj,kji->ksi", circle(sides), frames)
    if closed:
        return sewn(np.concatenate([rings, rings[:1]]))
    ends = np.repeat(path[[0, -1], None], sides, 1)
    return sewn(np.concatenate([ends[:1], rings, ends[1:]]))


def sewn(rings: Array) -> Part:
    """Faces between closed rings of points [K, S, 3], equal points joined, faces without area left out."""
    count, size = rings.shape[:2]
    a = (np.arange(count - 1)[:, None] * size + np.arange(size)).ravel()
    b = (np.arange(count - 1)[:, None] * size + np.roll(np.arange(size), -1)).ravel()
    faces = np.concatenate([np.stack([a, a + size, b + size], 1), np.stack([a, b + size, b], 1)])
    mesh = weld(Mesh(np.rint(rings.reshape(-1, 3) * 2**20) / 2**20 + 0.0, faces.astype(np.int32)))
    return part(mesh.vertices, mesh.faces)


def frame_of(edges: ArrayLike, radius: float, sides: int = 6) -> list[Part]:
    """Pipes along edges [E, 2, 3]: what is left of a shape of which only its edges stand."""
    return [tube(edge, radius, sides) for edge in np.asarray(edges, np.float64)]


# ---- Deformations ---------------------------------------------------------------------------------------------------


def taper(shape: Part, factor: float) -> Part:
    """The top (y = 1) `factor` times as wide as the bottom (y = -1)."""
    size = 1 + (factor - 1) * (shape.vertices[:, 1:2].clip(-1, 1) + 1) / 2
    return replace(shape, vertices=shape.vertices * np.concatenate([size, np.ones_like(size), size], 1))


def twist(shape: Part, angle: float) -> Part:
    """The top turned about y by `angle` radians against the bottom."""
    turn = angle * shape.vertices[:, 1] / 2
    x, z = shape.vertices[:, 0], shape.vertices[:, 2]
    turned = [np.cos(turn) * x + np.sin(turn) * z, shape.vertices[:, 1], np.cos(turn) * z - np.sin(turn) * x]
    return replace(shape, vertices=np.stack(turned, 1))


def bend(shape: Part, angle: float) -> Part:
    """Its axis, the y axis from -1 to 1, bent towards +x to an arc of `angle` radians."""
    if abs(angle) < 1e-3:
        return shape
    radius = 2 / angle
    x, y, z = shape.vertices.T
    turn = y / radius
    bent = [radius - (radius - x) * np.cos(turn), (radius - x) * np.sin(turn), z]
    return replace(shape, vertices=np.stack(bent, 1))


def displaced(shape: Part, heights: Array) -> Part:
    """Each vertex moved along its normal by `heights` [V]."""
    corners = shape.vertices[shape.faces]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(shape.vertices)
    for corner in range(3):
        np.add.at(normals, shape.faces[:, corner], crossed)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return replace(shape, vertices=shape.vertices + normals * heights[:, None])


# ---- Rotations ------------------------------------------------------------------------------------------------------


def turned(axis: int, degrees: float) -> Array:
    """The matrix [3, 3] of a right-handed turn about a coordinate axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    u, v = (axis + 1) % 3, (axis + 2) % 3
    matrix[u, u], matrix[u, v], matrix[v, u], matrix[v, v] = c, -s, s, c
    return matrix


def any_rotation(rng: np.random.Generator) -> Array:
    """A random rotation [3, 3], all alike likely (a unit quaternion of normal numbers)."""
    w, x, y, z = (lambda q: q / np.linalg.norm(q))(rng.normal(size=4))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Shells of Gaussians on shapes whose volume, area and genus are known, and meshes of such shapes."""

from collections.abc import Iterable

import numpy as np

from engine.fields.gaussians import Gaussians
from engine.surface.mesh import Mesh

Array = np.ndarray


def shell(
    points: Array, normals: Array, spacing: float, opacity: float = 0.9, colors: Array | None = None
) -> Gaussians:
    """Gaussians at `points` [N, 3], 0.7 spacings wide along the surface and 0.1 across."""
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    # The quaternion that turns z onto the normal: (1 + n_z, z cross n), normalised; about x where n = -z.
    quats = np.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.zeros(len(normals))], axis=1)
    quats[normals[:, 2] < -0.9999] = [0, 1, 0, 0]
    scales = np.tile(np.array([0.7, 0.7, 0.1]) * spacing, (len(points), 1))
    if colors is None:
        colors = np.full((len(points), 3), 0.5)
    return Gaussians(points, quats, scales, np.full(len(points), opacity), colors)


def joined(*sets: Gaussians) -> Gaussians:
    """All Gaussians of several sets in one."""
    fields = ("means", "quats", "scales", "opacities", "colors")
    return Gaussians(*(np.concatenate([getattr(part, field) for part in sets]) for field in fields))


def sphere_points(count: int, radius: float = 1.0, center=(0.0, 0.0, 0.0)) -> tuple[Array, Array, float]:
    """Evenly spread points (a Fibonacci lattice), normals and spacing."""
    i = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    normals = np.stack([np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], axis=1)
    return radius * normals + np.asarray(center), normals, radius * np.sqrt(4 * np.pi / count)


def sphere(count: int = 6000, radius: float = 0.8, center=(0.0, 0.0, 0.0), **options) -> Gaussians:
    return shell(*sphere_points(count, radius, center), **options)


def torus(major: float = 0.7, minor: float = 0.12, around: int = 160, across: int = 30) -> Gaussians:
    """A ring in the x-z plane."""
    u, v = np.meshgrid(np.arange(around) * 2 * np.pi / around, np.arange(across) * 2 * np.pi / across, indexing="ij")
    u, v = u.ravel(), v.ravel()
    normals = np.stack([np.cos(v) * np.cos(u), np.sin(v), np.cos(v) * np.sin(u)], axis=1)
    ring = np.stack([np.cos(u), np.zeros_like(u), np.sin(u)], axis=1)
    return shell(major * ring + minor * normals, normals, 2 * np.pi * major / around)


def box(half=(0.7, 0.5, 0.3), spacing: float = 0.025, sides: Iterable[int] = range(6)) -> Gaussians:
    """An axis-aligned box; `sides` leaves some of its six out (0 to 2 face +x +y +z, 3 to 5 face -x -y -z)."""
    parts = []
    for side in sides:
        axis, sign = side % 3, 1 if side < 3 else -1
        others = [other for other in range(3) if other != axis]
        ticks = [np.linspace(-half[o], half[o], round(2 * half[o] / spacing) + 1) for o in others]
        a, b = (grid.ravel() for grid in np.meshgrid(*ticks))
        points, normals = np.zeros((len(a), 3)), np.zeros((len(a), 3))
        points[:, others[0]], points[:, others[1]], points[:, axis] = a, b, sign * half[axis]
        normals[:, axis] = sign
        parts.append(shell(points, normals, spacing))
    return joined(*parts)


def sphere_mesh(count: int = 24, radius: float = 1.0) -> Mesh:
    """A closed sphere of `count` rings, faces counter-clockwise from outside."""
    polar = np.linspace(0, np.pi, count + 1)[1:-1]
    azimuth = np.arange(2 * count) * np.pi / count
    p, a = np.meshgrid(polar, azimuth, indexing="ij")
    rings = np.stack([np.sin(p) * np.sin(a), np.cos(p), np.sin(p) * np.cos(a)], axis=-1).reshape(-1, 3)
    vertices = np.concatenate([rings, [[0, 1, 0], [0, -1, 0]]]) * radius
    top, bottom, width = len(rings), len(rings) + 1, 2 * count
    faces = []
    for k in range(width):
        following = (k + 1) % width
        faces += [[top, k, following], [bottom, len(rings) - width + following, len(rings) - width + k]]
        for row in range(count - 2):
            one, two = row * width + k, row * width + following
            faces += [[one, one + width, two], [two, one + width, two + width]]
    return Mesh(vertices.astype(np.float32), np.array(faces, np.int32))


def chart_of_face(mesh: Mesh) -> Array:
    """Number of the chart each face lies in, [F]: faces joined by vertices, which are split at seams."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(mesh.vertices),) * 2)
    return connected_components(graph, directed=False)[1][mesh.faces[:, 0]]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Points spread evenly over the part of a surface that can be seen from outside."""

import numpy as np

from engine.fields.cameras import orbit
from engine.render.mesh_cpu import rasterize
from engine.surface.mesh import Mesh

Array = np.ndarray

_AZIMUTHS = np.concatenate([np.tile(np.arange(0, 360, 45), 3), [0, 0]])
_ELEVATIONS = np.repeat([-30, 10, 50, 89, -89], [8, 8, 8, 1, 1])


def surface_points(mesh: Mesh, count: int, rng: np.random.Generator) -> Array:
    """`count` points [count, 3] drawn evenly by area from the whole surface."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = corners[rng.choice(len(areas), count, p=areas / areas.sum())]
    r, s = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return ((1 - r) * chosen[:, 0] + r * (1 - s) * chosen[:, 1] + r * s * chosen[:, 2]).astype(np.float32)


def visible_points(mesh: Mesh, count: int, rng: np.random.Generator, side: int = 96) -> Array:
    """`count` points [count, 3] drawn evenly by area from what 26 cameras around the object see.

    The object lies in [-0.5, 0.5]^3 (a pack's frame). Inner walls and buried parts get no points. Where less than
    a hundredth of the surface is seen, points come from the whole surface.
    """
    points = surface_points(mesh, 3 * count, rng)
    seen = np.zeros(len(points), bool)
    cameras = orbit(_AZIMUTHS, _ELEVATIONS, 2.6, 40.0, side, side)
    tolerance = 1.5 / side
    for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True):
        depths = rasterize(mesh.vertices, mesh.faces, viewmat, K, side, side).depths
        camera = points @ viewmat[:3, :3].T + viewmat[:3, 3]
        columns = (K[0, 0] * camera[:, 0] / camera[:, 2] + K[0, 2]).astype(int).clip(0, side - 1)
        rows = (K[1, 1] * camera[:, 1] / camera[:, 2] + K[1, 2]).astype(int).clip(0, side - 1)
        seen |= camera[:, 2] < depths[rows, columns] + tolerance
    if seen.sum() < len(points) // 100:
        seen[:] = True
    visible = points[seen]
    return visible[rng.choice(len(visible), count, replace=len(visible) < count)]

# SPDX-License-Identifier: GPL-3.0-or-later
"""The triangle mesh all later stages pass along, and the one check of it."""

from dataclasses import dataclass

import numpy as np

from engine.errors import InputError

Array = np.ndarray


@dataclass(frozen=True)
class Mesh:
    """Triangles in the object frame of `engine.conventions`, counter-clockwise seen from outside.

    After unwrapping, vertices at texture seams are split: one uv per vertex. In a mesh of quads faces 2 k and 2 k + 1
    are the halves of one four-sided face and begin with the same vertex, so that the quad is faces[2k, 0], [2k, 1],
    [2k, 2], [2k + 1, 2].
    """

    vertices: Array  # [V, 3] float32
    faces: Array  # [F, 3] int32
    normals: Array | None = None  # [V, 3] float32, unit length
    uvs: Array | None = None  # [V, 2] float32, origin top left
    texture: Array | None = None  # [T, T, 3] uint8, sRGB
    normal_map: Array | None = None  # [T, T, 3] uint8, tangent space of glTF: (128, 128, 255) is the surface's normal
    occlusion: Array | None = None  # [T, T] uint8, 255 where nothing is in the way of ambient light
    quads: bool = False

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner, [3] each."""
        return self.vertices.min(0), self.vertices.max(0)


def validate_mesh(mesh: Mesh) -> Mesh:
    """Returns `mesh`; raises `InputError` with one sentence where shapes, indices or values are wrong."""
    if mesh.vertices.ndim != 2 or mesh.vertices.shape[1] != 3:
        raise InputError(f"A mesh needs vertices [V, 3], found shape {mesh.vertices.shape}.")
    if mesh.faces.ndim != 2 or mesh.faces.shape[1] != 3 or not np.issubdtype(mesh.faces.dtype, np.integer):
        raise InputError(f"A mesh needs integer faces [F, 3], found {mesh.faces.dtype} of shape {mesh.faces.shape}.")
    if not len(mesh.faces):
        raise InputError("A mesh needs at least one face, found none.")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise InputError(
            f"Faces point at vertices {mesh.faces.min()} to {mesh.faces.max()}, but there are {len(mesh.vertices)}."
        )
    if not np.isfinite(mesh.vertices).all():
        raise InputError("A mesh needs finite vertices, found NaN or infinity.")
    for name, width in (("normals", 3), ("uvs", 2)):
        value = getattr(mesh, name)
        if value is not None and value.shape != (len(mesh.vertices), width):
            raise InputError(f"A mesh needs {name} [V, {width}], found shape {value.shape}.")
    return mesh

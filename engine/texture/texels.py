# SPDX-License-Identifier: GPL-3.0-or-later
"""Which point of the surface lies under each texel."""

from dataclasses import dataclass

import numpy as np

from engine.errors import OptionError
from engine.jit import parallel_kernel, prange
from engine.render.mesh_cpu import rasterize, vertex_normals
from engine.surface.mesh import Mesh

Array = np.ndarray


@dataclass(frozen=True)
class Texels:
    """The P texels of a texture [T, T] whose centre a face covers."""

    size: int  # T
    index: Array  # [P] int64, row * T + column, ascending
    points: Array  # [P, 3] float32, on the surface
    normals: Array  # [P, 3] float32, unit length, smooth across faces
    faces: Array  # [P] int32
    barycentrics: Array  # [P, 3] float32

    def __len__(self) -> int:
        return len(self.index)

    def covered(self) -> Array:
        """The mask [T, T] of these texels."""
        mask = np.zeros(self.size * self.size, bool)
        mask[self.index] = True
        return mask.reshape(self.size, self.size)


def texels_of(mesh: Mesh, size: int) -> Texels:
    """The texels of `mesh` in a texture of `size` pixels. Raises `OptionError` for a mesh without uvs."""
    if mesh.uvs is None:
        raise OptionError("Found a mesh without uvs, expected an unwrapped one.", "Call unwrap first.")
    flat = np.concatenate([mesh.uvs * np.float32(size), np.ones((len(mesh.uvs), 1), np.float32)], axis=1)
    eye = np.eye(4, dtype=np.float32)
    seen = rasterize(flat.astype(np.float32), mesh.faces, eye, eye[:3, :3], size, size)
    index = np.flatnonzero(seen.face_ids.ravel() >= 0)
    faces = np.ascontiguousarray(mesh.faces, np.int32)
    vertices = np.ascontiguousarray(mesh.vertices, np.float32)
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    texels = Texels(
        size, index, np.empty((len(index), 3), np.float32), np.empty((len(index), 3), np.float32),
        seen.face_ids.ravel()[index], seen.barycentrics.reshape(-1, 3)[index],
    )  # fmt: skip
    _place(texels.faces, texels.barycentrics, faces, vertices, normals, texels.points, texels.normals)
    return texels


@parallel_kernel
def _place(face_ids, barycentrics, faces, vertices, normals, points, directions):
    for p in prange(len(face_ids)):
        a, b, c = faces[face_ids[p], 0], faces[face_ids[p], 1], faces[face_ids[p], 2]
        wa, wb, wc = barycentrics[p, 0], barycentrics[p, 1], barycentrics[p, 2]
        length = np.float32(0)
        for axis in range(3):
            points[p, axis] = wa * vertices[a, axis] + wb * vertices[b, axis] + wc * vertices[c, axis]
            directions[p, axis] = wa * normals[a, axis] + wb * normals[b, axis] + wc * normals[c, axis]
            length += directions[p, axis] * directions[p, axis]
        scale = 1 / max(np.sqrt(length), np.float32(1e-12))
        for axis in range(3):
            directions[p, axis] *= scale

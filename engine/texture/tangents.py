# SPDX-License-Identifier: GPL-3.0-or-later
"""Tangents of a mesh with uvs, as renderers compute them to read a normal map.

MikkTSpace (Mikkelsen 2008, "Simulation of Wrinkled Surfaces Revisited") as glTF 2.0 and Blender use it: T points along
growing u, the bitangent w cross(N, T) towards the top of the texture. Each face adds its direction of growing u, laid
into the vertex's tangent plane and made unit length, weighted by the face's angle at the vertex. Vertices here are
already split where uvs are, so each has one tangent; faces mirrored against the rest of a vertex, which MikkTSpace
would split off, do not occur in our charts. The vectors are interpolated across a face without making them unit again.
"""

import numpy as np

from engine.render.mesh_cpu import vertex_normals
from engine.surface.mesh import Mesh

Array = np.ndarray


def vertex_tangents(mesh: Mesh) -> Array:
    """Tangents [V, 4] float32: unit length, at right angles to the normals; w = 1 or -1 is the bitangent's sign.

    Expects uvs. Where the uvs of all faces around a vertex have no area, any tangent.
    """
    assert mesh.uvs is not None
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    normals = normals.astype(np.float64)
    corners = mesh.vertices[mesh.faces].astype(np.float64)  # [F, 3, 3]
    uvs = mesh.uvs[mesh.faces].astype(np.float64)
    edges, steps = corners[:, 1:] - corners[:, :1], uvs[:, 1:] - uvs[:, :1]
    steps[..., 1] *= -1  # v upwards
    areas = steps[:, 0, 0] * steps[:, 1, 1] - steps[:, 0, 1] * steps[:, 1, 0]
    along = steps[:, 1, 1, None] * edges[:, 0] - steps[:, 0, 1, None] * edges[:, 1]
    along *= np.where(areas < 0, -1, 1)[:, None]  # the direction of growing u, of any length
    sums = np.zeros((len(mesh.vertices), 3))
    signs = np.zeros(len(mesh.vertices))
    for corner in range(3):
        vertex = mesh.faces[:, corner]
        normal = normals[vertex]
        ahead, back = (
            _unit(_flattened(corners[:, (corner + turn) % 3] - corners[:, corner], normal)) for turn in (1, 2)
        )
        angles = np.arccos(np.clip((ahead * back).sum(1), -1, 1)) * (areas != 0)
        weighted = angles[:, None] * _unit(_flattened(along, normal))
        for axis in range(3):
            sums[:, axis] += np.bincount(vertex, weighted[:, axis], len(sums))
        signs += np.bincount(vertex, angles * np.sign(areas), len(sums))
    tangents = _unit(_flattened(sums, normals))
    lost = np.linalg.norm(tangents, axis=1) < 0.5
    if lost.any():
        helper = np.where(np.abs(normals[lost, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
        tangents[lost] = _unit(_flattened(helper, normals[lost]))
    return np.concatenate([tangents, np.where(signs < 0, -1, 1)[:, None]], axis=1).astype(np.float32)


def _flattened(vectors: Array, normals: Array) -> Array:
    """`vectors` [..., 3] without their part along unit `normals` [..., 3]."""
    return vectors - (vectors * normals).sum(-1, keepdims=True) * normals


def _unit(vectors: Array) -> Array:
    """`vectors` [..., 3] at unit length, 0 where they are shorter than 1e-20."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(lengths > 1e-20, vectors / np.maximum(lengths, 1e-20), 0)

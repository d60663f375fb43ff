# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours for texels nobody saw, from their neighbours on the surface.

Neighbours in the texture may lie anywhere on the object, and the nearest point in space may lie on the other side of a
sheet; so colours spread from vertex to vertex. Each vertex takes the mean of the seen texels around it; those without
any take values that equal the mean of their neighbours' (a harmonic function: smooth, and within the range of what it
joins). A texel interpolates its face's corners.
"""

import numpy as np
from scipy.sparse import csr_matrix

from engine.jit import kernel, parallel_kernel, prange
from engine.surface.mesh import Mesh
from engine.texture.texels import Texels

Array = np.ndarray

STEPS = 64
"""Sweeps towards the harmonic function, after the first values have reached every vertex."""


def fill(mesh: Mesh, texels: Texels, colors: Array, seen: Array) -> Array:
    """`colors` [P, 3] blended with what the surface around has, by `seen` [P] in [0, 1]; 1 stays as it is.

    Parts of the mesh nobody saw anywhere keep their colours.
    """
    if seen.min() >= 1 or not seen.any():
        return colors
    places, index = np.unique(mesh.vertices, axis=0, return_inverse=True)  # one vertex on both sides of a seam
    faces = index.reshape(-1).astype(np.int32)[mesh.faces]
    sums = np.zeros((len(places), 4), np.float64)
    _gather(texels.faces, texels.barycentrics, faces, colors, seen.astype(np.float32), sums)
    known = sums[:, 3] > 1e-3
    values = np.where(known[:, None], sums[:, :3] / np.maximum(sums[:, 3:], 1e-12), 0)
    values, reached = _harmonic(values, known, faces)
    filled = colors.copy()
    _interpolate(
        texels.faces, texels.barycentrics, faces, values.astype(np.float32), reached, seen.astype(np.float32), filled
    )
    return filled


def _harmonic(values: Array, known: Array, faces: Array) -> tuple[Array, Array]:
    """`values` [V, 3] with those of the vertices not `known` [V] relaxed, and which have any value now, [V]."""
    rows, columns = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    both = np.concatenate([rows, columns]), np.concatenate([columns, rows])
    adjacency = csr_matrix((np.ones(2 * len(rows)), both), shape=(len(values),) * 2)
    reached, values = known.copy(), values.copy()
    while True:
        counts = adjacency @ reached.astype(np.float64)
        front = ~reached & (counts > 0)
        if not front.any():
            break
        values[front] = (adjacency[front] @ (values * reached[:, None])) / counts[front, None]
        reached |= front
    free = np.flatnonzero(reached & ~known)
    if len(free):
        neighbours = adjacency[free]
        counts = np.asarray(neighbours.sum(1))
        for _ in range(STEPS):
            values[free] = (neighbours @ values) / counts
    return values, reached


@kernel
def _gather(face_ids, barycentrics, faces, colors, seen, sums):
    for p in range(len(face_ids)):
        if seen[p] <= 0:
            continue
        for corner in range(3):
            vertex = faces[face_ids[p], corner]
            weight = seen[p] * barycentrics[p, corner] ** 2
            for channel in range(3):
                sums[vertex, channel] += weight * colors[p, channel]
            sums[vertex, 3] += weight


@parallel_kernel
def _interpolate(face_ids, barycentrics, faces, values, reached, seen, colors):
    for p in prange(len(face_ids)):
        if seen[p] >= 1:
            continue
        face = face_ids[p]
        if not (reached[faces[face, 0]] and reached[faces[face, 1]] and reached[faces[face, 2]]):
            continue
        for channel in range(3):
            value = np.float32(0)
            for corner in range(3):
                value += barycentrics[p, corner] * values[faces[face, corner], channel]
            colors[p, channel] = seen[p] * colors[p, channel] + (1 - seen[p]) * value

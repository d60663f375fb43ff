# SPDX-License-Identifier: GPL-3.0-or-later
"""Assets made small and uniform for a pack: one simplified surface with one texture, baked from the original."""

from dataclasses import replace

import numpy as np
from PIL import Image

from engine.errors import InputError
from engine.surface.cleanup import parts, weld
from engine.surface.closest import Surface
from engine.surface.mesh import Mesh
from engine.texture.pad import pad
from engine.texture.texels import texels_of
from engine.texture.unwrap import unwrap
from engine.training.data.import_assets import Source, face_areas
from engine.training.data.import_simplify import simplified

Array = np.ndarray

SUPERSAMPLE = 2
"""Samples along each side of a texel."""

LOST = 0.3
"""Most of the area that may go with the smallest pieces of what cannot be simplified enough."""

SAMPLES = 60_000
"""Points on the original surface that the nearest place is looked for from."""


def baked(source: Source, faces: int = 6000, size: int = 256) -> Mesh:
    """The source with at most `faces` faces, centred, longest side 1, with a texture [size, size, 3].

    Coincident layers and what the texture cuts out are gone. Raises `InputError` where nothing usable is left.
    """
    source = source.without_holes()
    low, high = source.vertices[source.faces].min((0, 1)), source.vertices[source.faces].max((0, 1))
    side = float((high - low).max())
    source = replace(source, vertices=(source.vertices - (low + high) / 2) / side)
    mesh = unwrap(_reduced(source, faces))
    if len(mesh.vertices) > 65535:
        raise InputError(f"Its texture coordinates need {len(mesh.vertices):,} vertices, more than 65,535.")
    return replace(mesh, texture=_texture(mesh, source, size), normals=None)


def _reduced(source: Source, most: int) -> Mesh:
    """The shape alone: equal places joined, no face twice, simplified."""
    mesh = weld(Mesh(source.vertices.astype(np.float32), source.faces.astype(np.int32)))
    ordered = np.sort(mesh.faces, axis=1)
    mesh = Mesh(mesh.vertices, mesh.faces[np.sort(np.unique(ordered, axis=0, return_index=True)[1])])
    if not len(mesh.faces):
        raise InputError("None of its faces has an area.")
    if len(mesh.faces) <= most:
        return mesh
    vertices, faces = simplified(mesh.vertices, mesh.faces, most)
    fewer = weld(Mesh(vertices.astype(np.float32), faces.astype(np.int32)))
    if len(fewer.faces) > most:
        fewer = _without_the_smallest(fewer, most)
    return fewer


def _without_the_smallest(mesh: Mesh, most: int) -> Mesh:
    """Without the smallest separate pieces (leaves of a tree, gravel), as many as are too many."""
    areas = face_areas(mesh.vertices.astype(np.float64), mesh.faces)
    labels = parts(mesh)[mesh.faces[:, 0]]
    sizes, counts = np.bincount(labels, areas), np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    kept = np.zeros(len(sizes), bool)
    kept[order[np.cumsum(counts[order]) <= most]] = True
    if sizes[kept].sum() < (1 - LOST) * sizes.sum():
        raise InputError(f"Its {len(mesh.faces):,} faces in {np.count_nonzero(counts):,} pieces cannot be reduced.")
    return Mesh(mesh.vertices, mesh.faces[kept[labels]])


def _texture(mesh: Mesh, source: Source, size: int) -> Array:
    """The colours of the source's nearest places, [size, size, 3] uint8."""
    fine = texels_of(mesh, SUPERSAMPLE * size)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = crossed / np.maximum(np.linalg.norm(crossed, axis=1, keepdims=True), 1e-30)
    areas = face_areas(source.vertices, source.faces)
    surface = Surface(Mesh(source.vertices, source.faces.astype(np.int32)), float(np.sqrt(areas.sum() / SAMPLES)))
    points = fine.points.astype(np.float64)
    places, faces = surface.closest(points, normals[fine.faces])
    barycentrics = _barycentrics(places, source.vertices[source.faces[faces]])
    density = np.sqrt(len(fine) / max(float(face_areas(mesh.vertices, mesh.faces).sum()), 1e-12))
    colors = _shrunk(source, areas, density).colors(faces, barycentrics)[:, :3]
    sums = np.zeros((size * size, 4))
    row, column = np.divmod(fine.index, SUPERSAMPLE * size)
    texel = row // SUPERSAMPLE * size + column // SUPERSAMPLE
    for channel in range(3):
        sums[:, channel] = np.bincount(texel, colors[:, channel], size * size)
    sums[:, 3] = np.bincount(texel, minlength=size * size)
    if not sums[:, 3].any():
        raise InputError("Its surface covers no texel.")
    means = sums[:, :3] / np.maximum(sums[:, 3:], 1)
    texture = np.rint(255 * means.clip(0, 1)).astype(np.uint8).reshape(size, size, 3)
    return pad(texture, (sums[:, 3] > 0).reshape(size, size))


def _barycentrics(points: Array, corners: Array) -> Array:
    """Weights [P, 3] of the corners [P, 3, 3] of triangles at points [P, 3] on them."""
    a, b, c = np.moveaxis(corners, 1, 0)
    normal = np.cross(b - a, c - a)
    square = np.maximum(np.einsum("pi,pi->p", normal, normal), 1e-300)
    v = np.einsum("pi,pi->p", np.cross(points - a, c - a), normal) / square
    w = np.einsum("pi,pi->p", np.cross(b - a, points - a), normal) / square
    weights = np.clip(np.stack([1 - v - w, v, w], 1), 0, None)
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-30)


def _shrunk(source: Source, areas: Array, density: float) -> Source:
    """With textures that have no more pixels along the surface than `density` per unit: finer ones would alias."""
    materials = []
    for number, material in enumerate(source.materials):
        own = source.material_of == number
        if material.image is None or not own.any():
            materials.append(material)
            continue
        a, b, c = np.moveaxis(source.uvs[own].astype(np.float64), 1, 0)
        u, v = b - a, c - a
        covered = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum() / 2
        pixels = np.sqrt(covered * material.image.shape[0] * material.image.shape[1] / max(areas[own].sum(), 1e-30))
        factor = int(pixels / density)
        if factor > 1:
            reduced = np.asarray(Image.fromarray(material.image).reduce(factor))
            material = replace(material, image=reduced)
        materials.append(material)
    return replace(source, materials=tuple(materials))

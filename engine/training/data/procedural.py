# SPDX-License-Identifier: GPL-3.0-or-later
"""Random shapes as training data, in the spirit of LRM-Zero's Zeroverse (Xie et al. 2024, arXiv 2406.09371).

Zeroverse composes random textured primitives and augments them by height fields, boolean differences and wireframes; a
reconstructor trained on that, without any meaning, does nearly as well as on artists' objects. One picture says less
than many, so a part of ours has the regularities of made and grown things too: upright, flat feet, mirror images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.errors import EmptyFieldError
from engine.render.mesh_cpu import interpolate, rasterize
from engine.surface.mesh import Mesh
from engine.texture.pad import pad
from engine.training.data.pack_writer import PackObject, normalised
from engine.training.data.procedural_charts import box_charts
from engine.training.data.procedural_forms import Builder
from engine.training.data.procedural_things import FAMILIES

Array = np.ndarray

MOST_FACES = 6000


@dataclass(frozen=True)
class ShapeSettings:
    """How shapes are made."""

    texture: int = 256  # pixels of the texture's side
    shares: tuple[tuple[str, float], ...] = tuple((name, share) for name, (_, share) in FAMILIES.items())


def shapes(count: int, seed: int, settings: ShapeSettings | None = None) -> Iterator[PackObject]:
    """`count` random objects. Each depends on the seed and its own number only."""
    for number in range(count):
        yield shape(number, seed, settings)


def shape(number: int, seed: int, settings: ShapeSettings | None = None) -> PackObject:
    """The random object of this number and seed, with a texture of base colours."""
    settings = settings or ShapeSettings()
    rng = np.random.default_rng([seed, number])
    names, shares = zip(*settings.shares, strict=True)
    while True:  # what cancels itself out, or has too many faces, is drawn anew
        family = str(rng.choice(names, p=np.array(shares) / sum(shares)))
        builder = Builder(rng)
        try:
            FAMILIES[family][0](builder)
        except EmptyFieldError:
            continue
        if 12 <= sum(len(piece.faces) for piece in builder.parts) <= MOST_FACES:
            break
    return PackObject(
        name=f"{family}_{seed}_{number}",
        mesh=textured(builder, settings.texture),
        style="shape",
        source="procedural",
        category=family,
        licence="CC0-1.0",
        attribution="made by Gaussmith from random numbers",
    )


def textured(builder: Builder, size: int) -> Mesh:
    """The builder's parts in one, centred, longest side 1, with a texture [size, size, 3] of their materials."""
    starts = np.cumsum([0, *(len(piece.vertices) for piece in builder.parts)])
    vertices = np.concatenate([piece.vertices for piece in builder.parts])
    local = np.concatenate([piece.local for piece in builder.parts])
    faces = np.concatenate([piece.faces + start for piece, start in zip(builder.parts, starts, strict=False)])
    number = np.repeat(np.arange(len(builder.parts)), [len(piece.faces) for piece in builder.parts])
    materials = np.array([piece.material for piece in builder.parts])
    scale = 2 / max(float(np.ptp(vertices, axis=0).max()), 1e-9)
    mesh = normalised(Mesh(vertices.astype(np.float32), faces.astype(np.int32)))
    origins, split, uvs = box_charts(mesh.vertices, mesh.faces, number, size)
    flat = np.concatenate([uvs * np.float32(size), np.ones((len(uvs), 1), np.float32)], axis=1)
    eye = np.eye(4, dtype=np.float32)
    seen = rasterize(flat, split, eye, eye[:3, :3], size, size)
    covered = seen.face_ids >= 0
    places = interpolate(seen, split, (local[origins] * scale).astype(np.float32))[covered].astype(np.float64)
    kinds = materials[number[seen.face_ids[covered]]]
    colors = np.zeros((len(places), 3))
    for kind in np.unique(kinds):
        chosen = kinds == kind
        colors[chosen] = builder.materials[kind](places[chosen])
    texture = np.zeros((size, size, 3), np.uint8)
    texture[covered] = np.rint(255 * colors.clip(0, 1)).astype(np.uint8)
    return Mesh(mesh.vertices[origins], split, uvs=uvs, texture=pad(texture, covered))

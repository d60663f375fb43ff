# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""A convex hull of few points around an object, as its child, for game engines and simulation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import bmesh
import bpy

from .. import scene

if TYPE_CHECKING:
    import numpy as np

PART = "gaussmith_part"
"""Name of a custom property: what an object is to its parent."""
HULL = "collision"
DIRECTIONS = 64
"""A hull has at most so many vertices. Physics engines take 255, and are fast with a quarter of that."""

AFFIXES = {"PLAIN": ("", "_collision"), "UNREAL": ("UCX_", ""), "GODOT": ("", "-convcolonly")}


class HullError(ValueError):
    """An object that has no hull; its text is one sentence."""


def hull_of(ob: bpy.types.Object) -> bpy.types.Object | None:
    """The hull that was made for an object, if it still is its child."""
    return next((child for child in ob.children if child.get(PART) == HULL), None)


def kind_of(hull: bpy.types.Object | None) -> str:
    """How a hull was named, by its name."""
    name = hull.name if hull is not None else ""
    if name.startswith(AFFIXES["UNREAL"][0]):
        return "UNREAL"
    return "GODOT" if AFFIXES["GODOT"][1] in name else "PLAIN"


def add_hull(ob: bpy.types.Object, kind: str, vertices: np.ndarray | None = None) -> bpy.types.Object:
    """Makes the hull of an object, or makes it anew. `vertices` [V, 3] are those of its mesh, unless given.

    It is drawn as wire, never rendered, and in the collections of the object. Raises `HullError` for a flat object.
    """
    before, after = AFFIXES[kind]
    name = scene.short_name(ob.name, before, after)
    mesh = _hull_mesh(name, ob, _vertices(ob.data) if vertices is None else vertices)
    hull = hull_of(ob)
    if hull is None:
        hull = bpy.data.objects.new(name, mesh)
        hull[PART] = HULL
        hull.parent = ob
        hull.display_type = "WIRE"
        hull.hide_render = True
        scene.link_beside(hull, ob)
        return hull
    old, hull.data, hull.name = hull.data, mesh, name
    if not old.users:
        bpy.data.meshes.remove(old)
    return hull


def hull_points(vertices: np.ndarray, count: int = DIRECTIONS) -> np.ndarray:
    """Of vertices [V, 3] those that lie farthest out, at most one in each of `count` directions, [H, 3]."""
    import numpy as np

    number = np.arange(count) + 0.5
    height = 1 - 2 * number / count
    angle = math.pi * (1 + math.sqrt(5)) * number  # Fibonacci's points: the directions are evenly spread
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)
    centre = (vertices.min(0) + vertices.max(0)) / 2
    extent = np.maximum(np.ptp(vertices, axis=0), 1e-12)
    farthest = ((vertices - centre) / extent @ directions.T).argmax(0)  # thin sides get their share of directions
    return vertices[np.unique(farthest)]


def _vertices(mesh: bpy.types.Mesh) -> np.ndarray:
    import numpy as np

    places = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", places)
    return places.reshape(-1, 3)


def _hull_mesh(name: str, ob: bpy.types.Object, vertices: np.ndarray) -> bpy.types.Mesh:
    import numpy as np

    extent = np.ptp(vertices, axis=0) if len(vertices) > 3 else np.zeros(3)
    if extent.min() <= 1e-6 * extent.max():
        raise HullError(f"{ob.name} is flat: a collision hull needs a body.")
    form = bmesh.new()
    try:
        for point in hull_points(vertices):
            form.verts.new(point)
        made = bmesh.ops.convex_hull(form, input=form.verts)
        unused = {*made["geom_interior"], *made["geom_unused"]}
        bmesh.ops.delete(form, geom=[item for item in unused if isinstance(item, bmesh.types.BMVert)], context="VERTS")
        mesh = bpy.data.meshes.new(name)
        form.to_mesh(mesh)
    finally:
        form.free()
    return mesh

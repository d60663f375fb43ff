# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""A new mesh for an object that stays: its place, parents, modifiers and material slots are the user's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from .. import scene
from .record import read_record
from .result_options import ResultChoice

if TYPE_CHECKING:
    from ..files.glb import TexturedMesh

TEXTURES = {"texture": "color", "normal": "normal", "occlusion": "occlusion"}
"""The image nodes of a material of ours, each with the image of a result that belongs there."""


def object_called(name: str) -> bpy.types.Object | None:
    """The object of this name, of this file rather than of a linked one."""
    return bpy.data.objects.get((name, None)) or bpy.data.objects.get(name)


def problem(name: str) -> str:
    """Why the mesh of the object of this name cannot be replaced, in a sentence; empty where it can."""
    ob = object_called(name)
    if ob is None:
        return f"{name} is gone, so the mesh is a new object."
    if ob.type != "MESH":
        return f"{name} is no mesh any more, so the mesh is a new object."
    if ob.override_library or ob.data.override_library:
        return f"{name} is a library override, so the mesh is a new object."
    if ob.library or ob.data.library:
        source = Path((ob.library or ob.data.library).filepath).name
        return f"{name} is linked from {source}, so the mesh is a new object."
    if busy := next((user for user in _sharing(ob.data) if user.mode != "OBJECT"), None):
        return f"{busy.name} is being edited, so the mesh is a new object."
    return ""


def replace_meshes(
    ob: bpy.types.Object, files: Mapping[str, str | Path], *, record: Mapping[str, Any], choice: ResultChoice
) -> tuple[list[bpy.types.Object], list[str]]:
    """Gives `ob` and its levels of detail the meshes in the engine's files. Returns them all, and what is to be told.

    Objects that share the mesh get the new one with it. A mesh somebody has edited is kept in the file, under a name
    that is told. The origin is where it was. Raises `glb.GlbError`; nothing is changed then.
    """
    from ..files.glb import read_glb

    contents = [read_glb(files[key]) for key in ("mesh", *scene.level_keys(files))]
    origin = (read_record(ob) or {}).get("origin", "BASE")
    pivot = contents[0].origin(origin if origin in ("CENTER", "MASS") else "BASE")
    objects, notes = [], []
    for level, content in enumerate(contents):
        target = ob if not level else _level(ob, level)
        edited = len(target.data.vertices) > 0 and not scene.is_as_made(target.data)
        mesh = scene.new_mesh(target.name, content, pivot, choice.shading, choice.sharp_angle)
        _dress(mesh, target, content, edited)
        if (kept := _swap(target, mesh, edited)) is not None:
            notes.append(f"The mesh that was edited by hand is kept as {kept.name}.")
        scene.describe(target, content, record, level, origin)
        objects.append(target)
    for level in range(len(contents), 4):
        if (left := _level_of(ob, level)) is not None:
            notes.append(f"{left.name} still has the mesh from before: fewer levels of detail were made.")
    return objects, notes


def _sharing(mesh: bpy.types.Mesh) -> list[bpy.types.Object]:
    """The objects that show a mesh."""
    return [ob for ob in bpy.data.objects if ob.data == mesh]


def _level_of(ob: bpy.types.Object, level: int) -> bpy.types.Object | None:
    found = object_called(scene.level_name(ob, level))
    usable = found is not None and found.type == "MESH" and not problem(found.name)
    return found if usable and (read_record(found) or {}).get("lod") == level else None


def _level(ob: bpy.types.Object, level: int) -> bpy.types.Object:
    """The level of detail of an object, a new one in its place where there was none."""
    if (found := _level_of(ob, level)) is not None:
        return found
    name = scene.level_name(ob, level)
    made = bpy.data.objects.new(name, bpy.data.meshes.new(name))
    made.data.materials.append(ob.active_material)
    made.parent, made.matrix_parent_inverse = ob.parent, ob.matrix_parent_inverse
    made.matrix_basis = ob.matrix_basis
    scene.link_beside(made, ob)
    bpy.context.view_layer.update()  # a new object is not in the view layer before
    scene.hide(made)
    return made


def _dress(mesh: bpy.types.Mesh, ob: bpy.types.Object, content: TexturedMesh, edited: bool) -> None:
    """Gives a new mesh the materials of the object's old one, with the new textures in the one that is ours."""
    for material in ob.data.materials:
        mesh.materials.append(material)
    slot = next(iter(ob.material_slots), None)
    material = slot.material if slot is not None else None
    if material is None:
        _set_material(mesh, slot, scene.new_material(ob.name, content))
        return
    nodes = _texture_nodes(material)
    if "texture" not in nodes:
        return  # the user's own material stays as it is
    if {name for name, image in TEXTURES.items() if getattr(content, image)} != nodes.keys():
        _set_material(mesh, slot, scene.new_material(ob.name, content))  # other maps than before
        return
    if edited or material.library or _has_other_users(material, (ob.data, mesh)):
        material = material.copy()  # others show their own meshes with it, and an edited mesh is kept
        nodes = _texture_nodes(material)
        _set_material(mesh, slot, material)
    for name, node in nodes.items():
        old = node.image
        new = scene.new_image(old.name, getattr(content, TEXTURES[name]), is_data=name != "texture")
        node.image = new
        if not old.users:
            called = old.name
            bpy.data.images.remove(old)
            new.name = called


def _has_other_users(material: bpy.types.Material, meshes: tuple[bpy.types.Mesh, ...]) -> bool:
    """Whether a material is also that of other meshes, or of an object that shows another."""
    slots = (slot for ob in bpy.data.objects if ob.data not in meshes for slot in ob.material_slots)
    if any(slot.link == "OBJECT" and slot.material == material for slot in slots):
        return True
    return any(material in mesh.materials[:] for mesh in bpy.data.meshes if mesh not in meshes)


def _set_material(mesh: bpy.types.Mesh, slot: bpy.types.MaterialSlot | None, material: bpy.types.Material) -> None:
    """Puts a material in the first slot, on whichever side the slot has it."""
    if slot is not None and slot.link == "OBJECT":
        slot.material = material
    elif len(mesh.materials):
        mesh.materials[0] = material
    else:
        mesh.materials.append(material)


def _texture_nodes(material: bpy.types.Material) -> dict[str, bpy.types.Node]:
    """The image nodes that we made in a material, by name."""
    if material.node_tree is None:
        return {}
    nodes = material.node_tree.nodes
    ours = {name: nodes[name] for name in TEXTURES if name in nodes}
    return {name: node for name, node in ours.items() if node.type == "TEX_IMAGE" and node.image is not None}


def _swap(ob: bpy.types.Object, mesh: bpy.types.Mesh, edited: bool) -> bpy.types.Mesh | None:
    """Puts `mesh` in the place of the object's own, wherever that is used. Returns the old one where it is kept."""
    old, name = ob.data, ob.data.name
    old.user_remap(mesh)
    if edited:
        old.name = scene.short_name(name, after="_edited")
        old.use_fake_user = True
    elif not old.users:
        bpy.data.meshes.remove(old)
    mesh.name = name
    return old if edited else None

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The one file that writes the user's data: object, mesh, material, image, placement and record."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

from .glb import TexturedMesh, read_glb
from .wire import protocol

RECORD = "gaussmith"
"""Custom property of an object: how it was made, as JSON. It stays when the add-on is removed."""

RECORD_VERSION = 1


def import_mesh(
    path: str | Path,
    *,
    name: str,
    record: Mapping[str, Any],
    location: Sequence[float] = (0.0, 0.0, 0.0),
    collection: bpy.types.Collection | None = None,
) -> bpy.types.Object:
    """A new object from the engine's GLB, its base centred at `location` (scene units), front towards -y.

    Selection and active object stay as they are. Raises `glb.GlbError` for a file that holds something else.
    """
    content = read_glb(path)
    mesh = _mesh(name, content)
    mesh.materials.append(_material(name, _image(name, content)))
    ob = bpy.data.objects.new(name, mesh)
    ob.location = location
    ob[RECORD] = json.dumps(record, ensure_ascii=False)
    (collection or bpy.context.scene.collection).objects.link(ob)
    return ob


def select_only(ob: bpy.types.Object, view_layer: bpy.types.ViewLayer) -> None:
    """Selects `ob` and nothing else in a view layer, and makes it active. Call it in Object Mode."""
    view_layer.update()  # a new object is not in the view layer before
    for other in list(view_layer.objects.selected):
        other.select_set(False, view_layer=view_layer)
    if ob.name in view_layer.objects:  # it is not where the collection is excluded from the view layer
        ob.select_set(True, view_layer=view_layer)
        view_layer.objects.active = ob


def make_record(request: protocol.Generate | protocol.MakeMesh, result: protocol.Result) -> dict[str, Any]:
    """What it takes to make an object again, and what the engine said about it."""
    made_from = (
        {"picture": request.picture, "generator": request.generator, "seed": request.seed}
        if isinstance(request, protocol.Generate)
        else {"splats": request.splats}
    )
    told = {key: result.report[key] for key in ("engine", "seconds", "watertight", "warnings") if key in result.report}
    return {"version": RECORD_VERSION, **made_from, "options": dict(request.options), **told}


def frame_all(scene: bpy.types.Scene) -> None:
    """A camera in front of all meshes of a scene, a little to the right and above, and a sun behind it."""
    corners = np.array([ob.matrix_basis @ Vector(c) for ob in scene.objects if ob.type == "MESH" for c in ob.bound_box])
    centre = (corners.min(0) + corners.max(0)) / 2
    direction = np.array([0.35, -1.0, 0.4]) / np.linalg.norm([0.35, -1.0, 0.4])
    camera = bpy.data.cameras.new("Camera")
    camera.angle = math.radians(30)
    radius = np.linalg.norm(corners - centre, axis=1).max()
    camera.clip_end = max(100.0, 20 * radius)
    eye = bpy.data.objects.new("Camera", camera)
    eye.location = centre + direction * 1.05 * radius / math.tan(camera.angle / 2)
    eye.rotation_euler = Vector(-direction).to_track_quat("-Z", "Y").to_euler()
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy = 3.0
    sun.rotation_euler = (math.radians(50), 0, math.radians(25))
    for ob in (eye, sun):
        scene.collection.objects.link(ob)
    scene.camera = eye


def read_record(ob: bpy.types.Object) -> dict[str, Any] | None:
    """How an object was made, or None where we did not make it."""
    text = ob.get(RECORD)
    return json.loads(text) if isinstance(text, str) else None


def _mesh(name: str, content: TexturedMesh) -> bpy.types.Mesh:
    vertices = content.vertices
    lowest, highest = vertices.min(0), vertices.max(0)
    centre = (lowest + highest) / 2
    # The engine sets the base on the floor; the origin is made exact, whatever was rounded on the way.
    vertices = vertices - np.array([centre[0], centre[1], lowest[2]], np.float32)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(vertices, np.float32).ravel())
    mesh.loops.add(content.faces.size)
    mesh.loops.foreach_set("vertex_index", content.faces.ravel())
    mesh.polygons.add(len(content.faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, content.faces.size, 3, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(content.faces), bool))
    mesh.update(calc_edges=True)
    mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", np.ascontiguousarray(content.corner_uvs).ravel())
    mesh.validate()
    return mesh


def _image(name: str, content: TexturedMesh) -> bpy.types.Image:
    """The texture, packed into the file as the engine encoded it."""
    image = bpy.data.images.new(name, 8, 8)
    image.pack(data=content.texture, data_len=len(content.texture))
    image.source = "FILE"
    suffix = ".jpg" if content.mime_type == "image/jpeg" else ".png"
    image.filepath_raw = f"//textures/{name}{suffix}"
    return image


def _material(name: str, image: bpy.types.Image) -> bpy.types.Material:
    """Base colour from the texture, fully rough, no metal: the picture's light is in its colours already."""
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree = material.node_tree
    assert tree is not None
    principled = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    principled.inputs["Roughness"].default_value = 1.0
    principled.inputs["Metallic"].default_value = 0.0
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    texture.location = (principled.location.x - 320, principled.location.y)
    tree.links.new(texture.outputs["Color"], principled.inputs["Base Color"])
    tree.nodes.active = texture  # what Solid shading shows with its colour set to Texture
    return material

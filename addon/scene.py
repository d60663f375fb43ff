# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The one file that writes the user's data: object, mesh, material, image, placement and record."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from mathutils import Vector

from .files.names import NAME_BYTES, block_name, file_name
from .results.record import write_record

if TYPE_CHECKING:
    import numpy as np

    from .files.glb import ImageFile, TexturedMesh

OCCLUSION_GROUP = "glTF Material Output (Gaussmith)"
"""Name of the node group that tells Blender's glTF exporter, which looks at how names begin, what the occlusion is."""


CHECKSUM = "gaussmith_checksum"
"""Name of a custom property of our meshes: the checksum of the shape they were made with."""


def import_meshes(
    files: Mapping[str, str | Path],
    *,
    name: str,
    record: Mapping[str, Any],
    location: Sequence[float] | None = (0.0, 0.0, 0.0),
    collection: bpy.types.Collection | None = None,
    origin: str = "BASE",
    shading: str = "SMOOTH",
    sharp_angle: float = math.radians(30),
) -> list[bpy.types.Object]:
    """New objects from the engine's files "mesh", "lod1", "lod2" ...: the mesh first, then its levels of detail,
    called NAME_LOD1 and so on, hidden in views and renders.

    The base of the mesh is centred at `location` (scene units), its front towards -y; without a location it stays
    where the file has it. `origin` and `shading` are words of `result_options`. Mesh, material and images are called
    as the object. Selection and active object stay as they are. Raises `glb.GlbError` for a file that holds something
    else; nothing is made then.
    """
    import numpy as np

    from .files.glb import read_glb

    contents = [read_glb(files[key]) for key in ("mesh", *level_keys(files))]
    objects: list[bpy.types.Object] = []
    base, pivot = contents[0].base(), contents[0].origin(origin)
    for level, content in enumerate(contents):
        own_name = level_name(objects[0], level) if level else short_name(name)
        mesh = new_mesh(own_name, content, pivot, shading, sharp_angle)
        ob = bpy.data.objects.new(own_name, mesh)
        mesh.name = ob.name  # which may have got a number behind it
        material = objects[0].active_material if level and _same_look(content, contents[0]) else None
        mesh.materials.append(material or new_material(ob.name, content))
        ob.location = pivot if location is None else np.asarray(location) + (pivot - base)
        describe(ob, content, record, level, origin)
        (collection or bpy.context.scene.collection).objects.link(ob)
        objects.append(ob)
    if len(objects) > 1:
        bpy.context.view_layer.update()  # a new object is not in the view layer before
    for ob in objects[1:]:
        hide(ob)
    return objects


def describe(
    ob: bpy.types.Object, content: TexturedMesh, record: Mapping[str, Any], level: int = 0, origin: str = "BASE"
) -> None:
    """Keeps with an object how it was made and what is known of its mesh."""
    told = {} if level else record.get("mesh", {})  # the record is about the mesh, not about its levels
    about: dict[str, Any] = {"mesh": {**told, **content.counts(), **content.report}}
    if level:
        about["lod"] = level
    if origin != "BASE":
        about["origin"] = origin
    write_record(ob, {**record, **about})
    ob.data[CHECKSUM] = checksum(ob.data)


def link_beside(ob: bpy.types.Object, beside: bpy.types.Object | None) -> None:
    """Puts an object in the collections of another, as far as they can be changed, or else in the scene's own."""
    collections = beside.users_collection if beside is not None else (bpy.context.collection,)
    own = [each for each in collections if each and each.library is None and each.override_library is None]
    for collection in own or [bpy.context.scene.collection]:
        collection.objects.link(ob)


def hide(ob: bpy.types.Object) -> None:
    """Hides an object in renders, and in views where it is in the view layer."""
    ob.hide_render = True
    if ob.name in bpy.context.view_layer.objects:
        ob.hide_set(True)


def short_name(name: str, before: str = "", after: str = "") -> str:
    """`name` between two affixes, no longer than this Blender takes it."""
    return block_name(name, before, after, NAME_BYTES if bpy.app.version < (5, 0, 0) else 255)


def level_name(ob: bpy.types.Object, level: int) -> str:
    """The name of a level of detail of an object."""
    return short_name(ob.name, after=f"_LOD{level}")


def checksum(mesh: bpy.types.Mesh) -> str:
    """A number for the shape of a mesh, by which one that was edited is known."""
    import numpy as np

    places = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", places)
    return f"{zlib.crc32(places.tobytes()):08x}"


def is_as_made(mesh: bpy.types.Mesh) -> bool:
    """Whether nobody has edited a mesh that we made."""
    layers = len(mesh.uv_layers) == 1 and mesh.shape_keys is None and not mesh.color_attributes
    return layers and mesh.get(CHECKSUM) == checksum(mesh)


def level_keys(files: Mapping[str, Any]) -> list[str]:
    """The names of the levels of detail among an engine's files, in their order."""
    return sorted((key for key in files if key.startswith("lod")), key=lambda key: int(key[3:]))


def select_only(ob: bpy.types.Object, view_layer: bpy.types.ViewLayer) -> None:
    """Selects `ob` and nothing else in a view layer, and makes it active. Call it in Object Mode."""
    view_layer.update()  # a new object is not in the view layer before
    for other in list(view_layer.objects.selected):
        other.select_set(False, view_layer=view_layer)
    if ob.name in view_layer.objects:  # it is not where the collection is excluded from the view layer
        ob.select_set(True, view_layer=view_layer)
        view_layer.objects.active = ob


def frame_all(scene: bpy.types.Scene) -> None:
    """A camera in front of all meshes of a scene, a little to the right and above, and a sun behind it."""
    import numpy as np

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


def new_mesh(
    name: str, content: TexturedMesh, origin: np.ndarray, shading: str = "SMOOTH", sharp_angle: float = math.radians(30)
) -> bpy.types.Mesh:
    """The mesh with its origin at a point [3] of the file. It has no material yet."""
    import numpy as np

    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(content.vertices))
    mesh.loops.add(len(content.corners))
    mesh.polygons.add(len(content.starts))
    # Whole attributes are copied at once; the same through `vertices` and `loops` goes item by item.
    mesh.attributes["position"].data.foreach_set("vector", (content.vertices - origin).astype(np.float32).ravel())
    mesh.attributes[".corner_vert"].data.foreach_set("value", content.corners)
    mesh.polygons.foreach_set("loop_start", content.starts)
    mesh.update(calc_edges=True)
    mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", np.ascontiguousarray(content.corner_uvs).ravel())
    if content.normals is not None:  # those a normal map was baked for: such a mesh is shaded as the map needs it
        _set_normals(mesh, content.normals)
    elif shading == "FLAT":
        mesh.shade_flat()
    elif shading == "ANGLE":
        mesh.set_sharp_from_angle(angle=sharp_angle)
    if content.has_degenerate_faces():
        mesh.validate()
    return mesh


def _set_normals(mesh: bpy.types.Mesh, normals: np.ndarray) -> None:
    """Gives the vertices the normals [V, 3] that a normal map was baked for: Blender weighs faces in another way."""
    if bpy.app.version >= (4, 5, 0):
        mesh.attributes.new("custom_normal", "FLOAT_VECTOR", "POINT").data.foreach_set("vector", normals.ravel())
    else:
        mesh.normals_split_custom_set_from_vertices(normals)


def _same_look(a: TexturedMesh, b: TexturedMesh) -> bool:
    return (a.color, a.normal, a.occlusion) == (b.color, b.normal, b.occlusion)


def new_image(name: str, file: ImageFile, is_data: bool = False) -> bpy.types.Image:
    """The texture, packed into the file as the engine encoded it."""
    image = bpy.data.images.new(short_name(name), 8, 8, is_data=is_data)
    image.pack(data=file.data, data_len=len(file.data))
    image.source = "FILE"
    image.filepath_raw = f"//textures/{file_name(name, file.suffix)}"
    return image


def new_material(name: str, content: TexturedMesh) -> bpy.types.Material:
    """Base colour from the texture, fully rough, no metal: the picture's light is in its colours already.

    The normal map bends the normals. The occlusion changes nothing that is seen: it goes where Blender's glTF exporter
    looks for it.
    """
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree = material.node_tree
    assert tree is not None
    principled = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    principled.inputs["Roughness"].default_value = 1.0
    principled.inputs["Metallic"].default_value = 0.0
    left, top = principled.location
    color = _texture_node(tree, "texture", new_image(name, content.color), (left - 320, top))
    tree.links.new(color.outputs["Color"], principled.inputs["Base Color"])
    if content.normal is not None:
        image = new_image(f"{name}_normal", content.normal, is_data=True)
        texture = _texture_node(tree, "normal", image, (left - 520, top - 320))
        bend = tree.nodes.new("ShaderNodeNormalMap")
        bend.location = (left - 220, top - 320)
        tree.links.new(texture.outputs["Color"], bend.inputs["Color"])
        tree.links.new(bend.outputs["Normal"], principled.inputs["Normal"])
    if content.occlusion is not None:
        image = new_image(f"{name}_occlusion", content.occlusion, is_data=True)
        texture = _texture_node(tree, "occlusion", image, (left - 520, top - 640))
        split = tree.nodes.new("ShaderNodeSeparateColor")
        split.location = (left - 220, top - 640)
        kept = tree.nodes.new("ShaderNodeGroup")
        kept.node_tree = _occlusion_group()
        kept.location = (left, top - 640)
        tree.links.new(texture.outputs["Color"], split.inputs["Color"])
        tree.links.new(split.outputs["Red"], kept.inputs["Occlusion"])
    tree.nodes.active = color  # what Solid shading shows with its colour set to Texture
    return material


def _texture_node(
    tree: bpy.types.NodeTree, name: str, image: bpy.types.Image, location: tuple[float, float]
) -> bpy.types.Node:
    """A node for an image; by its name, files of other formats are named."""
    node = tree.nodes.new("ShaderNodeTexImage")
    node.name = name
    node.image = image
    node.location = location
    return node


def _occlusion_group() -> bpy.types.NodeTree:
    """The group that takes the occlusion and does nothing with it, one for all materials of a file."""
    group = bpy.data.node_groups.get(OCCLUSION_GROUP)
    if group is None or "Occlusion" not in group.interface.items_tree:
        group = bpy.data.node_groups.new(OCCLUSION_GROUP, "ShaderNodeTree")
        group.interface.new_socket("Occlusion", socket_type="NodeSocketFloat").default_value = 1.0
        group.nodes.new("NodeGroupInput")
    return group

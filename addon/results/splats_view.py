# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""Gaussian splats as a point cloud beside their mesh, through geometry nodes; and the file they come from, kept.

The object is a mesh of points that has every property of the .ply as an attribute. Its nodes make points of the
splats' size, or on demand ellipsoids of their shape; a material shows their colours, unlit.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from .. import scene
from ..engine_life import user_folder
from ..files.file_errors import SplatPointsError
from ..files.names import free_path
from ..files.whole_files import written_whole
from .collision import PART
from .record import read_record

if TYPE_CHECKING:
    from ..files.splat_points import SplatPoints

SPLATS = "splats"
NODES = "Gaussmith Splats"
MATERIAL = "Gaussmith Splats"
COLOR, RADIUS, SCALE, ROTATION, OPACITY = "Color", "splat_radius", "splat_scale", "splat_rotation", "splat_opacity"
FOLDER = "splats"
SPREAD = 1.5
"""Radius of a point or ellipsoid, in standard deviations."""


def cloud_of(ob: bpy.types.Object) -> bpy.types.Object | None:
    """The point cloud that was made for an object, if it still is its child."""
    return next((child for child in ob.children if child.get(PART) == SPLATS), None)


def add_cloud(path: Path, name: str, ob: bpy.types.Object | None = None, origin: Any = (0, 0, 0)) -> bpy.types.Object:
    """A new object with the splats of a file, called NAME_splats; the child of `ob` where one is given.

    `origin` [3] is the point of the file, turned z up, that becomes the object's origin.
    Raises `splat_points.SplatPointsError` or `OSError`.
    """
    from ..files.splat_points import read_splat_points

    points = read_splat_points(path)
    own_name = scene.short_name(name, after="_splats")
    mesh = _point_mesh(own_name, points, origin)
    mesh.materials.append(_material())
    cloud = bpy.data.objects.new(own_name, mesh)
    cloud[PART] = SPLATS
    cloud.parent = ob
    modifier = cloud.modifiers.new(NODES, "NODES")
    modifier.node_group = _node_group()
    scene.link_beside(cloud, ob)
    return cloud


def cloud_for(ob: bpy.types.Object) -> bpy.types.Object:
    """The point cloud of an object of ours, made of the kept file where there is none yet, hidden.

    Raises `splat_points.SplatPointsError` or `OSError`.
    """
    if (found := cloud_of(ob)) is not None:
        return found
    record = read_record(ob) or {}
    cloud = add_cloud(kept_file(ob), ob.name, ob, record.get("splats_origin", (0, 0, 0)))
    show_splats(ob, cloud, False)
    return cloud


def set_input(cloud: bpy.types.Object, name: str, value: Any) -> None:
    """Sets an input of the cloud's nodes: Size, Minimum Opacity or Ellipsoids."""
    modifier = cloud.modifiers[NODES]
    sockets = modifier.node_group.interface.items_tree
    identifier = next(socket.identifier for socket in sockets if socket.name == name and socket.in_out == "INPUT")
    if bpy.app.version >= (5, 2, 0):
        getattr(modifier.properties.inputs, identifier).value = value
    else:
        modifier[identifier] = value
    cloud.update_tag()


def kept_file(ob: bpy.types.Object) -> Path:
    """Where the splats of an object are kept. Raises `SplatPointsError` where it has none."""
    path = (read_record(ob) or {}).get("splats_file")
    if not isinstance(path, str) or not path:
        raise SplatPointsError(f"No splats were kept with {ob.name}. Choose Keep Splats before you generate.")
    file = Path(bpy.path.abspath(path))
    if not file.is_file():
        raise SplatPointsError(f"The splats of {ob.name} are gone: there is no file {file}.")
    return file


def remove(cloud: bpy.types.Object) -> None:
    """Takes a point cloud out of the file."""
    mesh = cloud.data
    bpy.data.objects.remove(cloud)
    if not mesh.users:
        bpy.data.meshes.remove(mesh)


def turn(cloud: bpy.types.Object, up: str) -> None:
    """Turns the cloud of a file whose direction `up` is up: y, z or -y."""
    cloud.rotation_euler.x = math.radians({"y": 0, "z": -90, "-y": 180}[up])


def show_splats(ob: bpy.types.Object, cloud: bpy.types.Object, splats: bool) -> None:
    """Shows the splats in place of the mesh, or the mesh again."""
    bpy.context.view_layer.update()  # a new object is not in the view layer before
    for each, hidden in ((cloud, not splats), (ob, splats)):
        each.hide_render = hidden
        if each.name in bpy.context.view_layer.objects:
            each.hide_set(hidden)


def keep_file(source: Path, name: str) -> str:
    """Copies a .ply to where it stays and returns its path, relative to the .blend where it lies beside it.

    That is a folder `splats` beside the saved .blend, or where there is none one among the extension's own files.
    No file is replaced. Raises `OSError`.
    """
    problem: OSError | None = None
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target = free_path(folder, name, ".ply")
            with written_whole(target) as part:
                shutil.copyfile(source, part)
        except OSError as error:
            problem = problem or error
            continue
        beside = bpy.data.filepath and folder == Path(bpy.data.filepath).parent / FOLDER
        return f"//{FOLDER}/{target.name}" if beside else str(target)
    raise problem or OSError(f"There is no folder for {source}.")


def _folders() -> list[Path]:
    """Where a .ply can be kept, the best place first."""
    folders = [Path(bpy.data.filepath).parent / FOLDER] if bpy.data.filepath else []
    return [*folders, user_folder(FOLDER)]


# ---------------------------------------------------------------------------
# Data


def _point_mesh(name: str, points: SplatPoints, origin: Any) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(points))
    mesh.attributes["position"].data.foreach_set("vector", (points.means - origin).astype("f4").ravel())
    radius = SPREAD * points.scales.prod(1) ** (1 / 3)
    for attribute, kind, key, values in (
        (COLOR, "FLOAT_COLOR", "color", points.colors),
        (RADIUS, "FLOAT", "value", radius.astype("f4")),
        (OPACITY, "FLOAT", "value", points.opacities),
        (SCALE, "FLOAT_VECTOR", "vector", SPREAD * points.scales),
        (ROTATION, "QUATERNION", "value", points.quats),
        *((name, "FLOAT", "value", values) for name, values in points.raw.items()),
    ):
        mesh.attributes.new(attribute, kind, "POINT").data.foreach_set(key, values.ravel())
    return mesh


def _material() -> bpy.types.Material:
    """Shows the colours as they are, of points and of ellipsoids alike; one for all."""
    material = bpy.data.materials.get(MATERIAL)
    if material is not None and material.library is None:
        return material
    material = bpy.data.materials.new(MATERIAL)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree = material.node_tree
    assert tree is not None
    tree.nodes.clear()
    # An attribute is found on the points or on the instances; where it is not, it is 0.
    on_points, on_instances = (tree.nodes.new("ShaderNodeAttribute") for _ in range(2))
    on_instances.attribute_type = "INSTANCER"
    both = tree.nodes.new("ShaderNodeVectorMath")
    light = tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    for node, attribute in ((on_points, 0), (on_instances, 1)):
        node.attribute_name = COLOR
        tree.links.new(node.outputs["Vector"], both.inputs[attribute])
    tree.links.new(both.outputs[0], light.inputs["Color"])
    tree.links.new(light.outputs[0], output.inputs["Surface"])
    for column, nodes in enumerate(((on_points, on_instances), (both,), (light,), (output,))):
        for row, node in enumerate(nodes):
            node.location = (220 * column - 440, -200 * row)
    return material


def _node_group() -> bpy.types.NodeTree:
    """The nodes that make points or ellipsoids of the splats; one group for all."""
    group = bpy.data.node_groups.get(NODES)
    if group is not None and group.library is None and group.bl_idname == "GeometryNodeTree":
        return group
    group = bpy.data.node_groups.new(NODES, "GeometryNodeTree")
    group.is_modifier = True
    sockets = group.interface
    sockets.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    sockets.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    size = sockets.new_socket("Size", in_out="INPUT", socket_type="NodeSocketFloat")
    size.default_value, size.min_value, size.max_value = 1.0, 0.0, 10.0
    faintest = sockets.new_socket("Minimum Opacity", in_out="INPUT", socket_type="NodeSocketFloat")
    faintest.default_value, faintest.min_value, faintest.max_value = 0.1, 0.0, 1.0
    shapes = sockets.new_socket("Ellipsoids", in_out="INPUT", socket_type="NodeSocketBool")
    shapes.default_value = False
    _Nodes(group).build()
    return group


class _Nodes:
    """Writes the nodes of the group, column by column."""

    def __init__(self, group: bpy.types.NodeTree) -> None:
        self.group, self.link = group, group.links.new

    def build(self) -> None:
        given = self.new("NodeGroupInput", (-800, 0))
        result = self.new("NodeGroupOutput", (900, 0))
        points = self.new("GeometryNodeMeshToPoints", (-300, 200))
        seen = self.new("FunctionNodeCompare", (-500, 100), data_type="FLOAT", operation="GREATER_EQUAL")
        self.link(self.attribute(OPACITY, "FLOAT", (-800, -150)), seen.inputs["A"])
        self.link(given.outputs["Minimum Opacity"], seen.inputs["B"])
        self.link(given.outputs["Geometry"], points.inputs["Mesh"])
        self.link(seen.outputs[0], points.inputs["Selection"])
        radius = self.new("ShaderNodeMath", (-500, -100), operation="MULTIPLY")
        self.link(self.attribute(RADIUS, "FLOAT", (-800, -300)), radius.inputs[0])
        self.link(given.outputs["Size"], radius.inputs[1])
        self.link(radius.outputs[0], points.inputs["Radius"])

        ball = self.new("GeometryNodeMeshIcoSphere", (-300, -200))
        ball.inputs["Subdivisions"].default_value = 2
        smooth = self.new("GeometryNodeSetShadeSmooth", (-100, -200))
        self.link(ball.outputs[0], smooth.inputs[0])
        scale = self.new("ShaderNodeVectorMath", (-300, -400), operation="SCALE")
        self.link(self.attribute(SCALE, "FLOAT_VECTOR", (-800, -450)), scale.inputs[0])
        self.link(given.outputs["Size"], scale.inputs["Scale"])
        balls = self.new("GeometryNodeInstanceOnPoints", (150, -100))
        self.link(points.outputs[0], balls.inputs["Points"])
        self.link(smooth.outputs[0], balls.inputs["Instance"])
        self.link(self.attribute(ROTATION, "QUATERNION", (-300, -600)), balls.inputs["Rotation"])
        self.link(scale.outputs[0], balls.inputs["Scale"])

        either = self.new("GeometryNodeSwitch", (400, 50), input_type="GEOMETRY")
        self.link(given.outputs["Ellipsoids"], either.inputs["Switch"])
        self.link(points.outputs[0], either.inputs["False"])
        self.link(balls.outputs[0], either.inputs["True"])
        dressed = self.new("GeometryNodeSetMaterial", (650, 0))
        dressed.inputs["Material"].default_value = _material()
        self.link(either.outputs[0], dressed.inputs["Geometry"])
        self.link(dressed.outputs[0], result.inputs[0])

    def new(self, kind: str, place: tuple[float, float], **settings: Any) -> bpy.types.Node:
        node = self.group.nodes.new(kind)
        node.location = place
        for name, value in settings.items():
            setattr(node, name, value)
        return node

    def attribute(self, name: str, kind: str, place: tuple[float, float]) -> bpy.types.NodeSocket:
        node = self.new("GeometryNodeInputNamedAttribute", place, data_type=kind)
        node.inputs["Name"].default_value = name
        return next(output for output in node.outputs if output.enabled)

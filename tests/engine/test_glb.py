# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the GLB files: size, place and direction, material, texture, and what Blender makes of them."""

import io
import json
import os
import struct
import sys

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.errors import InputError, OptionError, OutputError
from engine.export.glb import write_glb
from engine.surface.mesh import Mesh
from tests.engine.shapes import sphere_mesh


def card() -> Mesh:
    """A quad that faces +z, 1.2 wide and 0.6 high, with a red upper left quarter in its texture."""
    corners = np.array([[-0.6, 0.5, 0.1], [-0.6, -0.1, 0.1], [0.6, -0.1, 0.1], [0.6, 0.5, 0.1]], np.float32)
    texture = np.full((64, 64, 3), [0, 0, 200], np.uint8)
    texture[:32, :32] = [200, 0, 0]
    uvs = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], np.float32)
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), uvs=uvs, texture=texture)


def document(path) -> dict:
    data = path.read_bytes()
    assert data[:4] == b"glTF"
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20 : 20 + length])


def test_size_and_place(tmp_path):
    write_glb(tmp_path / "card.glb", card(), "card", 2.5)
    low, high = trimesh.load_scene(tmp_path / "card.glb").bounds
    np.testing.assert_allclose(high - low, [2.5, 1.25, 0], atol=1e-6)
    np.testing.assert_allclose([low[0] + high[0], low[1], low[2]], 0, atol=1e-6)


def test_one_node_one_mesh_one_matt_material(tmp_path):
    write_glb(tmp_path / "card.glb", card(), "card")
    tree = document(tmp_path / "card.glb")
    assert tree["scenes"] == [{"nodes": [0]}]
    assert [node["name"] for node in tree["nodes"]] == ["card"]
    assert set(tree["nodes"][0]) == {"name", "mesh"}
    (material,) = tree["materials"]
    assert material["name"] == "card"
    surface = material["pbrMetallicRoughness"]
    assert surface["roughnessFactor"] == 1
    assert surface["metallicFactor"] == 0
    (primitive,) = tree["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}


def test_texture_is_embedded_unchanged_and_stays_upright(tmp_path):
    mesh = card()
    write_glb(tmp_path / "card.glb", mesh, "card")
    data, tree = (tmp_path / "card.glb").read_bytes(), document(tmp_path / "card.glb")
    json_length = struct.unpack("<I", data[12:16])[0]
    binary = data[20 + json_length + 8 :]
    (image,) = tree["images"]
    assert image["mimeType"] == "image/png"
    assert image["name"] == "card"
    view = tree["bufferViews"][image["bufferView"]]
    stored = binary[view.get("byteOffset", 0) :][: view["byteLength"]]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored)).convert("RGB")), mesh.texture)
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]]
    view = tree["bufferViews"][accessor["bufferView"]]
    uvs = np.frombuffer(binary[view.get("byteOffset", 0) :][: 8 * accessor["count"]], np.float32).reshape(-1, 2)
    np.testing.assert_allclose(uvs, mesh.uvs, atol=1e-7)


def test_normals_are_those_of_the_whole_surface(tmp_path):
    mesh = sphere_mesh(24)
    write_glb(tmp_path / "ball.glb", mesh, "ball", 2)
    body = trimesh.load_scene(tmp_path / "ball.glb").to_mesh()
    outward = body.vertices - [0, 1, 0]
    assert (np.einsum("vi,vi->v", body.vertex_normals, outward) > 0.99).all()


def test_names_of_any_kind_survive(tmp_path):
    name = 'Öffnung, 開く "x"'
    path = tmp_path / "ü ber.glb"
    write_glb(path, card(), name)
    assert document(path)["nodes"][0]["name"] == name


@pytest.mark.parametrize("size", [0, -1, 1e9, float("nan")])
def test_sizes_out_of_range_are_refused(tmp_path, size):
    with pytest.raises(OptionError, match="metres"):
        write_glb(tmp_path / "card.glb", card(), "card", size)
    assert not list(tmp_path.iterdir())


def test_broken_meshes_are_refused(tmp_path):
    with pytest.raises(InputError):
        write_glb(tmp_path / "no.glb", Mesh(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int32)), "no")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    target = tmp_path / "card.glb"
    target.write_bytes(b"old")
    (tmp_path / "card.glb.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="space"):
        write_glb(target, card(), "card")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["card.glb"]


def test_a_folder_that_is_a_file_gives_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Could not write"):
        write_glb(tmp_path / "file" / "card.glb", card(), "card")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder nobody may write to")
def test_no_permission_gives_a_sentence():
    with pytest.raises(OutputError, match="Could not write"):
        write_glb("/proc/sys/card.glb", card(), "card")


@pytest.mark.blender
@pytest.mark.slow
def test_blender_shows_it_upright_facing_the_viewer_with_a_packed_texture(tmp_path):
    bpy = pytest.importorskip("bpy")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    write_glb(tmp_path / "card.glb", card(), "card", 2.4)
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "card.glb"))
    (body,) = bpy.data.objects
    assert (body.name, body.type, body.parent) == ("card", "MESH", None)
    bpy.context.view_layer.update()
    corners = np.array([body.matrix_world @ vertex.co for vertex in body.data.vertices])
    np.testing.assert_allclose(corners.min(0), [-1.2, 0, 0], atol=1e-5)
    np.testing.assert_allclose(corners.max(0), [1.2, 0, 1.2], atol=1e-5)
    for polygon in body.data.polygons:
        np.testing.assert_allclose(body.matrix_world.to_3x3() @ polygon.normal, [0, -1, 0], atol=1e-5)
    (material,) = bpy.data.materials
    assert material.name == "card"
    principled = material.node_tree.nodes["Principled BSDF"]
    assert principled.inputs["Roughness"].default_value == 1
    assert principled.inputs["Metallic"].default_value == 0
    image = principled.inputs["Base Color"].links[0].from_node.image
    assert image.packed_file is not None
    assert image.colorspace_settings.name == "sRGB"
    # The corner at the upper left, as the viewer at -y sees it, is red.
    uv = {loop.vertex_index: body.data.uv_layers[0].data[loop.index].uv for loop in body.data.loops}
    upper_left = min(range(4), key=lambda i: corners[i, 0] - corners[i, 2])
    column, row = (min(63, int(part * 64)) for part in uv[upper_left])
    pixel = np.array(image.pixels[:]).reshape(64, 64, 4)[row, column]
    assert pixel[0] > 0.7
    assert pixel[2] < 0.1

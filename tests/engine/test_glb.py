# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the GLB files: size, place and direction, material, texture, and what Blender makes of them."""

import io
import json
import os
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.ndimage import gaussian_filter

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


def stored_images(path) -> dict[str, tuple[str, np.ndarray]]:
    """What each image of a GLB holds, by name: its MIME type and its pixels."""
    data, tree = path.read_bytes(), document(path)
    binary = data[20 + struct.unpack("<I", data[12:16])[0] + 8 :]
    found = {}
    for image in tree["images"]:
        view = tree["bufferViews"][image["bufferView"]]
        content = binary[view.get("byteOffset", 0) :][: view["byteLength"]]
        found[image["name"]] = image["mimeType"], np.asarray(Image.open(io.BytesIO(content)))
    return found


def with_maps() -> Mesh:
    """The card with a normal map and ambient light of its own pattern."""
    steps = np.arange(64, dtype=np.uint8)
    normals = np.full((64, 64, 3), [128, 128, 255], np.uint8)
    normals[..., 0] += steps % 8
    return replace(card(), normal_map=normals, occlusion=np.tile(4 * steps, (64, 1)))


def test_maps_are_stored_without_loss_and_with_their_factors(tmp_path):
    mesh = with_maps()
    write_glb(tmp_path / "card.glb", mesh, "card")
    tree, images = document(tmp_path / "card.glb"), stored_images(tmp_path / "card.glb")
    (material,) = tree["materials"]

    def image_of(texture: dict) -> np.ndarray:
        return images[tree["images"][tree["textures"][texture["index"]]["source"]]["name"]][1]

    assert np.array_equal(image_of(material["pbrMetallicRoughness"]["baseColorTexture"]), mesh.texture)
    assert np.array_equal(image_of(material["normalTexture"]), mesh.normal_map)
    assert material["normalTexture"].get("scale", 1) == 1
    packed = image_of(material["occlusionTexture"])
    assert np.array_equal(packed[..., 0], mesh.occlusion)
    surface = material["pbrMetallicRoughness"]
    assert surface["metallicRoughnessTexture"]["index"] == material["occlusionTexture"]["index"]
    assert (packed[..., 1] * surface["roughnessFactor"] == 255).all()
    assert (packed[..., 2] * surface["metallicFactor"] == 0).all()
    (primitive,) = tree["meshes"][0]["primitives"]
    tangents = tree["accessors"][primitive["attributes"]["TANGENT"]]
    assert (tangents["type"], tangents["count"]) == ("VEC4", 4)
    assert "extensionsRequired" not in tree


def test_webp_is_declared_smaller_and_alike(tmp_path):
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(256, 256, 1)), (2, 2, 0))
    picture = np.clip(128 + 200 * noise * [1, 0.9, 0.8], 0, 255)
    mesh = replace(with_maps(), texture=picture.astype(np.uint8))
    for kind in ("png", "webp"):
        write_glb(tmp_path / f"{kind}.glb", mesh, "card", image=kind)
    tree, images = document(tmp_path / "webp.glb"), stored_images(tmp_path / "webp.glb")
    assert tree["extensionsUsed"] == tree["extensionsRequired"] == ["EXT_texture_webp"]
    texture = tree["textures"][tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    assert texture == {"extensions": {"EXT_texture_webp": {"source": 0}}}
    kind, pixels = images["card"]
    assert kind == "image/webp"
    assert np.sqrt(np.mean((pixels.astype(float) - mesh.texture) ** 2)) < 4
    assert images["card normal"][0] == "image/png"
    assert (tmp_path / "webp.glb").stat().st_size < 0.7 * (tmp_path / "png.glb").stat().st_size
    assert trimesh.load_scene(tmp_path / "webp.glb").to_mesh().visual.material.baseColorTexture.size == (256, 256)


def test_an_image_format_nobody_knows_is_refused(tmp_path):
    with pytest.raises(OptionError, match="gif"):
        write_glb(tmp_path / "card.glb", card(), "card", image="gif")


def grid_of_quads(count: int) -> Mesh:
    """Faces 2 k and 2 k + 1 are one quad; rows of quads begin with one vertex again and again."""
    k = np.arange(count)
    ring = np.stack([np.cos(k * 2 * np.pi / count), np.sin(k * 2 * np.pi / count), 0 * k], 1)
    vertices = np.concatenate([[[0, 0, 0]], ring, 1.5 * ring]).astype(np.float32)
    after = (k + 1) % count
    # Fans around the hub: each quad is hub, ring, outer ring, next ring.
    quads = np.stack([0 * k, 1 + k, 1 + count + k, 1 + after], 1)
    faces = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1).reshape(-1, 3)
    return Mesh(vertices, faces.astype(np.int32), quads=True)


def test_quads_come_back_by_the_rule_of_the_extension(tmp_path):
    mesh = grid_of_quads(7)
    write_glb(tmp_path / "fan.glb", mesh, "fan")
    tree = document(tmp_path / "fan.glb")
    assert tree["extensionsUsed"] == ["FB_ngon_encoding"]
    assert "extensionsRequired" not in tree
    (primitive,) = tree["meshes"][0]["primitives"]
    assert primitive["extensions"] == {"FB_ngon_encoding": {}}
    polygons, last = [], None
    for a, b, c in trimesh.load_scene(tmp_path / "fan.glb").to_mesh().faces.tolist():
        if a == last:
            polygons[-1].append(c)
        else:
            polygons.append([a, b, c])
        last = a
    assert len(polygons) == 7
    for k, polygon in enumerate(polygons):
        whole = [*mesh.faces[2 * k], mesh.faces[2 * k + 1, 2]]
        turn = polygon.index(whole[0])
        assert polygon[turn:] + polygon[:turn] == whole  # the same corners the same way round
        assert turn in (0, 2)  # cut along the same diagonal


def test_extras_stay_with_the_node(tmp_path):
    facts = {"watertight": True, "faces": 2, "warnings": ["ü"], "stretch": 1.25}
    write_glb(tmp_path / "card.glb", card(), "card", extras=facts)
    assert document(tmp_path / "card.glb")["nodes"][0]["extras"] == facts


def test_a_placement_puts_it_back_where_it_was(tmp_path):
    mesh = card()
    write_glb(tmp_path / "card.glb", mesh, "card", 7.0, placement=(2.5, np.array([10.0, -3.0, 0.5])))
    body = trimesh.load_scene(tmp_path / "card.glb").to_mesh()
    np.testing.assert_allclose(body.vertices, mesh.vertices * 2.5 + [10, -3, 0.5], atol=1e-5)


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


@pytest.mark.blender
@pytest.mark.slow
@pytest.mark.parametrize("image", ["png", "webp"])
def test_blender_connects_the_maps_and_keeps_the_extras(tmp_path, image):
    bpy = pytest.importorskip("bpy")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    write_glb(tmp_path / "card.glb", with_maps(), "card", image=image, extras={"watertight": True, "genus": 3})
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "card.glb"))
    (body,) = bpy.data.objects
    assert body["genus"] == 3
    assert body["watertight"]
    tree = bpy.data.materials["card"].node_tree
    principled = tree.nodes["Principled BSDF"]
    color = principled.inputs["Base Color"].links[0].from_node.image
    assert tuple(color.size) == (64, 64)
    assert abs(np.array(color.pixels[:]).reshape(64, 64, 4)[50, 10] - [200 / 255, 0, 0, 1]).max() < 0.1
    normal = principled.inputs["Normal"].links[0].from_node
    assert normal.bl_idname == "ShaderNodeNormalMap"
    image_of_normals = normal.inputs["Color"].links[0].from_node.image
    assert image_of_normals.colorspace_settings.name == "Non-Color"
    packed = principled.inputs["Roughness"].links[0].from_node.inputs[0].links[0].from_node.image
    assert packed.name == "card occlusion roughness metallic"

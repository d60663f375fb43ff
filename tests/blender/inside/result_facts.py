# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about what becomes of results: where they go, what goes with them, whose place they take; in every Blender."""

import math
import sys
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np
from mathutils import Euler, Matrix, Vector

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from addon import scene, session
from addon.results import assets, bring_in, collision, replace, splats_view
from addon.results.bring_in import Placed
from addon.results.record import read_record
from addon.results.result_options import ResultChoice, result_choice
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import (
    FOLDER,
    GLB,
    RESULTS,
    SIZE,
    assert_known,
    enabled,
    fresh,
    picture,
    refused,
    texture_of,
    world_triangles,
)
from tests.fakes.known_glb import FACES, WELDED_VERTICES, write_known_glb
from tests.fakes.known_splats import SPLATS, write_known_splats

HALF = FOLDER / "half.glb"
"""The known object at half its size."""
PLY = FOLDER / "known.ply"
WITH_MAP = FOLDER / "with map.glb"


def place(files=None, *, name="cat", location=(3, 2, 1), replacing=None, saved_splats=None, **choice) -> Placed:
    placed = bring_in.place(
        files or {"mesh": GLB},
        name=name,
        record={"version": 1, "picture": f"/pictures/{name}.png"},
        location=location,
        context=bpy.context,
        choice=ResultChoice(**choice),
        replacing=replacing,
        saved_splats=saved_splats,
    )
    bpy.context.view_layer.update()
    return placed


def made(**options) -> bpy.types.Object:
    placed = place(**options)
    assert not placed.notes, placed.notes
    return placed.objects[0]


def box_of(ob: bpy.types.Object) -> np.ndarray:
    corners = world_triangles(ob).reshape(-1, 3)
    return np.array([corners.min(0), corners.max(0)])


# ---------------------------------------------------------------------------
# Place, origin, shading, collection


def fact_wherever_its_origin_is_the_object_stands_on_the_floor_at_the_place_given():
    x, y, z = 3, 2, 1
    # A box 0.5 x 0.3 x 1 and a pyramid on its front, 0.5 x 1 and 0.2 high, of size 1 in Blender's frame.
    box, pyramid = 0.5 * 0.3 * 1.0, 0.5 * 1.0 * 0.2 / 3
    middle, tip = np.array([0, 0.1, 0.5]), np.array([0.1, -0.25, 0.75])
    foot = np.array([0, -0.05, 0.5])
    mass = (box * middle + pyramid * (0.75 * foot + 0.25 * tip)) / (box + pyramid)
    for origin, expected in (("BASE", (0, 0, 0)), ("CENTER", (0, 0, 0.5)), ("MASS", mass)):
        fresh()
        ob = made(origin=origin)
        np.testing.assert_allclose(ob.location, np.array([x, y, z]) + SIZE * np.array(expected), atol=1e-5)
        low, high = box_of(ob)
        np.testing.assert_allclose(low, [x - SIZE / 4, y - SIZE / 4, z], atol=1e-5)
        np.testing.assert_allclose(high, [x + SIZE / 4, y + SIZE / 4, z + SIZE], atol=1e-5)


def fact_shading_is_smooth_flat_or_sharp_where_faces_meet_at_an_angle():
    def sharp(**choice):
        fresh()
        mesh = made(**choice).data
        flat = sum(not polygon.use_smooth for polygon in mesh.polygons)
        return flat, sum(edge.use_edge_sharp for edge in mesh.edges)

    assert sharp() == (0, 0)
    assert sharp(shading="FLAT")[0] == FACES
    flat, edges = sharp(shading="ANGLE")
    assert flat == 0
    assert 12 <= edges < len(bpy.data.meshes["cat"].edges)  # those of the box, and not the diagonals of its sides
    assert sharp(shading="ANGLE", sharp_angle=math.pi) == (0, 0)


def fact_a_mesh_with_a_normal_map_keeps_the_normals_it_was_baked_for_whatever_shading_is_chosen():
    for shading in ("FLAT", "ANGLE"):
        mesh = made(files={"mesh": WITH_MAP}, shading=shading).data
        assert mesh.has_custom_normals
        assert all(polygon.use_smooth for polygon in mesh.polygons)


def fact_a_collection_gathers_what_a_session_makes():
    first, second = made(collection="SESSION"), made(collection="SESSION")
    (gathering,) = first.users_collection
    assert second.users_collection == (gathering,)
    assert gathering.name.startswith("Gaussmith ")
    assert gathering in bpy.context.scene.collection.children[:]
    gathering.name = "mine"  # it is known by its mark, not by its name
    assert made(collection="SESSION").users_collection == (gathering,)
    other = bpy.data.scenes.new("Other")
    with bpy.context.temp_override(scene=other):
        assert bring_in.collection_for(bpy.context, ResultChoice(collection="SESSION")) != gathering


def fact_what_cannot_take_objects_is_passed_over_for_the_scenes_own_collection():
    path = FOLDER / "props.blend"
    bpy.data.collections.new("Props")
    bpy.data.libraries.write(str(path), {bpy.data.collections["Props"]}, fake_user=True)
    fresh()
    with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
        wanted.collections = ["Props"]
    bpy.context.scene.collection.children.link(bpy.data.collections["Props"])
    layer = bpy.context.view_layer
    layer.active_layer_collection = layer.layer_collection.children["Props"]
    assert made().users_collection == (bpy.context.scene.collection,)


def fact_a_collection_out_of_the_view_layer_takes_the_object_all_the_same():
    hidden = bpy.data.collections.new("Hidden")
    bpy.context.scene.collection.children.link(hidden)
    layer = bpy.context.view_layer
    layer.active_layer_collection = layer.layer_collection.children["Hidden"]
    layer.active_layer_collection.exclude = True
    placed = place(files={"mesh": GLB, "lod1": HALF}, collision="PLAIN", as_asset=True, saved_splats=PLY)
    assert len(placed.objects) == 2
    assert not placed.notes


def fact_selection_mode_frame_and_cursor_stay_as_they_are():
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    other = bpy.data.objects.new("Other", None)
    bpy.context.scene.collection.objects.link(other)
    other.select_set(True)
    bpy.context.scene.frame_set(17)
    bpy.context.scene.cursor.location = (1, 2, 3)
    ob = made(collision="PLAIN", as_asset=True, saved_splats=PLY)
    splats_view.cloud_for(ob)
    place({"mesh": HALF}, replacing=ob.name)
    assert set(bpy.context.selected_objects) == {cube, other}
    assert bpy.context.object == cube
    assert (bpy.context.mode, bpy.context.scene.frame_current) == ("OBJECT", 17)
    assert tuple(bpy.context.scene.cursor.location) == (1, 2, 3)


def fact_data_is_called_as_the_object_also_where_the_name_is_taken():
    made()
    bpy.data.meshes.new("cat.001")
    second = place({"mesh": WITH_MAP}).objects[0]
    assert second.name == "cat.001"
    assert second.active_material.name == second.name
    names = {node.image.name for node in second.active_material.node_tree.nodes if node.type == "TEX_IMAGE"}
    assert names == {"cat.001", "cat.001_normal"}


def fact_any_unicode_is_a_name():
    for name in ("çat 猫 👩‍🚀", "a" * 300, "é" * 100, "..", "new\nline", "bad \udcff byte", 'a/b:c*"?', ""):
        fresh()
        placed = place({"mesh": WITH_MAP, "lod1": HALF}, name=name, collision="UNREAL", saved_splats=PLY)
        ob, level = placed.objects
        assert not placed.notes
        assert level.name == f"{ob.name}_LOD1", (name, level.name)
        assert collision.hull_of(ob).name == f"UCX_{ob.name}"
        assert ob.name.strip()
        for image in bpy.data.images:
            assert not set(Path(image.filepath_raw).name) & set('<>:"/\\|?*\n')
        assert read_record(ob)["version"] == 1
        assert splats_view.cloud_for(ob).name == f"{ob.name}_splats"


# ---------------------------------------------------------------------------
# Collision hull


def fact_the_hull_encloses_the_mesh_with_few_faces_and_goes_with_it():
    ob = made(collision="UNREAL")
    hull = collision.hull_of(ob)
    assert (hull.name, hull.parent, hull.users_collection) == ("UCX_cat", ob, ob.users_collection)
    assert hull.hide_render
    assert hull.display_type == "WIRE"
    assert_encloses(hull.data, ob.data, 1e-5)
    ob.matrix_world = Matrix.Translation((5, 6, 7)) @ Euler((0.3, 0.2, 0.1)).to_matrix().to_4x4()
    bpy.context.view_layer.update()
    np.testing.assert_allclose(hull.matrix_world, ob.matrix_world, atol=1e-6)
    assert not hull.select_get()


def fact_a_hull_of_a_detailed_mesh_has_few_faces_and_leaves_hardly_anything_out():
    bpy.ops.mesh.primitive_monkey_add()
    monkey = bpy.context.object
    bpy.ops.mesh.primitive_uv_sphere_add(segments=128, ring_count=64, radius=1)
    ball = bpy.context.object
    for ob in (monkey, ball):
        hull = collision.add_hull(ob, "GODOT")
        assert hull.name == f"{ob.name}-convcolonly"
        assert len(hull.data.vertices) <= collision.DIRECTIONS
        assert_encloses(hull.data, ob.data, 0.045 * max(ob.dimensions))
        assert collision.add_hull(ob, "GODOT") == hull  # made anew, not twice
    assert len(bpy.data.meshes) == 4


def fact_a_flat_object_has_no_hull_and_says_so():
    bpy.ops.mesh.primitive_grid_add()
    with refused(collision.HullError, "Grid is flat"):
        collision.add_hull(bpy.context.object, "PLAIN")
    assert len(bpy.data.meshes) == 1


def assert_encloses(hull: bpy.types.Mesh, mesh: bpy.types.Mesh, tolerance: float) -> None:
    """A closed convex hull, whose faces look outwards, with the mesh inside."""
    edges = [edge for polygon in hull.polygons for edge in polygon.edge_keys]
    assert {edges.count(edge) for edge in edges} == {2}
    points = np.array([vertex.co for vertex in mesh.vertices])
    for polygon in hull.polygons:
        assert ((points - np.array(polygon.center)) @ np.array(polygon.normal)).max() <= tolerance


# ---------------------------------------------------------------------------
# A new mesh for an object that stays


def fact_a_replaced_mesh_leaves_transform_modifiers_parent_and_slots_alone():
    ob = made()
    parent = bpy.data.objects.new("Parent", None)
    bpy.context.scene.collection.objects.link(parent)
    ob.parent = parent
    ob.location, ob.rotation_euler, ob.scale = (4, 5, 6), (0.1, 0.2, 0.3), (2, 2, 2)
    ob.modifiers.new("Bevel", "BEVEL").width = 0.3
    ob.constraints.new("COPY_LOCATION").influence = 0.25
    ob.data.materials.append(bpy.data.materials.new("second"))
    ob["mine"] = 7
    twin = bpy.data.objects.new("Twin", ob.data)
    bpy.context.scene.collection.objects.link(twin)
    bpy.context.view_layer.update()
    matrix, counts = ob.matrix_world.copy(), (len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.images))
    material, height = ob.material_slots[0].material, ob.dimensions.z
    placed = place({"mesh": HALF}, replacing="cat")
    assert (placed.objects, placed.replaced, placed.notes) == ([ob], True, [])
    assert ob.matrix_world == matrix
    assert (ob.parent, [m.name for m in ob.modifiers], len(ob.constraints)) == (parent, ["Bevel"], 1)
    assert ob.modifiers["Bevel"].width == np.float32(0.3)
    assert ob["mine"] == 7
    assert [slot.material.name for slot in ob.material_slots] == ["cat", "second"]
    assert ob.material_slots[0].material == material
    np.testing.assert_allclose(max(v.co.z for v in ob.data.vertices), SIZE / 2, rtol=1e-5)
    assert height > 0
    assert twin.data == ob.data  # linked duplicates stay linked
    assert ob.data.name == "cat"
    assert counts == (len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.images))
    assert texture_node(material).image.name == "cat"
    assert texture_node(material).image.packed_file is not None


def texture_node(material: bpy.types.Material) -> bpy.types.Node:
    return material.node_tree.nodes["texture"]


def fact_nodes_the_user_added_to_the_material_stay_and_the_new_texture_takes_the_place_of_the_old():
    ob = made()
    tree = ob.active_material.node_tree
    bright = tree.nodes.new("ShaderNodeBrightContrast")
    principled = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    principled.inputs["Roughness"].default_value = 0.3
    tree.links.new(texture_node(ob.active_material).outputs["Color"], bright.inputs["Color"])
    tree.links.new(bright.outputs["Color"], principled.inputs["Base Color"])
    old = texture_node(ob.active_material).image
    write_known_glb(FOLDER / "webp.glb", SIZE, image="webp")
    place({"mesh": FOLDER / "webp.glb"}, replacing="cat")
    assert ob.active_material.node_tree == tree
    assert bright.name in tree.nodes
    assert principled.inputs["Roughness"].default_value == np.float32(0.3)
    image = texture_node(ob.active_material).image
    assert image.filepath_raw.endswith(".webp")
    assert old not in bpy.data.images.values()


def fact_a_material_others_use_is_not_changed_for_them():
    ob = made()
    material = ob.active_material
    other = bpy.data.meshes.new("other")
    other.materials.append(material)
    image = texture_node(material).image
    place({"mesh": HALF}, replacing="cat")
    assert texture_node(material).image == image
    assert ob.active_material != material
    assert texture_node(ob.active_material).image != image


def fact_the_users_own_material_is_left_as_it_is_in_either_kind_of_slot():
    own = bpy.data.materials.new("own")
    ob = made()
    ob.material_slots[0].material = own
    place({"mesh": HALF}, replacing="cat")
    assert [slot.material for slot in ob.material_slots] == [own]
    ob.material_slots[0].link = "OBJECT"
    special = bpy.data.materials.new("special")
    ob.material_slots[0].material = special
    place({"mesh": GLB}, replacing="cat")
    assert (ob.material_slots[0].link, ob.material_slots[0].material) == ("OBJECT", special)
    ob.material_slots[0].material = None  # an empty slot gets the new one
    place({"mesh": HALF}, replacing="cat")
    assert ob.material_slots[0].material not in (None, own, special)


def fact_a_mesh_edited_by_hand_is_kept_with_its_texture():
    ob = made()
    mesh, image = ob.data, texture_of(ob)
    mesh.vertices[0].co.x += 0.1
    placed = place({"mesh": HALF}, replacing="cat")
    (note,) = placed.notes
    assert "cat_edited" in note
    assert mesh.use_fake_user
    assert mesh.name == "cat_edited"
    assert texture_node(mesh.materials[0]).image == image
    assert len(ob.data.vertices) == WELDED_VERTICES
    assert ob.data.name == "cat"


def fact_shape_keys_count_as_edited():
    ob = made()
    ob.shape_key_add(name="Basis")
    mesh = ob.data
    assert place({"mesh": HALF}, replacing="cat").notes
    assert mesh.shape_keys is not None
    assert ob.data.shape_keys is None


def fact_levels_of_detail_and_hull_are_replaced_with_the_mesh_and_missing_ones_made():
    ob, level = place({"mesh": GLB, "lod1": HALF}, collision="PLAIN").objects
    level.location = (9, 9, 9)
    hull = collision.hull_of(ob)
    placed = place({"mesh": HALF, "lod1": GLB, "lod2": HALF}, replacing="cat")
    assert [o.name for o in placed.objects] == ["cat", "cat_LOD1", "cat_LOD2"]
    assert placed.objects[:2] == [ob, level]
    assert tuple(level.location) == (9, 9, 9)
    np.testing.assert_allclose([o.dimensions.z for o in placed.objects], [SIZE / 2, SIZE, SIZE / 2], rtol=1e-5)
    assert tuple(placed.objects[2].location) == tuple(ob.location)
    assert not placed.objects[2].visible_get()
    assert collision.hull_of(ob) == hull
    np.testing.assert_allclose(hull.dimensions.z, SIZE / 2, rtol=1e-5)
    (note,) = place({"mesh": GLB, "lod1": HALF}, replacing="cat").notes
    assert "cat_LOD2" in note


def fact_a_replaced_mesh_keeps_the_kind_of_its_origin():
    ob = made(origin="CENTER")
    place({"mesh": HALF}, replacing="cat")
    np.testing.assert_allclose(box_of(ob).mean(0)[2], ob.location.z, atol=1e-5)


def fact_what_cannot_be_replaced_stays_and_the_mesh_is_a_new_object_in_its_place():
    def told(word):
        placed = place({"mesh": HALF}, replacing="cat")
        assert not placed.replaced
        (note,) = placed.notes
        assert word in note, note
        return placed.objects[0]

    told("gone")
    fresh()
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("cat", None))
    told("no mesh")
    fresh()
    ob = made()
    ob.location = (7, 7, 7)
    bpy.context.view_layer.objects.active = ob
    bpy.ops.object.mode_set(mode="EDIT")
    new = told("being edited")
    assert bpy.context.mode == "EDIT_MESH"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert len(ob.data.vertices) == WELDED_VERTICES
    assert tuple(new.location) == (7, 7, 7)
    linked_cat()
    told("linked from shelf.blend")
    linked_cat().override_create()
    told("override")


def linked_cat() -> bpy.types.Object:
    fresh()
    made()
    path = FOLDER / "shelf.blend"
    bpy.data.libraries.write(str(path), {bpy.data.objects["cat"]}, fake_user=True)
    fresh()
    with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
        wanted.objects = ["cat"]
    cat = bpy.data.objects["cat"]
    bpy.context.scene.collection.objects.link(cat)
    return cat


def fact_a_damaged_result_replaces_nothing():
    ob = made()
    mesh = ob.data
    broken = FOLDER / "broken.glb"
    broken.write_bytes(GLB.read_bytes()[:-40])
    for files in ({"mesh": broken}, {"mesh": HALF, "lod1": broken}):
        with refused(ValueError, "broken.glb"):
            place(files, replacing="cat")
    assert ob.data == mesh
    assert_known(ob)


# ---------------------------------------------------------------------------
# Splats


def fact_splats_are_kept_beside_the_file_and_lie_over_the_mesh():
    folder = FOLDER / "with splats"
    folder.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "cats.blend"))
    ob = made(saved_splats=PLY, origin="CENTER")
    second = made(saved_splats=PLY)
    assert read_record(ob)["splats_file"] == "//splats/cat.ply"
    assert read_record(second)["splats_file"] == "//splats/cat.001.ply"
    assert (folder / "splats" / "cat.ply").read_bytes() == PLY.read_bytes()
    assert len(list((folder / "splats").iterdir())) == 2
    cloud = splats_view.cloud_for(ob)
    assert splats_view.cloud_for(ob) == cloud
    bpy.context.view_layer.update()
    low, high = box_of(ob)
    points = np.array([cloud.matrix_world @ vertex.co for vertex in cloud.data.vertices])
    np.testing.assert_allclose(points.min(0), low, atol=1e-4)  # the known splats lie at the known object's corners
    np.testing.assert_allclose(points.max(0), high, atol=1e-4)


def fact_all_properties_of_the_splats_are_attributes():
    cloud = splats_view.add_cloud(PLY, "cat")
    found = {attribute.name for attribute in cloud.data.attributes}
    assert {f"f_dc_{i}" for i in range(3)} | {f"scale_{i}" for i in range(3)} | {f"rot_{i}" for i in range(4)} <= found
    assert {"opacity", "extra"} <= found
    for number, splat in enumerate(SPLATS):
        color = cloud.data.attributes["Color"].data[number].color_srgb
        np.testing.assert_allclose(color[:3], splat.color, atol=2e-3)
        size = cloud.data.attributes[splats_view.SCALE].data[number].vector
        np.testing.assert_allclose(size, splats_view.SPREAD * np.array(splat.scales), rtol=1e-5)


def fact_splats_are_points_or_ellipsoids_of_their_size_and_faint_ones_are_left_out():
    cloud = splats_view.add_cloud(PLY, "cat")
    bright = [splat for splat in SPLATS if splat.opacity >= 0.1]
    assert len(bright) < len(SPLATS)
    kinds, _, points = shown(cloud)
    assert (kinds, points) == (["POINTCLOUD"], len(bright))
    splats_view.set_input(cloud, "Ellipsoids", True)
    kinds, matrices, _ = shown(cloud)
    assert kinds == ["MESH"] * len(bright)
    for matrix, splat in zip(matrices, bright, strict=True):
        axes = np.array(matrix.to_3x3())
        lengths = np.sort(np.linalg.norm(axes, axis=0))
        np.testing.assert_allclose(lengths, np.sort(splats_view.SPREAD * np.array(splat.scales)), rtol=1e-3)
        longest = axes[:, np.linalg.norm(axes, axis=0).argmax()]
        assert abs(Vector(longest).normalized().dot(Vector(splat.long_axis))) > 0.999
    splats_view.set_input(cloud, "Minimum Opacity", 0.0)
    assert len(shown(cloud)[0]) == len(SPLATS)


def shown(cloud: bpy.types.Object) -> tuple[list[str], list[Matrix], int]:
    """What the nodes of a cloud make: kinds of objects, where they stand, and how many points."""
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    kinds, matrices, points = [], [], 0
    for each in graph.object_instances:  # each is there in its turn only
        if (each.is_instance and each.parent.name == cloud.name) or each.object.type == "POINTCLOUD":
            kinds.append(each.object.type)
            matrices.append(each.matrix_world.copy())
            points += len(each.object.data.points) if each.object.type == "POINTCLOUD" else 0
    return kinds, matrices, points


def fact_all_clouds_share_nodes_and_material():
    for _ in range(2):
        splats_view.add_cloud(PLY, "cat")
    assert [group.name for group in bpy.data.node_groups] == [splats_view.NODES]
    assert len(bpy.data.materials) == 1


def fact_what_is_no_splats_is_refused_and_leaves_nothing():
    broken = FOLDER / "broken.ply"
    for content in (b"", b"ply\n", PLY.read_bytes()[:-9], b"ply\nformat ascii 1.0\nelement vertex 1\nend_header\n"):
        broken.write_bytes(content)
        with refused(ValueError, "broken.ply"):
            splats_view.add_cloud(broken, "cat")
    assert not bpy.data.objects
    assert not bpy.data.meshes


def fact_a_place_that_cannot_be_written_does_not_stop_the_import():
    with no_room(len(PLY.read_bytes()) // 2):
        placed = place(saved_splats=PLY)
    assert any("splats could not be kept" in note for note in placed.notes), placed.notes
    assert_known(placed.objects[0])


@contextmanager
def no_room(most: int):
    """Files cannot grow beyond `most` bytes, as on a disk that gets full."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler or signal.SIG_DFL)


# ---------------------------------------------------------------------------
# Assets


def shelf(name: str) -> Path:
    """An asset library of the preferences, empty."""
    folder = FOLDER / name
    folder.mkdir()
    libraries = bpy.context.preferences.filepaths.asset_libraries
    libraries.new(name=name, directory=str(folder))
    return folder


ABOUT = {"asset_author": "Ada", "asset_license": "CC0", "asset_tags": "cat, toy,, cat"}


def fact_an_asset_of_this_file_has_preview_words_tags_and_catalog():
    folder = FOLDER / "asset here"
    folder.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "a.blend"))
    ob = made(as_asset=True, asset_catalog="Props/Cats", **ABOUT)
    data = ob.asset_data
    assert (data.author, data.license, [tag.name for tag in data.tags]) == ("Ada", "CC0", ["cat", "toy"])
    assert "cat.png" in data.description
    assert f"{data.catalog_id}:Props/Cats:Props-Cats" in (folder / "blender_assets.cats.txt").read_text()
    assert_pictures_the_cat(ob)


def assert_pictures_the_cat(ob: bpy.types.Object) -> None:
    """Its preview shows the red front, the yellow right side and the white top over nothing."""
    width, height = ob.preview.image_size
    assert (width, height) == (256, 256)
    pixels = np.array(ob.preview.image_pixels_float[:]).reshape(height, width, 4)
    assert pixels[0, 0, 3] == 0
    solid = pixels[pixels[..., 3] > 0.99][:, :3]
    assert 0.1 < len(solid) / (width * height) < 0.9
    red, green, blue = solid.T
    for share in ((red > 0.4) & (green < 0.1), (green > 0.4) & (blue < 0.1), blue > 0.5):
        assert share.mean() > 0.03


def fact_an_asset_in_a_library_is_a_file_of_its_own_and_the_object_here_stays_as_it_was():
    folder = shelf("Shelf")
    (folder / "cat.blend").write_text("mine")
    ob = made(as_asset=True, asset_library="Shelf", asset_catalog="Props/Cats", **ABOUT)
    assert ob.asset_data is None
    assert (ob.name, tuple(ob.location), len(bpy.data.objects)) == ("cat", (3, 2, 1), 1)
    assert not bpy.data.libraries
    assert (folder / "cat.blend").read_text() == "mine"
    assert {path.name for path in folder.iterdir()} == {"cat.blend", "cat_2.blend", "blender_assets.cats.txt"}
    fresh()
    with bpy.data.libraries.load(str(folder / "cat_2.blend"), assets_only=True) as (there, wanted):
        assert there.objects == ["cat"]
        wanted.objects = ["cat"]
    asset = bpy.data.objects["cat"]
    bpy.context.scene.collection.objects.link(asset)
    bpy.context.view_layer.update()
    assert tuple(asset.location) == (0, 0, 0)
    assert_known(asset)
    assert (asset.asset_data.author, asset.asset_data.catalog_simple_name) in {("Ada", "Props-Cats"), ("Ada", "")}
    assert f"{asset.asset_data.catalog_id}:Props/Cats" in (folder / "blender_assets.cats.txt").read_text()
    assert_pictures_the_cat(asset)


def fact_a_library_on_a_full_disk_keeps_the_object_and_leaves_no_half_file():
    folder = shelf("Full")
    for most in (500, 100_000):
        fresh()
        with no_room(most):
            placed = place(as_asset=True, asset_library="Full")
        (note,) = placed.notes
        assert "Could not save cat in" in note, note
        assert list(folder.iterdir()) == []
        ob = placed.objects[0]
        assert (ob.name, len(bpy.data.objects), ob.asset_data) == ("cat", 1, None)
        assert_known(ob)


def fact_a_library_that_is_gone_is_told_by_name():
    folder = shelf("Gone")
    folder.rmdir()
    for name, words in (("Gone", "is not there"), ("Nowhere", "There is no asset library Nowhere")):
        (note,) = place(as_asset=True, asset_library=name).notes
        assert words in note
    for library in list(bpy.context.preferences.filepaths.asset_libraries):
        bpy.context.preferences.filepaths.asset_libraries.remove(library)


def fact_a_linked_object_is_no_asset_of_ours():
    with refused(assets.AssetError, "linked from another file"):
        assets.save_asset(linked_cat(), ResultChoice())


def fact_a_new_mesh_gives_an_asset_a_new_preview():
    ob = made(as_asset=True)
    before = np.array(ob.preview.image_pixels_float[:])
    ob.preview.image_pixels_float.foreach_set(np.zeros_like(before, np.float32))
    place({"mesh": GLB}, replacing="cat")
    np.testing.assert_allclose(np.array(ob.preview.image_pixels_float[:]), before, atol=0.01)


# ---------------------------------------------------------------------------
# Operators without a window


@enabled
def fact_regenerate_makes_a_new_mesh_for_the_object_with_its_own_settings():
    settings = bpy.context.scene.gaussmith
    settings.picture, settings.seed, settings.size = str(picture("cat")), 7, SIZE
    bpy.ops.gaussmith.generate()
    ob = bpy.context.object
    ob.location, ob.scale = (4, 5, 6), (2, 2, 2)
    settings.seed, settings.size, settings.picture = 99, 5.0, ""
    mesh = ob.data.as_pointer()
    assert bpy.ops.gaussmith.regenerate(new_seed=True) == {"FINISHED"}
    record = read_record(ob)
    assert (record["seed"], record["options"]["size"]) == (8, SIZE)
    assert (tuple(ob.location), tuple(ob.scale)) == ((4, 5, 6), (2, 2, 2))
    assert ob.data.as_pointer() != mesh
    assert [o.name for o in bpy.data.objects] == ["cat"]
    bpy.ops.gaussmith.regenerate()
    assert read_record(ob)["seed"] == 8


@enabled
def fact_a_mesh_of_splats_is_made_again_from_them():
    path = FOLDER / "statue.spz"
    path.write_bytes(b"the fake engine looks at the name only")
    crop = (-1, -2, -3, 1, 2, 3)
    bpy.ops.gaussmith.import_splats(filepath=str(path), size=SIZE, up="-y", use_crop=True, crop=crop)
    ob = bpy.context.object
    mesh = ob.data.as_pointer()
    before = read_record(ob)
    assert bpy.ops.gaussmith.regenerate() == {"FINISHED"}
    assert ob.data.as_pointer() != mesh
    assert read_record(ob)["options"] == before["options"]
    assert [o.name for o in bpy.data.objects] == ["statue"]
    ob["gaussmith"] = "{}"
    with refused(RuntimeError, "not known what statue was made from"):
        bpy.ops.gaussmith.regenerate()


@enabled
def fact_the_choices_of_the_scene_count_when_a_mesh_is_asked_for():
    settings = bpy.context.scene.gaussmith
    assert result_choice(settings) == ResultChoice()
    settings.picture, settings.origin, settings.collision = str(picture("cat")), "CENTER", "GODOT"
    job = session.submit_picture(Path(settings.picture), bpy.context)
    settings.origin, settings.collision = "BASE", "NONE"
    session.wait(job, bpy.context)
    ob = bpy.data.objects["cat"]
    assert ob.location.z == 0.5
    assert collision.hull_of(ob).name == "cat-convcolonly"


@enabled
def fact_splats_are_shown_in_place_of_the_mesh_and_back():
    ob = made(saved_splats=PLY)
    bpy.context.view_layer.objects.active = ob
    assert bpy.ops.gaussmith.preview_splats() == {"FINISHED"}
    cloud = splats_view.cloud_of(ob)
    assert (cloud.visible_get(), ob.visible_get()) == (True, False)
    assert (cloud.hide_render, ob.hide_render) == (False, True)
    bpy.ops.gaussmith.preview_splats(ellipsoids=True)
    assert (cloud.visible_get(), ob.visible_get()) == (False, True)
    Path(bpy.path.abspath(read_record(ob)["splats_file"])).unlink()
    bpy.data.objects.remove(cloud)
    with refused(RuntimeError, "there is no file"):
        bpy.ops.gaussmith.preview_splats()


@enabled
def fact_splats_are_kept_on_request_and_shown_over_the_mesh():
    settings = bpy.context.scene.gaussmith
    settings.picture, settings.save_splats, settings.size = str(picture("cat")), True, SIZE
    bpy.ops.gaussmith.generate()
    ob = bpy.context.object
    kept = Path(bpy.path.abspath(read_record(ob)["splats_file"]))
    assert kept.read_bytes() == PLY.read_bytes()
    assert bpy.ops.gaussmith.preview_splats() == {"FINISHED"}
    bpy.ops.gaussmith.regenerate(new_seed=True)  # its splats are shown, as those before were
    assert read_record(ob)["splats_file"] != str(kept)
    assert splats_view.cloud_of(ob).visible_get()
    assert not ob.visible_get()
    assert len(bpy.data.objects) == 2


@enabled
def fact_a_file_of_splats_is_shown_as_points_whichever_way_is_up_in_it():
    for up, top in (("y", (0, 0, SIZE)), ("-y", (0, 0, -SIZE)), ("z", (0, SIZE, 0))):
        fresh()
        assert bpy.ops.gaussmith.import_points(filepath=str(PLY), up=up) == {"FINISHED"}
        cloud = bpy.context.object
        assert cloud.name == "known_splats"
        assert cloud.select_get()
        bpy.context.view_layer.update()
        second = cloud.matrix_world @ cloud.data.vertices[1].co - cloud.matrix_world @ cloud.data.vertices[0].co
        np.testing.assert_allclose(np.abs(second @ Vector(top).normalized()), SIZE, rtol=1e-5)
        assert second.dot(Vector(top)) > 0
    with refused(RuntimeError, "nowhere.ply"):
        bpy.ops.gaussmith.import_points(filepath=str(FOLDER / "nowhere.ply"))
    with refused(RuntimeError, "not a PLY"):
        bpy.ops.gaussmith.import_points(filepath=str(GLB))


@enabled
def fact_operators_on_objects_say_what_they_need():
    with refused(RuntimeError, "Choose an object that was generated first"):
        bpy.ops.gaussmith.regenerate()
    with refused(RuntimeError, "Select a mesh in Object Mode first"):
        bpy.ops.gaussmith.add_collision()
    linked = linked_cat()
    scene.select_only(linked, bpy.context.view_layer)
    for operator in (bpy.ops.gaussmith.regenerate, bpy.ops.gaussmith.preview_splats):
        with refused(RuntimeError, "linked from another file"):
            operator()
    for operator in (bpy.ops.gaussmith.add_collision, bpy.ops.gaussmith.save_asset):
        assert operator() == {"CANCELLED"}
    fresh()
    ob = made()
    scene.select_only(ob, bpy.context.view_layer)
    with refused(RuntimeError, "Keep Splats"):
        bpy.ops.gaussmith.preview_splats()
    assert bpy.ops.gaussmith.add_collision(kind="GODOT") == {"FINISHED"}
    assert bpy.ops.gaussmith.save_asset() == {"FINISHED"}
    assert ob.asset_data is not None
    assert replace.problem("cat") == ""


if __name__ == "__main__":
    write_known_glb(GLB, SIZE)
    write_known_glb(HALF, SIZE / 2)
    write_known_glb(WITH_MAP, SIZE, normal_map=True)
    write_known_splats(PLY, SIZE)
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

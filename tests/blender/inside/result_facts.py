# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about results: where they go, what goes with them, whose place they take; in every Blender."""

import math
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Euler, Matrix

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from addon.results import bring_in, collision, splats_view
from addon.results.record import read_record
from addon.results.result_options import ResultChoice
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import (
    FOLDER,
    GLB,
    RESULTS,
    SIZE,
    assert_known,
    fresh,
    refused,
    texture_of,
)
from tests.blender.inside.placing import HALF, PLY, WITH_MAP, box_of, linked_cat, made, place, write_known_files
from tests.fakes.known_glb import FACES, WELDED_VERTICES, write_known_glb

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


if __name__ == "__main__":
    write_known_files()
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

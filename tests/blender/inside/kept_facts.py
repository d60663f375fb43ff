# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about what is kept of results, splats and assets, and about the operators on them; in every Blender."""

import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from addon import scene, session
from addon.results import assets, collision, replace, splats_view
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
)
from tests.blender.inside.placing import (
    PLY,
    box_of,
    linked_cat,
    made,
    no_room,
    place,
    write_known_files,
)
from tests.fakes.known_splats import SPLATS

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
    write_known_files()
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

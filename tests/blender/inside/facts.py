# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the add-on that hold in every Blender, without a window. `test_facts.py` runs them in each of them:

    python facts.py -- RESULTS.json FOLDER        or        blender -b --python facts.py -- RESULTS.json FOLDER

The engine is the fake one; GAUSSMITH_ENGINE_PYTHON leads to it.
"""

import json
import sys
import threading
import time
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import addon
from addon import options, scene, session
from addon.jobs import State
from addon.results import formats
from addon.results.record import read_record
from tests.blender.inside.harness import Results, run_all
from tests.blender.inside.known import (
    FOLDER,
    GLB,
    RESULTS,
    SIZE,
    assert_known,
    blender_point,
    enabled,
    fresh,
    import_known,
    picture,
    refused,
    texture_of,
    world_triangles,
)
from tests.fakes.known_glb import CELL, FACES, NOSE, WELDED_VERTICES, write_known_glb

# ---------------------------------------------------------------------------
# Import


def fact_object_stands_at_the_place_given_right_way_up_front_to_minus_y():
    ob = import_known(location=(3, 2, 1))
    assert tuple(ob.location) == (3, 2, 1)
    assert tuple(ob.rotation_euler) == (0, 0, 0)
    assert tuple(ob.scale) == (1, 1, 1)
    foremost = min((ob.matrix_world @ v.co for v in ob.data.vertices), key=lambda point: point.y)
    np.testing.assert_allclose(foremost, np.array([3, 2, 1]) + blender_point(*NOSE), atol=1e-5)
    assert_known(ob)


def fact_vertices_split_at_texture_seams_are_joined_so_that_the_mesh_is_closed():
    mesh = import_known().data
    assert (len(mesh.vertices), len(mesh.polygons)) == (WELDED_VERTICES, FACES)
    edges: dict[tuple[int, int], int] = {}
    for polygon in mesh.polygons:
        for edge in polygon.edge_keys:
            edges[edge] = edges.get(edge, 0) + 1
    assert set(edges.values()) == {2}
    assert not mesh.validate()


def fact_faces_look_outwards():
    corners = world_triangles(import_known())
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volume > 0.2 * SIZE**3 * 0.5


def fact_import_agrees_with_blenders_own_gltf_importer():
    ours = import_known()
    bpy.ops.import_scene.gltf(filepath=str(GLB))
    (theirs,) = (ob for ob in bpy.data.objects if ob != ours)
    bpy.context.view_layer.update()

    def facts(ob):
        uvs = np.array([corner.uv for corner in ob.data.uv_layers.active.data]).reshape(-1, 3, 2)
        rows = np.concatenate([world_triangles(ob), uvs], axis=2)  # [F, 3, 5]
        return sorted(np.round(rows, 4).reshape(len(rows), -1).tolist())

    np.testing.assert_allclose(facts(ours), facts(theirs), atol=1e-4)
    a, b = (np.array(texture_of(ob).pixels[:]) for ob in (ours, theirs))
    np.testing.assert_array_equal(a, b)


def fact_material_is_rough_unmetallic_and_shows_the_packed_texture_in_srgb():
    ob = import_known()
    (material,) = ob.data.materials
    principled = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    assert principled.inputs["Roughness"].default_value == 1.0
    assert principled.inputs["Metallic"].default_value == 0.0
    image = texture_of(ob)
    assert image.packed_file is not None
    assert image.colorspace_settings.name == "sRGB"
    assert tuple(image.size) == (4 * CELL, 2 * CELL)
    assert material.node_tree.nodes.active.image == image


def fact_shading_is_smooth_over_texture_seams():
    mesh = import_known().data
    assert all(polygon.use_smooth for polygon in mesh.polygons)
    normals: dict[int, set] = {}
    for loop, normal in zip(mesh.loops, mesh.corner_normals, strict=True):
        normals.setdefault(loop.vertex_index, set()).add(tuple(round(v, 4) for v in normal.vector))
    assert all(len(values) == 1 for values in normals.values())


def fact_everything_is_named_after_the_picture():
    ob = import_known()
    assert (ob.name, ob.data.name, ob.active_material.name, texture_of(ob).name) == ("cat",) * 4


def fact_import_leaves_selection_and_active_object_alone():
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    ob = import_known()
    assert bpy.context.object == cube
    assert cube.select_get()
    assert not ob.select_get()
    scene.select_only(ob, bpy.context.view_layer)
    assert list(bpy.context.selected_objects) == [ob]
    assert bpy.context.object == ob


def fact_record_survives_saving_and_loading():
    (ob,) = scene.import_meshes({"mesh": GLB}, name="gâteau", record={"seed": 7, "picture": "/Bilder/gâteau 1.png"})
    assert json.loads(ob["gaussmith"])["seed"] == 7
    path = FOLDER / "record.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.open_mainfile(filepath=str(path))
    record = read_record(bpy.data.objects["gâteau"])
    mesh = record.pop("mesh")
    assert record == {"seed": 7, "picture": "/Bilder/gâteau 1.png"}
    assert mesh == {"faces": FACES, "vertices": WELDED_VERTICES, "quads": False}
    assert texture_of(bpy.data.objects["gâteau"]).packed_file is not None


def fact_a_damaged_glb_is_refused_with_a_sentence_and_leaves_nothing():
    broken = FOLDER / "broken.glb"
    for content in (b"", b"glTF", GLB.read_bytes()[:-40], b"\x89PNG" + bytes(100)):
        broken.write_bytes(content)
        with refused(ValueError, "broken.glb"):
            scene.import_meshes({"mesh": broken}, name="cat", record={})
    assert not bpy.data.objects
    assert not bpy.data.meshes


# ---------------------------------------------------------------------------
# Registration


def fact_enabling_three_times_leaves_nothing():
    def everything():
        handlers = [len(getattr(bpy.app.handlers, name)) for name in dir(bpy.app.handlers) if name.endswith("_post")]
        ours = [name for name in dir(bpy.types) if "gaussmith" in name.lower()]
        ours += [name for name in dir(bpy.ops) if "gaussmith" in name]
        return handlers, ours, hasattr(bpy.types.Scene, "gaussmith"), threading.active_count()

    before = everything()
    for _ in range(3):
        addon.register()
        assert bpy.context.scene.gaussmith.faces == 20_000
        addon.unregister()
    assert everything() == before


def fact_a_failed_registration_is_taken_back_and_told():
    from addon import panels

    working, panels.register = panels.register, lambda: 1 / 0
    try:
        with refused(ZeroDivisionError):
            addon.register()
        assert not hasattr(bpy.types.Scene, "gaussmith")
    finally:
        panels.register = working
    addon.register()
    addon.unregister()


# ---------------------------------------------------------------------------
# Operators without a window: they wait


@enabled
def fact_generate_without_a_window_waits_and_places_the_object_at_the_cursor():
    context = bpy.context
    context.scene.cursor.location = (3, 2, 1)
    context.scene.gaussmith.size = SIZE
    context.scene.gaussmith.seed = 7
    context.scene.gaussmith.texture = "2048"
    context.scene.gaussmith.picture = str(picture("my cat é"))
    assert bpy.ops.gaussmith.generate() == {"FINISHED"}
    ob = context.object
    assert (ob.name, tuple(ob.location)) == ("my cat é", (3, 2, 1))
    assert ob.select_get()
    context.view_layer.update()
    assert_known(ob)
    record = read_record(ob)
    assert record["seed"] == 7
    assert record["options"].keys() == options.properties(options.PictureOptions).keys() - {"seed"}
    assert (record["options"]["faces"], record["options"]["texture"], record["options"]["size"]) == (20_000, 2048, SIZE)
    assert record["picture"].endswith("my cat é.png")


@enabled
def fact_an_error_of_the_engine_reaches_a_script_with_its_hint():
    bpy.context.scene.gaussmith.picture = str(picture("fail"))
    with refused(RuntimeError, "fail is not a picture. Choose a PNG or JPEG."):
        bpy.ops.gaussmith.generate()
    assert not bpy.data.objects


@enabled
def fact_a_missing_picture_is_told_by_name():
    bpy.context.scene.gaussmith.picture = str(FOLDER / "nowhere.png")
    with refused(RuntimeError, "There is no file", "nowhere.png"):
        bpy.ops.gaussmith.generate()


@enabled
def fact_generate_without_a_picture_says_what_to_do():
    with refused(RuntimeError, "Choose a picture first"):
        bpy.ops.gaussmith.generate()


@enabled
def fact_after_a_crash_the_next_click_works():
    settings = bpy.context.scene.gaussmith
    settings.picture = str(picture("crash"))
    with refused(RuntimeError, "exit code 17"):
        bpy.ops.gaussmith.generate()
    settings.picture = str(picture("cat"))
    assert bpy.ops.gaussmith.generate() == {"FINISHED"}
    assert "cat" in bpy.data.objects


@enabled
def fact_several_pictures_stand_side_by_side_without_touching():
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        picture(name.removesuffix(".png"))
    bpy.context.scene.cursor.location = (1, 0, 0)
    bpy.ops.gaussmith.generate_files(directory=str(FOLDER), files=[{"name": name} for name in names])
    places = [tuple(round(v, 4) for v in bpy.data.objects[name].location) for name in ("a", "b", "c")]
    assert places == [(1, 0, 0), (2.25, 0, 0), (3.5, 0, 0)]


@enabled
def fact_disabling_with_a_job_under_way_ends_the_engine():
    bpy.context.scene.gaussmith.picture = str(picture("slow"))
    job = session.submit_picture(Path(bpy.context.scene.gaussmith.picture), bpy.context)
    jobs = session.jobs()
    end = time.monotonic() + 60
    while job.state is not State.RUNNING:
        assert time.monotonic() < end
        jobs.pump()
    process = jobs.engine._process
    addon.unregister()
    assert process.poll() is not None
    addon.register()


def fact_drops_on_the_viewport_are_taken_for_pictures_only():
    addon.register()
    handler = bpy.types.GAUSSMITH_FH_picture
    assert {".png", ".jpg", ".webp"} <= set(handler.bl_file_extensions.split(";"))
    assert handler.bl_import_operator == "gaussmith.generate_files"
    addon.unregister()


# ---------------------------------------------------------------------------
# Formats


def read_back(path: Path, kind: str) -> bpy.types.Object:
    fresh()
    if kind == "blend":
        bpy.ops.wm.open_mainfile(filepath=str(path))
    elif kind == "fbx":
        bpy.ops.import_scene.fbx(filepath=str(path))
    else:
        getattr(bpy.ops.wm, f"{kind}_import")(filepath=str(path))
    bpy.context.view_layer.update()
    (ob,) = (ob for ob in bpy.data.objects if ob.type == "MESH")
    return ob


def format_fact(kind: str):
    def fact():
        if kind == "usd" and "usd_export" not in dir(bpy.ops.wm):  # the distribution left it out; all others are there
            with refused(formats.FormatError, "built without USD"):
                formats.check_format(kind)
            return
        formats.check_format(kind)
        folder = FOLDER / f"format {kind}"
        path = folder / f"gâteau.{kind}"
        files = formats.write_object(import_known(), path, kind)
        assert files[0] == path
        assert sorted(folder.iterdir()) == sorted(files)
        ob = read_back(path, kind)
        if kind == "stl":  # a format without colours
            corners = world_triangles(ob).reshape(-1, 3)
            np.testing.assert_allclose(corners.min(0), [-0.25 * SIZE, -0.25 * SIZE, 0], atol=1e-4)
            np.testing.assert_allclose(corners.max(0), [0.25 * SIZE, 0.25 * SIZE, SIZE], atol=1e-4)
            foremost = min(corners, key=lambda point: point[1])
            np.testing.assert_allclose(foremost, blender_point(*NOSE), atol=1e-4)
        else:
            assert_known(ob)
        assert len(ob.data.vertices) == WELDED_VERTICES
        fresh()
        with refused(formats.FormatError, "exists already"):
            formats.write_object(import_known(), path, kind)
        fresh()
        formats.write_object(import_known(), path, kind, overwrite=True)

    fact.__name__ = f"fact_{kind}_keeps_size_orientation_and_texture"
    return fact


fact_blend_keeps_size_orientation_and_texture = format_fact("blend")
fact_obj_keeps_size_orientation_and_texture = format_fact("obj")
fact_fbx_keeps_size_orientation_and_texture = format_fact("fbx")
fact_usd_keeps_size_orientation_and_texture = format_fact("usd")
fact_stl_keeps_size_orientation_and_texture = format_fact("stl")


if __name__ == "__main__":
    write_known_glb(GLB, SIZE)
    run_all([value for name, value in list(globals().items()) if name.startswith("fact_")], Results(RESULTS), fresh)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about what becomes of results in a real window: the user's selection, undo, meshes that take another's place.

`window_facts.py` runs them with its own, in one window.
"""

import json
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.windowing import (
    FOLDER,
    SIZE,
    call,
    ended,
    generate,
    jobs,
    objects,
    screenshot,
    state,
    view,
    window,
)


def undo():
    with bpy.context.temp_override(window=window()):
        bpy.ops.ed.undo()
    yield 0.2


def activate(name: str) -> bpy.types.Object:
    """Clicks on an object."""
    layer = window().view_layer
    for ob in layer.objects:
        ob.select_set(ob.name == name)
    layer.objects.active = layer.objects[name]
    return layer.objects[name]


def height(name: str) -> float:
    return round(max(vertex.co.z for vertex in bpy.data.objects[name].data.vertices), 4)


def fact_a_result_leaves_selection_frame_and_mode_alone_unless_it_is_to_be_selected():
    cube = activate("Cube")
    window().scene.frame_set(17)
    job = generate("cat", collision="UNREAL", collection="SESSION")
    yield ended(job)
    assert state(job) == "DONE", job.error
    assert {"cat", "UCX_cat"} <= objects()
    assert [ob.name for ob in window().view_layer.objects.selected] == [cube.name]
    assert window().view_layer.objects.active == cube
    assert (window().scene.frame_current, cube.mode) == (17, "OBJECT")
    yield from undo()
    assert not {"cat", "UCX_cat"} & objects()  # one step, with all that goes with it
    assert not [each for each in bpy.data.collections if each.name.startswith("Gaussmith")]
    job = generate("cat", select_result=True)
    yield ended(job)
    assert [ob.name for ob in window().view_layer.objects.selected] == ["cat"]


def fact_variants_stand_in_a_row_each_with_the_next_seed():
    window().scene.gaussmith.variants = 3
    generate("cat", seed=7)
    yield lambda: not jobs().busy and all(state(job) == "DONE" for job in jobs().jobs)
    made = [bpy.data.objects[name] for name in ("cat", "cat.001", "cat.002")]
    assert [json.loads(ob["gaussmith"])["seed"] for ob in made] == [7, 8, 9]
    assert [round(ob.location.x, 3) for ob in made] == [0, 1.25 * SIZE, 2.5 * SIZE]
    with bpy.context.temp_override(window=window(), area=view(), region=view().regions[-1]):
        bpy.ops.view3d.view_all()
    call(bpy.ops.gaussmith.show_texture)
    yield 0.5
    screenshot("variants")


def fact_a_regenerated_mesh_is_one_undo_step_and_the_old_one_comes_back_whole():
    job = generate("cat", select_result=True)
    yield ended(job)
    activate("cat").location = (4, 5, 6)
    with bpy.context.temp_override(window=window()):
        bpy.ops.ed.undo_push(message="moved")
    window().scene.gaussmith.size = SIZE / 2
    assert call(bpy.ops.gaussmith.regenerate, new_seed=True, scene_settings=True) == {"FINISHED"}
    job = jobs().jobs[-1]
    yield ended(job)
    assert state(job) == "DONE", job.error
    assert (height("cat"), tuple(bpy.data.objects["cat"].location)) == (SIZE / 2, (4, 5, 6))
    assert len([name for name in objects() if name.startswith("cat")]) == 1
    yield from undo()
    ob = bpy.data.objects["cat"]
    assert (height("cat"), tuple(ob.location)) == (SIZE, (4, 5, 6))
    image = ob.active_material.node_tree.nodes["texture"].image
    assert image.packed_file is not None
    assert tuple(image.size) == (16, 8)
    with bpy.context.temp_override(window=window()):
        bpy.ops.ed.redo()
    yield 0.2
    assert height("cat") == SIZE / 2


def fact_what_is_done_with_an_object_is_one_undo_step_each():
    job = generate("cat", save_splats=True, select_result=True)
    yield ended(job)
    activate("cat")
    before = objects()
    for operator, made in (
        (bpy.ops.gaussmith.add_collision, {"cat_collision"}),
        (bpy.ops.gaussmith.preview_splats, {"cat_splats"}),
    ):
        assert call(operator) == {"FINISHED"}
        yield 0.2
        assert objects() - before == made
        yield from undo()
        assert objects() == before
        assert not bpy.data.objects["cat"].hide_get()
        activate("cat")
    assert call(bpy.ops.gaussmith.save_asset) == {"FINISHED"}
    assert bpy.data.objects["cat"].asset_data is not None
    yield from undo()
    assert bpy.data.objects["cat"].asset_data is None
    activate("cat")
    call(bpy.ops.gaussmith.preview_splats, ellipsoids=True)
    view().spaces.active.shading.type = "MATERIAL"
    yield 2.0
    screenshot("splats")


def fact_an_asset_browser_that_is_open_shows_what_was_saved_in_its_library():
    folder = FOLDER / "shelf"
    folder.mkdir()
    bpy.context.preferences.filepaths.asset_libraries.new(name="Shelf", directory=str(folder))
    area = next(area for area in window().screen.areas if area.type == "DOPESHEET_EDITOR")
    area.ui_type = "ASSETS"
    yield 0.5
    job = generate("cat", as_asset=True, asset_library="Shelf", asset_catalog="Props/Cats", select_result=True)
    yield ended(job)
    assert (state(job), job.notices) == ("DONE", []), job.error
    assert {path.name for path in folder.iterdir()} == {"cat.blend", "blender_assets.cats.txt"}
    assert bpy.data.objects["cat"].asset_data is None
    area.spaces.active.params.asset_library_reference = "Shelf"
    yield 2.0
    screenshot("library")
    bpy.context.preferences.filepaths.asset_libraries.remove(bpy.context.preferences.filepaths.asset_libraries["Shelf"])

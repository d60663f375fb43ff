# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the installed extension in a real window, with the fake engine. `test_window.py` runs them."""

import json
import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.window_faults import *  # noqa: F403  its facts are run with those below
from tests.blender.inside.window_results import *  # noqa: F403  and its
from tests.blender.inside.windowing import (
    FOLDER,
    MODULE,
    SIZE,
    call,
    drop,
    ended,
    fresh,
    generate,
    jobs,
    key,
    longest_pause,
    objects,
    part,
    run_and_quit,
    screenshot,
    show_sidebar,
    state,
    ticks,
    view,
    window,
)


def fact_the_engine_is_found_and_the_tab_is_there():
    yield lambda: part("engine_life").engine_state().kind == "READY"
    region = next(region for region in view().regions if region.type == "UI")
    assert region.active_panel_category == "Gaussmith"
    window().scene.gaussmith.picture = str(FOLDER / "teapot slow.png")
    yield lambda: part("sidebar.thumbnails").icon(window().scene.gaussmith.picture) > 0
    yield 1.0
    screenshot("panel-idle")


def fact_a_click_makes_an_object_at_the_cursor_while_the_window_stays_alive():
    before = objects()
    window().scene.cursor.location = (3, 2, 1)
    ticks.clear()
    job = generate("teapot slow", select_result=True)
    assert state(job) == "QUEUED"
    yield lambda: job.fraction > 0.45
    assert longest_pause() < 2  # of the 3 the job takes at least
    screenshot("panel-running")
    yield ended(job)
    assert state(job) == "DONE", job.error
    assert longest_pause() < 2  # of the 3 the job takes at least
    (name,) = objects() - before
    ob = bpy.data.objects[name]
    assert name == "teapot slow"
    assert tuple(ob.location) == (3, 2, 1)
    assert [ob.name for ob in window().view_layer.objects.selected] == [name]
    assert window().view_layer.objects.active == ob
    assert [round(v, 4) for v in ob.dimensions] == [SIZE / 2, SIZE / 2, SIZE]
    foremost = min((ob.matrix_world @ v.co for v in ob.data.vertices), key=lambda point: point.y)
    assert [round(v, 4) for v in foremost] == [3 + 0.1 * SIZE, 2 - 0.25 * SIZE, 1 + 0.75 * SIZE]
    record = json.loads(ob["gaussmith"])
    assert record["options"]["size"] == SIZE
    nodes = ob.active_material.node_tree.nodes
    assert next(node.image for node in nodes if node.type == "TEX_IMAGE").packed_file is not None
    with bpy.context.temp_override(window=window(), area=view(), region=view().regions[-1]):
        bpy.ops.view3d.view_selected()
    call(bpy.ops.gaussmith.show_texture)
    assert view().spaces.active.shading.color_type == "TEXTURE"
    yield 0.5
    screenshot("panel-done")


def fact_a_click_is_heard_at_once_while_the_engine_idles():
    session = part("session")
    usual, session.IDLE_INTERVAL = session.IDLE_INTERVAL, 3600.0
    try:
        yield usual + 1  # from now on the timer rests for an hour
        job = generate("cat")
        yield ended(job)
        assert state(job) == "DONE"
    finally:
        session.IDLE_INTERVAL = usual
        session.wake()


def fact_the_import_is_exactly_one_undo_step():
    before = objects()
    selected = {ob.name for ob in window().view_layer.objects.selected}
    job = generate("cat")
    yield ended(job)
    assert objects() - before == {"cat"}
    with bpy.context.temp_override(window=window()):
        bpy.ops.ed.undo()
    yield 0.2
    assert objects() == before
    assert {ob.name for ob in window().view_layer.objects.selected} == selected
    with bpy.context.temp_override(window=window()):
        bpy.ops.ed.redo()
    yield 0.2
    assert objects() - before == {"cat"}


def fact_cancel_leaves_no_object_and_the_next_click_works():
    before = objects()
    job = generate("slow")
    yield lambda: job.fraction > 0.2
    call(bpy.ops.gaussmith.cancel, job=job.id)
    yield ended(job)
    assert state(job) == "CANCELLED"
    assert objects() == before
    job = generate("cat")
    yield ended(job)
    assert state(job) == "DONE"


def fact_a_missing_picture_is_told_in_the_panel():
    window().scene.gaussmith.picture = str(FOLDER / "nowhere.png")
    call(bpy.ops.gaussmith.generate)
    (job,) = (job for job in jobs().jobs if job.name == "nowhere")
    assert state(job) == "FAILED"
    assert "nowhere.png" in job.error.message
    call(bpy.ops.gaussmith.dismiss, job=job.id)
    yield 0.1


def fact_an_error_stays_in_the_panel_with_what_to_do_and_can_be_tried_again():
    job = generate("fail")
    yield ended(job)
    assert state(job) == "FAILED"
    assert job.error.hint == "Choose a PNG or JPEG."
    yield 0.5
    screenshot("panel-error")
    call(bpy.ops.gaussmith.retry, job=job.id)
    (again,) = (other for other in jobs().jobs if other.name == "fail")
    assert again is not job
    yield ended(again)
    assert state(again) == "FAILED"
    call(bpy.ops.gaussmith.dismiss, job=again.id)
    assert again not in jobs().jobs


def fact_a_killed_engine_fails_its_job_and_the_next_click_works():
    job = generate("frozen")
    yield lambda: job.fraction > 0
    os.kill(jobs().engine.pid, 9)
    yield ended(job)
    assert state(job) == "FAILED"
    assert "SIGKILL" in job.error.message
    assert job.error.detail  # the end of its log
    job = generate("cat")
    yield ended(job)
    assert state(job) == "DONE", job.error


def fact_clicks_during_a_job_are_queued():
    first, second = generate("slow"), generate("cat")
    yield lambda: state(first) == "RUNNING"
    assert state(second) == "QUEUED"
    yield ended(second)
    assert (state(first), state(second)) == ("DONE", "DONE")
    assert {"slow", "cat"} <= objects()


def fact_another_file_gets_nothing_unasked():
    job = generate("slow")
    yield lambda: job.fraction > 0.2
    yield from fresh()
    before = objects()
    yield lambda: state(job) == "READY"
    yield 0.5
    assert state(job) == "READY"
    assert objects() == before
    screenshot("panel-ready")
    window().scene.cursor.location = (0, 5, 0)
    call(bpy.ops.gaussmith.import_result, job=job.id)
    assert state(job) == "DONE"
    assert objects() - before == {"slow"}
    assert tuple(bpy.data.objects["slow"].location) == (0, 5, 0)


def fact_a_result_waits_until_edit_mode_is_left():
    cube = bpy.data.objects["Cube"]
    window().view_layer.objects.active = cube
    job = generate("cat")
    with bpy.context.temp_override(window=window()):
        bpy.ops.object.mode_set(mode="EDIT")
    yield lambda: state(job) == "READY"
    yield 0.5
    assert "cat" not in objects()
    assert "Object Mode" in part("results.delivery").hold_of(job)
    assert cube.mode == "EDIT"
    with bpy.context.temp_override(window=window()):
        bpy.ops.object.mode_set(mode="OBJECT")
    yield ended(job)
    assert state(job) == "DONE"
    assert "cat" in objects()


def fact_dropped_pictures_stand_side_by_side_and_open_the_tab():
    with bpy.context.temp_override(window=window()):  # a file in which the sidebar was never open
        bpy.ops.wm.read_homefile(use_factory_startup=True)
    yield 0.3
    assert not view().spaces.active.show_region_ui
    names = [{"name": "cat.png"}, {"name": "dog.png"}]
    with bpy.context.temp_override(window=window(), area=view(), region=view().regions[-1]):
        dropped = bpy.ops.gaussmith.generate_files("INVOKE_DEFAULT", directory=str(FOLDER), files=names)
    assert dropped == {"FINISHED"}
    region = next(region for region in view().regions if region.type == "UI")
    yield lambda: region.active_panel_category == "Gaussmith"
    assert view().spaces.active.show_region_ui
    yield lambda: {"cat", "dog"} <= objects()
    assert bpy.data.objects["dog"].location.x - bpy.data.objects["cat"].location.x == 1.25


def fact_dropped_splats_ask_for_options_and_stand_at_the_cursor():
    before = objects()
    window().scene.cursor.location = (0, 4, 0)
    yield from key("ESC")  # the mouse is over the view
    drop("statue.spz")
    yield 0.5
    assert not jobs().busy  # nothing begins before the options are confirmed
    screenshot("splats-dropped")
    yield from key("RET")
    yield lambda: "statue" in objects()
    assert objects() - before == {"statue"}
    ob = bpy.data.objects["statue"]
    assert tuple(ob.location) == (0, 4, 0)
    record = json.loads(ob["gaussmith"])
    assert record["splats"] == str(FOLDER / "statue.spz")
    assert record["mesh"]["genus"] == 0
    yield 0.5
    screenshot("panel-report")


def fact_a_dropped_ply_may_also_go_to_blenders_own_importer():
    before = objects()
    yield from key("ESC")
    dropped = drop("points.ply")
    yield 0.5
    screenshot("ply-dropped")  # a menu of the two
    assert dropped & {"INTERFACE", "RUNNING_MODAL"}, dropped
    assert not jobs().busy
    yield from key("ESC")
    assert objects() == before


def fact_a_mesh_taken_for_splats_is_told_in_the_panel():
    import_splats("points.ply")
    (job,) = (job for job in jobs().jobs if job.name == "points")
    assert state(job) == "FAILED"
    assert "points.ply holds 5 plain points" in job.error.message
    assert "Stanford PLY" in job.error.hint
    yield 0.1


def import_splats(name: str, **options) -> None:
    """What the file browser calls, opened from the File menu: no 3D view around it."""
    area = next(area for area in window().screen.areas if area.type == "PROPERTIES")
    with bpy.context.temp_override(window=window(), area=area, region=area.regions[-1]):
        bpy.ops.gaussmith.import_splats("EXEC_DEFAULT", True, filepath=str(FOLDER / name), **options)


def fact_an_import_from_the_menu_opens_the_tab_and_levels_of_detail_are_one_undo_step():
    view().spaces.active.show_region_ui = False
    yield 0.2
    before = objects()
    window().scene.gaussmith.select_result = True
    import_splats("statue.spz", lods=2)
    region = next(region for region in view().regions if region.type == "UI")
    yield lambda: view().spaces.active.show_region_ui and region.active_panel_category == "Gaussmith"
    yield lambda: "statue" in objects()
    assert objects() - before == {"statue", "statue_LOD1", "statue_LOD2"}
    assert [ob.name for ob in window().view_layer.objects.selected] == ["statue"]
    assert [ob.name for ob in window().view_layer.objects if ob.hide_get()] == ["statue_LOD1", "statue_LOD2"]
    with bpy.context.temp_override(window=window()):
        bpy.ops.ed.undo()
    yield 0.2
    assert objects() == before


def fact_a_wrong_python_is_told_in_the_panel_and_the_button_is_off():
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.engine_python = str(FOLDER / "no python")
    try:
        yield lambda: part("engine_life").engine_state().kind == "PROBLEM"
        assert "no python" in part("engine_life").engine_state().message
        with bpy.context.temp_override(window=window()):
            assert not bpy.ops.gaussmith.generate.poll()
        yield 0.5
        screenshot("panel-no-engine")
    finally:
        preferences.engine_python = ""
    yield lambda: part("engine_life").engine_state().kind == "READY"


def fact_disabling_and_enabling_leaves_a_working_add_on():
    job = generate("slow")
    yield lambda: job.fraction > 0.1
    pid = jobs().engine.pid
    bpy.ops.preferences.addon_disable(module=MODULE)
    assert not hasattr(bpy.types.Scene, "gaussmith")
    assert not Path(f"/proc/{pid}").exists()
    yield 0.3
    bpy.ops.preferences.addon_enable(module=MODULE)
    yield from show_sidebar()
    job = generate("cat")
    yield ended(job)
    assert state(job) == "DONE"


def fact_zz_quitting_with_a_job_under_way():
    """The last one: `test_window.py` looks whether the engine is gone after Blender."""
    job = generate("slow")
    yield lambda: job.fraction > 0.1
    (FOLDER / "engine.pid").write_text(str(jobs().engine.pid))


facts = {name: value for name, value in list(globals().items()) if name.startswith("fact_")}
run_and_quit([facts[name] for name in sorted(facts, key=lambda name: name.startswith("fact_zz"))])

# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole road in a real window: a picture or splats, the real engine, an object. `test_real_engine.py` runs it."""

import json
import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.windowing import (
    FOLDER,
    call,
    drop,
    generate,
    key,
    longest_pause,
    objects,
    part,
    run_and_quit,
    screenshot,
    state,
    ticks,
    view,
    window,
)

PICTURE = "teapot"


def fact_a_picture_becomes_a_closed_textured_mesh_at_the_cursor():
    yield lambda: part("engine_life").engine_state().kind == "READY"
    before = objects()
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    window().scene.cursor.location = (0, -1, 0)
    ticks.clear()
    job = generate(PICTURE, faces=8000, select_result=True, save_splats=True)
    yield lambda: job.fraction > 0.3 or not job.active
    screenshot("panel-running")
    yield lambda: not job.active and state(job) != "READY"
    assert state(job) == "DONE", job.error
    assert longest_pause() < 2
    (name,) = objects() - before
    ob = bpy.data.objects[name]
    assert name == PICTURE
    assert tuple(ob.location) == (0, -1, 0)
    assert abs(max(ob.dimensions) - 2) < 0.01
    assert 1000 < len(ob.data.polygons) <= 1.03 * 8000
    assert_closed(ob.data)
    image = next(node.image for node in ob.active_material.node_tree.nodes if node.type == "TEX_IMAGE")
    assert tuple(image.size) == (1024, 1024)
    colours = {tuple(round(v, 1) for v in image.pixels[4 * i : 4 * i + 3]) for i in range(0, 1024 * 1024, 4099)}
    assert len(colours) > 10, "the texture is one colour"
    points = part("files.splat_points").read_splat_points(part("results.splats_view").kept_file(ob))
    np.testing.assert_allclose(np.ptp(points.means, axis=0), ob.dimensions, atol=0.15 * max(ob.dimensions))
    call(bpy.ops.gaussmith.show_texture)
    with bpy.context.temp_override(window=window(), area=view(), region=view().regions[-1]):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_orbit(angle=0.5, type="ORBITLEFT")
        bpy.ops.view3d.view_selected()
    yield 1.0
    screenshot("panel-done")


def assert_closed(mesh: bpy.types.Mesh) -> None:
    used: dict[tuple[int, int], int] = {}
    for polygon in mesh.polygons:
        for edge in polygon.edge_keys:
            used[edge] = used.get(edge, 0) + 1
    assert set(used.values()) == {2}, "the mesh is not closed"


def mean_colour(ob: bpy.types.Object, axis: int) -> np.ndarray:
    """Of the texture on the faces that look against an axis, [3]."""
    image = next(node.image for node in ob.active_material.node_tree.nodes if node.type == "TEX_IMAGE")
    pixels = np.array(image.pixels[:]).reshape(*reversed(image.size), 4)
    facing = [polygon for polygon in ob.data.polygons if polygon.normal[axis] < -0.95]
    corners = [corner for polygon in facing for corner in polygon.loop_indices]
    uvs = np.array([ob.data.uv_layers.active.data[corner].uv for corner in corners])
    column, row = np.clip((uvs * image.size).astype(int), 0, np.array(image.size) - 1).T
    return pixels[row, column, :3].mean(0)


def fact_dropped_splats_become_a_closed_mesh_at_the_cursor():
    """The crate of `test_real_engine.py`, 1.4 by 1 by 0.6 and red towards -y, taken as y up: it lies on the red."""
    yield from key("ESC")  # the mouse is over the view
    window().scene.cursor.location = (1, 2, 3)
    drop("crate.spz")
    yield 0.5
    yield from key("RET")
    yield lambda: "crate" in objects()
    ob = bpy.data.objects["crate"]
    assert tuple(ob.location) == (1, 2, 3)
    np.testing.assert_allclose(ob.dimensions, (1, 0.6 / 1.4, 1 / 1.4), atol=0.03)
    assert_closed(ob.data)
    assert json.loads(ob["gaussmith"])["mesh"]["watertight"]
    red, green, _ = mean_colour(ob, axis=2)
    assert red > 2 * green
    yield 1.0
    screenshot("splats-done")


def fact_imported_splats_with_z_up_stand_and_have_levels_of_detail():
    path = str(FOLDER / "crate.spz")
    with bpy.context.temp_override(window=window(), area=view(), region=view().regions[-1]):
        bpy.ops.gaussmith.import_splats("EXEC_DEFAULT", True, filepath=path, up="z", lods=1, faces=2000)
    yield lambda: "crate" in objects()
    ob, level = bpy.data.objects["crate"], bpy.data.objects["crate_LOD1"]
    np.testing.assert_allclose(ob.dimensions, (1, 1 / 1.4, 0.6 / 1.4), atol=0.03)
    assert_closed(ob.data)
    red, green, _ = mean_colour(ob, axis=1)
    assert red > 2 * green, "its front has not the colour of the side that looks towards -y"
    assert level.hide_get()
    assert len(level.data.polygons) < 0.3 * len(ob.data.polygons)


run_and_quit(
    [
        fact_a_picture_becomes_a_closed_textured_mesh_at_the_cursor,
        fact_dropped_splats_become_a_closed_mesh_at_the_cursor,
        fact_imported_splats_with_z_up_stand_and_have_levels_of_detail,
    ],
    wait_seconds=170,  # the engine's first run compiles its kernels
)

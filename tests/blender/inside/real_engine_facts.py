# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole road in a real window: a picture, the real engine, an object. `test_real_engine.py` runs it."""

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.windowing import (
    call,
    generate,
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
    yield lambda: part("session").engine_state().kind == "READY"
    before = objects()
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    window().scene.cursor.location = (0, -1, 0)
    ticks.clear()
    job = generate(PICTURE, faces=8000)
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
    mesh = ob.data
    assert 1000 < len(mesh.polygons) <= 1.03 * 8000
    used: dict[tuple[int, int], int] = {}
    for polygon in mesh.polygons:
        for edge in polygon.edge_keys:
            used[edge] = used.get(edge, 0) + 1
    assert set(used.values()) == {2}, "the mesh is not closed"
    image = next(node.image for node in ob.active_material.node_tree.nodes if node.type == "TEX_IMAGE")
    assert tuple(image.size) == (1024, 1024)
    colours = {tuple(round(v, 1) for v in image.pixels[4 * i : 4 * i + 3]) for i in range(0, 1024 * 1024, 4099)}
    assert len(colours) > 10, "the texture is one colour"
    call(bpy.ops.gaussmith.show_texture)
    with bpy.context.temp_override(window=window(), area=view(), region=view().regions[-1]):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_orbit(angle=0.5, type="ORBITLEFT")
        bpy.ops.view3d.view_selected()
    yield 1.0
    screenshot("panel-done")


run_and_quit([fact_a_picture_becomes_a_closed_textured_mesh_at_the_cursor])

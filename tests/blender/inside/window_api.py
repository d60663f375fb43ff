# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the scripting interface in a real window, used from timers as scripts do. The engine is the fake one."""

import importlib
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.windowing import FOLDER, MODULE, ended, objects, run_and_quit, window

api = importlib.import_module(f"{MODULE}.api")
PICTURE = FOLDER / "cat.png"


def fact_the_object_of_a_submitted_job_appears_by_itself_and_is_made_once():
    job = api.submit(PICTURE, location=(1, 2, 3), name="By Itself")
    yield ended(job)
    (ob,) = api.result(job)
    assert (ob.name, tuple(ob.location)) == ("By Itself", (1, 2, 3))
    yield 0.5
    assert sum(name.startswith("By Itself") for name in objects()) == 1


def fact_a_script_that_waits_gets_its_objects_and_the_timer_adds_none():
    before = objects()
    job = api.submit(PICTURE, name="Waited For", lods=1)
    made = {ob.name for ob in api.result(job)}
    assert made == {"Waited For", "Waited For_LOD1"}
    yield 0.5
    assert objects() - before == made


def fact_a_result_in_edit_mode_disturbs_nothing():
    cube = bpy.data.objects["Cube"]
    with bpy.context.temp_override(window=window()):
        window().view_layer.objects.active = cube
        bpy.ops.object.mode_set(mode="EDIT")
    (ob,) = api.generate(PICTURE)
    yield 0.3
    assert (cube.mode, window().view_layer.objects.active) == ("EDIT", cube)
    assert not ob.select_get(view_layer=window().view_layer)
    with bpy.context.temp_override(window=window()):
        bpy.ops.object.mode_set(mode="OBJECT")


def fact_a_cancelled_job_says_so_and_the_next_one_is_made():
    job = api.submit(FOLDER / "slow.png")
    yield lambda: job.state.name == "RUNNING"
    api.cancel(job)
    yield ended(job)
    try:
        api.result(job)
    except api.GenerationError as error:
        code = error.code
    assert code == "CANCELLED"
    assert api.generate(PICTURE)


if __name__ == "__main__":
    run_and_quit([value for name, value in list(globals().items()) if name.startswith("fact_")])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the panel into each of its states, in a real window, and takes pictures. `panel_pictures.py` runs it.

Beside NAME.png lies NAME.json with the part of the window that is meant: left, top, right, bottom.
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
from mathutils import Euler

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.blender.inside.harness import Results, Stepper
from tests.blender.inside.windowing import (
    FOLDER,
    MODULE,
    RESULTS,
    SIZE,
    call,
    ended,
    fresh,
    generate,
    jobs,
    objects,
    part,
    screenshot,
    state,
    view,
    window,
)

SCALE = float(os.environ.get("GAUSSMITH_SCALE", "1"))
LANGUAGE = os.environ.get("GAUSSMITH_LANGUAGE", "")
ONLY = os.environ.get("GAUSSMITH_ONLY", "").split()
"""Words in the names of the facts that are wanted; none for all."""
SECONDS = 600


def sidebar() -> bpy.types.Region:
    return next(region for region in view().regions if region.type == "UI")


def take(name: str, region: bpy.types.Region | None = None, below: float = 0.0) -> Iterator[float]:
    """A picture of the sidebar, or of another region from so many unscaled pixels on, when it has been drawn."""
    shown = region or sidebar()
    for _ in range(6):  # panels slide to their places
        shown.tag_redraw()
        yield 0.2
    screenshot(name)
    top = window().height - shown.y - shown.height
    corners = [shown.x, top + round(below * SCALE), shown.x + shown.width, top + shown.height]
    (FOLDER / f"{name}.json").write_text(json.dumps(corners))


def fact_01_empty():
    bpy.context.preferences.view.ui_scale = SCALE
    if LANGUAGE:
        bpy.context.preferences.view.language = LANGUAGE
        bpy.context.preferences.view.use_translate_interface = True
    yield lambda: part("engine_life").engine_state().kind == "READY"
    yield from fresh()
    yield from take("empty")


def fact_02_picture():
    window().scene.gaussmith.picture = str(FOLDER / "teapot.png")
    yield lambda: part("sidebar.thumbnails").icon(window().scene.gaussmith.picture) > 0
    yield from take("picture")


def at_work() -> Iterator:
    """A job under way, for as long as it is looked at: the engine hangs, and what it would say is put in its mouth."""
    job = generate("teapot hang")
    yield lambda: job.fraction > 0
    job.name, job.text, job.fraction = "teapot", "Imagining the object", 0.42
    jobs().estimates.remaining = lambda *_: 5.0
    window().scene.gaussmith.picture = str(FOLDER / "teapot.png")


def end_work() -> Iterator:
    call(bpy.ops.gaussmith.cancel_all)
    yield lambda: not jobs().busy
    del jobs().estimates.remaining
    forget_all()


def fact_03_running():
    yield from at_work()
    yield from take("running")
    yield from end_work()
    job = generate("teapot")
    yield ended(job)
    yield from take("done")


def fact_04_queue():
    yield from at_work()
    for name in ("cat", "dog", "cat"):
        generate(name)
    window().scene.gaussmith.picture = str(FOLDER / "teapot.png")
    yield from take("queue")
    yield from end_work()


def fact_05_failures():
    for picture in ("fail", "memory", "disk", "crash"):
        forget_all()
        job = generate(picture)
        yield ended(job)
        yield from take(picture)


def fact_06_ready_for_another_file():
    forget_all()
    job = generate("teapot")
    yield from fresh()
    yield lambda: state(job) == "READY"
    yield from take("ready")
    forget_all()


def fact_07_object():
    before = objects()
    job = generate("cat")
    yield ended(job)
    forget_all()
    (made,) = objects() - before
    window().view_layer.objects.active = bpy.data.objects[made]
    yield from take("object")


def fact_08_history():
    panel = bpy.types.GAUSSMITH_PT_history
    bpy.utils.unregister_class(panel)
    panel.bl_options = set()
    bpy.utils.register_class(panel)
    yield from fresh()
    forget_all()
    shown = part("sidebar.history_panel").view
    shown.selected = shown.shown[0].id
    yield 1.0
    yield from take("history")


def fact_09_no_engine():
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.engine_python = "/opt/engine/python"
    yield lambda: part("engine_life").engine_state().kind == "PROBLEM"
    yield from fresh()
    yield from take("no-engine")
    preferences.engine_python = ""
    yield lambda: part("engine_life").engine_state().kind == "READY"


def fact_10_preferences():
    job = generate("cat")  # so that the engine is there
    yield ended(job)
    area = view()
    area.type = "PREFERENCES"
    bpy.context.preferences.active_section = "ADDONS"
    window().screen.show_statusbar = True
    bpy.context.window_manager.addon_search = "gaussmith"
    with bpy.context.temp_override(window=window(), area=area):
        bpy.ops.preferences.addon_expand(module=MODULE)
    yield 0.5
    yield from take("preferences", next(region for region in area.regions if region.type == "WINDOW"), below=225)
    area.type = "VIEW_3D"
    yield 0.2


class Opened:
    """A layout whose panels begin open, as after clicks on headers, where their names begin with one of `words`."""

    def __init__(self, layout: bpy.types.UILayout, words: tuple[str, ...]) -> None:
        vars(self).update(layout=layout, words=words)

    def __getattr__(self, name: str):
        return getattr(self.layout, name)

    def __setattr__(self, name: str, value) -> None:
        setattr(self.layout, name, value)

    def panel(self, name: str, default_closed: bool):
        header, body = self.layout.panel(name, default_closed=default_closed and not name.startswith(self.words))
        return header, body and Opened(body, self.words)


def fact_11_advanced():
    panels = part("panels")
    plain = panels._draw_advanced
    for name, words in (("advanced", ("GAUSSMITH_advanced",)), ("advanced-all", ("GAUSSMITH_",))):
        panels._draw_advanced = lambda layout, *rest, words=words: plain(Opened(layout, words), *rest)
        yield from fresh()
        window().scene.gaussmith.as_asset = True
        yield from take(name)
    panels._draw_advanced = plain


def fact_12_statue():
    (statue,) = (path for path in FOLDER.iterdir() if path.suffix in part("files.splat_files").SUFFIXES)
    yield lambda: part("engine_life").engine_state().kind == "READY"
    yield from fresh()
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    with bpy.context.temp_override(window=window(), area=view()):
        bpy.ops.gaussmith.import_splats(filepath=str(statue), up="-y", size=SIZE)
    (job,) = jobs().jobs
    yield ended(job)
    assert state(job) == "DONE", job.error
    window().view_layer.objects.active = bpy.data.objects[statue.stem]
    forget_all()  # the mesh's report has the space
    space = view().spaces.active
    space.show_region_toolbar = False
    space.shading.color_type, space.shading.light = "TEXTURE", "FLAT"
    space.region_3d.view_rotation = Euler((math.radians(82), 0, math.radians(80))).to_quaternion()
    space.region_3d.view_location, space.region_3d.view_distance = (0, 0.4, 0.45 * SIZE), 2.1 * SIZE
    yield from take("statue", next(region for region in view().regions if region.type == "WINDOW"))
    (FOLDER / "statue.json").write_text(json.dumps([0, 0, window().width, window().height]))


def forget_all() -> None:
    for job in list(jobs().jobs):
        jobs().forget(job)


def run() -> None:
    stepper = Stepper(
        [
            fact
            for name, fact in sorted(globals().items())
            if name.startswith("fact_") and (not ONLY or any(word in name for word in ONLY))
        ],
        Results(RESULTS),
        lambda: iter(()),
        SECONDS,
    )

    def step() -> float | None:
        wanted = stepper.step()
        if wanted is None:
            bpy.ops.wm.quit_blender()
        return wanted

    bpy.app.timers.register(step, first_interval=1.0, persistent=True)


run()

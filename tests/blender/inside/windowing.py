# SPDX-License-Identifier: GPL-3.0-or-later
"""What facts in a window are told with: the extension's modules, clicks, screenshots, and the run of all facts.

A fact is a generator: it yields seconds, or a function to wait until it is true, and Blender goes on meanwhile.
Scripts are called with RESULTS.json and a FOLDER, which holds the pictures and gets the screenshots.
"""

import importlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from itertools import pairwise
from pathlib import Path

import bpy

from tests.blender.inside.harness import WAIT_SECONDS, Results, Stepper

RESULTS, FOLDER = (Path(argument) for argument in sys.argv[sys.argv.index("--") + 1 :][:2])
MODULE = "bl_ext.user_default.gaussmith"
SIZE = 2.0
ticks: list[float] = []


def part(name: str):
    """A module of the extension, also one that it loads when it is needed."""
    return importlib.import_module(f"{MODULE}.{name}")


def jobs():
    return part("session").jobs()


def state(job) -> str:
    return job.state.name


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def view() -> bpy.types.Area:
    return next(area for area in window().screen.areas if area.type == "VIEW_3D")


def call(operator, **properties):
    """An operator, as from a button in the sidebar."""
    region = next(region for region in view().regions if region.type == "UI")
    with bpy.context.temp_override(window=window(), area=view(), region=region):
        return operator("INVOKE_DEFAULT", True, **properties)


def key(kind: str, x: int = 400, y: int = 500):
    """A key pressed and released with the mouse at a place of the window; Blender reads it later."""
    for word, value in (("MOUSEMOVE", "NOTHING"), (kind, "PRESS"), (kind, "RELEASE")):
        window().event_simulate(type=word, value=value, x=x, y=y)
        yield 0.2


def drop(*names: str) -> set[str]:
    """Files of FOLDER dropped on the 3D view: what Blender calls when the system tells it of a drop."""
    region = next(region for region in view().regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window(), area=view(), region=region):
        files = [{"name": name} for name in names]
        return bpy.ops.wm.drop_import_file("INVOKE_DEFAULT", directory=str(FOLDER), files=files)


def generate(name: str, **settings):
    """Clicks Generate for a picture and returns its job."""
    chosen = window().scene.gaussmith
    chosen.picture = str(FOLDER / f"{name}.png")
    chosen.size = SIZE
    for key, value in settings.items():
        setattr(chosen, key, value)
    known = {job.id for job in jobs().jobs}
    assert call(bpy.ops.gaussmith.generate) == {"FINISHED"}
    return next(job for job in jobs().jobs if job.id not in known)


def ended(job):
    return lambda: not job.active and state(job) != "READY"


def longest_pause() -> float:
    """Seconds the window stood still at most since the last call, or since the last screenshot."""
    times = [*ticks, time.monotonic()]
    ticks[:] = times[-1:]
    return max(b - a for a, b in pairwise(times))


def screenshot(name: str) -> None:
    """A picture of the whole display, where the tool for it is installed."""
    if (tool := shutil.which("import")) is not None:
        subprocess.run([tool, "-window", "root", str(FOLDER / f"{name}.png")], check=True)
    ticks.clear()


def show_sidebar():
    """Opens our tab; Blender knows a tab only after it was drawn."""
    with bpy.context.temp_override(window=window(), area=view()):
        view().spaces.active.show_region_ui = True
    yield 0.2
    region = next(region for region in view().regions if region.type == "UI")
    region.active_panel_category = "Gaussmith"
    yield 0.1


def fresh():
    with bpy.context.temp_override(window=window()):
        bpy.ops.wm.read_homefile(use_factory_startup=True)
    yield 0.2
    yield from show_sidebar()


def anew():
    """A new file, and nothing left of the facts before."""
    for job in list(jobs().jobs):
        jobs().forget(job)
    yield from fresh()


def objects() -> set[str]:
    return {ob.name for ob in bpy.data.objects}


def run_and_quit(facts: list[Callable[[], Generator]], wait_seconds: float = WAIT_SECONDS) -> None:
    """Runs facts one after another, each in a new file, and then quits Blender."""
    stepper = Stepper(facts, Results(RESULTS), anew, wait_seconds)

    def step() -> float | None:
        ticks.append(time.monotonic())
        wanted = stepper.step()
        if wanted is None:
            bpy.ops.wm.quit_blender()
        return wanted

    bpy.app.timers.register(step, first_interval=1.0, persistent=True)

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What lives as long as the add-on is enabled: the job queue and its timer.

Panels only read from here. One timer takes what the engine and the background check said; it never waits.
"""

import atexit
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy

from . import engine_life
from .estimates import Estimates
from .files import splat_files
from .files.file_errors import GlbError
from .jobs import Job, JobError, JobQueue, State
from .options import PictureOptions, chosen
from .results import delivery
from .results.delivery import import_ready, on_imported
from .sidebar import thumbnails
from .wire import protocol

__all__ = ("import_ready", "on_imported")

TAB = "Gaussmith"
"""Label of our tab in the sidebar of the 3D view."""
BUSY_INTERVAL = 0.1
IDLE_INTERVAL = 1.0
SPACING = 1.25
"""Distance between objects made from pictures given together, in object sizes."""


class _Session:
    def __init__(self) -> None:
        self.jobs = JobQueue(
            engine_life.start_engine, estimates=Estimates(engine_life.user_folder("learned") / "timings.json")
        )
        self.jobs.turns_for = engine_life.turns_for
        self.folder = Path(bpy.app.tempdir or tempfile.gettempdir(), f"gaussmith-{uuid.uuid4().hex[:12]}")
        """What the engine makes, a folder for each job."""
        self.areas_to_show: set[int] = set()
        self.cleared: set[str] = set()


_session: _Session | None = None


def jobs() -> JobQueue:
    assert _session is not None, "the add-on is not enabled"
    return _session.jobs


# ---------------------------------------------------------------------------
# Jobs


def submit_picture(
    picture: Path,
    context: bpy.types.Context,
    index: int = 0,
    *,
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
    replace: str | None = None,
) -> Job:
    """Asks for a mesh of a picture with the scene's settings; the object will stand at the 3D cursor.

    `index` counts pictures given together: their objects stand side by side along x. `seed` and `options` go before
    the scene's settings; `replace` names the object whose mesh the result takes the place of.
    """
    wanted = {**chosen(context.scene.gaussmith, PictureOptions), **(options or {})}
    own_seed = wanted.pop("seed")
    wanted_seed = own_seed if seed is None else seed
    generator = context.scene.gaussmith.generator
    request = protocol.Generate("", str(picture), _new_output(), generator, wanted_seed, wanted)
    job = _submit(request, picture.stem, context, index * SPACING * wanted["size"], replace)
    if not picture.is_file():
        job.fail(JobError("BAD_PICTURE", f"There is no file {picture}.", "Choose another picture."))
    return job


def submit_splats(splats: Path, wanted: dict[str, Any], context: bpy.types.Context, index: int = 0) -> Job:
    """Asks for a mesh of a file of splats with the options chosen; as `submit_picture`, or in its own place where it
    keeps its frame.
    """
    request = protocol.MakeMesh("", str(splats), _new_output(), options=wanted)
    job = _submit(request, splats.stem, context, index * SPACING * wanted["size"])
    message, hint = splat_files.problem(splats)
    if message:
        job.fail(JobError("BAD_SPLATS", message, hint))
    return job


def _new_output() -> str:
    """A file in a folder of its own; its name is short and plain, whatever the picture is called."""
    assert _session is not None
    return str(_session.folder / uuid.uuid4().hex[:12] / "mesh.glb")


def submit_again(job: Job, context: bpy.types.Context) -> Job:
    """The same request once more, for where the cursor is now."""
    jobs().forget(job)
    return _submit(job.request, job.name, context, replace=job.context.replace)


def _submit(request: Any, name: str, context: bpy.types.Context, shift: float = 0.0, replace: str | None = None) -> Job:
    assert _session is not None
    for old in [job for job in _session.jobs.jobs if job.state in (State.DONE, State.CANCELLED)]:
        _session.jobs.forget(old)
    job = _session.jobs.submit(request, name, delivery.target_here(context, shift, replace))
    try:
        Path(request.output).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = f"There is no writing in {_session.folder.parent}: {error.strerror or error}."
        job.fail(JobError("CANNOT_WRITE", place, "Free some space, or choose another folder for temporary files."))
    thumbnails.prepare(getattr(request, "picture", ""))
    wake()
    return job


def wait(job: Job, context: bpy.types.Context) -> None:
    """Without a window: waits for a job and imports its result. Timers do not run there."""
    engine_life.pump(time.monotonic())  # the user's patience counts here too
    jobs().wait(job)
    if job.state is State.READY:
        try:
            import_ready(job, context)
        except (GlbError, OSError) as error:
            job.fail(JobError("BAD_RESULT", str(error), "Try again; the log says more."))
    _clear_away()


def _clear_away() -> None:
    """Removes what jobs left behind that came to nothing."""
    assert _session is not None
    ended = {job.id: job for job in _session.jobs.jobs if job.state in (State.FAILED, State.CANCELLED)}
    for job in (job for job_id, job in ended.items() if job_id not in _session.cleared):
        shutil.rmtree(Path(job.request.output).parent, ignore_errors=True)
    _session.cleared = set(ended)


def check_engine() -> None:
    """Looks for the engine's Python in the background; `engine_life.engine_state` tells what came of it."""
    if _session is not None:
        engine_life.check()
        wake()


# ---------------------------------------------------------------------------
# Sidebar


def show_tab(area: bpy.types.Area) -> None:
    """Opens our tab in the sidebar of a 3D view, so that progress and errors are seen."""
    assert _session is not None
    area.spaces.active.show_region_ui = True
    _session.areas_to_show.add(area.as_pointer())
    wake()


def _show_tabs() -> None:
    """A sidebar that was closed knows its tabs only after it was drawn."""
    assert _session is not None
    for area in (area for window in bpy.context.window_manager.windows for area in window.screen.areas):
        if area.type == "VIEW_3D" and area.as_pointer() in _session.areas_to_show:
            for region in area.regions:
                if region.type == "UI" and region.active_panel_category != "UNSUPPORTED":
                    region.active_panel_category = TAB
                    _session.areas_to_show.discard(area.as_pointer())


# ---------------------------------------------------------------------------
# Timer and handlers


def wake() -> None:
    """Has the timer called at once, however long it rests just now. Without a window there is none."""
    if bpy.app.background:
        return
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    bpy.app.timers.register(_tick, first_interval=0.01, persistent=True)


def _tick() -> float | None:
    """Called by Blender; a callback that raises would never be called again, and the queue would stand still."""
    if _session is None:
        return None
    try:
        return _step(_session)
    except Exception as error:
        import traceback

        traceback.print_exc()
        what = f"The add-on failed in a way it does not know: {type(error).__name__}: {error}."
        hint = "Try once more; if it fails again, please report it together with the log."
        _session.jobs.abort(JobError("INTERNAL", what, hint, traceback.format_exc()))
        return IDLE_INTERVAL


def _step(session: _Session) -> float | None:
    """What is done at each call; returns seconds until the next, or None when nothing is left to wait for."""
    if session.areas_to_show:
        _show_tabs()
    changed = session.jobs.pump()
    changed |= engine_life.pump(time.monotonic())
    for job in session.jobs.jobs:
        if job.state is State.READY:
            changed |= delivery.deliver(job)
    _clear_away()
    if changed:
        redraw()
    ready_here = any(job.state is State.READY and delivery.is_here(job) for job in session.jobs.jobs)
    if session.jobs.busy or engine_life.is_busy() or ready_here:
        return BUSY_INTERVAL
    session.areas_to_show.clear()
    return IDLE_INTERVAL if session.jobs.engine is not None else None


def redraw() -> None:
    """Draws sidebars, preferences and status bars anew, and not the views beside them: a scene can be slow to draw."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                for region in area.regions:
                    if region.type == ("UI" if area.type == "VIEW_3D" else "WINDOW"):
                        region.tag_redraw()
    # Status bars are in no screen; they listen to which view layer is in view.
    bpy.msgbus.publish_rna(key=(bpy.types.Window, "view_layer"))


@bpy.app.handlers.persistent
def _file_loaded(*_: Any) -> None:
    """Another file, or the same one again: results under way were not made for it."""
    delivery.another_file()
    for each in bpy.data.scenes:
        thumbnails.load(each.gaussmith.picture)
    wake()


def register() -> None:
    global _session
    _session = _Session()
    engine_life.begin(_session.jobs)
    bpy.app.handlers.load_post.append(_file_loaded)
    if not bpy.app.background:
        check_engine()
    if not bpy.app.binary_path:  # Blender as a module does not unregister at exit
        atexit.register(_end)


def unregister() -> None:
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _file_loaded in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_file_loaded)
    atexit.unregister(_end)
    _end()


def _end() -> None:
    """Ends the engine and removes what was not imported."""
    global _session
    if _session is None:
        return
    ending, _session = _session, None
    ending.jobs.stop()
    engine_life.end()
    delivery.forget()
    shutil.rmtree(ending.folder, ignore_errors=True)

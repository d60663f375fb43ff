# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What lives as long as the add-on is enabled: the job queue, its timer, the engine's state and the thumbnail.

Panels only read from here. One timer takes what the engine and the background check said; it never waits.
"""

import atexit
import queue
import shutil
import tempfile
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews

from . import options, scene, splat_files
from .client import EngineProcess, engine_command
from .environment import EngineError, check_python, engine_environment, engine_folder, find_python
from .glb import GlbError
from .jobs import Job, JobError, JobQueue, State
from .record import make_record
from .wire import protocol

TAB = "Gaussmith"
"""Label of our tab in the sidebar of the 3D view."""
BUSY_INTERVAL = 0.1
IDLE_INTERVAL = 1.0
LARGEST_THUMBNAIL = 40_000_000
"""Bytes of a picture file beyond which no thumbnail is made of it."""
THUMBNAILS_KEPT = 32
SPACING = 1.25
"""Distance between objects made from pictures given together, in object sizes."""


@dataclass(frozen=True)
class EngineState:
    """Whether the engine can be used, in words for the panel."""

    kind: str  # 'CHECKING', 'READY' or 'PROBLEM'
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Target:
    """Where a result belongs: the file and scene the user was in when asking for it, and the 3D cursor then."""

    file: int
    scene: str
    location: tuple[float, float, float]


_CHECKING = EngineState("CHECKING", "Looking for the engine")
_NO_PREVIEW = 0


class _Session:
    def __init__(self) -> None:
        self.jobs = JobQueue(_start_engine)
        self.engine_state = _CHECKING
        self.checks: queue.SimpleQueue[tuple[int, EngineState]] = queue.SimpleQueue()
        self.check_number = 0
        self.check_pending = False
        self.file = 0
        self.folder: Path | None = None
        self.previews = None if bpy.app.background else bpy.utils.previews.new()
        self.areas_to_show: set[int] = set()
        self.holds: dict[str, str] = {}  # why a READY job is not imported yet, by id


_session: _Session | None = None


def jobs() -> JobQueue:
    assert _session is not None, "the add-on is not enabled"
    return _session.jobs


def engine_state() -> EngineState:
    return _session.engine_state if _session is not None else _CHECKING


def hold_of(job: Job) -> str:
    """Why a READY job has not been imported, empty when nobody said."""
    return _session.holds.get(job.id, "") if _session is not None else ""


def preferred_python() -> str:
    """The engine's Python as the preferences name it, empty where they do not or Blender has no entry for us."""
    entry = bpy.context.preferences.addons.get(__package__ or "")
    return bpy.path.abspath(entry.preferences.engine_python) if entry is not None else ""


# ---------------------------------------------------------------------------
# Jobs


def submit_picture(picture: Path, context: bpy.types.Context, index: int = 0) -> Job:
    """Asks for a mesh of a picture with the scene's settings; the object will stand at the 3D cursor.

    `index` counts pictures given together: their objects stand side by side along x.
    """
    settings = context.scene.gaussmith
    chosen = options.chosen(settings, options.PictureOptions)
    seed = chosen.pop("seed")
    request = protocol.Generate("", str(picture), str(_output_for(picture)), seed=seed, options=chosen)
    job = _submit(request, picture.stem, context, index * SPACING * settings.size)
    if not picture.is_file():
        job.fail(JobError("BAD_PICTURE", f"There is no file {picture}.", "Choose another picture."))
    return job


def submit_splats(splats: Path, chosen: dict[str, Any], context: bpy.types.Context, index: int = 0) -> Job:
    """Asks for a mesh of a file of splats with the options chosen; as `submit_picture`, or in its own place where it
    keeps its frame.
    """
    request = protocol.MakeMesh("", str(splats), str(_output_for(splats)), options=chosen)
    job = _submit(request, splats.stem, context, index * SPACING * chosen["size"])
    message, hint = splat_files.problem(splats)
    if message:
        job.fail(JobError("BAD_SPLATS", message, hint))
    return job


def _output_for(source: Path) -> Path:
    return _job_folder() / uuid.uuid4().hex / f"{source.stem}.glb"


def submit_again(job: Job, context: bpy.types.Context) -> Job:
    """The same request once more, for where the cursor is now."""
    jobs().forget(job)
    return _submit(job.request, job.name, context, 0.0)


def _submit(request: Any, name: str, context: bpy.types.Context, shift: float) -> Job:
    assert _session is not None
    Path(request.output).parent.mkdir(parents=True, exist_ok=True)
    cursor = context.scene.cursor.location
    target = Target(_session.file, context.scene.name, (cursor.x + shift, cursor.y, cursor.z))
    job = _session.jobs.submit(request, name, target)
    for old in [job for job in _session.jobs.jobs if job.state in (State.DONE, State.CANCELLED)]:
        _session.jobs.forget(old)
    wake()
    return job


def import_ready(job: Job, context: bpy.types.Context) -> bpy.types.Object:
    """Makes the object of a READY job in the scene in view. Raises `GlbError` or `OSError` for a damaged file."""
    assert _session is not None
    assert job.result is not None
    target = job.context
    is_home = target.file == _session.file and target.scene == context.scene.name
    location = target.location if is_home else tuple(context.scene.cursor.location)
    ob, *_ = scene.import_meshes(
        job.result.files,
        name=job.name,
        record=make_record(job.request, job.result),
        location=None if job.request.options.get("keep_frame") else location,
        collection=context.collection,
    )
    scene.select_only(ob, context.view_layer)
    _session.jobs.done(job)
    _session.holds.pop(job.id, None)
    shutil.rmtree(Path(job.result.files["mesh"]).parent, ignore_errors=True)
    return ob


def wait(job: Job, context: bpy.types.Context) -> None:
    """Without a window: waits for a job and imports its result. Timers do not run there."""
    jobs().wait(job)
    if job.state is State.READY:
        try:
            import_ready(job, context)
        except (GlbError, OSError) as error:
            job.fail(JobError("BAD_RESULT", str(error), "Try again; the log says more."))


def log_folder() -> Path:
    """Where the engine's logs are kept: with the extension's own files, or for this session only."""
    try:
        return Path(bpy.utils.extension_path_user(__package__ or "", path="logs", create=True))
    except ValueError:  # not run as an extension
        return Path(bpy.app.tempdir or tempfile.gettempdir()) / "gaussmith-logs"


def _job_folder() -> Path:
    assert _session is not None
    if _session.folder is None or not _session.folder.is_dir():
        _session.folder = Path(tempfile.mkdtemp(prefix="gaussmith-", dir=bpy.app.tempdir or None))
    return _session.folder


def _start_engine() -> EngineProcess:
    python = find_python(preferred_python())
    environ = engine_environment(bpy.app.binary_path)
    return EngineProcess(engine_command(python.path, engine_folder()), log_folder(), environ)


# ---------------------------------------------------------------------------
# The engine's state


def check_engine() -> None:
    """Looks for the engine's Python in the background; `engine_state` tells what came of it."""
    if _session is None:
        return
    preference = preferred_python()
    _session.check_number += 1
    _session.check_pending = True
    _session.engine_state = _CHECKING
    number, answers = _session.check_number, _session.checks
    threading.Thread(
        target=lambda: answers.put((number, _look_for_engine(preference))), name="gaussmith-engine-check", daemon=True
    ).start()
    wake()


def _look_for_engine(preference: str) -> EngineState:
    try:
        python = find_python(preference)
        version = check_python(python.path)
    except EngineError as error:
        return EngineState("PROBLEM", error.message, error.hint)
    return EngineState("READY", f"Ready: Python {version}, {python.source}", str(python.path))


def _take_check() -> bool:
    assert _session is not None
    changed = False
    while not _session.checks.empty():
        number, state = _session.checks.get()
        if number == _session.check_number:
            _session.engine_state, _session.check_pending, changed = state, False, True
    return changed


# ---------------------------------------------------------------------------
# Thumbnail


def load_thumbnail(path: str) -> None:
    """Prepares the thumbnail of a picture, so that drawing it only reads a number."""
    file = Path(bpy.path.abspath(path)) if path else None
    if _session is None or _session.previews is None or file is None:
        return
    if path in _session.previews:  # the file may have changed
        _session.previews[path].reload()
        return
    try:
        if file.stat().st_size > LARGEST_THUMBNAIL or not file.is_file():
            return
    except OSError:
        return  # not there: the panel shows no thumbnail, and Generate says why
    if len(_session.previews) >= THUMBNAILS_KEPT:
        _session.previews.clear()
    _session.previews.load(path, str(file), "IMAGE")


def thumbnail(path: str) -> int:
    """The icon of a picture whose thumbnail was loaded, else 0."""
    if _session is None or _session.previews is None or path not in _session.previews:
        return _NO_PREVIEW
    return _session.previews[path].icon_id


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
    """Makes sure that the timer runs. Without a window there is none."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.01, persistent=True)


def _tick() -> float | None:
    if _session is None:
        return None
    if _session.areas_to_show:
        _show_tabs()
    changed = _take_check()
    changed |= _session.jobs.pump()
    for job in _session.jobs.jobs:
        if job.state is State.READY:
            changed |= _deliver(job)
    if changed:
        _redraw()
    ready_here = any(j.state is State.READY and j.context.file == _session.file for j in _session.jobs.jobs)
    if _session.jobs.busy or _session.check_pending or ready_here:
        return BUSY_INTERVAL
    _session.areas_to_show.clear()
    return IDLE_INTERVAL if _session.jobs.engine is not None else None


def _deliver(job: Job) -> bool:
    """Imports a READY job when its file and scene are in view and the user's hands are free. Returns what changed."""
    assert _session is not None
    window, hold = _free_window(job.context)
    if window is None:
        changed = _session.holds.get(job.id) != hold
        _session.holds[job.id] = hold
        return changed
    try:
        with bpy.context.temp_override(window=window):
            bpy.ops.gaussmith.import_result("EXEC_DEFAULT", True, job=job.id)
    except RuntimeError as error:  # how Blender passes on an operator's error report
        if job.state is State.READY:
            job.fail(JobError("IMPORT_FAILED", str(error).strip(), "Try again."))
    return True


def _free_window(target: Target) -> tuple[bpy.types.Window | None, str]:
    """A window in which the result can appear, or why there is none just now."""
    assert _session is not None
    if target.file != _session.file:
        return None, "Made for another file"
    windows = [w for w in bpy.context.window_manager.windows if w.scene.name == target.scene]
    if not windows:
        return None, f"Made for scene {target.scene}"
    window = windows[0]
    active = window.view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        return None, "Appears when you are back in Object Mode"
    if bpy.app.is_job_running("RENDER"):
        return None, "Appears when the render is done"
    if any(op.bl_idname.startswith("TRANSFORM_OT_") for w in windows for op in w.modal_operators):
        return None, "Appears when you are done moving things"
    return window, ""


def _redraw() -> None:
    """Draws sidebars and preferences anew, and not the views beside them: a scene can be slow to draw."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                for region in area.regions:
                    if region.type == ("UI" if area.type == "VIEW_3D" else "WINDOW"):
                        region.tag_redraw()


@bpy.app.handlers.persistent
def _file_loaded(*_: Any) -> None:
    """Another file, or the same one again: results under way were not made for it."""
    if _session is not None:
        _session.file += 1
        for each in bpy.data.scenes:
            load_thumbnail(each.gaussmith.picture)
        wake()


def register() -> None:
    global _session
    _session = _Session()
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
    if ending.previews is not None:
        bpy.utils.previews.remove(ending.previews)
    if ending.folder is not None:
        shutil.rmtree(ending.folder, ignore_errors=True)

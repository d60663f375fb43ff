# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""Where results belong, and when they appear there: in the file and scene they were asked for, when hands are free."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import bpy

from .. import scene
from ..jobs import Job, JobError, State
from . import bring_in
from .record import make_record
from .result_options import ResultChoice, result_choice

Listener = Callable[[Job, list[bpy.types.Object]], None]


@dataclass(frozen=True)
class Target:
    """Where a result belongs: the file and scene the user was in when asking for it, and the 3D cursor then."""

    file: int
    scene: str
    location: tuple[float, float, float]
    replace: str | None = None
    """Name of the object whose mesh the result takes the place of."""
    choice: ResultChoice = field(default_factory=ResultChoice)


on_imported: list[Listener] = []
"""Called with the job and its objects when they have been made, while the engine's files are still there."""

_file = 0
_holds: dict[str, str] = {}  # why a READY job is not imported yet, by id


def target_here(context: bpy.types.Context, shift: float = 0.0, replace: str | None = None) -> Target:
    """The file and scene in view with its settings, at the 3D cursor or `shift` beside it along x."""
    cursor = context.scene.cursor.location
    choice = result_choice(context.scene.gaussmith)
    return Target(_file, context.scene.name, (cursor.x + shift, cursor.y, cursor.z), replace, choice)


def another_file() -> None:
    """Another file was loaded, or the same one again: results under way were not made for it."""
    global _file
    _file += 1


def is_here(job: Job) -> bool:
    """Whether the job was asked for in the file that is open."""
    return job.context.file == _file


def hold_of(job: Job) -> str:
    """Why a READY job has not been imported, empty when nobody said."""
    return _holds.get(job.id, "")


def import_ready(job: Job, context: bpy.types.Context) -> bpy.types.Object:
    """Makes the object of a READY job in the scene in view, as chosen when it was asked for. The selection stays as
    it is unless that was chosen too, or there is no window. Raises `GlbError` or `OSError` for a damaged file.
    """
    assert job.result is not None
    target = job.context
    is_home = is_here(job) and target.scene == context.scene.name
    location = target.location if is_home else tuple(context.scene.cursor.location)
    placed = bring_in.place(
        job.result.files,
        name=job.name,
        record=make_record(job.request, job.result),
        location=None if job.request.options.get("keep_frame") else location,
        context=context,
        choice=target.choice,
        replacing=target.replace if is_home else None,
        saved_splats=job.result.files.get("splats"),
    )
    objects = placed.objects
    job.notices += placed.notes
    if target.choice.select_result or bpy.app.background:
        scene.select_only(objects[0], context.view_layer)
    job.done()
    _holds.pop(job.id, None)
    try:
        for listener in on_imported:
            listener(job, objects)
    finally:
        shutil.rmtree(Path(job.result.files["mesh"]).parent, ignore_errors=True)
    return objects[0]


def deliver(job: Job) -> bool:
    """Imports a READY job when its file and scene are in view and the user's hands are free. Returns what changed."""
    window, hold = _free_window(job.context)
    if window is None:
        changed = _holds.get(job.id) != hold
        _holds[job.id] = hold
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
    if target.file != _file:
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


def forget() -> None:
    """Forgets all there is to know about jobs."""
    _holds.clear()

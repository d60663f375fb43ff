# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""The user's history inside Blender: where it lies, what goes into it and what comes out again."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bpy

from .. import engine_life, session
from ..history import History
from ..history_entry import Entry, new_entry
from ..jobs import Job, State
from ..sidebar import thumbnails
from ..wire import protocol
from . import delivery

REDRAW_INTERVAL = 0.25
GIGABYTE = 1e9

on_changed: list[Callable[[], object]] = []
"""Called, in the main thread, when the history has changed."""

_history: History | None = None
_drawn = -1  # the version of the history that was last drawn


def history() -> History:
    assert _history is not None, "the add-on is not enabled"
    return _history


def open_history(folder: Path) -> History:
    """Makes `folder` the history's; what it holds is read in the background."""
    global _history, _drawn
    _history, _drawn = History(folder), -1
    limit_changed()
    _history.load()
    wake()
    return _history


def limit_changed() -> None:
    """The preferences say how much the history may take."""
    if _history is not None:
        _history.limit_to(round(GIGABYTE * engine_life.preference("history_gigabytes")))
        wake()


def in_use() -> frozenset[str]:
    """What must not go with the history: ids and pictures of the jobs in the queue, and the pictures in the wells."""
    jobs = session.jobs().jobs
    pictures = {getattr(job.request, "picture", "") for job in jobs}
    return frozenset({job.id for job in jobs} | pictures | {each.gaussmith.picture for each in bpy.data.scenes})


def keep(job: Job, objects: list[bpy.types.Object]) -> None:
    """Takes a finished job into the history with links to, or copies of, its files."""
    result = job.result
    if result is None or history().find(job.id) is not None:
        return  # it came out of the history
    made = Path(tempfile.mkdtemp(prefix="gaussmith-kept-", dir=bpy.app.tempdir or None))
    files = {key: str(_linked(Path(path), made)) for key, path in result.files.items() if os.path.isfile(path)}
    if "mesh" not in files:
        shutil.rmtree(made, ignore_errors=True)
        return
    request = job.request
    source = (
        {"picture": request.picture, "generator": request.generator, "seed": request.seed}
        if isinstance(request, protocol.Generate)
        else {"splats": request.splats}
    )
    entry = new_entry(
        job.id,
        job.name,
        options=dict(request.options),
        files=files,
        seconds=job.seconds,
        report=dict(result.report),
        **source,
    )
    thumbnail = thumbnails.snapshot(objects[0]) if objects else b""
    history().add(entry, made, thumbnail, imported=bool(objects), spare=in_use())
    wake()


def job_of(entry: Entry, context: bpy.types.Context) -> Job:
    """An entry as a READY job for the place in view, with files of its own. Raises `OSError` where they are gone."""
    made = Path(tempfile.mkdtemp(prefix="gaussmith-again-", dir=bpy.app.tempdir or None))
    try:
        files = {key: str(_linked(Path(path), made)) for key, path in entry.files.items()}
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        raise
    request = request_of(entry, files["mesh"])
    result = protocol.Result(entry.id, files, dict(entry.report))
    target = delivery.target_here(context)
    return Job(request, entry.name, target, State.READY, fraction=1.0, result=result, seconds=entry.seconds)


def request_of(entry: Entry, output: str) -> protocol.Generate | protocol.MakeMesh:
    """What it takes to make an entry again."""
    if entry.splats:
        return protocol.MakeMesh(entry.id, entry.splats, output, dict(entry.options))
    generator = {"generator": entry.generator} if entry.generator else {}
    request = protocol.Generate(entry.id, entry.picture, output, seed=entry.seed, options=dict(entry.options))
    return replace(request, **generator)


def _linked(path: Path, folder: Path) -> Path:
    """The same file in another folder: a second name where the file system has them, else a copy."""
    target = folder / path.name
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)
    return target


# ---------------------------------------------------------------------------
# Redrawing when the thread of the history has read or written


def wake() -> None:
    """Draws the panel anew when the history has changed. Without a window nothing is drawn."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.05, persistent=True)


def _tick() -> float | None:
    global _drawn
    if _history is None:
        return None
    if _history.version != _drawn:
        _drawn = _history.version
        for listener in on_changed:
            listener()
        session.redraw()
    return REDRAW_INTERVAL if _history.busy else None


def register() -> None:
    open_history(engine_life.user_folder("history"))
    if not bpy.app.background:
        delivery.on_imported.append(keep)


def unregister() -> None:
    """What is finished and was never imported is kept too: it may be wanted in the next run of Blender."""
    global _history
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if keep in delivery.on_imported:
        delivery.on_imported.remove(keep)
        for job in session.jobs().jobs:
            if job.state is State.READY:
                keep(job, [])
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _history is not None:
        _history.finish()
        _history = None

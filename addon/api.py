# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""Gaussmith for scripts and pipelines, in a window and in `blender -b`; docs/scripting.md has examples.

    job = api.submit("cat.png", seed=3, faces=5000)       returns at once; the engine works in its own process
    api.wait(job)                                          until it is finished
    objects = api.result(job)                              the objects: the mesh, then its levels of detail

Options that are not given have their defaults, whatever the scene's settings are.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bpy

from . import options, session
from .files import splat_files
from .files.file_errors import GlbError
from .jobs import Job, JobError, State
from .options import PictureOptions, SplatOptions
from .results import delivery
from .results.result_options import ResultChoice, ResultOptions

__all__ = ("GenerationError", "Job", "cancel", "generate", "option_names", "result", "submit", "wait")

_MOMENT = 0.01
_objects: dict[str, list[int]] = {}  # `session_uid` of the objects made of a job, by its id


class GenerationError(RuntimeError):
    """A job that failed or was cancelled: its text says what happened and what to try.

    `code` names the kind of failure for programs, "BAD_PICTURE" or "CANCELLED" for example; `detail` may hold the end
    of the engine's log.
    """

    def __init__(self, job: Job, error: JobError) -> None:
        super().__init__(f"{job.name}: {error.message} {error.hint}".strip())
        self.code, self.message, self.hint, self.detail = error.code, error.message, error.hint, error.detail


def submit(
    source: str | Path,
    *,
    name: str | None = None,
    location: Sequence[float] | None = None,
    replace_object: str | None = None,
    **wanted: Any,
) -> Job:
    """Asks for a mesh of a picture or of a file of Gaussian splats, and returns at once.

    The object will be called `name`, or else as the file, and stand with its base at `location`, or else at the 3D
    cursor. `replace_object` names an object that gets the mesh and keeps its place and materials' slots. All else are
    options; `option_names` tells which there are. Raises `ValueError` for an option that is unknown or out of its
    range; a file that is missing or unreadable is told by `wait` and `result`.
    """
    _check_enabled()
    path = Path(bpy.path.abspath(str(source)))
    kind = SplatOptions if splat_files.are_splats(path) else PictureOptions
    asked, choice = _read_options(kind, wanted)
    if kind is PictureOptions:
        seed = asked.pop("seed")
        job = session.submit_picture(path, bpy.context, seed=seed, options=asked, replace=replace_object)
    else:
        job = session.submit_splats(path, asked, bpy.context)
    job.name = name or job.name
    place = tuple(map(float, location)) if location is not None else job.context.location
    job.context = replace(job.context, choice=choice, location=place, replace=replace_object)
    return job


def wait(job: Job, timeout: float | None = None) -> Job:
    """Waits until a job is finished and returns it. Raises `GenerationError` where it failed or was cancelled, and
    `TimeoutError` after `timeout` seconds; the job then goes on, and can be waited for again.

    In a window Blender stands still meanwhile; to keep it free, ask `job.active` from a timer instead.
    """
    _check_enabled()
    end = None if timeout is None else time.monotonic() + timeout
    while job.active:
        if end is not None and time.monotonic() >= end:
            raise TimeoutError(f"{job.name} is not finished after {timeout:g} s; it goes on.")
        if not session.jobs().pump():
            time.sleep(_MOMENT)
    if job.state is State.CANCELLED:
        raise GenerationError(job, JobError("CANCELLED", "It was cancelled."))
    if job.error is not None:
        raise GenerationError(job, job.error)
    return job


def result(job: Job, timeout: float | None = None) -> list[bpy.types.Object]:
    """The objects made of a job: the mesh, then its levels of detail. Waits for it as `wait` does, and places it in
    the scene where that has not happened yet. Objects deleted since are left out.
    """
    wait(job, timeout)
    if job.state is State.READY:
        try:
            delivery.import_ready(job, bpy.context)
        except (GlbError, OSError) as error:
            job.fail(JobError("BAD_RESULT", str(error), "Try again; the log says more."))
            raise GenerationError(job, JobError("BAD_RESULT", str(error))) from error
    by_uid = {ob.session_uid: ob for ob in bpy.data.objects}
    return [by_uid[uid] for uid in _objects.get(job.id, ()) if uid in by_uid]


def generate(source: str | Path, **wanted: Any) -> list[bpy.types.Object]:
    """`submit` and `result` in one, for scripts that have nothing else to do meanwhile."""
    return result(submit(source, **wanted))


def cancel(job: Job) -> None:
    """Stops a job; one that is finished stays as it is."""
    _check_enabled()
    session.jobs().cancel(job)


def option_names(source: str | Path = "picture.png") -> dict[str, Any]:
    """The options of a file of this kind, each with its default."""
    kind = SplatOptions if splat_files.are_splats(Path(source)) else PictureOptions
    return {**_defaults(kind), **asdict(ResultChoice())}


def _check_enabled() -> None:
    if not hasattr(bpy.types.Scene, "gaussmith"):
        raise RuntimeError("Gaussmith is not enabled in this Blender. Enable the add-on before you use its API.")


def _defaults(kind: type[options.MeshOptions]) -> dict[str, Any]:
    declared = options.properties(kind)
    given = {name: words.keywords.get("default") for name, words in declared.items() if name != "crop"}
    return {**given, "texture": int(given["texture"])} | ({"crop": None} if "crop" in declared else {})


def _read_options(kind: type[options.MeshOptions], wanted: dict[str, Any]) -> tuple[dict[str, Any], ResultChoice]:
    """What goes to the engine, and what becomes of its result. Raises `ValueError`."""
    defaults, declared = _defaults(kind), options.properties(kind)
    choices = asdict(ResultChoice())
    for name, value in wanted.items():
        if name in defaults:
            defaults[name] = _checked(name, value, defaults[name], declared[name].keywords)
        elif name in choices:
            choices[name] = _checked(name, value, choices[name], ResultOptions.__annotations__[name].keywords)
        else:
            known = ", ".join([*defaults, *choices])
            raise ValueError(f"There is no option {name!r} for this file. Options are {known}.")
    asked = {name: value for name, value in defaults.items() if value is not None}
    return asked, ResultChoice(**choices)


def _checked(name: str, value: Any, default: Any, words: dict[str, Any]) -> Any:
    """A value of an option, as its own type. Raises `ValueError` where it is none of those allowed."""
    if name == "crop":
        return _checked_box(value)
    if "items" in words and name != "texture":
        known = [item[0] for item in words["items"]]
        if value not in known:
            raise ValueError(f"{name} is {value!r}. Choose one of {', '.join(known)}.")
        return value
    kind = type(default)
    fits = isinstance(value, bool) if kind is bool else isinstance(value, kind) or (kind is float and _is_number(value))
    if not fits or (kind is not bool and isinstance(value, bool)):
        raise ValueError(f"{name} is {value!r}, expected {_KINDS[kind]}.")
    low, high = (64, 8192) if name == "texture" else (words.get("min"), words.get("max"))
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{name} is {value:,}. Choose it from {low:,} to {high:,}.")
    return kind(value)


_KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked_box(value: Any) -> list[float] | None:
    box = None if value is None else list(value)
    if box is not None and (len(box) != 6 or not all(map(_is_number, box))):
        raise ValueError(f"crop is {value!r}, expected x0, y0, z0, x1, y1, z1, the lower corner first.")
    return box


def _remember(job: Job, objects: list[bpy.types.Object]) -> None:
    """Keeps which objects were made of a job; also those a timer imported."""
    _objects[job.id] = [ob.session_uid for ob in objects]
    while len(_objects) > _REMEMBERED:
        del _objects[next(iter(_objects))]


_REMEMBERED = 1000
"""Jobs whose objects can be asked for."""


def register() -> None:
    delivery.on_imported.append(_remember)


def unregister() -> None:
    if _remember in delivery.on_imported:
        delivery.on_imported.remove(_remember)
    _objects.clear()

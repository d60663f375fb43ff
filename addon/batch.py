# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false
"""Meshes from pictures and from files of Gaussian splats without a window.

    blender -b --factory-startup --python-exit-code 3 --python addon/batch.py -- FILES_OR_FOLDERS... --output DIR
    python addon/batch.py -- ...            where Blender is a Python module
    blender -c gaussmith ...                where the extension is installed

Exit codes: 0 all done, 1 some files failed, 2 usage, 3 the engine is at fault.
"""

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script: this folder becomes a package, without a change of sys.path
    _here = Path(__file__).resolve().parent
    _spec = importlib.util.spec_from_file_location(
        "gaussmith", _here / "__init__.py", submodule_search_locations=[str(_here)]
    )
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules["gaussmith"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["gaussmith"])
    __package__ = "gaussmith"

import bpy

from . import formats, options, scene, splat_files
from .batch_arguments import read_arguments
from .batch_report import Report, say, sentence
from .client import EngineProcess, engine_command
from .environment import engine_environment, engine_folder, find_python
from .glb import GlbError
from .jobs import Job, JobError, JobQueue, State
from .options import PictureOptions, SplatOptions
from .plan import Task, UsageError, plan
from .record import RECORD_VERSION, make_record
from .wire import protocol

DONE, SOME_FAILED, USAGE, ENGINE_FAULT = 0, 1, 2, 3

SPACING = 1.4
"""Distance between objects side by side, in object sizes."""
OUT_OF_ORDER = frozenset({"NO_ENGINE", "NO_HELLO", "BAD_MESSAGE", "MISSING_PACKAGE", "BAD_WEIGHTS"})
"""Error codes after which no other file can work."""
FAULTS = OUT_OF_ORDER | {"ENGINE_DIED", "TIMEOUT", "INTERNAL"}
"""Error codes that speak of the engine, not of the file it was given."""


# ---------------------------------------------------------------------------
# The work


def main(argv: Sequence[str], prog: str = "batch.py", engine_python: str = "") -> int:
    """Makes all meshes and returns the exit code. `engine_python` is used when the arguments name none."""
    arguments = read_arguments(argv, prog)
    try:
        with Report(arguments.report) as report:
            return _run(arguments, report, arguments.engine_python or engine_python)
    except (UsageError, formats.FormatError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return USAGE


def _run(arguments: argparse.Namespace, report: Report, engine_python: str) -> int:
    if arguments.format != "glb":
        formats.check_format(arguments.format)
    if arguments.output.exists() and not arguments.output.is_dir():
        raise UsageError(f"--output names the file {arguments.output}; name a folder.")
    if arguments.blend is not None and arguments.blend.exists() and not arguments.overwrite:
        raise UsageError(f"{arguments.blend} exists already. Use --overwrite, or another name.")
    output = arguments.output.resolve()
    tasks, notes = plan(arguments.files, output, f".{arguments.format}", arguments.lods)
    for note in notes:
        say(note)
    if arguments.overwrite or not all(task.output.exists() for task in tasks):
        _check_writable(output)

    def start_engine() -> EngineProcess:
        python = find_python(engine_python)
        environ = engine_environment(bpy.app.binary_path)
        return EngineProcess(engine_command(python.path, engine_folder()), Path(working) / "logs", environ)

    codes: list[str] = []
    made: list[_Made] = []
    with tempfile.TemporaryDirectory(prefix="gaussmith-") as working, _ended(JobQueue(start_engine)) as jobs:
        for number, task in enumerate(tasks, 1):
            one = _one(jobs, task, Path(working) / str(number), arguments)
            report.add(one.report)
            say(f"[{number}/{len(tasks)}] {sentence(one.report)}")
            if one.files:
                made.append(one)
            code = one.report.get("code", "")
            if code == "BAD_OPTION":
                return USAGE
            codes += [code] if code else []
            if report.problem:
                say(report.problem)
                codes.append("CANNOT_WRITE")
            if code in OUT_OF_ORDER:
                say(f"Stopped: no other file can work. {len(tasks) - number} not tried.")
                break
        if arguments.blend is not None and made:
            codes += _save_together(made, arguments)
    if FAULTS.intersection(codes):
        return ENGINE_FAULT
    return SOME_FAILED if codes else DONE


@dataclass(frozen=True)
class _Made:
    """What became of one task: the line of the report, and where there is a mesh its files and record."""

    report: dict[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)  # "mesh", "lod1" ...: GLBs
    record: Mapping[str, Any] = field(default_factory=dict)


def _one(jobs: JobQueue, task: Task, working: Path, arguments: argparse.Namespace) -> _Made:
    """Does one task; the engine works in the folder `working`."""
    facts: dict[str, Any] = {"name": task.output.stem, task.kind: str(task.source), "output": str(task.output)}
    if task.output.exists() and not arguments.overwrite:
        # Of a mesh that was there already nobody knows how it was made.
        record = {"version": RECORD_VERSION, task.kind: str(task.source)}
        files = {"mesh": task.output} if arguments.format == "glb" else {}
        return _Made({**facts, "status": "skipped", "seconds": {}}, files, record)
    if (refused := _refused(task)) is not None:
        return _Made({**facts, **_failure(refused)})
    job = jobs.submit(_request(task, working, arguments), task.output.stem)
    jobs.wait(job, arguments.timeout)
    outputs: list[Path] = []
    if job.state is State.READY:
        outputs = _place(job, task, arguments)
    if job.error is not None:
        return _Made({**facts, **_failure(job.error)})
    assert job.result is not None
    report = job.result.report
    seconds = {stage: value for stage, value in report.get("seconds", {}).items() if stage != "total"}
    told = {key: report[key] for key in _TOLD if key in report}
    if len(outputs) > 1:
        told["lods"] = [str(path) for path in outputs[1:]]
    done = {**facts, "status": "done", "seconds": seconds, "total_seconds": round(job.seconds, 3), **told}
    files = {key: Path(job.result.files[key]) for key in ("mesh", *scene.level_keys(job.result.files))}
    return _Made(done, files, make_record(job.request, job.result))


_TOLD = ("faces", "vertices", "watertight", "manifold", "components", "genus", "warnings")
"""What of the engine's report is in ours."""


def _refused(task: Task) -> JobError | None:
    """Why the engine need not be asked."""
    if task.is_splats:
        message, hint = splat_files.problem(task.source)
        return JobError("BAD_SPLATS", message, hint) if message else None
    if task.source.is_file():
        return None
    return JobError("BAD_PICTURE", f"There is no file {task.source}.", "Check its name.")


def _request(task: Task, working: Path, arguments: argparse.Namespace) -> protocol.Generate | protocol.MakeMesh:
    mesh = working / f"{task.output.stem}.glb"
    working.mkdir()
    names = options.properties(SplatOptions if task.is_splats else PictureOptions)
    wanted = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if task.is_splats:
        return protocol.MakeMesh("", str(task.source), str(mesh), wanted)
    seed = wanted.pop("seed")
    return protocol.Generate("", str(task.source), str(mesh), arguments.generator, seed, wanted)


def _failure(error: JobError) -> dict[str, Any]:
    return {"status": "failed", "seconds": {}, "code": error.code, "message": error.message, "hint": error.hint} | (
        {"detail": error.detail} if error.detail else {}
    )


def _place(job: Job, task: Task, arguments: argparse.Namespace) -> list[Path]:
    """The files of a finished job in the format wanted, the mesh first; each appears whole, the mesh last."""
    assert job.result is not None
    files = job.result.files
    keys = ["mesh", *scene.level_keys(files)]
    levels = [0] if arguments.format == "blend" else range(len(keys))
    try:
        for level in reversed(levels):
            target = task.level(level)
            if target.exists() and not arguments.overwrite:
                raise formats.FormatError(f"{target} exists already. Use --overwrite, or another folder.")
            if arguments.format == "glb":
                _copy(Path(files[keys[level]]), target)
                continue
            _empty_file()
            ob, *_ = scene.import_meshes(
                files if arguments.format == "blend" else {"mesh": files[keys[level]]},
                name=target.stem,
                record=make_record(job.request, job.result),
                location=None if job.request.options.get("keep_frame") else (0.0, 0.0, 0.0),
            )
            formats.write_object(ob, target, arguments.format, arguments.overwrite)
    except (GlbError, formats.FormatError, OSError) as error:
        job.fail(JobError("CANNOT_WRITE", str(error)))
    return [task.level(level) for level in levels]


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    try:
        shutil.copyfile(source, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"Could not write in {folder}: {error.strerror or error}.") from error


def _save_together(made: list[_Made], arguments: argparse.Namespace) -> list[str]:
    """One file with all objects side by side, a camera in front of them and a light. Returns the codes of failures.

    Objects that keep the place they have in their files stay there.
    """
    _empty_file()
    for number, one in enumerate(made):
        keeps = one.record.get("options", {}).get("keep_frame")
        location = None if keeps else (number * SPACING * arguments.size, 0.0, 0.0)
        scene.import_meshes(one.files, name=one.report["name"], record=one.record, location=location)
    scene.frame_all(bpy.context.scene)
    formats.show_textures()
    path = arguments.blend.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True)
    except (OSError, RuntimeError) as error:
        say(f"Could not write {path}: {str(error).removeprefix('Error: ').strip()}")
        return ["CANNOT_WRITE"]
    say(f"{path}: {len(made)} objects side by side")
    return []


def _empty_file() -> None:
    """A new file without objects; preferences and add-ons stay as they are."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


# ---------------------------------------------------------------------------
# How it ends


@contextlib.contextmanager
def _ended(jobs: JobQueue) -> Iterator[JobQueue]:
    """Ends the engine whatever happens, also when this process is asked to go."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield jobs
    finally:
        jobs.stop()
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: one that Blender set, which Python cannot


def run_command(argv: list[str]) -> int:
    """`blender -c gaussmith ...`"""
    from . import engine_life

    try:
        return main(argv, "blender -c gaussmith", engine_life.preferred_python())
    except SystemExit as leaving:  # argparse ends with one; Blender takes the code that is returned
        return leaving.code if isinstance(leaving.code, int) else USAGE


_command: Any = None


def register() -> None:
    global _command
    _command = bpy.utils.register_cli_command("gaussmith", run_command)


def unregister() -> None:
    bpy.utils.unregister_cli_command(_command)


if __name__ == "__main__":
    _arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    _code = main(_arguments)
    sys.stdout.flush()
    sys.exit(_code)

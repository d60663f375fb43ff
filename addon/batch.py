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
import glob
import hashlib
import importlib.util
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
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

from . import engine_life, options
from .client import EngineProcess, engine_command
from .environment import engine_environment, engine_folder, find_python
from .headless.arguments import read_arguments
from .headless.output_folder import OutputFolder, UnwritableError, own_files, read_made
from .headless.plan import Task, UsageError, plan
from .headless.report import Report, say
from .headless.run import FAULTS, Run
from .headless.together import check_together, save_together
from .headless.watch import watch
from .headless.work import Order, carry_out
from .headless.workers import Here, Workers, serve
from .jobs import JobQueue
from .options import PictureOptions, SplatOptions
from .results import formats

DONE, SOME_FAILED, USAGE, ENGINE_FAULT = 0, 1, 2, 3

WORKER = "--gaussmith-worker"
"""The argument by which a batch starts its workers."""
NOT_THE_RESULT = ("report", "jobs", "timeout", "watch", "engine_python")
"""Arguments that may change when a batch is started again to go on where it was interrupted."""


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
    for kind in arguments.format:
        if kind != "glb":
            formats.check_format(kind)
    if arguments.output.exists() and not arguments.output.is_dir():
        raise UsageError(f"--output names the file {arguments.output}; name a folder.")
    folder = OutputFolder(arguments.output.resolve())
    # What cannot be done is told before anything is written; a folder that is watched may be empty.
    tasks = [] if arguments.watch else _plan(arguments, folder.folder)[0]
    check_together(arguments, folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder)
        except UnwritableError:
            if arguments.overwrite or arguments.watch or not all(task.output.exists() for task in tasks):
                raise
        for note in folder.notes:
            say(note)
        jobs = stack.enter_context(_ended(JobQueue(lambda: _start_engine(engine_python, folder.logs))))
        jobs.turns_for = engine_life.turns_for
        workers = stack.enter_context(_stopped(_workers(arguments, folder.logs)))
        run = Run(
            arguments, folder, jobs, workers, report, lambda task: _options(arguments, task), _id(arguments, folder)
        )
        stopped, codes = (_watched if arguments.watch else _made)(arguments, folder, run, jobs)
        if stopped == "BAD_OPTION":
            return USAGE
    if report.problem:
        say(report.problem)
        codes.append("CANNOT_WRITE")
    if FAULTS.intersection(codes):
        return ENGINE_FAULT
    return SOME_FAILED if codes else DONE


def _made(arguments: argparse.Namespace, folder: OutputFolder, run: Run, _jobs: JobQueue) -> tuple[str, list[str]]:
    """Makes all there is once. The code of what stopped it, and those of all failures."""
    tasks, notes = _plan(arguments, folder.folder)
    for note in notes:
        say(note)
    stopped = run.make(tasks)
    codes = [*run.codes, *save_together(arguments, folder, tasks)] if stopped != "BAD_OPTION" else run.codes
    if not stopped:
        folder.forget("run")
    return stopped, codes


def _watched(arguments: argparse.Namespace, folder: OutputFolder, run: Run, jobs: JobQueue) -> tuple[str, list[str]]:
    """Makes what there is and what comes, until interrupted. The code of what stopped it, and those of all failures."""
    told: set[str] = set()
    codes: list[str] = []

    def look() -> list[Task]:
        try:
            tasks, notes = _plan(arguments, folder.folder)
        except UsageError:  # nothing is there yet, or the folder itself has gone for a while
            return []
        for note in notes:
            if note not in told:
                say(note)
        told.update(notes)
        return tasks

    def make(ripe: Sequence[Task]) -> str:
        stopped = run.make(ripe)
        if stopped != "BAD_OPTION":
            codes.extend(save_together(arguments, folder, look()))
        return stopped

    say("Watching. Ctrl-C ends it.")
    try:
        return watch(look, make, jobs.stop), [*run.codes, *codes]
    except SystemExit:
        say("Stopped watching.")
        return "", [*run.codes, *codes]


def _plan(arguments: argparse.Namespace, output: Path) -> tuple[list[Task], list[str]]:
    """The tasks and notes on them; sources keep the names they got in earlier batches."""
    sources = arguments.files
    if arguments.watch:
        sources = [source for source in sources if glob.has_magic(source) or os.path.exists(source)]
    return plan(
        sources,
        output,
        f".{arguments.format[0]}",
        arguments.lods,
        recursive=arguments.recursive,
        left_out={output, *own_files(output)},
        names={Path(entry.source): entry.name for entry in read_made(output).values()},
    )


def _options(arguments: argparse.Namespace, task: Task) -> dict[str, Any]:
    """The engine's options for a task, those that were given or have a default."""
    names = options.properties(SplatOptions if task.is_splats else PictureOptions)
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _id(arguments: argparse.Namespace, folder: OutputFolder) -> str:
    """What this batch is known by; one that was interrupted keeps its id when it is started again."""
    if not folder.held:
        return ""
    wanted = {name: str(value) for name, value in vars(arguments).items() if name not in NOT_THE_RESULT}
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    before = folder.recall("run")
    if isinstance(before, dict) and before.get("arguments") == digest and isinstance(before.get("id"), str):
        return before["id"]
    run = uuid.uuid4().hex
    folder.remember("run", {"arguments": digest, "id": run})
    return run


def _start_engine(engine_python: str, logs: Path) -> EngineProcess:
    python = find_python(engine_python)
    return EngineProcess(engine_command(python.path, engine_folder()), logs, engine_environment(bpy.app.binary_path))


def _workers(arguments: argparse.Namespace, logs: Path) -> Here | Workers:
    if arguments.jobs == 1:
        return Here(_carry_out)
    return Workers(_worker_command(), arguments.jobs, arguments.timeout, logs)


def _worker_command() -> list[str]:
    """The command that starts a Blender like this one that carries out orders."""
    script = str(Path(__file__).resolve())
    if not bpy.app.binary_path:  # Blender is a Python module
        return [sys.executable, script, WORKER]
    return [bpy.app.binary_path, "-b", "--factory-startup", "--python-exit-code", "3", "--python", script, "--", WORKER]


def _carry_out(order: dict[str, Any]) -> list[str]:
    return carry_out(Order(**order))


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


@contextlib.contextmanager
def _stopped(workers: Here | Workers) -> Iterator[Here | Workers]:
    """Ends the workers whatever happens."""
    try:
        yield workers
    finally:
        workers.stop()


def run_command(argv: list[str]) -> int:
    """`blender -c gaussmith ...`"""
    try:
        return main(argv, "blender -c gaussmith", engine_life.preferred_python())
    except SystemExit as leaving:  # argparse ends with one; Blender takes the code that is returned
        return leaving.code if isinstance(leaving.code, int) else USAGE


if __name__ == "__main__":
    _arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    if _arguments == [WORKER]:
        serve(_carry_out)
    _code = main(_arguments)
    sys.stdout.flush()
    sys.exit(_code)

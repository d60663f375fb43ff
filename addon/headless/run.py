# SPDX-License-Identifier: GPL-3.0-or-later
"""The run of a batch: the engine makes a mesh, Blender writes its files, and they get to their places. No bpy.

    task -> engine (one) -> order -> Blender (here, or in workers) -> output folder

The engine already works on the next task while Blender writes the files of the one before.
"""

import argparse
import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..files import splat_files
from ..jobs import Job, JobError, JobQueue, State
from ..results.record import make_record
from ..wire import protocol
from .output_folder import Entry, OutputFolder, TakenError, problem_of, stamp_of
from .plan import Task
from .report import Report, say, sentence
from .workers import Here, Outcome, Workers

OUT_OF_ORDER = frozenset({"NO_ENGINE", "NO_HELLO", "BAD_MESSAGE", "MISSING_PACKAGE", "BAD_WEIGHTS"})
"""Error codes after which no other file can work."""
FAULTS = OUT_OF_ORDER | {"ENGINE_DIED", "TIMEOUT", "INTERNAL"}
"""Error codes that speak of the engine, not of the file it was given."""
NO_OTHER = OUT_OF_ORDER | {"DISK_FULL", "BAD_OPTION"}

_MOMENT = 0.02
"""Seconds between two looks at engine and workers."""

_TOLD = ("faces", "vertices", "watertight", "manifold", "components", "genus", "warnings")
"""What of the engine's report is in ours."""

Options = Callable[[Task], dict[str, Any]]
"""The engine's options for a task."""


@dataclass(frozen=True)
class _Asked:
    """A task, and where the engine was asked its job and the folder it works in; else why it was not."""

    task: Task
    stamp: list[int]
    job: Job | None = None
    making: Path | None = None
    record: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Writing:
    """A task whose files Blender is writing."""

    task: Task
    making: Path
    entry: Entry
    report: dict[str, Any]


class Run:
    """Makes the meshes of tasks in an output folder, and tells of each."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        folder: OutputFolder,
        jobs: JobQueue,
        workers: Here | Workers,
        report: Report,
        options: Options,
        run: str,
    ) -> None:
        self.codes: list[str] = []
        """Codes of all failures."""
        self._arguments, self._folder, self._jobs, self._workers = arguments, folder, jobs, workers
        self._report, self._options, self._run = report, options, run
        self._writing: dict[str, _Writing] = {}
        self._sources: set[Path] = set()
        self._count = self._total = 0
        self._stopped = ""

    def make(self, tasks: Iterable[Task]) -> str:
        """Makes the meshes of tasks that are not finished yet.

        Returns the code of a failure after which no other task could work; else all were tried, and it is empty.
        """
        several = list(tasks)
        self._count, self._total, self._stopped = 0, len(several), ""
        self._sources |= {task.source for task in several}
        ahead: _Asked | None = None
        for task in [*several, None]:
            asked = self._ask(task) if task is not None else None
            if ahead is not None:
                self._take(ahead)
            if self._stopped:
                self._leave(asked)
                break
            ahead = asked
        while self._workers.busy:
            self._collect(wait=True)
        if self._stopped and self._stopped != "BAD_OPTION":
            say(f"Stopped: no other file can work. {self._total - self._count} not tried.")
        return self._stopped

    def _skipped(self, task: Task, stamp: list[int]) -> dict[str, Any]:
        """What is told of a task where there is nothing to do, empty where there is: the mesh exists, and where it is
        to be made anew this batch has done so.
        """
        if not task.output.exists():
            return {}
        entry = self._folder.made.get(task.name)
        changed = entry is not None and entry.stamp != stamp
        told = {**_facts(task), "status": "skipped", "seconds": {}}
        if not self._arguments.overwrite:
            others = [task.output.with_suffix(f".{kind}") for kind in self._arguments.format[1:]]
            lacks = [str(path) for path in others if not path.exists()]
            return {**told, **({"changed": True} if changed else {}), **({"lacks": lacks} if lacks else {})}
        return {**told, "resumed": True} if entry is not None and entry.run == self._run and not changed else {}

    # ---- the engine --------------------------------------------------------------------------------------------------

    def _ask(self, task: Task) -> _Asked:
        """Asks the engine for a task, where it need be asked."""
        stamp = stamp_of(task.source)
        facts = _facts(task)
        if skipped := self._skipped(task, stamp):
            return _Asked(task, stamp, record=skipped)
        if (refused := _refused(task)) is not None:
            return _Asked(task, stamp, record={**facts, **_failure(refused)})
        try:
            making = self._folder.making()
        except OSError as error:
            return _Asked(task, stamp, record={**facts, **self._failure_of(error)})
        job = self._jobs.submit(self._request(task, making), task.output.stem)
        self._jobs.pump()
        return _Asked(task, stamp, job, making)

    def _take(self, asked: _Asked) -> None:
        """Waits for the engine, and lets Blender write the files."""
        if asked.record is not None:
            self._tell(asked.record)
            return
        task, job, making = asked.task, asked.job, asked.making
        assert job is not None
        assert making is not None
        self._jobs.wait(job, self._arguments.timeout, lambda _job: self._collect())
        self._jobs.forget(job)
        self._jobs.pump()  # the engine gets its next task before Blender writes this one's files
        if job.state is not State.READY:
            error = job.error or JobError("CANCELLED", "It was cancelled.")
            failure = _failure(error)
            if error.code == "CANNOT_WRITE":
                failure = self._failure_of(None) or failure
            self._folder.drop(making)
            self._tell({**_facts(task), **failure})
            return
        assert job.result is not None
        while self._workers.crowded:
            self._collect(wait=True)
        record = make_record(job.request, job.result)
        levels = [level for level in sorted(job.result.files) if level.startswith("lod")]
        files = {key: job.result.files[key] for key in ("mesh", *levels)}
        splats = job.result.files.get("splats", job.result.report.get("saved_splats", ""))
        entry = Entry(
            task.name,
            str(task.source),
            asked.stamp,
            files=[],
            record=record,
            overwrite=self._arguments.overwrite,
            kept=self._kept(making, files),
            run=self._run,
        )
        order = {
            "name": task.output.stem,
            "formats": self._arguments.format,
            "files": {**files, "splats": splats} if splats else files,
            "folder": str(making / "files"),
            "record": record,
            "thumbnail": task.thumbnail.name if self._arguments.thumbnails else "",
        }
        self._writing[making.name] = _Writing(task, making, entry, _done(task, job))
        self._workers.submit(making.name, order)
        self._collect()

    def _leave(self, asked: _Asked | None) -> None:
        """Takes a task back that was asked for ahead."""
        if asked is not None and asked.job is not None:
            self._jobs.cancel(asked.job)

    def _request(self, task: Task, making: Path) -> protocol.Generate | protocol.MakeMesh:
        wanted, mesh = self._options(task), str(making / "mesh.glb")
        if task.is_splats:
            return protocol.MakeMesh("", str(task.source), mesh, wanted)
        seed = wanted.pop("seed")
        return protocol.Generate("", str(task.source), mesh, self._arguments.generator, seed, wanted)

    # ---- Blender -----------------------------------------------------------------------------------------------------

    def _kept(self, making: Path, files: Mapping[str, str]) -> dict[str, str]:
        """What is needed once more, for a library or a file with all meshes, and would not be there else."""
        wanted = self._arguments.library is not None or self._arguments.blend is not None
        if "glb" in self._arguments.format or not wanted:
            return {}
        return {key: Path(path).relative_to(making).as_posix() for key, path in files.items()}

    def _collect(self, wait: bool = False) -> None:
        """Brings to their places what Blender has written; with `wait` gives it a moment first."""
        outcomes = self._workers.poll()
        if wait and not outcomes and not self._jobs.pump():
            time.sleep(_MOMENT)
        for outcome in outcomes:
            with not_parted():
                self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        writing = self._writing.pop(outcome.token)
        task, report = writing.task, writing.report
        if outcome.problem:
            failure = self._failure_of(None) or _failure(JobError("CANNOT_WRITE", outcome.problem))
            self._folder.drop(writing.making)
            self._tell({**_facts(task), **failure})
            return
        below = Path(task.name).parent
        names = [(below / name).as_posix() for name in outcome.files]
        entry = replace(writing.entry, files=names)
        try:
            self._folder.finish(writing.making, entry, self._sources)
        except (TakenError, OSError) as error:
            self._folder.drop(writing.making)
            failure = self._failure_of(error) if isinstance(error, OSError) else None
            self._tell({**_facts(task), **(failure or _failure(JobError("CANNOT_WRITE", str(error))))})
            return
        lods = [str(task.output.with_name(name)) for name in outcome.files if "_LOD" in name and _is_mesh(name, task)]
        told: dict[str, Any] = {"lods": sorted(lods)} if lods else {}
        if self._arguments.thumbnails:
            told["thumbnail"] = str(task.thumbnail)
        if (splats := f"{task.output.stem}.ply") in outcome.files:
            told["saved_splats"] = str(task.output.with_name(splats))
        self._tell({**report, **told})

    # ---- what is told ------------------------------------------------------------------------------------------------

    def _tell(self, record: dict[str, Any]) -> None:
        self._count += 1
        self._report.add(record)
        say(f"[{self._count}/{self._total}] {sentence(record)}")
        if code := record.get("code", ""):
            self.codes.append(code)
            if code in NO_OTHER:
                self._stopped = self._stopped or code

    def _failure_of(self, error: OSError | None) -> dict[str, Any]:
        """What a failure to write says of the disk: full, or something else; empty where it has room."""
        try:
            self._folder.check_space()
        except OSError as found:
            error = found
        return _failure(JobError(*problem_of(error, self._folder.folder))) if error is not None else {}


@contextlib.contextmanager
def not_parted() -> Iterator[None]:
    """Puts off a request to end until what was begun is done: files that got to their places are also told of."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _facts(task: Task) -> dict[str, Any]:
    return {"name": task.name, task.kind: str(task.source), "output": str(task.output)}


def _refused(task: Task) -> JobError | None:
    """Why the engine need not be asked."""
    if task.is_splats:
        message, hint = splat_files.problem(task.source)
        return JobError("BAD_SPLATS", message, hint) if message else None
    if task.source.is_file():
        return None
    return JobError("BAD_PICTURE", f"There is no file {task.source}.", "Check its name.")


def _failure(error: JobError) -> dict[str, Any]:
    return {"status": "failed", "seconds": {}, "code": error.code, "message": error.message, "hint": error.hint} | (
        {"detail": error.detail} if error.detail else {}
    )


def _done(task: Task, job: Job) -> dict[str, Any]:
    assert job.result is not None
    report = job.result.report
    seconds = {stage: value for stage, value in report.get("seconds", {}).items() if stage != "total"}
    told = {key: report[key] for key in _TOLD if key in report}
    return {**_facts(task), "status": "done", "seconds": seconds, "total_seconds": round(job.seconds, 3), **told}


def _is_mesh(name: str, task: Task) -> bool:
    return Path(name).suffix == task.output.suffix and name != task.output.name

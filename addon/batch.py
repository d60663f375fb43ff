# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false
"""Meshes from pictures without a window.

    blender -b --factory-startup --python-exit-code 3 --python addon/batch.py -- PICTURES_OR_FOLDERS... --output DIR
    python addon/batch.py -- ...            where Blender is a Python module
    blender -c gaussmith ...                where the extension is installed

Exit codes: 0 all done, 1 some pictures failed, 2 usage, 3 the engine is at fault.
"""

import argparse
import contextlib
import importlib.util
import json
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

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

from . import formats, scene
from .client import EngineProcess, engine_command
from .environment import engine_folder, find_python
from .glb import GlbError
from .jobs import Job, JobError, JobQueue, State
from .wire import protocol

DONE, SOME_FAILED, USAGE, ENGINE_FAULT = 0, 1, 2, 3

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
SPACING = 1.4
"""Distance between objects side by side, in object sizes."""
PICTURE_SECONDS = 1800.0
"""How long one picture may take before its job is given up: a hung engine must not stop a night's work."""

OUT_OF_ORDER = frozenset({"NO_ENGINE", "NO_HELLO", "BAD_MESSAGE", "MISSING_PACKAGE", "BAD_WEIGHTS"})
"""Error codes after which no other picture can work."""
FAULTS = OUT_OF_ORDER | {"ENGINE_DIED", "TIMEOUT", "INTERNAL"}
"""Error codes that speak of the engine, not of the picture it was given."""


@dataclass(frozen=True)
class Task:
    """One picture and the file made from it."""

    picture: Path
    output: Path


class UsageError(Exception):
    """What was asked for cannot be done; its text is one sentence."""


# ---------------------------------------------------------------------------
# What is asked


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Makes a textured mesh from each picture.")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE_OR_FOLDER", help="a folder stands for its pictures")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the meshes")
    parser.add_argument("--format", choices=("glb", *formats.FORMATS), default="glb", help="default: glb")
    parser.add_argument("--report", type=Path, metavar="FILE", help="add a JSON line for each picture to this file")
    parser.add_argument("--blend", type=Path, metavar="FILE", help="also put all meshes side by side in this .blend")
    parser.add_argument("--overwrite", action="store_true", help="make meshes anew that exist already")
    parser.add_argument("--generator", default="agg", help="default: agg")
    parser.add_argument("--faces", type=int, default=20_000, help="about this many triangles at most (default: 20000)")
    parser.add_argument("--texture", type=int, default=1024, help="side of the texture in pixels (default: 1024)")
    parser.add_argument("--size", type=float, default=1.0, help="longest side of the object in metres (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same mesh (default: 0)")
    parser.add_argument("--timeout", type=float, default=PICTURE_SECONDS, help="seconds for a picture (default: 1800)")
    parser.add_argument("--engine-python", default="", metavar="PYTHON", help="Python that runs the engine")
    return parser


def plan(sources: Iterable[str | Path], output: Path, suffix: str) -> tuple[list[Task], list[str]]:
    """One task per picture, named by its stem, and notes on what may surprise.

    Folders stand for the pictures in them, sorted by name. A picture named twice is done once; pictures of one stem
    get `stem_2`, `stem_3`. Raises `UsageError` where there is none.
    """
    found: dict[Path, None] = {}
    notes: list[str] = []
    for source in map(Path, sources):
        for file in _pictures_in(source) if source.is_dir() else [source]:
            found[file.resolve()] = None
    if not found:
        raise UsageError(f"There are no pictures in what was named ({' '.join(sorted(PICTURE_SUFFIXES))}).")
    tasks: list[Task] = []
    taken: set[str] = set()
    for picture in found:
        name, number = picture.stem, 1
        while name.casefold() in taken:  # Windows and macOS take Cat.glb and cat.glb for one file
            number += 1
            name = f"{picture.stem}_{number}"
        taken.add(name.casefold())
        if name != picture.stem:
            notes.append(f"{picture} becomes {name}{suffix}: another picture has the name {picture.stem}.")
        tasks.append(Task(picture, output / f"{name}{suffix}"))
    return tasks, notes


def _pictures_in(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if not file.name.startswith("."))
    return sorted(file for file in files if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file())


# ---------------------------------------------------------------------------
# The work


def main(argv: Sequence[str], prog: str = "batch.py", engine_python: str = "") -> int:
    """Makes all meshes and returns the exit code. `engine_python` is used when the arguments name none."""
    options = _parser(prog).parse_args(argv)
    try:
        with _Report(options.report) as report:
            return _run(options, report, options.engine_python or engine_python)
    except (UsageError, formats.FormatError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return USAGE


def _run(options: argparse.Namespace, report: "_Report", engine_python: str) -> int:
    if options.format != "glb":
        formats.check_format(options.format)
    if options.output.exists() and not options.output.is_dir():
        raise UsageError(f"--output names the file {options.output}; name a folder.")
    if options.blend is not None and options.blend.exists() and not options.overwrite:
        raise UsageError(f"{options.blend} exists already. Use --overwrite, or another name.")
    tasks, notes = plan(options.pictures, options.output.resolve(), f".{options.format}")
    for note in notes:
        _say(note)

    def start_engine() -> EngineProcess:
        python = find_python(engine_python)
        return EngineProcess(engine_command(python.path, engine_folder()), Path(working) / "logs")

    codes: list[str] = []
    made: list[tuple[dict[str, Any], Path]] = []
    with tempfile.TemporaryDirectory(prefix="gaussmith-") as working, _ended(JobQueue(start_engine)) as jobs:
        for number, task in enumerate(tasks, 1):
            record, mesh = _one(jobs, task, Path(working) / f"{number}.glb", options)
            report.add(record)
            _say(f"[{number}/{len(tasks)}] {_sentence(record)}")
            if mesh is not None:
                made.append((record, mesh))
            code = record.get("code", "")
            if code == "BAD_OPTION":
                return USAGE
            codes += [code] if code else []
            if code in OUT_OF_ORDER:
                _say(f"Stopped: no other picture can work. {len(tasks) - number} not tried.")
                break
        if options.blend is not None and made:
            codes += _save_together(made, options)
    if FAULTS.intersection(codes):
        return ENGINE_FAULT
    return SOME_FAILED if codes else DONE


def _one(jobs: JobQueue, task: Task, working: Path, options: argparse.Namespace) -> tuple[dict[str, Any], Path | None]:
    """The report of one picture, and its GLB where there is one."""
    facts: dict[str, Any] = {"name": task.output.stem, "picture": str(task.picture), "output": str(task.output)}
    is_glb = options.format == "glb"
    if task.output.exists() and not options.overwrite:
        return {**facts, "status": "skipped", "seconds": {}}, task.output if is_glb else None
    if not task.picture.is_file():
        missing = JobError("BAD_PICTURE", f"There is no file {task.picture}.", "Check its name.")
        return {**facts, **_failure(missing)}, None
    mesh = task.output if is_glb else working
    made = {"faces": options.faces, "texture": options.texture, "size": options.size}
    request = protocol.Generate("", str(task.picture), str(mesh), options.generator, options.seed, made)
    job = jobs.submit(request, task.output.stem)
    jobs.wait(job, options.timeout)
    if job.state is State.READY and not is_glb:
        _write(job, mesh, task, options)
    if job.error is not None:
        mesh.with_name(mesh.name + ".part").unlink(missing_ok=True)  # what a killed engine could not remove
        return {**facts, **_failure(job.error)}, None
    assert job.result is not None
    report = job.result.report
    seconds = {stage: value for stage, value in report.get("seconds", {}).items() if stage != "total"}
    told = {key: report[key] for key in ("faces", "watertight", "warnings") if key in report}
    return {**facts, "status": "done", "seconds": seconds, "total_seconds": round(job.seconds, 3), **told}, mesh


def _failure(error: JobError) -> dict[str, Any]:
    return {"status": "failed", "seconds": {}, "code": error.code, "message": error.message, "hint": error.hint} | (
        {"detail": error.detail} if error.detail else {}
    )


def _write(job: Job, mesh: Path, task: Task, options: argparse.Namespace) -> None:
    """The mesh in the format wanted, from an empty scene of its own."""
    assert job.result is not None
    try:
        _empty_file()
        ob = scene.import_mesh(mesh, name=job.name, record=scene.make_record(job.request, job.result))
        formats.write_object(ob, task.output, options.format, options.overwrite)
    except (GlbError, formats.FormatError, OSError) as error:
        job.fail(JobError("CANNOT_WRITE", str(error)))


def _save_together(made: list[tuple[dict[str, Any], Path]], options: argparse.Namespace) -> list[str]:
    """One file with all objects side by side, a camera in front of them and a light. Returns the codes of failures."""
    _empty_file()
    settings = {"generator": options.generator, "seed": options.seed}
    for number, (record, mesh) in enumerate(made):
        how = {"version": scene.RECORD_VERSION, "picture": record["picture"]}
        if record["status"] == "done":  # of a mesh that was there already nobody knows how it was made
            how |= settings
        location = (number * SPACING * options.size, 0.0, 0.0)
        scene.import_mesh(mesh, name=record["name"], record=how, location=location)
    scene.frame_all(bpy.context.scene)
    formats.show_textures()
    path = options.blend.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True)
    except (OSError, RuntimeError) as error:
        _say(f"Could not write {path}: {str(error).removeprefix('Error: ').strip()}")
        return ["CANNOT_WRITE"]
    _say(f"{path}: {len(made)} objects side by side")
    return []


def _empty_file() -> None:
    """A new file without objects; preferences and add-ons stay as they are."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


# ---------------------------------------------------------------------------
# What is told


class _Report:
    """A file to which each picture adds a JSON line as soon as it is done."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> "_Report":
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self._path, "a", encoding="utf-8")
            except OSError as error:
                raise UsageError(f"Could not write the report {self._path}: {error.strerror or error}.") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._file.flush()


def _sentence(record: dict[str, Any]) -> str:
    picture = Path(record["picture"]).name
    if record["status"] == "skipped":
        return f"{picture}: {record['output']} exists, skipped (--overwrite makes it anew)"
    if record["status"] == "failed":
        return f"{picture}: failed: {record['message']} {record['hint']}".rstrip()
    closed = "watertight" if record.get("watertight") else "not watertight"
    warnings = "".join(f"\n    {warning}" for warning in record.get("warnings", ()))
    return f"{picture}: {record['faces']:,} faces, {closed}, {record['total_seconds']:.1f} s{warnings}"


def _say(text: str) -> None:
    """A line on stdout, whatever the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


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
    from . import session

    try:
        return main(argv, "blender -c gaussmith", session.preferred_python())
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

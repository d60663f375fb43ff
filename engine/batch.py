# SPDX-License-Identifier: GPL-3.0-or-later
"""Many files in one run: which output belongs to which source, and a failure that does not stop the rest."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engine.errors import GaussmithError, OptionError, explain
from engine.image.load import SUFFIXES


@dataclass(frozen=True)
class Kind:
    """What a folder is searched for."""

    what: str
    suffixes: frozenset[str]


PICTURES = Kind("pictures", SUFFIXES)
SPLATS = Kind("splat files", frozenset({".ply", ".splat", ".ksplat", ".spz", ".sog"}))


@dataclass(frozen=True)
class Task:
    """One source and where its mesh goes."""

    source: Path
    output: Path


Work = Callable[[Task, Callable[[str, float, str], None], Callable[[str], None]], dict[str, Any]]
"""`work(task, report, warn)` makes the task's output and returns its report."""


def plan(sources: Iterable[str | Path], output: str | Path, kind: Kind) -> list[Task]:
    """One task per source, named by its stem. Folders stand for the files of `kind` in them, sorted by name.

    `output` is a folder, or a .glb file where there is one source. A source named twice is done once; sources of one
    stem get `stem_2`, `stem_3`. Raises `OptionError` where nothing is found or the output does not fit.
    """
    files = list(dict.fromkeys(_resolved(file) for source in sources for file in _files(Path(source), kind)))
    if not files:
        endings = " ".join(sorted(kind.suffixes))
        raise OptionError(f"There are no {kind.what} in what was named.", f"In folders, their names end in {endings}.")
    output = Path(output)
    if output.suffix.lower() == ".glb" and not output.is_dir():
        if len(files) > 1:
            raise OptionError(f"{len(files)} {kind.what} cannot go into the one file {output}.", "Name a folder.")
        return [Task(files[0], output)]
    if output.is_file():
        raise OptionError(f"{output} is a file, expected a folder or a name that ends in .glb.", "Name a folder.")
    tasks, taken = [], set()
    for file in files:
        name, number = file.stem, 1
        while name.casefold() in taken:  # Windows and macOS take Cat.glb and cat.glb for one file
            number += 1
            name = f"{file.stem}_{number}"
        taken.add(name.casefold())
        if name != file.stem:
            _note(f"{file} becomes {name}.glb: another source has the name {file.stem}.")
        tasks.append(Task(file, output / f"{name}.glb"))
    return tasks


def _resolved(path: Path) -> Path:
    """The same file has one name, however it was reached; what does not exist is told when its turn comes."""
    return path.resolve() if path.exists() else path


def _files(source: Path, kind: Kind) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(path for path in source.iterdir() if not path.name.startswith(".") and path.is_file())
    wanted = [path for path in found if path.suffix.lower() in kind.suffixes]
    if others := len(found) - len(wanted):
        _note(f"{others} {'file' if others == 1 else 'files'} in {source} left out: no {kind.what}.")
    return wanted


def run_batch(tasks: list[Task], work: Work, *, overwrite: bool, as_json: bool) -> int:
    """Does one task after the other and tells each; returns the exit code: 0 all done, 1 some failed, 3 engine fault.

    A task whose output exists is skipped unless `overwrite`. With `as_json` the last line of stdout is one object
    `{done, failed, skipped, seconds, results}`, and for a single task its report's fields beside them.
    """
    start = time.perf_counter()
    results = [_one(task, work, overwrite, as_json) for task in _with_count(tasks)]
    failed = [result for result in results if "error" in result]
    skipped = sum("skipped" in result for result in results)
    summary = {
        "done": len(results) - len(failed) - skipped,
        "failed": len(failed),
        "skipped": skipped,
        "total_seconds": round(time.perf_counter() - start, 3),
        "results": results,
    }
    if as_json:
        single = results[0] if len(results) == 1 else {}
        print(json.dumps({**single, **summary}, ensure_ascii=False))
    elif len(results) > 1:
        print(f"{summary['done']} done, {len(failed)} failed, {skipped} skipped in {summary['total_seconds']:.1f} s")
    if any(result["error"]["code"] in _FAULTS for result in failed):
        return 3
    return 1 if failed else 0


_FAULTS = {GaussmithError.code, "MISSING_PACKAGE", "BAD_WEIGHTS"}
"""Codes that speak of the engine, not of the file it was given."""


def _with_count(tasks: list[Task]) -> Iterable[Task]:
    """The tasks, under a bar that counts them when there are several and somebody watches."""
    return tqdm(tasks, unit="file", leave=False, disable=len(tasks) < 2 or not sys.stderr.isatty())


def _one(task: Task, work: Work, overwrite: bool, as_json: bool) -> dict[str, Any]:
    """The report of one task, or what stands in its place when it failed or was skipped."""
    facts = {"source": str(task.source), "output": str(task.output)}
    if task.output.exists() and not overwrite:
        _say(f"{task.output}: exists, skipped (--overwrite makes it anew)", as_json)
        return {**facts, "skipped": True}
    bar = tqdm(
        total=100, leave=False, disable=not sys.stderr.isatty(), bar_format="{desc:<40.40}|{bar}|{percentage:4.0f} %"
    )

    def report(stage: str, fraction: float, text: str) -> None:
        bar.set_description_str(f"{task.source.name[:15]}: {text}", refresh=False)
        bar.update(100 * fraction - bar.n)

    def warn(text: str) -> None:
        _note(f"{task.source.name}: {text}")

    try:
        result = work(task, report, warn)
    except Exception as error:
        code, message, hint = explain(error)
        bar.close()
        if code == GaussmithError.code:
            traceback.print_exception(error)
        _note(f"error: {task.source.name}: {message} {hint}".rstrip())
        return {**facts, "error": {"code": code, "message": message, "hint": hint}}
    finally:
        bar.close()
    closed = "watertight" if result["watertight"] else "not watertight"
    _say(f"{task.output}: {result['faces']:,} faces, {closed}, {result['seconds']['total']:.1f} s", as_json)
    return {**facts, **result}


def _say(text: str, as_json: bool) -> None:
    """A line for people on stdout, which with `as_json` belongs to the program that reads it."""
    if not as_json:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def _note(text: str) -> None:
    tqdm.write(text, file=sys.stderr)

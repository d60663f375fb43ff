# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a training run: its id, its lock, what it is made of, its checkpoints; a copy goes on elsewhere."""

import csv
import hashlib
import json
import os
import platform
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine import __version__
from engine.errors import InputError, OptionError, OutputError
from engine.paths import written_whole
from engine.training.checkpoint import has_checkpoint, load_checkpoint
from engine.training.distributed import Group
from engine.training.lock import FolderLock

FORMAT = 1
RECORD, CHECKPOINT = "run.json", "checkpoint.pt"
PACKAGES = ("torch", "numpy", "numba", "scipy")
"""Packages whose versions a run remembers."""


@dataclass(frozen=True)
class RunPlan:
    """What one sitting of a training is made of."""

    system: str  # "agg"
    preset: str
    settings: Mapping[str, Any]  # numbers, strings and lists of them
    data: Sequence[tuple[Path, float]] = ()  # index files of packs and their shares, as `parse_data` returns them
    fixed: Mapping[str, Any] = field(default_factory=dict)  # what one network cannot change: flags of the architecture


class RunFolder:
    """A run that this process holds, as `open_run` returns it."""

    def __init__(self, path: Path, record: dict[str, Any], lock: FolderLock | None, notes: list[str]) -> None:
        self.path, self.record, self.notes = path, record, notes
        self._lock = lock

    @property
    def id(self) -> str:
        """The same on every machine the run goes on on."""
        return self.record["run"]

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def load(self) -> dict[str, Any] | None:
        """The last good checkpoint, or None where nothing has been saved yet.

        A damaged one is kept aside as `checkpoint.pt.broken`, so that the next save does not push out the good one
        before it; `notes` says so. Raises `InputError` where none can be read, `OptionError` for another preset.
        """
        if not has_checkpoint(self.checkpoint):
            return None
        state, note = load_checkpoint(self.checkpoint)
        if note:
            self.notes.append(note)
            if self.checkpoint.exists():
                os.replace(self.checkpoint, self.checkpoint.with_name(CHECKPOINT + ".broken"))
        _same(self.path, "preset", state.get("preset", self.record["preset"]), self.record["preset"])
        return state

    def close(self) -> None:
        """Lets another training have the folder."""
        if self._lock:
            self._lock.release()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_run(folder: str | Path, plan: RunPlan, resume: bool, group: Group | None = None) -> RunFolder:
    """Locks `folder` and begins or continues the run in it, writing down the sitting in `run.json`.

    The run keeps its id, preset and `fixed` for ever; settings and data may differ from sitting to sitting, and changed
    data is told in `notes`. Of several processes the first does it, and all learn what came of it.

    Raises `OptionError` where another training holds the folder, where it holds a run that was not to be continued, or
    one of another system, preset or architecture; `OutputError` where it cannot be written.
    """
    here: list[RunFolder] = []

    def opened() -> dict[str, Any]:
        here.append(_opened(Path(folder), plan, resume))
        return here[0].record

    record = (group or Group()).from_first(opened)
    return here[0] if here else RunFolder(Path(folder), record, None, [])


def _opened(folder: Path, plan: RunPlan, resume: bool) -> RunFolder:
    fixed = json.loads(json.dumps(dict(plan.fixed)))  # as they will be read again
    lock = FolderLock(folder)
    left = lock.acquire()
    try:
        notes = [left] if left else []
        saved = has_checkpoint(folder / CHECKPOINT)
        record = (_held(folder) if saved else read_record(folder) or {}) if saved or resume else {}
        if saved and not resume:
            raise OptionError(
                f"{folder} already holds a run.",
                f"Continue it with --resume {folder}, or give another --run folder.",
            )
        if record:
            for name, now in {"system": plan.system, "preset": plan.preset, **fixed}.items():
                _same(folder, name, record.get("fixed", {}).get(name, record.get(name, now)), now)
        sitting = _sitting(plan)
        if record.get("sittings") and _hashes(record["sittings"][-1]) != _hashes(sitting):
            notes.append("The data is not that of the sitting before; both are written down in run.json.")
        record = {
            "format": FORMAT,
            "run": record.get("run") or f"{plan.system}-{plan.preset}-{secrets.token_hex(4)}",
            "system": plan.system,
            "preset": plan.preset,
            "fixed": fixed,
            "sittings": [*record.get("sittings", ()), sitting],
        }
        with written_whole(folder / RECORD) as part:
            part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except BaseException:
        lock.release()
        raise
    return RunFolder(folder, record, lock, notes)


def read_record(folder: str | Path) -> dict[str, Any] | None:
    """What `run.json` says, or None where there is none that can be read (runs of before it have checkpoints only)."""
    try:
        record = json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "run" in record and "preset" in record else None


def _held(folder: Path) -> dict[str, Any]:
    """The record of a folder with a checkpoint, made up from that where there is none."""
    if record := read_record(folder):
        return record
    state, _ = load_checkpoint(folder / CHECKPOINT)
    return {name: state[name] for name in ("run", "system", "preset") if name in state}


def remembered(folder: str | Path) -> dict[str, Any]:
    """Settings of the run in `folder`, `preset` and `data` among them, as its last sitting had them.

    From `run.json`, or from the checkpoint of a run of before it. Raises `OptionError` where the folder holds no run.
    """
    folder = Path(folder)
    if record := read_record(folder):
        last = record["sittings"][-1]
        data = [f"{pack['index']}:{pack['share']:g}" for pack in last["data"]]
        return {**last["settings"], "preset": record["preset"], "data": data}
    if has_checkpoint(folder / CHECKPOINT):
        state, _ = load_checkpoint(folder / CHECKPOINT)
        return {**state.get("settings", {}), "preset": state["preset"]}
    raise OptionError(f"{folder} holds no run to continue.", "Give the folder of a run, or begin one with --run.")


def attempt(work: Callable[[], object], warn: Callable[[str], None]) -> None:
    """Does `work` that a training can go without, such as a picture grid; a full disk there is only a warning."""
    try:
        work()
    except (OSError, OutputError) as error:
        warn(f"{error} The training goes on.")


# ---- what a sitting is made of --------------------------------------------------------------------------------------


def _sitting(plan: RunPlan) -> dict[str, Any]:
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": socket.gethostname(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "settings": dict(plan.settings),
        "data": [describe_pack(index, share) for index, share in plan.data],
        "versions": versions(),
    }


def describe_pack(index: Path, share: float) -> dict[str, Any]:
    """A pack, its share of the examples and the SHA-256 of its files: the index and the shards it names.

    Raises `InputError` where a file cannot be read.
    """
    try:
        with index.open(newline="", encoding="utf-8") as lines:
            shards = {row.get("shard") or "" for row in csv.DictReader(lines)}
        hashes = {}
        for file in (index, *(index.parent / name for name in sorted(shards - {""}))):
            with file.open("rb") as content:
                hashes[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Could not read the pack {index}: {error}.", "Give --data the packs as they lie on this machine."
        ) from error
    return {"index": str(index.absolute()), "share": share, "sha256": hashes}


def versions() -> dict[str, str]:
    """What computes: the engine with a hash of its source, Python, the platform, packages."""
    found = {"engine": __version__, "source": _source_hash(), "python": platform.python_version()}
    found["platform"] = platform.platform()
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _source_hash() -> str:
    """SHA-256 of all the engine's Python files, so that a run knows its code without a version-control system."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _hashes(sitting: dict[str, Any]) -> list[str]:
    return sorted(value for pack in sitting.get("data", ()) for value in pack["sha256"].values())


def _same(folder: Path, name: str, held: Any, wanted: Any) -> None:
    if held != wanted:
        raise OptionError(
            f"{folder} is a run of {name} {held!r}, not {wanted!r}.",
            f"Give another --run folder, or {name} {held!r}.",
        )

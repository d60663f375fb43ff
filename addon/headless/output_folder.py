# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder a batch writes to: what is made appears whole or not at all, however the batch ends. No bpy.

    OUTPUT/.gaussmith/
      lock            held by the batch that writes here
      making/TOKEN/   what is being made; thrown away when the next batch finds it
      ready/TOKEN/    finished: entry.json and files/, on their way to their places; the next batch takes them there
      kept/TOKEN/     finished, and needed once more for a library
      made.jsonl      what has been made: its source, its files and how, a line each
      logs/           of the engine

`making/TOKEN` becomes `ready/TOKEN` by one renaming: before it nothing has been made, after it everything will appear.
"""

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from ..files.whole_files import written_whole
from .folder_lock import FolderLock, LockedError
from .plan import UsageError

STATE = ".gaussmith"
_LOW = 1 << 20
_PROBE = 8 << 20
"""Bytes that must fit on the disk for a batch to go on."""


@dataclass(frozen=True)
class Entry:
    """What was made of one source. Files are named from the output folder on, the mesh last."""

    name: str  # without suffix: "cat", "animals/cat"
    source: str
    stamp: list[int]  # size and time of the source when it was read
    files: list[str]
    record: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    kept: dict[str, str] = field(default_factory=dict)  # "mesh", "lod1" ...: GLBs in `kept/TOKEN`
    token: str = ""
    run: str = ""  # of the batch that made it


class UnwritableError(UsageError):
    """A folder in which nothing can be written."""


class TakenError(Exception):
    """A file that is there already and must stay; its text is one sentence."""


class OutputFolder:
    """Held by one batch at a time from `__enter__` to `__exit__`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        """What was found and done at the start, in sentences."""
        self.made: dict[str, Entry] = {}
        """What has been made, by name; without what has been deleted since."""
        self._state = folder / STATE
        self._lock = FolderLock(self._state / "lock")

    def __enter__(self) -> "OutputFolder":
        """Takes the folder and finishes what an earlier batch had no time to. Raises `UsageError`."""
        if self._state.is_symlink():  # it would be cleaned up wherever it leads to
            raise UnwritableError(f"{self._state} is a link. Remove it, or name another folder.")
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except LockedError as error:
            raise UsageError(
                f"Another batch writes in {self.folder}: {error}. Wait for it, or name another folder."
            ) from None
        except OSError as error:
            raise UnwritableError(f"Could not write in {self.folder}: {error.strerror or error}.") from error
        try:
            self._recover()
        except OSError as error:
            self._lock.release()
            raise UnwritableError(f"Could not write in {self.folder}: {error.strerror or error}.") from error
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._state / "making", ignore_errors=True)
        for name in ("ready", "kept"):
            with contextlib.suppress(OSError):  # not empty, or never made
                (self._state / name).rmdir()
        self._lock.release()

    @property
    def held(self) -> bool:
        """Whether this batch may write in the folder."""
        return self._lock.held

    @property
    def logs(self) -> Path:
        return self._state / "logs"

    def making(self) -> Path:
        """A fresh folder to make one mesh in; what is to appear goes into `files` there, under its own name."""
        folder = self._state / "making" / uuid.uuid4().hex[:12]
        (folder / "files").mkdir(parents=True)
        return folder

    def drop(self, making: Path) -> None:
        """Throws away what was made in a folder."""
        shutil.rmtree(making, ignore_errors=True)

    def finish(self, making: Path, entry: Entry, protected: Collection[Path] = ()) -> list[Path]:
        """Brings what lies in `making` to its places and returns these, the mesh first.

        Raises `TakenError` where a file is in the way and `entry` does not overwrite, or where it is one of those
        `protected`; `OSError` where the disk is full or the folder gone. Then nothing has appeared.
        """
        targets = [self.folder / file for file in entry.files]
        for target in targets:
            if target in protected:
                raise TakenError(f"{target} is a source of this batch. Choose another folder.")
            if target.exists() and not entry.overwrite:
                raise TakenError(f"{target} exists already. Use --overwrite, or another folder.")
        if shutil.disk_usage(self.folder).free < _LOW:
            self.check_space()  # exporters of Blender report success where a file was cut off
        entry = Entry(**{**asdict(entry), "token": making.name})
        ready = self._state / "ready" / making.name
        ready.parent.mkdir(exist_ok=True)
        with written_whole(making / "entry.json") as part:
            part.write_text(json.dumps(asdict(entry)), encoding="utf-8")
        os.rename(making, ready)
        self._place(ready, entry)
        return targets[::-1]

    def kept(self, entry: Entry) -> dict[str, Path]:
        """The files kept of an entry that are still there."""
        found = {key: self._state / "kept" / entry.token / name for key, name in entry.kept.items()}
        return {key: path for key, path in found.items() if path.is_file()}

    def forget_kept(self) -> None:
        """Throws away what was kept: it is in its library."""
        shutil.rmtree(self._state / "kept", ignore_errors=True)

    def free(self, entry: Entry) -> None:
        """Throws away what was kept of one entry."""
        if entry.token:
            shutil.rmtree(self._state / "kept" / entry.token, ignore_errors=True)

    def put(self, path: Path, write: Callable[[Path], None]) -> None:
        """Lets `write` make a file that then appears at `path`, anywhere, whole. Raises `OSError`."""
        making = self.making()
        made = making / path.name
        try:
            write(made)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(made, path)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with written_whole(path) as part:  # another file system
                    shutil.copyfile(made, part)
        finally:
            self.drop(making)

    def check_space(self) -> None:
        """Raises `OSError` where not even a small file can be written."""
        probe = self._state / "probe"
        try:
            probe.write_bytes(bytes(_PROBE))
        finally:
            probe.unlink(missing_ok=True)

    # ---- remembered by name ------------------------------------------------------------------------------------------

    def remember(self, key: str, value: Any) -> None:
        """Keeps a small fact about this folder."""
        with written_whole(self._state / f"{key}.json") as part:
            part.write_text(json.dumps(value), encoding="utf-8")

    def forget(self, key: str) -> None:
        """Undoes `remember`."""
        if self.held:
            (self._state / f"{key}.json").unlink(missing_ok=True)

    def recall(self, key: str) -> Any:
        """A fact kept by `remember`, None where there is none that can be read."""
        try:
            return json.loads((self._state / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None

    # ---- how it goes on after an end of any kind ---------------------------------------------------------------------

    def _recover(self) -> None:
        shutil.rmtree(self._state / "making", ignore_errors=True)
        self.made = read_made(self.folder)
        for ready in _folders_in(self._state / "ready"):
            entry = _entry(_load(ready / "entry.json"))
            if entry is None:
                shutil.rmtree(ready, ignore_errors=True)
                continue
            waiting = [file for file in entry.files if (ready / "files" / PurePosixPath(file).name).exists()]
            taken = [file for file in waiting if (self.folder / file).exists() and not entry.overwrite]
            if taken:
                self.notes.append(
                    f"{self.folder / taken[0]} is in the way of one that was finished before. Move it away, "
                    f"or delete {ready}."
                )
                continue
            self._place(ready, entry)
            if waiting:
                self.notes.append(f"{self.folder / entry.files[-1]} was finished before and is put in its place now.")
        known = {entry.token for entry in self.made.values()}
        for kept in _folders_in(self._state / "kept"):
            if kept.name not in known:
                shutil.rmtree(kept, ignore_errors=True)

    def _place(self, ready: Path, entry: Entry) -> None:
        """Moves the files of a finished mesh; can be begun again after being stopped anywhere."""
        for file in entry.files:
            source, target = ready / "files" / PurePosixPath(file).name, self.folder / file
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
        _append(self._state / "made.jsonl", json.dumps(asdict(entry)))
        if (before := self.made.get(entry.name)) is not None and before.token != entry.token:
            self.free(before)
        self.made[entry.name] = entry
        if entry.kept:
            kept = self._state / "kept" / entry.token
            kept.parent.mkdir(exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            os.rename(ready, kept)
        else:
            shutil.rmtree(ready, ignore_errors=True)


def read_made(folder: Path) -> dict[str, Entry]:
    """What has been made in an output folder and is still there, by name."""
    made = {entry.name: entry for entry in _entries(folder)}
    return {name: entry for name, entry in made.items() if (folder / entry.files[-1]).exists()}


def own_files(folder: Path) -> set[Path]:
    """All files ever made in an output folder; they are no sources where a batch writes among its pictures."""
    return {folder / file for entry in _entries(folder) for file in entry.files}


def _entries(folder: Path) -> Iterator[Entry]:
    for line in _lines(folder / STATE / "made.jsonl"):
        with contextlib.suppress(ValueError, RecursionError):
            if (entry := _entry(json.loads(line))) is not None:
                yield entry


def stamp_of(source: Path) -> list[int]:
    """Size and time of a file; those of what is not there are 0."""
    try:
        facts = source.stat()
    except OSError:
        return [0, 0]
    return [facts.st_size, facts.st_mtime_ns]


def _entry(content: Any) -> Entry | None:
    """An entry from what a file says, None where that is no entry: somebody else may have written it."""
    if not isinstance(content, dict) or set(content) != {each.name for each in fields(Entry)}:
        return None
    entry = Entry(**content)
    sound = (
        all(isinstance(text, str) for text in (entry.name, entry.source, entry.token, entry.run))
        and isinstance(entry.files, list)
        and bool(entry.files)
        and all(map(_is_inside, entry.files))
        and isinstance(entry.kept, dict)
        and all(map(_is_plain, (entry.token or "none", *entry.kept.values())))
        and isinstance(entry.record, dict)
        and isinstance(entry.stamp, list)
    )
    return entry if sound else None


def _is_inside(name: Any) -> bool:
    """Whether a name leads into the folder it is meant for, wherever that is."""
    if not isinstance(name, str):
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not Path(name).is_absolute()


def _is_plain(name: Any) -> bool:
    return _is_inside(name) and len(PurePosixPath(name).parts) == 1


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _append(path: Path, line: str) -> None:
    """Adds a whole line, behind one that may have been cut off. Raises `OSError` with nothing added."""
    with open(path, "ab+") as file:
        end = file.seek(0, os.SEEK_END)
        data = line.encode() + b"\n"
        if end:
            file.seek(end - 1)
            data = data if file.read(1) == b"\n" else b"\n" + data
        try:
            file.write(data)
            file.flush()
        except OSError:
            file.truncate(end)
            raise


def is_full(error: OSError) -> bool:
    """Whether an error speaks of a disk, a quota or a file that can take no more."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


def problem_of(error: OSError, folder: Path) -> tuple[str, str, str]:
    """Code, message and hint for what the system says about an output folder."""
    if is_full(error):
        return "DISK_FULL", f"The disk of {folder} is full.", "Free some space and start the same batch again."
    return "CANNOT_WRITE", f"Could not write in {folder}: {error.strerror or error}.", "Check the folder."

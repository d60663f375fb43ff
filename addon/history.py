# SPDX-License-Identifier: GPL-3.0-or-later
"""What was made: an entry for each mesh, kept with its files, its picture and what it takes to make it again. No bpy.

    history/
      3f2a.../           one folder per entry, whole or not there: it is made as 3f2a....part and renamed
        entry.json       what `Entry` holds
        teapot.glb  ...  the engine's files
        thumbnail.png
      pictures/          pictures the entries were made from, each once, in folders named by their content

Reading and writing happen in a thread that lives as long as there is something to do. Nothing in these files is
trusted: an entry that is damaged, or names a file outside its folder, is left alone and counted.
"""

import contextlib
import json
import math
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .files.names import file_name
from .files.whole_files import PART, written_whole

VERSION = 1
LARGEST_ENTRY = 1 << 20
"""Bytes of an entry.json beyond which it is none of ours."""
LARGEST_PICTURE = 64 << 20
"""Bytes of a picture beyond which no copy of it is kept."""
LEFTOVER_SECONDS = 24 * 3600
"""Age at which an unfinished folder is nobody's any more."""
LATEST_DATE = 253_402_300_799.0  # the end of the year 9999
NAME_LENGTH = 200

_ID = re.compile(r"[0-9a-f]{32}")
_PICTURES = "pictures"
_ENTRY_FILE = "entry.json"
_THUMBNAIL = "thumbnail.png"
_HOLES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Entry:
    """One mesh that was made."""

    id: str
    name: str
    picture: str = ""  # as the user gave it; empty where it was made of splats
    splats: str = ""
    generator: str = ""
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    date: float = 0.0  # seconds since 1970
    files: dict[str, str] = field(default_factory=dict)  # of the engine: "mesh", "lod1" ...; absolute paths
    thumbnail: str = ""
    copy: str = ""  # of the picture, kept with the history
    report: dict[str, Any] = field(default_factory=dict)
    error: str = ""  # why it is not kept beyond this run of Blender

    @property
    def source(self) -> str:
        """Where the picture or splats can be read now: the original as long as it is there, else the copy."""
        original = self.picture or self.splats
        return self.copy if self.copy and not os.path.isfile(original) else original


class History:
    """The entries in a folder, newest first. Everything but `finish` returns at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged = 0
        self.version = 0  # grows with every change
        self._entries: dict[str, Entry] = {}
        self._shown: tuple[Entry, ...] = ()
        self._kept: set[str] = set()  # those with a folder of their own
        self._unreadable: set[str] = set()
        self._gone: set[str] = set()
        self._lock = threading.RLock()
        self._tasks: deque[Callable[[], None]] = deque()
        self._worker: threading.Thread | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self._shown

    @property
    def busy(self) -> bool:
        """Whether something is still being read or written."""
        return self._worker is not None

    def find(self, entry_id: str) -> Entry | None:
        return self._entries.get(entry_id)

    def load(self) -> None:
        """Reads what is new in the folder, by this Blender or another."""
        self._later(self._scan)

    def add(self, entry: Entry, made: Path, thumbnail: bytes = b"") -> None:
        """Keeps an entry with its `files`, which lie in the folder `made`; that folder is the history's from now on."""
        with self._lock:
            self._gone.discard(entry.id)
            self._put(entry)
        self._later(lambda: self._keep(entry, made, thumbnail))

    def remove(self, entry_id: str) -> None:
        """Deletes an entry with its files, and the copy of its picture where no other entry has it."""
        with self._lock:
            if self._entries.pop(entry_id, None) is not None:
                self._gone.add(entry_id)
                self._changed()
                self._later(lambda: self._delete(entry_id))

    def keep_picture(self, data: bytes, name: str) -> Path:
        """A copy of a picture under a file name; the same bytes are written once. Raises `OSError`."""
        import hashlib  # here, as it loads a library of ciphers

        target = self.folder / _PICTURES / hashlib.sha256(data).hexdigest()[:32] / name
        if not target.is_file():
            _write(target, data)
        return target

    def finish(self, seconds: float = 30.0) -> None:
        """Waits until everything is read and written."""
        worker = self._worker
        if worker is not None:
            worker.join(seconds)

    # -----------------------------------------------------------------------
    # In the worker

    def _later(self, task: Callable[[], None]) -> None:
        with self._lock:
            self._tasks.append(task)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="gaussmith-history")
                self._worker.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._tasks:
                    self._worker = None
                    self._changed()
                    return
                task = self._tasks.popleft()
            task()

    def _scan(self) -> None:
        try:
            names = os.listdir(self.folder)
        except OSError:
            names = []  # nothing was made yet
        found = {name for name in names if _ID.fullmatch(name)}
        for name in names:
            if name.endswith(PART) and _age(self.folder / name) > LEFTOVER_SECONDS:
                shutil.rmtree(self.folder / name, ignore_errors=True)
        read = [(name, read_entry(self.folder / name)) for name in found - self._entries.keys() - self._unreadable]
        with self._lock:
            self._unreadable = (self._unreadable | {name for name, entry in read if entry is None}) & found
            self.damaged = len(self._unreadable)
            self._entries |= {name: entry for name, entry in read if entry is not None and name not in self._gone}
            for name in self._kept - found:  # deleted by another Blender
                self._entries.pop(name, None)
            self._kept = found - self._unreadable
            self._changed()

    def _keep(self, entry: Entry, made: Path, thumbnail: bytes) -> None:
        part, whole = self.folder / f"{entry.id}{PART}", self.folder / entry.id
        try:
            part.mkdir(parents=True, exist_ok=True)
            files = {key: Path(shutil.copy2(path, part)).name for key, path in entry.files.items()}
            if thumbnail:
                (part / _THUMBNAIL).write_bytes(thumbnail)
            kept = replace(entry, copy=self._copy_of(entry), thumbnail=_THUMBNAIL if thumbnail else "", files=files)
            (part / _ENTRY_FILE).write_text(_text_of(kept), encoding="utf-8")
            os.replace(part, whole)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            why = f"Could not write to {self.folder}: {error.strerror or error}."
            with self._lock:
                if entry.id in self._entries:
                    self._put(replace(entry, error=why))
            return
        with self._lock:
            if entry.id in self._entries:
                self._put(_placed(kept, whole))
        shutil.rmtree(made, ignore_errors=True)
        self._scan()

    def _copy_of(self, entry: Entry) -> str:
        """Where a copy of the picture is kept; empty where there is none to be had."""
        path = Path(entry.picture)
        if not entry.picture or path.parent.parent == self.folder / _PICTURES:
            return entry.picture
        try:
            if path.stat().st_size > LARGEST_PICTURE or not path.is_file():
                return ""
            data = path.read_bytes()
        except OSError:
            return ""  # deleted since: the mesh is there all the same
        return str(self.keep_picture(data, file_name(path.stem, path.suffix.lower())))

    def _delete(self, entry_id: str) -> None:
        whole, part = self.folder / entry_id, self.folder / f"{entry_id}{PART}"
        self._scan()
        entry = read_entry(whole)
        with contextlib.suppress(OSError):  # it was never written, or is open in another program and stays a leftover
            os.replace(whole, part)
        shutil.rmtree(part, ignore_errors=True)
        if entry is not None and entry.copy:
            folder = Path(entry.copy).parent
            if not any(Path(other.copy).parent == folder for other in self.entries if other.copy):
                shutil.rmtree(folder, ignore_errors=True)

    # -----------------------------------------------------------------------
    # Under the lock

    def _put(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        self._changed()

    def _changed(self) -> None:
        self._shown = tuple(sorted(self._entries.values(), key=lambda entry: (-entry.date, entry.id)))
        self.version += 1


def new_entry(entry_id: str, name: str, **about: Any) -> Entry:
    """An entry of now, its name as it can be shown."""
    return Entry(entry_id, plain(name), date=time.time(), **about)


def plain(name: str) -> str:
    """A name on one line: without control characters, of a bearable length, of characters UTF-8 knows."""
    known = name.encode("utf-8", "replace").decode("utf-8")
    return _HOLES.sub(" ", known).strip()[:NAME_LENGTH] or "Mesh"


def read_entry(folder: Path) -> Entry | None:
    """The entry in a folder, or None where it holds none that is whole and ours."""
    try:
        if folder.is_symlink() or (folder / _ENTRY_FILE).stat().st_size > LARGEST_ENTRY:
            return None
        content = json.loads((folder / _ENTRY_FILE).read_bytes(), parse_constant=_refuse)
        return _placed(_checked(content, folder.name), folder)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number of ours")


def _checked(content: Any, entry_id: str) -> Entry:
    """What an entry.json says, its files by name. Raises `ValueError`, `KeyError` or `TypeError` where it is none."""
    if not isinstance(content, dict) or content.pop("version") != VERSION or content["id"] != entry_id:
        raise ValueError("not an entry of this version")
    entry = Entry(**content)  # names that are unknown raise
    for name, value in vars(entry).items():
        if type(value) is int and isinstance(getattr(Entry, name, None), float):
            continue
        if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
            raise TypeError(name)
    if not 0 <= entry.date <= LATEST_DATE or not 0 <= entry.seconds < math.inf or not 0 <= entry.seed < 1 << 31:
        raise ValueError("a number out of its range")
    names = [*entry.files.values(), entry.thumbnail or _THUMBNAIL]
    if not entry.files.get("mesh") or not all(isinstance(name, str) and _is_plain_name(name) for name in names):
        raise ValueError("a file outside the folder")
    if entry.copy:
        folder, name = entry.copy.split("/")
        if not _ID.fullmatch(folder) or not _is_plain_name(name):
            raise ValueError("a picture outside the folder")
    if "\0" in entry.picture + entry.splats:
        raise ValueError("no path")
    return replace(entry, name=plain(entry.name))


_TYPES: dict[str, type | tuple[type, ...]] = {
    "seed": int,
    "seconds": (int, float),
    "date": (int, float),
    "options": dict,
    "files": dict,
    "report": dict,
    **dict.fromkeys(("id", "name", "picture", "splats", "generator", "thumbnail", "copy", "error"), str),
}


def _is_plain_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not re.search(r"[/\\:\x00]", name)


def _placed(entry: Entry, folder: Path) -> Entry:
    """The entry with absolute paths; `entry` has names in its own folder, and of its copy in that of all pictures."""
    return replace(
        entry,
        files={key: str(folder / name) for key, name in entry.files.items()},
        thumbnail=str(folder / entry.thumbnail) if entry.thumbnail else "",
        copy=str(folder.parent.joinpath(_PICTURES, *Path(entry.copy).parts[-2:])) if entry.copy else "",
    )


def _text_of(entry: Entry) -> str:
    copy = "/".join(Path(entry.copy).parts[-2:])
    return json.dumps({"version": VERSION, **asdict(replace(entry, copy=copy))}, indent=1)


def _write(target: Path, data: bytes) -> None:
    """A file that is whole or not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target, f".{os.getpid()}") as part:
        part.write_bytes(data)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0

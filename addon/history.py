# SPDX-License-Identifier: GPL-3.0-or-later
"""What was made: an entry for each mesh, kept with its files, its picture and what it takes to make it again. No bpy.

    history/
      3f2a.../           one folder per entry, whole or not there: it is made as 3f2a....part and renamed
        entry.json       what `Entry` holds
        teapot.glb  ...  the engine's files
        thumbnail.png
        pinned, imported empty files, see `history_room`
      pictures/          pictures the entries were made from, each once, in folders named by their content
      may-make-room      there once the user agreed that entries go when the limit is passed

Reading and writing happen in a thread that lives as long as there is something to do. Nothing in these files is
trusted: an entry that is damaged, or names a file outside its folder, is left alone and counted.

Entries go on their own only when one is added, only after the user agreed, and never the newest, a pinned one or one
in use. Several Blenders may share the folder: what one has removed is no loss to another.
"""

import contextlib
import os
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

from .files.names import file_name
from .files.whole_files import PART, written_whole
from .history_entry import ENTRY_FILE, ID, PICTURES, Entry, placed, read_entry, text_of
from .history_room import IMPORTED, PINNED, THUMBNAIL, Marks, delete_tree, first_to_go, marks_of, set_mark, size_of

LARGEST_PICTURE = 64 << 20
"""Bytes of a picture beyond which no copy of it is kept."""
LEFTOVER_SECONDS = 24 * 3600
"""Age at which an unfinished folder, or a picture without an entry, is nobody's any more."""

_AGREED = "may-make-room"


class History:
    """The entries in a folder, newest first. Everything but `finish` returns at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged = 0
        self.version = 0  # grows with every change
        self.limit = 0  # bytes; 0 is none
        self.used = 0  # bytes of the entries that could be read and of all pictures
        self.asks = False  # whether the limit is passed and the user has to agree first
        self.made_room = 0  # entries that went for others since this was made
        self.overfull = False  # whether what had to stay takes more than the limit
        self._entries: dict[str, Entry] = {}
        self._shown: tuple[Entry, ...] = ()
        self._kept: set[str] = set()  # those with a folder of their own
        self._marks: dict[str, Marks] = {}
        self._pins: dict[str, bool] = {}  # wishes that are not written yet
        self._pictures: dict[str, int] = {}  # bytes in each folder of `pictures`
        self._agreed = False
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

    def marks(self, entry_id: str) -> Marks:
        return self._marks.get(entry_id, Marks())

    def add(
        self, entry: Entry, made: Path, thumbnail: bytes = b"", imported: bool = False, spare: Collection[str] = ()
    ) -> None:
        """Keeps an entry with its `files`, which lie in the folder `made`; that folder is the history's from now on.

        `imported` says whether it stands in a scene. `spare` are ids of entries and paths of pictures that are in use:
        they do not go where this one needs room.
        """
        with self._lock:
            self._gone.discard(entry.id)
            self._put(entry)
        self._later(lambda: self._keep(entry, made, thumbnail, imported, spare))

    def remove(self, *entry_ids: str, spare: Collection[str] = ()) -> None:
        """Deletes entries with their files, and copies of their pictures that no other entry has. `spare` as in `add`,
        for pictures only.
        """
        with self._lock:
            known = [entry_id for entry_id in entry_ids if self._entries.pop(entry_id, None) is not None]
            if known:
                self._gone.update(known)
                self._changed()
                self._later(lambda: self._delete(known, spare))

    def pin(self, entry_id: str, wanted: bool) -> None:
        """Whether an entry stays whatever comes, unless the user deletes it by itself."""
        with self._lock:
            if entry_id in self._entries:
                self._pins[entry_id] = wanted
                self._marks[entry_id] = replace(self.marks(entry_id), pinned=wanted)
                self._changed()
                self._later(lambda: self._mark(entry_id, PINNED, wanted))

    def note_import(self, entry_id: str) -> None:
        """Says that an entry stands in a scene: it may go before those that never did."""
        if not self.marks(entry_id).imported:
            self._later(lambda: self._mark(entry_id, IMPORTED, True))

    def note_use(self, picture: str) -> None:
        """Says that a picture is used: if it lies with the history, it stays there for a day whatever becomes of its
        entries.
        """
        if name := self._picture_folder(picture):
            with contextlib.suppress(OSError):
                os.utime(self.folder / PICTURES / name)

    def limit_to(self, size: int) -> None:
        """The most bytes to be used; 0 is no limit. Nothing goes before the next entry comes: it can be taken back."""
        with self._lock:
            self.limit = size
            self._changed()

    def agree(self, spare: Collection[str] = ()) -> None:
        """The user knows that entries go when the limit is passed, now and from now on. `spare` as in `add`."""
        with self._lock:
            self._agreed = True
            self._changed()
        self._later(lambda: self._agree(spare))

    def loose(self) -> tuple[Entry, ...]:
        """The entries that are not pinned."""
        return tuple(entry for entry in self._shown if not self.marks(entry.id).pinned)

    def size_of(self, entries: Iterable[Entry]) -> int:
        """Bytes of these entries, and of the pictures that no other entry has."""
        going = {entry.id: entry for entry in entries}
        with self._lock:
            others = {self._picture_of(entry) for entry in self._entries.values() if entry.id not in going}
            pictures = {self._picture_of(entry) for entry in going.values()} - others
            sizes = [self.marks(entry_id).size for entry_id in going]
            return sum(sizes) + sum(self._pictures.get(name, 0) for name in pictures)

    def keep_picture(self, data: bytes, name: str) -> Path:
        """A copy of a picture under a file name; the same bytes are written once. Raises `OSError`."""
        import hashlib  # here, as it loads a library of ciphers

        target = self.folder / PICTURES / hashlib.sha256(data).hexdigest()[:32] / name
        if target.is_file():
            self.note_use(str(target))
        else:
            _write(target, data)
            with self._lock:
                self._pictures.pop(target.parent.name, None)  # measured anew
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
            try:
                task()
            except Exception:  # those after it are still to be done
                import traceback

                traceback.print_exc()

    def _scan(self, anew: bool = False) -> None:
        """Reads entries that are new in the folder, and measures these and new pictures, or `anew` all of them."""
        names = _names_in(self.folder)
        found = {name for name in names if ID.fullmatch(name)}
        for name in names:
            if name.endswith(PART) and _age(self.folder / name) > LEFTOVER_SECONDS:
                delete_tree(self.folder / name)
        read = [(name, read_entry(self.folder / name)) for name in found - self._entries.keys() - self._unreadable]
        known = {} if anew else self._marks
        marks = {name: known.get(name) or marks_of(self.folder / name) for name in found}
        pictures = self.folder / PICTURES
        sized = {} if anew else dict(self._pictures)
        kept_pictures = filter(ID.fullmatch, _names_in(pictures))
        sizes = {name: sized.get(name) or size_of(pictures / name) for name in kept_pictures}
        with self._lock:
            self._unreadable = (self._unreadable | {name for name, entry in read if entry is None}) & found
            self.damaged = len(self._unreadable)
            self._entries |= {name: entry for name, entry in read if entry is not None and name not in self._gone}
            for name in self._kept - found:  # deleted by another Blender
                self._entries.pop(name, None)
            self._kept = found - self._unreadable
            self._marks = {name: self._as_wished(name, marks[name]) for name in self._kept}
            self._pictures = sizes
            self._agreed |= _AGREED in names
            self._changed()

    def _keep(self, entry: Entry, made: Path, thumbnail: bytes, imported: bool, spare: Collection[str]) -> None:
        part, whole = self.folder / f"{entry.id}{PART}", self.folder / entry.id
        try:
            part.mkdir(parents=True, exist_ok=True)
            files = {key: Path(shutil.copy2(path, part)).name for key, path in entry.files.items()}
            if thumbnail:
                (part / THUMBNAIL).write_bytes(thumbnail)
            set_mark(part, IMPORTED, imported)
            kept = replace(entry, copy=self._copy_of(entry), thumbnail=THUMBNAIL if thumbnail else "", files=files)
            (part / ENTRY_FILE).write_text(text_of(kept), encoding="utf-8")
            os.replace(part, whole)
        except OSError as error:
            delete_tree(part)
            self._say_unwritten(entry, error)
            return
        with self._lock:
            self._marks.pop(entry.id, None)  # measured by the scan
            if entry.id in self._entries:
                self._put(placed(kept, whole))
        shutil.rmtree(made, ignore_errors=True)
        self._scan()
        self._make_room({*spare, entry.id})

    def _say_unwritten(self, entry: Entry, error: OSError) -> None:
        why = f"Could not write to {self.folder}: {error.strerror or error}."
        with self._lock:
            if entry.id in self._entries:
                self._put(replace(entry, error=why))

    def _copy_of(self, entry: Entry) -> str:
        """Where a copy of the picture is kept; empty where there is none to be had."""
        path = Path(entry.picture)
        if not entry.picture or self._picture_folder(entry.picture):
            return entry.picture
        try:
            if path.stat().st_size > LARGEST_PICTURE or not path.is_file():
                return ""
            data = path.read_bytes()
        except OSError:
            return ""  # deleted since: the mesh is there all the same
        return str(self.keep_picture(data, file_name(path.stem, path.suffix.lower())))

    def _mark(self, entry_id: str, name: str, wanted: bool) -> None:
        problem = None
        try:
            set_mark(self.folder / entry_id, name, wanted)
        except OSError as error:
            problem = error
        self._scan()  # it may be gone
        with self._lock:
            if name == PINNED and self._pins.get(entry_id) is wanted:
                del self._pins[entry_id]
            if entry_id not in self._kept:
                self._marks.pop(entry_id, None)
                return
            self._marks[entry_id] = self._as_wished(entry_id, marks_of(self.folder / entry_id))
            self._changed()
            if problem is not None and name == PINNED:
                self._say_unwritten(self._entries[entry_id], problem)

    def _delete(self, entry_ids: list[str], spare: Collection[str]) -> None:
        self._scan()
        users, spared = self._users_of_pictures(), self._spared(spare)
        for entry_id in entry_ids:
            entry = read_entry(self.folder / entry_id)
            self._take_away(entry_id)
            name = self._picture_of(entry) if entry is not None and entry.copy else ""
            if name and not users[name] and name not in spared:
                self._drop_picture(name)
        self._scan()

    def _agree(self, spare: Collection[str]) -> None:
        with contextlib.suppress(OSError):  # then the question comes again in the next Blender
            set_mark(self.folder, _AGREED, True)
        self._make_room(spare)

    def _make_room(self, spare: Collection[str]) -> None:
        """Takes away what goes first, until the rest is within the limit. The newest entry stays."""
        if not self._is_full():
            return
        self._scan(anew=True)  # another Blender may have made room, or pinned something
        with self._lock:
            users, left = self._users_of_pictures(), self.used
            written = [entry for entry in self._shown if entry.id in self._kept]
            spared = self._spared(spare) | {entry.id for entry in self._shown[:1]}
            order = first_to_go(written, self._marks, spared)
        for name in self._forsaken(users, spared):
            left -= self._drop_picture(name) if left > self.limit else 0
        gone, stuck = [], False
        for entry in order:
            if left <= self.limit or (stuck and not self.marks(entry.id).imported):
                break
            if self._as_wished(entry.id, marks_of(self.folder / entry.id)).pinned:
                continue  # just now
            if not self._take_away(entry.id):  # open in another program, or the folder may not be changed
                stuck = True
                continue
            gone.append(entry.id)
            left -= self.marks(entry.id).size
            name = self._picture_of(entry)
            users[name] -= 1
            if name and not users[name] and name not in spared and self._is_forsaken(name):
                left -= self._drop_picture(name)
        with self._lock:
            self.made_room += len([entry_id for entry_id in gone if self._entries.pop(entry_id, None)])
            self.overfull = True  # as long as it is beyond the limit
        self._scan()

    def _is_full(self) -> bool:
        return self._agreed and 0 < self.limit < self.used

    def _spared(self, spare: Collection[str]) -> set[str]:
        """Ids of entries and names of folders of pictures."""
        return {self._picture_folder(each) or each for each in spare}

    def _users_of_pictures(self) -> Counter[str]:
        with self._lock:
            return Counter(self._picture_of(entry) for entry in self._entries.values())

    def _forsaken(self, users: Counter[str], spared: set[str]) -> list[str]:
        """Pictures that no entry was made from and nobody used for a day. Damaged entries may have any of them."""
        names = [] if self._unreadable else [name for name in self._pictures if not users[name] and name not in spared]
        return [name for name in names if self._is_forsaken(name)]

    def _is_forsaken(self, name: str) -> bool:
        return _age(self.folder / PICTURES / name) > LEFTOVER_SECONDS

    def _take_away(self, entry_id: str) -> bool:
        """Deletes the folder of an entry, whole or not at all. Returns whether it is gone, whoever did it."""
        whole, part = self.folder / entry_id, self.folder / f"{entry_id}{PART}"
        if part.exists():
            delete_tree(part)
        try:
            os.replace(whole, part)
        except OSError:  # it was never written, or another Blender was first; or it is open in another program
            return not os.path.lexists(whole)
        delete_tree(part)
        return True

    def _drop_picture(self, name: str) -> int:
        """Deletes a picture. Returns how many bytes are free now."""
        return self._pictures.pop(name, 0) if delete_tree(self.folder / PICTURES / name) else 0

    def _picture_of(self, entry: Entry) -> str:
        """Name of the folder in `pictures` that has an entry's picture, empty where none has."""
        return self._picture_folder(entry.copy) or self._picture_folder(entry.picture)

    def _picture_folder(self, path: str) -> str:
        folder = Path(path).parent
        return folder.name if ID.fullmatch(folder.name) and folder.parent == self.folder / PICTURES else ""

    # -----------------------------------------------------------------------
    # Under the lock

    def _put(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        self._changed()

    def _as_wished(self, entry_id: str, marks: Marks) -> Marks:
        return replace(marks, pinned=self._pins.get(entry_id, marks.pinned))

    def _changed(self) -> None:
        self._shown = tuple(sorted(self._entries.values(), key=lambda entry: (-entry.date, entry.id)))
        self.used = sum(self.marks(entry_id).size for entry_id in self._entries) + sum(self._pictures.values())
        could_go = any(not self.marks(entry.id).pinned for entry in self._shown[1:])
        is_beyond = 0 < self.limit < self.used
        self.asks = is_beyond and could_go and not self._agreed
        self.overfull &= is_beyond
        self.version += 1


def _write(target: Path, data: bytes) -> None:
    """A file that is whole or not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target, f".{os.getpid()}") as part:
        part.write_bytes(data)


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # nothing was made yet, or the disk is not there


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0

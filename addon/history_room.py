# SPDX-License-Identifier: GPL-3.0-or-later
"""How much room the history takes, and what of it goes first where there is not enough. No bpy.

Beside its entry.json the folder of an entry may hold two empty files: `pinned`, where the user wants it kept whatever
comes, and `imported`, where it stood in a scene. Each comes and goes in one step, so that two Blenders can share them.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .history_entry import Entry

PINNED = "pinned"
IMPORTED = "imported"
THUMBNAIL = "thumbnail.png"


@dataclass(frozen=True)
class Marks:
    """What the folder of an entry tells beside its entry.json."""

    size: int = 0  # bytes
    pinned: bool = False
    imported: bool = False


def marks_of(folder: Path) -> Marks:
    """Nothing where the folder is gone; one that cannot be read counts as pinned, as nobody knows.

    An entry with a thumbnail of its mesh stood in a scene when that was drawn.
    """
    try:
        sizes = _sizes(folder)
    except FileNotFoundError:
        return Marks()
    except OSError:
        return Marks(pinned=True)
    return Marks(sum(sizes.values()), PINNED in sizes, IMPORTED in sizes or THUMBNAIL in sizes)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder, not of those in folders within or behind links; 0 where it cannot be read."""
    try:
        return sum(_sizes(folder).values())
    except OSError:
        return 0


def _sizes(folder: Path) -> dict[str, int]:
    with os.scandir(folder) as found:
        files = [file for file in found if file.is_file(follow_symlinks=False)]
        return {file.name: file.stat(follow_symlinks=False).st_size for file in files}


def set_mark(folder: Path, name: str, wanted: bool) -> None:
    """Makes the empty file of this name or takes it away; a link in its place is not followed. Raises `OSError`."""
    mark = folder / name
    if not wanted or mark.is_symlink():
        mark.unlink(missing_ok=True)
    if wanted:
        with contextlib.suppress(FileExistsError):
            open(mark, "xb").close()


def first_to_go(entries: "Iterable[Entry]", marks: Mapping[str, Marks], spared: Collection[str]) -> "list[Entry]":
    """The entries that may go, the oldest in front: of those that were imported, then of the others.

    Never one that is pinned or `spared`; and one that was never imported only where all that were may go too: those
    live in the user's files.
    """
    imported, others = [], []
    for entry in sorted(entries, key=lambda entry: (entry.date, entry.id)):
        known = marks.get(entry.id, Marks())
        if not known.pinned:
            (imported if known.imported else others).append(entry)
    order = imported if any(entry.id in spared for entry in imported) else [*imported, *others]
    return [entry for entry in order if entry.id not in spared]


def delete_tree(folder: Path) -> bool:
    """Deletes a folder, read-only files too; links in it are taken away, not followed. Returns whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.lexists(folder) or folder.is_symlink():
        return not os.path.lexists(folder)
    _make_writable(str(folder))
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            _make_writable(os.path.join(place, name))
    shutil.rmtree(folder, ignore_errors=True)
    return not os.path.lexists(folder)


def _make_writable(path: str) -> None:
    if not os.path.islink(path):
        with contextlib.suppress(OSError):
            os.chmod(path, stat.S_IRWXU)

# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry of the history and its entry.json, in which nothing is trusted. No bpy."""

import json
import math
import os
import re
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .history_room import THUMBNAIL

VERSION = 1
ENTRY_FILE = "entry.json"
PICTURES = "pictures"
"""Name of the folder with copies of pictures, beside the folders of the entries."""
LARGEST_ENTRY = 1 << 20
"""Bytes of an entry.json beyond which it is none of ours."""
LATEST_DATE = 253_402_300_799.0  # the end of the year 9999
NAME_LENGTH = 200
ID = re.compile(r"[0-9a-f]{32}")

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
    error: str = ""  # what could not be written of it, for this run of Blender

    @property
    def source(self) -> str:
        """Where the picture or splats can be read now: the original as long as it is there, else the copy."""
        original = self.picture or self.splats
        return self.copy if self.copy and not os.path.isfile(original) else original


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
        if folder.is_symlink() or (folder / ENTRY_FILE).stat().st_size > LARGEST_ENTRY:
            return None
        content = json.loads((folder / ENTRY_FILE).read_bytes(), parse_constant=_refuse)
        return placed(_checked(content, folder.name), folder)
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
    names = [*entry.files.values(), entry.thumbnail or THUMBNAIL]
    if not entry.files.get("mesh") or not all(isinstance(name, str) and _is_plain_name(name) for name in names):
        raise ValueError("a file outside the folder")
    if entry.copy:
        folder, name = entry.copy.split("/")
        if not ID.fullmatch(folder) or not _is_plain_name(name):
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


def placed(entry: Entry, folder: Path) -> Entry:
    """The entry with absolute paths; `entry` has names in its own folder, and of its copy in that of all pictures."""
    return replace(
        entry,
        files={key: str(folder / name) for key, name in entry.files.items()},
        thumbnail=str(folder / entry.thumbnail) if entry.thumbnail else "",
        copy=str(folder.parent.joinpath(PICTURES, *Path(entry.copy).parts[-2:])) if entry.copy else "",
    )


def text_of(entry: Entry) -> str:
    """The entry.json of an entry whose files are named as they are called in its folder."""
    copy = "/".join(Path(entry.copy).parts[-2:])
    return json.dumps({"version": VERSION, **asdict(replace(entry, copy=copy))}, indent=1)

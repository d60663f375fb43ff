# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of data-blocks and of files, whatever a picture is called. No bpy."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

NAME_BYTES = 63
"""Longest name of a data-block before Blender 5.0, in bytes of UTF-8."""
AFFIX_BYTES = len("-convcolonly") + len(".000")
"""What is kept free behind a name."""
FILE_BYTES = 200
"""Longest file name made here, in bytes: file systems take 255, and programs append to names."""
WINDOWS_PATH = 250
"""Longest path made here, in characters: many programs on Windows open 259, and some append to a name for a while."""
FALLBACK = "Mesh"

_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')


class PathTooLongError(OSError):
    """A folder in which no file of ours has a path that Windows opens; its text is one sentence."""


def block_name(name: str, before: str = "", after: str = "", longest: int = NAME_BYTES) -> str:
    """`name` between two affixes as a data-block can be called: valid Unicode without control characters, not too long.

    A name without affixes leaves room for those of what is called after it, and for the number Blender puts behind a
    name that is taken.
    """
    room = longest - (len(before.encode()) + len(after.encode()) or AFFIX_BYTES)
    return before + (_cut(_clean(name), room) or FALLBACK) + after


def file_name(name: str, suffix: str, folder: Path | None = None, on_windows: bool = os.name == "nt") -> str:
    """`name` with a suffix as a file can be called on every system, short enough for `folder` on Windows.

    Raises `PathTooLongError` where the folder's path leaves no room.
    """
    stem = _FORBIDDEN.sub("_", _clean(name)).strip(" .")
    room = FILE_BYTES - len(suffix)
    if on_windows and folder is not None:
        room = min(room, WINDOWS_PATH - len(str(folder)) - 1 - len(suffix))
        if room < 8:
            raise PathTooLongError(
                f"{folder} has a path of {len(str(folder))} characters, too long for files in it. Use a shorter folder."
            )
    stem = _cut(stem, room).rstrip(" .") or FALLBACK
    return (f"_{stem}" if _RESERVED.match(stem) else stem) + suffix


def free_path(folder: Path, name: str, suffix: str) -> Path:
    """A path in `folder` where nothing is yet: NAME.suffix, or with a number behind the name."""
    return next(path for path in _paths(folder, name, suffix) if not path.exists())


def _paths(folder: Path, name: str, suffix: str) -> Iterator[Path]:
    yield folder / file_name(name, suffix, folder)
    number = 2
    while True:
        yield folder / file_name(name, f"_{number}{suffix}", folder)
        number += 1


def _clean(name: str) -> str:
    """Valid Unicode in one line: what a file system holds as a name may be neither."""
    valid = name.encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in valid).strip()


def _cut(text: str, most: int) -> str:
    """The beginning of a text, of at most so many bytes of UTF-8, without half a character at its end."""
    cut = text.encode()[: max(most, 0)].decode("utf-8", "ignore")
    while cut and len(cut) < len(text) and (unicodedata.combining(text[len(cut)]) or text[len(cut)] in "\u200d\ufe0f"):
        cut = cut[:-1]  # an accent, or a part of an emoji, belongs to what is before it
    return cut.rstrip()

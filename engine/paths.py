# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that appear whole or not at all, and where this user's caches live."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import OutputError


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yields `NAME.part` beside `path` to write to, and renames it to `path` when the block ends without error.

    Raises `OutputError` where the folder cannot be written or the disk is full; the part file is removed then.
    """
    path = Path(path)
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # where the folder cannot be entered there is no part file either
            part.unlink(missing_ok=True)


def part_of(path: str | Path) -> Path:
    """The name under which `path` is written until it is whole."""
    path = Path(path)
    return path.with_name(path.name + ".part")


def check_writable(path: str | Path) -> None:
    """Raises `OutputError` where `path` could not be written: asked before the work, not after it."""
    part = part_of(path)
    try:
        if Path(path).is_dir():
            raise IsADirectoryError(None, "it is a folder")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.open("wb").close()
        part.unlink()
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str | Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"Could not write {path}: {reason}.", "Choose a folder you can write to, with free space.")


def cache_folder() -> Path:
    """The folder for this user's caches of ours; `GAUSSMITH_CACHE` overrides it. It may not exist yet."""
    if override := os.environ.get("GAUSSMITH_CACHE"):
        return Path(override)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "gaussmith" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/gaussmith"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gaussmith"


def splats_path(output: str | Path) -> Path:
    """Where the splats that `output` was made from are saved: NAME.ply."""
    return Path(output).with_suffix(".ply")


def lod_paths(output: str | Path, count: int) -> list[Path]:
    """Where the simpler copies of `output` go: NAME_lod1.glb and so on."""
    output = Path(output)
    return [output.with_name(f"{output.stem}_lod{level}{output.suffix}") for level in range(1, count + 1)]

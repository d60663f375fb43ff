# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole or not there, whatever happens while they are written. No bpy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"
"""How the name of a file ends that is not whole yet."""


@contextmanager
def written_whole(path: Path, mark: str = "") -> Iterator[Path]:
    """A file beside `path` to write into, which then takes its place in one step; where that fails, it is removed.

    `mark` goes into the name of that file, where several may write `path` at a time.
    """
    part = path.with_name(f"{path.name}{mark}{PART}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)

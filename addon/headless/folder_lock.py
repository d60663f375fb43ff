# SPDX-License-Identifier: GPL-3.0-or-later
"""One batch per folder: a lock that the system gives back when its process ends, killed ones too. No bpy."""

import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

_FAR = 1 << 30  # Windows locks bytes; one beyond the text leaves that readable to the process which is refused
_LONGEST = 4096


class LockedError(Exception):
    """Somebody else has the lock; its text says who, as far as they told."""


class FolderLock:
    """A file that is locked from `acquire` to `release` or the end of the process, and says who holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    @property
    def held(self) -> bool:
        return self._file is not None

    def acquire(self) -> None:
        """Takes the lock. Raises `LockedError` where another process has it, `OSError` where it cannot be written."""
        file = open(self.path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            if not _lock(file):
                raise LockedError(_described(_read(file)))
        except BaseException:
            file.close()
            raise
        self._file = file
        self._write({"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")})

    def release(self) -> None:
        """Lets go; does nothing where it is not held."""
        if self._file is not None:
            self._write({})
            self._file.close()  # the system gives the lock back with the file
            self._file = None

    def _write(self, holder: dict[str, Any]) -> None:
        """Names the holder. On a full disk nobody is named; the lock itself needs no space."""
        assert self._file is not None
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps(holder) + "\n" if holder else "")
            self._file.flush()


def _lock(file: IO[str]) -> bool:
    """Whether the lock could be taken; on a file system that knows no locks everybody gets it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file.fileno(), _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _read(file: IO[str]) -> dict[str, Any]:
    """Who holds the lock; empty where nobody is named."""
    try:
        file.seek(0)
        holder = json.loads(file.read(_LONGEST) or "{}")
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _described(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"

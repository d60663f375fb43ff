# SPDX-License-Identifier: GPL-3.0-or-later
"""One training per folder: a lock that the operating system gives back when its process ends, however it ends."""

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

from engine.errors import OptionError, OutputError

NAME = "run.lock"
_FAR = 1 << 30  # Windows locks bytes; one beyond the text leaves that readable to the process which is refused


class FolderLock:
    """Held from `acquire` to `release`, or to the end of the process (killed ones too).

    The file `run.lock` says who holds it and is emptied on release: copied along with a folder, or left by a process
    that was killed, it does not stand in anyone's way.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / NAME
        self._file: IO[str] | None = None

    def acquire(self) -> str:
        """Takes the lock; returns "" or a sentence about the process that left its name without letting go.

        Raises `OptionError` where a training holds it, `OutputError` where the folder cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"Could not write {self.path}: {error.strerror or error}.", "Choose a folder you can write to."
            ) from error
        holder = _read(file)
        try:
            free = _lock(file)
        except OSError:  # a file system without locks: the text has to do
            free = not _alive(holder)
        if not free:
            file.close()
            raise OptionError(
                f"{self.path.parent} is being trained already{_described(holder)}.",
                "Wait until that has ended, stop it, or give another --run folder"
                f"{'' if _is_here(holder) else f'; if it ended without letting go, delete {self.path.name}'}.",
            )
        self._file = file
        _write(file, {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")})
        return f"The training{_described(holder)} ended without letting go of the folder; going on." if holder else ""

    def release(self) -> None:
        """Lets go; does nothing where it is not held."""
        if self._file is None:
            return
        _write(self._file, {})
        self._file.close()  # the system gives the lock back with the file
        self._file = None

    def __enter__(self) -> "FolderLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(file: IO[str]) -> bool:
    """Whether the lock could be taken. Raises `OSError` where the file system knows no locks."""
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
    return True


def _read(file: IO[str]) -> dict[str, Any]:
    """Who holds the lock, or held it; empty where nobody is named."""
    file.seek(0)
    try:
        holder = json.loads(file.read() or "{}")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _write(file: IO[str], holder: dict[str, Any]) -> None:
    """Names the holder. On a full disk nobody is named; the lock itself needs no space."""
    try:
        file.seek(0)
        file.truncate()
        if holder:
            file.write(json.dumps(holder) + "\n")
        file.flush()
    except OSError:
        file.seek(0)


def _is_here(holder: dict[str, Any]) -> bool:
    return holder.get("host") == socket.gethostname()


def _alive(holder: dict[str, Any]) -> bool:
    """Whether the holder may still be at work; only this machine's processes can be asked."""
    if not holder or not _is_here(holder) or sys.platform == "win32":
        return bool(holder)
    try:
        os.kill(int(holder.get("pid", 0)), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _described(holder: dict[str, Any]) -> str:
    if not holder:
        return ""
    return f" by process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"

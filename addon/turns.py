# SPDX-License-Identifier: GPL-3.0-or-later
"""Two Blenders on one graphics card work in turn instead of both running out of its memory. No bpy.

Whoever wants a turn puts a ticket into a folder that all share and holds it open; the oldest ticket has the turn.
The system lets go of a ticket when its Blender ends, however that one ends, so that no ticket blocks the others.
Where the folder cannot be used, everybody works at once: a courtesy must not keep anybody from working.
"""

import contextlib
import os
import re
import tempfile
import time
import uuid
from pathlib import Path
from typing import BinaryIO

if os.name != "nt":
    import fcntl

LARGEST_TICKET = 4096
_TICKET = re.compile(r"\d{20}-[0-9a-f]{32}\.turn")


class Turns:
    """This Blender's place in the queue for one card."""

    def __init__(self, folder: Path, who: str) -> None:
        self._folder, self._who = folder, who
        self._ticket: Path | None = None
        self._file: BinaryIO | None = None

    def ask(self) -> bool:
        """Whether it is our turn; the first call takes a ticket."""
        if self._ticket is None:
            try:
                self._take()
            except OSError:
                self.leave()
                return True
        return self.before() == 0

    def leave(self) -> None:
        """Gives the turn, or the place in the queue, to the next."""
        if self._file is not None:
            self._file.close()
        if self._ticket is not None:
            with contextlib.suppress(OSError):  # somebody cleaned the folder
                self._ticket.unlink()
        self._ticket = self._file = None

    def before(self) -> int:
        """How many others come before us; all who have a ticket while we have none."""
        own = self._ticket.name if self._ticket is not None else "~"
        return sum(1 for name in self._others() if name < own)

    def is_awaited(self) -> bool:
        """Whether somebody else waits for a turn or has it."""
        return bool(self._others())

    def holder(self) -> str:
        """Who has the turn, as they named themselves; empty where nobody has."""
        others = self._others()
        if not others:
            return ""
        try:
            with open(self._folder / others[0], "rb") as file:
                return file.read(LARGEST_TICKET).decode(errors="replace")
        except OSError:
            return ""

    def _take(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}.turn"
        if os.name == "nt":  # a file that is open cannot be removed there: that is lock enough
            self._ticket = self._folder / name
            self._file = open(self._ticket, "xb")  # noqa: SIM115
            self._file.write(self._who.encode()[:LARGEST_TICKET])
            self._file.flush()
            return
        taken = self._folder / f"{name}.new"
        self._file = open(taken, "xb")  # noqa: SIM115
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file.write(self._who.encode()[:LARGEST_TICKET])
        self._file.flush()
        self._ticket = taken.rename(self._folder / name)  # seen by others only now that it is held

    def _others(self) -> list[str]:
        """Names of the others' tickets, oldest first; those whose Blender has ended are cleared away."""
        try:
            found = [
                entry.name for entry in os.scandir(self._folder) if _TICKET.fullmatch(entry.name) and entry.is_file()
            ]
        except OSError:
            return []
        own = self._ticket.name if self._ticket is not None else ""
        return [name for name in sorted(found) if name != own and not _cleared(self._folder / name)]


def turns_folder(card: str) -> Path:
    """The folder shared by all Blenders of this user for one card."""
    import hashlib  # here, as it loads a library of ciphers

    user = os.getuid() if os.name != "nt" else os.environ.get("USERNAME", "")
    return Path(tempfile.gettempdir(), f"gaussmith-turns-{user}", hashlib.sha256(card.encode()).hexdigest()[:16])


def _cleared(ticket: Path) -> bool:
    """Whether a ticket was left behind by a Blender that has ended, and is gone now."""
    try:
        if os.name != "nt":
            with open(ticket, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by its owner as long as that one lives
        ticket.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True

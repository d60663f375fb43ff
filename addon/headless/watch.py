# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for pictures that are added to folders or change there, and takes each once it is whole. No bpy."""

import time
from collections.abc import Callable, Sequence

from .output_folder import stamp_of
from .plan import Task

LOOK_SECONDS = 1.0
"""How often folders are looked at; large ones on slow disks less often, so that nine tenths of the time are rest."""
QUIET_SECONDS = 2.0
"""How long a file must stay as it is before it is taken: somebody may still be writing it."""
RETRY_SECONDS = 30.0
"""After a disk was full."""
IDLE_SECONDS = 300.0
"""After which the engine gives its memory back."""


class Watch:
    """What has been tried, and what waits for being whole."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried: dict[str, list[int]] = {}
        self._seen: dict[str, tuple[list[int], float]] = {}

    def ripe(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks whose source is new or has changed since it was tried, and has been quiet for a while."""
        now = self._clock()
        before, self._seen = self._seen, {}
        found: list[Task] = []
        for task in tasks:
            key, stamp = str(task.source), stamp_of(task.source)
            if stamp in ([0, 0], self._tried.get(key)):
                continue  # it has gone, or is as it was
            seen, since = before.get(key, (None, now))
            since = since if seen == stamp else now
            self._seen[key] = stamp, since
            if now - since >= QUIET_SECONDS:
                found.append(task)
        return found

    def tried(self, tasks: Sequence[Task]) -> None:
        """These have been tried as they were when `ripe` gave them."""
        for task in tasks:
            self._tried[str(task.source)] = self._seen[str(task.source)][0]


def watch(look: Callable[[], Sequence[Task]], make: Callable[[Sequence[Task]], str], idle: Callable[[], None]) -> str:
    """Makes what comes until no other task can work; returns the code that says why.

    `look` finds all tasks, `make` makes some and returns a code where it had to stop, `idle` is called when nothing
    came for a while.
    """
    watched = Watch()
    worked = time.monotonic()
    while True:
        begin = time.monotonic()
        ripe = watched.ripe(look())
        took = time.monotonic() - begin
        if ripe:
            stopped = make(ripe)
            worked = time.monotonic()
            if stopped == "DISK_FULL":
                time.sleep(RETRY_SECONDS)
                continue
            if stopped:
                return stopped
            watched.tried(ripe)
        elif time.monotonic() - worked > IDLE_SECONDS:
            idle()
            worked = time.monotonic()
        time.sleep(max(LOOK_SECONDS, 9 * took))

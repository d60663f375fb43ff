# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run leaves to read: one JSON line per report, and grids of pictures."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.paths import written_whole

Array = np.ndarray


class Stats:
    """Averages numbers between reports and appends them to `stats.jsonl` in the run's folder.

    Without a folder it only averages: that is what all processes but the first do.
    """

    def __init__(self, folder: Path | None, warn: Callable[[str], None] = print) -> None:
        """`warn` is told once where a line cannot be written; the training goes on."""
        self.path = folder and folder / "stats.jsonl"
        self._warn, self._warned = warn, False
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._steps, self._since = 0, time.monotonic()

    def add(self, values: dict[str, float]) -> None:
        """Numbers of one step; those that are not finite stay out of the means."""
        for name, value in values.items():
            self._sums.setdefault(name, 0.0)
            self._counts.setdefault(name, 0)
            if math.isfinite(value):
                self._sums[name] += value
                self._counts[name] += 1
        self._steps += 1

    def report(self, **facts: float | str) -> dict[str, float | str | None]:
        """Writes and returns the facts, seconds per step and the means since the last report.

        A number that was never finite is null.
        """
        seconds = (time.monotonic() - self._since) / max(self._steps, 1)
        means = {name: round(total / n, 5) if (n := self._counts[name]) else None for name, total in self._sums.items()}
        line = facts | {"seconds_per_step": round(seconds, 4)} | means
        self._sums, self._counts = {}, {}
        self._steps, self._since = 0, time.monotonic()
        self.write(line)
        return line

    def write(self, line: dict[str, Any]) -> None:
        """One line as it is: a report, an event (`{"step": 120, "event": "..."}`) or figures."""
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
        except OSError as error:
            if not self._warned:
                self._warn(f"Could not write {self.path}: {error.strerror or error}. The training goes on.")
            self._warned = True

    def lines(self, holding: str) -> list[dict[str, Any]]:
        """The run's lines so far that hold something of that name; damaged ones are left out."""
        found = []
        for text in self.path.read_text(encoding="utf-8").splitlines() if self.path and self.path.exists() else ():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if holding in line:
                found.append(line)
        return found


def save_grid(path: str | Path, rows: list[list[Array]]) -> None:
    """Pictures [H, W, 3] in [0, 1], equal in size, as one PNG."""
    grid = np.concatenate([np.concatenate(row, 1) for row in rows])
    with written_whole(path) as part:
        Image.fromarray((grid.clip(0, 1) * 255 + 0.5).astype(np.uint8)).save(part, "PNG")

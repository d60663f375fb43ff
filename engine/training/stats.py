# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run leaves to read: one JSON line per report, and grids of pictures."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from engine.paths import written_whole

Array = np.ndarray


class Stats:
    """Averages numbers between reports and appends them to `stats.jsonl` in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stats.jsonl"
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def report(self, **facts: float | str) -> dict[str, float | str]:
        """Writes and returns the facts and the means since the last report."""
        line = facts | {name: round(total / max(self._count, 1), 5) for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
        return line


def save_grid(path: str | Path, rows: list[list[Array]]) -> None:
    """Pictures [H, W, 3] in [0, 1], equal in size, as one PNG."""
    grid = np.concatenate([np.concatenate(row, 1) for row in rows])
    with written_whole(path) as part:
        Image.fromarray((grid.clip(0, 1) * 255 + 0.5).astype(np.uint8)).save(part, "PNG")

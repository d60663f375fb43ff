# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's command line with a generator that needs no weights: it blows the silhouette up like a balloon.

All the rest is the product. Run as `python -I -X utf8 -u tests/end_to_end/balloon_engine.py COMMAND ...`.
The environment can make the generator misbehave: BALLOON_SLEEP seconds of work, BALLOON_RAISE the name of an exception,
BALLOON_PRINT to write to stdout from Python and from below it, BALLOON_BEGUN a file that appears once it works.
"""

from __future__ import annotations

import builtins
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.cli import main
from engine.conventions import OBJECT_EXTENT
from engine.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np

    from engine.generators.base import Imagined, Report

SIDE = 64


class Balloon:
    """Gaussians on the front, the back and the rim of the inflated silhouette, in the picture's colours."""

    name = "balloon"

    def generate(self, prompt: np.ndarray, *, seed: int = 0, report: Report | None = None) -> Imagined:
        # Loaded here, so that commands which make nothing start as fast as the product.
        import numpy as np
        from scipy.ndimage import binary_erosion

        from engine.fields.gaussians import Gaussians
        from engine.generators.base import Imagined, silent
        from engine.image.frame import frame
        from engine.image.inflate import inflate

        misbehave(report or silent)
        picture = frame(prompt, SIDE).rgba
        inside = picture[..., 3] > 0.5
        depth = inflate(inside)
        rows, columns, z = [], [], []
        for level in np.linspace(-1, 1, 9):  # the rim is a wall: its first pixels are already deep
            here = inside if abs(level) == 1 else inside & ~binary_erosion(inside)
            found = np.nonzero(here)
            rows.append(found[0])
            columns.append(found[1])
            z.append(level * depth[here])
        row, column = np.concatenate(rows), np.concatenate(columns)
        x, y = 2 * (column + 0.5) / SIDE - 1, 1 - 2 * (row + 0.5) / SIDE
        means = np.stack([x, y, np.concatenate(z)], -1) * OBJECT_EXTENT / (2 * 0.85)
        means += np.random.default_rng(seed).normal(0, 1e-4, means.shape)
        count = len(means)
        gaussians = Gaussians(
            means,
            np.tile([1.0, 0, 0, 0], (count, 1)),
            np.full((count, 3), 1.3 / SIDE),
            np.full(count, 0.95),
            picture[row, column, :3],
        )
        return Imagined(gaussians)


def misbehave(report: Report) -> None:
    if begun := os.environ.get("BALLOON_BEGUN"):
        Path(begun).touch()
    end = time.monotonic() + float(os.environ.get("BALLOON_SLEEP", "0"))
    while time.monotonic() < end:
        report("generate", 0.5, "Blowing")
        time.sleep(0.01)
    if name := os.environ.get("BALLOON_RAISE"):
        raise getattr(builtins, name)("the balloon burst")
    if os.environ.get("BALLOON_PRINT"):
        print("printed by a library")
        os.write(1, b'{"kind": "result", "id": "forged", "files": {}, "report": {}}\n')
        os.system("echo written by a child process")


def load(name: str) -> Balloon:
    if name == "missing":
        raise WeightsError("The weights of missing were not found.", "Install the extension again.")
    return Balloon()


if __name__ == "__main__":
    sys.exit(main(load=load))

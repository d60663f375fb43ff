# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's command line with a preset `tiny`, small enough to train in a test, and a clock of its own.

That clock shows a second more each time it is read: a minute is as many steps on a busy machine as on an idle one.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from engine.generators.agg.config import PRESETS  # noqa: E402 - once the path is set
from engine.training.schedule import TimeBudget  # noqa: E402

TINY = replace(
    PRESETS["xs"], picture=32, layers=16, patch=16, vit_width=16, vit_depth=1, heads=2, unet=(8, 8), queries=64,
    group=32, width=16, depth=1, plane_tokens=2, plane_channels=4, plane_depth=1, decoder=8, generate=64, superres=1,
    latent=2,
)  # fmt: skip


def second_by_second(self: TimeBudget) -> float:
    """What `TimeBudget.elapsed` returns by that clock."""
    self.spent += 1
    return self.spent


if __name__ == "__main__":
    from engine.cli import main

    PRESETS["tiny"] = TINY
    TimeBudget.elapsed = second_by_second
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: GPL-3.0-or-later
"""A training that ends annealed when its minutes are over, however often it was interrupted."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class TimeBudget:
    """Counts the seconds spent on a run over all its sittings, by `clock`. `spent` is what a checkpoint keeps."""

    minutes: float
    spent: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    def elapsed(self) -> float:
        """Seconds of training so far, earlier sittings included."""
        return self.spent + self.clock() - self._since

    def fraction(self) -> float:
        """Share of the budget used, at most 1."""
        return min(1.0, self.elapsed() / (60 * self.minutes))

    def over(self) -> bool:
        return self.fraction() >= 1.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done within it, such as measuring, does not count."""
        begun = self.clock()
        try:
            yield
        finally:
            self._since += self.clock() - begun


def learning_rate(fraction: float, step: int, peak: float, warmup_steps: int = 100, floor: float = 0.01) -> float:
    """Linear warm-up over steps, then a cosine in the share of time used, down to `floor` of the peak."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))
    return peak * min(1.0, (step + 1) / warmup_steps) * (floor + (1 - floor) * cosine)

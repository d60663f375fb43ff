# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches a training for numbers that are none and for divergence, and says when to go back to the last checkpoint."""

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Any

import torch
from torch import nn

from engine.errors import TrainingError


class Verdict(Enum):
    """What to do with a step whose loss and gradient are known."""

    STEP = "step"
    SKIP = "skip"  # leave the weights as they are
    GO_BACK = "go back"  # to the last good checkpoint


@dataclass(frozen=True)
class GuardSettings:
    """When a training counts as broken."""

    skips: int = 5  # steps in a row whose loss or gradient is not finite
    factor: float = 4.0  # times the running median above which a loss counts as far off
    patience: int = 50  # steps in a row far off
    window: int = 200  # steps the running median reaches back
    slower: float = 0.5  # of the rate, after each recovery
    recoveries: int = 4  # without `calm` good steps between them
    calm: int = 2000


class Guard:
    """Judges every step; `state_dict` keeps the rate's factor and the count of recoveries over sittings."""

    def __init__(self, settings: GuardSettings | None = None) -> None:
        self.settings = settings or GuardSettings()
        self.rate = 1.0  # factor of the learning rate
        self.recoveries = 0  # all together
        self.reason = ""  # of the last GO_BACK
        self._lately = self._good = self._skips = self._far = 0
        self._losses: deque[float] = deque(maxlen=self.settings.window)

    @property
    def healthy(self) -> bool:
        """Whether a checkpoint of now would be a good one to go back to."""
        return self._skips == 0 and self._far == 0

    def judge(self, loss: float, norm: float) -> Verdict:
        """What to do after a backward pass with this loss and norm of the gradient."""
        s = self.settings
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._skips += 1
            self.reason = f"{self._skips} losses or gradients in a row were not finite"
            return Verdict.GO_BACK if self._skips >= s.skips else Verdict.SKIP
        self._skips = 0
        if len(self._losses) >= s.window // 4 and loss > s.factor * (usual := median(self._losses)) > 0:
            self._far += 1
            self.reason = f"the loss lay above {s.factor:g} times its median {usual:.4g} for {self._far} steps"
            return Verdict.GO_BACK if self._far >= s.patience else Verdict.STEP
        self._far = 0
        self._good += 1
        self._losses.append(loss)
        if self._good >= s.calm:
            self._lately = 0
        return Verdict.STEP

    def new_stage(self) -> None:
        """Forgets the losses so far: another stage adds other terms."""
        self._losses.clear()
        self._skips = self._far = 0

    def went_back(self) -> str:
        """Counts a recovery and lowers the rate; returns a sentence about it.

        Raises `TrainingError` where there were too many without a calm stretch between.
        """
        self._lately += 1
        self.recoveries += 1
        if self._lately > self.settings.recoveries:
            raise TrainingError(
                f"The training diverges: {self.reason}, also after going back {self._lately - 1} times with a lower "
                f"rate, last {self.rate:g} of the one asked for.",
                "Give a lower --rate, or look at the data; the last good checkpoint is kept.",
            )
        self.rate *= self.settings.slower
        self._good = self._skips = self._far = 0  # the losses of before stay: what is far off now was so then
        return (
            f"Went back to the last checkpoint, as {self.reason}; the rate is {self.rate:g} of the one asked for now."
        )

    def state_dict(self) -> dict[str, Any]:
        return {"rate": self.rate, "recoveries": self.recoveries, "lately": self._lately, "good": self._good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rate, self.recoveries = state["rate"], state["recoveries"]
        self._lately, self._good = state["lately"], state["good"]


def finite(network: nn.Module) -> bool:
    """Whether all weights are numbers."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())

# SPDX-License-Identifier: GPL-3.0-or-later
"""Exponential moving average of a network's weights."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


class Ema:
    """Keeps `average = decay * average + (1 - decay) * weights`; early on a shorter memory, so that it catches up."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def applied_to(self, network: N) -> N:
        """A copy of the network with the averaged weights."""
        averaged = copy.deepcopy(network)
        averaged.load_state_dict(self.average)
        return averaged

    def state_dict(self) -> dict[str, Tensor]:
        return self.average

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.average = {name: value.clone() for name, value in state.items()}

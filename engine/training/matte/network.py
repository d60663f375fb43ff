# SPDX-License-Identifier: GPL-3.0-or-later
"""The matte's network: a small U-Net (Ronneberger et al. 2015) of residual blocks, most of its work at small sizes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class MatteConfig:
    """Shape of the network. `widths` are those at 1/2, 1/4, 1/8 ... of the picture's side."""

    picture: int = 192  # pixels of the letterboxed picture's side
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    blocks: tuple[int, ...] = (0, 1, 2, 2, 2)  # residual blocks on the way down, by width


class Norm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015); PyTorch's own keeps a count that no average of weights can hold."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, 0.02)


def conv(channels_in: int, channels_out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """A normed convolution: exported, the norm becomes part of it."""
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False), Norm(channels_out))


class Block(nn.Module):
    """Two normed convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)
        nn.init.zeros_(self.second[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class Everywhere(nn.Module):
    """Adds what the whole picture looks like to each place: a gate and a shift from the mean (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(channels, channels // 2), nn.Linear(channels // 2, 2 * channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, shift = self.out(F.relu(self.hidden(x.mean((2, 3))))).unsqueeze(-1).unsqueeze(-1).chunk(2, 1)
        return F.relu(x * (1 + gate) + shift)


class MatteNetwork(nn.Module):
    """A picture [B, 6, S, S] (sRGB minus 0.5, 1 inside of the letterbox, two hints) to logits of alpha [B, 1, S, S].

    The hints (`engine.image.border.hints`) say how each pixel differs from the border. Outside of the
    letterbox all is 0. S is any multiple of 2 to the power of the number of widths.
    """

    def __init__(self, config: MatteConfig) -> None:
        super().__init__()
        self.down, self.up, self.skip = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        narrow = 6
        for wide, count in zip(config.widths, config.blocks, strict=True):
            self.down.append(nn.Sequential(conv(narrow, wide, 3, 2), nn.ReLU(), *(Block(wide) for _ in range(count))))
            narrow = wide
        self.middle = Everywhere(narrow)
        for wide, narrow in zip(config.widths[:0:-1], config.widths[-2::-1], strict=True):
            self.skip.append(conv(wide, narrow, 1))
            self.up.append(nn.Sequential(Block(narrow), Block(narrow)) if narrow > 32 else Block(narrow))
        self.out = nn.Conv2d(config.widths[0], 4, 3, 1, 1)  # the four pixels of each

    def forward(self, picture: Tensor) -> Tensor:
        x, seen = picture, []
        for stage in self.down:
            x = stage(x)
            seen.append(x)
        x = self.middle(seen.pop())
        for skip, stage in zip(self.skip, self.up, strict=True):
            x = stage(F.relu(_doubled(skip(x)) + seen.pop()))
        return F.pixel_shuffle(self.out(x), 2)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)

# SPDX-License-Identifier: GPL-3.0-or-later
"""U-Net of residual blocks (Ronneberger et al. 2015; blocks after Dhariwal and Nichol 2021, without time)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResBlock(nn.Module):
    """Two normed 3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, channels_in), nn.Conv2d(channels_in, channels_out, 3, 1, 1)
        self.norm2, self.conv2 = nn.GroupNorm(8, channels_out), nn.Conv2d(channels_out, channels_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class UNet(nn.Module):
    """Features [B, channels_in, H, W] to [B, widths[0], H, W]; each further width works at half the size."""

    def __init__(self, channels_in: int, widths: tuple[int, ...], blocks: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels_in, widths[0], 3, 1, 1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for wide, narrow in zip(widths[1:], widths[:-1], strict=True):
            stage = [nn.Conv2d(narrow, wide, 3, 2, 1), *(ResBlock(wide, wide) for _ in range(blocks))]
            self.down.append(nn.Sequential(*stage))
        self.middle = nn.Sequential(*(ResBlock(widths[-1], widths[-1]) for _ in range(2)))
        for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True):
            stage = [ResBlock(wide + narrow, narrow), *(ResBlock(narrow, narrow) for _ in range(blocks - 1))]
            self.up.append(nn.Sequential(*stage))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips = []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        x = self.middle(x)
        for stage in self.up:
            # Bilinear: with nearest, coarse cells showed as shingles in the depth that queries read off the features.
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, skips.pop()], 1))
        return x

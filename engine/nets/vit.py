# SPDX-License-Identifier: GPL-3.0-or-later
"""Vision transformer (Dosovitskiy et al. 2021) with a class token."""

import torch
from torch import Tensor, nn

from engine.nets.attention import Block


class VisionTransformer(nn.Module):
    """Pictures [B, C, S, S] to tokens [B, 1 + (S / patch)^2, D]; token 0 is the class token."""

    def __init__(self, size: int, patch: int, channels: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, pictures: Tensor) -> Tensor:
        patches = self.embed(pictures).flatten(2).transpose(1, 2) + self.positions
        tokens = torch.cat([self.class_token.expand(len(pictures), -1, -1), patches], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

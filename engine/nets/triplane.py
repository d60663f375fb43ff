# SPDX-License-Identifier: GPL-3.0-or-later
"""A transformer that writes a triplane, and its look-up.

Planes after Chan et al. 2022 (EG3D), tokens after Hong et al. 2023 (LRM).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.nets.attention import Block


class TriplaneTransformer(nn.Module):
    """Context tokens [B, M, C] to three planes [B, 3, channels, 4 * tokens, 4 * tokens]."""

    def __init__(self, tokens: int, channels: int, width: int, depth: int, heads: int, context_width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.queries = nn.Parameter(0.02 * torch.randn(1, 3 * tokens * tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads, context_width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.upsample = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 2, 2), nn.SiLU(), nn.ConvTranspose2d(width // 2, channels, 2, 2)
        )

    def forward(self, context: Tensor) -> Tensor:
        x = self.queries.expand(len(context), -1, -1)
        for block in self.blocks:
            x = block(x, context)
        batch, side = len(context), self.tokens
        grid = self.norm(x).reshape(batch * 3, side, side, -1).permute(0, 3, 1, 2)
        return self.upsample(grid).unflatten(0, (batch, 3))


def sample_triplane(planes: Tensor, points: Tensor, extent: float) -> Tensor:
    """Features [B, N, 3 * channels] of `planes` [B, 3, channels, R, R] at `points` [B, N, 3] in [-extent, extent]^3.

    Planes are XY, XZ, YZ; their features are concatenated. Points outside take the border's value.
    """
    x, y, z = (points / extent).unbind(-1)
    grids = torch.stack([torch.stack([x, y], -1), torch.stack([x, z], -1), torch.stack([y, z], -1)], 1)
    features = F.grid_sample(
        planes.flatten(0, 1), grids.flatten(0, 1)[:, :, None], padding_mode="border", align_corners=False
    )  # [B * 3, channels, N, 1]
    return features[..., 0].unflatten(0, (len(points), 3)).permute(0, 3, 1, 2).flatten(2)


def sample_picture(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear look-up [B, N, C] of `features` [B, C, H, W] at `points` [B, N, 2]: x right, y up, both in [-1, 1]."""
    grid = torch.stack([points[..., 0], -points[..., 1]], -1)[:, :, None]
    return F.grid_sample(features, grid, padding_mode="border", align_corners=False)[..., 0].transpose(1, 2)

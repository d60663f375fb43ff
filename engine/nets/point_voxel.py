# SPDX-License-Identifier: GPL-3.0-or-later
"""Point-voxel convolutions and a U-Net of them (Liu et al. 2019, "Point-Voxel CNN for efficient 3D deep learning").

A coarse grid brings neighbours together, a layer on each point keeps what is fine. Batch norms of the paper are layer
norms of the points here, before they are averaged into the grid: statistics over a grid that is mostly empty would
change with the number of points and with the batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.nets.attention import Attention

SLOPE = 0.1
"""Of the leaky rectifiers, as in the paper's code."""


def grid_coordinates(points: Tensor) -> Tensor:
    """Points [B, N, 3] in the cube around them, [-1, 1]^3: moved by the middle of their box, divided by half its side.

    Nothing flows back through it.
    """
    points = points.detach().float()
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
    half = ((high - low).amax(2, keepdim=True) / 2).clamp(min=1e-6)
    return (points - (low + high) / 2) / half


def voxelise(features: Tensor, coordinates: Tensor, size: int) -> Tensor:
    """Average of the features [B, N, C] of the points in each cell: [B, C, size, size, size], 0 in empty cells.

    coordinates [B, N, 3] in [-1, 1]; x is the grid's last axis, y the one before, z the first. Points outside count to
    the nearest cell. Differentiable in the features; where points lie has no gradient, as cells are all or nothing.
    """
    batch, _, channels = features.shape
    cells = _cells(((coordinates + 1) * (size / 2)).floor().clamp(0, size - 1).long(), size).flatten()
    counted = torch.cat([features, torch.ones_like(features[..., :1])], -1).flatten(0, 1)
    sums = torch.zeros(batch * size**3, channels + 1, dtype=features.dtype, device=features.device)
    # not index_add: exported, that adds in an order that changes from run to run
    sums = sums.scatter_add(0, cells[:, None].expand_as(counted), counted)
    averages = sums[:, :channels] / sums[:, channels:].clamp(min=1)
    return averages.reshape(batch, size, size, size, channels).permute(0, 4, 1, 2, 3)


def devoxelise(grid: Tensor, coordinates: Tensor) -> Tensor:
    """Trilinear look-up [B, N, C] of `grid` [B, C, R, R, R] at coordinates [B, N, 3] in [-1, 1].

    Centres of cells hold their values, points beyond the outermost centres take the border's. Differentiable in both.
    """
    batch, channels, size = grid.shape[:3]
    places = ((coordinates + 1) * (size / 2) - 0.5).clamp(0, size - 1)
    low = places.detach().floor().clamp(max=size - 2)
    steps = torch.tensor([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], device=grid.device)
    corners = low.long()[:, :, None] + steps  # [B, N, 8, 3]
    weights = (1 - (corners - places[:, :, None]).abs()).prod(-1)
    flat = grid.permute(0, 2, 3, 4, 1).reshape(batch * size**3, channels)
    values = flat.index_select(0, _cells(corners, size).flatten()).reshape(*weights.shape, channels)
    return (values * weights[..., None]).sum(2)


def _cells(places: Tensor, size: int) -> Tensor:
    """Numbers [B, ...] of the cells at places [B, ..., 3] (x, y, z) of a batch of flattened grids."""
    x, y, z = places.unbind(-1)
    first = torch.arange(len(places), device=places.device) * size**3
    return first.reshape(-1, *[1] * (x.ndim - 1)) + (z * size + y) * size + x


class PVConv(nn.Module):
    """Point-voxel convolution: two 3x3x3 convolutions of the grid the points make, and a layer on each point, added."""

    def __init__(self, channels_in: int, channels_out: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.norm = nn.LayerNorm(channels_in)
        self.narrow = nn.Linear(channels_in, channels_out)
        self.voxels = nn.Sequential(
            nn.Conv3d(channels_out, channels_out, 3, 1, 1), nn.LeakyReLU(SLOPE),
            nn.Conv3d(channels_out, channels_out, 3, 1, 1), nn.LeakyReLU(SLOPE),
        )  # fmt: skip
        self.points = nn.Sequential(nn.Linear(channels_in, channels_out), nn.LeakyReLU(SLOPE))

    def forward(self, x: Tensor, coordinates: Tensor) -> Tensor:
        """Features [B, N, channels_in] to [B, N, channels_out]; coordinates [B, N, 3] as of `grid_coordinates`."""
        x = self.norm(x)
        grid = self.voxels(voxelise(self.narrow(x).float(), coordinates, self.size))
        return devoxelise(grid.float(), coordinates) + self.points(x)


class PointVoxelUNet(nn.Module):
    """Features of points [B, N, width] to [B, N, width]; every level has a grid of half the size.

    All points stay at all levels, so none are sampled or interpolated: coarser means a coarser grid and more channels.
    The deepest level attends to a context [B, M, context_width].
    """

    def __init__(self, width: int, channels: tuple[int, ...], size: int, context_width: int, heads: int) -> None:
        super().__init__()
        sizes = [size >> level for level in range(len(channels))]
        self.down = nn.ModuleList(
            PVConv(narrow, wide, cells)
            for narrow, wide, cells in zip((width, *channels), channels, sizes, strict=False)
        )
        self.norm = nn.LayerNorm(channels[-1])
        self.attention = Attention(channels[-1], heads, context_width)
        self.up = nn.ModuleList(
            PVConv(wide + narrow, narrow, cells)
            for wide, narrow, cells in zip(channels[:0:-1], channels[-2::-1], sizes[-2::-1], strict=True)
        )
        self.out = nn.Linear(channels[0], width)

    def forward(self, x: Tensor, points: Tensor, context: Tensor) -> Tensor:
        """`points` [B, N, 3] in any frame; the result changes with the features alone, not with the points' order."""
        coordinates = grid_coordinates(points)
        y, skips = x, []
        for stage in self.down:
            y = stage(y, coordinates)
            skips.append(y)
        y = skips.pop()
        y = y + self.attention(self.norm(y), context)
        for stage in self.up:
            y = stage(torch.cat([y, skips.pop()], -1), coordinates)
        return x + self.out(F.leaky_relu(y, SLOPE))

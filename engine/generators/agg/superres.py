# SPDX-License-Identifier: GPL-3.0-or-later
"""AGG's second stage (Xu et al. 2024, section 3.3): Gaussian super-resolution by expansion in feature space.

Each coarse Gaussian tells what it is and what the picture shows where it projects; it attends to the picture's tokens,
and a point-voxel U-Net lets neighbours speak to each other. Then its feature is copied once per child with a learned
code each, as PU-Net (Yu et al. 2018) and FoldingNet (Yang et al. 2018) expand points, and every copy, which also sees
the picture at its own place, decodes to a Gaussian as a residual to its parent. Heads start at zero: untrained, the
children lie in a fixed pattern around their parent, at the depths of its layer, and together look like it. Colours are
looked up in the picture anew, at the children's own projections: there lies most of the sharpness.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.generators.agg.config import AggConfig
from engine.generators.agg.lookups import blend, picture_colors, project, sample_layers
from engine.generators.agg.superres_config import SuperResConfig
from engine.nets.attention import Attention
from engine.nets.point_voxel import PointVoxelUNet
from engine.nets.triplane import sample_picture

if TYPE_CHECKING:  # the network may hold this stage
    from engine.generators.agg.network import AggOutput, Look

MAX_LOG_SCALE = 1.5
"""Largest change of a child's scale from where it starts, as a logarithm."""

_GAUSSIAN = 24  # numbers that tell a coarse Gaussian: place and waves 9, opacity, keep, colours 6, shape 6, spacing
_SEEN = 9  # numbers the picture tells at a place: colour 3, cover, depths from both layers 2, inside, uv 2
_RESIDUAL = 14  # offset 3, opacity, keep, field 3, logarithms of scales 3, rotation 3


class SuperResolution(nn.Module):
    """Coarse Gaussians to `config.superres` times as many; see the module's text."""

    pattern: Tensor

    def __init__(self, config: AggConfig, sizes: SuperResConfig) -> None:
        """Raises `ValueError` where `config.superres` is no factor of super-resolution."""
        super().__init__()
        self.config, self.sizes = config, sizes
        width = sizes.width
        seen = config.unet[0] + _SEEN if config.projected else 0
        self.enter = nn.Linear(_GAUSSIAN + config.width + seen, width)
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, sizes.heads, config.vit_width)
        self.unet = PointVoxelUNet(width, sizes.channels, sizes.grid, config.vit_width, sizes.heads)
        self.expand = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width))
        self.codes = nn.Parameter(torch.randn(config.superres, 2 * width))
        self.seen = nn.Linear(_SEEN, 2 * width, bias=False) if config.projected else None
        self.decode = nn.Sequential(nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU())
        self.residual = nn.Linear(width, _RESIDUAL)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)
        self.register_buffer("pattern", torch.tensor(starting_pattern(config.superres)), persistent=False)

    def forward(self, coarse: "AggOutput", picture: Tensor, spacing: Tensor) -> "AggOutput":
        """`config.superres` children of every coarse Gaussian, those of one parent beside each other.

        picture [B, 4, S, S] RGBA (straight alpha), spacing [B] between the coarse stage's front anchors. `tokens` of
        the result are the children's features [B, N * superres, sizes.width]. Only the children's own means carry
        gradients to the parents' means; where the picture is looked up and what lies in which cell do not.
        """
        look, factor = coarse.look, self.config.superres
        x = self._features(coarse, picture, spacing)
        x = x + self.attention(self.norm(x), look.tokens)
        x = self.unet(x, coarse.means, look.tokens)

        # Expansion
        parents, quats, log_scales = (_copied(v, factor) for v in (coarse.means, coarse.quats, coarse.log_scales))
        axes = self.config.scale * spacing[:, None, None] * torch.exp(log_scales)
        places = self.pattern.repeat(coarse.means.shape[1], 1)
        starts = _along_layers(look, coarse.means, parents + rotated(quats, axes * places), spacing)
        y = (self.expand(x)[:, :, None] + self.codes).flatten(1, 2)
        if self.seen is not None:
            y = y + self.seen(_seen(look, picture, starts))
        y = self.decode(y)

        # Residuals
        offset, opacity, keep, field, scale, rotation = self.residual(y).float().split((3, 1, 1, 3, 3, 3), -1)
        means = starts + rotated(quats, axes * self.sizes.reach * torch.tanh(offset))
        log_scales = log_scales - 0.5 * math.log(factor)
        if self.config.anisotropic:
            log_scales = log_scales + MAX_LOG_SCALE * torch.tanh(scale)
            quats = turned(quats, rotation)
        keep = _pushed(_copied(coarse.keep[..., None], factor), keep)
        field = _pushed(_copied(coarse.field, factor), field)
        own, cover = picture_colors(picture, _projected(look, means))
        return replace(
            coarse, means=means, log_scales=log_scales, quats=quats,
            opacities=_pushed(_copied(coarse.opacities[..., None], factor), opacity)[..., 0],
            keep=keep[..., 0], field=field, colors=blend(keep, own, cover, field), tokens=y,
        )  # fmt: skip

    def _features(self, coarse: "AggOutput", picture: Tensor, spacing: Tensor) -> Tensor:
        """What is known of each coarse Gaussian [B, N, width]; also how many pixels of the picture lie between two."""
        means = coarse.means.detach()
        unit = torch.log(spacing * (picture.shape[-1] / 2))[:, None, None].expand(-1, means.shape[1], 1)
        known = [
            means, torch.sin(3.0 * means), torch.cos(3.0 * means), coarse.opacities[..., None], coarse.keep[..., None],
            coarse.field, coarse.colors, coarse.log_scales, coarse.quats[..., 1:], unit, coarse.tokens,
        ]  # fmt: skip
        if self.config.projected:
            known += [
                sample_picture(coarse.look.features, _projected(coarse.look, means)),
                _seen(coarse.look, picture, means),
            ]
        return self.enter(torch.cat([part.float() for part in known], -1))


def starting_pattern(factor: int) -> list[list[float]]:
    """Where children start around their parent, [factor, 3] in its standard deviations along its axes.

    Two ends of a line, every second corner of a cube, all its corners: seen from the picture they fill the parent's
    disc evenly (`_along_layers` then sets their depths), and with standard deviations smaller by sqrt(factor)
    neighbours' children meet as their parents did. Raises `ValueError` for another factor than 2, 4 or 8.
    """
    reach = 0.5 if factor == 2 else 0.7
    corners = [[x, y, z] for z in (-reach, reach) for y in (-reach, reach) for x in (-reach, reach)]
    chosen = {2: (0, 7), 4: (0, 3, 5, 6), 8: range(8)}.get(factor)
    if chosen is None:
        raise ValueError(f"Super-resolution by {factor} is none of 2, 4 and 8.")
    return [corners[i] for i in chosen]


def rotated(quats: Tensor, vectors: Tensor) -> Tensor:
    """Vectors [..., 3] turned by quaternions [..., 4] wxyz of length 1."""
    w, v = quats[..., :1], quats[..., 1:]
    across = 2 * torch.linalg.cross(v, vectors)
    return vectors + w * across + torch.linalg.cross(v, across)


def turned(quats: Tensor, rotations: Tensor) -> Tensor:
    """Quaternions [..., 4] wxyz turned further by (1, r), r the last three numbers [..., 3]; of length 1."""
    w, v = quats[..., :1], quats[..., 1:]
    real = w - (v * rotations).sum(-1, keepdim=True)
    imaginary = w * rotations + v + torch.linalg.cross(v, rotations)
    return F.normalize(torch.cat([real, imaginary], -1), dim=-1)


def _copied(values: Tensor, factor: int) -> Tensor:
    """Values [B, N, C] as [B, N * factor, C], each `factor` times in a row."""
    return values[:, :, None].expand(-1, -1, factor, -1).flatten(1, 2)


def _pushed(shares: Tensor, logits: Tensor) -> Tensor:
    """Shares in [0, 1] moved by `logits` on the scale of their logits."""
    return torch.sigmoid(torch.logit(shares.float(), 1e-3) + logits)


def _projected(look: "Look", means: Tensor) -> Tensor:
    """Where means [B, N, 3] appear in the picture, [B, N, 2]; nothing flows back."""
    return project(means.detach(), look.tan_half_fov.detach())


def _along_layers(look: "Look", parents: Tensor, children: Tensor, spacing: Tensor) -> Tensor:
    """Children [B, N * F, 3] at such depths that they lie to the look's layers as their parents [B, N, 3] do.

    Where the surface is steep, children at their parent's depth would make steps of it: meshes came out scaly. Depths
    change by two spacings [B] at most, so that no child falls over an edge.
    """
    factor = children.shape[1] // parents.shape[1]
    z, front, back = (_copied(v, factor) for v in (parents[..., 2:], *_layers_at(look, parents)[:2]))
    front_there, back_there, _ = _layers_at(look, torch.cat([children[..., :2], z], -1))
    fraction = ((z.detach() - back) / (front - back).clamp(min=0.01)).clamp(0, 1)
    climb = torch.lerp(back_there, front_there, fraction) - torch.lerp(back, front, fraction)
    limit = 2 * spacing[:, None, None]
    return torch.cat([children[..., :2], z + torch.minimum(torch.maximum(climb, -limit), limit)], -1)


def _layers_at(look: "Look", means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`sample_layers` where means [B, N, 3] project; nothing flows back."""
    return sample_layers(look.layers.detach(), look.inside, _projected(look, means))


def _seen(look: "Look", picture: Tensor, means: Tensor) -> Tensor:
    """What the picture tells at the projection of means [B, N, 3]: colour, cover, how far both layers are, uv."""
    uv = _projected(look, means)
    front, back, inside = _layers_at(look, means)
    z = means.detach()[..., 2:]
    return torch.cat([*picture_colors(picture, uv), front - z, back - z, inside, uv], -1)

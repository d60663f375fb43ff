# SPDX-License-Identifier: GPL-3.0-or-later
"""AGG's coarse stage (Xu et al. 2024, section 3.2): queries for geometry, a triplane texture field for appearance.

Geometry. A small U-Net corrects the inflated silhouette to front and back depth layers; each query starts at an anchor
on or between them, knows the picture's features there and the class token, and is moved by a transformer
(cross-attention to the picture, self-attention, MLP). Appearance. A second transformer writes a triplane; the
Gaussians' positions, cut from the gradient so that texture does not bend geometry, look it up together with the
picture's features at their projection (as TriplaneGaussian does), and an MLP returns opacity and colour: the picture's
own where it is seen.
Scales are isotropic and shared, rotations the identity: AGG's canonical start.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.generators.agg.config import AggConfig
from engine.nets.attention import Block
from engine.nets.triplane import TriplaneTransformer, sample_picture, sample_triplane
from engine.nets.unet import UNet
from engine.nets.vit import VisionTransformer

MEAN_TAN_HALF_FOV = 0.25
"""tan(fov / 2) the camera head starts from; pictures are taken from near this on average."""

MAX_SHIFT = 0.15
"""Farthest a query moves sideways from its anchor, in half pictures."""


@dataclass(frozen=True)
class Look:
    """What the network makes of the picture before any query."""

    layers: Tensor  # [B, 2, L, L] z of front and back, in the view frame of `anchors`
    inside: Tensor  # [B, 1, L, L] 1 within the silhouette, where the layers mean something
    tan_half_fov: Tensor  # [B]
    elevation: Tensor  # [B] radians
    features: Tensor  # [B, unet[0], L, L]
    tokens: Tensor  # [B, M, vit_width], the class token first


@dataclass(frozen=True)
class AggOutput:
    """What the network returns, in the view frame of `anchors`."""

    look: Look
    means: Tensor  # [B, N, 3]
    opacities: Tensor  # [B, N]
    keep: Tensor  # [B, N] share of the picture's own colour
    field: Tensor  # [B, N, 3] colour of the texture field
    colors: Tensor  # [B, N, 3] both blended


class AggNetwork(nn.Module):
    """Picture and anchors to Gaussians; see the module's text."""

    def __init__(self, config: AggConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        self.vit = VisionTransformer(c.picture, c.patch, 4, c.vit_width, c.vit_depth, c.heads)
        shuffled = 4 * (c.picture // c.layers) ** 2
        self.unet = UNet(shuffled + 3, c.unet, c.unet_blocks)
        self.unet_context = nn.Linear(c.vit_width, c.unet[0])
        self.layer_head = _zero(nn.Conv2d(c.unet[0], 2, 3, 1, 1))
        self.camera_head = _zero(nn.Linear(c.vit_width, 2))
        self.query_in = nn.Linear(c.unet[0] + 9, c.width)
        self.query_class = nn.Linear(c.vit_width, c.width)
        self.query_blocks = nn.ModuleList(Block(c.width, c.heads, c.vit_width, c.group) for _ in range(c.depth))
        self.move = nn.Sequential(nn.LayerNorm(c.width), _zero(nn.Linear(c.width, 3)))
        self.texture = TriplaneTransformer(
            c.plane_tokens, c.plane_channels, c.width, c.plane_depth, c.heads, c.vit_width
        )
        self.decoder = nn.Sequential(
            nn.Linear(3 * c.plane_channels + c.unet[0] + 9, c.decoder), nn.SiLU(),
            nn.Linear(c.decoder, c.decoder), nn.SiLU(),
            nn.Linear(c.decoder, 5),
        )  # fmt: skip

    def forward(self, picture: Tensor, inflated: Tensor, anchors: Tensor) -> AggOutput:
        """picture [B, 4, S, S] RGBA (straight alpha), inflated [B, 1, L, L], anchors [B, N, 3] (u, v, f)."""
        look = self.look(picture, inflated)
        means = self._geometry(look, anchors)
        return AggOutput(look, means, *self._appearance(look, picture, means, anchors[..., 2:]))

    def look(self, picture: Tensor, inflated: Tensor) -> Look:
        """Depth layers, camera and features; all that the first stage of training needs."""
        rgb, alpha = picture[:, :3], picture[:, 3:]
        seen = torch.cat([(rgb - 0.5) * alpha * 2, alpha], 1)
        tokens = self.vit(seen)
        camera = self.camera_head(tokens[:, 0]).float()
        tan_half_fov = MEAN_TAN_HALF_FOV * torch.exp(camera[:, 0].clamp(-2, 2))
        features = self._features(seen, inflated, tokens)
        height = torch.cat([inflated, -inflated], 1)
        layers = height + self.layer_head(features).float()
        return Look(layers, (inflated > 0).float(), tan_half_fov, 0.26 + 0.3 * camera[:, 1], features, tokens)

    def _features(self, seen: Tensor, inflated: Tensor, tokens: Tensor) -> Tensor:
        """Per-pixel features [B, unet[0], L, L]."""
        c = self.config
        v, u = torch.meshgrid(
            torch.linspace(1, -1, c.layers, device=seen.device),
            torch.linspace(-1, 1, c.layers, device=seen.device),
            indexing="ij",
        )
        place = torch.stack([u, v]).expand(len(seen), -1, -1, -1)
        x = torch.cat([F.pixel_unshuffle(seen, c.picture // c.layers), inflated, place], 1)
        features = self.unet(x)
        return features + self.unet_context(tokens[:, 0])[:, :, None, None]

    def _geometry(self, look: Look, anchors: Tensor) -> Tensor:
        """Means [B, N, 3] in the view frame."""
        uv, fraction = anchors[..., :2], anchors[..., 2:]
        front, back = sample_layers(look.layers, look.inside, uv)
        z = back + fraction * (front - back)
        start = torch.cat([uv, z], -1)
        waves = torch.cat([torch.sin(3.0 * start), torch.cos(3.0 * start), fraction, front - z, z - back], -1)
        x = self.query_in(torch.cat([sample_picture(look.features, uv), waves], -1))
        x = x + self.query_class(look.tokens[:, :1])
        for block in self.query_blocks:
            x = block(x, look.tokens)
        shift = self.move(x).float()
        uv = uv + MAX_SHIFT * torch.tanh(shift[..., :2])
        z = z + shift[..., 2:]
        perspective = 1 - look.tan_half_fov[:, None, None] * z
        return torch.cat([uv * perspective, z], -1)

    def _appearance(
        self, look: Look, picture: Tensor, means: Tensor, fraction: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Opacities [B, N], share of the picture [B, N], the field's colours [B, N, 3] and the blend [B, N, 3]."""
        means, tan_half_fov = means.detach(), look.tan_half_fov.detach()
        z = means[..., 2:]
        uv = means[..., :2] / (1 - tan_half_fov[:, None, None] * z).clamp(min=0.1)
        front, back = sample_layers(look.layers.detach(), look.inside, uv)
        cover = sample_picture(picture[:, 3:], uv)
        own = sample_picture(picture[:, :3] * picture[:, 3:], uv) / cover.clamp(min=0.1)
        planes = self.texture(look.tokens)
        x = torch.cat(
            [
                sample_triplane(planes.float(), means, self.config.extent),
                sample_picture(look.features, uv),
                own,
                cover,
                fraction,
                front - z,
                z - back,
                uv,
            ],
            -1,
        )
        out = self.decoder(x).float()
        keep, field = torch.sigmoid(out[..., 4:] + 2), torch.sigmoid(out[..., 1:4])
        colors = keep * own + (1 - keep) * field
        return torch.sigmoid(out[..., 0] + 2), keep[..., 0], field, colors.clamp(0, 1)


def sample_layers(layers: Tensor, inside: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """z of front and back [B, N, 1] each at `uv`, from the pixels within the silhouette where there are any near."""
    weights = inside + 0.02
    sampled = sample_picture(torch.cat([layers * weights, weights], 1), uv)
    front, back = (sampled[..., :2] / sampled[..., 2:]).split(1, -1)
    return front, back


def _zero(layer):
    """The layer with weights and bias 0, so that training starts from what it corrects."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer

# SPDX-License-Identifier: GPL-3.0-or-later
"""AGG (Xu et al. 2024): queries for geometry, a triplane texture field for appearance, then super-resolution.

Geometry. A small U-Net corrects the inflated silhouette to front and back depth layers, the back one with a latent that
chooses among what may be there; each query starts at an anchor on or between them, knows the picture's features there
and the class token, and is moved by a transformer (cross-attention to the picture, self-attention, MLP). Appearance. A
second transformer writes a triplane; the Gaussians' positions, cut from the gradient so that texture does not bend
geometry, look it up together with the picture's features at their projection (as TriplaneGaussian does), and an MLP
returns opacity and colour: the picture's own where it is seen.
Scales are isotropic and shared, rotations the identity: AGG's canonical start, from which `release` lets them go.
Density. `superres` makes several Gaussians of each.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.generators.agg.config import AggConfig
from engine.generators.agg.lookups import blend, picture_colors, project, sample_layers
from engine.generators.agg.superres import SuperResolution
from engine.nets.attention import Block
from engine.nets.triplane import TriplaneTransformer, sample_picture, sample_triplane
from engine.nets.unet import UNet
from engine.nets.vit import VisionTransformer

MEAN_TAN_HALF_FOV = 0.25
"""tan(fov / 2) the camera head starts from; pictures are taken from near this on average."""

MAX_SHIFT = 2.5
"""Farthest a query moves sideways from its anchor, in spacings of its neighbours."""

MAX_LOG_SCALE = 1.0
"""Largest change of a scale, as a logarithm."""


@dataclass(frozen=True)
class Inputs:
    """What the network is shown; B pictures. Order and names are also those of the exported network."""

    picture: Tensor  # [B, 4, S, S] RGBA, straight alpha
    inflated: Tensor  # [B, 1, L, L] height of the inflated silhouette
    anchors: Tensor  # [B, N, 3] (u, v, f) of `anchors`
    spacing: Tensor  # [B] distance between neighbouring front anchors
    latent: Tensor  # [B, latent] chooses what is unseen; zeros for the likeliest


@dataclass(frozen=True)
class Look:
    """What the network makes of the picture before any query."""

    layers: Tensor  # [B, 2, L, L] z of front and back, in the view frame of `anchors`
    inside: Tensor  # [B, 1, L, L] 1 within the silhouette, where the layers mean something
    tan_half_fov: Tensor  # [B]
    elevation: Tensor  # [B] radians
    features: Tensor  # [B, unet[0], L, L]
    tokens: Tensor  # [B, M, vit_width], the class token first, the latent's last


@dataclass(frozen=True)
class AggOutput:
    """What the network returns, in the view frame of `anchors`."""

    look: Look
    means: Tensor  # [B, N, 3]
    log_scales: Tensor  # [B, N, 3] natural logarithms, in units of `config.scale` times the spacing
    quats: Tensor  # [B, N, 4] wxyz
    opacities: Tensor  # [B, N]
    keep: Tensor  # [B, N] share of the picture's own colour
    field: Tensor  # [B, N, 3] colour of the texture field
    colors: Tensor  # [B, N, 3] both blended
    tokens: Tensor  # [B, N, width] features of the queries


class AggNetwork(nn.Module):
    """Picture and anchors to Gaussians; see the module's text."""

    def __init__(self, config: AggConfig) -> None:
        super().__init__()
        self.config = config
        self.release = 1.0
        """Share of the predicted scales and rotations that is taken: 0 is canonical; training lets it grow."""
        c = config
        self.vit = VisionTransformer(c.picture, c.patch, 4, c.vit_width, c.vit_depth, c.heads)
        shuffled = 4 * (c.picture // c.layers) ** 2
        self.unet = UNet(shuffled + 3, c.unet, c.unet_blocks)
        self.unet_context = nn.Linear(c.vit_width, c.unet[0])
        self.layer_head = _zero(nn.Conv2d(c.unet[0], 2, 3, 1, 1))
        self.camera_head = CameraHead(c.unet[0] + 2, c.vit_width)
        if c.latent:
            self.unseen = Unseen(c.unet[0], c.latent)
            self.latent_token = nn.Linear(c.latent, c.vit_width)
        if c.start == "learned":
            self.embeddings = nn.Parameter(0.5 * torch.randn(1, c.queries, c.width))
            self.places = nn.Parameter(0.4 * torch.randn(1, c.queries, 3))
        self.query_in = nn.Linear(c.unet[0] + 9, c.width)
        self.query_class = nn.Linear(c.vit_width, c.width)
        self.query_blocks = nn.ModuleList(Block(c.width, c.heads, c.vit_width, c.group) for _ in range(c.depth))
        self.move = nn.Sequential(nn.LayerNorm(c.width), _zero(nn.Linear(c.width, 3)))
        self.shape = nn.Sequential(nn.LayerNorm(c.width), _zero(nn.Linear(c.width, 7)))
        if c.texture_field:
            self.texture = TriplaneTransformer(
                c.plane_tokens, c.plane_channels, c.width, c.plane_depth, c.heads, c.vit_width
            )
        looked_up = 3 * c.plane_channels if c.texture_field else c.width
        self.decoder = nn.Sequential(
            nn.Linear(looked_up + c.unet[0] + 9, c.decoder), nn.SiLU(),
            nn.Linear(c.decoder, c.decoder), nn.SiLU(),
            nn.Linear(c.decoder, 5),
        )  # fmt: skip
        self.superres = SuperResolution(c, c.superres_sizes) if c.superres > 1 else None

    def forward(self, inputs: Inputs, look: Look | None = None) -> AggOutput:
        """The dense set of Gaussians, or the coarse one where the configuration has no super-resolution."""
        coarse = self.coarse(inputs, look)
        return self.superres(coarse, inputs.picture, inputs.spacing) if self.superres else coarse

    def coarse(self, inputs: Inputs, look: Look | None = None) -> AggOutput:
        """One Gaussian per anchor; `look` is what `self.look` made of the same inputs, where that was done already."""
        look = look or self.look(inputs)
        x, means = self._geometry(look, inputs)
        log_scales, quats = self._shapes(x)
        appearance = self._appearance(look, inputs, x, means)
        return AggOutput(look, means, log_scales, quats, *appearance, x)

    def look(self, inputs: Inputs, imagine: bool = True) -> Look:
        """Depth layers, camera and features; all that the first stage of training needs.

        Without `imagine` the latent is left out, to be brought in by `self.imagine` once.
        """
        rgb, alpha = inputs.picture[:, :3], inputs.picture[:, 3:]
        seen = torch.cat([(rgb - 0.5) * alpha * 2, alpha], 1)
        tokens = self.vit(seen)
        features = self._features(seen, inputs.inflated, tokens)
        layers = torch.cat([inputs.inflated, -inputs.inflated], 1) + self.layer_head(features).float()
        inside = (inputs.inflated > 0).float()
        tan_half_fov, elevation = self.camera_head(torch.cat([features, layers * inside], 1), inside, tokens)
        look = Look(layers, inside, tan_half_fov, elevation, features, tokens)
        return self.imagine(look, inputs.latent) if imagine else look

    def imagine(self, look: Look, latent: Tensor) -> Look:
        """The look with the back that `latent` [B, latent] chooses."""
        if not self.config.latent:
            return look
        layers = torch.cat([look.layers[:, :1], look.layers[:, 1:] + self.unseen(look.features, latent).float()], 1)
        return replace(look, layers=layers, tokens=torch.cat([look.tokens, self.latent_token(latent)[:, None]], 1))

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

    def _geometry(self, look: Look, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Features of the queries [B, N, width] and their means [B, N, 3] in the view frame."""
        if self.config.start == "learned":
            x = self._attend((self.embeddings + self.query_class(look.tokens[:, :1])), look)
            return x, self.places + self.move(x).float()
        uv, fraction = inputs.anchors[..., :2], inputs.anchors[..., 2:]
        front, back, _ = sample_layers(look.layers, look.inside, uv)
        z = back + fraction * (front - back)
        start = torch.cat([uv, z], -1)
        waves = torch.cat([torch.sin(3.0 * start), torch.cos(3.0 * start), fraction, front - z, z - back], -1)
        x = self.query_in(torch.cat([self._projected(look.features, uv), waves], -1))
        x = self._attend(x + self.query_class(look.tokens[:, :1]), look)
        shift = self.move(x).float()
        uv = uv + MAX_SHIFT * inputs.spacing[:, None, None] * torch.tanh(shift[..., :2])
        z = z + shift[..., 2:]
        perspective = 1 - look.tan_half_fov[:, None, None] * z
        return x, torch.cat([uv * perspective, z], -1)

    def _attend(self, x: Tensor, look: Look) -> Tensor:
        for block in self.query_blocks:
            x = block(x, look.tokens)
        return x

    def _shapes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of scales [B, N, 3] and quaternions [B, N, 4] of length about 1."""
        shape = self.shape(x).float() * (self.release if self.config.anisotropic else 0.0)
        upright = torch.tensor([1.0, 0, 0, 0], device=x.device)
        return MAX_LOG_SCALE * torch.tanh(shape[..., :3]), F.normalize(upright + shape[..., 3:], dim=-1)

    def _projected(self, features: Tensor, uv: Tensor) -> Tensor:
        """Features of the picture at uv [B, N, C]; zeros where the configuration leaves them out."""
        sampled = sample_picture(features, uv)
        return sampled if self.config.projected else torch.zeros_like(sampled)

    def _appearance(
        self, look: Look, inputs: Inputs, x: Tensor, means: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Opacities [B, N], share of the picture [B, N], the field's colours [B, N, 3] and the blend [B, N, 3]."""
        means, fraction = means.detach(), inputs.anchors[..., 2:]
        z, uv = means[..., 2:], project(means, look.tan_half_fov.detach())
        front, back, _ = sample_layers(look.layers.detach(), look.inside, uv)
        if self.config.start == "learned":
            fraction = ((z - back) / (front - back).clamp(min=1e-3)).clamp(0, 1)
        own, cover = picture_colors(inputs.picture, uv)
        if self.config.texture_field:
            looked_up = sample_triplane(self.texture(look.tokens).float(), means, self.config.extent)
        else:
            looked_up = x
        y = torch.cat(
            [looked_up, self._projected(look.features, uv), own, cover, fraction, front - z, z - back, uv], -1
        )
        out = self.decoder(y).float()
        keep, field = torch.sigmoid(out[..., 4:] + 2), torch.sigmoid(out[..., 1:4])
        return torch.sigmoid(out[..., 0] + 2), keep[..., 0], field, blend(keep, own, cover, field)


class CameraHead(nn.Module):
    """Field of view and elevation of the input's camera: convolutions over what the U-Net sees, and the class token."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = (channels, 48, 64, 96)
        self.layers = nn.Sequential(*(
            part for narrow, wide in pairwise(sizes)
            for part in (nn.Conv2d(narrow, wide, 3, 2, 1), nn.GroupNorm(8, wide), nn.SiLU())
        ))  # fmt: skip
        self.head = nn.Sequential(nn.Linear(2 * sizes[-1] + width, 128), nn.SiLU(), _zero(nn.Linear(128, 2)))

    def forward(self, seen: Tensor, inside: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tan(fov / 2) [B] and elevation [B] in radians from maps [B, C, L, L] and tokens [B, M, width].

        Nothing flows back: what the maps mean is for depth to say.
        """
        maps = self.layers((seen * inside).detach())
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), tokens[:, 0].detach()], 1)
        camera = self.head(pooled).float()
        return MEAN_TAN_HALF_FOV * torch.exp(camera[:, 0].clamp(-2, 2)), 0.26 + 0.3 * camera[:, 1]


class Unseen(nn.Module):
    """How far the back lies from its likeliest depth, chosen by a latent; 0 everywhere for the latent 0."""

    def __init__(self, channels: int, latent: int, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, width, 3, 1, 1)
        self.latent = nn.Linear(latent, width, bias=False)
        self.out = _zero(nn.Conv2d(width, 1, 3, 1, 1, bias=False))

    def forward(self, features: Tensor, latent: Tensor) -> Tensor:
        """Depths [B, 1, L, L] from features [B, C, L, L] and latents [B, latent]."""
        return self.out(F.silu(self.features(features)) * self.latent(latent)[:, :, None, None])


def _zero(layer):
    """The layer with weights and bias 0, so that training starts from what it corrects."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer

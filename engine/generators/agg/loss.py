# SPDX-License-Identifier: GPL-3.0-or-later
"""AGG's losses, stage by stage: depth layers and camera; the Chamfer distance as well; rendered views on top."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.generators.agg.config import AggConfig
from engine.generators.agg.network import AggOutput, Look, sample_layers
from engine.render.splat_torch import rasterize_views
from engine.training.losses import chamfer_loss, ssim


@dataclass(frozen=True)
class LossWeights:
    """What each term counts. Distances in half pictures."""

    layers: float = 1.0
    camera: float = 0.3
    anchors: float = 1.0
    chamfer: float = 1.0
    chamfer_coarse: float = 0.5  # once views are rendered
    color: float = 0.8
    dssim: float = 0.2
    alpha: float = 0.5


@dataclass(frozen=True)
class Batch:
    """Examples stacked into tensors; shapes as in `training.data.views.Example` with a leading B."""

    picture: Tensor  # [B, 4, S, S]
    inflated: Tensor  # [B, 1, L, L]
    anchors: Tensor  # [B, N, 3]
    spacing: Tensor  # [B]
    layers: Tensor  # [B, 2, L, L]
    mask: Tensor  # [B, L, L]
    points: Tensor  # [B, P, 3]
    targets: Tensor  # [B, T, H, W, 4]
    viewmats: Tensor  # [B, T, 4, 4]
    Ks: Tensor  # [B, T, 3, 3]
    tan_half_fov: Tensor  # [B]
    elevation: Tensor  # [B]


def look_loss(look: Look, batch: Batch, weights: LossWeights) -> tuple[Tensor, dict[str, float]]:
    """Layers (L1 where the object is) and camera."""
    mask = batch.mask[:, None].float()
    layers = ((look.layers - batch.layers).abs() * mask).sum() / (2 * mask.sum())
    tilt = (look.elevation - batch.elevation).abs().mean()
    fov = (look.tan_half_fov / batch.tan_half_fov).log().abs().mean()
    loss = weights.layers * layers + weights.camera * (tilt + fov)
    return loss, {"layers": layers.item(), "tilt": tilt.item(), "fov": fov.item()}


def geometry_loss(output: AggOutput, batch: Batch, weights: LossWeights) -> tuple[Tensor, dict[str, float]]:
    """The look's losses, the depth of front and back queries, the Chamfer distance between means and surface.

    Chamfer alone lets neighbours lie at alternating depths; the depth under each query does not.
    """
    loss, parts = look_loss(output.look, batch, weights)
    chamfer = chamfer_loss(output.means, batch.points)
    z = output.means[..., 2:]
    uv = output.means[..., :2] / (1 - output.look.tan_half_fov[:, None, None] * z)
    front, back = sample_layers(batch.layers, batch.mask[:, None].float(), uv.detach())
    fraction = batch.anchors[..., 2:]
    errors = torch.where(fraction == 1, (z - front).abs(), (z - back).abs()) * ((fraction == 1) | (fraction == 0))
    depth = errors.mean()
    loss = loss + weights.chamfer * chamfer + weights.anchors * depth
    return loss, parts | {"chamfer": chamfer.item(), "anchors": depth.item()}


def rendering_loss(
    output: AggOutput, batch: Batch, config: AggConfig, weights: LossWeights
) -> tuple[Tensor, dict[str, float], Tensor]:
    """Colour (L1 and DSSIM) and alpha of every supervising view over a random background.

    Also returns the views [B, T, H, W, 3] for looking at.
    """
    colors, alphas, backgrounds = render_views(output, batch, config)
    truth_alpha = batch.targets[..., 3]
    truth = batch.targets[..., :3] * truth_alpha[..., None] + backgrounds * (1 - truth_alpha[..., None])
    color = (colors - truth).abs().mean()
    dssim = (1 - ssim(*(x.flatten(0, 1).permute(0, 3, 1, 2) for x in (colors, truth)), window=7)) / 2
    alpha = (alphas - truth_alpha).abs().mean()
    loss = weights.color * color + weights.dssim * dssim + weights.alpha * alpha
    error = F.mse_loss(colors.detach(), truth).clamp(min=1e-8)
    parts = {"color": color.item(), "alpha": alpha.item(), "psnr": -10 * error.log10().item()}
    return loss, parts, colors.detach()


def render_views(output: AggOutput, batch: Batch, config: AggConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Colours [B, T, H, W, 3], alphas [B, T, H, W] and the random backgrounds [B, 1, 1, 1, 3] behind them."""
    height, width = batch.targets.shape[2:4]
    count = output.means.shape[1]
    quats = torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous()
    backgrounds = torch.rand(len(batch.targets), 1, 1, 1, 3)
    colors, alphas = [], []
    for b in range(len(batch.targets)):
        scales = (config.scale * batch.spacing[b]).expand(count, 3).contiguous()
        color, alpha, _ = rasterize_views(
            output.means[b], quats, scales, output.opacities[b], output.colors[b],
            batch.viewmats[b], batch.Ks[b], width, height, backgrounds[b].flatten(),
        )  # fmt: skip
        colors.append(color)
        alphas.append(alpha)
    return torch.stack(colors), torch.stack(alphas), backgrounds

# SPDX-License-Identifier: GPL-3.0-or-later
"""AGG's losses: depth layers and camera; the points' distance from the surface; rendered views."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.generators.agg.config import AggConfig
from engine.generators.agg.lookups import project, sample_layers
from engine.generators.agg.network import AggNetwork, AggOutput, Inputs, Look
from engine.render.splat_torch import rasterize_views
from engine.training.losses import nearest_distances, ssim

STEEP = 0.3
"""Steps of depth between neighbouring pixels count no more than this: edges may lie a pixel off."""

FAR = 0.1
"""Points farther than this from the surface float; in half pictures."""


@dataclass(frozen=True)
class LossWeights:
    """What each term counts. Distances in half pictures."""

    layers: float = 1.0
    slopes: float = 2.0
    camera: float = 0.3
    anchors: float = 1.0
    chamfer: float = 1.0  # falls to `chamfer_end` while views are rendered
    chamfer_end: float = 0.1
    floaters: float = 0.5
    color: float = 0.8
    dssim: float = 0.2
    alpha: float = 0.5
    depth: float = 0.2
    opacity: float = 0.02  # pushes opacities towards 0 or 1


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
    depths: Tensor  # [B, T, H, W]
    viewmats: Tensor  # [B, T, 4, 4]
    Ks: Tensor  # [B, T, 3, 3]
    tan_half_fov: Tensor  # [B]
    elevation: Tensor  # [B]

    def inputs(self, latent: Tensor) -> Inputs:
        """What the network is shown of it, with `latent` [B, latent]."""
        return Inputs(self.picture, self.inflated, self.anchors, self.spacing, latent)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


def look_at_best(network: AggNetwork, batch: Batch, candidates: int, generator: torch.Generator) -> tuple[Inputs, Look]:
    """What the network sees in the batch, each example with its latent: best of K (Fan et al. 2017, min-of-N).

    Every other example has the latent 0, the likeliest back; the others have the one of `candidates` random latents
    whose back comes closest to the truth, so that latents spread over what backs there are.
    """
    size, latent = len(batch.picture), network.config.latent
    zero = torch.zeros(size, latent, device=batch.picture.device)
    inputs = batch.inputs(zero)
    if not latent or candidates < 1:
        return inputs, network.look(inputs)
    blind = network.look(inputs, imagine=False)
    drawn = torch.randn(candidates, size, latent, generator=generator).to(zero.device)
    with torch.no_grad():
        backs = torch.stack([network.imagine(blind, z).layers[:, 1] for z in drawn])  # [K, B, L, L]
        errors = ((backs - batch.layers[:, 1]).abs() * batch.mask).sum((2, 3))
        best = drawn[errors.argmin(0), torch.arange(size, device=zero.device)]
    best[::2] = 0
    inputs = replace(inputs, latent=best)
    return inputs, network.imagine(blind, best)


def look_loss(look: Look, batch: Batch, weights: LossWeights) -> tuple[Tensor, dict[str, float]]:
    """Layers (L1 where the object is), their slopes (Eigen and Fergus 2015, equation 1, with L1) and camera."""
    mask = batch.mask[:, None].float()
    errors = look.layers - batch.layers
    layers = (errors.abs() * mask).sum() / (2 * mask.sum())
    slopes = torch.zeros_like(layers)
    for axis in (2, 3):
        both = mask.narrow(axis, 1, mask.shape[axis] - 1) * mask.narrow(axis, 0, mask.shape[axis] - 1)
        steep = errors.diff(dim=axis).abs().clamp(max=STEEP)
        slopes = slopes + (steep * both).sum() / (2 * both.sum()).clamp(min=1)
    tilt = (look.elevation - batch.elevation).abs().mean()
    fov = (look.tan_half_fov / batch.tan_half_fov).log().abs().mean()
    loss = weights.layers * layers + weights.slopes * slopes + weights.camera * (tilt + fov)
    return loss, {"layers": layers.item(), "slopes": slopes.item(), "tilt": tilt.item(), "fov": fov.item()}


def geometry_loss(output: AggOutput, batch: Batch, weights: LossWeights) -> tuple[Tensor, dict[str, float]]:
    """The look's losses, the depth of front and back queries, the Chamfer distance between means and surface.

    Chamfer alone lets neighbours lie at alternating depths; the depth under each query does not.
    """
    loss, parts = look_loss(output.look, batch, weights)
    to_surface, to_means = nearest_distances(output.means, batch.points)
    chamfer = to_surface.mean() + to_means.mean()
    floating = ((to_surface - FAR).clamp(min=0) * output.opacities).mean()
    loss = loss + weights.chamfer * chamfer + weights.floaters * floating
    parts |= {"chamfer": chamfer.item(), "floaters": floating.item()}
    if output.means.shape[1] != batch.anchors.shape[1]:
        return loss, parts
    z = output.means[..., 2:]
    uv = project(output.means.detach(), output.look.tan_half_fov.detach())
    front, back, _ = sample_layers(batch.layers, batch.mask[:, None].float(), uv)
    fraction = batch.anchors[..., 2:]
    errors = torch.where(fraction == 1, (z - front).abs(), (z - back).abs()) * ((fraction == 1) | (fraction == 0))
    depth = errors.mean()
    return loss + weights.anchors * depth, parts | {"anchors": depth.item()}


def rendering_loss(
    output: AggOutput, batch: Batch, config: AggConfig, weights: LossWeights
) -> tuple[Tensor, dict[str, float], Tensor]:
    """Colour (L1 and DSSIM), alpha and depth of every supervising view over a random background; opacities' push.

    Also returns the views [B, T, H, W, 3] for looking at.
    """
    colors, alphas, depths, backgrounds = render_views(output, batch, config)
    truth_alpha = batch.targets[..., 3]
    truth = batch.targets[..., :3] * truth_alpha[..., None] + backgrounds * (1 - truth_alpha[..., None])
    color = (colors - truth).abs().mean()
    dssim = (1 - ssim(*(x.flatten(0, 1).permute(0, 3, 1, 2) for x in (colors, truth)), window=7)) / 2
    alpha = (alphas - truth_alpha).abs().mean()
    seen = (batch.depths > 0) & (alphas.detach() > 0.5)
    depth = ((depths / alphas.clamp(min=0.5) - batch.depths).abs() * seen).clamp(max=1).mean()
    unsure = (output.opacities * (1 - output.opacities)).mean()
    loss = weights.color * color + weights.dssim * dssim + weights.alpha * alpha
    loss = loss + weights.depth * depth + weights.opacity * unsure
    error = F.mse_loss(colors.detach(), truth).clamp(min=1e-8)
    parts = {"color": color.item(), "alpha": alpha.item(), "depth": depth.item(), "unsure": unsure.item()}
    return loss, parts | {"psnr": -10 * error.log10().item()}, colors.detach()


def render_views(output: AggOutput, batch: Batch, config: AggConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colours [B, T, H, W, 3], alphas and expected depths [B, T, H, W], random backgrounds [B, 1, 1, 1, 3]."""
    height, width = batch.targets.shape[2:4]
    scales = config.scale * batch.spacing[:, None, None] * torch.exp(output.log_scales)
    backgrounds = torch.rand(len(batch.targets), 1, 1, 1, 3, device=batch.targets.device)
    views = [
        rasterize_views(
            output.means[b], output.quats[b], scales[b], output.opacities[b], output.colors[b],
            batch.viewmats[b], batch.Ks[b], width, height, backgrounds[b].flatten(),
        )
        for b in range(len(batch.targets))
    ]  # fmt: skip
    colors, alphas, depths = (torch.stack(part) for part in zip(*views, strict=True))
    return colors, alphas, depths, backgrounds

# SPDX-License-Identifier: GPL-3.0-or-later
"""The specification of the splat rasteriser: dense, float64, differentiable by autograd, slow. Only tests use it.

For one pixel p and the Gaussians i = 1..N sorted by camera depth, nearest first (equal depths: by index):

    t_i      = R mu_i + tau                           camera space; kept when t_z > NEAR
    m_i      = (fx t_x / t_z + cx, fy t_y / t_z + cy) centre in pixels
    J_i      = [fx / t_z, 0, -fx x / t_z^2; 0, fy / t_z, -fy y / t_z^2]
               with x, y = t_z times t_x / t_z, t_y / t_z clamped to the picture's edges
               plus 0.3 of half the field of view (1.3 tan(fov / 2) where the pinhole is centred)
    Sigma'_i = J R Sigma_i R^T J^T + BLUR I           EWA splatting, Zwicker et al. 2001, equations 29 and 31
    sigma_i  = (p - m_i)^T Sigma'_i^-1 (p - m_i) / 2
    alpha_i  = min(MAX_ALPHA, o_i exp(-sigma_i)), taken as 0 below MIN_ALPHA
    T_i      = prod_{j < i} (1 - alpha_j)             product and sum end once T_i < MIN_TRANSMITTANCE
    C        = sum_i T_i alpha_i c_i + T_end background      Kerbl et al. 2023, equation 3
    A        = 1 - T_end,   expected depth = sum_i T_i alpha_i t_z,i
    median depth = t_z of the first Gaussian behind which T <= 1/2, 0 where A < 1/2

The clamp of x, y and the blur of 0.3 px follow section 6 and the published code's defaults of Kerbl et al. 2023.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 0.01  # object units in front of the camera
BLUR = 0.3  # px^2, added to both variances in the picture
CLAMP_MARGIN = 0.3  # part of tan(fov / 2) that the Jacobian follows outside the picture
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4


@dataclass(frozen=True)
class ReferenceImage:
    colors: Tensor  # [H, W, 3] over the background
    alphas: Tensor  # [H, W]
    expected_depths: Tensor  # [H, W] sum of weight times camera z
    median_depths: Tensor  # [H, W] camera z, 0 where alpha < 1/2


def rotation_matrices(quats: Tensor) -> Tensor:
    """[N, 4] wxyz of any non-zero length to [N, 3, 3]."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def project(
    means: Tensor, quats: Tensor, scales: Tensor, viewmat: Tensor, K: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Centres in pixels [N, 2], covariances in px^2 with the blur [N, 2, 2], camera z [N]."""
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    t = means @ rotation.T + translation
    depths = t[:, 2]
    z = torch.where(depths > NEAR, depths, torch.ones_like(depths))  # those behind are left out by the caller
    focal, center = torch.stack([K[0, 0], K[1, 1]]), torch.stack([K[0, 2], K[1, 2]])
    size = torch.tensor([width, height], dtype=means.dtype)
    slopes = t[:, :2] / z[:, None]
    margin = CLAMP_MARGIN * 0.5 * size / focal
    clamped = torch.minimum(torch.maximum(slopes, -center / focal - margin), (size - center) / focal + margin)
    zero = torch.zeros_like(z)
    J = torch.stack(
        [
            torch.stack([focal[0] / z, zero, -focal[0] * clamped[:, 0] / z], -1),
            torch.stack([zero, focal[1] / z, -focal[1] * clamped[:, 1] / z], -1),
        ],
        -2,
    )
    axes = J @ rotation @ (rotation_matrices(quats) * scales[:, None, :])
    covariances = axes @ axes.transpose(1, 2) + BLUR * torch.eye(2, dtype=means.dtype)
    return slopes * focal + center, covariances, depths


def render(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz, any non-zero length
    scales: Tensor,  # [N, 3] standard deviations
    opacities: Tensor,  # [N]
    colors: Tensor,  # [N, 3]
    viewmat: Tensor,  # [4, 4] world to camera, OpenCV axes
    K: Tensor,  # [3, 3] pixels
    width: int,
    height: int,
    background: Tensor,  # [3]
) -> ReferenceImage:
    """One view by the equations above. O(N x H x W) in time and memory; all tensors float64."""
    centers, covariances, depths = project(means, quats, scales, viewmat, K, width, height)
    order = torch.argsort(depths.detach(), stable=True)
    order = order[depths[order] > NEAR]
    centers, conics, depths = centers[order], torch.linalg.inv(covariances[order]), depths[order]
    opacities, colors = opacities[order], colors[order]

    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows], -1).reshape(-1, 2).to(means.dtype) + 0.5  # [P, 2]
    offsets = pixels[None] - centers[:, None]  # [N, P, 2]
    sigmas = 0.5 * torch.einsum("npi,nij,npj->np", offsets, conics, offsets)
    alphas = (opacities[:, None] * torch.exp(-sigmas)).clamp(max=MAX_ALPHA)
    alphas = torch.where(alphas >= MIN_ALPHA, alphas, torch.zeros_like(alphas))

    ones = torch.ones(1, len(pixels), dtype=means.dtype)
    unstopped = torch.cumprod(torch.cat([ones, 1 - alphas]), 0)[:-1]
    alphas = torch.where(unstopped >= MIN_TRANSMITTANCE, alphas, torch.zeros_like(alphas))
    transmittances = torch.cumprod(torch.cat([ones, 1 - alphas]), 0)  # [N + 1, P], before each Gaussian and at the end
    weights = transmittances[:-1] * alphas
    end = transmittances[-1]

    half = transmittances[1:] <= 0.5
    first = torch.argmax(torch.cat([half, torch.ones_like(ones, dtype=torch.bool)]).to(torch.uint8), 0)
    medians = torch.cat([depths, torch.zeros(1, dtype=means.dtype)])[first]
    return ReferenceImage(
        (weights.T @ colors + end[:, None] * background).reshape(height, width, 3),
        (1 - end).reshape(height, width),
        (weights.T @ depths).reshape(height, width),
        medians.detach().reshape(height, width),
    )

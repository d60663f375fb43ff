# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses shared by the systems' training loops."""

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional as F


def nearest_distances(predicted: Tensor, surface: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [B, N] of predicted points [B, N, 3] to their nearest of surface [B, P, 3], and [B, P] the other way.

    Neighbours come from k-d trees; the gradient flows through the distances.
    """
    there, back = [], []
    for points, targets in zip(predicted.float(), surface, strict=True):
        moving, fixed = points.detach().cpu().numpy(), targets.cpu().numpy()
        to_surface = torch.from_numpy(KDTree(fixed, balanced_tree=False).query(moving)[1].astype(np.int64))
        to_points = torch.from_numpy(KDTree(moving, balanced_tree=False).query(fixed)[1].astype(np.int64))
        there.append((points - targets[to_surface.to(points.device)]).add(1e-9).norm(dim=-1))
        back.append((points[to_points.to(points.device)] - targets).add(1e-9).norm(dim=-1))
    return torch.stack(there), torch.stack(back)


def ssim(a: Tensor, b: Tensor, window: int = 7) -> Tensor:
    """Mean structural similarity (Wang et al. 2004) of pictures [B, C, H, W] in [0, 1], with a flat window."""
    mean_a, mean_b = (F.avg_pool2d(x, window, 1) for x in (a, b))
    variance_a = F.avg_pool2d(a * a, window, 1) - mean_a**2
    variance_b = F.avg_pool2d(b * b, window, 1) - mean_b**2
    covariance = F.avg_pool2d(a * b, window, 1) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (numerator / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures of pictures and of surfaces. Pictures are float arrays in [0, 1]."""

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.spatial import KDTree

Array = np.ndarray


def psnr(a: Array, b: Array) -> float:
    """Peak signal-to-noise ratio in dB over all pixels of two pictures [..., 3]."""
    return float(-10 * np.log10(max(np.mean((a - b) ** 2, dtype=np.float64), 1e-10)))


def ssim(a: Array, b: Array, window: int = 7) -> float:
    """Structural similarity (Wang et al. 2004) of two pictures [H, W, 3], flat window, mean over channels."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (
        uniform_filter(x, window, axes=(0, 1)) for x in (a, b, a * a, b * b, a * b)
    )
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * (mean_ab - mean_a * mean_b) + c2)
    denominator = (mean_a**2 + mean_b**2 + c1) * (mean_aa - mean_a**2 + mean_bb - mean_b**2 + c2)
    return float((numerator / denominator).mean())


def to_box(points: Array, reference: Array | None = None) -> Array:
    """Points [P, 3] moved and scaled so that the bounding box of `reference` (or their own) has longest side 2."""
    reference = points if reference is None else reference
    low, high = reference.min(0), reference.max(0)
    return (points - (low + high) / 2) * (2 / max((high - low).max(), 1e-9))


def surface_distances(predicted: Array, truth: Array) -> tuple[Array, Array]:
    """Distances [P] from predicted points to the nearest true one, and [Q] the other way."""
    return KDTree(truth).query(predicted)[0], KDTree(predicted).query(truth)[0]


THRESHOLDS = (0.1, 0.2, 0.5)
"""Distances of F-scores in published single-image tables, both shapes in a box of longest side 2."""


def surface_figures(predicted: Array, truth: Array) -> dict[str, float]:
    """Chamfer distance (both mean distances summed) and F-scores at THRESHOLDS of points [P, 3], [Q, 3] as they lie."""
    to_truth, to_predicted = surface_distances(predicted, truth)
    figures = {"chamfer": float(to_truth.mean() + to_predicted.mean())}
    for threshold in THRESHOLDS:
        precision, recall = (to_truth < threshold).mean(), (to_predicted < threshold).mean()
        figures[f"f_{threshold}"] = float(2 * precision * recall / max(precision + recall, 1e-9))
    return figures


def no_surface() -> dict[str, float]:
    """The figures of `surface_figures` where nothing was made: as if all were half a box away."""
    return {"chamfer": 2.0} | {f"f_{threshold}": 0.0 for threshold in THRESHOLDS}


def chamfer_and_f(predicted: Array, truth: Array) -> tuple[float, float]:
    """Chamfer distance (both mean distances summed) and F-score at 0.1, each set in a box of longest side 2."""
    figures = surface_figures(to_box(predicted), to_box(truth))
    return figures["chamfer"], figures["f_0.1"]

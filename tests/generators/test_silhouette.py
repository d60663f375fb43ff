# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about Gaussians and the outline of the picture they were imagined from."""

import numpy as np
import pytest

from engine.fields.gaussians import Gaussians
from engine.generators.agg.silhouette import REACH, drawn_inside

SIDE, T = 256, 0.3
AXIS = (np.arange(SIDE) + 0.5) / (SIDE / 2) - 1
X, Y = np.meshgrid(AXIS, -AXIS)


def photo(mask: np.ndarray) -> np.ndarray:
    """A white object on nothing."""
    return np.dstack([np.ones((SIDE, SIDE, 3)), mask]).astype(np.float32)


def gaussians(uv: np.ndarray, z: np.ndarray, scales: np.ndarray | float, quats: np.ndarray | None = None) -> Gaussians:
    """Gaussians that appear at uv [N, 2] in the picture."""
    n = len(uv)
    means = np.concatenate([uv * (1 - T * z)[:, None], z[:, None]], 1).astype(np.float32)
    quats = np.tile(np.array([1.0, 0, 0, 0], np.float32), (n, 1)) if quats is None else quats
    return Gaussians(
        means, quats, np.full((n, 3), 1, np.float32) * np.float32(scales), np.ones(n, np.float32),
        np.ones((n, 3), np.float32),
    )  # fmt: skip


def seen_at(made: Gaussians) -> np.ndarray:
    """Where means appear in the picture."""
    return made.means[:, :2] / (1 - T * made.means[:, 2:])


def test_a_fringe_becomes_the_disc_it_belongs_to():
    rng = np.random.default_rng(0)
    angle, z = rng.uniform(0, 2 * np.pi, 500), rng.uniform(-0.6, 0.6, 500)
    radius = rng.uniform(0.45, 0.64, 500)
    before = gaussians(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), z, 0.02)
    after = drawn_inside(before, photo(X**2 + Y**2 < 0.6**2), T)
    ends = np.linalg.norm(seen_at(after), axis=1) + REACH * after.scales[:, 0] / (1 - T * z)
    assert np.abs(ends[radius > 0.6] - 0.6).max() < 1.5 * 2 / SIDE  # on the outline, to a pixel and a half
    assert ends.max() < 0.6 + 1.5 * 2 / SIDE
    assert np.array_equal(after.means[:, 2], before.means[:, 2])
    turned = np.arctan2(*seen_at(after).T[::-1]) - np.arctan2(*seen_at(before).T[::-1])
    assert np.abs((turned + np.pi) % (2 * np.pi) - np.pi).max() < 0.05  # straight inwards
    untouched = radius + REACH * 0.02 / (1 - T * z) < 0.6 - 2 * 2 / SIDE
    assert untouched.sum() > 50
    assert np.allclose(after.means[untouched], before.means[untouched], atol=1e-6)
    assert np.array_equal(after.scales[untouched], before.scales[untouched])


def test_only_the_extent_across_the_outline_counts():
    """A needle along an edge stays near it, one across it moves by its length."""
    quarter = np.float32(np.sqrt(0.5))
    quats = np.array([[1, 0, 0, 0], [quarter, 0, 0, quarter]], np.float32)  # along x, and turned along y
    before = gaussians(np.full((2, 2), [0.5, 0.0]), np.zeros(2), np.array([[0.012, 0.005, 0.005]]), quats)
    after = drawn_inside(before, photo(X < 0.5), T)
    assert seen_at(after)[:, 0] == pytest.approx([0.5 - REACH * 0.012, 0.5 - REACH * 0.005], abs=2 / SIDE)
    assert after.means[:, 1] == pytest.approx(0, abs=1e-3)


def test_in_a_thin_bar_they_stay_in_its_middle_and_shrink():
    bar = np.abs(X) < 0.03
    before = gaussians(np.stack([np.linspace(-0.05, 0.05, 21), np.linspace(-0.5, 0.5, 21)], 1), np.zeros(21), 0.02)
    after = drawn_inside(before, photo(bar), T)
    assert np.abs(seen_at(after)[:, 0]).max() < 0.02
    assert after.scales.max() < 0.75 * 0.02
    assert after.scales.min() >= 0.4 * 0.02 - 1e-6

# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians are checked when made; rotations and covariances follow the wxyz convention."""

import numpy as np
import pytest

from engine.errors import InputError
from engine.fields.gaussians import Gaussians


def some(count=3, **changes):
    random = np.random.default_rng(0)
    values = {
        "means": random.normal(size=(count, 3)),
        "quats": random.normal(size=(count, 4)),
        "scales": random.uniform(0.1, 0.2, (count, 3)),
        "opacities": random.uniform(0, 1, count),
        "colors": random.uniform(0, 1, (count, 3)),
    }
    return Gaussians(**(values | changes))


def test_quarter_turn_about_y_takes_z_to_x():
    half = np.sqrt(0.5)
    turned = some(1, quats=np.array([[half, 0, half, 0]])).rotations()[0]
    np.testing.assert_allclose(turned @ [0, 0, 1], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(turned @ [0, 1, 0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(turned @ [1, 0, 0], [0, 0, -1], atol=1e-6)


def test_rotations_are_rotations_and_opposite_quaternions_agree():
    gaussians = some(50)
    rotations = gaussians.rotations()
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (50, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-5)
    np.testing.assert_allclose(some(50, quats=-gaussians.quats).rotations(), rotations, atol=1e-6)


def test_covariance_has_squared_scales_along_the_axes():
    gaussians = some(20)
    values = np.linalg.eigvalsh(gaussians.covariances().astype(np.float64))
    np.testing.assert_allclose(values, np.sort(gaussians.scales.astype(np.float64) ** 2, axis=1), rtol=1e-4)
    axis, scale = gaussians.rotations()[:, :, 0], gaussians.scales[:, :1]
    along = np.einsum("nij,nj->ni", gaussians.covariances(), axis)
    np.testing.assert_allclose(along, scale**2 * axis, atol=1e-6)


def test_quaternions_are_normalised_even_when_huge():
    gaussians = some(2, quats=np.array([[1e30, 0, 0, 1e30], [0, 3, 0, 4]]))
    np.testing.assert_allclose(gaussians.quats, [[np.sqrt(0.5), 0, 0, np.sqrt(0.5)], [0, 0.6, 0, 0.8]], rtol=1e-6)


def test_shift_comes_before_scale():
    gaussians = some()
    moved = gaussians.scaled(2.0, np.array([1, 0, 0]))
    np.testing.assert_allclose(moved.means, 2 * (gaussians.means + np.array([1, 0, 0])), rtol=1e-6)
    np.testing.assert_allclose(moved.scales, 2 * gaussians.scales, rtol=1e-6)


def test_select_and_bounds():
    gaussians = some(5)
    chosen = gaussians.select(gaussians.means[:, 0] > gaussians.means[:, 0].min())
    assert len(chosen) == 4
    low, high = gaussians.bounds()
    np.testing.assert_array_equal(low, gaussians.means.min(0))
    np.testing.assert_array_equal(high, gaussians.means.max(0))


def test_no_gaussians_are_allowed_but_have_no_bounds():
    empty = some(0)
    assert len(empty) == 0
    assert empty.covariances().shape == (0, 3, 3)
    with pytest.raises(InputError, match="0 Gaussians"):
        empty.bounds()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": np.zeros((3, 2))}, r"means of shape \(3, 3\), found \(3, 2\)"),
        ({"means": 1.0}, "means of shape"),
        ({"colors": np.zeros((2, 3))}, r"colors of shape \(3, 3\), found \(2, 3\)"),
        ({"means": np.full((3, 3), np.nan)}, "finite means"),
        ({"scales": np.full((3, 3), np.inf)}, "finite scales"),
        ({"scales": np.zeros((3, 3))}, "scales above 0, found 0"),
        ({"opacities": np.full(3, 1.5)}, r"opacities in \[0, 1\], found 1.5"),
        ({"colors": np.full((3, 3), -0.1)}, r"colors in \[0, 1\], found -0.1"),
        ({"quats": np.zeros((3, 4))}, "non-zero length"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        some(**changes)

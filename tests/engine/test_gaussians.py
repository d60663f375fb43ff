# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians are checked when made; rotations and covariances follow the wxyz convention."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.conventions import SH_C0
from engine.errors import InputError
from engine.fields import harmonics
from engine.fields.gaussians import Gaussians, averaged_colors, view_colors
from tests.engine import shapes


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


def directions(count, seed=1):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def with_harmonics(count=40, coefficients=15, size=0.05):
    random = np.random.default_rng(2)
    sh = random.normal(0, size, (count, coefficients, 3))
    return some(count, colors=random.uniform(0.4, 0.6, (count, 3)), sh=sh)


def test_harmonics_are_orthonormal():
    points = shapes.sphere_points(20_000)[0]
    values = np.concatenate([np.full((len(points), 1), SH_C0), harmonics.basis(points)], 1)
    np.testing.assert_allclose(4 * np.pi * values.T @ values / len(points), np.eye(16), atol=1e-4)


def test_first_degree_is_written_as_in_the_papers_code():
    """Kerbl et al. 2023: colour - C1 y k_1 + C1 z k_2 - C1 x k_3 with C1 = 0.4886."""
    sh = np.zeros((3, 3, 3))
    sh[0, 0], sh[1, 1], sh[2, 2] = 0.5, 0.5, 0.5
    gaussians = some(3, colors=np.full((3, 3), 0.5), sh=sh)
    found = view_colors(gaussians, np.array([[0, 1, 0], [0, 0, 2], [3, 0, 0]]))
    np.testing.assert_allclose(found[:, 0], [0.5 - 0.2443, 0.5 + 0.2443, 0.5 - 0.2443], atol=1e-4)


def test_colours_without_harmonics_do_not_depend_on_the_view():
    gaussians = some(10)
    assert gaussians.sh is None
    np.testing.assert_array_equal(view_colors(gaussians, directions(10)), gaussians.colors)
    np.testing.assert_array_equal(averaged_colors(gaussians, directions(10)), gaussians.colors)


def test_one_direction_serves_all():
    gaussians = with_harmonics(10)
    one = view_colors(gaussians, np.array([0.0, 0, -5]))
    np.testing.assert_array_equal(one, view_colors(gaussians, np.tile([0, 0, -1.0], (10, 1))))


@pytest.mark.parametrize("coefficients", [3, 8, 15])
def test_averaged_colours_are_the_mean_over_the_views_from_outside(coefficients):
    gaussians = with_harmonics(12, coefficients, 0.05)
    normals = directions(12)
    to_camera = shapes.sphere_points(20_000)[0]
    expected = np.zeros((12, 3))
    for i in range(12):
        weights = np.maximum(to_camera @ normals[i], 0)
        one = gaussians.select(np.full(len(to_camera), i))
        expected[i] = weights @ view_colors(one, -to_camera) / weights.sum()
    np.testing.assert_allclose(averaged_colors(gaussians, 7 * normals), expected, atol=1e-3)


def test_a_normal_of_no_length_gives_the_own_colour():
    gaussians = with_harmonics(5)
    np.testing.assert_array_equal(averaged_colors(gaussians, np.zeros((5, 3))), gaussians.colors)


@pytest.mark.parametrize("coefficients", [0, 3, 8, 15])
def test_turned_gaussians_look_the_same_from_turned_views(coefficients):
    gaussians = with_harmonics(40, coefficients)
    turn = Rotation.from_euler("xyz", [30, 200, -75], degrees=True).as_matrix()
    turned, views = gaussians.rotated(turn), directions(40)
    np.testing.assert_allclose(turned.means, gaussians.means @ turn.T, atol=1e-6)
    np.testing.assert_allclose(turned.covariances(), turn @ gaussians.covariances() @ turn.T, atol=1e-7)
    np.testing.assert_allclose(view_colors(turned, views @ turn.T), view_colors(gaussians, views), atol=5e-4)


def test_harmonics_go_with_their_gaussians():
    gaussians = with_harmonics(6, 8)
    np.testing.assert_array_equal(gaussians.select(np.array([4, 1])).sh, gaussians.sh[[4, 1]])
    np.testing.assert_array_equal(gaussians.scaled(2.0, np.zeros(3)).sh, gaussians.sh)


@pytest.mark.parametrize(
    ("sh", "message"),
    [
        (np.zeros((3, 4, 3)), r"sh of shape \(3, 3 or 8 or 15, 3\), found \(3, 4, 3\)"),
        (np.zeros((2, 3, 3)), "sh of shape"),
        (np.full((3, 3, 3), np.nan), "finite sh"),
    ],
)
def test_harmonics_out_of_range_are_refused(sh, message):
    with pytest.raises(InputError, match=message):
        some(sh=sh)

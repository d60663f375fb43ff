# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras: known points land on known pixels."""

import numpy as np
import pytest

from engine.fields.cameras import intrinsics, look_at, orbit


def pixel(viewmat, K, point):
    """Pixel (x, y) and camera z of a world point."""
    x, y, z = viewmat[:3, :3] @ point + viewmat[:3, 3]
    return K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2], z


def test_field_of_view_spans_the_height():
    K, viewmat = intrinsics(60, 80, 40), look_at((0, 0, 2), (0, 0, 0))
    top = 2 * np.tan(np.radians(30))
    assert pixel(viewmat, K, [0, top, 0]) == pytest.approx((40, 0, 2), abs=1e-5)
    assert pixel(viewmat, K, [2 * top, -top, 0]) == pytest.approx((80, 40, 2), abs=1e-5)


def test_front_camera_sees_x_right_and_y_up():
    K, viewmat = intrinsics(50, 64, 64), look_at((0, 0, 3), (0, 0, 0))
    x, y, _ = pixel(viewmat, K, [0.5, 0.25, 0])
    assert x > 32
    assert y < 32


@pytest.mark.parametrize("eye", [(0, 0, 3), (2, 1, -1), (0, 4, 0), (0, -4, 0), (1e-6, 3, 0)])
def test_look_at_is_a_rigid_motion_that_centres_the_target(eye):
    target = np.array([0.1, 0.0, 0.0]) if eye[0] else np.zeros(3)
    viewmat, K = look_at(eye, target), intrinsics(50, 64, 64)
    np.testing.assert_allclose(viewmat[:3, :3] @ viewmat[:3, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(viewmat[:3, :3]) == pytest.approx(1, abs=1e-6)
    distance = np.linalg.norm(np.subtract(eye, target))
    assert pixel(viewmat, K, target) == pytest.approx((32, 32, distance), abs=1e-4)
    np.testing.assert_allclose(viewmat[:3, :3] @ np.array(eye) + viewmat[:3, 3], 0, atol=1e-6)


def test_look_at_needs_two_points():
    with pytest.raises(ValueError, match="away from its eye"):
        look_at((1, 2, 3), (1, 2, 3))


def test_azimuth_turns_to_x_and_elevation_to_y():
    cameras = orbit([0, 90, 180, 0, 0], [0, 0, 0, 90, -90], 2.0, 45, 32, 32)
    expected = [[0, 0, 2], [2, 0, 0], [0, 0, -2], [0, 2, 0], [0, -2, 0]]
    np.testing.assert_allclose(cameras.centers(), expected, atol=1e-6)


def test_orbit_is_smooth_over_the_pole():
    cameras = orbit(30.0, np.linspace(85, 95, 101), 2.0, 45, 32, 32)
    steps = np.abs(np.diff(cameras.viewmats, axis=0)).max()
    assert steps < 0.01


def test_orbit_agrees_with_look_at_and_broadcasts():
    cameras = orbit(np.array([10.0, 200.0]), 35.0, 2.5, 45, 40, 32)
    assert len(cameras) == 2
    assert cameras.Ks.shape == (2, 3, 3)
    for viewmat, center in zip(cameras.viewmats, cameras.centers(), strict=True):
        np.testing.assert_allclose(viewmat, look_at(center, (0, 0, 0)), atol=1e-5)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What cameras around Gaussians see: depth where the ray meets the discs, who is hidden, and from which side."""

import numba
import numpy as np
import pytest

from engine.fields.cameras import Cameras, intrinsics, look_at
from engine.fields.gaussians import Gaussians
from engine.render.splat_cpu import render
from engine.render.splat_depth import depth_views, seen_weights
from engine.surface.visibility import seen, spread_directions, surrounding
from tests.engine.shapes import box, joined, shell, sphere, sphere_points


def camera(eye, size=64, fov=30.0, target=(0.0, 0.0, 0.0)) -> Cameras:
    return Cameras(look_at(eye, target)[None], intrinsics(fov, size, size)[None], size, size)


def plane(tilt_deg: float, spacing=0.02, half=1.0) -> Gaussians:
    """A square of discs through the origin, its normal turned from +z towards +x."""
    ticks = np.arange(-half, half + 1e-9, spacing)
    a, b = (grid.ravel() for grid in np.meshgrid(ticks, ticks))
    tilt = np.radians(tilt_deg)
    points = np.stack([a * np.cos(tilt), b, -a * np.sin(tilt)], axis=1)
    return shell(points, np.tile([np.sin(tilt), 0, np.cos(tilt)], (len(a), 1)), spacing, opacity=0.95)


@pytest.mark.parametrize("tilt", [0.0, 30.0, 60.0])
def test_depth_of_tilted_discs_is_that_of_their_plane(tilt):
    size = 256
    cameras = camera((0, 0, 4), size)
    measured = depth_views(plane(tilt), cameras)
    focal = cameras.Ks[0, 0, 0]
    slopes = (np.arange(size) + 0.5 - size / 2) / focal  # x / z on the rays of a row
    # The plane sin(t) x + cos(t) y = 0 with y = 4 - z towards the camera and x = slope z
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    expected = 4 * cos / (cos - sin * slopes)
    middle = slice(size // 2 - 20, size // 2 + 20)
    pixel = 4 / focal
    error = np.abs(measured.depths[0, middle, middle] - expected[middle]) * cos / pixel
    assert error.max() < 0.12
    assert measured.alphas[0, middle, middle].min() > 0.75
    assert measured.deviations[0, middle, middle].max() < 0.15 * pixel
    if tilt:  # the depth of centres is several times worse
        drawn = render(plane(tilt), cameras.viewmats[0], cameras.Ks[0], size, size).depths[middle, middle]
        assert error.mean() < 0.2 * np.mean(np.abs(drawn - expected[middle]) * cos / pixel)


def test_depth_of_a_ball_is_that_of_its_centre():
    ball = Gaussians(
        np.zeros((1, 3)), np.eye(1, 4), np.full((1, 3), 0.2), np.full(1, 0.99), np.ones((1, 3)),
    )  # fmt: skip
    measured = depth_views(ball, camera((0, 0, 4), size=33))
    np.testing.assert_allclose(measured.depths[0, 16, 16], 4, atol=1e-4)
    assert measured.alphas[0, 0, 0] == 0
    assert measured.depths[0, 0, 0] == 0


def test_alphas_are_those_of_the_renderer_up_to_three_quarters():
    random = np.random.default_rng(0)
    cloud = Gaussians(
        random.uniform(-0.5, 0.5, (60, 3)), random.normal(size=(60, 4)), np.exp(random.uniform(-4, -2, (60, 3))),
        random.uniform(0.1, 0.7, 60), np.ones((60, 3)),
    )  # fmt: skip
    cameras = camera((0.5, 1, 3))
    ours = depth_views(cloud, cameras).alphas[0]
    expected = render(cloud, cameras.viewmats[0], cameras.Ks[0], 64, 64).alphas
    assert 0.1 < (expected > 0.3).mean() < 0.9
    np.testing.assert_allclose(np.minimum(ours, 0.75), np.minimum(expected, 0.75), atol=2e-3)


def test_light_from_two_surfaces_has_a_deviation():
    """A half transparent square before an opaque one, 0.6 apart: the middle half of the light comes from both."""
    front = plane(0, half=0.8)
    front = Gaussians(front.means + np.array([0, 0, 0.6]), front.quats, front.scales, front.opacities * 0.2,
                      front.colors)  # fmt: skip
    measured = depth_views(joined(front, plane(0)), camera((0, 0, 4)))
    assert measured.deviations[0, 24:40, 24:40].min() > 0.05
    assert np.all((measured.depths[0, 24:40, 24:40] > 3.4) & (measured.depths[0, 24:40, 24:40] < 4))


def test_many_gaussians_are_seen_in_batches_alike(monkeypatch):
    ball = sphere(2000)
    cameras, _ = surrounding(ball, 5, 48)
    at_once, weights = depth_views(ball, cameras), seen_weights(ball, cameras)
    monkeypatch.setattr("engine.render.splat_depth.BATCH", 5000)
    assert np.array_equal(depth_views(ball, cameras).depths, at_once.depths)
    assert np.array_equal(seen_weights(ball, cameras), weights)


def test_weights_do_not_depend_on_threads_and_add_up_to_the_silhouettes():
    ball = sphere(2000)
    cameras, _ = surrounding(ball, 4, 64)
    weights = seen_weights(ball, cameras)
    alphas = [render(ball, v, K, 64, 64).alphas.sum() for v, K in zip(cameras.viewmats, cameras.Ks, strict=True)]
    np.testing.assert_allclose(weights.sum(1), alphas, rtol=0.01)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert np.array_equal(seen_weights(ball, cameras), weights)
    finally:
        numba.set_num_threads(threads)


def test_an_inner_wall_is_hidden_and_the_outer_one_seen_from_outside():
    points, normals, spacing = sphere_points(6000, 0.8)
    outer, inner = shell(points, normals, spacing), sphere(3000, radius=0.6)
    result = seen(joined(outer, inner))
    assert result.weights[6000:].sum() < 0.02 * result.weights.sum()
    towards = np.einsum("ni,ni->n", result.directions[:6000], normals)
    assert np.mean(towards > 0.5) > 0.995
    assert np.linalg.norm(result.directions, axis=1).max() <= 1.0001


def test_a_sheet_is_seen_from_both_sides():
    sheet = box(sides=range(1))
    result = seen(sheet)
    assert np.median(np.linalg.norm(result.directions, axis=1)) < 0.3
    assert result.weights.min() > 0


@pytest.mark.parametrize("far", [5.0, 1e4])
def test_pictures_are_fitted_to_the_object_not_to_a_floater(far):
    ball = sphere(4000, radius=0.8)
    floater = sphere(1, radius=far, center=(far, 0, 0))
    floater = Gaussians(floater.means, floater.quats, np.full((1, 3), 0.02), np.full(1, 0.3), floater.colors)
    alone, with_floater = surrounding(ball, 8, 100)[1], surrounding(joined(ball, floater), 8, 100)[1]
    assert alone < 1.3 * 1.6 / 100
    assert with_floater < 1.1 * alone


def test_the_whole_object_is_in_every_picture():
    cameras, _ = surrounding(box((0.9, 0.1, 0.3)), 12, 80)
    alphas = depth_views(box((0.9, 0.1, 0.3)), cameras).alphas
    rim = np.concatenate([alphas[:, 0], alphas[:, -1], alphas[:, :, 0], alphas[:, :, -1]], axis=1)
    assert alphas.max((1, 2)).min() > 0.7
    assert rim.max() < 0.1


def test_directions_are_spread_evenly():
    directions = spread_directions(24)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    probes = spread_directions(500, turn=0.3)
    assert (probes @ directions.T).max(1).min() > np.cos(np.radians(32))
    apart = directions @ directions.T - 2 * np.eye(24)
    assert apart.max() < np.cos(np.radians(20))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_gaussians(count):
    few = Gaussians(np.full((count, 3), 0.1), np.tile([1, 0, 0, 0], (count, 1)), np.full((count, 3), 0.1),
                    np.full(count, 0.9), np.ones((count, 3)))  # fmt: skip
    result = seen(few)
    assert result.weights.shape == (count,)
    assert result.directions.shape == (count, 3)
    assert np.isfinite(result.directions).all()
    assert (result.weights > 0).sum() >= min(count, 1)

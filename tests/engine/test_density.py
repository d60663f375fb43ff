# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about densities of Gaussians: values against a direct sum, bounds, levels."""

import numba
import numpy as np
import pytest

from engine.errors import EmptyFieldError, OptionError
from engine.fields.gaussians import Gaussians
from engine.surface.density import density_grid, extents, fast_exp, scatter, silhouette
from tests.engine.shapes import joined, shell, sphere, sphere_points


def some_gaussians(count: int = 300, seed: int = 0) -> Gaussians:
    """Of all shapes and turns, in [-0.5, 0.5]^3."""
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.uniform(np.log(0.003), np.log(0.15), (count, 3)))
    return Gaussians(
        rng.uniform(-0.5, 0.5, (count, 3)), rng.normal(size=(count, 4)), scales, rng.uniform(size=count),
        rng.uniform(size=(count, 3)),
    )  # fmt: skip


def direct_sum(gaussians: Gaussians, points: np.ndarray, voxel: float, reach: float = 3.5) -> np.ndarray:
    """The definition, in float64."""
    covariances = gaussians.covariances().astype(np.float64) + (0.5 * voxel) ** 2 * np.eye(3)
    offsets = points[:, None].astype(np.float64) - gaussians.means
    q = np.einsum("pni,nij,pnj->pn", offsets, np.linalg.inv(covariances), offsets)
    return np.where(q <= reach**2, gaussians.opacities * np.exp(-q / 2), 0).sum(1)


def test_density_is_the_sum_of_the_gaussians():
    gaussians = some_gaussians()
    shape, voxel, origin = (40, 37, 43), 0.03, np.array([-0.6, -0.55, -0.65])
    values = scatter(gaussians, origin, voxel, shape)
    index = np.stack([np.random.default_rng(1).integers(0, side, 1200) for side in shape], axis=1)
    # On the rim of a Gaussian float32 decides otherwise than float64; a jump there is 0.002 of its opacity.
    expected = direct_sum(gaussians, origin + voxel * index, voxel)
    np.testing.assert_allclose(values[tuple(index.T)], expected, rtol=1e-3, atol=2.5e-3)
    inside = expected > 1
    np.testing.assert_allclose(values[tuple(index[inside].T)], expected[inside], rtol=3e-3)
    away = np.abs(direct_sum(gaussians, origin + voxel * index, voxel, 3.49) - expected) == 0
    away &= np.abs(direct_sum(gaussians, origin + voxel * index, voxel, 3.51) - expected) == 0
    assert away.sum() > 500
    np.testing.assert_allclose(values[tuple(index[away].T)], expected[away], rtol=1e-3, atol=1e-6)


def test_result_does_not_depend_on_threads():
    gaussians = some_gaussians()
    grid = np.array([-0.6, -0.6, -0.6]), 0.03, (40, 40, 40)
    values = scatter(gaussians, *grid)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert np.array_equal(scatter(gaussians, *grid), values)
    finally:
        numba.set_num_threads(threads)


def test_exponential_is_exact_to_float32():
    @numba.njit(fastmath={"contract", "reassoc", "arcp", "nsz", "afn"})
    def evaluate(x):
        return np.array([fast_exp(value) for value in x])

    x = np.linspace(-80, 0, 20001).astype(np.float32)
    np.testing.assert_allclose(evaluate(x), np.exp(x.astype(np.float64)), rtol=1e-5)
    x = np.linspace(-6.2, 0, 20001).astype(np.float32)
    np.testing.assert_allclose(evaluate(x), np.exp(x.astype(np.float64)), rtol=2e-6)


def test_a_gaussian_thinner_than_a_voxel_is_not_missed():
    """A sheet of discs 1/50 voxel thick, between two planes of samples, reaches its opacity's order on both."""
    a, b = (grid.ravel() for grid in np.meshgrid(np.linspace(-0.5, 0.5, 41), np.linspace(-0.5, 0.5, 41)))
    normals = np.tile([0.0, 1.0, 0.0], (len(a), 1))
    thin = shell(np.stack([a, np.full_like(a, 0.025), b], axis=1), normals, 0.025)
    values = scatter(thin, np.array([-0.5, -0.5, -0.5]), 0.05, (21, 21, 21))
    assert values[8:13, 10, 8:13].min() > 0.5
    assert values[8:13, 11, 8:13].min() > 0.5


def test_border_is_empty_and_the_longest_side_has_the_cells_asked_for():
    grid = density_grid(sphere(2000), 64)
    assert max(grid.values.shape) in (64, 65, 66)
    for axis in range(3):
        planes = np.moveaxis(grid.values, axis, 0)
        assert not planes[0].any()
        assert not planes[-1].any()
    top = grid.origin + grid.voxel * (np.array(grid.values.shape) - 1)
    assert (grid.origin < -0.8).all()
    assert (top > 0.8).all()


def test_a_floater_far_away_does_not_waste_the_grid_but_a_thin_part_stays():
    stick = np.stack([np.zeros(40), np.linspace(0.8, 2.4, 40), np.zeros(40)], axis=1)
    antenna = shell(stick, np.tile([1.0, 0, 0], (40, 1)), 0.04)
    floater = shell(np.array([[60.0, 0, 0]]), np.array([[1.0, 0, 0]]), 0.05, opacity=0.9)
    low, high = extents(joined(sphere(50_000, 0.8), antenna, floater))
    assert high[0] < 1.5
    assert 2.4 < high[1] < 2.7
    assert low[1] > -1.0


def test_haze_around_everything_neither_wastes_the_grid_nor_fills_it():
    count = 200
    haze = Gaussians(
        np.zeros((count, 3)), np.tile([1.0, 0, 0, 0], (count, 1)), np.full((count, 3), 3.0), np.full(count, 0.5),
        np.ones((count, 3)),
    )  # fmt: skip
    clear, hazy = density_grid(sphere(4000), 64), density_grid(joined(sphere(4000), haze), 64)
    assert hazy.voxel < 1.1 * clear.voxel
    assert hazy.shell == pytest.approx(clear.shell, rel=0.1)


def test_silhouette_is_the_composited_opacity():
    gaussians = some_gaussians(50)
    voxel, origin, shape = 0.05, np.array([-1.0, -1.0, -1.0]), (41, 41, 41)
    seen = silhouette(gaussians, 2, origin, voxel, shape)
    flat = gaussians.covariances()[:, :2, :2].astype(np.float64) + (0.5 * voxel) ** 2 * np.eye(2)
    for i, j in ((20, 20), (25, 17), (12, 22), (15, 28)):
        offset = origin[:2] + voxel * np.array([i, j]) - gaussians.means[:, :2]
        q = np.einsum("ni,nij,nj->n", offset, np.linalg.inv(flat), offset)
        alphas = np.where(q <= 3.5**2, gaussians.opacities * np.exp(-q / 2), 0)
        assert seen[i, j] == pytest.approx(1 - np.prod(1 - alphas), abs=2e-3)


def test_a_sieve_of_small_gaussians_becomes_a_closed_shell():
    points, normals, spacing = sphere_points(3000, 0.8)
    sieve = shell(points, normals, 0.3 * spacing)
    grid = density_grid(sieve, 96)
    x, y, z = (grid.origin[axis] + grid.voxel * np.arange(grid.values.shape[axis]) for axis in range(3))
    radius = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
    on_shell = np.abs(radius - 0.8) < 0.5 * grid.voxel
    assert grid.values[on_shell].min() > 0.3 * np.median(grid.values[on_shell])


@pytest.mark.parametrize("resolution", [0, 8, 5000])
def test_a_resolution_out_of_range_is_refused(resolution):
    with pytest.raises(OptionError, match=f"{resolution}.*16 to 512"):
        density_grid(sphere(500), resolution)


def test_nothing_to_see_is_said():
    nothing = Gaussians(np.zeros((0, 3)), np.zeros((0, 4)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)))
    with pytest.raises(EmptyFieldError):
        density_grid(nothing, 32)
    faint = sphere(500, opacity=0.0)
    with pytest.raises(EmptyFieldError):
        density_grid(faint, 32)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_handful_of_gaussians_has_a_density(count):
    points = np.random.default_rng(0).normal(size=(count, 3)) * 0.2
    grid = density_grid(shell(points, np.ones((count, 3)), 0.1), 32)
    assert grid.values.max() > 0.5

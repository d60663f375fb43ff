# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about densities of Gaussians: values against a direct sum, bounds, levels."""

import numba
import numpy as np
import pytest

from engine.fields.gaussians import Gaussians
from engine.surface.density import fast_exp, scatter, scatter_heights
from engine.surface.shells import extents, make_shell, place_grid
from engine.surface.silhouettes import frames_around, silhouette
from tests.engine.shapes import joined, shell, sphere, sphere_points


def some_gaussians(count: int = 300, seed: int = 0) -> Gaussians:
    """Of all shapes and turns, in [-0.5, 0.5]^3."""
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.uniform(np.log(0.003), np.log(0.15), (count, 3)))
    return Gaussians(
        rng.uniform(-0.5, 0.5, (count, 3)), rng.normal(size=(count, 4)), scales, rng.uniform(size=count),
        rng.uniform(size=(count, 3)),
    )  # fmt: skip


def of(gaussians: Gaussians, origin: np.ndarray, voxel: float, shape: tuple[int, ...]) -> np.ndarray:
    return scatter(gaussians.means, gaussians.covariances(), gaussians.opacities, origin, voxel, shape)


def direct_sum(gaussians: Gaussians, points: np.ndarray, voxel: float, reach: float = 3.5) -> np.ndarray:
    """The definition, in float64."""
    covariances = gaussians.covariances().astype(np.float64) + (0.5 * voxel) ** 2 * np.eye(3)
    offsets = points[:, None].astype(np.float64) - gaussians.means
    q = np.einsum("pni,nij,pnj->pn", offsets, np.linalg.inv(covariances), offsets)
    return np.where(q <= reach**2, gaussians.opacities * np.exp(-q / 2), 0).sum(1)


def test_density_is_the_sum_of_the_gaussians():
    gaussians = some_gaussians()
    shape, voxel, origin = (40, 37, 43), 0.03, np.array([-0.6, -0.55, -0.65])
    values = of(gaussians, origin, voxel, shape)
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
    values = of(gaussians, *grid)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert np.array_equal(of(gaussians, *grid), values)
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
    values = of(thin, np.array([-0.5, -0.5, -0.5]), 0.05, (21, 21, 21))
    assert values[8:13, 10, 8:13].min() > 0.5
    assert values[8:13, 11, 8:13].min() > 0.5


def test_heights_are_distances_to_planes_weighted_by_the_density():
    rng = np.random.default_rng(2)
    count, voxel, origin, shape = 40, 0.05, np.array([-0.5, -0.5, -0.5]), (21, 21, 21)
    gaussians = some_gaussians(count)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    planes = np.concatenate([normals, np.full((count, 1), 0.01)], axis=1)
    two_sided = np.arange(count) % 3 == 0
    covariances = gaussians.covariances().astype(np.float64) + 0.05**2 * np.eye(3)
    weights, heights = scatter_heights(
        gaussians.means, covariances, gaussians.opacities, planes, two_sided, origin, voxel, shape
    )
    inverses = np.linalg.inv(covariances)
    for index in rng.integers(0, 21, (60, 3)):
        offsets = origin + voxel * index - gaussians.means
        q = np.einsum("ni,nij,nj->n", offsets, inverses, offsets)
        share = np.where(q <= 3.5**2, gaussians.opacities * np.exp(-q / 2), 0)
        height = np.einsum("ni,ni->n", offsets, normals)
        height = np.where(two_sided, np.abs(height), height) - 0.01
        assert weights[tuple(index)] == pytest.approx(share.sum(), abs=4e-3, rel=1e-3)
        assert heights[tuple(index)] == pytest.approx((share * height).sum(), abs=4e-3, rel=1e-3)


def test_the_longest_side_has_the_cells_asked_for_and_a_free_border():
    shell_of = make_shell(sphere(2000))
    origin, voxel, shape = place_grid(shell_of, 64, 3)
    assert max(shape) in (64, 65, 66)
    top = origin + voxel * (np.array(shape) - 1)
    assert (origin + 2 * voxel < -0.8).all()
    assert (top - 2 * voxel > 0.8).all()


def test_a_floater_far_away_does_not_waste_the_grid_but_a_thin_part_stays():
    stick = np.stack([np.zeros(40), np.linspace(0.8, 2.4, 40), np.zeros(40)], axis=1)
    antenna = shell(stick, np.tile([1.0, 0, 0], (40, 1)), 0.04)
    floater = shell(np.array([[60.0, 0, 0]]), np.array([[1.0, 0, 0]]), 0.05, opacity=0.9)
    gaussians = joined(sphere(50_000, 0.8), antenna, floater)
    low, high = extents(gaussians.means, gaussians.covariances(), gaussians.opacities)
    assert high[0] < 1.5
    assert 2.4 < high[1] < 2.7
    assert low[1] > -1.0


def test_haze_around_everything_neither_wastes_the_grid_nor_fills_it():
    count = 200
    haze = Gaussians(
        np.zeros((count, 3)), np.tile([1.0, 0, 0, 0], (count, 1)), np.full((count, 3), 3.0), np.full(count, 0.5),
        np.ones((count, 3)),
    )  # fmt: skip
    clear, hazy = (make_shell(gaussians) for gaussians in (sphere(4000), joined(sphere(4000), haze)))
    assert len(hazy) == len(clear) == 4000


def test_silhouette_is_the_composited_opacity():
    gaussians = some_gaussians(50)
    for frame in frames_around(np.array([-1.0, -1.0, -1.0]), 0.05, (41, 41, 41))[::5]:
        seen = silhouette(gaussians, frame)
        turn = frame.turn * frame.scale
        flat = turn @ gaussians.covariances().astype(np.float64) @ turn.T + 0.25 * np.eye(2)
        centers = (gaussians.means - frame.center) @ turn.T + frame.pixels / 2
        for pixel in np.random.default_rng(0).integers(0, frame.pixels, (20, 2)):
            offset = pixel - centers
            q = np.einsum("ni,nij,nj->n", offset, np.linalg.inv(flat), offset)
            alphas = np.where(q <= 3.5**2, gaussians.opacities * np.exp(-q / 2), 0)
            assert seen[tuple(pixel)] == pytest.approx(1 - np.prod(1 - alphas), abs=3e-3)


def test_silhouettes_are_seen_from_all_around():
    """Twelve directions, none of them opposite to another, and none more than 45 degrees from the nearest."""
    turns = [frame.turn for frame in frames_around(np.zeros(3), 0.1, (20, 20, 20))]
    toward = np.array([np.cross(*turn) for turn in turns])
    assert len(toward) == 12
    between = np.abs(toward @ toward.T) - np.eye(12)
    assert between.max() < np.cos(np.radians(15))
    anywhere = np.random.default_rng(0).normal(size=(500, 3))
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    assert np.abs(anywhere @ toward.T).max(1).min() > np.cos(np.radians(45))


def test_a_sieve_of_small_gaussians_becomes_a_closed_shell():
    points, normals, spacing = sphere_points(3000, 0.8)
    sieve = make_shell(shell(points, normals, 0.3 * spacing))
    origin, voxel, shape = np.full(3, -1.0), 0.02, (101, 101, 101)
    values = scatter(sieve.means, sieve.covariances(0.0), sieve.opacities, origin, voxel, shape)
    radius = np.linalg.norm(np.moveaxis(np.mgrid[:101, :101, :101], 0, -1) * voxel - 1, axis=-1)
    on_shell = np.abs(radius - 0.8) < 0.5 * voxel
    assert values[on_shell].min() > 0.3 * np.median(values[on_shell])

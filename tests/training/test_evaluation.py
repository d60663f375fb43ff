# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about how results are judged: alignment, the perceptual distance, intervals, the nearest object."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from engine.training.evaluation.alignment import aligned_figures, even_rotations, rigid_fit
from engine.training.evaluation.perceptual import perceptual_r
from engine.training.evaluation.statistics import paired_difference
from engine.training.metrics import no_surface, surface_figures, to_box


def lamp(count: int, seed: int) -> np.ndarray:
    """Points of a shape without symmetry: a base, a bent arm, a shade."""
    rng = np.random.default_rng(seed)
    base = rng.uniform([-0.5, -1, -0.3], [0.5, -0.9, 0.3], (count // 2, 3))
    t = rng.random(count // 4)[:, None]
    arm = np.concatenate([0.4 * t**2, -0.9 + 1.6 * t, 0.2 * t], 1) + 0.03 * rng.normal(size=(len(t), 3))
    shade = np.array([0.6, 0.8, 0.2]) + 0.25 * rng.normal(size=(count - len(base) - len(arm), 3)).clip(-1, 1)
    return np.concatenate([base, arm, shade])


@pytest.mark.parametrize("seed", range(4))
def test_alignment_finds_the_pose_of_the_same_shape(seed):
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    moved = 0.37 * lamp(4000, 1) @ turn.T + [3.0, -2.0, 1.0]
    figures = aligned_figures(moved, lamp(4000, 2))
    same = surface_figures(to_box(lamp(4000, 1)), to_box(lamp(4000, 2)))
    assert figures["chamfer"] < same["chamfer"] + 0.02
    assert figures["f_0.1"] > same["f_0.1"] - 0.01
    assert surface_figures(to_box(moved), to_box(lamp(4000, 2)))["f_0.1"] < 0.9 * figures["f_0.1"]


@pytest.mark.slow
def test_alignment_does_not_make_equal_what_differs():
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(4000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    rod = rng.uniform([-1, -0.1, -0.1], [1, 0.1, 0.1], (4000, 3))
    figures = aligned_figures(sphere, rod)
    assert figures["f_0.1"] < 0.2
    assert figures["chamfer"] > 0.5
    assert figures["f_0.1"] < figures["f_0.2"] < figures["f_0.5"]


def test_rotations_leave_no_gap_wider_than_half_their_spacing():
    rotations = even_rotations(4608)
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(rotations), 1)
    anywhere = Rotation.random(200, rng=np.random.default_rng(0)).as_matrix()
    traces = np.einsum("rij,qij->qr", rotations, anywhere).max(1)
    assert np.degrees(np.arccos((traces.min() - 1) / 2)) < 18


def test_rigid_fit_recovers_a_motion_and_never_mirrors():
    points = lamp(500, 3)
    turn, move = Rotation.from_euler("xyz", [20, -30, 40], degrees=True).as_matrix(), np.array([0.1, 0.2, -0.3])
    rotation, translation = rigid_fit(points, points @ turn.T + move)
    assert np.allclose(rotation, turn)
    assert np.allclose(translation, move)
    mirrored, _ = rigid_fit(points, points * [-1, 1, 1])
    assert np.linalg.det(mirrored) == pytest.approx(1)


def test_f_scores_of_a_shift_change_where_the_threshold_passes_it():
    rng = np.random.default_rng(2)
    plane = np.concatenate([rng.uniform(-1, 1, (20000, 2)), np.zeros((20000, 1))], 1)
    figures = surface_figures(plane + np.array([0, 0, 0.15]), plane)
    assert figures["f_0.1"] == 0
    assert figures["f_0.2"] > 0.99
    assert figures["chamfer"] == pytest.approx(0.3, abs=0.01)
    assert no_surface().keys() == figures.keys()


def pictures() -> np.ndarray:
    """Two pictures of different striped things before white, [2, 96, 96, 3]."""
    y, x = np.mgrid[:96, :96] / 48 - 1
    disc, box = x**2 + y**2 < 0.5, (np.abs(x) < 0.4) & (np.abs(y) < 0.75)
    stripes, checks = 0.5 + 0.4 * np.sin(20 * x + 9 * y), 0.5 + 0.4 * np.sign(np.sin(17 * x) * np.sin(13 * y))
    result = np.ones((2, 96, 96, 3), np.float32)
    result[0][disc] = np.stack([stripes, 0.3 * stripes, 1 - stripes], -1)[disc]
    result[1][box] = np.stack([0.2 * checks, checks, 0.5 * checks], -1)[box]
    return result


def test_perceptual_distance_orders_what_one_sees():
    truth = pictures()
    mask = (truth < 0.995).any(-1, keepdims=True)
    rng = np.random.default_rng(0)

    def distance(changed: np.ndarray) -> float:
        return float(perceptual_r(truth, changed.astype(np.float32)).mean())

    blurs = [distance(gaussian_filter(truth, (0, s, s, 0))) for s in (1, 2, 4)]
    shifts = [distance(np.roll(truth, s, 2)) for s in (1, 2, 4)]
    noise = [distance((truth + mask * s * rng.normal(size=truth.shape)).clip(0, 1)) for s in (0.03, 0.1, 0.3)]
    other = distance(truth[::-1])
    assert distance(truth) == 0
    for rising in (blurs, shifts, noise):
        assert 0 < rising[0] < rising[1] < rising[2] < other
    assert shifts[0] < blurs[1]  # squared error has it the other way round
    assert np.mean((truth - np.roll(truth, 1, 2)) ** 2) > np.mean((truth - gaussian_filter(truth, (0, 2, 2, 0))) ** 2)


def test_perceptual_distance_is_symmetric_and_sees_colour():
    truth = pictures()
    red = truth * np.array([1.0, 0.7, 0.7], np.float32)
    assert perceptual_r(truth, red) == pytest.approx(perceptual_r(red, truth))
    assert (perceptual_r(truth, red) > 0).all()


def test_interval_of_a_difference_counts_objects_not_pictures():
    rng = np.random.default_rng(0)
    per_object = rng.normal(0.2, 1.0, 30)
    once = paired_difference(per_object, np.zeros(30), range(30))
    often = paired_difference(np.repeat(per_object, 8), np.zeros(240), np.repeat(np.arange(30), 8))
    assert once.as_list() == often.as_list()
    assert once.mean == pytest.approx(per_object.mean())
    assert (once.high - once.low) / (per_object.std() / np.sqrt(30)) == pytest.approx(2 * 1.96, rel=0.1)
    sure = paired_difference([1.0, 1.2, 0.9, 1.1], [0.0, 0.1, 0.0, 0.1], range(4))
    assert 0.8 < sure.low < sure.mean < sure.high < 1.2

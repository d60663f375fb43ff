# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the parts of training loops: measures, losses, schedule, average, records."""

import json
import math
import time

import numpy as np
import pytest
import torch

from engine.training import losses, metrics
from engine.training.ema import Ema
from engine.training.schedule import TimeBudget, learning_rate
from engine.training.stats import Stats


def test_psnr_of_a_known_error():
    a = np.zeros((8, 8, 3))
    assert metrics.psnr(a, a + 0.1) == pytest.approx(20.0)


def test_ssim_is_one_for_equals_and_falls_with_noise():
    rng = np.random.default_rng(0)
    a = rng.random((32, 32, 3))
    noisy = [metrics.ssim(a, (a + s * rng.normal(size=a.shape)).clip(0, 1)) for s in (0.05, 0.3)]
    assert metrics.ssim(a, a) == pytest.approx(1.0)
    assert 1 > noisy[0] > noisy[1] > 0


def test_both_ssims_agree_away_from_the_border():
    rng = np.random.default_rng(1)
    a = rng.random((40, 40, 3))
    b = (a + 0.2 * rng.normal(size=a.shape)).clip(0, 1)
    as_tensor = [torch.from_numpy(x.transpose(2, 0, 1)[None]) for x in (a, b)]
    assert float(losses.ssim(*as_tensor)) == pytest.approx(metrics.ssim(a, b), abs=0.02)


def test_chamfer_and_f_of_a_shifted_plane():
    rng = np.random.default_rng(2)
    plane = np.concatenate([rng.uniform(-1, 1, (20000, 2)), np.zeros((20000, 1))], 1)
    shifted = plane + np.array([0, 0, 0.05])
    to_truth, to_shifted = metrics.surface_distances(shifted, plane)
    assert to_truth.mean() == pytest.approx(0.05, abs=1e-6)
    assert to_shifted.mean() == pytest.approx(0.05, abs=1e-6)
    assert metrics.chamfer_and_f(plane, plane) == (0.0, 1.0)
    assert metrics.chamfer_and_f(plane, 3 * plane + 1)[1] > 0.999  # each in its own box


def test_chamfer_loss_pulls_points_to_the_surface():
    surface = torch.rand(1, 500, 3) * torch.tensor([1.0, 1.0, 0.0])
    points = torch.rand(1, 100, 3, requires_grad=True)

    def chamfer(points: torch.Tensor) -> torch.Tensor:
        return sum(distances.mean() for distances in losses.nearest_distances(points, surface))

    loss = chamfer(points)
    loss.backward()
    moved = points.detach() - 0.5 * points.grad
    assert chamfer(moved) < loss
    above = points.detach()[0, :, 2] > 0.05
    assert (points.grad[0, above, 2] > 0).all()


def test_budget_counts_earlier_sittings_and_anneals_to_its_end():
    budget = TimeBudget(minutes=2.0, spent=60.0)
    assert budget.fraction() == pytest.approx(0.5, abs=0.01)
    assert not budget.over()
    assert TimeBudget(minutes=1.0, spent=60.0).over()
    rates = [learning_rate(f, 10_000, 1e-3) for f in (0, 0.25, 0.5, 0.75, 1.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-5)
    assert learning_rate(0.0, 0, 1e-3) == pytest.approx(1e-5)


def test_minutes_of_the_processor_pass_only_while_it_works():
    budget = TimeBudget(minutes=1.0, clock=time.process_time)
    time.sleep(0.3)
    assert budget.elapsed() < 0.1
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    assert budget.elapsed() == pytest.approx(0.3, abs=0.1)


def test_average_of_weights_follows_them():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    ema = Ema(network, 0.9)
    torch.nn.init.ones_(network.weight)
    for step in range(200):
        ema.update(network, step)
    assert ema.state_dict()["weight"].item() == pytest.approx(1.0, abs=1e-3)


def test_time_of_measuring_does_not_count():
    begin = time.monotonic()
    budget = TimeBudget(minutes=1.0)
    with budget.paused():
        time.sleep(0.2)
    assert budget.elapsed() <= time.monotonic() - begin - 0.2


def test_stats_are_means_since_the_last_report(tmp_path):
    stats = Stats(tmp_path)
    stats.add({"loss": 1.0})
    stats.add({"loss": 3.0})
    stats.report(step=2)
    stats.add({"loss": 5.0})
    stats.report(step=3)
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 2.0), (3, 5.0)]
    assert all(0 <= line["seconds_per_step"] < 1 for line in lines)


def test_stats_stay_readable_when_a_loss_is_not_a_number(tmp_path):
    stats = Stats(tmp_path)
    stats.add({"loss": math.nan, "chamfer": math.inf})
    stats.add({"loss": 2.0, "chamfer": math.nan})
    stats.report(step=2)
    line = json.loads((tmp_path / "stats.jsonl").read_text(), parse_constant=pytest.fail)
    assert line["loss"] == 2.0
    assert line["chamfer"] is None


def test_stats_that_cannot_be_written_are_told_of_once(tmp_path):
    (tmp_path / "stats.jsonl").mkdir()
    told = []
    stats = Stats(tmp_path, told.append)
    for step in range(3):
        stats.add({"loss": 1.0})
        stats.report(step=step)
    assert len(told) == 1
    assert "stats.jsonl" in told[0]

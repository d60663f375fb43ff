# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about whole trainings, of a network of one layer: whatever comes between, what was learned is kept."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from engine.errors import Cancelled, OptionError, TrainingError
from engine.training.checkpoint import load_checkpoint
from engine.training.ema import Ema
from engine.training.guard import Guard, GuardSettings
from engine.training.run_folder import RunPlan, read_record
from engine.training.schedule import learning_rate
from engine.training.sitting import Limits, Sitting

ROOT = Path(__file__).resolve().parents[2]
TRUTH = torch.tensor([[1.0, -2.0, 3.0]])


def batches(seed):
    """Examples of a linear map, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(4, 3, generator=generator)
        yield x, x @ TRUTH.T


def train(
    run, steps=60, resume=False, make=batches, spoil=lambda step: 1.0, each=lambda step: None, preset="tiny", every=60.0
):
    """Trains for so many steps more; `spoil(step)` multiplies the loss, `each(step)` is called after each step."""
    limits = Limits(minutes=60, batch=4, clip=20, save_every=every)
    with Sitting(run, RunPlan("test", preset, {"batch": 4}), resume, limits, "cpu", "engine train test") as sitting:
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 1, bias=False)
        ema, optimizer = Ema(network, 0.9), torch.optim.SGD(network.parameters(), 0.05)
        sitting.guard = Guard(GuardSettings(skips=3, patience=10, window=20, recoveries=2))
        sitting.begin(network, ema, optimizer)
        for _ in range(steps):
            if not sitting.goes_on():
                break
            batch = sitting.batch("all", make)
            if batch is None:
                break
            rate = sitting.set_rate(learning_rate(sitting.fraction, 1000, 0.05))
            loss = (network(batch[0]) - batch[1]).square().mean() * spoil(sitting.step)
            sitting.take(loss, {"square": float(loss.detach())})
            if sitting.step % 10 == 0:
                sitting.report(stage="all", rate=rate)
            sitting.save_when_due()
            each(sitting.step)
        sitting.end()
    return network.weight.detach()


def saved(run):
    return load_checkpoint(run / "checkpoint.pt")[0]


def lines(run):
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


def test_a_training_learns_reports_and_goes_on_where_it_ended(tmp_path):
    train(tmp_path, 60)
    assert saved(tmp_path)["step"] == 60
    weight = train(tmp_path, 40, resume=True)
    state = saved(tmp_path)
    assert state["step"] == 100
    assert state["examples"] == 400
    assert torch.allclose(weight, TRUTH, atol=0.05)
    assert torch.allclose(state["ema"]["weight"], TRUTH, atol=0.2)
    line = lines(tmp_path)[-1]
    assert (line["step"], line["examples"], line["stage"], line["skipped"]) == (100, 400, "all", 0.0)
    assert 0 < line["grad_norm"] < 1
    assert 0 < line["seconds_per_step"] < 1
    assert line["rate"] == pytest.approx(0.05, rel=0.01)
    record = read_record(tmp_path)
    assert record is not None
    assert len(record["sittings"]) == 2
    assert state["run"] == record["run"]


def test_going_on_is_the_same_training(tmp_path):
    """A step after resuming moves the weights from where they were saved."""
    train(tmp_path, 30)
    weight = saved(tmp_path)["network"]["weight"]
    moved = train(tmp_path, 1, resume=True)
    assert 0 < (moved - weight).norm() < 0.1
    assert (weight - TRUTH).norm() < 1  # far from where it began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["start", "batch", "step"])
def test_asked_to_stop_at_any_stage_it_saves_and_says_how_to_go_on(tmp_path, capsys, number, at):
    def ask():
        os.kill(os.getpid(), number)

    def make(seed):
        if at == "start":
            ask()
        for count, batch in enumerate(batches(seed)):
            if at == "batch" and count == 7:
                ask()
            yield batch

    with pytest.raises(Cancelled):
        train(tmp_path, make=make, each=lambda step: ask() if at == "step" and step == 7 else None)
    assert saved(tmp_path)["step"] == (0 if at == "start" else 7)
    assert f"To go on: engine train test --resume {tmp_path}" in capsys.readouterr().err
    train(tmp_path, 3, resume=True)
    assert saved(tmp_path)["step"] == (3 if at == "start" else 10)


def test_a_loss_that_is_no_number_costs_one_step_and_is_counted(tmp_path):
    weight = train(tmp_path, 100, spoil=lambda step: math.nan if step in (20, 50) else 1.0)
    assert torch.allclose(weight, TRUTH, atol=0.05)
    assert [line["skipped"] for line in lines(tmp_path)] == [0, 0, 0.1, 0, 0, 0.1, 0, 0, 0, 0]
    assert all(math.isfinite(line["loss"]) for line in lines(tmp_path))


@pytest.mark.slow
def test_bad_stretches_go_back_to_the_last_checkpoint_with_a_lower_rate_and_other_data(tmp_path, capsys):
    seeds, bad = [], itertools.count()

    def make(seed):
        seeds.append(seed)
        return batches(seed)

    weight = train(
        tmp_path, 120, make=make, spoil=lambda step: math.nan if step >= 40 and next(bad) < 3 else 1.0, every=0
    )
    assert torch.allclose(weight, TRUTH, atol=0.05)
    assert len(set(seeds)) == 2
    event = next(line for line in lines(tmp_path) if "event" in line)
    assert "3 losses or gradients in a row were not finite" in event["event"]
    assert (event["step"], event["back_to"], event["recoveries"]) == (43, 40, 1)
    assert lines(tmp_path)[-1]["rate"] == pytest.approx(0.025, rel=0.01)
    assert "Went back to the last checkpoint" in capsys.readouterr().err
    train(tmp_path, 10, resume=True)
    assert lines(tmp_path)[-1]["rate"] == pytest.approx(0.025, rel=0.01)  # kept over sittings


def test_a_training_that_cannot_be_saved_from_divergence_ends_with_a_good_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"diverges: .*also after going back 2 times"):
        train(tmp_path, 500, spoil=lambda step: 1e4 if step >= 20 else 1.0, every=0)
    state = saved(tmp_path)
    assert state["step"] == 20
    assert (state["network"]["weight"] - TRUTH).norm() < 1


def test_a_disk_full_for_a_while_costs_nothing(tmp_path, capsys):
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def each(step):
        if step == 20:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        if step == 40:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert saved(tmp_path)["step"] == 20

    try:
        train(tmp_path, 60, each=each, every=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert saved(tmp_path)["step"] == 60
    told = capsys.readouterr().err
    assert told.count("The training goes on and tries again") == 1
    assert "is written again" in told
    assert lines(tmp_path)[-1]["step"] == 60


def test_the_best_figures_keep_their_weights_and_cost_no_minutes(tmp_path):
    figures = iter([{"psnr": 15.0}, {"psnr": 17.0}, {"psnr": 16.0}])

    def measured():
        time.sleep(0.3)
        return next(figures)

    limits = Limits(minutes=60, batch=4, figures_every=0)
    begin = time.monotonic()
    with Sitting(tmp_path, RunPlan("test", "tiny", {}), False, limits) as sitting:
        network = torch.nn.Linear(3, 1)
        sitting.begin(network, Ema(network, 0.9), torch.optim.SGD(network.parameters(), 0.05))
        for _ in range(3):
            batch = sitting.batch("all", batches)
            assert batch is not None
            sitting.take((network(batch[0]) - batch[1]).square().mean(), {})
            sitting.figures_when_due(measured, "psnr")
        assert sitting.state()["seconds"] <= time.monotonic() - begin - 3 * 0.3
    best, _ = load_checkpoint(tmp_path / "best.pt")
    assert (best["step"], best["figures"]) == (2, {"psnr": 17.0})
    assert [line["figures"]["psnr"] for line in lines(tmp_path)] == [15.0, 17.0, 16.0]


def test_another_preset_is_refused_and_the_folder_is_free_afterwards(tmp_path):
    train(tmp_path, 3)
    with pytest.raises(OptionError, match="is a run of preset 'tiny', not 'large'"):
        train(tmp_path, 3, resume=True, preset="large")
    train(tmp_path, 3, resume=True)


def test_a_checkpoint_of_another_network_is_one_sentence(tmp_path):
    train(tmp_path, 3)
    with Sitting(tmp_path, RunPlan("test", "tiny", {}), True, Limits(minutes=60, batch=4)) as sitting:
        network = torch.nn.Linear(4, 1, bias=False)
        ema, optimizer = Ema(network, 0.9), torch.optim.SGD(network.parameters(), 0.05)
        with pytest.raises(OptionError, match=r"is of another network: .*\[1, 3\].*\[1, 4\]"):
            sitting.begin(network, ema, optimizer)


def test_another_optimiser_begins_anew_with_the_weights_of_the_run(tmp_path, capsys):
    weight = train(tmp_path, 30)
    with Sitting(tmp_path, RunPlan("test", "tiny", {}), True, Limits(minutes=60, batch=4)) as sitting:
        network = torch.nn.Linear(3, 1, bias=False)
        groups = [{"params": [network.weight]}, {"params": [torch.nn.Parameter(torch.zeros(1))]}]
        sitting.begin(network, Ema(network, 0.9), torch.optim.AdamW(groups, 0.05))
        assert torch.equal(network.weight, weight)
        assert sitting.step == 30
    assert "another optimiser" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_in_the_midst_of_training_and_saving_it_goes_on(tmp_path, capsys):
    """The process saves after every step: when it is killed, it is most likely saving."""
    code = "import sys; from tests.training.test_sitting import train; train(sys.argv[1], 10**9, True, every=0)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not ((tmp_path / "stats.jsonl").exists() and len(lines(tmp_path)) >= 2):
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = saved(tmp_path)["step"]
    assert before >= 15
    train(tmp_path, 5, resume=True)
    assert saved(tmp_path)["step"] == before + 5
    assert f"process {process.pid} on" in capsys.readouterr().err
    record = read_record(tmp_path)
    assert record is not None
    assert len(record["sittings"]) == 2

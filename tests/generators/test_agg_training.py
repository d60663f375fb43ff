# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the command `engine train agg`: stages, going on, being stopped, several processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.errors import OptionError
from engine.generators.agg.config import PRESETS
from engine.generators.agg.network import AggNetwork
from engine.generators.agg.train import TrainSettings, check_stage, main, train, wanted
from engine.training.checkpoint import load_checkpoint, save_checkpoint
from engine.training.schedule import TimeBudget
from tests.generators.tiny_agg import ROOT, TINY, second_by_second

SCRIPT = ROOT / "tests/generators/tiny_agg.py"


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setitem(PRESETS, "tiny4", replace(TINY, superres=4))
    monkeypatch.setattr(TimeBudget, "elapsed", second_by_second)


def arguments(pack_index, run, *more) -> list[str]:
    return ["--data", str(pack_index), "--run", str(run), "--preset", "tiny", "--workers", "0", "--threads", "1",
            "--batch", "2", *map(str, more)]  # fmt: skip


def saved(run: Path) -> dict:
    return load_checkpoint(run / "checkpoint.pt")[0]


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


SETTINGS = TrainSettings(preset="tiny", batch=2, workers=0, threads=1, report_every=1)


@pytest.mark.slow
def test_training_goes_through_its_stages_stops_and_continues(tiny, pack_index, tmp_path):
    settings = replace(SETTINGS, preset="tiny4", minutes=0.8, shares=(0.2, 0.4, 0.6, 0.8))
    checkpoint = train([pack_index], tmp_path, settings, resume=False)
    stages = [line["stage"] for line in lines(tmp_path)]
    assert list(dict.fromkeys(stages)) == ["layers", "warmup", "coarse", "sr", "joint"]
    assert all(line["loss"] is not None and line["skipped"] == 0 for line in lines(tmp_path))
    first = load_checkpoint(checkpoint)[0]
    assert first["seconds"] >= 0.8 * 60

    train([pack_index], tmp_path, replace(settings, minutes=0.9), resume=True)
    second = saved(tmp_path)
    assert second["step"] > first["step"]
    assert 0.9 * 60 <= second["seconds"] < 0.9 * 60 + 5
    assert {line["stage"] for line in lines(tmp_path)[len(stages) :]} == {"joint"}


@pytest.mark.slow
def test_figures_are_taken_now_and_then_and_the_best_weights_kept(tiny, pack_index, tmp_path):
    settings = replace(SETTINGS, minutes=0.2, dev=str(pack_index), dev_every=0.0)
    train([pack_index], tmp_path, settings, resume=False)
    figures = [line["figures"] for line in lines(tmp_path) if "figures" in line]
    assert len(figures) >= 2
    assert {"f_0.1", "psnr", "psnr_input"} <= set(figures[0])
    best = load_checkpoint(tmp_path / "best.pt")[0]
    assert best["figures"]["f_0.1"] == max(line["f_0.1"] for line in figures)
    assert set(best["ema"]) == set(saved(tmp_path)["ema"])


@pytest.mark.slow
def test_one_stage_alone_trains_from_what_the_run_holds(tiny, pack_index, tmp_path):
    settings = replace(SETTINGS, preset="tiny4", minutes=0.2, stage="coarse")
    train([pack_index], tmp_path, settings, resume=False)
    assert {line["stage"] for line in lines(tmp_path)} == {"coarse"}
    before = saved(tmp_path)["network"]
    train([pack_index], tmp_path, replace(settings, minutes=0.4, stage="sr"), resume=True)
    assert {line["stage"] for line in lines(tmp_path)} == {"coarse", "sr"}
    after = saved(tmp_path)["network"]
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"superres"}


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_settings_elsewhere_too(tiny, pack_index, tmp_path, capsys):
    assert main(arguments(pack_index, tmp_path / "a", "--minutes", 0.1, "--rate", 3e-4)) == 0
    (tmp_path / "a").rename(tmp_path / "b")
    assert main(["--resume", str(tmp_path / "b"), "--minutes", "0.2"]) == 0
    state = saved(tmp_path / "b")
    assert state["settings"]["peak_rate"] == 3e-4
    assert state["settings"]["batch"] == 2
    assert state["seconds"] >= 0.2 * 60
    record = json.loads((tmp_path / "b/run.json").read_text())
    assert len(record["sittings"]) == 2
    assert record["run"] == state["run"]
    assert "Continuing" in capsys.readouterr().err


def test_what_cannot_be_continued_is_one_sentence(tiny, pack_index, tmp_path, capsys):
    assert main(["--resume", str(tmp_path / "none")]) == 2
    assert "none holds no run to continue" in capsys.readouterr().err
    assert main(["--run", str(tmp_path / "new")]) == 2
    assert "Give --data PACK.csv" in capsys.readouterr().err
    save_checkpoint(tmp_path / "old/checkpoint.pt", {"preset": "xs", "step": 1, "settings": {}})
    assert main(arguments(pack_index, tmp_path / "old")) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(arguments(pack_index, tmp_path / "old", "--resume")) == 2
    assert "is a run of preset 'xs', not 'tiny'" in capsys.readouterr().err
    assert main(arguments(tmp_path / "none.csv", tmp_path / "new")) == 2
    assert "Could not read the pack" in capsys.readouterr().err
    assert main(arguments(pack_index, tmp_path / "new", "--stage", "sr")) == 2
    assert "no super-resolution to train" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_of_before_run_folders_goes_on(tiny, pack_index, tmp_path):
    """Checkpoints used to hold no id, no count of examples and nothing about recoveries."""
    settings = replace(SETTINGS, minutes=1.0)
    network = AggNetwork(TINY)
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.98), weight_decay=0.02)
    state = {
        "preset": "tiny", "settings": {"preset": "tiny", "batch": 2, "workers": 0}, "step": 500, "seconds": 90.0,
        "network": network.state_dict(), "ema": network.state_dict(), "optimizer": optimizer.state_dict(),
    }  # fmt: skip
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    call = wanted({"resume": tmp_path, "data": [str(pack_index)], "minutes": 1.0})
    assert (call["settings"].preset, call["settings"].workers) == ("tiny", 0)
    train([pack_index], tmp_path, settings, resume=True)  # its minutes are over: it is saved and ends
    assert (saved(tmp_path)["step"], saved(tmp_path)["examples"]) == (500, 1000)


def test_resume_without_a_name_begins_where_there_is_nothing(tmp_path, pack_index):
    call = wanted({"resume": None, "run": tmp_path / "new", "data": [str(pack_index)], "stage": "warmup"})
    assert call["resume"]
    assert call["settings"] == TrainSettings(stage="warmup")


def test_a_stage_that_is_none_is_refused():
    with pytest.raises(OptionError, match="Choose one of layers, warmup"):
        check_stage("fine", TINY)


# ---- as a program ---------------------------------------------------------------------------------------------------


@pytest.fixture
def program():
    """Starts Python with some words, in a process group of its own, killed at the end where it has not ended."""
    begun: list[subprocess.Popen] = []

    def start(*words: object) -> subprocess.Popen:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        begun.append(
            subprocess.Popen(
                [sys.executable, *map(str, words)],
                cwd=ROOT,
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(pack_index, tmp_path, program):
    """With a process that draws examples, which the same key reaches."""
    words = arguments(pack_index, tmp_path, "--minutes", 1e6, "--workers", 1, "--stage", "layers")
    process = program(SCRIPT, "train", "agg", *words)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()
    while not (tmp_path / "stats.jsonl").exists():
        assert process.poll() is None, "".join(said)
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    reader.join(10)
    assert f"--resume {tmp_path}" in "".join(said)
    assert "Traceback" not in "".join(said)
    assert saved(tmp_path)["step"] >= 25


@pytest.mark.slow
def test_two_processes_train_one_run(pack_index, tmp_path, program):
    words = arguments(pack_index, tmp_path, "--minutes", 0.5, "--shares", 0.3, 0.5, 0.9, 0.95)
    process = program(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--", SCRIPT, "train", "agg", *words
    )
    said = process.communicate(timeout=280)[1]
    assert process.returncode == 0, said
    state = saved(tmp_path)
    assert state["examples"] == 2 * 2 * state["step"] > 0
    assert all(torch.isfinite(value).all() for value in state["network"].values())
    assert json.loads((tmp_path / "run.json").read_text())["sittings"][0]["processes"] == 2

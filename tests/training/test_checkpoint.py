# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about checkpoints: whatever interrupts the writing of one, the last good one can be read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.errors import InputError, OutputError
from engine.training.checkpoint import RETRY, Saver, has_checkpoint, load_checkpoint, previous_of, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def step_of(path: Path) -> int:
    return load_checkpoint(path)[0]["step"]


@pytest.fixture
def saved(tmp_path) -> Path:
    """A checkpoint of step 2; the one before is of step 1."""
    path = tmp_path / "checkpoint.pt"
    for step in (1, 2):
        save_checkpoint(path, {"step": step, "weights": torch.full((1000,), float(step))})
    return path


@pytest.mark.parametrize("damage", ["truncated", "empty", "a flipped bit", "another file"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(saved, damage):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 16
    broken = {"truncated": content[:700], "empty": b"", "a flipped bit": content, "another file": b"PNG" * 99}
    saved.write_bytes(broken[damage])
    state, note = load_checkpoint(saved)
    assert state["step"] == 1
    assert (state["weights"] == 1).all()
    assert note == "checkpoint.pt could not be read; continued from checkpoint.pt.previous."


def test_where_none_can_be_read_both_are_named(saved):
    saved.write_bytes(b"")
    previous_of(saved).unlink()
    with pytest.raises(InputError, match=r"checkpoint\.pt: .*checkpoint\.pt\.previous: "):
        load_checkpoint(saved)


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from engine.training.checkpoint import load_checkpoint, save_checkpoint

def state(step):
    return {"step": step, "weights": torch.full((200_000,), float(step))}

torch.set_num_threads(1)
for point in range(5):  # while the file is written, once it is, before and between the renames, after them
    path = Path(sys.argv[1]) / str(point) / "checkpoint.pt"
    save_checkpoint(path, state(1))
    save_checkpoint(path, state(2))
    child = os.fork()
    if child == 0:
        calls = iter(range(5))
        def killed(function):
            def wrapped(*arguments, **named):
                if next(calls) == point: os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **named)
            return wrapped
        if point == 0:
            torch.save = lambda content, file: (file.write(b"half"), file.flush(), killed(print)(end=""))
        else:
            next(calls)
        os.fsync, os.replace = killed(os.fsync), killed(os.replace)
        try:
            save_checkpoint(path, state(3))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    found, _ = load_checkpoint(path)
    assert (found["weights"] == found["step"]).all()
    save_checkpoint(path, state(4))
    print(found["step"], load_checkpoint(path)[0]["step"], *sorted(file.name for file in path.parent.iterdir()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be killed")
def test_killed_at_any_point_of_a_save_leaves_a_good_checkpoint(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    files = "checkpoint.pt checkpoint.pt.previous"
    assert done.stdout.splitlines() == [f"2 4 {files}"] * 4 + [f"3 4 {files}"]


@pytest.fixture
def small_files():
    """Lets this process write files of a given size only, as a full disk would, until the test ends."""
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)


def test_a_full_disk_leaves_both_checkpoints_and_no_part_file(saved, small_files):
    small_files(100_000)
    with pytest.raises(OutputError, match=r"Could not write .*checkpoint\.pt: File too large.*Free some space"):
        save_checkpoint(saved, {"step": 3, "weights": torch.zeros(1_000_000)})
    small_files(None)
    assert step_of(saved) == 2
    assert step_of(previous_of(saved)) == 1
    assert sorted(path.name for path in saved.parent.iterdir()) == ["checkpoint.pt", "checkpoint.pt.previous"]


def test_a_training_goes_on_when_the_disk_is_full_and_saves_once_it_is_not(saved, small_files):
    told = []
    saver = Saver(saved, every=0.0, warn=told.append)
    state = {"step": 3, "weights": torch.zeros(1_000_000)}
    small_files(100_000)
    assert not saver.save(state)
    assert not saver.save(state)
    assert len(told) == 1
    assert "The training goes on" in told[0]
    small_files(None)
    assert saver.save(state)
    assert "written again" in told[1]
    assert step_of(saved) == 3


def test_a_failed_save_is_due_again_within_the_minute(saved, monkeypatch, small_files):
    now = [0.0]
    monkeypatch.setattr("engine.training.checkpoint.time.monotonic", lambda: now[0])
    saver = Saver(saved, every=600.0, warn=lambda sentence: None)
    assert not saver.due()
    now[0] = 600.0
    assert saver.due()
    small_files(10)
    saver.save({"step": 3})
    assert not saver.due()
    now[0] += RETRY
    assert saver.due()
    small_files(None)
    saver.save({"step": 3})
    now[0] += RETRY
    assert not saver.due()


def test_the_last_save_waits_for_space(saved, monkeypatch, small_files):
    small_files(10)
    monkeypatch.setattr("engine.training.checkpoint.time.sleep", lambda seconds: small_files(None))
    Saver(saved, 60, warn=lambda sentence: None).save_last({"step": 3})
    assert step_of(saved) == 3


def test_the_last_save_gives_up_with_a_sentence(saved, small_files):
    small_files(10)
    with pytest.raises(OutputError, match="continue from the last good checkpoint"):
        Saver(saved, 60, warn=lambda sentence: None).save_last({"step": 3}, patience=0.02, pause=0.01)
    small_files(None)  # before the outcome is reported, which may go to a file
    assert step_of(saved) == 2


def test_between_the_renames_there_still_is_a_checkpoint(saved):
    saved.unlink()
    assert has_checkpoint(saved)
    assert step_of(saved) == 1

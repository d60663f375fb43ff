# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about run folders: one training at a time, one id everywhere, nothing taken for what it is not."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import InputError, OptionError, OutputError
from engine.training.checkpoint import save_checkpoint
from engine.training.lock import FolderLock
from engine.training.run_folder import RunPlan, attempt, open_run, read_record, remembered

ROOT = Path(__file__).resolve().parents[2]
PLAN = RunPlan("agg", "xs", {"batch": 8, "shares": (0.3, 0.4)}, fixed={"superres": 4, "unet": (48, 96)})

HOLD = """
import sys, time
from engine.training.lock import FolderLock
lock = FolderLock(sys.argv[1])
print(lock.acquire() or "held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


# ---- one training at a time -----------------------------------------------------------------------------------------


def test_two_trainings_in_one_folder_are_refused_by_name_and_a_killed_one_is_not(holder, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(OptionError) as refused:
        open_run(folder, PLAN, resume=True)
    assert f"is being trained already by process {holder.pid} on {os.uname().nodename} since 20" in str(refused.value)
    assert not (folder / "run.json").exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with open_run(folder, PLAN, resume=True) as run:
        assert run.notes == [note for note in run.notes if f"process {holder.pid} on" in note and "ended" in note]
        assert len(run.notes) == 1


def test_a_released_folder_is_free_and_nobody_is_named(tmp_path):
    with FolderLock(tmp_path), pytest.raises(OptionError):
        FolderLock(tmp_path).acquire()
    assert FolderLock(tmp_path).acquire() == ""


def test_a_lock_copied_from_another_machine_does_not_hold(tmp_path):
    (tmp_path / "run.lock").write_text('{"pid": 1, "host": "elsewhere", "since": "2026-01-01 00:00:00"}')
    assert "process 1 on elsewhere since 2026-01-01" in FolderLock(tmp_path).acquire()


@pytest.mark.parametrize(("host", "pid", "free"), [("here", 1 << 30, True), ("here", 0, False), ("far", 1, False)])
def test_on_a_file_system_without_locks_the_name_decides(tmp_path, monkeypatch, host, pid, free):
    def unknown(*_):
        raise OSError("no locks available")

    monkeypatch.setattr("engine.training.lock._lock", unknown)
    name = {"here": os.uname().nodename, "far": "elsewhere"}[host]
    (tmp_path / "run.lock").write_text(json.dumps({"pid": pid or os.getpid(), "host": name, "since": "now"}))
    if free:
        FolderLock(tmp_path).acquire()
    else:
        with pytest.raises(OptionError, match=f"on {name}"):
            FolderLock(tmp_path).acquire()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"Could not write .*run\.lock"):
        open_run(tmp_path / "file" / "run", PLAN, resume=False)


# ---- one id ---------------------------------------------------------------------------------------------------------


def test_the_same_run_goes_on_in_a_copy_of_its_folder(tmp_path):
    with open_run(tmp_path / "a", PLAN, resume=False) as run:
        save_checkpoint(run.checkpoint, {"preset": "xs", "step": 7})
        shutil.copytree(tmp_path / "a", tmp_path / "b")  # lock and all, while it is being trained
        with open_run(tmp_path / "b", replace(PLAN, settings={"batch": 16}), resume=True) as copy:
            assert copy.id == run.id
            state = copy.load()
    assert state is not None
    assert state["step"] == 7
    record = read_record(tmp_path / "b")
    assert record is not None
    assert [sitting["settings"]["batch"] for sitting in record["sittings"]] == [8, 16]
    assert {"engine", "source", "python", "torch", "numpy"} <= set(record["sittings"][0]["versions"])


def test_runs_have_ids_of_their_own(tmp_path):
    ids = {open_run(tmp_path / name, PLAN, resume=False).id for name in "abc"}
    assert len(ids) == 3
    assert all(id.startswith("agg-xs-") for id in ids)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (replace(PLAN, preset="s"), "is a run of preset 'xs', not 's'"),
        (replace(PLAN, system="lgm"), "is a run of system 'agg', not 'lgm'"),
        (replace(PLAN, fixed={"superres": 2}), "is a run of superres 4, not 2"),
    ],
)
def test_another_preset_system_or_architecture_is_refused_and_changes_nothing(tmp_path, other, sentence):
    with open_run(tmp_path, PLAN, resume=False) as run:
        save_checkpoint(run.checkpoint, {"preset": "xs"})
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(OptionError, match=sentence):
        open_run(tmp_path, other, resume=True)
    assert (tmp_path / "run.json").read_bytes() == before
    open_run(tmp_path, PLAN, resume=True)  # the refused one let go of the folder


def test_a_run_is_never_begun_anew_by_accident(tmp_path):
    with open_run(tmp_path, PLAN, resume=False) as run:
        save_checkpoint(run.checkpoint, {"preset": "xs"})
    with pytest.raises(OptionError, match="already holds a run"):
        open_run(tmp_path, PLAN, resume=False)


def test_a_run_that_never_saved_may_begin_again_as_another(tmp_path):
    open_run(tmp_path, PLAN, resume=False).close()
    with open_run(tmp_path, replace(PLAN, preset="s"), resume=False) as run:
        assert run.id.startswith("agg-s-")
        assert run.load() is None


def test_runs_of_before_the_record_go_on_and_keep_their_preset(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", {"preset": "xs", "settings": {"batch": 4}, "step": 3})
    assert remembered(tmp_path) == {"preset": "xs", "batch": 4}
    with pytest.raises(OptionError, match="preset 'xs', not 's'"):
        open_run(tmp_path, replace(PLAN, preset="s"), resume=True)
    with open_run(tmp_path, PLAN, resume=True) as run:
        assert (run.load() or {})["step"] == 3


def test_a_damaged_record_does_not_cost_the_run(tmp_path):
    with open_run(tmp_path, PLAN, resume=False) as run:
        save_checkpoint(run.checkpoint, {"preset": "xs", "run": run.id})
    (tmp_path / "run.json").write_text('{"format": 1, "ru')
    assert open_run(tmp_path, PLAN, resume=True).id == run.id


def test_a_damaged_checkpoint_is_kept_aside_and_the_one_before_used(tmp_path):
    with open_run(tmp_path, PLAN, resume=False) as run:
        for step in (1, 2):
            save_checkpoint(run.checkpoint, {"preset": "xs", "step": step})
        run.checkpoint.write_bytes(b"half")
        assert (run.load() or {})["step"] == 1
        assert run.notes == ["checkpoint.pt could not be read; continued from checkpoint.pt.previous."]
        save_checkpoint(run.checkpoint, {"preset": "xs", "step": 3})
        run.checkpoint.write_bytes(b"half")
        assert (run.load() or {})["step"] == 1  # the damaged one did not push it out
    assert (tmp_path / "checkpoint.pt.broken").read_bytes() == b"half"


def test_remembered_settings_name_the_data_and_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(OptionError, match="holds no run"):
        remembered(tmp_path)
    (tmp_path / "shapes.csv").write_text("shard,row\n")
    open_run(tmp_path / "run", replace(PLAN, data=[(tmp_path / "shapes.csv", 0.5)]), resume=False).close()
    assert remembered(tmp_path / "run") == {
        "batch": 8, "shares": [0.3, 0.4], "preset": "xs", "data": [f"{tmp_path}/shapes.csv:0.5"],
    }  # fmt: skip


# ---- data -----------------------------------------------------------------------------------------------------------


def test_data_is_hashed_with_its_shards_and_a_change_is_told(tmp_path):
    (tmp_path / "index.csv").write_text("shard,row\nboxes.npz,0\nboxes.npz,1\n")
    (tmp_path / "boxes.npz").write_bytes(b"boxes")
    plan = replace(PLAN, data=[(tmp_path / "index.csv", 1.0)])
    with open_run(tmp_path / "run", plan, resume=False) as run:
        hashes = run.record["sittings"][0]["data"][0]["sha256"]
    assert set(hashes) == {"index.csv", "boxes.npz"}
    assert hashes["boxes.npz"] == hashlib.sha256(b"boxes").hexdigest()
    with open_run(tmp_path / "run", plan, resume=True) as run:
        assert run.notes == []
    (tmp_path / "boxes.npz").write_bytes(b"other boxes")
    with open_run(tmp_path / "run", plan, resume=True) as run:
        assert "The data is not that of the sitting before" in run.notes[0]


def test_data_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"Could not read the pack .*none\.csv.*--data"):
        open_run(tmp_path / "run", replace(PLAN, data=[(tmp_path / "none.csv", 1.0)]), resume=False)


def test_what_a_training_can_go_without_is_only_warned_of(tmp_path):
    told = []
    attempt(lambda: (tmp_path / "none" / "grid.png").write_bytes(b""), told.append)
    assert len(told) == 1
    assert told[0].endswith("The training goes on.")

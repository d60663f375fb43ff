# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers carry out orders side by side; one that dies, hangs or cannot start fails its own order only."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from addon.headless.workers import Here, WorkError, Workers

from .conftest import gone

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys, time
sys.path.insert(0, {root!r})
from addon.headless.workers import WorkError, serve

def carry_out(order):
    print("Blender has something to say on stdout", flush=True)
    name = order["name"]
    if name == "die": os._exit(9)
    if name == "hang": time.sleep(600)
    if name == "slow": time.sleep(0.5)
    if name == "refuse": raise WorkError("No.")
    if name == "bug": raise KeyError("oops")
    return [name + ".obj", str(os.getpid())]

print("and before that", flush=True)
serve(carry_out)
"""


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """Makes workers; none is left behind."""
    monkeypatch.setattr("addon.headless.workers.START_SECONDS", 20.0)
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT.format(root=str(ROOT)))
    made: list[Workers] = []

    def make(count: int = 2, seconds: float = 20.0, command=(sys.executable, str(script))) -> Workers:
        made.append(Workers(command, count, seconds, tmp_path / "logs"))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def carry_out(workers: Workers, *names: str) -> dict[str, tuple[list[str], str]]:
    """What became of orders, by name."""
    for name in names:
        workers.submit(name, {"name": name})
    found = {}
    end = time.monotonic() + 60
    while workers.busy:
        assert time.monotonic() < end
        found |= {outcome.token: (outcome.files, outcome.problem) for outcome in workers.poll()}
        time.sleep(0.01)
    return found


def test_orders_are_carried_out_side_by_side_whatever_blender_prints(workers):
    found = carry_out(workers(2), "slow", "a", "b", "c")
    assert [found[name][0][0] for name in ("slow", "a", "b", "c")] == ["slow.obj", "a.obj", "b.obj", "c.obj"]
    pids = {name: files[1] for name, (files, _) in found.items()}
    assert len(set(pids.values())) == 2
    assert pids["a"] == pids["b"] == pids["c"] != pids["slow"]


def test_no_more_workers_than_orders_are_started(workers):
    several = workers(8)
    carry_out(several, "a")
    assert len(several._workers) == 1


def test_a_refusal_and_a_bug_are_told_and_the_worker_goes_on(workers, tmp_path):
    found = carry_out(workers(1), "refuse", "bug", "a")
    assert found["refuse"] == ([], "No.")
    assert found["bug"] == ([], "Blender could not write it: KeyError: 'oops'")
    assert found["a"][0][0] == "a.obj"
    assert "KeyError" in (tmp_path / "logs" / "worker-1.log").read_text()


def test_a_worker_that_dies_fails_its_order_and_another_takes_its_place(workers):
    found = carry_out(workers(1), "a", "die", "b")
    assert "ended unexpectedly" in found["die"][1]
    assert found["a"][0][1] != found["b"][0][1]


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended(workers, monkeypatch):
    several = workers(1, seconds=1.0)
    carry_out(several, "a")
    pid = several._workers[0]._process.pid
    assert "took more than 1 s" in carry_out(several, "hang", "b")["hang"][1]
    assert gone(pid)


def test_a_program_that_is_not_there_fails_all_orders(workers):
    found = carry_out(workers(1, command=("/nowhere/blender",)), "a", "b")
    assert {problem for _, problem in found.values()} == {"Blender does not start: No such file or directory."}


def test_too_many_orders_are_told(workers):
    several = workers(1)
    for name in ("slow", "a", "b"):
        several.submit(name, {"name": name})
    assert several.crowded


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_workers_end_with_their_batch_also_when_that_one_is_killed(workers, tmp_path):
    several = workers(1)
    child = os.fork()
    if not child:
        several.submit("hang", {"name": "hang"})
        time.sleep(0.3)
        (tmp_path / "pid").write_text(str(several._workers[0]._process.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert gone(int((tmp_path / "pid").read_text()))


def test_here_the_same_is_done_at_once():
    def work(order):
        if order["name"] == "refuse":
            raise WorkError("No.")
        return [order["name"]]

    here = Here(work)
    assert carry_out(here, "a", "refuse") == {"a": (["a"], ""), "refuse": ([], "No.")}  # type: ignore[arg-type]
    assert not here.busy

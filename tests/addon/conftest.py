# SPDX-License-Identifier: GPL-3.0-or-later
"""A job queue on the fake engine; no engine is left behind by any test."""

import sys
import time
from pathlib import Path

import pytest

from addon.client import EngineProcess
from addon.jobs import JobQueue

FAKE = Path(__file__).parents[1] / "fakes" / "fake_engine.py"


def fake_command() -> list[str]:
    return [sys.executable, "-I", "-X", "utf8", "-u", str(FAKE), "serve"]


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie, all its threads counted: they hold its pipes. POSIX with /proc."""
    try:
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        return any(state not in "ZX" for state in states)
    except OSError:
        return False


def gone(pid: int, seconds: float = 30) -> bool:
    """Whether a process ends within some seconds."""
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


@pytest.fixture
def engines(tmp_path, monkeypatch):
    """Starts fake engines; a list of all of them."""
    monkeypatch.delenv("GAUSSMITH_FAKE", raising=False)
    started: list[EngineProcess] = []

    def start() -> EngineProcess:
        started.append(EngineProcess(fake_command(), tmp_path / "logs"))
        return started[-1]

    start.all = started
    yield start
    for engine in started:
        engine.stop()
        assert not alive(engine.pid)


@pytest.fixture
def jobs(engines) -> JobQueue:
    return JobQueue(engines)

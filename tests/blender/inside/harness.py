# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the facts of a file inside Blender and writes what became of each. Used by `facts.py` and `window_facts.py`.

A fact is a function whose name begins with `fact_`; it fails by raising. In a window facts are generators: they yield
seconds to let Blender work, or a function to wait until it is true.
"""

import json
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from pathlib import Path

WAIT_SECONDS = 90


class Results:
    """The file that tells pytest: fact -> "" when it holds, else the traceback."""

    def __init__(self, path: Path) -> None:
        self._path, self._outcomes, self._last = path, {}, time.monotonic()

    def add(self, fact: str, problem: str = "") -> None:
        now = time.monotonic()
        print(f"{now - self._last:6.1f} s  {fact}  {problem and 'FAILED'}", flush=True)
        self._outcomes[fact], self._last = problem, now
        self._path.write_text(json.dumps(self._outcomes))


def run_all(facts: list[Callable[[], None]], results: Results, before_each: Callable[[], None]) -> None:
    """Runs plain facts one after another."""
    for fact in facts:
        try:
            before_each()
            fact()
            results.add(fact.__name__)
        except Exception:
            results.add(fact.__name__, traceback.format_exc())


class Stepper:
    """Runs generator facts from a timer: call `step` until it returns None; it returns seconds until the next call."""

    def __init__(
        self,
        facts: list[Callable[[], Generator]],
        results: Results,
        before_each: Callable[[], None],
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._pending, self._results, self._before = list(facts), results, before_each
        self._wait_seconds = wait_seconds
        self._running: Iterator | None = None
        self._name = ""
        self._condition: Callable[[], bool] | None = None
        self._deadline = 0.0

    def step(self) -> float | None:
        try:
            if self._running is None:
                if not self._pending:
                    return None
                fact = self._pending.pop(0)
                self._name, self._running = fact.__name__, chain(self._before(), fact())
            if self._condition is not None:
                if not self._condition():
                    assert time.monotonic() < self._deadline, f"waited {self._wait_seconds} s in vain"
                    return 0.05
                self._condition = None
            wanted = next(self._running)
        except StopIteration:
            self._end("")
            return 0.05
        except Exception:
            self._end(traceback.format_exc())
            return 0.05
        if callable(wanted):
            self._condition, self._deadline = wanted, time.monotonic() + self._wait_seconds
            return 0.05
        return wanted

    def _end(self, problem: str) -> None:
        self._results.add(self._name, problem)
        self._running = self._condition = None

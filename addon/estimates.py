# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a job will still take, learned from how long the stages of earlier jobs took. No bpy.

What was learned is kept in a small file, so that the first job of a day knows it too.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .files.whole_files import written_whole
from .wire import protocol

KEPT = 64
"""So many kinds of jobs are remembered, the latest used ones."""
NEWEST = 0.5
"""Weight of the newest job against those before it."""
ONCE = ("", "start")
"""Stages that only the first job of an engine has: its own start, and loading the network."""
WARM_SECONDS = 0.2
"""An engine that was warm passes them in less."""
LEAST_SECONDS, LEAST_FRACTION = 1.0, 0.05
"""A job of an unknown kind is judged by its own progress from here on."""
SLOWEST, FASTEST = 8.0, 0.25
"""A job is taken to be at most so much slower or faster than those before it."""

_WITHOUT_INFLUENCE = frozenset({"seed", "size"})

Stages = Sequence[tuple[str, float]]
"""Names of the stages a job has passed and the seconds each took, in order; the last one is still under way."""


class Estimates:
    """What is known about the time jobs take."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, dict[str, float]] = _read(file) if file is not None else {}

    def learn(self, request: protocol.Generate | protocol.MakeMesh, stages: Stages) -> None:
        """Takes over what the stages of a finished job took."""
        for key in _keys(request):
            before = self._known.pop(key, {})
            once = {name: before[name] for name in ONCE if name in before}
            self._known[key] = {**once, **{name: _merged(name, seconds, before) for name, seconds in stages}}
        for old in list(self._known)[:-KEPT]:
            del self._known[old]
        if self._file is not None:
            _write(self._file, self._known)

    def whole(self, request: protocol.Generate | protocol.MakeMesh) -> float | None:
        """Seconds a job will take in an engine that is warm, or None where no such job was done before."""
        expected = self._expected(request)
        return None if expected is None else sum(value for name, value in expected.items() if name not in ONCE)

    def remaining(
        self, request: protocol.Generate | protocol.MakeMesh, stages: Stages, fraction: float
    ) -> float | None:
        """Seconds a job will still take that has passed these stages, or None while there is no saying."""
        elapsed = sum(seconds for _, seconds in stages)
        expected = self._expected(request)
        current = stages[-1][0] if stages else ""
        if expected is None or (current not in expected and current not in ONCE):
            if elapsed < LEAST_SECONDS or fraction < LEAST_FRACTION:
                return None
            return elapsed * (1 - fraction) / fraction
        passed = [(name, seconds) for name, seconds in stages[:-1] if name in expected and name not in ONCE]
        usual = sum(expected[name] for name, _ in passed)
        factor = sum(seconds for _, seconds in passed) / usual if usual > 0 else 1.0
        factor = min(max(factor, FASTEST), SLOWEST)
        done = {name for name, _ in stages[:-1]}
        rest = sum(seconds for name, seconds in expected.items() if name not in ONCE and name not in (*done, current))
        under_way = stages[-1][1] if stages else 0.0
        return factor * rest + max(0.0, (1.0 if current in ONCE else factor) * expected.get(current, 0.0) - under_way)

    def _expected(self, request: protocol.Generate | protocol.MakeMesh) -> dict[str, float] | None:
        return next((self._known[key] for key in _keys(request) if key in self._known), None)


def _keys(request: protocol.Generate | protocol.MakeMesh) -> tuple[str, str]:
    """What jobs that take about as long have in common: exactly the same options, or else the same kind."""
    options = {name: value for name, value in request.options.items() if name not in _WITHOUT_INFLUENCE}
    generator = request.generator if isinstance(request, protocol.Generate) else ""
    kind = f"{request.kind} {generator}".strip()
    return f"{kind} {json.dumps(options, sort_keys=True)}", kind


def _merged(name: str, seconds: float, before: Mapping[str, float]) -> float:
    """What to expect of a stage after one more job."""
    if name not in before:
        return round(seconds, 4)
    if name in ONCE and seconds < WARM_SECONDS:
        return before[name]
    return round(NEWEST * seconds + (1 - NEWEST) * before[name], 4)


def _read(file: Path) -> dict[str, dict[str, float]]:
    """What a file holds; what is no estimate in it is left out."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    kept = {key: stages for key, stages in content.items() if _is_stages(stages)}
    return dict(list(kept.items())[-KEPT:])


def _is_stages(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e6
        for seconds in value.values()
    )


def _write(file: Path, known: dict[str, dict[str, float]]) -> None:
    """Replaces the file in one step. Where that fails, what was learned holds for this session only."""
    with suppress(OSError), written_whole(file, f".{os.getpid()}.{time.monotonic_ns()}") as part:
        part.write_text(json.dumps(known))

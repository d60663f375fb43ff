# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor: looks at the engine from within its own Python, in the background, and writes a report. No bpy.

The report is in English in every language: it is read by those who help.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .client import start_child

SECONDS = 1200
"""How long an examination may take: on a new, busy machine it compiles everything first."""
LOG_LINES = 40


@dataclass(frozen=True)
class Findings:
    """What the doctor found: lines of (what was looked at, what was found)."""

    works: bool
    lines: tuple[tuple[str, str], ...]


class Examination:
    """One run of the doctor. `findings` is None until it is over."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Starts it. Raises `EngineError` when the program cannot be started."""
        self.findings: Findings | None = None
        self._process = start_child(command, environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._thread = threading.Thread(target=self._wait, name="gaussmith-doctor", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> Findings:
        """Waits for the end."""
        self._thread.join()
        assert self.findings is not None
        return self.findings

    def stop(self) -> None:
        """Ends it, where it is not over."""
        self._kill()
        self._thread.join()

    def _wait(self) -> None:
        try:
            output, said = self._process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.communicate()
            self.findings = Findings(False, (("doctor", f"gave no answer for {SECONDS // 60} minutes"),))
            return
        self.findings = _findings(output, said, self._process.returncode)

    def _kill(self) -> None:
        if self._process.poll() is None:
            if os.name == "nt":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)


def doctor_command(python: Path, engine: Path) -> list[str]:
    """The command that examines the engine."""
    return [str(python), "-I", "-X", "utf8", str(engine), "doctor", "--json"]


def report(about: Sequence[tuple[str, str]], findings: Findings, log: Path | None) -> str:
    """All there is to know, as text to pass on: facts about Blender, the findings, the end of the newest log."""
    rows = [*about, *findings.lines]
    width = max(len(name) for name, _ in rows)
    text = "\n".join(f"{name:<{width}}  {found}" for name, found in rows)
    if log is None:
        return text
    try:
        tail = log.read_bytes()[-16384:].decode(errors="replace").splitlines()[-LOG_LINES:]
    except OSError as error:
        tail = [f"cannot be read: {error.strerror or error}"]
    return "\n".join([text, "", f"--- the end of {log.name}", *tail])


def newest_log(folder: Path) -> Path | None:
    """The log of the last engine that was started, where there is one."""
    return max(folder.glob("engine-*.log"), key=lambda log: log.name, default=None) if folder.is_dir() else None


def _findings(output: bytes, said: bytes, status: int) -> Findings:
    """What the last line of the output says; what went wrong where that is no answer."""
    lines = output.decode(errors="replace").strip().splitlines()
    try:
        content = json.loads(lines[-1])
        rows = tuple((str(name), str(text)) for name, text in content["lines"])
        return Findings(content["works"] is True, rows)
    except (IndexError, ValueError, KeyError, TypeError, RecursionError):
        errors = said.decode(errors="replace").strip().splitlines()
        return Findings(
            False,
            (
                ("doctor", f"ended with {status} and gave no answer"),
                *(("", line) for line in (errors or lines)[-12:]),
            ),
        )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints that survive being interrupted while written, and a disk that is full for a while."""

import os
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from engine.errors import InputError, OutputError
from engine.paths import part_of

RETRY = 60.0
"""Seconds until a checkpoint that could not be written is tried again."""


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers and strings; the one before is kept as `NAME.previous`.

    Complete under another name first: interrupted at any point, the last good checkpoint stays at `path` or
    `NAME.previous`. Raises `OutputError` where the folder cannot be written or the disk is full; both stay then.
    """
    path = Path(path)
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # or a machine that loses power might keep the name without the bytes
        if path.exists():
            os.replace(path, previous_of(path))
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch's archive writer raises a RuntimeError on top of the system's
        system = next((e for e in (error, error.__context__, error.__cause__) if isinstance(e, OSError)), None)
        reason = system.strerror if system and system.strerror else str(error).splitlines()[0]
        raise OutputError(f"Could not write {path}: {reason}.", "Free some space on the disk.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Any], str]:
    """The newest readable checkpoint at `path` and a note ("" or that the one before it was taken).

    Raises `InputError` where neither can be read.
    """
    path = Path(path)
    previous = previous_of(path)
    reasons = []
    for candidate in (path, previous):
        try:
            _check(candidate)
            state = torch.load(candidate, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for broken files; each is reported below
            reasons.append(f"{candidate.name}: {(str(error) or type(error).__name__).splitlines()[0]}")
            continue
        return state, f"{path.name} could not be read; continued from {previous.name}." if reasons else ""
    raise InputError(f"No readable checkpoint in {path.parent} ({'; '.join(reasons)}).", "Give another run folder.")


def _check(path: Path) -> None:
    """Compares the sum stored with every part of the file, which torch does not. Raises `OSError` where one differs."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise OSError(f"{damaged} within it is damaged")


def has_checkpoint(path: str | Path) -> bool:
    """Whether there is one at `path`, or the one before it: all that is left between the two renames of a save."""
    return Path(path).exists() or previous_of(path).exists()


def previous_of(path: str | Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    path = Path(path)
    return path.with_name(path.name + ".previous")


class Saver:
    """Saves a training every so often; a disk that is full for a while costs a warning, not the training."""

    def __init__(self, path: str | Path, every: float, warn: Callable[[str], None]) -> None:
        """`every` in seconds; `warn` is told in a sentence what went wrong, once, and when it is over."""
        self.path, self.every, self.warn = Path(path), every, warn
        self.failed = False
        self._next = time.monotonic() + every

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() >= self._next

    def save(self, state: dict[str, Any]) -> bool:
        """Whether `state` was written. Where it was not, it is due again in `RETRY` seconds or sooner."""
        try:
            save_checkpoint(self.path, state)
        except OutputError as error:
            if not self.failed:
                self.warn(f"{error} The training goes on and tries again; the last good checkpoint is kept.")
            self.failed = True
            self._next = time.monotonic() + min(RETRY, self.every)
            return False
        if self.failed:
            self.warn(f"{self.path} is written again.")
        self.failed = False
        self._next = time.monotonic() + self.every
        return True

    def save_last(self, state: dict[str, Any], patience: float = 1800.0, pause: float = 15.0) -> None:
        """Writes the end of a training, waiting up to `patience` seconds for space on the disk.

        Raises `OutputError` where there is none even then; the last good checkpoint stays.
        """
        deadline = time.monotonic() + patience
        while not self.save(state):
            if time.monotonic() + pause > deadline:
                raise OutputError(
                    f"Could not write {self.path}, not even after {patience / 60:.0f} minutes.",
                    "Free some space and continue from the last good checkpoint.",
                )
            time.sleep(pause)

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""The engine's life as Blender sees it: whether there is one, how it is started, and where its logs are."""

import queue
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import bpy

from .client import EngineProcess, engine_command
from .environment import EngineError, check_python, engine_environment, engine_folder, find_python


@dataclass(frozen=True)
class EngineState:
    """Whether the engine can be used, in words for the panel."""

    kind: str  # 'CHECKING', 'READY' or 'PROBLEM'
    message: str
    hint: str = ""


_CHECKING = EngineState("CHECKING", "Looking for the engine")

_state = _CHECKING
_answers: queue.SimpleQueue[tuple[int, EngineState]] = queue.SimpleQueue()
_check_number = 0
_check_pending = False


def engine_state() -> EngineState:
    return _state


def preferred_python() -> str:
    """The engine's Python as the preferences name it, empty where they do not or Blender has no entry for us."""
    entry = bpy.context.preferences.addons.get(__package__ or "")
    return bpy.path.abspath(entry.preferences.engine_python) if entry is not None else ""


def log_folder() -> Path:
    """Where the engine's logs are kept: with the extension's own files, or for this session only."""
    try:
        return Path(bpy.utils.extension_path_user(__package__ or "", path="logs", create=True))
    except ValueError:  # not run as an extension
        return Path(bpy.app.tempdir or tempfile.gettempdir()) / "gaussmith-logs"


def start_engine() -> EngineProcess:
    """Raises `EngineError` where there is no engine that could be started."""
    python = find_python(preferred_python())
    environ = engine_environment(bpy.app.binary_path)
    return EngineProcess(engine_command(python.path, engine_folder()), log_folder(), environ)


def check() -> None:
    """Looks for the engine's Python in the background; `engine_state` tells what came of it once `pump` has heard."""
    global _state, _check_number, _check_pending
    preference = preferred_python()
    _check_number += 1
    _check_pending = True
    _state = _CHECKING
    number = _check_number
    threading.Thread(
        target=lambda: _answers.put((number, _look_for_engine(preference))), name="gaussmith-engine-check", daemon=True
    ).start()


def is_checking() -> bool:
    return _check_pending


def pump() -> bool:
    """Takes what the check in the background found. Returns whether anything changed."""
    global _state, _check_pending
    changed = False
    while not _answers.empty():
        number, state = _answers.get()
        if number == _check_number:
            _state, _check_pending, changed = state, False, True
    return changed


def _look_for_engine(preference: str) -> EngineState:
    try:
        python = find_python(preference)
        version = check_python(python.path)
    except EngineError as error:
        return EngineState("PROBLEM", error.message, error.hint)
    return EngineState("READY", f"Ready: Python {version}, {python.source}", str(python.path))


def forget() -> None:
    """Forgets what was found; a check under way no longer counts."""
    global _state, _check_number, _check_pending
    _check_number += 1
    _check_pending = False
    _state = _CHECKING

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""The engine's life as Blender sees it: whether there is one, how it is started, when it is unloaded, how it is.

Nothing here waits. `pump` is called by the session's timer; panels read what it left.
"""

import queue
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from . import doctor
from .client import EngineProcess, engine_command
from .environment import (
    EngineError,
    EnginePython,
    check_python,
    engine_environment,
    engine_folder,
    find_python,
)
from .jobs import JobQueue, State
from .turns import Turns, turns_folder
from .wire import protocol

PACKAGE = __package__ or ""
"""What Blender knows the extension by."""
ASK_SECONDS = 5.0
"""How often the engine is asked how it is."""
DEFAULTS = {
    "engine_python": "",
    "idle_minutes": 10,
    "patience_minutes": 20,
    "take_turns": "CARD",
    "history_gigabytes": 5.0,
}
"""Preferences where Blender has no entry for us."""
PROCESSOR = "processor"


@dataclass(frozen=True)
class EngineState:
    """Whether the engine can be used, in words for the panel."""

    kind: str  # 'CHECKING', 'READY', 'PROBLEM' where there is none, or 'TROUBLE' where its last start failed
    message: str
    hint: str = ""


_CHECKING = EngineState("CHECKING", "Looking for the engine")


class _Life:
    """What is known as long as the add-on is enabled."""

    def __init__(self, jobs: JobQueue) -> None:
        self.jobs = jobs
        self.state = _CHECKING
        self.answers: queue.SimpleQueue[tuple[int, EngineState]] = queue.SimpleQueue()
        self.check_number = 0
        self.is_checking = False
        self.asked_at = 0.0
        self.shown: tuple = ()
        self.examination: doctor.Examination | None = None
        self.findings: doctor.Findings | None = None


_life: _Life | None = None


def begin(jobs: JobQueue) -> None:
    """From now on watches over the engine of these jobs."""
    global _life
    _life = _Life(jobs)


def end() -> None:
    """Forgets what was found and ends what is under way; a check under way no longer counts."""
    global _life
    ending, _life = _life, None
    if ending is not None and ending.examination is not None:
        ending.examination.stop()


# ---------------------------------------------------------------------------
# Preferences and places


def preference(name: str) -> Any:
    """A preference of ours; its default where Blender has no entry for us."""
    entry = bpy.context.preferences.addons.get(PACKAGE)
    return getattr(entry.preferences, name) if entry is not None else DEFAULTS[name]


def preferred_python() -> str:
    """The engine's Python as the preferences name it, empty where they do not or Blender has no entry for us."""
    return bpy.path.abspath(preference("engine_python"))


def user_folder(name: str) -> Path:
    """A folder for files that outlive a session: with the extension's own, or else for this session only."""
    try:
        return Path(bpy.utils.extension_path_user(PACKAGE, path=name, create=True))
    except (ValueError, OSError):  # not run as an extension; or its folder cannot be made
        folder = Path(bpy.app.tempdir or tempfile.gettempdir(), f"gaussmith-{name}")
        folder.mkdir(exist_ok=True)
        return folder


def log_folder() -> Path:
    """Where the engine's logs are kept."""
    return user_folder("logs")


# ---------------------------------------------------------------------------
# Start, unload, repair


def start_engine() -> EngineProcess:
    """Raises `EngineError` where there is no engine that could be started."""
    python = find_python(preferred_python())
    return EngineProcess(engine_command(python.path, engine_folder()), log_folder(), _environment())


def unload() -> bool:
    """Ends an engine that has nothing to do, which gives its memory back. Returns whether there was one."""
    return _life is not None and _life.jobs.unload()


def turns_for(hello: protocol.Hello) -> Turns | None:
    """A place in the queue of Blenders, where the user wants the engine to take turns."""
    wanted = preference("take_turns")
    if wanted == "NEVER" or (wanted == "CARD" and not hello.card):
        return None
    return Turns(turns_folder(hello.card or PROCESSOR), _who_we_are())


def _who_we_are() -> str:
    name = Path(bpy.data.filepath).stem if bpy.data.filepath else ""
    return f"Blender {bpy.app.version_string}{f' ({name})' if name else ''}"


def _environment() -> dict[str, str]:
    return engine_environment(bpy.app.binary_path)


# ---------------------------------------------------------------------------
# How it is


def engine_state() -> EngineState:
    """Whether the engine can be used: what its last start showed, else what the look in the background found."""
    if _life is None:
        return _CHECKING
    trouble = _life.jobs.trouble
    if trouble is not None and _life.state.kind == "READY":
        return EngineState("TROUBLE", trouble.message, trouble.hint)
    return _life.state


def check() -> None:
    """Looks for the engine's Python in the background; `engine_state` tells what came of it once `pump` has heard."""
    if _life is None:
        return
    preference_now, answers = preferred_python(), _life.answers
    _life.check_number += 1
    number = _life.check_number
    _life.is_checking, _life.state, _life.jobs.trouble = True, _CHECKING, None
    threading.Thread(
        target=lambda: answers.put((number, _look_for_engine(preference_now))),
        name="gaussmith-engine-check",
        daemon=True,
    ).start()


def is_busy() -> bool:
    """Whether something is under way in the background that `pump` has to hear of soon."""
    return _life is not None and (_life.is_checking or _life.examination is not None)


def pump(now: float) -> bool:
    """Takes what was found in the background, and looks after the engine. Returns whether anything changed."""
    if _life is None:
        return False
    _life.jobs.patience = 60.0 * preference("patience_minutes") or None
    changed = _take_checks(_life) | _take_findings(_life)
    idle_minutes = preference("idle_minutes")
    if idle_minutes and _life.jobs.idle_seconds() >= 60 * idle_minutes:
        changed |= _life.jobs.unload()
    if now - _life.asked_at >= ASK_SECONDS:
        _life.asked_at = now
        _life.jobs.ask()
    shown = _shown(facts())
    if shown != _life.shown:
        _life.shown, changed = shown, True
    return changed


def facts() -> dict[str, Any]:
    """How the engine is: `state` is one of 'STOPPED', 'STARTING', 'WAITING', 'WORKING', 'IDLE', 'ENDING'; the rest is
    there as far as it is known: version, device, pid, memory and card_memory in bytes, networks, idle_seconds.
    """
    jobs = _life.jobs if _life is not None else None
    if jobs is None or (engine := jobs.engine) is None:
        return {"state": "STOPPED"}
    told: dict[str, Any] = {"state": _word_for(jobs), "idle_seconds": jobs.idle_seconds()}
    if (hello := engine.hello) is not None:
        told |= {"version": hello.engine, "device": ", ".join(hello.devices), "pid": engine.pid}
    if jobs.facts is not None:
        told |= {
            "memory": jobs.facts.memory,
            "card_memory": jobs.facts.card_memory,
            "networks": list(jobs.facts.networks),
        }
    return told


def _word_for(jobs: JobQueue) -> str:
    assert jobs.engine is not None
    if not jobs.engine.alive:
        return "ENDING"
    if jobs.engine.hello is None:
        return "STARTING"
    if jobs.current is None:
        return "IDLE"
    return "WAITING" if jobs.current.state is State.HELD else "WORKING"


def _shown(told: dict[str, Any]) -> tuple:
    """The facts as coarse as they are shown."""
    return (told["state"], told.get("pid"), told.get("memory", 0) // 1e6, told.get("idle_seconds", 0) // 60)


def _take_checks(life: _Life) -> bool:
    changed = False
    while not life.answers.empty():
        number, state = life.answers.get()
        if number == life.check_number:
            life.state, life.is_checking, changed = state, False, True
    return changed


def _look_for_engine(preference_now: str) -> EngineState:
    try:
        python = find_python(preference_now)
        version = check_python(python.path)
    except EngineError as error:
        return EngineState("PROBLEM", error.message, error.hint)
    return EngineState("READY", f"Ready: Python {version}, {python.source}", str(python.path))


# ---------------------------------------------------------------------------
# The doctor


def examine() -> None:
    """Lets the doctor look at the engine, in the background; `findings` has the answer once `pump` has heard."""
    if _life is None or _life.examination is not None:
        return
    _life.findings = None
    try:
        python = find_python(preferred_python())
        command = doctor.doctor_command(python.path, engine_folder())
        _life.examination = doctor.Examination(command, _environment())
    except EngineError as error:
        _life.findings = doctor.Findings(False, (("engine", f"{error.message} {error.hint}"),))


def is_examining() -> bool:
    return _life is not None and _life.examination is not None


def findings() -> doctor.Findings | None:
    """What the doctor found last, None while nothing is known."""
    return _life.findings if _life is not None else None


def wait_for_findings() -> doctor.Findings | None:
    """Without a window: waits for the doctor."""
    if _life is not None and _life.examination is not None:
        _life.examination.wait()
        _take_findings(_life)
    return findings()


def _take_findings(life: _Life) -> bool:
    if life.examination is None or life.examination.findings is None:
        return False
    life.findings, life.examination = life.examination.findings, None
    return True


def report(found: doctor.Findings) -> str:
    """What the doctor found, with facts about this Blender and the end of the engine's log, as text to pass on."""
    about = [
        ("add-on", f"Gaussmith, protocol {protocol.PROTOCOL}"),
        ("Blender", f"{bpy.app.version_string}, {bpy.app.build_platform.decode(errors='replace')}"),
        ("engine's Python", _python_in_words()),
        ("engine now", ", ".join(f"{name} {value}" for name, value in facts().items())),
    ]
    return doctor.report(about, found, doctor.newest_log(log_folder()))


def _python_in_words() -> str:
    try:
        python: EnginePython = find_python(preferred_python())
    except EngineError as error:
        return error.message
    return f"{python.path}, {python.source}"

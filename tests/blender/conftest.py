# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender in many shapes, each with the fake engine at hand.

HOSTS, for every test: the bpy package of `.venv` (4.5), and the full programs 4.3 and 5.2. EVERY_HOST, for the facts
and a folder of pictures: also the modules of the oldest and newest Blenders, each in an environment of its own.
"""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, load_build

BUILD = load_build(ROOT)
INSIDE = Path(__file__).parent / "inside"
FAKE = ROOT / "tests" / "fakes" / "fake_engine.py"
PROGRAMS = ("blender-4.3", "blender-5.2")
HOSTS = ("bpy", *PROGRAMS)
EVERY_HOST = (*BUILD.MODULES, *HOSTS)
SECONDS = 120
WINDOW_SECONDS = 420
NO_XVFB = 77
NO_SPLASH = "import bpy; bpy.context.preferences.view.show_splash = False; bpy.ops.wm.save_userpref()"


@dataclass(frozen=True)
class Blender:
    """A way to run a script in Blender."""

    name: str
    command: tuple[str, ...]  # up to and including the flag before the script
    program: str = ""  # the full Blender, where it is one

    def run(self, script: Path, *arguments: object, environ: dict[str, str], **options) -> subprocess.CompletedProcess:
        command = [*self.command, str(script), "--", *map(str, arguments)]
        options = {"timeout": SECONDS, "capture_output": True, "text": True, **options}
        return subprocess.run(command, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, **options)


def find_blender(name: str) -> Blender:
    """Skips where it is missing on a developer's machine; in CI that is a failure."""
    if name == "bpy":
        if importlib.util.find_spec("bpy") is None:
            _missing("the bpy package is not installed (it exists for Python 3.11)")
        return Blender(name, (sys.executable,))
    if name in BUILD.MODULES:
        if not BUILD.has_module(name):
            _missing(
                f"{name} is not in .blenders (`python build.py test` puts it there, where its Python is installed)"
            )
        return Blender(name, (str(BUILD.venv_python(BUILD.module_environment(name))),))
    program = shutil.which(name)
    if program is None:
        _missing(f"{name} is not on PATH")
    flags = ("-b", "--factory-startup", "--python-exit-code", "3", "--python")
    return Blender(name, (program, *flags), program)


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what}; CI needs it", pytrace=False)
    pytest.skip(what)


def write_fake_python(folder: Path) -> Path:
    """Stands in for the engine's Python: whatever engine it is asked to run, it runs the fake one."""
    script = folder / "python"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *" -c "*) exec "{sys.executable}" "$@" ;;\n'
        f'*" doctor "*) exec "{sys.executable}" -I -X utf8 -u "{FAKE}" doctor --json ;; esac\n'
        f'exec "{sys.executable}" -I -X utf8 -u "{FAKE}" serve\n'
    )
    script.chmod(0o755)
    return script


@pytest.fixture(scope="session")
def fake_python(tmp_path_factory) -> Path:
    return write_fake_python(tmp_path_factory.mktemp("fake engine"))


@pytest.fixture(scope="session")
def environ(fake_python, tmp_path_factory) -> dict[str, str]:
    """A user of their own, with the fake engine."""
    return {
        "GAUSSMITH_ENGINE_PYTHON": str(fake_python),
        "GAUSSMITH_FAKE": "",
        "BLENDER_USER_RESOURCES": str(tmp_path_factory.mktemp("blender user")),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture(scope="session")
def package(build, tmp_path_factory) -> Path:
    """The extension zip as `python build.py package` makes it."""
    return build.package(tmp_path_factory.mktemp("package"))


def call_blender(program: str, *arguments: object, environ: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [program, *map(str, arguments)],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def install(program: str, package: Path, environ: dict[str, str]) -> None:
    """Installs and enables the extension as a user would."""
    command = ("--command", "extension", "install-file", "-r", "user_default", "--enable", package)
    done = call_blender(program, *command, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def user(environ, package, tmp_path_factory):
    """The program and the environment of a user of their own who installed the extension, by Blender's name."""
    made = {}

    def make(name: str) -> tuple[str, dict[str, str]]:
        if name not in made:
            program = find_blender(name).program
            resources = tmp_path_factory.mktemp(f"user of {name}")
            own = {**environ, "BLENDER_USER_RESOURCES": str(resources), "GAUSSMITH_TEST": str(resources)}
            install(program, package, own)
            call_blender(program, "-b", "--python-expr", NO_SPLASH, environ=own)
            made[name] = program, own
        return made[name]

    return make


def facts_in(script: str) -> list[str]:
    """Names of the facts in a script: functions, and what is assigned."""
    found = []
    for node in ast.parse((INSIDE / script).read_text(encoding="utf-8")).body:
        names = [node.name] if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        found += [name for name in names if name.startswith("fact_")]
    return found


def run_in_window(name: str, script: Path, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess:
    """Runs a script of facts in a window; skips where there is no Xvfb, which in CI is a failure."""
    arguments = (WINDOW_SECONDS, script, folder / "outcomes.json", folder)
    timeout = WINDOW_SECONDS + 30
    done = find_blender(name).run(INSIDE / "open_window.py", *arguments, environ=environ, timeout=timeout)
    if done.returncode == NO_XVFB:
        _missing("Xvfb is not installed")
    return done


def check_outcome(outcomes: Path, fact: str, log: str) -> None:
    """Fails with what the fact said inside Blender."""
    told = json.loads(outcomes.read_text()) if outcomes.is_file() else {}
    if fact not in told:
        pytest.fail(f"Blender did not get to this fact. The end of its output:\n{log[-3000:]}", pytrace=False)
    if told[fact]:
        pytest.fail(told[fact], pytrace=False)


def engines_left(marker: str) -> list[str]:
    """Command lines of fake engines whose environment holds `marker`. Linux only."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "fake_engine.py" in words and marker.encode() in (process / "environ").read_bytes():
                left.append(words)
        except OSError:
            continue  # it ended meanwhile
    return left

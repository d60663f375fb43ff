# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the Python that runs the engine and says in one sentence what is wrong when it cannot. No bpy."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .wire import protocol

PYTHON_VARIABLE = "GAUSSMITH_ENGINE_PYTHON"
BLENDER_VARIABLE = "GAUSSMITH_BLENDER"
"""Tells the engine the Blender whose QuadriFlow makes quads."""

ENGINE_MODULES = (
    "numpy",
    "numba",
    "onnxruntime",
    "scipy",
    "skimage",
    "fast_simplification",
    "xatlas",
    "pynanoinstantmeshes",
    "trimesh",
    "PIL",
    "plyfile",
    "zstandard",
    "tqdm",
)
"""What the engine imports, beside the standard library; the packages are pinned in pyproject.toml."""

MINIMUM_PYTHON = (3, 11)
CHECK_SECONDS = 60

_CHECK = (
    "import importlib.util as u, json, sys; "
    "print(json.dumps([sys.version_info[:3], [m for m in {modules!r} if u.find_spec(m) is None]]))"
)
_HOW_TO_SET = (
    "Choose the Python of the engine's environment in Preferences > Add-ons > Gaussmith, "
    f"or set {PYTHON_VARIABLE} before starting Blender."
)


class EngineError(Exception):
    """The engine cannot be used: what was found, and what to do."""

    def __init__(self, message: str, hint: str, code: str = "NO_ENGINE") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint
        self.code = code


@dataclass(frozen=True)
class EnginePython:
    """An interpreter for the engine and where it was found."""

    path: Path
    source: str


def engine_folder() -> Path:
    """The engine that belongs to this add-on: in the extension's folder, or beside it in a checkout."""
    return Path(protocol.__file__).resolve().parent


def find_python(preference: str = "", environ: Mapping[str, str] = os.environ) -> EnginePython:
    """The interpreter named in the preferences, else by the environment variable, else in `.venv` beside the engine.

    A name given by the user is never passed over silently: raises `EngineError` where it leads nowhere.
    """
    for given, source in (
        (preference.strip(), "named in the preferences"),
        (environ.get(PYTHON_VARIABLE, "").strip(), f"named by {PYTHON_VARIABLE}"),
    ):
        if given:
            return EnginePython(_interpreter(Path(given).expanduser(), source), source)
    beside = engine_folder().parent / ".venv"
    if (python := _in_environment(beside)) is not None:
        return EnginePython(python, "beside the engine")
    raise EngineError(f"The engine's Python was not found: there is no {beside.name} beside the engine.", _HOW_TO_SET)


def check_python(python: Path) -> str:
    """The version of an interpreter that can run the engine, for example "3.11.7". Takes some 50 ms.

    Raises `EngineError` with one sentence: it does not start, is too old, or lacks packages.
    """
    command = [str(python), "-I", "-X", "utf8", "-c", _CHECK.format(modules=ENGINE_MODULES)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_SECONDS,
            env=clean_environment(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        version, missing = json.loads(done.stdout)
    except OSError as error:
        raise EngineError(f"{python} does not start: {error.strerror or error}.", _HOW_TO_SET) from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{python} gave no answer for {CHECK_SECONDS} s.", _HOW_TO_SET) from error
    except ValueError as error:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise EngineError(
            f"{python} is no Python that can run the engine{': ' + said[-1] if said else ''}.", _HOW_TO_SET
        ) from error
    found = ".".join(map(str, version))
    if tuple(version[:2]) < MINIMUM_PYTHON:
        wanted = ".".join(map(str, MINIMUM_PYTHON))
        raise EngineError(f"{python} is Python {found}; the engine needs {wanted} or newer.", _HOW_TO_SET)
    if missing:
        raise EngineError(
            f"{python} lacks {', '.join(missing)}.",
            "Run `python build.py setup` in a checkout of Gaussmith and choose the Python in its .venv.",
        )
    return found


def clean_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for the engine: Blender's own Python and library paths would lead it astray."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("PYTHON") and name not in ("LD_LIBRARY_PATH", "LD_PRELOAD", "__PYVENV_LAUNCHER__")
    }


def engine_environment(blender: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for the engine started by a Blender program; one the user named goes before it.

    `blender` is empty where Blender is a Python module.
    """
    cleaned = clean_environment(environ)
    if blender and not cleaned.get(BLENDER_VARIABLE):
        cleaned[BLENDER_VARIABLE] = blender
    return cleaned


def _interpreter(given: Path, source: str) -> Path:
    """The interpreter a user named, either itself or by the folder of its virtual environment."""
    if given.is_dir():
        if (python := _in_environment(given)) is not None:
            return python
        raise EngineError(f"The folder {given}, {source}, holds no Python environment.", _HOW_TO_SET)
    if not given.is_file():
        raise EngineError(f"There is no file {given}, {source}.", _HOW_TO_SET)
    # Not resolved: the link itself is what makes an interpreter part of its virtual environment.
    return given.absolute()


def _in_environment(folder: Path) -> Path | None:
    names = ("Scripts/python.exe", "bin/python") if sys.platform == "win32" else ("bin/python", "Scripts/python.exe")
    return next((folder / name for name in names if (folder / name).is_file()), None)

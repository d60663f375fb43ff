# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a Blender is found, and how a script of ours is run in a process beside us."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

BLENDER = "GAUSSMITH_BLENDER"
"""Environment variable with the path of a Blender program; the add-on sets it to its own."""


def python_command(script: Path) -> list[str]:
    """The command that runs `script` in this Python, but for its arguments."""
    return [sys.executable, "-X", "utf8", "-I", str(script)]


def blender_command(script: Path) -> list[str] | None:
    """The command that runs `script` where bpy can be imported, but for its arguments; None where that is nowhere.

    The program that `BLENDER` names, else `blender` on the path, else this Python where it has the package bpy.
    """
    blender = os.environ.get(BLENDER) or shutil.which("blender")
    if blender:
        return [blender, "--background", "--factory-startup", "--python", str(script), "--"]
    return python_command(script) if importlib.util.find_spec("bpy") else None


def packages_path() -> list[str]:
    """Where such a script finds the packages that this process has.

    bpy, once imported, puts its scripts on the path, whose own "bpy" works in no other process: they are left out.
    """
    return [place for place in sys.path if not (Path(place) / "bpy" / "ops.py").is_file()]

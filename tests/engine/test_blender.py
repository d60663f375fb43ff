# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about how scripts of ours find Blender, and their packages in a process of their own."""

import sys
from pathlib import Path

from engine import blender

SCRIPT = Path("child.py")


def test_the_program_that_is_named_comes_first(monkeypatch):
    monkeypatch.setenv(blender.BLENDER, "/opt/blender")
    monkeypatch.setattr(blender.shutil, "which", lambda name: "/usr/bin/blender")
    command = blender.blender_command(SCRIPT)
    assert command
    assert command[0] == "/opt/blender"
    assert command[-3:] == ["--python", "child.py", "--"]
    monkeypatch.delenv(blender.BLENDER)
    command = blender.blender_command(SCRIPT)
    assert command
    assert command[0] == "/usr/bin/blender"


def test_without_a_program_bpy_serves_and_without_bpy_nothing(monkeypatch):
    monkeypatch.delenv(blender.BLENDER, raising=False)
    monkeypatch.setattr(blender.shutil, "which", lambda name: None)
    monkeypatch.setattr(blender.importlib.util, "find_spec", lambda name: None)
    assert blender.blender_command(SCRIPT) is None
    monkeypatch.setattr(blender.importlib.util, "find_spec", lambda name: object())
    command = blender.blender_command(SCRIPT)
    assert command == blender.python_command(SCRIPT)
    assert command[0] == sys.executable


def test_the_scripts_of_an_imported_bpy_stay_behind(monkeypatch, tmp_path):
    scripts, packages = tmp_path / "modules", tmp_path / "packages"
    (scripts / "bpy").mkdir(parents=True)
    (scripts / "bpy" / "ops.py").touch()
    packages.mkdir()
    monkeypatch.setattr(sys, "path", [str(scripts), str(packages)])
    assert blender.packages_path() == [str(packages)]

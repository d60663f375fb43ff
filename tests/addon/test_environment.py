# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's Python is found where the user said, and nowhere else silently."""

import importlib.metadata
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from addon import environment
from addon.environment import (
    BLENDER_VARIABLE,
    PYTHON_VARIABLE,
    EngineError,
    check_python,
    clean_environment,
    engine_environment,
    engine_folder,
    find_python,
)

ROOT = Path(__file__).parents[2]


def interpreter(folder: Path, layout: str = "bin/python") -> Path:
    python = folder / layout
    python.parent.mkdir(parents=True)
    python.write_text("")
    return python


def script(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_the_engine_of_a_checkout_is_beside_the_add_on():
    assert engine_folder() == ROOT / "engine"


def test_preference_before_environment_before_the_folder_beside(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "engine_folder", lambda: tmp_path / "engine")
    preferred, set_by_variable = interpreter(tmp_path / "a"), interpreter(tmp_path / "b")
    beside = interpreter(tmp_path / ".venv")
    environ = {PYTHON_VARIABLE: str(set_by_variable)}
    assert find_python(str(preferred), environ).path == preferred
    assert find_python("", environ).path == set_by_variable
    assert find_python("", {}).path == beside


@pytest.mark.parametrize("layout", ["bin/python", "Scripts/python.exe"])
def test_both_layouts_of_a_virtual_environment_are_known(tmp_path, layout):
    python = interpreter(tmp_path / "env", layout)
    assert find_python(str(tmp_path / "env"), {}).path == python


def test_the_link_into_the_environment_is_kept(tmp_path):
    """Resolved, it would be the base interpreter, without the environment's packages."""
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert find_python(str(link), {}).path == link


@pytest.mark.parametrize("given", ["preference", "variable"])
def test_a_wrong_choice_is_an_error_even_when_another_python_is_there(tmp_path, monkeypatch, given):
    monkeypatch.setattr(environment, "engine_folder", lambda: tmp_path / "engine")
    interpreter(tmp_path / ".venv")
    missing = str(tmp_path / "nowhere")
    with pytest.raises(EngineError, match=rf"no file {missing}, named (in the preferences|by {PYTHON_VARIABLE})"):
        find_python(missing if given == "preference" else "", {PYTHON_VARIABLE: missing})


def test_nothing_found_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "engine_folder", lambda: tmp_path / "engine")
    with pytest.raises(EngineError) as caught:
        find_python("", {})
    assert "Preferences" in caught.value.hint
    assert PYTHON_VARIABLE in caught.value.hint


@pytest.mark.skipif(os.name == "nt", reason="shell scripts")
class TestCheck:
    def test_this_python_can_run_the_engine(self):
        assert check_python(Path(sys.executable)) == ".".join(map(str, sys.version_info[:3]))

    def test_missing_packages_are_named(self, tmp_path):
        python = script(tmp_path / "python", 'echo \'[[3, 12, 1], ["numba", "xatlas"]]\'\n')
        with pytest.raises(EngineError, match="lacks numba, xatlas"):
            check_python(python)

    def test_an_old_python_is_named_with_the_one_needed(self, tmp_path):
        python = script(tmp_path / "python", "echo '[[3, 9, 2], []]'\n")
        with pytest.raises(EngineError, match=r"Python 3.9.2; the engine needs 3.11"):
            check_python(python)

    def test_a_program_that_is_no_python(self, tmp_path):
        python = script(tmp_path / "python", "echo 'unknown option -I' >&2; exit 2\n")
        with pytest.raises(EngineError, match="no Python that can run the engine: unknown option"):
            check_python(python)

    def test_a_file_that_cannot_be_started(self, tmp_path):
        python = tmp_path / "python"
        python.write_text("not executable")
        with pytest.raises(EngineError, match="does not start"):
            check_python(python)

    def test_a_program_that_never_answers(self, tmp_path, monkeypatch):
        monkeypatch.setattr(environment, "CHECK_SECONDS", 0.2)
        with pytest.raises(EngineError, match="gave no answer"):
            check_python(script(tmp_path / "python", "exec sleep 5\n"))


def test_the_modules_checked_are_those_of_the_pinned_packages():
    with open(ROOT / "pyproject.toml", "rb") as file:
        needed = {re.split(r"[<>=~;\[ ]", line)[0].lower() for line in tomllib.load(file)["project"]["dependencies"]}
    providers = importlib.metadata.packages_distributions()
    names = {providers.get(module, [module])[0] for module in environment.ENGINE_MODULES}
    provided = {name.lower().replace("_", "-") for name in names}
    assert provided == needed


def test_the_engine_is_told_which_blender_started_it_unless_the_user_named_one():
    environ = {"PATH": "/bin", "LD_LIBRARY_PATH": "z"}
    assert engine_environment("/opt/blender", environ) == {"PATH": "/bin", BLENDER_VARIABLE: "/opt/blender"}
    assert engine_environment("", environ) == {"PATH": "/bin"}  # Blender as a Python module
    named = {BLENDER_VARIABLE: "/mine/blender"}
    assert engine_environment("/opt/blender", named) == named


def test_blenders_own_library_and_python_paths_are_not_passed_on():
    environ = {"PYTHONPATH": "x", "PYTHONHOME": "y", "LD_LIBRARY_PATH": "z", "PATH": "/bin", "HOME": "/home/me"}
    assert clean_environment(environ) == {"PATH": "/bin", "HOME": "/home/me"}

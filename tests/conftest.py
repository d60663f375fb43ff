# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of all parts share: the repository, build.py as a module, and the extension as Blender would see it."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the engine sets it, before any test loads torch or numba


def load_build(checkout: Path) -> ModuleType:
    """The build.py of a checkout, as a module of its own."""
    spec = importlib.util.spec_from_file_location("build", checkout / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """This repository's build.py."""
    return load_build(ROOT)


@pytest.fixture(scope="session")
def staged_extension(build, tmp_path_factory) -> Path:
    """The folder that Blender would see: the manifest beside the add-on's files, the engine in a folder within."""
    return build.stage(tmp_path_factory.mktemp("stage"))


@pytest.fixture
def scripts_of_bpy(monkeypatch) -> None:
    """The path as bpy leaves it once it is imported: with its scripts, in front."""
    found = importlib.util.find_spec("bpy")
    assert found
    assert found.origin
    modules = list(Path(found.origin).parent.glob("*/scripts/modules"))
    assert modules
    for place in modules:
        monkeypatch.syspath_prepend(str(place))

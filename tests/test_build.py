# SPDX-License-Identifier: GPL-3.0-or-later
"""build.py: which Python it takes, what it installs and repairs, and the extension it packs."""

import ast
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import load_build

POSIX = pytest.mark.skipif(os.name == "nt", reason="stand-ins for interpreters are shell scripts")


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + script + "\n")
    path.chmod(0o755)
    return path


# --- Which Python ----------------------------------------------------------------------------------------------------


def test_an_old_python_can_read_build_py(root):
    ast.parse((root / "build.py").read_text(encoding="utf-8"), feature_version=(3, 9))


@POSIX
def test_a_named_python_of_the_wrong_version_is_refused_with_what_to_do(root, tmp_path):
    old = executable(tmp_path / "python", "echo 3 9")
    shutil.copy(root / "build.py", tmp_path)
    environment = {**os.environ, "GAUSSMITH_PYTHON": str(old)}
    shutil.copytree(root / "engine", tmp_path / "engine", ignore=lambda folder, names: {"weights", "__pycache__"})
    shutil.copytree(root / "tests", tmp_path / "tests", ignore=lambda folder, names: {"data", "__pycache__"})
    shutil.copy(root / "pyproject.toml", tmp_path)
    done = subprocess.run(
        [sys.executable, tmp_path / "build.py", "demo"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"{old}, which is Python 3.9" in done.stderr
    assert "3.11, 3.12 or 3.13" in done.stderr
    assert "GAUSSMITH_PYTHON=/path/to/python3.11 python build.py demo" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".venv").exists()


@POSIX
def test_without_a_suitable_python_the_sentence_says_which_one_is_needed(build, monkeypatch, tmp_path):
    monkeypatch.delenv("GAUSSMITH_PYTHON", raising=False)
    monkeypatch.setattr(build, "candidates", lambda: [str(executable(tmp_path / "python3", "echo 3 10"))])
    with pytest.raises(build.Problem, match=r"no suitable one is on PATH.*3\.11, 3\.12 or 3\.13.*GAUSSMITH_PYTHON="):
        build.find_python()


@POSIX
def test_bpy_is_not_promised_to_a_python_that_has_none(build, monkeypatch, tmp_path):
    monkeypatch.setenv("GAUSSMITH_PYTHON", str(executable(tmp_path / "python3", "echo 3 13")))
    monkeypatch.setattr(build, "VENV", tmp_path / ".venv")
    with pytest.raises(
        build.Problem, match=r"bpy package.*Python 3\.11 only.*is 3\.13.*GAUSSMITH_PYTHON=.*Blender 4\.2"
    ):
        build.setup("engine", "bpy")
    assert not build.VENV.exists()


@POSIX
def test_a_shim_that_does_not_run_is_passed_over_for_the_next_on_path(build, monkeypatch, tmp_path):
    monkeypatch.delenv("GAUSSMITH_PYTHON", raising=False)
    monkeypatch.setattr(build.sys, "version_info", (3, 9, 1))
    executable(tmp_path / "shims" / "python3.11", "exit 127")
    executable(tmp_path / "shims" / "python3", "echo 3 12")
    good = executable(tmp_path / "bin" / "python3.11", "echo 3 11")
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}{os.pathsep}{tmp_path / 'bin'}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert build.find_python() == (str(good), (3, 11))


@POSIX
def test_a_python_of_one_version_is_found_among_others(build, monkeypatch, tmp_path):
    old, new = (executable(tmp_path / name, f"echo 3 {minor}") for name, minor in (("old", 11), ("new", 13)))
    monkeypatch.setenv("GAUSSMITH_PYTHON", str(new))
    monkeypatch.setattr(build, "candidates", lambda: [str(old)])
    assert [build.find_python_of(version) for version in ((3, 11), (3, 13))] == [str(old), str(new)]
    with pytest.raises(build.Problem, match=r"no Python 3\.12 with its venv module"):
        build.find_python_of((3, 12))


@POSIX
@pytest.mark.parametrize(("shown", "taken"), [("4.1.1", False), ("4.2.0", True), ("5.10.2 LTS", True), ("no", False)])
def test_a_blender_on_path_is_taken_from_4_2(build, monkeypatch, tmp_path, shown, taken):
    blender = executable(tmp_path / "blender", f"echo Blender {shown}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.find_blender() == (str(blender) if taken else None)


# --- Lock files ------------------------------------------------------------------------------------------------------


def test_every_line_of_every_lock_is_pinned_and_hashed(build):
    for path, _ in build.LOCKS.values():
        entries = build.read_lock(path)
        assert entries
        for requirement, hashes in entries.items():
            assert re.match(r"[a-z0-9-]+==[^ =*]+( ; .+)?$", requirement), requirement
            assert hashes, requirement
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), requirement
        assert "://" not in path.read_text(encoding="utf-8"), "a lock names no place to fetch from"


def test_locks_agree_and_cover_what_pyproject_names(build, root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins: dict[str, set[str]] = {}
    for part, (path, _) in build.LOCKS.items():
        for requirement in build.read_lock(path):
            if part not in build.MODULES or not requirement.startswith("bpy=="):
                pins.setdefault(requirement.split("==")[0], set()).add(requirement.split(" ")[0])
    pins.pop("numpy")  # by version of Python, checked below
    assert [versions for versions in pins.values() if len(versions) > 1] == []
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {re.match(r"[A-Za-z0-9-]+", line)[0] for line in wanted}
    assert names - {*pins, "numpy"} == {"torch"}
    assert build.torch_pin() in project["optional-dependencies"]["train"]


def test_numpy_beside_blender_4_is_older_than_2(build):
    for part in ("engine", "train", "bpy", "bpy-4.2"):
        numpy = [line for line in build.read_lock(build.LOCKS[part][0]) if line.startswith("numpy==")]
        assert numpy[0].startswith("numpy==1.26.")


def test_each_blender_module_is_locked_at_the_version_it_is_named_after(build):
    for name in build.MODULES:
        (bpy,) = (line for line in build.read_lock(build.LOCKS[name][0]) if line.startswith("bpy=="))
        assert bpy.startswith(f"{name.replace('-', '==')}."), bpy


# --- The environment -------------------------------------------------------------------------------------------------


def write_wheel(folder: Path, name: str, version: str) -> str:
    """A small pure wheel with one module; returns its lock entry."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, content)
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def checkout(root, tmp_path, monkeypatch):
    """A checkout whose engine needs two small wheels from a local folder, and its build.py."""
    for name in ("build.py", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    wheels = tmp_path / "local wheels"
    wheels.mkdir()
    lock = tmp_path / "engine" / "requirements.lock"
    lock.parent.mkdir()
    lock.write_text("# made for this test\n" + write_wheel(wheels, "alpha", "1.0") + write_wheel(wheels, "beta", "2.0"))
    monkeypatch.setenv("PIP_FIND_LINKS", wheels.as_uri())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))  # would lead the wheels out of the environment
    monkeypatch.setenv("GAUSSMITH_PYTHON", sys.executable)
    return load_build(tmp_path)


def module_version(build, name: str) -> str:
    code = f"import {name}; print({name}.VERSION)"
    return subprocess.run([build.venv_python(), "-c", code], capture_output=True, text=True).stdout.strip()


def module_file(build, name: str) -> Path:
    return next(build.VENV.rglob(f"{name}.py"))


@pytest.mark.slow
def test_setup_installs_once_follows_the_lock_and_repairs_what_was_cut_short(checkout, monkeypatch, capsys):
    checkout.setup("engine")
    assert (module_version(checkout, "alpha"), module_version(checkout, "beta")) == ("1.0", "2.0")
    shown = capsys.readouterr().out
    assert "Installing 2 packages" in shown
    assert len(shown.splitlines()) == 3, "pip's own lines are shown only where it fails"

    with monkeypatch.context() as patched:
        patched.setattr(checkout, "pip_install", lambda venv, arguments: pytest.fail("a second run installs nothing"))
        checkout.setup("engine")
        (checkout.VENV / "gaussmith.json").unlink()
        checkout.setup("engine")  # an environment that holds everything is taken as it is
    assert json.loads((checkout.VENV / "gaussmith.json").read_text()) == {"engine": checkout.fingerprint("engine")}

    (checkout.VENV / "gaussmith.json").unlink()
    module_file(checkout, "alpha").unlink()
    next(checkout.VENV.rglob("beta-2.0.dist-info/RECORD")).unlink()  # as an install killed half-way leaves it
    checkout.setup("engine")
    assert (module_version(checkout, "alpha"), module_version(checkout, "beta")) == ("1.0", "2.0")

    lock = checkout.LOCKS["engine"][0]
    newer = write_wheel(checkout.ROOT / "local wheels", "alpha", "1.1")
    lock.write_text(newer + "".join(lock.read_text().splitlines(keepends=True)[3:]))
    capsys.readouterr()
    checkout.setup("engine")
    assert "Installing 1 package (" in capsys.readouterr().out
    assert (module_version(checkout, "alpha"), module_version(checkout, "beta")) == ("1.1", "2.0")


@pytest.mark.slow
def test_a_wheel_that_is_not_the_locked_one_is_refused_and_nothing_is_claimed(checkout):
    lock = checkout.LOCKS["engine"][0]
    good = lock.read_text()
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, good, count=1))
    with pytest.raises(checkout.Problem, match=r"failed(?s:.*)alpha(?s:.*)run the same command again"):
        checkout.setup("engine")
    assert checkout.read_stamp(checkout.VENV) == {}
    lock.write_text(good)
    checkout.setup("engine")
    assert checkout.read_stamp(checkout.VENV) == {"engine": checkout.fingerprint("engine")}


@pytest.mark.slow
def test_an_environment_cut_short_while_being_made_is_made_anew(checkout):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.VENV], check=True)
    checkout.write_stamp(checkout.VENV, {"engine": checkout.fingerprint("engine")})  # whatever it claims
    checkout.setup("engine")
    assert module_version(checkout, "alpha") == "1.0"


@pytest.fixture
def module(checkout, monkeypatch):
    """The checkout whose only Blender module is `alpha`, for the Python this runs in."""
    wheels = checkout.ROOT / "local wheels"
    lock = checkout.ROOT / "module.lock"
    lock.write_text(write_wheel(wheels, "alpha", "1.0"))
    monkeypatch.setattr(checkout, "MODULES", {"bpy-4.2": sys.version_info[:2]})
    monkeypatch.setitem(checkout.LOCKS, "bpy-4.2", (lock, "a module"))
    return lock


@pytest.mark.slow
def test_a_blender_module_gets_an_environment_of_its_own_that_follows_its_lock(checkout, module):
    assert not checkout.has_module("bpy-4.2")
    checkout.setup_modules()
    assert checkout.has_module("bpy-4.2")
    environment = checkout.module_environment("bpy-4.2")
    assert [path.relative_to(environment).name for path in environment.rglob("alpha.py")] == ["alpha.py"]
    assert not checkout.VENV.exists()

    module.write_text(write_wheel(checkout.ROOT / "local wheels", "alpha", "1.1"))
    assert not checkout.has_module("bpy-4.2")
    checkout.setup_modules()
    assert checkout.has_module("bpy-4.2")
    assert "1.1" in next(environment.rglob("alpha.py")).read_text()

    checkout.venv_python(environment).unlink()
    assert not checkout.has_module("bpy-4.2")


def test_a_blender_module_without_its_python_is_left_out_and_in_ci_refused(checkout, module, monkeypatch, capsys):
    monkeypatch.setattr(checkout, "MODULES", {"bpy-4.2": (3, 99)})
    monkeypatch.setattr(checkout, "candidates", list)
    monkeypatch.delenv("CI", raising=False)
    checkout.setup_modules()
    assert "bpy-4.2 is left out, and its tests with it: There is no Python 3.99" in capsys.readouterr().out
    assert not checkout.has_module("bpy-4.2")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(checkout.Problem, match=r"bpy-4\.2 is left out.*no Python 3\.99"):
        checkout.setup_modules()


# --- The extension ---------------------------------------------------------------------------------------------------


def test_versions_agree(root):
    manifest = tomllib.loads((root / "blender_manifest.toml").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert manifest["version"] == project["version"]
    assert f"## {manifest['version']}" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_manifest_values_are_read_as_a_toml_parser_reads_them(build, root, tmp_path, monkeypatch):
    manifest = tomllib.loads((root / "blender_manifest.toml").read_text(encoding="utf-8"))
    assert {key: build.manifest_value(key) for key in ("id", "version")} == {
        key: manifest[key] for key in ("id", "version")
    }
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "blender_manifest.toml").write_text(
        'wheels = [\n  "./wheels/a-1-py3-none-any.whl",\n  "./wheels/b.whl",\n]\n'
    )
    assert build.listed_wheels() == ["wheels/a-1-py3-none-any.whl", "wheels/b.whl"]


def test_the_stage_is_the_addon_with_the_engine_inside(staged_extension, root):
    assert staged_extension.name == "gaussmith"
    for name in ("__init__.py", "blender_manifest.toml", "LICENSE", "engine/__main__.py", "engine/protocol.py"):
        assert (staged_extension / name).is_file(), name
    weights = {path.name for path in (root / "engine" / "weights").rglob("*.onnx")}
    assert {path.name for path in (staged_extension / "engine" / "weights").rglob("*.onnx")} == weights


def test_caches_and_half_written_files_are_not_staged(build, root, tmp_path, monkeypatch):
    for name in (
        "addon/__init__.py",
        "addon/__pycache__/a.pyc",
        "addon/.notes",
        "engine/a.py",
        "engine/w/a.onnx.part",
        "engine/w/a.pt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("LICENSE", "blender_manifest.toml"):
        shutil.copy(root / name, tmp_path)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    staged = build.stage(tmp_path / "stage")
    files = {path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file()}
    assert files == {"__init__.py", "LICENSE", "blender_manifest.toml", "engine/a.py"}


@pytest.mark.slow
@pytest.mark.blender
def test_two_builds_are_byte_identical_and_blender_accepts_them(build, tmp_path):
    first, second = build.package(tmp_path / "one"), build.package(tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
        entries = {(entry.date_time, entry.external_attr >> 16) for entry in archive.infolist()}
    assert names == sorted(names)
    assert entries == {((1980, 1, 1, 0, 0, 0), 0o100644)}
    assert first.name == f"{manifest['id']}-{manifest['version']}.zip"


@pytest.mark.slow
@pytest.mark.blender
def test_what_blender_refuses_is_not_packed(build, tmp_path):
    staged = build.stage(tmp_path)
    manifest = staged / "blender_manifest.toml"
    manifest.write_text(manifest.read_text().replace('blender_version_min = "4.2.0"', 'blender_version_min = "4"'))
    with pytest.raises(build.Problem, match=r"Blender refuses(?s:.*)blender_version_min"):
        build.validate(staged)


# --- The demo --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.blender
def test_the_demo_makes_meshes_a_blender_file_and_a_sheet_once(build, root, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(build, "EXAMPLES", tmp_path / "pictures")
    monkeypatch.setattr(build, "DEMO", tmp_path / "demo")
    monkeypatch.setattr(build, "demo_inputs", lambda pictures: "unchanged")
    build.EXAMPLES.mkdir()
    for name in ("mushroom.png", "cabinet.jpg"):
        shutil.copy(root / "examples" / name, build.EXAMPLES)
    assert build.demo() == 0
    shown = capfd.readouterr().out
    assert "[1/2] cabinet.jpg: " in shown
    assert "[2/2] mushroom.png: " in shown
    table = [line.split() for line in shown.splitlines() if line.startswith(("cabinet.jpg ", "mushroom.png "))]
    assert [row[0] for row in table] == ["cabinet.jpg", "mushroom.png"]
    for row in table:
        seconds = [float(word) for word in row[1:]]
        assert len(seconds) > 3
        assert sum(seconds[:-1]) == pytest.approx(seconds[-1], abs=0.01 * len(seconds))
    made = {name: build.DEMO / name for name in ("cabinet.glb", "mushroom.glb", "demo.blend", "contact_sheet.png")}
    assert made["cabinet.glb"].read_bytes()[:4] == made["mushroom.glb"].read_bytes()[:4] == b"glTF"
    with Image.open(made["contact_sheet.png"]) as sheet:
        assert sheet.width > 3 * sheet.height  # two rows: the picture and six views

    times = {name: path.stat().st_mtime_ns for name, path in made.items()}
    assert build.demo() == 0
    assert "from an earlier run" in capfd.readouterr().out
    assert {name: path.stat().st_mtime_ns for name, path in made.items()} == times

    made["cabinet.glb"].unlink()
    assert build.demo() == 0
    again = {name: path.stat().st_mtime_ns for name, path in made.items()}
    assert {name for name in made if again[name] != times[name]} == {"cabinet.glb", "demo.blend", "contact_sheet.png"}


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["", "test_a.py", "test_b.py"])
def test_tests_in_windows_and_all_others_are_run_and_either_may_fail(build, tmp_path, monkeypatch, capfd, failing):
    (tmp_path / "tests").mkdir()
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / "tests" / name).write_text(f"def test_it():\n    assert {name != failing}\n")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "BESIDE", ("tests/test_a.py",))
    monkeypatch.setattr(build, "setup", lambda *parts: None)
    monkeypatch.setattr(build, "setup_modules", lambda: None)
    assert bool(build.test([])) == bool(failing)
    assert capfd.readouterr().out.count("1 passed") == (1 if failing else 2)


def test_what_runs_beside_all_other_tests_is_there(build, root):
    assert [name for name in build.BESIDE if not (root / name).is_file()] == []

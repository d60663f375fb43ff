#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one entry point for people and CI: prepares the environment, then demo, check, test, bench or package.

Standard library only. It may be started by any Python from 3.9; the environment it makes uses Python 3.11 to 3.13.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BLENDERS = ROOT / ".blenders"
DIST = ROOT / "dist"
EXAMPLES = ROOT / "examples"
DEMO = ROOT / "out" / "demo"

PYTHONS = ((3, 11), (3, 12), (3, 13))
BLENDER_MINIMUM = (4, 2)
NEEDED = (
    "Gaussmith needs Python 3.11, 3.12 or 3.13 with its venv module (3.11 where no Blender is installed: "
    "the bpy package exists for that one only). Install Python 3.11, or name it: "
    "GAUSSMITH_PYTHON=/path/to/python3.11 python build.py demo"
)

LOCKS = {  # part of the environment: its lock file, and what it is for
    "engine": (ROOT / "engine" / "requirements.lock", "what a mesh is made with"),
    "bpy": (ROOT / "tests" / "requirements-bpy.lock", "Blender as a Python module"),
    "dev": (ROOT / "tests" / "requirements-dev.lock", "linter, type checker, test runner"),
    "train": (ROOT / "engine" / "requirements-train.lock", "training, with torch"),
    "bpy-4.2": (ROOT / "tests" / "requirements-bpy-4.2.lock", "Blender 4.2 as a Python module"),
    "bpy-5.0": (ROOT / "tests" / "requirements-bpy-5.0.lock", "Blender 5.0 as a Python module"),
    "bpy-5.2": (ROOT / "tests" / "requirements-bpy-5.2.lock", "Blender 5.2 as a Python module"),
}
# Parts only tests need, each in an environment of its own in .blenders/, and the Python it exists for.
MODULES = {"bpy-4.2": (3, 11), "bpy-5.0": (3, 11), "bpy-5.2": (3, 13)}


class Problem(Exception):
    """Something the user can mend; the message says what was found, what was expected and what to try."""


def say(text: str) -> None:
    print(text, flush=True)


# --- Python and Blender ----------------------------------------------------------------------------------------------


def probe(python: str, modules: str = "venv, ensurepip") -> tuple[int, int] | None:
    """(major, minor) of an interpreter that runs and has these modules; None for any other file."""
    code = f"import sys, {modules}; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
        major, minor = done.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def candidates() -> list[str]:
    """Interpreters worth a try, best first: 3.11 (Blender's until 5.0) before newer ones, this one before others."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = []
    for version in PYTHONS:
        dotted = "{}.{}".format(*version)
        if sys.version_info[:2] == version:
            found.append(Path(sys.executable))
        found += [folder / f"python{dotted}{end}" for folder in folders for end in ("", ".exe")]
        found += sorted(pyenv.glob(f"{dotted}.*/bin/python"), reverse=True)
    found += [folder / name for folder in folders for name in ("python3", "python", "python.exe")]
    return [str(path) for path in found if path.is_file() and VENV not in path.parents]


def find_python() -> tuple[str, tuple[int, int]]:
    """An interpreter to make the environment with, and its version. Raises `Problem` where there is none."""
    if named := os.environ.get("GAUSSMITH_PYTHON"):
        version = probe(named)
        if version in PYTHONS:
            return named, version
        what = "is Python {}.{}".format(*version) if version else "does not run, or lacks the venv module"
        raise Problem(f"GAUSSMITH_PYTHON names {named}, which {what}. {NEEDED}")
    for python in candidates():
        version = probe(python)
        if version in PYTHONS:
            return python, version
    raise Problem("This is Python {}.{}, and no suitable one is on PATH. {}".format(*sys.version_info[:2], NEEDED))


def find_python_of(wanted: tuple[int, int]) -> str:
    """An interpreter of this version. Raises `Problem` where there is none."""
    named = os.environ.get("GAUSSMITH_PYTHON")
    for python in [*([named] if named else []), *candidates()]:
        if probe(python) == wanted:
            return python
    raise Problem("There is no Python {}.{} with its venv module on PATH or in pyenv.".format(*wanted))


def find_blender() -> str | None:
    """The `blender` on PATH, when it is 4.2 or newer."""
    blender = shutil.which("blender")
    if blender is None:
        return None
    shown = subprocess.run([blender, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"Blender (\d+)\.(\d+)", shown)
    return blender if match and (int(match[1]), int(match[2])) >= BLENDER_MINIMUM else None


def venv_python(venv: Path | None = None) -> Path:
    """The interpreter of an environment, of `.venv` where none is named."""
    return (venv or VENV) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


# --- The environment -------------------------------------------------------------------------------------------------

MISSING = """
import importlib.metadata as metadata, json, shutil, sys
from pip._vendor.packaging.requirements import Requirement
missing = []
for line in json.load(sys.stdin):
    requirement = Requirement(line)
    if requirement.marker and not requirement.marker.evaluate():
        continue
    try:
        found = metadata.distribution(requirement.name)
        files = [file for file in found.files or () if file.suffix != ".pyc"]
        if files and requirement.specifier.contains(found.version) and all(file.locate().exists() for file in files):
            continue
        if not files or requirement.specifier.contains(found.version):
            shutil.rmtree(found._path)  # an install cut short: without its record pip installs over it
    except metadata.PackageNotFoundError:
        pass
    missing.append(line)
json.dump(missing, sys.stdout)
"""
"""Run in the environment: of the requirement lines on stdin, those not installed, or not installed whole."""


def read_lock(path: Path) -> dict[str, list[str]]:
    """Requirement line -> its hashes, of a lock file."""
    entries: dict[str, list[str]] = {}
    requirement = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.strip().rstrip("\\").strip()
        if line.startswith("--hash="):
            entries[requirement].append(line)
        elif line and not line.startswith("#"):
            requirement = line
            entries[requirement] = []
    return entries


def torch_pin() -> str:
    match = re.search(r'"(torch==[^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert match, "pyproject.toml pins torch"
    return match[1]


def fingerprint(part: str) -> str:
    """Changes when what `part` of the environment should hold changes."""
    content = LOCKS[part][0].read_bytes() + (torch_pin().encode() if part == "train" else b"")
    return hashlib.sha256(content).hexdigest()[:16]


def read_stamp(venv: Path) -> dict[str, str]:
    """Part -> fingerprint of what was installed whole; empty for an environment not made by this file."""
    try:
        return json.loads((venv / "gaussmith.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_stamp(venv: Path, stamp: dict[str, str]) -> None:
    part_file = venv / "gaussmith.json.part"
    part_file.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    os.replace(part_file, venv / "gaussmith.json")


def pip_install(venv: Path, arguments: list[str]) -> None:
    """Runs pip quietly; `Problem` with the end of its output where it fails."""
    command = [str(venv_python(venv)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PIP_TARGET", "PIP_PREFIX")}
    environment["PIP_USER"] = "0"
    done = subprocess.run(
        [*command, "--only-binary", ":all:", *arguments],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        tail = "\n".join("    " + line for line in done.stdout.splitlines()[-15:])
        raise Problem(
            f"Installing into {venv} failed:\n{tail}\n"
            "Look at the last lines above: without network, point PIP_FIND_LINKS at a folder of wheels; "
            "then run the same command again, it goes on where it stopped."
        )


def missing_in_environment(venv: Path, lines: list[str]) -> list[str]:
    done = subprocess.run(
        [str(venv_python(venv)), "-I", "-c", MISSING], input=json.dumps(lines), capture_output=True, text=True
    )
    if done.returncode:
        raise Problem(f"{venv} is damaged ({done.stderr.strip().splitlines()[-1]}). Delete that folder and try again.")
    return json.loads(done.stdout)


def install(venv: Path, part: str) -> None:
    """Brings one part of an environment to what its lock file says."""
    lock, purpose = LOCKS[part]
    entries = read_lock(lock)
    torch = [torch_pin()] if part == "train" else []
    missing = missing_in_environment(venv, [*entries, *torch])
    if not missing:
        return
    started = time.monotonic()
    say(f"Installing {len(missing)} package{'s' * (len(missing) > 1)} ({purpose}) ...")
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        if hashed := [line for line in missing if line in entries]:
            wanted.write_text("".join(" ".join([line.split(";")[0], *entries[line]]) + "\n" for line in hashed))
            pip_install(venv, ["--no-deps", "--require-hashes", "-r", str(wanted)])
        if torch[:1] == missing[-1:]:  # no hashes: which build it is depends on the machine
            versions = [line for name in LOCKS if name not in MODULES for line in read_lock(LOCKS[name][0])]
            wanted.write_text("".join(f"{line}\n" for line in versions))
            pip_install(venv, [*torch, "-c", str(wanted)])
    if still := missing_in_environment(venv, [*entries, *torch]):
        raise Problem(f"After the installation {', '.join(still)} is not whole. Delete {venv} and try again.")
    say(f"  {purpose}: done in {time.monotonic() - started:.0f} s")


def make_environment(venv: Path, base: str, version: tuple[int, int]) -> None:
    """An empty environment in place of whatever is there."""
    say(f"Making {venv} with Python {version[0]}.{version[1]} ({base})")
    if venv.exists():
        shutil.rmtree(venv)
    made = subprocess.run([base, "-m", "venv", str(venv)], capture_output=True, text=True)
    if made.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        raise Problem(f"Python could not make {venv}: {(made.stderr or made.stdout).strip()}")


def install_parts(venv: Path, parts: tuple[str, ...]) -> None:
    """Brings an environment to what these parts' lock files say. A part is stamped only once it is there whole."""
    stamp = read_stamp(venv)
    for part in parts:
        if stamp.get(part) != fingerprint(part):
            write_stamp(venv, {name: mark for name, mark in stamp.items() if name != part})
            install(venv, part)
            stamp[part] = fingerprint(part)
            write_stamp(venv, stamp)


def setup(*parts: str) -> None:
    """Makes or repairs `.venv` so that it holds these parts."""
    python = venv_python()
    version = probe(str(python), "pip") if python.exists() else None
    if os.environ.get("GAUSSMITH_PYTHON"):
        version = version if version == find_python()[1] else None
    base, version = ("", version) if version in PYTHONS else find_python()
    if "bpy" in parts and version != (3, 11):
        raise Problem(
            f"This needs the bpy package, which exists for Python 3.11 only; {base or VENV} is "
            f"{version[0]}.{version[1]}. Name a Python 3.11: GAUSSMITH_PYTHON=/path/to/python3.11 python build.py demo "
            "(for the demo, a Blender 4.2 or newer on PATH also does)."
        )
    if base:
        make_environment(VENV, base, version)
    install_parts(VENV, parts)


def module_environment(name: str) -> Path:
    return BLENDERS / name


def has_module(name: str) -> bool:
    """Is this Blender module there, whole and as its lock file says?"""
    venv = module_environment(name)
    return venv_python(venv).exists() and read_stamp(venv).get(name) == fingerprint(name)


def setup_module(name: str) -> None:
    """Makes or repairs the environment of one of MODULES."""
    venv, wanted = module_environment(name), MODULES[name]
    python = venv_python(venv)
    if not python.exists() or probe(str(python), "pip") != wanted:
        make_environment(venv, find_python_of(wanted), wanted)
    install_parts(venv, (name,))


def setup_modules() -> None:
    """Every Blender module tests run in. One that cannot be had here is named and left out; in CI it is a `Problem`."""

    def attempt(name: str) -> str:
        try:
            setup_module(name)
            return ""
        except Problem as problem:
            return f"{name} is left out, and its tests with it: {problem}"

    with ThreadPoolExecutor(len(MODULES)) as pool:  # waiting for the registry and unpacking take turns
        left_out = [words for words in pool.map(attempt, MODULES) if words]
    if left_out and os.environ.get("CI"):
        raise Problem("\n".join(left_out))
    for words in left_out:
        say(words)


def run(*arguments: object, **options) -> int:
    """Runs the environment's Python in the repository root and returns its exit code."""
    return subprocess.run([str(venv_python()), *map(str, arguments)], cwd=ROOT, **options).returncode


# --- The extension ---------------------------------------------------------------------------------------------------

# What people who use the extension need not have: caches, hidden and half-written files, weights only training reads.
LEFT_OUT = ("__pycache__", ".*", "*.pyc", "*.part", "*.pt")


def manifest_value(key: str) -> str:
    """A plain string of blender_manifest.toml (read without tomllib, which Python 3.9 lacks)."""
    match = re.search(
        rf'^{key} = "([^"]+)"', (ROOT / "blender_manifest.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    if match is None:
        raise Problem(f"blender_manifest.toml has no {key}.")
    return match[1]


def listed_wheels() -> list[str]:
    """The wheels the manifest names, relative to the repository."""
    match = re.search(r"^wheels = \[(.*?)\]", (ROOT / "blender_manifest.toml").read_text(encoding="utf-8"), re.M | re.S)
    return re.findall(r'"\./([^"]+)"', match[1]) if match else []


def stage(folder: Path) -> Path:
    """Lays the extension out in `folder`/gaussmith as Blender sees it: addon/ at the top, the engine beside it."""
    staged = folder / manifest_value("id")
    if staged.exists():
        shutil.rmtree(staged)
    ignore = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(ROOT / "addon", staged, ignore=ignore)
    shutil.copytree(ROOT / "engine", staged / "engine", ignore=ignore)
    for name in ("blender_manifest.toml", "LICENSE", *listed_wheels()):
        source = ROOT / name
        if not source.is_file():
            raise Problem(f"{source} is missing, but the extension needs it.")
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, staged / name)
    return staged


def write_zip(folder: Path, path: Path) -> None:
    """Zips a folder so that equal contents give equal bytes: sorted names, one date, one mode."""
    part_file = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part_file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.as_posix()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes(), compresslevel=9)
    os.replace(part_file, path)


def validate(path: Path) -> None:
    """Asks Blender's own tool whether a staged folder or a zip is a good extension; `Problem` with its words if not."""
    folders = [*VENV.glob("lib/python*/site-packages/bpy/*/scripts"), *VENV.glob("Lib/site-packages/bpy/*/scripts")]
    if folders:
        tool = folders[0] / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
        tags = folders[0] / "modules" / "_bpy_internal" / "extensions" / "tags.py"
        command = [str(venv_python()), str(tool), "validate", "--valid-tags", str(tags), str(path)]
    elif blender := find_blender():
        command = [blender, "--factory-startup", "--command", "extension", "validate", str(path)]
    else:
        raise Problem(
            "Validating the extension needs the bpy package or a Blender 4.2 or newer on PATH; neither is here."
        )
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Problem(f"Blender refuses {path}:\n{done.stdout.strip()}")


def package(output: Path = DIST) -> Path:
    """Builds the extension zip in `output` and returns its path; the staged folder stays beside it for developers."""
    (output / "stage").mkdir(parents=True, exist_ok=True)
    staged = stage(output / "stage")
    validate(staged)
    path = output / "{}-{}.zip".format(manifest_value("id"), manifest_value("version"))
    write_zip(staged, path)
    validate(path)
    return path


# --- The demo --------------------------------------------------------------------------------------------------------


def demo_inputs(pictures: list[Path]) -> str:
    """Changes when a picture, the engine or the add-on changes: then the demo is made anew."""
    digest = hashlib.sha256()
    sources = [file for folder in ("addon", "engine") for file in (ROOT / folder).rglob("*") if file.is_file()]
    for file in sorted([*pictures, *(file for file in sources if "__pycache__" not in file.parts)]):
        digest.update(str(file.relative_to(ROOT)).encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


DRAW_SHEET = """
import sys
from engine.export.preview import comparison_sheet
sheet, *files = sys.argv[1:]
half = len(files) // 2
comparison_sheet(list(zip(files[:half], files[half:])), sheet, views=6)
"""
"""Run in the environment: a row for each picture and the mesh made from it."""


def demo() -> int:
    """Meshes from the pictures in examples/, made by the add-on's batch inside Blender, and a sheet to look at."""
    blender = find_blender()
    setup("engine", *([] if blender else ["bpy"]))
    pictures = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".png", ".jpg"))
    report, blend, sheet, mark = (DEMO / name for name in ("report.jsonl", "demo.blend", "contact_sheet.png", "inputs"))
    meshes = [DEMO / f"{picture.stem}.glb" for picture in pictures]
    DEMO.mkdir(parents=True, exist_ok=True)
    inputs = demo_inputs(pictures)
    if not mark.is_file() or mark.read_text() != inputs:
        for old in (report, blend, sheet, *meshes):
            old.unlink(missing_ok=True)
        mark.write_text(inputs)
    if all(path.is_file() for path in (*meshes, report, blend, sheet)):
        say("Everything is there from an earlier run; delete out/demo to make it anew.")
    else:
        for picture, mesh in zip(pictures, meshes):
            if picture.name not in stage_seconds(report):  # cut short between the mesh and its line in the report
                mesh.unlink(missing_ok=True)
        blend.unlink(missing_ok=True)
        say(f"Making {len(pictures)} meshes in {blender or 'the bpy package'}; a first run also compiles kernels.")
        if code := run_batch(blender, [*pictures, "--output", DEMO, "--report", report, "--blend", blend]):
            return code
        if run("-c", DRAW_SHEET, sheet, *pictures, *meshes):
            raise Problem(f"Drawing {sheet} failed; the meshes are in {DEMO}.")
    say(demo_table(report))
    say(f"Meshes         {DEMO}{os.sep}*.glb\nBlender file   {blend}\nContact sheet  {sheet}")
    return 0


def run_batch(blender: str | None, arguments: list[Path | str]) -> int:
    """Runs addon/batch.py to its end, showing its lines and leaving out Blender's own; all are in out/demo/log.txt."""
    host = [blender, "-b", "--factory-startup", "--python-exit-code", "3", "--python"] if blender else [venv_python()]
    command = [str(word) for word in (*host, ROOT / "addon" / "batch.py", "--", *arguments)]
    environment = {**os.environ, "GAUSSMITH_ENGINE_PYTHON": str(venv_python()), "PYTHONUNBUFFERED": "1"}
    lines: list[str] = []
    with (DEMO / "log.txt").open("w", encoding="utf-8") as log:
        batch = subprocess.Popen(
            command, env=environment, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert batch.stdout is not None
        for line in batch.stdout:
            log.write(line)
            lines.append(line.rstrip())
            if re.match(r"\[\d+/\d+\] |    ", line):
                say("  " + lines[-1])
        batch.wait()
    if batch.returncode:
        tail = "\n".join("    " + line for line in lines[-15:])
        say(f"Blender ended with exit code {batch.returncode}. The end of {DEMO / 'log.txt'}:\n{tail}")
    return batch.returncode


def stage_seconds(report: Path) -> dict[str, dict[str, float]]:
    """Picture -> stage -> seconds, of the pictures done so far."""
    lines = report.read_text(encoding="utf-8").splitlines() if report.is_file() else []
    records = [json.loads(line) for line in lines]
    return {Path(record["picture"]).name: record["seconds"] for record in records if record["status"] == "done"}


def demo_table(report: Path) -> str:
    """Seconds per stage (columns) of each picture (rows)."""
    made = stage_seconds(report)
    stages = list(dict.fromkeys(name for seconds in made.values() for name in seconds))
    width = max(map(len, made))
    lines = ["".join([" " * width, *(f"{name:>12}" for name in [*stages, "all, s"])])]
    for name, seconds in made.items():
        times = [seconds.get(stage, 0.0) for stage in stages]
        lines.append("".join([f"{name:{width}}", *(f"{time:12.2f}" for time in [*times, sum(times)])]))
    return "\n".join(lines)


# --- Checks, tests, benchmarks ---------------------------------------------------------------------------------------


def check() -> int:
    """Format, lint, types and the fast tests: what to run before each commit. Types are checked beside the others."""
    setup("engine", "bpy", "dev", "train")
    began = time.monotonic()
    types = subprocess.Popen(
        [str(venv_python()), "-m", "basedpyright"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    )  # fmt: skip
    failed = 0
    for name, arguments in {
        "format": ["ruff", "format", "--check", "--quiet", "."],
        "lint": ["ruff", "check", "--quiet", "."],
        "fast tests": ["pytest", "-m", "not slow and not blender and not gpu"],
    }.items():
        started = time.monotonic()
        code = run("-m", *arguments)
        failed += code != 0
        say(f"{name}: {'failed' if code else 'good'} ({time.monotonic() - started:.1f} s)")
    told, _ = types.communicate()
    failed += types.returncode != 0
    say(f"{told.rstrip()}\ntypes: {'failed' if types.returncode else 'good'}")
    say(f"All of it: {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


def has_card() -> bool:
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True).returncode == 0


BESIDE = tuple(f"tests/blender/test_{name}.py" for name in ("facts", "real_engine", "scripting", "sidebar", "window"))
"""Tests that mostly wait for Blender's starts and windows; they run beside all others."""


def test(arguments: list[str]) -> int:
    """Every test this machine can run; further arguments go to pytest."""
    setup("engine", "bpy", "dev", "train")
    setup_modules()
    marks = [] if has_card() else ["-m", "not gpu"]
    if marks:
        say("No NVIDIA card here: tests marked gpu are left out.")
    if arguments:
        return run("-m", "pytest", *marks, *arguments)
    pytest = [str(venv_python()), "-m", "pytest", *marks]
    with tempfile.TemporaryFile() as told:
        beside = subprocess.Popen([*pytest, *BESIDE], cwd=ROOT, stdout=told, stderr=told)
        failed = subprocess.run([*pytest, *(f"--ignore={file}" for file in BESIDE)], cwd=ROOT).returncode
        failed = beside.wait() or failed
        told.seek(0)
        say("\n".join(["Beside these ran:", *BESIDE, told.read().decode("utf-8", "replace").rstrip()]))
    return failed


def bench(names: list[str]) -> int:
    """Runs benchmarks/*.py, or the named ones; each prints ratios measured in its own run."""
    setup("engine", "train")
    scripts = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("*.py"))}
    if unknown := [name for name in names if name not in scripts]:
        raise Problem(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(scripts)}.")
    failed = 0
    for name in names or scripts:
        say(f"== {name}")
        failed += run(scripts[name], env={**os.environ, "PYTHONPATH": str(ROOT)}) != 0
    return 1 if failed else 0


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="build.py", description="Gaussmith: everything from a checkout.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("setup", help="make .venv with all parts (the other commands make what they need themselves)")
    commands.add_parser("demo", help="meshes, a Blender file and a contact sheet from the pictures in examples/")
    commands.add_parser("check", help="format, lint, types and fast tests; under a minute")
    for name, more, text in (
        ("test", "PYTEST_ARGUMENT", "all tests this machine can run"),
        ("bench", "NAME", "benchmarks, all or the named ones"),
    ):
        commands.add_parser(name, help=text).add_argument("more", nargs=argparse.REMAINDER, metavar=more)
    commands.add_parser("package", help="the extension zip, validated by Blender's own tool, in dist/")
    options = parser.parse_args(argv)
    try:
        if options.command == "setup":
            setup("engine", "bpy", "dev", "train")
            say(f"{VENV} holds everything.")
        elif options.command == "demo":
            return demo()
        elif options.command == "check":
            return check()
        elif options.command == "test":
            return test(options.more)
        elif options.command == "bench":
            return bench(options.more)
        else:
            setup("engine", *([] if find_blender() else ["bpy"]))
            path = package()
            say(f"{path}  ({path.stat().st_size / 1e6:.2f} MB)")
    except Problem as problem:
        print(f"build.py: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt:
        print("build.py: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

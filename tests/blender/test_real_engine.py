# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole road with the real engine and the bundled network: in every Blender headless, and in a real window."""

import json
import os
import shutil
import sys

import pytest

from .conftest import HOSTS, INSIDE, PROGRAMS, ROOT, check_outcome, find_blender, run_in_window

pytestmark = [pytest.mark.blender, pytest.mark.slow, pytest.mark.timeout(400)]

PICTURE = ROOT / "examples" / "teapot.png"


@pytest.fixture
def real(tmp_path) -> dict[str, str]:
    """This environment's Python runs the engine."""
    return {"GAUSSMITH_ENGINE_PYTHON": sys.executable, "BLENDER_USER_RESOURCES": str(tmp_path / "user")}


@pytest.mark.parametrize("host", HOSTS)
def test_a_picture_becomes_a_mesh_headless(host, real, tmp_path):
    report = tmp_path / "report.jsonl"
    arguments = (PICTURE, "--output", tmp_path, "--faces", 3000, "--texture", 512, "--report", report)
    done = find_blender(host).run(ROOT / "addon" / "batch.py", *arguments, environ=real)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = [json.loads(line) for line in report.read_text().splitlines()]
    assert record["status"] == "done"
    assert 500 < record["faces"] <= 1.03 * 3000
    assert record["watertight"] is True
    assert record["seconds"]["generate"] > 0
    assert (tmp_path / "teapot.glb").read_bytes()[:4] == b"glTF"


def test_options_out_of_range_end_with_2(real, tmp_path):
    done = find_blender("bpy").run(
        ROOT / "addon" / "batch.py", PICTURE, "--output", tmp_path, "--texture", 7, environ=real
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "texture is 7" in done.stdout
    assert not (tmp_path / "teapot.glb").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_picture_becomes_an_object_in_a_window(name, user, real, tmp_path):
    _, own = user(name)
    own = {**own, "GAUSSMITH_ENGINE_PYTHON": real["GAUSSMITH_ENGINE_PYTHON"]}
    shutil.copy(PICTURE, tmp_path)
    done = run_in_window(name, INSIDE / "real_engine_facts.py", tmp_path, own)
    fact = "fact_a_picture_becomes_a_closed_textured_mesh_at_the_cursor"
    check_outcome(tmp_path / "outcomes.json", fact, done.stdout + done.stderr)
    assert done.returncode == 0
    left = [words for words in _command_lines() if str(own["BLENDER_USER_RESOURCES"]) in words]
    assert left == []


def _command_lines() -> list[str]:
    """What every process was started with."""
    lines = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                lines.append(file.read().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended meanwhile
    return lines

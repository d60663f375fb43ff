# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole road with the real engine and the bundled network: in every Blender headless, and in a real window."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from addon.files.glb import read_glb
from engine.fields.splats import write_splats
from tests.engine.shapes import box

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


@pytest.fixture(scope="module")
def crate(tmp_path_factory) -> Path:
    """A file of splats, z up: a box of 1.4 by 1 by 0.6 whose middle is at (5, 6, 7), red towards -y and else green."""
    folder = tmp_path_factory.mktemp("splats")
    splats = box((0.7, 0.5, 0.3), 0.03)
    colors = np.where((splats.means[:, 1:2] < -0.49), (0.9, 0.1, 0.1), (0.1, 0.7, 0.1))
    moved = splats.means + np.array([5, 6, 7])
    write_splats(
        folder / "crate.spz", replace(splats, means=moved.astype(np.float32), colors=colors.astype(np.float32))
    )
    return folder / "crate.spz"


@pytest.mark.parametrize("host", HOSTS)
def test_splats_become_a_mesh_that_keeps_its_place_headless(host, real, crate, tmp_path):
    report = tmp_path / "report.jsonl"
    flags = ("--up", "z", "--keep-frame", "--faces", 2000, "--texture", 512, "--lods", 1, "--watertight")
    arguments = (crate, "--output", tmp_path, *flags, "--report", report)
    done = find_blender(host).run(ROOT / "addon" / "batch.py", *arguments, environ=real)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = [json.loads(line) for line in report.read_text().splitlines()]
    assert (record["status"], record["watertight"], record["manifold"], record["genus"]) == ("done", True, True, 0)
    mesh = read_glb(tmp_path / "crate.glb")
    assert 500 < len(mesh.starts) <= 1.02 * 2000
    np.testing.assert_allclose(mesh.vertices.min(0), (4.3, 5.5, 6.7), atol=0.03)
    np.testing.assert_allclose(mesh.vertices.max(0), (5.7, 6.5, 7.3), atol=0.03)
    assert mesh.report["watertight"] is True
    assert record["lods"] == [str(tmp_path / "crate_LOD1.glb")]
    level = read_glb(tmp_path / "crate_LOD1.glb")
    assert 100 < len(level.starts) <= 1.05 * 500
    np.testing.assert_allclose((level.vertices.min(0) + level.vertices.max(0)) / 2, (5, 6, 7), atol=0.03)


@pytest.mark.parametrize("host", HOSTS)
def test_quads_with_all_maps_from_splats_headless(host, real, crate, tmp_path):
    flags = ("--topology", "quads", "--normal-map", "--occlusion", "--image", "webp", "--faces", 1000, "--texture", 512)
    report = tmp_path / "report.jsonl"
    arguments = (crate, "--output", tmp_path, *flags, "--report", report)
    done = find_blender(host).run(ROOT / "addon" / "batch.py", *arguments, environ=real, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    mesh = read_glb(tmp_path / "crate.glb")
    sizes = np.diff(mesh.starts, append=len(mesh.corners))
    assert set(sizes) == {4}
    if not 0.98 * 1000 <= len(sizes) <= 1.02 * 1000:
        assert 0.85 * 1000 < len(sizes) < 1.15 * 1000
        assert f"{len(sizes)} quads" in report.read_text()
    assert mesh.color.suffix == ".webp"
    assert mesh.normal is not None
    assert mesh.occlusion is not None
    assert mesh.report["quads"] is True


def test_options_out_of_range_end_with_2(real, tmp_path):
    done = find_blender("bpy").run(
        ROOT / "addon" / "batch.py", PICTURE, "--output", tmp_path, "--texture", 7, environ=real
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "texture is 7" in done.stdout
    assert not (tmp_path / "teapot.glb").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_picture_and_dropped_splats_become_objects_in_a_window(name, user, real, crate, tmp_path):
    _, own = user(name)
    own = {**own, "GAUSSMITH_ENGINE_PYTHON": real["GAUSSMITH_ENGINE_PYTHON"]}
    shutil.copy(PICTURE, tmp_path)
    shutil.copy(crate, tmp_path)
    done = run_in_window(name, INSIDE / "real_engine_facts.py", tmp_path, own)
    for fact in WINDOW_FACTS:
        check_outcome(tmp_path / "outcomes.json", fact, done.stdout + done.stderr)
    assert done.returncode == 0
    left = [words for words in _command_lines() if str(own["BLENDER_USER_RESOURCES"]) in words]
    assert left == []


WINDOW_FACTS = (
    "fact_a_picture_becomes_a_closed_textured_mesh_at_the_cursor",
    "fact_dropped_splats_become_a_closed_mesh_at_the_cursor",
    "fact_imported_splats_with_z_up_stand_and_have_levels_of_detail",
)


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

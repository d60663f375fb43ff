# SPDX-License-Identifier: GPL-3.0-or-later
"""Headless meshes: what is written, what is told, and the exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import HOSTS, ROOT, engines_left, find_blender

pytestmark = [pytest.mark.blender, pytest.mark.slow]

BATCH = ROOT / "addon" / "batch.py"


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "Bilder für alle"
    folder.mkdir()
    for name in ("apfel", "birne ä"):
        (folder / f"{name}.png").write_bytes(b"the fake engine looks at the name only")
    return folder


@pytest.fixture
def batch(environ, tmp_path):
    """Runs the batch in a Blender; gives exit code, output and the report's records."""

    def run(*arguments, host: str = "bpy", environ=environ):
        report = tmp_path / "report.jsonl"
        report.unlink(missing_ok=True)
        done = find_blender(host).run(BATCH, *arguments, "--report", report, environ=environ)
        records = [json.loads(line) for line in report.read_text().splitlines()] if report.is_file() else []
        return done.returncode, done.stdout + done.stderr, records

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("host", HOSTS)
def test_a_folder_of_pictures_becomes_meshes_named_alike(batch, pictures, tmp_path, host):
    code, output, records = batch(pictures, "--output", tmp_path / "out", "--faces", 5000, host=host)
    assert code == 0, output
    assert names(tmp_path / "out") == ["apfel.glb", "birne ä.glb"]
    assert [(r["name"], r["status"]) for r in records] == [("apfel", "done"), ("birne ä", "done")]
    for record in records:
        assert Path(record["output"]).read_bytes()[:4] == b"glTF"
        assert record["faces"] == 14
        assert record["watertight"] is True
        assert record["warnings"] == []
        assert set(record["seconds"]) == {"picture", "generate", "density", "surface", "texture", "export"}


@pytest.mark.parametrize("host", HOSTS)
def test_one_failure_does_not_stop_the_rest(batch, pictures, tmp_path, host):
    for name in ("fail", "crash"):
        (pictures / f"{name}.png").write_bytes(b"")
    code, output, records = batch(pictures, "--output", tmp_path / "out", host=host)
    told = {record["name"]: record for record in records}
    assert {name: record["status"] for name, record in told.items()} == {
        "apfel": "done",
        "birne ä": "done",
        "crash": "failed",
        "fail": "failed",
    }
    assert (told["fail"]["code"], told["fail"]["hint"]) == ("BAD_PICTURE", "Choose a PNG or JPEG.")
    assert told["crash"]["code"] == "ENGINE_DIED"
    assert "the fake engine crashes now" in told["crash"]["detail"]
    assert code == 3, output  # the crash is the engine's fault
    assert names(tmp_path / "out") == ["apfel.glb", "birne ä.glb"]


def test_a_failure_of_a_picture_alone_ends_with_1(batch, pictures, tmp_path):
    (pictures / "fail.png").write_bytes(b"")
    code, output, _ = batch(pictures, "--output", tmp_path / "out")
    assert code == 1, output


def test_a_missing_picture_fails_by_name_and_the_rest_is_made(batch, pictures, tmp_path):
    code, _, records = batch(pictures / "nowhere.png", pictures / "apfel.png", "--output", tmp_path / "out")
    assert code == 1
    assert [record["status"] for record in records] == ["failed", "done"]
    assert "nowhere.png" in records[0]["message"]


def test_existing_meshes_are_kept_unless_told_otherwise(batch, pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "apfel.glb").write_bytes(b"mine")
    code, output, records = batch(pictures, "--output", out)
    assert code == 0
    assert [record["status"] for record in records] == ["skipped", "done"]
    assert "exists, skipped" in output
    assert (out / "apfel.glb").read_bytes() == b"mine"
    code, _, records = batch(pictures, "--output", out, "--overwrite")
    assert [record["status"] for record in records] == ["done", "done"]
    assert (out / "apfel.glb").read_bytes()[:4] == b"glTF"


def test_all_meshes_side_by_side_in_one_file(batch, pictures, tmp_path):
    blend = tmp_path / "all.blend"
    code, output, _ = batch(pictures, "--output", tmp_path / "out", "--blend", blend, "--size", 2)
    assert code == 0, output
    look = tmp_path / "look.py"
    look.write_text(
        "import bpy, json, sys\n"
        "bpy.ops.wm.open_mainfile(filepath=sys.argv[-2])\n"
        "found = {o.name: list(o.location) for o in bpy.data.objects if o.type == 'MESH'}\n"
        "packed = all(i.packed_file for i in bpy.data.images if i.source == 'FILE')\n"
        "json.dump([found, packed, bpy.context.scene.camera is not None], open(sys.argv[-1], 'w'))\n"
    )
    subprocess.run([sys.executable, look, blend, tmp_path / "seen.json"], check=True, timeout=60)
    found, packed, has_camera = json.loads((tmp_path / "seen.json").read_text())
    assert found == {"apfel": [0, 0, 0], "birne ä": pytest.approx([2.8, 0, 0])}
    assert packed
    assert has_camera
    code, output, _ = batch(pictures, "--output", tmp_path / "out", "--blend", blend)
    assert code == 2
    assert "exists already" in output


def test_another_format_leaves_only_its_own_files(batch, pictures, tmp_path):
    code, output, _ = batch(pictures / "apfel.png", "--output", tmp_path / "out", "--format", "obj")
    assert code == 0, output
    assert names(tmp_path / "out") == ["apfel.mtl", "apfel.obj", "apfel_texture.png"]


@pytest.mark.parametrize(
    ("host", "arguments", "sentence"),
    [
        ("bpy", ["--output", "out"], "required: PICTURE_OR_FOLDER"),
        ("bpy", ["a.png"], "required: -o/--output"),
        ("bpy", ["a.png", "--output", "out", "--faces", "many"], "invalid int value"),
        ("bpy", ["a.png", "--output", "FILE"], "name a folder"),
        *((host, ["EMPTY", "--output", "out"], "no pictures") for host in HOSTS),
    ],
)
def test_usage_errors_end_with_2_and_a_sentence(batch, tmp_path, host, arguments, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    places = {"EMPTY": tmp_path / "empty", "FILE": tmp_path / "file", "out": tmp_path / "out"}
    code, output, records = batch(*(places.get(word, word) for word in arguments), host=host)
    assert code == 2, output
    assert sentence in output
    assert records == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("host", HOSTS)
def test_an_engine_that_cannot_start_ends_with_3_and_what_to_do(batch, pictures, tmp_path, environ, host):
    broken = {**environ, "GAUSSMITH_ENGINE_PYTHON": str(tmp_path / "nowhere")}
    code, output, records = batch(pictures, "--output", tmp_path / "out", host=host, environ=broken)
    assert code == 3
    assert len(records) == 1  # the others are not tried
    assert records[0]["code"] == "NO_ENGINE"
    assert "nowhere" in output
    assert "GAUSSMITH_ENGINE_PYTHON" in output


def test_the_engines_python_can_be_named(batch, pictures, tmp_path, environ, fake_python):
    broken = {**environ, "GAUSSMITH_ENGINE_PYTHON": str(tmp_path / "nowhere")}
    code, output, _ = batch(pictures, "--output", tmp_path / "out", "--engine-python", fake_python, environ=broken)
    assert code == 0, output


def test_a_picture_that_takes_too_long_fails_and_the_rest_is_made(batch, pictures, tmp_path):
    (pictures / "aa hang.png").write_bytes(b"")
    code, _, records = batch(pictures, "--output", tmp_path / "out", "--timeout", 1)
    assert code == 3
    assert [record["status"] for record in records] == ["failed", "done", "done"]
    assert records[0]["code"] == "TIMEOUT"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_engine_outlives_a_batch_that_is_ended(environ, pictures, tmp_path, host, end):
    (pictures / "aa hang.png").write_bytes(b"")
    marker = f"GAUSSMITH_TEST={tmp_path}"
    blender = find_blender(host)
    command = [*blender.command, str(BATCH), "--", str(pictures), "--output", str(tmp_path / "out")]
    with subprocess.Popen(
        command, env={**os.environ, **environ, "GAUSSMITH_TEST": str(tmp_path)}, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 30
        while not engines_left(marker):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(end)
        code = process.wait(20)
    assert code == (143 if end == signal.SIGTERM else -signal.SIGKILL)
    deadline = time.monotonic() + 10
    while left := engines_left(marker):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Headless meshes from pictures and splats: what is written, what is told, and the exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import EVERY_HOST, HOSTS, ROOT, engines_left, find_blender

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
    """What a user sees in a folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("host", EVERY_HOST)
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
    assert code == 0
    assert "exists and holds all" in output
    blend.write_bytes(b"mine")
    code, output, _ = batch(pictures, "--output", tmp_path / "out", "--blend", blend)
    assert code == 2
    assert "exists already" in output
    assert blend.read_bytes() == b"mine"


def test_another_format_leaves_only_its_own_files(batch, pictures, tmp_path):
    code, output, _ = batch(pictures / "apfel.png", "--output", tmp_path / "out", "--format", "obj")
    assert code == 0, output
    assert names(tmp_path / "out") == ["apfel.mtl", "apfel.obj", "apfel_texture.png"]


SPLAT_PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 5\nproperty float scale_0\nend_header\n"
MESH_PLY = b"ply\nformat ascii 1.0\nelement vertex 8\nelement face 12\nend_header\n"


@pytest.fixture
def mixed(tmp_path) -> Path:
    """A folder with a picture, splats in several formats, a mesh and other things."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("apfel.png", "apfel.spz", "birne.ply", "c.splat", "d.ksplat", "e.sog", "notes.txt"):
        (folder / name).write_bytes(SPLAT_PLY)
    (folder / "bunny.ply").write_bytes(MESH_PLY)
    (folder / "f").mkdir()  # an unpacked .sog
    (folder / "f" / "meta.json").write_text('{"means": {"files": ["means_l.webp"]}}')
    (folder / "f" / "means_l.webp").write_bytes(b"")
    return folder


@pytest.mark.parametrize("host", HOSTS)
def test_a_folder_of_splats_and_pictures_becomes_meshes_named_alike(batch, mixed, tmp_path, host):
    code, output, records = batch(mixed, "--output", tmp_path / "out", "--up", "-y", "--topology", "quads", host=host)
    assert code == 0, output
    made = ["apfel.glb", "apfel_2.glb", "birne.glb", "c.glb", "d.glb", "e.glb", "f.glb"]
    assert names(tmp_path / "out") == made
    assert [record["name"] for record in records] == [name.removesuffix(".glb") for name in made]
    assert ["picture" in record for record in records] == [True] + [False] * 6
    assert ["splats" in record for record in records] == [False] + [True] * 6
    assert {(record["status"], record["faces"], record["genus"]) for record in records} == {("done", 9, 0)}
    assert "apfel.spz becomes apfel_2.glb" in output
    assert "Left out: bunny.ply holds a mesh of 12 faces" in output
    _, _, again = batch(mixed, "--output", tmp_path / "out", host=host)
    assert {record["status"] for record in again} == {"skipped"}


def test_a_mesh_named_as_splats_fails_with_what_to_do_and_the_rest_is_made(batch, mixed, tmp_path):
    code, output, records = batch(mixed / "bunny.ply", mixed / "e.sog", "--output", tmp_path / "out")
    assert code == 1
    assert [(record["status"], record.get("code")) for record in records] == [("failed", "BAD_SPLATS"), ("done", None)]
    assert "bunny.ply holds a mesh of 12 faces, no Gaussian splats. Import it with" in output


def test_every_option_of_the_engine_has_a_flag_and_reaches_it(batch, mixed, tmp_path):
    wanted = {
        "faces": 5000, "texture": 512, "resolution": 128, "size": 2.5, "surface": "tsdf", "topology": "quads",
        "watertight": True, "smoothing": 3, "lods": 0, "views": 8, "symmetry": True, "normal_map": True,
        "occlusion": True, "image": "webp", "charts": "xatlas", "refine": 5, "up": "z", "keep_all": True,
        "save_splats": True, "crop": [-1, -2, -3, 1, 2, 3], "keep_frame": True,
    }  # fmt: skip
    flags = ["--no-photo", "--seed", "7", "--fit", "9"]
    for name, value in wanted.items():
        words = [] if value is True else value if isinstance(value, list) else [value]
        flags += [f"--{name.replace('_', '-')}", *words]
    sources = (mixed / "apfel.png", mixed / "c.splat")
    blend = tmp_path / "all.blend"
    code, output, _ = batch(*sources, "--output", tmp_path / "out", "--blend", blend, *flags)
    assert code == 0, output
    look = tmp_path / "look.py"
    look.write_text(
        "import bpy, json, sys\n"
        "bpy.ops.wm.open_mainfile(filepath=sys.argv[-2])\n"
        "records = [json.loads(o['gaussmith']) for o in bpy.data.objects if o.type == 'MESH']\n"
        "json.dump(records, open(sys.argv[-1], 'w'))\n"
    )
    subprocess.run([sys.executable, look, blend, tmp_path / "seen.json"], check=True, timeout=60)
    picture, splats = json.loads((tmp_path / "seen.json").read_text())
    assert splats["options"] == wanted
    assert picture["seed"] == 7
    of_splats = ("up", "crop", "keep_all", "keep_frame")
    assert picture["options"] == {**{k: v for k, v in wanted.items() if k not in of_splats}, "photo": False, "fit": 9}


def test_levels_of_detail_are_files_beside_the_mesh_and_never_replace_another(batch, mixed, tmp_path):
    out = tmp_path / "out"
    code, output, records = batch(mixed / "c.splat", "--output", out, "--lods", 2)
    assert code == 0, output
    assert names(out) == ["c.glb", "c_LOD1.glb", "c_LOD2.glb"]
    assert records[0]["lods"] == [str(out / "c_LOD1.glb"), str(out / "c_LOD2.glb")]
    (out / "c.glb").unlink()
    (out / "c_LOD2.glb").write_bytes(b"mine")
    code, output, records = batch(mixed / "c.splat", "--output", out, "--lods", 2)
    assert (code, records[0]["code"]) == (1, "CANNOT_WRITE")
    assert "c_LOD2.glb exists already" in output
    assert (out / "c_LOD2.glb").read_bytes() == b"mine"
    assert not (out / "c.glb").exists()


def test_levels_of_detail_in_other_formats(batch, mixed, tmp_path):
    for kind, made in (("obj", ["c_LOD1.mtl", "c_LOD1.obj", "c_LOD1_texture.png"]), ("blend", [])):
        out = tmp_path / kind
        code, output, _ = batch(mixed / "c.splat", "--output", out, "--lods", 1, "--format", kind)
        assert code == 0, output
        assert [name for name in names(out) if "LOD" in name] == made
        assert f"c.{kind}" in names(out)


@pytest.mark.parametrize(
    ("host", "arguments", "sentence"),
    [
        ("bpy", ["--output", "out"], "required: FILE_OR_FOLDER"),
        ("bpy", ["a.png"], "required: -o/--output"),
        ("bpy", ["a.png", "--output", "out", "--faces", "many"], "invalid int value"),
        ("bpy", ["a.png", "--output", "FILE"], "name a folder"),
        ("bpy", ["a.png", "--output", "out", "--faces", "0"], "faces is 0, choose it from 100 to 1,000,000"),
        ("bpy", ["a.spz", "--output", "out", "--up", "x"], "--up: invalid choice: 'x'"),
        (
            "bpy",
            ["a.spz", "--output", "out", "--format", "glb,dae"],
            "there is no format 'dae', choose from glb, blend",
        ),
        ("bpy", ["a.spz", "--output", "out", "--jobs", "0"], "jobs is 0, choose it from 1 to 64"),
        ("bpy", ["a.spz", "--output", "out", "--library", "a.glb"], "expected a name that ends in .blend"),
        ("bpy", ["a.spz", "--output", "out", "--crop", "0", "1"], "--crop: expected 6 arguments"),
        ("bpy", ["a.spz", "--output", "FILE/out"], "Could not write in"),
        *((host, ["EMPTY", "--output", "out"], "no pictures and no splats") for host in HOSTS),
    ],
)
def test_usage_errors_end_with_2_and_a_sentence(batch, tmp_path, host, arguments, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    places = {"EMPTY": tmp_path / "empty", "FILE": tmp_path / "file", "out": tmp_path / "out"}
    words = (places.get(word, word.replace("FILE", str(places["FILE"]))) for word in arguments)
    code, output, records = batch(*words, host=host)
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
        deadline = time.monotonic() + 90
        while not engines_left(marker):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(end)
        code = process.wait(20)
    assert code == (143 if end == signal.SIGTERM else -signal.SIGKILL)
    deadline = time.monotonic() + 60
    while left := engines_left(marker):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole folders headless: killed and gone on with, several Blenders, asset libraries, watching, and what goes wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import HOSTS, ROOT, engines_left, find_blender

pytestmark = [pytest.mark.blender, pytest.mark.slow]

BATCH = ROOT / "addon" / "batch.py"
PARTS_OF_OBJ = (".mtl", "_texture.png", "_thumbnail.png")


@pytest.fixture
def tree(tmp_path) -> Path:
    """Pictures in folders; two have one name."""
    folder = tmp_path / "Bilder"
    for name in ("apfel", "animals/cat", "animals/big/cow", "things/cat"):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"the fake engine looks at the name only")
    return folder


@pytest.fixture
def batch(environ, tmp_path):
    """Runs the batch in a Blender; gives exit code, output and the report's records."""

    def run(*arguments, host: str = "bpy"):
        report = tmp_path / "report.jsonl"
        report.unlink(missing_ok=True)
        done = find_blender(host).run(BATCH, *arguments, "--report", report, environ=environ)
        records = [json.loads(line) for line in report.read_text().splitlines()] if report.is_file() else []
        return done.returncode, done.stdout + done.stderr, records

    return run


@pytest.fixture
def started(environ, tmp_path):
    """Starts a batch that goes on by itself; it is ended with the test."""
    running: list[subprocess.Popen] = []

    def start(*arguments, host: str = "bpy", **options) -> subprocess.Popen:
        command = [*find_blender(host).command, str(BATCH), "--", *map(str, arguments)]
        own = {**os.environ, **environ, "GAUSSMITH_TEST": str(tmp_path)}
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
        running.append(subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, **options))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def seen(folder: Path) -> dict[str, int]:
    """What a user sees in a folder and those below: names, and when each was written."""
    found = {}
    for place, folders, files in os.walk(folder):
        if ".gaussmith" in folders:
            folders.remove(".gaussmith")
        for file in files:
            path = Path(place, file)
            found[path.relative_to(folder).as_posix()] = path.stat().st_mtime_ns
    return found


def state(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".gaussmith").iterdir()}


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


LOOK = """
import bpy, json, sys
bpy.ops.wm.open_mainfile(filepath=sys.argv[-2])
seen = {}
for ob in bpy.data.objects:
    data = ob.asset_data
    facts = None
    if data is not None:
        pixels = list(ob.preview.image_pixels_float)
        tags = sorted(tag.name for tag in data.tags)
        facts = [data.catalog_id, data.author, data.license, tags, max(pixels) > 0]
    seen[ob.name] = [list(ob.location), facts, json.loads(ob.get("gaussmith", "{}")).get("seed")]
json.dump(seen, open(sys.argv[-1], "w"))
"""


def look(library: Path, folder: Path) -> dict[str, list]:
    """What is in a .blend: place, asset and seed of each object, by name."""
    (folder / "look.py").write_text(LOOK)
    subprocess.run([sys.executable, folder / "look.py", library, folder / "seen.json"], check=True, timeout=60)
    return json.loads((folder / "seen.json").read_text())


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
def test_a_tree_becomes_the_same_tree_with_thumbnails_by_several_blenders(batch, tree, tmp_path, host):
    out = tmp_path / "out"
    arguments = (tree, "--recursive", "--output", out, "--format", "obj", "--thumbnails", "--jobs", 2)
    code, output, records = batch(*arguments, host=host)
    assert code == 0, output
    names = {"apfel", "animals/cat", "animals/big/cow", "things/cat"}
    assert set(seen(out)) == {name + end for name in names for end in (".obj", *PARTS_OF_OBJ)}
    assert {record["name"] for record in records} == names
    for record in records:
        assert Path(record["thumbnail"]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert state(out) == {"lock", "logs", "made.jsonl"}
    before = seen(out)
    _, _, records = batch(*arguments, host=host)
    assert {record["status"] for record in records} == {"skipped"}
    assert seen(out) == before


def test_a_batch_may_write_among_its_pictures_and_takes_nothing_it_made_for_one(batch, tree):
    for _ in range(2):
        code, output, records = batch(tree, "-r", "--output", tree, "--format", "obj", "--thumbnails")
        assert code == 0, output
        assert len(records) == 4
    (tree / "apfel_texture.png").unlink()
    shutil.copy(tree / "apfel.png", tree / "pear_texture.png")
    shutil.copy(tree / "apfel.png", tree / "pear.png")
    code, output, records = batch(tree, "-r", "--output", tree, "--format", "obj", "--overwrite")
    told = {record["name"]: record for record in records}
    assert told["pear"]["code"] == "CANNOT_WRITE"
    assert "pear_texture.png is a source of this batch" in output
    assert (tree / "pear_texture.png").read_bytes() == (tree / "pear.png").read_bytes()


def test_a_picture_keeps_its_name_when_another_of_that_name_comes_before_it(batch, tree, tmp_path):
    out = tmp_path / "out"
    batch(tree / "things" / "cat.png", "--output", out)
    before = (out / "cat.glb").stat().st_mtime_ns
    code, output, records = batch(tree / "animals" / "cat.png", tree / "things" / "cat.png", "--output", out)
    assert code == 0, output
    told = [(Path(record["picture"]).parent.name, record["name"], record["status"]) for record in records]
    assert told == [("animals", "cat_2", "done"), ("things", "cat", "skipped")]
    assert (out / "cat.glb").stat().st_mtime_ns == before


@pytest.mark.parametrize("kind", ["glb", "usd"])
def test_names_of_any_length_and_any_unicode_become_files(batch, tmp_path, kind):
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["ä" * 125, "x" * 251, "дом 🏠 猫", "a\nb", os.fsdecode(b"bad \xff"), "e\u0301", "100% {} $HOME ';", "-o"]
    for name in names:
        (folder / f"{name}.png").write_bytes(b"")
    out = tmp_path / "out"
    code, output, records = batch(folder, "--output", out, "--format", kind, "--thumbnails")
    assert code == 0, output
    assert len(records) == len(names)
    for record in records:
        assert Path(record["output"]).is_file()
        assert Path(record["thumbnail"]).is_file()
    assert "becomes" in output


def test_several_formats_come_from_one_mesh(batch, tree, tmp_path):
    out = tmp_path / "out"
    formats = ("--format", "obj,glb,blend,obj", "--lods", 1, "--save-splats")
    code, output, records = batch(tree / "apfel.png", "--output", out, *formats, "--blend", tmp_path / "all.blend")
    assert code == 0, output
    obj = {f"apfel{level}{end}" for level in ("", "_LOD1") for end in (".obj", ".mtl", "_texture.png")}
    assert set(seen(out)) == obj | {"apfel.glb", "apfel_LOD1.glb", "apfel.blend", "apfel.ply"}
    assert Path(records[0]["output"]).name == "apfel.obj"
    assert set(look(tmp_path / "all.blend", tmp_path)) >= {"apfel", "apfel_LOD1"}
    code, output, records = batch(tree / "apfel.png", "--output", out, "--format", "obj,usd")
    assert (code, records[0]["status"]) == (0, "skipped")
    assert "apfel.obj exists, but not" in output
    assert "apfel.usd (--overwrite makes both anew)" in output


# --- asset libraries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
def test_all_meshes_become_assets_with_catalogs_and_previews_and_more_are_added(batch, tree, tmp_path, host):
    library = tmp_path / "library" / "props.blend"
    words = ("--catalog", "Props", "--author", "Ann", "--license", "CC0", "--tags", "toy, red", "--format", "obj")
    arguments = (tree, "-r", "--output", tmp_path / "out", "--library", library, *words)
    code, output, _ = batch(*arguments, host=host)
    assert code == 0, output
    assets = look(library, tmp_path)
    assert len(assets) == 4
    listed = (library.parent / "blender_assets.cats.txt").read_text().splitlines()
    catalogs = {line.split(":")[1]: line.split(":")[0] for line in listed if ":" in line and not line.startswith("#")}
    assert set(catalogs) == {"Props", "Props/animals", "Props/animals/big", "Props/things"}
    assert assets["cow"][1] == [catalogs["Props/animals/big"], "Ann", "CC0", ["red", "toy"], True]
    places = [tuple(place) for place, _, _ in assets.values()]
    assert len(set(places)) == 4  # side by side
    before = library.stat().st_mtime_ns
    code, output, _ = batch(*arguments, host=host)
    assert (code, library.stat().st_mtime_ns) == (0, before), output
    assert state(tmp_path / "out") == {"lock", "logs", "made.jsonl"}
    (tree / "pear.png").write_bytes(b"")
    code, output, _ = batch(*arguments, host=host)
    assert code == 0, output
    more = look(library, tmp_path)
    assert {name: more[name] for name in assets} == assets
    assert set(more) == {*assets, "pear"}
    assert library.with_name("props.blend1").stat().st_mtime_ns >= before


def test_a_library_of_the_users_keeps_what_is_in_it(batch, tree, tmp_path):
    library = tmp_path / "mine.blend"
    subprocess.run(
        [sys.executable, "-c", f"import bpy; bpy.ops.wm.save_as_mainfile(filepath={str(library)!r})"], check=True
    )
    code, output, _ = batch(tree / "apfel.png", "--output", tmp_path / "out", "--library", library)
    assert code == 0, output
    before = look(library, tmp_path)
    assert set(before) == {"Cube", "Camera", "Light", "apfel"}
    arguments = (tree / "apfel.png", "--output", tmp_path / "out", "--library", library, "--overwrite", "--seed", 7)
    code, output, _ = batch(*arguments)
    assert code == 0, output
    after = look(library, tmp_path)
    assert set(after) == set(before)  # made anew, in the place of the one before
    assert (before["apfel"][2], after["apfel"][2]) == (0, 7)
    assert before["apfel"][0] == after["apfel"][0]


def test_what_is_no_library_is_told_and_the_meshes_are_made(batch, tree, tmp_path):
    library = tmp_path / "notes.blend"
    library.write_text("mine")
    code, output, _ = batch(tree / "apfel.png", "--output", tmp_path / "out", "--library", library)
    assert code == 1
    assert f"Could not read {library}" in output
    assert library.read_text() == "mine"
    assert (tmp_path / "out" / "apfel.glb").is_file()
    code, output, _ = batch(tree, "--output", tmp_path / "out", "--library", tmp_path / "props.glb")
    assert code == 2
    assert "expected a name that ends in .blend" in output


# --- ends of any kind ------------------------------------------------------------------------------------------------


def test_killed_again_and_again_it_goes_on_where_it_was(started, tree, tmp_path):
    """At moments spread over the making of meshes and of the library; finished ones are never touched again."""
    for number in range(6):
        (tree / f"more {number}.png").write_bytes(b"")
    out, library = tmp_path / "out", tmp_path / "props.blend"
    arguments = (tree, "-r", "--output", out, "--format", "obj", "--thumbnails", "--jobs", 2, "--library", library)
    finished: dict[str, int] = {}
    for delay in (0.0, 0.2, 0.7):
        process = started(*arguments)
        count = len(seen(out))
        until(lambda process=process, count=count: len(seen(out)) > count or process.poll() is not None)
        time.sleep(delay)
        process.kill()
        process.wait()
        there = seen(out)
        meshes = {name for name in there if name.endswith(".obj")}
        for mesh in meshes:
            assert {mesh.removesuffix(".obj") + end for end in PARTS_OF_OBJ} <= set(there)
        assert {name: there[name] for name in finished} == finished
        finished |= {name: there[name] for name in meshes}
    assert started(*arguments).wait(120) == 0
    there = seen(out)
    assert {name: there[name] for name in finished} == finished
    assert len(there) == 10 * 4
    assert len(look(library, tmp_path)) == 10
    assert state(out) == {"lock", "logs", "made.jsonl"}
    assert sorted(path.name for path in tmp_path.glob("props.*")) == ["props.blend"]
    until(lambda: not engines_left(f"GAUSSMITH_TEST={tmp_path}"), 10)


def test_a_killed_batch_that_overwrites_does_not_overwrite_its_own_work(batch, started, tree, tmp_path):
    out = tmp_path / "out"
    (tree / "zz hang.png").write_bytes(b"")
    arguments = (tree, "--output", out, "--overwrite", "--faces", 500)
    out.mkdir()
    (out / "apfel.glb").write_bytes(b"an older one")
    process = started(*arguments)
    until(lambda: (out / "apfel.glb").read_bytes()[:4] == b"glTF")
    process.kill()
    process.wait()
    before = (out / "apfel.glb").stat().st_mtime_ns
    (tree / "zz hang.png").unlink()
    _, output, _ = batch(*arguments)
    assert "apfel.glb was finished before the batch was interrupted" in output
    assert (out / "apfel.glb").stat().st_mtime_ns == before
    batch(*arguments)  # a new one, for the last has come to its end
    assert (out / "apfel.glb").stat().st_mtime_ns != before


def test_a_second_batch_in_the_same_folder_is_told_who_writes_there(batch, started, tree, tmp_path):
    (tree / "aa hang.png").write_bytes(b"")
    process = started(tree, "--output", tmp_path / "out")
    until(lambda: (tmp_path / "out" / ".gaussmith" / "making").is_dir())
    code, output, records = batch(tree, "--output", tmp_path / "out")
    assert (code, records) == (2, [])
    assert f"Another batch writes in {tmp_path / 'out'}: process {process.pid} on" in output


def test_a_picture_that_vanishes_before_its_turn_fails_and_the_rest_is_made(started, tree, tmp_path):
    (tree / "aa slow.png").write_bytes(b"")
    report = tmp_path / "r.jsonl"
    process = started(tree, "-r", "--output", tmp_path / "out", "--report", report)
    until(lambda: (tmp_path / "out" / ".gaussmith" / "making").is_dir())
    (tree / "things" / "cat.png").unlink()
    assert process.wait(60) == 1
    told = {record["name"]: record for record in map(json.loads, report.read_text().splitlines())}
    assert told["things/cat"]["code"] == "BAD_PICTURE"
    assert "There is no file" in told["things/cat"]["message"]
    assert {record["status"] for name, record in told.items() if name != "things/cat"} == {"done"}


def test_a_folder_that_cannot_be_written_does_not_matter_where_all_is_made(batch, tree, tmp_path):
    out = tmp_path / "out"
    batch(tree / "apfel.png", "--output", out)
    shutil.rmtree(out / ".gaussmith")
    (out / ".gaussmith").write_text("in the way of what a batch needs to write")
    code, output, records = batch(tree / "apfel.png", "--output", out)
    assert code == 0, output
    assert records[0]["status"] == "skipped"
    code, output, _ = batch(tree, "-r", "--output", out)
    assert code == 2
    assert f"Could not write in {out}" in output


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_stops_the_batch_and_it_goes_on_once_there_is_room(batch, tree, tmp_path):
    out = tmp_path / "small"
    out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(out)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        arguments = (tree, "-r", "--output", out, "--format", "obj")
        code, output, records = batch(*arguments)
        assert code == 1
        assert records[-1]["code"] == "DISK_FULL"
        assert "Stopped: no other file can work." in output
        left = set(seen(out))
        assert {name for name in left if name.endswith(".obj")} == {r["name"] + ".obj" for r in records[:-1]}
        assert len(left) == 3 * (len(records) - 1)
        library = ("--library", out / "props.blend")
        code, output, _ = batch(tree, "-r", "--output", tmp_path / "elsewhere", *library)
        assert code == 1
        assert f"Could not write {out / 'props.blend'}: No space left on device" in output
        assert not list(out.glob("props*"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
        code, output, _ = batch(tree, "-r", "--output", tmp_path / "elsewhere", *library)
        assert code == 0, output
        assert len(look(out / "props.blend", tmp_path)) == 4
        code, output, _ = batch(*arguments)
        assert code == 0, output
        assert len(seen(out)) == 12 + 2  # the library and its catalogs
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_a_report_on_a_full_disk_costs_no_mesh(started, tree, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("Linux only")
    with open(tmp_path / "log", "wb") as log:
        process = started(tree, "--output", tmp_path / "out", "--report", "/dev/full", stdout=log)
        assert process.wait(60) == 1
    assert "Could not write the report /dev/full: No space left on device." in (tmp_path / "log").read_text()
    assert (tmp_path / "out" / "apfel.glb").is_file()


def test_a_report_that_is_one_of_the_pictures_is_refused(started, tree, tmp_path):
    picture = tree / "apfel.png"
    before = picture.read_bytes()
    assert started(tree, "--output", tmp_path / "out", "--report", picture).wait(60) == 2
    assert picture.read_bytes() == before


def test_a_blender_that_dies_fails_its_mesh_only(started, tree, tmp_path):
    report = tmp_path / "r.jsonl"
    process = started(tree, "-r", "--output", tmp_path / "out", "--format", "fbx", "--jobs", 2, "--report", report)
    until(lambda: len(workers_left(tmp_path)) == 2)
    os.kill(workers_left(tmp_path)[0], signal.SIGKILL)
    assert process.wait(90) == 1
    records = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted(record["status"] for record in records) == ["done", "done", "done", "failed"]
    (failed,) = (record for record in records if record["status"] == "failed")
    assert "Blender ended unexpectedly" in failed["message"]


def workers_left(marker: Path) -> list[int]:
    """Process ids of this test's workers. Linux only."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            if (
                b"--gaussmith-worker" in words
                and f"GAUSSMITH_TEST={marker}".encode() in (process / "environ").read_bytes()
            ):
                found.append(int(process.name))
        except OSError:
            continue  # it ended meanwhile
    return found


# --- watching --------------------------------------------------------------------------------------------------------


def test_pictures_that_are_added_to_a_watched_folder_are_made_once_they_are_whole(started, tmp_path):
    folder, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.jsonl"
    folder.mkdir()
    process = started(folder, "-r", "--output", out, "--watch", "--overwrite", "--report", report)
    time.sleep(0.5)
    (folder / "sub").mkdir()
    (folder / "sub" / "cat.png").write_bytes(b"1")
    (folder / "fail.png").write_bytes(b"1")
    with open(folder / "growing.png", "wb") as file:
        until(lambda: file.write(b"x") and file.flush() is None and (out / "sub" / "cat.glb").exists())
        assert not (out / "growing.glb").exists()
    until(lambda: (out / "growing.glb").exists())
    before = (out / "sub" / "cat.glb").stat().st_mtime_ns
    (folder / "sub" / "cat.png").write_bytes(b"another picture")
    until(lambda: (out / "sub" / "cat.glb").stat().st_mtime_ns != before)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 1  # one failed
    told = [(r["name"], r["status"]) for r in map(json.loads, report.read_text().splitlines())]
    assert sorted(told[:2]) == [("fail", "failed"), ("sub/cat", "done")]
    assert told[2:] == [("growing", "done"), ("sub/cat", "done")]
    until(lambda: not engines_left(f"GAUSSMITH_TEST={tmp_path}"), 10)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The built extension, installed as a user would, in a real window of each full Blender."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from .conftest import (
    INSIDE,
    PROGRAMS,
    call_blender,
    check_outcome,
    engines_left,
    facts_in,
    find_blender,
    install,
    run_in_window,
)

pytestmark = [pytest.mark.blender, pytest.mark.slow, pytest.mark.timeout(600)]

FACTS = [fact for script in ("window_facts.py", "window_faults.py", "window_results.py") for fact in facts_in(script)]
FAULTS = ("fail", "notice", "crash", "killed", "garbage", "memory", "disk", "damaged", "lost", "frozen")
PICTURES = ("teapot slow", "slow", "cat", "dog", *FAULTS)
POINTS = b"ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nend_header\n"
MODULE = "bl_ext.user_default.gaussmith"


def draw_picture(path: Path) -> None:
    """A plain drawing on a transparent background."""
    picture = Image.new("RGBA", (256, 256))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((48, 80, 208, 224), fill=(200, 80, 40, 255))
    pen.rectangle((112, 40, 144, 90), fill=(60, 60, 80, 255))
    picture.save(path)


@pytest.fixture(scope="module")
def windows(user, tmp_path_factory):
    """Runs all facts in a window of a Blender, once."""
    runs = {}

    def run(name: str):
        if name not in runs:
            _, own = user(name)
            folder = tmp_path_factory.mktemp(f"window {name}")
            for picture in PICTURES:
                draw_picture(folder / f"{picture}.png")
            (folder / "statue.spz").write_bytes(b"the fake engine looks at the name only")
            (folder / "points.ply").write_bytes(POINTS)
            runs[name] = folder, run_in_window(name, INSIDE / "window_facts.py", folder, own), own
        return runs[name]

    return run


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("fact", FACTS)
def test_fact(name, fact, windows):
    folder, done, _ = windows(name)
    check_outcome(folder / "outcomes.json", fact, done.stdout + done.stderr)


@pytest.mark.parametrize("name", PROGRAMS)
def test_blender_quits_well_and_takes_the_engine_with_it(name, windows):
    folder, done, own = windows(name)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "engine.pid").is_file()
    assert engines_left(own["GAUSSMITH_TEST"]) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_written_to_stderr_by_our_code(name, windows):
    _, done, _ = windows(name)
    assert "Traceback" not in done.stdout + done.stderr
    assert "gaussmith" not in done.stderr.lower()


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("shot", ["idle", "running", "done", "error", "ready", "report", "no-engine"])
def test_the_panel_can_be_seen(name, shot, windows):
    folder, _, _ = windows(name)
    picture = Image.open(folder / f"panel-{shot}.png").convert("RGB")
    assert len(picture.getcolors(1 << 24)) > 200  # neither black nor a bare background


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_command_of_the_installed_extension(name, user, tmp_path):
    program, own = user(name)
    for picture in ("cat", "fail"):
        draw_picture(tmp_path / f"{picture}.png")
    arguments = ("--output", tmp_path / "out", "--report", tmp_path / "r.jsonl")
    done = call_blender(program, "-c", "gaussmith", tmp_path, *arguments, environ=own)
    assert done.returncode == 1, done.stdout + done.stderr
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(r["name"], r["status"]) for r in records] == [("cat", "done"), ("fail", "failed")]
    done = call_blender(program, "-c", "gaussmith", tmp_path / "cat.png", *arguments, "--format", "blend", environ=own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "cat.blend").is_file()
    assert call_blender(program, "-c", "gaussmith", tmp_path / "cat.png", environ=own).returncode == 2


@pytest.mark.parametrize("name", PROGRAMS)
def test_install_disable_and_remove_leave_nothing(name, package, environ, tmp_path):
    program = find_blender(name).program
    own = {**environ, "BLENDER_USER_RESOURCES": str(tmp_path)}
    install(program, package, own)
    look = (
        "import addon_utils, bpy, json; "
        f"bpy.ops.preferences.addon_{{}}(module='{MODULE}'); "
        f"print('LOOK', json.dumps([addon_utils.check('{MODULE}')[1], hasattr(bpy.types.Scene, 'gaussmith')]))"
    )
    done = call_blender(program, "-b", "--python-expr", look.format("enable"), environ=own)
    assert "LOOK [true, true]" in done.stdout, done.stdout + done.stderr
    done = call_blender(program, "-b", "--python-expr", look.format("disable"), environ=own)
    assert "LOOK [false, false]" in done.stdout, done.stdout + done.stderr
    done = call_blender(program, "--command", "extension", "remove", "gaussmith", environ=own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path for path in tmp_path.rglob("*gaussmith*") if path.is_file()] == []
    assert not list(tmp_path.rglob("extensions/user_default/gaussmith"))
    assert "gaussmith" not in call_blender(program, "--command", "extension", "list", environ=own).stdout

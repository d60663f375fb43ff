# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line as people and scripts use it: what comes out, what is kept, what is said, which exit code."""

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.cli import main

SMALL = ["--generator", "balloon", "--faces", "600", "--texture", "128", "--resolution", "48"]
ROOT = Path(__file__).resolve().parents[2]


def last_json(process):
    """The JSON object on the last line of stdout."""
    return json.loads(process.stdout.strip().splitlines()[-1])


def names(folder):
    return sorted(os.listdir(folder))


# ---- usage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--faces", "0"], "faces is 0"),
        (["--faces", "-5"], "faces is -5"),
        (["--faces", "many"], "faces"),
        (["--texture", "0"], "texture is 0"),
        (["--resolution", "100000"], "resolution is 100,000"),
        (["--size", "0"], "size is 0"),
        (["--size", "nan"], "size is nan"),
        (["--seed", "-1"], "seed is -1"),
        (["--generator", "dreams"], "dreams"),
        (["--colour", "red"], "colour"),
    ],
)
def test_a_wrong_option_is_usage(draw, tmp_path, capsys, arguments, said):
    picture = draw(tmp_path / "p.png")
    assert exit_code("generate", picture, "-o", tmp_path / "out", *arguments) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def exit_code(*arguments):
    """That of one command, run in this process."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:  # of argparse
        return end.code


def plain_engine(*arguments, **settings):
    """The product itself, run as Blender runs it."""
    command = [sys.executable, "-I", "-X", "utf8", "-u", str(ROOT / "engine"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60, **settings)


def test_no_command_and_help():
    assert plain_engine().returncode == 2
    done = plain_engine("--help")
    assert done.returncode == 0
    for command in ("generate", "mesh", "render", "doctor", "serve", "train", "evaluate", "ablate", "export"):
        assert command in done.stdout


def test_it_starts_as_a_folder_and_as_a_module_from_anywhere(tmp_path):
    version = plain_engine("--version", cwd=tmp_path).stdout
    assert "Gaussmith" in version
    done = subprocess.run([sys.executable, "-m", "engine", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == version


def test_its_folder_is_not_on_the_path():
    """Else `errors`, `device` and the like would be found twice, or in place of somebody else's."""
    code = f"import sys, runpy; sys.argv = ['engine', '--version']; sys.path.insert(0, {str(ROOT / 'engine')!r})\n"
    code += f"try: runpy.run_path({str(ROOT / 'engine')!r}, run_name='__main__')\n"
    code += f"except SystemExit: print([p for p in sys.path if p == {str(ROOT / 'engine')!r}])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_nothing_to_do_is_usage(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    done = plain_engine("generate", tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "no pictures" in done.stderr


@pytest.mark.parametrize("command", ["train", "evaluate", "ablate", "export"])
def test_learning_commands_need_a_system(command, capsys):
    assert exit_code(command) == 2
    assert "needs the name of a system" in capsys.readouterr().err
    assert exit_code(command, "sculptor") == 2
    told = capsys.readouterr().err
    assert "sculptor" in told
    assert "agg" in told


@pytest.mark.slow
def test_learning_commands_reach_the_system():
    commands = ("train", "evaluate", "ablate", "export")
    code = "import contextlib; from engine.cli import main\n"
    code += f"for command in {commands!r}:\n    with contextlib.suppress(SystemExit): main([command, 'agg', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for command in commands:
        assert f"engine {command} agg" in done.stdout


# ---- one picture ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_picture_to_one_file_with_all_that_is_reported(run_engine, draw, tmp_path):
    picture = draw(tmp_path / "Käse 猫" / "a cup.png")
    output = tmp_path / "some where" / "cup ü.glb"
    done = run_engine("generate", picture, "-o", output, *SMALL, "--seed", "5", "--json", "--save-splats")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # quiet in a pipe
    assert len(done.stdout.splitlines()) == 1
    report = last_json(done)
    assert report["output"] == str(output)
    assert report["picture"] == str(picture)
    assert report["saved_splats"] == str(output.with_suffix(".ply"))
    assert names(output.parent) == ["cup ü.glb", "cup ü.ply"]
    assert set(report["seconds"]) == {
        *("picture", "matte", "generate", "density", "surface", "simplify", "unwrap", "bake", "export", "total")
    }
    assert sum(report["seconds"].values()) == pytest.approx(2 * report["seconds"]["total"], rel=0.2)
    assert 100 < report["faces"] <= 600
    assert report["watertight"] is True
    assert report["components"] == 1
    assert report["warnings"] == []
    assert (report["seed"], report["generator"]) == (5, "balloon")
    assert report["engine"]
    assert (report["done"], report["failed"], report["skipped"]) == (1, 0, 0)


@pytest.mark.slow
def test_one_seed_gives_one_result(run_engine, draw, tmp_path):
    picture = draw(tmp_path / "p.png")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run_engine("generate", picture, "-o", tmp_path / f"{name}.glb", *SMALL, "--seed", seed).returncode == 0
    a, b, c = ((tmp_path / f"{name}.glb").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.slow
def test_people_see_one_line_per_picture(run_engine, draw, tmp_path):
    done = run_engine("generate", draw(tmp_path / "p.png"), "-o", tmp_path / "out", *SMALL)
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert str(tmp_path / "out" / "p.glb") in line
    assert "faces, watertight" in line


# ---- many -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_folder_with_all_that_lies_in_folders(run_engine, draw, tmp_path):
    """One failure does not stop the rest, what is no picture is left out, no name is lost, nothing is overwritten."""
    folder, out = tmp_path / "in", tmp_path / "out"
    draw(folder / "cup.png")
    draw(folder / "bar.webp.png", "bar")
    draw(folder / "CUP.jpeg", "bar")
    draw(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.png").write_bytes(draw(tmp_path / "whole.png").read_bytes()[:60])
    (folder / "deeper").mkdir()
    done = run_engine("generate", folder, folder / "cup.png", "-o", out, *SMALL, "--json")
    assert done.returncode == 1
    report = last_json(done)
    assert (report["done"], report["failed"], report["skipped"]) == (3, 1, 0)
    assert names(out) == ["CUP.glb", "bar.webp.glb", "cup_2.glb"]
    assert {Path(r["source"]).name: Path(r["output"]).name for r in report["results"]} == {
        "CUP.jpeg": "CUP.glb",
        "bar.webp.png": "bar.webp.glb",
        "broken.png": "broken.glb",
        "cup.png": "cup_2.glb",
    }
    (failed,) = (r for r in report["results"] if "error" in r)
    assert failed["error"]["code"] == "BAD_PICTURE"
    assert "cut off" in failed["error"]["message"]
    assert "1 file in" in done.stderr
    assert "cup_2.glb" in done.stderr
    assert "error: broken.png" in done.stderr


@pytest.mark.slow
def test_what_exists_is_kept_unless_told_otherwise(run_engine, draw, tmp_path):
    picture, output = draw(tmp_path / "p.png"), tmp_path / "p.glb"
    output.write_text("mine")
    done = run_engine("generate", picture, "-o", tmp_path, *SMALL, "--json")
    assert (done.returncode, last_json(done)["skipped"], output.read_text()) == (0, 1, "mine")
    done = run_engine("generate", picture, "-o", tmp_path, *SMALL, "--json", BALLOON_RAISE="ValueError")
    assert (done.returncode, output.read_text()) == (0, "mine")
    done = run_engine("generate", picture, "-o", tmp_path, *SMALL, "--overwrite", BALLOON_RAISE="ValueError")
    assert (done.returncode, output.read_text()) == (3, "mine")  # it failed: what was there is still there
    done = run_engine("generate", picture, "-o", tmp_path, *SMALL, "--overwrite")
    assert (done.returncode, output.read_bytes()[:4]) == (0, b"glTF")
    assert names(tmp_path) == ["p.glb", "p.png"]


@pytest.mark.slow
def test_splats_that_exist_are_kept_too(run_engine, draw, tmp_path):
    picture, splats = draw(tmp_path / "p.png"), tmp_path / "p.ply"
    splats.write_text("mine")
    done = run_engine("generate", picture, "-o", tmp_path, *SMALL, "--save-splats", BALLOON_SLEEP="30", timeout=25)
    assert (done.returncode, splats.read_text()) == (1, "mine")
    assert "--overwrite" in done.stderr
    assert names(tmp_path) == ["p.ply", "p.png"]


def test_skipping_needs_no_network(run_engine, draw, tmp_path):
    picture = draw(tmp_path / "p.png")
    (tmp_path / "p.glb").write_text("mine")
    done = run_engine("generate", picture, "-o", tmp_path, "--generator", "missing")
    assert done.returncode == 0


def test_many_pictures_do_not_fit_one_file(run_engine, draw, tmp_path):
    pictures = [draw(tmp_path / name) for name in ("a.png", "b.png")]
    done = run_engine("generate", *pictures, "-o", tmp_path / "one.glb", *SMALL)
    assert done.returncode == 2
    assert "one.glb" in done.stderr
    done = run_engine("generate", *pictures, "-o", pictures[0], *SMALL)
    assert done.returncode == 2
    assert names(tmp_path) == ["a.png", "b.png"]


# ---- failures -------------------------------------------------------------------------------------------------------


def bad_pictures(folder):
    from PIL import Image

    (folder / "text.png").write_text("text")
    (folder / "empty.png").touch()
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGBA", (64, 64)).save(folder / "nothing.png")
    Image.new("RGB", (64, 64), (90, 120, 200)).save(folder / "plain.png")
    return ["dot", "empty", "nothing", "plain", "text"]


@pytest.mark.slow
def test_each_bad_picture_is_told_by_name(run_engine, tmp_path):
    bad = bad_pictures(tmp_path)
    done = run_engine("generate", tmp_path, tmp_path / "gone.png", "-o", tmp_path / "out", *SMALL, "--json")
    assert done.returncode == 1
    results = last_json(done)["results"]
    assert [Path(result["source"]).stem for result in results] == [*bad, "gone"]
    assert all(result["error"]["code"] == "BAD_PICTURE" for result in results)
    assert all(result["error"]["hint"] for result in results)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 6


@pytest.mark.slow
def test_no_place_to_write(run_engine, draw, tmp_path):
    """Told before the work is done: below a file, and in a folder of the system that takes no files."""
    picture = draw(tmp_path / "p.png")
    places = [picture / "out"] + ([Path("/proc/out")] if Path("/proc/self").exists() else [])
    for place in places:
        done = run_engine("generate", picture, "-o", place, *SMALL, "--json", BALLOON_SLEEP="30", timeout=20)
        assert done.returncode == 1
        assert last_json(done)["results"][0]["error"]["code"] == "CANNOT_WRITE"
        assert "Choose a folder you can write to" in done.stderr
    assert names(tmp_path) == ["p.png"]


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk of 16 kB, where the system lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and os.name == "posix" and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if not mounted or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here; test_a_disk_that_fills_up asks the same below a process limit")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)


@pytest.mark.slow
def test_a_full_disk(run_engine, draw, tmp_path, full_disk):
    done = run_engine("generate", draw(tmp_path / "p.png"), "-o", full_disk, *SMALL, "--json")
    assert done.returncode == 1
    error = last_json(done)["results"][0]["error"]
    assert error["code"] == "CANNOT_WRITE"
    assert "No space left" in error["message"]
    assert names(full_disk) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX's")
def test_a_disk_that_fills_up(draw, tmp_path):
    """A limit on the size of files fails a write halfway, as a full disk does."""
    balloon = Path(__file__).with_name("balloon_engine.py")
    arguments = ["generate", draw(tmp_path / "p.png"), "-o", tmp_path / "out", *SMALL, "--json"]
    code = "import resource, signal, sys, runpy; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384)); sys.argv = sys.argv[1:]\n"
    code += f"runpy.run_path({str(balloon)!r}, run_name='__main__')"
    command = [sys.executable, "-X", "utf8", "-c", code, "engine", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert last_json(done)["results"][0]["error"]["code"] == "CANNOT_WRITE"
    assert names(tmp_path / "out") == []


def test_an_engine_that_cannot_work_is_3(run_engine, draw, tmp_path):
    picture = draw(tmp_path / "p.png")
    done = run_engine("generate", picture, "-o", tmp_path, "--generator", "missing", "--json")
    assert done.returncode == 3
    assert last_json(done)["error"]["code"] == "BAD_WEIGHTS"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("raised", "code"), [("ZeroDivisionError", "INTERNAL"), ("MemoryError", "OUT_OF_MEMORY")])
def test_a_fault_of_ours_says_so(run_engine, draw, tmp_path, raised, code):
    done = run_engine("generate", draw(tmp_path / "p.png"), "-o", tmp_path, *SMALL, "--json", BALLOON_RAISE=raised)
    assert done.returncode == {"INTERNAL": 3, "OUT_OF_MEMORY": 1}[code]
    assert last_json(done)["results"][0]["error"]["code"] == code
    assert ("Traceback" in done.stderr) == (code == "INTERNAL")
    assert names(tmp_path) == ["p.png"]


# ---- splats and sheets ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_splats_become_a_mesh_and_both_a_sheet(run_engine, draw, tmp_path):
    from PIL import Image

    draw(tmp_path / "p.png")
    assert run_engine("generate", tmp_path / "p.png", "-o", tmp_path / "p.glb", *SMALL, "--save-splats").returncode == 0
    done = run_engine("mesh", tmp_path / "p.ply", "-o", tmp_path / "q.glb", *SMALL[2:], "--json")
    assert done.returncode == 0, done.stderr
    assert last_json(done)["output"] == str(tmp_path / "q.glb")
    assert last_json(done)["watertight"] is True
    for asset in ("p.ply", "q.glb"):
        sheet = tmp_path / f"{asset}.png"
        done = run_engine("render", tmp_path / asset, "-o", sheet, "--views", "4", "--size", "64")
        assert (done.returncode, done.stdout.strip()) == (0, str(sheet)), done.stderr
        with Image.open(sheet) as image:
            assert image.width * image.height >= 4 * 64 * 64
            assert len(image.convert("RGB").getcolors(1 << 20)) > 50


def test_a_file_that_is_no_splats(capsys, tmp_path):
    (tmp_path / "s.ply").write_text("ply\nformat ascii 1.0\nelement vertex 0\nend_header\n")
    assert exit_code("mesh", tmp_path / "s.ply", "-o", tmp_path / "s.glb", "--json") == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["results"][0]["error"]["code"] == "BAD_SPLATS"


@pytest.mark.parametrize("arguments", [["--views", "0"], ["--size", "1000000"]])
def test_a_sheet_of_no_size(tmp_path, arguments):
    assert exit_code("render", "x.glb", "-o", tmp_path / "x.png", *arguments) == 2


def test_a_sheet_of_nothing(capsys, tmp_path):
    (tmp_path / "x.glb").write_text("nothing")
    assert exit_code("render", tmp_path / "x.glb", "-o", tmp_path / "x.png") == 1
    told = capsys.readouterr().err
    assert "error: " in told
    assert "Traceback" not in told


# ---- doctor ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_doctor_of_a_healthy_engine(run_engine):
    done = run_engine("doctor", "--json")
    assert done.returncode == 0, done.stdout
    findings = last_json(done)
    assert findings["works"] is True
    assert findings["self_test"]["faces"] > 100
    assert findings["packages"]["numpy"]["version"]
    assert findings["device"]
    assert findings["why"]
    done = run_engine("doctor")
    assert done.returncode == 0
    assert "self-test" in done.stdout
    assert "passed" in done.stdout


@pytest.mark.slow
def test_the_doctor_of_a_sick_engine(run_engine):
    done = run_engine("doctor", "--json", BALLOON_RAISE="ZeroDivisionError")
    assert done.returncode == 3
    assert last_json(done)["works"] is False
    done = run_engine("doctor", BALLOON_RAISE="ZeroDivisionError")
    assert done.returncode == 3
    assert "FAILED" in done.stdout
    assert "balloon_engine.py" in done.stdout


# ---- a terminal -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")
def test_a_bar_on_a_terminal_shows_the_stages(draw, tmp_path):
    import fcntl
    import pty
    import termios

    balloon = Path(__file__).with_name("balloon_engine.py")
    pictures = [str(draw(tmp_path / name)) for name in ("a.png", "b.png")]
    command = [sys.executable, "-I", "-X", "utf8", str(balloon), "generate", *pictures, "-o", str(tmp_path), *SMALL]
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env={**os.environ, "BALLOON_SLEEP": "0.5"})
    os.close(follower)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while block := os.read(leader, 4096):
            seen += block
    os.close(leader)
    assert process.wait(60) == 0
    shown = seen.decode("utf-8", "replace")
    assert "a.png: Blowing" in shown  # what the generator reports
    assert " %" in shown
    assert "0/2" in shown
    lines = [line for line in shown.replace("\r", "\n").splitlines() if "watertight" in line]
    assert len(lines) == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends the signal of Ctrl-C")
def test_ctrl_c_stops_at_once_and_leaves_nothing(draw, tmp_path):
    balloon = Path(__file__).with_name("balloon_engine.py")
    folder, begun = tmp_path / "in", tmp_path / "begun"
    picture = str(draw(folder / "p.png"))
    command = [sys.executable, "-I", "-X", "utf8", str(balloon), "generate", picture, "-o", str(folder), *SMALL]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        env={**os.environ, "BALLOON_SLEEP": "60", "BALLOON_BEGUN": str(begun)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=50)
    assert process.returncode == 130
    assert stderr.decode().strip().endswith("Stopped.")
    assert "Traceback" not in stderr.decode()
    assert names(folder) == ["p.png"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as Blender's child process: jobs, their order, their end, and its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.protocol import (
    PROTOCOL,
    Ask,
    Cancel,
    CancelledJob,
    Error,
    Facts,
    Generate,
    Hello,
    MakeMesh,
    Notice,
    Progress,
    Result,
    Shutdown,
    Unload,
    encode,
)

SMALL = {"faces": 600, "texture": 128, "resolution": 48}


def gone_within(seconds, process):
    """Whether the process ends by itself in time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ended(pids):
    """Whether all of these processes end within seconds."""
    end = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


def children(pid):
    """Pids of the processes started by `pid`."""
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def test_hello_comes_first_and_soon(wire):
    start = time.monotonic()
    hello = wire().next()
    assert isinstance(hello, Hello)
    assert hello.protocol == PROTOCOL
    assert hello.devices
    assert time.monotonic() - start < 3  # 0.1 s on a free machine; nothing heavy may be imported before


def test_hello_needs_no_heavy_import():
    code = (
        "import sys, engine.server; print([m for m in ('numpy', 'numba', 'scipy', 'onnxruntime') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_picture_becomes_a_mesh(wire, draw, tmp_path):
    engine = wire()
    picture, output = draw(tmp_path / "Käse 猫" / "a cup.png"), tmp_path / "out put" / "ä.glb"
    engine.send(Generate("1", str(picture), str(output), "balloon", 3, SMALL))
    messages = [engine.next() for _ in range(2)]
    while not isinstance(messages[-1], Result | Error):
        messages.append(engine.next())
    result = messages[-1]
    assert isinstance(result, Result), result
    assert result.id == "1"
    assert result.files == {"mesh": str(output)}
    assert output.read_bytes()[:4] == b"glTF"
    assert 0 < result.report["faces"] <= 618
    assert result.report["seed"] == 3
    assert set(result.report["seconds"]) >= {"matte", "generate", "density", "unwrap", "bake", "export", "total"}
    progress = [message for message in messages if isinstance(message, Progress)]
    fractions = [message.fraction for message in progress]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert fractions[-1] > 0.9
    assert len({message.stage for message in progress}) > 5
    assert all(message.text for message in progress)
    assert os.listdir(output.parent) == ["ä.glb"]
    maps = Path(f"/proc/{engine.process.pid}/maps")
    assert not maps.exists() or "libtorch" not in maps.read_text()


@pytest.mark.slow
def test_two_jobs_at_once_are_done_in_turn(wire, draw, tmp_path):
    engine = wire(BALLOON_SLEEP="0.5")
    for job in ("first", "second"):
        engine.send(
            Generate(job, str(draw(tmp_path / f"{job}.png")), str(tmp_path / f"{job}.glb"), "balloon", 0, SMALL)
        )
    order = []
    while sum(isinstance(message, Result) for message in order) < 2:
        order.append(engine.next(Progress, Result, Error))
        assert not isinstance(order[-1], Error), order[-1]
    ends = [message.id for message in order if isinstance(message, Result)]
    assert ends == ["first", "second"]
    assert [m.id for m in order] == sorted(m.id for m in order)  # not one word of the second before the first ended


@pytest.mark.slow
def test_a_job_is_cancelled_at_every_moment(wire, draw, tmp_path):
    """The running one stops at its next report, the waiting one at once, and the next job works."""
    engine = wire(BALLOON_SLEEP="60")
    picture = str(draw(tmp_path / "p.png"))
    for job in ("running", "waiting"):
        engine.send(Generate(job, picture, str(tmp_path / f"{job}.glb"), "balloon", 0, SMALL))
    while engine.next(Progress).stage != "generate":
        pass
    engine.send(Cancel("waiting"))
    assert engine.end() == CancelledJob("waiting")
    engine.send(Cancel("running"))
    assert engine.end(30) == CancelledJob("running")  # it would go on for 60
    engine.send(Cancel("never heard of"))
    engine.send(Generate("bad", str(tmp_path / "none.png"), str(tmp_path / "x.glb"), "balloon"))
    assert engine.end().code == "BAD_PICTURE"
    assert sorted(os.listdir(tmp_path)) == ["p.png"]


@pytest.mark.slow
def test_unwrapping_stops_although_it_cannot_be_interrupted(wire, tmp_path, statue):
    """Its process is ended: on cancel, and when the engine itself ends."""
    engine = wire()

    def reach_unwrapping(job):
        options = {"faces": 150_000, "resolution": 160, "charts": "xatlas"}
        engine.send(MakeMesh(job, str(statue), str(tmp_path / "s.glb"), options))
        while (message := engine.next(Progress, Result, Error)).stage != "unwrap":
            assert isinstance(message, Progress)
        end = time.monotonic() + 60
        while not children(engine.process.pid):
            assert time.monotonic() < end
            time.sleep(0.02)

    reach_unwrapping("1")
    engine.send(Cancel("1"))
    while isinstance(message := engine.next(), Progress):
        assert message.stage == "unwrap"  # it did not come to its end
    assert message == CancelledJob("1")
    assert not (tmp_path / "s.glb").exists()
    engine.send(MakeMesh("2", str(statue), str(tmp_path / "s.glb"), SMALL))
    assert isinstance(engine.end(), Result)

    reach_unwrapping("3")
    helpers = children(engine.process.pid)
    assert helpers
    engine.process.stdin.close()
    assert gone_within(20, engine.process)
    assert ended(helpers)


@pytest.fixture
def statue(tmp_path):
    """A splat file with enough surface to keep the unwrapping busy for seconds."""
    import numpy as np

    from engine.fields.gaussians import Gaussians
    from engine.fields.splats import write_splats

    rng = np.random.default_rng(0)
    directions = rng.normal(0, 1, (30_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    bumps = 0.7 + 0.12 * np.sin(9 * directions).prod(1, keepdims=True)
    count = len(directions)
    write_splats(
        tmp_path / "statue.ply",
        Gaussians(
            (directions * bumps).astype(np.float32),
            np.tile([1.0, 0, 0, 0], (count, 1)),
            np.full((count, 3), 0.012),
            np.full(count, 0.95),
            rng.random((count, 3)),
        ),
    )
    return tmp_path / "statue.ply"


GARBAGE = [
    b"this is no JSON\n",
    b"\x00\xff\n",
    b"{}\n",
    b'{"kind": "explode"}\n',
    b'["generate"]\n',
    b"[" * 5000 + b"\n",
]


@pytest.mark.slow
def test_garbage_is_answered_and_life_goes_on(wire):
    engine = wire()
    for line in GARBAGE:
        engine.send_raw(line)
    for _ in GARBAGE:
        answer = engine.end()
        assert (answer.kind, answer.id, answer.code) == ("error", "", "BAD_MESSAGE")
    engine.send(Generate("1", "/nowhere/none.png", "/tmp/none.glb", "balloon"))
    assert engine.end().code == "BAD_PICTURE"


def test_a_line_without_end_does_not_fill_the_memory(wire):
    engine = wire()
    engine.send_raw(b"x" * 3_000_000 + b"\n\n\n")
    assert engine.end().code == "BAD_MESSAGE"
    engine.send_raw(b'{"kind": "cancel"}\n')
    assert "lacks" in engine.end().message


def test_replies_and_doubled_ids_are_refused(wire, draw, tmp_path):
    engine = wire(BALLOON_SLEEP="60")
    engine.send_raw(encode(Notice("1", "a reply")))
    assert "reply" in engine.end().message
    request = Generate("same", str(draw(tmp_path / "p.png")), str(tmp_path / "p.glb"), "balloon", 0, SMALL)
    engine.send(request)
    engine.send(request)
    answer = engine.end()
    assert (answer.id, answer.code) == ("", "BAD_MESSAGE")  # the job under way has not ended


def test_a_request_of_a_newer_add_on_ends_its_job(wire):
    engine = wire()
    engine.send_raw(b'{"kind": "generate", "id": "7", "picture": "p", "output": "o", "colour_of_magic": 8}\n')
    answer = engine.end()
    assert (answer.id, answer.code) == ("7", "BAD_MESSAGE")
    assert "colour_of_magic" in answer.message


@pytest.mark.parametrize(
    ("raised", "code"),
    [("MemoryError", "OUT_OF_MEMORY"), ("ZeroDivisionError", "INTERNAL"), ("SystemExit", "INTERNAL")],
)
@pytest.mark.slow
def test_whatever_is_raised_becomes_an_error(wire, draw, tmp_path, raised, code):
    engine = wire(BALLOON_RAISE=raised)
    engine.send(Generate("1", str(draw(tmp_path / "p.png")), str(tmp_path / "p.glb"), "balloon", 0, SMALL))
    answer = engine.end()
    assert (answer.id, answer.code) == ("1", code)
    assert answer.hint
    assert "Traceback" in answer.detail
    assert "balloon_engine.py" in answer.detail
    engine.send(Generate("2", "/nowhere/none.png", str(tmp_path / "p.glb"), "balloon"))
    assert engine.end().code == "BAD_PICTURE"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_bad_options_weights_and_places_are_told(wire, draw, tmp_path):
    engine = wire()
    picture, output = str(draw(tmp_path / "p.png")), str(tmp_path / "p.glb")
    expected = []
    for request, code in (
        (Generate("faces", picture, output, "balloon", 0, {"faces": 0}), "BAD_OPTION"),
        (Generate("name", picture, output, "balloon", 0, {"face": 10}), "BAD_OPTION"),
        (Generate("type", picture, output, "balloon", 0, {"size": "big"}), "BAD_OPTION"),
        (Generate("weights", picture, output, "missing"), "BAD_WEIGHTS"),
        (Generate("place", picture, str(tmp_path / "p.png" / "below.glb"), "balloon"), "CANNOT_WRITE"),
        (MakeMesh("splats", picture, output), "BAD_SPLATS"),
    ):
        engine.send(request)
        expected.append((request.id, code))
    answers = [engine.end() for _ in expected]
    assert [(answer.id, answer.code) for answer in answers] == expected
    assert all(answer.message.endswith(".") and answer.hint for answer in answers)
    assert os.listdir(tmp_path) == ["p.png"]


@pytest.mark.slow
def test_prints_of_libraries_and_children_stay_off_the_wire(wire, draw, tmp_path):
    engine = wire(BALLOON_PRINT="1")
    engine.send(Generate("1", str(draw(tmp_path / "p.png")), str(tmp_path / "p.glb"), "balloon", 0, SMALL))
    result = engine.end()
    assert isinstance(result, Result)
    assert result.id == "1"
    engine.process.stdin.close()
    assert gone_within(20, engine.process)
    said = engine.said()
    for text in (b"printed by a library", b"forged", b"written by a child"):
        assert text in said


@pytest.mark.slow
def test_it_tells_how_it_is_even_at_work_and_gives_its_networks_back(wire, draw, tmp_path):
    engine = wire(BALLOON_SLEEP="0.5")
    assert engine.next(Hello).card == ""  # a processor
    engine.send(Ask())
    fresh = engine.next(Facts)
    assert fresh.networks == []
    engine.send(Generate("1", str(draw(tmp_path / "p.png")), str(tmp_path / "p.glb"), "balloon", 0, SMALL))
    while engine.next(Progress).stage != "generate":
        pass
    engine.send(Ask())
    told = engine.next(Facts, Result, Error)
    assert isinstance(told, Facts), told  # it does not wait for the job's end
    assert told.networks == ["balloon"]
    assert isinstance(engine.next(Result, Error), Result)
    engine.send(Ask())
    told = engine.next(Facts).memory
    assert told > fresh.memory > 1e6
    assert told == pytest.approx(resident(engine.process.pid), rel=0.3)
    engine.send(Unload())
    end = time.monotonic() + 60
    while True:
        engine.send(Ask())
        if not engine.next(Facts).networks:
            break
        assert time.monotonic() < end
        time.sleep(0.02)


def resident(pid):
    """Bytes of memory a process occupies. Linux only."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_unload_keeps_the_engine_at_work(wire, draw, tmp_path):
    engine = wire()
    engine.send(Unload())
    engine.send(Generate("1", str(draw(tmp_path / "p.png")), str(tmp_path / "p.glb"), "balloon", 0, SMALL))
    engine.send(Unload())
    engine.send(Generate("2", str(tmp_path / "p.png"), str(tmp_path / "q.glb"), "balloon", 0, SMALL))
    assert [engine.end().kind for _ in range(2)] == ["result", "result"]
    assert (tmp_path / "p.glb").read_bytes() == (tmp_path / "q.glb").read_bytes().replace(b"q.glb", b"p.glb")


# ---- its own end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_its_stdin(wire, draw, tmp_path, busy):
    engine = wire(BALLOON_SLEEP="60")
    assert isinstance(engine.next(), Hello)
    if busy:
        engine.send(Generate("1", str(draw(tmp_path / "p.png")), str(tmp_path / "p.glb"), "balloon", 0, SMALL))
        while engine.next(Progress).stage != "generate":
            pass
        (tmp_path / "p.glb.part").write_text("half a mesh")  # as if the end came while the file was written
    helpers = children(engine.process.pid)
    engine.process.stdin.close()
    assert gone_within(20, engine.process)
    assert engine.process.returncode == 0
    assert ended(helpers)
    assert sorted(os.listdir(tmp_path)) == (["p.png"] if busy else [])


def test_it_ends_when_told(wire):
    engine = wire()
    engine.send(Shutdown())
    assert gone_within(20, engine.process)
    assert engine.process.returncode == 0


PARENT = """
import subprocess, sys, time
engine = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
engine.stdout.readline()
print(engine.pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_a_parent_that_is_killed(tmp_path):
    """Nobody closes anything then but the system."""
    balloon = Path(__file__).with_name("balloon_engine.py")
    command = [sys.executable, "-I", "-X", "utf8", "-u", str(balloon), "serve"]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        engine = int(parent.stdout.readline())
        assert alive(engine)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert ended([engine])
    finally:
        parent.kill()


def test_it_ends_when_nobody_reads_its_answers():
    balloon = Path(__file__).with_name("balloon_engine.py")
    command = [sys.executable, "-I", "-X", "utf8", "-u", str(balloon), "serve"]
    engine = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert engine.stdin is not None
        assert engine.stdout is not None
        engine.stdout.readline()
        engine.stdout.close()
        engine.stdin.write(b"garbage\n")
        engine.stdin.flush()
        assert gone_within(20, engine)
    finally:
        engine.kill()
        engine.wait()


@pytest.mark.slow
def test_no_mesh_of_splats_needs_torch(tmp_path, statue):
    """Runs a whole command and looks at what was loaded; `test_a_picture_becomes_a_mesh` has those of pictures."""
    balloon = Path(__file__).with_name("balloon_engine.py")
    code = (
        "import sys, runpy, atexit, json\n"
        "atexit.register(lambda: print(json.dumps(sorted(m for m in sys.modules if m.split('.')[0] == 'torch'))))\n"
        f"sys.argv = 'engine mesh {statue.name} -o out/s.glb --faces 600 --texture 128 --resolution 48'.split()\n"
        f"runpy.run_path({str(balloon)!r}, run_name='__main__')\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == []
    assert len(list((tmp_path / "out").glob("*.glb"))) == 1

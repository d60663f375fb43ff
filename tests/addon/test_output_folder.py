# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch makes appears whole or not at all, also when it is killed between any two calls to the system."""

import json
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

import pytest

from addon.headless.output_folder import Entry, OutputFolder, TakenError, own_files, problem_of, read_made
from addon.headless.plan import UsageError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, and kills at every call to the system")

FILES = ("sub/cat_texture.png", "sub/cat.mtl", "sub/cat.obj")


def make(out: OutputFolder, name: str = "sub/cat", files=FILES, content: bytes = b"new", **more) -> list[Path]:
    """What a batch does for one mesh."""
    making = out.making()
    for file in files:
        (making / "files" / Path(file).name).write_bytes(content)
    for kept in more.get("kept", {}).values():
        (making / kept).write_bytes(content)
    return out.finish(making, Entry(name, f"/p/{name}.png", [1, 2], list(files), **more))


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those of the state, by name."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".gaussmith" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def state(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".gaussmith").iterdir())


def test_files_get_to_their_places_and_are_remembered(tmp_path):
    with OutputFolder(tmp_path) as out:
        assert make(out, record={"seed": 7}) == [tmp_path / name for name in reversed(FILES)]
        assert out.made["sub/cat"].record == {"seed": 7}
    assert contents(tmp_path) == dict.fromkeys(FILES, b"new")
    assert read_made(tmp_path)["sub/cat"].source == "/p/sub/cat.png"
    assert own_files(tmp_path) == {tmp_path / name for name in FILES}
    assert state(tmp_path) == ["lock", "made.jsonl"]


def test_what_the_user_deleted_is_not_made_any_more(tmp_path):
    with OutputFolder(tmp_path) as out:
        make(out)
    (tmp_path / FILES[-1]).unlink()
    assert read_made(tmp_path) == {}


@pytest.mark.parametrize("file", FILES)
def test_a_file_in_the_way_stays_and_nothing_appears(tmp_path, file):
    (tmp_path / "sub").mkdir()
    (tmp_path / file).write_bytes(b"mine")
    with OutputFolder(tmp_path) as out:
        with pytest.raises(TakenError, match="exists already"):
            make(out)
        assert contents(tmp_path) == {file: b"mine"}
        make(out, overwrite=True)
    assert contents(tmp_path) == dict.fromkeys(FILES, b"new")


def test_a_source_is_never_overwritten(tmp_path):
    picture = tmp_path / "cat_texture.png"
    picture.write_bytes(b"picture")
    with OutputFolder(tmp_path) as out:
        making = out.making()
        for name in ("cat_texture.png", "cat.obj"):
            (making / "files" / name).write_bytes(b"new")
        entry = Entry("cat", "/p", [0, 0], ["cat_texture.png", "cat.obj"], overwrite=True)
        with pytest.raises(TakenError, match="is a source"):
            out.finish(making, entry, protected={picture})
    assert contents(tmp_path) == {"cat_texture.png": b"picture"}


# --- ends of any kind ------------------------------------------------------------------------------------------------


def end_at(step: int, folder: Path, work) -> bool:
    """Does `work` in a process that is killed at its call number `step` to the file system. Whether it was killed."""
    child = os.fork()
    if not child:
        try:
            count = 0

            def count_calls(event: str, _arguments) -> None:
                nonlocal count
                if event.partition(".")[0] in ("os", "shutil", "fcntl") or event == "open":
                    count += 1
                    if count == step:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(count_calls)
            with OutputFolder(folder) as out:
                work(out)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.mark.slow
@pytest.mark.parametrize("kept", [{}, {"mesh": "mesh.glb"}])
def test_killed_at_any_call_a_mesh_is_there_whole_or_not_at_all(tmp_path, kept):
    step, outcomes = 0, set()
    killed = True
    while killed:
        step += 1
        folder = tmp_path / str(step)
        with OutputFolder(folder) as out:
            make(out, "dog", ("dog.glb",), b"dog")
        killed = end_at(step, folder, lambda out: make(out, kept=kept))
        left = contents(folder)
        if FILES[-1] in left:  # the mesh comes last
            assert set(FILES) < set(left)
        with OutputFolder(folder) as out:
            found = contents(folder)
            assert found.pop("dog.glb") == b"dog"
            assert found in ({}, dict.fromkeys(FILES, b"new"))
            assert set(out.made) == ({"dog", "sub/cat"} if found else {"dog"})
            if found and kept:
                assert out.kept(out.made["sub/cat"])["mesh"].read_bytes() == b"new"
        assert state(folder) == [*(["kept"] if found and kept else []), "lock", "made.jsonl"]
        outcomes.add(bool(found))
    assert outcomes == {False, True}
    assert step > 15


@pytest.mark.slow
def test_killed_while_it_overwrites_the_old_mesh_or_the_new_one_is_there(tmp_path):
    step, killed = 0, True
    while killed:
        step += 1
        folder = tmp_path / str(step)
        with OutputFolder(folder) as out:
            make(out, content=b"old")
        killed = end_at(step, folder, lambda out: make(out, overwrite=True))
        with OutputFolder(folder):
            pass
        assert contents(folder) in (dict.fromkeys(FILES, b"old"), dict.fromkeys(FILES, b"new"))


@pytest.mark.slow
def test_killed_while_it_recovers_it_recovers_the_next_time(tmp_path):
    """The second end comes while what the first one left is put in its place."""
    half = next(step for step in range(1, 99) if _is_half_done(tmp_path / f"first {step}", step))
    step, killed = 0, True
    while killed:
        step += 1
        folder = tmp_path / f"again {step}"
        end_at(half, folder, make)
        killed = end_at(step, folder, lambda _out: None)
        with OutputFolder(folder) as out:
            assert set(out.made) == {"sub/cat"}
        assert contents(folder) == dict.fromkeys(FILES, b"new")


def _is_half_done(folder: Path, step: int) -> bool:
    end_at(step, folder, make)
    return 0 < len(contents(folder)) < len(FILES)


@pytest.mark.slow
def test_a_file_that_came_into_the_way_meanwhile_stays(tmp_path):
    half = next(step for step in range(1, 99) if _is_half_done(tmp_path / f"first {step}", step))
    folder = tmp_path / "out"
    end_at(half, folder, make)
    (folder / "sub" / "cat.obj").write_bytes(b"mine")
    with OutputFolder(folder) as out:
        assert "is in the way" in out.notes[0]
    assert (folder / "sub" / "cat.obj").read_bytes() == b"mine"
    (folder / "sub" / "cat.obj").unlink()
    with OutputFolder(folder) as out:
        assert "put in its place now" in out.notes[0]
    assert contents(folder) == dict.fromkeys(FILES, b"new")


def test_what_was_being_made_is_thrown_away(tmp_path):
    with OutputFolder(tmp_path) as out:
        (out.making() / "mesh.glb.part").write_bytes(b"half")
    with OutputFolder(tmp_path):
        pass
    assert state(tmp_path) == ["lock"]


# --- two batches, full disks, hostile files --------------------------------------------------------------------------


def _hold(folder: Path, ready, end) -> None:
    with OutputFolder(folder):
        ready.set()
        end.wait(20)


def test_a_second_batch_is_told_who_writes_there_and_may_once_that_one_was_killed(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, end))
    other.start()
    assert ready.wait(20)
    with (
        pytest.raises(UsageError, match=f"Another batch writes in .*process {other.pid} on .* since "),
        OutputFolder(tmp_path),
    ):
        pass
    other.kill()
    other.join()
    with OutputFolder(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UsageError, match="Could not write in"), OutputFolder(folder):
            pass


def test_a_state_that_is_a_link_to_somewhere_else_is_not_cleaned_up(tmp_path):
    (tmp_path / "precious" / "making").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".gaussmith").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="is a link"), OutputFolder(tmp_path / "out"):
        pass
    assert (tmp_path / "precious" / "making").is_dir()


def _finish_on_a_full_disk(out: OutputFolder) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    making = out.making()
    for file in FILES:
        (making / "files" / Path(file).name).write_bytes(b"new")
    entry = Entry("sub/cat", "/p", [1, 2], list(FILES), record={"note": "x" * 10_000})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    with pytest.raises(OSError, match="File too large") as raised:
        out.finish(making, entry)
    assert problem_of(raised.value, out.folder)[0] == "DISK_FULL"


def test_a_full_disk_leaves_nothing_half(tmp_path):
    end_at(10**9, tmp_path, _finish_on_a_full_disk)
    assert contents(tmp_path) == {}
    with OutputFolder(tmp_path) as out:
        assert out.made == {}


@pytest.mark.parametrize(
    "change",
    [
        {"files": ["../../stolen.obj"]},
        {"files": ["/etc/passwd"]},
        {"files": []},
        {"files": "cat.obj"},
        {"files": [1]},
        {"kept": {"mesh": "../mesh.glb"}},
        {"kept": {"mesh": 3}},
        {"kept": 3},
        {"token": "../.."},
        {"name": None},
        {"record": []},
        {"more": 1},
    ],
)
def test_hostile_entries_are_passed_over(tmp_path, change):
    out = tmp_path / "a" / "b"
    ready = out / ".gaussmith" / "ready" / "x"
    (ready / "files").mkdir(parents=True)
    for name in ("stolen.obj", "passwd", "cat.obj"):
        (ready / "files" / name).write_bytes(b"evil")
    entry = {**asdict(Entry("cat", "/p", [1, 2], ["cat.obj"])), **change}
    (ready / "entry.json").write_text(json.dumps(entry))
    (out / ".gaussmith" / "made.jsonl").write_text(json.dumps(entry) + "\n")
    (out / "cat.obj").write_bytes(b"mine")
    with OutputFolder(out) as folder:
        assert folder.made == {}
    assert contents(tmp_path) == {"a/b/cat.obj": b"mine"}


def test_a_damaged_memory_forgets_no_sound_line(tmp_path):
    with OutputFolder(tmp_path) as out:
        make(out)
        make(out, "dog", ("dog.glb",))
    memory = tmp_path / ".gaussmith" / "made.jsonl"
    lines = memory.read_bytes().splitlines(keepends=True)
    memory.write_bytes(b"\xff\xfe\n" + lines[0] + b"[" * 5000 + b"\n" + lines[1] + b'{"name": "ha')
    with OutputFolder(tmp_path) as out:
        assert set(out.made) == {"sub/cat", "dog"}
        make(out, "cow", ("cow.glb",))
    assert set(read_made(tmp_path)) == {"sub/cat", "dog", "cow"}


def test_what_was_kept_lasts_until_it_is_no_longer_needed(tmp_path):
    with OutputFolder(tmp_path) as out:
        make(out, kept={"mesh": "mesh.glb"})
    with OutputFolder(tmp_path) as out:
        assert out.kept(out.made["sub/cat"])["mesh"].is_file()
        make(out, kept={"mesh": "mesh.glb"}, overwrite=True)
        assert len(list((tmp_path / ".gaussmith" / "kept").iterdir())) == 1  # the older one has gone
        out.forget_kept()
        assert out.kept(out.made["sub/cat"]) == {}

# SPDX-License-Identifier: GPL-3.0-or-later
"""What was made is kept whole, is found again, and no file in the history can do harm."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from addon.files.png import png_bytes
from addon.history import History
from addon.history_entry import Entry, new_entry, plain, read_entry

ID = "0123456789abcdef" * 2
NAMES = (
    "teapot",
    "Gâteau à la crème",
    "猫の写真",
    "قطة",
    "🫖 🏺",
    "e\u0301 combining",
    "a\nb\tc\0d",
    "x" * 500,
    "",
    "\udcff",
)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "history"


@pytest.fixture
def history(folder) -> History:
    return History(folder)


def made(tmp_path: Path, number: int = 0, **about) -> tuple[Entry, Path]:
    """An entry and the folder of its files, as after a job."""
    out = tmp_path / f"job {number}"
    out.mkdir()
    files = {}
    for key, name in (("mesh", "cat.glb"), ("lod1", "cat_lod1.glb")):
        (out / name).write_bytes(f"{name} {number}".encode())
        files[key] = str(out / name)
    about = {"picture": str(tmp_path / "cat.png"), "generator": "agg", "seed": 7, "options": {"faces": 500}, **about}
    entry = new_entry(f"{number:032x}", about.pop("name", "cat"), files=files, seconds=3.5, **about)
    return replace(entry, date=1_700_000_000.0 + number), out


def add(history: History, tmp_path: Path, number: int = 0, **about) -> Entry:
    entry, out = made(tmp_path, number, **about)
    history.add(entry, out, b"thumbnail")
    history.finish()
    return entry


def again(folder: Path) -> History:
    """The history as the next Blender finds it."""
    history = History(folder)
    history.load()
    history.finish()
    return history


def test_an_entry_is_there_at_once_and_in_the_next_blender(history, folder, tmp_path):
    (tmp_path / "cat.png").write_bytes(b"a picture")
    entry, out = made(tmp_path)
    history.add(entry, out, b"thumbnail")
    assert history.entries[0].id == entry.id
    history.finish()
    (kept,) = again(folder).entries
    assert history.entries == (kept,)
    assert (kept.name, kept.seed, kept.seconds, kept.options, kept.date) == ("cat", 7, 3.5, {"faces": 500}, entry.date)
    assert {key: Path(path).read_bytes() for key, path in kept.files.items()} == {
        "mesh": b"cat.glb 0",
        "lod1": b"cat_lod1.glb 0",
    }
    assert Path(kept.thumbnail).read_bytes() == b"thumbnail"
    assert not out.exists()


def test_the_picture_is_found_after_the_original_is_gone_and_kept_once(history, folder, tmp_path):
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"a picture")
    for number in range(3):
        add(history, tmp_path, number)
    assert {entry.source for entry in history.entries} == {str(picture)}
    picture.unlink()
    (copy,) = {entry.source for entry in again(folder).entries}
    assert Path(copy).read_bytes() == b"a picture"
    assert Path(copy).name == "cat.png"
    assert len(list((folder / "pictures").rglob("*.png"))) == 1


def test_the_newest_comes_first(history, folder, tmp_path):
    for number in (2, 5, 1):
        add(history, tmp_path, number)
    assert [int(entry.id, 16) for entry in again(folder).entries] == [5, 2, 1]


def test_deleting_takes_the_files_and_the_last_copy_of_the_picture(history, folder, tmp_path):
    (tmp_path / "cat.png").write_bytes(b"a picture")
    first, second = add(history, tmp_path, 1), add(history, tmp_path, 2)
    history.remove(first.id)
    assert [entry.id for entry in history.entries] == [second.id]
    history.finish()
    assert sorted(path.name for path in folder.iterdir()) == [second.id, "pictures"]
    assert list((folder / "pictures").iterdir())
    history.remove(second.id)
    history.finish()
    assert not list((folder / "pictures").iterdir())
    assert again(folder).entries == ()
    assert (tmp_path / "cat.png").is_file()


def test_two_blenders_see_each_others_entries(folder, tmp_path):
    first, second = History(folder), History(folder)
    add(first, tmp_path, 1)
    add(second, tmp_path, 2)
    assert len(second.entries) == 2
    second.remove(second.entries[1].id)
    second.finish()
    first.load()
    first.finish()
    assert [int(entry.id, 16) for entry in first.entries] == [2]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_kept_on_one_line(history, folder, tmp_path, name):
    add(history, tmp_path, name=name, picture=f"/pictures/{name}.png".replace("\0", ""))
    (kept,) = again(folder).entries
    assert kept.name == plain(name)
    assert kept.name.isprintable()
    assert kept.name
    assert len(kept.name) <= 200
    kept.name.encode()


def whole(**changes) -> dict:
    entry = {**vars(Entry(ID, "cat", picture="/cat.png", date=1.0, files={"mesh": "cat.glb"})), "version": 1}
    return {**entry, **changes}


HOSTILE = {
    "nothing": b"",
    "not JSON": b"\x89PNG\r\n",
    "half": json.dumps(whole()).encode()[:-20],
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "another version": json.dumps(whole(version=2)).encode(),
    "no version": json.dumps({**whole(), "version": None}).encode(),
    "another id": json.dumps(whole(id="f" * 32)).encode(),
    "an unknown field": json.dumps(whole(command="rm -rf /")).encode(),
    "a file above": json.dumps(whole(files={"mesh": "../../../etc/passwd"})).encode(),
    "a file at the root": json.dumps(whole(files={"mesh": "/etc/passwd"})).encode(),
    "a file on a drive": json.dumps(whole(files={"mesh": "C:\\Windows\\win.ini"})).encode(),
    "the folder above": json.dumps(whole(files={"mesh": ".."})).encode(),
    "a copy above": json.dumps(whole(copy="../precious")).encode(),
    "a copy elsewhere": json.dumps(whole(copy=f"{ID}/../../precious")).encode(),
    "a copy of no folder": json.dumps(whole(copy="precious")).encode(),
    "a thumbnail above": json.dumps(whole(thumbnail="../../x.png")).encode(),
    "no mesh": json.dumps(whole(files={})).encode(),
    "a file of no name": json.dumps(whole(files={"mesh": ["cat.glb"]})).encode(),
    "a name that is a list": json.dumps(whole(name=["cat"])).encode(),
    "options that are none": json.dumps(whole(options=3)).encode(),
    "a date that is none": json.dumps(whole(date="yesterday")).encode(),
    "a date beyond time": json.dumps(whole(date=1e300)).encode(),
    "not a number": json.dumps(whole(seconds=float("nan"))).encode(),
    "endless": json.dumps(whole(seconds=float("inf"))).encode(),
    "a seed too large": json.dumps(whole(seed=1 << 40)).encode(),
    "a path with a zero": json.dumps(whole(picture="/cat\0.png")).encode(),
    "a digit bomb": b'{"version": 1, "seed": ' + b"9" * 100_000 + b"}",
    "too long": json.dumps(whole(name="x" * (1 << 21))).encode(),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_entry_is_left_alone_counted_and_hides_no_other(history, folder, tmp_path, content):
    good = add(history, tmp_path, 3)
    bad = folder / ID
    bad.mkdir()
    (bad / "entry.json").write_bytes(content)
    (folder / "precious").write_text("the user's")
    found = again(folder)
    assert [entry.id for entry in found.entries] == [good.id]
    assert found.damaged == 1
    assert (bad / "entry.json").read_bytes() == content
    found.remove(ID)
    found.finish()
    assert (folder / "precious").is_file()


def test_the_entry_they_were_made_from_is_good(folder):
    (folder / ID).mkdir(parents=True)
    (folder / ID / "entry.json").write_text(json.dumps(whole()))
    assert read_entry(folder / ID).name == "cat"


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_link_is_no_entry_and_deleting_stays_inside_the_folder(history, folder, tmp_path):
    add(history, tmp_path, 1)
    outside = tmp_path / "outside"
    shutil.copytree(folder / f"{1:032x}", outside)
    (folder / ID).symlink_to(outside)
    found = again(folder)
    assert len(found.entries) == 1
    assert found.damaged == 1
    (folder / f"{1:032x}" / "more").symlink_to(outside)
    found.remove(found.entries[0].id)
    found.finish()
    assert sorted(path.name for path in outside.iterdir()) == [
        "cat.glb",
        "cat_lod1.glb",
        "entry.json",
        "thumbnail.png",
    ]


def test_folders_of_other_names_are_none_of_ours(history, folder, tmp_path):
    add(history, tmp_path, 1)
    for name in ("notes", "0123", ID.upper(), f"{ID}x"):
        (folder / name).mkdir()
    found = again(folder)
    assert (len(found.entries), found.damaged) == (1, 0)


def test_what_was_left_half_written_goes_after_a_day(folder):
    old, new = folder / f"{1:032x}.part", folder / f"{2:032x}.part"
    for path in (old, new):
        path.mkdir(parents=True)
    os.utime(old, (time.time() - 90_000,) * 2)
    assert again(folder).entries == ()
    assert (old.exists(), new.exists()) == (False, True)


def test_what_cannot_be_written_stays_for_this_run_and_says_why(folder, tmp_path):
    folder.write_text("a file where the folder should be")
    history = History(folder)
    add(history, tmp_path, 1)
    (entry,) = history.entries
    assert "Could not write to" in entry.error
    assert Path(entry.files["mesh"]).read_bytes() == b"cat.glb 1"


def test_a_full_disk_costs_no_mesh(history, folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    add(history, tmp_path, 1)
    (entry,) = history.entries
    assert "No space left on device" in entry.error
    assert Path(entry.files["mesh"]).is_file()
    assert [path for path in folder.iterdir() if path.name != "pictures"] == []


def test_five_hundred_entries_are_read_beside_the_main_thread(folder):
    for number in range(500):
        path = folder / f"{number:032x}"
        path.mkdir(parents=True)
        (path / "entry.json").write_text(json.dumps(whole(id=path.name, date=float(number))))
    history = History(folder)
    begin = time.thread_time()  # of this thread alone
    history.load()
    assert time.thread_time() - begin < 0.01
    history.finish()
    assert [entry.date for entry in history.entries] == [float(n) for n in reversed(range(500))]


def test_no_thread_is_left(history, tmp_path):
    add(history, tmp_path)
    assert not history.busy


def test_a_task_that_fails_stops_no_other(history, tmp_path, monkeypatch):
    monkeypatch.setattr(history, "_keep", lambda *_: 1 / 0)
    add(history, tmp_path, 1)
    monkeypatch.undo()
    add(history, tmp_path, 2)
    assert Path(history.find(f"{2:032x}").files["mesh"]).is_relative_to(history.folder)


def test_pixels_survive_the_png_top_row_first(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    (tmp_path / "a.png").write_bytes(png_bytes(pixels))
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "a.png")), pixels)

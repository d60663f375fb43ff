# SPDX-License-Identifier: GPL-3.0-or-later
"""The history keeps to its limit, and nothing goes that should stay."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from addon.history import History

from .test_history import ID, add, again, made, whole

MESH = 100_000  # bytes of the mesh of each entry
DAY = 24 * 3600


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "history"


@pytest.fixture
def history(folder) -> History:
    return History(folder)


def fill(history: History, tmp_path: Path, *numbers: int, imported: bool = True, **about) -> None:
    """Entries of some 100 kB, the newest with the highest number."""
    for number in numbers:
        entry, out = made(tmp_path, number, **about)
        (out / "cat.glb").write_bytes(bytes(MESH))
        history.add(entry, out, imported=imported)
    history.finish()


def numbers_of(history: History) -> list[int]:
    return sorted(int(entry.id, 16) for entry in history.entries)


def limited(folder: Path, meshes: float) -> History:
    """A history whose user agreed that it makes room, limited to so many meshes and what comes with them."""
    history = again(folder)
    history.limit_to(int(MESH * meshes))
    history.agree()
    history.finish()
    return history


def test_what_is_used_is_what_lies_in_the_folder(history, folder, tmp_path):
    (tmp_path / "cat.png").write_bytes(bytes(5_000))
    fill(history, tmp_path, 1, 2)
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert history.used == again(folder).used == on_disk > 2 * MESH
    first = history.find(f"{1:032x}")
    assert history.size_of([first]) < on_disk / 2 < history.size_of(history.entries) == on_disk
    history.remove(*(entry.id for entry in history.entries))
    history.finish()
    assert history.used == 0


def test_nothing_goes_before_the_user_agreed_and_the_question_comes_once(history, folder, tmp_path):
    history.limit_to(3 * MESH)
    fill(history, tmp_path, 1, 2)
    assert not history.asks
    fill(history, tmp_path, 3, 4, 5)
    assert (numbers_of(history), history.asks) == ([1, 2, 3, 4, 5], True)
    assert numbers_of(again(folder)) == [1, 2, 3, 4, 5]
    history.agree()
    history.finish()
    assert (numbers_of(history), history.asks, history.made_room) == ([4, 5], False, 3)
    assert numbers_of(again(folder)) == [4, 5]
    second = again(folder)
    second.limit_to(2 * MESH)
    fill(second, tmp_path, 6)
    assert (numbers_of(second), second.asks) == ([6], False)


def test_a_lower_limit_takes_nothing_until_the_next_mesh_is_made(history, folder, tmp_path):
    fill(history, tmp_path, 1, 2, 3)
    limited_ = limited(folder, 10)
    limited_.limit_to(1)
    limited_.load()
    limited_.finish()
    assert numbers_of(limited_) == [1, 2, 3]
    limited_.limit_to(0)
    fill(limited_, tmp_path, 4)
    assert numbers_of(limited_) == [1, 2, 3, 4]
    limited_.limit_to(int(2.5 * MESH))
    fill(limited_, tmp_path, 5)
    assert numbers_of(limited_) == [4, 5]


def test_the_newest_stays_however_small_the_limit(history, folder, tmp_path):
    fill(history, tmp_path, 1, 2)
    tiny = limited(folder, 0.001)
    assert numbers_of(tiny) == [2]
    fill(tiny, tmp_path, 3)
    assert (numbers_of(tiny), tiny.overfull) == ([3], True)
    tiny.limit_to(10 * MESH)
    assert not tiny.overfull


def test_what_is_pinned_stays_in_every_blender(history, folder, tmp_path):
    fill(history, tmp_path, 1, 2, 3, 4)
    other = again(folder)
    other.pin(f"{1:032x}", True)
    other.pin(f"{2:032x}", True)
    other.pin(f"{2:032x}", False)
    assert other.marks(f"{1:032x}").pinned
    other.finish()
    history.limit_to(int(2.5 * MESH))
    history.agree()  # it has not heard of the pin
    history.finish()
    assert numbers_of(history) == numbers_of(again(folder)) == [1, 4]
    assert [int(entry.id, 16) for entry in again(folder).loose()] == [4]


def test_a_pin_that_comes_while_room_is_made_holds(history, folder, tmp_path, monkeypatch):
    fill(history, tmp_path, 1, 2, 3, 4)
    take_away = history._take_away

    def pin_the_next(entry_id):
        history.pin(f"{2:032x}", True)
        return take_away(entry_id)

    monkeypatch.setattr(history, "_take_away", pin_the_next)
    history.limit_to(int(2.5 * MESH))
    history.agree()
    history.finish()
    assert numbers_of(history) == [2, 4]


def test_a_pin_that_is_not_written_yet_holds_already(history, folder, tmp_path):
    fill(history, tmp_path, 1, 2, 3)
    history.limit_to(MESH)
    with history._lock:  # the thread waits for it
        history.agree()
        history.pin(f"{1:032x}", True)
    history.finish()
    assert numbers_of(history) == [1, 3]


def test_what_was_never_imported_goes_after_all_that_were(history, folder, tmp_path):
    fill(history, tmp_path, 1, 2, imported=False)
    fill(history, tmp_path, 3, 4)
    history.note_import(f"{2:032x}")
    history.finish()
    assert numbers_of(limited(folder, 3.5)) == [1, 3, 4]  # 2 was imported, and is the oldest that was
    only = limited(folder, 0.5)
    assert (numbers_of(only), only.overfull) == ([1, 4], True)  # 4 was imported and stays as the newest, so 1 stays too
    fill(only, tmp_path, 5, imported=False)
    assert numbers_of(only) == [5]


def test_what_another_blender_imported_goes_first(history, folder, tmp_path):
    fill(history, tmp_path, 1, 2, 3, imported=False)
    other = again(folder)
    other.note_import(f"{2:032x}")
    other.finish()
    history.limit_to(int(2.5 * MESH))
    history.agree()
    history.finish()
    assert numbers_of(history) == [1, 3]


def test_an_entry_of_an_earlier_version_was_imported_if_its_mesh_was_drawn(history, tmp_path):
    fill(history, tmp_path, 1, imported=False)
    add(history, tmp_path, 2)
    assert [history.marks(f"{n:032x}").imported for n in (1, 2)] == [False, True]


def test_what_is_in_use_stays(history, folder, tmp_path):
    fill(history, tmp_path, 1, 2, 3)
    history.limit_to(MESH)
    history.agree(spare={f"{1:032x}", "/some/picture.png"})
    history.finish()
    assert numbers_of(history) == [1, 3]


def test_a_picture_in_use_outlives_its_entries(history, folder, tmp_path):
    copies = []
    for number in (1, 2, 3):
        copies.append(history.keep_picture(bytes([number]) * 1000, f"pasted {number}.png"))
        fill(history, tmp_path, number, picture=str(copies[-1]))
    for copy in copies:
        os.utime(copy.parent, (time.time() - 2 * DAY,) * 2)
    history.note_use(str(copies[1]))  # by a job that just began, of which the thread has not heard
    history.limit_to(MESH)
    history.agree(spare={str(copies[0])})
    history.finish()
    assert numbers_of(history) == [3]
    assert [copy.is_file() for copy in copies] == [True, True, True]
    os.utime(copies[1].parent, (time.time() - 2 * DAY,) * 2)
    fill(history, tmp_path, 4)
    assert [copy.is_file() for copy in copies] == [False, False, False]


def test_a_picture_nobody_used_for_a_day_goes_before_any_mesh(history, folder, tmp_path):
    pasted = [history.keep_picture(bytes([number]) * MESH, "pasted.png") for number in (1, 2)]
    os.utime(pasted[0].parent, (time.time() - 2 * DAY,) * 2)
    fill(history, tmp_path, 1, 2)
    assert numbers_of(limited(folder, 3.5)) == [1, 2]
    assert [path.is_file() for path in pasted] == [False, True]


def test_a_damaged_entry_costs_no_picture_and_is_no_reason_to_make_room(history, folder, tmp_path):
    pasted = history.keep_picture(bytes(MESH), "pasted.png")
    os.utime(pasted.parent, (time.time() - 2 * DAY,) * 2)
    fill(history, tmp_path, 1, 2)
    (folder / ID).mkdir()
    (folder / ID / "entry.json").write_bytes(bytes(50 * MESH))
    assert numbers_of(limited(folder, 3.5)) == [1, 2]
    assert numbers_of(limited(folder, 2.5)) == [2]
    assert pasted.is_file()
    assert (folder / ID / "entry.json").is_file()


def test_a_deleted_entrys_picture_stays_for_a_job_or_a_well(history, tmp_path):
    picture = history.keep_picture(b"a picture", "pasted.png")
    fill(history, tmp_path, 1, picture=str(picture))
    history.remove(f"{1:032x}", spare={str(picture)})
    history.finish()
    assert picture.is_file()


@pytest.mark.parametrize("name", ["..", "../..", "precious", f"../{ID}"])
def test_no_path_of_an_entry_leads_to_deleting_elsewhere(history, folder, tmp_path, monkeypatch, name):
    monkeypatch.setattr("addon.history.LEFTOVER_SECONDS", -1)  # as if all pictures were old
    precious = [folder / "precious" / "x.png", folder / ID / "x.png", folder / "pictures" / "precious" / "x.png"]
    fill(history, tmp_path, 2, 3)
    for path in precious:
        path.parent.mkdir(parents=True)
        path.write_text("the user's")
    (folder / f"{1:032x}").mkdir()
    picture = f"{folder}/pictures/{name}/x.png"
    content = whole(id=f"{1:032x}", picture=picture, files={"mesh": "x.glb"}, thumbnail="thumbnail.png")
    (folder / f"{1:032x}" / "entry.json").write_text(json.dumps(content))
    (folder / f"{1:032x}" / "thumbnail.png").write_bytes(bytes(MESH))
    assert numbers_of(again(folder)) == [1, 2, 3]
    found = limited(folder, 2.5)
    assert numbers_of(found) == [2, 3]
    found.remove(f"{3:032x}")
    found.finish()
    assert numbers_of(again(folder)) == [2]
    assert all(path.is_file() for path in precious)


def test_two_blenders_making_room_at_a_time_take_no_more_than_one(history, folder, tmp_path):
    fill(history, tmp_path, *range(1, 21))
    both = [again(folder), again(folder)]
    for blender in both:
        blender.limit_to(int(10.5 * MESH))
        blender.agree()
    for blender in both:
        blender.finish()
    assert numbers_of(again(folder)) == list(range(11, 21))
    for blender in both:
        blender.load()
        blender.finish()
        assert numbers_of(blender) == list(range(11, 21))


def test_a_folder_that_disappears_is_empty_and_the_next_mesh_makes_it_again(history, folder, tmp_path):
    fill(history, tmp_path, 1, 2, 3)
    shutil.rmtree(folder)
    history.limit_to(1)
    history.pin(f"{1:032x}", True)
    history.note_import(f"{1:032x}")
    history.agree()
    history.finish()
    assert (history.entries, history.used, history.asks, history.made_room) == ((), 0, False, 0)
    fill(history, tmp_path, 4)
    assert numbers_of(again(folder)) == [4]


@pytest.fixture
def as_a_user():
    """A folder of a user who is not allowed everything, as root would be."""
    folder = Path(tempfile.mkdtemp())
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt", reason="permissions of folders")
def test_read_only_files_go_and_in_a_read_only_folder_nothing_is_lost(as_a_user):
    history = History(as_a_user / "history")
    fill(history, as_a_user, 1, 2, 3)
    for path in (history.folder / f"{1:032x}").iterdir():
        path.chmod(0o444)
    (history.folder / f"{1:032x}").chmod(0o555)
    history.limit_to(int(2.5 * MESH))
    history.agree()
    history.finish()
    assert numbers_of(history) == [2, 3]
    assert sorted(path.name for path in history.folder.iterdir()) == [f"{2:032x}", f"{3:032x}", "may-make-room"]
    history.folder.chmod(0o555)
    (history.folder / f"{3:032x}").chmod(0o555)
    history.limit_to(1)
    history.agree()
    history.pin(f"{3:032x}", True)
    history.finish()
    assert (numbers_of(history), history.overfull, history.made_room) == ([2, 3], True, 1)
    assert not history.marks(f"{3:032x}").pinned
    assert "Could not write to" in history.find(f"{3:032x}").error
    assert numbers_of(again(history.folder)) == [2, 3]
    assert all(Path(entry.files["mesh"]).stat().st_size == MESH for entry in history.entries)


@pytest.mark.skipif(os.name == "nt", reason="permissions of folders")
def test_a_folder_that_cannot_be_looked_into_stays(as_a_user):
    history = History(as_a_user / "history")
    fill(history, as_a_user, 1, 2, 3, imported=False)
    (history.folder / f"{1:032x}").chmod(0)
    history.limit_to(MESH)
    history.agree()
    history.finish()
    (history.folder / f"{1:032x}").chmod(0o755)
    assert numbers_of(again(history.folder)) == [1, 3]


def test_what_is_open_in_another_program_stays_whole_and_the_next_goes(history, folder, tmp_path, monkeypatch):
    fill(history, tmp_path, 1, 2, 3, 4)
    rename = os.replace

    def held(source, target):
        if Path(source).name == f"{1:032x}":
            raise PermissionError(13, "It is being used by another process")
        rename(source, target)

    monkeypatch.setattr(os, "replace", held)
    found = limited(folder, 3.5)
    assert numbers_of(found) == [1, 3, 4]
    assert Path(found.find(f"{1:032x}").files["mesh"]).is_file()


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_mark_that_is_a_link_is_none_and_is_not_followed(history, folder, tmp_path):
    fill(history, tmp_path, 1)
    outside = tmp_path / "outside"
    outside.write_text("the user's")
    (folder / f"{1:032x}" / "pinned").symlink_to(outside)
    found = again(folder)
    assert not found.marks(f"{1:032x}").pinned
    found.pin(f"{1:032x}", True)
    found.finish()
    assert again(folder).marks(f"{1:032x}").pinned
    found.pin(f"{1:032x}", False)
    found.finish()
    assert not again(folder).marks(f"{1:032x}").pinned
    assert outside.read_text() == "the user's"

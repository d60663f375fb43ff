# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of data and files from any name a picture can have."""

from pathlib import Path, PureWindowsPath

import pytest

from addon.files.names import NAME_BYTES, WINDOWS_PATH, PathTooLongError, block_name, file_name, free_path


@pytest.mark.parametrize(
    "name", ["cat", "çat 猫", "a" * 400, "é" * 400, "👩‍🚀" * 60, "", " ", "bad \udcff", "new\nline"]
)
def test_a_block_has_room_for_what_is_called_after_it(name):
    plain = block_name(name)
    assert plain.encode().decode() == plain
    assert plain == plain.strip() != ""
    assert not any(ord(char) < 32 for char in plain)
    for before, after in (("UCX_", ""), ("", "-convcolonly"), ("", "_LOD3")):
        called = block_name(f"{plain}.001", before, after)
        assert called == f"{before}{plain}.001{after}"
        assert len(called.encode()) <= NAME_BYTES


def test_a_name_is_not_cut_within_a_character():
    assert block_name("e\u0301" * 100).count("e") == block_name("e\u0301" * 100).count("\u0301")
    assert not block_name("👩‍🚀" * 60).endswith("\u200d")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat", "cat.ply"),
        ("a/b\\c:d*e?f", "a_b_c_d_e_f.ply"),
        ("con", "_con.ply"),
        ("COM1.old", "_COM1.old.ply"),
        ("console", "console.ply"),
        ("ends. ", "ends.ply"),
        ("..", "Mesh.ply"),
        ("", "Mesh.ply"),
        ("猫", "猫.ply"),
    ],
)
def test_a_file_has_a_name_every_system_takes(name, expected):
    assert file_name(name, ".ply") == expected


def test_long_paths_on_windows_are_cut_or_refused():
    folder = PureWindowsPath("C:/" + "x" * 200)
    name = file_name("n" * 300, ".blend", folder, on_windows=True)
    assert len(str(folder / name)) == WINDOWS_PATH
    assert len(file_name("n" * 300, ".blend", folder, on_windows=False)) > len(name)
    with pytest.raises(PathTooLongError, match="Use a shorter folder"):
        file_name("cat", ".blend", PureWindowsPath("C:/" + "x" * 250), on_windows=True)


def test_a_free_path_is_none_that_is_taken(tmp_path: Path):
    assert free_path(tmp_path, "cat", ".ply").name == "cat.ply"
    (tmp_path / "cat.ply").touch()
    (tmp_path / "cat_2.ply").touch()
    assert free_path(tmp_path, "cat", ".ply").name == "cat_3.ply"

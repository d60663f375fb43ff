# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch takes what it knows from folders, and no two meshes get one name."""

import os

import pytest

from addon.headless.plan import UsageError, plan

MESH_PLY = b"ply\nformat ascii 1.0\nelement vertex 8\nelement face 12\nend_header\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("b/Cat.png", "a/cat.png", "a/cat_LOD1.spz", "a/dog.jpg", "a/dog.spz", "a/notes.txt", "a/.hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "a" / "bunny.ply").write_bytes(MESH_PLY)
    return tmp_path


def test_outputs_are_named_by_stem_and_never_collide(folder):
    tasks, notes = plan([folder / "a", folder / "b" / "Cat.png", folder / "a" / "dog.jpg"], folder, ".fbx")
    made = [(task.source.name, task.kind, task.output.name) for task in tasks]
    assert made == [
        ("cat.png", "picture", "cat.fbx"),
        ("cat_LOD1.spz", "splats", "cat_LOD1.fbx"),
        ("dog.jpg", "picture", "dog.fbx"),
        ("dog.spz", "splats", "dog_2.fbx"),
        ("Cat.png", "picture", "Cat_2.fbx"),  # for Windows and macOS Cat.fbx is cat.fbx
    ]
    assert [note.split(": ")[0] for note in notes] == [
        "Left out",
        f"{folder / 'a' / 'dog.spz'} becomes dog_2.fbx",
        f"{folder / 'b' / 'Cat.png'} becomes Cat_2.fbx",
    ]


def test_levels_of_detail_collide_with_nothing_either(folder):
    tasks, _ = plan([folder / "a"], folder, ".glb", lods=1)
    assert [task.output.name for task in tasks] == ["cat.glb", "cat_LOD1_2.glb", "dog.glb", "dog_2.glb"]
    assert tasks[0].level(1).name == "cat_LOD1.glb"
    assert tasks[0].level(0) == tasks[0].output


def test_a_folder_without_pictures_and_splats_says_what_it_looked_for(folder):
    (folder / "only").mkdir()
    (folder / "only" / "bunny.ply").write_bytes(MESH_PLY)
    with pytest.raises(UsageError, match=r"no pictures and no splats.*\.spz.*bunny.ply holds a mesh of 12 faces"):
        plan([folder / "only"], folder, ".glb")


@pytest.fixture
def tree(tmp_path):
    """Pictures in folders, one of which is a link back to the top."""
    for name in ("cat.png", "animals/cat.png", "animals/big/cow.png", "things/Cup.JPG", "out/cat_texture.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "pictures" / "animals" / "loop").symlink_to(tmp_path / "pictures")
    return tmp_path / "pictures"


def test_recursion_keeps_folders_and_survives_loops(tree):
    tasks, notes = plan([tree], tree / "out", ".glb", recursive=True, left_out={tree / "out"})
    assert [task.name for task in tasks] == ["animals/big/cow", "animals/cat", "cat", "things/Cup"]
    assert tasks[0].output == tree / "out" / "animals" / "big" / "cow.glb"
    assert notes == []
    assert [task.name for task in plan([tree], tree, ".glb")[0]] == ["cat"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["cat"]),
        ("*/c*.png", ["animals/cat"]),
        ("**/*.png", ["animals/big/cow", "animals/cat", "cat"]),
        ("*/[A-Z]*", ["things/Cup"]),
    ],
)
def test_patterns_stand_for_what_matches_below_their_fixed_part(tree, pattern, names):
    (tree / "out" / "cat_texture.png").unlink()
    (tree / "animals" / "loop").unlink()
    tasks, notes = plan([tree / pattern], tree.parent, ".glb")
    assert sorted(task.name for task in tasks) == names
    assert notes == []


def test_a_pattern_that_matches_nothing_is_told(tree):
    tasks, notes = plan([tree / "*.gif", tree / "cat.png"], tree.parent, ".glb")
    assert [task.name for task in tasks] == ["cat"]
    assert notes == [f"Nothing matches {tree / '*.gif'}."]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    (tmp_path / "cat [1].png").write_bytes(b"")
    (tmp_path / "cat 1.png").write_bytes(b"")
    tasks, _ = plan([tmp_path / "cat [1].png"], tmp_path, ".glb")
    assert [task.name for task in tasks] == ["cat [1]"]


def test_a_source_keeps_the_name_it_got_whatever_comes_later(folder):
    first, _ = plan([folder / "b"], folder, ".glb")
    names = {task.source: task.name for task in first}
    tasks, _ = plan([folder / "a" / "cat.png", folder / "b"], folder, ".glb", names=names)
    assert [(task.source.parent.name, task.name) for task in tasks] == [("a", "cat_2"), ("b", "Cat")]


def test_the_name_of_a_source_that_has_gone_is_free(folder):
    names = {folder / "gone" / "cat.png": "cat"}
    assert plan([folder / "a" / "cat.png"], folder, ".glb", names=names)[0][0].name == "cat"


def test_names_no_program_takes_are_changed_and_told(tmp_path):
    long, longer = "ä" * 120, "ä" * 121
    for name in (f"{long}.png", f"{longer}.png", "two\nlines.png", os.fsdecode(b"bad \xff.png"), "дом 🏠 e\u0301.png"):
        (tmp_path / name).write_bytes(b"")
    tasks, notes = plan([tmp_path], tmp_path, ".glb")
    by_source = {task.source.stem: task.name for task in tasks}
    assert by_source["two\nlines"] == "two_lines"
    assert by_source[os.fsdecode(b"bad \xff")] == "bad _"
    assert by_source["дом 🏠 e\u0301"] == "дом 🏠 e\u0301"
    shortened = {by_source[long], by_source[longer]}
    assert len(shortened) == 2
    assert all(len(name.encode()) <= 160 and name.startswith("ääää") for name in shortened)
    assert len(notes) == 4


def test_one_name_in_two_ways_of_writing_it_is_one_name(tmp_path):
    """macOS takes e with an accent, in one character or in two, for the same file."""
    for folder, name in (("a", "caf\u00e9.png"), ("b", "cafe\u0301.png")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"")
    tasks, _ = plan([tmp_path / "a", tmp_path / "b"], tmp_path, ".glb")
    assert [task.name for task in tasks] == ["caf\u00e9", "cafe\u0301_2"]


def test_the_output_folder_and_what_was_made_are_no_sources(tree):
    tasks, _ = plan([tree], tree, ".glb", recursive=True, left_out={tree / "out", tree / "cat.png"})
    assert [task.name for task in tasks] == ["animals/big/cow", "animals/cat", "things/Cup"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch takes what it knows from folders, and no two meshes get one name."""

import pytest

from addon.plan import UsageError, plan

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

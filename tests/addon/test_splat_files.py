# SPDX-License-Identifier: GPL-3.0-or-later
"""A .ply may be a mesh: which files are taken for splats, and what is said about the others."""

import pytest

from addon.files.splat_files import SUFFIXES, are_splats, is_sog_folder, problem
from engine.fields import splats


def ply(*lines: str) -> bytes:
    return "\n".join(("ply", "format binary_little_endian 1.0", *lines, "end_header", "")).encode() + bytes(100)


INRIA = [f"property float {name}" for name in ("x", "y", "z", "f_dc_0", "opacity", "scale_0", "scale_1", "rot_0")]
MESH = ("element vertex 8", "property float x", "element face 1200", "property list uchar int vertex_indices")


def test_the_suffixes_are_those_the_engine_reads():
    assert SUFFIXES == splats.SUFFIXES


def test_a_folder_with_an_unpacked_sog_is_one_set_of_splats(tmp_path):
    (tmp_path / "meta.json").write_text('{"version": 2, "count": 5, "means": {"files": []}}')
    assert is_sog_folder(tmp_path)
    assert are_splats(tmp_path)
    assert problem(tmp_path) == ("", "")
    (tmp_path / "meta.json").write_text('{"something": "else"}')
    assert not are_splats(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ply", ply("element vertex 5", *INRIA)),
        ("A.PLY", ply("element vertex 5", *INRIA).replace(b"\n", b"\r\n")),
        ("packed.ply", ply("element chunk 1", "element vertex 5", "property uint packed_position")),
        ("a.spz", b"\x1f\x8b"),
        ("a.ply", b"nothing of the kind"),  # told by content: the engine says what it is
        ("a.ply", b"ply\nformat ascii 1.0\n"),  # truncated: the engine says so
    ],
)
def test_what_may_hold_splats_goes_to_the_engine(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert problem(tmp_path / name) == ("", "")


def test_a_mesh_is_refused_and_the_right_importer_named(tmp_path):
    (tmp_path / "bunny.ply").write_bytes(ply(*MESH))
    message, hint = problem(tmp_path / "bunny.ply")
    assert message == "bunny.ply holds a mesh of 1,200 faces, no Gaussian splats."
    assert "Stanford PLY" in hint


def test_plain_points_are_refused(tmp_path):
    (tmp_path / "scan.ply").write_bytes(ply("element vertex 5000", "property float x", "property uchar red"))
    assert problem(tmp_path / "scan.ply")[0] == "scan.ply holds 5,000 plain points, no Gaussian splats."


def test_a_missing_file_is_named(tmp_path):
    assert problem(tmp_path / "nowhere.spz")[0] == f"There is no file {tmp_path / 'nowhere.spz'}."

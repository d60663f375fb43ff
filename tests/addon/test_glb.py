# SPDX-License-Identifier: GPL-3.0-or-later
"""The mesh in a GLB, read without Blender: what the engine wrote, joined at seams, in Blender's frame."""

import json
import struct

import numpy as np
import pytest

from addon.files.glb import GlbError, polygons, read_glb
from engine.export.glb import write_glb
from engine.surface.mesh import Mesh
from tests.fakes.known_glb import FACES, NOSE, POLYGONS, WELDED_VERTICES, write_known_glb


@pytest.fixture
def known(tmp_path):
    path = tmp_path / "known.glb"
    write_known_glb(path, 2.0)
    return path


def with_document(path, change):
    """The same file with a changed description."""
    content = path.read_bytes()
    (size,) = struct.unpack_from("<I", content, 12)
    document = json.loads(content[20 : 20 + size])
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + size :]
    head = struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    path.write_bytes(head + text + rest)


def test_vertices_are_joined_and_stand_in_blenders_frame(known):
    mesh = read_glb(known)
    assert mesh.vertices.shape == (WELDED_VERTICES, 3)
    assert len(mesh.corners) == 3 * FACES
    np.testing.assert_array_equal(mesh.starts, np.arange(0, 3 * FACES, 3))
    x, y, z = NOSE
    foremost = mesh.vertices[mesh.vertices[:, 1].argmin()]
    np.testing.assert_allclose(foremost, [2 * x, -2 * z, 2 * y])
    assert mesh.color.data[:4] == b"\x89PNG"
    assert mesh.color.suffix == ".png"
    assert mesh.normal is None
    assert mesh.occlusion is None
    assert mesh.report == {}


def test_what_the_engine_writes_is_read_back(tmp_path):
    """A tetrahedron with a seam: two of its vertices are split."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    split = np.array([0, 1, 2, 3, 1, 2])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [4, 5, 3]], np.int32)
    uvs = np.linspace(0, 1, 12, dtype=np.float32).reshape(6, 2)
    texture = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    path = tmp_path / "tetra.glb"
    write_glb(path, Mesh(corners[split], faces, uvs=uvs, texture=texture), "tetra", 1.0)
    mesh = read_glb(path)
    assert len(mesh.vertices) == 4
    centred = corners - [0.5, 0, 0.5]
    expected = np.stack([centred[:, 0], -centred[:, 2], centred[:, 1]], axis=1)[split][faces]
    np.testing.assert_allclose(mesh.vertices[mesh.corners].reshape(-1, 3, 3), expected, atol=1e-6)
    flipped = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1)[faces]
    np.testing.assert_allclose(mesh.corner_uvs.reshape(-1, 3, 2), flipped, atol=1e-6)


def test_all_that_the_engine_can_write_is_read_back(tmp_path):
    """A strip of quads in which every second one begins at a vertex of the one before."""
    columns = np.arange(7)
    vertices = np.array([[x, y, 0.1 * x * y] for x in columns for y in (0, 1)], np.float32)
    quads = [[2 * x, 2 * x + 2, 2 * x + 3, 2 * x + 1] for x in columns[:-1]]
    faces = np.array([[q[0], q[i], q[i + 1]] for q in quads for i in (1, 2)], np.int32)
    uvs = (vertices[:, :2] / 6).astype(np.float32)
    rng = np.random.default_rng(0)
    texture, normal_map = rng.integers(0, 255, (2, 64, 64, 3), np.uint8)
    mesh = Mesh(
        vertices,
        faces,
        uvs=uvs,
        texture=texture,
        normal_map=normal_map,
        occlusion=rng.integers(0, 255, (64, 64), np.uint8),
        quads=True,
    )
    path = tmp_path / "strip.glb"
    write_glb(
        path,
        mesh,
        "strip",
        image="webp",
        extras={"gaussmith": {"genus": 0}},
        placement=(2.0, np.array([5.0, 6.0, 7.0])),
    )
    read = read_glb(path)
    assert np.diff(read.starts, append=len(read.corners)).tolist() == [4] * 6
    assert read.color.data[8:12] == b"WEBP"
    assert {read.normal.data[:4], read.occlusion.data[:4]} == {b"\x89PNG"}
    assert read.report == {"genus": 0}
    expected = 2 * vertices + [5, 6, 7]
    for number, quad in enumerate(quads):
        corners = read.corners[4 * number : 4 * number + 4]
        found = read.vertices[corners]
        wanted = (expected[quad] * [1, 1, -1])[:, [0, 2, 1]]
        turned = next(k for k in range(4) if np.allclose(np.roll(wanted, -k, axis=0), found, atol=1e-5))
        flipped = np.roll(uvs[quad], -turned, axis=0) * [1, -1] + [0, 1]
        np.testing.assert_allclose(read.corner_uvs[4 * number : 4 * number + 4], flipped, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(read.normals, axis=1), 1, atol=1e-5)


def test_quads_are_put_together_again_with_their_uvs(tmp_path):
    path, plain = tmp_path / "quads.glb", tmp_path / "triangles.glb"
    write_known_glb(path, quads=True)
    write_known_glb(plain)
    mesh, triangles = read_glb(path), read_glb(plain)
    sizes = np.diff(mesh.starts, append=len(mesh.corners))
    assert sizes.tolist() == [4] * 5 + [3] * 4
    assert len(sizes) == POLYGONS
    assert mesh.counts() == {"faces": POLYGONS, "vertices": WELDED_VERTICES, "quads": False}  # the nose is triangles
    assert len(mesh.corner_uvs) == len(mesh.corners) == 4 * 5 + 3 * 4
    assert len(mesh.vertices) == WELDED_VERTICES
    for number in range(5):  # the same four corners as the two triangles of that side, in an order around it
        quad = mesh.vertices[mesh.corners[4 * number : 4 * number + 4]]
        halves = triangles.vertices[triangles.corners[6 * number : 6 * number + 6]]
        assert {tuple(p) for p in quad} == {tuple(p) for p in halves}
        sides = np.roll(quad, -1, axis=0) - quad
        assert np.abs(np.einsum("ci,ci->c", sides, np.roll(sides, -1, axis=0))).max() < 1e-12  # right angles


def test_a_fan_is_one_polygon_and_another_first_vertex_begins_the_next():
    corners, starts = polygons(np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [2, 1, 0], [5, 6, 7], [5, 7, 8]]))
    assert corners.tolist() == [0, 1, 2, 3, 4, 2, 1, 0, 5, 6, 7, 8]
    assert starts.tolist() == [0, 5, 8]


def test_a_file_that_does_not_say_that_it_has_polygons_has_triangles(tmp_path):
    path = tmp_path / "quads.glb"
    write_known_glb(path, quads=True)
    with_document(path, lambda document: document["meshes"][0]["primitives"][0].pop("extensions"))
    assert len(read_glb(path).starts) == FACES


def test_webp_normal_map_occlusion_and_report_are_found(tmp_path):
    path = tmp_path / "all.glb"
    write_known_glb(path, image="webp", normal_map=True, occlusion=True, extras={"gaussmith": {"genus": 0}})
    mesh = read_glb(path)
    assert mesh.color.data[8:12] == b"WEBP"
    assert mesh.color.suffix == ".webp"
    assert mesh.normal.suffix == mesh.occlusion.suffix == ".png"
    assert mesh.normal.data != mesh.occlusion.data
    assert mesh.report == {"genus": 0}


def test_place_and_scale_of_a_node_keep_their_digits_far_from_the_origin(tmp_path):
    path = tmp_path / "far.glb"
    write_known_glb(path, placement=(3.0, (1e6, 20.0, -5.0)))
    mesh = read_glb(path)
    lowest, highest = mesh.vertices.min(0), mesh.vertices.max(0)
    np.testing.assert_allclose(lowest, [1e6 - 0.75, 5 - 0.75, 20], rtol=0, atol=1e-6)
    np.testing.assert_allclose(highest, [1e6 + 0.75, 5 + 0.75, 23], rtol=0, atol=1e-6)


def test_origins_are_the_base_the_middle_of_the_box_and_the_centre_of_the_volume(tmp_path):
    path = tmp_path / "far.glb"
    for quads in (False, True):
        write_known_glb(path, placement=(2.0, (10.0, 0.0, -3.0)), quads=quads)
        mesh = read_glb(path)
        np.testing.assert_allclose(mesh.origin("BASE"), [10, 3, 0], atol=1e-6)
        np.testing.assert_allclose(mesh.origin("CENTER"), [10, 3, 1], atol=1e-6)
        # A box 0.3 deep and a pyramid 0.2 high on its front: volumes 0.15 and 0.1 / 3 of the object of size 1.
        box, pyramid = 0.15, 0.1 / 3
        middle = 0.75 * np.array([0, -0.05, 0.5]) + 0.25 * np.array([0.1, -0.25, 0.75])
        mass = (box * np.array([0, 0.1, 0.5]) + pyramid * middle) / (box + pyramid)
        np.testing.assert_allclose(mesh.origin("MASS"), np.array([10, 3, 0]) + 2 * mass, atol=1e-6)
        assert len(mesh.triangles()) == FACES


def test_the_place_of_a_node_counts(known):
    lifted = np.eye(4)
    lifted[:3, 3] = [0, 5, 0]
    with_document(known, lambda document: document["nodes"][0].update(matrix=lifted.T.ravel().tolist()))
    assert read_glb(known).vertices[:, 2].min() == pytest.approx(5)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a GLB"),
        (b"\x89PNG" + bytes(100), "not a GLB"),
        (b"glTF" + struct.pack("<II", 1, 24) + bytes(12), "not glTF 2"),
        (b"glTF" + struct.pack("<II", 2, 24) + bytes(12), "lacks"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path, content, sentence):
    path = tmp_path / "other.glb"
    path.write_bytes(content)
    with pytest.raises(GlbError, match=sentence) as caught:
        read_glb(path)
    assert "other.glb" in str(caught.value)


def test_a_truncated_file_is_refused(known):
    known.write_bytes(known.read_bytes()[:-50])
    with pytest.raises(GlbError, match="is truncated"):
        read_glb(known)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("materials"),
        lambda d: d["meshes"][0]["primitives"].append(d["meshes"][0]["primitives"][0]),
        lambda d: d["nodes"][0].update(rotation=[0, 0, 0, 1]),
        lambda d: d["images"][0].update(mimeType="image/ktx2"),
        lambda d: d["accessors"][0].update(count=10**6),
        lambda d: d["bufferViews"][0].update(byteStride=16),
        lambda d: d["images"][0].update(bufferView=99),
    ],
)
def test_what_the_engine_never_writes_is_refused(known, change):
    with_document(known, change)
    with pytest.raises(GlbError, match="not a GLB of one textured mesh"):
        read_glb(known)


def test_faces_that_point_at_no_vertex_are_refused(known):
    with_document(known, lambda document: document["accessors"][0].update(count=3))
    with pytest.raises(GlbError, match="point at no vertex"):
        read_glb(known)


def test_a_file_that_is_not_there_is_told_in_a_sentence(tmp_path):
    with pytest.raises(GlbError, match=r"^Could not read .*lost\.glb: No such file or directory\.$"):
        read_glb(tmp_path / "lost.glb")

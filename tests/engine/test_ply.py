# SPDX-License-Identifier: GPL-3.0-or-later
"""Splat files: every layout is read, written ones come back, bad ones get one sentence."""

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from engine.conventions import SH_C0
from engine.errors import OutputError, SplatFileError
from engine.fields.gaussians import Gaussians
from engine.fields.ply import NEEDED
from engine.fields.splats import read_splats, write_splats

NORMALS = ("nx", "ny", "nz")
RESTS = tuple(f"f_rest_{i}" for i in range(45))


def table(count=20, names=NEEDED, kind="f4", **changes):
    """A structured array as splat tools write it: raw values before activation."""
    random = np.random.default_rng(0)
    values = np.zeros(count, [(name, kind) for name in names])
    for name in names:
        values[name] = random.normal(-3 if name.startswith("scale") else 0, 1, count)
    for name, value in changes.items():
        values[name] = value
    return values


def save(path, values, text=False, order="<", element="vertex"):
    PlyData([PlyElement.describe(values, element)], text=text, byte_order="=" if text else order).write(str(path))
    return path


def test_values_are_activated(tmp_path):
    values = table(1, x=1.5, y=-2, z=0.25, opacity=0, f_dc_0=0, f_dc_1=0.5, f_dc_2=99)
    for i, value in enumerate((2, 0, 0, 0)):
        values[f"rot_{i}"] = value
    for i, value in enumerate((0.5, 1, 2)):
        values[f"scale_{i}"] = np.log(value)
    gaussians = read_splats(save(tmp_path / "a.ply", values))
    np.testing.assert_allclose(gaussians.means, [[1.5, -2, 0.25]])
    np.testing.assert_allclose(gaussians.quats, [[1, 0, 0, 0]])
    np.testing.assert_allclose(gaussians.scales, [[0.5, 1, 2]], rtol=1e-6)
    np.testing.assert_allclose(gaussians.opacities, [0.5])
    np.testing.assert_allclose(gaussians.colors, [[0.5, 0.5 + 0.5 * SH_C0, 1]], rtol=1e-6)


@pytest.mark.parametrize("names", [NEEDED, (*NORMALS, *NEEDED), (*NEEDED[:6], *RESTS, *NEEDED[6:]), NEEDED[::-1]])
@pytest.mark.parametrize(("text", "order", "kind"), [(0, "<", "f4"), (0, ">", "f4"), (1, "=", "f4"), (0, "<", "f8")])
def test_layouts_hold_the_same_gaussians(tmp_path, names, text, order, kind):
    plain = table()
    values = table(names=names, kind=kind, **{name: plain[name] for name in NEEDED})
    found = read_splats(save(tmp_path / "a.ply", values, bool(text), order))
    expected = read_splats(save(tmp_path / "b.ply", plain))
    for name in ("means", "quats", "scales", "opacities", "colors"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5)


def test_written_gaussians_come_back(tmp_path):
    random = np.random.default_rng(1)
    opacities = np.array([0, 1, 1e-6, 1 - 1e-6, 0.5])
    written = Gaussians(
        random.normal(size=(5, 3)),
        random.normal(size=(5, 4)),
        np.exp(random.normal(-5, 3, (5, 3))),
        opacities,
        random.uniform(0, 1, (5, 3)),
    )
    path = tmp_path / "ein Ordner" / "Gauß 点.ply"
    write_splats(path, written)
    read = read_splats(path)
    np.testing.assert_array_equal(read.means, written.means)
    np.testing.assert_allclose(read.quats, written.quats, atol=1e-6)
    np.testing.assert_allclose(read.scales, written.scales, rtol=1e-5)
    np.testing.assert_allclose(read.opacities, written.opacities, atol=2e-7)
    np.testing.assert_allclose(read.colors, written.colors, atol=1e-6)
    vertex = PlyData.read(str(path))["vertex"]
    assert [p.name for p in vertex.properties][:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_flattened_gaussians_get_a_thickness(tmp_path):
    gaussians = read_splats(save(tmp_path / "a.ply", table(3, scale_2=-1000)))
    assert 0 < gaussians.scales[:, 2].max() < 1e-8


def test_unwritable_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Could not write"):
        write_splats(tmp_path / "file" / "a.ply", read_splats(save(tmp_path / "b.ply", table())))


BROKEN = [
    ({"x": np.nan}, "NaN or infinity in the position"),
    ({"y": -1e12}, "a position beyond 1e6"),
    ({"opacity": np.nan}, "NaN in the opacity"),
    ({"f_dc_1": np.nan}, "NaN in the colour"),
    ({"scale_1": np.nan}, "NaN in the size"),
    ({"scale_1": 200}, "a size beyond 1e6"),
    ({"rot_3": np.inf}, "NaN or infinity in the rotation"),
    ({"rot_0": 0, "rot_1": 0, "rot_2": 0, "rot_3": 0}, "a rotation that is a quaternion of length 0"),
]


@pytest.mark.parametrize(("changes", "reason"), BROKEN)
def test_broken_gaussians_are_left_out_with_a_note(tmp_path, changes, reason):
    values = table(20)
    for name, value in changes.items():
        values[name][3] = value
    notes = []
    found = read_splats(save(tmp_path / "a.ply", values), notes.append)
    expected = read_splats(save(tmp_path / "b.ply", np.delete(values, 3)))
    np.testing.assert_array_equal(found.means, expected.means)
    np.testing.assert_array_equal(found.quats, expected.quats)
    assert notes == [f"1 of 20 Gaussians in the file are broken and were left out: {reason} (1)."]


@pytest.mark.parametrize(("changes", "reason"), BROKEN)
def test_files_of_mostly_broken_gaussians_are_refused(tmp_path, changes, reason):
    values = table(20)
    for name, value in changes.items():
        values[name][:11] = value
    with pytest.raises(SplatFileError, match=f"damaged: 11 of 20 Gaussians have {reason}"):
        read_splats(save(tmp_path / "a.ply", values))


def test_infinite_logits_are_opacities_of_0_and_1(tmp_path):
    gaussians = read_splats(save(tmp_path / "a.ply", table(2, opacity=[-np.inf, np.inf])))
    np.testing.assert_allclose(gaussians.opacities, [0, 1], atol=1e-30)


@pytest.mark.parametrize(("rests", "bands"), [(9, 3), (24, 8), (45, 15), (72, 15), (6, 0)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_harmonics_stand_channel_by_channel(tmp_path, rests, bands, order):
    names = (*NEEDED[:6], *(f"f_rest_{i}" for i in range(rests)), *NEEDED[6:])
    values = table(5, names, **{f"f_rest_{i}": i / 64 for i in range(rests)})
    sh = read_splats(save(tmp_path / "a.ply", values, order=order)).sh
    if not bands:
        assert sh is None
        return
    assert sh.shape == (5, bands, 3)
    per_channel = rests // 3
    for channel in range(3):
        np.testing.assert_array_equal(sh[2, :, channel], (np.arange(bands) + per_channel * channel) / 64)


def test_harmonics_are_written_as_they_were_read(tmp_path):
    random = np.random.default_rng(3)
    names = (*NEEDED[:6], *RESTS, *NEEDED[6:])
    values = table(5, names, **{name: random.normal(size=5).astype(np.float16) for name in RESTS})
    first = read_splats(save(tmp_path / "a.ply", values))
    write_splats(tmp_path / "b.ply", first)
    np.testing.assert_array_equal(read_splats(tmp_path / "b.ply").sh, first.sh)
    vertex = PlyData.read(str(tmp_path / "b.ply"))["vertex"]
    for name in RESTS:
        np.testing.assert_array_equal(vertex[name], values[name])


def test_lgm_files_after_and_before_activation_are_the_same(tmp_path):
    plain = table(50, scale_0=-4, scale_1=-5, scale_2=-6)
    plain["f_dc_0"] = plain["f_dc_1"] = plain["f_dc_2"] = np.linspace(-1.5, 1.5, 50)
    expected = read_splats(save(tmp_path / "a.ply", plain))
    activated = plain.copy()
    for i in range(3):
        activated[f"scale_{i}"] = expected.scales[:, i]
        activated[f"f_dc_{i}"] = expected.colors[:, i]
    for i in range(4):
        activated[f"rot_{i}"] = expected.quats[:, i]
    activated["opacity"] = expected.opacities
    found = read_splats(save(tmp_path / "b.ply", activated))
    for name in ("means", "quats", "scales", "opacities", "colors"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)


def test_flat_gaussians_get_a_thickness(tmp_path):
    names = tuple(name for name in NEEDED if name != "scale_2")
    scales = read_splats(save(tmp_path / "a.ply", table(20, names))).scales
    np.testing.assert_allclose(scales[:, 2], 0.01 * scales[:, :2].min(1), rtol=1e-5)


@pytest.mark.parametrize("text", [False, True])
def test_other_elements_may_come_before(tmp_path, text):
    values = table(5)
    camera = np.array([(1.0, 2.0)], [("fx", "f4"), ("fy", "f4")])
    elements = [PlyElement.describe(camera, "camera"), PlyElement.describe(values, "vertex")]
    PlyData(elements, text=text).write(str(tmp_path / "a.ply"))
    np.testing.assert_allclose(read_splats(tmp_path / "a.ply").means[:, 0], values["x"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("text", [False, True])
def test_files_longer_than_a_chunk_are_read_whole(tmp_path, text):
    values = table(70_000)
    found = read_splats(save(tmp_path / "a.ply", values, text))
    np.testing.assert_allclose(found.means, np.stack([values[axis] for axis in "xyz"], 1), rtol=1e-5)


@pytest.mark.parametrize("text", [False, True])
def test_truncated_body(tmp_path, text):
    path = save(tmp_path / "a.ply", table(), text)
    content = path.read_bytes()
    for part in (0.97, 0.5, 0.3):
        path.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(SplatFileError, match=r"truncated|damaged"):
            read_splats(path)


def header(*lines):
    return "\n".join(["ply", *lines, "end_header", ""]).encode()


GIANT = [f"property float {name}" for name in NEEDED]
BAD_FILES = {
    "empty": (b"", "not a PLY file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a PLY file"),
    "no end of header": (b"ply\nformat ascii 1.0\n", "header has no end"),
    "endless header": (b"ply\nformat ascii 1.0\n" + b"comment x\n" * 100_000, "header has no end"),
    "one endless line": (b"ply" + b"x" * 1_000_000, "header has no end|damaged header"),
    "no format": (b"ply\nend_header\n", "damaged header"),
    "strange type": (header("format ascii 1.0", "element vertex 1", "property quaternion x"), "damaged header"),
    "negative count": (header("format ascii 1.0", "element vertex -1"), "damaged header"),
    "no vertex": (header("format ascii 1.0", "element face 0"), r"no element 'vertex' \(found: face\)"),
    "no Gaussians": (header("format ascii 1.0", "element vertex 0", *GIANT), "0 Gaussians"),
    "point cloud": (
        header("format ascii 1.0", "element vertex 1", *GIANT[:3]) + b"0 0 0\n",
        "lacks the properties f_dc_0 .* looks like a point cloud",
    ),
    "one missing": (
        header("format ascii 1.0", "element vertex 1", *GIANT[:6], *GIANT[7:]) + b"0 " * 13,
        "lacks the properties opacity",
    ),
    "giant count": (
        header("format binary_little_endian 1.0", "element vertex 900000000000", *GIANT) + bytes(56),
        "truncated: 900,000,000,000 Gaussians need",
    ),
    "giant text": (header("format ascii 1.0", "element vertex 99999999999", *GIANT) + b"0 " * 14, "truncated"),
    "giant other element": (
        header("format binary_little_endian 1.0", "element vertex 1", *GIANT, "element e 99999999999", "property int i")
        + bytes(56),
        "truncated",
    ),
    "strange format": (header("format binary_middle 1.0", "element vertex 1", *GIANT) + bytes(56), "damaged"),
    "words as numbers": (header("format ascii 1.0", "element vertex 1", *GIANT) + b"zero " * 14, "damaged"),
    "list for x": (
        header("format ascii 1.0", "element vertex 1", "property list int float x", *GIANT[1:]) + b"2 " + b"0 " * 15,
        "damaged",
    ),
    "twice the same": (header("format ascii 1.0", "element vertex 1", *GIANT, GIANT[0]) + b"0 " * 15, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_get_one_sentence(tmp_path, name):
    content, message = BAD_FILES[name]
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    with pytest.raises(SplatFileError, match=message) as caught:
        read_splats(path)
    assert "bad.ply" in caught.value.message
    assert caught.value.hint


def test_mesh_is_named_as_such(tmp_path):
    vertices = np.zeros(3, [("x", "f4"), ("y", "f4"), ("z", "f4")])
    faces = np.array([([0, 1, 2],)], [("vertex_indices", "i4", (3,))])
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements).write(str(tmp_path / "mesh.ply"))
    with pytest.raises(SplatFileError, match="looks like a mesh"):
        read_splats(tmp_path / "mesh.ply")


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.ply", tmp_path):
        with pytest.raises(SplatFileError, match="Could not read"):
            read_splats(path)

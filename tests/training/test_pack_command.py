# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about packing a folder of assets: orientation, colours and size survive the way into a pack and out of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from plyfile import PlyData
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

from engine.errors import InputError, OptionError, OutputError
from engine.fields.cameras import Cameras, intrinsics, look_at
from engine.render.mesh_cpu import render_mesh
from engine.surface.mesh import Mesh
from engine.training.data.import_assets import READ, read_asset, rotation_to_y, to_linear, to_srgb
from engine.training.data.import_blender import WITHOUT, as_glb, blender_command
from engine.training.data.packs import Pack
from engine.training.pack import find_assets, main
from tests.fakes.known_glb import NOSE, SIDES, known_polygons, known_triangles, write_known_glb

TOWARDS = {
    "front": (0, 0, 1), "back": (0, 0, -1), "left": (-1, 0, 0), "right": (1, 0, 0), "top": (0, 1, 0),
    "bottom": (0, -1, 0),
}  # fmt: skip


def packed(folder: Path, *more: str) -> Pack:
    index = folder.parent / "pack.csv"
    assert main([str(folder), "-o", str(index), "--overwrite", "--texture", "64", *more]) == 0
    return Pack(index)


def colour_from(mesh: Mesh, direction: tuple[float, float, float]) -> np.ndarray:
    """The colour [3] in 0..255 in the middle of an unlit render from far away in that direction."""
    eye = np.array(direction, np.float64) * 4 + [0, 0.05 if direction[1] == 0 else 0, 0]
    camera = Cameras(look_at(eye, np.zeros(3))[None], intrinsics(20, 32, 32)[None], 32, 32)
    return render_mesh(mesh, camera)[0][0][16, 16, :3] * 255


def assert_known(mesh: Mesh, tolerance: float = 4) -> None:
    """The box with the nose stands as it should: size, sides and their colours, the nose right and up in front."""
    low, high = mesh.bounds()
    np.testing.assert_allclose(high - low, [0.5, 1, 0.5], atol=3e-3)
    np.testing.assert_allclose(high + low, 0, atol=3e-3)
    for side, direction in TOWARDS.items():
        np.testing.assert_allclose(colour_from(mesh, direction), SIDES[side][0], atol=tolerance, err_msg=side)
    tip = mesh.vertices[mesh.vertices[:, 2].argmax()]
    np.testing.assert_allclose(tip, np.array(NOSE) - [0, 0.5, 0], atol=3e-3)


def known_pieces(colored) -> trimesh.Scene:
    """The known box as one geometry per side; `colored` gives the visual of a side with so many vertices."""
    scene = trimesh.Scene()
    for side, (colour, _) in SIDES.items():
        points = np.array([triangle for name, triangle in known_triangles() if name == side]).reshape(-1, 3)
        mesh = trimesh.Trimesh(points, np.arange(len(points)).reshape(-1, 3), process=False)
        mesh.visual = colored(mesh, colour)
        scene.add_geometry(mesh, geom_name=side)
    return scene


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "assets").mkdir()
    return tmp_path / "assets"


def test_a_textured_box_keeps_orientation_colours_and_size(folder):
    write_known_glb(folder / "known.glb", size=3.0, placement=(2.0, (5, -1, 4)))
    pack = packed(folder)
    assert [entry.name for entry in pack.entries] == ["known"]
    assert_known(pack.mesh(0))


def test_factors_of_materials_are_linear_light(folder):
    def colored(mesh, colour):
        factor = [*to_linear(np.array(colour) / 255), 1]
        return TextureVisuals(material=PBRMaterial(baseColorFactor=factor))

    known_pieces(colored).export(folder / "factors.glb")
    assert_known(packed(folder).mesh(0), tolerance=8)  # the reader keeps factors in eight bits of linear light


def test_texture_factor_and_vertex_colours_are_multiplied(folder):
    grey = Image.fromarray(np.full((4, 4, 3), 188, np.uint8))  # sRGB of linear one half

    def colored(mesh, colour):
        material = PBRMaterial(baseColorTexture=grey, baseColorFactor=[1.0, 0.5, 1.0, 1.0])
        visual = TextureVisuals(uv=np.zeros((len(mesh.vertices), 2)), material=material)
        visual.vertex_attributes["color"] = np.tile(np.array([128, 255, 0, 255], np.uint8), (len(mesh.vertices), 1))
        return visual

    known_pieces(colored).export(folder / "product.glb")
    expected = 255 * to_srgb(np.array([0.503 * 128 / 255, 0.503 * 0.5, 0]))
    np.testing.assert_allclose(colour_from(packed(folder).mesh(0), (0, 0, 1)), expected, atol=4)


def test_vertex_colours_of_a_ply_file_are_what_viewers_show(folder):
    def colored(mesh, colour):
        colors = np.tile([*colour, 255], (len(mesh.vertices), 1)).astype(np.uint8)
        return ColorVisuals(mesh, vertex_colors=colors)

    known_pieces(colored).to_mesh().export(folder / "colours.ply")
    assert_known(packed(folder).mesh(0))


def test_a_ply_file_of_polygons_with_different_numbers_of_corners(folder):
    names = ["x", "y", "z", "red", "green", "blue"]
    points, polygons = [], []
    for side, corners in known_polygons():
        polygons.append(f"{len(corners)} " + " ".join(str(len(points) + k) for k in range(len(corners))))
        points += [" ".join(map(str, [*corner, *SIDES[side][0]])) for corner in corners]
    kinds = ["float"] * 3 + ["uchar"] * 3
    header = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
    header += [f"property {kind} {name}" for kind, name in zip(kinds, names, strict=True)]
    header += [f"element face {len(polygons)}", "property list uchar int vertex_indices", "end_header"]
    (folder / "ascii.ply").write_text("\n".join([*header, *points, *polygons]) + "\n")
    ply = PlyData.read(folder / "ascii.ply")
    ply.text = False
    ply.write(folder / "binary.ply")
    pack = packed(folder)
    assert len(pack) == 2
    for i in range(2):
        assert_known(pack.mesh(i))


def test_compressed_meshes_are_told(folder, monkeypatch, capsys):
    monkeypatch.setattr("engine.training.pack.blender_command", lambda: None)
    write_known_glb(folder / "good.glb")
    document = {"asset": {"version": "2.0"}, "extensionsRequired": ["KHR_draco_mesh_compression"]}
    (folder / "draco.gltf").write_text(json.dumps(document))
    packed(folder)
    assert "skipped draco.gltf: Its meshes are compressed (KHR_draco_mesh_compression)" in capsys.readouterr().err


def test_an_obj_file_with_materials_and_z_up(folder):
    lines, count = ["mtllib box.mtl"], 0
    for side, triangle in known_triangles():
        lines += [f"usemtl {side}", *(f"v {x} {-z} {y}" for x, y, z in triangle)]
        lines.append(f"f {count + 1} {count + 2} {count + 3}")
        count += 3
    (folder / "box.obj").write_text("\n".join(lines))
    colours = [
        f"newmtl {side}\nKd " + " ".join(str(to_linear(c / 255)) for c in colour) for side, (colour, _) in SIDES.items()
    ]
    (folder / "box.mtl").write_text("\n".join(colours))
    assert_known(packed(folder, "--up", "z").mesh(0))


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_what_is_up_is_turned_to_y_by_a_rotation(up):
    matrix = rotation_to_y(up)
    axis = np.eye(3)["xyz".index(up[-1])] * (-1 if up[0] == "-" else 1)
    np.testing.assert_array_equal(matrix @ axis, [0, 1, 0])
    assert np.linalg.det(matrix) == 1
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))


@pytest.mark.slow
def test_a_dense_textured_sphere_is_simplified_and_keeps_its_picture(folder):
    sphere = trimesh.creation.icosphere(6)
    x, y, _ = sphere.vertices.T
    uvs = np.stack([x / 2 + 0.5, y / 2 + 0.5], 1)  # front and back alike
    ramp = np.linspace(0, 255, 2048).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[None], ramp[::-1][:, None], np.uint8(90)), -1)
    sphere.visual = TextureVisuals(uv=uvs, material=PBRMaterial(baseColorTexture=Image.fromarray(picture)))
    sphere.export(folder / "sphere.glb")
    mesh = packed(folder, "--texture", "128").mesh(0)
    assert 5000 < len(mesh.faces) <= 6000
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=4e-3)
    # what is seen in the middle and 0.25 to the right of it (r = red, towards +x)
    eye = look_at(np.array([0, 0, 40.0]), np.zeros(3))
    camera = Cameras(eye[None], intrinsics(2.0, 65, 65)[None], 65, 65)
    seen = render_mesh(mesh, camera)[0][0] * 255
    focal = camera.Ks[0][0, 0]
    for at in (-0.3, 0.0, 0.3):
        column = round(32 + focal * at / (40 - np.sqrt(0.25 - at * at)))
        np.testing.assert_allclose(seen[32, column, :3], [255 * (at + 0.5), 127.5, 90], atol=8)


@pytest.mark.parametrize(
    ("transform", "quarters"),  # numbers of the texture's quarters seen at top left, top right, bottom left and right
    [
        ({"scale": [1, -1], "offset": [0, 1]}, [2, 3, 0, 1]),  # upside down
        ({"scale": [0.5, 0.5], "offset": [0.5, 0]}, [1, 1, 1, 1]),
        ({"scale": [0.5, 0.5], "offset": [0, 1], "rotation": np.pi / 2}, [2, 2, 2, 2]),  # the specification's example
        ({"rotation": np.pi / 2, "offset": [0, 1]}, [2, 0, 3, 1]),  # the picture turned clockwise
    ],
)
def test_texture_transforms_are_applied(transform, quarters, folder):
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 250]], np.uint8)
    picture = Image.fromarray(colours.reshape(2, 2, 3).repeat(32, 0).repeat(32, 1))
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    material = PBRMaterial(name="print", baseColorTexture=picture)
    square.visual = TextureVisuals(uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1]]), material=material)

    def transformed(document):
        document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {
            "KHR_texture_transform": transform
        }

    (folder / "print.glb").write_bytes(square.export(file_type="glb", tree_postprocessor=transformed))
    mesh = packed(folder).mesh(0)
    camera = Cameras(look_at(np.array([0, 0, 40.0]), np.zeros(3))[None], intrinsics(1.43, 32, 32)[None], 32, 32)
    seen = render_mesh(mesh, camera)[0][0] * 255
    found = [seen[row, column, :3] for row in (8, 24) for column in (8, 24)]
    np.testing.assert_allclose(found, colours[quarters], atol=6)


@pytest.mark.parametrize("clear", [0.2, 0.9])
def test_what_dissolves_in_an_obj_file_is_gone(clear, folder):
    lines = ["mtllib a.mtl", "v 0 0 0", "v 4 0 0", "v 4 4 0", "v 0 4 0", "v 0 0 1", "v 1 0 1", "v 1 1 1"]
    (folder / "a.obj").write_text("\n".join([*lines, "usemtl wall", "f 1 2 3", "f 1 3 4", "usemtl pane", "f 5 6 7"]))
    (folder / "a.mtl").write_text(f"newmtl wall\nKd 1 0 0\nnewmtl pane\nKd 0 0 1\nd {clear}\n")
    assert len(packed(folder).mesh(0).faces) == (2 if clear < 0.5 else 3)


def test_what_the_texture_cuts_out_is_gone_and_clear_things_are_skipped(folder):
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[:, 4:, 3] = 0
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    points = np.concatenate([square * [2, 1, 1], square @ [[0, 0, 1], [0, 1, 0], [0, 0, 0]] + [2, 0, 0]])
    for name, mode, columns in (("leaf", "MASK", (0.2, 0.8)), ("pane", "BLEND", (0.8, 0.2))):
        material = PBRMaterial(baseColorTexture=Image.fromarray(pixels), alphaMode=mode)
        flat = trimesh.Trimesh(points, [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], process=False)
        flat.visual = TextureVisuals(
            uv=np.array([[column, 0.5] for column in np.repeat(columns, 4)]), material=material
        )
        flat.export(folder / f"{name}.glb")
    index = folder.parent / "pack.csv"
    main([str(folder), "-o", str(index), "--texture", "64"])
    pack = Pack(index)
    assert [entry.name for entry in pack.entries] == ["leaf"]
    assert np.ptp(pack.mesh(0).vertices[:, 2]) < 0.01  # the side that is cut out


def test_broken_files_are_skipped_with_their_reasons(folder, capsys, monkeypatch):
    monkeypatch.setattr("engine.training.pack.blender_command", lambda: None)
    write_known_glb(folder / "good.glb")
    (folder / "cut.glb").write_bytes((folder / "good.glb").read_bytes()[:500])
    (folder / "words.obj").write_text("nothing of a mesh")
    trimesh.PointCloud(np.random.default_rng(0).random((20, 3))).export(folder / "points.ply")
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False)
    flat.export(folder / "line.stl")
    index = folder.parent / "pack.csv"
    assert main([str(folder), "-o", str(index), "--texture", "32", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["written"] == 1
    assert sorted(name for name, _ in told["skipped"]) == ["cut.glb", "line.stl", "points.ply", "words.obj"]
    reasons = dict(told["skipped"])
    assert "holds no faces" in reasons["points.ply"]
    assert "area" in reasons["line.stl"]
    (folder / "good.glb").unlink()
    with pytest.raises(InputError, match="4 skipped: "):
        main([str(folder), "-o", str(folder.parent / "none.csv"), "--texture", "32"])
    assert not (folder.parent / "none.csv").exists()


def test_the_index_names_source_style_and_licence(folder):
    (folder / "props").mkdir()
    write_known_glb(folder / "props" / "box.glb")
    packed(
        folder, "--licence", "CC0-1.0", "--attribution", "Us", "--weight", "2.5", "--style", "game", "--faces", "200"
    )
    line = (folder.parent / "pack.csv").read_text().splitlines()[1]
    assert line.startswith("pack_000.npz,0,box,props/box.glb,props,game,CC0-1.0,Us,2.5,14,")


def test_of_one_asset_in_several_formats_the_best_is_taken(folder):
    for name in ("a.obj", "a.fbx", "a.glb", "b.fbx", "b.PLY", ".c.glb", "notes.txt"):
        (folder / name).write_text("x")
    assert [path.name for path in find_assets(folder)] == ["a.glb", "b.PLY"]
    assert READ.index(".glb") < READ.index(".obj")


@pytest.mark.slow
def test_a_pack_that_is_there_stays_and_wrong_options_are_told(folder):
    write_known_glb(folder / "known.glb")
    index = folder.parent / "mine.npz"
    assert main([str(folder), "-o", str(index), "--texture", "32"]) == 0
    before = (folder.parent / "mine_000.npz").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        main([str(folder), "-o", str(index)])
    (folder / "known.glb").write_bytes(b"broken now")
    with pytest.raises(InputError, match="Not one"):
        main([str(folder), "-o", str(index), "--overwrite"])
    assert (folder.parent / "mine_000.npz").read_bytes() == before  # what could not be replaced is kept
    assert len(Pack(index)) == 1
    for wrong in (["--faces", "10"], ["--weight", "0"], ["--texture", "9999"]):
        with pytest.raises(OptionError):
            main([str(folder), "-o", str(index), *wrong])
    with pytest.raises(InputError, match="no folder"):
        main([str(folder / "nowhere"), "-o", str(index)])
    (folder.parent / "empty").mkdir()
    with pytest.raises(InputError, match="no asset"):
        main([str(folder.parent / "empty"), "-o", str(index)])
    with pytest.raises(InputError, match="named by its index"):
        main([str(folder), "-o", "pack.zip"])


def test_without_a_blender_one_sentence_says_what_is_needed(folder, monkeypatch, capsys):
    monkeypatch.setattr("engine.training.data.import_blender.blender_command", lambda: None)
    write_known_glb(folder / "known.glb")
    (folder / "chair.fbx").write_bytes(b"x")
    packed(folder)
    assert f"skipped chair.fbx: {WITHOUT}" in capsys.readouterr().err


def test_a_blender_that_does_not_start_is_told(folder, monkeypatch):
    monkeypatch.setenv("GAUSSMITH_BLENDER", str(folder / "no-blender"))
    with as_glb([folder / "a.fbx"]) as made:
        assert "does not start" in str(made[0])


@pytest.mark.blender
@pytest.mark.slow
@pytest.mark.usefixtures("scripts_of_bpy")
def test_fbx_and_blend_files_come_through_blender_as_they_were(folder, tmp_path):
    assert blender_command(), "this test needs a Blender or bpy"
    write_known_glb(tmp_path / "known.glb", size=2.0)
    code = (
        "import bpy, sys\n"
        "bpy.ops.wm.read_factory_settings(use_empty=True)\n"
        "bpy.ops.import_scene.gltf(filepath=sys.argv[-2])\n"
        "bpy.ops.export_scene.fbx(filepath=sys.argv[-1] + '/a.fbx', path_mode='COPY', embed_textures=True)\n"
        "bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1] + '/b.blend')\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "known.glb"), str(folder)], check=True, capture_output=True
    )
    (folder / "broken.fbx").write_bytes(b"Kaydara FBX Binary  \x00\x1a\x00 and then nothing")
    index = tmp_path / "pack.csv"
    main([str(folder), "-o", str(index), "--texture", "64"])
    pack = Pack(index)
    assert [entry.name for entry in pack.entries] == ["a", "b"]
    for i in range(2):
        assert_known(pack.mesh(i))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_asset(tmp_path / "nowhere.glb")

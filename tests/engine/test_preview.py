# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about contact sheets: what they show, from which side, and what they say about files they cannot read."""

import numpy as np
import pytest
from PIL import Image

from engine.errors import InputError, OutputError
from engine.export.glb import write_glb
from engine.export.preview import BACKGROUND, MARGIN, around, comparison_sheet, contact_sheet, load_asset, view_pictures
from engine.fields.cameras import orbit
from engine.fields.gaussians import Gaussians
from engine.fields.splats import write_splats
from engine.render.mesh_cpu import interpolate, rasterize, render_mesh
from engine.surface.mesh import Mesh
from engine.texture.bake import bake
from engine.texture.unwrap import unwrap
from tests.engine.shapes import shell, sphere_mesh, sphere_points

RED, GREEN = np.array([0.9, 0.1, 0.1]), np.array([0.1, 0.8, 0.1])


@pytest.fixture(scope="module")
def ball() -> Gaussians:
    """Red in front (+z), green behind."""
    points, normals, spacing = sphere_points(2000, 0.9)
    return shell(points, normals, spacing, colors=np.where(points[:, 2:] > 0, RED, GREEN))


@pytest.fixture(scope="module")
def textured(ball) -> Mesh:
    return bake(unwrap(sphere_mesh(20, 0.9)), ball, 128)


def middle(picture: np.ndarray) -> np.ndarray:
    side = len(picture)
    return picture[side // 2 - 2 : side // 2 + 2, side // 2 - 2 : side // 2 + 2].mean((0, 1)) / 255


@pytest.mark.parametrize("kind", ["mesh", "splats"])
def test_the_first_view_shows_the_front_and_the_third_of_four_the_back(ball, textured, kind):
    pictures = view_pictures(textured if kind == "mesh" else ball, 4, 64)
    front, back = middle(pictures[0]), middle(pictures[2])
    assert front[0] > 2 * front[1]
    assert back[1] > 2 * back[0]
    assert np.abs(pictures[0][0, 0] / 255 - BACKGROUND).max() < 0.01


def test_mesh_and_splats_of_one_object_look_alike(ball, textured):
    mesh, splats = view_pictures(textured, 2, 96)[0].astype(int), view_pictures(ball, 2, 96)[0].astype(int)
    seen = [np.abs(picture - 255 * np.array(BACKGROUND)).max(-1) > 100 for picture in (mesh, splats)]
    assert (seen[0] & seen[1]).sum() / (seen[0] | seen[1]).sum() > 0.85


def test_cameras_see_the_object_whole_and_from_above_and_below():
    cameras = around(8, 64)
    heights = cameras.centers()[:, 1]
    assert (heights[:6] > 0).all()
    assert heights[6] > 3
    assert heights[7] < -3
    assert len(around(1, 64)) == 1


def test_sheet_of_a_file(tmp_path, textured):
    write_glb(tmp_path / "ball.glb", textured, "ball")
    contact_sheet(tmp_path / "ball.glb", tmp_path / "sheet.png", views=6, size=48)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * (48 + MARGIN) + MARGIN, 2 * (48 + MARGIN) + MARGIN)
        first = np.asarray(sheet)[MARGIN : MARGIN + 48, MARGIN : MARGIN + 48]
    assert middle(first)[0] > 2 * middle(first)[1]


def test_a_glb_comes_back_as_the_mesh_it_was(tmp_path, textured):
    write_glb(tmp_path / "ball.glb", textured, "ball", 1.8)
    again = load_asset(tmp_path / "ball.glb")
    assert isinstance(again, Mesh)
    assert len(again.faces) == len(textured.faces)
    np.testing.assert_allclose(again.uvs, textured.uvs, atol=1e-6)
    assert np.array_equal(again.texture, textured.texture)


def test_splat_files_are_told_from_meshes(tmp_path, ball):
    write_splats(tmp_path / "ball.ply", ball)
    assert isinstance(load_asset(tmp_path / "ball.ply"), Gaussians)
    import trimesh

    mesh = sphere_mesh(8)
    trimesh.Trimesh(mesh.vertices, mesh.faces).export(tmp_path / "mesh.ply")
    assert isinstance(load_asset(tmp_path / "mesh.ply"), Mesh)


def test_colours_of_vertices_are_shown_where_a_file_has_no_texture(tmp_path):
    import trimesh

    mesh = sphere_mesh(24)
    colors = np.rint(255 * (mesh.vertices * [0.5, 0.3, 0] + 0.5)).astype(np.uint8)
    trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors).export(tmp_path / "ball.ply")
    again = load_asset(tmp_path / "ball.ply")
    assert isinstance(again, Mesh)
    cameras = orbit([0.0], [0.0], 5.0, 30.0, 128, 128)
    rgba, _ = render_mesh(again, cameras, supersample=1)
    seen = rasterize(mesh.vertices, mesh.faces, cameras.viewmats[0], cameras.Ks[0], 128, 128)
    expected = interpolate(seen, mesh.faces, colors / 255)
    inside = seen.face_ids >= 0
    np.testing.assert_allclose(rgba[0, inside, :3], expected[inside], atol=2 / 255)


def test_comparison_puts_the_picture_first(tmp_path, ball, textured):
    Image.new("RGBA", (30, 60), (0, 0, 255, 255)).save(tmp_path / "picture.png")
    comparison_sheet([(tmp_path / "picture.png", textured), (None, ball)], tmp_path / "sheet.png", views=2, size=40)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 3 * (40 + MARGIN) + MARGIN
    np.testing.assert_allclose(middle(sheet[MARGIN:, MARGIN:][:40, :40]), [0, 0, 1], atol=0.01)


@pytest.mark.parametrize("name", ["missing.glb", "missing.ply", "broken.glb", "broken.obj", "text.txt"])
def test_files_that_cannot_be_shown_are_said(tmp_path, name):
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"this is no mesh")
    with pytest.raises(InputError, match=name):
        contact_sheet(tmp_path / name, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_a_sheet_that_cannot_be_written_is_said(tmp_path, textured):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        contact_sheet(textured, tmp_path / "file" / "sheet.png", 1, 32)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about normal maps, tangents and ambient light: against known shapes, and against Blender's own tangents."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from engine.errors import OptionError
from engine.export.glb import write_glb
from engine.render.mesh_cpu import vertex_normals
from engine.surface.mesh import Mesh
from engine.texture.maps import normal_map, occlusion
from engine.texture.tangents import vertex_tangents
from engine.texture.texels import Texels, texels_of
from engine.texture.unwrap import unwrap
from tests.engine.shapes import sphere_mesh


@pytest.fixture(scope="module")
def ball() -> Mesh:
    """A unit sphere of 40 rings with uvs."""
    return unwrap(sphere_mesh(40))


def decoded(mesh: Mesh, picture: np.ndarray, texels: Texels) -> np.ndarray:
    """World normals [P, 3] as a renderer reads them: normal, tangent and bitangent interpolated as they are."""
    assert mesh.normals is not None
    corners = mesh.faces[texels.faces]
    weights = texels.barycentrics[..., None]
    tangents = vertex_tangents(mesh)
    normal = (mesh.normals[corners] * weights).sum(1)
    tangent = (tangents[corners, :3] * weights).sum(1)
    bitangent = tangents[corners[:, 0], 3:] * np.cross(normal, tangent)
    values = picture.reshape(-1, 3)[texels.index] / 127.5 - 1
    world = values[:, :1] * tangent + values[:, 1:2] * bitangent + values[:, 2:] * normal
    return world / np.linalg.norm(world, axis=1, keepdims=True)


def angles_deg(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((one * other).sum(1), -1, 1)))


def card(turned_deg: float = 0.0) -> Mesh:
    """A square that faces +z, its uvs turned in the texture."""
    corners = np.array([[-1, 1, 0], [-1, -1, 0], [1, -1, 0], [1, 1, 0]], np.float32)
    a = np.radians(turned_deg)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    uvs = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * 0.3 @ turn.T + 0.5
    normals = np.tile(np.array([0, 0, 1], np.float32), (4, 1))
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), normals, uvs.astype(np.float32))


@pytest.mark.parametrize("turned", [0, 90, 37])
def test_the_tangent_points_along_growing_u(turned):
    tangents = vertex_tangents(card(turned))
    a = np.radians(turned)  # v runs downwards: turning the uvs by a turns u by a the other way round on the card
    np.testing.assert_allclose(tangents[:, :3], np.tile([np.cos(a), np.sin(a), 0], (4, 1)), atol=1e-6)
    assert (tangents[:, 3] == 1).all()
    mirrored = card(turned)
    uvs = mirrored.uvs.copy()
    uvs[:, 0] = 1 - uvs[:, 0]
    assert (vertex_tangents(replace(mirrored, uvs=uvs))[:, 3] == -1).all()


def test_tangents_are_unit_and_at_right_angles_to_the_normals(ball):
    tangents = vertex_tangents(ball)
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose((tangents[:, :3] * ball.normals).sum(1), 0, atol=1e-5)


def test_uvs_without_area_still_give_tangents():
    flat = replace(card(), uvs=np.full((4, 2), 0.5, np.float32))
    tangents = vertex_tangents(flat)
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(tangents[:, 2], 0, atol=1e-6)


def test_a_slope_to_the_right_shows_red_and_one_upwards_green():
    """glTF: x of the normal towards growing u (red), y towards the top of the texture (green)."""
    line = np.linspace(-1.2, 1.2, 41)
    x, y = (grid.ravel() for grid in np.meshgrid(line, line))
    k = (np.arange(40)[:, None] * 41 + np.arange(40)).ravel()
    faces = np.concatenate([np.stack([k, k + 1, k + 42], 1), np.stack([k, k + 42, k + 41], 1)]).astype(np.int32)
    for axis, (dx, dy) in enumerate([(0.05, 0), (0, 0.05)]):
        # A plane that falls towards +x (+y), so that its normal leans there.
        plane = Mesh(np.stack([x, y, -dx * x - dy * y], 1).astype(np.float32), faces)
        pixel = normal_map(card(), plane, 64)[32, 32].astype(int)
        expected = np.array([128, 128, 255])
        expected[axis] = round(127.5 * (1 + 0.05 / np.hypot(1, 0.05)))
        assert np.abs(pixel - expected).max() <= 1


@pytest.mark.slow
def test_decoding_the_map_gives_the_normals_of_the_dense_surface(ball):
    """A finely rippled sphere within reach of the plain one."""
    fine = sphere_mesh(160)
    ripple = 1 + 0.01 * np.sin(8 * fine.vertices[:, :1]) * np.cos(7 * fine.vertices[:, 1:2])
    dense = Mesh((fine.vertices * ripple).astype(np.float32), fine.faces)
    texels = texels_of(ball, 256)
    found = decoded(ball, normal_map(ball, dense, 256), texels)
    directions = texels.points / np.linalg.norm(texels.points, axis=1, keepdims=True)
    from scipy.spatial import KDTree

    nearest = KDTree(fine.vertices).query(directions)[1]
    expected = vertex_normals(dense.vertices, dense.faces)[nearest]
    assert np.median(angles_deg(texels.normals, expected)) > 2
    assert np.median(angles_deg(found, expected)) < 0.7
    assert np.percentile(angles_deg(found, expected), 99) < 3


def test_without_a_dense_surface_nearby_the_map_is_flat(ball):
    far = Mesh(sphere_mesh(40).vertices * np.float32(2), sphere_mesh(40).faces)
    picture = normal_map(ball, far, 128).astype(int)
    assert np.abs(picture - [128, 128, 255]).max() <= 1
    nothing = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    assert (normal_map(ball, nothing, 64) == [128, 128, 255]).all()


@pytest.mark.slow
def test_walls_that_face_away_do_not_give_their_normals(ball):
    """An inside-out sphere just outside, the true one a little farther inside."""
    outer, inner = sphere_mesh(60), sphere_mesh(60)
    both = Mesh(
        np.concatenate([outer.vertices * np.float32(1.002), inner.vertices * np.float32(0.99)]),
        np.concatenate([outer.faces[:, ::-1], inner.faces + len(outer.vertices)]),
    )
    texels = texels_of(ball, 128)
    found = decoded(ball, normal_map(ball, both, 128), texels)
    assert np.percentile(angles_deg(found, texels.normals), 99) < 5


@pytest.mark.blender
@pytest.mark.slow
def test_tangents_are_those_blender_computes(ball):
    """Blender's MikkTSpace on the same vertices, normals and uvs."""
    bpy = pytest.importorskip("bpy")
    body = bpy.data.meshes.new("ball")
    body.from_pydata(ball.vertices.tolist(), [], ball.faces.tolist())
    layer = body.uv_layers.new()
    corners = ball.faces.ravel()
    layer.data.foreach_set("uv", (ball.uvs[corners] * [1, -1] + [0, 1]).astype(np.float32).ravel())
    body.polygons.foreach_set("use_smooth", np.ones(len(body.polygons), bool))
    body.normals_split_custom_set_from_vertices(ball.normals.tolist())
    body.calc_tangents()
    theirs = np.array([[*loop.tangent, loop.bitangent_sign] for loop in body.loops])
    ours = vertex_tangents(ball)[corners]
    assert angles_deg(ours[:, :3], theirs[:, :3]).max() < 0.2
    assert (ours[:, 3] == theirs[:, 3]).all()


@pytest.mark.slow
def test_nothing_shades_a_ball_and_a_bowl_shades_itself(ball):
    assert occlusion(ball, 128).min() > 235
    bowl = unwrap(half_shell())
    texels = texels_of(bowl, 256)
    light = occlusion(bowl, 256).reshape(-1)[texels.index] / 255
    inside = (texels.normals * texels.points).sum(1) < 0
    bottom = inside & (texels.points[:, 1] < -0.9)
    # From the lowest point of a half sphere the opening spans all directions up to 45 degrees: sin(45 deg)^2 = 1/2.
    assert light[bottom].mean() == pytest.approx(0.5, abs=0.05)
    assert light[~inside & (np.linalg.norm(texels.points, axis=1) > 0.99)].mean() > 0.95


def half_shell() -> Mesh:
    """The lower half of a unit sphere, with an inside of its own 0.02 within, joined at the rim."""
    ball = sphere_mesh(48)
    lower = ball.faces[(ball.vertices[ball.faces][..., 1] < 1e-4).all(1)]
    inner = ball.vertices * np.float32(0.98)
    return Mesh(
        np.concatenate([ball.vertices, inner]), np.concatenate([lower, lower[:, ::-1] + len(inner)]).astype(np.int32)
    )


@pytest.mark.slow
def test_maps_of_ambient_light_have_the_size_asked_for(ball):
    assert occlusion(ball, 2048).shape == (2048, 2048)
    with pytest.raises(OptionError, match="uvs"):
        occlusion(sphere_mesh(8), 64)


@pytest.mark.blender
@pytest.mark.slow
def test_in_blender_a_coarse_mesh_with_the_map_is_lit_like_the_dense_one(tmp_path):
    """Cycles, one light from the side: the map must bring most of the shading of the ripples back, not its reverse."""
    bpy = pytest.importorskip("bpy")
    coarse = unwrap(sphere_mesh(24))
    fine = sphere_mesh(160)
    ripple = 1 + 0.012 * np.sin(9 * fine.vertices[:, :1]) * np.cos(8 * fine.vertices[:, 1:2])
    grey = np.full((64, 64, 3), 180, np.uint8)
    nowhere = np.zeros((len(fine.vertices), 2), np.float32)
    dense = Mesh((fine.vertices * ripple).astype(np.float32), fine.faces, uvs=nowhere, texture=grey)
    plain = replace(coarse, texture=grey)
    shaded = []
    for name, mesh in (
        ("dense", dense),
        ("plain", plain),
        ("map", replace(plain, normal_map=normal_map(coarse, dense))),
    ):
        write_glb(tmp_path / f"{name}.glb", mesh, name, 2.0)
        shaded.append(lit_in_blender(bpy, tmp_path / f"{name}.glb", tmp_path / f"{name}.png"))
    truth, without, with_map = shaded
    inside = np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 32
    assert np.abs(with_map - truth)[inside].mean() < 0.3 * np.abs(without - truth)[inside].mean()


def lit_in_blender(bpy, glb, picture) -> np.ndarray:
    """The file's front as Cycles shows it under one sun, [96, 96]."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(glb))
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.max_bounces = 16, False, 0
    scene.render.resolution_x = scene.render.resolution_y = 96
    scene.view_settings.view_transform = "Raw"
    scene.world = bpy.data.worlds.new("dark")
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle, sun.rotation_euler = 4.0, 0.0, (0.9, 0.5, 0.3)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location, camera.rotation_euler = (0, -3.6, 1), (np.pi / 2, 0, 0)
    for item in (sun, camera):
        scene.collection.objects.link(item)
    scene.camera = camera
    scene.render.filepath = str(picture)
    bpy.ops.render.render(write_still=True)
    with Image.open(picture) as image:
        return np.asarray(image.convert("L"), np.float32) / 255

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about cameras' pictures on surfaces: what they reach and what not, sharpness, seams, mirror images, gaps."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import Cancelled
from engine.fields.cameras import Photograph, intrinsics, look_at
from engine.fields.gaussians import Gaussians
from engine.render.splat_cpu import render
from engine.surface.mesh import Mesh
from engine.texture.bake import bake
from engine.texture.fill import fill
from engine.texture.photograph import photograph_view, sharpened, shrunk
from engine.texture.project import directions, lay, splat_views
from engine.texture.symmetry import find_mirror
from engine.texture.texels import Texels, texels_of
from engine.texture.unwrap import unwrap
from tests.engine.shapes import joined, shell, sphere_mesh, sphere_points

RED, GREEN, BLUE = np.eye(3, dtype=np.float32)


@pytest.fixture(scope="module")
def ball() -> Mesh:
    """A unit sphere with uvs."""
    return unwrap(sphere_mesh(24))


def red_ball(radius: float = 1.0, color=RED) -> Gaussians:
    points, normals, spacing = sphere_points(4000, radius)
    return shell(points, normals, spacing, opacity=0.95, colors=np.tile(color, (4000, 1)))


def photograph(pixels: np.ndarray, eye=(0.0, 0.0, 5.0), fov_deg: float = 30.0) -> Photograph:
    """Opaque `pixels` [H, W, 3] seen from `eye`."""
    rgba = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], -1).astype(np.float32)
    return Photograph(rgba, look_at(eye, (0, 0, 0)), intrinsics(fov_deg, pixels.shape[1], pixels.shape[0]))


def plain(color, size: int = 256) -> np.ndarray:
    return np.broadcast_to(np.asarray(color, np.float32), (size, size, 3))


def at_texels(mesh: Mesh, texels: Texels) -> np.ndarray:
    """The texture's colours [P, 3] in [0, 1]."""
    assert mesh.texture is not None
    return mesh.texture.reshape(-1, 3)[texels.index] / 255


def quads(*corners: np.ndarray) -> Mesh:
    """Separate four-sided faces, each over an equal strip of the texture."""
    count = len(corners)
    vertices = np.concatenate(corners).astype(np.float32)
    faces = np.concatenate([4 * k + np.array([[0, 1, 2], [0, 2, 3]]) for k in range(count)]).astype(np.int32)
    strips = [np.array([[k, 0], [k, 1], [k + 1, 1], [k + 1, 0]]) / [count, 1] for k in range(count)]
    return Mesh(vertices, faces, uvs=np.concatenate(strips).astype(np.float32))


def upright_square(side: float, z: float) -> np.ndarray:
    """Corners of a square that faces +z, counter-clockwise from its upper left."""
    return np.array([[-side, side, z], [-side, -side, z], [side, -side, z], [side, side, z]])


def test_a_photograph_paints_the_side_it_shows_and_leaves_the_other_alone(ball):
    without = bake(ball, red_ball(), 256)
    painted = bake(ball, red_ball(), 256, photograph=photograph(plain(GREEN)))
    texels = texels_of(ball, 256)
    colors, facing = at_texels(painted, texels), texels.points[:, 2]
    # A plain difference of red to green is no change of light: the photograph stays as it is.
    np.testing.assert_allclose(colors[facing > 0.85], np.tile(GREEN, ((facing > 0.85).sum(), 1)), atol=0.1)
    behind = facing < 0.15  # the camera stands at 5: it sees to z = 1 / 5
    assert np.array_equal(colors[behind], at_texels(without, texels)[behind])


def test_what_stands_in_front_gets_the_colour_and_what_it_hides_does_not():
    """A small square before a large one; the camera on the left sees past it on the left side."""
    mesh = quads(upright_square(0.3, 0.5), upright_square(1, -0.5))
    both = np.concatenate([upright_square(0.3, 0.5), upright_square(1, -0.5)])
    around = Gaussians(both, np.tile([1.0, 0, 0, 0], (8, 1)), np.full((8, 3), 0.4), np.ones(8), np.tile(RED, (8, 1)))
    painted = bake(mesh, around, 256, photograph=photograph(plain(GREEN), eye=(0, 0, 4), fov_deg=40))
    texels = texels_of(mesh, 256)
    colors, points = at_texels(painted, texels), texels.points
    front = points[:, 2] > 0
    middle = np.abs(points[:, :2]).max(1)
    assert colors[front & (middle < 0.25), 1].min() > 0.9
    shadow = 0.3 * 4.5 / 3.5  # of the small square on the large one
    assert colors[~front & (middle < shadow - 0.05), 1].max() < 0.02
    lit = ~front & (middle > shadow + 0.05) & (middle < 0.95)
    assert colors[lit, 1].min() > 0.9


def test_the_photograph_keeps_its_sharpness():
    """Stripes of four pixels on a plane seen straight on; the field below is grey."""
    stripes = np.tile(np.where(np.arange(512) // 4 % 2 == 0, 0.8, 0.2)[:, None, None], (1, 512, 3))
    mesh = quads(upright_square(1, 0))
    K = np.array([[256 * 4, 0, 256], [0, 256 * 4, 256], [0, 0, 1]], np.float32)
    seen = replace(photograph(stripes, eye=(0, 0, 4)), K=K)  # the plane fills the picture
    points = np.stack(np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 20), [0.0]), -1).reshape(-1, 3)
    grey = shell(points, np.tile([0.0, 0, 1], (len(points), 1)), 0.1, colors=np.full((len(points), 3), 0.5))
    texture = bake(mesh, grey, 512, photograph=seen).texture[..., 0] / 255
    inner = texture[40:-40, 40:-40]
    assert np.abs(inner - stripes[40:-40, 40:-40, 0]).mean() < 0.03


def test_light_agrees_at_the_photograph_s_border_and_is_its_own_in_the_middle(ball):
    """The photograph is lighter by 0.06: towards the border this goes, in the middle it stays."""
    base, lighter = np.array([0.4, 0.4, 0.4]), np.array([0.46, 0.46, 0.46])
    painted = bake(ball, red_ball(color=base), 512, photograph=photograph(plain(lighter, 512)))
    texels = texels_of(ball, 512)
    red, facing = at_texels(painted, texels)[:, 0], texels.points[:, 2]
    assert red[facing > 0.97].mean() == pytest.approx(0.46, abs=0.012)
    ring = (facing > 0.5) & (facing < 0.6)  # where the photograph has more than half of the say
    assert red[ring].mean() < 0.42
    assert red[facing < 0].mean() == pytest.approx(0.4, abs=0.005)
    bands = [red[(facing > low) & (facing < low + 0.05)].mean() for low in np.arange(0, 0.95, 0.05)]
    assert np.abs(np.diff(bands)).max() < 0.02


def test_detail_finer_than_texels_is_averaged(ball):
    checks = np.indices((1024, 1024)).sum(0) % 2
    seen = photograph(np.repeat(checks[..., None], 3, -1))
    view = photograph_view(ball, seen, texel=0.05)
    assert view is not None
    middle = view.colors[len(view.colors) // 2 - 8 : len(view.colors) // 2 + 8, 40:60]
    np.testing.assert_allclose(middle, 0.5, atol=0.01)
    sharp = photograph_view(ball, seen, texel=0.001)
    assert sharp is not None
    assert sharp.colors.std() > 0.4


def test_a_sharper_copy_of_the_picture_shows_the_same_place():
    """A disc drawn with four times as many pixels: cut to what is shown, its middle projects to the same point."""
    y, x = np.mgrid[:480, :640] + 0.5
    disc = ((x - 400) ** 2 + (y - 160) ** 2 < 60**2).astype(np.float32)
    large = np.repeat(disc[..., None], 3, -1)
    small = large.reshape(120, 4, 160, 4, 3).mean((1, 3))
    alpha = (small[..., :1] > 0).astype(np.float32)
    seen = Photograph(np.concatenate([small, alpha], -1), np.eye(4), intrinsics(40, 160, 120))
    sharp = sharpened(seen, large)
    assert max(sharp.rgba.shape[:2]) < 132
    middle = np.linalg.inv(sharp.K) @ [*(np.argwhere(sharp.rgba[..., 0] > 0.5).mean(0)[::-1] + 0.5), 1]
    expected = np.linalg.inv(seen.K) @ [100, 40, 1]
    np.testing.assert_allclose(middle, expected, atol=1e-3)
    inside = sharp.rgba[..., 3] > 0.9
    assert (sharp.rgba[..., 0][inside] > 0.5).mean() > 0.93
    blank = replace(seen, rgba=np.zeros((4, 4, 4), np.float32))
    assert sharpened(blank, large) is blank


def test_reducing_a_photograph_leaves_transparent_colours_out():
    picture = np.zeros((5, 4, 4), np.float32)
    picture[..., 1] = 1
    picture[0, 0] = [1, 0, 0, 1]
    small = shrunk(picture, 2)
    assert small.shape == (2, 2, 4)
    np.testing.assert_allclose(small[0, 0], [1, 0, 0, 0.25])
    assert shrunk(picture, 1) is picture
    assert shrunk(picture, 9) is picture


@pytest.mark.parametrize("eye", [(0, 0, 0.5), (0, 0, 1.0)], ids=["inside", "on the surface"])
def test_a_camera_among_the_object_paints_nothing(ball, eye):
    seen = Photograph(np.ones((8, 8, 4), np.float32), look_at(eye, (0, 0, -3)), intrinsics(30, 8, 8))
    assert photograph_view(ball, seen, 0.01) is None
    painted = bake(ball, red_ball(), 64, photograph=seen)
    assert np.array_equal(painted.texture, bake(ball, red_ball(), 64).texture)


def test_an_object_beside_the_picture_is_not_painted(ball):
    seen = photograph(plain(GREEN, 64), eye=(0, 0, 5))
    beside = replace(seen, K=seen.K + np.array([[0, 0, 500], [0, 0, 0], [0, 0, 0]], np.float32))
    painted = bake(ball, red_ball(), 64, photograph=beside)
    assert np.array_equal(painted.texture, bake(ball, red_ball(), 64).texture)


def test_transparent_pixels_paint_nothing(ball):
    seen = photograph(plain(GREEN))
    seen.rgba[:, :128, 3] = 0  # the picture's left: x < 0
    painted = bake(ball, red_ball(), 256, photograph=seen)
    texels = texels_of(ball, 256)
    colors, points = at_texels(painted, texels), texels.points
    near = points[:, 2] > 0.8
    hidden = near & (points[:, 0] < -0.05)
    np.testing.assert_allclose(colors[hidden], np.tile(RED, (hidden.sum(), 1)), atol=0.02)
    assert colors[near & (points[:, 0] > 0.1), 1].min() > 0.8


def test_directions_are_even_and_reach_above_and_below():
    for count in (6, 12, 24):
        found = directions(count)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
        apart = np.degrees(np.arccos(np.clip(found @ found.T - 2 * np.eye(count), -1, 1)).min(1))
        assert apart.min() > 0.6 * np.degrees(np.sqrt(4 * np.pi / count))
        assert found[0, 1] > 0.8
        assert found[-1, 1] < -0.8


def test_views_fit_the_object_whole(ball):
    long = replace(ball, vertices=ball.vertices * np.array([2, 0.5, 0.5], np.float32))
    for view in splat_views(long, red_ball(), 6, 128):
        assert max(view.depths.shape) <= 128
        border = np.concatenate([view.depths[0], view.depths[-1], view.depths[:, 0], view.depths[:, -1]])
        assert (border == 0).all()
        rows, columns = np.nonzero(view.depths)
        assert max(np.ptp(rows), np.ptp(columns)) > 115


def test_six_views_see_all_of_a_ball(ball):
    texels = texels_of(ball, 128)
    sums = np.zeros((len(texels), 4), np.float32)
    for view in splat_views(ball, red_ball(), 6, 128):
        lay(view, texels.points, texels.normals, sums)
    assert sums[:, 3].min() > 0.02
    np.testing.assert_allclose(sums[:, :3] / sums[:, 3:], np.tile(RED, (len(sums), 1)), atol=0.02)


@pytest.mark.slow
def test_views_show_the_outer_layer_where_the_field_mixes_it_with_what_is_below(ball):
    layers = joined(red_ball(1.0, RED), red_ball(0.95, BLUE))
    layers = replace(layers, scales=np.full((len(layers), 3), 0.03))
    texels = texels_of(ball, 128)
    field = at_texels(bake(ball, layers, 128), texels)
    seen = at_texels(bake(ball, layers, 128, views=12), texels)
    rendered = render(layers, look_at((0, 0, 5), (0, 0, 0)), intrinsics(30, 65, 65), 65, 65).colors[28:37, 28:37]
    blue = rendered[..., 2].mean()
    assert field[:, 2].mean() > 2 * blue
    assert seen[:, 2].mean() < blue + 0.3 * (field[:, 2].mean() - blue)


def test_a_bake_with_views_can_be_cancelled_between_them(ball):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        bake(ball, red_ball(), 64, views=24, check=check)
    assert len(calls) == 2


def thin_plate(count: int = 20) -> Mesh:
    """Two square grids, back to back and 0.01 apart, not joined; the upper one faces +z."""
    line = np.linspace(-1, 1, count + 1)
    x, y = (grid.ravel() for grid in np.meshgrid(line, line))
    k = (np.arange(count)[:, None] * (count + 1) + np.arange(count)).ravel()
    up = np.concatenate([np.stack([k, k + 1, k + count + 2], 1), np.stack([k, k + count + 2, k + count + 1], 1)])
    down = up[:, ::-1] + len(x)
    z = np.full(len(x), 0.005)
    vertices = np.concatenate([np.stack([x, y, z], 1), np.stack([x, y, -z], 1)])
    uvs = np.stack([(x + 1) / 4, (1 - y) / 2], 1)
    uvs = np.concatenate([uvs, uvs + np.array([0.5, 0])])
    return Mesh(vertices.astype(np.float32), np.concatenate([up, down]).astype(np.int32), uvs=uvs.astype(np.float32))


def test_gaps_are_filled_from_the_same_side_of_a_sheet():
    """A hole in what was seen of the upper side; the lower one, all blue, is much nearer than the hole's rim."""
    plate = thin_plate()
    texels = texels_of(plate, 128)
    above = texels.points[:, 2] > 0
    hole = above & (np.linalg.norm(texels.points[:, :2], axis=1) < 0.5)
    right = np.stack([0.5 + texels.points[:, 0] / 4, np.full(len(above), 0.2), np.zeros(len(above))], 1)
    colors = np.where(above[:, None], right, BLUE).astype(np.float32)
    colors[hole] = [0.9, 0.9, 0.9]
    filled = fill(plate, texels, colors, (~hole).astype(np.float32))
    np.testing.assert_allclose(filled[hole], right[hole], atol=0.03)  # a plane is harmonic
    assert np.array_equal(filled[~hole], colors[~hole])


def test_gaps_are_filled_across_seams(ball):
    """What nobody saw in one chart takes the colours of the charts around it."""
    texels = texels_of(ball, 256)
    hole = texels.points[:, 1] > 0.8
    colors = np.where(hole[:, None], BLUE, RED).astype(np.float32)
    filled = fill(ball, texels, colors, (~hole).astype(np.float32))
    np.testing.assert_allclose(filled[hole], np.tile(RED, (hole.sum(), 1)), atol=0.01)


def test_a_part_nobody_saw_at_all_keeps_its_colours():
    plate = thin_plate()
    texels = texels_of(plate, 64)
    above = texels.points[:, 2] > 0
    colors = np.where(above[:, None], RED, BLUE).astype(np.float32)
    assert np.array_equal(fill(plate, texels, colors, above.astype(np.float32)), colors)
    assert np.array_equal(fill(plate, texels, colors, np.zeros(len(colors), np.float32)), colors)


def bump(angle_deg: float = 0.0) -> Mesh:
    """A sphere with a nose, symmetric about one upright plane only; x = 0 before it is turned about y."""
    mesh = sphere_mesh(40)
    vertices = mesh.vertices.astype(np.float64) * [1, 1.3, 0.7]
    vertices[:, 2] += 0.6 * np.exp(-8 * ((mesh.vertices - [0, 0.3, 0.95]) ** 2).sum(1))
    vertices[:, 1] += 0.3 * np.maximum(vertices[:, 2], 0) ** 2
    a = np.radians(angle_deg)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return Mesh((vertices @ turn.T + [0.1, 0, -0.2]).astype(np.float32), mesh.faces)


@pytest.mark.parametrize("angle", [0, 33])
def test_symmetry_is_found_about_any_upright_plane(angle):
    mirror = find_mirror(bump(angle))
    assert mirror is not None
    expected = np.array([np.cos(np.radians(angle)), 0, -np.sin(np.radians(angle))])
    assert abs(mirror.normal @ expected) > np.cos(np.radians(1.5))
    assert abs(mirror.offset - mirror.normal @ [0.1, 0, -0.2]) < 0.01
    np.testing.assert_allclose(mirror.points(mirror.points(np.eye(3))), np.eye(3), atol=1e-6)


@pytest.mark.slow
def test_what_is_not_symmetric_is_not_taken_for_it():
    mesh = bump()
    side = np.array([0.8, -0.4, 0.45])
    ear = 0.6 * np.exp(-8 * ((sphere_mesh(40).vertices - side) ** 2).sum(1, keepdims=True)) * side
    assert find_mirror(replace(mesh, vertices=(mesh.vertices + ear).astype(np.float32))) is None


def test_on_symmetric_objects_the_photograph_also_paints_its_mirror_image():
    """Seen from the right: what the camera shows of +x appears on -x, where it cannot look."""
    mesh = unwrap(sphere_mesh(24))
    seen = photograph(plain(GREEN), eye=(5, 0, 0.5))
    texels = texels_of(mesh, 128)
    far = texels.points[:, 0] < -0.8
    assert at_texels(bake(mesh, red_ball(), 128, photograph=seen), texels)[far, 1].max() < 0.02
    assert at_texels(bake(mesh, red_ball(), 128, photograph=seen, symmetry=True), texels)[far, 1].min() > 0.8


def test_the_mirror_image_leaves_alone_what_the_photograph_shows_as_well(ball):
    """Seen from the front: left green, right blue. Each side keeps its own."""
    halves = np.where(np.arange(256)[None, :, None] < 128, GREEN, BLUE) * np.ones((256, 1, 1))
    seen = photograph(halves)
    texels = texels_of(ball, 128)
    colors = at_texels(bake(ball, red_ball(), 128, photograph=seen, symmetry=True), texels)
    left, right = (texels.points[:, 2] > 0.2) & (texels.points[:, 0] < -0.1), (texels.points[:, 0] > 0.1)
    assert colors[left, 2].max() < 0.1
    assert colors[right, 1].max() < 0.1


def test_gaps_on_symmetric_objects_are_filled_from_the_other_half():
    """Gaussians on the right half only, red in front and blue behind."""
    mesh = unwrap(sphere_mesh(24))
    points, normals, spacing = sphere_points(6000, 1.0)
    right = points[:, 0] > -0.05
    colors = np.where(points[:, 2:] > 0, RED, BLUE)
    half = shell(points[right], normals[right], spacing, colors=colors[right])
    texels = texels_of(mesh, 128)
    found = at_texels(bake(mesh, half, 128, symmetry=True), texels)
    gap = (texels.points[:, 0] < -0.3) & (np.abs(texels.points[:, 2]) > 0.1)
    expected = np.where(texels.points[gap, 2:] > 0, RED, BLUE)
    np.testing.assert_allclose(found[gap], expected, atol=0.05)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the triangle rasteriser: areas, order in depth, perspective, texture and light."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from engine.fields.cameras import Cameras, intrinsics, look_at, orbit
from engine.render.mesh_cpu import Light, interpolate, rasterize, render_mesh, sample_texture, vertex_normals
from engine.surface.mesh import Mesh

QUAD = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def square(side: float, z: float) -> np.ndarray:
    """A square of this side, facing +z, at this z."""
    h = side / 2
    return np.array([[-h, -h, z], [h, -h, z], [h, h, z], [-h, h, z]], np.float32)


def front(distance: float, fov: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    return look_at(np.array([0, 0, distance]), np.zeros(3)), intrinsics(fov, size, size)


def test_square_covers_the_pixels_its_size_and_distance_say():
    viewmat, K = front(4.0, 40.0, 200)
    seen = rasterize(square(1.0, 0.0), QUAD, viewmat, K, 200, 200)
    side = K[0, 0] / 4.0
    assert (seen.face_ids >= 0).sum() == pytest.approx(side**2, rel=0.02)
    assert np.allclose(seen.depths[seen.face_ids >= 0], 4.0, atol=1e-5)


def test_shared_edges_leave_no_crack_and_no_double_pixel():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)), -1).reshape(-1, 2)
    inner = np.abs(grid).max(1) < 0.99
    grid[inner] += rng.uniform(-0.08, 0.08, (inner.sum(), 2))
    vertices = np.concatenate([grid, np.zeros((81, 1))], 1).astype(np.float32)
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 10], 1), np.stack([corner, corner + 10, corner + 9], 1)]
    )
    viewmat, K = front(4.0, 40.0, 300)
    covered = rasterize(vertices, faces, viewmat, K, 300, 300).face_ids >= 0
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


@pytest.mark.parametrize(("farthest", "expected"), [(False, 0), (True, 2)])
def test_nearest_or_farthest_face_wins_whatever_the_order(farthest, expected):
    vertices = np.concatenate([square(1, 0.5), square(1, -0.5)])
    viewmat, K = front(4.0, 40.0, 64)
    for order in ([QUAD, QUAD + 4], [QUAD + 4, QUAD]):
        faces = np.concatenate(order)
        seen = rasterize(vertices, faces, viewmat, K, 64, 64, farthest)
        assert (faces[seen.face_ids[32, 32]] >= 4).all() == (expected == 2)
        assert seen.depths[32, 32] == pytest.approx(4.5 if farthest else 3.5, abs=1e-5)


def test_interpolation_is_perspective_correct():
    """Positions interpolated over a slanted square are where each pixel's ray meets its plane."""
    vertices = square(1.5, 0.0) @ np.array([[0.5, 0, -0.8], [0, 1, 0], [0.8, 0, 0.5]], np.float32)
    viewmat, K = front(3.0, 50.0, 128)
    seen = rasterize(vertices, QUAD, viewmat, K, 128, 128)
    points = interpolate(seen, QUAD, vertices)
    row, column = np.nonzero(seen.face_ids >= 0)
    camera = points[row, column] @ viewmat[:3, :3].T + viewmat[:3, 3]
    projected = camera @ K.T
    assert np.allclose(projected[:, :2] / projected[:, 2:], np.stack([column, row], 1) + 0.5, atol=2e-3)


def test_faces_behind_the_camera_are_left_out():
    viewmat, K = front(2.0, 40.0, 32)
    assert (rasterize(square(1, 3.0), QUAD, viewmat, K, 32, 32).face_ids == -1).all()


def test_texture_has_its_origin_at_the_top_left():
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0] = [255, 0, 0]
    texture[1, 1] = [0, 0, 255]
    colors = sample_texture(texture, np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]))
    assert np.allclose(colors, [[1, 0, 0], [0, 0, 1], [0.25, 0, 0.25]], atol=1e-6)


def test_picture_shows_the_texture_upright_with_soft_edges():
    texture = np.zeros((4, 4, 3), np.uint8)
    texture[:2] = [255, 0, 0]
    texture[2:] = [0, 255, 0]
    uvs = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
    viewmat, K = front(4.0, 40.0, 63)
    mesh = Mesh(square(1.3, 0.0), QUAD, uvs=uvs, texture=texture)
    rgba, depths = render_mesh(mesh, Cameras(viewmat[None], K[None], 63, 63), supersample=4)
    assert rgba[0, 20, 31, 0] > 0.99
    assert rgba[0, 42, 31, 1] > 0.99
    assert rgba[0, 0, 0, 3] == 0
    assert depths[0, 31, 31] == pytest.approx(4.0, abs=1e-4)
    alpha = rgba[0, ..., 3]
    assert ((alpha > 0) & (alpha < 1)).sum() > 40  # the border of a square that ends between pixels
    assert alpha.sum() == pytest.approx((1.3 * K[0, 0] / 4.0) ** 2, rel=0.01)


def test_light_falls_by_the_cosine_and_on_both_sides():
    viewmat, K = front(4.0, 40.0, 16)
    cameras = Cameras(viewmat[None], K[None], 16, 16)
    direction = np.array([0, np.sin(np.pi / 3), np.cos(np.pi / 3)])  # 60 degrees from the normal
    for faces in (QUAD, QUAD[:, ::-1]):
        rgba, _ = render_mesh(Mesh(square(9, 0.0), faces), cameras, Light(direction, ambient=0.2), color=np.ones(3))
        assert rgba[0, 8, 8, 0] == pytest.approx(0.2 + 0.8 * 0.5, abs=0.01)


def test_normals_of_a_sphere_point_outwards():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(400, 3))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    hull = ConvexHull(points)
    faces = hull.simplices.astype(np.int32)
    corners = points[faces]
    outward = np.einsum(
        "fi,fi->f", np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), corners[:, 0]
    )
    faces[outward < 0] = faces[outward < 0][:, ::-1]
    cosines = np.einsum("vi,vi->v", vertex_normals(points, faces), points)
    assert cosines.min() > 0.9
    assert cosines.mean() > 0.99


def test_same_object_from_opposite_sides_is_mirrored():
    vertices = np.array([[0, -0.5, 0], [0.8, -0.5, 0], [0, 0.5, 0]], np.float32)
    cameras = orbit(np.array([0, 180]), np.array([0, 0]), 4, 40, 64, 64)
    rgba, _ = render_mesh(Mesh(vertices, np.array([[0, 1, 2]], np.int32)), cameras)
    assert np.allclose(rgba[0, ..., 3], rgba[1, :, ::-1, 3], atol=0.51)
    assert rgba[0, :, 32:, 3].sum() > 50 * max(rgba[0, :, :31, 3].sum(), 1)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The small picture of a mesh: the front hides the back, colours are the texture's, no pixel is missing."""

import numpy as np
import pytest

from addon.files.glb import read_glb
from addon.files.preview_image import MARGIN, draw_preview
from tests.fakes.known_glb import write_known_glb

GREY = np.full((1, 1, 3), 0.8)


def sphere(rings: int) -> tuple[np.ndarray, np.ndarray]:
    """A closed sphere, its faces outwards."""
    v, u = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij")
    points = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], -1).reshape(-1, 3)
    corner = (np.arange(rings)[:, None] * (2 * rings + 1) + np.arange(2 * rings)).ravel()
    below = corner + 2 * rings + 1
    halves = [np.stack([corner, below, below + 1], 1), np.stack([corner, below + 1, corner + 1], 1)]
    return points, np.concatenate(halves)


@pytest.mark.parametrize("rings", [8, 60])
def test_a_ball_is_a_full_disc(rings):
    points, triangles = sphere(rings)
    picture = draw_preview(points, triangles, np.zeros((len(triangles), 3, 2)), GREY, 64)
    assert picture.shape == (64, 64, 4)
    y, x = np.mgrid[:64, :64] + 0.5
    radius = 32 * (1 - 2 * MARGIN)
    distance = np.hypot(x - 32, y - 32)
    assert (picture[distance < radius * np.cos(np.pi / rings) - 1.5, 3] == 1).all()
    assert (picture[distance > radius + 1.5, 3] == 0).all()
    assert 0.4 < picture[picture[..., 3] == 1][:, :3].min() <= picture[..., :3].max() <= 0.8 + 1e-6


def test_what_is_nearer_hides_what_is_farther_in_any_order():
    square = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], float)
    points = np.concatenate([square, 0.9 * square - [0, 0.5, 0]])
    near = np.array([[4, 5, 6], [4, 6, 7]])
    texture = np.array([[[1, 0, 0], [0, 1, 0]]], float)
    for order in (slice(None), slice(None, None, -1)):
        triangles = np.concatenate([near - 4, near])[order]
        uvs = np.where((triangles >= 4)[..., None], 0.75, 0.25) * np.ones((4, 3, 2))
        middle = draw_preview(points, triangles, uvs, texture, 64)[32, 32]
        assert middle[1] > 0.5 > middle[0]


def test_what_looks_away_is_not_drawn():
    points, triangles = sphere(8)
    picture = draw_preview(points, triangles[:, ::-1], np.zeros((len(triangles), 3, 2)), GREY, 32)
    front = draw_preview(points, triangles, np.zeros((len(triangles), 3, 2)), GREY, 32)
    assert not np.allclose(picture, front)  # its inside, lit from the other side
    flat = draw_preview(points[:3] * 0, np.array([[0, 1, 2]]), np.zeros((1, 3, 2)), GREY, 32)
    assert flat.max() == 0


def test_the_known_object_shows_its_front_its_right_side_and_its_top(tmp_path):
    write_known_glb(tmp_path / "a.glb")
    mesh = read_glb(tmp_path / "a.glb")
    columns = np.array(
        [[(1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1)], [(0, 0, 1), (0, 0, 1), (1, 1, 0), (0.2, 0.2, 0.2)]]
    )
    texture = columns[::-1].astype(float)  # the lowest row first
    picture = draw_preview(mesh.vertices, mesh.triangles(), mesh.corner_uvs.reshape(-1, 3, 2), texture, 128)
    top, middle = picture[-20:-9].reshape(-1, 4), picture[50:70]
    assert (top[top[:, 3] == 1][:, 2] > 0.5).mean() > 0.8  # white
    left, right = middle[:, 40:60].reshape(-1, 4).mean(0), middle[:, 84:90].reshape(-1, 4).mean(0)
    assert left[0] > 0.4
    assert left[1] < 0.1  # red
    assert right[:2].min() > 0.3
    assert right[2] < 0.1  # yellow

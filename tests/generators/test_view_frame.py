# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the frame AGG works in: how objects are pictured, where anchors start, what is inflated."""

import numpy as np
import pytest

from engine.errors import EmptyFieldError, InputError
from engine.generators.agg.anchors import FRONT_SHARE, make_anchors
from engine.image.inflate import inflate
from engine.render.mesh_cpu import rasterize
from engine.training.data.packs import Pack
from engine.training.data.views import (
    ViewSettings,
    _random_shape,
    depth_layers,
    make_example,
    view_frame,
    view_frame_camera,
)
from engine.training.data.visible import surface_points, visible_points
from tests.generators.conftest import BOX_FACES, box


def pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """u to the right and v up of every pixel's centre."""
    steps = (np.arange(size) + 0.5) * 2 / size - 1
    return np.meshgrid(steps, -steps)


def test_inflated_disc_is_the_sphere():
    u, v = pixel_grid(64)
    height = inflate(u**2 + v**2 < 0.8**2)
    assert height.max() == pytest.approx(0.8, abs=0.02)
    assert np.abs(height - np.sqrt(np.maximum(0.64 - u**2 - v**2, 0)))[u**2 + v**2 < 0.55].max() < 0.04
    assert (height[u**2 + v**2 > 0.7] == 0).all()


def test_inflated_parts_do_not_know_each_other():
    u, v = pixel_grid(64)
    left, right = (u + 0.5) ** 2 + v**2 < 0.16, (u - 0.6) ** 2 + v**2 < 0.04
    assert np.allclose(inflate(left | right), inflate(left) + inflate(right), atol=1e-5)


def test_anchors_cover_the_silhouette_evenly():
    u, v = pixel_grid(128)
    alpha = ((u / 0.8) ** 2 + (v / 0.5) ** 2 < 1).astype(np.float32)
    anchors, spacing = make_anchors(alpha, 2000)
    front = anchors[anchors[:, 2] == 1]
    assert len(front) == round(FRONT_SHARE * 2000)
    assert spacing == pytest.approx(np.sqrt(np.pi * 0.8 * 0.5 / len(front)), rel=0.02)
    for half in (front[:, 0] > 0, front[:, 1] > 0, np.abs(front[:, 0]) > 0.8 * 0.404):
        assert half.mean() == pytest.approx(0.5, abs=0.03)
    assert ((anchors[:, 0] / 0.8) ** 2 + (anchors[:, 1] / 0.5) ** 2).max() < 1.1
    rim = anchors[(anchors[:, 2] > 0) & (anchors[:, 2] < 1)]
    assert ((rim[:, 0] / 0.8) ** 2 + (rim[:, 1] / 0.5) ** 2).min() > 0.85
    assert np.histogram(rim[:, 2], 4, (0, 1))[0].min() > 0.2 * len(rim)


def test_anchors_depend_on_the_seed_only():
    alpha = np.zeros((64, 64), np.float32)
    alpha[20:40, 10:50] = 1
    assert np.array_equal(make_anchors(alpha, 512, 3)[0], make_anchors(alpha, 512, 3)[0])
    assert not np.array_equal(make_anchors(alpha, 512, 3)[0], make_anchors(alpha, 512, 4)[0])


def test_anchors_of_a_single_pixel_and_of_nothing():
    alpha = np.zeros((64, 64), np.float32)
    with pytest.raises(EmptyFieldError, match="no object"):
        make_anchors(alpha, 512)
    alpha[5, 60] = 1
    anchors, _ = make_anchors(alpha, 512)
    assert (np.abs(anchors[:, :2] - [60.5 / 32 - 1, 1 - 5.5 / 32]) <= 1 / 64 + 1e-6).all()


@pytest.mark.parametrize(("azimuth", "elevation", "fov"), [(0, 0, 20), (130, 35, 45), (-70, -10, 60)])
def test_view_frame_centres_the_object_and_fills_the_picture(azimuth, elevation, fov):
    mesh = box((1.0, 0.6, 0.4))
    matrix, shift, t = view_frame(mesh, azimuth, elevation, fov, 0.85)
    vertices = (mesh.vertices @ matrix.T + shift).astype(np.float32)
    viewmat, K = view_frame_camera(t, 400)
    rows, columns = np.nonzero(rasterize(vertices, mesh.faces, viewmat, K, 400, 400).face_ids >= 0)
    box_center = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
    assert np.allclose(box_center, 200, atol=2)
    assert max(np.ptp(columns), np.ptp(rows)) + 1 == pytest.approx(0.85 * 400, abs=3)
    assert vertices[:, 2].min() == pytest.approx(-vertices[:, 2].max(), abs=1e-4)


def test_raised_camera_sees_the_top_and_up_tilts_towards_it():
    matrix, _, _ = view_frame(box((1, 1, 1)), 0, 30, 30, 0.85)
    up = matrix @ [0, 1, 0] / np.linalg.norm(matrix @ [0, 1, 0])
    assert np.allclose(up, [0, np.cos(np.pi / 6), np.sin(np.pi / 6)], atol=0.03)


def test_depth_layers_of_a_box_are_its_front_and_back():
    mesh = box((1.0, 1.0, 0.5))
    matrix, shift, t = view_frame(mesh, 0, 0, 20, 0.85)
    seen = type(mesh)((mesh.vertices @ matrix.T + shift).astype(np.float32), BOX_FACES)
    layers, mask = depth_layers(seen, t, 64)
    low, high = seen.bounds()
    assert layers[0, 32, 32] == pytest.approx(high[2], abs=1e-4)
    assert layers[1, 32, 32] == pytest.approx(low[2], abs=1e-4)
    assert mask[32, 32]
    assert not mask[0, 0]
    assert (layers[:, ~mask] == 0).all()


def test_visible_points_lie_outside_only():
    inner, outer = box((0.3, 0.3, 0.3)), box((1, 1, 1))
    vertices = np.concatenate([outer.vertices, inner.vertices])
    mesh = type(outer)(vertices, np.concatenate([outer.faces, inner.faces + 8]))
    rng = np.random.default_rng(0)
    assert (np.abs(surface_points(mesh, 4000, rng)).max(1) < 0.2).mean() > 0.04
    assert np.allclose(np.abs(visible_points(mesh, 2000, rng)).max(1), 0.5, atol=1e-5)


@pytest.mark.parametrize("augment", [False, True])
def test_example_agrees_with_itself(pack_index, augment):
    """Surface points fall on the mask, between the layers; the first target is the input view."""
    pack = Pack(pack_index)
    rng = np.random.default_rng(5)
    mesh = pack.mesh(1)
    settings = ViewSettings(augment=augment)
    example = make_example(mesh, visible_points(mesh, 1000, rng), settings, rng)
    perspective = 1 - example.tan_half_fov * example.points[:, 2:]
    uv = example.points[:, :2] / perspective
    column = ((uv[:, 0] + 1) * 32).astype(int).clip(0, 63)
    row = ((1 - uv[:, 1]) * 32).astype(int).clip(0, 63)
    on_mask = example.mask[row, column]
    assert on_mask.mean() > 0.93
    z, (front, back) = example.points[on_mask, 2], example.layers[:, row[on_mask], column[on_mask]]
    assert ((z < front + 0.08) & (z > back - 0.08)).mean() > 0.95
    covered = example.picture[..., 3].mean() - example.targets[0, ..., 3].mean()
    assert abs(covered) < 0.01


def test_changed_shapes_keep_their_points_on_the_surface_and_their_floor():
    """Stretched, mirrored, tapered and twisted alike: points and vertices; what stood level still does."""
    rng = np.random.default_rng(3)
    corners = box((1.0, 0.6, 0.4))
    floors, mirrored, proportions = [], 0, []
    for _ in range(40):
        bend = _random_shape(rng)
        moved = bend(corners.vertices)
        floors.append(np.ptp(moved[corners.vertices[:, 1] < 0, 1]))
        mirrored += np.linalg.det(moved[[4, 2, 1]] - moved[0]) * np.linalg.det(corners.vertices[[4, 2, 1]]) < 0
        proportions.append(np.ptp(moved[:, 0]) / np.ptp(moved[:, 1]))
        middles = bend(corners.vertices[corners.faces[:2]].mean(1))  # of two triangles of the side x = -0.5
        assert np.abs(middles[:, 0] - moved[:4, 0].mean()).max() < 0.15
    assert max(floors) < 1e-12
    assert 5 < mirrored < 35
    assert np.std(np.log(proportions)) > 0.1


def test_pack_with_a_missing_shard_says_so(tmp_path, pack_index):
    (tmp_path / "index.csv").write_text(pack_index.read_text())
    with pytest.raises(InputError, match=r"boxes\.npz"):
        Pack(tmp_path / "index.csv")

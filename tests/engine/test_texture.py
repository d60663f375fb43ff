# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about textures: the right colour in the right place, padding."""

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from engine.errors import OptionError
from engine.fields.gaussians import Gaussians
from engine.surface.mesh import Mesh
from engine.texture.bake import bake
from engine.texture.field_colors import REACH, SOFTNESS, colors_at
from engine.texture.pad import pad
from engine.texture.texels import texels_of
from engine.texture.unwrap import unwrap
from tests.engine.shapes import shell, sphere_mesh, sphere_points


def red_and_green(count: int = 4000) -> Gaussians:
    """A sphere that is red where x > 0 and green elsewhere."""
    points, normals, spacing = sphere_points(count, 1.0)
    colors = np.where(points[:, :1] > 0, [[0.9, 0.1, 0.1]], [[0.1, 0.8, 0.1]])
    return shell(points, normals, spacing, colors=colors)


def test_a_red_side_bakes_red():
    baked = bake(unwrap(sphere_mesh(24)), red_and_green(), 256)
    texels = texels_of(baked, 256)
    points, colors = texels.points, baked.texture[texels.covered()].astype(int)
    right, left = points[:, 0] > 0.1, points[:, 0] < -0.1
    assert np.abs(colors[right] - [230, 26, 26]).max() <= 4
    assert np.abs(colors[left] - [26, 204, 26]).max() <= 4


def test_rows_of_the_texture_run_downwards_from_v_0():
    """A single quad with v growing towards -y: the first row shows its upper end."""
    corners = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]], np.float32)
    quad = Mesh(
        corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), uvs=np.array([[0, 0], [0, 1], [1, 1], [1, 0]], np.float32)
    )
    y, x = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 1, 30)))
    colors = np.stack([x, y, np.zeros_like(x)], axis=1)
    sheet = shell(np.stack([x, y, np.zeros_like(x)], 1), np.tile([0.0, 0, 1], (len(x), 1)), 1 / 30, colors=colors)
    texture = bake(quad, sheet, 64).texture.astype(int)
    assert texture[2, 32, 1] > 230  # top: y = 1
    assert texture[61, 32, 1] < 25
    assert texture[32, 61, 0] > 230  # right: x = 1
    assert texture[32, 2, 0] < 25


def test_colour_is_the_weighted_mean_of_the_gaussians():
    """Against the definition in float64, with the softness the bake itself uses."""
    from scipy.spatial import KDTree

    rng = np.random.default_rng(0)
    count = 200
    gaussians = Gaussians(
        rng.uniform(-0.5, 0.5, (count, 3)), rng.normal(size=(count, 4)), np.exp(rng.uniform(-3.5, -1.5, (count, 3))),
        rng.uniform(0.1, 1, count), rng.uniform(size=(count, 3)),
    )  # fmt: skip
    points = rng.uniform(-0.5, 0.5, (1000, 3)).astype(np.float32)
    softness = SOFTNESS * np.median(KDTree(gaussians.means).query(points)[0])
    covariances = gaussians.covariances().astype(np.float64) + softness**2 * np.eye(3)
    offsets = points[:, None].astype(np.float64) - gaussians.means
    q = np.einsum("pni,nij,pnj->pn", offsets, np.linalg.inv(covariances), offsets)
    weights = gaussians.opacities * np.exp(-q / 2)
    clear = np.abs(q - REACH**2).min(1) > 1e-3  # no Gaussian whose rim float32 may see differently
    weights[q > REACH**2] = 0
    expected = weights @ gaussians.colors / weights.sum(1, keepdims=True)
    assert clear.sum() > 300
    np.testing.assert_allclose(colors_at(points, gaussians)[0][clear], expected[clear], atol=1e-4)


def test_points_that_no_gaussian_reaches_take_the_nearest_colour():
    points, normals, spacing = sphere_points(500, 0.2)
    colors = np.where(points[:, :1] > 0, [[1.0, 0, 0]], [[0, 0, 1.0]])
    far = np.array([[5, 0, 0], [-5, 0, 0]], np.float32)
    near = points[:100].astype(np.float32)  # most points lie on the surface: they set the softness
    found = colors_at(np.concatenate([near, far]), shell(points, normals, spacing, colors=colors))[0]
    np.testing.assert_allclose(found[100:], [[1, 0, 0], [0, 0, 1]], atol=1e-6)


def test_padding_continues_the_charts():
    covered = np.zeros((64, 64), bool)
    covered[20:30, 20:30] = covered[20:30, 50:60] = True
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[20:30, 20:30], texture[20:30, 50:60] = [200, 0, 0], [0, 100, 0]
    padded = pad(texture, covered)
    assert np.array_equal(padded[covered], texture[covered])
    assert (padded[12:38, 12:38] == [200, 0, 0]).all()
    assert (padded[12:38, 42:] == [0, 100, 0]).all()
    assert np.array_equal(pad(texture, np.zeros_like(covered)), texture)


@pytest.mark.slow
def test_a_baked_texture_has_no_bare_texel_within_eight_of_a_chart():
    baked = bake(unwrap(sphere_mesh(24)), red_and_green(), 1024)
    covered = texels_of(baked, 1024).covered()
    near = distance_transform_edt(~covered) <= 8
    assert near.sum() > covered.sum()
    assert baked.texture[near].max(axis=1).min() > 100  # red, green or a mixture; bare texels are black


def test_uvs_without_area_give_the_mean_colour():
    """Xatlas gives faces it cannot place one point; a texture of nothing must not be black."""
    mesh = sphere_mesh(8)
    flat = replace(mesh, uvs=np.full((len(mesh.vertices), 2), 0.5, np.float32))
    texture = bake(flat, red_and_green(400), 64).texture.astype(int)
    assert np.abs(texture - np.rint(255 * red_and_green(400).colors.mean(0))).max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.select(np.arange(1)),
        lambda g: g.select(np.arange(2)),
        lambda g: replace(g, opacities=0 * g.opacities),
        lambda g: replace(g, means=0 * g.means),
        lambda g: replace(g, means=g.means + 1e6),
        lambda g: replace(g.select(np.arange(100)), scales=0 * g.scales[:100] + 1e6),
        lambda g: replace(g, scales=0 * g.scales + 1e-20),
    ],
    ids=["one", "two", "transparent", "coincident", "far away", "enormous", "points"],
)
def test_strange_gaussians_still_give_a_texture_in_their_colours(change):
    mesh = unwrap(sphere_mesh(12))
    for views in (0, 2):
        start = time.perf_counter()
        texture = bake(mesh, change(red_and_green(20_000)), 64, views).texture
        assert time.perf_counter() - start < 10
        assert texture.max(-1).min() > 60  # mixtures of red and green, never black
        assert texture[..., 2].max() < 40


@pytest.mark.parametrize("size", [0, 16, 100_000])
def test_texture_sizes_out_of_range_are_refused(size):
    with pytest.raises(OptionError, match=str(size)):
        bake(sphere_mesh(8), red_and_green(100), size)

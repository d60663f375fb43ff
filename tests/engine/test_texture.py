# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about texture coordinates and textures: no overlaps, padding, the right colour in the right place."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from engine.errors import Cancelled, InputError, OptionError
from engine.fields.gaussians import Gaussians
from engine.render.mesh_cpu import rasterize
from engine.surface.mesh import Mesh
from engine.surface.report import mesh_report
from engine.texture import unwrap as unwrap_module
from engine.texture.bake import bake
from engine.texture.charts import project_charts
from engine.texture.field_colors import REACH, SOFTNESS, colors_at
from engine.texture.pad import pad
from engine.texture.texels import texels_of
from engine.texture.unwrap import MARGIN, cut_in_parts, unwrap, warm_up
from tests.engine.shapes import chart_of_face, shell, sphere_mesh, sphere_points


def projected(mesh: Mesh) -> Mesh:
    origins, faces, uvs = project_charts(mesh, MARGIN)
    return Mesh(mesh.vertices[origins], faces, uvs=uvs)


def folded_ribbon() -> Mesh:
    """A spiral ramp of two turns: seen from above it covers itself."""
    turns = np.linspace(0, 4 * np.pi, 81)
    inner = np.stack([0.5 * np.cos(turns), turns / 10, 0.5 * np.sin(turns)], axis=1)
    outer = np.stack([np.cos(turns), turns / 10, np.sin(turns)], axis=1)
    k = np.arange(80)
    faces = np.concatenate([np.stack([k, 81 + k, k + 1], 1), np.stack([k + 1, 81 + k, 82 + k], 1)])
    return Mesh(np.concatenate([inner, outer]).astype(np.float32), faces.astype(np.int32))


def owners(mesh: Mesh, size: int, last: bool = False) -> np.ndarray:
    """The face that covers each texel's centre, -1 where none does; of several the first or the last."""
    assert mesh.uvs is not None
    points = np.concatenate([mesh.uvs * size, np.ones((len(mesh.uvs), 1))], axis=1).astype(np.float32)
    faces = mesh.faces[::-1] if last else mesh.faces
    found = rasterize(
        points, np.ascontiguousarray(faces), np.eye(4, dtype=np.float32), np.eye(3, dtype=np.float32), size, size
    )
    return np.where(found.face_ids >= 0, len(faces) - 1 - found.face_ids, -1) if last else found.face_ids


def red_and_green(count: int = 4000) -> Gaussians:
    """A sphere that is red where x > 0 and green elsewhere."""
    points, normals, spacing = sphere_points(count, 1.0)
    colors = np.where(points[:, :1] > 0, [[0.9, 0.1, 0.1]], [[0.1, 0.8, 0.1]])
    return shell(points, normals, spacing, colors=colors)


@pytest.mark.parametrize("make", [unwrap, projected])
@pytest.mark.parametrize("mesh", [sphere_mesh(24), folded_ribbon()], ids=["sphere", "ribbon"])
def test_uvs_cover_the_texture_without_overlaps(mesh, make):
    unwrapped = make(mesh)
    assert unwrapped.uvs.min() >= 0
    assert unwrapped.uvs.max() <= 1
    first, last = owners(unwrapped, 1024), owners(unwrapped, 1024, last=True)
    assert (first >= 0).mean() > 0.2
    # A texel whose centre lies exactly on an edge belongs to both faces.
    assert (first != last).sum() <= 0.0005 * (first >= 0).sum()


@pytest.mark.parametrize("make", [unwrap, projected])
def test_unwrapping_only_splits_vertices(make):
    mesh = sphere_mesh(20)
    unwrapped = make(mesh)
    one = np.sort(unwrapped.vertices[unwrapped.faces].reshape(len(mesh.faces), -1), axis=0)
    other = np.sort(mesh.vertices[mesh.faces].reshape(len(mesh.faces), -1), axis=0)
    assert np.array_equal(np.sort(one.ravel()), np.sort(other.ravel()))
    assert mesh_report(unwrapped).watertight
    assert mesh_report(unwrapped).volume == pytest.approx(mesh_report(mesh).volume, rel=1e-6)


@pytest.mark.parametrize("make", [unwrap, projected])
def test_charts_are_not_mirrored(make):
    unwrapped = make(sphere_mesh(24))
    a, b, c = (unwrapped.uvs[unwrapped.faces[:, corner]] for corner in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    assert (turn < 0).mean() > 0.97  # counter-clockwise as seen with v upwards


@pytest.mark.slow
@pytest.mark.parametrize("make", [unwrap, projected])
def test_each_chart_has_eight_texels_of_its_own_at_1024(make):
    unwrapped = make(sphere_mesh(24))
    owner = owners(unwrapped, 1024)
    chart = np.where(owner >= 0, chart_of_face(unwrapped)[owner], -1)
    assert len(np.unique(chart)) > 2
    for number in np.unique(chart[chart >= 0]):
        distance = distance_transform_edt(chart != number)
        assert distance[(chart >= 0) & (chart != number)].min() > 15


def test_normals_are_smooth_across_seams():
    unwrapped = unwrap(sphere_mesh(12))
    places, index = np.unique(unwrapped.vertices, axis=0, return_inverse=True)
    assert len(places) < len(unwrapped.vertices)
    one_each = unwrapped.normals[np.unique(index, return_index=True)[1]]
    assert np.array_equal(one_each[index.ravel()], unwrapped.normals)
    assert np.einsum("vi,vi->v", unwrapped.normals, unwrapped.vertices).min() > 0.95


def test_a_time_limit_falls_back_to_projection_and_says_so():
    warnings = []
    start = time.monotonic()
    unwrapped = unwrap(sphere_mesh(60), limit_s=0.0, warn=warnings.append)
    assert time.monotonic() - start < 10
    assert len(warnings) == 1
    assert "longer than 0 seconds" in warnings[0]
    assert mesh_report(unwrapped).watertight
    assert (owners(unwrapped, 256) >= 0).mean() > 0.2
    assert not unwrap_module._current or unwrap_module._current[0].process.poll() is not None
    assert unwrap(sphere_mesh(12), warn=warnings.append).uvs is not None
    assert len(warnings) == 1


def test_a_dead_helper_is_noticed_and_replaced():
    warm_up()
    helper = unwrap_module._current[0]
    helper.process.kill()
    helper.process.wait()
    warnings = []
    unwrap(sphere_mesh(12), warn=warnings.append)
    assert not warnings
    unwrap(sphere_mesh(60), check=unwrap_module._current[0].process.kill, warn=warnings.append)
    assert len(warnings) == 1
    assert "unexpectedly" in warnings[0]


def test_cancelling_stops_the_helper():
    def cancel():
        raise Cancelled

    warm_up()
    process = unwrap_module._current[0].process
    with pytest.raises(Cancelled):
        unwrap(sphere_mesh(100), check=cancel)
    assert process.poll() is not None


@pytest.mark.slow
def test_the_helper_ends_with_its_parent():
    """A killed engine runs no handlers; the helper notices the closed pipe."""
    code = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from engine.texture import unwrap\n"
        "unwrap.warm_up(); print(unwrap._current[0].process.pid, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 9, done.stderr
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(int(done.stdout)):
        time.sleep(0.05)
    assert not _runs(int(done.stdout))


def _runs(pid: int) -> bool:
    """Whether a process that is not just waiting to be reaped has this number (Linux; elsewhere no)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_meshes_of_any_size_are_unwrapped(scale):
    mesh, warnings = sphere_mesh(16), []
    unwrap(Mesh(mesh.vertices * np.float32(scale), mesh.faces), warn=warnings.append)
    assert not warnings


def test_unwrapping_refuses_broken_meshes():
    with pytest.raises(InputError):
        unwrap(Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 7]], np.int32)))


def test_parts_are_even_and_complete():
    part = cut_in_parts(sphere_mesh(60))
    counts = np.bincount(part)
    assert len(counts) >= 8
    assert counts.max() <= 2 * counts.min()


def test_a_red_side_bakes_red():
    baked = bake(unwrap(sphere_mesh(24)), red_and_green(), 256)
    texels = texels_of(baked, 256)
    points, colors = texels.points, baked.texture[texels.covered()].astype(int)
    right, left = points[:, 0] > 0.1, points[:, 0] < -0.1
    assert np.abs(colors[right] - [230, 26, 26]).max() <= 2
    assert np.abs(colors[left] - [26, 204, 26]).max() <= 2


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
        assert texture.max(-1).min() > 100  # mixtures of red and green, never black
        assert texture[..., 2].max() < 40


@pytest.mark.parametrize("size", [0, 16, 100_000])
def test_texture_sizes_out_of_range_are_refused(size):
    with pytest.raises(OptionError, match=str(size)):
        bake(sphere_mesh(8), red_and_green(100), size)

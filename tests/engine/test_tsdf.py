# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about surfaces fused from depth maps: distances, volume, genus, thin parts, and views that are wrong."""

from dataclasses import replace

import numba
import numpy as np
import pytest

from engine.errors import EmptyFieldError, OptionError
from engine.fields.gaussians import Gaussians
from engine.render.splat_depth import depth_views
from engine.surface.cleanup import clean
from engine.surface.field import SignedGrid
from engine.surface.flatten import flattened
from engine.surface.isosurface import extract
from engine.surface.mesh import Mesh
from engine.surface.report import mesh_report
from engine.surface.tsdf import fuse, tsdf_grid
from engine.surface.visibility import surrounding
from tests.engine.shapes import box, joined, shell, sphere, sphere_points, torus


def surface(gaussians: Gaussians, resolution: int = 96) -> Mesh:
    return clean(extract(tsdf_grid(gaussians, resolution)))


def points_of(grid: SignedGrid) -> np.ndarray:
    """Positions of the samples, [X, Y, Z, 3]."""
    return grid.origin + grid.voxel * np.stack(np.meshgrid(*map(np.arange, grid.values.shape), indexing="ij"), -1)


@pytest.mark.slow
def test_values_are_distances_to_a_sphere():
    grid = tsdf_grid(sphere(8000, 0.8), 96)
    true = np.linalg.norm(points_of(grid), axis=-1) - 0.8
    near = np.abs(true) < 1.5 * grid.voxel
    error = (grid.values - true)[near] / grid.voxel
    assert abs(error.mean()) < 0.1
    assert np.abs(error).mean() < 0.12
    assert np.all((grid.values < 0)[true < -grid.voxel])
    assert np.all((grid.values > 0)[true > grid.voxel])
    assert grid.values.dtype == np.float32
    assert np.abs(grid.values).max() <= 3.001 * grid.voxel
    for axis in range(3):
        assert np.take(grid.values, [0, -1], axis).min() > 0


@pytest.mark.slow
def test_sphere_has_its_volume_and_area():
    report = mesh_report(surface(sphere(6000, 0.8), 128))
    assert report.volume == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.01)
    assert report.area == pytest.approx(4 * np.pi * 0.8**2, rel=0.015)
    assert (report.watertight, report.components, report.genus) == (True, 1, 0)


def test_box_has_its_volume_and_area():
    half = np.array([0.7, 0.5, 0.3])
    report = mesh_report(surface(box(half)))
    assert report.area == pytest.approx(8 * (half[0] * half[1] + half[1] * half[2] + half[2] * half[0]), rel=0.02)
    assert report.volume == pytest.approx(8 * half.prod(), rel=0.01)
    assert report.components == 1


def test_thin_torus_keeps_its_hole():
    report = mesh_report(surface(torus(), 128))
    assert (report.watertight, report.components, report.genus) == (True, 1, 1)
    assert report.volume == pytest.approx(2 * np.pi**2 * 0.7 * 0.12**2, rel=0.06)


@pytest.mark.slow
def test_an_inner_shell_and_faint_floaters_leave_no_trace():
    random = np.random.default_rng(1)
    haze = Gaussians(
        random.uniform(-1.2, 1.2, (400, 3)), random.normal(size=(400, 4)), random.uniform(0.01, 0.06, (400, 3)),
        random.uniform(0.03, 0.25, 400), np.ones((400, 3)),
    )  # fmt: skip
    report = mesh_report(surface(joined(sphere(8000, 0.8), sphere(4000, 0.6), haze)))
    assert report.components == 1
    assert report.area == pytest.approx(4 * np.pi * 0.8**2, rel=0.03)
    assert report.volume == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.01)


@pytest.mark.slow
def test_a_hole_in_the_shell_does_not_show_the_inside():
    """Where a cap is missing the rays that come in see backs of the far wall: they know nothing."""
    points, normals, spacing = sphere_points(8000, 0.8)
    open_sphere = shell(points[points[:, 1] > -0.7], normals[points[:, 1] > -0.7], spacing)
    report = mesh_report(surface(open_sphere))
    assert report.area < 1.1 * 4 * np.pi * 0.8**2
    assert report.volume > 0.9 * 4 / 3 * np.pi * 0.8**3
    assert report.components == 1


def test_a_sheet_is_closed_and_as_thin_as_the_grid_allows():
    half = (0.002, 0.6, 0.5)
    grid = tsdf_grid(box(half, sides=range(1)), 96)
    report = mesh_report(extract(grid))
    assert (report.watertight, report.components, report.genus) == (True, 1, 0)
    assert report.area == pytest.approx(2 * 4 * half[1] * half[2], rel=0.2)
    assert report.volume < 2.0 * grid.voxel * 4 * half[1] * half[2]


def test_a_thin_plate_seen_from_both_sides_keeps_its_thickness():
    """2.5 voxels: the front's views reach behind the back, but do not thicken or erase it."""
    grid = tsdf_grid(box((0.025, 0.7, 0.6)), 140)
    values = grid.values[:, grid.values.shape[1] // 2, grid.values.shape[2] // 2]
    x = grid.origin[0] + grid.voxel * np.arange(len(values))
    edges = np.flatnonzero(np.diff(np.sign(values)))
    crossings = x[edges] + grid.voxel * values[edges] / (values[edges] - values[edges + 1])
    assert crossings == pytest.approx([-0.025, 0.025], abs=0.15 * grid.voxel)


def round_sphere(count: int, radius: float, sigma: float) -> Gaussians:
    points = sphere_points(count, radius)[0]
    return Gaussians(
        points, np.tile([1.0, 0, 0, 0], (count, 1)), np.full((count, 3), sigma), np.full(count, 0.9),
        np.full((count, 3), 0.5),
    )  # fmt: skip


@pytest.mark.slow
def test_fat_balls_on_a_sphere_give_a_smooth_one_through_their_outer_halves():
    """Spaced wider than they are thick: seen as they are, cameras would look through between them."""
    balls = round_sphere(4000, 0.8, 0.02)
    mesh = surface(balls, 96)
    off = np.linalg.norm(mesh.vertices, axis=1) - 0.8
    assert 0.8 * 0.02 < np.median(off) < 1.6 * 0.02
    assert off.std() < 0.25 * 0.02
    assert (mesh_report(mesh).components, mesh_report(mesh).genus) == (1, 0)


def test_only_fat_round_gaussians_become_discs():
    flat, thin = sphere(500, 0.8), round_sphere(500, 0.8, 0.02)
    assert flattened(flat, 0.001)[0] is flat
    assert flattened(thin, 0.03)[0] is thin
    discs, offsets = flattened(thin, 0.01)
    normals = discs.rotations()[np.arange(500), :, discs.scales.argmin(1)]
    outward = thin.means / np.linalg.norm(thin.means, axis=1, keepdims=True)
    assert np.abs(np.einsum("ni,ni->n", normals, outward)).min() > 0.98
    np.testing.assert_allclose(offsets, 1.2 * 0.02, rtol=1e-5)
    mixed = joined(sphere(500, 0.8), round_sphere(60, 1.0, 0.02))
    assert flattened(mixed, 0.01)[0] is mixed


def corrupted(change) -> tuple[SignedGrid, SignedGrid]:
    """A sphere fused from 24 views, and again after `change(depths, alphas of view 3)`."""
    ball = sphere(8000, 0.8)
    cameras, pixel = surrounding(ball, 24, 144)
    measured = depth_views(ball, cameras)
    shape, voxel = (101, 101, 101), 0.02
    origin = np.full(3, -1.0)
    right = fuse(measured, cameras, pixel, origin, voxel, shape)
    depths = measured.depths.copy()
    change(depths[3])
    return right, fuse(replace(measured, depths=depths), cameras, pixel, origin, voxel, shape)


def see_far(depths):
    depths[60:84, 60:84] = depths.max() + 1.0


def see_through(depths):
    depths[60:84, 60:84] = 0


def see_near(depths):
    depths[50:94, 50:94] = depths[depths > 0].min() - 0.15


@pytest.mark.slow
@pytest.mark.parametrize("change", [see_far, see_through, see_near])
def test_one_wrong_view_neither_carves_nor_adds(change):
    right, wrong = corrupted(change)
    differ = (right.values < 0) != (wrong.values < 0)
    near = np.abs(np.linalg.norm(points_of(right), axis=-1) - 0.8) < 1.5 * right.voxel
    assert not differ[~near].any()
    assert differ.sum() < 0.01 * near.sum()


def test_result_does_not_depend_on_threads():
    values = tsdf_grid(torus(), 64).values
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert np.array_equal(tsdf_grid(torus(), 64).values, values)
    finally:
        numba.set_num_threads(threads)


def ball(count: int, opacity: float = 0.95, spread: float = 0.0) -> Gaussians:
    means = np.zeros((count, 3))
    means[:, 0] = spread * np.arange(count)
    return Gaussians(
        means,
        np.tile([1.0, 0, 0, 0], (count, 1)),
        np.full((count, 3), 0.2),
        np.full(count, opacity),
        np.ones((count, 3)),
    )


@pytest.mark.parametrize(("count", "spread"), [(1, 0.0), (2, 0.5), (50, 0.0)])
def test_hardly_any_gaussians_give_a_closed_surface(count, spread):
    report = mesh_report(extract(tsdf_grid(ball(count, spread=spread), 48)))
    assert report.watertight
    assert report.volume > 0


@pytest.mark.parametrize("gaussians", [ball(0), ball(3, opacity=0.0), ball(1, opacity=0.2)])
def test_nothing_to_see_is_refused(gaussians):
    with pytest.raises(EmptyFieldError, match="Found no"):
        tsdf_grid(gaussians, 48)


@pytest.mark.parametrize("resolution", [8, 1000])
def test_a_resolution_out_of_range_is_refused(resolution):
    with pytest.raises(OptionError, match=str(resolution)):
        tsdf_grid(ball(1), resolution)

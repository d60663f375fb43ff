# SPDX-License-Identifier: GPL-3.0-or-later
"""Refinement brings a mesh nearer to its splats and the photograph, and never farther from them."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import Cancelled, OptionError
from engine.fields.cameras import Photograph, intrinsics, look_at
from engine.fields.gaussians import Gaussians
from engine.refine import refine as refining
from engine.refine.refine import refine
from engine.render.splat_cpu import render as render_splats
from engine.surface.mesh import Mesh
from engine.surface.report import mesh_report
from engine.texture.bake import bake
from engine.texture.texels import texels_of
from engine.texture.unwrap import unwrap
from tests.engine.shapes import box, shell, sphere_mesh, sphere_points

RADIUS = 0.8


def field(count: int = 8000) -> Gaussians:
    """A sphere whose colour changes slowly along it."""
    points, normals, spacing = sphere_points(count, RADIUS)
    return shell(points, normals, spacing, opacity=0.95, colors=0.5 + 0.4 * np.sin(3 * normals + [0, 1, 2]))


def painted(mesh: Mesh, gaussians: Gaussians, size: int = 256) -> Mesh:
    return bake(unwrap(mesh), gaussians, size)


@pytest.fixture(scope="module")
def splats() -> Gaussians:
    return field()


@pytest.fixture(scope="module")
def true(splats) -> Mesh:
    return painted(sphere_mesh(32, RADIUS), splats)


@pytest.mark.slow
def test_a_sphere_five_per_cent_too_large_shrinks_to_its_splats(splats):
    large = painted(sphere_mesh(32, 1.05 * RADIUS), splats)
    refined = refine(large, splats, 100)
    radii = np.linalg.norm(refined.mesh.vertices, axis=1)
    assert np.abs(radii / RADIUS - 1).max() < 0.012
    assert np.abs(radii / RADIUS - 1).mean() < 0.005
    assert refined.after < 0.2 * refined.before
    # Nothing is torn: copies of a vertex at seams moved together, and the normals went along.
    assert mesh_report(refined.mesh).watertight
    assert mesh_report(refined.mesh).volume > 0
    assert np.array_equal(refined.mesh.faces, large.faces)
    assert np.array_equal(refined.mesh.uvs, large.uvs)
    assert refined.mesh.normals is not None
    outwards = refined.mesh.vertices / radii[:, None]
    assert np.einsum("vi,vi->v", refined.mesh.normals, outwards).min() > 0.95


@pytest.mark.slow
def test_a_wrong_texture_is_corrected(splats, true):
    wrong = np.clip(true.texture + np.array([40, -40, 20]), 0, 255).astype(np.uint8)
    refined = refine(replace(true, texture=wrong), splats, 60)
    before = np.abs(wrong.astype(int) - true.texture).mean()
    assert np.abs(refined.mesh.texture.astype(int) - true.texture).mean() < 0.25 * before


@pytest.mark.slow
def test_fine_detail_that_no_view_shows_stays(splats, true):
    """A checkerboard of single texels, finer than any pixel, is neither blurred nor taken for an error."""
    fine = np.kron(true.texture, np.ones((4, 4, 1), np.uint8)).astype(int)
    board = 12 * (-1) ** np.indices(fine.shape[:2]).sum(0)[..., None]
    refined = refine(replace(true, texture=np.clip(fine + board, 0, 255).astype(np.uint8)), splats, 20)
    inside = texels_of(true, len(fine)).covered()
    left = (refined.mesh.texture.astype(int) * np.sign(board))[inside].mean()
    assert left == pytest.approx(12, abs=1.5)


@pytest.mark.slow
def test_the_photograph_counts_most(splats, true):
    """Splats say white, the photograph of the front says red: the front becomes red, the back stays white."""
    eye, size = (0, 0, 4.0), 160
    viewmat, K = look_at(eye, (0, 0, 0)), intrinsics(32, size, size)
    seen = render_splats(splats, viewmat, K, size, size)
    rgba = np.concatenate([np.broadcast_to([0.9, 0.1, 0.1], seen.colors.shape), seen.alphas[..., None]], -1)
    white = replace(splats, colors=np.full_like(splats.colors, 0.9))
    mesh = painted(sphere_mesh(32, RADIUS), white)
    refined = refine(mesh, white, 60, Photograph(rgba.astype(np.float32), viewmat, K))
    picture = render_texture_colors(refined.mesh)
    front, back = mesh.vertices[:, 2] > 0.8 * RADIUS, mesh.vertices[:, 2] < -0.2 * RADIUS
    assert picture[front][:, 1].mean() < 0.45
    assert picture[back][:, 1].min() > 0.8


def render_texture_colors(mesh: Mesh) -> np.ndarray:
    """The texture's colours at the vertices, [V, 3] in [0, 1]."""
    size = mesh.texture.shape[0]
    places = np.clip((mesh.uvs * size).astype(int), 0, size - 1)
    return mesh.texture[places[:, 1], places[:, 0]] / 255


@pytest.mark.slow
def test_what_is_right_already_comes_back_no_worse(splats, true):
    refined = refine(true, splats, 20)
    assert refined.after <= refined.before
    if refined.after == refined.before:
        assert refined.mesh is true
    assert np.abs(np.linalg.norm(refined.mesh.vertices, axis=1) / RADIUS - 1).max() < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RATE", "PAINT"])
def test_absurd_steps_change_nothing_for_the_worse(splats, true, monkeypatch, name):
    monkeypatch.setattr(refining, name, 1000.0)
    refined = refine(true, splats, 12)
    assert refined.after <= refined.before
    assert mesh_report(refined.mesh).watertight
    assert np.abs(np.linalg.norm(refined.mesh.vertices, axis=1) / RADIUS - 1).max() < 0.05


@pytest.mark.slow
def test_the_two_sides_of_a_thin_plate_do_not_pass_through_each_other():
    """Splats lie on one plane: both sides are drawn towards it, and stop short of each other."""
    plate = box((0.7, 0.5, 0.004))
    ticks = np.linspace(-1, 1, 41)
    x, y = (grid.ravel() for grid in np.meshgrid(0.7 * ticks, 0.5 * ticks))
    k = np.arange(41 * 40).reshape(40, 41)[:, :-1].ravel()
    faces = np.concatenate([np.stack([k, k + 1, k + 41], 1), np.stack([k + 1, k + 42, k + 41], 1)])
    top = np.stack([x, y, np.full_like(x, 0.012)], 1)
    sides = np.concatenate([top, top * [1, 1, -1]]).astype(np.float32)
    mesh = Mesh(sides, np.concatenate([faces, faces[:, ::-1] + len(top)]).astype(np.int32))
    plain = painted(mesh, plate)
    refined = refine(plain, plate, 30)
    heights = refined.mesh.vertices[:, 2] * np.sign(plain.vertices[:, 2])
    assert heights.min() > 0
    assert refined.after <= refined.before


@pytest.mark.slow
def test_progress_is_told_and_may_end_the_work(splats, true):
    told = []

    def report(stage: str, fraction: float, text: str) -> None:
        told.append(fraction)
        if fraction > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        refine(true, splats, 50, report=report)
    assert told == sorted(told)


def test_a_mesh_without_texture_is_refused(splats):
    with pytest.raises(OptionError, match="without texture"):
        refine(sphere_mesh(8), splats, 10)


@pytest.mark.slow
def test_one_result_for_any_number_of_threads(splats, true):
    import numba

    threads = numba.get_num_threads()
    results = []
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            results.append(refine(replace(true, vertices=true.vertices * np.float32(1.02)), splats, 3))
    finally:
        numba.set_num_threads(threads)
    assert np.array_equal(results[0].mesh.vertices, results[1].mesh.vertices)
    assert np.array_equal(results[0].mesh.texture, results[1].mesh.texture)
    assert results[0].after == results[1].after


@pytest.mark.slow
def test_what_faces_away_from_the_photograph_stays_as_the_splats_say(splats, true):
    """A photograph of a larger sphere: the outline follows it, within the bound; the far side does not."""
    viewmat, K, size = look_at((0, 0, 4.0), (0, 0, 0)), intrinsics(32, 200, 200), 200
    seen = render_splats(splats.scaled(1.03, np.zeros(3)), viewmat, K, size, size)
    rgba = np.concatenate([seen.colors, seen.alphas[..., None]], -1)
    refined = refine(true, splats, 60, Photograph(rgba, viewmat, K))
    radii = np.linalg.norm(refined.mesh.vertices, axis=1) / RADIUS
    toward = true.vertices[:, 2] / RADIUS
    rim = np.abs(toward - RADIUS / 4) < 0.05  # where rays of the camera touch the sphere
    assert radii[rim].mean() > 1.008
    assert abs(radii[toward < -0.7].mean() - 1) < 0.003
    assert refined.after < refined.before

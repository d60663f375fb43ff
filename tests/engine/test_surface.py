# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about surfaces made from Gaussians: volume, area, genus, parts, watertightness, face counts."""

import numpy as np
import pytest

from engine.errors import EmptyFieldError, OptionError
from engine.surface.cleanup import clean, is_watertight, parts, smooth, weld
from engine.surface.density import DensityGrid, density_grid
from engine.surface.isosurface import choose_level, enclosed, isosurface
from engine.surface.mesh import Mesh
from engine.surface.repair import separate_sheets
from engine.surface.report import mesh_report
from engine.surface.simplify import simplify
from tests.engine.shapes import box, joined, shell, sphere, sphere_mesh, sphere_points, torus


def surface(gaussians, resolution: int = 96) -> Mesh:
    return clean(isosurface(density_grid(gaussians, resolution)))


def genus(mesh: Mesh) -> int:
    """Of a closed mesh of one part: V - E + F = 2 - 2 g."""
    report = mesh_report(mesh)
    return (2 - report.vertices + report.faces // 2) // 2


def test_sphere_of_gaussians_has_the_spheres_volume_and_area():
    radius = 0.8
    report = mesh_report(surface(sphere(radius=radius), 128))
    assert report.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.06)
    assert report.area == pytest.approx(4 * np.pi * radius**2, rel=0.04)
    assert report.watertight
    assert report.components == 1


def test_faces_look_outwards():
    mesh = surface(sphere(2000))
    assert mesh_report(mesh).volume > 0
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    assert (np.einsum("fi,fi->f", np.cross(b - a, c - a), a + b + c) > 0).mean() > 0.999


def test_box_has_no_inner_wall():
    half = np.array([0.7, 0.5, 0.3])
    report = mesh_report(surface(box(half)))
    true_area = 8 * (half[0] * half[1] + half[1] * half[2] + half[2] * half[0])
    assert report.area < 1.1 * true_area
    assert report.volume == pytest.approx(8 * half.prod(), rel=0.12)
    assert report.components == 1


def test_thin_torus_keeps_its_hole():
    mesh = surface(torus())
    assert mesh_report(mesh).components == 1
    assert genus(mesh) == 1
    assert mesh_report(mesh).volume == pytest.approx(2 * np.pi**2 * 0.7 * 0.12**2, rel=0.3)


def test_separate_parts_stay_and_debris_goes():
    small = sphere(300, 0.08, center=(0.6, 0.5, 0))
    speck = sphere(30, 0.012, center=(-0.6, 0.6, 0))
    report = mesh_report(surface(joined(sphere(4000, 0.5), small, speck), 128))
    assert report.components == 2
    assert report.watertight


def test_a_shell_with_holes_of_its_gaussians_spacing_is_still_solid():
    points, normals, spacing = sphere_points(4000, 0.8)
    rng = np.random.default_rng(0)
    kept = rng.uniform(size=len(points)) < 0.75
    for _ in range(12):  # and a dozen gaps two spacings wide
        kept &= np.linalg.norm(points - points[rng.integers(len(points))], axis=1) > spacing
    rough = points + normals * rng.normal(scale=0.2 * spacing, size=(len(points), 1))
    report = mesh_report(surface(shell(rough[kept], normals[kept], spacing)))
    assert report.area < 1.2 * 4 * np.pi * 0.8**2
    assert report.volume > 0.95 * 4 / 3 * np.pi * 0.8**3
    assert report.components == 1


def test_an_open_box_stays_open():
    """A box without its lid holds air: its surface is the outside and the inside of its walls."""
    half = np.array([0.6, 0.6, 0.6])
    report = mesh_report(surface(box(half, sides=(0, 2, 3, 4, 5))))
    walls = 5 * 1.2**2
    assert report.watertight
    assert report.volume < 0.3 * 1.2**3
    assert report.area == pytest.approx(2 * walls, rel=0.15)


def test_a_vase_stays_hollow():
    """Its opening is eight spacings wide: no gap between Gaussians."""
    points, normals, spacing = sphere_points(6000, 0.8)
    kept = np.hypot(points[:, 0], points[:, 2]) + 10 * (points[:, 1] < 0) > 4 * spacing
    report = mesh_report(surface(shell(points[kept], normals[kept], spacing)))
    assert report.watertight
    assert report.volume < 0.4 * 4 / 3 * np.pi * 0.8**3


def test_a_surface_is_closed_where_an_outlier_reaches_out_of_the_grid():
    large = shell(np.array([[1.4, 0, 0]]), np.array([[0, 1.0, 0]]), 0.7, opacity=0.9)
    grid = density_grid(joined(sphere(50_000), large), 48)
    assert grid.origin[0] + grid.voxel * grid.values.shape[0] < 1.4
    assert is_watertight(isosurface(grid, 0.1))


def test_level_makes_silhouettes_agree_with_composited_opacity():
    for opacity in (0.3, 0.95):
        grid = density_grid(sphere(opacity=opacity), 96)
        level = choose_level(grid)
        for axis in range(3):
            ours, theirs = grid.values.max(axis) > level, grid.alphas[axis] > 0.5
            assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97


def test_level_follows_the_opacity():
    faint, solid = (density_grid(sphere(opacity=opacity), 64) for opacity in (0.1, 0.9))
    assert choose_level(solid) > 3 * choose_level(faint)
    thin, thick = (mesh_report(isosurface(grid)).volume for grid in (faint, solid))
    assert thin == pytest.approx(thick, rel=0.1)


def test_enclosed_fills_cavities_and_small_holes_only():
    solid = np.zeros((40, 40, 40), bool)
    solid[5:35, 5:35, 5:35] = True
    solid[8:32, 8:32, 8:32] = False
    assert enclosed(solid).sum() == 24**3
    solid[5:8, 18:22, 18:22] = False
    assert not enclosed(solid).any()
    assert enclosed(solid, radius=3).sum() > 0.99 * 24**3
    solid[5:8, 8:32, 8:32] = False
    assert not enclosed(solid, radius=3).any()


def test_nothing_above_the_level_is_said():
    empty = DensityGrid(np.zeros((16, 16, 16), np.float32), np.zeros(3), 0.1, [np.zeros((16, 16))] * 3, 0.0, 0.1, 0.1)
    with pytest.raises(EmptyFieldError):
        isosurface(empty)
    with pytest.raises(EmptyFieldError):
        clean(Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)))


def test_smoothing_flattens_noise_and_keeps_the_volume():
    mesh = sphere_mesh(40)
    noise = np.random.default_rng(0).normal(scale=0.01, size=mesh.vertices.shape).astype(np.float32)
    rough = Mesh(mesh.vertices * (1 + noise[:, :1]), mesh.faces)
    smoothed = smooth(rough)
    inner = np.abs(mesh.vertices[:, 1]) < 0.9  # the poles of this mesh have faces of other shapes
    spread = [np.linalg.norm(m.vertices[inner], axis=1).std() for m in (rough, smoothed)]
    assert spread[1] < 0.5 * spread[0]
    assert mesh_report(smoothed).volume == pytest.approx(mesh_report(rough).volume, rel=0.01)


@pytest.mark.parametrize("faces", [4000, 1000, 200])
def test_simplified_meshes_have_the_faces_asked_for_and_stay_closed(faces):
    warnings = []
    mesh = simplify(surface(torus()), faces, warnings.append)
    assert 0.9 * faces <= len(mesh.faces) <= 1.03 * faces
    assert is_watertight(weld(mesh))
    assert genus(mesh) == 1
    assert not warnings


def test_simplifying_keeps_the_shape():
    dense = surface(sphere())
    few = mesh_report(simplify(dense, 1500))
    assert few.volume == pytest.approx(mesh_report(dense).volume, rel=0.01)


def test_simplifying_a_lattice_keeps_it_closed():
    """Collapses let neighbouring bars touch along edges; without repair four faces would meet there."""
    across, along = box((0.7, 0.02, 0.02), 0.02), box((0.02, 0.02, 0.5), 0.02)
    bars = [across.scaled(1, np.array([0, 0, 0.12 * k])) for k in range(-3, 4)]
    bars += [along.scaled(1, np.array([0.12 * k, 0, 0])) for k in range(-5, 6)]
    dense = surface(joined(*bars))
    assert is_watertight(weld(dense))
    for faces in (4000, 800, 200):
        assert is_watertight(weld(simplify(dense, faces)))


def test_a_mesh_with_fewer_faces_is_left_alone():
    mesh = sphere_mesh(8)
    assert simplify(mesh, 5000) is mesh


@pytest.mark.parametrize("faces", [0, -5, 10**8])
def test_face_counts_out_of_range_are_refused(faces):
    with pytest.raises(OptionError, match=str(faces)):
        simplify(sphere_mesh(8), faces)


def test_report_of_a_known_mesh():
    report = mesh_report(sphere_mesh(60, 0.5))
    assert report.watertight
    assert report.components == 1
    assert report.area == pytest.approx(np.pi, rel=0.01)
    assert report.volume == pytest.approx(np.pi / 6, rel=0.01)
    assert report.vertices - report.faces // 2 == 2


def test_report_counts_vertices_split_at_seams_once():
    mesh = sphere_mesh(10)
    split = Mesh(
        mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3)
    )
    assert mesh_report(split) == mesh_report(mesh)


def test_open_doubled_and_flipped_meshes_are_not_watertight():
    mesh = sphere_mesh(10)
    assert is_watertight(mesh)
    assert not is_watertight(Mesh(mesh.vertices, mesh.faces[1:]))
    assert not is_watertight(Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces])))
    flipped = mesh.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_watertight(Mesh(mesh.vertices, flipped))


def test_two_cubes_that_share_an_edge_are_pulled_apart():
    """Four faces meet at the shared edge; afterwards each edge has two, and nothing was lost."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    cube = np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))], np.int32)
    both = weld(Mesh(np.concatenate([corners, corners + np.float32([1, 1, 0])]), np.concatenate([cube, cube + 8])))
    assert len(both.vertices) == 14
    assert not is_watertight(both)
    apart = separate_sheets(both)
    assert is_watertight(weld(apart))
    assert abs(mesh_report(apart).volume) == pytest.approx(2, rel=0.05)


def test_flaps_without_volume_go():
    mesh = sphere_mesh(10)
    flap = np.array([[0, 5, 9], [9, 5, 0]], np.int32)
    cleaned = separate_sheets(Mesh(mesh.vertices, np.concatenate([mesh.faces, flap])))
    assert len(cleaned.faces) == len(mesh.faces)
    assert is_watertight(cleaned)


def test_parts_are_counted_over_edges():
    one, other = sphere_mesh(6), sphere_mesh(6)
    both = Mesh(
        np.concatenate([one.vertices, other.vertices + 5]), np.concatenate([one.faces, other.faces + len(one.vertices)])
    )
    assert len(np.unique(parts(both))) == 2
    assert mesh_report(both).components == 2

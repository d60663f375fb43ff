# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about surfaces made from Gaussians: volume, area, genus, parts, watertightness, face counts."""

import numpy as np
import pytest
from scipy import ndimage

from engine.errors import EmptyFieldError, OptionError
from engine.fields.gaussians import Gaussians
from engine.surface.cleanup import clean, is_watertight, parts, smooth, weld
from engine.surface.density_surface import density_surface
from engine.surface.field import SignedGrid
from engine.surface.isosurface import extract, marching_cubes
from engine.surface.mesh import Mesh
from engine.surface.outside import cavities, enclosed, grown
from engine.surface.repair import separate_sheets
from engine.surface.report import mesh_report
from engine.surface.silhouettes import frames_around, silhouette
from engine.surface.simplify import simplify
from tests.engine.shapes import box, joined, shell, sphere, sphere_mesh, sphere_points, torus


def surface(gaussians, resolution: int = 96) -> Mesh:
    return clean(extract(density_surface(gaussians, resolution)))


def genus(mesh: Mesh) -> int:
    """Of a closed mesh of one part: V - E + F = 2 - 2 g."""
    report = mesh_report(mesh)
    return (2 - report.vertices + report.faces // 2) // 2


def test_sphere_of_gaussians_has_the_spheres_volume_and_area():
    radius = 0.8
    report = mesh_report(surface(sphere(radius=radius), 128))
    assert report.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.005)
    assert report.area == pytest.approx(4 * np.pi * radius**2, rel=0.01)
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
    assert report.area == pytest.approx(true_area, rel=0.02)
    assert report.volume == pytest.approx(8 * half.prod(), rel=0.01)
    assert report.components == 1


def test_thin_torus_keeps_its_hole():
    mesh = surface(torus())
    assert mesh_report(mesh).components == 1
    assert genus(mesh) == 1
    assert mesh_report(mesh).volume == pytest.approx(2 * np.pi**2 * 0.7 * 0.12**2, rel=0.05)


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


def test_the_surface_runs_through_the_gaussians():
    """Not beside them: on a sphere within a fourteenth of a voxel on average, and nowhere off by half of one."""
    grid = density_surface(sphere(8000, 0.8), 96)
    off = np.linalg.norm(extract(grid).vertices, axis=1) - 0.8
    assert abs(off.mean()) < 0.07 * grid.voxel
    assert np.abs(off).max() < 0.5 * grid.voxel


def test_edges_of_a_box_end_with_its_gaussians():
    """The surface stands off the box by less than the spacing of its Gaussians, also at the corners."""
    half, spacing = np.array([0.7, 0.5, 0.3]), 0.025
    vertices = surface(box(half, spacing), 128).vertices
    assert np.abs(vertices).max(0) == pytest.approx(half, abs=0.6 * spacing)
    assert np.linalg.norm(np.abs(vertices) - half, axis=1).min() < spacing


def test_the_two_sides_of_a_thin_slab_keep_apart():
    grid = density_surface(box((0.7, 0.5, 0.03)), 96)
    report = mesh_report(clean(extract(grid)))
    assert report.watertight
    assert report.volume == pytest.approx(8 * 0.7 * 0.5 * 0.03, rel=0.15)


def test_thin_things_get_a_finer_grid():
    """A plate 1.7 voxels thick, of Gaussians closer than a voxel; a thick block of the same keeps its grid."""
    plate, block = (density_surface(box((0.7, 0.5, half), 0.016), 64) for half in (0.02, 0.2))
    assert max(block.values.shape) < 70
    assert 120 < max(plate.values.shape) < 140
    report = mesh_report(clean(extract(plate)))
    assert report.watertight
    assert report.volume == pytest.approx(8 * 0.7 * 0.5 * 0.02, rel=0.12)


def test_a_sheet_has_the_size_of_its_gaussians_and_the_least_thickness():
    spacing = 0.025
    grid = density_surface(box((0.6, 0.6, 0.3), spacing, sides=range(2, 3)), 96)
    mesh = clean(extract(grid))
    size = np.ptp(mesh.vertices, axis=0)
    assert mesh_report(mesh).watertight
    assert size.min() < 3 * grid.voxel
    assert np.sort(size)[1:] == pytest.approx([1.2, 1.2], abs=3 * spacing)


@pytest.mark.slow
def test_round_gaussians_end_where_their_silhouettes_do():
    """A ball of round Gaussians is seen farther out than their centres; so its surface is."""
    points, _, spacing = sphere_points(6000, 0.8)
    for size in (0.4, 0.6):
        scales = np.full((len(points), 3), size * spacing)
        quats = np.tile([1.0, 0, 0, 0], (len(points), 1))
        solid = Gaussians(points, quats, scales, np.full(len(points), 0.9), np.ones((len(points), 3)))
        grid = density_surface(solid, 96)
        frame = frames_around(grid.origin, grid.voxel, grid.values.shape)[0]
        seen = np.sqrt((silhouette(solid, frame) > 0.5).sum() / np.pi) / frame.scale
        assert seen > 0.8 + size * spacing
        assert np.linalg.norm(extract(grid).vertices, axis=1).mean() == pytest.approx(seen, abs=0.6 * grid.voxel)


def test_uneven_opacity_makes_no_difference_to_where_the_surface_is():
    for opacity in (0.1, 0.9):
        report = mesh_report(surface(sphere(opacity=opacity)))
        assert report.volume == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.01)


def test_uneven_density_does_not_swell_the_dense_half():
    """Ten times the Gaussians on one half."""
    dense, sparse = sphere_points(40_000, 0.8)[0], sphere_points(4_000, 0.8)[0]
    points = np.concatenate([dense[dense[:, 0] > 0], sparse[sparse[:, 0] <= 0]])
    mesh = surface(shell(points, points / 0.8, 0.02))
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert radius[mesh.vertices[:, 0] > 0.1].mean() == pytest.approx(0.8, abs=0.003)
    assert radius[mesh.vertices[:, 0] < -0.1].mean() == pytest.approx(0.8, abs=0.003)


def test_faint_floaters_leave_no_trace():
    rng = np.random.default_rng(0)
    floaters = shell(rng.uniform(-1, 1, (400, 3)), rng.normal(size=(400, 3)), 0.05, opacity=0.1)
    clear, hazy = (mesh_report(surface(g)) for g in (sphere(), joined(sphere(), floaters)))
    assert hazy.components == 1
    assert hazy.area == pytest.approx(clear.area, rel=0.01)


def test_a_surface_is_closed_where_an_outlier_reaches_out_of_the_grid():
    large = shell(np.array([[1.4, 0, 0]]), np.array([[0, 1.0, 0]]), 0.7, opacity=0.9)
    grid = density_surface(joined(sphere(50_000), large), 48)
    assert grid.origin[0] + grid.voxel * grid.values.shape[0] < 1.4
    assert is_watertight(extract(grid))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_handful_of_gaussians_has_a_surface(count):
    points = np.random.default_rng(0).normal(size=(count, 3)) * 0.2
    assert mesh_report(surface(shell(points, np.ones((count, 3)), 0.1), 32)).watertight


def test_gaussians_all_at_one_place_have_a_surface():
    mesh = surface(shell(np.zeros((50, 3)), np.tile([0, 1.0, 0], (50, 1)), 0.1), 32)
    assert mesh_report(mesh).watertight
    assert np.abs(mesh.vertices).max() < 0.5


@pytest.mark.parametrize("resolution", [0, 8, 5000])
def test_a_resolution_out_of_range_is_refused(resolution):
    with pytest.raises(OptionError, match=f"{resolution}.*16 to 512"):
        density_surface(sphere(500), resolution)


def test_nothing_to_see_is_said():
    nothing = Gaussians(np.zeros((0, 3)), np.zeros((0, 4)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)))
    for empty in (nothing, sphere(500, opacity=0.0)):
        with pytest.raises(EmptyFieldError):
            density_surface(empty, 32)


def test_marching_cubes_follows_a_sphere():
    side = np.linspace(-1, 1, 64)
    radius = np.sqrt(side[:, None, None] ** 2 + side[None, :, None] ** 2 + side[None, None, :] ** 2)
    mesh = extract(SignedGrid((radius - 0.8).astype(np.float32), np.full(3, -1.0), 2 / 63))
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.8).max() < 0.001
    assert mesh_report(mesh).volume == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.005)


def test_marching_cubes_closes_every_case():
    """Noise has all 256 cases in all neighbourhoods: still every edge has two faces, and no two vertices coincide."""
    noise = np.random.default_rng(0).normal(size=(30, 31, 32)).astype(np.float32)
    vertices, faces = marching_cubes(np.pad(noise, 1, constant_values=1.0))
    assert is_watertight(Mesh(vertices, faces))
    assert len(np.unique(vertices, axis=0)) == len(vertices)


def test_cavities_are_what_labelling_says():
    rng = np.random.default_rng(0)
    for share in (0.3, 0.6, 0.69):
        solid = np.pad(rng.random((30, 23, 41)) < share, 1)
        regions = np.empty(solid.shape, np.int32)
        ndimage.label(~solid, output=regions)
        assert np.array_equal(cavities(solid), ~solid & (regions != regions[0, 0, 0]))


def test_growth_goes_round_what_is_in_the_way():
    free = np.zeros((9, 9, 9), bool)
    free[1:8, 1:8, 1:8] = True
    free[4, 1:7, 1:8] = False
    seed = np.zeros_like(free)
    seed[2, 2, 4] = True
    for steps in (1, 3, 9):
        expected = ndimage.binary_dilation(seed, iterations=steps, mask=free)
        assert np.array_equal(grown(seed, free, steps), expected)


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


def test_a_field_without_an_inside_is_said():
    with pytest.raises(EmptyFieldError):
        extract(SignedGrid(np.ones((16, 16, 16), np.float32), np.zeros(3), 0.1))
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
    both = weld(
        Mesh(np.concatenate([corners, corners + np.array([1, 1, 0], np.float32)]), np.concatenate([cube, cube + 8]))
    )
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

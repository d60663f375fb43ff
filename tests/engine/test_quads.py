# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about quads: closed, on the surface, as many as wanted, mostly square, whatever makes them."""

import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from engine.blender import python_command
from engine.errors import Cancelled, OptionError
from engine.surface import quads as quads_module
from engine.surface.closest import Surface
from engine.surface.mesh import Mesh
from engine.surface.quads import to_quads
from engine.surface.report import mesh_report
from tests.engine.shapes import sphere_mesh

CHILD = python_command(Path(quads_module.__file__).with_name("quads_child.py"))


def corners_of(mesh: Mesh) -> np.ndarray:
    """Corners of the quads, [Q, 4], after a check that the faces come in pairs."""
    one, other = mesh.faces[::2], mesh.faces[1::2]
    assert mesh.quads
    assert np.array_equal(one[:, [0, 2]], other[:, [0, 1]])
    return np.concatenate([one, other[:, 2:]], axis=1)


def skews(mesh: Mesh) -> np.ndarray:
    """How far the angles of the quads are from right ones, degrees [Q, 4]."""
    places = mesh.vertices[corners_of(mesh)].astype(np.float64)
    edges = np.roll(places, -1, axis=1) - places
    edges /= np.linalg.norm(edges, axis=2, keepdims=True)
    return np.abs(np.degrees(np.arcsin(np.einsum("qki,qki->qk", edges, np.roll(edges, 1, axis=1)))))


def ring(turns: int = 96) -> Mesh:
    torus = trimesh.creation.torus(0.7, 0.25, major_sections=turns, minor_sections=turns // 2)
    return Mesh(torus.vertices.astype(np.float32), torus.faces.astype(np.int32))


@pytest.fixture
def only_pairs(monkeypatch):
    monkeypatch.setattr(quads_module, "_methods", list)


def check_ring(mesh: Mesh, count: int) -> None:
    report = mesh_report(mesh)
    assert abs(report.faces - count) <= 0.02 * count
    assert report.triangles == 2 * report.faces
    assert report.watertight
    assert report.manifold
    assert (report.genus, report.components) == (1, 1)
    assert report.volume == pytest.approx(2 * np.pi**2 * 0.7 * 0.25**2, rel=0.02)
    reach = np.hypot(np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]) - 0.7, mesh.vertices[:, 2])
    assert np.abs(reach - 0.25).max() < 0.004
    middles = mesh.vertices[corners_of(mesh)].mean(1)
    assert np.abs(np.hypot(np.hypot(middles[:, 0], middles[:, 1]) - 0.7, middles[:, 2]) - 0.25).max() < 0.02


@pytest.mark.slow
def test_quads_follow_the_surface():
    warnings: list[str] = []
    mesh = to_quads(ring(), 2000, warn=warnings.append)
    assert not warnings
    check_ring(mesh, 2000)
    assert skews(mesh).mean() < 8
    valences = np.bincount(corners_of(mesh).ravel())
    assert (valences == 4).mean() > 0.9


@pytest.mark.slow
def test_pairs_of_triangles_make_quads_too(only_pairs):
    warnings: list[str] = []
    mesh = to_quads(ring(), 2000, warn=warnings.append)
    assert len(warnings) == 1
    assert "pairs of triangles" in warnings[0]
    assert "GAUSSMITH_BLENDER" in warnings[0]
    check_ring(mesh, 2000)


@pytest.mark.slow
@pytest.mark.blender
@pytest.mark.usefixtures("scripts_of_bpy")
def test_quadriflow_in_blender_makes_quads(monkeypatch):
    monkeypatch.setattr(quads_module, "_methods", lambda: [("quadriflow", CHILD)])
    warnings: list[str] = []
    mesh = to_quads(ring(48), 500, warn=warnings.append)
    assert not [text for text in warnings if "pairs" in text]  # the count may be off, and then it is said
    report = mesh_report(mesh)
    assert report.watertight
    assert report.faces == pytest.approx(500, rel=0.2)
    assert skews(mesh).mean() < 12


def test_a_time_limit_leads_to_pairs_and_says_so():
    warnings: list[str] = []
    start = time.monotonic()
    mesh = to_quads(sphere_mesh(40), 500, limit_s=0, warn=warnings.append)
    assert time.monotonic() - start < 10
    assert len(warnings) == 1
    assert mesh_report(mesh).watertight


def test_cancelling_stops_the_process():
    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        to_quads(sphere_mesh(20), 500, check=cancel)


def test_size_and_place_do_not_matter(only_pairs):
    mesh = sphere_mesh(30)
    away = np.array([5, -3, 2], np.float32)
    here, there = to_quads(mesh, 400), to_quads(Mesh(mesh.vertices * 8 + away, mesh.faces), 400)
    assert len(here.faces) == len(there.faces)
    assert np.linalg.norm((there.vertices - away) / 8, axis=1) == pytest.approx(1, abs=0.01)


def test_an_open_surface_stays_open(only_pairs):
    mesh = sphere_mesh(30)
    half = Mesh(mesh.vertices, mesh.faces[mesh.vertices[mesh.faces].mean(1)[:, 1] > 0])
    report = mesh_report(to_quads(half, 400))
    assert report.faces == pytest.approx(400, rel=0.02)
    assert report.manifold
    assert report.area == pytest.approx(2 * np.pi, rel=0.03)


@pytest.mark.slow
def test_thin_sheets_keep_their_two_sides(only_pairs):
    slab = trimesh.creation.box((1.6, 1.6, 0.01)).subdivide().subdivide().subdivide().subdivide()
    mesh = to_quads(Mesh(slab.vertices.astype(np.float32), slab.faces.astype(np.int32)), 600)
    report = mesh_report(mesh)
    assert report.watertight
    assert report.volume == pytest.approx(1.6 * 1.6 * 0.01, rel=0.05)


@pytest.mark.parametrize("count", [0, 10**8])
def test_counts_out_of_range_are_refused(count):
    with pytest.raises(OptionError, match=str(count)):
        to_quads(sphere_mesh(10), count)


def test_results_that_are_not_sound_are_not_taken():
    """Quads that miss half of the surface, lie beside it, or are cut open."""
    mesh = to_quads_by_pairs(sphere_mesh(40), 600)
    quads = corners_of(mesh).astype(np.int64)
    base = sphere_mesh(40)
    task = quads_module._Task(base, 600, float(np.sqrt(4 * np.pi / 600)), time.monotonic() + 9, None)
    surface = Surface(base, 0.5 * task.side)
    assert quads_module._sound(task, surface, mesh.vertices, quads) is not None
    assert quads_module._sound(task, surface, mesh.vertices, quads[:-1]) is not None  # a hole of four edges is closed
    assert quads_module._sound(task, surface, mesh.vertices, quads[:300]) is None
    assert quads_module._sound(task, surface, mesh.vertices, np.concatenate([quads, quads])) is None
    assert quads_module._sound(task, surface, mesh.vertices * np.float32(np.nan), quads) is None
    twice = Mesh(
        np.concatenate([base.vertices, base.vertices + 3]),
        np.concatenate([base.faces, base.faces + len(base.vertices)]),
    )
    both = quads_module._Task(twice, 600, task.side, task.deadline, None)
    assert quads_module._sound(both, Surface(twice, 0.5 * task.side), mesh.vertices, quads) is None


def to_quads_by_pairs(mesh: Mesh, count: int) -> Mesh:
    return to_quads(mesh, count, limit_s=0)


def test_the_nearest_place_is_on_the_nearest_side():
    mesh = sphere_mesh(30)
    surface = Surface(mesh, 0.03)
    points = np.random.default_rng(0).normal(size=(100, 3))
    points *= (np.random.default_rng(1).uniform(0.8, 1.3, 100) / np.linalg.norm(points, axis=1))[:, None]
    places, faces = surface.closest(points)
    exact = trimesh.proximity.closest_point_naive(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), points)
    assert np.linalg.norm(places - points, axis=1) == pytest.approx(exact[1], abs=1e-4)
    assert faces.max() < len(mesh.faces)

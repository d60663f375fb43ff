# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about reducing faces: the count asked for, the same shape, still closed, nothing turned over or lost."""

import numpy as np
import pytest
from skimage.measure import marching_cubes

from engine.surface.cleanup import is_watertight, weld
from engine.surface.closest import Surface
from engine.surface.halfedges import is_manifold
from engine.surface.mesh import Mesh
from engine.surface.report import mesh_report
from engine.surface.simplify import simplify
from tests.engine.shapes import sphere_mesh


def wrinkled(rings: int = 90) -> Mesh:
    """A sphere with waves all over."""
    mesh = sphere_mesh(rings)
    waves = 1 + 0.03 * np.sin(9 * mesh.vertices).prod(1, keepdims=True)
    return Mesh((mesh.vertices * waves).astype(np.float32), mesh.faces)


def stalk() -> Mesh:
    """A ball, and below it a rod a fifteenth as wide."""
    x, y, z = np.mgrid[-0.6:0.6:72j, -0.6:0.6:72j, -1.2:0.6:108j]
    ball = np.sqrt(x**2 + y**2 + z**2) - 0.5
    rod = np.maximum(np.sqrt(x**2 + y**2) - 0.033, np.abs(z + 0.55) - 0.6)
    vertices, faces, _, _ = marching_cubes(np.minimum(ball, rod), 0.0, gradient_direction="ascent")
    return Mesh((vertices / 60).astype(np.float32), faces.astype(np.int32))


def crumbs(count: int = 1000) -> Mesh:
    """A ball, and far from it tetrahedra: they can be taken away, but not reduced."""
    ball, rng = sphere_mesh(24, 0.3), np.random.default_rng(0)
    one = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.01
    vertices = np.concatenate(
        [ball.vertices + np.array([2, 0, 0])] + [one + rng.normal(0, 0.6, 3) for _ in range(count)]
    )
    corners = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    faces = [ball.faces] + [corners + len(ball.vertices) + 4 * i for i in range(count)]
    return Mesh(vertices.astype(np.float32), np.concatenate(faces).astype(np.int32))


@pytest.mark.parametrize("faces", [12_000, 5_000, 1_000, 200])
def test_the_count_asked_for_is_had(faces):
    warnings: list[str] = []
    few = simplify(wrinkled(), faces, warnings.append)
    assert not warnings
    assert abs(len(few.faces) - faces) <= 0.02 * faces
    assert is_watertight(weld(few))
    assert is_manifold(weld(few))
    assert mesh_report(few).genus == 0


def test_more_faces_than_there_are_is_said():
    warnings: list[str] = []
    mesh = sphere_mesh(20)
    assert simplify(mesh, 50_000, warnings.append) is mesh
    assert len(warnings) == 1
    assert "1,520 faces" in warnings[0]
    assert "50,000" in warnings[0]


def test_the_shape_stays():
    dense = wrinkled()
    few = simplify(dense, 5_000)
    places = few.vertices[few.faces].mean(1)
    away = np.linalg.norm(Surface(dense, 0.02).closest(places)[0] - places, axis=1)
    assert np.sqrt((away**2).mean()) < 0.001
    assert mesh_report(few).volume == pytest.approx(mesh_report(dense).volume, rel=2e-3)


@pytest.mark.slow
def test_no_face_is_turned_over():
    dense = wrinkled()
    few = simplify(dense, 3_000)
    surface = Surface(dense, 0.02)
    a, b, c = np.moveaxis(few.vertices[few.faces].astype(np.float64), 1, 0)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    beneath = surface.normals[surface.closest((a + b + c) / 3)[1]]
    assert np.einsum("fi,fi->f", normals, beneath).min() > 0.3


def test_thin_parts_stay():
    few = simplify(stalk(), 500)
    assert len(few.faces) <= 510
    report = mesh_report(few)
    assert (report.components, report.genus, report.watertight) == (1, 0, True)
    (low, high), (lowest, highest) = few.bounds(), stalk().bounds()
    assert low == pytest.approx(lowest, abs=0.03)
    assert high == pytest.approx(highest, abs=0.03)


def test_no_part_is_given_up_for_the_count():
    warnings: list[str] = []
    mesh = simplify(crumbs(), 1_000, warnings.append)
    assert mesh_report(mesh).components == 1001
    assert len(warnings) == 1
    assert "could not be reduced below" in warnings[0]


def test_size_and_place_do_not_matter():
    mesh = wrinkled(60)
    counts = [
        len(simplify(Mesh(mesh.vertices * np.float32(scale) + np.float32(scale), mesh.faces), 2_000).faces)
        for scale in (1e-4, 1, 1e4)
    ]
    assert np.ptp(counts) <= 40

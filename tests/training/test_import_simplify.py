# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about simplifying what artists make: boards keep their area, sheets their border, closed things stay closed."""

import numpy as np
import pytest
import trimesh
from trimesh.util import concatenate

from engine.errors import InputError
from engine.surface.cleanup import is_watertight
from engine.surface.mesh import Mesh
from engine.training.data import import_bake
from engine.training.data.import_assets import face_areas
from engine.training.data.import_simplify import simplified


def board(half: tuple[float, float, float], at: tuple[float, float, float], n: int = 6) -> trimesh.Trimesh:
    """A thin closed box whose sides have many faces."""
    mesh = trimesh.creation.box([2 * h for h in half])
    for _ in range(n // 2):
        mesh = mesh.subdivide()
    mesh.apply_translation(at)
    return mesh


def joined(meshes: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    both = concatenate(meshes)
    assert isinstance(both, trimesh.Trimesh)
    return both


@pytest.mark.slow  # its kernel takes seconds to compile
def test_a_shelf_of_thin_boards_keeps_every_board():
    boards = [board((0.5, 0.006, 0.2), (0, 0.2 * k, 0)) for k in range(5)]
    shelf = joined([*boards, board((0.006, 0.5, 0.2), (0.5, 0.4, 0))])
    before = face_areas(shelf.vertices, shelf.faces).sum()
    vertices, faces = simplified(shelf.vertices, shelf.faces, 200)
    assert len(shelf.faces) > 4000
    assert 100 < len(faces) <= 200
    assert face_areas(vertices, faces).sum() == pytest.approx(before, rel=1e-3)
    assert trimesh.Trimesh(vertices, faces, process=False).volume == pytest.approx(shelf.volume, rel=1e-3)


def test_a_sphere_stays_closed_and_near_its_volume():
    sphere = trimesh.creation.icosphere(4)
    vertices, faces = simplified(sphere.vertices, sphere.faces, 500)
    assert len(faces) == 500
    assert is_watertight(Mesh(vertices.astype(np.float32), faces.astype(np.int32)))
    assert trimesh.Trimesh(vertices, faces, process=False).volume == pytest.approx(4 / 3 * np.pi, rel=0.015)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1, atol=0.02)


def test_an_open_sheet_keeps_its_border_and_its_hole():
    n = 40
    x, z = np.meshgrid(np.linspace(-1, 1, n + 1), np.linspace(-1, 1, n + 1), indexing="ij")
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    vertices = np.stack([x.ravel(), 0 * x.ravel(), z.ravel()], 1)
    middle = vertices[faces].mean(1)
    faces = faces[(np.abs(middle[:, [0, 2]]) > 0.5).any(1)]  # a square hole of side 1
    fewer, left = simplified(vertices, faces, 60)
    assert len(left) <= 60
    assert face_areas(fewer, left).sum() == pytest.approx(3.0, rel=1e-3)
    normals = np.cross(fewer[left[:, 1]] - fewer[left[:, 0]], fewer[left[:, 2]] - fewer[left[:, 0]])
    assert (normals[:, 1] < 0).all() or (normals[:, 1] > 0).all()  # no face has turned over


def test_sheets_that_touch_along_a_line_do_not_grow_together():
    one = board((0.5, 0.01, 0.5), (0, 0, 0))
    two = board((0.5, 0.01, 0.5), (0, 0.021, 0))
    both = joined([one, two])
    vertices, faces = simplified(both.vertices, both.faces, 40)
    assert len(trimesh.Trimesh(vertices, faces, process=False).split(only_watertight=True)) == 2


def test_of_too_many_loose_pieces_the_smallest_go_and_of_like_ones_none_can():
    big = trimesh.creation.icosphere(2)
    crumbs = [trimesh.creation.box([0.01, 0.01, 0.01]) for _ in range(40)]
    for k, crumb in enumerate(crumbs):
        crumb.apply_translation([2 + 0.05 * k, 0, 0])
    tree = joined([big, *crumbs])
    mesh = Mesh(tree.vertices.astype(np.float32), tree.faces.astype(np.int32))
    kept = import_bake._without_the_smallest(mesh, 400)
    assert 320 <= len(kept.faces) <= 400
    alike = joined(crumbs)
    with pytest.raises(InputError, match="in 40 pieces"):
        import_bake._without_the_smallest(Mesh(alike.vertices.astype(np.float32), alike.faces.astype(np.int32)), 100)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Gradients of pictures of a mesh against differences of the pictures themselves, in float64."""

import numpy as np
import pytest

from engine.fields.cameras import Cameras, intrinsics, look_at
from engine.render.mesh_cpu import render_mesh
from engine.render.mesh_gradients import Surface, gradients, neighbouring_faces, render
from engine.surface.mesh import Mesh
from tests.engine.shapes import sphere_mesh

WIDTH, HEIGHT = 56, 48
VIEWMAT = look_at((1.2, 1.7, 3.1), (0.02, 0.01, 0)).astype(np.float64)
K = intrinsics(42, WIDTH, HEIGHT).astype(np.float64)


def surface(vertices, faces) -> Surface:
    faces = np.ascontiguousarray(faces, np.int32)
    uvs = (0.5 + 0.4 * vertices[:, :2] / np.abs(vertices[:, :2]).max()).astype(np.float32)
    return Surface(faces, faces, uvs, neighbouring_faces(faces))


def cube() -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64) * 0.7
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def ground() -> tuple[np.ndarray, np.ndarray]:
    """A wavy sheet that fills the picture: no silhouettes."""
    ticks = np.linspace(-8, 8, 6)
    x, y = (grid.ravel() for grid in np.meshgrid(ticks, ticks, indexing="ij"))
    k = np.arange(30)[np.arange(30) % 6 < 5]
    faces = np.concatenate([np.stack([k, k + 6, k + 1], 1), np.stack([k + 1, k + 6, k + 7], 1)])
    return np.stack([x, y, 0.3 * np.sin(x) + 0.2 * y], 1), faces


def sphere() -> tuple[np.ndarray, np.ndarray]:
    mesh = sphere_mesh(10)
    return mesh.vertices.astype(np.float64), mesh.faces


def texture(size: int = 24) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / (size - 1)
    return np.stack([0.5 + 0.4 * np.sin(5 * x + 3 * y), 0.5 + 0.3 * np.cos(4 * y), 0.3 + 0.5 * x * y], -1)


Y, X = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")
WEIGHTS = {  # any smooth functions of the picture
    "colors": np.stack([X, Y, np.ones_like(X)], -1),
    "alphas": np.cos(3 * X) * np.sin(1 + 2 * Y),
    "depths": X * Y + 0.3,
}


def value(vertices, shape, picture_of, channel) -> float:
    picture = render(vertices, shape, picture_of, VIEWMAT, K, WIDTH, HEIGHT)
    return float((getattr(picture, channel) * WEIGHTS[channel]).sum())


def gradient(vertices, shape, picture_of, channel) -> tuple[np.ndarray, np.ndarray]:
    picture = render(vertices, shape, picture_of, VIEWMAT, K, WIDTH, HEIGHT)
    weights = {name: w * (name == channel) for name, w in WEIGHTS.items()}
    by_texture, seen = np.zeros_like(picture_of), np.zeros(picture_of.shape[:2])
    by_vertices = gradients(
        picture, shape, picture_of, VIEWMAT, K, weights["colors"], weights["alphas"], weights["depths"], by_texture,
        seen, steepest=0.0,
    )  # fmt: skip
    return by_vertices, by_texture


@pytest.mark.parametrize(
    ("make", "channel"),
    [
        (ground, "colors"),
        (ground, "depths"),
        (sphere, "colors"),
        (sphere, "alphas"),
        (cube, "colors"),
        (cube, "alphas"),
    ],
)
def test_gradients_by_vertices_are_those_of_finite_differences(make, channel):
    vertices, faces = make()
    shape, painted, random = surface(vertices, faces), texture(), np.random.default_rng(1)
    by_vertices = gradient(vertices, shape, painted, channel)[0]
    for _ in range(6):
        direction = random.normal(size=vertices.shape)
        step = 1e-6 * direction
        difference = value(vertices + step, shape, painted, channel) - value(vertices - step, shape, painted, channel)
        assert (by_vertices * direction).sum() == pytest.approx(difference / 2e-6, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("make", [ground, sphere, cube])
def test_gradients_by_the_texture_are_exact(make):
    vertices, faces = make()
    shape, painted = surface(vertices, faces), texture()
    by_texture = gradient(vertices, shape, painted, "colors")[1]
    change = np.random.default_rng(2).normal(size=painted.shape)
    there, here = (value(vertices, shape, painted + k * change, "colors") for k in (1, 0))
    assert (by_texture * change).sum() == pytest.approx(there - here, rel=1e-5)


def test_the_outline_of_a_growing_sphere_moves_through_whole_pixels_evenly():
    """The antialiased area follows the radius several times more closely than the count of covered pixels."""
    mesh = sphere_mesh(96)
    shape = surface(mesh.vertices.astype(np.float64), mesh.faces)
    radii = np.linspace(0.7, 0.8, 41)
    smooth, plain = [], []
    for radius in radii:
        picture = render(mesh.vertices * np.float64(radius), shape, texture(), VIEWMAT, K, WIDTH, HEIGHT)
        smooth.append(picture.alphas.sum())
        plain.append((picture.depths > 0).sum())
    errors = [np.std(areas - np.polyval(np.polyfit(radii, areas, 2), radii)) for areas in (smooth, plain)]
    assert errors[0] < 0.003 * np.mean(plain)
    assert errors[1] > 2 * errors[0]


def test_pictures_are_those_of_the_other_renderer_inside_the_outline():
    mesh = sphere_mesh(24)
    painted = np.rint(255 * texture()).astype(np.uint8)
    shape = surface(mesh.vertices, mesh.faces)
    known = Mesh(mesh.vertices, mesh.faces, uvs=shape.uvs, texture=painted)
    rgba, depths = render_mesh(known, Cameras(VIEWMAT[None], K[None], WIDTH, HEIGHT), supersample=1)
    picture = render(mesh.vertices, shape, painted / np.float32(255), VIEWMAT, K, WIDTH, HEIGHT)
    inside = (picture.crossings == 0).all(-1) & (rgba[0, ..., 3] == 1) & (picture.alphas == 1)
    assert inside.sum() > 500
    assert np.abs(picture.colors - rgba[0, ..., :3])[inside].max() < 1e-3
    assert np.abs(picture.depths - depths[0])[inside].max() < 1e-5


def test_seams_are_no_silhouettes():
    """Uvs may be cut anywhere: neighbourhood is that of the positions."""
    vertices, faces = cube()
    assert (neighbouring_faces(faces) >= 0).all()
    cut = np.arange(3 * len(faces)).reshape(-1, 3)
    assert (neighbouring_faces(cut) < 0).all()
    uvs = (0.5 + 0.4 * vertices[faces].reshape(-1, 3)[:, :2]).astype(np.float32)
    shape = Surface(
        np.ascontiguousarray(faces, np.int32), np.ascontiguousarray(cut, np.int32), uvs, neighbouring_faces(faces)
    )
    picture = render(vertices, shape, texture(), VIEWMAT, K, WIDTH, HEIGHT)
    rows, columns = np.nonzero((picture.edges >= 0).any(-1))
    covered = np.pad(picture.face_ids >= 0, 1)
    whole = covered[1:-1, 1:-1] & covered[1:-1, 2:] & covered[2:, 1:-1]
    assert len(rows)
    assert not whole[rows, columns].any()

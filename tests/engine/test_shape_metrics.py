# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark `mesh` measures, on shapes whose measures are known."""

import importlib
import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from plyfile import PlyData, PlyElement

from engine.surface.mesh import Mesh
from engine.texture.project import directions

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
metrics = importlib.import_module("shape_metrics")
surface_distance = importlib.import_module("surface_distance")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    """Fewer points and smaller pictures: facts stay facts."""
    monkeypatch.setattr(metrics, "SAMPLES", 5_000)
    monkeypatch.setattr(metrics, "EYES", 24)
    monkeypatch.setattr(metrics, "LEAST_EYES", 1)
    monkeypatch.setattr(metrics, "EYE_SIZE", 128)
    monkeypatch.setattr(metrics, "SIZE", 128)


def sphere(radius: float, subdivisions: int = 4) -> Mesh:
    body = trimesh.creation.icosphere(subdivisions, radius)
    return Mesh(body.vertices.astype(np.float32), body.faces.astype(np.int32))


def box(half: np.ndarray, cuts: int) -> Mesh:
    body = trimesh.creation.box(2 * half)
    for _ in range(cuts):
        body = body.subdivide()
    return Mesh(body.vertices.astype(np.float32), body.faces.astype(np.int32))


def joined(a: Mesh, b: Mesh) -> Mesh:
    return Mesh(np.concatenate([a.vertices, b.vertices]), np.concatenate([a.faces, b.faces + len(a.vertices)]))


def truth_of(mesh: Mesh, colors: np.ndarray | None = None):
    colors = np.full(mesh.vertices.shape, 0.5) if colors is None else colors
    return metrics.Truth("shape", mesh.vertices, mesh.faces, colors)


@pytest.mark.parametrize("cuts", [0, 4])
def test_the_distance_to_a_box_is_exact_inside_outside_and_far_away(cuts):
    half = np.array([0.5, 0.3, 0.1])
    points = (
        np.random.default_rng(0).uniform(-1, 1, (5000, 3))
        * np.random.default_rng(1).choice([0.3, 1, 20], 5000)[:, None]
    )
    beyond = np.abs(points) - half
    known = np.where((beyond < 0).all(1), -beyond.max(1), np.linalg.norm(np.maximum(beyond, 0), axis=1))
    mesh = box(half, cuts)
    distances, faces = surface_distance.nearest(surface_distance.face_grid(mesh.vertices, mesh.faces), points)
    assert distances == pytest.approx(known, abs=1e-6)
    corners = mesh.vertices[mesh.faces[faces]]
    one_face = trimesh.triangles.closest_point(corners, points)  # the face named is the one at this distance
    assert np.linalg.norm(one_face - points, axis=1) == pytest.approx(known, abs=1e-6)


def test_a_mesh_is_itself():
    mesh = sphere(0.5)
    scores = metrics.score(mesh, truth_of(mesh))
    assert scores["chamfer"] == pytest.approx(0, abs=1e-4)
    assert scores["f_0.5"] == scores["f_1"] == scores["f_1_whole"] == 1
    assert scores["normal_deg"] < 0.1
    assert scores["area_ratio"] == pytest.approx(1)
    assert scores["watertight"]
    assert (scores["components"], scores["genus"], scores["faces"]) == (1, 0, len(mesh.faces))
    assert scores["psnr"] is None


def test_no_mesh_at_all_has_found_nothing():
    mesh = sphere(0.5, 2)
    uvs, white = np.zeros((len(mesh.vertices), 2), np.float32), np.full((2, 2, 3), 255, np.uint8)
    truth, scores = truth_of(mesh), metrics.score(None, truth_of(mesh))
    assert scores["f_0.5"] == scores["recall_1_whole"] == scores["area_ratio"] == scores["components"] == 0
    assert scores.keys() == metrics.score(mesh, truth).keys()
    assert scores["psnr"] == pytest.approx(metrics.score(replace(mesh, uvs=uvs, texture=white), truth)["psnr"])


@pytest.mark.parametrize("percent", [0.4, 0.6, 0.9, 1.1, -0.9])
def test_a_sphere_of_another_radius_is_off_by_the_difference(percent):
    scores = metrics.score(sphere(0.5 + percent / 100, 5), truth_of(sphere(0.5, 5)))
    assert scores["chamfer"] == pytest.approx(2 * abs(percent), abs=0.05)
    assert scores["offset"] == pytest.approx(percent, abs=0.05)
    assert scores["f_0.5"] == (1 if abs(percent) < 0.5 else 0)
    assert scores["f_1"] == (1 if abs(percent) < 1 else 0)
    assert scores["area_ratio"] == pytest.approx((1 + percent / 50) ** 2, rel=1e-4)


def test_size_does_not_matter():
    small, large = (metrics.score(sphere(0.505 * s), truth_of(sphere(0.5 * s))) for s in (0.1, 30))
    assert small["chamfer"] == pytest.approx(large["chamfer"], rel=1e-3)


def test_half_of_a_surface_is_right_but_only_half_of_it():
    whole = sphere(0.5)
    lower = whole.vertices[whole.faces].mean(1)[:, 1] < 0
    scores = metrics.score(Mesh(whole.vertices, whole.faces[lower]), truth_of(whole))
    assert scores["precision_0.5"] == 1
    assert scores["recall_0.5"] == pytest.approx(0.5, abs=0.02)
    assert scores["f_0.5"] == pytest.approx(2 / 3, abs=0.02)
    assert not scores["watertight"]


def test_what_cannot_be_seen_is_not_asked_for():
    outer, inner = sphere(0.5), sphere(0.3)
    truth = truth_of(joined(outer, inner))
    assert truth.visible.mean() == pytest.approx(0.25 / 0.34, abs=0.005)
    scores = metrics.score(outer, truth)
    assert scores["recall_1"] == 1
    assert scores["recall_1_whole"] == pytest.approx(0.25 / 0.34, abs=0.01)
    assert scores["area_ratio"] == pytest.approx(0.25 / 0.34, abs=0.01)
    assert scores["area_visible"] == pytest.approx(1, abs=0.01)


def test_a_double_wall_doubles_the_area():
    scores = metrics.score(joined(sphere(0.501), sphere(0.499)), truth_of(sphere(0.5)))
    assert scores["f_0.5"] == 1
    assert scores["area_ratio"] == pytest.approx(2, rel=1e-3)
    assert scores["components"] == 2


def test_normals_count_without_their_sign():
    mesh = sphere(0.5)
    assert metrics.score(Mesh(mesh.vertices, mesh.faces[:, ::-1].copy()), truth_of(mesh))["normal_deg"] < 0.1
    flat = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], np.float32)
    quad = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    turned = flat @ np.array([[1, 0, 0], [0, np.cos(0.1), np.sin(0.1)], [0, -np.sin(0.1), np.cos(0.1)]], np.float32)
    assert metrics.score(Mesh(turned, quad), truth_of(Mesh(flat, quad)))["normal_deg"] == pytest.approx(
        np.degrees(0.1), abs=0.01
    )


def painted(mesh: Mesh, texture: np.ndarray) -> Mesh:
    """With a texture laid on along z: u runs with x, v downwards."""
    uvs = np.stack([mesh.vertices[:, 0] + 0.5, 0.5 - mesh.vertices[:, 1]], -1)
    return replace(mesh, uvs=uvs.astype(np.float32), texture=np.rint(255 * texture).astype(np.uint8))


def test_pictures_of_the_same_colours_are_the_same():
    mesh = sphere(0.5)
    colors = np.stack([mesh.vertices[:, 0] + 0.5, 0.5 - mesh.vertices[:, 1], np.full(len(mesh.vertices), 0.4)], -1)
    ramp = (np.arange(256) + 0.5) / 256
    texture = np.stack([*np.meshgrid(ramp, ramp), np.full((256, 256), 0.4)], -1)
    scores = metrics.score(painted(mesh, texture), truth_of(mesh, colors))
    assert scores["psnr"] > 50
    assert scores["ssim"] > 0.999
    turned = metrics.score(painted(mesh, texture[::-1]), truth_of(mesh, colors))
    assert turned["psnr"] < 20
    assert turned["ssim"] < scores["ssim"] - 0.01


def test_the_ratio_of_signal_to_noise_is_that_of_the_covered_pixels():
    mesh = sphere(0.5)
    truth = truth_of(mesh, np.full(mesh.vertices.shape, 0.6))
    covered = (1 - truth.pictures) / 0.4  # a pixel at the edge is covered in part
    scores = metrics.score(painted(mesh, np.full((8, 8, 3), 0.4)), truth)
    assert scores["psnr"] == pytest.approx(-10 * np.log10(np.mean((0.2 * covered) ** 2)), abs=0.02)


def test_pictures_hold_all_of_the_object():
    truth = truth_of(box(np.array([0.5, 0.02, 0.5]), 0))
    for picture in truth.pictures:
        assert (picture < 1).any()
        assert (picture[[0, -1]] == 1).all()
        assert (picture[:, [0, -1]] == 1).all()


def test_the_texture_of_the_truth_counts_where_there_is_one():
    mesh = sphere(0.5)
    plaid = np.indices((64, 64)).sum(0) % 2 * np.array(0.5)
    texture = np.repeat(plaid[..., None], 3, -1)
    truth = metrics.Truth(
        "shape", mesh.vertices, mesh.faces, np.full(mesh.vertices.shape, 0.5), None, painted(mesh, texture)
    )
    scores = metrics.score(painted(mesh, texture), truth)
    assert scores["psnr"] > 50
    assert scores["psnr_vertex"] < 25


def test_objects_are_read_from_their_pack(tmp_path):
    mesh = sphere(0.5, 1)
    blue = io.BytesIO()
    Image.new("RGB", (4, 4), (0, 0, 255)).save(blue, "PNG")
    uvs = np.full((len(mesh.vertices), 2), 65535 // 5, np.uint16)
    np.savez(
        tmp_path / "dev_000.npz",
        vertices=np.concatenate([np.zeros((3, 3)), mesh.vertices]).astype(np.float16),
        uvs=np.concatenate([np.zeros((3, 2), np.uint16), uvs]),
        faces=np.concatenate([[[0, 1, 2]], mesh.faces]).astype(np.uint16),
        texture_bytes=np.frombuffer(b"first" + blue.getvalue(), np.uint8),
        vertex_offsets=[0, 3, 3 + len(uvs)],
        face_offsets=[0, 1, 1 + len(mesh.faces)],
        texture_offsets=[0, 5, 5 + len(blue.getvalue())],
    )
    found = metrics._read_object(tmp_path, {"shard": "dev_000.npz", "row": "1"})
    assert found.vertices == pytest.approx(mesh.vertices, abs=1e-3)
    assert (found.faces == mesh.faces).all()
    assert found.uvs == pytest.approx(0.2)
    assert (found.texture == [0, 0, 255]).all()


def test_no_picture_is_taken_from_where_our_textures_are_painted():
    truth = truth_of(sphere(0.5, 1))
    eyes = truth.cameras.centers()
    eyes /= np.linalg.norm(eyes, axis=1, keepdims=True)
    closest = np.degrees(np.arccos((eyes @ directions(metrics.VIEWS).T).max()))
    assert closest > 5


def test_sets_are_read_as_the_index_lists_them(tmp_path):
    mesh = sphere(0.5, 1)
    table = np.zeros(len(mesh.vertices), [(n, "f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")])
    for axis, values in zip("xyz", mesh.vertices.T, strict=True):
        table[axis] = values
    table["green"] = 51
    faces = np.zeros(len(mesh.faces), [("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = mesh.faces
    elements = [PlyElement.describe(table, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements, byte_order="<").write(str(tmp_path / "ball_mesh.ply"))
    (tmp_path / "index.csv").write_text("splats,mesh,name\nball_splats.ply,ball_mesh.ply,ball\n")
    (truth,) = metrics.truth_sets(tmp_path, tmp_path)
    assert truth.painted is None
    assert (truth.name, truth.splats) == ("ball", tmp_path / "ball_splats.ply")
    assert truth.mesh.vertices == pytest.approx(mesh.vertices)
    assert (truth.mesh.faces == mesh.faces).all()
    assert truth.colors == pytest.approx(np.tile([0, 0.2, 0], (len(table), 1)))
    assert truth.closed
    assert truth.side == pytest.approx(np.ptp(mesh.vertices, axis=0).max())

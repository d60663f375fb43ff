# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about texture coordinates: few charts that do not overlap, are not mirrored, and keep their distance."""

import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import trimesh
from scipy.ndimage import distance_transform_edt

from engine.errors import Cancelled, InputError, OptionError
from engine.render.mesh_cpu import rasterize
from engine.surface.mesh import Mesh
from engine.surface.quads import to_quads
from engine.surface.report import mesh_report
from engine.texture import unwrap as unwrap_module
from engine.texture.packing import pack
from engine.texture.unwrap import cut_in_parts, unwrap, warm_up
from tests.engine.shapes import chart_of_face, sphere_mesh

by_xatlas = partial(unwrap, method="xatlas")
ways = pytest.mark.parametrize("make", [unwrap, by_xatlas], ids=["charts", "xatlas"])


def folded_ribbon() -> Mesh:
    """A spiral ramp of two turns: seen from above it covers itself."""
    turns = np.linspace(0, 4 * np.pi, 81)
    inner = np.stack([0.5 * np.cos(turns), turns / 10, 0.5 * np.sin(turns)], axis=1)
    outer = np.stack([np.cos(turns), turns / 10, np.sin(turns)], axis=1)
    k = np.arange(80)
    faces = np.concatenate([np.stack([k, 81 + k, k + 1], 1), np.stack([k + 1, 81 + k, 82 + k], 1)])
    return Mesh(np.concatenate([inner, outer]).astype(np.float32), faces.astype(np.int32))


def of_trimesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))


def fine_box() -> Mesh:
    return of_trimesh(trimesh.creation.box((1.4, 1.0, 0.5)).subdivide().subdivide().subdivide().subdivide())


def bumps(seed: int = 0) -> Mesh:
    """A sphere with deep dents and overhangs."""
    mesh, rng = sphere_mesh(64), np.random.default_rng(seed)
    vertices = mesh.vertices.astype(np.float64)
    for center in rng.normal(size=(12, 3)):
        near = np.exp(-((vertices - center / np.linalg.norm(center)) ** 2).sum(1) / 0.05)
        vertices += 0.5 * near[:, None] * rng.normal(size=3)
    return Mesh(vertices.astype(np.float32), mesh.faces)


def owners(mesh: Mesh, size: int, last: bool = False) -> np.ndarray:
    """The face that covers each texel's centre, -1 where none does; of several the first or the last."""
    assert mesh.uvs is not None
    points = np.concatenate([mesh.uvs * size, np.ones((len(mesh.uvs), 1))], axis=1).astype(np.float32)
    faces = mesh.faces[::-1] if last else mesh.faces
    found = rasterize(
        points, np.ascontiguousarray(faces), np.eye(4, dtype=np.float32), np.eye(3, dtype=np.float32), size, size
    )
    return np.where(found.face_ids >= 0, len(faces) - 1 - found.face_ids, -1) if last else found.face_ids


SHAPES = {"sphere": sphere_mesh(24), "ribbon": folded_ribbon(), "box": fine_box(), "bumps": bumps()}


@ways
@pytest.mark.parametrize("mesh", SHAPES.values(), ids=SHAPES)
def test_uvs_cover_the_texture_without_overlaps(mesh, make):
    unwrapped = make(mesh)
    assert unwrapped.uvs.min() >= 0
    assert unwrapped.uvs.max() <= 1
    first, last = owners(unwrapped, 1024), owners(unwrapped, 1024, last=True)
    assert (first >= 0).mean() > 0.2
    # A texel whose centre lies exactly on an edge belongs to both faces.
    assert (first != last).sum() <= 0.0005 * (first >= 0).sum()


@pytest.mark.parametrize(("name", "charts", "coverage"), [("sphere", 12, 0.5), ("box", 8, 0.6), ("bumps", 95, 0.45)])
def test_charts_are_few_large_and_hardly_stretched(name, charts, coverage):
    report = mesh_report(unwrap(SHAPES[name]))
    assert report.charts <= charts
    assert report.uv_coverage >= coverage
    assert report.uv_stretch < 1.06
    assert report.uv_mirrored == 0


def test_flat_sides_keep_their_shape():
    mesh = fine_box()
    unwrapped = unwrap(mesh)
    lengths = []
    for values in (unwrapped.vertices, unwrapped.uvs):
        corners = values[unwrapped.faces].astype(np.float64)
        lengths.append(np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2))
    ratio = lengths[1] / lengths[0]
    assert ratio == pytest.approx(np.full_like(ratio, np.median(ratio)), rel=0.02)


@ways
def test_unwrapping_only_splits_vertices(make):
    mesh = sphere_mesh(20)
    unwrapped = make(mesh)
    one = np.sort(unwrapped.vertices[unwrapped.faces].reshape(len(mesh.faces), -1), axis=0)
    other = np.sort(mesh.vertices[mesh.faces].reshape(len(mesh.faces), -1), axis=0)
    assert np.array_equal(np.sort(one.ravel()), np.sort(other.ravel()))
    assert mesh_report(unwrapped).watertight
    assert mesh_report(unwrapped).volume == pytest.approx(mesh_report(mesh).volume, rel=1e-6)


@pytest.mark.slow
def test_faces_keep_their_order():
    mesh = bumps()
    unwrapped = unwrap(mesh)
    assert np.array_equal(unwrapped.vertices[unwrapped.faces], mesh.vertices[mesh.faces])


@ways
def test_quads_stay_whole(make):
    quads = to_quads(sphere_mesh(30), 600, limit_s=0)
    unwrapped = make(quads)
    assert unwrapped.quads
    one, other = unwrapped.faces[::2], unwrapped.faces[1::2]
    assert np.array_equal(one[:, [0, 2]], other[:, [0, 1]])
    assert np.array_equal(unwrapped.vertices[unwrapped.faces], quads.vertices[quads.faces])


@ways
def test_charts_are_not_mirrored(make):
    unwrapped = make(sphere_mesh(24))
    a, b, c = (unwrapped.uvs[unwrapped.faces[:, corner]] for corner in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    assert (turn < 0).mean() > 0.97  # counter-clockwise as seen with v upwards


@pytest.mark.slow
@ways
@pytest.mark.parametrize("name", ["sphere", "bumps"])
def test_each_chart_has_eight_texels_of_its_own_at_1024(name, make):
    unwrapped = make(SHAPES[name])
    owner = owners(unwrapped, 1024)
    chart = np.where(owner >= 0, chart_of_face(unwrapped)[owner], -1)
    assert len(np.unique(chart)) > 2
    for number in np.unique(chart[chart >= 0]):
        distance = distance_transform_edt(chart != number)
        assert distance[(chart >= 0) & (chart != number)].min() > 15


@ways
def test_normals_are_smooth_across_seams(make):
    unwrapped = make(sphere_mesh(12))
    places, index = np.unique(unwrapped.vertices, axis=0, return_inverse=True)
    assert len(places) < len(unwrapped.vertices)
    one_each = unwrapped.normals[np.unique(index, return_index=True)[1]]
    assert np.array_equal(one_each[index.ravel()], unwrapped.normals)
    assert np.einsum("vi,vi->v", unwrapped.normals, unwrapped.vertices).min() > 0.95


@ways
@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_meshes_of_any_size_are_unwrapped(scale, make):
    mesh, warnings = sphere_mesh(16), []
    usual = make(mesh)
    unwrapped = make(Mesh(mesh.vertices * np.float32(scale), mesh.faces), warn=warnings.append)
    assert not warnings
    assert mesh_report(unwrapped).uv_coverage == pytest.approx(mesh_report(usual).uv_coverage, abs=0.1)


def strange_meshes() -> dict[str, Mesh]:
    rng = np.random.default_rng(0)
    sphere = sphere_mesh(12)
    return {
        "one triangle": Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32)),
        "a line": Mesh(np.outer(np.arange(3), [1, 1, 1]).astype(np.float32), np.array([[0, 1, 2]], np.int32)),
        "a point": Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2], [2, 1, 0]], np.int32)),
        "loose triangles": Mesh(
            rng.normal(size=(900, 3)).astype(np.float32), np.arange(900, dtype=np.int32).reshape(-1, 3)
        ),
        "fans at one edge": Mesh(
            np.concatenate([[[0, 0, 0], [0, 1, 0]], rng.normal(size=(20, 3))]).astype(np.float32),
            np.array([[0, 1, 2 + k] for k in range(20)], np.int32),
        ),
        "any three of twenty": Mesh(
            rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 20, (200, 3), np.int32)
        ),
        "crumpled": Mesh(
            (sphere.vertices + rng.normal(0, 0.3, sphere.vertices.shape)).astype(np.float32), sphere.faces
        ),
        "inside out": Mesh(sphere.vertices, np.ascontiguousarray(sphere.faces[:, ::-1])),
    }


@pytest.mark.parametrize("name", strange_meshes())
def test_any_mesh_gets_texture_coordinates(name):
    mesh = strange_meshes()[name]
    unwrapped = unwrap(mesh)
    assert np.array_equal(unwrapped.vertices[unwrapped.faces], mesh.vertices[mesh.faces])
    assert np.isfinite(unwrapped.uvs).all()
    first, last = owners(unwrapped, 1024), owners(unwrapped, 1024, last=True)
    assert (first != last).sum() <= 0.002 * (first >= 0).sum()


@pytest.mark.slow
def test_packed_charts_may_be_many_and_of_all_sizes():
    rng = np.random.default_rng(0)
    for count in (1, 3, 300, 2000):
        sides = rng.lognormal(0, 1, (count, 1, 2)) * 0.1
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sides
        faces = (np.array([[0, 1, 2], [0, 2, 3]]) + 4 * np.arange(count)[:, None, None]).reshape(-1, 3)
        uvs = pack(corners.reshape(-1, 2), faces, np.repeat(np.arange(count), 4), 8 / 1024)
        assert uvs.min() >= 0
        assert uvs.max() <= 1
        report = mesh_report(Mesh(np.concatenate([uvs, uvs[:, :1]], 1), faces.astype(np.int32), uvs=uvs))
        assert report.uv_overlap == 0
        assert report.uv_coverage > (0.02 if count == 1 else 0.3)


def test_unwrapping_refuses_broken_meshes_and_unknown_methods():
    with pytest.raises(InputError):
        unwrap(Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 7]], np.int32)))
    with pytest.raises(OptionError, match="charts, xatlas"):
        unwrap(sphere_mesh(8), method="magic")


def test_unwrapping_can_be_cancelled():
    def cancel():
        raise Cancelled

    with pytest.raises(Cancelled):
        unwrap(sphere_mesh(12), check=cancel)


# --- The process of xatlas -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_time_limit_falls_back_to_our_charts_and_says_so():
    warnings = []
    start = time.monotonic()
    unwrapped = by_xatlas(sphere_mesh(60), limit_s=0.0, warn=warnings.append)
    assert time.monotonic() - start < 10
    assert len(warnings) == 1
    assert "longer than 0 seconds" in warnings[0]
    assert mesh_report(unwrapped).watertight
    assert (owners(unwrapped, 256) >= 0).mean() > 0.2
    assert not unwrap_module._current or unwrap_module._current[0].process.poll() is not None
    assert by_xatlas(sphere_mesh(12), warn=warnings.append).uvs is not None
    assert len(warnings) == 1


@pytest.mark.slow
def test_a_dead_helper_is_noticed_and_replaced():
    warm_up()
    helper = unwrap_module._current[0]
    helper.process.kill()
    helper.process.wait()
    warnings = []
    by_xatlas(sphere_mesh(12), warn=warnings.append)
    assert not warnings
    kill = unwrap_module._current[0].process.kill
    by_xatlas(sphere_mesh(60), check=kill, warn=warnings.append)
    assert len(warnings) == 1
    assert "unexpectedly" in warnings[0]


def test_cancelling_stops_the_helper():
    def cancel():
        raise Cancelled

    warm_up()
    process = unwrap_module._current[0].process
    with pytest.raises(Cancelled):
        by_xatlas(sphere_mesh(100), check=cancel)
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


def test_parts_are_even_and_complete():
    part = cut_in_parts(sphere_mesh(60))
    counts = np.bincount(part)
    assert len(counts) >= 8
    assert counts.max() <= 2 * counts.min()

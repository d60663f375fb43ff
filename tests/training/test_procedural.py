# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about procedural shapes: closed bodies of known volume, reproducible objects, packs that training can read."""

import numpy as np
import pytest

from engine.errors import OutputError
from engine.render.mesh_cpu import rasterize
from engine.surface.cleanup import is_watertight, weld
from engine.surface.mesh import Mesh
from engine.training.data import procedural_parts as parts
from engine.training.data.pack_writer import write_pack
from engine.training.data.packs import Pack
from engine.training.data.procedural import ShapeSettings, shape, shapes
from engine.training.data.procedural_charts import box_charts
from engine.training.data.procedural_noise import cells, noise
from engine.training.data.procedural_solids import BOX, CYLINDER, DIFFERENCE, ELLIPSOID, Solid
from engine.training.data.procedural_things import FAMILIES
from engine.training.shapes import main


def volume(vertices, faces) -> float:
    """Signed volume; positive where faces are counter-clockwise seen from outside."""
    a, b, c = np.moveaxis(np.asarray(vertices, np.float64)[faces], 1, 0)
    return float(np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6)


RING = [[0.75 + 0.25 * np.cos(t), 0.25 * np.sin(t)] for t in np.linspace(-np.pi, np.pi, 49)]

BODIES = {  # part, volume
    "box": (parts.box((1, 2, 3), 3), 48.0),
    "rounded box": (
        parts.rounded_box((1, 1, 1), 0.3),
        1.4**3 + 6 * 1.4**2 * 0.3 + 12 * 1.4 * np.pi * 0.09 / 4 + 4 / 3 * np.pi * 0.027,
    ),
    "sphere": (parts.superquadric(2, 2, 24), 4 / 3 * np.pi),
    "octahedron": (parts.superquadric(1, 1, 16), 4 / 3),
    "cylinder": (parts.loft([[0, -1], [1, -1], [1, 1], [0, 1]], parts.circle(96)), 2 * np.pi),
    "cone": (parts.loft([[0, -1], [1, -1], [0, 1]], parts.circle(96)), 2 / 3 * np.pi),
    "torus": (parts.loft([*RING[:-1], RING[0]], parts.circle(96)), 2 * np.pi**2 * 0.75 * 0.25**2),
    "straight tube": (parts.tube([[0, 0, 0], [0, 0, 1], [0, 0, 3]], 0.5, 96), 0.75 * np.pi),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_are_closed_and_face_outwards_with_their_volume(name):
    body, expected = BODIES[name]
    assert is_watertight(Mesh(body.vertices, body.faces))
    assert volume(body.vertices, body.faces) == pytest.approx(expected, rel=0.03)


def test_a_closed_tube_is_a_torus():
    angles = np.arange(96) * 2 * np.pi / 96
    path = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], 1)
    ring = parts.tube(path, 0.2, 48, closed=True)
    assert is_watertight(Mesh(ring.vertices, ring.faces))
    assert volume(ring.vertices, ring.faces) == pytest.approx(2 * np.pi**2 * 0.2**2, rel=0.02)


def test_mirror_images_and_negative_scales_still_face_outwards():
    body = parts.loft([[0, -1], [1, -1], [0.2, 1], [0, 1]]).placed((1, 2, 1), parts.turned(2, 30), (1, 0, 0))
    mirrored, flipped = body.mirrored(), body.placed((-1, 1, 1))
    assert volume(mirrored.vertices, mirrored.faces) == pytest.approx(volume(body.vertices, body.faces))
    assert volume(flipped.vertices, flipped.faces) == pytest.approx(volume(body.vertices, body.faces))
    assert mirrored.vertices[:, 0].mean() == pytest.approx(-body.vertices[:, 0].mean())


def test_bending_keeps_the_volume_of_a_thin_bar():
    bar = parts.loft(np.array([[0, -1], *[[0.05, y] for y in np.linspace(-1, 1, 30)], [0, 1]]))
    bent = parts.bend(bar, 1.5)
    assert volume(bent.vertices, bent.faces) == pytest.approx(volume(bar.vertices, bar.faces), rel=0.01)
    assert np.ptp(bent.vertices[:, 1]) < 0.95 * np.ptp(bar.vertices[:, 1])


@pytest.mark.slow
def test_a_solid_with_a_hole_has_the_volume_of_the_difference():
    solid = Solid()
    solid.add(BOX, (0.8, 0.5, 0.6))
    solid.add(CYLINDER, (0.3, 1, 0.3), op=DIFFERENCE)
    mesh, owners = solid.mesh(96, 4000)
    assert is_watertight(weld(mesh))
    assert volume(mesh.vertices, mesh.faces) == pytest.approx(1.6 * 1.0 * 1.2 - np.pi * 0.09, rel=0.02)
    middles = mesh.vertices[mesh.faces].mean(1)
    inner = (np.linalg.norm(middles[:, [0, 2]], axis=1) < 0.32) & (np.abs(middles[:, 1]) < 0.4)
    assert (owners[inner] == 1).mean() > 0.9  # the wall of the hole belongs to what made it


def test_a_blend_melts_two_spheres_into_one():
    apart, melted = Solid(), Solid()
    for solid, blend in ((apart, 0.0), (melted, 0.4)):
        for x in (-0.5, 0.5):
            solid.add(ELLIPSOID, (0.45, 0.45, 0.45), (x, 0, 0), blend=blend)
    pieces = [solid.mesh(48, 1500)[0] for solid in (apart, melted)]
    assert [bool((np.abs(mesh.vertices[:, 0]) < 0.04).any()) for mesh in pieces] == [False, True]


@pytest.mark.slow
def test_noise_is_smooth_of_mean_zero_and_fixed_by_its_seed():
    points = np.random.default_rng(0).uniform(-20, 20, (20000, 3))
    values = noise(points, 5, 3)
    assert abs(float(values.mean())) < 0.02
    assert 0.2 < float(values.std()) < 0.6
    assert np.abs(noise(points + 1e-4, 5, 3) - values).max() < 0.01
    np.testing.assert_array_equal(values, noise(points, 5, 3))
    assert np.abs(np.corrcoef(values, noise(points, 6, 3))[0, 1]) < 0.05


def test_points_in_one_cell_have_one_number():
    points = np.random.default_rng(1).uniform(0, 4, (5000, 3))
    first, second, number = cells(points, 3)
    assert (first <= second).all()
    assert 20 < len(np.unique(number)) < 250  # about one feature point per unit cube
    near = cells(points + 1e-5, 3)[2]
    assert (near == number).mean() > 0.999


def test_charts_share_no_texel_and_cover_much_of_the_texture():
    body = parts.rounded_box((1, 0.6, 0.4), 0.1)
    origins, faces, uvs = box_charts(body.vertices, body.faces, np.zeros(len(body.faces), np.int64), 256)
    a, b, c = np.moveaxis(uvs[faces].astype(np.float64), 1, 0)
    area = np.abs(np.cross(b - a, c - a)) / 2
    assert 0.5 < area.sum() < 1
    eye = np.eye(4, dtype=np.float32)
    flat = np.concatenate([uvs * 1024, np.ones((len(uvs), 1))], 1).astype(np.float32)
    covered = (rasterize(flat, faces, eye, eye[:3, :3], 1024, 1024).face_ids >= 0).mean()
    assert covered == pytest.approx(area.sum(), rel=0.01)  # less where charts lie on one another
    np.testing.assert_array_equal(body.faces, origins[faces])
    world = body.vertices[body.faces]
    size = np.linalg.norm(np.cross(world[:, 1] - world[:, 0], world[:, 2] - world[:, 0]), axis=1) / 2
    sides = size > 0.2
    assert np.ptp(np.sqrt(area[sides] / size[sides])) < 1e-4  # all at one scale


@pytest.mark.slow
def test_an_object_is_the_same_again_and_another_with_another_seed():
    one, again, other = shape(3, 0), shape(3, 0), shape(3, 1)
    np.testing.assert_array_equal(one.mesh.vertices, again.mesh.vertices)
    np.testing.assert_array_equal(np.asarray(one.mesh.texture), np.asarray(again.mesh.texture))
    assert (
        one.mesh.vertices.shape != other.mesh.vertices.shape
        or np.abs(one.mesh.vertices - other.mesh.vertices).max() > 0
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_kind_fits_a_pack(family, tmp_path):
    index = tmp_path / "one.csv"
    report = write_pack(index, shapes(3, 4, ShapeSettings(64, ((family, 1.0),))))
    assert (report.written, report.skipped) == (3, [])
    pack = Pack(index)
    assert pack.skipped == []
    for i in range(3):
        mesh = pack.mesh(i)
        low, high = mesh.bounds()
        assert len(mesh.faces) <= 6000
        assert (high - low).max() == pytest.approx(1, abs=2e-3)
        assert np.abs(low + high).max() < 2e-3
        assert np.std(np.asarray(mesh.texture)) > 0.5 or family == "frame"


def test_upright_kinds_stand_with_their_legs_down():
    tables = [shape(i, 0, ShapeSettings(32, (("table", 1.0),))).mesh for i in range(6)]
    for mesh in tables:
        corners = mesh.vertices[mesh.faces].astype(np.float64)
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        assert np.average(corners[:, :, 1].mean(1), weights=area) > 0  # the plate outweighs what carries it


@pytest.mark.slow
def test_the_command_writes_the_same_pack_twice_and_never_over_another(tmp_path, capsys):
    arguments = ["--count", "5", "--seed", "2", "--texture", "64"]
    assert main(["-o", str(tmp_path / "a.csv"), *arguments]) == 0
    assert main(["-o", str(tmp_path / "b.npz"), *arguments, "--json"]) == 0
    assert '"written": 5' in capsys.readouterr().out
    assert (tmp_path / "a_000.npz").read_bytes() == (tmp_path / "b_000.npz").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        main(["-o", str(tmp_path / "a.csv"), *arguments])
    assert len(Pack(tmp_path / "b.npz")) == 5

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about watertight meshes: what is closed and how, what is refused and why."""

import numpy as np
import pytest
import trimesh

from engine.errors import InputError, SurfaceError
from engine.surface.cleanup import weld
from engine.surface.halfedges import is_manifold
from engine.surface.mesh import Mesh
from engine.surface.report import MeshReport, mesh_report
from engine.surface.topology import make_watertight
from tests.engine.shapes import sphere_mesh

CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
CUBE = np.array([face for a, b, c, d in SIDES for face in ((a, b, c), (a, c, d))], np.int32)


def cubes(*places: tuple[float, float, float]) -> Mesh:
    """Unit cubes, each closed by itself, their lowest corners at `places`."""
    vertices = np.concatenate([CORNERS + np.array(place, np.float32) for place in places])
    return Mesh(vertices, np.concatenate([CUBE + np.int32(8 * i) for i in range(len(places))]))


def without(mesh: Mesh, mask: np.ndarray) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces[~mask])


def moebius(steps: int = 40) -> Mesh:
    turn = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    rims = []
    for side in (-0.3, 0.3):
        reach = 1 + side * np.cos(turn / 2)
        rims.append(np.stack([reach * np.cos(turn), reach * np.sin(turn), side * np.sin(turn / 2)], 1))
    here = np.arange(steps)
    there = (here + 1) % steps
    low, high = np.where(there == 0, steps, there), np.where(there == 0, 0, steps + there)
    faces = np.concatenate([np.stack([here, low, high], 1), np.stack([here, high, steps + here], 1)])
    return Mesh(np.concatenate(rims).astype(np.float32), faces.astype(np.int32))


def checked(mesh: Mesh) -> MeshReport:
    """The report of a mesh, after a check of it that shares no code with the engine."""
    other = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)  # merges vertices in one place
    assert len(other.vertices) == len(mesh.vertices)
    assert other.is_watertight
    assert other.is_winding_consistent
    assert (other.area_faces > 0).all()
    assert len(np.unique(np.sort(other.faces, axis=1), axis=0)) == len(other.faces)
    links: dict[int, dict[int, int]] = {}
    for face in other.faces.tolist():
        for k in range(3):
            link = links.setdefault(face[k], {})
            assert face[(k + 1) % 3] not in link
            link[face[(k + 1) % 3]] = face[(k + 2) % 3]
    for link in links.values():  # one closed ring of neighbours around each vertex
        start = next(iter(link))
        place, steps = link[start], 1
        while place != start:
            place, steps = link[place], steps + 1
        assert steps == len(link)
    report = mesh_report(mesh)
    assert report.watertight
    assert report.manifold
    return report


def test_what_is_sound_is_left_alone():
    mesh = sphere_mesh(20)
    assert make_watertight(mesh).faces is mesh.faces


@pytest.mark.parametrize("offset", [(1, 1, 0), (1, 1, 1)], ids=["edge", "vertex"])
def test_cubes_that_touch_are_parted(offset):
    touching = weld(cubes((0, 0, 0), offset))
    assert not is_manifold(touching)
    report = checked(make_watertight(touching))
    assert report.components == 2
    assert report.volume == pytest.approx(2, rel=0.02)


def test_a_wall_between_two_solids_goes():
    report = checked(make_watertight(cubes((0, 0, 0), (1, 0, 0))))
    assert report.components == 1
    assert report.faces == 20
    assert report.volume == pytest.approx(2)
    assert report.area == pytest.approx(10)


@pytest.mark.parametrize("missing", [1, 2, 4])
def test_holes_of_a_cube_are_closed_flat(missing):
    mesh = cubes((0, 0, 0))
    report = checked(make_watertight(Mesh(mesh.vertices, mesh.faces[missing:])))
    assert report.volume == pytest.approx(1)
    assert report.area == pytest.approx(6)


def test_a_hole_in_a_round_surface_is_closed_round():
    mesh = sphere_mesh(48)
    heights = mesh.vertices[mesh.faces].mean(1)[:, 1]
    hole = heights > 0.85 * mesh.vertices[:, 1].max()
    assert 0.1 < hole.mean() < 0.2
    closed = make_watertight(without(mesh, hole))
    checked(closed)
    radii = np.linalg.norm(closed.vertices, axis=1)
    assert radii.min() > 0.97 * radii.max()  # a flat lid would lie at 0.85


def test_the_ends_of_a_tube_are_closed():
    tube = trimesh.creation.cylinder(1, 2, sections=300)
    vertices, faces = tube.vertices.astype(np.float32), tube.faces.astype(np.int32)
    report = checked(make_watertight(without(Mesh(vertices, faces), np.ptp(vertices[faces][:, :, 2], axis=1) < 0.5)))
    assert report.volume == pytest.approx(2 * np.pi, rel=1e-3)
    assert report.faces < 2000


def test_a_hole_is_not_closed_by_an_edge_that_is_there_already():
    """A trough whose bottom ends in the corners a and c of the hole: the shorter diagonal would get four faces."""
    a, b, c, d, p, q = range(6)
    vertices = np.array([[-0.6, 0, 0], [0, -1, 0.3], [0.6, 0, 0], [0, 1, 0.3], [0, -0.3, -3], [0, 0.3, -3]], np.float32)
    faces = np.array([[a, p, b], [b, p, c], [c, p, a], [c, q, d], [d, q, a], [a, q, c]], np.int32)
    assert is_manifold(Mesh(vertices, faces))
    report = checked(make_watertight(Mesh(vertices, faces)))
    assert (report.faces, report.components, report.genus) == (8, 1, 0)


@pytest.mark.parametrize("every", [1, 3])
def test_faces_are_turned_outward(every):
    mesh = cubes((0, 0, 0), (1, 1, 0))
    faces = mesh.faces.copy()
    faces[::every] = faces[::every, ::-1]
    assert checked(make_watertight(Mesh(mesh.vertices, faces))).volume == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("turned", [False, True])
def test_doubled_faces_are_taken_once(turned):
    mesh = cubes((0, 0, 0))
    doubles = mesh.faces[:, ::-1] if turned else mesh.faces
    for count in (3, 12):
        report = checked(make_watertight(Mesh(mesh.vertices, np.concatenate([mesh.faces, doubles[:count]]))))
        assert report.faces == 12
        assert report.volume == pytest.approx(1)


def test_a_vertex_on_an_edge_is_joined_to_it():
    mesh = cubes((0, 0, 0))
    f = next(i for i, face in enumerate(mesh.faces) if {0, 4} <= set(face.tolist()))
    face = mesh.faces[f].tolist()
    k = next(k for k in range(3) if {face[k], face[(k + 1) % 3]} == {0, 4})
    a, b, c = face[k], face[(k + 1) % 3], face[(k + 2) % 3]
    halves = np.array([[a, 8, c], [8, b, c]], np.int32)
    middle = np.array([[0.5, 0, 0]], np.float32)
    report = checked(
        make_watertight(
            Mesh(np.concatenate([mesh.vertices, middle]), np.concatenate([np.delete(mesh.faces, f, axis=0), halves]))
        )
    )
    assert report.volume == pytest.approx(1)
    assert report.faces == 14


def test_loose_triangles_with_rounded_corners_are_joined():
    mesh = sphere_mesh(20)
    noise = np.random.default_rng(0).normal(0, 1e-5, (3 * len(mesh.faces), 3))
    loose = Mesh(
        (mesh.vertices[mesh.faces].reshape(-1, 3) + noise).astype(np.float32),
        np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3),
    )
    assert checked(make_watertight(loose)).faces == len(mesh.faces)


def test_cavities_stay_and_solids_within_solids_too():
    mesh = sphere_mesh(20)
    for order in (1, -1):
        vertices = np.concatenate([2 * mesh.vertices, mesh.vertices])
        both = Mesh(vertices, np.concatenate([mesh.faces, mesh.faces[:, ::order] + np.int32(len(mesh.vertices))]))
        report = checked(make_watertight(both))
        assert report.volume == pytest.approx((8 + order) * mesh_report(mesh).volume, rel=1e-3)


def test_a_sheet_beside_the_object_goes_and_is_told():
    mesh = cubes((0, 0, 0))
    tip = np.array([[0.5, 0.5, 2]], np.float32)
    warnings: list[str] = []
    fin = np.array([[1, 7, 8]], np.int32)
    closed = make_watertight(
        Mesh(np.concatenate([mesh.vertices, tip]), np.concatenate([mesh.faces, fin])), warnings.append
    )
    assert checked(closed).faces == 12
    assert len(warnings) == 1
    assert "3 open edges around 1 hole " in warnings[0]


@pytest.mark.parametrize(
    ("mesh", "reason"),
    [
        (moebius(), "80 of 80 faces have only one side"),
        (Mesh(CORNERS, CUBE[:2]), "4 open edges around 1 hole too wide to close, the largest spanning 100 %"),
        (Mesh(CORNERS, CUBE[:1]), "3 open edges around 1 hole too wide"),
        (Mesh(CORNERS, np.array([[0, 1, 2], [0, 2, 1]], np.int32)), "3 open edges"),
        (Mesh(CORNERS, CUBE[[0, 1, 4, 5]]), "open edges"),
        (
            without(sphere_mesh(20), sphere_mesh(20).vertices[sphere_mesh(20).faces].mean(1)[:, 1] < 0),
            "1 hole too wide",
        ),
    ],
    ids=["moebius", "plane", "triangle", "flap", "corner", "hemisphere"],
)
def test_what_cannot_be_closed_is_refused_with_the_reason(mesh, reason):
    with pytest.raises(SurfaceError, match=reason):
        make_watertight(mesh)


def test_open_quads_become_closed_triangles():
    corners = np.array([face for a, b, c, d in SIDES for face in ((a, b, c), (a, c, d))], np.int32)
    warnings: list[str] = []
    box = Mesh(CORNERS, corners, quads=True)
    assert make_watertight(box, warnings.append) is box
    assert not warnings
    closed = make_watertight(Mesh(CORNERS, corners[2:], quads=True), warnings.append)
    assert not closed.quads
    assert checked(closed).volume == pytest.approx(1)
    assert len(warnings) == 1
    assert "triangles instead of quads" in warnings[0]


def test_meshes_without_sense_are_refused():
    with pytest.raises(InputError, match="finite"):
        make_watertight(Mesh(np.full((3, 3), np.nan, np.float32), np.array([[0, 1, 2]], np.int32)))


@pytest.mark.parametrize("seed", range(12))
def test_heaps_of_touching_cubes_become_solids(seed):
    places = np.argwhere(np.random.default_rng(seed).random((4, 4, 4)) > 0.5)
    report = checked(make_watertight(cubes(*[tuple(place) for place in places.tolist()])))
    assert report.volume == pytest.approx(len(places), rel=0.03)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_spheres_become_solids(seed):
    """Faces missing, vertices joined across the inside, faces turned over."""
    rng = np.random.default_rng(seed)
    mesh = sphere_mesh(24)
    faces = np.delete(mesh.faces, rng.integers(0, len(mesh.faces), 30), axis=0)
    for one, other in rng.integers(0, len(mesh.vertices), (10, 2)):
        faces[faces == one] = other
    turned = rng.random(len(faces)) < 0.1
    faces[turned] = faces[turned, ::-1]
    report = checked(make_watertight(Mesh(mesh.vertices, faces)))
    assert report.volume == pytest.approx(mesh_report(mesh).volume, rel=0.1)


def test_genus_and_manifoldness_are_reported():
    torus = trimesh.creation.torus(1, 0.3)
    report = mesh_report(Mesh(torus.vertices.astype(np.float32), torus.faces.astype(np.int32)))
    assert (report.genus, report.manifold, report.components) == (1, True, 1)
    bow_tie = mesh_report(cubes((0, 0, 0), (1, 1, 1)))
    assert (bow_tie.watertight, bow_tie.manifold, bow_tie.genus) == (True, False, None)
    assert mesh_report(sphere_mesh(10)).genus == 0


def test_the_report_of_a_flat_square_with_known_uvs():
    vertices = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uvs = np.array([[0, 0.5], [0.5, 0.5], [0.5, 0], [0, 0]], np.float32)  # a quarter of the texture, v down
    report = mesh_report(Mesh(vertices, faces, uvs=uvs), texture_size=1024, size_m=0.5)
    assert report.uv_coverage == pytest.approx(0.25, rel=0.01)
    assert report.uv_stretch == pytest.approx(1, rel=1e-6)
    assert (report.charts, report.uv_overlap, report.uv_mirrored) == (1, 0, 0)
    assert report.texels_per_unit == pytest.approx(256)
    assert report.texels_per_metre == pytest.approx(1024)
    squeezed = mesh_report(Mesh(vertices, faces, uvs=uvs * np.array([1, 0.25], np.float32)))
    assert squeezed.uv_stretch == pytest.approx(np.sqrt((4 + 0.25) / 2), rel=1e-6)  # singular values 1/2 and 2
    mirrored = mesh_report(Mesh(vertices, faces, uvs=uvs[:, ::-1].copy()))
    assert mirrored.uv_mirrored == 1
    folded = mesh_report(Mesh(vertices, faces, uvs=uvs[[0, 1, 2, 1]]))
    assert folded.uv_overlap == pytest.approx(1, abs=0.02)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("without", ["surface", "charts"])
def test_no_stretch_is_told_of_what_has_no_area(without):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], np.float32) * (without != "surface")
    uvs = np.array([[0, 0], [0.5, 0], [0.5, 0.5]], np.float32) * (without != "charts")
    report = mesh_report(Mesh(vertices, np.array([[0, 1, 2]], np.int32), uvs=uvs), 512, 1.0)
    assert (report.uv_stretch, report.texels_per_unit, report.texels_per_metre) == (None, None, None)
    assert report.uv_mirrored == (None if without == "charts" else 1)
    assert report.area == (0 if without == "surface" else 0.5)


def test_the_report_is_plain_numbers():
    report = mesh_report(sphere_mesh(10)).as_dict()
    assert all(value is None or type(value) in (int, float, bool) for value in report.values())
    assert report["faces"] == report["triangles"]

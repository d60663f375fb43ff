# SPDX-License-Identifier: GPL-3.0-or-later
"""What each option of the road from splats to GLB does to the file that comes out."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from engine.errors import OptionError
from engine.export.preview import read_mesh
from engine.fields.gaussians import Gaussians
from engine.fields.splats import read_splats, write_splats
from engine.options import MeshOptions, mesh_options
from engine.paths import lod_paths
from engine.pipeline import splats_to_mesh
from tests.engine.shapes import joined, sphere, torus

pytestmark = pytest.mark.slow

SMALL = {"faces": 800, "texture": 128, "resolution": 64}


def painted(gaussians: Gaussians) -> Gaussians:
    """Red to the right, blue to the left."""
    right = gaussians.means[:, :1] > 0
    colors = np.where(right, [[0.9, 0.1, 0.1]], [[0.1, 0.1, 0.9]])
    return Gaussians(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors)


@pytest.fixture(scope="module")
def splats(tmp_path_factory) -> Path:
    """A torus upright around y, 0.28 high, with a ball 0.5 above it: nothing about it is alike in two directions."""
    path = tmp_path_factory.mktemp("splats") / "ring.ply"
    ball = sphere(800, 0.2, center=(0.0, 0.5, 0.0))
    write_splats(path, painted(joined(torus(), ball)))
    return path


def made(splats: Path, folder: Path, **options) -> tuple[trimesh.Trimesh, dict, dict]:
    """The mesh in the file, the file's JSON, and the report."""
    output = folder / "out.glb"
    report = splats_to_mesh(splats, output, MeshOptions(**{**SMALL, **options}))
    scene = trimesh.load_scene(output)
    return scene.to_mesh(), document(output), report


def document(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])


def merged(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).copy().process(merge_norm=True, merge_tex=True)


def test_defaults_give_a_watertight_textured_mesh_that_says_what_it_is(splats, tmp_path):
    mesh, content, report = made(splats, tmp_path)
    assert merged(mesh).is_watertight
    assert (report["watertight"], report["components"], report["genus"]) == (True, 2, 1)
    assert 780 <= report["faces"] <= 800
    extras = content["nodes"][0]["extras"]["gaussmith"]
    for name in ("faces", "watertight", "manifold", "genus", "components", "uv_coverage", "uv_stretch"):
        assert extras[name] == report[name]
    assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(1.0)


@pytest.mark.parametrize("surface", ["density", "tsdf"])
def test_both_surfaces_run_where_the_splats_are(splats, tmp_path, surface):
    mesh, _, report = made(splats, tmp_path, surface=surface, keep_frame=True, resolution=128)
    assert report["surface"] == surface
    axis = np.hypot(np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 2]) - 0.7, mesh.vertices[:, 1])
    ball = np.linalg.norm(mesh.vertices - [0, 0.5, 0], axis=1)
    off = np.minimum(np.abs(axis - 0.12), np.abs(ball - 0.2))
    assert off.mean() < 0.006
    assert np.quantile(off, 0.99) < 0.025


def test_auto_says_which_surface_it_chose(splats, tmp_path):
    assert made(splats, tmp_path)[2]["surface"] in ("density", "tsdf")


@pytest.mark.parametrize("up", ["y", "z", "-y"])
def test_up_is_up_in_the_file(splats, tmp_path, up):
    """The ball lies along the file's +y; the mesh shows it where `up` says that direction points."""
    mesh = made(splats, tmp_path, up=up, keep_frame=True)[0]
    small = min(trimesh.Trimesh(mesh.vertices, mesh.faces).split(only_watertight=False), key=lambda part: part.area)
    expected = {"y": [0, 0.5, 0], "z": [0, 0, -0.5], "-y": [0, -0.5, 0]}[up]
    assert small.vertices.mean(0) == pytest.approx(expected, abs=0.03)


def test_a_frame_that_is_kept_is_that_of_the_file(splats, tmp_path):
    low, high = made(splats, tmp_path, keep_frame=True)[0].bounds
    assert low == pytest.approx([-0.82, -0.12, -0.82], abs=0.02)
    assert high == pytest.approx([0.82, 0.7, 0.82], abs=0.02)


def test_a_crop_leaves_what_is_in_the_box(splats, tmp_path):
    report = made(splats, tmp_path, crop=(-1, 0.25, -1, 1, 1, 1))[2]
    assert (report["components"], report["genus"]) == (1, 0)
    assert any("box" in text or "crop" in text for text in report["warnings"])


def test_quads_stay_quads(splats, tmp_path):
    _, content, report = made(splats, tmp_path, topology="quads", faces=600)
    assert report["quads"]
    assert report["faces"] == pytest.approx(600, rel=0.25)
    assert "FB_ngon_encoding" in content["extensionsUsed"]


def test_watertight_is_kept_or_refused(splats, tmp_path):
    mesh, _, report = made(splats, tmp_path, watertight=True)
    assert report["watertight"]
    assert report["manifold"]
    assert merged(mesh).is_winding_consistent


def test_simpler_copies_lie_beside_with_a_quarter_of_the_faces_each(splats, tmp_path):
    report = made(splats, tmp_path, lods=2, faces=3200)[2]
    assert report["lods"] == [str(path) for path in lod_paths(tmp_path / "out.glb", 2)]
    counts = [len(trimesh.load_scene(path).to_mesh().faces) for path in map(Path, report["lods"])]
    assert counts == pytest.approx([800, 200], rel=0.03)


def test_smoothing_flattens_what_the_grid_left(splats, tmp_path):
    angles = []
    for steps in (0, 20):
        mesh = merged(made(splats, tmp_path, smoothing=steps, faces=20_000)[0])
        angles.append(np.quantile(mesh.face_adjacency_angles, 0.95))
    assert angles[1] < 0.95 * angles[0]


def test_maps_are_in_the_material(splats, tmp_path):
    _, content, _ = made(splats, tmp_path, normal_map=True, occlusion=True)
    material = content["materials"][0]
    assert "normalTexture" in material
    assert "occlusionTexture" in material
    plain = made(splats, tmp_path)[1]["materials"][0]
    assert "normalTexture" not in plain
    assert "occlusionTexture" not in plain


def test_webp_is_smaller_and_said_to_be_required(splats, tmp_path):
    _, png, _ = made(splats, tmp_path, texture=512)
    before = (tmp_path / "out.glb").stat().st_size
    _, webp, _ = made(splats, tmp_path, texture=512, image="webp")
    assert (tmp_path / "out.glb").stat().st_size < before
    assert "EXT_texture_webp" in webp["extensionsRequired"]
    assert "EXT_texture_webp" not in png.get("extensionsRequired", [])


def test_charts_may_be_those_of_xatlas(splats, tmp_path):
    counts = [made(splats, tmp_path, charts=charts)[2]["charts"] for charts in ("own", "xatlas")]
    assert counts[0] != counts[1]
    assert min(counts) > 1


def test_refining_never_makes_it_worse(splats, tmp_path):
    report = made(splats, tmp_path, refine=8)[2]
    assert report["error_after"] <= report["error_before"]


def test_views_are_laid_over_the_field(splats, tmp_path):
    textures = []
    for views in (0, 6):
        made(splats, tmp_path, views=views)
        texture = read_mesh(tmp_path / "out.glb").texture
        assert texture is not None
        textures.append(texture.astype(float))
    assert 0 < np.abs(textures[0] - textures[1]).mean() < 25


def test_an_output_that_cannot_be_written_is_told_before_the_work(splats, tmp_path):
    (tmp_path / "out_lod1.glb").mkdir()
    with pytest.raises(Exception, match="out_lod1"):
        made(splats, tmp_path, lods=1)
    assert not (tmp_path / "out.glb").exists()


def test_unknown_words_are_refused():
    with pytest.raises(OptionError, match="topology"):
        MeshOptions(topology="hexagons")


def test_the_first_run_says_that_it_compiles(splats, tmp_path, monkeypatch):
    """Told by the folder of compiled kernels; those in use stay loaded, so that nothing is compiled here."""
    told = []
    for folder in (tmp_path / "empty", tmp_path / "full"):
        (folder / "surface").mkdir(parents=True)
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
        if folder.name == "full":
            (folder / "surface" / "kernel.nbi").touch()
        texts: list[str] = []
        note = texts.append
        splats_to_mesh(splats, tmp_path / "out.glb", mesh_options(SMALL), lambda *said, note=note: note(said[2]))
        told.append(any("compiling" in text for text in texts))
    assert told == [True, False]


def test_saved_splats_lie_over_the_mesh(splats, tmp_path):
    """They have its size and place, and become the same mesh again."""
    mesh, _, report = made(splats, tmp_path, save_splats=True, size=3.0)
    assert report["saved_splats"] == str(tmp_path / "out.ply")
    saved = read_splats(tmp_path / "out.ply")
    assert len(saved) == report["gaussians"]
    low, high = saved.means.min(0), saved.means.max(0)
    np.testing.assert_allclose(low, mesh.bounds[0], atol=0.1)
    np.testing.assert_allclose(high, mesh.bounds[1], atol=0.1)
    extent = (mesh.bounds[1] - mesh.bounds[0]).max()
    assert extent == pytest.approx(3.0, rel=1e-4)
    distances = KDTree(mesh.vertices).query(saved.means)[0]
    assert np.quantile(distances, 0.9) < 0.05 * extent
    kept = made(splats, tmp_path, save_splats=True, keep_frame=True)[0]
    saved = read_splats(tmp_path / "out.ply")
    np.testing.assert_allclose(np.quantile(saved.means, 0.5, axis=0), np.median(kept.vertices, axis=0), atol=0.15)
    source = read_splats(splats)
    np.testing.assert_allclose(saved.means.min(0), source.means.min(0), atol=0.02)


def test_splats_are_never_saved_over_their_source(splats):
    before = splats.read_bytes()
    with pytest.raises(OptionError, match="read from"):
        splats_to_mesh(splats, splats.with_suffix(".glb"), MeshOptions(**{**SMALL, "save_splats": True}))
    assert splats.read_bytes() == before

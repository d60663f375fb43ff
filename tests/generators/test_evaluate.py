# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the evaluation of AGG: what its figures must be for results that are known."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.fields.gaussians import Gaussians
from engine.generators.agg.config import PRESETS
from engine.generators.agg.evaluate import (
    SIZE,
    Settings,
    evaluate,
    main,
    make_case,
    measure,
    measure_mesh,
    mesh_of,
    point_figures,
    summary,
    table,
)
from engine.generators.agg.generate import isotropic
from engine.generators.agg.network import AggNetwork
from engine.generators.agg.quick import quick_figures, torch_generator
from engine.generators.agg.stages import before_superres, cut
from engine.nets.runtime import open_session
from engine.render.splat_cpu import render
from engine.training.data.packs import Pack
from engine.training.evaluation.nearest import NearestObject

SMALL = replace(
    PRESETS["xs"], vit_width=32, vit_depth=1, unet=(16, 16), queries=256, width=32, depth=1, plane_tokens=4,
    plane_channels=8, plane_depth=1, decoder=16, generate=2048, superres=1, latent=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def case(pack_index):
    return make_case(Pack(pack_index).mesh(0), np.random.default_rng(0), views=4)


def skin(case, opacity: float = 0.9) -> Gaussians:
    """Gaussians on the true surface, all of one colour."""
    return isotropic(case.points, 0.015, np.full(len(case.points), opacity), np.full((len(case.points), 3), 0.5))


def test_points_of_the_true_surface_have_perfect_figures(case):
    figures = point_figures(case.points, case, aligned=True)
    assert figures["f_0.1"] == figures["aligned_f_0.1"] == 1
    assert figures["chamfer"] == 0
    assert figures["aligned_chamfer"] < 0.03


def test_alignment_forgives_a_turn_and_the_camera_frame_does_not(case):
    turned = case.points[:, [1, 2, 0]]
    figures = point_figures(turned, case, aligned=True)
    assert figures["f_0.1"] < 0.8
    assert figures["aligned_f_0.1"] > 0.99


def test_nothing_made_is_worse_than_anything(case):
    rng = np.random.default_rng(0)
    faint, views = measure(skin(case, opacity=0.4), case, rng, aligned=True)
    solid, _ = measure(skin(case), case, rng, aligned=True)
    assert views.shape == (5, SIZE, SIZE, 3)
    assert faint["solid"] == 0
    assert solid["solid"] == 1
    assert faint.keys() == solid.keys()
    assert faint["f_0.1"] == faint["aligned_f_0.5"] == 0
    assert faint["chamfer"] > 1 > solid["chamfer"]
    assert solid["f_0.1"] > 0.99
    blank, _ = measure(None, case, rng)
    assert blank["psnr"] < solid["psnr"]
    assert blank["perceptual_r"] > solid["perceptual_r"]


@pytest.mark.slow
def test_the_mesh_of_gaussians_lies_where_they_lie(case):
    mesh = mesh_of(skin(case))
    low, high = case.points.min(0), case.points.max(0)
    assert np.abs(mesh.vertices.min(0) - low).max() < 0.05 * (high - low).max()
    assert np.abs(mesh.vertices.max(0) - high).max() < 0.05 * (high - low).max()
    assert measure_mesh(mesh, case, np.random.default_rng(0))[0]["f_0.1"] > 0.99


@pytest.mark.slow
def test_the_nearest_object_is_the_one_in_the_picture(pack_index, tmp_path):
    pack = Pack(pack_index)
    nearest = NearestObject(pack_index, tmp_path)
    for i in range(len(pack)):
        case = make_case(pack.mesh(i), np.random.default_rng([i, 1]), views=2)
        mesh, number = nearest.find(case.photo)
        assert number == i
        figures, _ = measure_mesh(mesh, case, np.random.default_rng(0))
        assert figures["psnr_input"] > measure(None, case, np.random.default_rng(0))[0]["psnr_input"] + 3
    (cached,) = (tmp_path / "nearest").glob("*.npy")
    before = cached.stat().st_mtime_ns
    again = NearestObject(pack_index, tmp_path)
    assert cached.stat().st_mtime_ns == before
    assert np.array_equal(again.pictures, nearest.pictures)
    cached.write_bytes(cached.read_bytes()[:200])
    assert np.array_equal(NearestObject(pack_index, tmp_path).pictures, nearest.pictures)


@pytest.mark.slow
def test_an_untrained_network_scores_as_the_inflated_silhouette(pack_index, tmp_path, monkeypatch):
    """The network starts from the inflated silhouette, so that geometry must agree before anything is learned."""
    monkeypatch.setenv("GAUSSMITH_CACHE", str(tmp_path))
    torch.manual_seed(0)
    settings = Settings(pictures=1, views=3, timed=False)
    sheet = tmp_path / "sheet.png"
    figures = evaluate(pack_index, torch_generator(AggNetwork(SMALL)), settings, sheet, pack_index)
    mean = figures["mean"]
    assert list(mean) == ["agg", "inflated", "nearest", "blank"]
    assert mean["agg"]["f_0.1"] == pytest.approx(mean["inflated"]["f_0.1"], abs=0.1)
    assert figures["objects"] == figures["pictures"] == len(figures["rows"]) == 3
    assert figures["by_style"]["scan"]["pictures"] == 3
    low, middle, high = (figures["differences"]["agg - inflated"]["f_0.1"][k] for k in (1, 0, 2))
    assert low <= middle <= high
    assert sheet.stat().st_size > 10_000
    assert "agg - nearest" in table(figures | {"seconds": {}})


def test_means_and_differences_of_known_rows():
    rows = [
        {"object": i, "name": "", "style": "scan" if i else "game", "picture": p, "agg": {"psnr": 10.0 + i + p},
         "blank": {"psnr": 9.0 + i}} for i in range(3) for p in range(2)
    ]  # fmt: skip
    figures = summary(rows)
    assert figures["mean"] == {"agg": {"psnr": 11.5}, "blank": {"psnr": 10.0}}
    assert figures["by_style"]["game"]["agg"]["psnr"] == 10.5
    assert figures["differences"]["agg - blank"]["psnr"] == [1.5, 1.5, 1.5]


@pytest.mark.slow
def test_quick_figures_are_the_same_each_time_and_follow_the_network(pack_index):
    torch.manual_seed(0)
    network = AggNetwork(SMALL).train()
    first, second = (quick_figures(network, pack_index, limit=2) for _ in range(2))
    assert first == second
    assert network.training
    with torch.no_grad():
        network.layer_head.weight.zero_()
        network.layer_head.load_state_dict({**network.layer_head.state_dict(), "bias": torch.tensor([6.0, -6.0])})
    deep = quick_figures(network, pack_index, limit=2)  # front and back are far apart now
    assert deep["chamfer"] > first["chamfer"] + 0.05
    assert deep["psnr"] < first["psnr"]


def test_command_line_says_what_is_wrong(pack_index, tmp_path, capsys):
    torch.manual_seed(0)
    generator = torch_generator(AggNetwork(SMALL))
    assert main(["--pack", str(tmp_path / "none.csv")], lambda weights: generator) == 1
    assert "none.csv" in capsys.readouterr().err
    assert main(["--pack", str(pack_index), "--views", "0"], lambda weights: generator) == 1
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_command_line_writes_figures_rows_and_a_line_for_curves(pack_index, tmp_path, capsys):
    torch.manual_seed(0)
    generator = torch_generator(AggNetwork(SMALL))
    generator.network.card["training"] = {"steps": 50, "batch": 8}
    output, lines = tmp_path / "figures.json", tmp_path / "evaluations.jsonl"
    arguments = ["--pack", str(pack_index), "--pictures", "1", "--views", "2", "--limit", "2", "--append", str(lines)]
    assert main([*arguments, "-o", str(output)], lambda weights: generator) == 0
    figures = json.loads(output.read_text())
    assert figures["objects"] == 2
    assert figures["mean"]["agg"]["aligned_f_0.1"] >= figures["mean"]["agg"]["f_0.1"] - 0.05
    assert len(json.loads((tmp_path / "figures.rows.json").read_text())) == 2
    assert json.loads(lines.read_text()) == {"examples": 400, **figures["mean"]["agg"]}
    assert "inflated" in capsys.readouterr().out


def test_views_of_gaussians_are_rendered_before_white(case):
    """The first view is the picture's own camera."""
    gaussians = skin(case)
    seen = render(gaussians, case.cameras.viewmats[0], case.cameras.Ks[0], SIZE, SIZE, background=(1, 1, 1)).colors
    _, views = measure(gaussians, case, np.random.default_rng(0))
    assert np.array_equal(views[0], seen)
    assert views[0][0, 0] == pytest.approx(1.0)
    photo = case.photo[..., 3].reshape(SIZE, 2, SIZE, 2).mean((1, 3)) > 0.5
    covered = (seen < 0.75).all(-1)
    assert (photo & covered).sum() / (photo | covered).sum() > 0.85


def staged(coarse_alone: bool) -> onnx.ModelProto:
    """x -> (encode: camera) -> (coarse: means) -> (super-resolution: more) with one weight each."""
    weights = [numpy_helper.from_array(np.full(1, value, np.float32), name)
               for name, value in (("network.vit.w", 2), ("network.move.w", 3), ("network.superres.w", 5))]  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["x", "network.vit.w"], ["tan_half_fov"]),
        helper.make_node("Add", ["tan_half_fov", "network.move.w"], ["coarse_means"]),
        helper.make_node("Mul", ["coarse_means", "network.superres.w"], ["means"]),
    ]
    if coarse_alone:
        nodes, weights = nodes[:2], weights[:2]
        nodes[1].output[0] = "means"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("means", "tan_half_fov")], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


def test_a_network_is_cut_where_its_stages_meet():
    model = staged(coarse_alone=False)
    names = before_superres(model)
    assert names == ["coarse_means", "tan_half_fov"]
    x = np.array([7.0], np.float32)
    assert open_session(cut(model, names).SerializeToString()).run(None, {"x": x})[0] == [17.0]
    camera = cut(model, ["tan_half_fov"])
    assert len(camera.graph.node) == 1
    assert open_session(camera.SerializeToString()).run(None, {"x": x})[0] == [14.0]


def test_a_network_without_super_resolution_ends_with_its_outputs():
    assert before_superres(staged(coarse_alone=True)) == ["means", "tan_half_fov"]

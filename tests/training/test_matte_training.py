# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures with a known matte, the training on them, its export, and the figures it is judged by."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.image.learned_matte import LearnedMatte
from engine.nets.runtime import OnnxNetwork
from engine.surface.mesh import Mesh
from engine.training.data.pack_writer import PackObject, write_pack
from engine.training.matte import evaluate, train
from engine.training.matte.backgrounds import HELD_OUT, KINDS
from engine.training.matte.composites import compose
from engine.training.matte.cutouts import FILL, SIDE, CutoutSettings, cutout, render_cutouts
from engine.training.matte.export import export
from engine.training.matte.network import MatteConfig, MatteNetwork
from engine.training.schedule import TimeBudget
from tests.generators.tiny_agg import second_by_second

SETTINGS = CutoutSettings(count=6, textures=3)


def box(height: float, color: int) -> Mesh:
    """A closed box, 1 wide and deep."""
    vertices = np.array(list(product((0, 1), (0, height), (0, 1))), np.float32)
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.int32)
    texture = np.full((64, 64, 3), (color, 60, 200 - color), np.uint8)
    return Mesh(vertices, faces, uvs=np.full((8, 2), 0.5, np.float32), texture=texture)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    index = tmp_path_factory.mktemp("pack") / "boxes.csv"
    write_pack(index, (PackObject(f"box{k}", box(0.5 + k / 2, 60 * k)) for k in range(3)))
    return index


@pytest.fixture(scope="module")
def cutouts(pack, tmp_path_factory):
    return render_cutouts([pack], tmp_path_factory.mktemp("run") / "cutouts", SETTINGS)


def test_a_cutout_fills_its_share_and_its_contact_shadow_lies_below(cutouts):
    for picture, ground in zip(cutouts.objects, cutouts.grounds, strict=True):
        rows, columns = np.nonzero(picture[..., 3] > 127)
        assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(FILL * SIDE, rel=0.03)
        if ground[..., 1].any():
            assert np.nonzero(ground[..., 1])[0].mean() > rows.mean() / 2


def test_colours_of_cutouts_are_premultiplied():
    picture, _ = cutout(box(1, 200), np.random.default_rng(0))
    assert (picture[..., :3].max(-1) <= picture[..., 3]).all()


def test_cutouts_are_rendered_once_and_never_mixed_with_others(cutouts, pack):
    folder = cutouts.folder
    before = (folder / "objects.npy").stat().st_mtime_ns
    render_cutouts([pack], folder, SETTINGS)
    assert (folder / "objects.npy").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="other settings"):
        render_cutouts([pack], folder, CutoutSettings(count=7))


@pytest.mark.parametrize("kind", [*KINDS, *HELD_OUT])
def test_a_composite_is_a_picture_with_the_alpha_of_its_object(cutouts, kind):
    composite = compose(cutouts, 96, np.random.default_rng(3), kind, (0,))
    again = compose(cutouts, 96, np.random.default_rng(3), kind, (0,))
    np.testing.assert_array_equal(composite.rgb, again.rgb)
    assert composite.rgb.min() >= 0
    assert composite.rgb.max() <= 1
    assert 0.012 < composite.alpha.mean() < 0.98
    top, bottom, left, right = composite.inside
    outside = np.ones((96, 96), bool)
    outside[top:bottom, left:right] = False
    assert not composite.rgb[outside].any()
    assert not composite.alpha[outside].any()


def test_shadows_and_reflections_are_not_the_object(cutouts):
    """The alpha of a picture is no larger than the warped object: nothing of the floor belongs to it."""
    for seed in range(12):
        alpha = compose(cutouts, 96, np.random.default_rng(seed), "plain", (0,), letterbox=False).alpha
        rows, columns = np.nonzero(alpha > 0.5)
        solid = float(np.asarray(cutouts.objects[0])[..., 3].astype(bool).mean())
        fill = alpha.sum() / max(np.ptp(rows) + 1, np.ptp(columns) + 1) ** 2
        assert fill < 1.3 * solid / FILL**2


def test_nothing_and_two_objects(cutouts):
    assert not compose(cutouts, 96, np.random.default_rng(0), "noise", ()).alpha.any()
    both = compose(cutouts, 96, np.random.default_rng(0), "plain", (0, 1), letterbox=False)
    assert both.objects == 2
    assert both.alpha[:, :48].any()
    assert both.alpha[:, 48:].any()


def test_overlap_and_boundary_f_of_a_shifted_square():
    truth = np.zeros((60, 60))
    truth[20:40, 20:40] = 1
    for shift, iou, f in ((0, 1, 1), (2, 18 / 22, 1), (10, 1 / 3, None)):
        moved = np.roll(truth, shift, 1)
        assert evaluate.overlap(moved, truth) == pytest.approx(iou)
        score = evaluate.boundary_f(moved, truth)
        assert score == f if f is not None else score < 0.6


def test_chances_are_those_that_were_drawn():
    """Pictures are good with a known chance; the regression finds that chance."""
    rng = np.random.default_rng(0)
    known = np.concatenate([np.ones((4000, 1)), rng.random((4000, 3))], 1)
    chance = 1 / (1 + np.exp(-known @ np.array([-2.0, 3.0, 0.0, 1.0])))
    found = evaluate.regressed(known, rng.random(4000) < chance)
    assert np.abs(1 / (1 + np.exp(-known @ found)) - chance).max() < 0.06


def test_the_network_answers_at_the_size_it_is_asked_and_is_small():
    network = MatteNetwork(MatteConfig()).eval()
    assert sum(p.numel() for p in network.parameters()) < 2.5e6
    with torch.no_grad():
        for side in train.SIZES:
            assert network(torch.zeros(1, 6, side, side)).shape == (1, 1, side, side)


def test_the_loss_is_least_for_the_truth_and_does_not_mind_pictures_of_nothing():
    alpha = torch.zeros(2, 1, 32, 32)
    alpha[0, :, 8:24, 8:24] = 1
    good, parts = train.matte_loss(12 * (2 * alpha - 1), alpha)
    assert (parts["iou"], float(good) < 1e-2) == (1.0, True)
    bad, parts = train.matte_loss(-12 * (2 * alpha - 1), alpha)
    assert parts["iou"] == 0
    assert float(bad) > 5


@pytest.mark.slow
def test_a_few_steps_learn_a_few_pictures(cutouts):
    torch.manual_seed(0)
    settings = train.TrainSettings(workers=0, batch=4)
    picture, alpha = train.split(next(train.batches(cutouts.folder, 96, settings, 0)))
    network = MatteNetwork(MatteConfig())
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        loss, _ = train.matte_loss(network(picture), alpha)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.slow
def test_a_training_goes_on_and_is_exported(pack, cutouts, tmp_path):
    """A run goes on from its checkpoint, and its export says what torch says."""
    folder = cutouts.folder
    run = tmp_path / "run"
    settings = train.TrainSettings(minutes=0.25, workers=0, report_every=1, cutouts=SETTINGS.count, batch=4)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(train, "CutoutSettings", lambda count, seed: SETTINGS)
    monkey.setattr(TimeBudget, "elapsed", second_by_second)
    with monkey.context():
        train.train([pack], run, settings, False, folder)
        lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines if "loss" in line]
        assert np.isfinite(losses).all()
        train.train([pack], run, replace(settings, minutes=0.4), True, folder)
    monkey.undo()
    card = export(run, tmp_path / "matte.onnx", {"licence": "none"})  # raises where the two disagree
    assert card["training"]["steps"] > len(losses)
    assert (tmp_path / "matte.onnx").stat().st_size < 10e6
    guess = LearnedMatte(OnnxNetwork(tmp_path / "matte.onnx")).look(np.random.rand(50, 90, 3).astype(np.float32))
    assert guess.alpha.shape == (107, 192)

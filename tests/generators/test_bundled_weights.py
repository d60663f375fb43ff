# SPDX-License-Identifier: GPL-3.0-or-later
"""The network that ships: what it must know that no silhouette tells, and what its card must say."""

import numpy as np
import pytest

from engine.generators.agg.evaluate import inflated_silhouette, make_case, measure
from engine.generators.agg.generate import WEIGHTS, AggGenerator
from engine.image.load import load_picture
from engine.image.matte import matte
from engine.nets.runtime import read_card
from engine.render.splat_cpu import render
from engine.training.data.packs import Pack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def agg() -> AggGenerator:
    return AggGenerator.load()


def test_boxes_come_out_better_than_the_inflated_silhouette(agg, pack_index):
    """Geometry and novel views of boxes it never saw, over nine pictures."""
    pack = Pack(pack_index)
    figures = {"agg": [], "inflated": []}
    for i in range(len(pack)):
        for picture in range(3):
            rng = np.random.default_rng([i, picture])
            case = make_case(pack.mesh(i), rng)
            figures["agg"].append(measure(agg.look(case.photo).gaussians, case, rng)[0])
            figures["inflated"].append(measure(inflated_silhouette(case.photo, agg.settings), case, rng)[0])
    means = {
        method: {name: np.mean([row[name] for row in rows]) for name in rows[0]} for method, rows in figures.items()
    }
    assert means["agg"]["f_0.1"] > means["inflated"]["f_0.1"] + 0.03
    assert means["agg"]["chamfer"] < means["inflated"]["chamfer"]
    assert means["agg"]["psnr"] > means["inflated"]["psnr"]
    assert means["agg"]["psnr_input"] > 20


def test_same_picture_and_seed_give_the_same_gaussians(agg, root):
    prompt = matte(load_picture(root / "examples/teapot.png")).rgba
    first, second, other = (agg.generate(prompt, seed=seed).gaussians for seed in (3, 3, 4))
    assert np.array_equal(first.means, second.means)
    assert np.array_equal(first.colors, second.colors)
    assert not np.array_equal(first.means, other.means)


@pytest.mark.parametrize("name", ["teapot.png", "mushroom.png"])
def test_the_gaussians_lie_on_the_object_in_the_picture(agg, root, name):
    """Rendered with the photograph's camera, at the size of the picture."""
    prompt = matte(load_picture(root / "examples" / name)).rgba
    imagined = agg.generate(prompt)
    photograph = imagined.photograph
    assert photograph is not None
    assert photograph.rgba is prompt
    height, width = prompt.shape[:2]
    seen = render(imagined.gaussians, photograph.viewmat, photograph.K, width, height)
    ours, theirs = seen.alphas > 0.5, prompt[..., 3] > 0.5
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.88
    both = ours & theirs
    error = np.abs(seen.colors[both] / seen.alphas[both, None] - prompt[..., :3][both])
    assert error.mean() < 0.06


def test_no_bundled_network_tells_of_the_machine_it_was_exported_on():
    networks = list(WEIGHTS.glob("*.onnx"))
    assert networks
    assert not [path.name for path in networks if b".py" in path.read_bytes()]


def test_card_names_data_licences_and_figures_beside_both_baselines():
    card = read_card(WEIGHTS / "agg_xs.onnx")
    assert sum(source["objects"] for source in card["data"]) > 1000
    assert all(source["licence"] and source["attribution"] for source in card["data"])
    mean = card["metrics"]["mean"]
    assert mean["agg"]["f_0.1"] > mean["inflated"]["f_0.1"]
    assert mean["agg"]["psnr"] > max(mean["inflated"]["psnr"], mean["blank"]["psnr"])

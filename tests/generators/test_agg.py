# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about AGG: what its network starts from, what may move what, and that training, export and generation agree."""

import json
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import GaussmithError, OptionError, WeightsError
from engine.generators.agg import generate as generation
from engine.generators.agg.config import PRESETS
from engine.generators.agg.data import batches
from engine.generators.agg.export import OUTPUTS, Exported, export, sample_inputs
from engine.generators.agg.loss import LossWeights, geometry_loss, look_at_best, look_loss, rendering_loss
from engine.generators.agg.network import MAX_SHIFT, AggNetwork, Inputs
from engine.generators.agg.superres_config import SuperResConfig
from engine.generators.agg.train import TrainSettings, begin_with, rate_at, stage_at
from engine.image.frame import Frame
from engine.nets.runtime import OnnxNetwork
from engine.training.checkpoint import save_checkpoint
from engine.training.data.views import ViewSettings
from engine.training.onnx_file import check_agreement, write_onnx

SMALL = replace(
    PRESETS["xs"], vit_width=32, vit_depth=1, unet=(16, 16), queries=256, width=32, depth=1, plane_tokens=4,
    plane_channels=8, plane_depth=1, decoder=16, generate=512, superres=2,
    superres_sizes=SuperResConfig(width=16, channels=(8, 16), grid=8, heads=2),
)  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """A preset small enough to train in a test."""
    monkeypatch.setitem(PRESETS, "small", SMALL)
    return SMALL


def sample(config) -> Inputs:
    return Inputs(*(torch.from_numpy(value) for value in sample_inputs(config).values()))


def woken(network: AggNetwork) -> AggNetwork:
    """The network with small random numbers where it starts from zeros, as if trained."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        if not parameter.abs().sum():
            torch.nn.init.normal_(parameter, 0, 0.02)
    return network.eval()


def test_untrained_network_returns_the_inflated_silhouette():
    torch.manual_seed(0)
    inputs = sample(SMALL)
    inputs = replace(inputs, inflated=torch.full_like(inputs.inflated, 0.3))
    output, anchors = AggNetwork(SMALL).coarse(inputs), inputs.anchors
    expected_z = 0.3 * (2 * anchors[..., 2] - 1)
    assert torch.allclose(output.means[..., 2], expected_z, atol=1e-5)
    perspective = 1 - output.look.tan_half_fov[:, None] * expected_z
    assert torch.allclose(output.means[..., 0], anchors[..., 0] * perspective, atol=1e-5)
    assert torch.equal(output.log_scales, torch.zeros(1, SMALL.queries, 3))
    assert torch.allclose(output.quats, torch.tensor([1.0, 0, 0, 0]))


def test_scales_and_rotations_are_canonical_until_they_are_released():
    network = woken(AggNetwork(SMALL))
    released = network.coarse(sample(SMALL))
    assert released.log_scales.abs().max() > 0.01
    assert torch.allclose(released.quats.norm(dim=-1), torch.ones(1, SMALL.queries), atol=1e-5)
    network.release = 0.0
    canonical = network.coarse(sample(SMALL))
    assert not canonical.log_scales.any()
    assert torch.equal(canonical.means, released.means)
    isotropic = woken(AggNetwork(replace(SMALL, anisotropic=False)))
    assert not isotropic.coarse(sample(SMALL)).log_scales.any()


def test_no_query_moves_sideways_farther_than_a_few_spacings():
    network = woken(AggNetwork(SMALL))
    torch.nn.init.normal_(network.get_parameter("move.1.weight"), 0, 50)
    inputs = sample(SMALL)
    output = network.coarse(inputs)
    perspective = 1 - output.look.tan_half_fov[:, None, None] * output.means[..., 2:]
    moved = (output.means[..., :2] / perspective - inputs.anchors[..., :2]).abs()
    assert moved.max() <= MAX_SHIFT * inputs.spacing + 1e-3
    assert moved.max() > 0.9 * MAX_SHIFT * inputs.spacing


def test_the_latent_moves_the_unseen_side_only():
    network = woken(AggNetwork(SMALL))
    inputs = sample(SMALL)
    plain = replace(inputs, latent=torch.zeros_like(inputs.latent))
    one, other = network.look(inputs).layers, network.look(plain).layers
    assert torch.equal(one[:, 0], other[:, 0])
    assert (one[:, 1] - other[:, 1]).abs().max() > 1e-4
    without = woken(AggNetwork(replace(SMALL, latent=0)))
    assert torch.isfinite(without(replace(inputs, latent=inputs.latent[:, :0])).means).all()


@pytest.mark.slow
def test_best_of_k_learns_two_backs_for_one_picture(small, pack_index):
    """The same picture with a near and a far back: latents come to give either, and 0 gives one of them or between."""
    torch.manual_seed(0)
    batch = next(batches([pack_index], small, ViewSettings(targets=0), 1, 0, 0))
    both = type(batch)(*(torch.cat([getattr(batch, f.name)] * 8) for f in fields(batch)))
    both.layers[::4, 1], both.layers[1::4, 1] = -0.1, -0.1
    both.layers[2::4, 1], both.layers[3::4, 1] = -0.7, -0.7
    network, latents = AggNetwork(small), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), 8e-3)
    for _ in range(60):
        _, look = look_at_best(network, both, 4, latents)
        optimizer.zero_grad()
        look_loss(look, both, LossWeights())[0].backward()
        optimizer.step()
    with torch.no_grad():
        inputs = both.inputs(torch.randn(8, small.latent, generator=latents))
        backs = network.look(inputs).layers[:, 1]
        inside = [float(back[mask].median()) for back, mask in zip(backs, both.mask, strict=True)]
    assert max(inside) - min(inside) > 0.3


@pytest.mark.parametrize(
    "change", [{"texture_field": False}, {"projected": False}, {"start": "learned"}, {"superres": 1}]
)
def test_parts_can_be_left_out(change):
    config = replace(SMALL, **change)
    network = woken(AggNetwork(config))
    inputs = sample(config)
    output = network(inputs)
    assert output.means.shape == (1, config.superres * config.queries, 3)
    (output.colors.sum() + output.means.sum()).backward()
    if not config.projected:  # the U-Net's features reach the queries only through the layers
        brighter = replace(inputs, picture=inputs.picture * torch.tensor([0.5, 0.5, 0.5, 1.0]).view(1, 4, 1, 1))
        assert not torch.equal(network(brighter).means, output.means)
    if config.start == "learned":
        moved = network(replace(inputs, anchors=-inputs.anchors))
        assert torch.equal(moved.means, output.means)


def test_stages_follow_the_shares_and_leave_out_what_the_configuration_does():
    shares = (0.3, 0.4, 0.7, 0.9)
    full = replace(SMALL, superres=4)
    assert [stage_at(f, shares, full)[0] for f in (0, 0.35, 0.5, 0.8, 0.95)] == [
        "layers", "warmup", "coarse", "sr", "joint"
    ]  # fmt: skip
    assert stage_at(0.55, shares, full)[1] == pytest.approx(0.5)
    assert stage_at(0.7, shares, replace(full, superres=1)) == ("coarse", pytest.approx(0.5))
    assert stage_at(0.35, shares, replace(full, warmup=False)) == ("coarse", pytest.approx(0.5))


def test_texture_does_not_bend_geometry():
    network = woken(AggNetwork(SMALL))
    output = network.coarse(sample(SMALL))
    (output.colors.sum() + output.opacities.sum()).backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in network.move.parameters())
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in network.query_blocks.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in network.texture.parameters())


def test_more_anchors_than_in_training_are_welcome():
    network = woken(AggNetwork(SMALL))
    with torch.no_grad():
        output = network(sample(replace(SMALL, queries=1024)))
    assert output.means.shape == (1, 2048, 3)
    assert output.opacities.min() > 0
    assert output.colors.max() <= 1


@pytest.mark.slow
def test_every_preset_is_a_working_network_on_paper():
    for config in PRESETS.values():
        with torch.device("meta"):
            network = AggNetwork(config)
        assert config.queries % config.group == 0
        assert config.generate % (config.group * config.superres) == 0
        assert config.picture % config.patch == 0
        assert sum(parameter.numel() for parameter in network.parameters()) > 5e6


@pytest.mark.slow
def test_all_losses_fall_on_a_batch_seen_again_and_again(small, pack_index):
    torch.manual_seed(0)
    batch = next(batches([pack_index], small, ViewSettings(target=32, targets=2), 3, 0, 0))
    network = AggNetwork(small)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    history = []
    for _ in range(40):
        output = network.coarse(batch.inputs(torch.zeros(3, small.latent)))
        geometry, parts = geometry_loss(output, batch, LossWeights())
        rendering, more, _ = rendering_loss(output, batch, small, LossWeights())
        optimizer.zero_grad()
        (geometry + rendering).backward()
        optimizer.step()
        history.append(parts | more)
    first, last = (
        {name: np.mean([h[name] for h in part]) for name in history[0]} for part in (history[:4], history[-4:])
    )
    for name in ("layers", "tilt", "fov", "chamfer", "color", "alpha"):
        assert last[name] < 0.75 * first[name], name
    assert last["psnr"] > first["psnr"] + 2


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small network with a run's checkpoint, exported."""
    folder = tmp_path_factory.mktemp("export")
    network = woken(AggNetwork(SMALL))
    weights = {name: value.half().float() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    save_checkpoint(
        folder / "checkpoint.pt",
        {"preset": "small", "settings": {"batch": 4}, "step": 7, "seconds": 60.0, "ema": weights},
    )
    PRESETS["small"] = SMALL
    try:
        card = export(folder, folder / "agg_small.onnx", {"licence": "CC0"})
    finally:
        del PRESETS["small"]
    return network, folder / "agg_small.onnx", card


@pytest.mark.slow
def test_exported_network_equals_the_torch_one(exported):
    network, path, card = exported
    sample = sample_inputs(replace(SMALL, queries=SMALL.generate // 2))
    assert check_agreement(Exported(network).eval(), path.read_bytes(), sample) < 1e-3
    assert card["licence"] == "CC0"
    assert b".py" not in path.read_bytes()  # no trace of where it was made
    assert set(OnnxNetwork(path)(**sample)) == set(OUTPUTS)


@pytest.mark.slow
def test_a_network_that_is_exported_wrongly_leaves_no_file(tmp_path):
    """Weights that float16 does not hold come out different: nothing is written."""
    network = nn.Linear(512, 4).eval()
    nn.init.normal_(network.weight, std=1e-9)  # below what float16 knows
    sample = {"x": np.ones((1, 512), np.float32)}
    nn.init.zeros_(network.bias)
    with pytest.raises(GaussmithError, match="differs"):
        write_onnx(network, sample, ["y"], tmp_path / "linear.onnx", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_new_run_can_begin_with_exported_weights(exported, small):
    network, path, _ = exported
    fresh = AggNetwork(SMALL)
    assert begin_with(fresh, path.with_suffix(".pt"), "small") == []
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in network.state_dict().items())
    wider = AggNetwork(replace(SMALL, decoder=24))
    assert all(name.startswith("decoder.") for name in begin_with(wider, path.with_suffix(".pt"), "small"))
    with pytest.raises(OptionError, match="preset 'small', not 'xs'"):
        begin_with(fresh, path.with_suffix(".pt"), "xs")


@pytest.mark.slow
def test_weights_of_another_checksum_or_none_are_refused(exported, tmp_path):
    _, path, card = exported
    with pytest.raises(WeightsError, match="missing"):
        OnnxNetwork(tmp_path / "agg_small.onnx")
    (tmp_path / "agg_small.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="could not be read"):
        OnnxNetwork(tmp_path / "agg_small.onnx")
    (tmp_path / "agg_small.onnx").write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="not the ones expected"):
        OnnxNetwork(tmp_path / "agg_small.onnx")
    (tmp_path / "agg_small.json").write_text("{")
    with pytest.raises(WeightsError, match="card"):
        OnnxNetwork(tmp_path / "agg_small.onnx")


@pytest.mark.slow
def test_generation_stands_upright_in_the_object_frame(exported):
    generator = generation.AggGenerator.load(exported[1])
    prompt = np.zeros((90, 60, 4), np.float32)
    prompt[10:80, 20:40] = [0.9, 0.1, 0.1, 1.0]
    field = generator.generate(prompt, seed=1).gaussians
    low, high = field.bounds()
    assert len(field) == SMALL.generate
    assert (high - low).max() == pytest.approx(1.8, abs=1e-3)
    assert np.allclose(low + high, 0, atol=1e-3)
    assert (high - low)[1] > 1.5 * (high - low)[0]
    assert np.array_equal(field.means, generator.generate(prompt, seed=1).gaussians.means)
    assert not np.array_equal(field.means, generator.generate(prompt, seed=2).gaussians.means)


def test_upright_undoes_the_camera_s_elevation():
    tilted = np.array([[0, np.cos(0.4), np.sin(0.4)]], np.float32)
    seen = generation.Seen(generation.isotropic(tilted, 0.1, np.ones(1), np.ones((1, 3))), 0.3, 0.4)
    assert np.allclose(generation.upright(seen)[0].means, [[0, 1, 0]], atol=1e-6)


def test_the_photograph_s_camera_sees_each_gaussian_where_the_network_put_it():
    """Through framing, turning upright and scaling: pixels of the whole prompt, not of the framed square."""
    t, elevation = 0.28, 0.35
    rng = np.random.default_rng(0)
    means = rng.uniform(-0.8, 0.8, (50, 3)).astype(np.float32)
    seen = generation.Seen(generation.isotropic(means, 0.1, np.ones(50), np.ones((50, 3))), t, elevation)
    framed = Frame(np.zeros((8, 8, 4), np.float32), center=(70.5, 33.0), side=48.0)
    gaussians, viewmat = generation.normalised(*generation.upright(seen))
    camera = gaussians.means @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixels = (camera @ generation.pixels(framed, t).T)[:, :2] / camera[:, 2:]
    uv = means[:, :2] / (1 - t * means[:, 2:])  # the view frame's own projection: see anchors.py
    assert np.allclose(pixels, [70.5, 33.0] + 24 * uv * [1, -1], atol=1e-3)
    assert np.allclose(viewmat[:3, :3] @ viewmat[:3, :3].T, np.eye(3), atol=1e-6)


def test_seen_points_take_the_photograph_s_colours():
    photo = np.zeros((256, 256, 4), np.float32)
    photo[:128, :, 0] = 1
    photo[128:, :, 2] = 1
    photo[..., 3] = 1
    means = np.array([[0, 0.5, 0.2], [0.3, -0.5, -0.4]], np.float32)
    for alpha in (1.0, 0.3):  # colours do not darken where the object's edge is thin
        photo[..., 3] = alpha
        colors, cover = generation.photo_colors(photo, means, 0.25)
        assert np.allclose(colors, [[1, 0, 0], [0, 0, 1]], atol=1e-5)
        assert np.allclose(cover, alpha)


def test_reduced_picture_does_not_mix_in_what_is_transparent():
    photo = np.zeros((4, 4, 4), np.float32)
    photo[..., 1] = 1
    photo[0, 0] = [1, 0, 0, 1]
    small = generation.reduced(photo, 2)
    assert np.allclose(small[0, 0], [1, 0, 0, 0.25])
    assert sys.float_info.epsilon > abs(small[1, 1, 3])


def test_mixed_batches_differ_in_the_number_of_queries_and_agree_within(small, pack_index):
    stream = batches([pack_index], small, ViewSettings(targets=0), 2, 0, 0, mixed=True)
    counts = {next(stream).anchors.shape[1] for _ in range(12)}
    assert counts == {128, 256, 512}


def test_rates_anneal_the_trunk_before_super_resolution_begins():
    settings = TrainSettings(shares=(0.3, 0.4, 0.7, 0.9), peak_rate=1e-3)
    full = replace(SMALL, superres=4)
    assert rate_at("coarse", 0.999, 0.6999, 5000, settings, full) < 2e-5
    assert rate_at("layers", 0.5, 0.15, 5000, settings, full) > 8e-4
    assert rate_at("sr", 0.0, 0.7, 9000, settings, full) < 2e-5
    assert rate_at("sr", 0.2, 0.74, 9000, settings, full) > 8e-4
    assert 1e-4 < rate_at("joint", 0.2, 0.92, 9000, settings, full) < 2e-4
    assert rate_at("coarse", 0.5, 0.7, 5000, settings, replace(full, superres=1)) > 1e-4

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about super-resolution: grids and look-ups, what may change a child and what may not, and how it looks."""

from dataclasses import fields, replace

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn
from torch.nn import functional as F

from engine.fields.cameras import orbit
from engine.generators.agg.config import PRESETS, AggConfig
from engine.generators.agg.network import AggOutput, Look
from engine.generators.agg.superres import SuperResolution, rotated, turned
from engine.generators.agg.superres_config import SUPERRES_PRESETS, SuperResConfig
from engine.nets.point_voxel import PointVoxelUNet, devoxelise, grid_coordinates, voxelise
from engine.render.splat_torch import rasterize_views

SMALL = replace(
    PRESETS["xs"], vit_width=32, unet=(16, 16), width=24, picture=64, layers=32, superres=4,
    superres_sizes=SuperResConfig(width=32, channels=(16, 32), grid=8),
)  # fmt: skip
RADIUS = 0.7
OWN = [field.name for field in fields(AggOutput) if field.name not in ("look", "tokens")]


def ball(config: AggConfig, count: int, seed: int = 0) -> tuple[AggOutput, torch.Tensor, torch.Tensor]:
    """`count` coarse Gaussians evenly on a ball as the coarse stage would leave them, the picture and their spacing.

    All that they know is a smooth function of where they are, the same for every count.
    """
    i = torch.arange(count) + 0.5
    polar, turn = torch.acos(1 - 2 * i / count), 10.166407384630519 * i  # golden angle
    means = RADIUS * torch.stack([polar.sin() * turn.cos(), polar.cos(), polar.sin() * turn.sin()], -1)[None]
    noise = torch.Generator().manual_seed(seed)
    size = config.layers
    v, u = torch.meshgrid(torch.linspace(1, -1, size), torch.linspace(-1, 1, size), indexing="ij")
    depth = (RADIUS**2 - u**2 - v**2).clamp(min=0).sqrt()
    features = F.interpolate(torch.randn(1, config.unet[0], 4, 4, generator=noise), size=size, mode="bilinear")
    look = Look(
        torch.stack([depth, -depth])[None], (depth > 0).float()[None, None], torch.tensor([0.2]), torch.zeros(1),
        features, torch.randn(1, 17, config.vit_width, generator=noise),
    )  # fmt: skip
    side = config.picture
    centres = (torch.arange(side) + 0.5) * (2 / side) - 1
    y, x = torch.meshgrid(-centres, centres, indexing="ij")
    colors = torch.stack([0.5 + 0.4 * torch.sin(20 * x), 0.5 + 0.4 * torch.sin(17 * y), 0.5 + 0.3 * x])
    picture = torch.cat([colors, (x**2 + y**2 < (RADIUS * 1.01) ** 2).float()[None]])[None]
    waves = torch.sin(means @ torch.randn(3, config.width, generator=noise))
    shade = 0.5 + 0.3 * torch.sin(4 * means)
    coarse = AggOutput(
        look=look, means=means, log_scales=torch.zeros_like(means),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(1, count, 4).contiguous(), opacities=0.9 - 0.2 * shade[..., 0],
        keep=0.3 + 0.2 * shade[..., 1], field=shade, colors=shade, tokens=waves,
    )  # fmt: skip
    return coarse, picture, torch.tensor([RADIUS * (4 * np.pi / count) ** 0.5], dtype=torch.float32)


def woken(config: AggConfig, scale: float = 0.05) -> SuperResolution:
    """The stage with small random numbers in its heads, as if trained."""
    torch.manual_seed(1)
    network = SuperResolution(config, config.superres_sizes).eval()
    nn.init.normal_(network.residual.weight, 0, scale)
    return network


def selected(coarse: AggOutput, order: torch.Tensor) -> AggOutput:
    """The coarse Gaussians `order` only, in that order."""
    return replace(coarse, **{name: getattr(coarse, name)[:, order] for name in (*OWN, "tokens")})


def rendered(config: AggConfig, output: AggOutput, spacing: torch.Tensor) -> torch.Tensor:
    """Views [4, 96, 96, 3] from all around over white."""
    cameras = orbit(np.arange(4) * 90.0, np.array([0.0, 20.0, 0.0, -50.0]), 4.0, 30.0, 96, 96)
    scales = config.scale * spacing[:, None, None] * torch.exp(output.log_scales)
    return rasterize_views(
        output.means[0], output.quats[0], scales[0], output.opacities[0], output.colors[0],
        torch.from_numpy(cameras.viewmats), torch.from_numpy(cameras.Ks), 96, 96, torch.ones(3),
    )[0]  # fmt: skip


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(F.mse_loss(a, b)))


# --- Grids -----------------------------------------------------------------------------------------------------------


def test_a_cell_holds_the_average_of_its_points():
    points = torch.tensor([[[-0.9, -0.9, -0.9], [-0.6, -0.6, -0.6], [0.9, -0.9, -0.9], [0.9, 0.9, 1.5]]])
    grid = voxelise(torch.tensor([[[1.0], [3.0], [5.0], [7.0]]]), points, 2)
    assert grid.shape == (1, 1, 2, 2, 2)
    assert grid[0, 0, 0, 0, 0] == 2  # z, y, x
    assert grid[0, 0, 0, 0, 1] == 5
    assert grid[0, 0, 1, 1, 1] == 7  # from outside
    assert grid.sum() == 14


def test_pictures_of_a_batch_keep_their_points_apart():
    points = torch.rand(3, 50, 3) * 2 - 1
    features = torch.rand(3, 50, 4)
    together = voxelise(features, points, 4)
    assert torch.allclose(together[1:2], voxelise(features[1:2], points[1:2], 4))
    looked_up = devoxelise(together, points)
    assert torch.allclose(looked_up[2:], devoxelise(together[2:], points[2:]))


def test_look_up_is_exact_for_what_is_linear_and_constant_beyond_the_last_centres():
    size = 6
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * (2 / size) - 1
    z, y, x = torch.meshgrid(centres, centres, centres, indexing="ij")
    grid = (1 + 2 * x - 3 * y + 0.5 * z)[None, None]
    points = (torch.rand(1, 200, 3, dtype=torch.float64) * 2 - 1) * float(centres[-1])
    expected = 1 + points @ torch.tensor([[2.0], [-3.0], [0.5]], dtype=torch.float64)
    assert torch.allclose(devoxelise(grid, points), expected)
    corner = torch.ones(1, 1, 3, dtype=torch.float64)
    assert torch.allclose(devoxelise(grid, corner)[0, 0, 0], grid[0, 0, -1, -1, -1])


def test_look_up_agrees_with_torch():
    grid, points = torch.rand(2, 3, 5, 5, 5), torch.rand(2, 40, 3) * 2.4 - 1.2
    expected = F.grid_sample(grid, points[:, :, None, None], padding_mode="border", align_corners=False)
    assert torch.allclose(devoxelise(grid, points), expected[..., 0, 0].transpose(1, 2), atol=1e-6)


@pytest.mark.slow
def test_gradients_of_grids_agree_with_finite_differences():
    torch.manual_seed(0)
    points = (torch.rand(2, 6, 3, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    features = torch.rand(2, 6, 2, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(2, 1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: voxelise(f, points.detach(), 3), (features,))
    assert torch.autograd.gradcheck(devoxelise, (grid, points))


def test_points_fill_the_cube_whatever_their_frame():
    points = torch.rand(2, 100, 3) * torch.tensor([1.0, 0.5, 0.2])
    coordinates = grid_coordinates(points)
    assert torch.allclose(grid_coordinates(7 * points + 3), coordinates, atol=1e-4)
    assert coordinates[..., 0].amin(1) == pytest.approx(-1, abs=1e-5)
    assert coordinates[..., 0].amax(1) == pytest.approx(1, abs=1e-5)
    assert coordinates[..., 2].abs().max() < 0.25


def test_a_point_hears_its_neighbours_and_not_the_far_side():
    torch.manual_seed(0)
    network = PointVoxelUNet(8, (8, 16), 16, 8, 2)
    nn.init.zeros_(network.attention.out.weight)
    x, points, context = torch.randn(1, 400, 8), torch.rand(1, 400, 3), torch.zeros(1, 1, 8)
    points[0, 0], points[0, 1], points[0, 2] = torch.tensor([[0.5] * 3, [0.52] * 3, [0.98] * 3])
    x.requires_grad_()
    network(x, points, context)[0, 0].sum().backward()
    assert x.grad is not None
    influence = x.grad[0].norm(dim=-1)
    assert influence[0] > influence[1] > 1e-4
    assert influence[2] < 0.02 * influence[1]


# --- Children --------------------------------------------------------------------------------------------------------


def test_rotations_turn_as_matrices_do():
    torch.manual_seed(0)
    quats, vectors, more = F.normalize(torch.randn(20, 4), dim=-1), torch.randn(20, 3), torch.randn(20, 3)
    first = Rotation.from_quat(quats.numpy()[:, [1, 2, 3, 0]])
    assert np.allclose(rotated(quats, vectors), first.apply(vectors.numpy()), atol=1e-5)
    second = Rotation.from_quat(torch.cat([more, torch.ones(20, 1)], -1).numpy())
    both = (first * second).as_quat(canonical=True)[:, [3, 0, 1, 2]]
    result = turned(quats, more)
    assert np.allclose(result * torch.sign(result[:, :1]), both, atol=1e-5)


@pytest.mark.parametrize(("factor", "least"), [(2, 28.0), (4, 25.0), (8, 23.0)])
def test_untrained_children_look_like_their_parents(factor, least):
    config = replace(SMALL, superres=factor)
    coarse, picture, spacing = ball(config, 1500)
    coarse = replace(coarse, keep=torch.zeros_like(coarse.keep))  # the field's colours alone
    with torch.no_grad():
        dense = SuperResolution(config, config.superres_sizes)(coarse, picture, spacing)
    assert dense.means.shape == (1, factor * 1500, 3)
    assert torch.allclose(dense.means.unflatten(1, (-1, factor)).mean(2)[..., :2], coarse.means[..., :2], atol=1e-5)
    assert psnr(rendered(config, dense, spacing), rendered(config, coarse, spacing)) > least


def test_untrained_children_lie_on_the_surface_that_their_parents_lie_on():
    """On a ball whose layers are known: at their parents' depth they would make steps of it."""
    coarse, picture, spacing = ball(SMALL, 1500)
    with torch.no_grad():
        dense = SuperResolution(SMALL, SMALL.superres_sizes)(coarse, picture, spacing)
    inner = coarse.means[0, :, :2].norm(dim=-1).repeat_interleave(4) < 0.6 * RADIUS
    level = torch.cat([dense.means[..., :2], coarse.means.repeat_interleave(4, 1)[..., 2:]], -1)
    off, off_level = ((means[0, inner].norm(dim=-1) - RADIUS).abs().mean() for means in (dense.means, level))
    assert off < 0.4 * off_level


def test_children_lie_along_their_parents_axes():
    coarse, picture, spacing = ball(SMALL, 300)
    flat = replace(coarse, log_scales=coarse.log_scales - torch.tensor([0.0, 0.0, 5.0]))
    quats = torch.tensor([0.5**0.5, 0.5**0.5, 0, 0]).expand(1, 300, 4)  # a quarter turn about x: z becomes -y
    with torch.no_grad():
        dense = SuperResolution(SMALL, SMALL.superres_sizes)(replace(flat, quats=quats), picture, spacing)
    offsets = (dense.means.unflatten(1, (-1, 4)) - coarse.means[:, :, None]).abs().amax((0, 1, 2))
    assert offsets[1] < 0.02 * offsets[0]


def test_children_take_the_pictures_colour_at_their_own_place():
    coarse, picture, spacing = ball(SMALL, 300)
    coarse = replace(coarse, keep=torch.ones_like(coarse.keep))
    with torch.no_grad():
        dense = SuperResolution(SMALL, SMALL.superres_sizes)(coarse, picture, spacing)
    perspective = 1 - 0.2 * dense.means[..., 2:]
    u, v = (dense.means[..., :2] / perspective).unbind(-1)
    within = (u**2 + v**2) < 0.6**2
    expected = torch.stack([0.5 + 0.4 * torch.sin(20 * u), 0.5 + 0.4 * torch.sin(17 * v)], -1)
    assert (dense.colors[..., :2] - expected)[within].abs().max() < 0.05
    siblings = dense.colors.unflatten(1, (-1, 4))
    assert (siblings.amax(2) - siblings.amin(2)).max() > 0.2


def test_the_order_of_parents_does_not_matter():
    network = woken(SMALL)
    coarse, picture, spacing = ball(SMALL, 400)
    order = torch.randperm(400)
    with torch.no_grad():
        dense, shuffled = network(coarse, picture, spacing), network(selected(coarse, order), picture, spacing)
    children = (order[:, None] * 4 + torch.arange(4)).flatten()
    for name in OWN:
        assert torch.allclose(getattr(dense, name)[:, children], getattr(shuffled, name), atol=1e-4), name


def test_twice_the_parents_change_a_child_little():
    config = replace(SMALL, superres_sizes=replace(SMALL.superres_sizes, grid=16))
    network = woken(config, 0.3)
    coarse, picture, spacing = ball(config, 1000)
    half = torch.arange(0, 1000, 2)
    with torch.no_grad():
        many, few = network(coarse, picture, spacing), network(selected(coarse, half), picture, spacing)
    children = (half[:, None] * 4 + torch.arange(4)).flatten()
    for name in ("means", "log_scales", "opacities", "field"):
        of_many, of_few = getattr(many, name)[:, children], getattr(few, name)
        if name == "means":
            parents = coarse.means[:, half].repeat_interleave(4, 1)
            of_many, of_few = of_many - parents, of_few - parents
        change, spread = (of_many - of_few).square().mean().sqrt(), of_few.std()
        assert change < 0.06 * spread, (name, float(change / spread))


def test_parts_can_be_left_out():
    coarse, picture, spacing = ball(SMALL, 300)
    brighter = picture * torch.tensor([0.5, 0.5, 0.5, 1.0]).view(1, 4, 1, 1)
    with torch.no_grad():
        network = woken(SMALL)
        assert not torch.equal(network(coarse, picture, spacing).means, network(coarse, brighter, spacing).means)
        assert network(coarse, picture, spacing).log_scales.std() > 0.01
        unprojected = woken(replace(SMALL, projected=False))
        a, b = unprojected(coarse, picture, spacing), unprojected(coarse, brighter, spacing)
        assert torch.equal(a.means, b.means)
        assert not torch.equal(a.colors, b.colors)  # what the picture's own colour is does not depend on features
        canonical = woken(replace(SMALL, anisotropic=False))(coarse, picture, spacing)
        assert torch.allclose(canonical.log_scales, torch.tensor(0.25).sqrt().log())
        assert torch.equal(canonical.quats, coarse.quats.repeat_interleave(4, 1))
    with pytest.raises(ValueError, match="by 3"):
        SuperResolution(replace(SMALL, superres=3), SMALL.superres_sizes)


def test_nothing_is_outside_of_its_range_however_large_the_residuals():
    network = woken(SMALL, 100.0)
    coarse, picture, spacing = ball(SMALL, 300)
    coarse = replace(coarse, opacities=torch.ones_like(coarse.opacities), keep=torch.zeros_like(coarse.keep))
    dense = network(coarse, picture, spacing)
    torch.stack([getattr(dense, name).sum() for name in OWN]).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for shares in (dense.opacities, dense.keep, dense.field, dense.colors):
        assert 0 <= shares.min() <= shares.max() <= 1
    assert torch.allclose(dense.quats.norm(dim=-1), torch.ones(1, 1200), atol=1e-5)
    moved = (dense.means - coarse.means.repeat_interleave(4, 1)).abs().max()
    assert moved <= (SMALL.superres_sizes.reach + 0.7) * SMALL.scale * spacing + 2 * spacing + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_make_the_stage_they_promise(name):
    config = PRESETS[name]
    network = SuperResolution(replace(config, superres=2), SUPERRES_PRESETS[name])
    coarse, picture, spacing = ball(config, 128)
    with torch.no_grad():
        assert network(coarse, picture, spacing).means.shape == (1, 256, 3)


@pytest.mark.slow
def test_super_resolution_learns_what_its_parents_cannot_show():
    """Fine stripes all around a ball, in 40 steps: the views come out sharper than the parents'."""
    torch.manual_seed(0)
    coarse, picture, spacing = ball(SMALL, 500)
    truth, _, _ = ball(SMALL, 8000)
    stripes = 0.5 + 0.4 * torch.sin(12 * truth.means)
    truth = replace(truth, colors=stripes, opacities=torch.ones_like(truth.opacities))
    network = SuperResolution(SMALL, SMALL.superres_sizes)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    with torch.no_grad():
        target = rendered(SMALL, truth, spacing / 4)
        before = psnr(rendered(SMALL, network(coarse, picture, spacing), spacing), target)
    for _ in range(40):
        error = F.l1_loss(rendered(SMALL, network(coarse, picture, spacing), spacing), target)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    with torch.no_grad():
        after = psnr(rendered(SMALL, network(coarse, picture, spacing), spacing), target)
    assert after > before + 1.5


class _Exported(nn.Module):
    """The stage as a function of tensors alone."""

    def __init__(self, network: SuperResolution) -> None:
        super().__init__()
        self.network = network

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        layers, inside, tan_half_fov, elevation, features, vit, *own, tokens, picture, spacing = values
        look = Look(layers, inside, tan_half_fov, elevation, features, vit)
        coarse = AggOutput(look=look, tokens=tokens, **dict(zip(OWN, own, strict=True)))
        dense = self.network(coarse, picture, spacing)
        return tuple(getattr(dense, name) for name in OWN)


@pytest.mark.slow
def test_onnx_and_torch_agree_on_another_number_of_parents_than_in_training():
    network = _Exported(woken(SMALL)).eval()
    coarse, picture, spacing = ball(SMALL, 700)
    look = [getattr(coarse.look, field.name) for field in fields(Look)]
    values = (*look, *(getattr(coarse, name) for name in OWN), coarse.tokens, picture, spacing)
    inputs, outputs = [f"in{i}" for i in range(len(values))], [f"{name}_out" for name in OWN]
    program = torch.onnx.export(
        network, values, input_names=inputs, output_names=outputs, opset_version=20, dynamo=True, verbose=False
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    used = {node.name for node in session.get_inputs()}
    found = session.run(outputs, {name: v.numpy() for name, v in zip(inputs, values, strict=True) if name in used})
    with torch.no_grad():
        expected = network(*values)
    for name, theirs, ours in zip(OWN, found, expected, strict=True):
        assert np.abs(theirs - ours.numpy()).max() < 1e-3, name

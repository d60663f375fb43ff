# SPDX-License-Identifier: GPL-3.0-or-later
"""The loss that holds neighbours on one surface."""

from dataclasses import replace

import pytest
import torch

from engine.generators.agg.loss import Batch, unevenness
from engine.generators.agg.network import AggNetwork, AggOutput, Inputs
from tests.generators.test_agg import SMALL, sample

FRONT, BACK = 0.3, -0.4


@pytest.fixture
def flat() -> tuple[AggOutput, Batch]:
    """Gaussians on two flat layers, 0.3 before and 0.4 behind the middle, that lie at their true depths."""
    torch.manual_seed(0)
    inputs: Inputs = sample(SMALL)
    fraction = torch.arange(SMALL.queries).remainder(2).float()[None, :, None]
    inputs = replace(inputs, anchors=torch.cat([inputs.anchors[..., :2], fraction], -1))
    output = AggNetwork(SMALL).coarse(inputs)
    z = torch.where(fraction == 1, FRONT, BACK)
    layers = torch.tensor([FRONT, BACK])[None, :, None, None].expand(1, 2, SMALL.layers, SMALL.layers)
    nothing = torch.zeros(1)
    batch = Batch(
        inputs.picture, inputs.inflated, inputs.anchors, inputs.spacing, layers,
        torch.ones(1, SMALL.layers, SMALL.layers),
        *[nothing] * 7,
    )  # fmt: skip
    return replace(output, means=torch.cat([output.means[..., :2].detach(), z], -1)), batch


def moved(output: AggOutput, along_z: torch.Tensor | float) -> AggOutput:
    return replace(output, means=output.means + torch.tensor([0.0, 0.0, 1.0]) * along_z)


def test_layers_that_are_off_as_a_whole_are_even(flat):
    output, batch = flat
    assert unevenness(output, batch) < 1e-6
    assert unevenness(moved(output, 0.2), batch) < 1e-6


def test_scales_are_uneven_and_are_drawn_together(flat):
    output, batch = flat
    away = 0.05 * torch.randn(1, SMALL.queries, 1)
    # The mean difference of two independent normal numbers is 2 / sqrt(pi) of their deviation; one in six is oneself.
    expected = 5 / 6 * 0.05 * 2 / torch.pi**0.5
    assert abs(unevenness(moved(output, away), batch).item() - expected) < 0.15 * expected
    away.requires_grad_()
    unevenness(moved(output, away), batch).backward()
    assert (away.grad * away).sum() > 0  # a step against it brings them nearer to their layer


def test_children_count_with_the_layer_of_their_parent(flat):
    output, batch = flat
    dense = replace(output, means=output.means.repeat_interleave(4, 1))
    assert unevenness(dense, batch) < 1e-6
    assert unevenness(moved(dense, 0.1 * torch.randn(1, 4 * SMALL.queries, 1)), batch) > 0.03


def test_gaussians_between_the_layers_stand_for_none(flat):
    output, batch = flat
    batch = replace(batch, anchors=batch.anchors * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, 0.5]))
    assert unevenness(moved(output, torch.randn(1, SMALL.queries, 1)), batch) == 0

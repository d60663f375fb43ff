# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about Muon: its steps are orthogonal, vectors get AdamW's, and it gets down a narrow valley sooner."""

import copy

import pytest
import torch
from torch import nn

from engine.training.muon import GAIN, Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonal_keeps_directions_and_evens_out_strengths(shape):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    skewed = u @ torch.diag(3 * torch.logspace(0, -1.5, min(shape))) @ v
    found = orthogonal(skewed).float()
    strengths = torch.linalg.svdvals(found)
    assert strengths.min() > 0.4
    assert strengths.max() < 1.3
    inside = u.T @ found @ v.T
    assert inside.diagonal().min() > 0.4
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 0.15


def test_a_gradient_of_nothing_moves_nothing():
    assert not orthogonal(torch.zeros(4, 7)).any()
    layer = nn.Linear(3, 2)
    before = copy.deepcopy(layer.state_dict())
    Muon(layer, 1e-2).step()  # no gradients at all
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_vectors_take_the_steps_of_adamw():
    torch.manual_seed(0)
    norm = nn.LayerNorm(5)
    twin = copy.deepcopy(norm)
    ours = Muon(norm, 1e-2, weight_decay=0.1)
    theirs = torch.optim.AdamW(twin.parameters(), 1e-2, betas=(0.9, 0.98), weight_decay=0.1)
    for _ in range(7):
        x = torch.randn(4, 5)
        for network, optimizer in ((norm, ours), (twin, theirs)):
            optimizer.zero_grad()
            (network(x) ** 3).sum().backward()
            optimizer.step()
    assert torch.allclose(norm.weight, twin.weight, atol=1e-6)
    assert torch.allclose(norm.bias, twin.bias, atol=1e-6)


def test_every_matrix_moves_by_the_rate_whatever_its_gradient():
    torch.manual_seed(0)
    for scale in (1e-4, 1e4):
        layer = nn.Conv2d(8, 8, 1, bias=False)
        before = layer.weight.detach().clone()
        optimizer = Muon(layer, 1e-3, weight_decay=0.0)
        (layer(torch.randn(2, 8, 4, 4)) * torch.randn(2, 8, 4, 4) * scale).sum().backward()
        optimizer.step()
        steps = torch.linalg.svdvals((layer.weight.detach() - before).flatten(1))
        assert steps.max() == pytest.approx(1e-3 * GAIN, rel=0.35)


def test_a_narrow_valley_is_crossed_sooner_than_by_adamw():
    """A linear map whose inputs differ a hundredfold in strength, fitted in 60 steps of the same schedule."""
    torch.manual_seed(0)
    truth = torch.randn(32, 32) / 6
    x = torch.randn(512, 32) * torch.logspace(0, -2, 32)
    y = x @ truth.T

    def left_over(make) -> float:
        torch.manual_seed(1)
        layer = nn.Linear(32, 32, bias=False)
        optimizer = make(layer)
        for step in range(60):
            for group in optimizer.param_groups:
                group["lr"] = 5e-3 * (1 - step / 60)
            optimizer.zero_grad()
            ((layer(x) - y) ** 2).mean().backward()
            optimizer.step()
        return float((layer.weight.detach() - truth).norm() / truth.norm())

    assert left_over(lambda layer: Muon(layer, 5e-3)) < 0.85 * left_over(
        lambda layer: torch.optim.AdamW(layer.parameters(), 5e-3)
    )


def test_its_state_goes_on_after_saving():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    optimizer = Muon(layer, 1e-2)
    x = torch.randn(8, 4)

    def step(network, by) -> None:
        by.zero_grad()
        (network(x) ** 4).sum().backward()
        by.step()

    step(layer, optimizer)
    twin = copy.deepcopy(layer)
    again = Muon(twin, 1e-2)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(layer, optimizer)
    step(twin, again)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), twin.parameters(), strict=True))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about recovery: what is no number is skipped, what diverges goes back, and in the end somebody is told."""

import math
import random

import pytest
import torch

from engine.errors import TrainingError
from engine.training.guard import Guard, GuardSettings, Verdict


def settled(**settings) -> Guard:
    """A guard that has seen losses around one."""
    guard = Guard(GuardSettings(**settings))
    rng = random.Random(0)
    for _ in range(100):
        assert guard.judge(rng.uniform(0.7, 1.4), 1.0) is Verdict.STEP
    return guard


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf), (math.inf, math.nan)])
def test_a_step_that_is_no_number_is_skipped_and_some_in_a_row_go_back(loss, norm):
    guard = settled(skips=3)
    assert [guard.judge(loss, norm) for _ in range(3)] == [Verdict.SKIP, Verdict.SKIP, Verdict.GO_BACK]
    assert not guard.healthy


def test_a_good_step_between_starts_the_count_anew():
    guard = settled(skips=2)
    for _ in range(10):
        assert guard.judge(math.nan, 1.0) is Verdict.SKIP
        assert guard.judge(1.0, 1.0) is Verdict.STEP
    assert guard.healthy


def test_a_loss_far_off_for_long_goes_back_and_a_spike_does_not():
    guard = settled(factor=4.0, patience=20)
    assert all(guard.judge(50.0, 1.0) is Verdict.STEP for _ in range(19))
    assert not guard.healthy  # no checkpoint is made of this
    assert guard.judge(1.0, 1.0) is Verdict.STEP
    assert guard.healthy
    verdicts = [guard.judge(50.0, 1.0) for _ in range(20)]
    assert verdicts == [Verdict.STEP] * 19 + [Verdict.GO_BACK]
    assert "above 4 times its median 1" in guard.reason


def test_another_stage_may_have_other_losses():
    guard = settled(patience=5)
    guard.new_stage()
    assert all(guard.judge(50.0, 1.0) is Verdict.STEP for _ in range(100))


def test_each_recovery_lowers_the_rate_and_too_many_end_the_training():
    guard = settled(recoveries=3, slower=0.5)
    told = [guard.went_back() for _ in range(3)]
    assert guard.rate == 0.125
    assert "the rate is 0.125 of the one asked for" in told[-1]
    with pytest.raises(TrainingError, match=r"diverges: .*3 times.*Give a lower --rate"):
        guard.went_back()


def test_after_a_calm_stretch_recoveries_count_anew():
    guard = settled(recoveries=1, calm=50)
    for _ in range(5):
        guard.went_back()
        for _ in range(50):
            guard.judge(1.0, 1.0)
    assert guard.recoveries == 5


def test_the_lower_rate_is_kept_over_sittings():
    guard = settled(recoveries=2)
    guard.went_back()
    again = Guard(GuardSettings(recoveries=2))
    again.load_state_dict(guard.state_dict())
    assert again.rate == guard.rate
    again.went_back()
    with pytest.raises(TrainingError):
        again.went_back()


def test_a_training_that_diverges_is_brought_back_and_then_converges():
    """Gradient descent on x^4: too high a rate leaves the basin for good, a halved one does not."""
    guard, good = Guard(GuardSettings(skips=2, patience=3, window=8)), torch.tensor([1.0])
    x = good.clone().requires_grad_()
    asked, recovered = 0.8, 0
    for _ in range(400):
        loss = (x**4).sum()
        (gradient,) = torch.autograd.grad(loss, x)
        verdict = guard.judge(loss.item(), gradient.norm().item())
        if verdict is Verdict.GO_BACK:
            guard.went_back()
            recovered += 1
            x = good.clone().requires_grad_()
        elif verdict is Verdict.STEP:
            x = (x - asked * guard.rate * gradient).detach().requires_grad_()
    assert recovered >= 1
    assert abs(x.item()) < 0.2

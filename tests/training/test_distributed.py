# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about training in several processes: together they take the step that one would take on all examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.training.distributed import Group, join_group

ROOT = Path(__file__).resolve().parents[2]


class Network(nn.Module):
    """Two heads, of which a step may use one; a buffer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 1)
        self.register_buffer("count", torch.tensor([float(seed)]))

    def forward(self, x: torch.Tensor, head: str) -> torch.Tensor:
        return getattr(self, head)(torch.tanh(self.body(x))).square().mean()


def examples() -> torch.Tensor:
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(4))


def work() -> None:
    """What each of two processes does; the first prints what both found."""
    import sys

    from engine.errors import GaussmithError, InputError
    from engine.training import distributed

    distributed.BUCKET = 10  # several messages for a small network
    torch.set_num_threads(1)
    found: dict = {}
    with join_group("cpu") as group:
        network = Network(seed=group.rank)
        group.same_weights(network)
        network(examples()[group.rank :: 2], "left").backward()
        group.average_gradients(network.parameters())
        found["gradients"] = {n: None if p.grad is None else p.grad.tolist() for n, p in network.named_parameters()}
        found["buffer"] = network.count.item()

        network.zero_grad()
        network(examples(), ("left", "right")[group.rank]).backward()  # each uses a head of its own
        group.average_gradients(network.parameters())
        found["heads"] = [network.left.weight.grad.tolist(), network.right.weight.grad.tolist()]

        found["control"] = group.control(0.25 + group.rank, stop=group.rank == 1)
        found["mean"] = [group.mean(float(group.rank)), str(group.mean(float("nan") if group.rank else 1.0))]
        found["seed"] = group.seed(7)
        found["told"] = group.from_first(lambda: {"rank": group.rank, "tensor": torch.ones(2)})["rank"]

        def fails():
            raise InputError("No such pack.", "Give another.")

        try:
            group.from_first(fails)
        except InputError as error:
            found["error"] = str(error)
        Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps(found))
        if len(sys.argv) > 2:
            if group.rank == 1:
                os._exit(9)
            try:
                group.mean(1.0)
            except GaussmithError as error:
                Path(sys.argv[1], "lost").write_text(str(error))


def both(folder: Path, *arguments: str) -> list[dict]:
    """What two processes found."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, str(folder),
        *arguments,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) == (not arguments), done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[list[dict], str]:
    """What two processes found before the second was killed, and what the first said about that."""
    folder = tmp_path_factory.mktemp("group")
    return both(folder, "kill"), (folder / "lost").read_text()


@pytest.mark.slow
def test_averaged_gradients_are_those_of_the_joint_batch(found):
    network = Network(seed=0)
    network(examples(), "left").backward()
    for process in found[0]:
        assert process["buffer"] == 0.0
        for name, parameter in network.named_parameters():
            gradient = process["gradients"][name]
            assert (gradient is None) == (parameter.grad is None), name
            if parameter.grad is not None:
                assert torch.allclose(torch.tensor(gradient), parameter.grad, atol=1e-6), name


@pytest.mark.slow
def test_a_part_that_one_process_used_counts_half(found):
    for index, head in enumerate(("left", "right")):
        network = Network(seed=0)
        network(examples(), head).backward()
        for process in found[0]:
            assert torch.allclose(2 * torch.tensor(process["heads"][index]), getattr(network, head).weight.grad)


@pytest.mark.slow
def test_all_processes_agree_and_draw_their_own_examples(found):
    first, second = found[0]
    assert first["control"] == second["control"] == [0.25, True]  # the first one's time, anyone's wish to stop
    assert first["mean"] == second["mean"] == [0.5, "nan"]
    assert first["told"] == second["told"] == 0
    assert first["error"] == second["error"] == "No such pack. Give another."
    assert first["seed"] != second["seed"]


@pytest.mark.slow
def test_a_lost_process_is_told_of(found):
    assert "Process 1 of 2 lost the others" in found[1]
    assert "--resume" in found[1]


def test_alone_nothing_is_changed():
    group, network = Group(), Network(0)
    network(examples(), "left").backward()
    gradient = network.body.weight.grad
    group.average_gradients(network.parameters())
    group.same_weights(network)
    assert network.body.weight.grad is gradient
    assert group.control(0.5, False) == (0.5, False)
    assert group.seed(7) == 7
    assert group.first


if __name__ == "__main__":
    work()

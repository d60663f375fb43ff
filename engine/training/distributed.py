# SPDX-License-Identifier: GPL-3.0-or-later
"""Many processes, one network: what a loop started by `torchrun` needs, and the same for one process alone.

Each process draws its own examples and runs the whole network; gradients are averaged before each step, so that all
take the same one. Gradients are averaged by hand instead of by a wrapper around the network, as each stage of a
training uses other parts of it. The first process keeps time, writes and decides; the others follow.
"""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.errors import GaussmithError, OptionError, TrainingError
from engine.training.device import choose_device

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others: longer than saving and evaluating on the first one takes."""
BUCKET = 1 << 24  # numbers averaged in one message


class Group:
    """The processes that train one network; alone, every method is quick and does what one process needs."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size = rank, size
        self.device = device or torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this process keeps time, writes and speaks."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """A seed of this process's own."""
        return seed + 1_000_003 * self.rank

    def control(self, fraction: float, stop: bool) -> tuple[float, bool]:
        """The first process's share of the budget used, and whether any process was asked to stop."""
        if self.size == 1:
            return fraction, stop
        values = torch.tensor([fraction if self.first else 0.0, float(stop)], dtype=torch.float64)
        self._reduce(values, dist.ReduceOp.MAX)
        return float(values[0]), bool(values[1])

    def mean(self, value: float) -> float:
        """The mean over all processes; not finite where one is not."""
        if self.size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        self._reduce(total, dist.ReduceOp.SUM)
        return float(total) / self.size

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by the mean over all processes.

        A parameter that some process has no gradient for counts as zero there; without any it stays without.
        """
        if self.size == 1:
            return
        parameters = list(parameters)
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float64)
        self._reduce(used, dist.ReduceOp.MAX)
        moved = [p for p, any_has in zip(parameters, used.tolist(), strict=True) if any_has]
        for some in _buckets(moved):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in some]
            flat = torch.cat([g.flatten() for g in gradients])
            self._reduce(flat, dist.ReduceOp.SUM)
            flat /= self.size
            for p, piece in zip(some, flat.split([p.numel() for p in some]), strict=True):
                p.grad = piece.view_as(p).clone(memory_format=torch.preserve_format)

    def same_weights(self, network: nn.Module) -> None:
        """Gives every process the first one's parameters and buffers."""
        if self.size == 1:
            return
        with torch.no_grad():
            for value in network.state_dict().values():
                one = value.contiguous()
                self._call(lambda one=one: dist.broadcast(one, 0))
                value.copy_(one)

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work` returns in the first process, in all of them; what it raises is raised in all of them.

        Results travel pickled: tensors should lie on the processor.
        """
        if self.size == 1:
            return work()
        box: list[Any] = [None]
        if self.first:
            try:
                box = [("done", work())]
            except GaussmithError as error:
                box = [("failed", (type(error), error.message, error.hint))]
        self._call(lambda: dist.broadcast_object_list(box, 0))
        outcome, value = box[0]
        if outcome == "failed":
            kind, message, hint = value
            raise kind(message, hint)
        return value

    def close(self) -> None:
        """Leaves the group."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reduce(self, tensor: Tensor, op: Any) -> None:
        self._call(lambda: dist.all_reduce(tensor, op))

    def _call(self, work: Callable[[], object]) -> None:
        try:
            work()
        except RuntimeError as error:
            reason = (str(error).strip() or "no reason given").splitlines()[0].split(". ")[0]
            raise GroupLost(
                f"Process {self.rank + 1} of {self.size} lost the others: {reason.rstrip('.')}.",
                "Look at the other processes' messages; then start all of them again with --resume.",
            ) from error


class GroupLost(TrainingError):
    """Another process of the group ended or cannot be reached."""


def is_first() -> bool:
    """Whether this is the process that speaks: alone, or the first of those `torchrun` started."""
    return int(os.environ.get("RANK", "0")) == 0


def join_group(device: str = "auto") -> Group:
    """The group that `torchrun` started this process in, or one of its own.

    device: auto, cpu or cuda; processes on one machine take one card each. Raises `OptionError` where that cannot be.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = choose_device(device, local)
    if size == 1:
        return Group(device=chosen)
    if not dist.is_available():
        raise OptionError("This build of PyTorch trains in one process only.", "Start it without torchrun.")
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    return Group(dist.get_rank(), dist.get_world_size(), chosen)


def _buckets(parameters: list[nn.Parameter]) -> Iterable[list[nn.Parameter]]:
    """Parameters in their order, of one dtype and device each, up to BUCKET numbers."""
    some: list[nn.Parameter] = []
    count = 0
    for p in parameters:
        if some and (count + p.numel() > BUCKET or (p.dtype, p.device) != (some[0].dtype, some[0].device)):
            yield some
            some, count = [], 0
        some.append(p)
        count += p.numel()
    if some:
        yield some

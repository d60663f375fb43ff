# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training computes on: an NVIDIA card where there is one, else the processor; and in which precision."""

import torch

from engine.errors import OptionError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(wanted: str = "auto", local_rank: int = 0) -> torch.device:
    """The device for `wanted` (auto, cpu or cuda); the process with `local_rank` on its machine takes that card.

    Raises `OptionError` where there is no such card.
    """
    if wanted not in DEVICES:
        raise OptionError(f"The device is {wanted!r}.", f"Choose one of {', '.join(DEVICES)}.")
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and cards == 0):
        return torch.device("cpu")
    if cards == 0:
        raise OptionError(
            "--device cuda: PyTorch finds no NVIDIA card here.",
            "Install a CUDA build of PyTorch and the card's driver, or give --device cpu.",
        )
    if local_rank >= cards:
        raise OptionError(
            f"Process {local_rank + 1} of this machine finds {cards} NVIDIA cards.",
            f"Start torchrun with --nproc-per-node {cards} or fewer, or give --device cpu.",
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def precision(device: torch.device) -> torch.dtype:
    """bfloat16 where `device` multiplies it itself, else float32: emulated it is many times slower."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """The context in which a network runs in `precision(device)`."""
    dtype = precision(device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

# SPDX-License-Identifier: GPL-3.0-or-later
"""A trained matte as an ONNX file with its card: `python -m engine export matte --run RUN -o matte.onnx`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.training.checkpoint import load_checkpoint
from engine.training.matte.network import MatteConfig, MatteNetwork
from engine.training.onnx_file import export_command, training_of, write_onnx


def export(run: Path, path: Path, notes: dict[str, Any]) -> dict[str, Any]:
    """Writes the averaged weights of `run` to `path` and the card beside it; returns the card.

    Of the figures in `notes`, the chances that `image.matte` chooses by are lifted into the card. Raises as
    `write_onnx` does.
    """
    state, note = load_checkpoint(run / "checkpoint.pt")
    if note:
        print(note, file=sys.stderr)
    if "metrics" in notes:
        figures = dict(notes["metrics"])
        notes = notes | {"chances": figures.pop("chances"), "metrics": figures}
    card = {"settings": {"picture": MatteConfig().picture}, "training": training_of(state), **notes}
    return write_onnx(rounded_network(state["ema"]), {"picture": sample_input()}, ["logits"], path, card)


def rounded_network(weights: dict[str, torch.Tensor]) -> MatteNetwork:
    """The network with `weights` by name, each rounded to float16 as the exported file stores it."""
    network = MatteNetwork(MatteConfig()).eval()
    network.load_state_dict({name: value.half().float() for name, value in weights.items()})
    return network


def sample_input() -> np.ndarray:
    """A golden input [1, 6, S, S]: a seeded picture."""
    side = MatteConfig().picture
    picture = np.random.default_rng(0).random((1, 6, side, side)).astype(np.float32)
    picture[0, :3] -= 0.5
    picture[0, 3] = 1
    return picture


def main(argv: list[str]) -> int:
    """The command line of `engine export matte`; returns the exit code."""
    return export_command(argv, "matte", __doc__, export)

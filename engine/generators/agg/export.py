# SPDX-License-Identifier: GPL-3.0-or-later
"""A trained AGG as an ONNX file with its card: `python -m engine export agg --run RUN -o agg_xs.onnx`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.generators.agg.config import PRESETS, AggConfig
from engine.generators.agg.network import AggNetwork, Inputs
from engine.paths import written_whole
from engine.training.checkpoint import load_checkpoint
from engine.training.onnx_file import export_command, training_of, write_onnx

INPUTS = ["picture", "inflated", "anchors", "spacing", "latent"]
OUTPUTS = ["means", "log_scales", "quats", "opacities", "keep", "field", "tan_half_fov", "elevation"]


class Exported(nn.Module):
    """The network with the outputs generation needs, in the order of OUTPUTS."""

    def __init__(self, network: AggNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, picture: Tensor, inflated: Tensor, anchors: Tensor, spacing: Tensor, latent: Tensor
    ) -> tuple[Tensor, ...]:
        output = self.network(Inputs(picture, inflated, anchors, spacing, latent))
        return tuple(
            getattr(output.look if name in ("tan_half_fov", "elevation") else output, name) for name in OUTPUTS
        )


def export(run: Path, path: Path, notes: dict[str, Any]) -> dict[str, Any]:
    """Writes the averaged weights of `run` to `path` and the card beside it; returns the card.

    Beside them, as `.pt`, the same weights as tensors by name: what `engine train --start` continues from. Raises as
    `write_onnx` does.
    """
    state, note = load_checkpoint(run / "checkpoint.pt")
    if note:
        print(note, file=sys.stderr)
    config = PRESETS[state["preset"]]
    network = AggNetwork(config)
    rounded = {name: value.half() for name, value in state["ema"].items()}
    network.load_state_dict({name: value.float() for name, value in rounded.items()})
    settings = ("picture", "layers", "generate", "superres", "scale", "latent")
    card = {
        "settings": {"preset": state["preset"]} | {name: getattr(config, name) for name in settings},
        "training": training_of(state),
        **notes,
    }
    sample = sample_inputs(replace(config, queries=config.generate // config.superres))
    card = write_onnx(Exported(network).eval(), sample, OUTPUTS, path, card)
    with written_whole(path.with_suffix(".pt")) as part:
        torch.save({"preset": state["preset"], "network": rounded}, part)
    return card


def sample_inputs(config: AggConfig) -> dict[str, np.ndarray]:
    """A golden input: a seeded picture of a disc with anchors all over."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: config.picture, : config.picture] * (2 / config.picture) - 1
    picture = rng.random((1, 4, config.picture, config.picture)).astype(np.float32)
    picture[0, 3] = x**2 + y**2 < 0.7
    inflated = rng.random((1, 1, config.layers, config.layers)).astype(np.float32)
    anchors = rng.uniform(-0.8, 0.8, (1, config.queries, 3)).astype(np.float32)
    spacing = np.array([2 * (0.55 / config.queries) ** 0.5], np.float32)
    latent = rng.normal(size=(1, config.latent)).astype(np.float32)
    return dict(zip(INPUTS, (picture, inflated, anchors, spacing, latent), strict=True))


def main(argv: list[str]) -> int:
    """The command line of `engine export agg`; returns the exit code."""
    return export_command(argv, "agg", __doc__, export)

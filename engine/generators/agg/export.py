# SPDX-License-Identifier: GPL-3.0-or-later
"""A trained AGG as an ONNX file with its card: `python -m engine export agg --run RUN -o agg_xs.onnx`."""

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import GaussmithError
from engine.generators.agg.config import PRESETS, AggConfig
from engine.generators.agg.network import AggNetwork, Inputs
from engine.nets.runtime import OnnxNetwork
from engine.paths import written_whole
from engine.training.checkpoint import load_checkpoint
from engine.training.onnx_file import AGREEMENT, LICENCE, data_of, stored_as_float16, without_traces

INPUTS = ["picture", "inflated", "anchors", "spacing", "latent"]
OUTPUTS = ["means", "log_scales", "quats", "opacities", "keep", "field", "tan_half_fov", "elevation"]


class _Exported(nn.Module):
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

    Beside them, as `.pt`, the same weights as tensors by name: what `engine train --start` continues from.
    Weights are stored as float16 and computed with in float32. Raises `GaussmithError` where the exported network
    differs from the torch one (with the same rounded weights) by more than AGREEMENT.
    """
    state, note = load_checkpoint(run / "checkpoint.pt")
    if note:
        print(note, file=sys.stderr)
    config = PRESETS[state["preset"]]
    network = AggNetwork(config).eval()
    rounded = {name: value.half() for name, value in state["ema"].items()}
    network.load_state_dict({name: value.float() for name, value in rounded.items()})
    sample = sample_inputs(replace(config, queries=config.generate // config.superres))
    program = torch.onnx.export(
        _Exported(network).eval(), tuple(torch.from_numpy(value) for value in sample.values()),
        input_names=INPUTS, output_names=OUTPUTS, opset_version=20, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    content = without_traces(stored_as_float16(program.model_proto)).SerializeToString()
    card = {
        "name": path.stem,
        "sha256": hashlib.sha256(content).hexdigest(),
        "settings": {"preset": state["preset"]}
        | {name: getattr(config, name) for name in ("picture", "layers", "generate", "superres", "scale", "latent")},
        "training": {
            "steps": state["step"],
            "minutes": round(state["seconds"] / 60, 1),
            "batch": state["settings"]["batch"],
        },
        **notes,
    }
    with written_whole(path) as part:
        part.write_bytes(content)
    with written_whole(path.with_suffix(".pt")) as part:
        torch.save({"preset": state["preset"], "network": rounded}, part)
    with written_whole(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    check_agreement(network, OnnxNetwork(path), sample)
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


def check_agreement(network: AggNetwork, exported: OnnxNetwork, sample: dict[str, np.ndarray]) -> float:
    """Largest relative difference of any output. Raises `GaussmithError` above AGREEMENT."""
    with torch.no_grad():
        expected = _Exported(network)(*(torch.from_numpy(value) for value in sample.values()))
    found = exported(**sample)
    worst = max(
        float(np.linalg.norm(found[name] - value.numpy()) / (np.linalg.norm(value.numpy()) + 1e-9))
        for name, value in zip(OUTPUTS, expected, strict=True)
    )
    if worst > AGREEMENT:
        raise GaussmithError(f"The exported network differs from the trained one by {worst:.1e}, above {AGREEMENT}.")
    return worst


def main(argv: list[str]) -> int:
    """The command line of `engine export agg`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="engine export agg", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .onnx file to write; its card lies beside"
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="index files of the packs it learned from")
    parser.add_argument("--metrics", type=Path, help="figures of `engine evaluate agg`, to go into the card")
    options = parser.parse_args(argv)
    try:
        notes: dict[str, Any] = {"licence": LICENCE, "data": data_of(options.data)}
        if options.metrics:
            notes["metrics"] = json.loads(options.metrics.read_text(encoding="utf-8"))
        card = export(options.run, options.output, notes)
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(card, indent=2))
    return 0

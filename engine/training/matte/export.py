# SPDX-License-Identifier: GPL-3.0-or-later
"""A trained matte as an ONNX file with its card: `python -m engine export matte --run RUN -o matte.onnx`."""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.errors import GaussmithError
from engine.nets.runtime import OnnxNetwork
from engine.paths import written_whole
from engine.training.checkpoint import load_checkpoint
from engine.training.matte.network import MatteConfig, MatteNetwork
from engine.training.onnx_file import AGREEMENT, LICENCE, data_of, stored_as_float16, without_traces


def export(run: Path, path: Path, notes: dict[str, Any]) -> dict[str, Any]:
    """Writes the averaged weights of `run` to `path` and the card beside it; returns the card.

    Weights are stored as float16 and computed with in float32. Raises `GaussmithError` where the exported network
    differs from the torch one (with the same rounded weights) by more than AGREEMENT.
    """
    state, note = load_checkpoint(run / "checkpoint.pt")
    if note:
        print(note, file=sys.stderr)
    network, sample = rounded_network(state["ema"]), sample_input()
    program = torch.onnx.export(
        network, (torch.from_numpy(sample),), input_names=["picture"], output_names=["logits"],
        opset_version=20, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    content = without_traces(stored_as_float16(program.model_proto)).SerializeToString()
    card = {
        "name": path.stem,
        "sha256": hashlib.sha256(content).hexdigest(),
        "settings": {"picture": MatteConfig().picture},
        "training": {
            "steps": state["step"],
            "minutes": round(state["seconds"] / 60, 1),
            "batch": state["settings"]["batch"],
        },
        **notes,
    }
    with written_whole(path) as part:
        part.write_bytes(content)
    with written_whole(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    check_agreement(network, OnnxNetwork(path), sample)
    return card


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


def check_agreement(network: MatteNetwork, exported: OnnxNetwork, sample: np.ndarray) -> float:
    """Largest relative difference of the logits. Raises `GaussmithError` above AGREEMENT."""
    with torch.no_grad():
        expected = network(torch.from_numpy(sample)).numpy()
    found = exported(picture=sample)["logits"]
    worst = float(np.linalg.norm(found - expected) / (np.linalg.norm(expected) + 1e-9))
    if worst > AGREEMENT:
        raise GaussmithError(f"The exported network differs from the trained one by {worst:.1e}, above {AGREEMENT}.")
    return worst


def main(argv: list[str]) -> int:
    """The command line of `engine export matte`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="engine export matte", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .onnx file to write; its card lies beside"
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="index files of the packs it learned from")
    parser.add_argument("--metrics", type=Path, help="figures of `engine evaluate matte`, to go into the card")
    options = parser.parse_args(argv)
    try:
        notes: dict[str, Any] = {"licence": LICENCE, "data": data_of(options.data)}
        if options.metrics:
            figures = json.loads(options.metrics.read_text(encoding="utf-8"))
            notes |= {"chances": figures.pop("chances"), "metrics": figures}
        card = export(options.run, options.output, notes)
    except GaussmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(card, indent=2))
    return 0

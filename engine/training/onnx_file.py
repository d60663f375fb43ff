# SPDX-License-Identifier: GPL-3.0-or-later
"""A trained network as an ONNX file with its card: what all exports share.

Weights are stored as float16 and computed with in float32; the file holds no traces of its making; the card says whose
objects the network learned from, and no file is left that differs from what was trained.
"""

import argparse
import csv
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.errors import GaussmithError, InputError
from engine.nets.runtime import open_session
from engine.paths import written_whole

LICENCE = "GPL-3.0-or-later, as the engine; trained from scratch on the data listed"

AGREEMENT = 1e-3
"""Largest relative difference between a torch network and the exported one."""


def write_onnx(
    network: nn.Module, sample: dict[str, np.ndarray], outputs: Sequence[str], path: Path, card: dict[str, Any]
) -> dict[str, Any]:
    """Writes `network` to `path` and its card, with name and digest added in front, beside it; returns the card.

    `sample` has the inputs by name in the order of the network's arguments; `outputs` names what it returns, a tensor
    or a tuple of them. Weights have to be rounded to float16 already. Raises `GaussmithError` and writes nothing where
    the outputs in onnxruntime differ from the network's by more than AGREEMENT.
    """
    program = torch.onnx.export(
        network, tuple(torch.from_numpy(value) for value in sample.values()),
        input_names=list(sample), output_names=list(outputs), opset_version=20, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    content = without_traces(stored_as_float16(program.model_proto)).SerializeToString()
    check_agreement(network, content, sample)
    card = {"name": path.stem, "sha256": hashlib.sha256(content).hexdigest(), **card}
    with written_whole(path) as part:
        part.write_bytes(content)
    with written_whole(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def check_agreement(network: nn.Module, content: bytes, sample: dict[str, np.ndarray]) -> float:
    """Largest relative difference of any output of an ONNX file to the network's, inputs by name in the order of the
    network's arguments. Raises `GaussmithError` above AGREEMENT."""
    with torch.no_grad():
        expected = network(*(torch.from_numpy(value) for value in sample.values()))
    expected = expected if isinstance(expected, tuple) else (expected,)
    worst = max(
        float(np.linalg.norm(found - value.numpy()) / (np.linalg.norm(value.numpy()) + 1e-9))
        for found, value in zip(open_session(content).run(None, sample), expected, strict=True)
    )
    if worst > AGREEMENT:
        raise GaussmithError(f"The exported network differs from the trained one by {worst:.1e}, above {AGREEMENT}.")
    return worst


def training_of(state: dict[str, Any]) -> dict[str, Any]:
    """For the card: how long the run of a checkpoint went."""
    return {
        "steps": state["step"],
        "minutes": round(state["seconds"] / 60, 1),
        "batch": state["settings"]["batch"],
    }


def export_command(
    argv: list[str], system: str, about: str | None, export: Callable[[Path, Path, dict[str, Any]], dict[str, Any]]
) -> int:
    """The command line of `engine export SYSTEM`; returns the exit code. `export` takes run, path and notes."""
    parser = argparse.ArgumentParser(prog=f"engine export {system}", description=about)
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .onnx file to write; its card lies beside"
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="index files of the packs it learned from")
    parser.add_argument("--metrics", type=Path, help=f"figures of `engine evaluate {system}`, to go into the card")
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


def stored_as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large float32 weights stored as float16 and cast back when it is loaded."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < 256:
            continue
        name = weight.name
        half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), name + "_half")
        weight.CopyFrom(half)
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    return model


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what its exporter notes of where each node came from: stack traces with the machine's paths."""
    graph = model.graph
    parts = [model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]
    for function in model.functions:
        parts += [function, *function.node, *function.value_info]
    for part in parts:
        for kind in ("metadata_props", "doc_string"):
            part.ClearField(kind)
    return model


def data_of(indexes: list[Path]) -> list[dict[str, Any]]:
    """Whose objects a network learned from: attribution, licence and number of objects, most first.

    Raises `InputError` where an index cannot be read or does not say.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for index in indexes:
        try:
            with index.open(newline="", encoding="utf-8") as lines:
                counts.update((row["attribution"], row["licence"]) for row in csv.DictReader(lines))
        except (OSError, KeyError) as error:
            raise InputError(
                f"The index {index} does not say whose objects it holds: {error}.",
                "Give the index files of the packs the run was trained on.",
            ) from error
    return [
        {"attribution": attribution, "licence": licence, "objects": count}
        for (attribution, licence), count in counts.most_common()
    ]

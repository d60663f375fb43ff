# SPDX-License-Identifier: GPL-3.0-or-later
"""What exported networks share: weights stored as float16, no traces of their making, whose data they learned from."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.errors import InputError

LICENCE = "GPL-3.0-or-later, as the engine; trained from scratch on the data listed"

AGREEMENT = 1e-3
"""Largest relative difference between a torch network and the exported one."""


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each stage of the first half takes, warm: the matte, and the exported network cut where its stages meet."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from engine.generators.agg.generate import AggGenerator
from engine.image.load import Picture
from engine.image.matte import matte
from engine.nets.runtime import OnnxNetwork, open_session

Array = np.ndarray

CAMERA = ["tan_half_fov", "elevation"]
"""Outputs that need the encoders alone."""
SUPERRES = "superres."
"""Part of the names of super-resolution's weights."""
MATTE_SIDE = 768


def stage_seconds(generator: AggGenerator, photos: list[Array]) -> dict[str, float]:
    """Medians in seconds over framed pictures [PHOTO, PHOTO, 4]; the first call of each stage is not counted.

    `matte`: the object cut from a plain backdrop at 768 pixels. `encode`: the image encoders and the camera; `coarse`
    and `superres`: what the network adds to that, each the difference between the network cut behind it and before it;
    `rest`: anchors, inflation, colours from the picture. `total` leaves the matte out.
    """
    recorder = _Recorder(generator.network)
    watched = AggGenerator(recorder)  # type: ignore[arg-type]
    total = _median([partial(watched.look, photo) for photo in photos])
    model = onnx.load(str(generator.network.path))
    outputs = [output.name for output in model.graph.output]
    after_coarse = before_superres(model)
    cuts = {"encode": [name for name in CAMERA if name in outputs], "coarse": after_coarse, "superres": outputs}
    behind: dict[str, float] = {}
    for stage, names in cuts.items():
        if stage == "superres" and after_coarse == outputs:
            behind[stage] = behind["coarse"]
            continue
        session = open_session(cut(model, names).SerializeToString())
        wanted = {item.name for item in session.get_inputs()}
        feeds = [{name: value for name, value in call.items() if name in wanted} for call in recorder.calls]
        behind[stage] = _median([partial(session.run, None, feed) for feed in feeds])
    seconds = {
        "matte": _median([partial(matte, _on_backdrop(photo)) for photo in photos[:4]]),
        "encode": behind["encode"],
        "coarse": behind["coarse"] - behind["encode"],
        "superres": behind["superres"] - behind["coarse"],
        "rest": total - behind["superres"],
        "total": total,
    }
    return {stage: round(max(value, 0.0), 4) for stage, value in seconds.items()}


def before_superres(model: onnx.ModelProto) -> list[str]:
    """Names of the tensors that cross from the coarse stage into super-resolution, or leave it; outputs without one."""
    graph = model.graph
    outputs = [output.name for output in graph.output]
    later = {weight.name for weight in graph.initializer if SUPERRES in weight.name}
    for node in graph.node:  # in order: exported graphs are sorted
        if any(name in later for name in node.input):
            later.update(node.output)
    weights = {weight.name for weight in graph.initializer}
    made = {name for node in graph.node for name in node.output} - later
    of_weights = _of_weights(model)
    crossing = {
        name for node in graph.node if any(output in later for output in node.output)
        for name in node.input if name in made and name not in weights and name not in of_weights
    } | {name for name in outputs if name in made}  # fmt: skip
    return outputs if crossing <= set(outputs) else sorted(crossing)


def cut(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The part of a model that makes the tensors `names`."""
    needed, nodes = set(names), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    known = {item.name: item for item in (*model.graph.output, *model.graph.value_info)}
    outputs = [known.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(
        nodes[::-1], "part", [item for item in model.graph.input if item.name in needed], outputs,
        [weight for weight in model.graph.initializer if weight.name in needed],
    )  # fmt: skip
    part = helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    part.ir_version = model.ir_version
    return part


def _of_weights(model: onnx.ModelProto) -> set[str]:
    """Tensors made of weights alone, such as those cast from half precision."""
    constant = {weight.name for weight in model.graph.initializer}
    for node in model.graph.node:
        if all(name in constant for name in node.input):
            constant.update(node.output)
    return constant


class _Recorder:
    """A network that remembers what it was asked."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.network, self.card = network, network.card
        self.calls: list[dict[str, Array]] = []

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        self.calls.append(inputs)
        return self.network(**inputs)


def _median(calls: list[Callable[[], Any]]) -> float:
    calls[0]()
    seconds = []
    for call in calls:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _on_backdrop(photo: Array) -> Picture:
    """The picture without alpha, enlarged, before a light backdrop that darkens downwards."""
    large = np.repeat(np.repeat(photo, MATTE_SIDE // len(photo), 0), MATTE_SIDE // len(photo), 1)
    backdrop = np.linspace(0.92, 0.72, len(large), dtype=np.float32)[:, None, None]
    rgb = large[..., :3] * large[..., 3:] + backdrop * (1 - large[..., 3:])
    return Picture(np.concatenate([rgb, np.ones_like(rgb[..., :1])], -1).astype(np.float32), has_alpha=False)

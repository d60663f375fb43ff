# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of a network in training, cheap enough to be taken every few minutes."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.generators.agg.evaluate import Case, make_case, measure
from engine.generators.agg.export import OUTPUTS
from engine.generators.agg.generate import AggGenerator
from engine.generators.agg.network import AggNetwork, Inputs
from engine.training.data.packs import Pack

Array = np.ndarray

OF_CONFIG = ("picture", "layers", "generate", "superres", "scale", "latent")
"""What generation asks of a card's settings."""
QUICK_VIEWS = 6
FIGURES = ("f_0.1", "aligned_f_0.1", "chamfer", "psnr", "psnr_input", "perceptual_r")


class TorchNetwork:
    """A network in torch where generation expects an exported one; `gaussians` replaces the number its config has."""

    def __init__(self, network: AggNetwork, gaussians: int = 0) -> None:
        self.network = network
        settings: dict[str, Any] = {name: getattr(network.config, name) for name in OF_CONFIG}
        self.card = {"settings": settings | ({"generate": gaussians} if gaussians else {})}

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Outputs by name; inputs are arrays by name, as `nets.runtime.OnnxNetwork` takes them."""
        device = next(self.network.parameters()).device
        training = self.network.training
        self.network.eval()
        with torch.no_grad():
            output = self.network(Inputs(**{name: torch.from_numpy(x).to(device) for name, x in inputs.items()}))
        self.network.train(training)
        return {
            name: getattr(output if hasattr(output, name) else output.look, name).float().cpu().numpy()
            for name in OUTPUTS
        }


def torch_generator(network: AggNetwork, gaussians: int = 0) -> AggGenerator:
    """The generator with a network in torch: all but the network is what ships."""
    return AggGenerator(TorchNetwork(network, gaussians))  # type: ignore[arg-type]


def quick_figures(network: AggNetwork, index: Path, limit: int = 12, seed: int = 0) -> dict[str, float]:
    """Means over one picture each of `limit` objects, evenly over the pack at `index`: `f_0.1` and `chamfer` in the
    camera's frame, `aligned_f_0.1`, `psnr` and `perceptual_r` over 6 new views, `psnr_input`.

    Made with as many Gaussians as the network sees in training, so that it is quick: about 6 s of one processor core
    for `xs`. The same seed asks the same pictures every time. Raises `InputError` where the pack cannot be read.
    """
    generator = torch_generator(network, network.config.queries * network.config.superres)
    rows = []
    for number, case in enumerate(_cases(Path(index), limit, seed)):
        gaussians = generator.look(case.photo).gaussians
        rows.append(measure(gaussians, case, np.random.default_rng([seed, number]), aligned=True)[0])
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in FIGURES}


@lru_cache(maxsize=2)
def _cases(index: Path, limit: int, seed: int) -> tuple[Case, ...]:
    """The same pictures each time, rendered once."""
    pack = Pack(index)
    chosen = np.unique(np.linspace(0, len(pack) - 1, min(limit, len(pack))).astype(int))
    return tuple(make_case(pack.mesh(int(i)), np.random.default_rng([seed, int(i)]), QUICK_VIEWS) for i in chosen)

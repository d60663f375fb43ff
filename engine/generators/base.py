# SPDX-License-Identifier: GPL-3.0-or-later
"""What every generator offers, and the table of those there are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.errors import OptionError
from engine.fields.cameras import Photograph
from engine.fields.gaussians import Gaussians

Report = Callable[[str, float, str], None]
"""`report(stage, fraction, text)`: called as work goes on, fraction in [0, 1]; it may raise `Cancelled`."""


def silent(stage: str, fraction: float, text: str) -> None:
    """A report to nobody."""


@dataclass(frozen=True)
class Imagined:
    """What a generator made of a prompt."""

    gaussians: Gaussians
    photograph: Photograph | None = None  # the prompt with the camera it was seen by, where that is known


class Generator(Protocol):
    """Makes Gaussians from a prompt. Loading costs; generating may be called again and again."""

    name: str

    def generate(self, prompt: np.ndarray, *, seed: int = 0, report: Report | None = None) -> Imagined:
        """Gaussians in the frame of `engine.conventions` from a picture with its object cut out.

        `prompt` is [H, W, 4] float32 sRGB with straight alpha, of any size: a generator frames it as it was trained
        (`engine.image.frame`). The same prompt and seed give the same Gaussians.
        """
        ...


def _agg() -> Generator:
    from engine.generators.agg.generate import AggGenerator

    return AggGenerator.load()


GENERATORS: dict[str, Callable[[], Generator]] = {"agg": _agg}
"""Name of each generator and how to load it with the bundled weights."""


def load_generator(name: str) -> Generator:
    """The generator `name`, ready to work. Raises `OptionError` for an unknown name, `WeightsError` for its weights."""
    if name not in GENERATORS:
        raise OptionError(f"There is no generator {name!r}.", f"Generators are {', '.join(GENERATORS)}.")
    return GENERATORS[name]()

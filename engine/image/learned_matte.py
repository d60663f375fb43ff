# SPDX-License-Identifier: GPL-3.0-or-later
"""The object of any picture by a small network: a coarse matte, and how far it can be trusted.

The network (`engine.training.matte`) sees the picture letterboxed to a square, beside it two hints of how each pixel
differs from the border. Its score is the overlap it expects of its own matte, from its probabilities. How often mattes
were good, given that score, the classical matte's confidence and how far the two agree, was measured on objects and
backgrounds it did not learn from; the card holds the logistic regression.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from engine.image.border import hints
from engine.image.edges import resized
from engine.nets.runtime import OnnxNetwork

Array = np.ndarray

WEIGHTS = Path(__file__).parents[1] / "weights" / "matte.onnx"

GOOD = 0.9
"""Intersection over union with the truth from which a matte counts as good: confidence is the chance of that."""

UNMEASURED = ((-9.0, 10.0, 0.0, 0.0), (-4.0, 0.0, 4.0, 4.0))
"""Coefficients of the learned and the classical matte's chance for a network that has not been measured yet."""


@dataclass(frozen=True)
class Guess:
    """What the network makes of a picture."""

    alpha: Array  # [h, w] float32: the picture reduced to the network's size
    score: float  # the overlap with the truth that it expects


class LearnedMatte:
    """A matte network with its card."""

    def __init__(self, network: OnnxNetwork) -> None:
        self._network = network
        self._side: int = network.card["settings"]["picture"]
        self._chances = np.array(network.card.get("chances", UNMEASURED), np.float64)

    def look(self, rgb: Array) -> Guess:
        """The matte of a picture [H, W, 3] float32 sRGB in [0, 1]."""
        planes, (top, bottom, left, right) = letterboxed(rgb, self._side)
        logits = self._network(picture=planes[None])["logits"][0, 0, top:bottom, left:right]
        alpha = np.ascontiguousarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)
        return Guess(alpha, expected_overlap(alpha))

    def chances(self, score: float, confidence: float, agreement: float) -> tuple[float, float]:
        """Chances, from 0 to 1, that the learned and the classical matte are good.

        From the learned one's score, the classical one's confidence and the overlap of the two.
        """
        odds = self._chances @ evidence(score, confidence, agreement)
        learned, classical = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
        return float(learned), float(classical)


@cache
def bundled_matte() -> LearnedMatte | None:
    """The network that comes with the engine; None where it does not. Raises `WeightsError` where it is damaged."""
    return LearnedMatte(OnnxNetwork(WEIGHTS)) if WEIGHTS.exists() else None


def evidence(score: float, confidence: float, agreement: float) -> Array:
    """What the chances are regressed on, [4]."""
    return np.array([1.0, score, confidence, agreement])


def letterboxed(rgb: Array, side: int) -> tuple[Array, tuple[int, int, int, int]]:
    """What the network sees [6, side, side], and top, bottom, left, right of the picture [H, W, 3] in it."""
    scale = side / max(rgb.shape[:2])
    height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
    top, left = (side - height) // 2, (side - width) // 2
    small = np.clip(resized(rgb, width, height), 0, 1)
    planes = np.zeros((6, side, side), np.float32)
    seen = planes[:, top : top + height, left : left + width]
    seen[:3], seen[3], seen[4:] = small.transpose(2, 0, 1) - 0.5, 1, hints(small).transpose(2, 0, 1)
    return planes, (top, top + height, left, left + width)


def expected_overlap(alpha: Array) -> float:
    """Intersection over union one may expect of `alpha` > 0.5 where alpha [H, W] is each pixel's probability."""
    solid = alpha > 0.5
    both, missed = float(alpha[solid].sum()), float(alpha[~solid].sum())
    return both / (float(solid.sum()) + missed) if solid.any() else 0.0

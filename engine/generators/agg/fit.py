# SPDX-License-Identifier: GPL-3.0-or-later
"""Test-time fit: steps on the Gaussians towards the picture they were imagined from, with the guess as a prior.

The picture says what is seen from one side, the network what the rest is like. So all that one picture can tell moves,
and everything is pulled back to where the network put it (a quadratic prior, as in pivotal tuning, Roich et al. 2022):

    L = sum over pixels |C - T|^2 + ALPHA (A - a)^2  +  sum over Gaussians of PULL times (change in its unit)^2

C and A are the rendered colour and alpha over a background drawn anew for every step, T the picture over it, a its
alpha: what is opaque must be so whatever is behind. What may change, and in which unit:

    colour                  1
    size                    1 in the natural logarithm, one factor for the three axes: shape and rotation stay
    sideways place          a pixel, by a smooth warp of the picture that all depths share: the back follows the front.
                            The depth before the camera stays the network's

Adam (Kingma and Ba 2015) would make steps of one length of any gradient, of noise too. Its epsilon here is a gradient
that matters (`SEEN`), so that what the camera does not see stays as it was but for the warp.

Opacities stay. Moving them too draws the outline no better (overlap with the picture's 0.952 for 0.954 on the stool of
the examples, 0.973 for 0.970 on the fish) and opens the surface that is made of the Gaussians: the mesh's overlap falls
from 0.946 to 0.926 and from 0.979 to 0.976; with opacities kept it rises to 0.948 and 0.983.

One pixel of sixteen is held out of the loss; the state that draws those best is kept, and the start where the whole
picture is not drawn better than at the start.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from engine.fields.cameras import Photograph
from engine.fields.gaussians import Gaussians
from engine.generators.base import Report, silent
from engine.image.frame import frame
from engine.render.splat_cpu import SplatGradients, SplatViews, backward, forward

Array = np.ndarray

SIDE = 128
"""Pixels of the picture's side: 16,384 Gaussians are about one pixel apart then. Fitted to pixels finer than that, at a
side of 256, they lost 0.13 dB in novel views."""

ALPHA = 1.0
"""Weight of the alpha's error, in colour channels."""

RATES = {"colors": 0.03, "sizes": 0.03, "warp": 0.06}
"""Lengths of Adam's first steps, in the units above. They fall to a tenth along half a cosine."""

PULLS = {"colors": 0.2, "sizes": 0.05, "warp": 0.5}
"""Strength of the prior, in squared colour over a pixel: per Gaussian, and per knot of the warp."""

SEEN = {"colors": 0.03, "sizes": 0.03, "warp": 1.0}
"""Gradient below which steps are shorter."""

MEMORY = (0.8, 0.95)
"""Adam's decay of the mean gradient and of the mean square: fits are short."""

KNOTS = 13
"""Knots of the warp along the picture's side; it is bilinear in between."""

CELL = 4
"""One pixel of each CELL x CELL is held out."""

CHECKS = 10
"""How often the state is measured on the way."""


def fit(gaussians: Gaussians, photograph: Photograph, steps: int, report: Report | None = None) -> Gaussians:
    """`gaussians` [N] after up to `steps` steps towards `photograph`, in the frame and order they came in.

    Seen by the photograph's camera they are never farther from it than before; where nothing nearer is found, or with
    0 steps, the very same come back. `report("fit", fraction, text)` is called before each step and may raise
    `Cancelled`. The same arguments give the same Gaussians. Raises `PictureError` where nothing in the photograph is
    opaque.
    """
    if steps < 1 or not len(gaussians):
        return gaussians
    told = report or silent
    told("fit", 0.0, "Comparing with the picture")
    target = Target(photograph)
    guess = Guess(gaussians, target)
    before = target.errors(gaussians)
    best, kept = before, gaussians
    random = np.random.default_rng(0)
    every = max(1, -(-steps // CHECKS))
    for step in range(steps):
        told("fit", step / steps, f"Fitting to the picture, step {step + 1} of {steps}")
        background = random.random((1, 3), np.float32)
        now = guess.now()
        guess.step(now, target.slopes(now, background), 0.1 + 0.45 * (1 + np.cos(np.pi * step / steps)))
        if (step + 1) % every == 0 or step + 1 == steps:
            found = target.errors(guess.now())
            if found.held_out < best.held_out and found.whole < before.whole:
                best, kept = found, guess.now()
    return kept


class Guess:
    """The Gaussians of the network, and what has changed of each in the units above."""

    def __init__(self, gaussians: Gaussians, target: "Target") -> None:
        viewmat, K = target.viewmats[0], target.Ks[0]
        self.gaussians = gaussians
        camera = gaussians.means @ viewmat[:3, :3].T + viewmat[:3, 3]
        depths = np.maximum(camera[:, 2:], 1e-6)
        pixels = camera[:, :2] / depths * [K[0, 0], K[1, 1]] + K[:2, 2]
        self.knots = _bilinear(pixels * ((KNOTS - 1) / SIDE))
        self.right_down = viewmat[:2, :3].astype(np.float32)
        self.pixel = (depths / K[0, 0]).astype(np.float32)  # [N, 1] object units
        N = len(gaussians)
        shapes = {"colors": (N, 3), "sizes": (N, 1), "warp": (KNOTS**2, 2)}
        self.changes, self.first, self.second = (
            {name: np.zeros(shape, np.float32) for name, shape in shapes.items()} for _ in range(3)
        )
        self.steps = 0

    def now(self) -> Gaussians:
        """The Gaussians as they have become."""
        g, changes = self.gaussians, self.changes
        return replace(
            g,
            means=g.means + (self.knots @ changes["warp"] * self.pixel) @ self.right_down,
            scales=g.scales * np.exp(changes["sizes"]),
            colors=(g.colors + changes["colors"]).clip(0, 1),
        )

    def step(self, now: Gaussians, slopes: SplatGradients, part: float) -> None:
        """A step of Adam against the gradients by the arrays of `now`, `part` of the first one long."""
        gradients = {
            "colors": slopes.colors,
            "sizes": (slopes.scales * now.scales).sum(1, keepdims=True),
            "warp": self.knots.T @ (slopes.means @ self.right_down.T * self.pixel),
        }
        self.steps += 1
        for name, change in self.changes.items():
            gradient = gradients[name] + np.float32(2 * PULLS[name]) * change
            first, second = self.first[name], self.second[name]
            first += np.float32(1 - MEMORY[0]) * (gradient - first)
            second += np.float32(1 - MEMORY[1]) * (gradient * gradient - second)
            length = RATES[name] * part / (1 - MEMORY[0] ** self.steps)
            size = np.sqrt(second * np.float32(1 / (1 - MEMORY[1] ** self.steps))) + np.float32(SEEN[name])
            change -= np.float32(length) * first / size


@dataclass(frozen=True)
class Errors:
    """Means over pixels of the squared differences of colour and alpha."""

    held_out: float
    whole: float


class Target:
    """The photograph's object, framed as a square of few pixels, and its camera."""

    def __init__(self, photograph: Photograph) -> None:
        framed = frame(photograph.rgba, SIDE)
        scale = SIDE / framed.side
        corner = np.array(framed.center) - framed.side / 2
        self.viewmats = np.asarray(photograph.viewmat, np.float64)[None]
        K = np.asarray(photograph.K, np.float64)
        self.Ks = (np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]], [0, 0, 1]]) @ K)[None]
        self.alphas = framed.rgba[..., 3]
        self.colors = framed.rgba[..., :3] * self.alphas[..., None]
        cells = SIDE // CELL
        chosen = np.random.default_rng(0).integers(0, CELL, (2, cells, cells))
        rows, columns = CELL * np.indices((cells, cells)) + chosen
        self.held_out = np.zeros((SIDE, SIDE), bool)
        self.held_out[rows, columns] = True

    def slopes(self, gaussians: Gaussians, background: Array) -> SplatGradients:
        """Gradients of the loss by `gaussians` over `background` [1, 3]."""
        views, colors, alphas = self._compared(gaussians, background, for_backward=True)
        colors *= np.float32(2)
        alphas *= np.float32(2 * ALPHA)
        colors[self.held_out], alphas[self.held_out] = 0, 0
        return backward(views, colors[None], alphas[None], np.zeros_like(views.alphas))

    def errors(self, gaussians: Gaussians) -> Errors:
        """How far `gaussians` are from the picture, before grey."""
        _, colors, alphas = self._compared(gaussians, np.full((1, 3), 0.5, np.float32), for_backward=False)
        squares = (colors**2).sum(-1) + ALPHA * alphas**2
        return Errors(float(squares[self.held_out].mean()), float(squares.mean()))

    def _compared(self, g: Gaussians, background: Array, for_backward: bool) -> tuple[SplatViews, Array, Array]:
        """The view, and its colours [S, S, 3] and alphas [S, S] less those of the picture."""
        views = forward(
            g.means, g.quats, g.scales, g.opacities, g.colors, self.viewmats, self.Ks, SIDE, SIDE,
            background, for_backward,
        )  # fmt: skip
        truth = self.colors + (1 - self.alphas)[..., None] * background
        return views, views.colors[0] - truth, views.alphas[0] - self.alphas


def _bilinear(places: Array) -> sparse.csr_matrix:
    """Weights [N, KNOTS^2] of the knots around `places` [N, 2] (x, y), in distances of knots."""
    places = places.clip(0, KNOTS - 1 - 1e-4)
    corner = places.astype(np.int64)
    x, y = (places - corner).astype(np.float32).T
    first = corner[:, 1] * KNOTS + corner[:, 0]
    index = np.stack([first, first + 1, first + KNOTS, first + KNOTS + 1], 1)
    weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1)
    starts = np.arange(0, index.size + 1, 4)
    return sparse.csr_matrix((weights.ravel(), index.ravel(), starts), (len(places), KNOTS**2))

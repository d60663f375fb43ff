# SPDX-License-Identifier: GPL-3.0-or-later
"""AGG at work: one picture to Gaussians in one pass, without torch (Xu et al. 2024)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.conventions import OBJECT_EXTENT
from engine.fields.cameras import Photograph
from engine.fields.gaussians import Gaussians
from engine.generators.agg.anchors import make_anchors
from engine.generators.agg.silhouette import drawn_inside
from engine.generators.base import Imagined, Report, silent
from engine.image.frame import Frame, frame
from engine.image.inflate import inflate_alpha
from engine.nets.runtime import OnnxNetwork

Array = np.ndarray

WEIGHTS = Path(__file__).parents[2] / "weights"
PHOTO = 256
"""Side of the framed picture that seen Gaussians take their colours from."""


@dataclass(frozen=True)
class Seen:
    """Gaussians in the view frame of `anchors`, and the camera the network believes the picture was taken with."""

    gaussians: Gaussians
    tan_half_fov: float
    elevation: float  # radians above the horizon


class AggGenerator:
    """The default generator: a picture with its object cut out becomes Gaussians."""

    name = "agg"

    def __init__(self, network: OnnxNetwork) -> None:
        self.network = network
        self.settings = network.card["settings"]

    @classmethod
    def load(cls, weights: str | Path | None = None) -> "AggGenerator":
        """The generator with the bundled weights, or those at `weights` (an `.onnx` file). Raises `WeightsError`."""
        return cls(OnnxNetwork(weights or WEIGHTS / "agg_xs.onnx"))

    def generate(self, prompt: Array, *, seed: int = 0, report: Report | None = None) -> Imagined:
        """Gaussians [N] upright in the object frame, longest side OBJECT_EXTENT, from RGBA `prompt` [H, W, 4].

        With them the prompt and the camera the network believes it was taken with: what it sees there are these
        Gaussians. Seed 0 gives the likeliest unseen side, every other seed one of its own. Raises `PictureError` where
        nothing in the picture is opaque.
        """
        report = report or silent
        report("generate", 0.0, "Looking at the picture")
        framed = frame(prompt, PHOTO)
        seen = self.look(framed.rgba, seed)
        report("generate", 1.0, "Standing it upright")
        gaussians, viewmat = normalised(*upright(seen))
        return Imagined(gaussians, Photograph(prompt, viewmat, pixels(framed, seen.tan_half_fov)))

    def look(self, photo: Array, seed: int = 0) -> Seen:
        """Gaussians in the view frame from a framed picture [PHOTO, PHOTO, 4]."""
        settings = self.settings
        picture = reduced(photo, settings["picture"])
        alpha = picture[..., 3]
        anchors, spacing = make_anchors(alpha, settings["generate"] // settings["superres"], seed)
        out = self.network(
            picture=np.ascontiguousarray(picture.transpose(2, 0, 1)[None]),
            inflated=inflate_alpha(alpha, settings["layers"])[None, None],
            anchors=anchors[None],
            spacing=np.array([spacing], np.float32),
            latent=chosen_latent(seed, settings["latent"])[None],
        )
        t = float(out["tan_half_fov"][0])
        own, cover = photo_colors(photo, out["means"][0], t)
        keep = (out["keep"][0] * np.minimum(2 * cover, 1))[:, None]  # beside the object the photo has no colour to give
        colors = keep * own + (1 - keep) * out["field"][0]
        scales = settings["scale"] * spacing * np.exp(out["log_scales"][0])
        gaussians = Gaussians(
            out["means"][0], out["quats"][0], scales, out["opacities"][0].clip(0, 1), colors.clip(0, 1)
        )
        return Seen(drawn_inside(gaussians, photo, t), t, float(out["elevation"][0]))


def chosen_latent(seed: int, size: int) -> Array:
    """What a seed makes of the unseen side, [size] float32: 0 is the likeliest, others are drawn at random."""
    if seed == 0:
        return np.zeros(size, np.float32)
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def isotropic(means: Array, scale: float, opacities: Array, colors: Array) -> Gaussians:
    """Gaussians with AGG's canonical shape: one scale for all, no rotation."""
    quats = np.tile([1.0, 0, 0, 0], (len(means), 1))
    return Gaussians(means, quats, np.full((len(means), 3), scale), opacities.clip(0, 1), colors.clip(0, 1))


def photo_colors(photo: Array, means: Array, tan_half_fov: float) -> tuple[Array, Array]:
    """Colours [N, 3] and alpha [N] of the photo [S, S, 4] where each mean of the view frame projects.

    Bilinear; colours are weighted by alpha, so that they do not darken at the object's edge.
    """
    side = len(photo)
    perspective = np.maximum(1 - tan_half_fov * means[:, 2:], 0.1)
    x, y = ((means[:, :2] / perspective * [1, -1] + 1) * (side / 2) - 0.5).clip(0, side - 1).T
    column, row = x.astype(int).clip(0, side - 2), y.astype(int).clip(0, side - 2)
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    premultiplied = np.concatenate([photo[..., :3] * photo[..., 3:], photo[..., 3:]], -1)
    upper = premultiplied[row, column] * (1 - fx) + premultiplied[row, column + 1] * fx
    lower = premultiplied[row + 1, column] * (1 - fx) + premultiplied[row + 1, column + 1] * fx
    sampled = upper * (1 - fy) + lower * fy
    return sampled[:, :3] / np.maximum(sampled[:, 3:], 0.1), sampled[:, 3]


def reduced(picture: Array, size: int) -> Array:
    """A straight-alpha picture [S, S, 4] averaged down to [size, size, 4]; S is a multiple of `size`."""
    step = len(picture) // size
    premultiplied = np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], -1)
    mean = premultiplied.reshape(size, step, size, step, 4).mean((1, 3))
    colors = mean[..., :3] / np.maximum(mean[..., 3:], 1e-6)
    return np.concatenate([colors, mean[..., 3:]], -1).astype(np.float32)


def upright(seen: Seen) -> tuple[Gaussians, Array]:
    """Turns what a raised camera saw about x, so that the world's up is +y.

    Returns them with the matrix [4, 4] from their frame to the camera, which the view frame has at z = 1 / t.
    """
    cos, sin = np.cos(seen.elevation), np.sin(seen.elevation)
    turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.diag([1, -1, -1]) @ turn.T
    viewmat[2, 3] = 1 / seen.tan_half_fov
    return seen.gaussians.rotated(turn), viewmat


def normalised(gaussians: Gaussians, viewmat: Array) -> tuple[Gaussians, Array]:
    """Centred, with the longest side of the means' box OBJECT_EXTENT; `viewmat` [4, 4] follows, so that the camera
    takes the same picture."""
    low, high = gaussians.bounds()
    factor, center = OBJECT_EXTENT / max(float((high - low).max()), 1e-6), (low + high) / 2
    moved = viewmat.copy()
    moved[:3, 3] = factor * (viewmat[:3, :3] @ center + viewmat[:3, 3])
    return gaussians.scaled(factor, -center), moved.astype(np.float32)


def pixels(framed: Frame, tan_half_fov: float) -> Array:
    """K [3, 3] in pixels of the picture that `framed` was cut from: the frame spans tan_half_fov on either side."""
    focal = framed.side / 2 / tan_half_fov
    return np.array([[focal, 0, framed.center[0]], [0, focal, framed.center[1]], [0, 0, 1]], np.float32)

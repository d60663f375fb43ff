# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures with a known matte: cut-outs set before backgrounds, with the marks that light and cameras leave."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

from engine.training.matte.backgrounds import HELD_OUT, KINDS, field
from engine.training.matte.cutouts import FILL, Cutouts

Array = np.ndarray
Rng = np.random.Generator

PAIRS = 0.1
"""Share of pictures with two objects. Both are the object: what stands in front, sharp, is what the picture shows."""


EMPTY = 0.03
"""Share of pictures that show nothing but background."""


SMALLEST = 0.012
"""Smallest share of the picture that an object takes."""

VISIBLE = 0.65
"""Share of the object's pixels that must differ from what is behind them, by more than 0.05 in some channel."""


@dataclass(frozen=True)
class Composite:
    """A picture and its true matte."""

    rgb: Array  # [S, S, 3] float32 sRGB; 0 outside of the letterbox
    alpha: Array  # [S, S] float32
    inside: tuple[int, int, int, int]  # top, bottom, left, right of the picture in the letterbox
    kind: str  # of background
    objects: int


@dataclass(frozen=True)
class _Placed:
    """An object where it stands: all [S, S, ...] float32, colours premultiplied."""

    rgba: Array
    cast: Array
    contact: Array
    reflection: Array


def compose(
    cutouts: Cutouts,
    size: int,
    rng: Rng,
    kind: str | None = None,
    only: tuple[int, ...] | None = None,
    letterbox: bool = True,
) -> Composite:
    """One random picture of `size` pixels; of the cut-outs `only` and on a background of `kind`, where given.

    A picture whose object cannot be told from what is behind it (see VISIBLE) is drawn again.
    """  # fmt: skip
    while True:
        count = len(only) if only is not None else 0 if rng.random() < EMPTY else 2 if rng.random() < PAIRS else 1
        chosen = only or [int(rng.integers(len(cutouts))) for _ in range(count)]
        places = _pair_places(rng) if count == 2 else [_place(rng)]
        placed = [_placed(cutouts, n, size, place, rng) for n, place in zip(chosen, places, strict=False)]
        if min((float(p.rgba[..., 3].mean()) for p in placed), default=1) < SMALLEST:
            continue
        behind = kind or str(rng.choice(list(KINDS), p=[weight for _, weight in KINDS.values()]))
        draw = KINDS[behind][0] if behind in KINDS else HELD_OUT[behind]
        picture = draw(size, rng, cutouts).astype(np.float32)
        shadow, reflected, blur = _floor_marks(rng)
        for p in placed:
            picture = _on_floor(picture, p, shadow, reflected, blur * size / 256)
        background, alpha = picture, np.zeros((size, size), np.float32)
        for p in placed:
            rgb, a = _recolored(p.rgba, rng), p.rgba[..., 3:]
            picture = picture * (1 - a) + rgb
            alpha = alpha * (1 - a[..., 0]) + a[..., 0]
        solid = alpha > 0.5
        if placed and (np.abs(picture - background)[solid].max(-1) > 0.05).mean() > VISIBLE:
            break
        if not placed:
            break
    top, bottom, left, right = _letterbox(alpha, rng) if letterbox else (0, size, 0, size)
    picture = _photographed(picture[top:bottom, left:right], size / 256, rng)
    rgb, known = np.zeros((size, size, 3), np.float32), np.zeros_like(alpha)
    rgb[top:bottom, left:right], known[top:bottom, left:right] = picture, alpha[top:bottom, left:right]
    return Composite(rgb, known, (top, bottom, left, right), behind, len(placed))


# ---- the object in the picture --------------------------------------------------------------------------------------


def _place(rng: Rng) -> tuple[float, float, float, float]:
    """x, y of the object's middle, its longest side (all in pictures) and a turn in degrees."""
    longest = rng.uniform(0.5, 0.95) if rng.random() < 0.75 else np.exp(rng.uniform(np.log(0.3), np.log(1.4)))
    spread = 0.05 if rng.random() < 0.6 else 0.2
    x, y = 0.5 + rng.normal(0, spread, 2)
    return float(x), float(y), float(longest), float(rng.normal(0, 4))


def _pair_places(rng: Rng) -> list[tuple[float, float, float, float]]:
    """Two objects of similar size beside each other."""
    longest = rng.uniform(0.35, 0.6, 2)
    y = 0.5 + rng.normal(0, 0.06)
    gap = rng.uniform(-0.05, 0.12)
    xs = 0.5 - (gap + longest[1]) / 2, 0.5 + (gap + longest[0]) / 2
    return [(x, y + rng.normal(0, 0.03), s, rng.normal(0, 3)) for x, s in zip(xs, longest, strict=True)]


def _placed(cutouts: Cutouts, n: int, size: int, place: tuple[float, float, float, float], rng: Rng) -> _Placed:
    flip = bool(rng.random() < 0.5)
    source = cutouts.objects if FILL * cutouts.objects.shape[1] < 1.4 * place[2] * size else cutouts.small
    ground = np.asarray(cutouts.grounds[n])
    shadows = np.pad(ground[..., :2], ((0, 0), (0, 0), (0, 2)))
    marks = _warped(shadows, size, place, flip)
    return _Placed(
        _warped(source[n], size, place, flip), marks[..., 0], marks[..., 1], _warped(ground[..., 2:], size, place, flip)
    )


def _warped(source: Array, size: int, place: tuple[float, float, float, float], flip: bool) -> Array:
    """`source` [S, S, 4] uint8 brought to its place: [size, size, 4] float32 in [0, 1]."""
    x, y, longest, turn = place
    # As RGBX: Pillow takes RGBA as straight alpha, and these colours are premultiplied.
    image = Image.frombytes("RGBX", (source.shape[1], source.shape[0]), source.tobytes())
    scale = FILL * image.width / (longest * size)  # source pixels per pixel
    if scale >= 1.5:
        factor = int(scale + 0.5)
        image, scale = image.reduce(factor), scale / factor
    c, s = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
    sign, middle, px, py = -1 if flip else 1, image.width / 2, x * size, y * size
    matrix = (sign * c, sign * s, middle - sign * (c * px + s * py), -s, c, middle - (-s * px + c * py))
    warped = image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(warped, np.float32) / 255


def _recolored(rgba: Array, rng: Rng) -> Array:
    """The object's premultiplied colours [S, S, 3] under another light, of another tint."""
    size, covered = len(rgba), np.flatnonzero(rgba[..., 3].ravel())
    pixels = rgba.reshape(-1, 4)[covered]
    rgb = pixels[:, :3] / pixels[:, 3:]
    if rng.random() < 0.25:
        rgb = rgb[:, rng.permutation(3)]
    grey = rgb.mean(-1, keepdims=True)
    rgb = grey + (rgb - grey) * np.float32(rng.uniform(0.3, 1.3))
    gain = (rng.uniform(0.75, 1.3) * rng.uniform(0.92, 1.08, 3)).astype(np.float32)
    rgb = np.clip(rgb * gain, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.25)))
    if rng.random() < 0.5:
        rgb *= 1 + np.float32(rng.uniform(0, 0.25)) * field(size, rng.uniform(1, 5), rng).ravel()[covered, None]
    if rng.random() < 0.25:  # highlights
        rgb += np.float32(0.7) * np.clip(field(size, rng.uniform(3, 12), rng).ravel()[covered, None] - 1, 0, 1)
    if rng.random() < 0.15:  # towards white or black: what plain backgrounds make hard
        target = np.float32(rng.choice([0.04, 0.93]))
        rgb = target + (rgb - target) * np.float32(rng.uniform(0.2, 0.6))
    colors = np.zeros((size * size, 3), np.float32)
    colors[covered] = np.clip(rgb, 0, 1) * pixels[:, 3:]
    return colors.reshape(size, size, 3)


# ---- what it leaves on the floor ------------------------------------------------------------------------------------


def _floor_marks(rng: Rng) -> tuple[tuple[float, float], float, float]:
    """Strength of the cast and the contact shadow and of the reflection, and the shadow's blur at 256 pixels."""
    cast = rng.uniform(0.1, 0.7) if rng.random() < 0.55 else 0.0
    contact = rng.uniform(0.1, 0.7) if rng.random() < 0.6 else 0.0
    reflected = rng.uniform(0.05, 0.4) if rng.random() < 0.15 else 0.0
    return (cast, contact), reflected, float(np.exp(rng.uniform(np.log(0.7), np.log(14))))


def _on_floor(picture: Array, p: _Placed, shadow: tuple[float, float], reflected: float, blur: float) -> Array:
    """The background darkened by the object's shadows and mirroring it."""
    if reflected:
        soft = np.float32(reflected) * ndimage.gaussian_filter(p.reflection, (blur / 4, blur / 4, 0))
        picture = picture * (1 - soft[..., 3:]) + soft[..., :3]
    cast, contact = shadow
    if cast or contact:
        dark = 1 - np.float32(cast) * ndimage.gaussian_filter(p.cast, blur)
        dark = dark * (1 - np.float32(contact) * ndimage.gaussian_filter(p.contact, 1.5 * blur + 1))
        picture = picture * dark[..., None]
    return picture


# ---- the camera -----------------------------------------------------------------------------------------------------


def _letterbox(alpha: Array, rng: Rng) -> tuple[int, int, int, int]:
    """Top, bottom, left, right: the whole square, or a band of it that keeps most of the object."""
    size = len(alpha)
    if rng.random() < 0.55 or not alpha.any():
        return 0, size, 0, size
    length = int(size * rng.uniform(0.45, 0.97))
    upright = rng.random() < 0.5
    profile = alpha.sum(0 if upright else 1)
    middle = float((profile * np.arange(size)).sum() / max(profile.sum(), 1e-6))
    start = int(np.clip(middle - length / 2 + rng.normal(0, 0.05) * size, 0, size - length))
    if profile[start : start + length].sum() < 0.6 * profile.sum():
        return 0, size, 0, size
    return (0, size, start, start + length) if upright else (start, start + length, 0, size)


def _photographed(picture: Array, scale: float, rng: Rng) -> Array:
    """The picture with exposure, blur, grain and compression; `scale` is its side over 256 pixels."""
    if rng.random() < 0.5:
        gain, gamma = rng.uniform(0.8, 1.2, 3) ** 0.5 * rng.uniform(0.8, 1.15), np.exp(rng.normal(0, 0.15))
        picture = np.clip(picture * gain.astype(np.float32), 0, 1) ** np.float32(gamma)
    if rng.random() < 0.35:
        blur = rng.uniform(0.3, 1.3) * scale
        picture = ndimage.gaussian_filter(picture, (blur, blur, 0))
    if rng.random() < 0.5:
        sigma = rng.uniform(0.003, 0.04)
        picture = picture + (np.float32(sigma) * rng.standard_normal(picture.shape, np.float32))
    eight = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.5:
        buffer = BytesIO()
        Image.fromarray(eight).save(buffer, "JPEG", quality=int(rng.integers(30, 96)))
        eight = np.asarray(Image.open(buffer))
    return eight.astype(np.float32) / 255

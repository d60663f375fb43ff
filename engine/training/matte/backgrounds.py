# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands behind an object: studio walls, floors with patterns, noise, textures, and blurred clutter."""

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from engine.training.matte.cutouts import Cutouts

Array = np.ndarray
Rng = np.random.Generator


def resized(image: Array, width: int, height: int) -> Array:
    """uint8 [H, W, 3] or float32 [H, W] at another size, antialiased bilinear."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def color(rng: Rng) -> Array:
    """A colour [3] in [0, 1]; every second one nearly grey, and those bright more often than dark."""
    if rng.random() < 0.5:
        return np.clip(rng.beta(1.6, 0.9) + rng.normal(0, 0.03, 3), 0, 1).astype(np.float32)
    return rng.random(3).astype(np.float32)


def field(size: int, cells: float, rng: Rng) -> Array:
    """A smooth random function [size, size], about `cells` bumps along a side, mean 0 and spread about 1."""
    n = max(2, round(cells) + 1)
    return resized(rng.normal(0, 1, (n, n)).astype(np.float32), size, size)


def _coordinates(size: int) -> tuple[Array, Array]:
    """x and y [size, size] in [-1, 1]."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    return np.broadcast_to(axis, (size, size)), np.broadcast_to(axis[:, None], (size, size))


# ---- plain ones -----------------------------------------------------------------------------------------------------


def plain(size: int, rng: Rng, cutouts: Cutouts) -> Array:
    """White most often, as in shops."""
    chosen = np.ones(3, np.float32) if rng.random() < 0.45 else color(rng)
    return np.broadcast_to(chosen, (size, size, 3)).astype(np.float32)


def gradient(size: int, rng: Rng, cutouts: Cutouts) -> Array:
    """A slope, a vignette or a spot of light between two colours."""
    x, y = _coordinates(size)
    first, second = color(rng), color(rng)
    if rng.random() < 0.6:
        second = np.clip(first + rng.normal(0, 0.15, 3), 0, 1).astype(np.float32)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        t = 0.5 + 0.5 * (np.cos(angle) * x + np.sin(angle) * y)
    else:
        cx, cy = rng.uniform(-0.6, 0.6, 2)
        t = np.hypot(x - cx, y - cy) / rng.uniform(0.8, 2)
    t = np.clip(t, 0, 1)[..., None] ** rng.uniform(0.6, 2)
    return first * (1 - t) + second * t


def studio(size: int, rng: Rng, cutouts: Cutouts) -> Array:
    """A wall above a floor of one colour each, or a sweep between them."""
    _, y = _coordinates(size)
    horizon, softness = rng.uniform(-0.5, 0.7), np.exp(rng.uniform(np.log(0.004), np.log(0.5)))
    wall = color(rng)
    floor = np.clip(wall + rng.normal(0, 0.12, 3), 0, 1) if rng.random() < 0.6 else color(rng)
    tilt = rng.normal(0, 0.03) * _coordinates(size)[0]
    t = (1 / (1 + np.exp(-np.clip((y - horizon + tilt) / softness, -30, 30))))[..., None]
    shading = 1 + rng.uniform(0, 0.25) * field(size, rng.uniform(1, 2), rng)[..., None] * 0.4
    return np.clip((wall * (1 - t) + floor * t) * shading, 0, 1)


# ---- patterns on walls and floors -----------------------------------------------------------------------------------

Pattern = Callable[[Array, Array, Rng], Array]


def _pair(rng: Rng) -> tuple[Array, Array]:
    first = color(rng)
    second = np.clip(first + rng.normal(0, 0.2, 3), 0, 1) if rng.random() < 0.7 else color(rng)
    return first, second


def _checker(u: Array, v: Array, rng: Rng) -> Array:
    first, second = _pair(rng)
    odd = ((np.floor(u) + np.floor(v)) % 2)[..., None]
    return first * odd + second * (1 - odd)


def _planks(u: Array, v: Array, rng: Rng) -> Array:
    """Boards along v with grain, each a little different."""
    first, second = _pair(rng)
    board = np.floor(u).astype(int)
    tone = rng.normal(0, 0.5, 257)[board % 257]
    grain = np.sin(9 * (u + 0.15 * np.sin(2.1 * v + 5 * tone)) + 40 * tone) * 0.5 + np.sin(31 * u + 7 * tone) * 0.25
    t = np.clip(0.5 + 0.35 * tone + 0.3 * grain, 0, 1)[..., None]
    gap = (np.abs(u - np.round(u)) < 0.03)[..., None]
    return (first * t + second * (1 - t)) * np.where(gap, 0.5, 1)


def _tiles(u: Array, v: Array, rng: Rng) -> Array:
    first, joint = _pair(rng)
    tone = rng.normal(0, rng.uniform(0, 0.06), (64, 64))[np.floor(u).astype(int) % 64, np.floor(v).astype(int) % 64]
    edge = (np.abs(u - np.round(u)) < 0.04) | (np.abs(v - np.round(v)) < 0.04)
    return np.where(edge[..., None], joint, first + tone[..., None])


def _stripes(u: Array, v: Array, rng: Rng) -> Array:
    first, second = _pair(rng)
    t = np.clip(0.5 + rng.uniform(0.5, 6) * np.sin(2 * np.pi * u), 0, 1)[..., None]
    return first * t + second * (1 - t)


def _bricks(u: Array, v: Array, rng: Rng) -> Array:
    """Held out: rows of bricks with mortar."""
    row = np.floor(2 * v).astype(int)
    along = u + 0.5 * (row % 2)
    tone = rng.normal(0, 0.12, (64, 64))[row % 64, np.floor(along).astype(int) % 64]
    mortar = (np.abs(along - np.round(along)) < 0.04) | (np.abs(2 * v - np.round(2 * v)) < 0.08)
    brick = np.array([0.6, 0.33, 0.25]) * rng.uniform(0.7, 1.3) + rng.normal(0, 0.08, 3)
    return np.where(mortar[..., None], rng.uniform(0.5, 0.9), brick * (1 + tone[..., None]))


def _pebbles(u: Array, v: Array, rng: Rng) -> Array:
    """Held out: stones, each of the colour of its centre (Voronoi cells)."""
    cell_u, cell_v = np.floor(u).astype(int), np.floor(v).astype(int)
    offsets, tones = rng.random((32, 32, 2)), rng.normal(0, 0.1, (32, 32, 3))
    nearest, second, shade = np.full(u.shape, 9.0), np.full(u.shape, 9.0), np.zeros((*u.shape, 3))
    for du in (-1, 0, 1):
        for dv in (-1, 0, 1):
            i, j = (cell_u + du) % 32, (cell_v + dv) % 32
            d = np.hypot(cell_u + du + offsets[i, j, 0] - u, cell_v + dv + offsets[i, j, 1] - v)
            closer = d < nearest
            second = np.where(closer, nearest, np.minimum(second, d))
            shade = np.where(closer[..., None], tones[i, j], shade)
            nearest = np.where(closer, d, nearest)
    base = color(rng)
    return np.clip((base + shade) * np.clip(0.4 + 3 * (second - nearest), 0.4, 1)[..., None], 0, 1)


def _patterned(size: int, rng: Rng, patterns: tuple[Pattern, ...]) -> Array:
    """A pattern on the wall, on the floor in perspective, or one on each, with light that falls off."""
    x, y = _coordinates(size)
    angle, scale = rng.normal(0, 0.3), np.exp(rng.uniform(np.log(1.5), np.log(9)))
    offset = rng.uniform(0, 50, 2)

    def turned(a: Array, b: Array, angle: float) -> tuple[Array, Array]:
        return np.cos(angle) * a - np.sin(angle) * b + offset[0], np.sin(angle) * a + np.cos(angle) * b + offset[1]

    def wall() -> Array:
        if rng.random() < 0.4:
            return gradient(size, rng, None)  # type: ignore[arg-type]
        return patterns[rng.integers(len(patterns))](*turned(scale * x, scale * y, angle), rng)

    def floor(horizon: float) -> Array:
        depth = 1 / np.maximum(y - horizon, 0.02)
        near = np.minimum(scale * 0.6 * depth, 400)
        pattern = patterns[rng.integers(len(patterns))](*turned(x * near, 3 * near, rng.uniform(0, np.pi)), rng)
        fade = np.clip(1.6 - 0.12 * near / scale, 0, 1)[..., None]
        return pattern * fade + pattern.mean((0, 1)) * (1 - fade)

    if rng.random() < 0.5:
        picture = wall()
    else:
        horizon = rng.uniform(-1.3, 0.5)
        picture = np.where((y > horizon)[..., None], floor(horizon), wall())
    picture = picture * (1 + 0.15 * rng.random() * field(size, 2, rng)[..., None])
    blur = max(0.0, rng.uniform(-1, 2)) * size / 256
    return np.clip(ndimage.gaussian_filter(picture.astype(np.float32), (blur, blur, 0)), 0, 1)


def patterns(size: int, rng: Rng, cutouts: Cutouts) -> Array:
    """Checks, boards, tiles, stripes."""
    return _patterned(size, rng, (_checker, _planks, _planks, _tiles, _stripes))


def masonry(size: int, rng: Rng, cutouts: Cutouts) -> Array:
    """Held out: bricks and pebbles."""
    return _patterned(size, rng, (_bricks, _pebbles))


# ---- irregular ones -------------------------------------------------------------------------------------------------


def noise(size: int, rng: Rng, cutouts: Cutouts) -> Array:
    """Coloured noise of many sizes: cloth, stone, plaster, foliage out of focus."""
    base, spread, roughness = color(rng), rng.uniform(0.03, 0.25), rng.uniform(0.35, 0.9)
    total = np.zeros((size, size, 3), np.float32)
    tint = rng.normal(0, 1, (3, 3)) * 0.4 + 0.6
    for octave in range(1, 7):
        cells = 2**octave
        if cells < size:
            fields = np.stack([field(size, cells, rng) for _ in range(1 if rng.random() < 0.6 else 3)], -1)
            total += roughness**octave * (fields @ tint[: fields.shape[-1]])
    return np.clip(base + np.float32(spread / 0.6) * total, 0, 1)


def textured(size: int, rng: Rng, cutouts: Cutouts) -> Array:
    """A texture of some object spread over the picture, soft as enlarged pictures are."""
    texture = cutouts.textures[rng.integers(len(cutouts.textures))]
    side = int(rng.integers(48, texture.shape[0]))
    y, x = (int(rng.integers(0, n - side + 1)) for n in texture.shape[:2])
    picture = resized(np.ascontiguousarray(np.rot90(texture[y : y + side, x : x + side], rng.integers(4))), size, size)
    if rng.random() < 0.3:
        picture = np.asarray(Image.fromarray(np.concatenate([picture, picture[:, ::-1]], 1)).resize((size, size)))
    return picture.astype(np.float32) / 255


def clutter(size: int, rng: Rng, cutouts: Cutouts) -> Array:
    """Other objects, out of focus, before something plainer."""
    base = (studio, gradient, noise, patterns, textured)[rng.integers(5)](size, rng, cutouts).astype(np.float32)
    for _ in range(int(rng.integers(2, 9))):
        side = int(size * rng.uniform(0.3, 1.1))
        source = cutouts.small[rng.integers(len(cutouts))][:, :: rng.choice([-1, 1])]
        image = Image.frombytes(
            "RGBX", (source.shape[1], source.shape[0]), source.tobytes()
        )  # premultiplied: not Pillow's RGBA
        rgba = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.float32) / 255
        x, y = (int(rng.integers(-side // 2, size - side // 2)) for _ in range(2))
        top, bottom, left, right = max(0, y), min(size, y + side), max(0, x), min(size, x + side)
        piece = rgba[top - y : bottom - y, left - x : right - x]
        base[top:bottom, left:right] = base[top:bottom, left:right] * (1 - piece[..., 3:]) + piece[..., :3]
    blur = np.exp(rng.uniform(np.log(1.8), np.log(9))) * size / 256
    return ndimage.gaussian_filter(base, (blur, blur, 0))


KINDS = {
    "plain": (plain, 0.2),
    "gradient": (gradient, 0.14),
    "studio": (studio, 0.18),
    "patterns": (patterns, 0.15),
    "noise": (noise, 0.09),
    "textured": (textured, 0.07),
    "clutter": (clutter, 0.17),
}
"""Kinds of background a network learns with, and how often each is drawn."""

HELD_OUT = {"masonry": masonry}
"""Kinds that only evaluation shows."""

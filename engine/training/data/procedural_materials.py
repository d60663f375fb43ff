# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours for procedural shapes: functions of space that look like paint, wood, stone, cloth, prints and wear.

Base colour only, no light. A palette keeps the materials of one object together.
"""

import colorsys
from collections.abc import Callable

import numpy as np

from engine.training.data.procedural_noise import cells, noise, uniform

Array = np.ndarray
Material = Callable[[Array], Array]
"""Colours [P, 3] in [0, 1] (sRGB) of points [P, 3] in the frame of a part."""


def palette(rng: np.random.Generator) -> Array:
    """Five colours [5, 3] that go together: near one hue, or around it, or any; some grey, dark or bright.

    A quarter of the palettes is nearly without colour, as many made things are: white, grey, black.
    """
    hue, spread = rng.random(), rng.choice([0.03, 0.12, 0.5])
    liveliness, brightness = rng.beta(1.5, 2.0), rng.beta(2.6, 1.2)
    if rng.random() < 0.25:
        liveliness *= 0.15
    colors = []
    for _ in range(5):
        saturation = np.clip(liveliness * rng.uniform(0.5, 1.4), 0, 1) * (rng.random() > 0.2)
        value = np.clip(brightness * rng.uniform(0.55, 1.4), 0.03, 0.98)
        colors.append(colorsys.hsv_to_rgb((hue + rng.normal(0, spread)) % 1, saturation, value))
    return np.array(colors)


def material(rng: np.random.Generator, colors: Array, base: int | None = None, plain: float = 0.45) -> Material:
    """A random material of the palette `colors`; `base` fixes its main colour, `plain` is the share without pattern."""
    main = colors[rng.integers(len(colors)) if base is None else base % len(colors)]
    other = colors[rng.integers(len(colors))]
    if np.abs(main - other).sum() < 0.15:
        other = np.clip(main * rng.choice([0.5, 0.7, 1.5]) + rng.choice([0, 0.15]), 0, 1)
    if rng.random() < plain:
        pattern = _plain(main)
    else:
        kinds = (_grain, _marble, _stripes, _checks, _gradient, _spots, _patches, _bricks, _speckle, _label, _blobs)
        shares = np.array([3, 2, 2, 1, 2, 1.5, 2, 1, 2, 3, 2])
        kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
        pattern = kind(rng, main, other, colors)
    return _worn(rng, pattern) if rng.random() < 0.5 else pattern


def wood(rng: np.random.Generator) -> Material:
    """Planks of one of the usual woods."""
    main = np.array(colorsys.hsv_to_rgb(rng.uniform(0.05, 0.11), rng.uniform(0.3, 0.75), rng.uniform(0.25, 0.85)))
    return _worn(rng, _grain(rng, main, main * rng.uniform(0.5, 0.8), main[None]))


def metal(rng: np.random.Generator) -> Material:
    """Grey, brass or copper with faint scratches."""
    grey = rng.uniform(0.2, 0.8)
    main = grey * np.array([[1, 1, 1], [0.95, 0.98, 1.0], [1.0, 0.85, 0.55], [1.0, 0.7, 0.55]])[rng.integers(4)]
    return _worn(rng, _speckle(rng, main, main * 0.85, main[None]))


def leaves(rng: np.random.Generator) -> Material:
    """Foliage: greens, sometimes autumn or blossom."""
    hue = rng.choice([rng.uniform(0.2, 0.4), rng.uniform(0.02, 0.15), rng.uniform(0.85, 0.98)], p=[0.75, 0.15, 0.1])
    main = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.75)))
    return _patches(rng, main, main * 0.6, np.stack([main, main * 0.7, main * 0.85, np.clip(main * 1.2, 0, 1)]))


def skin(rng: np.random.Generator, colors: Array) -> Material:
    """Fur, hide or glaze: one colour that goes over into another below, with blotches."""
    main, belly = colors[rng.integers(5)], np.clip(colors[rng.integers(5)] * 1.1 + 0.08, 0, 1)
    seed, level, soft = int(rng.integers(1 << 30)), rng.normal(-0.1, 0.15), rng.uniform(0.05, 0.3)

    def colored(points: Array) -> Array:
        share = _step(points[:, 1] - level + 0.12 * noise(points * 6, seed, 3), soft)
        return _mix(belly, main, share) * (1 + 0.12 * noise(points * 20, seed + 1, 2))[:, None]

    return colored


# ---- Patterns -------------------------------------------------------------------------------------------------------


def _mix(a: Array, b: Array, share: Array) -> Array:
    return a + (b - a) * np.clip(share, 0, 1)[:, None]


def _step(values: Array, soft: float) -> Array:
    return np.clip(values / soft + 0.5, 0, 1)


def _axis(rng: np.random.Generator) -> Array:
    """A direction [3]: a coordinate axis mostly, else any."""
    if rng.random() < 0.75:
        return np.eye(3)[rng.choice(3, p=[0.25, 0.5, 0.25])]
    direction = rng.normal(size=3)
    return direction / np.linalg.norm(direction)


def _plain(main: Array) -> Material:
    return lambda points: np.broadcast_to(main, points.shape).copy()


def _grain(rng, main, other, colors) -> Material:
    seed, axis, rings = int(rng.integers(1 << 30)), rng.integers(3), rng.uniform(6, 16)
    stretch = np.where(np.arange(3) == axis, 0.15, 1.0)

    def colored(points: Array) -> Array:
        bent = points * stretch
        rise = noise(bent * 2.5, seed, 2) * 1.2 + bent[:, (axis + 1) % 3] * 1.5
        lines = 0.5 + 0.5 * np.sin(rise * rings)
        return _mix(main, other, 0.55 * lines + 0.3 * noise(bent * 25, seed + 1, 2) + 0.1)

    return colored


def _marble(rng, main, other, colors) -> Material:
    seed, frequency, sharp = int(rng.integers(1 << 30)), rng.uniform(1.5, 5), rng.uniform(0.15, 1)

    def colored(points: Array) -> Array:
        return _mix(main, other, _step(noise(points * frequency, seed, 4, ridged=True) - 0.2, sharp * 2))

    return colored


def _stripes(rng, main, other, colors) -> Material:
    axis, frequency, share = _axis(rng), rng.uniform(1.5, 12), rng.uniform(0.2, 0.8)
    seed, wobble, third = int(rng.integers(1 << 30)), rng.choice([0, 0, 0.05, 0.2]), colors[rng.integers(len(colors))]

    def colored(points: Array) -> Array:
        t = (points @ axis + wobble * noise(points * 3, seed, 2)) * frequency
        mixed = _mix(main, other, _step(np.abs(t % 1 - 0.5) * 2 - share, 0.06))
        return np.where(((np.floor(t) % 4 == 0) & (np.abs(t % 1 - 0.5) * 2 > share))[:, None], third, mixed)

    return colored


def _checks(rng, main, other, colors) -> Material:
    frequency = rng.uniform(2, 9) * np.where(rng.random(3) < 0.25, 1e-3, 1)
    shift = rng.random(3)
    return lambda points: np.where((np.floor(points * frequency + shift).sum(1) % 2 == 0)[:, None], main, other)


def _gradient(rng, main, other, colors) -> Material:
    axis, seed, steep = _axis(rng), int(rng.integers(1 << 30)), rng.uniform(0.3, 1.5)
    rough, middle = rng.choice([0, 0.05, 0.3]), rng.normal(0, 0.2)
    return lambda points: _mix(main, other, _step(points @ axis - middle + rough * noise(points * 3, seed, 3), steep))


def _spots(rng, main, other, colors) -> Material:
    seed, frequency, radius = int(rng.integers(1 << 30)), rng.uniform(2, 8), rng.uniform(0.2, 0.42)
    return lambda points: _mix(other, main, _step(cells(points * frequency, seed)[0] - radius, 0.06))


def _patches(rng, main, other, colors) -> Material:
    seed, frequency, joint = int(rng.integers(1 << 30)), rng.uniform(1.5, 9), rng.choice([0, 0.05, 0.1])
    bend, tint = rng.choice([0, 0.3]), rng.uniform(0.1, 0.5)

    def colored(points: Array) -> Array:
        points = points + bend / frequency * noise(points * frequency, seed + 2, 2)[:, None]
        first, second, number = cells(points * frequency, seed)
        each = colors[(uniform(number, seed) * len(colors)).astype(int)]
        result = each * (1 - tint + 2 * tint * uniform(number, seed + 1))[:, None]
        return np.where((second - first < joint)[:, None], other * 0.6, result)

    return colored


def _bricks(rng, main, other, colors) -> Material:
    seed, rows, length = int(rng.integers(1 << 30)), rng.uniform(3, 10), rng.uniform(1, 3)
    joint, tint, flat = rng.uniform(0.04, 0.15), rng.uniform(0, 0.3), rng.random() < 0.3

    def colored(points: Array) -> Array:
        level = points[:, 1] * rows
        row = np.floor(level)
        columns = [points[:, axis] * rows / length + (0 if flat else 0.5 * (row % 2)) for axis in (0, 2)]
        number = (np.floor(columns[0]) * 131 + np.floor(columns[1]) * 37 + row * 7919).astype(np.int64)
        result = main * (1 - tint + 2 * tint * uniform(number, seed))[:, None]
        gap = (level % 1 < joint) | (columns[0] % 1 < joint / length) | (columns[1] % 1 < joint / length)
        return np.where(gap[:, None], other, result)

    return colored


def _speckle(rng, main, other, colors) -> Material:
    seed, frequency, strength = int(rng.integers(1 << 30)), rng.uniform(12, 45), rng.uniform(0.3, 1)
    return lambda points: _mix(main, other, 0.5 + strength * 1.4 * noise(points * frequency, seed, 2))


def _blobs(rng, main, other, colors) -> Material:
    seed, frequency, third = int(rng.integers(1 << 30)), rng.uniform(1, 4), colors[rng.integers(len(colors))]
    soft = rng.choice([0.04, 0.4])

    def colored(points: Array) -> Array:
        first = _mix(main, other, _step(noise(points * frequency, seed, 3) - 0.05, soft))
        return _mix(first, third, _step(noise(points * frequency * 1.3, seed + 1, 2) - 0.25, soft))

    return colored


def _label(rng, main, other, colors) -> Material:
    """A printed field on the front (or all around), with a title, lines like writing, and a picture."""
    wide, high, middle = rng.uniform(0.12, 0.6), rng.uniform(0.1, 0.4), rng.uniform(-0.15, 0.15)
    ink, picture = colors[rng.integers(len(colors))], colors[rng.integers(len(colors))]
    around, lines, seed = rng.random() < 0.4, rng.uniform(12, 30), int(rng.integers(1 << 30))
    both, spot = rng.random() < 0.4, rng.uniform(-0.5, 0.5, 2)

    def colored(points: Array) -> Array:
        x, y, z = points.T
        u = np.arctan2(x, z) / np.pi * 1.5 / wide if around else x / wide
        v = (y - middle) / high
        inside = (np.abs(v) < 1) & (np.ones_like(v, bool) if around else (np.abs(u) < 1) & ((z > 0) | both))
        row = np.floor(v * high * lines)
        letter = np.floor(u * wide * lines * 1.7)
        letters = uniform((row * 7919 + letter).astype(np.int64), seed) > 0.3
        text = (v < -0.05) & (v > -0.85) & (np.abs(u) < 0.8) & (v * high * lines % 1 > 0.45) & letters
        title = (v > 0.55) & (v < 0.85) & (np.abs(u) < 0.7) & (uniform(letter.astype(np.int64) // 3, seed) > 0.2)
        badge = ((u - spot[0]) * wide) ** 2 + ((v - spot[1] * 0.5) * high) ** 2 < (0.35 * min(wide, high)) ** 2
        result = np.where(inside[:, None], other, main)
        result = np.where((inside & (text | title))[:, None], ink, result)
        return np.where((inside & badge)[:, None], picture, result)

    return colored


def _worn(rng: np.random.Generator, pattern: Material) -> Material:
    """With uneven paint, and here and there dirt or bare places."""
    seed, uneven = int(rng.integers(1 << 30)), rng.uniform(0.005, 0.08)
    dirt = rng.uniform(0.15, 0.4) if rng.random() < 0.2 else 0.0
    tone = np.array([0.32, 0.27, 0.2]) if rng.random() < 0.7 else np.array([0.8, 0.8, 0.78])
    frequency = rng.uniform(2, 7)

    def colored(points: Array) -> Array:
        result = pattern(points) * (1 + uneven * (noise(points * 4, seed, 3) + noise(points * 30, seed + 1)))[:, None]
        if dirt:
            result = _mix(result, tone, 0.6 * _step(noise(points * frequency, seed + 2, 4) - 0.75 + dirt, 0.5))
        return result

    return colored

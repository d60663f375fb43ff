# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise in space, for heights and colours: smooth (Perlin 2002) and in cells (Worley 1996), fixed by a seed."""

import numpy as np

from engine.jit import kernel

Array = np.ndarray


def noise(points: Array, seed: int, octaves: int = 1, ridged: bool = False) -> Array:
    """Sum of `octaves` of gradient noise at points [P, 3], each of twice the frequency and half the height.

    About [-1, 1], float32, mean 0; `ridged` folds each octave to sharp crests.
    """
    values = np.zeros(len(points), np.float32)
    _noise(np.ascontiguousarray(points, np.float64), seed & 0x7FFFFFFF, octaves, ridged, values)
    return values


def cells(points: Array, seed: int) -> tuple[Array, Array, Array]:
    """Random cells about one feature point per unit cube, at points [P, 3].

    Returns the distance to the nearest feature point, that to the second nearest, and the nearest one's number
    (int64, random), each [P].
    """
    first, second = np.empty(len(points), np.float32), np.empty(len(points), np.float32)
    number = np.empty(len(points), np.int64)
    _cells(np.ascontiguousarray(points, np.float64), seed & 0x7FFFFFFF, first, second, number)
    return first, second, number


def uniform(numbers: Array, seed: int) -> Array:
    """A random number in [0, 1) for each of the integers [P]; the same for the same integer and seed."""
    values = np.empty(len(numbers), np.float64)
    _uniform(np.ascontiguousarray(numbers, np.int64), seed & 0x7FFFFFFF, values)
    return values


@kernel
def _hash(x, y, z, seed):
    """31 random bits of a lattice point."""
    h = np.uint32(x) * np.uint32(0x8DA6B343)
    h ^= np.uint32(y) * np.uint32(0xD8163841)
    h ^= np.uint32(z) * np.uint32(0xCB1AB31F)
    h ^= np.uint32(seed) * np.uint32(0x9E3779B1)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.int64(h ^ (h >> np.uint32(16))) & 0x7FFFFFFF


@kernel
def _slope(h, x, y, z):
    """Scalar product with one of twelve directions to the middles of a cube's edges."""
    h = h % 12
    a = x if h < 8 else y
    b = y if h < 4 else z
    return (a if h & 1 else -a) + (b if h & 2 else -b)


@kernel
def _gradient_noise(x, y, z, seed):
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    x, y, z = x - i, y - j, z - k
    u, v, w = (
        x * x * x * (x * (6 * x - 15) + 10),
        y * y * y * (y * (6 * y - 15) + 10),
        z * z * z * (z * (6 * z - 15) + 10),
    )
    total = 0.0
    for corner in range(8):
        dx, dy, dz = corner >> 2, corner >> 1 & 1, corner & 1
        weight = (u if dx else 1 - u) * (v if dy else 1 - v) * (w if dz else 1 - w)
        total += weight * _slope(_hash(i + dx, j + dy, k + dz, seed), x - dx, y - dy, z - dz)
    return total


@kernel
def _noise(points, seed, octaves, ridged, values):
    for p in range(len(points)):
        total, height, scale = 0.0, 1.0, 1.0
        for octave in range(octaves):
            value = _gradient_noise(
                points[p, 0] * scale, points[p, 1] * scale, points[p, 2] * scale, seed + 101 * octave
            )
            total += height * (1 - 2.5 * abs(value) if ridged else value)
            height, scale = height * 0.5, scale * 2
        values[p] = total


@kernel
def _cells(points, seed, first, second, number):
    for p in range(len(points)):
        i, j, k = int(np.floor(points[p, 0])), int(np.floor(points[p, 1])), int(np.floor(points[p, 2]))
        nearest, next_, best = 1e9, 1e9, 0
        for dx in range(-1, 2):
            for dy in range(-1, 2):
                for dz in range(-1, 2):
                    h = _hash(i + dx, j + dy, k + dz, seed)
                    x = i + dx + (h & 1023) / 1024 - points[p, 0]
                    y = j + dy + (h >> 10 & 1023) / 1024 - points[p, 1]
                    z = k + dz + (h >> 20 & 1023) / 1024 - points[p, 2]
                    distance = np.sqrt(x * x + y * y + z * z)
                    if distance < nearest:
                        nearest, next_, best = distance, nearest, h
                    elif distance < next_:
                        next_ = distance
        first[p], second[p], number[p] = nearest, next_, best


@kernel
def _uniform(numbers, seed, values):
    for p in range(len(numbers)):
        values[p] = _hash(numbers[p], numbers[p] >> 20, 7, seed) / 0x80000000

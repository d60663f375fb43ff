# SPDX-License-Identifier: GPL-3.0-or-later
"""Random shapes with the regularities of everyday things: vessels, packages, tools, vehicles, houses, plants."""

from collections.abc import Callable

import numpy as np

from engine.training.data import procedural_forms as forms
from engine.training.data import procedural_materials as paint
from engine.training.data.procedural_forms import Builder
from engine.training.data.procedural_furniture import chair, cupboard, lamp, sofa, table
from engine.training.data.procedural_parts import (
    bend,
    box,
    circle,
    displaced,
    loft,
    rounded_box,
    superquadric,
    taper,
    tube,
    turned,
)

Array = np.ndarray


# ---- Vessels --------------------------------------------------------------------------------------------------------


def _hollow(outer: Array, wall: float) -> Array:
    """The profile of a pot: up the outline [K, 2] (scale, y) and down again inside, `wall` thinner."""
    inner = outer[outer[:, 0] > 1.5 * wall][::-1] - [wall, 0]
    floor = outer[0, 1] + wall
    inner = inner[inner[:, 1] > floor]
    return np.concatenate([outer, inner, [[max(float(inner[-1, 0]) * 0.9, 0.01), floor], [0, floor]]])


def _outline(b: Builder, kind: int) -> Array:
    """Half the silhouette of a vessel from the middle of its foot to its rim, y from 0 to 1."""
    if kind == 0:  # mug, pot, bucket
        foot, belly = b.between(0.6, 1), b.rng.choice([0, 0, 0.15])
        y = np.linspace(0, 1, 7)
        return np.concatenate([[[0, 0]], np.stack([foot + (1 - foot) * y + belly * np.sin(np.pi * y), y], 1)])
    if kind == 1:  # bowl, plate
        y = np.linspace(0, 1, 9)
        return np.concatenate(
            [
                [[0, 0], [0.35, 0]],
                np.stack([0.35 + 0.65 * np.sin(y * np.pi / 2), 0.04 + 0.96 * y ** b.between(1, 2)], 1),
            ]
        )
    if kind == 2:  # bottle
        neck, shoulder, slope = b.between(0.18, 0.45), b.between(0.45, 0.75), b.between(0.05, 0.25)
        t = np.linspace(0, 1, 6)
        curve = np.stack([1 + (neck - 1) * (3 * t**2 - 2 * t**3), shoulder + slope * t], 1)
        return np.concatenate(
            [[[0, 0], [0.92, 0], [1, 0.03]], curve, [[neck, 0.97], [neck * 1.12, 0.97], [neck * 1.12, 1]]]
        )
    y = np.linspace(0, 1, 14)  # vase, jar
    waves = b.between(0.55, 0.8) + b.between(0.1, 0.3) * np.sin(y * b.between(3, 7) + b.between(0, 6))
    return np.concatenate([[[0, 0]], np.stack([waves, y], 1)])


def vessel(b: Builder) -> None:
    """Mugs, bowls, bottles, vases, pots, baskets; with handles, lids, spouts, contents."""
    kind = int(b.rng.choice(4, p=[0.35, 0.2, 0.25, 0.2]))
    outer, radius = _outline(b, kind), b.between(0.3, 0.55)
    high = {0: b.between(0.5, 1.3), 1: b.between(0.12, 0.5), 2: b.between(1, 2), 3: b.between(0.7, 1.6)}[kind]
    wall = b.between(0.04, 0.1)
    side = circle(28) if b.chance(0.85) else forms.section(b.rng)
    main = b.material()
    b.add(loft(_hollow(outer, wall), side), main, (0, 0, 0), None, (radius, high, radius))
    if (kind == 0 and b.chance(0.75)) or b.chance(0.15):
        low, top, out = b.between(0.1, 0.3), b.between(0.65, 0.9), b.between(0.2, 0.4)
        angle = np.linspace(0, np.pi, 12)
        y = (low + top) / 2 - (top - low) / 2 * np.cos(angle)
        touch = np.interp(y, outer[1:, 1], outer[1:, 0]) * radius - 0.03
        reach = touch[[0, -1]].max() if b.chance(0.5) else touch.mean()
        path = np.stack(
            [
                np.where((angle < 0.3) | (angle > 2.84), touch, reach + out * np.sin(angle) ** b.between(0.4, 1)),
                y * high,
                0 * y,
            ],
            1,
        )
        handle = tube(path, b.between(0.03, 0.06), 8)
        b.add(handle, main if b.chance(0.7) else b.material(), mirror="x" if b.chance(0.2) else "")
    if b.chance(0.3):  # a lid, a stopper, a cap
        rim = float(outer[-1, 0]) * radius * 1.04
        lid = loft(forms.random_profile(b.rng, 6) if b.chance(0.4) else [[0, -1], [1, -1], [1, 1], [0, 1]], side)
        b.add(lid, b.material(), (0, high, 0), None, (rim, b.between(0.03, 0.1), rim))
        if kind != 2 and b.chance(0.7):
            b.add(superquadric(2, 2, 5), b.material(), (0, high + 0.13, 0), None, b.between(0.05, 0.09))
    elif b.chance(0.45):  # filled
        level = b.between(0.5, 0.95)
        wide = (float(np.interp(level, outer[1:, 1], outer[1:, 0])) - wall * 0.5) * radius
        content = loft([[0, -1], [1, -1], [1, 1], [0, 1]], side)
        b.add(content, b.material(), (0, high * level - 0.02, 0), None, (wide, 0.02, wide))
        if b.chance(0.4):
            for _ in range(int(b.rng.integers(2, 7))):
                at = np.array([b.between(-0.6, 0.6) * wide, high * level, b.between(-0.6, 0.6) * wide])
                b.add(
                    forms.body(b.rng, 0.35), b.material(), at, turned(2, b.between(0, 90)), b.rng.uniform(0.06, 0.16, 3)
                )
    if kind == 0 and b.chance(0.15):  # spout
        path = np.array([[radius * 0.9, high * 0.3, 0], [radius * 1.4, high * 0.55, 0], [radius * 1.6, high * 0.95, 0]])
        b.add(tube(path, [0.1, 0.06, 0.04], 8), main, rotation=turned(1, 180))
    if b.chance(0.12):
        b.turn_all(turned(2, 90))


def package(b: Builder) -> None:
    """One printed thing: box, can, tube, book, bag, ball, block, bar."""
    kind, main = b.rng.integers(6), b.material(plain=0.08)
    half = np.array([b.between(0.2, 0.7), b.between(0.2, 1), b.between(0.06, 0.5)])
    if kind == 0:
        b.add(rounded_box(half, b.rng.choice([0, 0, 0.03])), main)
    elif kind == 1:
        rim, metal = b.between(0.02, 0.06), b.use(paint.metal(b.rng))
        b.add(loft([[0, -1], [1, -1], [1, 1], [0, 1]], circle(32)), main, (0, 0, 0), None, (half[0], half[1], half[0]))
        for end in (-1, 1):
            ring = [[0.9, -1], [1.02, -1], [1.02, 1], [0.9, 1], [0.9, -1]]
            b.add(loft(ring, circle(32)), metal, (0, end * half[1], 0), None, (half[0], rim, half[0]))
    elif kind == 2:  # book
        pages = b.use(paint.material(b.rng, np.array([[0.9, 0.87, 0.8], [0.8, 0.76, 0.68]]), 0))
        thick = b.between(0.04, 0.14)
        b.add(box((0.02 * 0.6, 0.7, thick)), main, (-0.5, 0, 0))
        b.add(box((0.5, 0.7, 0.012)), main, (0, 0, thick), mirror="z")
        b.add(box((0.47, 0.67, thick)), pages, (-0.015, 0, 0))
        b.turn_all(turned(0, -90) if b.chance(0.5) else turned(1, b.between(0, 90)))
    elif kind == 3:  # bag, pillow, loaf
        shape = superquadric(b.between(2.2, 5), b.between(2, 5), 14).placed(half)
        seed, rise = int(b.rng.integers(1 << 30)), b.between(0.01, 0.07)
        b.add(displaced(shape, rise * forms.noise(shape.vertices * b.between(2, 5), seed, 3)), main)
    elif kind == 4:
        b.add(
            superquadric(2, 2, 14),
            main,
            (0, 0, 0),
            None,
            half[0] * (np.exp(b.rng.normal(0, 0.25, 3)) if b.chance(0.4) else 1),
        )
    else:
        b.add(
            loft([[0, -1], [0.94, -1], [1, -0.9], [1, 0.9], [0.94, 1], [0, 1]], forms.section(b.rng)),
            main,
            (0, 0, 0),
            None,
            half,
        )
    if b.chance(0.2):
        b.turn_all(turned(int(b.rng.integers(3)), 90))


# ---- Tools, vehicles, houses, plants --------------------------------------------------------------------------------


def tool(b: Builder) -> None:
    """A handle and a head: hammers, axes, spades, swords, spoons, brushes, keys, wrenches."""
    long, thick = b.between(0.6, 1.6), b.between(0.025, 0.07)
    grip, head, kind = b.sturdy(), b.use(paint.metal(b.rng)), b.rng.integers(7)
    shape = loft(
        np.concatenate([[[0, -1]], np.stack([b.rng.uniform(0.75, 1.2, 6), np.linspace(-1, 1, 6)], 1), [[0, 1]]]),
        circle(12),
    )
    b.add(shape, grip, (0, long / 2, 0), None, (thick, long / 2, thick * b.between(0.6, 1)))
    top = np.array([0, long, 0])
    if kind == 0:  # hammer
        b.add(
            forms.body(b.rng, 0.6) if b.chance(0.3) else rounded_box((b.between(0.12, 0.3), 0.09, 0.09), 0.03),
            head,
            top,
        )
    elif kind == 1:  # axe, hoe, flag
        blade = loft([[0, -1], [1, -1], [1, 1], [0, 1]], forms.section(b.rng))
        b.add(
            blade,
            head,
            top + np.array([b.between(0.1, 0.2), -0.05, 0]),
            turned(0, 90),
            (b.between(0.18, 0.35), 0.02, b.between(0.15, 0.3)),
        )
    elif kind == 2:  # spade, spoon, racket
        half = (b.between(0.1, 0.3), b.between(0.15, 0.4), b.between(0.02, 0.06))
        b.add(superquadric(2, b.between(2, 5), 9), head, top + np.array([0, half[1] * 0.8, 0]), None, half)
    elif kind == 3:  # sword, knife
        blade = b.between(0.6, 1.5)
        b.add(loft([[0, -1], [1, -1], [0.85, 0.7], [0, 1]], np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])), head,
              top + np.array([0, blade / 2, 0]), None, (b.between(0.05, 0.11), blade / 2, 0.02))  # fmt: skip
        b.add(rounded_box((b.between(0.1, 0.25), 0.025, 0.04), 0.015), b.material(), top)
        b.add(superquadric(2, 2, 5), b.material(), (0, 0, 0), None, thick * 1.6)
    elif kind == 4:  # brush, broom
        b.add(box((b.between(0.1, 0.3), 0.05, 0.06)), grip, top)
        b.add(taper(box((0.25, 0.15, 0.05), 2), b.between(0.5, 1)), b.material(), top + np.array([0, 0.2, 0]))
    elif kind == 5:  # ring at the end: key, magnifying glass, wand
        angles = np.linspace(0, 2 * np.pi, 22)[:-1]
        radius = b.between(0.12, 0.3)
        b.add(
            tube(np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1) * radius, thick * 0.7, 8, True),
            head,
            top + np.array([0, radius, 0]),
        )
        for k in range(int(b.rng.integers(0, 4))):
            b.add(box((0.06, 0.025, 0.02)), head, (0.05, 0.05 + 0.1 * k, 0))
    else:  # anything
        b.add(forms.deformed(b.rng, forms.body(b.rng, 2)), b.material(), top, None, b.rng.uniform(0.08, 0.3, 3))
    if b.chance(0.4):
        b.turn_all(turned(int(b.rng.choice([0, 2])), b.between(60, 120)))


def vehicle(b: Builder) -> None:
    """A body on wheels with a cabin, or a boat or an aircraft: long, left like right."""
    long, wide, high = b.between(0.6, 1.1), b.between(0.22, 0.42), b.between(0.1, 0.28)
    main, glass, dark = (
        b.material(plain=0.6),
        b.use(lambda points: np.full(points.shape, 0.12) + np.array([0, 0.03, 0.08])),
        b.material(plain=0.8),
    )
    kind = b.rng.integers(4)
    if kind < 2:
        wheel, round_ = b.between(0.12, 0.24), b.between(0.02, 0.12)
        floor = wheel * b.between(0.8, 1.2)
        b.add(rounded_box((wide, high, long), round_), main, (0, floor + high, 0))
        cabin = np.array([wide * 0.9, b.between(0.1, 0.25), long * b.between(0.25, 0.7)])
        at = np.array([0, floor + 2 * high + cabin[1] * 0.9, long * b.between(-0.3, 0.3)])
        tilt = b.between(0.6, 0.95)
        b.add(taper(box((1, 1, 1), 2), tilt), glass if b.chance(0.7) else main, at, None, cabin)
        b.add(box((wide * 0.92 * tilt, 0.015, cabin[2] * tilt)), main, at + np.array([0, cabin[1], 0]))
        tyre = loft([[0, -1], [0.85, -1], [1, -0.7], [1, 0.7], [0.85, 1], [0, 1]], circle(18))
        hub = b.use(paint.metal(b.rng))
        black = b.use(lambda points: np.full(points.shape, 0.07))
        for z in np.linspace(-0.65, 0.65, int(b.rng.choice([2, 2, 3]))):
            b.add(tyre, black, (wide, wheel, z * long), turned(2, 90), (wheel, 0.06, wheel), "x")
            b.add(
                loft([[0, -1], [1, -1], [0.8, 1], [0, 1]], circle(10)),
                hub,
                (wide + 0.065, wheel, z * long),
                turned(2, -90),
                (wheel * 0.5, 0.015, wheel * 0.5),
                "x",
            )
        for y in (floor + high,):
            b.add(
                superquadric(2, 4, 4),
                b.use(lambda points: np.full(points.shape, 0.9)),
                (wide * 0.7, y, long),
                None,
                (0.06, 0.05, 0.03),
                "x",
            )
        for _ in range(int(b.rng.integers(0, 3))):
            b.add(
                forms.body(b.rng, 0.5),
                dark,
                (0, floor + 2 * high, long * b.between(-0.8, 0.8)),
                None,
                b.rng.uniform(0.05, 0.2, 3),
            )
    elif kind == 2:  # aircraft, rocket lying
        hull = loft(
            np.concatenate(
                [[[0, -1], [0.4, -0.95], [0.8, -0.75]], [[1, -0.2], [0.9, 0.3], [0.45, 0.8], [0.2, 1], [0, 1]]]
            ),
            circle(20),
        )
        b.add(hull, main, (0, 0.3, 0), turned(0, -90), (wide * 0.6, long, wide * 0.6))
        b.add(
            taper(box((0.5, 1, 0.03), 2), b.between(0.3, 0.9)),
            dark,
            (wide * 0.4 + 0.4, 0.3, b.between(-0.1, 0.2)),
            turned(2, -90) @ turned(1, 90),
            (0.3, 0.5, 1),
            "x",
        )
        b.add(taper(box((0.2, 0.18, 0.02), 2), 0.6), dark, (0, 0.5, -long * 0.85), turned(1, 90))
        b.add(box((0.3, 0.02, 0.12)), dark, (0, 0.35, -long * 0.85))
        b.add(
            superquadric(2, 2, 7),
            glass,
            (0, 0.3 + wide * 0.4, long * 0.4),
            None,
            (wide * 0.35, wide * 0.4, long * 0.25),
        )
    else:  # boat
        y = np.array([0.35, 0.7, 0.9, 1.0])
        outer = np.concatenate([[[0, 0]], np.stack([y, np.linspace(0, 1, 4)], 1)])
        lens = circle(28) * [1, 1]
        lens[:, 0] = np.sign(lens[:, 0]) * np.abs(lens[:, 0]) ** b.between(1, 2)
        b.add(loft(_hollow(outer, 0.08), lens), main, (0, 0, 0), None, (wide, high * 1.6, long))
        b.add(box((wide * 0.85, 0.02, long * 0.08)), dark, (0, high * 1.1, long * 0.2), mirror="z")
        if b.chance(0.5):
            b.add(tube([[0, 0, 0], [0, 1, 0]], 0.03, 8), dark, (0, high * 0.5, 0), None, (1, b.between(0.8, 1.6), 1))
            sail = loft([[0, -1], [1, -1], [0.05, 1], [0, 1]], np.array([[0.03, 0.0], [0, 1.0], [-0.03, 0.0]]))
            b.add(sail, b.material(), (0, high + 0.6, 0.02), None, (1, 0.5, long * 0.7))


def house(b: Builder) -> None:
    """Walls, a roof, door and windows, sometimes a chimney, a tower, a fence."""
    wide, high, deep = b.between(0.3, 0.8), b.between(0.25, 0.7), b.between(0.3, 0.7)
    wall, roof, wood = b.material(), b.material(), b.sturdy()
    glass = b.use(lambda points: np.full(points.shape, 0.2) + np.array([0, 0.06, 0.14]))
    kind = b.rng.integers(3)
    if kind == 2:  # tower
        side = forms.section(b.rng, 20)
        b.add(
            loft([[0, -1], [1, -1], [b.between(0.6, 1), 1], [0, 1]], side),
            wall,
            (0, high * 1.5, 0),
            None,
            (wide * 0.7, high * 1.5, wide * 0.7),
        )
        b.add(
            loft([[0, -1], [1, -1], [b.rng.choice([0, 0.5]), 1], [0, 1]], side),
            roof,
            (0, high * 3.3, 0),
            None,
            (wide * b.between(0.7, 1), high * 0.4, wide * 0.8),
        )
        for k in range(3):
            turn = turned(1, 120 * k + 20)
            b.add(box((0.06, 0.12, wide * 0.7)), glass, (0, high * (0.8 + 0.7 * k), 0), turn)
        return
    b.add(box((wide, high, deep)), wall, (0, high, 0))
    rise, over = b.between(0.15, 0.5), b.between(1.02, 1.2)
    if kind == 0:  # gable along z
        gable = np.array([[1, 0], [0, 1], [-1, 0]]) * [wide * over, rise]
        b.add(
            loft([[0, -1], [1, -1], [1, 1], [0, 1]], gable), roof, (0, 2 * high, 0), turned(0, -90), (1, deep * over, 1)
        )
    else:
        pyramid = loft([[0, -1], [1.414, -1], [b.between(0, 0.7), 1], [0, 1]], circle(4))
        b.add(pyramid, roof, (0, 2 * high + rise / 2, 0), turned(1, 45), (wide * over, rise / 2, wide * over))
    b.add(box((0.07, 0.16, 0.02)), wood, (wide * b.between(-0.5, 0.5), 0.16, deep + 0.01))
    for x in np.linspace(-0.7, 0.7, int(b.rng.integers(1, 4))):
        for y in (0.55, 1.4) if high > 0.45 else (1.2,):
            b.add(box((0.07, 0.08, deep + 0.015)), glass, (x * wide, y * high, 0))
    if b.chance(0.5):
        b.add(
            box((0.06, 0.2, 0.06)),
            b.material(),
            (wide * b.between(-0.5, 0.5), 2 * high + rise * 0.8, deep * b.between(-0.5, 0.5)),
        )
    if b.chance(0.4):
        b.add(box((wide * 1.4, 0.02, deep * 1.5)), b.use(paint.leaves(b.rng)), (0, -0.02, 0))


def plant(b: Builder) -> None:
    """Trees, bushes, flowers in pots, mushrooms, cacti."""
    rng, kind = b.rng, b.rng.integers(5)
    green, bark = b.use(paint.leaves(rng)), b.use(paint.wood(rng))
    high = b.between(0.4, 1.2)
    path = np.stack([np.cumsum(rng.normal(0, 0.03, 8)), np.linspace(0, high, 8), np.cumsum(rng.normal(0, 0.03, 8))], 1)
    top = path[-1]
    if kind == 0:  # leafy tree, bush
        b.add(tube(path, np.linspace(b.between(0.06, 0.14), 0.03, 8), 8), bark)
        for _ in range(int(rng.integers(1, 7))):
            crown = forms.weathered(rng, superquadric(2, 2, 8), 0.4)
            b.add(crown, green, top + rng.normal(0, 0.18, 3), None, rng.uniform(0.2, 0.42, 3))
    elif kind == 1:  # conifer
        b.add(tube([[0, 0, 0], [0, high, 0]], [0.08, 0.03], 8), bark)
        layers = int(rng.integers(2, 6))
        for k in range(layers):
            wide = 0.5 * (1 - 0.75 * k / layers)
            b.add(
                loft([[0, -1], [1, -1], [0.1, 1], [0, 1]], forms.section(rng, 14)),
                green,
                (0, high * (0.35 + 0.8 * k / layers), 0),
                None,
                (wide, 0.25, wide),
            )
    elif kind == 2:  # leaves around a stem, in a pot
        pot = _outline(b, 0)
        b.add(loft(_hollow(pot, 0.08), circle(20)), b.material(), (0, 0, 0), None, (0.25, 0.3, 0.25))
        b.add(loft([[0, -1], [1, -1], [1, 1], [0, 1]], circle(16)), bark, (0, 0.22, 0), None, (0.2, 0.02, 0.2))
        leaf = bend(superquadric(2, 2, 4).placed((0.18, 1, 0.02)), b.between(0.6, 1.6))
        for k in range(int(rng.integers(5, 14))):
            turn = turned(1, 137.5 * k) @ turned(2, -b.between(5, 50))
            size = b.between(0.25, 0.55)
            b.add(leaf, green, np.array([0, 0.25, 0]) + turn @ [0, size, 0], turn, size)
    elif kind == 3:  # mushroom, flower, lollipop
        b.add(tube(path, b.between(0.04, 0.14), 10), b.material())
        cap = loft([[0, -0.2], [0.7, -0.2], [1, 0], [0.85, 0.5], [0.5, 0.85], [0, 1]], circle(24))
        b.add(
            cap,
            b.material(),
            top,
            turned(2, b.between(-20, 20)),
            (b.between(0.25, 0.5), b.between(0.15, 0.45), b.between(0.25, 0.5)),
        )
    else:  # cactus, coral
        main = b.use(paint.leaves(rng)) if b.chance(0.6) else b.material()
        b.add(tube(path, b.between(0.1, 0.2), 10), main)
        for _ in range(int(rng.integers(1, 5))):
            at, out = path[rng.integers(2, 7)], turned(1, b.between(0, 360))
            arm = np.array([[0, 0, 0], [0.15, 0.0, 0], [0.25, 0.08, 0], [0.28, 0.2, 0], [0.28, b.between(0.3, 0.5), 0]])
            b.add(tube(arm, b.between(0.05, 0.11), 8), main, at, out)


FAMILIES: dict[str, tuple[Callable[[Builder], None], float]] = {
    "heap": (forms.heap, 0.14),
    "cut": (forms.cut, 0.1),
    "melted": (forms.melted, 0.04),
    "creature": (forms.creature, 0.07),
    "profile": (forms.profile, 0.08),
    "leaf": (forms.leaf, 0.03),
    "frame": (forms.frame, 0.03),
    "mirrored": (forms.mirrored, 0.08),
    "repeated": (forms.repeated, 0.05),
    "table": (table, 0.035),
    "chair": (chair, 0.035),
    "sofa": (sofa, 0.025),
    "cupboard": (cupboard, 0.035),
    "lamp": (lamp, 0.02),
    "vessel": (vessel, 0.08),
    "package": (package, 0.06),
    "tool": (tool, 0.04),
    "vehicle": (vehicle, 0.04),
    "house": (house, 0.025),
    "plant": (plant, 0.035),
}
"""How each kind of shape is made, and the share of it."""

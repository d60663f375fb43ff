# SPDX-License-Identifier: GPL-3.0-or-later
"""Random shapes with the regularities of everyday furniture."""

import numpy as np

from engine.training.data import procedural_forms as forms
from engine.training.data import procedural_materials as paint
from engine.training.data.procedural_forms import Builder
from engine.training.data.procedural_parts import (
    bend,
    box,
    circle,
    loft,
    rounded_box,
    superquadric,
    tube,
    turned,
)

Array = np.ndarray


def _legs(b: Builder, wide: float, deep: float, top: float, material: int) -> None:
    """Four legs under a plate of half sides (wide, deep), from the floor to `top`: straight, turned or splayed."""
    thick, kind = b.between(0.02, 0.06), b.rng.integers(4)
    x, z = wide - thick * 1.2, deep - thick * 1.2
    if kind == 0:
        b.add(box((thick, top / 2, thick)), material, (x, top / 2, z), mirror="xz")
    elif kind == 1:
        b.add(
            loft(forms.random_profile(b.rng, 8), circle(8)),
            material,
            (x, top / 2, z),
            None,
            (thick * 1.3, top / 2, thick * 1.3),
            "xz",
        )
    elif kind == 2:
        spread = b.between(0, 0.12)
        b.add(
            tube([[x + spread, 0, z + spread], [x - spread, top, z - spread]], [thick * 0.6, thick], 8),
            material,
            mirror="xz",
        )
    else:
        b.add(box((thick, top / 2, z)), material, (x, top / 2, 0), mirror="x")
    if b.chance(0.4) and kind != 3:
        low = b.between(0.1, 0.5) * top
        b.add(box((x, thick / 2, thick / 2)), material, (0, low, z), mirror="z")
        b.add(box((thick / 2, thick / 2, z)), material, (x, low, 0), mirror="x")


def table(b: Builder) -> None:
    """A plate on legs or on a foot."""
    wide, deep, top = b.between(0.35, 1), b.between(0.3, 0.7), b.between(0.35, 1)
    material, thick, leg = b.sturdy(), b.between(0.015, 0.06), b.sturdy()
    round_top = b.chance(0.35)
    if round_top:
        b.add(loft([[0, -1], [1, -1], [1, 1], [0, 1]], circle(28)), material, (0, top, 0), None, (wide, thick, deep))
    else:
        b.add(rounded_box((wide, thick, deep), b.rng.choice([0, thick * 0.6])), material, (0, top, 0))
    if b.chance(0.3):
        b.add(loft(forms.random_profile(b.rng), circle(16)), leg, (0, top / 2, 0), None, (0.12, top / 2, 0.12))
        b.add(
            loft([[0, -1], [1, -1], [0.6, 1], [0, 1]], forms.section(b.rng)),
            leg,
            (0, 0.03, 0),
            None,
            (wide * 0.6, 0.03, deep * 0.6),
        )
    else:
        inner = 0.7 if round_top else 1.0
        _legs(b, wide * inner, deep * inner, top, leg)
    if b.chance(0.35):
        b.add(box((wide * 0.6, 0.06, deep * 0.8)), material, (0, top - 0.06 - thick, 0))
    for _ in range(int(b.rng.integers(0, 3)) if b.chance(0.25) else 0):  # things on it
        half = b.rng.uniform(0.04, 0.14, 3)
        at = (b.between(-0.6, 0.6) * wide, top + thick + half[1], b.between(-0.5, 0.5) * deep)
        b.add(forms.body(b.rng, 0.5), b.material(), at, turned(1, b.between(0, 90)), half)


def chair(b: Builder) -> None:
    """A seat on legs, a back of a board, slats or bars, sometimes arms and cushions."""
    wide, deep, top, high = b.between(0.25, 0.42), b.between(0.25, 0.4), b.between(0.3, 0.55), b.between(0.35, 0.7)
    wood, thick = b.sturdy(), b.between(0.02, 0.06)
    soft = b.material()
    b.add(
        rounded_box((wide, thick, deep), b.rng.choice([0, thick * 0.8])), wood if b.chance(0.5) else soft, (0, top, 0)
    )
    _legs(b, wide, deep, top, wood)
    if b.chance(0.85):
        lean = turned(0, -b.between(0, 14))
        foot = np.array([0, top, thick - deep])
        kind = b.rng.integers(3)

        def put(shape, material: int, x: float, y: float, mirror: str = "") -> None:
            b.add(shape, material, foot + lean @ np.array([x, y, 0]), lean, 1.0, mirror)

        if kind == 0:
            put(
                rounded_box((wide, high / 2, thick * 0.8), b.rng.choice([0, thick * 0.6])),
                soft if b.chance(0.5) else wood,
                0,
                high / 2,
            )
        else:
            put(box((thick * 0.7, high / 2, thick * 0.7)), wood, wide - thick, high / 2, "x")
            count = int(b.rng.integers(2, 6))
            for k in range(count):
                if kind == 1:
                    put(
                        box((wide - thick, high / count * b.between(0.15, 0.35), thick * 0.4)),
                        wood,
                        0,
                        high * (k + 0.7) / count,
                    )
                else:
                    put(
                        tube([[0, -0.5, 0], [0, 0.5, 0]], thick * 0.4 / high, 6).placed(high),
                        wood,
                        wide * (2 * (k + 0.5) / count - 1) * 0.9,
                        high / 2,
                    )
            if kind == 2:
                put(box((wide, thick, thick * 0.8)), wood, 0, high)
    if b.chance(0.35):
        rise = b.between(0.15, 0.28)
        b.add(box((thick, thick * 0.6, deep * 0.9)), wood, (wide, top + rise, 0), mirror="x")
        b.add(box((thick * 0.6, rise / 2, thick * 0.6)), wood, (wide, top + rise / 2, deep * 0.8), mirror="x")
    if b.chance(0.3):
        b.add(superquadric(5, 2.2, 7), soft, (0, top + thick + 0.03, 0), None, (wide * 0.9, 0.06, deep * 0.9))


def sofa(b: Builder) -> None:
    """Upholstered blocks: seats, back, arms; or a bed with pillows and blanket."""
    wide, deep, seat, round_ = b.between(0.4, 1), b.between(0.3, 0.5), b.between(0.1, 0.22), b.between(0.02, 0.09)
    cloth, other, wood = b.material(), b.material(), b.sturdy()
    floor = b.between(0.02, 0.15)
    if b.chance(0.35):  # bed
        deep = b.between(0.8, 1.1)
        b.add(box((wide, 0.06, deep)), wood, (0, floor + 0.06, 0))
        b.add(rounded_box((wide * 0.97, seat * 0.7, deep * 0.97), round_), cloth, (0, floor + 0.12 + seat * 0.7, 0))
        b.add(
            rounded_box((wide, seat * 0.5, deep * 0.6), round_ * 0.7),
            other,
            (0, floor + 0.16 + seat * 0.9, deep * 0.38),
        )
        b.add(rounded_box((wide, b.between(0.25, 0.5), 0.04), 0.02), wood, (0, floor + 0.35, -deep))
        b.add(
            superquadric(4, 2, 6),
            b.material(),
            (wide * 0.5, floor + 0.2 + seat * 1.4, -deep * 0.7),
            None,
            (wide * 0.4, 0.07, 0.17),
            "x",
        )
    else:
        b.add(rounded_box((wide, seat, deep), round_), cloth, (0, floor + seat, 0))
        b.add(rounded_box((wide, b.between(0.25, 0.4), 0.1), round_), cloth, (0, floor + 2 * seat + 0.1, 0.1 - deep))
        if b.chance(0.8):
            b.add(
                rounded_box((b.between(0.06, 0.14), seat + b.between(0.08, 0.2), deep), round_),
                cloth,
                (wide, floor + seat + 0.12, 0),
                mirror="x",
            )
        count = int(b.rng.integers(1, 4))
        for k in range(count):
            at = (wide * (2 * (k + 0.5) / count - 1), floor + 2 * seat + 0.04, 0.06)
            b.add(rounded_box((wide / count * 0.95, 0.08, deep * 0.85), 0.05), other, at)
    b.add(box((0.03, floor / 2, 0.03)), wood, (wide * 0.85, floor / 2, deep * 0.8), mirror="xz")


def cupboard(b: Builder) -> None:
    """A cabinet with doors and drawers, or an open shelf with things in it."""
    wide, high, deep, thick = b.between(0.25, 0.7), b.between(0.3, 1), b.between(0.15, 0.4), b.between(0.015, 0.04)
    wood, front, knob = b.sturdy(), b.sturdy(), b.use(paint.metal(b.rng))
    feet = b.rng.choice([0, 0.05, 0.15])
    middle = feet + high
    rows, columns = int(b.rng.integers(1, 6)), int(b.rng.integers(1, 4))
    if b.chance(0.5):  # open
        b.add(box((thick, high, deep)), wood, (wide, middle, 0), mirror="x")
        for k in range(rows + 1):
            b.add(box((wide, thick, deep)), wood, (0, feet + 2 * high * k / rows, 0))
        if b.chance(0.7):
            b.add(box((wide, high, thick * 0.5)), wood, (0, middle, -deep))
        space = 2 * high / rows
        for k in range(rows):
            x = -wide + 2 * thick
            while x < wide * 0.8 and b.chance(0.85):
                half = np.array([b.between(0.015, 0.09), space * b.between(0.2, 0.42), deep * b.between(0.3, 0.85)])
                b.add(box() if b.chance(0.75) else forms.body(b.rng, 0.3), b.material(plain=0.6),
                      (x + half[0], feet + space * k + half[1] + thick, 0), None, half)  # fmt: skip
                x += 2 * half[0] + b.between(0, 0.06)
    else:
        b.add(rounded_box((wide, high, deep), b.rng.choice([0, 0.03])), wood, (0, middle, 0))
        for row in range(rows):
            for column in range(columns):
                half = np.array([wide / columns * 0.9, high / rows * 0.9, 0.015])
                at = np.array(
                    [wide * (2 * (column + 0.5) / columns - 1), feet + 2 * high * (row + 0.5) / rows, deep + 0.008]
                )
                b.add(box(half), front, at)
                b.add(
                    superquadric(2, 2, 3), knob, at + np.array([half[0] * b.rng.choice([0, 0.8]), 0, 0.03]), None, 0.018
                )
    if feet:
        b.add(box((0.025, feet / 2, 0.025)), wood, (wide * 0.9, feet / 2, deep * 0.85), mirror="xz")


def lamp(b: Builder) -> None:
    """A foot, a straight or bent stem, a shade; or a lantern post."""
    high, metal, shade = (
        b.between(0.6, 2.2),
        b.use(paint.metal(b.rng)) if b.chance(0.5) else b.sturdy(),
        b.material(),
    )
    b.add(
        loft(forms.random_profile(b.rng, 7), circle(20)),
        metal,
        (0, 0.04, 0),
        None,
        (b.between(0.15, 0.3), 0.05, b.between(0.15, 0.3)),
    )
    lean = b.between(0.5, 2.2) if b.chance(0.35) else 0.0
    stem = bend(tube(np.stack([np.zeros(10), np.linspace(-1, 1, 10), np.zeros(10)], 1), b.between(0.02, 0.05), 8), lean)
    stem = stem.placed(high / 2, None, (0, high / 2, 0))
    base = stem.vertices[stem.local[:, 1] < -high / 2 * 0.99].mean(0)
    b.add(stem, metal, (-base[0], -base[1], 0))
    tip = stem.vertices[stem.local[:, 1] > high / 2 * 0.99].mean(0) - [base[0], base[1], 0]
    size, low = b.between(0.2, 0.45), b.between(0.9, 1.0)
    profile = [[low, -1], [b.between(0.3, 1), 1], [0.28, 1], [low - 0.04, -1], [low, -1]]
    if b.chance(0.3):
        b.add(superquadric(2, 2, 8), shade, tip, None, size * 0.7)
    else:
        b.add(
            loft(profile, forms.section(b.rng)),
            shade,
            tip,
            turned(2, -np.degrees(lean)),
            (size, size * b.between(0.5, 1), size),
        )

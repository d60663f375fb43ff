# SPDX-License-Identifier: GPL-3.0-or-later
"""Random shapes without a meaning: heaps of bodies, cut and melted solids, frames, mirrored and repeated ones."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from engine.training.data import procedural_materials as paint
from engine.training.data.procedural_noise import noise
from engine.training.data.procedural_parts import (
    Part,
    any_rotation,
    bend,
    box,
    circle,
    displaced,
    frame_of,
    loft,
    part,
    rounded_box,
    sewn,
    superquadric,
    taper,
    tube,
    turned,
    twist,
)
from engine.training.data.procedural_solids import (
    BOX,
    CAPSULE,
    CYLINDER,
    DIFFERENCE,
    ELLIPSOID,
    INTERSECTION,
    TORUS,
    Solid,
)

Array = np.ndarray


class Builder:
    """Collects the parts and materials of one object; all that is random comes from `rng`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.colors = paint.palette(rng)
        self.parts: list[Part] = []
        self.materials: list[paint.Material] = []

    def material(self, base: int | None = None, plain: float = 0.45) -> int:
        """A new random material of the object's palette."""
        return self.use(paint.material(self.rng, self.colors, base, plain))

    def use(self, material: paint.Material) -> int:
        """Number of a material from now on."""
        self.materials.append(material)
        return len(self.materials) - 1

    def sturdy(self) -> int:
        """A new material that carries: wood, metal or paint."""
        kind = self.rng.random()
        if kind < 0.45:
            return self.use(paint.wood(self.rng))
        return self.use(paint.metal(self.rng)) if kind < 0.6 else self.material()

    def add(
        self,
        shape: Part,
        material: int,
        at: ArrayLike = (0, 0, 0),
        rotation: Array | None = None,
        scale: ArrayLike = 1.0,
        mirror: str = "",
    ) -> None:
        """Adds a part, and its mirror images across the axes named in `mirror`, such as "xz"."""
        pieces = [replace(shape.placed(scale, rotation, at), material=material)]
        for axis in mirror:
            pieces += [piece.mirrored("xyz".index(axis)) for piece in pieces]
        self.parts += pieces

    def join_last(self) -> None:
        """Moves the last part straight to the nearest place of the parts before, where it is away from them."""
        if len(self.parts) < 2:
            return
        last = self.parts[-1]
        others = np.concatenate([piece.vertices for piece in self.parts[:-1]])
        distances, nearest = map(np.asarray, KDTree(others).query(last.vertices))
        k = int(distances.argmin())
        low, high = others.min(0), others.max(0)
        inside = ((last.vertices > low) & (last.vertices < high)).all(1).mean()
        if distances[k] > 0.02 and inside < 0.3:
            step = others[nearest[k]] - last.vertices[k]
            step *= 1 + 0.06 / np.linalg.norm(step)
            self.parts[-1] = replace(last, vertices=last.vertices + step)

    def turn_all(self, rotation: Array) -> None:
        """Turns the object as a whole."""
        self.parts = [replace(piece, vertices=piece.vertices @ rotation.T) for piece in self.parts]

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)


# ---- Bodies ---------------------------------------------------------------------------------------------------------


def section(rng: np.random.Generator, n: int = 24) -> Array:
    """A closed line around the origin, seen whole from there: circle, polygon, star, gear, flower or pebble, [S, 2]."""
    kind = rng.choice(6, p=[0.35, 0.25, 0.12, 0.08, 0.1, 0.1])
    if kind == 0:
        return circle(n)
    if kind == 1:
        return circle(int(rng.integers(3, 9)))
    teeth = int(rng.integers(4, 9))
    if kind == 2:
        return circle(2 * teeth) * np.tile([1, rng.uniform(0.4, 0.8)], teeth)[:, None]
    if kind == 3:
        return circle(4 * teeth) * np.tile([1, 1, 0.78, 0.78], teeth)[:, None]
    angles = np.arange(n) * 2 * np.pi / n
    if kind == 4:
        return circle(n) * (1 + rng.uniform(0.1, 0.3) * np.cos(angles * int(rng.integers(2, 6))))[:, None]
    waves = sum(rng.normal(0, 0.25 / k) * np.cos(k * angles + rng.uniform(0, 6)) for k in range(1, 5))
    return circle(n) * (1 + np.clip(waves, -0.5, 0.5))[:, None]


def random_profile(rng: np.random.Generator, rings: int = 12) -> Array:
    """A closed outline (scale, y) [K, 2] of a turned body, from -1 to 1."""
    y = np.linspace(-1, 1, rings)
    knots = rng.uniform(0.25, 1, int(rng.integers(2, 6)))
    smooth = np.interp(y, np.linspace(-1, 1, len(knots)), knots)
    if rng.random() < 0.6:
        smooth = np.convolve(np.pad(smooth, 2, "edge"), [0.1, 0.25, 0.3, 0.25, 0.1], "valid")
    return np.concatenate([[[0, -1]], np.stack([smooth, y], 1), [[0, 1]]])


def body(rng: np.random.Generator, fine: float = 1.0) -> Part:
    """A random body in about [-1, 1]^3. `fine` 1 gives some 500 faces to round ones."""
    kind = rng.choice(10, p=[0.16, 0.12, 0.12, 0.12, 0.1, 0.08, 0.08, 0.08, 0.08, 0.06])
    n = max(4, round(8 * np.sqrt(fine)))
    around = max(8, round(22 * np.sqrt(fine)))
    if kind == 0:
        return box()
    if kind == 1:
        return rounded_box((1, 1, 1), rng.uniform(0.08, 0.6))
    if kind == 2:
        return superquadric(2, 2, n)
    if kind == 3:
        return superquadric(rng.uniform(0.8, 6), rng.uniform(0.8, 6), n)
    if kind == 4:
        return loft([[0, -1], [1, -1], [1, 1], [0, 1]], circle(around))
    if kind == 5:
        return loft([[0, -1], [1, -1], [rng.uniform(0, 0.5), 1], [0, 1]], section(rng, around))
    if kind == 6:
        angles = np.linspace(-np.pi, np.pi, max(8, around // 2) + 1)
        angles[-1] = angles[0]
        thick = rng.uniform(0.12, 0.45)
        return loft(np.stack([1 - thick + thick * np.cos(angles), thick * np.sin(angles)], 1), circle(around))
    if kind == 7:
        return loft(random_profile(rng, n + 3), circle(around))
    if kind == 8:
        edge = rng.uniform(0, 0.2)
        return loft(
            [[0, -1], [1 - edge, -1], [1, edge - 1], [1, 1 - edge], [1 - edge, 1], [0, 1]], section(rng, around)
        )
    t = np.linspace(0, 1, 2 * n)
    path = np.cumsum(np.cumsum(rng.normal(size=(2 * n, 3)), 0) / n, 0)
    path = (path - path.mean(0)) / np.abs(path - path.mean(0)).max()
    radius = rng.uniform(0.08, 0.3) * (1 - rng.uniform(0, 0.8) * t)
    return tube(path * (1 - radius.max()), radius, max(6, around // 2))


def deformed(rng: np.random.Generator, shape: Part, share: float = 0.4) -> Part:
    """With a random taper, twist, bend, or none."""
    if len(shape.faces) > 50 and rng.random() < share:
        kind = rng.integers(3)
        if kind == 0:
            return taper(shape, rng.uniform(0.2, 1.6))
        return twist(shape, rng.uniform(-1.5, 1.5)) if kind == 1 else bend(shape, rng.uniform(-1.8, 1.8))
    return shape


def weathered(rng: np.random.Generator, shape: Part, most: float = 0.25) -> Part:
    """With a random field of heights on its surface, where it has the vertices to show it."""
    if len(shape.faces) < 300:
        return shape
    height, seed = rng.uniform(0.03, most), int(rng.integers(1 << 30))
    return displaced(shape, height * noise(shape.vertices * rng.uniform(1, 3), seed, 3, bool(rng.random() < 0.3)))


# ---- Families -------------------------------------------------------------------------------------------------------


def heap(b: Builder) -> None:
    """Random bodies thrown together, some with height fields: Zeroverse's composition."""
    rng = b.rng
    count = int(rng.integers(1, 8))
    uniform = b.chance(0.25)
    first = b.material()
    for _ in range(count):
        fine = 4.0 if count < 3 else 2.2 if count < 5 else 1.3
        shape = body(rng, fine)
        if b.chance(0.35):
            shape = weathered(rng, shape)
        shape = deformed(rng, shape)
        scale = np.exp(rng.normal(-0.9, 0.3)) * np.exp(rng.normal(0, 0.45, 3))
        b.add(shape, first if uniform else b.material(), rng.normal(0, 0.45, 3), any_rotation(rng), scale)
        b.join_last()


def cut(b: Builder) -> None:
    """Solids of one to three bodies, from which others are taken away: holes, notches, hollows."""
    rng = b.rng
    solid = Solid()
    for k in range(int(rng.integers(1, 4))):
        _random_body(rng, solid, 0.25 if k else 0.0, 0.6, blend=rng.choice([0, 0.05, 0.2]))
    if b.chance(0.4):  # hollowed from above
        last = solid.rows[0]
        half = last[7:10] * b.between(0.72, 0.9)
        kind = int(last[0]) if int(last[0]) in (BOX, CYLINDER, ELLIPSOID) else ELLIPSOID
        up = last[10:19].reshape(3, 3).T
        solid.add(kind, half, last[4:7] + up[:, 1] * half[1] * b.between(0.2, 0.5), up, DIFFERENCE)
    for _ in range(int(rng.integers(1, 4))):
        _random_body(rng, solid, 0.4, 0.35, op=DIFFERENCE, blend=rng.choice([0, 0.03]))
    if b.chance(0.12):
        solid.add(BOX, rng.uniform(0.3, 0.9, 3), (0, 0, 0), None, INTERSECTION)
    rough = (b.between(0.01, 0.06), b.between(1.5, 5), int(rng.integers(1 << 30))) if b.chance(0.3) else None
    _add_solid(b, solid, rough)
    if b.chance(0.4):
        b.turn_all(any_rotation(rng))


def creature(b: Builder) -> None:
    """Bodies melted into one, left like right: animals, dolls, blobs."""
    rng = b.rng
    solid, melt = Solid(), b.between(0.06, 0.25)
    long = b.chance(0.5)  # on four legs along z, else upright
    trunk = np.array([b.between(0.18, 0.35), b.between(0.2, 0.35), b.between(0.35, 0.6)])
    trunk = trunk if long else trunk[[0, 2, 1]]
    solid.add(ELLIPSOID, trunk)
    head = b.between(0.14, 0.32)
    at = (
        np.array([0, trunk[1] * 0.7 + head * 0.6, trunk[2] + 0.3 * head])
        if long
        else np.array([0, trunk[1] + 0.6 * head, 0])
    )
    solid.add(ELLIPSOID, head * rng.uniform(0.8, 1.2, 3), at, blend=melt)
    if b.chance(0.7):  # snout
        solid.add(ELLIPSOID, head * rng.uniform(0.35, 0.6, 3), at + np.array([0, -0.15 * head, head]), blend=melt / 2)
    if b.chance(0.75):
        ear = head * np.array([b.between(0.15, 0.35), b.between(0.3, 0.9), b.between(0.12, 0.25)])
        tilt = turned(2, b.between(-40, 40))
        for side in (-1, 1):
            turn = tilt if side > 0 else tilt.T
            solid.add(ELLIPSOID, ear, at + np.array([side * head * 0.65, head * 0.95, 0]), turn, blend=melt / 3)
    thick, length = b.between(0.06, 0.14), b.between(0.15, 0.45)
    for z in (-0.6, 0.6) if long else (0.1,):
        for side in (-1, 1):
            foot = np.array([side * trunk[0] * 0.6, -trunk[1] * 0.6 - length, z * trunk[2]])
            solid.add(CAPSULE, (thick, length, thick * b.between(0.8, 1.3)), foot, blend=melt / 2)
    if not long and b.chance(0.85):
        spread = turned(2, b.between(-80, 30))
        for side in (-1, 1):
            turn = spread if side > 0 else spread.T
            at_arm = np.array([side * trunk[0] * 1.05, trunk[1] * 0.35, 0]) + turn @ [0, -length * 0.7, 0]
            solid.add(CAPSULE, (thick * 0.8, length * 0.8, thick * 0.8), at_arm, turn, blend=melt / 2)
    if b.chance(0.6):
        turn = turned(0, b.between(-140, -40))
        tip = np.array([0, 0, -trunk[2] * 0.9]) + turn @ [0, length * 0.8, 0]
        solid.add(CAPSULE, (thick, length, thick * 0.4), tip, turn, blend=melt / 2)
    rough = (b.between(0.005, 0.03), b.between(3, 8), int(rng.integers(1 << 30))) if b.chance(0.3) else None
    mesh, owners = solid.mesh(72, int(rng.integers(2200, 3600)), rough)
    coat = b.use(paint.skin(rng, b.colors)) if b.chance(0.7) else b.material()
    head_too = b.chance(0.5)
    other = b.material()
    for group, material in ((owners == 1, other if head_too else coat), (owners != 1, coat)):
        if group.any():
            b.parts.append(replace(_some(mesh.vertices, mesh.faces[group]), material=material))
    if b.chance(0.8):  # eyes
        dark = b.use(lambda points: np.full(points.shape, 0.04))
        size = head * b.between(0.08, 0.18)
        at_eye = at + np.array([0.42 * head, 0.3 * head, 0.82 * head])
        b.add(superquadric(2, 2, 4), dark, at_eye, None, size, mirror="x")


def melted(b: Builder) -> None:
    """Blobs that run into one another: stones, food, sculptures."""
    solid = Solid()
    for k in range(int(b.rng.integers(1, 8))):
        _random_body(b.rng, solid, 0.4 if k else 0.0, 0.4, blend=b.between(0.05, 0.3))
    rough = (b.between(0.02, 0.14), b.between(1, 5), int(b.rng.integers(1 << 30))) if b.chance(0.65) else None
    _add_solid(b, solid, rough, one=b.chance(0.6))


def profile(b: Builder) -> None:
    """A silhouette with a thickness, left like right: what has its shape from the side, as tools and devices have."""
    rng = b.rng
    solid = Solid()
    along, reach, height = 0.0, 0.0, b.between(0.08, 0.25)
    for k in range(int(rng.integers(2, 7))):
        long = b.between(0.08, 0.4)
        thick = b.between(0.04, 0.16) * (1.5 if k == 0 else 1)
        kind = int(rng.choice([BOX, CYLINDER, ELLIPSOID], p=[0.55, 0.25, 0.2]))
        angle = float(rng.choice([0, 0, 0, 90, b.between(-70, 70)]))
        if kind == CYLINDER:
            half, lean = np.array([long * 0.7, thick, long * 0.7]), turned(2, 90)  # a disc seen from the side
            own = long * 0.7
        else:
            half, lean = np.array([thick, height * b.between(0.4, 1.3), long]), turned(0, angle)
            own = min(half[1], long) if angle else long
        along += (reach + own) * b.between(0.4, 0.9) * (1 if k == 0 or b.chance(0.75) else -1)
        reach = own
        at = np.array([0, rng.normal(0, 0.4 * height), along])
        blend = float(rng.choice([0, 0.02, 0.08]))
        solid.add(kind, half, at, lean, blend=blend if k else 0.0, rounding=half.min() * rng.choice([0.05, 0.3, 0.8]))
    for _ in range(int(rng.integers(0, 3))):  # holes right through, notches on both sides
        through = 1.0 if b.chance(0.5) else b.between(0.02, 0.08)
        place = np.array([0 if through == 1 else b.between(0.08, 0.2), rng.normal(0, 0.1), rng.normal(along / 2, 0.25)])
        hole = b.between(0.03, 0.12)
        for side in (1, -1) if through < 1 else (1,):
            solid.add(CYLINDER, (hole, through, hole), place * [side, 1, 1], turned(2, 90), DIFFERENCE)
    _add_solid(b, solid, None)
    if b.chance(0.4):
        b.turn_all(turned(int(rng.choice([0, 2])), 90))


def leaf(b: Builder) -> None:
    """Thin things: wavy cloth, bent plates, curls, shells, leaves, blades."""
    rng = b.rng
    n = 26
    across = np.linspace(-1, 1, n)
    u, v = np.meshgrid(across, across * b.between(0.3, 1), indexing="ij")
    rise, seed = np.zeros_like(u), int(rng.integers(1 << 30))
    if b.chance(0.6):
        waves, phase = b.between(1, 5), b.between(0, 6)
        rise += b.between(0.03, 0.18) * np.sin(waves * (u + b.between(0, 1) * v) * np.pi + phase)
    if b.chance(0.5):
        rise += b.between(0.1, 0.5) * noise(np.stack([u, v, 0 * u], -1).reshape(-1, 3), seed, 2).reshape(u.shape)
    if b.chance(0.4):
        rise += b.between(-0.5, 0.5) * (u * u + v * v)
    if b.chance(0.4):  # a leaf's outline
        v *= np.maximum(1 - np.abs(u) ** b.between(1, 3), 0.02)
    thick = b.between(0.008, 0.04)
    sheets = [np.stack([u, rise + side * thick, v], -1) for side in (1, -1)]
    lines = np.concatenate([sheets[0][:, ::-1], sheets[1]], axis=1)  # once around each cut across
    ends = [np.repeat(lines[end].mean(0, keepdims=True), lines.shape[1], 0)[None] for end in (0, -1)]
    shape = sewn(np.concatenate([ends[0], lines, ends[1]]))
    shape = replace(shape, vertices=shape.vertices[:, [2, 0, 1]])  # its length along y, where bending is
    shape = bend(shape, b.between(0.3, 4) * rng.choice([-1, 1])) if b.chance(0.5) else shape
    shape = twist(shape, b.between(-2, 2)) if b.chance(0.3) else shape
    b.add(shape, b.material())
    if b.chance(0.4):
        top = shape.vertices[shape.vertices[:, 1].argmax()]
        b.add(tube([[-1, 0, 0], [1, 0, 0]], b.between(0.02, 0.05), 8), b.sturdy(), top * [0, 1, 1])
    if b.chance(0.5):
        b.turn_all(any_rotation(rng) if b.chance(0.5) else turned(0, -90))


def frame(b: Builder) -> None:
    """What is left where only the edges of bodies stand: cages, racks, wire."""
    rng = b.rng
    material, radius = b.use(paint.metal(rng)) if b.chance(0.4) else b.material(plain=0.7), b.between(0.012, 0.06)
    n = int(rng.integers(1, 4))
    half = rng.uniform(0.3, 1, 3)
    if b.chance(0.55):
        base = box(half, n)
        lines = [
            (u, v) for u, v in _edges(base.faces) if (np.abs(base.vertices[u] - base.vertices[v]) > 1e-6).sum() == 1
        ]
        points = base.vertices
    else:
        base = deformed(rng, loft(random_profile(rng, 2 + n), section(rng, int(rng.integers(4, 8)))))
        points, lines = base.vertices * half, _edges(base.faces)
    lines = [line for line in lines if rng.random() > 0.08]
    square = b.chance(0.4)
    for piece in frame_of([points[list(line)] for line in lines[:110]], radius, 4 if square else 5):
        b.add(piece, material)
    for _ in range(int(rng.integers(0, 3))):  # something within it, or a floor
        b.add(
            deformed(rng, body(rng, 0.8)),
            b.material(),
            rng.normal(0, 0.1, 3),
            any_rotation(rng),
            half * b.between(0.2, 0.5),
        )
    if b.chance(0.3):
        b.add(box(half * [1, 0.03, 1]), b.material(), (0, -half[1], 0))
    if b.chance(0.5):
        b.turn_all(any_rotation(rng))


def mirrored(b: Builder) -> None:
    """Bodies along the axes, left like right, standing on a floor: the order of made things without their sense."""
    rng = b.rng
    floor = b.between(0.3, 0.9)
    for k in range(int(rng.integers(2, 7))):
        shape = deformed(rng, body(rng, 0.9 if k else 2), 0.2)
        half = np.exp(rng.normal(-1.1, 0.4, 3)) * (1.8 if k == 0 else 1)
        turn = turned(int(rng.integers(3)), float(rng.choice([0, 90, 180, 270])))
        size = np.abs(turn) @ half
        beside = k > 0 and b.chance(0.6)
        at = np.array([b.between(0.15, 0.6) if beside else 0.0, b.between(-0.4, 0.6), rng.normal(0, 0.25)])
        at[1] = max(at[1], size[1] - floor)
        b.add(shape, b.material(), at, turn, half)
        b.join_last()
        if beside:
            b.parts.append(b.parts[-1].mirrored())


def repeated(b: Builder) -> None:
    """One body many times: in a ring, a row, a stack, a grid, a spiral; with a body in the middle."""
    rng = b.rng
    shape, material = deformed(rng, body(rng, 0.7), 0.3), b.material()
    half, count = np.exp(rng.normal(-1.7, 0.4, 3)), int(rng.integers(3, 9))
    kind, gap, alternate = rng.integers(5), b.between(0.85, 1.5), b.material()
    for k in range(count):
        which = alternate if k % 2 and b.colors[0].sum() > 1.5 else material
        if kind == 0:
            turn = turned(1, 360 * k / count)
            b.add(shape, which, turn @ [0.55, 0, 0], turn, half)
        elif kind == 1:
            b.add(shape, which, ((k - count / 2) * 2 * half[0] * gap, 0, 0), None, half)
        elif kind == 2:
            shrink = 1 - 0.7 * k / count if gap > 1.2 else 1.0
            b.add(
                shape,
                which,
                (0, k * 2 * half[1] * 0.95, 0),
                turned(1, 23 * k * (gap - 0.9)),
                half * [shrink, 1, shrink],
            )
        elif kind == 3:
            b.add(shape, which, ((k % 3 - 1) * 2 * half[0] * gap, 0, (k // 3 - 1) * 2 * half[2] * gap), None, half)
        else:
            turn = turned(1, 360 * k / 7)
            b.add(shape, which, turn @ [0.5, 0.18 * k, 0], turn, half)
    low, high = np.min([p.vertices.min(0) for p in b.parts], 0), np.max([p.vertices.max(0) for p in b.parts], 0)
    middle, half = (low + high) / 2, (high - low) / 2
    if b.chance(0.5):  # on a floor or strung on a rod, or around something
        floor = loft([[0, -1], [1, -1], [1, 1], [0, 1]], circle(28)) if kind in (0, 4) else box()
        thick = b.between(0.02, 0.08)
        b.add(
            floor, b.material(), middle - [0, half[1] + 0.5 * thick, 0], None, [half[0] * 1.05, thick, half[2] * 1.05]
        )
    elif kind != 2 and b.chance(0.4):
        thick = min(half[1], half[2], 0.1) * b.between(0.3, 0.9)
        b.add(box(), b.material(), middle, None, [half[0], thick, thick] if kind == 1 else [half[0], thick, half[2]])
    else:
        b.add(body(rng, 1.5), b.material(), middle, None, half * rng.uniform(0.6, 1, 3) + 0.03)
    if b.chance(0.3):
        b.turn_all(any_rotation(rng))


# ---- Parts of these -------------------------------------------------------------------------------------------------


def _random_body(
    rng: np.random.Generator, solid: Solid, spread: float, size: float, op: int = 0, blend: float = 0.0
) -> None:
    kind = int(rng.choice([ELLIPSOID, BOX, CYLINDER, TORUS, CAPSULE], p=[0.25, 0.3, 0.25, 0.08, 0.12]))
    half = size * np.exp(rng.normal(-0.15, 0.35, 3))
    if kind == TORUS:
        half[1] = half[0] * rng.uniform(0.2, 0.45)
    turn = any_rotation(rng) if rng.random() < 0.4 else turned(int(rng.integers(3)), 90 * float(rng.integers(4)))
    rounding = half.min() * rng.choice([0, 0.1, 0.4]) if kind in (BOX, CYLINDER) else 0.0
    solid.add(kind, half, rng.normal(0, spread, 3) if spread else np.zeros(3), turn, op, float(blend), rounding)


def _add_solid(b: Builder, solid: Solid, rough: tuple[float, float, int] | None, one: bool = False) -> None:
    """Meshes the solid; each body's surface has its own material, or all have `one`."""
    mesh, owners = solid.mesh(64, int(b.rng.integers(1800, 3600)), rough)
    shared = b.material() if one or b.chance(0.3) else -1
    for owner in [0] if shared >= 0 else np.unique(owners):
        faces = mesh.faces if shared >= 0 else mesh.faces[owners == owner]
        b.parts.append(replace(_some(mesh.vertices, faces), material=shared if shared >= 0 else b.material()))


def _some(vertices: Array, faces: Array) -> Part:
    """The faces given, as a part with the vertices they use."""
    used, index = np.unique(faces, return_inverse=True)
    return part(vertices[used], index.reshape(-1, 3))


def _edges(faces: Array) -> list[tuple[int, int]]:
    """Each side of faces once."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return [(int(u), int(v)) for u, v in np.unique(sides, axis=0)]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the example pictures that are drawings, flat shaded like a cartoon: python examples/draw_examples.py."""

import argparse
import math
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

SIZE = 512
SCALE = 4  # drawn this much larger and reduced, for smooth edges
HERE = Path(__file__).resolve().parent
INK = (58, 40, 44)

Points = list[tuple[float, float]]


def curve(*points: tuple[float, float], steps: int = 24) -> Points:
    """A smooth closed line through points (Catmull-Rom), in pixels of the final picture."""
    line = []
    for i in range(len(points)):
        p0, p1, p2, p3 = (points[(i + k) % len(points)] for k in (-1, 0, 1, 2))
        for t in (step / steps for step in range(steps)):
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
            line.append(
                tuple(sum(w * p[axis] for w, p in zip(weights, (p0, p1, p2, p3), strict=True)) / 2 for axis in (0, 1))
            )
    return line


def ellipse(x: float, y: float, rx: float, ry: float, turn_deg: float = 0) -> Points:
    c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    ring = [(rx * math.cos(a), ry * math.sin(a)) for a in (i * math.tau / 96 for i in range(96))]
    return [(x + c * u - s * v, y + s * u + c * v) for u, v in ring]


class Drawing:
    """A transparent picture that shapes are laid on, each with an outline, a body colour and flat shades within it."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (SIZE * SCALE, SIZE * SCALE), (0, 0, 0, 0))

    def mask(self, line: Points) -> Image.Image:
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon([(x * SCALE, y * SCALE) for x, y in line], fill=255)
        return mask

    def shape(self, line: Points, color: tuple, shades: list[tuple[Points, tuple]] = (), ink: float = 3.5) -> None:
        body = self.mask(line)
        self.image.paste(color, mask=body)
        for shade, shade_color in shades:
            self.image.paste(shade_color, mask=ImageChops.multiply(body, self.mask(shade)))
        if ink:
            pen = ImageDraw.Draw(self.image)
            corners = [(x * SCALE, y * SCALE) for x, y in [*line, line[0], line[1]]]
            pen.line(corners, fill=INK, width=round(ink * SCALE), joint="curve")

    def save(self, path: Path) -> None:
        # Reduced with colours weighted by alpha, so that no dark rim appears.
        self.image.convert("RGBa").resize((SIZE, SIZE), Image.Resampling.BOX).convert("RGBA").save(path, optimize=True)


def draw_mushroom() -> Drawing:
    """A red toadstool, lit from the upper left."""
    drawing = Drawing()
    stem = curve(
        (212, 268), (216, 340), (192, 420), (206, 462), (256, 474), (310, 462), (322, 420), (298, 340), (302, 268)
    )
    right_of_stem = curve((276, 250), (272, 350), (262, 440), (280, 490), (360, 490), (350, 250))
    under_cap = ellipse(256, 292, 80, 34)
    drawing.shape(stem, (244, 231, 206), [(right_of_stem, (219, 198, 170)), (under_cap, (198, 172, 148))])
    skirt = curve((206, 328), (256, 318), (308, 328), (330, 366), (296, 360), (256, 374), (220, 360), (184, 368))
    drawing.shape(skirt, (250, 240, 220), [(right_of_stem, (226, 207, 180))])
    cap = curve(
        (62, 268),
        (88, 150),
        (172, 66),
        (256, 46),
        (342, 66),
        (426, 150),
        (452, 268),
        (362, 306),
        (256, 316),
        (150, 306),
    )
    right_of_cap = curve((330, 20), (372, 130), (356, 240), (240, 300), (120, 330), (480, 350), (500, 100))
    light = ellipse(168, 138, 66, 40, -42)
    drawing.shape(cap, (214, 52, 44), [(right_of_cap, (176, 34, 42)), (light, (236, 92, 72))])
    white, grey = (250, 243, 228), (226, 208, 196)
    for x, y, rx, ry, turn in (
        (252, 116, 42, 32, 0), (142, 208, 34, 40, 24), (352, 196, 36, 40, -22), (250, 238, 42, 30, 0),
        (408, 262, 20, 17, -20), (96, 270, 17, 15, 12), (176, 92, 17, 13, -30), (340, 96, 19, 14, 30),
        (322, 284, 18, 11, 0),
    ):  # fmt: skip
        drawing.shape(ellipse(x, y, rx, ry, turn), white, [(ellipse(x + rx, y + ry, rx, ry * 1.2, turn), grey)], ink=2)
    return drawing


def draw_fish() -> Drawing:
    """An orange fish seen from the side, on a plain ground."""
    drawing = Drawing()
    ground = [(0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE)]
    drawing.shape(ground, (206, 230, 236), ink=0)
    fin, fin_shade = (246, 178, 60), (222, 140, 44)
    tail = curve((348, 256), (398, 216), (454, 140), (472, 168), (446, 256), (474, 346), (454, 372), (398, 298))
    drawing.shape(tail, fin, [(curve((380, 262), (430, 262), (490, 300), (480, 400), (390, 330)), fin_shade)])
    drawing.shape(curve((176, 170), (222, 104), (300, 92), (356, 130), (346, 196), (260, 190)), fin)
    drawing.shape(curve((230, 350), (262, 414), (312, 420), (320, 384), (308, 336), (262, 336)), fin_shade)
    body = curve(
        (44, 262),
        (86, 186),
        (180, 142),
        (284, 158),
        (366, 232),
        (378, 258),
        (366, 286),
        (284, 362),
        (180, 374),
        (86, 334),
    )
    belly = curve((30, 290), (130, 318), (250, 316), (380, 280), (400, 420), (40, 420))
    light = ellipse(178, 178, 92, 18, -4)
    stripe_left = curve((142, 120), (172, 120), (162, 250), (178, 400), (146, 400), (130, 250))
    stripe_right = curve((262, 120), (296, 120), (284, 250), (292, 400), (262, 400), (248, 250))
    drawing.shape(
        body,
        (240, 124, 40),
        [
            (belly, (214, 92, 36)),
            (light, (250, 164, 84)),
            (stripe_left, (248, 240, 226)),
            (stripe_right, (248, 240, 226)),
        ],
    )
    drawing.shape(
        curve((196, 262), (236, 236), (262, 262), (250, 304), (214, 312)), fin, [(ellipse(236, 306, 40, 18), fin_shade)]
    )
    drawing.shape(ellipse(96, 242, 23, 24), (252, 250, 244))
    drawing.shape(ellipse(91, 243, 11, 13), (38, 30, 36), [(ellipse(87, 238, 4, 4), (255, 255, 255))], ink=0)
    pen = ImageDraw.Draw(drawing.image)
    pen.arc([SCALE * v for v in (36, 258, 88, 304)], 20, 100, fill=INK, width=4 * SCALE)
    return drawing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE)
    output = parser.parse_args().output
    draw_mushroom().save(output / "mushroom.png")
    draw_fish().save(output / "fish.png")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""The object of a picture, cropped, centred and resized as every generator expects it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.errors import PictureError

Array = np.ndarray

SOLID = 0.5
"""Alpha above which a pixel belongs to the object's bounding box: haze and soft edges cannot inflate it."""


@dataclass(frozen=True)
class Frame:
    """A square picture of one object, and where it was cut from the source picture."""

    rgba: Array  # [size, size, 4] float32, straight alpha; colour is 0 where alpha is 0
    center: tuple[float, float]  # (x, y) of the square's centre, in source pixels
    side: float  # of the square, in source pixels


def frame(rgba: Array, size: int, fill: float = 0.85) -> Frame:
    """Cuts the square around the object in `rgba` [H, W, 4] and resizes it to `size` pixels.

    The bounding box of alpha > SOLID is centred and its longest side is `fill * size` pixels. What lies outside
    the source picture is transparent. Antialiased on premultiplied colours, at sub-pixel positions.
    Raises `PictureError` where no pixel is solid.
    """
    solid = rgba[..., 3] > SOLID
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not len(rows):
        raise PictureError(
            "There is no object in the picture: nothing in it is opaque.", "Choose a picture with an object in it."
        )
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    center = (float(left + right) / 2, float(top + bottom) / 2)
    side = float(max(bottom - top, right - left)) / fill

    # Pad so that the square, and the reach of the filter around it, lies inside the array.
    margin = int(np.ceil(side / 2 + 3 * max(1.0, side / size))) + 1
    premultiplied = np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1).astype(np.float32)
    x0, y0 = int(center[0]) - margin, int(center[1]) - margin
    window = _window(premultiplied, x0, y0, 2 * margin + 1)
    box = (center[0] - x0 - side / 2, center[1] - y0 - side / 2, center[0] - x0 + side / 2, center[1] - y0 + side / 2)
    # Hamming has no negative lobes: an overshoot of the colours over alpha would show as a bright rim.
    channels = [
        np.asarray(Image.fromarray(window[..., c]).resize((size, size), Image.Resampling.HAMMING, box=box), np.float32)
        for c in range(4)
    ]
    alpha = np.clip(channels[3], 0, 1)
    colors = np.stack(channels[:3], -1) / np.maximum(alpha, 1 / 512)[..., None]
    colors = np.clip(colors, 0, 1) * (alpha > 0)[..., None]
    return Frame(np.concatenate([colors, alpha[..., None]], -1).astype(np.float32), center, side)


def _window(image: Array, x0: int, y0: int, side: int) -> Array:
    """The square of `image` that starts at (x0, y0), zero outside the image, [side, side, 4]."""
    window = np.zeros((side, side, image.shape[2]), np.float32)
    height, width = image.shape[:2]
    top, bottom = max(0, y0), min(height, y0 + side)
    left, right = max(0, x0), min(width, x0 + side)
    window[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    return window

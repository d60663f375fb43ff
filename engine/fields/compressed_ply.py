# SPDX-License-Identifier: GPL-3.0-or-later
"""PlayCanvas' compressed PLY (developer.playcanvas.com, user manual, "Compressed PLY"): 16 bytes per Gaussian.

Element `chunk`, one row per 256 Gaussians: min_ and max_ of x y z, of scale_x scale_y scale_z (natural logarithms), and
of r g b in newer files. Element `vertex`: 32-bit words, from the highest bit on

    packed_position, packed_scale   11, 10 and 11 bits between the chunk's bounds
    packed_rotation                 2 bits for the largest of w x y z, which is left out, 10 bits for each other
    packed_color                    8 bits each: red, green, blue between the chunk's bounds or in [0, 1], opacity

Optional element `sh`: f_rest_0.. as bytes of [-4, 4], channel by channel.
"""

from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from engine.errors import SplatFileError
from engine.fields.assembly import CHUNK, EXPORT_AGAIN, Assembly, Note, exponential, smallest_three
from engine.fields.gaussians import Gaussians

if TYPE_CHECKING:
    from engine.fields.ply import Header

Array = np.ndarray

PER_CHUNK = 256
WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
BOUNDS = tuple(f"{end}_{axis}" for end in ("min", "max") for axis in ("x", "y", "z"))
SCALE_BOUNDS = tuple(f"{end}_scale_{axis}" for end in ("min", "max") for axis in ("x", "y", "z"))
COLOR_BOUNDS = tuple(f"{end}_{channel}" for end in ("min", "max") for channel in ("r", "g", "b"))


def read_compressed(name: str, stream: BinaryIO, header: "Header", note: Note | None = None) -> Gaussians:
    """The Gaussians of a compressed file whose header has been read and checked against its size."""
    chunk, vertex, sh = (header.element(element) for element in ("chunk", "vertex", "sh"))
    if chunk is None or vertex is None or header.text:
        raise SplatFileError(f"{name} is damaged: compressed splats need a binary element 'chunk'.", EXPORT_AGAIN)
    missing = [prop for prop in (*BOUNDS, *SCALE_BOUNDS) if prop not in chunk.names]
    missing += [prop for prop in WORDS if prop not in vertex.names]
    if missing:
        raise SplatFileError(f"{name} lacks the properties {' '.join(missing)}.", EXPORT_AGAIN)
    if any(vertex.dtype(header.order)[word].itemsize != 4 for word in WORDS):
        raise SplatFileError(f"{name} is damaged: packed properties need 32 bits each.", EXPORT_AGAIN)
    if sh and any(kind != "u1" for kind in sh.types):
        raise SplatFileError(f"{name} is damaged: compressed harmonics need bytes.", EXPORT_AGAIN)
    if chunk.count * PER_CHUNK < vertex.count or (sh and sh.count < vertex.count):
        raise SplatFileError(
            f"{name} is damaged: {vertex.count:,} Gaussians need more chunks or harmonics.", EXPORT_AGAIN
        )
    rests = header.counted(sh, "f_rest_") if sh else 0
    coefficients = rests // 3
    gaussians = Assembly(name, vertex.count, coefficients)
    for start in range(0, vertex.count, CHUNK):
        rows = header.rows(stream, vertex, start, min(CHUNK, vertex.count - start))
        chunks = header.rows(stream, chunk, start // PER_CHUNK, -(-len(rows) // PER_CHUNK))
        owner = np.arange(len(rows)) // PER_CHUNK
        position, rotation, scale, color = (rows[word].astype(np.uint32) for word in WORDS)
        rgba = (color[:, None] >> np.array([24, 16, 8, 0], np.uint32) & 0xFF) / np.float32(255)
        rgb = rgba[:, :3]
        if all(prop in chunk.names for prop in COLOR_BOUNDS):
            rgb = _between(chunks, COLOR_BOUNDS, owner, rgb)
        gaussians.add(
            _between(chunks, BOUNDS, owner, _three(position)),
            _quaternions(rotation),
            exponential(_between(chunks, SCALE_BOUNDS, owner, _three(scale))),
            rgba[:, 3],
            rgb,
            _harmonics(header.rows(stream, sh, start, len(rows)), coefficients) if sh and gaussians.sh_kept else None,
        )
    return gaussians.finish(note)


def _three(words: Array) -> Array:
    """[n, 3] in [0, 1] of 11, 10 and 11 bits."""
    return (words[:, None] >> np.array([21, 11, 0], np.uint32) & np.array([2047, 1023, 2047], np.uint32)) / np.array(
        [2047, 1023, 2047], np.float32
    )


def _between(chunks: Array, names: tuple[str, ...], owner: Array, share: Array) -> Array:
    """[n, 3] between the bounds of each Gaussian's chunk."""
    bounds = np.stack([chunks[name].astype(np.float32) for name in names], -1)[owner]
    return bounds[:, :3] * (1 - share) + bounds[:, 3:] * share


def _quaternions(words: Array) -> Array:
    three = (words[:, None] >> np.array([20, 10, 0], np.uint32) & 1023) / np.float32(1023)
    return smallest_three((three - 0.5) * np.float32(np.sqrt(2)), words >> 30)


def _harmonics(rows: Array, coefficients: int) -> Array:
    """[n, K, 3]: bytes are the middles of 256 steps over [-4, 4], but for the first and the last."""
    names = [f"f_rest_{i}" for i in range(3 * coefficients)]
    steps = (np.arange(256) + 0.5) / 256
    steps[0], steps[-1] = 0, 1
    bytes_ = np.stack([rows[name].astype(np.uint8) for name in names], -1)
    values = (steps * 8 - 4).astype(np.float16)[bytes_]
    return values.reshape(len(rows), 3, coefficients).transpose(0, 2, 1)

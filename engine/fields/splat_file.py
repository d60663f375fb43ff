# SPDX-License-Identifier: GPL-3.0-or-later
"""`.splat` files: the format of antimatter15's web viewer (github.com/antimatter15/splat), 32 bytes per Gaussian.

Little endian, without header: mean 3 x float32, standard deviations 3 x float32, red green blue and opacity as bytes
of 255, quaternion w x y z as bytes (value - 128) / 128. No spherical harmonics.
"""

from pathlib import Path

import numpy as np

from engine.errors import SplatFileError
from engine.fields.assembly import CHUNK, EXPORT_AGAIN, MAX_COORDINATE, Assembly, Note
from engine.fields.gaussians import Gaussians

RECORD = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def looks_like_splat(head: bytes) -> bool:
    """Whether the first bytes of a file can be records: there is no other mark to know the format by."""
    records = np.frombuffer(head[: len(head) // RECORD.itemsize * RECORD.itemsize], RECORD)
    if not len(records):
        return False
    with np.errstate(invalid="ignore"):
        sound = (np.abs(records["means"]) < MAX_COORDINATE).all(1)
        sound &= ((records["scales"] >= 0) & (records["scales"] < MAX_COORDINATE)).all(1)
        lengths = ((records["quats"].astype(np.float32) - 128) ** 2).sum(1)
    sound &= (lengths > 100**2) & (lengths < 156**2)
    return sound.mean() > 0.9


def read_splat(path: Path, note: Note | None = None) -> Gaussians:
    """The Gaussians of a `.splat` file. Raises `SplatFileError` where its size is not a multiple of 32 bytes."""
    size = path.stat().st_size
    count, rest = divmod(size, RECORD.itemsize)
    if rest:
        raise SplatFileError(
            f"{path.name} is truncated: {size:,} bytes are not a multiple of the 32 of one Gaussian.", EXPORT_AGAIN
        )
    gaussians = Assembly(path.name, count)
    with path.open("rb") as stream:
        while len(records := np.fromfile(stream, RECORD, min(CHUNK, count - gaussians.seen))):
            gaussians.add(
                records["means"],
                records["quats"].astype(np.float32) - 128,
                records["scales"],
                records["rgba"][:, 3] / np.float32(255),
                records["rgba"][:, :3] / np.float32(255),
            )
    return gaussians.finish(note)

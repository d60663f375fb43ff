# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs of textured objects: many meshes in a few compressed files, with an index that names source and licence."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from engine.errors import InputError
from engine.surface.mesh import Mesh

Array = np.ndarray

_ARRAYS = ("vertices", "uvs", "faces", "texture_bytes", "vertex_offsets", "face_offsets", "texture_offsets")


@dataclass(frozen=True)
class Entry:
    """One line of an index: where the object lies and how often to draw it."""

    name: str
    shard: str
    row: int
    weight: float
    style: str


class Pack:
    """Objects of one index file. y up, longest side of the bounding box 1, centred at the origin."""

    def __init__(self, index: str | Path) -> None:
        """Reads every shard the index names into memory. Raises `InputError` where a file or column is missing."""
        index = Path(index)
        try:
            with index.open(newline="", encoding="utf-8") as lines:
                rows = list(csv.DictReader(lines))
            self.entries = [
                Entry(row["name"], row["shard"], int(row["row"]), float(row["weight"]), row["style"]) for row in rows
            ]
            shards = sorted({entry.shard for entry in self.entries})
            self._shards = {name: _read_shard(index.parent / name) for name in shards}
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"Could not read the pack {index}: {error}.", "Give the index file that lies beside its .npz shards."
            ) from error

    def __len__(self) -> int:
        return len(self.entries)

    def weights(self) -> Array:
        """Sampling probabilities of all objects, [len(self)], sum 1."""
        weights = np.array([entry.weight for entry in self.entries])
        return weights / weights.sum()

    def mesh(self, i: int) -> Mesh:
        """Object `i` with its texture decoded."""
        entry = self.entries[i]
        shard = self._shards[entry.shard]
        v, f, t = (shard[f"{kind}_offsets"][entry.row : entry.row + 2] for kind in ("vertex", "face", "texture"))
        encoded = shard["texture_bytes"][t[0] : t[1]].tobytes()
        return Mesh(
            vertices=shard["vertices"][v[0] : v[1]].astype(np.float32),
            faces=shard["faces"][f[0] : f[1]].astype(np.int32),
            uvs=(shard["uvs"][v[0] : v[1]] / np.float32(65535)).astype(np.float32),
            texture=np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")),
        )


def _read_shard(path: Path) -> dict[str, Array]:
    with np.load(path) as shard:
        return {name: shard[name] for name in _ARRAYS}

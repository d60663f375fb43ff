# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs of textured objects: many meshes in a few compressed files, with an index that names source and licence."""

import csv
import io
import zipfile
import zlib
from collections import Counter
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
    """Objects of one index file. y up, longest side of the bounding box 1, centred at the origin.

    `entries` are the objects that can be used; `skipped` the names of others, each with the reason.
    """

    def __init__(self, index: str | Path) -> None:
        """Reads every shard the index names into memory. `index` may also be the name of its pack, NAME.npz.

        Broken objects are left out. Raises `InputError` where a file or column is missing, a shard cannot be read, or
        no object is left.
        """
        index = Path(index)
        if index.suffix.lower() == ".npz":
            index = index.with_suffix(".csv")
        try:
            with index.open(newline="", encoding="utf-8") as lines:
                rows = list(csv.DictReader(lines))
            entries = [
                Entry(row["name"], row["shard"], int(row["row"]), float(row["weight"]), row["style"]) for row in rows
            ]
            shards = sorted({entry.shard for entry in entries})
            self._shards = {name: _read_shard(index.parent / name) for name in shards}
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            what = f"it has no {error.args[0]!r}" if isinstance(error, KeyError) else error
            raise InputError(
                f"Could not read the pack {index}: {what}.", "Give the index file that lies beside its .npz shards."
            ) from error
        self.index = index
        self.entries: list[Entry] = []
        self.skipped: list[tuple[str, str]] = []
        for entry in entries:
            if reason := self._fault(entry):
                self.skipped.append((entry.name, reason))
            else:
                self.entries.append(entry)
        if not sum(entry.weight for entry in self.entries) > 0:
            raise InputError(
                f"The pack {index} holds no usable object. {self.note()}".rstrip(), "Pack the objects once more."
            )

    def __len__(self) -> int:
        return len(self.entries)

    def note(self) -> str:
        """A sentence on the objects that were left out; empty where there are none."""
        if not self.skipped:
            return ""
        reasons = Counter(reason for _, reason in self.skipped)
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
        return f"{len(self.skipped)} of {len(self) + len(self.skipped)} objects of {self.index.name} skipped: {listed}."

    def weights(self) -> Array:
        """Sampling probabilities of all objects, [len(self)], sum 1."""
        weights = np.array([entry.weight for entry in self.entries])
        return weights / weights.sum()

    def mesh(self, i: int) -> Mesh:
        """Object `i` with its texture decoded. Raises `InputError` where the texture cannot be."""
        entry = self.entries[i]
        shard = self._shards[entry.shard]
        v, f, t = (shard[f"{kind}_offsets"][entry.row : entry.row + 2] for kind in ("vertex", "face", "texture"))
        try:
            with Image.open(io.BytesIO(shard["texture_bytes"][t[0] : t[1]].tobytes())) as image:
                texture = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"The texture of {entry.name} in {self.index.name} is broken: {error}.") from error
        return Mesh(
            vertices=shard["vertices"][v[0] : v[1]].astype(np.float32),
            faces=shard["faces"][f[0] : f[1]].astype(np.int32),
            uvs=(shard["uvs"][v[0] : v[1]] / np.float32(65535)).astype(np.float32),
            texture=texture,
        )

    def _fault(self, entry: Entry) -> str:
        """Why an object cannot be used; empty where it can. The body of its texture is not decoded."""
        shard = self._shards[entry.shard]
        if not (np.isfinite(entry.weight) and entry.weight >= 0):
            return "a weight that is no number from 0 up"
        ranges = []
        for kind, array in (("vertex", "vertices"), ("face", "faces"), ("texture", "texture_bytes")):
            offsets = shard[f"{kind}_offsets"]
            if not 0 <= entry.row < len(offsets) - 1:
                return "a row that its shard does not have"
            start, end = int(offsets[entry.row]), int(offsets[entry.row + 1])
            if not 0 <= start <= end <= len(shard[array]):
                return f"a range beyond the shard's {array}"
            ranges.append((start, end))
        (v0, v1), (f0, f1), (t0, t1) = ranges
        faces, vertices = shard["faces"][f0:f1], shard["vertices"][v0:v1]
        if not len(faces) or not len(vertices):
            return "no faces"
        if faces.max() >= len(vertices) or v1 > len(shard["uvs"]):
            return "faces of vertices that are not there"
        if not np.isfinite(vertices).all():
            return "vertices that are no numbers"
        if not float(np.ptp(vertices.astype(np.float32), axis=0).max()) > 0:
            return "all vertices in one point"
        return "" if _whole_image(shard["texture_bytes"][t0:t1].tobytes()) else "a broken texture"


def _read_shard(path: Path) -> dict[str, Array]:
    with np.load(path) as shard:
        return {name: shard[name] for name in _ARRAYS}


def _whole_image(encoded: bytes) -> bool:
    """Whether a picture file has a readable head and is not cut short; told without decoding it."""
    if encoded[:4] == b"RIFF" and int.from_bytes(encoded[4:8], "little") + 8 > len(encoded):
        return False
    if encoded[:4] == b"\x89PNG" and b"IEND" not in encoded[-12:]:
        return False
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return min(image.size) > 0
    except (OSError, ValueError, SyntaxError):
        return False

# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of several packs, drawn in the shares asked for."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.errors import InputError, OptionError
from engine.surface.mesh import Mesh
from engine.training.data.packs import Entry, Pack

Array = np.ndarray


def parse_data(values: Sequence[str | Path]) -> list[tuple[Path, float]]:
    """Index files and their shares: ["a.csv", "b.csv:0.5"] gives [(a.csv, 1.0), (b.csv, 0.5)].

    NAME.npz means the pack NAME.csv. Raises `OptionError` for what is neither.
    """
    parsed = []
    for value in map(str, values):
        name, colon, share = value.rpartition(":")
        if not colon or ("." in share and Path(share).suffix.lower() in (".csv", ".npz")):  # also C:\a.csv
            name, share = value, "1"
        path = Path(name)
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        if not (0 < number < math.inf) or path.suffix.lower() not in (".csv", ".npz"):
            raise OptionError(
                f"Found {value!r} as a pack.", "Give NAME.csv, or NAME.csv:SHARE with a share above 0, as in b.csv:0.5."
            )
        parsed.append((path.with_suffix(".csv"), number))
    return parsed


class Mixture:
    """The objects of several packs under one number each.

    A pack is drawn in proportion to its share, whatever its size; its objects by their weights in it.
    """

    def __init__(self, data: Sequence[tuple[Path, float]]) -> None:
        """Reads the packs of `parse_data`. Raises `InputError` as `Pack` does."""
        if not data:
            raise OptionError("Found no pack, expected at least one.", "Give --data PACK.csv.")
        self.packs = [Pack(path) for path, _ in data]
        self._starts = np.cumsum([0, *map(len, self.packs)])
        shares = np.array([share for _, share in data], np.float64)
        self.chances = np.concatenate(
            [share * pack.weights() for share, pack in zip(shares / shares.sum(), self.packs, strict=True)]
        )
        self.broken: list[tuple[str, str]] = []  # found while drawing: name, reason

    def __len__(self) -> int:
        return int(self._starts[-1])

    def notes(self) -> list[str]:
        """A sentence for each pack of which objects were left out."""
        return [note for pack in self.packs if (note := pack.note())]

    def entry(self, i: int) -> Entry:
        """What the index says of object `i`."""
        pack, row = self._place(i)
        return pack.entries[row]

    def mesh(self, i: int) -> Mesh:
        """Object `i`. Raises `InputError` where its texture cannot be decoded."""
        pack, row = self._place(i)
        return pack.mesh(row)

    def draw(self, rng: np.random.Generator) -> tuple[int, Mesh]:
        """A random object: its number and mesh. One that turns out to be broken is noted and never drawn again."""
        while True:
            i = int(rng.choice(len(self), p=self.chances))
            try:
                return i, self.mesh(i)
            except InputError as error:
                self.broken.append((self.entry(i).name, str(error)))
                self._leave_out(i)

    def _leave_out(self, i: int) -> None:
        """Object `i` is drawn no more; the others of its pack take its place."""
        k = int(np.searchsorted(self._starts, i, "right")) - 1
        own = slice(int(self._starts[k]), int(self._starts[k + 1]))
        share = self.chances[own].sum()
        self.chances[i] = 0
        left = self.chances[own].sum()
        if left > 0:
            self.chances[own] *= share / left
        elif (total := self.chances.sum()) > 0:
            self.chances /= total
        else:
            raise InputError(f"Not one object of {len(self)} could be read.", "Pack the objects once more.")

    def _place(self, i: int) -> tuple[Pack, int]:
        k = int(np.searchsorted(self._starts, i, "right")) - 1
        return self.packs[k], i - int(self._starts[k])

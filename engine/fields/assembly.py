# SPDX-License-Identifier: GPL-3.0-or-later
"""Where every reader puts what it decodes: arrays allocated once, filled in chunks, without broken Gaussians.

A file of captured splats often has a few Gaussians that training drove to NaN or infinity. They are left out and
counted; where most are broken the file is refused.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np

from engine.conventions import SH_C0
from engine.errors import SplatFileError
from engine.fields.gaussians import MAX_SH, Gaussians

Array = np.ndarray
Note = Callable[[str], None]

CHUNK = 1 << 16
"""Gaussians decoded together: memory beyond the result does not grow with their number."""

MAX_COORDINATE = 1e6
"""Larger means, or standard deviations, leave float32 too few digits for a surface."""
MIN_SCALE = 1e-9
"""Thinner Gaussians are taken to be this thin: flattened ones come with scales down to exp(-1000)."""

MAX_GAUSSIANS = 10_000_000
MAX_SH_BYTES = 256 << 20
"""Above this, the share of the view in the colours is not kept: a surface needs little of it."""

_MANY_BYTES = 64 << 20
_MOST_PACKED = 200
_LONGEST_TEXT = 100

EXPORT_AGAIN = "Download or export it again."


class Assembly:
    """Gaussians of one file as they are decoded; `finish` gives them.

    `count` must have been checked against the size of the file before. Floating point warnings are the caller's to
    silence: NaN and infinity are expected. Raises `SplatFileError` where it is 0 or more
    than `MAX_GAUSSIANS`. `sh` is the number K of coefficients per colour beyond the first that the file holds.
    """

    def __init__(self, name: str, count: int, sh: int = 0) -> None:
        if count == 0:
            raise SplatFileError(f"{name} holds 0 Gaussians, expected at least one.", EXPORT_AGAIN)
        if count > MAX_GAUSSIANS:
            raise SplatFileError(
                f"{name} holds {count:,} Gaussians, expected at most {MAX_GAUSSIANS:,}.",
                "Crop it in a splat editor to the object you want.",
            )
        self.name, self.count, self.kept, self.seen = name, count, 0, 0
        wanted = max((k for k in (0, 3, 8, 15) if k <= sh), default=0)
        self.sh_kept = wanted if wanted * count * 6 <= MAX_SH_BYTES else 0
        self.thinned = self.sh_kept < wanted
        self._broken: Counter[str] = Counter()
        self._means = np.empty((count, 3), np.float32)
        self._quats = np.empty((count, 4), np.float32)
        self._scales = np.empty((count, 3), np.float32)
        self._opacities = np.empty(count, np.float32)
        self._colors = np.empty((count, 3), np.float32)
        self._sh = np.empty((count, self.sh_kept, 3), np.float16) if self.sh_kept else None

    def add(
        self, means: Array, quats: Array, scales: Array, opacities: Array, colors: Array, sh: Array | None = None
    ) -> None:
        """The next Gaussians, n at a time, after activation: means [n, 3], quats [n, 4] wxyz, scales [n, 3],
        opacities [n], colors [n, 3], sh [n, >= K, 3] (finite where of half precision). Opacities and colours are cut
        to [0, 1]."""
        largest = np.abs(quats).max(1)
        tests = (
            ("NaN or infinity in the position", ~np.isfinite(means).all(1)),
            ("a position beyond 1e6", np.abs(means).max(1) > MAX_COORDINATE),
            ("NaN in the size", np.isnan(scales).any(1)),
            ("a size beyond 1e6", scales.max(1) > MAX_COORDINATE),
            ("NaN or infinity in the rotation", ~np.isfinite(largest)),
            ("a rotation that is a quaternion of length 0", largest < 1e-8),
            ("NaN in the opacity", np.isnan(opacities)),
            ("NaN in the colour", np.isnan(colors).any(1)),
        )
        good = np.ones(len(means), bool)
        for reason, mask in tests:
            if broken := int(np.count_nonzero(mask & good)):
                self._broken[reason] += broken
                good &= ~mask
        self.seen += len(means)
        index = slice(None) if good.all() else good
        start, stop = self.kept, self.kept + int(np.count_nonzero(good))
        self._means[start:stop] = means[index]
        quats = quats[index] / largest[index, None]
        self._quats[start:stop] = quats / np.sqrt((quats * quats).sum(1, keepdims=True))
        self._scales[start:stop] = np.maximum(scales[index], MIN_SCALE)
        self._opacities[start:stop] = np.clip(opacities[index], 0, 1)
        self._colors[start:stop] = np.clip(colors[index], 0, 1)
        if self._sh is not None and sh is not None:
            values = sh[index, : self.sh_kept]
            if values.dtype != np.float16:
                values = np.clip(np.where(np.isnan(values), 0, values), -MAX_SH, MAX_SH)
            self._sh[start:stop] = values
        self.kept = stop

    def finish(self, note: Note | None = None) -> Gaussians:
        """All Gaussians that are sound. `note` is told of others. Raises `SplatFileError` where most are broken."""
        broken = self.seen - self.kept
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in self._broken.most_common())
        if broken > self.kept:
            raise SplatFileError(
                f"{self.name} is damaged: {broken:,} of {self.seen:,} Gaussians have {reasons}.", EXPORT_AGAIN
            )
        if broken and note:
            note(f"{broken:,} of {self.seen:,} Gaussians in the file are broken and were left out: {reasons}.")
        if self.thinned and note:
            note(
                f"The reflections in the colours of {self.count:,} Gaussians were left out: they take too much memory."
            )
        end = slice(self.kept)
        return Gaussians(
            means=self._means[end],
            quats=self._quats[end],
            scales=self._scales[end],
            opacities=self._opacities[end],
            colors=self._colors[end],
            sh=None if self._sh is None else self._sh[end],
        )


def check_packing(name: str, unpacked: int, packed: int) -> None:
    """Raises `SplatFileError` where many bytes would come out of few: positions are never so alike in a real file."""
    if unpacked > _MANY_BYTES and unpacked > _MOST_PACKED * packed:
        raise SplatFileError(
            f"{name} is damaged: its {packed:,} bytes would become {unpacked:,}, which no real splats do.", EXPORT_AGAIN
        )


def shortened(text: object) -> str:
    """What another library says, fit for a sentence: printable, without its end, not long."""
    plain = "".join(char if char.isprintable() else "?" for char in str(text)).strip().rstrip(".")
    return plain if len(plain) <= _LONGEST_TEXT else plain[:_LONGEST_TEXT] + "..."


def sigmoid(logits: Array) -> Array:
    """Opacity in [0, 1] of logits, which may be infinite: float32, [N]."""
    return (1 / (1 + np.exp(-np.clip(logits, -80, 80)))).astype(np.float32)


def exponential(log_scales: Array) -> Array:
    """Standard deviations of natural logarithms, float32: thin ones by `MIN_SCALE`, oversized ones infinite."""
    return np.exp(np.maximum(log_scales, np.log(MIN_SCALE)).astype(np.float32))


def dc_color(f_dc: Array) -> Array:
    """Colour of the spherical harmonic of degree 0 (Kerbl et al. 2023), not yet cut to [0, 1]."""
    return 0.5 + SH_C0 * f_dc


def smallest_three(three: Array, largest: Array) -> Array:
    """Quaternions [n, 4] from three of their components [n, 3], in order, and the index [n] of the one left out.

    That is the largest, made positive: sqrt(1 - sum of the squares of the others).
    """
    quats = np.empty((len(three), 4), np.float32)
    rest = np.sqrt(np.maximum(0, 1 - (three * three).sum(1)))
    for index in range(4):
        rows = largest == index
        quats[rows] = np.insert(three[rows], index, rest[rows], axis=1)
    return quats

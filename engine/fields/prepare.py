# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a splat file holds to the object to be meshed: turned y up, cropped, pruned, cut out of its scene, centred.

Each step says in a sentence what it left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.conventions import OBJECT_EXTENT
from engine.errors import OptionError, SplatFileError
from engine.fields.gaussians import Gaussians
from engine.fields.scene import Sample, object_mask

Array = np.ndarray

TURNS: dict[str, Array] = {
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "-y": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
}
"""Rotations [3, 3] from a file whose up is the key to y up. -y: half a turn about x, as captures usually need."""

FAINTEST = 1 / 255
"""Opacity below which rasterisers skip a Gaussian (Kerbl et al. 2023, their alpha threshold)."""

_MIN_SIDE = 1e-7
_LONGEST = 0.5  # size of a Gaussian, as a part of the object's side, above which it is haze around everything


@dataclass(frozen=True)
class Prepared:
    """An object in the frame of `engine.conventions`; file position, turned y up = scale * position + center."""

    gaussians: Gaussians
    notes: list[str]  # a sentence for each thing that was left out
    scale: float
    center: Array  # [3] float64


def prepare_splats(
    gaussians: Gaussians, up: str = "y", crop: Sequence[float] | None = None, keep_all: bool = False
) -> Prepared:
    """The object among `gaussians`, with its longest side `OBJECT_EXTENT` and its box's centre at the origin.

    `up` is the file's direction that is up (y, z or -y); `crop` a box x0 y0 z0 x1 y1 z1 in the file's frame. With
    `keep_all` a whole scene is kept, otherwise its largest dense object. Memory: the Gaussians once more, at most.
    Raises `OptionError` for another `up`, `SplatFileError` where nothing is left.
    """
    if up not in TURNS:
        raise OptionError(f"up is {up!r}, which it cannot be.", f"Choose one of {', '.join(TURNS)}.")
    notes: list[str] = []
    keep = _cropped(gaussians, crop, notes) if crop is not None else np.ones(len(gaussians), bool)
    _drop_faint(gaussians, keep, notes)
    sample = Sample.of(gaussians, keep)
    _drop_large(gaussians, keep, sample, notes)
    if not keep_all:
        sample = _drop_scene(gaussians, keep, sample, notes)
    low, high = sample.box(gaussians)
    scale = max(float((high - low).max()), _MIN_SIDE) / OBJECT_EXTENT
    turn = TURNS[up]
    kept = gaussians if keep.all() else gaussians.select(keep)
    del gaussians
    if up != "y":
        kept = kept.rotated(turn)
    center = (turn @ ((low + high) / 2)).astype(np.float32).astype(np.float64)  # exactly what is subtracted
    return Prepared(kept.scaled(1 / scale, -center), notes, scale, center)


def _cropped(gaussians: Gaussians, crop: Sequence[float], notes: list[str]) -> Array:
    box = np.asarray(crop, np.float32)
    keep = ((gaussians.means >= box[:3]) & (gaussians.means <= box[3:])).all(1)
    if not keep.any():
        low, high = (", ".join(f"{v:.3g}" for v in corner) for corner in gaussians.bounds())
        raise SplatFileError(
            "No Gaussian lies in the crop box.", f"The file's Gaussians lie between {low} and {high}, in its own frame."
        )
    if left := len(keep) - np.count_nonzero(keep):
        notes.append(f"{left:,} of {len(keep):,} Gaussians lie outside the crop box and were left out.")
    return keep


def _drop_faint(gaussians: Gaussians, keep: Array, notes: list[str]) -> None:
    faint = keep & (gaussians.opacities < FAINTEST)
    if (count := np.count_nonzero(faint)) == np.count_nonzero(keep):
        raise SplatFileError(
            f"All {count:,} Gaussians are transparent: the highest opacity is {gaussians.opacities.max():.1g}.",
            "Check that the file was exported with its opacities.",
        )
    if count:
        notes.append(f"{count:,} Gaussians with an opacity below 1/255 cannot be seen and were left out.")
        keep &= ~faint


def _drop_large(gaussians: Gaussians, keep: Array, sample: Sample, notes: list[str]) -> None:
    """Leaves Gaussians out that are haze around everything; never all of them."""
    low, high = sample.core(gaussians)
    side = float((high - low).max())
    large = keep & (gaussians.scales.max(1) > _LONGEST * side)
    count = np.count_nonzero(large)
    if side > 0 and 0 < count < 0.5 * np.count_nonzero(keep):
        notes.append(f"{count:,} Gaussians as large as the object itself are haze and were left out.")
        keep &= ~large


def _drop_scene(gaussians: Gaussians, keep: Array, sample: Sample, notes: list[str]) -> Sample:
    mask = object_mask(gaussians, keep, sample)
    if mask is None:
        return sample
    before = np.count_nonzero(keep)
    keep &= mask
    notes.append(
        f"The file is a whole scene: {before - np.count_nonzero(keep):,} of {before:,} Gaussians around its largest "
        f"dense object were left out."
    )
    return Sample.of(gaussians, keep)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Splat files of every format in, two out: which reader a file needs is told by its content, not by its name.

.ply            INRIA's layout, LGM's, flat Gaussians, PlayCanvas' compressed one    `ply`, `compressed_ply`
.splat          antimatter15's records                                               `splat_file`
.ksplat         GaussianSplats3D                                                     `ksplat`
.spz            Niantic's                                                            `spz`
.sog            PlayCanvas' images in a zip file, or a folder with its meta.json     `sog`
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.errors import OutputError, SplatFileError
from engine.fields.assembly import Note
from engine.fields.gaussians import Gaussians
from engine.fields.ksplat import looks_like_ksplat, read_ksplat
from engine.fields.ply import read_ply, write_ply
from engine.fields.prepare import Prepared, prepare_splats
from engine.fields.sog import looks_like_meta, read_sog
from engine.fields.splat_file import looks_like_splat, read_splat
from engine.fields.spz import GZIP_MAGIC, MAGIC, read_spz, write_spz

__all__ = ["SUFFIXES", "Prepared", "prepare_splats", "read_splats", "write_splats"]

SUFFIXES = (".ply", ".splat", ".ksplat", ".spz", ".sog")
"""Endings of the names of splat files."""

_HEAD = 1 << 12  # bytes that tell the format


def read_splats(path: str | Path, note: Note | None = None) -> Gaussians:
    """The Gaussians in a file of any of the formats, or in a folder that holds a meta.json. Frame and unit are its own.

    `note` is called with a sentence for each thing that was left out: Gaussians with NaN, say. Raises
    `SplatFileError` with one sentence on what was found where nothing can be read.
    """
    path = Path(path)
    try:
        if path.is_dir() and (path / "meta.json").is_file():
            path = path / "meta.json"
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        with np.errstate(all="ignore"):  # what comes out infinite or NaN is counted as broken
            return _reader(path, head)(path, note)
    except OSError as error:
        raise SplatFileError(
            f"Could not read {path}: {error.strerror or error}.", "Check the path and your permission to read it."
        ) from error
    except MemoryError as error:
        raise SplatFileError(
            f"{path.name} needs more memory than there is.", "Crop it in a splat editor to the object you want."
        ) from error


def _reader(path: Path, head: bytes) -> Callable[[Path, Note | None], Gaussians]:
    """The reader for a file that begins with `head`."""
    if head[:3] == b"ply":
        return read_ply
    if head[:2] == GZIP_MAGIC or head[:4] == MAGIC:
        return read_spz
    if head[:4] == b"PK\3\4" or looks_like_meta(head):
        return read_sog
    if looks_like_ksplat(head):
        return read_ksplat
    if path.suffix.lower() == ".splat" or looks_like_splat(head):
        return read_splat
    if path.suffix.lower() == ".ply":
        return read_ply  # it says what is wrong
    raise SplatFileError(
        f"{path.name} is no splat file: its first bytes are {head[:8].hex(' ') or 'none'}.",
        f"Known formats are {', '.join(SUFFIXES)}.",
    )


def write_splats(path: str | Path, gaussians: Gaussians) -> None:
    """Writes INRIA's .ply or Niantic's .spz, by the ending of the name; the file appears whole or not at all.

    Raises `OutputError` where the name has another ending or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".ply":
        write_ply(path, gaussians)
    elif suffix == ".spz":
        write_spz(path, gaussians)
    else:
        raise OutputError(
            f"Could not write {path}: splats are written as .ply or .spz.", "Choose one of these endings."
        )

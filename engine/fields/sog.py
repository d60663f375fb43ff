# SPDX-License-Identifier: GPL-3.0-or-later
"""SOG, PlayCanvas' spatially ordered Gaussians (developer.playcanvas.com, "The SOG Format"), versions 1 and 2.

A `meta.json` names lossless images that hold one Gaussian per pixel, row by row; in a zip file (`.sog`) or a folder.

    means     two images: low and high byte of x y z between meta's mins and maxs; p = sign(v) (exp(|v|) - 1)
    quats     three of w x y z as (value / 255 - 0.5) sqrt(2); alpha - 252 is the index of the largest, left out
    scales    natural logarithms: version 2 by a codebook of 256, version 1 between mins and maxs
    sh0       f_dc likewise; alpha is the opacity, in version 1 its logit between mins[3] and maxs[3]
    shN       image of centroids, 64 in a row with K pixels each, and image of labels: low byte red, high byte green
"""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.errors import SplatFileError
from engine.fields.assembly import (
    CHUNK,
    EXPORT_AGAIN,
    MAX_GAUSSIANS,
    Assembly,
    Note,
    check_packing,
    dc_color,
    exponential,
    shortened,
    sigmoid,
    smallest_three,
)
from engine.fields.gaussians import Gaussians

Array = np.ndarray

_MAX_META = 4 << 20  # bytes of the meta.json
_MAX_PACKED = 1 << 28  # bytes of one image file
_PER_ROW = 64  # centroids
_MAX_CENTROID_PIXELS = 1 << 22
_MAX_POSITION = 40.0  # of the logarithm: exp(40) is beyond any scene, and finite
_ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, KeyError, ValueError)


def looks_like_meta(head: bytes) -> bool:
    """Whether a file begins like a JSON object."""
    return head[:256].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def read_sog(path: Path, note: Note | None = None) -> Gaussians:
    """The Gaussians of a `.sog` file, or of the folder whose meta.json `path` is.

    Raises `SplatFileError` where meta and images disagree or something is missing.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            packed = stream.read(2) == b"PK"
        if packed:
            raise SplatFileError(f"{path.name} is a damaged or truncated zip file.", EXPORT_AGAIN)
        return _read(path.name, lambda member, limit: _from_folder(path, member, limit), path.name, note)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            meta = min((n for n in names if n.rsplit("/", 1)[-1] == "meta.json"), key=len, default="meta.json")
            folder = meta[: -len("meta.json")]
            return _read(
                path.name,
                lambda member, limit: _from_zip(path.name, archive, folder + member, limit),
                "meta.json",
                note,
            )
    except _ZIP_ERRORS as error:
        raise SplatFileError(f"{path.name} is damaged: {shortened(error)}.", EXPORT_AGAIN) from error


Member = Callable[[str, int], bytes]
"""`member(name, limit)` gives the content of a file, of at most `limit` bytes."""


def _from_folder(meta: Path, member: str, limit: int) -> bytes:
    file = meta.parent / member
    if not file.is_file():
        raise SplatFileError(
            f"{meta.name} names {shortened(member)}, which is not beside it.", "Keep the files of a splat together."
        )
    with file.open("rb") as stream:
        return _limited(stream.read(limit + 1), member, limit)


def _from_zip(name: str, archive: zipfile.ZipFile, member: str, limit: int) -> bytes:
    if member not in archive.namelist():
        raise SplatFileError(f"{name} is a zip file without {member}: no splats.", "Choose a .sog file of splats.")
    with archive.open(member) as stream:
        return _limited(stream.read(limit + 1), member, limit)


def _limited(content: bytes, member: str, limit: int) -> bytes:
    if len(content) > limit:
        raise SplatFileError(f"{member} has more than the {limit:,} bytes expected.", EXPORT_AGAIN)
    return content


def _read(name: str, member: Member, meta_name: str, note: Note | None) -> Gaussians:
    meta = Meta(name, member(meta_name, _MAX_META))
    images = Images(name, meta, member)
    low, high = images.pixels("means", 0), images.pixels("means", 1)
    quats, scales, sh0 = (images.pixels(part, 0) for part in ("quats", "scales", "sh0"))
    palette, labels = images.harmonics()
    check_packing(name, 20 * meta.count, images.packed)
    gaussians = Assembly(name, meta.count, 0 if palette is None else palette.shape[1])
    bounds = np.array([meta.numbers("means", end, 3) for end in ("mins", "maxs")], np.float32)
    steps, colors = meta.table("scales", 3), meta.table("sh0", 4)
    for start in range(0, meta.count, CHUNK):
        part = slice(start, min(start + CHUNK, meta.count))
        fixed = low[part, :3].astype(np.float32) + 256 * high[part, :3].astype(np.float32)
        logs = np.clip(bounds[0] + fixed / 65535 * (bounds[1] - bounds[0]), -_MAX_POSITION, _MAX_POSITION)
        alpha = sh0[part, 3]
        gaussians.add(
            np.copysign(np.expm1(np.abs(logs)), logs),
            _quaternions(quats[part]),
            exponential(_looked_up(steps, scales[part])),
            sigmoid(colors[alpha, 3]) if meta.version == 1 else alpha / np.float32(255),
            dc_color(_looked_up(colors, sh0[part])),
            palette[labels[part]] if palette is not None and gaussians.sh_kept else None,
        )
    return gaussians.finish(note)


def _looked_up(table: Array, values: Array) -> Array:
    """[n, 3] of bytes [n, >= 3] by a table [256, >= 3] per channel."""
    return np.stack([table[values[:, channel], channel] for channel in range(3)], -1)


def _quaternions(pixels: Array) -> Array:
    """[n, 4] wxyz; pixels without a valid index get no rotation."""
    three = (pixels[:, :3] / np.float32(255) - 0.5) * np.float32(np.sqrt(2))
    largest = pixels[:, 3].astype(int) - 252
    quats = smallest_three(three, largest)
    quats[largest < 0] = (1, 0, 0, 0)
    return quats


class Meta:
    """The checked content of a meta.json."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        try:
            self.values: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise SplatFileError(f"{name} has a damaged meta.json: {shortened(error)}.", EXPORT_AGAIN) from error
        if not isinstance(self.values, dict) or not isinstance(self.values.get("means"), dict):
            raise SplatFileError(f"{name} is JSON, but not about splats: there is no 'means'.", EXPORT_AGAIN)
        version = self.values.get("version", 1)
        if version not in (1, 2):
            raise SplatFileError(f"{name} is SOG version {version!r:.20}, expected 1 or 2.", "Save it as version 2.")
        self.version = int(version)
        shape = self.values["means"].get("shape")
        count = (
            self.values.get("count") if self.version == 2 else shape[0] if isinstance(shape, list) and shape else None
        )
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 2**32:
            raise self._wrong("count", count)
        self.count = count

    def part(self, part: str) -> dict[str, Any]:
        value = self.values.get(part)
        if not isinstance(value, dict):
            raise self._wrong(part, value)
        return value

    def file(self, part: str, index: int) -> str:
        """The name of an image: a plain one, so that nothing outside the splat's folder is read."""
        files = self.part(part).get("files")
        file = files[index] if isinstance(files, list) and len(files) > index else None
        if not isinstance(file, str) or not file or len(file) > 200 or set(file) & set("/\\:\0") or file in (".", ".."):
            raise self._wrong(f"{part}.files", file)
        return file

    def numbers(self, part: str, key: str, count: int) -> list[float]:
        """`count` finite numbers; a single one stands for all, null at the start of a codebook for one step less."""
        value = self.part(part).get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = [value] * count
        if isinstance(value, list) and len(value) == count and count > 2 and value[0] is None and _is_number(value[1]):
            last = value[-1] if _is_number(value[-1]) else value[1]
            value = [value[1] - (last - value[1]) / (count - 1), *value[1:]]
        if not isinstance(value, list) or len(value) < count or not all(_is_number(v) for v in value[:count]):
            raise self._wrong(f"{part}.{key}", value)
        return [float(v) for v in value[:count]]

    def table(self, part: str, channels: int) -> Array:
        """What each byte stands for, [256, channels] float32."""
        if self.version == 2:
            return np.repeat(np.array(self.numbers(part, "codebook", 256), np.float32)[:, None], channels, 1)
        low, high = (np.array(self.numbers(part, end, channels), np.float32) for end in ("mins", "maxs"))
        return low + np.linspace(0, 1, 256, dtype=np.float32)[:, None] * (high - low)

    def _wrong(self, what: str, value: object) -> SplatFileError:
        return SplatFileError(
            f"{self.name} has a damaged meta.json: {what} is {shortened(value)[:40]!r}.", EXPORT_AGAIN
        )


def _is_number(value: object) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e30
    )


class Images:
    """The images a meta.json names."""

    def __init__(self, name: str, meta: Meta, member: Member) -> None:
        self.name, self.meta, self._member = name, meta, member
        self.packed = 0  # bytes of all images so far

    def pixels(self, part: str, index: int) -> Array:
        """One image as [count, 4] uint8."""
        pixels = self._image(self.meta.file(part, index), 2 * min(self.meta.count, MAX_GAUSSIANS) + (1 << 20))
        if pixels.shape[0] * pixels.shape[1] < self.meta.count:
            raise SplatFileError(
                f"{self.name} has {self.meta.count:,} Gaussians, but {pixels.shape[1]} x {pixels.shape[0]} pixels "
                f"of {part}.",
                EXPORT_AGAIN,
            )
        return pixels.reshape(-1, 4)[: self.meta.count]

    def harmonics(self) -> tuple[Array | None, Array]:
        """Palette [P, K, 3] float16 and each Gaussian's place in it; None where there is none."""
        nothing = np.empty(0, np.uint16)
        if not self.meta.values.get("shN"):
            return None, nothing
        pixels = self._image(self.meta.file("shN", 0), _MAX_CENTROID_PIXELS)
        coefficients, rest = divmod(pixels.shape[1], _PER_ROW)
        if coefficients not in (3, 8, 15) or rest:
            raise SplatFileError(
                f"{self.name} has centroids {pixels.shape[1]} pixels wide, expected 192, 512 or 960.", EXPORT_AGAIN
            )
        if self.meta.version == 2:
            values = np.array(self.meta.numbers("shN", "codebook", 256), np.float32)
        else:
            low, high = (self.meta.numbers("shN", end, 1)[0] for end in ("mins", "maxs"))
            values = np.linspace(low, high, 256, dtype=np.float32)
        palette = values.clip(-1e4, 1e4).astype(np.float16)[pixels[..., :3]].reshape(-1, coefficients, 3)
        pair = self.pixels("shN", 1).astype(np.uint16)
        labels = pair[:, 0] | pair[:, 1] << np.uint16(8)
        if labels.max(initial=0) >= len(palette):
            raise SplatFileError(
                f"{self.name} is damaged: label {labels.max():,} of {len(palette):,} harmonics.", EXPORT_AGAIN
            )
        return palette, labels

    def _image(self, file: str, most: int) -> Array:
        """[H, W, 4] uint8, of at most `most` pixels."""
        content = self._member(file, _MAX_PACKED)
        self.packed += len(content)
        try:
            with Image.open(io.BytesIO(content), formats=("WEBP", "PNG")) as image:
                width, height = image.size
                if width * height > most:
                    raise SplatFileError(
                        f"{self.name} is damaged: {file} has {width} x {height} pixels, too many.", EXPORT_AGAIN
                    )
                return np.asarray(image.convert("RGBA"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise SplatFileError(
                f"{self.name} is damaged: {file} is no image that can be read.", EXPORT_AGAIN
            ) from error

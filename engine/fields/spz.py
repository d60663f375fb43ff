# SPDX-License-Identifier: GPL-3.0-or-later
"""`.spz` files: Niantic's compressed splats (github.com/nianticlabs/spz, README "File Format"), versions 1 to 4.

A header (magic NGSP, version, count, degree of the harmonics, fractional bits, flags), then one array per property:

    positions   3 x 24-bit fixed point, or half floats in version 1
    alphas      opacity as bytes of 255
    colours     3 bytes: f_dc = (value / 255 - 0.5) / 0.15
    scales      3 bytes: natural logarithm = value / 16 - 10
    rotations   x y z as bytes value / 127.5 - 1 with w >= 0; from version 3 on the smallest three components, 9 bits
                and a sign each, and 2 bits that say which of x y z w is left out
    harmonics   K x 3 bytes: (value - 128) / 128, channels together

Little endian. Versions 1 to 3 are one gzip stream with a header of 16 bytes. Version 4 has a plain header of 32 bytes,
extensions, a table of sizes, and one Zstandard stream per array. Extensions are not read.
"""

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import zstandard

from engine.conventions import SH_C0
from engine.errors import InputError, SplatFileError
from engine.fields.assembly import (
    CHUNK,
    EXPORT_AGAIN,
    Assembly,
    Note,
    check_packing,
    dc_color,
    exponential,
    shortened,
    smallest_three,
)
from engine.fields.gaussians import Gaussians
from engine.paths import written_whole

Array = np.ndarray

MAGIC = b"NGSP"
GZIP_MAGIC = b"\x1f\x8b"

_COLOR_SCALE = 0.15
_COEFFICIENTS = (0, 3, 8, 15, 24)
_GZIP_RATIO = 1032  # deflate cannot make data smaller than this many times
_PIECE = 1 << 20  # bytes unpacked together
_LARGEST = (1 << 23) - 1  # of 24-bit fixed point
_PARTS = ("positions", "alphas", "colors", "scales", "rotations", "harmonics")


@dataclass(frozen=True)
class _Header:
    version: int
    count: int
    degree: int
    fraction: int  # bits of the fixed point

    def sizes(self) -> tuple[int, ...]:
        """Bytes per Gaussian in each of `_PARTS`."""
        position = 6 if self.version == 1 else 9
        return position, 1, 3, 3, 3 if self.version < 3 else 4, 3 * _COEFFICIENTS[self.degree]


def read_spz(path: Path, note: Note | None = None) -> Gaussians:
    """The Gaussians of an `.spz` file, in its own frame (y up, where its writer followed the format).

    Raises `SplatFileError` where header and content disagree.
    """
    with path.open("rb") as stream:
        packed = stream.read(2) == GZIP_MAGIC
        stream.seek(0)
        try:
            return _read_one_stream(path, stream, packed, note) if packed else _read_plain(path, stream, note)
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            reason = shortened(error) or "it ends too early"
            raise SplatFileError(f"{path.name} is damaged or truncated: {reason}.", EXPORT_AGAIN) from error


def _read_one_stream(path: Path, stream: BinaryIO, packed: bool, note: Note | None) -> Gaussians:
    with gzip.GzipFile(fileobj=stream) if packed else stream as content:
        header = _header(path.name, content.read(16), (1, 2, 3))
        size = path.stat().st_size
        needed = header.count * sum(header.sizes())
        if needed > (_GZIP_RATIO if packed else 1) * size:
            raise SplatFileError(
                f"{path.name} is truncated: {header.count:,} Gaussians need {needed:,} bytes, "
                f"found {size:,}{' packed' if packed else ''}.",
                EXPORT_AGAIN,
            )
        check_packing(path.name, needed, size)
        return _assembled(path.name, header, [content] * len(_PARTS), note)


def _read_plain(path: Path, stream: BinaryIO, note: Note | None) -> Gaussians:
    raw = stream.read(32)
    header = _header(path.name, raw, (1, 2, 3, 4))
    if header.version < 4:  # some tools leave the packing to the transport
        stream.seek(0)
        return _read_one_stream(path, stream, False, note)
    (number,), (table,) = struct.unpack_from("<B", raw, 15), struct.unpack_from("<I", raw, 16)
    stream.seek(table)
    content = stream.read(16 * number)
    found = [struct.unpack_from("<QQ", content, 16 * i) for i in range(len(content) // 16)]
    wanted = [size * header.count for size in header.sizes() if size]
    end = table + len(content) + sum(packed for packed, _ in found)
    if [size for _, size in found] != wanted or end > path.stat().st_size:
        raise SplatFileError(
            f"{path.name} is damaged or truncated: its table of contents does not fit {header.count:,} Gaussians.",
            EXPORT_AGAIN,
        )
    check_packing(path.name, sum(wanted), path.stat().st_size)
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    sources, start = [], table + len(content)
    for packed, _ in found:
        sources.append(unpacker.stream_reader(cast(BinaryIO, _Range(stream, start, packed)), read_size=_PIECE))
        start += packed
    return _assembled(path.name, header, sources, note)


class _Range(io.RawIOBase):
    """The bytes of a file from `start` on, `size` of them."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._at, self._left = stream, start, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._at)
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._at += len(data)
        self._left -= len(data)
        return len(data)


def _header(name: str, raw: bytes, versions: tuple[int, ...]) -> _Header:
    if len(raw) < 16 or raw[:4] != MAGIC:
        raise SplatFileError(f"{name} is no .spz file: its content does not begin with 'NGSP'.", EXPORT_AGAIN)
    version, count, degree, fraction = struct.unpack_from("<IIBB", raw, 4)
    if version not in versions or len(raw) < 16 * (1 + (version > 3)):
        raise SplatFileError(
            f"{name} says it is .spz version {version}, expected {' or '.join(map(str, versions))} in such a file.",
            "Save it as version 2, 3 or 4.",
        )
    if degree >= len(_COEFFICIENTS) or fraction > 24:
        raise SplatFileError(
            f"{name} has a damaged header: degree {degree}, {fraction} fractional bits; expected at most 4 and 24.",
            EXPORT_AGAIN,
        )
    return _Header(version, count, degree, fraction)


def _assembled(name: str, header: _Header, sources: list[Any], note: Note | None) -> Gaussians:
    """Gaussians from one source of bytes per part; the parts stay packed until their Gaussians are decoded."""
    gaussians = Assembly(name, header.count, _COEFFICIENTS[header.degree])
    parts = {}
    for part, size, source in zip(_PARTS, header.sizes(), sources, strict=False):
        if part != "harmonics" or gaussians.sh_kept:
            parts[part] = _unpacked(name, source, header.count * size).reshape(header.count, size)
    steps = ((np.arange(256) - 128) / 128).astype(np.float16)
    for start in range(0, header.count, CHUNK):
        chunk = {part: values[start : start + CHUNK] for part, values in parts.items()}
        harmonics = chunk.get("harmonics")
        gaussians.add(
            _positions(chunk["positions"], header),
            _quaternions(chunk["rotations"], header.version),
            exponential(chunk["scales"] / np.float32(16) - 10),
            chunk["alphas"][:, 0] / np.float32(255),
            dc_color((chunk["colors"] / np.float32(255) - 0.5) / _COLOR_SCALE),
            None if harmonics is None else steps[harmonics.reshape(len(harmonics), -1, 3)],
        )
    return gaussians.finish(note)


def _unpacked(name: str, source: Any, size: int) -> Array:
    """The next `size` bytes of `source`, as [size] uint8."""
    result = np.empty(size, np.uint8)
    filled, view = 0, result.data
    while filled < size:
        got = source.readinto(view[filled : filled + _PIECE])
        if not got:
            raise SplatFileError(
                f"{name} is truncated: a part needs {size:,} bytes unpacked, found {filled:,}.", EXPORT_AGAIN
            )
        filled += got
    return result


def _positions(values: Array, header: _Header) -> Array:
    if header.version == 1:
        return np.ascontiguousarray(values).view("<f2").astype(np.float32)
    low, middle, high = (values[:, i::3].astype(np.int32) for i in range(3))
    fixed = (low | middle << 8 | high << 16) << 8 >> 8  # the shifts extend the sign
    return fixed.astype(np.float32) * np.float32(2.0**-header.fraction)


def _quaternions(values: Array, version: int) -> Array:
    """[n, 4] wxyz."""
    if version < 3:
        xyz = values / np.float32(127.5) - 1
        w = np.sqrt(np.maximum(0, 1 - (xyz * xyz).sum(1, keepdims=True)))
        return np.concatenate([w, xyz], 1)
    packed = np.ascontiguousarray(values).view("<u4")[:, 0]
    fields = (packed[:, None] >> np.array([20, 10, 0], np.uint32)) & 0x3FF
    sizes = (fields & 0x1FF).astype(np.float32) * np.float32(np.sqrt(0.5) / 0x1FF)
    three = np.where(fields & 0x200, -sizes, sizes)
    return np.roll(smallest_three(three, packed >> 30), 1, axis=1)  # they are stored as x y z w


def write_spz(path: str | Path, gaussians: Gaussians) -> None:
    """Writes version 3, which every reader of the format knows; the file appears whole or not at all.

    What comes back differs by the format's steps: positions by 2^-17 of the farthest one (2^-13 at most, where 24
    bits reach so far), opacities by 1/510, sizes by 3.2 % (at least exp(-10)), rotations by 0.2 degrees, colours by
    0.004, harmonics by 1/32 in degree 1 and 1/16 above (cut to [-1, 1]). Raises `OutputError` where the file cannot
    be written.
    """
    if not len(gaussians):
        raise InputError("Found 0 Gaussians to write, expected at least one.")
    farthest = max(float(np.abs(gaussians.means).max()), 2.0**-10)
    fraction = max(0, min(int(np.log2(_LARGEST / farthest)), max(12, int(np.ceil(16 - np.log2(farthest)))), 23))
    degree = 0 if gaussians.sh is None else _COEFFICIENTS.index(gaussians.sh.shape[1])
    with written_whole(path) as part, gzip.open(part, "wb", compresslevel=6) as stream:
        stream.write(MAGIC + struct.pack("<IIBBBB", 3, len(gaussians), degree, fraction, 0, 0))
        fixed = np.rint(gaussians.means * np.float32(2.0**fraction)).clip(-_LARGEST, _LARGEST).astype("<i4")
        stream.write(np.ascontiguousarray(fixed.view(np.uint8).reshape(-1, 4)[:, :3]).data)
        stream.write(_bytes(gaussians.opacities * 255))
        stream.write(_bytes(((gaussians.colors - 0.5) / SH_C0 * _COLOR_SCALE + 0.5) * 255))
        stream.write(_bytes((np.log(gaussians.scales) + 10) * 16))
        stream.write(_packed_quaternions(gaussians.quats))
        for start in range(0, len(gaussians) if gaussians.sh is not None else 0, CHUNK):
            assert gaussians.sh is not None
            values = gaussians.sh[start : start + CHUNK].astype(np.float32) * 128 + 128
            values[:, :3] = np.rint(values[:, :3] / 8) * 8  # coarse steps of degree 1, as the format's own writer has
            values[:, 3:] = np.rint(values[:, 3:] / 16) * 16
            stream.write(_bytes(values))


def _bytes(values: Array) -> memoryview:
    return np.rint(values).clip(0, 255).astype(np.uint8).reshape(-1).data


def _packed_quaternions(quats: Array) -> bytes:
    xyzw = np.roll(quats, -1, axis=1)
    largest = np.abs(xyzw).argmax(1)
    rows = np.arange(len(xyzw))
    xyzw = np.where(xyzw[rows, largest, None] < 0, -xyzw, xyzw)
    three = xyzw[np.arange(4) != largest[:, None]].reshape(-1, 3)
    sizes = np.rint(np.abs(three) * (0x1FF / np.sqrt(0.5))).clip(0, 0x1FF).astype(np.uint32)
    fields = sizes | (three < 0).astype(np.uint32) << 9
    packed = largest.astype(np.uint32) << 30 | fields[:, 0] << 20 | fields[:, 1] << 10 | fields[:, 2]
    return packed.astype("<u4").tobytes()

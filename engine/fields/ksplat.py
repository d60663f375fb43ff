# SPDX-License-Identifier: GPL-3.0-or-later
"""`.ksplat` files: the format of Mark Kellogg's GaussianSplats3D, as its `SplatBuffer.js` describes it, version 0.1.

Little endian. A header of 4096 bytes (counts, compression level 0 to 2, range of the spherical harmonics), then 1024
bytes per section (counts, buckets, degree), then the sections: lengths of the partly filled buckets, bucket centres,
and one record per Gaussian: mean, standard deviations, quaternion w x y z, red green blue and opacity as bytes of 255,
spherical harmonics. Floats are single precision at level 0 and half above; level 2 keeps harmonics as bytes of
their range. Above level 0 means are 16-bit offsets from the centre of their bucket. Each degree of the harmonics has
its coefficients channel by channel.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine.errors import SplatFileError
from engine.fields.assembly import CHUNK, EXPORT_AGAIN, Assembly, Note
from engine.fields.gaussians import Gaussians
from engine.fields.harmonics import BANDS

Array = np.ndarray

HEADER_BYTES, SECTION_BYTES = 4096, 1024
_MAX_SECTIONS = 10_000
_DEFAULT_RANGE = 1.5  # of spherical harmonics as bytes, where the header has none
_HEADER = np.dtype(
    [
        ("version", "u1", 2),
        ("unused", "u1", 2),
        ("max_sections", "<u4"),
        ("sections", "<u4"),
        ("max_splats", "<u4"),
        ("splats", "<u4"),
        ("level", "<u2"),
        ("unused2", "<u2"),
        ("center", "<f4", 3),
        ("sh_range", "<f4", 2),
    ]
)
_SECTION = np.dtype(
    [
        ("splats", "<u4"),
        ("max_splats", "<u4"),
        ("bucket_size", "<u4"),
        ("buckets", "<u4"),
        ("block_size", "<f4"),
        ("bucket_bytes", "<u2"),
        ("unused", "<u2"),
        ("range", "<u4"),
        ("bytes", "<u4"),
        ("full_buckets", "<u4"),
        ("partial_buckets", "<u4"),
        ("degree", "<u2"),
    ]
)


@dataclass(frozen=True)
class _Section:
    """Where a section's parts begin in the file, and what its records look like."""

    splats: int
    buckets_at: int
    records_at: int
    end: int
    record: np.dtype
    bucket_size: int
    full_buckets: int
    partial_buckets: int
    buckets: int
    step: float  # of the 16-bit offsets of means
    half: int
    coefficients: int  # K


def looks_like_ksplat(head: bytes) -> bool:
    """Whether the first bytes of a file can be this header: version 0.1 to 0.9 and a level from 0 to 2."""
    return (
        len(head) >= 48
        and head[0] == 0
        and 1 <= head[1] < 10
        and head[2:4] == b"\0\0"
        and head[20] <= 2
        and not head[21]
    )


def read_ksplat(path: Path, note: Note | None = None) -> Gaussians:
    """The Gaussians of a `.ksplat` file. Raises `SplatFileError` where header and size of the file disagree."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        header, sections = _sections(path.name, stream, size)
        count = sum(section.splats for section in sections)
        gaussians = Assembly(path.name, count, max((section.coefficients for section in sections), default=0))
        low, high = (float(value) for value in header["sh_range"])
        low, high = low or -_DEFAULT_RANGE, high or _DEFAULT_RANGE
        for section in sections:
            _read_section(stream, section, gaussians, low, high)
    return gaussians.finish(note)


def _sections(name: str, stream: BinaryIO, size: int) -> tuple[Array, list[_Section]]:
    """Header and sections, checked against the size of the file in bytes."""
    raw = stream.read(HEADER_BYTES)
    if len(raw) < HEADER_BYTES:
        raise _truncated(name, HEADER_BYTES, size)
    header = np.frombuffer(raw, _HEADER, 1)[0]
    level, number = int(header["level"]), int(header["max_sections"])
    if not looks_like_ksplat(raw):
        version = ".".join(str(part) for part in header["version"])
        raise SplatFileError(
            f"{name} has version {version} and compression level {level}, expected 0.1 and 0 to 2.",
            "Convert it with a current tool.",
        )
    start = HEADER_BYTES + number * SECTION_BYTES
    if number > _MAX_SECTIONS or start > size:
        raise _truncated(name, start, size)
    sections = []
    for row in range(number):
        stream.seek(HEADER_BYTES + row * SECTION_BYTES)
        fields = np.frombuffer(stream.read(SECTION_BYTES), _SECTION, 1)[0]
        if fields["degree"] > 3 or fields["bucket_bytes"] not in (0, 12) or fields["splats"] > fields["max_splats"]:
            raise SplatFileError(f"{name} has a damaged header: section {row + 1} is not as expected.", EXPORT_AGAIN)
        section = _section(fields, level, start)
        if section.end > size:
            raise _truncated(name, section.end, size)
        sections.append(section)
        start = section.end
    return header, sections


def _section(fields: Array, level: int, start: int) -> _Section:
    coefficients = (0, 3, 8, 15)[int(fields["degree"])]
    number = "<f4" if level == 0 else "<f2"
    record = np.dtype(
        [
            ("means", "<f4" if level == 0 else "<u2", 3),
            ("scales", number, 3),
            ("quats", number, 4),
            ("rgba", "u1", 4),
            ("sh", ("<f4", "<f2", "u1")[level], 3 * coefficients),
        ]
    )
    buckets, partial = int(fields["buckets"]), int(fields["partial_buckets"])
    records_at = start + 4 * partial + int(fields["bucket_bytes"]) * buckets
    half = int(fields["range"]) or (1 if level == 0 else 32767)
    return _Section(
        splats=int(fields["splats"]),
        buckets_at=start,
        records_at=records_at,
        end=records_at + record.itemsize * int(fields["max_splats"]),
        record=record,
        bucket_size=int(fields["bucket_size"]),
        full_buckets=int(fields["full_buckets"]),
        partial_buckets=partial,
        buckets=buckets,
        step=float(fields["block_size"]) / 2 / half,
        half=half,
        coefficients=coefficients,
    )


def _read_section(stream: BinaryIO, section: _Section, gaussians: Assembly, low: float, high: float) -> None:
    stream.seek(section.buckets_at)
    ends = section.bucket_size * section.full_buckets + np.cumsum(
        np.fromfile(stream, "<u4", section.partial_buckets).astype(np.int64)
    )
    has_buckets = section.record["means"].base != np.dtype("<f4")
    centers = np.fromfile(stream, "<f4", 3 * section.buckets).reshape(-1, 3) if has_buckets else np.empty((0, 3))
    if has_buckets and not len(centers):
        centers = np.full((1, 3), np.nan, np.float32)  # positions without a bucket are broken ones
    stream.seek(section.records_at)
    for start in range(0, section.splats, CHUNK):
        records = np.fromfile(stream, section.record, min(CHUNK, section.splats - start))
        means = records["means"].astype(np.float32)
        if has_buckets:
            row = np.arange(start, start + len(records))
            full = row < section.bucket_size * section.full_buckets
            bucket = np.where(
                full, row // max(section.bucket_size, 1), section.full_buckets + np.searchsorted(ends, row, "right")
            )
            means = (means - section.half) * np.float32(section.step) + centers[np.minimum(bucket, len(centers) - 1)]
        gaussians.add(
            means,
            records["quats"].astype(np.float32),
            records["scales"].astype(np.float32),
            records["rgba"][:, 3] / np.float32(255),
            records["rgba"][:, :3] / np.float32(255),
            _harmonics(records["sh"], section.coefficients, low, high, gaussians.sh_kept),
        )


def _harmonics(values: Array, coefficients: int, low: float, high: float, wanted: int) -> Array | None:
    """[n, wanted, 3] from records [n, 3 K]: each degree channel by channel; absent ones are 0."""
    if not wanted:
        return None
    if values.dtype == np.uint8:
        values = low + values.astype(np.float32) / 255 * (high - low)
    result = np.zeros((len(values), wanted, 3), np.float32)
    for start, stop in BANDS:
        if stop <= min(coefficients, wanted):
            band = values[:, 3 * start : 3 * stop].reshape(len(values), 3, stop - start)
            result[:, start:stop] = band.transpose(0, 2, 1)
    return result


def _truncated(name: str, needed: int, found: int) -> SplatFileError:
    return SplatFileError(f"{name} is truncated: it needs {needed:,} bytes, found {found:,}.", EXPORT_AGAIN)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Small writers of splat files, one value after the other, from the descriptions of the formats; for tests of readers.

Each takes `Splat`s after activation and gives the bytes of a file. Nothing is shared with the engine's readers.
"""

import gzip
import io
import json
import math
import struct
import zipfile
from dataclasses import dataclass, field

import numpy as np
import zstandard
from PIL import Image

C0 = 0.28209479177387814


@dataclass
class Splat:
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (0.1, 0.1, 0.1)
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)  # w x y z
    opacity: float = 0.5
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    sh: list[tuple[float, float, float]] = field(default_factory=list)  # one (red, green, blue) per coefficient


def some(count: int, coefficients: int = 0, seed: int = 0) -> list[Splat]:
    """Splats within what every format can hold."""
    random = np.random.default_rng(seed)
    splats = []
    for _ in range(count):
        quat = random.normal(size=4)
        quat /= np.linalg.norm(quat)
        splats.append(
            Splat(
                tuple(random.uniform(-3, 3, 3)),
                tuple(np.exp(random.uniform(-6, -1, 3))),
                tuple(quat),
                float(random.uniform(0.05, 0.95)),
                tuple(random.uniform(0.05, 0.95, 3)),
                [tuple(random.uniform(-0.9, 0.9, 3)) for _ in range(coefficients)],
            )
        )
    return splats


def byte(value: float) -> int:
    return min(255, max(0, round(value)))


def splat(splats: list[Splat]) -> bytes:
    out = b""
    for s in splats:
        rgba = [byte(255 * v) for v in (*s.color, s.opacity)]
        quat = [byte(128 * v + 128) for v in s.quat]
        out += struct.pack("<3f3f4B4B", *s.mean, *s.scale, *rgba, *quat)
    return out


def ksplat(splats: list[Splat], level: int, degree: int = 0, bucket_size: int = 4, sh_range=(-1.0, 1.0)) -> bytes:
    """One section; buckets of Gaussians as they come, the last one partly filled, each around its first mean."""
    records, centers, number = b"", [], "f" if level == 0 else "e"
    block, half = 20.0, 32767
    for i, s in enumerate(splats):
        if level and i % bucket_size == 0:
            centers.append(s.mean)
        if level == 0:
            records += struct.pack("<3f", *s.mean)
        else:
            records += struct.pack(
                "<3H", *(round((v - c) * half / (block / 2)) + half for v, c in zip(s.mean, centers[-1], strict=True))
            )
        records += struct.pack(f"<3{number}4{number}", *s.scale, *s.quat)
        records += bytes(byte(255 * v) for v in (*s.color, s.opacity))
        for first, last in ((0, 3), (3, 8), (8, 15))[:degree]:
            for channel in range(3):
                for coefficient in range(first, last):
                    value = s.sh[coefficient][channel]
                    if level == 2:
                        records += bytes([byte(255 * (value - sh_range[0]) / (sh_range[1] - sh_range[0]))])
                    else:
                        records += struct.pack(f"<{number}", value)
    full, rest = divmod(len(splats), bucket_size)
    buckets = b""
    if level:
        buckets += struct.pack("<I", rest) if rest else b""
        for center in centers:
            buckets += struct.pack("<3f", *center)
    header = struct.pack("<4BIIIIHH3f2f", 0, 1, 0, 0, 1, 1, len(splats), len(splats), level, 0, 0, 0, 0, *sh_range)
    section = struct.pack(
        "<4If2H4I2H",
        len(splats),
        len(splats),
        bucket_size if level else 0,
        len(centers),
        block if level else 0.0,
        12 if level else 0,
        0,
        half if level else 0,
        len(buckets) + len(records),
        full if level else 0,
        (1 if rest else 0) if level else 0,
        degree,
        0,
    )
    return header.ljust(4096, b"\0") + section.ljust(1024, b"\0") + buckets + records


def spz_parts(splats: list[Splat], version: int, fraction: int = 12) -> list[bytes]:
    parts = [b""] * 6
    for s in splats:
        for v in s.mean:
            fixed = round(v * 2**fraction)
            parts[0] += struct.pack("<e", v) if version == 1 else fixed.to_bytes(3, "little", signed=True)
        parts[1] += bytes([byte(255 * s.opacity)])
        parts[2] += bytes(byte(((v - 0.5) / C0 * 0.15 + 0.5) * 255) for v in s.color)
        parts[3] += bytes(byte((math.log(v) + 10) * 16) for v in s.scale)
        w, x, y, z = s.quat
        if version < 3:
            sign = -1 if w < 0 else 1
            parts[4] += bytes(byte(127.5 * sign * v + 127.5) for v in (x, y, z))
        else:
            xyzw = [x, y, z, w]
            largest = max(range(4), key=lambda i: abs(xyzw[i]))
            word = largest
            for i in range(4):
                if i != largest:
                    negative = (xyzw[i] < 0) != (xyzw[largest] < 0)
                    word = word << 10 | negative << 9 | int(511 * abs(xyzw[i]) * math.sqrt(2) + 0.5)
            parts[4] += struct.pack("<I", word)
        for triple in s.sh:
            parts[5] += bytes(byte(128 * v + 128) for v in triple)
    return parts


def spz(splats: list[Splat], version: int, degree: int = 0, fraction: int = 12) -> bytes:
    parts = spz_parts(splats, version, fraction)
    start = b"NGSP" + struct.pack("<IIBB", version, len(splats), degree, fraction)
    if version < 4:
        return gzip.compress(start + b"\0\0" + b"".join(parts))
    packed = [(zstandard.ZstdCompressor().compress(part), len(part)) for part in parts if part]
    table = b"".join(struct.pack("<QQ", len(data), size) for data, size in packed)
    header = start + struct.pack("<BBI", 0, len(packed), 32) + bytes(12)
    return header + table + b"".join(data for data, _ in packed)


def compressed_ply(splats: list[Splat], coefficients: int = 0, chunk_colors: bool = True) -> bytes:
    def part(value: float, low: float, high: float, bits: int) -> int:
        return round((value - low) / (high - low) * (2**bits - 1)) if high > low else 0

    chunks, words, rests = b"", b"", b""
    for start in range(0, len(splats), 256):
        group = splats[start : start + 256]
        logs = [[math.log(v) for v in s.scale] for s in group]
        bounds = []
        for values in ([s.mean for s in group], logs, [s.color for s in group]):
            bounds.append(
                [[min(v[i] for v in values) for i in range(3)], [max(v[i] for v in values) for i in range(3)]]
            )
        if not chunk_colors:
            bounds[2] = [[0.0] * 3, [1.0] * 3]
        for low, high in bounds[: 3 if chunk_colors else 2]:
            chunks += struct.pack("<6f", *low, *high)
        for s, log in zip(group, logs, strict=True):
            packed = []
            for values, (low, high) in ((s.mean, bounds[0]), (log, bounds[1])):
                x, y, z = (part(values[i], low[i], high[i], (11, 10, 11)[i]) for i in range(3))
                packed.append(x << 21 | y << 11 | z)
            largest = max(range(4), key=lambda i: abs(s.quat[i]))
            sign = -1 if s.quat[largest] < 0 else 1
            rotation = largest
            for i in range(4):
                if i != largest:
                    rotation = rotation << 10 | round((sign * s.quat[i] / math.sqrt(2) + 0.5) * 1023)
            low, high = bounds[2]
            rgb = [part(s.color[i], low[i], high[i], 8) for i in range(3)]
            color = rgb[0] << 24 | rgb[1] << 16 | rgb[2] << 8 | byte(255 * s.opacity)
            words += struct.pack("<4I", packed[0], rotation, packed[1], color)
            for channel in range(3):
                rests += bytes(byte(math.floor((triple[channel] / 8 + 0.5) * 256)) for triple in s.sh)
    names = [f"{end}_{axis}" for end in ("min", "max") for axis in "xyz"]
    names += [f"{end}_scale_{axis}" for end in ("min", "max") for axis in "xyz"]
    names += [f"{end}_{axis}" for end in ("min", "max") for axis in "rgb"] if chunk_colors else []
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {-(-len(splats) // 256)}"]
    lines += [f"property float {name}" for name in names]
    lines += [f"element vertex {len(splats)}"]
    lines += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    if coefficients:
        lines += [f"element sh {len(splats)}", *(f"property uchar f_rest_{i}" for i in range(3 * coefficients))]
    return ("\n".join([*lines, "end_header"]) + "\n").encode() + chunks + words + rests


def webp(pixels: list[tuple[int, ...]], width: int) -> bytes:
    height = -(-len(pixels) // width)
    image = Image.new("RGBA", (width, height))
    image.putdata([(*p, *(0, 0, 0, 255)[len(p) :]) for p in pixels])
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True, exact=True)
    return out.getvalue()


def sog_files(splats: list[Splat], version: int, coefficients: int = 0) -> dict[str, bytes]:
    """The files of a folder: codebooks (version 2) or ranges (1) are steps from the lowest to the highest value."""
    width = max(4, math.ceil(math.sqrt(len(splats))))
    logs = [[math.copysign(math.log(abs(v) + 1), v) for v in s.mean] for s in splats]
    mins, maxs = ([pick(v[i] for v in logs) for i in range(3)] for pick in (min, max))
    sizes = [[math.log(v) for v in s.scale] for s in splats]
    colors = [[(v - 0.5) / C0 for v in s.color] for s in splats]
    logits = [math.log(s.opacity / (1 - s.opacity)) for s in splats]

    def ranges(rows: list[list[float]]) -> tuple[list[float], list[float]]:
        if version == 1:
            return tuple([pick(row[i] for row in rows) for i in range(len(rows[0]))] for pick in (min, max))
        low, high = min(map(min, rows)), max(map(max, rows))
        return [low] * len(rows[0]), [high] * len(rows[0])

    def table(low: list[float], high: list[float]) -> dict[str, object]:
        if version == 1:
            return {"mins": low, "maxs": high}
        return {"codebook": [low[0] + (high[0] - low[0]) * i / 255 for i in range(256)]}

    def index(row: list[float], low: list[float], high: list[float]) -> tuple[int, ...]:
        return tuple(byte(255 * (v - a) / (b - a)) for v, a, b in zip(row, low, high, strict=True))

    if version == 1:
        colors = [[*c, logit] for c, logit in zip(colors, logits, strict=True)]
    size_range, color_range = ranges(sizes), ranges(colors)
    means_l, means_u, quats, scales, sh0 = [], [], [], [], []
    for i, s in enumerate(splats):
        words = [round(65535 * (logs[i][k] - mins[k]) / (maxs[k] - mins[k])) for k in range(3)]
        means_l.append(tuple(word & 255 for word in words))
        means_u.append(tuple(word >> 8 for word in words))
        largest = max(range(4), key=lambda k: abs(s.quat[k]))
        sign = -1 if s.quat[largest] < 0 else 1
        three = [byte((sign * s.quat[k] / math.sqrt(2) + 0.5) * 255) for k in range(4) if k != largest]
        quats.append((*three, 252 + largest))
        scales.append(index(sizes[i], *size_range))
        color = index(colors[i], *color_range)
        sh0.append(color if version == 1 else (*color, byte(255 * s.opacity)))
    count = {"shape": [len(splats), 3]} if version == 1 else {}
    meta: dict[str, object] = {} if version == 1 else {"version": 2, "count": len(splats)}
    meta |= {
        "means": {**count, "mins": mins, "maxs": maxs, "files": ["means_l.webp", "means_u.webp"]},
        "scales": {**table(*size_range), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {**table(*color_range), "files": ["sh0.webp"]},
    }
    files = {
        "means_l.webp": webp(means_l, width),
        "means_u.webp": webp(means_u, width),
        "quats.webp": webp(quats, width),
        "scales.webp": webp(scales, width),
        "sh0.webp": webp(sh0, width),
    }
    if coefficients:  # every splat has its own centroid, labelled backwards
        low, high = -1.0, 1.0
        rows = -(-len(splats) // 64)
        centroids = [(0, 0, 0)] * (rows * 64 * coefficients)
        for i, s in enumerate(splats):
            label = len(splats) - 1 - i
            for k, triple in enumerate(s.sh):
                place = label // 64 * 64 * coefficients + label % 64 * coefficients + k
                centroids[place] = tuple(byte(255 * (v - low) / (high - low)) for v in triple)
        labels = [(label & 255, label >> 8, 0) for label in range(len(splats) - 1, -1, -1)]
        files["centroids.webp"] = webp(centroids, 64 * coefficients)
        files["labels.webp"] = webp(labels, width)
        shape = {"bands": {3: 1, 8: 2, 15: 3}[coefficients], "count": len(splats)}
        span = {"mins": low, "maxs": high} if version == 1 else {**shape, **table([low], [high])}
        meta["shN"] = {**span, "files": ["centroids.webp", "labels.webp"]}
    return {"meta.json": json.dumps(meta).encode(), **files}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()

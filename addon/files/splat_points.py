# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the .ply of Gaussian splats that the engine saves: INRIA's layout, little endian. No bpy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .file_errors import SplatPointsError

Array = np.ndarray

SH_C0 = 0.28209479177387814
_LARGEST_HEADER = 1 << 16
_TYPES = {"float": "<f4", "float32": "<f4", "double": "<f8", "uchar": "u1", "uint8": "u1", "int": "<i4", "uint": "<u4"}
_NEEDED = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_UPRIGHT = np.sqrt(0.5)  # cosine and sine of half a quarter turn about x, from y up to z up


@dataclass(frozen=True)
class SplatPoints:
    """N splats in Blender's frame, z up."""

    means: Array  # [N, 3] float32
    quats: Array  # [N, 4] float32, wxyz, unit length
    scales: Array  # [N, 3] float32, standard deviations
    opacities: Array  # [N] float32 in [0, 1]
    colors: Array  # [N, 4] float32, linear, with the opacity
    raw: dict[str, Array]  # every other property of the file as it is there, and rot_* turned with the splats

    def __len__(self) -> int:
        return len(self.means)


def read_splat_points(path: Path) -> SplatPoints:
    """The splats of a file. Raises `SplatPointsError` where it holds something else, and `OSError`."""
    table = _table(path)
    missing = [name for name in (*_NEEDED, *_QUATS) if name not in (table.dtype.names or ())]
    if missing:
        raise SplatPointsError(f"{path.name} holds no Gaussian splats: it lacks {', '.join(missing)}.")
    columns = {name: table[name].astype(np.float32) for name in table.dtype.names or ()}
    finite = np.all([np.isfinite(columns[name]) for name in (*_NEEDED, *_QUATS) if name != "opacity"], axis=0)
    columns = {name: np.ascontiguousarray(column[finite]) for name, column in columns.items()}
    if not finite.any():
        raise SplatPointsError(f"{path.name} holds no splats that could be shown.")
    x, y, z, *_ = (columns.pop(name) for name in ("x", "y", "z"))
    quats = _upright(np.stack([columns[name] for name in _QUATS], axis=1))
    for name, column in zip(_QUATS, quats.T, strict=True):
        columns[name] = np.ascontiguousarray(column)
    with np.errstate(over="ignore"):
        opacities = 1 / (1 + np.exp(-columns["opacity"]))
        scales = np.exp(np.stack([columns[f"scale_{axis}"] for axis in range(3)], axis=1))
    srgb = np.clip(0.5 + SH_C0 * np.stack([columns[f"f_dc_{band}"] for band in range(3)], axis=1), 0, 1)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    colors = np.concatenate([linear, opacities[:, None]], axis=1).astype(np.float32)
    raw = {name: column for name, column in columns.items() if name not in ("nx", "ny", "nz")}
    means = np.stack([x, -z, y], axis=1)
    return SplatPoints(means, quats, scales.astype(np.float32), opacities.astype(np.float32), colors, raw)


def _table(path: Path) -> Array:
    """The rows of the element `vertex`."""
    content = path.read_bytes()
    head, mark, _ = content[:_LARGEST_HEADER].partition(b"end_header")
    lines = head.decode("ascii", "replace").split("\n")
    words = [line.split() for line in lines if line.strip()]
    if not mark or not words or words[0] != ["ply"]:
        raise SplatPointsError(f"{path.name} is not a PLY file.")
    if ["format", "binary_little_endian", "1.0"] not in words:
        raise SplatPointsError(f"{path.name} is not a binary little endian PLY file. Export it again as one.")
    elements = [index for index, line in enumerate(words) if line[0] == "element"]
    if not elements or len(words[elements[0]]) != 3 or words[elements[0]][1] != "vertex":
        raise SplatPointsError(f"{path.name} does not begin with its vertices.")
    end = elements[1] if len(elements) > 1 else len(words)
    properties = [line for line in words[elements[0] : end] if line[0] == "property"]
    if any(len(line) != 3 or line[1] not in _TYPES for line in properties):
        raise SplatPointsError(f"{path.name} has properties that are no numbers.")
    names = [line[2] for line in properties]
    if not names or len(set(names)) != len(names) or not words[elements[0]][2].isdigit():
        raise SplatPointsError(f"{path.name} has a header that cannot be read.")
    dtype = np.dtype([(line[2], _TYPES[line[1]]) for line in properties])
    start = content.index(b"\n", len(head)) + 1
    count = int(words[elements[0]][2])
    if len(content) - start < count * dtype.itemsize:
        raise SplatPointsError(f"{path.name} is truncated: {count:,} splats were announced.")
    return np.frombuffer(content, dtype, count, start)


def _upright(quats: Array) -> Array:
    """Quaternions [N, 4] after a quarter turn about x, of unit length."""
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    w, x, y, z = (quats / np.where(lengths > 0, lengths, 1)).T
    w = np.where(lengths[:, 0] > 0, w, 1)
    return (np.stack([w - x, w + x, y - z, y + z], axis=1) * _UPRIGHT).astype(np.float32)

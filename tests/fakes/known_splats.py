# SPDX-License-Identifier: GPL-3.0-or-later
"""Splats of which everything is known, as the engine saves them: at the corners of the known object. Standard library.

The file is in glTF's frame, as the mesh is; what is said here about axes is in Blender's.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Splat:
    mean: tuple[float, float, float]  # glTF's frame, for size 1
    scales: tuple[float, float, float]
    quat: tuple[float, float, float, float]  # wxyz, glTF's frame
    opacity: float
    color: tuple[float, float, float]  # sRGB
    long_axis: tuple[float, float, float]  # the direction of its longest axis in Blender's frame


_QUARTER = math.sqrt(0.5)
SPLATS = (
    Splat((-0.25, 0, -0.25), (0.2, 0.05, 0.05), (1, 0, 0, 0), 0.9, (1, 0, 0), (1, 0, 0)),
    Splat((0.25, 1, 0.25), (0.05, 0.2, 0.05), (1, 0, 0, 0), 0.9, (0, 1, 0), (0, 0, 1)),
    Splat((0.25, 0, -0.25), (0.05, 0.05, 0.2), (2, 0, 0, 0), 0.5, (0, 0, 1), (0, 1, 0)),
    Splat((-0.25, 1, 0.25), (0.3, 0.1, 0.05), (_QUARTER, 0, 0, _QUARTER), 0.8, (0.5, 0.5, 0.5), (0, 0, 1)),
    Splat((0, 0.5, 0), (0.1, 0.1, 0.4), (_QUARTER, _QUARTER, 0, 0), 0.01, (1, 1, 1), (0, 0, 1)),
)
NAMES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3", "extra"),
)


def write_known_splats(path: str | Path, size: float = 1.0) -> None:
    header = ["ply", "format binary_little_endian 1.0", "comment known", f"element vertex {len(SPLATS)}"]
    header += [*(f"property float {name}" for name in NAMES), "end_header", ""]
    rows = b"".join(struct.pack(f"<{len(NAMES)}f", *_row(splat, size)) for splat in SPLATS)
    Path(path).write_bytes("\n".join(header).encode() + rows)


def _row(splat: Splat, size: float) -> tuple[float, ...]:
    mean = (size * value for value in splat.mean)
    color = ((value - 0.5) / SH_C0 for value in splat.color)
    logit = math.log(splat.opacity / (1 - splat.opacity))
    return (*mean, 0, 0, 0, *color, logit, *map(math.log, splat.scales), *splat.quat, 7)

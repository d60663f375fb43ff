# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians as PLY files in the layout of Kerbl et al. 2023 (INRIA), which nearly every splat tool reads and writes.

One element `vertex` with the scalar properties

    x y z                    mean
    nx ny nz                 ignored, 0 when written; may be absent
    f_dc_0 .. f_dc_2         colour of spherical harmonic degree 0: sRGB = 0.5 + SH_C0 f_dc, clipped to [0, 1]
    f_rest_0 ..              higher degrees, ignored (colour that depends on the view); never written
    opacity                  logit: opacity = sigmoid(value)
    scale_0 .. scale_2       natural logarithm of the standard deviations
    rot_0 .. rot_3           quaternion w x y z of any non-zero length
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from plyfile import PlyData, PlyElement, PlyParseError

from engine.conventions import SH_C0
from engine.errors import SplatFileError
from engine.fields.gaussians import Gaussians
from engine.paths import written_whole

MEANS = ("x", "y", "z")
NORMALS = ("nx", "ny", "nz")
COLORS = ("f_dc_0", "f_dc_1", "f_dc_2")
OPACITY = ("opacity",)
SCALES = ("scale_0", "scale_1", "scale_2")
QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
NEEDED = (*MEANS, *COLORS, *OPACITY, *SCALES, *QUATS)

MAX_COORDINATE = 1e6
"""Larger means, or standard deviations, leave float32 too few digits for a surface."""
MIN_SCALE = 1e-9
"""Thinner Gaussians are taken to be this thin: flattened ones come with scales down to exp(-1000)."""

_MAX_HEADER = 1 << 16  # bytes; INRIA's own header has about 1,500
_MAX_LOGIT = 16.0  # of written opacities: sigmoid(16) = 1 - 1e-7
_TYPE_BYTES = {
    "char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8,
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4, "float64": 8,
}  # fmt: skip
_EXPORT_HINT = "Export the Gaussians as an uncompressed PLY file (INRIA layout)."


def read_splats(path: str | Path) -> Gaussians:
    """The Gaussians in a PLY file, activated: ascii or binary of either byte order, any number of SH bands.

    Frame and unit are the file's own. Raises `SplatFileError` with one sentence on what was found: not a PLY file,
    truncated, no element `vertex`, properties missing, 0 Gaussians, values that are NaN, infinite or out of range.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            _check_header(path.name, stream)
        vertex = PlyData.read(str(path))["vertex"]
        columns = {name: np.asarray(vertex[name], np.float64) for name in NEEDED}
    except OSError as error:
        raise SplatFileError(
            f"Could not read {path}: {error.strerror or error}.", "Check the path and your permission to read it."
        ) from error
    except (PlyParseError, ValueError, TypeError, MemoryError) as error:
        raise SplatFileError(
            f"{path.name} is damaged: {error}.", "Export it again from the tool that made it."
        ) from error
    return _activated(path.name, columns)


def write_splats(path: str | Path, gaussians: Gaussians) -> None:
    """Writes binary little endian without SH bands; the file appears whole or not at all.

    Opacities of 0 and 1 are kept to 1e-7. Raises `OutputError` where the file cannot be written.
    """
    opacities = gaussians.opacities.astype(np.float64)
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(opacities) - np.log1p(-opacities), -_MAX_LOGIT, _MAX_LOGIT)
    groups = (
        (MEANS, gaussians.means),
        (NORMALS, np.zeros_like(gaussians.means)),
        (COLORS, (gaussians.colors - 0.5) / SH_C0),
        (OPACITY, logits[:, None]),
        (SCALES, np.log(gaussians.scales)),
        (QUATS, gaussians.quats),
    )
    table = np.empty(len(gaussians), [(name, "<f4") for names, _ in groups for name in names])
    for names, values in groups:
        for name, column in zip(names, values.T, strict=True):
            table[name] = column
    with written_whole(path) as part:
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(part))


@dataclass
class _Element:
    name: str
    count: int
    properties: list[str]
    bytes_per_row: int = 0  # at least: a list counts as its length only
    values_per_row: int = 0


def _check_header(name: str, stream: BinaryIO) -> None:
    """Refuses, before anything is allocated, a header that names no splats or more data than the file holds."""
    elements, text, header_bytes = _parse_header(name, stream)
    vertex = next((element for element in elements if element.name == "vertex"), None)
    if vertex is None:
        found = ", ".join(element.name for element in elements) or "none"
        raise SplatFileError(f"{name} has no element 'vertex' (found: {found}).", _EXPORT_HINT)
    if missing := [wanted for wanted in NEEDED if wanted not in vertex.properties]:
        what = _what_instead(vertex, elements)
        raise SplatFileError(f"{name} lacks the properties {' '.join(missing)}{what}.", _EXPORT_HINT)
    if vertex.count == 0:
        raise SplatFileError(f"{name} holds 0 Gaussians, expected at least one.", _EXPORT_HINT)
    body_bytes = stream.seek(0, 2) - header_bytes
    # ascii: a digit and a separator per value, only the last separator may be absent
    needed = sum(e.count * (2 * e.values_per_row if text else e.bytes_per_row) for e in elements) - bool(text)
    if body_bytes < needed:
        raise SplatFileError(
            f"{name} is truncated: {vertex.count:,} Gaussians need at least {needed:,} bytes, found {body_bytes:,}.",
            "Download or export it again.",
        )


def _parse_header(name: str, stream: BinaryIO) -> tuple[list[_Element], bool, int]:
    """Elements, whether the body is text, and the header's length in bytes."""
    if stream.read(3) != b"ply":
        raise SplatFileError(f"{name} is not a PLY file: it does not begin with 'ply'.", _EXPORT_HINT)
    stream.seek(0)
    elements: list[_Element] = []
    text: bool | None = None
    while (line := stream.readline(_MAX_HEADER)) and stream.tell() <= _MAX_HEADER:
        match line.decode("ascii", "replace").split():
            case ["end_header"] if text is not None:
                return elements, text, stream.tell()
            case ["format", kind, _]:
                text = kind == "ascii"
            case ["element", element, count] if count.isdecimal():
                elements.append(_Element(element, int(count), []))
            case ["property", "list", kind, item, prop] if elements and {kind, item} <= _TYPE_BYTES.keys():
                elements[-1].properties.append(prop)
                elements[-1].bytes_per_row += _TYPE_BYTES[kind]
                elements[-1].values_per_row += 1
            case ["property", kind, prop] if elements and kind in _TYPE_BYTES:
                elements[-1].properties.append(prop)
                elements[-1].bytes_per_row += _TYPE_BYTES[kind]
                elements[-1].values_per_row += 1
            case ["ply"] | ["comment", *_] | ["obj_info", *_] | []:
                pass
            case words:
                raise SplatFileError(f"{name} has a damaged header: found {' '.join(words)[:60]!r}.", _EXPORT_HINT)
    raise SplatFileError(f"{name} is truncated: its header has no end.", "Download or export it again.")


def _what_instead(vertex: _Element, elements: list[_Element]) -> str:
    """A guess, for the message, at what a PLY file without splat properties is."""
    if "packed_position" in vertex.properties:
        return ": it is a compressed splat file"
    if not set(COLORS) & set(vertex.properties):
        return ": it looks like a mesh" if any(e.name == "face" for e in elements) else ": it looks like a point cloud"
    if "scale_2" not in vertex.properties and "scale_1" in vertex.properties:
        return ": it holds flat (2D) Gaussians"
    return ""


def _activated(name: str, columns: dict[str, np.ndarray]) -> Gaussians:
    """Checked values through their activations."""
    for prop, values in columns.items():
        if bad := int(np.count_nonzero(~np.isfinite(values))):
            raise SplatFileError(
                f"{name} has NaN or infinity in {prop} of {bad:,} of {len(values):,} Gaussians.",
                "Remove these Gaussians in a splat editor.",
            )
    means, log_scales, quats = (_table(columns, names) for names in (MEANS, SCALES, QUATS))
    if (farthest := np.abs(means).max()) > MAX_COORDINATE:
        raise SplatFileError(
            f"{name} has a Gaussian at coordinate {farthest:.3g}, expected at most {MAX_COORDINATE:g}.",
            "Move the object to the origin or remove stray Gaussians in a splat editor.",
        )
    if (largest := log_scales.max()) > np.log(MAX_COORDINATE):
        raise SplatFileError(
            f"{name} has a scale of exp({largest:.3g}), expected at most {MAX_COORDINATE:g}.",
            "Scales must be stored as natural logarithms; remove oversized Gaussians in a splat editor.",
        )
    norms = np.linalg.norm(quats, axis=1, keepdims=True)
    if empty := int(np.count_nonzero(norms < 1e-8)):
        raise SplatFileError(
            f"{name} has {empty:,} rotations that are quaternions of length 0.",
            "Remove these Gaussians in a splat editor.",
        )
    logits = np.clip(columns["opacity"], -80, 80)
    return Gaussians(
        means=means,
        quats=quats / norms,
        scales=np.exp(np.maximum(log_scales, np.log(MIN_SCALE))),
        opacities=1 / (1 + np.exp(-logits)),
        colors=np.clip(0.5 + SH_C0 * _table(columns, COLORS), 0, 1),
    )


def _table(columns: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    return np.stack([columns[name] for name in names], -1)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians as PLY files in the layout of Kerbl et al. 2023 (INRIA), which nearly every splat tool reads and writes.

One element `vertex` with the scalar properties

    x y z                    mean
    nx ny nz                 ignored, 0 when written; may be absent (LGM's files have none)
    f_dc_0 .. f_dc_2         colour of spherical harmonic degree 0: sRGB = 0.5 + SH_C0 f_dc, clipped to [0, 1]
    f_rest_0 ..              degrees 1 to 3, all coefficients of red, then of green, then of blue; may be absent
    opacity                  logit: opacity = sigmoid(value); infinite for 0 and 1
    scale_0 .. scale_2       natural logarithm of the standard deviations; flat (2D) Gaussians lack the last
    rot_0 .. rot_3           quaternion w x y z of any non-zero length

LGM (Tang et al. 2024, `save_ply`) also writes these after activation: opacities in [0, 1], standard deviations, sRGB.
Compressed files are read by `compressed_ply`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from plyfile import PlyData, PlyElement

from engine.conventions import SH_C0
from engine.errors import InputError, SplatFileError
from engine.fields.assembly import CHUNK, EXPORT_AGAIN, Assembly, Note, dc_color, exponential, shortened, sigmoid
from engine.fields.compressed_ply import WORDS, read_compressed
from engine.fields.gaussians import Gaussians
from engine.paths import written_whole

Array = np.ndarray

MEANS = ("x", "y", "z")
NORMALS = ("nx", "ny", "nz")
COLORS = ("f_dc_0", "f_dc_1", "f_dc_2")
OPACITY = ("opacity",)
SCALES = ("scale_0", "scale_1", "scale_2")
QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
NEEDED = (*MEANS, *COLORS, *OPACITY, *SCALES, *QUATS)

_MAX_HEADER = 1 << 16  # bytes; INRIA's own header has about 1,500
_MAX_LOGIT = 16.0  # of written opacities: sigmoid(16) = 1 - 1e-7
_FLATNESS = 0.01  # thickness of a flat Gaussian as a part of its smaller size
_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_EXPORT_HINT = "Export the Gaussians as an uncompressed PLY file (INRIA layout)."


def read_ply(path: Path, note: Note | None = None) -> Gaussians:
    """The Gaussians in a PLY file, activated: ascii or binary of either byte order, any number of SH bands, or packed.

    Frame and unit are the file's own. Raises `SplatFileError` with one sentence on what was found: not a PLY file,
    truncated, no element `vertex`, properties missing, 0 Gaussians, mostly values that are NaN or out of range.
    """
    with path.open("rb") as stream:
        header = Header.read(path.name, stream)
        header.check(path.name, path.stat().st_size)
        vertex = header.element("vertex")
        if vertex is None:
            found = shortened(", ".join(element.name for element in header.elements)) or "none"
            raise SplatFileError(f"{path.name} has no element 'vertex' (found: {found}).", _EXPORT_HINT)
        if WORDS[0] in vertex.names:
            return read_compressed(path.name, stream, header, note)
        return _read_inria(path.name, stream, header, vertex, note)


def _read_inria(name: str, stream: BinaryIO, header: "Header", vertex: "Element", note: Note | None) -> Gaussians:
    missing = [wanted for wanted in NEEDED if wanted not in vertex.names and wanted != "scale_2"]
    if missing:
        raise SplatFileError(
            f"{name} lacks the properties {' '.join(missing)}{_what_instead(vertex, header)}.", _EXPORT_HINT
        )
    rests = header.counted(vertex, "f_rest_")
    gaussians = Assembly(name, vertex.count, rests // 3)
    flat, activated = "scale_2" not in vertex.names, None
    columns = {wanted: vertex.names.index(wanted) for wanted in NEEDED if wanted in vertex.names}
    for start in range(0, vertex.count, CHUNK):
        rows = header.table(name, stream, vertex, start, min(CHUNK, vertex.count - start))
        means, colors, logits, scales, quats = (
            rows[:, [columns[prop] for prop in names if prop in columns]]
            for names in (MEANS, COLORS, OPACITY, SCALES, QUATS)
        )
        if flat:
            thin = scales.min(1, keepdims=True) + np.log(_FLATNESS)
            scales = np.concatenate([scales, thin.astype(np.float32)], 1)
        if activated is None:
            activated = _is_activated(colors, logits, scales, quats)
        gaussians.add(
            means,
            quats,
            scales if activated else exponential(scales),
            logits[:, 0] if activated else sigmoid(logits[:, 0]),
            colors if activated else dc_color(colors),
            _harmonics(rows, vertex, rests, gaussians.sh_kept),
        )
    return gaussians.finish(note)


def _is_activated(colors: Array, opacities: Array, scales: Array, quats: Array) -> bool:
    """Whether values are those LGM writes without `compatible`: what logits and logarithms of an object never are.

    As logits, opacities in [0, 1] would all lie between 0.5 and 0.74; as logarithms, scales above 0 would be sizes
    above 1.
    """
    if len(scales) < 2 or not (scales.min() > 0 and opacities.min() >= 0 and opacities.max() <= 1):
        return False
    unit = np.abs((quats * quats).sum(1) - 1).max() < 1e-2
    return bool(unit and colors.min() >= 0 and colors.max() <= 1 and scales.max() < 100)


def _harmonics(rows: Array, vertex: "Element", rests: int, wanted: int) -> Array | None:
    """[n, wanted, 3] of columns that hold all coefficients of one colour channel after the other."""
    if not wanted:
        return None
    first = [vertex.names.index(f"f_rest_{channel * (rests // 3)}") for channel in range(3)]
    result = np.empty((len(rows), wanted, 3), np.float32)
    for channel, column in enumerate(first):
        indices = [vertex.names.index(f"f_rest_{channel * (rests // 3) + i}") for i in range(wanted)]
        in_order = indices == list(range(column, column + wanted))
        result[..., channel] = rows[:, column : column + wanted] if in_order else rows[:, indices]
    return result


def write_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Writes binary little endian, with as many SH bands as there are; the file appears whole or not at all.

    Opacities of 0 and 1 are kept to 1e-7. Raises `OutputError` where the file cannot be written.
    """
    if not len(gaussians):
        raise InputError("Found 0 Gaussians to write, expected at least one.")
    opacities = gaussians.opacities.astype(np.float64)
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(opacities) - np.log1p(-opacities), -_MAX_LOGIT, _MAX_LOGIT)
    sh = np.empty((len(gaussians), 0, 3)) if gaussians.sh is None else gaussians.sh
    rests = sh.transpose(0, 2, 1).reshape(len(gaussians), -1)
    groups = (
        (MEANS, gaussians.means),
        (NORMALS, np.zeros_like(gaussians.means)),
        (COLORS, (gaussians.colors - 0.5) / SH_C0),
        (tuple(f"f_rest_{i}" for i in range(rests.shape[1])), rests),
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
class Element:
    """One element of a PLY header: its rows and the names and numpy types of their properties."""

    name: str
    count: int
    names: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    lists: int = 0  # properties that are lists
    list_bytes: int = 0  # at least, per row: a list counts as its length only
    offset: int = 0  # of its first row in the file, in bytes; -1 where lists before make it unknown

    def dtype(self, order: str) -> np.dtype:
        return np.dtype([(name, order + kind) for name, kind in zip(self.names, self.types, strict=True)])


@dataclass
class Header:
    """What a PLY file says it holds."""

    elements: list[Element]
    text: bool
    order: str  # numpy's sign for the byte order
    size: int  # bytes of the header

    def element(self, name: str) -> Element | None:
        return next((element for element in self.elements if element.name == name), None)

    @staticmethod
    def counted(element: Element, stem: str) -> int:
        """How many of an element's properties are called stem0, stem1 and so on."""
        number = 0
        while f"{stem}{number}" in element.names:
            number += 1
        return number

    @staticmethod
    def read(name: str, stream: BinaryIO) -> "Header":
        """Raises `SplatFileError` where the text is not that of a PLY header."""
        if stream.read(3) != b"ply":
            raise SplatFileError(f"{name} is not a PLY file: it does not begin with 'ply'.", _EXPORT_HINT)
        stream.seek(0)
        elements: list[Element] = []
        kinds = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
        kind = ""
        while (line := stream.readline(_MAX_HEADER)) and stream.tell() <= _MAX_HEADER:
            match line.decode("ascii", "replace").split():
                case ["end_header"] if kind:
                    return Header(elements, kind == "ascii", kinds[kind], stream.tell())
                case ["format", found, _] if found in kinds:
                    kind = found
                case ["element", element, count] if count.isdecimal() and len(count) < 20:
                    elements.append(Element(element, int(count)))
                case ["property", "list", length, item, _] if elements and {length, item} <= _TYPES.keys():
                    elements[-1].lists += 1
                    elements[-1].list_bytes += np.dtype(_TYPES[length]).itemsize
                case ["property", found, prop] if elements and found in _TYPES and prop not in elements[-1].names:
                    elements[-1].names.append(prop)
                    elements[-1].types.append(_TYPES[found])
                case ["ply"] | ["comment", *_] | ["obj_info", *_] | []:
                    pass
                case words:
                    raise SplatFileError(
                        f"{name} has a damaged header: found {shortened(' '.join(words))[:60]!r}.", _EXPORT_HINT
                    )
        raise SplatFileError(f"{name} is truncated: its header has no end.", EXPORT_AGAIN)

    def check(self, name: str, file_size: int) -> None:
        """Places the elements; refuses, before anything is allocated, more data than the file holds."""
        end, known = self.size, True
        for element in self.elements:
            element.offset = end if known else -1
            if self.text:  # a digit and a separator per value
                end += element.count * 2 * (len(element.names) + element.lists)
            else:
                end += element.count * (element.dtype("<").itemsize + element.list_bytes)
                known = known and not element.lists
        if self.text:
            end -= 1  # only the last separator may be absent
        vertex = self.element("vertex")
        if end > file_size:
            count = vertex.count if vertex else 0
            raise SplatFileError(
                f"{name} is truncated: {count:,} Gaussians need at least {end - self.size:,} bytes, "
                f"found {file_size - self.size:,}.",
                EXPORT_AGAIN,
            )
        for element in self.elements:
            if element.name in ("vertex", "chunk", "sh") and element.count and (element.lists or element.offset < 0):
                raise SplatFileError(
                    f"{name} is damaged: lists stand in or before its element {element.name!r}.", _EXPORT_HINT
                )

    def rows(self, stream: BinaryIO, element: Element, start: int, count: int) -> Array:
        """Rows of a binary element as a structured array."""
        kind = element.dtype(self.order)
        stream.seek(element.offset + start * kind.itemsize)
        return np.fromfile(stream, kind, count)

    def table(self, name: str, stream: BinaryIO, element: Element, start: int, count: int) -> Array:
        """Rows [count, properties] float32. Those of a text file come one after the other, `start` is not looked at."""
        if not self.text:
            rows = self.rows(stream, element, start, count)
            return structured_to_unstructured(rows, np.float32, casting="unsafe")
        if start == 0:
            stream.seek(self.size)
            for before in self.elements[: self.elements.index(element)]:
                for _ in range(before.count):
                    stream.readline()
        try:
            rows = np.loadtxt(stream, np.float64, comments=None, max_rows=count, ndmin=2, encoding="latin1")
        except (ValueError, UnicodeError) as error:
            raise SplatFileError(f"{name} is damaged: {shortened(error)}.", EXPORT_AGAIN) from error
        if rows.shape != (count, len(element.names)):
            raise SplatFileError(
                f"{name} is damaged or truncated: expected {count:,} rows of {len(element.names)} numbers, "
                f"found {rows.shape[0]:,} of {rows.shape[1]}.",
                EXPORT_AGAIN,
            )
        return rows.astype(np.float32)


def _what_instead(vertex: Element, header: Header) -> str:
    """A guess, for the message, at what a PLY file without splat properties is."""
    if not set(COLORS) & set(vertex.names):
        return ": it looks like a mesh" if header.element("face") else ": it looks like a point cloud"
    return ""

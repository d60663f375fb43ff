# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes packs: an index file beside shards of compressed arrays, as `engine.training.data.packs` reads them."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from engine.errors import InputError, OutputError
from engine.paths import check_writable, written_whole
from engine.surface.cleanup import is_watertight, weld
from engine.surface.mesh import Mesh, validate_mesh

Array = np.ndarray

PER_SHARD = 400
"""Most objects of one shard."""

MOST = 65535
"""Most vertices of one object: faces are stored in 16 bits."""

QUALITY = 85
"""Of textures stored as lossy WebP."""

COLUMNS = (
    "shard", "row", "name", "source", "category", "style", "licence", "attribution", "weight", "n_faces", "n_vertices",
    "watertight", "up_fix", "texture_format", "texture_size", "source_faces", "decimated",
)  # fmt: skip


@dataclass(frozen=True)
class PackObject:
    """One object of a pack. The mesh has uvs and a square texture; it may lie anywhere and have any size, y up."""

    name: str
    mesh: Mesh
    style: str = "scan"
    weight: float = 1.0  # how often it is drawn, relative to others of the pack
    source: str = ""
    category: str = ""
    licence: str = ""
    attribution: str = ""
    up_fix: str = ""  # the rotation that brought it to y up
    source_faces: int = 0  # before simplification; 0 where there was none


@dataclass
class PackReport:
    """What became of the objects: how many were written, and why others were not."""

    written: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)  # name, reason


@dataclass
class _Shard:
    """Arrays of objects that wait to be written."""

    vertices: list[Array] = field(default_factory=list)
    uvs: list[Array] = field(default_factory=list)
    faces: list[Array] = field(default_factory=list)
    texture_bytes: list[Array] = field(default_factory=list)

    def write(self, path: Path) -> None:
        def offsets(arrays: list[Array]) -> Array:
            return np.cumsum([0, *map(len, arrays)], dtype=np.int64)

        names = ("vertices", "uvs", "faces", "texture_bytes")
        joined = {name: np.concatenate(getattr(self, name)) for name in names}
        starts = {
            "vertex_offsets": offsets(self.vertices),
            "face_offsets": offsets(self.faces),
            "texture_offsets": offsets(self.texture_bytes),
        }
        with written_whole(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **joined, **starts)


def index_path(path: str | Path) -> Path:
    """The index file of a pack named by it or by NAME.npz: NAME.csv, whose shards are NAME_000.npz and so on."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".npz"):
        raise InputError(f"A pack is named by its index file, found {path}.", "Give a name that ends in .csv or .npz.")
    return path.with_suffix(".csv")


def shard_path(index: Path, number: int) -> Path:
    """The file of an index's shard."""
    return index.with_name(f"{index.stem}_{number:03d}.npz")


def write_pack(index: str | Path, objects: Iterable[PackObject], overwrite: bool = False) -> PackReport:
    """Writes the index file and its shards, up to `PER_SHARD` objects each. Same objects, same bytes.

    All files appear at the end, or none: what is interrupted leaves nothing, and a pack that was there as it was.

    Each object is centred and scaled to a longest side of 1. What cannot be stored is skipped, with its reason in the
    report. Raises `OutputError` where a file exists already and `overwrite` is false, or cannot be written;
    `InputError` where not one object could be stored.
    """
    index = index_path(index)
    existing = [path for path in (index, *index.parent.glob(f"{index.stem}_[0-9][0-9][0-9].npz")) if path.exists()]
    if existing and not overwrite:
        raise OutputError(f"{existing[0]} exists already.", "Give another name, or add --overwrite.")
    check_writable(index)
    report, rows, shard = PackReport(), [], _Shard()
    waiting: list[Path] = []  # shards, under other names until all are whole: what was there stays until then
    try:
        for thing in objects:
            try:
                row = _add(thing, shard)
            except InputError as error:
                report.skipped.append((thing.name, str(error)))
                continue
            rows.append({"shard": shard_path(index, len(waiting)).name, "row": len(shard.vertices) - 1, **row})
            report.written += 1
            if len(shard.vertices) == PER_SHARD:
                _set_aside(shard, index, waiting)
                shard = _Shard()
        if not rows:
            first = f" The first: {report.skipped[0][1]}" if report.skipped else ""
            raise InputError(f"Not one of {len(report.skipped)} objects could be packed.{first}", "Give other files.")
        if shard.vertices:
            _set_aside(shard, index, waiting)
        with written_whole(index) as part:
            with part.open("w", newline="", encoding="utf-8") as lines:
                writer = csv.DictWriter(lines, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
            for old in existing:  # also shards of a longer pack that was here before
                old.unlink()
            for number, path in enumerate(waiting):
                path.replace(shard_path(index, number))
    finally:
        for path in waiting:
            path.unlink(missing_ok=True)
    return report


def _set_aside(shard: _Shard, index: Path, waiting: list[Path]) -> None:
    """Writes a shard beside its place, until the pack is complete."""
    path = shard_path(index, len(waiting))
    waiting.append(path.with_name(path.name + ".new"))
    shard.write(waiting[-1])


def normalised(mesh: Mesh) -> Mesh:
    """The mesh with the centre of its bounding box at the origin and a longest side of 1. Raises `InputError`."""
    mesh = validate_mesh(mesh)
    used = mesh.vertices[np.unique(mesh.faces)].astype(np.float64)
    low, high = used.min(0), used.max(0)
    side = float((high - low).max())
    if not side > 1e-12:
        raise InputError("All its vertices lie in one point.")
    return replace(mesh, vertices=((mesh.vertices - (low + high) / 2) / side).astype(np.float32))


def _add(thing: PackObject, shard: _Shard) -> dict[str, object]:
    """Adds an object to the shard and returns its columns of the index. Raises `InputError`."""
    mesh = normalised(thing.mesh)
    if mesh.uvs is None or mesh.texture is None:
        raise InputError("It has no texture coordinates or no texture.")
    if mesh.texture.ndim != 3 or mesh.texture.shape[2] != 3 or mesh.texture.dtype != np.uint8:
        raise InputError(f"It needs a texture [T, T, 3] of bytes, found {mesh.texture.dtype} {mesh.texture.shape}.")
    if not np.isfinite(mesh.uvs).all():
        raise InputError("Its texture coordinates hold NaN or infinity.")
    if len(mesh.vertices) > MOST:
        raise InputError(f"It has {len(mesh.vertices):,} vertices, more than {MOST:,}.")
    vertices = mesh.vertices.astype(np.float16)
    encoded, form = _encoded(mesh.texture)
    shard.vertices.append(vertices)
    shard.uvs.append(np.rint(mesh.uvs.clip(0, 1) * 65535).astype(np.uint16))
    shard.faces.append(mesh.faces.astype(np.uint16))
    shard.texture_bytes.append(np.frombuffer(encoded, np.uint8))
    source_faces = thing.source_faces or len(mesh.faces)
    return {
        "name": thing.name, "source": thing.source, "category": thing.category, "style": thing.style,
        "licence": thing.licence, "attribution": thing.attribution, "weight": f"{thing.weight:g}",
        "n_faces": len(mesh.faces), "n_vertices": len(mesh.vertices),
        "watertight": int(is_watertight(weld(Mesh(vertices.astype(np.float32), mesh.faces)))),
        "up_fix": thing.up_fix, "texture_format": form, "texture_size": len(mesh.texture),
        "source_faces": source_faces, "decimated": int(source_faces > len(mesh.faces)),
    }  # fmt: skip


def _encoded(texture: Array) -> tuple[bytes, str]:
    """The texture as bytes and the name of their format: lossless where that is small, else lossy WebP."""
    image, lossy, png = Image.fromarray(texture), io.BytesIO(), io.BytesIO()
    image.save(lossy, "WEBP", quality=QUALITY, method=2)
    image.save(png, "PNG", compress_level=6)
    if len(png.getvalue()) <= 1.5 * len(lossy.getvalue()):
        return png.getvalue(), "png"
    return lossy.getvalue(), f"webp-lossy-q{QUALITY}"

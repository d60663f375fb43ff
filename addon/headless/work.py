# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""What Blender does for one mesh of a batch: the files wanted from those of the engine. Here, or in a worker."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .. import scene
from ..files.file_errors import GlbError
from ..files.png import png_bytes
from ..results import assets, formats
from .workers import WorkError


@dataclass(frozen=True)
class Order:
    """What is to be made of the engine's files; all of it can be written as JSON."""

    name: str  # of the object and of its files, without folder and suffix
    formats: list[str]  # each once; the first one tells that all are there, so its mesh comes last
    files: dict[str, str]  # "mesh", "lod1" ...: GLBs; "splats" where they were asked for
    folder: str  # where the files of the format go
    record: dict[str, Any] = field(default_factory=dict)
    thumbnail: str = ""  # name of the picture of the mesh, where one is wanted


def carry_out(order: Order) -> list[str]:
    """Writes the files of an order and returns the names of those in its folder, the mesh last.

    Raises `WorkError`.
    """
    try:
        others = [_write_thumbnail(order)] if order.thumbnail else []
        if "splats" in order.files:
            others.append(f"{order.name}.ply")
            os.replace(order.files["splats"], Path(order.folder, others[-1]))
        written = {kind: _write(order, kind) for kind in sorted(order.formats, key=lambda kind: kind == "glb")}
    except (GlbError, formats.FormatError) as error:
        raise WorkError(str(error)) from error
    except OSError as error:
        raise WorkError(f"Could not write {order.name}: {error.strerror or error}.") from error
    made = [name for kind in reversed(order.formats) for name in written[kind]]
    return list(dict.fromkeys([*others, *made]))  # formats may share textures


def empty_file() -> None:
    """A new file without objects; preferences and add-ons stay as they are."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


def _write(order: Order, kind: str) -> list[str]:
    """Writes all files of a format; their names, the mesh last. GLBs are moved, so they are the last to be written."""
    # A .blend holds all levels of detail, in other formats each is a file of its own.
    levels = ["mesh", *(() if kind == "blend" else scene.level_keys(order.files))]
    return [name for level in reversed(levels) for name in _write_level(order, kind, level)]


def _write_level(order: Order, kind: str, level: str) -> list[str]:
    """Writes one level of detail; names of the files, the mesh last."""
    stem = order.name if level == "mesh" else f"{order.name}_LOD{level.removeprefix('lod')}"
    target = Path(order.folder, f"{stem}.{kind}")
    if kind == "glb":
        os.replace(order.files[level], target)
        return [target.name]
    empty_file()
    files = order.files if kind == "blend" else {"mesh": order.files[level]}
    ob, *_ = scene.import_meshes(files, name=stem, record=order.record, location=_location(order))
    first, *others = formats.write_object(ob, target, kind, overwrite=True)
    return [*(file.name for file in others), first.name]


def _write_thumbnail(order: Order) -> str:
    """Writes a picture of the mesh; its name."""
    empty_file()
    ob, *_ = scene.import_meshes({"mesh": order.files["mesh"]}, name=order.name, record=order.record)
    picture = assets.preview_of(ob)
    if picture is None:
        raise WorkError(f"{order.name} has no faces to make a picture of.")
    pixels = np.round(np.clip(picture[::-1], 0, 1) * 255).astype(np.uint8)
    Path(order.folder, order.thumbnail).write_bytes(png_bytes(pixels))
    return order.thumbnail


def _location(order: Order) -> tuple[float, float, float] | None:
    return None if order.record.get("options", {}).get("keep_frame") else (0.0, 0.0, 0.0)

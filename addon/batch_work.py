# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""What Blender does for one mesh of a batch: the files wanted from those of the engine. Here, or in a worker."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import assets, formats, scene
from .glb import GlbError
from .png import png_bytes
from .workers import WorkError


@dataclass(frozen=True)
class Order:
    """What is to be made of the engine's files; all of it can be written as JSON."""

    name: str  # of the object and of its files, without folder and suffix
    format: str
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
        made = [name for level in reversed(_levels(order)) for name in _write_level(order, level)]
    except (GlbError, formats.FormatError) as error:
        raise WorkError(str(error)) from error
    except OSError as error:
        raise WorkError(f"Could not write {order.name}: {error.strerror or error}.") from error
    return [*others, *made]


def empty_file() -> None:
    """A new file without objects; preferences and add-ons stay as they are."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


def _levels(order: Order) -> list[str]:
    """The engine's files of which each becomes a file of its own: a .blend holds all levels of detail."""
    return ["mesh", *(() if order.format == "blend" else scene.level_keys(order.files))]


def _write_level(order: Order, key: str) -> list[str]:
    """Writes one level of detail; names of the files, the mesh last."""
    stem = order.name if key == "mesh" else f"{order.name}_LOD{key.removeprefix('lod')}"
    target = Path(order.folder, f"{stem}.{order.format}")
    if order.format == "glb":
        os.replace(order.files[key], target)
        return [target.name]
    empty_file()
    files = order.files if order.format == "blend" else {"mesh": order.files[key]}
    ob, *_ = scene.import_meshes(files, name=stem, record=order.record, location=_location(order))
    first, *others = formats.write_object(ob, target, order.format)
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

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""One .blend with all meshes of a batch as assets, each in the catalog of the folder its picture lies in."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import bpy

from .. import scene
from ..results import assets, formats
from ..results.catalogs import clean_catalog, ensure_catalog
from ..results.record import read_record
from ..results.result_options import ResultChoice
from .work import empty_file

ASSET = "asset"
"""In an object's record: the name of its mesh in the batch, and a token that changes when it is made anew."""
COLUMNS = 10
SPACING = 1.4
"""Distance between assets, in sizes of the largest."""

Put = Callable[[Path, Callable[[Path], Any]], None]
"""Lets a function write a file, which then appears whole at a path."""


class LibraryError(Exception):
    """A library that could not be read or written; its text is one sentence."""


@dataclass(frozen=True)
class Member:
    """A finished mesh: its GLBs "mesh", "lod1" ..., and how it was made."""

    name: str  # with folders: "animals/cat"
    files: Mapping[str, Path]
    record: Mapping[str, Any]
    token: str = ""

    @property
    def keeps_place(self) -> bool:
        """Whether the object stays where it is in its file."""
        return bool(self.record.get("options", {}).get("keep_frame"))


def write_library(path: Path, members: Sequence[Member], words: ResultChoice, put: Put) -> tuple[int, int, int]:
    """Adds the meshes a library lacks, replaces those that were made anew, and leaves everything else in it as it is.

    Returns how many were added or replaced, how many of ours it has now, and how many could not be added for want of
    their files. Where there is none to add, nothing is written. A library that was there is kept beside it as .blend1.
    Raises `LibraryError` and `glb.GlbError`.
    """
    _open(path)
    ours = _ours()
    wanted = [member for member in members if member.name not in ours or ours[member.name][1] != member.token]
    new = [member for member in wanted if "mesh" in member.files]
    if not new:
        return 0, len(ours), len(wanted)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        names = sorted({_catalog(member, words) for member in new} - {""})
        catalogs = {"": "", **{name: ensure_catalog(path.parent, name) for name in names}}
        start = max((_end(ob) for ob, _ in ours.values()), default=None)
        added: list[bpy.types.Object] = []
        for member in new:
            old, _ = ours.pop(member.name, (None, ""))
            place = tuple(old.location) if old is not None else None
            if old is not None:
                _remove(old)
            ob = _add(member, place)
            assets.mark(ob, words, catalogs[_catalog(member, words)])
            if place is None and not member.keeps_place:
                added.append(ob)
        _lay_out(added, start)
        formats.show_textures()
        if path.exists():
            put(path.with_name(path.name + "1"), lambda part: shutil.copyfile(path, part))
        put(path, _save)
    except (OSError, RuntimeError) as error:
        raise LibraryError(f"Could not write {path}: {_reason(error)}") from error
    return len(new), len(ours) + len(new), len(wanted) - len(new)


def _open(path: Path) -> None:
    """Opens a library, or an empty file where there is none yet."""
    if not path.exists():
        empty_file()
        return
    try:
        bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False, use_scripts=False)
    except RuntimeError as error:
        raise LibraryError(f"Could not read {path}: {_reason(error)}") from error
    if bpy.data.version[:2] > bpy.app.version[:2]:
        made = ".".join(map(str, bpy.data.version[:2]))
        raise LibraryError(
            f"{path} was saved by Blender {made}, which this Blender {bpy.app.version_string} would damage. "
            "Use that one, or another name."
        )


def _ours() -> dict[str, tuple[bpy.types.Object, str]]:
    """The assets that batches made, by name, with their tokens."""
    found: dict[str, tuple[bpy.types.Object, str]] = {}
    for ob in bpy.data.objects:
        known = (read_record(ob) or {}).get(ASSET) if ob.asset_data is not None and ob.library is None else None
        if isinstance(known, list) and len(known) == 2 and all(isinstance(word, str) for word in known):
            found[known[0]] = ob, known[1]
    return found


def _add(member: Member, place: tuple[float, ...] | None) -> bpy.types.Object:
    record = {**member.record, ASSET: [member.name, member.token]}
    location = None if member.keeps_place else place or (0.0, 0.0, 0.0)
    name = PurePosixPath(member.name).name
    (ob,) = scene.import_meshes({"mesh": member.files["mesh"]}, name=name, record=record, location=location)
    return ob


def _remove(ob: bpy.types.Object) -> None:
    """Removes an object of ours with all that only it uses."""
    mesh = ob.data
    materials = [slot.material for slot in ob.material_slots if slot.material is not None]
    bpy.data.objects.remove(ob)
    used = [mesh, *materials]
    used += [n.image for m in materials if m.node_tree for n in m.node_tree.nodes if n.type == "TEX_IMAGE" and n.image]
    for block in used:
        if not block.users - block.use_fake_user:
            bpy.data.batch_remove([block])


def _lay_out(objects: list[bpy.types.Object], start: float | None) -> None:
    """Sets objects in rows, behind what is there up to `start` along y."""
    if not objects:
        return
    step = SPACING * max(max(ob.dimensions) for ob in objects)
    first = 0.0 if start is None else start + step
    for number, ob in enumerate(objects):
        ob.location = (number % COLUMNS * step, first + number // COLUMNS * step, 0.0)


def _end(ob: bpy.types.Object) -> float:
    return ob.location.y + max(ob.dimensions) / 2


def _catalog(member: Member, words: ResultChoice) -> str:
    """The catalog of a mesh: below the one chosen, the folders its picture lies in."""
    below = PurePosixPath(member.name).parent.parts
    return clean_catalog("/".join([words.asset_catalog, *below]))


def _save(path: Path) -> None:
    # Paths relative to the file stay as they are: it is moved to where they lead from.
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True, relative_remap=False)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).removeprefix("Error: ").strip()

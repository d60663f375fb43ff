# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""Files with all meshes of a batch: side by side in a .blend, and as assets in a library."""

import argparse
from pathlib import Path
from typing import Any

import bpy

from .. import scene
from ..files.file_errors import GlbError
from ..results import formats
from ..results.record import RECORD_VERSION
from ..results.result_options import ResultChoice
from .library import LibraryError, Member, write_library
from .output_folder import OutputFolder, stamp_of
from .plan import Task, UsageError
from .report import say
from .work import empty_file

SPACING = 1.4
"""Distance between objects side by side, in object sizes."""


def check_together(arguments: argparse.Namespace, folder: OutputFolder) -> None:
    """Raises `UsageError` where a file with all meshes would replace one that is somebody else's, or is no .blend."""
    for name, path in (("--blend", arguments.blend), ("--library", arguments.library)):
        if path is not None and path.suffix.lower() != ".blend":
            raise UsageError(f"{name} is {path}, expected a name that ends in .blend.")
    if arguments.blend is not None and arguments.blend == arguments.library:
        raise UsageError(f"--blend and --library both name {arguments.blend}; name two files.")
    path = arguments.blend
    if path is not None and path.exists() and not arguments.overwrite and not _is_ours(path, folder):
        raise UsageError(f"{path} exists already. Use --overwrite, or another name.")


def save_together(arguments: argparse.Namespace, folder: OutputFolder, tasks: list[Task]) -> list[str]:
    """Writes the files asked for with all finished meshes. Returns the codes of failures."""
    if arguments.blend is None and arguments.library is None:
        return []
    members = finished(folder, tasks, arguments.format)
    codes: list[str] = []
    for path, save in ((arguments.blend, _save_side_by_side), (arguments.library, _save_library)):
        if path is None or not members:
            continue
        try:
            told, lacking = save(arguments, folder, members, path.resolve())
            say(f"{path}: {told}")
            if lacking:
                say(f"{path} lacks {lacking} made before without GLB; --overwrite makes them anew")
        except (GlbError, LibraryError, OSError, RuntimeError) as error:
            reason = str(error).removeprefix("Error: ").strip()
            say(reason if isinstance(error, LibraryError) else f"Could not write {path}: {reason}")
            codes.append("CANNOT_WRITE")
    if not codes and arguments.blend is None:
        folder.forget_kept()  # the library holds it
    return codes


def _save_side_by_side(
    arguments: argparse.Namespace, folder: OutputFolder, members: list[Member], path: Path
) -> tuple[str, int]:
    """Writes a new file, where the one there does not hold the same. What is told of it, and how many it lacks."""
    holds = sorted([member.name, member.token] for member in members)
    if path.exists() and _is_ours(path, folder) and folder.recall("blend").get("holds") == holds:
        return "exists and holds all that was made", 0
    there = [member for member in members if "mesh" in member.files]
    _lay_out(there, SPACING * arguments.size)
    folder.put(path, _save)
    folder.remember("blend", {"path": str(path), "stamp": stamp_of(path), "holds": holds})
    return f"{len(there)} objects side by side", len(members) - len(there)


def _save_library(
    arguments: argparse.Namespace, folder: OutputFolder, members: list[Member], path: Path
) -> tuple[str, int]:
    """Writes the library or what it lacks. What is told of it, and how many it still lacks."""
    words = ResultChoice(
        asset_catalog=arguments.catalog,
        asset_author=arguments.author,
        asset_license=arguments.license,
        asset_tags=arguments.tags,
    )
    added, count, lacking = write_library(path, members, words, folder.put)
    told = f"{count} assets, {added} of them new" if added else f"exists and has {count} assets, none of them new"
    return told, lacking


def finished(folder: OutputFolder, tasks: list[Task], kinds: list[str]) -> list[Member]:
    """The finished meshes of tasks; those whose GLB is not there any more have no files."""
    members: list[Member] = []
    for task in (task for task in tasks if task.output.exists()):
        entry = folder.made.get(task.name)
        # Of a mesh that somebody else put there nobody knows how it was made.
        record: dict[str, Any] = entry.record if entry else {"version": RECORD_VERSION, task.kind: str(task.source)}
        if "glb" in kinds:
            own = {folder.folder / file for file in entry.files} if entry else set()
            levels = {f"lod{level}": task.level(level).with_suffix(".glb") for level in (1, 2, 3)}
            mesh = task.output.with_suffix(".glb")
            files = {"mesh": mesh} if mesh.exists() else {}
            files |= {key: path for key, path in levels.items() if path in own and path.exists()}
        else:
            files = folder.kept(entry) if entry else {}
        members.append(Member(task.name, files, record, entry.token if entry else ""))
    return members


def _is_ours(path: Path, folder: OutputFolder) -> bool:
    """Whether a file is as the last batch left it."""
    told = folder.recall("blend")
    return isinstance(told, dict) and (told.get("path"), told.get("stamp")) == (str(path.resolve()), stamp_of(path))


def _lay_out(members: list[Member], spacing: float) -> None:
    """A new file with all objects side by side, a camera in front of them and a light.

    Objects that keep the place they have in their files stay there.
    """
    empty_file()
    for number, member in enumerate(members):
        location = None if member.keeps_place else (number * spacing, 0.0, 0.0)
        scene.import_meshes(member.files, name=Path(member.name).name, record=member.record, location=location)
    scene.frame_all(bpy.context.scene)
    formats.show_textures()


def _save(path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True)

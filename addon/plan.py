# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch makes from the files and folders it is given, and how the meshes are called. No bpy."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import splat_files

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Task:
    """One picture or file of splats, and the file made from it."""

    source: Path
    output: Path

    @property
    def is_splats(self) -> bool:
        return splat_files.are_splats(self.source)

    @property
    def kind(self) -> str:
        return "splats" if self.is_splats else "picture"

    def level(self, number: int) -> Path:
        """The file of a level of detail; that of level 0 is `output`."""
        return self.output.with_stem(f"{self.output.stem}_LOD{number}") if number else self.output


class UsageError(Exception):
    """What was asked for cannot be done; its text is one sentence."""


def plan(sources: Iterable[str | Path], output: Path, suffix: str, lods: int = 0) -> tuple[list[Task], list[str]]:
    """One task per picture or file of splats, named by its stem, and notes on what may surprise.

    Folders stand for the pictures and splats in them, sorted by name; a .ply in a folder that is a plain mesh is left
    out. A file named twice is done once; files of one stem get `stem_2`, `stem_3`. Raises `UsageError` where there is
    none.
    """
    found: dict[Path, None] = {}
    notes: list[str] = []
    for source in map(Path, sources):
        is_folder = source.is_dir() and not splat_files.is_sog_folder(source)
        for file in _files_in(source, notes) if is_folder else [source]:
            found[file.resolve()] = None
    if not found:
        known = " ".join((*PICTURE_SUFFIXES, *splat_files.SUFFIXES))
        raise UsageError(" ".join([f"There are no pictures and no splats in what was named ({known}).", *notes]))
    tasks: list[Task] = []
    taken: set[str] = set()
    for source in found:
        name, number = source.stem, 1
        while taken & (wanted := _names(name, lods)):
            number += 1
            name = f"{source.stem}_{number}"
        taken |= wanted
        if name != source.stem:
            notes.append(f"{source} becomes {name}{suffix}: another file has the name {source.stem}.")
        tasks.append(Task(source, output / f"{name}{suffix}"))
    return tasks, notes


def _names(name: str, lods: int) -> set[str]:
    """All names of files made for one source, for Windows and macOS, which take Cat.glb and cat.glb for one file."""
    return {name.casefold(), *(f"{name}_LOD{level}".casefold() for level in range(1, lods + 1))}


def _files_in(folder: Path, notes: list[str]) -> list[Path]:
    files = []
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not (file.is_file() or splat_files.is_sog_folder(file)):
            continue
        if splat_files.are_splats(file):
            if message := splat_files.problem(file)[0]:
                notes.append(f"Left out: {message}")
                continue
            files.append(file)
        elif file.suffix.lower() in PICTURE_SUFFIXES:
            files.append(file)
    return files

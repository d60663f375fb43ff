# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch makes from the files, folders and patterns it is given, and how the meshes are called. No bpy."""

import glob
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files import splat_files

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

LONGEST_NAME = 160
"""Bytes of the name of a mesh, in UTF-8: file systems take 255, and what is added needs some of them."""
THUMBNAIL = "_thumbnail.png"
"""What a mesh's name becomes for the picture of it."""


@dataclass(frozen=True)
class Task:
    """One picture or file of splats, and the file made from it."""

    source: Path
    output: Path
    name: str = ""  # of the output from its folder on, without suffix: "cat", "animals/cat"

    @property
    def is_splats(self) -> bool:
        return splat_files.are_splats(self.source)

    @property
    def kind(self) -> str:
        return "splats" if self.is_splats else "picture"

    def level(self, number: int) -> Path:
        """The file of a level of detail; that of level 0 is `output`."""
        return self.output.with_stem(f"{self.output.stem}_LOD{number}") if number else self.output

    @property
    def thumbnail(self) -> Path:
        """The file of the picture of the mesh."""
        return self.output.with_name(self.output.stem + THUMBNAIL)


class UsageError(Exception):
    """What was asked for cannot be done; its text is one sentence."""


@dataclass(frozen=True)
class Found:
    """A source, and the folder below the one that was named in which it lies."""

    path: Path
    below: Path = Path()


def find(
    sources: Iterable[str | Path], *, recursive: bool = False, left_out: Collection[Path] = ()
) -> tuple[list[Found], list[str]]:
    """The files that sources stand for, each once, and notes on what was left out.

    A folder stands for the pictures and splats in it, sorted by name, and with `recursive` for those in its folders
    too; a pattern with * ? [ ] or ** for what matches. Hidden files, plain meshes and all in `left_out`, be it files
    or folders, are no sources unless named.
    """
    notes: list[str] = []
    found: dict[Path, Found] = {}
    for source in map(Path, sources):
        if source.is_dir() and not splat_files.is_sog_folder(source):
            several = _in_folder(source, Path(), recursive, left_out, notes, set())
        elif glob.has_magic(str(source)) and not os.path.lexists(source):
            several = _matching(source, recursive, left_out, notes)
            if not several:
                notes.append(f"Nothing matches {source}.")
        else:
            several = [Found(source)]
        for each in several:
            found.setdefault(each.path.resolve(), Found(each.path.resolve(), each.below))
    return list(found.values()), notes


def plan(
    sources: Iterable[str | Path],
    output: Path,
    suffix: str,
    lods: int = 0,
    *,
    recursive: bool = False,
    left_out: Collection[Path] = (),
    names: Mapping[Path, str] | None = None,
) -> tuple[list[Task], list[str]]:
    """One task per picture or file of splats, named by its stem, and notes on what may surprise.

    Folders and patterns stand for what `find` finds. A file named twice is done once; files of one stem get `stem_2`,
    `stem_3`; what lies in a folder below the one named gets into a folder of the same name. `names` are those that
    sources got before: they keep them. Raises `UsageError` where there is no source.
    """
    found, notes = find(sources, recursive=recursive, left_out=left_out)
    if not found:
        known = " ".join((*PICTURE_SUFFIXES, *splat_files.SUFFIXES))
        raise UsageError(" ".join([f"There are no pictures and no splats in what was named ({known}).", *notes]))
    names = names or {}
    here = {each.path for each in found}
    taken: dict[str, Path | None] = {}
    for source, name in names.items():
        if source in here or source.exists():  # the name of a source that has gone may be used again
            taken |= dict.fromkeys(_wanted(name, lods), source)
    tasks: list[Task] = []
    for each in found:
        name = names.get(each.path) or _free_name(each, lods, taken)
        taken |= dict.fromkeys(_wanted(name, lods), each.path)
        file = f"{name}{suffix}"
        if each.path not in names and Path(name).name != each.path.stem:
            notes.append(f"{each.path} becomes {file}: {_why(each.path.stem)}")
        tasks.append(Task(each.path, output / file, name))
    return tasks, notes


def _free_name(source: Found, lods: int, taken: Mapping[str, Path | None]) -> str:
    """The name of a new mesh that no other has, in the folders the source lies in."""
    stem = usable_name(source.path.stem)
    folders = [usable_name(part) for part in source.below.parts]
    number, name = 1, "/".join([*folders, stem])
    while any(taken.get(wanted, source.path) != source.path for wanted in _wanted(name, lods)):
        number += 1
        name = "/".join([*folders, f"{stem}_{number}"])
    return name


def usable_name(name: str) -> str:
    """A name that file systems, Blender and the engine take: no control characters, not too long."""
    clean = "".join("_" if unicodedata.category(char) in ("Cc", "Cs") else char for char in name)
    if len(clean.encode()) > LONGEST_NAME:
        import hashlib  # here, as it loads a library of ciphers

        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        clean = clean.encode()[: LONGEST_NAME - 9].decode("utf-8", "ignore") + "-" + digest
    return clean


def _why(stem: str) -> str:
    if usable_name(stem) != stem:
        return "its own name is too long or holds what names cannot."
    return f"another file has the name {stem}."


def _wanted(name: str, lods: int) -> list[str]:
    """All names of files made for one source, for Windows and macOS, which take Cat.glb and cat.glb for one file."""
    several = (name, *(f"{name}_LOD{level}" for level in range(1, lods + 1)))
    return [unicodedata.normalize("NFC", each).casefold() for each in several]


def _in_folder(
    folder: Path, below: Path, recursive: bool, left_out: Collection[Path], notes: list[str], seen: set[Path]
) -> list[Found]:
    """What a folder stands for; `seen` are the folders above, which a link may lead back to."""
    real = folder.resolve()
    if real in seen:
        return []
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        notes.append(f"Left out: could not read {folder}: {error.strerror or error}.")
        return []
    found: list[Found] = []
    for path in inside:
        if path.name.startswith(".") or path.resolve() in left_out:
            continue
        if _is_source(path, notes):
            found.append(Found(path, below))
        elif recursive and path.is_dir():
            found += _in_folder(path, below / path.name, recursive, left_out, notes, {*seen, real})
    return found


def _matching(pattern: Path, recursive: bool, left_out: Collection[Path], notes: list[str]) -> list[Found]:
    """What a pattern stands for; folders below its fixed part are kept."""
    fixed = Path(*_until(pattern.parts, glob.has_magic))
    found: list[Found] = []
    for path in sorted(map(Path, glob.glob(str(pattern), recursive=True))):
        if path.resolve() in left_out:
            continue
        below = path.parent.relative_to(fixed)
        if _is_source(path, notes):
            found.append(Found(path, below))
        elif recursive and path.is_dir():
            found += _in_folder(path, below / path.name, recursive, left_out, notes, set())
    return found


def _until(parts: tuple[str, ...], stop: Callable[[str], bool]) -> list[str]:
    first = next((number for number, part in enumerate(parts) if stop(part)), len(parts))
    return list(parts[:first])


def _is_source(path: Path, notes: list[str]) -> bool:
    """Whether what lies in a folder is a picture or splats."""
    try:
        if not (path.is_file() or splat_files.is_sog_folder(path)):
            return False
    except OSError:
        return False
    if not splat_files.are_splats(path):
        return path.suffix.lower() in PICTURE_SUFFIXES
    if message := splat_files.problem(path)[0]:
        notes.append(f"Left out: {message}")
    return not message

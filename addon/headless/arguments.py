# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch is asked for: its command line. Options of meshes have the words and ranges of their properties."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import options
from ..options import MeshOptions, PictureOptions, SplatOptions
from ..results import formats

FILE_SECONDS = 1800.0
"""How long one file may take before its job is given up: a hung engine must not stop a night's work."""
MOST_JOBS = 64
_FORMATS = ("glb", *formats.FORMATS)


def read_arguments(argv: Sequence[str], prog: str) -> argparse.Namespace:
    """The arguments by name. Ends the process with a sentence and exit code 2 where they make no sense."""
    return _parser(prog).parse_args(_joined_values(argv))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Makes a textured mesh from each picture and each file of Gaussian splats. Started again after it "
        "was interrupted, however that happened, it goes on where it was.",
    )
    add = parser.add_argument
    add(
        "files",
        nargs="+",
        metavar="FILE_OR_FOLDER",
        help="a folder stands for what is in it, a pattern such as 'shots/*/front.png' for what matches",
    )
    add("-r", "--recursive", action="store_true", help="take folders within folders too; the output has the same ones")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the meshes")
    add(
        "--format",
        type=_formats,
        default=["glb"],
        metavar="FORMAT[,FORMAT...]",
        help=f"one or more of {', '.join(_FORMATS)}; the engine makes each mesh once (default: glb)",
    )
    add("--thumbnails", action="store_true", help="also render a picture of each mesh, NAME_thumbnail.png")
    add("--overwrite", action="store_true", help="make meshes anew that exist already")
    add("--report", type=Path, metavar="FILE", help="add a JSON line for each mesh to this file")
    add("--blend", type=Path, metavar="FILE", help="also put all meshes side by side in this .blend")
    add("--jobs", type=_jobs, default=1, metavar="N", help="Blenders that write files side by side (default: 1)")
    add("--watch", action="store_true", help="go on with pictures that are added to the folders, until interrupted")
    add("--generator", default="agg", help="default: agg")
    add("--timeout", type=float, default=FILE_SECONDS, help="seconds for a file (default: 1800)")
    add("--engine-python", default="", metavar="PYTHON", help="Python that runs the engine")
    library = parser.add_argument_group("asset library")
    add = library.add_argument
    add("--library", type=Path, metavar="FILE", help="also gather all meshes as assets in this .blend; it may exist")
    add("--catalog", default="Gaussmith", help="catalog of the assets; folders are below it (default: Gaussmith)")
    add("--author", default="", help="author of the assets")
    add("--license", default="", help="license of the assets, for example CC0")
    add("--tags", default="", help="tags of the assets, separated by commas")
    shared = options.properties(MeshOptions)
    for title, kind in (("mesh", MeshOptions), ("pictures", PictureOptions), ("splats", SplatOptions)):
        group = parser.add_argument_group(title)
        for name, declared in options.properties(kind).items():
            if kind is MeshOptions or name not in shared:
                _add_flag(group, name, declared)
    return parser


def _add_flag(group: argparse._ArgumentGroup, name: str, declared: Any) -> None:
    """A flag for an option, with the words, range and default of its property."""
    flag, words = f"--{name.replace('_', '-')}", declared.keywords
    default, told = words.get("default"), words["description"].replace("%", "%%")
    if name == "crop":
        box = ("X0", "Y0", "Z0", "X1", "Y1", "Z1")
        group.add_argument(flag, nargs=6, type=float, metavar=box, help=told)
    elif name == "texture":
        group.add_argument(flag, type=int, default=int(default), metavar="PIXELS", help=f"{told} (default: {default})")
    elif "items" in words:
        choices = [identifier for identifier, *_ in words["items"]]
        group.add_argument(flag, choices=choices, default=default, help=f"{told} (default: {default})")
    elif isinstance(default, bool):
        action = argparse.BooleanOptionalAction if default else "store_true"
        group.add_argument(flag, action=action, default=default, help=told)
    else:
        kind = _number(name, type(default), words["min"], words["max"])
        told = f"{told} (default: {default:g})"
        metavar = "METRES" if words.get("subtype") == "DISTANCE" else "N"
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=told)


def _formats(text: str) -> list[str]:
    """Formats separated by commas, each once."""
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    if unknown := [name for name in names if name not in _FORMATS]:
        raise argparse.ArgumentTypeError(f"there is no format {unknown[0]!r}, choose from {', '.join(_FORMATS)}")
    return names


def _jobs(text: str) -> int:
    """How many Blenders: at least one, and not so many that they only wait for memory."""
    count = int(text)
    if not 1 <= count <= MOST_JOBS:
        raise argparse.ArgumentTypeError(f"jobs is {text}, choose it from 1 to {MOST_JOBS}")
    return count


_jobs.__name__ = "int"  # what argparse calls it where it raises


def _number(name: str, kind: type, low: float, high: float) -> Callable[[str], Any]:
    """Reads a number of this range."""

    def read(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{name} is {text}, choose it from {low:,} to {high:,}")
        return value

    read.__name__ = kind.__name__  # what argparse calls it where `kind` raises
    return read


def _joined_values(argv: Sequence[str]) -> list[str]:
    """`--up -y` as `--up=-y`: argparse takes a word that begins with a dash for a flag."""
    words = list(argv)
    for number in range(len(words) - 1, 0, -1):
        if words[number - 1] == "--up" and words[number] == "-y":
            words[number - 1 : number + 1] = ["--up=-y"]
    return words

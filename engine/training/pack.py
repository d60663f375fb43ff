# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of assets as a pack for training: `python -m engine train pack FOLDER -o my.csv`.

Read are GLB, glTF, OBJ, PLY, STL and OFF; FBX, BLEND, DAE, USD and ABC with a Blender at hand (GAUSSMITH_BLENDER,
`blender` on the path, or the package bpy). Each file becomes one object: its parts joined, turned y up, centred,
longest side 1, simplified, colours baked into one texture.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numba
from tqdm import tqdm

from engine.errors import GaussmithError, InputError, OptionError, explain
from engine.training.data.import_assets import READ, THROUGH_BLENDER, Source, read_asset
from engine.training.data.import_bake import baked
from engine.training.data.import_blender import BATCH, as_glb, blender_command
from engine.training.data.pack_writer import PackObject, index_path, write_pack

UP = ("y", "z", "x", "-y", "-z", "-x")


@dataclass(frozen=True)
class PackSettings:
    """How assets become objects, and what the index says of them."""

    up: str = "y"  # what is up in the files, as they are read
    faces: int = 6000
    texture: int = 256  # pixels of the texture's side
    style: str = "own"
    weight: float = 1.0
    licence: str = ""
    attribution: str = ""


@dataclass
class Findings:
    """What was met on the way: files that could not be used, with the reason."""

    skipped: list[tuple[str, str]] = field(default_factory=list)


def find_assets(folder: Path) -> list[Path]:
    """All assets below a folder, sorted. Of one name in several formats beside each other the best format.

    Raises `InputError` where there is no folder or no asset.
    """
    if not folder.is_dir():
        raise InputError(f"Found no folder {folder}.", "Give the folder that holds the assets.")
    order = (*READ, *THROUGH_BLENDER)
    best: dict[tuple[Path, str], Path] = {}
    for path in sorted(folder.rglob("*")):
        suffix, key = path.suffix.lower(), (path.parent, path.stem)
        if suffix in order and path.is_file() and not path.name.startswith("."):
            other = best.get(key)
            if other is None or order.index(suffix) < order.index(other.suffix.lower()):
                best[key] = path
    if not best:
        raise InputError(
            f"Found no asset below {folder}, expected files such as {', '.join(order[:5])}.", "Give another folder."
        )
    return sorted(best.values())


def pack_objects(folder: Path, settings: PackSettings, findings: Findings) -> Iterator[PackObject]:
    """The assets below a folder as objects of a pack, one by one; what cannot be used goes to `findings`."""
    own, through_blender = [], []
    for path in find_assets(folder):
        (own if path.suffix.lower() in READ else through_blender).append(path)
    first_reasons: dict[Path, str] = {}
    for path in own:
        try:
            yield _packed(_read(path), path, folder, settings)
        except UnreadableError as error:
            if path.suffix.lower() in (".glb", ".gltf", ".obj") and blender_command():
                first_reasons[path] = error.message  # compressed and odd files: Blender reads more
            else:
                findings.skipped.append((path.relative_to(folder).as_posix(), error.message))
        except InputError as error:
            findings.skipped.append((path.relative_to(folder).as_posix(), error.message))
    through_blender += first_reasons
    for first in range(0, len(through_blender), BATCH):
        batch = through_blender[first : first + BATCH]
        with as_glb(batch) as made:
            for path, glb in zip(batch, made, strict=True):
                try:
                    if isinstance(glb, str):
                        raise InputError(glb)
                    yield _packed(_read(glb), path, folder, settings)
                except InputError as error:
                    reason = first_reasons.get(path, error.message)
                    findings.skipped.append((path.relative_to(folder).as_posix(), reason))


class UnreadableError(InputError):
    """A file that another reader may read."""


def _read(path: Path) -> Source:
    try:
        return read_asset(path)
    except InputError as error:
        raise UnreadableError(error.message) from error
    except (MemoryError, ArithmeticError, ValueError, IndexError) as error:  # files can be broken in many ways
        raise UnreadableError(f"It cannot be read: {explain(error)[1]}") from error


def _packed(source: Source, path: Path, folder: Path, settings: PackSettings) -> PackObject:
    """One asset, read from `path`. Raises `InputError`."""
    try:
        mesh = baked(source.upright(settings.up), settings.faces, settings.texture)
    except GaussmithError as error:
        raise InputError(error.message) from error
    except (MemoryError, ArithmeticError, ValueError, IndexError) as error:  # so can meshes
        raise InputError(f"It cannot be made into an object: {explain(error)[1]}") from error
    relative = path.relative_to(folder)
    return PackObject(
        name=path.stem,
        mesh=mesh,
        style=settings.style,
        weight=settings.weight,
        source=relative.as_posix(),
        category=relative.parts[0] if len(relative.parts) > 1 else "",
        licence=settings.licence,
        attribution=settings.attribution,
        up_fix="" if settings.up == "y" else f"{settings.up}-up to y-up",
        source_faces=len(source.faces),
    )


def main(argv: list[str]) -> int:
    """The command line of `engine train pack`; returns the exit code."""
    defaults = PackSettings()
    parser = argparse.ArgumentParser(
        prog="engine train pack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="assets lie in it, at any depth")
    parser.add_argument("-o", "--output", required=True, metavar="PACK.csv", help="index file (or PACK.npz, the same)")
    parser.add_argument(
        "--up", choices=UP, default=defaults.up, help="what is up in the files, as in --up=-z (default %(default)s)"
    )
    parser.add_argument("--faces", type=int, default=defaults.faces, help="most faces (default %(default)s)")
    parser.add_argument("--texture", type=int, default=defaults.texture, help="pixels a side (default %(default)s)")
    parser.add_argument("--style", default=defaults.style, help="a word for the index (default %(default)s)")
    parser.add_argument("--weight", type=float, default=defaults.weight, help="how often each is drawn")
    parser.add_argument("--licence", default="", help="for the index: of all these assets")
    parser.add_argument("--attribution", default="", help="for the index: whom to name")
    parser.add_argument("--overwrite", action="store_true", help="replace a pack of this name")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args(argv)
    for name, low, high in (("faces", 100, 20_000), ("texture", 32, 2048)):
        if not low <= getattr(arguments, name) <= high:
            raise OptionError(f"{name} is {getattr(arguments, name)}.", f"Choose {name} from {low} to {high}.")
    if not 0 < arguments.weight < 1e6:
        raise OptionError(f"weight is {arguments.weight}.", "Choose a number above 0.")
    numba.set_num_threads(1)
    settings = PackSettings(**{name: getattr(arguments, name) for name in PackSettings.__dataclass_fields__})
    findings, count = Findings(), len(find_assets(arguments.folder))
    bar = tqdm(
        pack_objects(arguments.folder, settings, findings),
        total=count, disable=not sys.stderr.isatty(), unit=" assets",
    )  # fmt: skip
    try:
        report = write_pack(arguments.output, bar, arguments.overwrite)
    except InputError as error:
        raise InputError(f"{error.message} {_told(findings.skipped)}".strip(), error.hint) from error
    skipped = findings.skipped + report.skipped
    index = index_path(arguments.output)
    for name, reason in skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"pack": str(index), "written": report.written, "skipped": skipped}, ensure_ascii=False))
    else:
        print(f"{index}: {report.written} objects. {_told(skipped)}".strip())
    return 0


def _told(skipped: list[tuple[str, str]]) -> str:
    """A sentence on what was skipped, by reason; empty where nothing was."""
    if not skipped:
        return ""
    reasons = Counter(reason.rstrip(".") for _, reason in skipped)
    return (
        f"{len(skipped)} skipped: " + "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(8)) + "."
    )

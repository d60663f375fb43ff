# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in an asset library that lists its catalogs. No bpy.

VERSION 1
<uuid>:Props/Garden:Props-Garden
"""

import uuid
from pathlib import Path

from ..files.whole_files import written_whole

FILE = "blender_assets.cats.txt"
_OURS = uuid.UUID("5d0f6c1e-3b0d-4f6a-9d6e-7a1b6f0c2e94")
_HEAD = "# This is an Asset Catalog Definition file for Blender.\n#\nVERSION 1\n\n"


class CatalogError(OSError):
    """A list of catalogs that is of another kind; its text is one sentence."""


def clean_catalog(path: str) -> str:
    """A catalog's path as Blender writes it: levels between slashes, without colons."""
    levels = (level.strip().replace(":", "-") for level in path.replace("\\", "/").split("/"))
    return "/".join(" ".join(level.split()) for level in levels if level)


def catalog_id(path: str) -> str:
    """The number a catalog gets that nobody has made yet: the same path, the same number."""
    return str(uuid.uuid5(_OURS, clean_catalog(path)))


def ensure_catalog(folder: Path, path: str) -> str:
    """The number of a catalog of a library, which is added to the list where it is missing.

    What the list holds stays as it is; it is written whole or not at all. Raises `CatalogError` or `OSError`.
    """
    wanted = clean_catalog(path)
    file = folder / FILE
    text = file.read_text(encoding="utf-8") if file.exists() else _HEAD
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    told = [line for line in lines if line and not line.startswith("#")]
    if not told or told[0] != "VERSION 1":
        raise CatalogError(f"{file} is of a kind that is not known here, so the catalog was not added.")
    for line in told[1:]:
        number, _, rest = line.partition(":")
        if rest.partition(":")[0].strip("/") == wanted and _is_number(number):
            return number.strip()
    number = catalog_id(wanted)
    line = f"{number}:{wanted}:{wanted.replace('/', '-')}\n"
    with written_whole(file) as part:
        part.write_text(text + ("" if text.endswith("\n") else "\n") + line, encoding="utf-8")
    return number


def _is_number(text: str) -> bool:
    try:
        uuid.UUID(text.strip())
    except ValueError:
        return False
    return True

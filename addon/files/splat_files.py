# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files hold Gaussian splats: by name, and for .ply by header, for a .ply may as well be a mesh. No bpy."""

import re
from pathlib import Path

SUFFIXES = (".ply", ".splat", ".ksplat", ".spz", ".sog")

_LARGEST_HEADER = 1 << 16  # bytes; that of splats with three bands has about 1,500
_SPLAT_PROPERTIES = {"scale_0", "packed_position"}
"""Properties by which splats are known: one of INRIA's layout, and one of PlayCanvas' compressed one."""


def are_splats(path: Path) -> bool:
    """Whether a path names splats: a file by its suffix, or a folder that holds an unpacked .sog."""
    return is_sog_folder(path) or path.suffix.lower() in SUFFIXES


def is_sog_folder(path: Path) -> bool:
    """Whether a folder holds the images of an unpacked .sog and the meta.json that describes them."""
    try:
        with open(path / "meta.json", "rb") as file:
            return b'"means"' in file.read(_LARGEST_HEADER)
    except OSError:
        return False


def problem(path: Path) -> tuple[str, str]:
    """Why a file cannot hold splats and what to try, both empty where it may. Reads a header at most."""
    if is_sog_folder(path):
        return "", ""
    if not path.is_file():
        return f"There is no file {path}.", "Check its name."
    if path.suffix.lower() != ".ply":
        return "", ""
    try:
        with open(path, "rb") as file:
            start = file.read(_LARGEST_HEADER)
    except OSError as error:
        return f"Could not read {path}: {error.strerror or error}.", "Check your permission to read it."
    end = start.find(b"end_header")
    if not start.startswith(b"ply") or end < 0:
        return "", ""  # the engine tells formats by content, and says what is wrong with this one
    header = start[:end].decode("ascii", "replace")
    found = {line.split()[-1] for line in header.splitlines() if line.startswith("property ")}
    if found & _SPLAT_PROPERTIES:
        return "", ""
    counts = dict(re.findall(r"^element (\w+) (\d+)", header, re.MULTILINE))
    vertices, faces = int(counts.get("vertex", 0)), int(counts.get("face", 0))
    what = f"a mesh of {faces:,} faces" if faces else f"{vertices:,} plain points"
    return f"{path.name} holds {what}, no Gaussian splats.", "Import it with File > Import > Stanford PLY instead."

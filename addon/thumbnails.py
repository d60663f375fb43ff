# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""Thumbnails of pictures, loaded beforehand so that drawing one only reads a number."""

from pathlib import Path

import bpy
import bpy.utils.previews

LARGEST = 40_000_000
"""Bytes of a picture file beyond which no thumbnail is made of it."""
KEPT = 32
_NO_PREVIEW = 0

_previews: bpy.utils.previews.ImagePreviewCollection | None = None


def load(path: str) -> None:
    """Prepares the thumbnail of a picture."""
    file = Path(bpy.path.abspath(path)) if path else None
    if _previews is None or file is None:
        return
    if path in _previews:  # the file may have changed
        _previews[path].reload()
        return
    try:
        if file.stat().st_size > LARGEST or not file.is_file():
            return
    except OSError:
        return  # not there: the panel shows no thumbnail, and Generate says why
    if len(_previews) >= KEPT:
        _previews.clear()
    _previews.load(path, str(file), "IMAGE")


def icon(path: str) -> int:
    """The icon of a picture whose thumbnail was loaded, else 0."""
    if _previews is None or path not in _previews:
        return _NO_PREVIEW
    return _previews[path].icon_id


def register() -> None:
    global _previews
    if not bpy.app.background:
        _previews = bpy.utils.previews.new()


def unregister() -> None:
    global _previews
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""Text in panels: broken where it would be cut, and spans of time and sizes of files in words."""

import functools

import blf
import bpy

from .files.names import block_name
from .translations import told

FONT, FONT_POINTS = 0, 11.0
MARGIN = 88
"""What a line of text cannot use of the sidebar's width: margins, tabs and an icon, in unscaled pixels."""


def width_of(context: bpy.types.Context) -> int:
    """Pixels for text in a box of this panel, beside an icon."""
    return round(max(context.region.width - MARGIN * context.preferences.system.ui_scale, 60.0))


@functools.lru_cache(maxsize=512)
def shown(name: str) -> str:
    """A name on one line, whatever the file it comes from is called."""
    return block_name(name, longest=200)


def title(layout: bpy.types.UILayout, text: str, icon: str, alert: bool = False) -> None:
    row = layout.row()
    row.alert = alert
    row.label(text=text, icon=icon, translate=False)


def wrapped(layout: bpy.types.UILayout, text: str, width: int, icon: str = "BLANK1") -> None:
    """Text over as many lines as the panel needs: a label alone would be cut."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(lines(text, width, bpy.context.preferences.system.ui_scale)):
        column.label(text=line, icon=icon if number == 0 else "BLANK1", translate=False)


@functools.lru_cache(maxsize=256)
def lines(text: str, width: int, scale: float) -> tuple[str, ...]:
    """Text broken between words, and inside words where one alone is too long, as paths are."""
    broken = [""]
    for word in text.split():
        joined = f"{broken[-1]} {word}".lstrip()
        if measure(joined, scale) <= width:
            broken[-1] = joined
            continue
        if broken[-1]:
            broken.append("")
        while measure(word, scale) > width and len(word) > 1:
            fitting = next((n for n in range(len(word) - 1, 1, -1) if measure(word[:n], scale) <= width), 1)
            broken[-1], word = word[:fitting], word[fitting:]
            broken.append("")
        broken[-1] = word
    return tuple(line for line in broken if line)


def measure(text: str, scale: float) -> float:
    """Width of a text in the interface's font, in pixels."""
    blf.size(FONT, FONT_POINTS * scale)
    return blf.dimensions(FONT, text)[0]


def duration(seconds: float) -> str:
    """A span of time as people say it: exact where it is short, round where it is long."""
    if seconds < 59.5:
        return told("{n} s").format(n=max(round(seconds), 1))
    minutes = round(seconds / 60)
    if minutes < 60:
        return told("{n} min").format(n=minutes)
    return told("{h} h {n} min").format(h=minutes // 60, n=minutes % 60)


def amount(size: float) -> str:
    """Bytes as people say them, in units of a thousand."""
    if size < 999.5e6:
        return told("{n} MB").format(n=f"{size / 1e6:,.1f}" if size < 9.95e6 else f"{size / 1e6:,.0f}")
    return told("{n} GB").format(n=f"{size / 1e9:,.1f}")

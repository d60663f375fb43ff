# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The history in the sidebar: a page of thumbnails, and what can be done with the one that was clicked."""

import time
from typing import ClassVar

import bpy
from bpy.props import StringProperty

from .. import session, text
from ..history import Entry, History
from ..results import keeping
from ..translations import OURS, told
from . import thumbnails

PER_PAGE = 6
CELL = 74
"""Least width of a thumbnail with its name, in unscaled pixels."""
MARGIN = 40


class _View:
    """What of the history is shown: worked out when something changes, never while drawing."""

    def __init__(self) -> None:
        self.entries: tuple[Entry, ...] = ()
        self.page = 0
        self.selected = ""
        self._state: tuple[History | None, int, str] = (None, -1, "")

    @property
    def pages(self) -> int:
        return max(1, -(-len(self.entries) // PER_PAGE))

    @property
    def shown(self) -> tuple[Entry, ...]:
        return self.entries[self.page * PER_PAGE : (self.page + 1) * PER_PAGE]

    def refresh(self) -> bool:
        """Looks whether the history or what is searched for has changed, and prepares what is shown then."""
        searched = bpy.context.window_manager.gaussmith_search.casefold().strip()
        history = keeping.history()
        state = (history, history.version, searched)
        if state == self._state:
            return False
        if searched != self._state[2]:
            self.page = 0
        self._state = state
        self.entries = tuple(entry for entry in history.entries if searched in entry.name.casefold())
        self.turn(0)
        return True

    def turn(self, pages: int) -> None:
        """Goes to another page and prepares its thumbnails."""
        self.page = min(max(self.page + pages, 0), self.pages - 1)
        for entry in self.shown:
            thumbnails.prepare(_picture_of(entry))


view = _View()


def _picture_of(entry: Entry) -> str:
    return entry.thumbnail or entry.copy or entry.picture


def _pictures_shown() -> list[str]:
    return [_picture_of(entry) for entry in view.shown]


def _searched(_manager: bpy.types.WindowManager, _context: bpy.types.Context) -> None:
    view.refresh()


class GAUSSMITH_PT_history(bpy.types.Panel):
    bl_idname = "GAUSSMITH_PT_history"
    bl_label = "History"
    bl_translation_context = OURS
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB
    bl_order = 4
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return bool(keeping.history().entries or keeping.history().damaged)

    def draw_header_preset(self, _context: bpy.types.Context) -> None:
        row = self.layout.row()
        row.active = False
        row.label(text=str(len(keeping.history().entries)), translate=False)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        if len(keeping.history().entries) > PER_PAGE:
            _draw_search(layout, context)
        _draw_page(layout, context)
        entry = keeping.history().find(view.selected)
        if entry is not None:
            _draw_entry(layout, entry, text.width_of(context))
        if damaged := keeping.history().damaged:
            words = told("{n} entries could not be read and were left alone.").format(n=damaged)
            text.wrapped(layout, words, text.width_of(context), "INFO")


def _draw_search(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    row = layout.row(align=True)
    row.prop(context.window_manager, "gaussmith_search", text="", icon="VIEWZOOM")
    pages = row.row(align=True)
    pages.alignment = "RIGHT"
    for steps, icon, possible in ((-1, "TRIA_LEFT", view.page > 0), (1, "TRIA_RIGHT", view.page < view.pages - 1)):
        button = pages.row(align=True)
        button.enabled = possible
        button.operator("gaussmith.turn_page", text="", icon=icon).pages = steps


def _draw_page(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    room = context.region.width / context.preferences.system.ui_scale - MARGIN
    columns = max(2, int(room // CELL))
    grid = layout.grid_flow(row_major=True, columns=columns, even_columns=True, align=False)
    for entry in view.shown:
        cell = grid.column(align=True)
        if icon := thumbnails.icon(_picture_of(entry)):
            cell.template_icon(icon_value=icon, scale=3.4)
        else:
            cell.label(text="", icon="MESH_DATA")
        is_selected = entry.id == view.selected
        button = cell.operator("gaussmith.select_entry", text=entry.name, translate=False, depress=is_selected)
        button.entry = "" if is_selected else entry.id
    for _ in range(-len(view.shown) % columns):
        grid.column()  # a row that is not full keeps its width
    if not view.shown:
        layout.label(text="Nothing found")


def _draw_entry(layout: bpy.types.UILayout, entry: Entry, width: int) -> None:
    box = layout.box().column()
    column = box.column(align=True)
    column.scale_y = 0.8
    column.label(text=time.strftime("%Y-%m-%d  %H:%M", time.localtime(entry.date)), translate=False)
    column.label(text=facts_of(entry), translate=False)
    if entry.error:
        text.wrapped(box, told(entry.error), width, "ERROR")
    box.operator("gaussmith.import_entry", text="Import at the 3D Cursor", icon="IMPORT").entry = entry.id
    row = box.row(align=True)
    again = row.operator("gaussmith.regenerate_entry", text="Again", icon="FILE_REFRESH")
    again.entry, again.new_seed = entry.id, False
    if entry.picture:
        other = row.operator("gaussmith.regenerate_entry", text="New Seed", icon="DOT")
        other.entry, other.new_seed = entry.id, True
    row.operator("gaussmith.reveal_entry", text="", icon="FILE_FOLDER").entry = entry.id
    row.operator("gaussmith.delete_entry", text="", icon="TRASH").entry = entry.id


def facts_of(entry: Entry) -> str:
    """How an entry was made, in one line."""
    faces = entry.report.get("faces")
    facts = []
    if isinstance(faces, int) and not isinstance(faces, bool):
        facts.append(told("{n} faces").format(n=f"{faces:,}"))
    if entry.picture:
        facts.append(told("seed {n}").format(n=entry.seed))
    return ", ".join([*facts, text.duration(entry.seconds)])


def register() -> None:
    bpy.types.WindowManager.gaussmith_search = StringProperty(
        name="Search",
        translation_context=OURS,
        description="Show only entries whose names contain this",
        options={"TEXTEDIT_UPDATE", "SKIP_SAVE"},
        update=_searched,
    )
    bpy.utils.register_class(GAUSSMITH_PT_history)
    thumbnails.in_use.append(_pictures_shown)
    keeping.on_changed.append(view.refresh)


def unregister() -> None:
    global view
    keeping.on_changed.remove(view.refresh)
    thumbnails.in_use.remove(_pictures_shown)
    bpy.utils.unregister_class(GAUSSMITH_PT_history)
    del bpy.types.WindowManager.gaussmith_search
    view = _View()

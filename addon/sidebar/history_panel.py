# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The history in the sidebar: a page of thumbnails, and what can be done with the one that was clicked."""

import time
from typing import ClassVar

import bpy
from bpy.props import StringProperty

from .. import engine_life, session, text
from ..history import History
from ..history_entry import Entry
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
        row = self.layout.row(align=True)
        count = row.row()
        count.active = False
        count.label(text=str(len(keeping.history().entries)), translate=False)
        row.menu(GAUSSMITH_MT_history.bl_idname, text="", icon="DOWNARROW_HLT")

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        if len(keeping.history().entries) > PER_PAGE:
            _draw_search(layout, context)
        _draw_page(layout, context)
        entry = keeping.history().find(view.selected)
        if entry is not None:
            _draw_entry(layout, entry, text.width_of(context))
        for words in _notes(keeping.history()):
            text.wrapped(layout, words, text.width_of(context), "INFO")


def _notes(history: History) -> list[str]:
    """What there is to say about the history as a whole."""
    notes = []
    if history.made_room:
        notes.append(told("Older meshes that made room for new ones: {n}").format(n=history.made_room))
    if history.overfull:
        notes.append(told("The history is beyond its limit. What is left you keep, or it was never imported."))
    if history.damaged:
        notes.append(told("{n} entries could not be read and were left alone.").format(n=history.damaged))
    return notes


class GAUSSMITH_MT_history(bpy.types.Menu):
    bl_idname = "GAUSSMITH_MT_history"
    bl_label = "History"
    bl_translation_context = OURS

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.label(text=usage(), translate=False)
        layout.operator("preferences.addon_show", text="Set the Limit", icon="PREFERENCES").module = engine_life.PACKAGE
        layout.separator()
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator("gaussmith.delete_all_entries", icon="TRASH")


class GAUSSMITH_PT_full_history(bpy.types.Panel):
    """Asks once, before anything goes, and is seen with the history closed too."""

    bl_idname = "GAUSSMITH_PT_full_history"
    bl_label = "History"
    bl_translation_context = OURS
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB
    bl_order = 2
    bl_options: ClassVar = {"HIDE_HEADER"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return keeping.history().asks

    def draw(self, context: bpy.types.Context) -> None:
        history = keeping.history()
        box = self.layout.box().column()
        text.title(box, told("The history is full"), "INFO")
        words = told(
            "It takes {used}; its limit is {limit}. From now on the oldest meshes make room for new ones: those you "
            "imported before all others, and never those you keep."
        )
        words = words.format(used=text.amount(history.used), limit=text.amount(history.limit))
        text.wrapped(box, words, text.width_of(context))
        row = box.row(align=True)
        row.operator("gaussmith.make_room")
        row.operator("preferences.addon_show", text="Set the Limit").module = engine_life.PACKAGE


def usage() -> str:
    """How much the history holds, in one line."""
    history = keeping.history()
    return told("Meshes: {n}, {size}").format(n=len(history.entries), size=text.amount(history.used))


def words_about(entries: tuple[Entry, ...]) -> str:
    """What goes when these entries are deleted, and what stays, in lines."""
    history = keeping.history()
    size = text.amount(history.size_of(entries))
    lines = [told("Meshes: {n}, {size}").format(n=len(entries), size=size)]
    if unseen := sum(not history.marks(entry.id).imported for entry in entries):
        lines.append(told("Never imported: {n}").format(n=unseen))
    if stay := len(history.entries) - len(entries):
        lines.append(told("Kept: {n}").format(n=stay))
    return "\n".join(lines)


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
        sign = "PINNED" if keeping.history().marks(entry.id).pinned else "NONE"
        select = "gaussmith.select_entry"
        button = cell.operator(select, text=entry.name, translate=False, depress=is_selected, icon=sign)
        button.entry = "" if is_selected else entry.id
    for _ in range(-len(view.shown) % columns):
        grid.column()  # a row that is not full keeps its width
    if not view.shown:
        layout.label(text="Nothing found")


def _draw_entry(layout: bpy.types.UILayout, entry: Entry, width: int) -> None:
    box = layout.box().column()
    row = box.row()
    row.label(text=time.strftime("%Y-%m-%d  %H:%M", time.localtime(entry.date)), translate=False)
    icons = row.row(align=True)
    icons.alignment = "RIGHT"
    is_pinned = keeping.history().marks(entry.id).pinned
    pin = icons.operator("gaussmith.pin_entry", text="", icon="PINNED" if is_pinned else "UNPINNED", depress=is_pinned)
    pin.entry = entry.id
    icons.operator("gaussmith.reveal_entry", text="", icon="FILE_FOLDER").entry = entry.id
    icons.operator("gaussmith.delete_entry", text="", icon="TRASH").entry = entry.id
    box.label(text=facts_of(entry), translate=False)
    if entry.error:
        text.wrapped(box, told(entry.error), width, "ERROR")
    box.operator("gaussmith.import_entry", text="Import at the 3D Cursor", icon="IMPORT").entry = entry.id
    row = box.row(align=True)
    again = row.operator("gaussmith.regenerate_entry", text="Again", icon="FILE_REFRESH")
    again.entry, again.new_seed = entry.id, False
    if entry.picture:
        other = row.operator("gaussmith.regenerate_entry", text="New Seed", icon="DOT")
        other.entry, other.new_seed = entry.id, True


def facts_of(entry: Entry) -> str:
    """How an entry was made, in one line."""
    faces = entry.report.get("faces")
    facts = []
    if isinstance(faces, int) and not isinstance(faces, bool):
        facts.append(told("{n} faces").format(n=f"{faces:,}"))
    if entry.picture:
        facts.append(told("seed {n}").format(n=entry.seed))
    return ", ".join([*facts, text.duration(entry.seconds)])


_CLASSES = (GAUSSMITH_MT_history, GAUSSMITH_PT_full_history, GAUSSMITH_PT_history)


def register() -> None:
    bpy.types.WindowManager.gaussmith_search = StringProperty(
        name="Search",
        translation_context=OURS,
        description="Show only entries whose names contain this",
        options={"TEXTEDIT_UPDATE", "SKIP_SAVE"},
        update=_searched,
    )
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    thumbnails.in_use.append(_pictures_shown)
    keeping.on_changed.append(view.refresh)


def unregister() -> None:
    global view
    keeping.on_changed.remove(view.refresh)
    thumbnails.in_use.remove(_pictures_shown)
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
    del bpy.types.WindowManager.gaussmith_search
    view = _View()

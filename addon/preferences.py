# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The add-on's preferences: which Python runs the engine, how long it lives, how it is, and what the doctor found."""

from pathlib import Path

import bpy
from bpy.props import EnumProperty, FloatProperty, IntProperty, StringProperty

from . import engine_life, session, text
from .results import keeping
from .sidebar import engine_operators, history_panel, keymap
from .translations import OURS, told

_STATES = {
    "STOPPED": ("Not loaded; the first mesh starts it", "RADIOBUT_OFF"),
    "STARTING": ("Starting", "SORTTIME"),
    "WAITING": ("Waiting for another Blender", "SORTTIME"),
    "WORKING": ("At work", "RADIOBUT_ON"),
    "IDLE": ("Loaded, idle", "RADIOBUT_ON"),
    "ENDING": ("Unloading", "SORTTIME"),
}
_LONGEST_LINE = 120


def _python_changed(_preferences: "GaussmithPreferences", _context: bpy.types.Context) -> None:
    session.check_engine()


def _limit_changed(_preferences: "GaussmithPreferences", _context: bpy.types.Context) -> None:
    keeping.limit_changed()


class GaussmithPreferences(bpy.types.AddonPreferences):
    bl_idname = engine_life.PACKAGE

    engine_python: StringProperty(
        name="Engine's Python",
        description=(
            "Python that has the engine's packages, or the folder of its environment. "
            "Leave empty to use the one beside the engine"
        ),
        subtype="FILE_PATH",
        update=_python_changed,
    )
    idle_minutes: IntProperty(
        name="Unload after Minutes",
        description="Minutes without work after which the engine ends and gives its memory back; 0 keeps it loaded",
        default=engine_life.DEFAULTS["idle_minutes"],
        min=0,
        soft_max=120,
        max=10_000,
    )
    patience_minutes: IntProperty(
        name="Give Up after Minutes",
        description=(
            "Minutes without a word from the engine after which a job is given up. "
            "A first start on a slow machine compiles for some minutes; 0 waits for ever"
        ),
        default=engine_life.DEFAULTS["patience_minutes"],
        min=0,
        soft_max=120,
        max=10_000,
    )
    take_turns: EnumProperty(
        name="Several Blenders",
        description="Whether this Blender waits while another one's engine is at work",
        items=[
            ("CARD", "Take Turns on a Graphics Card", "One at a time uses the card and its memory"),
            ("ALWAYS", "Always Take Turns", "One at a time, on the processor too"),
            ("NEVER", "Work at Once", "All at the same time, each with memory of its own"),
        ],
        default=engine_life.DEFAULTS["take_turns"],
    )
    history_gigabytes: FloatProperty(
        name="Keep at Most (GB)",
        description=(
            "Gigabytes the history may take; 0 is no limit. Beyond it the oldest meshes go when a new one is made: "
            "those you imported before all others, and never those you keep"
        ),
        default=engine_life.DEFAULTS["history_gigabytes"],
        min=0.0,
        soft_max=100.0,
        max=10_000.0,
        step=50,
        precision=1,
        update=_limit_changed,
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(self, "engine_python")
        _draw_state(_indented(layout))
        column = layout.column()
        column.prop(self, "idle_minutes")
        column.prop(self, "patience_minutes")
        column.prop(self, "take_turns")
        _draw_history(layout.box(), self)
        _draw_engine(layout.box())
        _draw_doctor(layout.box())
        keymap.draw(layout, context)


def _indented(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    """A column under the values, not under their names."""
    split = layout.split(factor=0.4)
    split.row()
    return split.column(align=True)


def _draw_state(column: bpy.types.UILayout) -> None:
    state = engine_life.engine_state()
    row = column.row()
    row.alert = state.kind in ("PROBLEM", "TROUBLE")
    icon = {"READY": "CHECKMARK", "PROBLEM": "ERROR", "TROUBLE": "ERROR", "CHECKING": "SORTTIME"}[state.kind]
    row.label(text=told(state.message), icon=icon, translate=False)
    if state.hint:
        column.label(text=told(state.hint), icon="BLANK1", translate=False)
    row = column.row()
    row.operator("gaussmith.check_engine", icon="FILE_REFRESH")
    row.operator("gaussmith.open_log", icon="TEXT")


def _draw_history(box: bpy.types.UILayout, preferences: GaussmithPreferences) -> None:
    """The limit of the history and what is used of it, as the history last measured itself."""
    history = keeping.history()
    row = box.row()
    row.label(text="History", text_ctxt=OURS, icon="TIME")
    row.operator("gaussmith.delete_all_entries", icon="TRASH")
    box.prop(preferences, "history_gigabytes")
    _indented(box).label(text=history_panel.usage(), translate=False)
    if 0 < history.limit < history.used:
        beyond = text.amount(history.used - history.limit)
        words = told("Beyond the limit by {size}: the oldest meshes go when the next one is made")
        box.label(text=words.format(size=beyond), icon="INFO", translate=False)


def _draw_engine(box: bpy.types.UILayout) -> None:
    facts = engine_life.facts()
    state, icon = _STATES[facts["state"]]
    row = box.row()
    row.label(text=told(state), icon=icon, translate=False)
    row.operator("gaussmith.unload", icon="X")
    if "version" in facts:
        column = box.column(align=True)
        for name, value in _rows(facts):
            split = column.split(factor=0.4)
            left = split.row()
            left.alignment = "RIGHT"
            left.label(text=name, translate=False)
            split.label(text=value, translate=False)


def _rows(facts: dict) -> list[tuple[str, str]]:
    """What is known of a loaded engine, for people."""
    rows = [
        (told("Version"), f"Gaussmith {facts['version']}"),
        (told("Device"), facts["device"]),
        (told("Process"), str(facts["pid"])),
    ]
    if facts.get("memory"):
        rows.append((told("Memory"), f"{facts['memory'] / 1e6:,.0f} MB"))
    if facts.get("card_memory"):
        rows.append((told("Memory of the Card"), f"{facts['card_memory'] / 1e6:,.0f} MB"))
    if facts.get("networks"):
        rows.append((told("Networks"), ", ".join(facts["networks"])))
    if facts["state"] == "IDLE":
        rows.append((told("Idle"), told("{minutes} min").format(minutes=int(facts["idle_seconds"] // 60))))
    return rows


def _draw_doctor(box: bpy.types.UILayout) -> None:
    found = engine_life.findings()
    row = box.row()
    if engine_life.is_examining():
        row.label(text="The doctor is at work", icon="SORTTIME")
    elif found is None:
        row.label(text="The doctor looks at everything the engine needs", icon="INFO")
    elif found.works:
        row.label(text="The engine is well", icon="CHECKMARK")
    else:
        row.alert = True
        row.label(text="The engine is not well", icon="ERROR")
    buttons = box.row(align=True)  # a row of their own: in other languages sentences are longer
    buttons.operator("gaussmith.doctor", icon="VIEWZOOM")
    buttons.operator("gaussmith.copy_report", icon="COPYDOWN")
    if found is None:
        return
    column = box.column(align=True)
    column.scale_y = 0.8
    for name, line in found.lines:
        split = column.split(factor=0.25)
        split.label(text=name, translate=False)
        split.label(text=_shortened(line), translate=False)


def _shortened(line: str) -> str:
    """A line that fits; the whole of it is in the report."""
    line = line.replace(str(Path.home()), "~")
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"


register, unregister = bpy.utils.register_classes_factory((*engine_operators.CLASSES, GaussmithPreferences))

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The add-on's preferences: which Python runs the engine, and how the engine is."""

import bpy
from bpy.props import StringProperty

from . import engine_life, session


def _python_changed(_preferences: "GaussmithPreferences", _context: bpy.types.Context) -> None:
    session.check_engine()


class GaussmithPreferences(bpy.types.AddonPreferences):
    bl_idname = __package__ or ""

    engine_python: StringProperty(
        name="Engine's Python",
        description=(
            "Python that has the engine's packages, or the folder of its environment. "
            "Leave empty to use the one beside the engine"
        ),
        subtype="FILE_PATH",
        update=_python_changed,
    )

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "engine_python")
        state = engine_life.engine_state()
        split = layout.split(factor=0.4)
        split.row()
        column = split.column(align=True)
        row = column.row()
        row.alert = state.kind == "PROBLEM"
        icon = {"READY": "CHECKMARK", "PROBLEM": "ERROR", "CHECKING": "SORTTIME"}[state.kind]
        row.label(text=state.message, icon=icon)
        if state.hint:
            column.label(text=state.hint, icon="BLANK1")
        row = column.row()
        row.operator("gaussmith.check_engine", icon="FILE_REFRESH")
        row.operator("gaussmith.open_log", icon="TEXT")


register, unregister = bpy.utils.register_classes_factory((GaussmithPreferences,))

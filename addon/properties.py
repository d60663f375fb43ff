# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""Settings of a scene, and the preferences."""

import bpy
from bpy.props import PointerProperty, StringProperty

from . import session
from .options import PictureOptions

_PATH_OPTIONS = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()


def _picture_changed(settings: "GaussmithSettings", _context: bpy.types.Context) -> None:
    session.load_thumbnail(settings.picture)


def _python_changed(_preferences: "GaussmithPreferences", _context: bpy.types.Context) -> None:
    session.check_engine()


class GaussmithSettings(PictureOptions, bpy.types.PropertyGroup):
    """What the next mesh is made from and how."""

    picture: StringProperty(
        name="Picture",
        description="Picture of one object, best on a plain or transparent background",
        subtype="FILE_PATH",
        options=_PATH_OPTIONS,
        update=_picture_changed,
    )


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
        state = session.engine_state()
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


_CLASSES = (GaussmithSettings, GaussmithPreferences)


def register() -> None:
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.gaussmith = PointerProperty(type=GaussmithSettings)


def unregister() -> None:
    del bpy.types.Scene.gaussmith
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)

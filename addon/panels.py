# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The sidebar tab: the picture, how it is made, and one large button. Drawing only reads what is cached."""

from pathlib import Path

import bpy

from . import engine_life, options, session, text
from .jobs import State
from .results import object_operators
from .results.record import RECORD, mesh_facts, read_record
from .results.result_options import draw_results
from .sidebar import generators, history_panel, queue_panel, thumbnails
from .sidebar.presets import CUSTOM, PRESETS
from .translations import told

PICTURE_SCALE = 7.0
"""Height of the picture, in heights of a button."""
SPLATS_ICON = "OUTLINER_OB_POINTCLOUD"

_OTHER_SOURCES = (
    ("gaussmith.paste_picture", "PASTEDOWN"),
    ("gaussmith.use_image", "IMAGE_DATA"),
    ("gaussmith.use_render", "RENDER_RESULT"),
    ("gaussmith.use_camera", "VIEW_CAMERA"),
)


class GAUSSMITH_PT_main(bpy.types.Panel):
    bl_idname = "GAUSSMITH_PT_main"
    bl_label = "Image to Mesh"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB
    bl_order = 0

    def draw_header_preset(self, _context: bpy.types.Context) -> None:
        self.layout.menu("GAUSSMITH_MT_more", text="", icon="DOWNARROW_HLT")

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.gaussmith
        _draw_engine(layout, text.width_of(context))
        _draw_picture(layout, settings)
        _draw_presets(layout, settings)
        _draw_advanced(layout, settings, text.width_of(context))
        column = layout.column()
        column.scale_y = 1.8
        column.operator("gaussmith.generate", icon="MESH_MONKEY", text=_generate_text())


class GAUSSMITH_PT_object(bpy.types.Panel):
    """What is known of the active object, where we made it."""

    bl_idname = "GAUSSMITH_PT_object"
    bl_label = "Generated Object"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB
    bl_order = 3

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.object is not None and RECORD in context.object

    def draw(self, context: bpy.types.Context) -> None:
        record = read_record(context.object) or {}
        width = text.width_of(context)
        source = record.get("picture") or record.get("splats") or context.object.name
        icon = "FILE_IMAGE" if "picture" in record else SPLATS_ICON
        self.layout.label(text=text.shown(Path(source).name), icon=icon, translate=False)
        split = self.layout.split(factor=0.5)
        names, values = split.column(align=True), split.column(align=True)
        names.alignment = "RIGHT"
        names.scale_y = values.scale_y = 0.85
        for name, value in mesh_facts(record):
            names.label(text=told(name), translate=False)
            values.label(text=told(value), translate=False)
        for warning in record.get("warnings", ()):
            text.wrapped(self.layout, told(warning), width, "INFO")
        object_operators.draw_object(self.layout, context)


class GAUSSMITH_MT_more(bpy.types.Menu):
    bl_idname = "GAUSSMITH_MT_more"
    bl_label = "More"
    bl_description = "What is needed now and then"

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator("gaussmith.generate_files", text="Several Pictures", icon="DOCUMENTS")
        layout.operator("gaussmith.import_splats", text="Splats as Mesh", icon=SPLATS_ICON)
        layout.separator()
        layout.operator("gaussmith.open_log", icon="TEXT")
        layout.operator("preferences.addon_show", text="Preferences", icon="PREFERENCES").module = engine_life.PACKAGE


def _generate_text() -> str:
    return "Generate Another" if session.jobs().busy else "Generate"


def _draw_engine(layout: bpy.types.UILayout, width: int) -> None:
    """A box with what is wrong with the engine and the button that helps; nothing when it is well."""
    state = engine_life.engine_state()
    if state.kind in ("CHECKING", "READY"):
        return
    if state.kind == "TROUBLE" and any(job.state is State.FAILED for job in session.jobs().jobs):
        return  # the job says the same, with the button that helps
    box = layout.box().column()
    text.title(box, told("Engine Not Ready"), "ERROR", alert=True)
    text.wrapped(box, told(state.message), width)
    text.wrapped(box, told(state.hint), width)
    box.operator("gaussmith.repair_engine", icon="TOOL_SETTINGS")


def _draw_picture(layout: bpy.types.UILayout, settings) -> None:
    """The well: the picture, its name, and a button for each source."""
    column = layout.column(align=True)
    box = column.box()
    if icon := thumbnails.icon(settings.picture):
        box.template_icon(icon_value=icon, scale=PICTURE_SCALE)
    else:
        _draw_empty_well(box, settings.picture)
    if settings.picture:
        row = box.row()
        row.label(text=text.shown(Path(settings.picture).name), translate=False)
        row.operator("gaussmith.clear_picture", text="", icon="X", emboss=False)
    row = column.row(align=True)
    row.operator("gaussmith.choose_picture", text="Choose", icon="FILE_FOLDER")
    for operator, icon in _OTHER_SOURCES:
        row.operator(operator, text="", icon=icon)


def _draw_empty_well(box: bpy.types.UILayout, picture: str) -> None:
    hint = box.column()
    hint.active = False
    hint.scale_y = 2.0
    hint.label(text="", icon="BLANK1")
    row = hint.row()
    row.scale_y = 0.5
    row.alignment = "CENTER"
    row.label(text="No preview" if picture else "Drop a picture here", icon="IMAGE_DATA")
    hint.label(text="", icon="BLANK1")


def _draw_presets(layout: bpy.types.UILayout, settings) -> None:
    row = layout.row(align=True)
    shown = (*PRESETS, CUSTOM) if settings.preset == CUSTOM else PRESETS
    for name in shown:
        row.prop_enum(settings, "preset", name)


def _draw_advanced(layout: bpy.types.UILayout, settings, width: int) -> None:
    """All the rest, in groups of their own; closed, it costs nothing."""
    header, body = layout.panel("GAUSSMITH_advanced", default_closed=True)
    header.label(text="Advanced")
    if body is None:
        return
    body.use_property_split = True
    body.use_property_decorate = False
    column = body.column(align=True)
    column.prop(settings, "generator")
    needs = column.column()
    needs.active = False
    text.wrapped(needs, told(generators.generator(settings.generator).needs), width)
    options.draw_basic(body, settings)
    for name, title, draw in (*options.groups(options.PictureOptions), ("result", "Result", draw_results)):
        header, group = body.panel(f"GAUSSMITH_{name}", default_closed=True)
        header.label(text=title)
        if group is not None:
            draw(group, settings)


def _import_menu(menu: bpy.types.Menu, _context: bpy.types.Context) -> None:
    menu.layout.operator("gaussmith.import_splats", text="Gaussian Splats as Mesh (.ply, .splat, .ksplat, .spz, .sog)")


_CLASSES = (GAUSSMITH_MT_more, GAUSSMITH_PT_main, GAUSSMITH_PT_object)


def register() -> None:
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    queue_panel.register()
    history_panel.register()
    bpy.types.TOPBAR_MT_file_import.append(_import_menu)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(_import_menu)
    history_panel.unregister()
    queue_panel.unregister()
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The sidebar tab. Drawing only reads what `session` holds."""

from pathlib import Path
from typing import ClassVar

import blf
import bpy

from . import delivery, engine_life, options, session, thumbnails
from .jobs import Job, State
from .record import RECORD, mesh_facts, read_record

FONT, FONT_POINTS = 0, 11.0
TEXT_MARGIN = 88
"""What a line of text cannot use of the sidebar's width: margins, tabs and an icon, in unscaled pixels."""
WAITING_SHOWN = 4
FINISHED_SHOWN = 3

_SPLATS_ICON = "OUTLINER_OB_POINTCLOUD"


class GAUSSMITH_PT_main(bpy.types.Panel):
    bl_idname = "GAUSSMITH_PT_main"
    bl_label = "Image to Mesh"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        width = _text_width(context)
        _draw_engine(layout, width)
        _draw_picture(layout, context.scene.gaussmith)
        column = layout.column()
        column.scale_y = 1.6
        column.operator("gaussmith.generate", icon="MESH_MONKEY", text=_generate_text())
        layout.operator("gaussmith.import_splats", icon=_SPLATS_ICON, text="Import Splats as Mesh")
        _draw_jobs(layout, context, width)


class GAUSSMITH_PT_settings(bpy.types.Panel):
    bl_idname = "GAUSSMITH_PT_settings"
    bl_label = "Settings"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB
    bl_parent_id = GAUSSMITH_PT_main.bl_idname

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        options.draw_basic(layout, context.scene.gaussmith)


class GAUSSMITH_PT_advanced(bpy.types.Panel):
    bl_idname = "GAUSSMITH_PT_advanced"
    bl_label = "Advanced"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB
    bl_parent_id = GAUSSMITH_PT_settings.bl_idname
    bl_options: ClassVar = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        for _, title, draw in options.groups(options.PictureOptions):
            layout.label(text=title)
            draw(layout, context.scene.gaussmith)


class GAUSSMITH_PT_object(bpy.types.Panel):
    """What is known of the active object, where we made it."""

    bl_idname = "GAUSSMITH_PT_object"
    bl_label = "Mesh Report"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.object is not None and RECORD in context.object

    def draw(self, context: bpy.types.Context) -> None:
        record = read_record(context.object) or {}
        width = _text_width(context)
        source = record.get("picture") or record.get("splats") or context.object.name
        self.layout.label(text=Path(source).name, icon="FILE_IMAGE" if "picture" in record else _SPLATS_ICON)
        split = self.layout.split(factor=0.5)
        names, values = split.column(align=True), split.column(align=True)
        names.alignment = "RIGHT"
        names.scale_y = values.scale_y = 0.85
        for name, value in mesh_facts(record):
            names.label(text=name)
            values.label(text=value)
        for warning in record.get("warnings", ()):
            _wrapped(self.layout, warning, width, "INFO")


def _generate_text() -> str:
    return "Generate Another" if session.jobs().busy else "Generate from Image"


def _draw_engine(layout: bpy.types.UILayout, width: float) -> None:
    """A box with what is wrong with the engine and the button that helps; nothing when it is well."""
    state = engine_life.engine_state()
    if state.kind != "PROBLEM":
        return
    box = layout.box().column()
    _title(box, "Engine Not Ready", "ERROR", alert=True)
    _wrapped(box, state.message, width)
    _wrapped(box, state.hint, width)
    row = box.row(align=True)
    row.operator("preferences.addon_show", text="Preferences", icon="PREFERENCES").module = __package__ or ""
    row.operator("gaussmith.check_engine", icon="FILE_REFRESH", text="Check Again")


def _draw_picture(layout: bpy.types.UILayout, settings) -> None:
    column = layout.column(align=True)
    box = column.box()
    if icon := thumbnails.icon(settings.picture):
        box.template_icon(icon_value=icon, scale=8.0)
    else:
        hint = box.column()
        hint.alignment = "CENTER"
        hint.scale_y = 1.4
        hint.active = False
        hint.label(text="", icon="BLANK1")
        row = hint.row()
        row.alignment = "CENTER"
        row.label(text="No preview" if settings.picture else "Drop pictures or splats in the view", icon="IMAGE_DATA")
        hint.label(text="", icon="BLANK1")
    row = column.row(align=True)
    row.prop(settings, "picture", text="")
    row.operator("gaussmith.generate_files", text="", icon="DOCUMENTS")


def _draw_jobs(layout: bpy.types.UILayout, context: bpy.types.Context, width: float) -> None:
    jobs = session.jobs()
    if (current := jobs.current) is not None:
        _draw_running(layout, current)
    waiting = jobs.waiting
    if waiting:
        column = layout.column(align=True)
        for job in waiting[:WAITING_SHOWN]:
            row = column.row(align=True)
            row.label(text=job.name, icon="SORTTIME")
            row.operator("gaussmith.cancel", text="", icon="X", emboss=False).job = job.id
        if len(waiting) > WAITING_SHOWN:
            column.label(text=f"and {len(waiting) - WAITING_SHOWN} more", icon="BLANK1")
    ready = [job for job in jobs.jobs if job.state is State.READY]
    for job in ready:
        _draw_ready(layout, job, width)
    ended = [job for job in jobs.jobs if job.state in (State.DONE, State.FAILED, State.CANCELLED)]
    if any(job.state is State.DONE for job in ended):
        _draw_texture_hint(layout, context)
    for job in reversed(ended[-FINISHED_SHOWN:]):
        if job.state is State.FAILED:
            _draw_failed(layout, job, width)
        else:
            _draw_ended(layout, job, width)


def _draw_running(layout: bpy.types.UILayout, job: Job) -> None:
    column = layout.column(align=True)
    row = column.row(align=True)
    row.label(text=job.name, icon="MESH_DATA")
    cancel = row.row()
    cancel.alignment = "RIGHT"
    cancel.enabled = not job.cancelling
    cancel.operator("gaussmith.cancel", text="Cancelling" if job.cancelling else "Cancel", icon="X").job = job.id
    text = f"{job.text}  {job.fraction:.0%}" if job.text else State.STARTING.value
    column.progress(text=text, factor=job.fraction, type="BAR")


def _draw_ready(layout: bpy.types.UILayout, job: Job, width: float) -> None:
    box = layout.box().column()
    row = box.row()
    row.label(text=f"Ready: {job.name}", icon="CHECKMARK")
    row.operator("gaussmith.dismiss", text="", icon="X", emboss=False).job = job.id
    _wrapped(box, delivery.hold_of(job), width)
    box.operator("gaussmith.import_result", text="Import at the 3D Cursor", icon="IMPORT").job = job.id


def _draw_failed(layout: bpy.types.UILayout, job: Job, width: float) -> None:
    box = layout.box().column()
    row = box.row()
    _title(row, job.name, "ERROR", alert=True)
    row.operator("gaussmith.dismiss", text="", icon="X", emboss=False).job = job.id
    if (error := job.error) is not None:
        _wrapped(box, error.message, width)
        _wrapped(box, error.hint, width)
    row = box.row(align=True)
    row.operator("gaussmith.retry", icon="FILE_REFRESH").job = job.id
    row.operator("gaussmith.copy_error", icon="COPYDOWN", text="Details").job = job.id
    row.operator("gaussmith.open_log", icon="TEXT", text="")


def _draw_ended(layout: bpy.types.UILayout, job: Job, width: float) -> None:
    box = layout.box().column(align=True)
    row = box.row()
    row.label(text=job.name, icon="CHECKMARK" if job.state is State.DONE else "CANCEL")
    row.operator("gaussmith.dismiss", text="", icon="X", emboss=False).job = job.id
    if job.state is State.CANCELLED:
        row.active = False
        return
    report = job.result.report if job.result is not None else {}
    facts = [f"{report['faces']:,} faces"] if "faces" in report else []
    facts += ["watertight"] if report.get("watertight") else []
    _wrapped(box, ", ".join([*facts, f"{job.seconds:.1f} s"]), width)
    for warning in dict.fromkeys((*job.notices, *report.get("warnings", ()))):
        _wrapped(box, warning, width, "INFO")


def _draw_texture_hint(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """New objects look grey in Solid shading: offers to show their textures there."""
    shading = getattr(context.space_data, "shading", None)
    if shading is not None and shading.type == "SOLID" and shading.color_type != "TEXTURE":
        layout.operator("gaussmith.show_texture", icon="TEXTURE")


def _title(layout: bpy.types.UILayout, text: str, icon: str, alert: bool = False) -> None:
    row = layout.row()
    row.alert = alert
    row.label(text=text, icon=icon)


def _wrapped(layout: bpy.types.UILayout, text: str, width: float, icon: str = "BLANK1") -> None:
    """Text over as many lines as the panel needs: a label alone would be cut."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(_lines(text, width)):
        column.label(text=line, icon=icon if number == 0 else "BLANK1")


def _lines(text: str, width: float) -> list[str]:
    """Text broken between words, and inside words where one alone is too long, as paths are."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".lstrip()
        if _measure(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        while _measure(word) > width and len(word) > 1:
            fitting = next((n for n in range(len(word) - 1, 1, -1) if _measure(word[:n]) <= width), 1)
            lines[-1], word = word[:fitting], word[fitting:]
            lines.append("")
        lines[-1] = word
    return [line for line in lines if line]


def _measure(text: str) -> float:
    """Width of a text in the interface's font, in pixels."""
    blf.size(FONT, FONT_POINTS * bpy.context.preferences.system.ui_scale)
    return blf.dimensions(FONT, text)[0]


def _text_width(context: bpy.types.Context) -> float:
    """Pixels for text in a box of this panel, beside an icon."""
    return max(context.region.width - TEXT_MARGIN * context.preferences.system.ui_scale, 60.0)


def _import_menu(menu: bpy.types.Menu, _context: bpy.types.Context) -> None:
    menu.layout.operator("gaussmith.import_splats", text="Gaussian Splats as Mesh (.ply, .splat, .ksplat, .spz, .sog)")


_CLASSES = (GAUSSMITH_PT_main, GAUSSMITH_PT_settings, GAUSSMITH_PT_advanced, GAUSSMITH_PT_object)


def register() -> None:
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.TOPBAR_MT_file_import.append(_import_menu)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(_import_menu)
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false
"""The sidebar tab. Drawing only reads what `session` holds."""

import textwrap

import bpy

from . import session
from .jobs import Job, State

CHARACTER_WIDTH = 6.4
"""Average width of a character of the interface font, in unscaled pixels."""
WAITING_SHOWN = 4
FINISHED_SHOWN = 3


class GAUSSMITH_PT_main(bpy.types.Panel):
    bl_idname = "GAUSSMITH_PT_main"
    bl_label = "Image to Mesh"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Gaussmith"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        width = _characters(context)
        _draw_engine(layout, width)
        _draw_picture(layout, context.scene.gaussmith)
        column = layout.column()
        column.scale_y = 1.6
        column.operator("gaussmith.generate", icon="MESH_MONKEY", text=_generate_text())
        _draw_jobs(layout, context, width)


class GAUSSMITH_PT_settings(bpy.types.Panel):
    bl_idname = "GAUSSMITH_PT_settings"
    bl_label = "Settings"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Gaussmith"
    bl_parent_id = GAUSSMITH_PT_main.bl_idname

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.gaussmith
        column = layout.column(align=True)
        column.prop(settings, "faces")
        column.prop(settings, "texture")
        column = layout.column(align=True)
        column.prop(settings, "size")
        column.prop(settings, "seed")


def _generate_text() -> str:
    return "Generate Another" if session.jobs().busy else "Generate from Image"


def _draw_engine(layout: bpy.types.UILayout, width: int) -> None:
    """A box with what is wrong with the engine and the button that helps; nothing when it is well."""
    state = session.engine_state()
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
    if icon := session.thumbnail(settings.picture):
        box.template_icon(icon_value=icon, scale=8.0)
    else:
        hint = box.column()
        hint.alignment = "CENTER"
        hint.scale_y = 1.4
        hint.active = False
        hint.label(text="", icon="BLANK1")
        row = hint.row()
        row.alignment = "CENTER"
        row.label(text="No preview" if settings.picture else "Drop a picture on the viewport", icon="IMAGE_DATA")
        hint.label(text="", icon="BLANK1")
    row = column.row(align=True)
    row.prop(settings, "picture", text="")
    row.operator("gaussmith.generate_files", text="", icon="DOCUMENTS")


def _draw_jobs(layout: bpy.types.UILayout, context: bpy.types.Context, width: int) -> None:
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
    for job in reversed(ended[-FINISHED_SHOWN:]):
        if job.state is State.FAILED:
            _draw_failed(layout, job, width)
        else:
            _draw_ended(layout, job, context, width)


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


def _draw_ready(layout: bpy.types.UILayout, job: Job, width: int) -> None:
    box = layout.box().column()
    row = box.row()
    row.label(text=f"Ready: {job.name}", icon="CHECKMARK")
    row.operator("gaussmith.dismiss", text="", icon="X", emboss=False).job = job.id
    _wrapped(box, session.hold_of(job), width)
    box.operator("gaussmith.import_result", text="Import at the 3D Cursor", icon="IMPORT").job = job.id


def _draw_failed(layout: bpy.types.UILayout, job: Job, width: int) -> None:
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


def _draw_ended(layout: bpy.types.UILayout, job: Job, context: bpy.types.Context, width: int) -> None:
    box = layout.box().column(align=True)
    row = box.row()
    row.label(text=job.name, icon="CHECKMARK" if job.state is State.DONE else "CANCEL")
    row.operator("gaussmith.dismiss", text="", icon="X", emboss=False).job = job.id
    if job.state is State.CANCELLED:
        row.active = False
        return
    report = job.result.report if job.result is not None else {}
    facts = [f"{report['faces']:,} faces" if "faces" in report else "", f"{job.seconds:.1f} s"]
    _wrapped(box, "   ".join(fact for fact in facts if fact), width)
    for warning in dict.fromkeys((*job.notices, *report.get("warnings", ()))):
        _wrapped(box, warning, width, "INFO")
    shading = getattr(context.space_data, "shading", None)
    if shading is not None and shading.type == "SOLID" and shading.color_type != "TEXTURE":
        box.separator()
        box.operator("gaussmith.show_texture", icon="TEXTURE")


def _title(layout: bpy.types.UILayout, text: str, icon: str, alert: bool = False) -> None:
    row = layout.row()
    row.alert = alert
    row.label(text=text, icon=icon)


def _wrapped(layout: bpy.types.UILayout, text: str, width: int, icon: str = "BLANK1") -> None:
    """Text over as many lines as the panel needs: a label alone would be cut."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, width)):
        column.label(text=line, icon=icon if number == 0 else "BLANK1")


def _characters(context: bpy.types.Context) -> int:
    """How many characters fit in one line of this panel, beside an icon."""
    scale = context.preferences.system.ui_scale
    return max(16, int((context.region.width / scale - 70) / CHARACTER_WIDTH))


_CLASSES = (GAUSSMITH_PT_main, GAUSSMITH_PT_settings)

register, unregister = bpy.utils.register_classes_factory(_CLASSES)

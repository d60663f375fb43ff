# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""The queue in the sidebar: what is being made, what waits, what is ready, and what went wrong with what helps."""

import bpy

from .. import session, text
from ..jobs import Job, State
from ..results.delivery import hold_of
from ..translations import told
from ..wire import protocol
from . import thumbnails
from .remedies import remedies_for

WAITING_SHOWN = 6
FINISHED_SHOWN = 3
WITH_THUMBNAILS = 64
"""Jobs from the head of the queue on whose pictures are shown beside their names; those behind have an icon."""

_show_all = False


def show_all(wanted: bool) -> None:
    """Whether all that wait are shown, or the first ones only."""
    global _show_all
    _show_all = wanted


class GAUSSMITH_PT_queue(bpy.types.Panel):
    bl_idname = "GAUSSMITH_PT_queue"
    bl_label = "Queue"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = session.TAB
    bl_order = 1

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return bool(session.jobs().jobs)

    def draw_header_preset(self, _context: bpy.types.Context) -> None:
        if len(session.jobs().waiting) > 0:
            self.layout.operator("gaussmith.cancel_all", text="Cancel All", emboss=False)

    def draw(self, context: bpy.types.Context) -> None:
        jobs, width = session.jobs(), text.width_of(context)
        layout = self.layout
        if (current := jobs.current) is not None:
            _draw_running(layout, current)
        _draw_waiting(layout, jobs.waiting)
        for job in jobs.jobs:
            if job.state is State.READY:
                _draw_ready(layout, job, width)
        ended = [job for job in jobs.jobs if job.state in (State.DONE, State.FAILED, State.CANCELLED)]
        for job in reversed(ended[-FINISHED_SHOWN:]):
            if job.state is State.FAILED:
                _draw_failed(layout, job, width)
            else:
                _draw_ended(layout, job, width)
        if any(job.state is State.DONE for job in ended):
            _draw_texture_hint(layout, context)


def _draw_running(layout: bpy.types.UILayout, job: Job) -> None:
    column = layout.column(align=True)
    row = column.row(align=True)
    _draw_name(row, job, "MESH_MONKEY")
    cancel = row.row()
    cancel.alignment = "RIGHT"
    cancel.enabled = not job.cancelling
    cancel.operator("gaussmith.cancel", text="Cancelling" if job.cancelling else "Cancel", emboss=False).job = job.id
    column.progress(text=f"{job.fraction:.0%}", factor=job.fraction, type="BAR")
    row = column.row()
    row.active = False
    row.label(text=told(stage_of(job)), translate=False)
    if job.remaining is not None:
        left = row.row()
        left.alignment = "RIGHT"
        left.label(text=told("{time} left").format(time=text.duration(job.remaining)), translate=False)


def stage_of(job: Job) -> str:
    """What happens to the job that is next, in words."""
    if job.state is State.HELD:
        return State.HELD.value
    return job.text if job.state is State.RUNNING and job.text else State.STARTING.value


def _draw_name(layout: bpy.types.UILayout, job: Job, icon: str) -> None:
    """A job by its picture, where that is at hand."""
    if (value := thumbnails.icon(getattr(job.request, "picture", ""))) != 0:
        layout.label(text=text.shown(job.name), icon_value=value, translate=False)
    else:
        layout.label(text=text.shown(job.name), icon=icon, translate=False)


def _pictures_shown() -> list[str]:
    """The pictures of the next jobs, each once."""
    pictures = (getattr(job.request, "picture", "") for job in session.jobs().jobs if job.active)
    return list(dict.fromkeys(pictures))[:WITH_THUMBNAILS]


def _draw_waiting(layout: bpy.types.UILayout, waiting: list[Job]) -> None:
    if not waiting:
        return
    column = layout.column(align=True)
    shown = waiting if _show_all else waiting[:WAITING_SHOWN]
    for place, job in enumerate(shown):
        row = column.row(align=True)
        _draw_name(row, job, "SORTTIME")
        if len(waiting) > 1:
            for steps, icon, possible in ((-1, "TRIA_UP", place > 0), (1, "TRIA_DOWN", job is not waiting[-1])):
                button = row.row(align=True)
                button.enabled = possible
                move = button.operator("gaussmith.move_job", text="", icon=icon, emboss=False)
                move.job, move.steps = job.id, steps
        row.operator("gaussmith.cancel", text="", icon="X", emboss=False).job = job.id
    if len(waiting) > WAITING_SHOWN:
        words = told("Show Less") if _show_all else told("Show All {n}").format(n=len(waiting))
        button = column.operator("gaussmith.show_queue", text=words, translate=False, emboss=False)
        button.all = not _show_all


def _draw_ready(layout: bpy.types.UILayout, job: Job, width: int) -> None:
    box = layout.box().column()
    row = box.row()
    row.label(text=told("Ready: {name}").format(name=text.shown(job.name)), icon="CHECKMARK", translate=False)
    row.operator("gaussmith.dismiss", text="", icon="X", emboss=False).job = job.id
    text.wrapped(box, told(hold_of(job)), width)
    box.operator("gaussmith.import_result", text="Import at the 3D Cursor", icon="IMPORT").job = job.id


def _draw_failed(layout: bpy.types.UILayout, job: Job, width: int) -> None:
    box = layout.box().column()
    row = box.row()
    text.title(row, text.shown(job.name), "ERROR", alert=True)
    row.operator("gaussmith.copy_error", text="", icon="COPYDOWN", emboss=False).job = job.id
    row.operator("gaussmith.dismiss", text="", icon="X", emboss=False).job = job.id
    error = job.error
    assert error is not None
    text.wrapped(box, told(error.message), width)
    text.wrapped(box, told(error.hint), width)
    for remedy in remedies_for(error.code, isinstance(job.request, protocol.Generate)):
        button = box.operator(remedy.operator, text=remedy.text, icon=remedy.icon)
        if "job" in button.bl_rna.properties:
            button.job = job.id


def _draw_ended(layout: bpy.types.UILayout, job: Job, width: int) -> None:
    column = layout.column(align=True)
    row = column.row()
    name = row.row()
    name.active = job.state is State.DONE
    name.label(text=text.shown(job.name), icon="CHECKMARK" if job.state is State.DONE else "CANCEL", translate=False)
    report = job.result.report if job.result is not None else {}
    side = row.row()
    side.alignment = "RIGHT"
    if job.state is State.CANCELLED:
        side.operator("gaussmith.retry", text="", icon="FILE_REFRESH", emboss=False).job = job.id
    side.operator("gaussmith.dismiss", text="", icon="X", emboss=False).job = job.id
    if job.state is State.DONE:
        facts = [told("{n} faces").format(n=f"{report['faces']:,}")] if "faces" in report else []
        facts += [told("watertight")] if report.get("watertight") else []
        text.wrapped(column, ", ".join([*facts, text.duration(job.seconds)]), width)
    for warning in dict.fromkeys((*job.notices, *report.get("warnings", ()))):
        text.wrapped(column, told(warning), width, "INFO")


def _draw_texture_hint(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """New objects look grey in Solid shading: offers to show their textures there."""
    shading = getattr(context.space_data, "shading", None)
    if shading is not None and shading.type == "SOLID" and shading.color_type != "TEXTURE":
        layout.operator("gaussmith.show_texture", icon="TEXTURE")


def register() -> None:
    bpy.utils.register_class(GAUSSMITH_PT_queue)
    thumbnails.in_use.append(_pictures_shown)


def unregister() -> None:
    thumbnails.in_use.remove(_pictures_shown)
    bpy.utils.unregister_class(GAUSSMITH_PT_queue)

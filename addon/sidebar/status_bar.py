# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""The job under way in Blender's status bar, seen with the sidebar closed too. Drawing only reads what is cached."""

import bpy

from .. import session, text
from ..jobs import Job
from ..translations import told
from .queue_panel import stage_of

WIDTH = 14
"""Of the progress bar, in widths of a button."""


def text_of(job: Job, waiting: int) -> str:
    """Name, stage and share done of a job, and how many wait behind it."""
    words = f"{text.shown(job.name)}: {told(stage_of(job))} {job.fraction:.0%}"
    return f"{words} (+{waiting})" if waiting else words


def _draw(header: bpy.types.Header, _context: bpy.types.Context) -> None:
    jobs = session.jobs()
    if (job := jobs.current) is None:
        return
    row = header.layout.row(align=True)
    bar = row.row()
    bar.ui_units_x = WIDTH
    bar.progress(text=text_of(job, len(jobs.waiting)), translate=False, factor=job.fraction, type="BAR")
    cancel = row.row(align=True)
    cancel.enabled = not job.cancelling
    cancel.operator("gaussmith.cancel", text="", icon="X").job = job.id


def register() -> None:
    bpy.types.STATUSBAR_HT_header.append(_draw)


def unregister() -> None:
    bpy.types.STATUSBAR_HT_header.remove(_draw)

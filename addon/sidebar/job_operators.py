# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What can be done with a job in the queue, and with the engine when a job has failed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import bpy
from bpy.props import BoolProperty, IntProperty, StringProperty

from .. import session
from ..files.file_errors import GlbError
from ..jobs import Job, JobError, State
from ..translations import told
from ..wire import protocol
from . import queue_panel


class GAUSSMITH_OT_import_result(bpy.types.Operator):
    """Place the finished mesh in this scene"""

    bl_idname = "gaussmith.import_result"
    bl_label = "Import Generated Mesh"
    bl_options: ClassVar = {"INTERNAL", "UNDO"}

    job: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Go back to Object Mode first")
        return context.mode == "OBJECT"

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = session.jobs().find(self.job)
        if job is None or job.state is not State.READY:
            return {"CANCELLED"}
        try:
            session.import_ready(job, context)
        except (GlbError, OSError) as error:
            job.fail(JobError("BAD_RESULT", str(error), "Try again; the log says more."))
            self.report({"ERROR"}, told(str(error)))
            return {"CANCELLED"}
        return {"FINISHED"}


class _JobOperator:
    """What is done to one job, given by its id; `act` gets it."""

    bl_options: ClassVar = {"INTERNAL"}

    job: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = session.jobs().find(self.job)
        if job is None:
            return {"CANCELLED"}
        self.act(job, context)
        session.wake()
        session.redraw()
        return {"FINISHED"}

    act: Callable[[Job, bpy.types.Context], Any]


class GAUSSMITH_OT_cancel(_JobOperator, bpy.types.Operator):
    """Stop making this mesh"""

    bl_idname = "gaussmith.cancel"
    bl_label = "Cancel"

    def act(self, job: Job, _context: bpy.types.Context) -> None:
        session.jobs().cancel(job)


class GAUSSMITH_OT_cancel_all(bpy.types.Operator):
    """Stop the mesh under way and all that wait behind it"""

    bl_idname = "gaussmith.cancel_all"
    bl_label = "Cancel All"
    bl_options: ClassVar = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return session.jobs().busy

    def execute(self, _context: bpy.types.Context) -> set[str]:
        session.jobs().cancel_all()
        session.wake()
        session.redraw()
        return {"FINISHED"}


class GAUSSMITH_OT_move_job(_JobOperator, bpy.types.Operator):
    """Let this mesh be made earlier or later"""

    bl_idname = "gaussmith.move_job"
    bl_label = "Move in Queue"

    steps: IntProperty(name="Steps", description="Places later in the queue; negative for earlier", default=-1)

    def act(self, job: Job, _context: bpy.types.Context) -> None:
        session.jobs().move(job, self.steps)


class GAUSSMITH_OT_show_queue(bpy.types.Operator):
    """Show all that wait, or only the first ones"""

    bl_idname = "gaussmith.show_queue"
    bl_label = "Show Queue"
    bl_options: ClassVar = {"INTERNAL"}

    all: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, _context: bpy.types.Context) -> set[str]:
        queue_panel.show_all(self.all)
        return {"FINISHED"}


class GAUSSMITH_OT_retry(_JobOperator, bpy.types.Operator):
    """Make this mesh again with the same settings"""

    bl_idname = "gaussmith.retry"
    bl_label = "Try Again"

    def act(self, job: Job, context: bpy.types.Context) -> None:
        session.submit_again(job, context)


class GAUSSMITH_OT_retry_with_picture(_JobOperator, bpy.types.Operator):
    """Choose another picture and make its mesh with the same settings"""

    bl_idname = "gaussmith.retry_with_picture"
    bl_label = "Choose Another Picture"

    filepath: StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        job = session.jobs().find(self.job)
        if job is None or not isinstance(job.request, protocol.Generate):
            return {"CANCELLED"}
        self.filepath = job.request.picture
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, job: Job, context: bpy.types.Context) -> None:
        picture, request = Path(bpy.path.abspath(self.filepath)), job.request
        session.jobs().forget(job)
        if context.scene.library is None:
            context.scene.gaussmith.picture = str(picture)
        session.submit_picture(
            picture, context, seed=request.seed, options=request.options, replace=job.context.replace
        )


class GAUSSMITH_OT_free_memory(_JobOperator, bpy.types.Operator):
    """Give all memory of the engine back and make this mesh again"""

    bl_idname = "gaussmith.free_memory"
    bl_label = "Free Memory and Try Again"

    def act(self, job: Job, context: bpy.types.Context) -> None:
        session.jobs().unload()
        session.submit_again(job, context)


class GAUSSMITH_OT_dismiss(_JobOperator, bpy.types.Operator):
    """Take this entry off the list"""

    bl_idname = "gaussmith.dismiss"
    bl_label = "Dismiss"

    def act(self, job: Job, _context: bpy.types.Context) -> None:
        session.jobs().forget(job)


class GAUSSMITH_OT_copy_error(_JobOperator, bpy.types.Operator):
    """Copy the message and the end of the engine's log to the clipboard"""

    bl_idname = "gaussmith.copy_error"
    bl_label = "Copy Details"

    def act(self, job: Job, context: bpy.types.Context) -> None:
        if (error := job.error) is not None:
            lines = (f"{error.code}: {error.message}", error.hint, error.detail)
            context.window_manager.clipboard = "\n".join(line for line in lines if line)
            self.report({"INFO"}, told("Copied the details to the clipboard"))


class GAUSSMITH_OT_check_engine(bpy.types.Operator):
    """Look again for the engine's Python and its packages"""

    bl_idname = "gaussmith.check_engine"
    bl_label = "Check Again"
    bl_options: ClassVar = {"INTERNAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        session.check_engine()
        return {"FINISHED"}


_CLASSES = (
    GAUSSMITH_OT_import_result,
    GAUSSMITH_OT_cancel,
    GAUSSMITH_OT_cancel_all,
    GAUSSMITH_OT_move_job,
    GAUSSMITH_OT_show_queue,
    GAUSSMITH_OT_retry,
    GAUSSMITH_OT_retry_with_picture,
    GAUSSMITH_OT_free_memory,
    GAUSSMITH_OT_dismiss,
    GAUSSMITH_OT_copy_error,
    GAUSSMITH_OT_check_engine,
)

register, unregister = bpy.utils.register_classes_factory(_CLASSES)

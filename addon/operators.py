# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What the user can click, drop or call. Each is a few lines: the work is in `session` and `scene`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import bpy
from bpy.props import CollectionProperty, StringProperty

from . import engine_life, options, session, splat_files
from .glb import GlbError
from .jobs import Job, JobError, State
from .options import SplatOptions
from .plan import PICTURE_SUFFIXES


def _engine_usable(cls: type[bpy.types.Operator]) -> bool:
    state = engine_life.engine_state()
    if state.kind == "PROBLEM":
        cls.poll_message_set(f"{state.message} {state.hint}")
    return state.kind != "PROBLEM"


def _end_of(operator: bpy.types.Operator, context: bpy.types.Context, submitted: list[Job]) -> set[str]:
    """What an operator that queued jobs returns. Without a window it also waits for them and reports what failed."""
    if bpy.app.background:
        for job in submitted:
            session.wait(job, context)
            if job.error is not None:
                operator.report({"ERROR"}, f"{job.name}: {job.error.message} {job.error.hint}")
    elif submitted and (view := _view_of(context)) is not None:
        session.show_tab(view)
    return {"FINISHED"} if submitted else {"CANCELLED"}


def _view_of(context: bpy.types.Context) -> bpy.types.Area | None:
    """The 3D view the user is in, or else the largest one in sight."""
    if context.area is not None and context.area.type == "VIEW_3D":
        return context.area
    areas = [area for area in context.window.screen.areas if area.type == "VIEW_3D"]
    return max(areas, key=lambda area: area.width * area.height, default=None)


class GAUSSMITH_OT_generate(bpy.types.Operator):
    """Make a textured mesh from the picture and place it at the 3D cursor"""

    bl_idname = "gaussmith.generate"
    bl_label = "Generate from Image"
    bl_options: ClassVar = set()

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not context.scene.gaussmith.picture:
            cls.poll_message_set("Choose a picture first, or drop one on the viewport")
            return False
        return _engine_usable(cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        picture = Path(bpy.path.abspath(context.scene.gaussmith.picture))
        return _end_of(self, context, [session.submit_picture(picture, context)])


class GAUSSMITH_OT_generate_files(bpy.types.Operator):
    """Make a textured mesh from each picture and place them side by side from the 3D cursor on"""

    bl_idname = "gaussmith.generate_files"
    bl_label = "Generate from Images"
    bl_options: ClassVar = set()

    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return _engine_usable(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        if self.files:  # dropped on the viewport
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        pictures = [Path(self.directory, file.name) for file in self.files if file.name]
        if pictures:
            context.scene.gaussmith.picture = str(pictures[0])
        jobs = [session.submit_picture(picture, context, index) for index, picture in enumerate(pictures)]
        return _end_of(self, context, jobs)


class GAUSSMITH_OT_import_splats(SplatOptions, bpy.types.Operator):
    """Make a textured mesh from each file of Gaussian splats and place them side by side from the 3D cursor on"""

    bl_idname = "gaussmith.import_splats"
    bl_label = "Import Splats as Mesh"
    bl_options: ClassVar = {"PRESET"}

    filepath: StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(
        default=";".join(f"*{suffix}" for suffix in splat_files.SUFFIXES), options={"HIDDEN", "SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return _engine_usable(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        manager = context.window_manager
        if self.files:  # dropped on the viewport
            return manager.invoke_props_dialog(self, width=340, title=self._title(), confirm_text="Import")
        manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        options.draw_basic(layout, self)
        for name, title, draw in options.groups(SplatOptions):
            header, body = layout.panel(f"GAUSSMITH_import_{name}", default_closed=name != "file")
            header.label(text=title)
            if body is not None:
                draw(body, self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        chosen = options.chosen(self, SplatOptions)
        files = enumerate(self._files())
        return _end_of(self, context, [session.submit_splats(file, chosen, context, index) for index, file in files])

    def _files(self) -> list[Path]:
        named = [Path(self.directory, file.name) for file in self.files if file.name]
        return named or ([Path(bpy.path.abspath(self.filepath))] if self.filepath else [])

    def _title(self) -> str:
        names = [file.name for file in self.files]
        return f"Import {names[0]} as Mesh" if len(names) == 1 else f"Import {len(names)} Splat Files as Meshes"


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
            self.report({"ERROR"}, str(error))
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
        return {"FINISHED"}

    act: Callable[[Job, bpy.types.Context], Any]


class GAUSSMITH_OT_cancel(_JobOperator, bpy.types.Operator):
    """Stop making this mesh"""

    bl_idname = "gaussmith.cancel"
    bl_label = "Cancel"

    def act(self, job: Job, _context: bpy.types.Context) -> None:
        session.jobs().cancel(job)


class GAUSSMITH_OT_retry(_JobOperator, bpy.types.Operator):
    """Make this mesh again with the same settings"""

    bl_idname = "gaussmith.retry"
    bl_label = "Try Again"

    def act(self, job: Job, context: bpy.types.Context) -> None:
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
            self.report({"INFO"}, "Copied the details to the clipboard")


class GAUSSMITH_OT_check_engine(bpy.types.Operator):
    """Look again for the engine's Python and its packages"""

    bl_idname = "gaussmith.check_engine"
    bl_label = "Check Again"
    bl_options: ClassVar = {"INTERNAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        session.check_engine()
        return {"FINISHED"}


class GAUSSMITH_OT_open_log(bpy.types.Operator):
    """Open the folder with the engine's logs"""

    bl_idname = "gaussmith.open_log"
    bl_label = "Show Logs"
    bl_options: ClassVar = {"INTERNAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        folder = engine_life.log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return bpy.ops.wm.path_open(filepath=str(folder))


class GAUSSMITH_OT_show_texture(bpy.types.Operator):
    """Show textures in this viewport's Solid shading"""

    bl_idname = "gaussmith.show_texture"
    bl_label = "Show Texture"
    bl_options: ClassVar = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.space_data.shading.color_type = "TEXTURE"
        return {"FINISHED"}


class GAUSSMITH_FH_splats(bpy.types.FileHandler):
    """A .ply may hold splats or a mesh: Blender asks which importer is meant, as always when there are two."""

    bl_idname = "GAUSSMITH_FH_splats"
    bl_label = "Gaussian Splats as Mesh"
    bl_import_operator = GAUSSMITH_OT_import_splats.bl_idname
    bl_file_extensions = ";".join(splat_files.SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


class GAUSSMITH_FH_picture(bpy.types.FileHandler):
    bl_idname = "GAUSSMITH_FH_picture"
    bl_label = "Generate Mesh from Image"
    bl_import_operator = GAUSSMITH_OT_generate_files.bl_idname
    bl_file_extensions = ";".join(PICTURE_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


_CLASSES = (
    GAUSSMITH_OT_generate,
    GAUSSMITH_OT_generate_files,
    GAUSSMITH_OT_import_splats,
    GAUSSMITH_OT_import_result,
    GAUSSMITH_OT_cancel,
    GAUSSMITH_OT_retry,
    GAUSSMITH_OT_dismiss,
    GAUSSMITH_OT_copy_error,
    GAUSSMITH_OT_check_engine,
    GAUSSMITH_OT_open_log,
    GAUSSMITH_OT_show_texture,
    GAUSSMITH_FH_splats,
    GAUSSMITH_FH_picture,
)

register, unregister = bpy.utils.register_classes_factory(_CLASSES)

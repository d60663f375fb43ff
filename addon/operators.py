# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What makes meshes: clicked, dropped or called from a script. Each is a few lines: the work is in `session`."""

from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import CollectionProperty, StringProperty

from . import engine_life, options, session
from .files import splat_files
from .headless.plan import PICTURE_SUFFIXES
from .jobs import Job
from .options import PictureOptions, SplatOptions
from .results.result_options import seeds
from .translations import told


def engine_usable(cls: type[bpy.types.Operator]) -> bool:
    """For `poll`: whether there is an engine, with the reason where there is none."""
    state = engine_life.engine_state()
    if state.kind == "PROBLEM":
        cls.poll_message_set(f"{told(state.message)} {told(state.hint)}")
    return state.kind != "PROBLEM"


def end_of(operator: bpy.types.Operator, context: bpy.types.Context, submitted: list[Job]) -> set[str]:
    """What an operator that queued jobs returns. Without a window it also waits for them and reports what failed."""
    if bpy.app.background:
        for job in submitted:
            session.wait(job, context)
            if job.error is not None:
                operator.report({"ERROR"}, f"{job.name}: {told(job.error.message)} {told(job.error.hint)}")
    elif submitted and (view := _view_of(context)) is not None:
        session.show_tab(view)
    return {"FINISHED"} if submitted else {"CANCELLED"}


def _view_of(context: bpy.types.Context) -> bpy.types.Area | None:
    """The 3D view the user is in, or else the largest one in sight."""
    if context.area is not None and context.area.type == "VIEW_3D":
        return context.area
    areas = [area for area in context.window.screen.areas if area.type == "VIEW_3D"]
    return max(areas, key=lambda area: area.width * area.height, default=None)


def _submit(pictures: list[Path], context: bpy.types.Context, **choice) -> list[Job]:
    """A job for each variant of each picture; their objects stand in a row."""
    settings = context.scene.gaussmith
    first = choice.pop("seed", settings.seed)
    wanted = [(picture, seed) for picture in pictures for seed in seeds(first, settings.variants)]
    return [
        session.submit_picture(picture, context, index, seed=seed, **choice)
        for index, (picture, seed) in enumerate(wanted)
    ]


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
        return engine_usable(cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        picture = context.scene.gaussmith.picture
        if picture.startswith("//") and not bpy.data.filepath:
            self.report({"ERROR"}, told("The picture is given relative to this file, which was never saved. Save it."))
            return {"CANCELLED"}
        return end_of(self, context, _submit([Path(bpy.path.abspath(picture))], context))


class GAUSSMITH_OT_generate_from_image(PictureOptions, bpy.types.Operator):
    """Make a textured mesh from a picture file. What is not given is as the scene has it"""

    bl_idname = "gaussmith.generate_from_image"
    bl_label = "Generate from Image File"
    bl_options: ClassVar = {"PRESET"}

    filepath: StringProperty(
        name="Picture",
        description="Picture of one object, best on a plain or transparent background",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return engine_usable(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        settings = context.scene.gaussmith
        for name in options.properties(PictureOptions):
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(settings, name))
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        options.draw_basic(layout, self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        if not self.filepath:
            self.report({"ERROR"}, told("No picture was given. Pass its path as filepath."))
            return {"CANCELLED"}
        given = options.chosen(self, PictureOptions)
        given = {name: value for name, value in given.items() if self.properties.is_property_set(name)}
        seed = given.pop("seed", context.scene.gaussmith.seed)
        picture = Path(bpy.path.abspath(self.filepath))
        return end_of(self, context, _submit([picture], context, seed=seed, options=given))


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
        return engine_usable(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        if self.files:  # dropped on the viewport
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        pictures = [Path(self.directory, file.name) for file in self.files if file.name]
        if pictures and context.scene.library is None:
            context.scene.gaussmith.picture = str(pictures[0])
        return end_of(self, context, _submit(pictures, context))


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
        return engine_usable(cls)

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
        return end_of(self, context, [session.submit_splats(file, chosen, context, index) for index, file in files])

    def _files(self) -> list[Path]:
        named = [Path(self.directory, file.name) for file in self.files if file.name]
        return named or ([Path(bpy.path.abspath(self.filepath))] if self.filepath else [])

    def _title(self) -> str:
        names = [file.name for file in self.files]
        if len(names) == 1:
            return told("Import {name} as Mesh").format(name=names[0])
        return told("Import {n} Splat Files as Meshes").format(n=len(names))


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
        return context.area is not None and context.area.type == "VIEW_3D" and context.region.type != "UI"


_CLASSES = (
    GAUSSMITH_OT_generate,
    GAUSSMITH_OT_generate_from_image,
    GAUSSMITH_OT_generate_files,
    GAUSSMITH_OT_import_splats,
    GAUSSMITH_OT_open_log,
    GAUSSMITH_OT_show_texture,
    GAUSSMITH_FH_splats,
    GAUSSMITH_FH_picture,
)

register, unregister = bpy.utils.register_classes_factory(_CLASSES)

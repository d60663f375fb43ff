# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""The buttons under the picture: each puts a picture into the well."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, StringProperty

from ..headless.plan import PICTURE_SUFFIXES
from ..translations import told
from . import sources
from .sources import SourceError

_names: list[tuple[str, str, str]] = []  # kept: Blender does not hold on to the texts of a dynamic enumeration


class _Source:
    """A source of pictures; `picture` gives the file."""

    bl_options: ClassVar = {"INTERNAL", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("The scene belongs to another file and cannot be changed")
        return context.scene is not None and context.scene.is_editable

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            context.scene.gaussmith.picture = str(self.picture(context))
        except SourceError as error:
            self.report({"ERROR"}, told(str(error)))
            return {"CANCELLED"}
        except OSError as error:
            self.report({"ERROR"}, told(f"Could not keep the picture: {error.strerror or error}."))
            return {"CANCELLED"}
        return {"FINISHED"}

    picture: Callable[[bpy.types.Context], Path]


class GAUSSMITH_OT_choose_picture(_Source, bpy.types.Operator):
    """Choose a picture file of one object, best on a plain or transparent background"""

    bl_idname = "gaussmith.choose_picture"
    bl_label = "Choose Picture"

    filepath: StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        if self.files:  # dropped on the sidebar
            return self.execute(context)
        self.filepath = bpy.path.abspath(context.scene.gaussmith.picture)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def picture(self, _context: bpy.types.Context) -> Path:
        named = [file.name for file in self.files if file.name]
        path = Path(self.directory, named[0]) if named else Path(bpy.path.abspath(self.filepath))
        if not path.is_file():
            raise SourceError(f"There is no file {path}.")
        return path


class GAUSSMITH_OT_paste_picture(_Source, bpy.types.Operator):
    """Use the picture on the clipboard: pixels, a picture file that was copied, or its path"""

    bl_idname = "gaussmith.paste_picture"
    bl_label = "Paste Picture"

    def picture(self, context: bpy.types.Context) -> Path:
        return sources.from_clipboard(context)


def _image_names(_operator: Any, _context: bpy.types.Context) -> list[tuple[str, str, str]]:
    _names[:] = [(image.name_full, image.name_full, "") for image in sources.usable_images()]
    return _names


class GAUSSMITH_OT_use_image(_Source, bpy.types.Operator):
    """Use an image of this Blender file, as it is now"""

    bl_idname = "gaussmith.use_image"
    bl_label = "Use Image"
    bl_property = "image"

    image: EnumProperty(name="Image", items=_image_names, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not sources.usable_images():
            cls.poll_message_set("There is no image in this file")
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}

    def picture(self, _context: bpy.types.Context) -> Path:
        return sources.from_image(next(image for image in sources.usable_images() if image.name_full == self.image))


class GAUSSMITH_OT_use_render(_Source, bpy.types.Operator):
    """Use the last render of this scene"""

    bl_idname = "gaussmith.use_render"
    bl_label = "Use Render Result"

    def picture(self, context: bpy.types.Context) -> Path:
        return sources.from_render(context)


class GAUSSMITH_OT_use_camera(_Source, bpy.types.Operator):
    """Use what the active camera sees, drawn as this 3D view is shaded, without background"""

    bl_idname = "gaussmith.use_camera"
    bl_label = "Use Camera View"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.scene.camera is None:
            cls.poll_message_set("The scene has no active camera")
            return False
        return super().poll(context)

    def picture(self, context: bpy.types.Context) -> Path:
        return sources.from_camera(context)


class GAUSSMITH_OT_clear_picture(_Source, bpy.types.Operator):
    """Empty the well. The picture itself stays where it is"""

    bl_idname = "gaussmith.clear_picture"
    bl_label = "Clear Picture"

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.gaussmith.picture = ""
        return {"FINISHED"}


class GAUSSMITH_FH_well(bpy.types.FileHandler):
    """A picture dropped on the sidebar is looked at first; one dropped in the view is made into a mesh at once."""

    bl_idname = "GAUSSMITH_FH_well"
    bl_label = "Use Picture"
    bl_import_operator = GAUSSMITH_OT_choose_picture.bl_idname
    bl_file_extensions = ";".join(PICTURE_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D" and context.region.type == "UI"


register, unregister = bpy.utils.register_classes_factory(
    (
        GAUSSMITH_OT_choose_picture,
        GAUSSMITH_OT_paste_picture,
        GAUSSMITH_OT_use_image,
        GAUSSMITH_OT_use_render,
        GAUSSMITH_OT_use_camera,
        GAUSSMITH_OT_clear_picture,
        GAUSSMITH_FH_well,
    )
)

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What can be done with an object that was generated: a new mesh, splats, a collision hull, an asset."""

from dataclasses import replace as with_values
from pathlib import Path
from typing import Any, ClassVar

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from .. import options, scene, session
from ..files.file_errors import SplatPointsError
from ..jobs import Job
from ..operators import end_of, engine_usable
from ..sidebar import generators
from ..translations import told
from . import assets, collision, replace, splats_view
from .record import RECORD, read_record
from .result_options import result_choice


class _OfObject:
    """An operator on the active object, which must be one that was generated here."""

    @classmethod
    def poll(cls: Any, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Go back to Object Mode first")
            return False
        if context.object is None or RECORD not in context.object:
            cls.poll_message_set("Choose an object that was generated first")
            return False
        if context.object.library is not None:
            cls.poll_message_set("This object is linked from another file")
            return False
        return True


class GAUSSMITH_OT_regenerate(_OfObject, bpy.types.Operator):
    """Make the mesh of this object again. The object keeps its place, modifiers and material slots"""

    bl_idname = "gaussmith.regenerate"
    bl_label = "Regenerate Mesh"
    bl_options: ClassVar = set()

    new_seed: BoolProperty(
        name="New Seed",
        description="Take the seed after the one it was made with",
        default=False,
        options={"SKIP_SAVE"},
    )
    scene_settings: BoolProperty(
        name="Scene Settings",
        description="Take the settings of the scene, instead of those the object was made with",
        default=False,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return super().poll(context) and engine_usable(cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        ob, record = context.object, read_record(context.object) or {}
        why = replace.problem(ob.name)
        if not why and not isinstance(record.get("picture") or record.get("splats"), str):
            why = f"It is not known what {ob.name} was made from."
        if why:
            self.report({"ERROR"}, told(why))
            return {"CANCELLED"}
        job = self._again(record, context)
        job.name = ob.name
        job.context = with_values(job.context, replace=ob.name)
        return end_of(self, context, [job])

    def _again(self, record: dict[str, Any], context: bpy.types.Context) -> Job:
        """The job that made the object, once more."""
        if "picture" not in record:
            wanted = _options_of(record, options.SplatOptions)
            return session.submit_splats(Path(record["splats"]), wanted, context)
        wanted = {} if self.scene_settings else _options_of(record, options.PictureOptions)
        seed = record["seed"] if isinstance(record.get("seed"), int) else 0
        if self.new_seed:
            seed = (seed + 1) % (options.LARGEST_INT + 1)
        job = session.submit_picture(Path(record["picture"]), context, seed=seed, options=wanted)
        if not self.scene_settings:
            name = generators.generator(str(record.get("generator", ""))).name
            job.request = with_values(job.request, generator=name)
        return job


def _options_of(record: dict[str, Any], kind: type[options.MeshOptions]) -> dict[str, Any]:
    """The options in a record that this version knows: it may be from another one."""
    held = record.get("options")
    held = held if isinstance(held, dict) else {}
    crop = {"crop": held["crop"]} if kind is options.SplatOptions and "crop" in held else {}
    return {**options.defaults(kind), **options.known(held, kind), **crop}


class GAUSSMITH_OT_preview_splats(_OfObject, bpy.types.Operator):
    """Show the Gaussian splats this mesh was made from in its place, or the mesh again"""

    bl_idname = "gaussmith.preview_splats"
    bl_label = "Preview Splats"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    ellipsoids: BoolProperty(
        name="Ellipsoids",
        description="Show each splat in its shape, instead of as a round point: truer, and slower",
        default=False,
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if not (read_record(context.object) or {}).get("splats_file"):
            cls.poll_message_set("No splats were kept with this object. Choose Keep Splats before you generate")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        ob = context.object
        try:
            cloud = splats_view.cloud_for(ob)
        except (SplatPointsError, OSError) as error:
            self.report({"ERROR"}, told(str(error)))
            return {"CANCELLED"}
        splats_view.set_input(cloud, "Ellipsoids", self.ellipsoids)
        splats_view.show_splats(ob, cloud, not cloud.visible_get(view_layer=context.view_layer))
        return {"FINISHED"}


class GAUSSMITH_OT_reveal_splats(_OfObject, bpy.types.Operator):
    """Open the folder with the .ply file of the splats this mesh was made from"""

    bl_idname = "gaussmith.reveal_splats"
    bl_label = "Show Splats File"
    bl_options: ClassVar = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            file = splats_view.kept_file(context.object)
        except SplatPointsError as error:
            self.report({"ERROR"}, told(str(error)))
            return {"CANCELLED"}
        return bpy.ops.wm.path_open(filepath=str(file.parent))


class GAUSSMITH_OT_import_points(bpy.types.Operator):
    """Show a .ply file of Gaussian splats as points, with all its properties as attributes"""

    bl_idname = "gaussmith.import_points"
    bl_label = "Import Splats as Points"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN", "SKIP_SAVE"})
    up: options.up_axis()

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Go back to Object Mode first")
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = Path(bpy.path.abspath(self.filepath))
        try:
            cloud = splats_view.add_cloud(path, path.stem)
        except SplatPointsError as error:
            self.report({"ERROR"}, told(str(error)))
            return {"CANCELLED"}
        except OSError as error:
            self.report({"ERROR"}, told("Could not read {path}: {reason}").format(path=path, reason=error.strerror))
            return {"CANCELLED"}
        splats_view.turn(cloud, self.up)
        scene.select_only(cloud, context.view_layer)
        return {"FINISHED"}


def _mesh_selected(cls: type[bpy.types.Operator], context: bpy.types.Context) -> bool:
    if context.mode != "OBJECT" or not any(ob.type == "MESH" for ob in context.selected_objects):
        cls.poll_message_set("Select a mesh in Object Mode first")
        return False
    return True


class GAUSSMITH_OT_add_collision(bpy.types.Operator):
    """Add a convex hull of few faces to each selected mesh, as its child"""

    bl_idname = "gaussmith.add_collision"
    bl_label = "Add Collision Hull"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    kind: EnumProperty(
        name="Name",
        description="How the hull is called",
        items=[
            ("PLAIN", "Convex Hull", "Called after the object, with _collision behind"),
            ("UNREAL", "For Unreal", "Called as Unreal's importer expects: UCX_ before the object's name"),
            ("GODOT", "For Godot", "Called as Godot's importer expects: -convcolonly behind the object's name"),
        ],
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _mesh_selected(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        made = 0
        for ob in context.selected_objects:
            if ob.type != "MESH" or collision.PART in ob:
                continue
            if ob.library is not None:
                self.report({"WARNING"}, told("{name} is linked from another file").format(name=ob.name))
                continue
            try:
                collision.add_hull(ob, self.kind)
                made += 1
            except collision.HullError as error:
                self.report({"WARNING"}, told(str(error)))
        return {"FINISHED"} if made else {"CANCELLED"}


class GAUSSMITH_OT_save_asset(bpy.types.Operator):
    """Make the selected meshes assets with a preview picture, in this file or in a library"""

    bl_idname = "gaussmith.save_asset"
    bl_label = "Save as Asset"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    library: StringProperty(
        name="Library",
        description="Asset library to save the object in, as a file of its own. Leave empty for the scene's choice",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _mesh_selected(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        choice = result_choice(context.scene.gaussmith, asset_library=self.library)
        saved = []
        for ob in context.selected_objects:
            if ob.type == "MESH" and collision.PART not in ob:
                try:
                    saved.append((ob.name, assets.save_asset(ob, choice)))
                except assets.AssetError as error:
                    self.report({"WARNING"}, told(str(error)))
        if not saved:
            return {"CANCELLED"}
        name, file = saved[0]
        place = file if file is not None else told("this file")
        self.report({"INFO"}, told("Saved {name} in {place}").format(name=name, place=place))
        return {"FINISHED"}


def draw_object(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What can be done with the active object, for the panel about it."""
    ob = context.object
    if ob is None:
        return
    record = read_record(ob) or {}
    column = layout.column(align=True)
    row = column.row(align=True)
    row.operator("gaussmith.regenerate", text="Regenerate", icon="FILE_REFRESH")
    if "seed" in record:
        row.operator("gaussmith.regenerate", text="New Seed", icon="DOT").new_seed = True
    row = column.row(align=True)
    text = "Show Mesh" if ob.hide_get() else "Preview Splats"
    row.operator("gaussmith.preview_splats", text=text, icon="OUTLINER_OB_POINTCLOUD")
    row.operator("gaussmith.reveal_splats", text="", icon="FILE_FOLDER")
    row = column.row(align=True)
    row.operator("gaussmith.add_collision", text="Collision Hull", icon="MESH_ICOSPHERE")
    row.operator("gaussmith.save_asset", icon="ASSET_MANAGER")


_CLASSES = (
    GAUSSMITH_OT_regenerate,
    GAUSSMITH_OT_preview_splats,
    GAUSSMITH_OT_reveal_splats,
    GAUSSMITH_OT_import_points,
    GAUSSMITH_OT_add_collision,
    GAUSSMITH_OT_save_asset,
)

_register_classes, _unregister_classes = bpy.utils.register_classes_factory(_CLASSES)


def _points_menu(menu: bpy.types.Menu, _context: bpy.types.Context) -> None:
    menu.layout.operator("gaussmith.import_points", text="Gaussian Splats as Points (.ply)")


def register() -> None:
    _register_classes()
    bpy.types.TOPBAR_MT_file_import.append(_points_menu)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(_points_menu)
    _unregister_classes()

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What can be done with an entry of the history."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import bpy
from bpy.props import BoolProperty, IntProperty, StringProperty

from .. import options, session
from ..files.file_errors import GlbError
from ..history_entry import Entry
from ..operators import end_of, engine_usable
from ..results import delivery, keeping
from ..translations import told
from . import generators, history_panel


class _EntryOperator:
    """What is done to one entry, given by its id; `act` gets it."""

    bl_options: ClassVar = {"INTERNAL"}

    entry: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        found = keeping.history().find(self.entry)
        return {"CANCELLED"} if found is None else self.act(found, context)

    act: Callable[[Entry, bpy.types.Context], set[str]]


class GAUSSMITH_OT_select_entry(bpy.types.Operator):
    """Show what can be done with this mesh"""

    bl_idname = "gaussmith.select_entry"
    bl_label = "Select"
    bl_options: ClassVar = {"INTERNAL"}

    entry: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, _context: bpy.types.Context) -> set[str]:
        history_panel.view.selected = self.entry
        return {"FINISHED"}


class GAUSSMITH_OT_turn_page(bpy.types.Operator):
    """Show newer or older meshes"""

    bl_idname = "gaussmith.turn_page"
    bl_label = "Turn Page"
    bl_options: ClassVar = {"INTERNAL"}

    pages: IntProperty(options={"HIDDEN", "SKIP_SAVE"}, default=1)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        history_panel.view.turn(self.pages)
        return {"FINISHED"}


class GAUSSMITH_OT_import_entry(_EntryOperator, bpy.types.Operator):
    """Place this mesh in the scene once more, at the 3D cursor"""

    bl_idname = "gaussmith.import_entry"
    bl_label = "Import Again"
    bl_options: ClassVar = {"INTERNAL", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Go back to Object Mode first")
        return context.mode == "OBJECT"

    def act(self, entry: Entry, context: bpy.types.Context) -> set[str]:
        try:
            delivery.import_ready(keeping.job_of(entry, context), context)
        except (GlbError, OSError) as error:
            self.report({"ERROR"}, told("{name} cannot be imported: {why}").format(name=entry.name, why=error))
            return {"CANCELLED"}
        keeping.history().note_import(entry.id)
        return {"FINISHED"}


class GAUSSMITH_OT_regenerate_entry(_EntryOperator, bpy.types.Operator):
    """Make a mesh from the same picture with the settings it had then"""

    bl_idname = "gaussmith.regenerate_entry"
    bl_label = "Regenerate"

    new_seed: BoolProperty(
        name="New Seed",
        description="Imagine another unseen side, instead of making the same mesh again",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return engine_usable(cls)

    def act(self, entry: Entry, context: bpy.types.Context) -> set[str]:
        source = Path(entry.source)
        keeping.history().note_use(entry.source)
        if entry.splats:
            wanted = {**options.defaults(options.SplatOptions), **options.known(entry.options, options.SplatOptions)}
            job = session.submit_splats(source, wanted, context)
        else:
            seed = random.randrange(options.LARGEST_INT) if self.new_seed else entry.seed
            wanted = {
                **options.defaults(options.PictureOptions),
                **options.known(entry.options, options.PictureOptions),
            }
            job = session.submit_picture(source, context, seed=seed, options=wanted)
            job.request = replace(job.request, generator=generators.generator(entry.generator).name)
        job.name = entry.name
        return end_of(self, context, [job])


class GAUSSMITH_OT_reveal_entry(_EntryOperator, bpy.types.Operator):
    """Open the folder with the files of this mesh"""

    bl_idname = "gaussmith.reveal_entry"
    bl_label = "Show Files"

    def act(self, entry: Entry, _context: bpy.types.Context) -> set[str]:
        folder = Path(entry.files["mesh"]).parent
        if not folder.is_dir():
            self.report({"ERROR"}, told("The folder {folder} is gone.").format(folder=folder))
            return {"CANCELLED"}
        return bpy.ops.wm.path_open(filepath=str(folder))


class GAUSSMITH_OT_delete_entry(_EntryOperator, bpy.types.Operator):
    """Delete the kept files of this mesh. Objects made from it stay as they are"""

    bl_idname = "gaussmith.delete_entry"
    bl_label = "Delete from History"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def act(self, entry: Entry, _context: bpy.types.Context) -> set[str]:
        keeping.history().remove(entry.id, spare=keeping.in_use())
        history_panel.view.refresh()
        keeping.wake()
        return {"FINISHED"}


class GAUSSMITH_OT_pin_entry(_EntryOperator, bpy.types.Operator):
    """Keep this mesh whenever the history makes room or is emptied"""

    bl_idname = "gaussmith.pin_entry"
    bl_label = "Keep"

    def act(self, entry: Entry, _context: bpy.types.Context) -> set[str]:
        history = keeping.history()
        history.pin(entry.id, not history.marks(entry.id).pinned)
        keeping.wake()
        return {"FINISHED"}


class GAUSSMITH_OT_delete_all_entries(bpy.types.Operator):
    """Delete all meshes of the history but those you keep. Objects made from them stay as they are"""

    bl_idname = "gaussmith.delete_all_entries"
    bl_label = "Delete All"
    bl_options: ClassVar = {"INTERNAL"}

    asked: StringProperty(options={"HIDDEN", "SKIP_SAVE"})
    """Ids of the entries that the user was asked about; empty where nobody was asked, which means all."""

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        if not keeping.history().loose():
            cls.poll_message_set("There is nothing that could be deleted")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        going = keeping.history().loose()
        self.asked = " ".join(entry.id for entry in going)
        return context.window_manager.invoke_confirm(
            self,
            event,
            title=told("Delete All from History"),
            message=history_panel.words_about(going),
            confirm_text=told("Delete"),
            icon="QUESTION",
        )

    def execute(self, _context: bpy.types.Context) -> set[str]:
        loose = [entry.id for entry in keeping.history().loose()]
        asked = set(self.asked.split() or loose)
        keeping.history().remove(*(entry_id for entry_id in loose if entry_id in asked), spare=keeping.in_use())
        history_panel.view.refresh()
        keeping.wake()
        return {"FINISHED"}


class GAUSSMITH_OT_make_room(bpy.types.Operator):
    """Let the oldest meshes go when the history takes more than its limit, now and from now on"""

    bl_idname = "gaussmith.make_room"
    bl_label = "Make Room"
    bl_options: ClassVar = {"INTERNAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        keeping.history().agree(spare=keeping.in_use())
        keeping.wake()
        return {"FINISHED"}


_CLASSES: tuple[Any, ...] = (
    GAUSSMITH_OT_select_entry,
    GAUSSMITH_OT_turn_page,
    GAUSSMITH_OT_import_entry,
    GAUSSMITH_OT_regenerate_entry,
    GAUSSMITH_OT_reveal_entry,
    GAUSSMITH_OT_delete_entry,
    GAUSSMITH_OT_pin_entry,
    GAUSSMITH_OT_delete_all_entries,
    GAUSSMITH_OT_make_room,
)

register, unregister = bpy.utils.register_classes_factory(_CLASSES)

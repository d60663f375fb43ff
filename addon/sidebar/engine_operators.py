# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What can be done with the engine: unload it, have the doctor look at it, copy the report, repair it."""

from typing import ClassVar

import bpy

from .. import engine_life, session


class GAUSSMITH_OT_unload(bpy.types.Operator):
    """End the engine, which gives all its memory back. The next mesh starts it again"""

    bl_idname = "gaussmith.unload"
    bl_label = "Unload Engine"
    bl_options: ClassVar = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        if session.jobs().engine is None:
            cls.poll_message_set("The engine is not loaded")
            return False
        if session.jobs().busy:
            cls.poll_message_set("The engine is at work; cancel its jobs first")
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        engine_life.unload()
        session.wake()
        return {"FINISHED"}


class GAUSSMITH_OT_doctor(bpy.types.Operator):
    """Look at the engine's packages, networks and device, and try it out. Takes seconds, the first time minutes"""

    bl_idname = "gaussmith.doctor"
    bl_label = "Run Doctor"
    bl_options: ClassVar = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        if engine_life.is_examining():
            cls.poll_message_set("The doctor is at work")
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        engine_life.examine()
        session.wake()
        if bpy.app.background and (found := engine_life.wait_for_findings()) is not None:
            print(engine_life.report(found), flush=True)
        return {"FINISHED"}


class GAUSSMITH_OT_copy_report(bpy.types.Operator):
    """Copy what the doctor found, facts about this Blender and the end of the engine's log, for those who help you"""

    bl_idname = "gaussmith.copy_report"
    bl_label = "Copy Report"
    bl_options: ClassVar = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        if engine_life.findings() is None:
            cls.poll_message_set("Run the doctor first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        found = engine_life.findings()
        assert found is not None
        context.window_manager.clipboard = engine_life.report(found)
        self.report({"INFO"}, "Copied the report to the clipboard")
        return {"FINISHED"}


class GAUSSMITH_OT_repair_engine(bpy.types.Operator):
    """Look for the engine again, let the doctor examine it, and show both in the preferences"""

    bl_idname = "gaussmith.repair_engine"
    bl_label = "Repair Engine"
    bl_options: ClassVar = {"INTERNAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        session.check_engine()
        engine_life.examine()
        if not bpy.app.background:
            bpy.ops.preferences.addon_show(module=engine_life.PACKAGE)
        return {"FINISHED"}


CLASSES = (GAUSSMITH_OT_unload, GAUSSMITH_OT_doctor, GAUSSMITH_OT_copy_report, GAUSSMITH_OT_repair_engine)

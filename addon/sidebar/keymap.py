# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""One keyboard shortcut, off until the user switches it on: in the preferences of the add-on or in Blender's keymap."""

import bpy

OPERATOR = "gaussmith.generate"
KEYMAP = ("3D View", "VIEW_3D")
_KEYS = {"type": "G", "value": "PRESS", "ctrl": True, "shift": True, "alt": True}

_made_keymap = False


def item(context: bpy.types.Context) -> tuple[bpy.types.KeyMap, bpy.types.KeyMapItem] | None:
    """The shortcut as the user has it, which is a copy of ours."""
    user = context.window_manager.keyconfigs.user
    keymap = user.keymaps.find(KEYMAP[0], space_type=KEYMAP[1]) if user is not None else None
    found = [each for each in keymap.keymap_items if each.idname == OPERATOR] if keymap is not None else []
    return (keymap, found[0]) if found else None


def draw(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The shortcut, to be switched on and changed."""
    if (found := item(context)) is not None:
        row = layout.row()
        row.use_property_split = False
        row.prop(found[1], "active", text="Shortcut for Generate from Image")
        row.prop(found[1], "type", text="", full_event=True)


def register() -> None:
    global _made_keymap
    ours = bpy.context.window_manager.keyconfigs.addon
    if ours is None:  # a Blender without a window may have none
        return
    _made_keymap = ours.keymaps.find(KEYMAP[0], space_type=KEYMAP[1]) is None
    keymap = ours.keymaps.new(name=KEYMAP[0], space_type=KEYMAP[1])
    keymap.keymap_items.new(OPERATOR, **_KEYS).active = False


def unregister() -> None:
    ours = bpy.context.window_manager.keyconfigs.addon
    keymap = ours.keymaps.find(KEYMAP[0], space_type=KEYMAP[1]) if ours is not None else None
    if ours is None or keymap is None:
        return
    for each in [each for each in keymap.keymap_items if each.idname == OPERATOR]:
        keymap.keymap_items.remove(each)
    if _made_keymap and not keymap.keymap_items:
        ours.keymaps.remove(keymap)

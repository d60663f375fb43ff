# SPDX-License-Identifier: GPL-3.0-or-later
"""What an add-on can leave behind in Blender, as one dictionary to compare: before it was enabled and after."""

import os
import threading
from pathlib import Path
from typing import Any

import bpy


class Timers:
    """Counts the timers registered and not yet ended, which Blender itself cannot list."""

    def __init__(self) -> None:
        self._known: list[Any] = []
        self._register = bpy.app.timers.register

    def __enter__(self) -> "Timers":
        bpy.app.timers.register = self._note
        return self

    def __exit__(self, *_: object) -> None:
        bpy.app.timers.register = self._register

    def _note(self, function: Any, **options: Any) -> None:
        self._known.append(function)
        self._register(function, **options)

    def left(self) -> list[str]:
        is_registered = bpy.app.timers.is_registered
        return sorted({f"{f.__module__}.{f.__qualname__}" for f in self._known if is_registered(f)})


def belongings() -> dict[str, Any]:
    """Handlers, classes, properties, operators, menu entries, shortcuts, threads and children."""
    handlers = {name: list(map(str, value)) for name, value in vars_of(bpy.app.handlers) if isinstance(value, list)}
    types = [getattr(bpy.types, name) for name in dir(bpy.types)]
    properties = {
        cls.bl_rna.identifier: sorted(cls.bl_rna.properties.keys())
        for cls in types
        if isinstance(cls, type) and issubclass(cls, bpy.types.ID | bpy.types.PropertyGroup | bpy.types.Preferences)
    }
    drawn = {
        cls.__name__: [f"{f.__module__}.{f.__qualname__}" for f in draw_functions(cls)]
        for cls in types
        if isinstance(cls, type) and issubclass(cls, bpy.types.Menu | bpy.types.Header | bpy.types.Panel)
    }
    return {
        "handlers": handlers,
        "types": sorted(dir(bpy.types)),
        "subclasses": sorted(subclasses(bpy.types.Operator, bpy.types.Panel, bpy.types.Menu, bpy.types.PropertyGroup)),
        "properties": properties,
        "operators": {group: sorted(dir(getattr(bpy.ops, group))) for group in dir(bpy.ops) if group != "gaussmith"}
        | {"gaussmith": sorted(dir(bpy.ops.gaussmith))},
        "drawn": {name: functions for name, functions in drawn.items() if functions},
        "shortcuts": shortcuts(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "children": children(),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What there is more or less of after, by kind."""
    found = {}
    for kind in before:
        if before[kind] != after[kind]:
            found[kind] = _difference(before[kind], after[kind])
    return found


def _difference(before: Any, after: Any) -> Any:
    if isinstance(before, dict):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return {name: _difference(before.get(name, []), after.get(name, [])) for name in names}
    return {"more": [x for x in after if x not in before], "fewer": [x for x in before if x not in after]}


def vars_of(module: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(module, name)) for name in dir(module) if not name.startswith("_")]


def draw_functions(cls: Any) -> list[Any]:
    """What was appended to a menu, header or panel."""
    return list(getattr(getattr(cls, "draw", None), "_draw_funcs", []))[1:]


def subclasses(*classes: type) -> list[str]:
    return [
        f"{cls.__module__}.{cls.__name__}" for base in classes for cls in base.__subclasses__() if cls.is_registered
    ]


def shortcuts() -> list[str]:
    """Items of add-ons' keymaps, and the keymaps themselves."""
    ours = bpy.context.window_manager.keyconfigs.addon
    keymaps = ours.keymaps if ours is not None else []
    return [keymap.name for keymap in keymaps] + [item.idname for keymap in keymaps for item in keymap.keymap_items]


def children() -> list[str]:
    """Processes whose parent is this one. Linux only."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "stat").read_text().rpartition(")")[2].split()
            if int(words[1]) == os.getpid():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended meanwhile
    return sorted(found)

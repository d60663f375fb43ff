# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""Settings of a scene."""

import sys

import bpy
from bpy.props import EnumProperty, PointerProperty, StringProperty

from .options import PictureOptions, chosen
from .results.result_options import ResultOptions
from .sidebar import thumbnails
from .sidebar.generators import DEFAULT, GENERATORS
from .sidebar.presets import CUSTOM, PRESETS, preset_of
from .translations import OURS

_PATH_OPTIONS = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()


def _picture_changed(settings: "GaussmithSettings", _context: bpy.types.Context) -> None:
    thumbnails.load(settings.picture)


_PRESET_NAMES = (*PRESETS, CUSTOM)


def _get_preset(settings: "GaussmithSettings") -> int:
    """What the options are tells, so that the two can never differ."""
    return _PRESET_NAMES.index(preset_of(chosen(settings, PictureOptions)))


def _set_preset(settings: "GaussmithSettings", number: int) -> None:
    for name, value in PRESETS.get(_PRESET_NAMES[number], {}).items():
        setattr(settings, name, str(value) if name == "texture" else value)


class GaussmithSettings(ResultOptions, PictureOptions, bpy.types.PropertyGroup):
    """What the next mesh is made from and how."""

    picture: StringProperty(
        name="Picture",
        description="Picture of one object, best on a plain or transparent background",
        subtype="FILE_PATH",
        options=_PATH_OPTIONS,
        update=_picture_changed,
    )
    generator: EnumProperty(
        name="Generator",
        description="The network that imagines the object from the picture",
        items=[(known.name, known.title, known.description) for known in GENERATORS],
        default=DEFAULT,
    )
    preset: EnumProperty(
        name="Preset",
        translation_context=OURS,
        description="How much care the mesh is given",
        items=[
            ("DRAFT", "Draft", "Half the time, for a look: 5,000 faces and a texture of 512 pixels", 0),
            ("STANDARD", "Standard", "20,000 faces and a texture of 1024 pixels", 1),
            ("FINE", "Fine", "Three times the time: a finer surface, 80,000 faces and a texture of 2048 pixels", 2),
            (CUSTOM, "Custom", "Your own settings, in Advanced", 3),
        ],
        get=_get_preset,
        set=_set_preset,
    )


def _hold_modules() -> None:
    """Lets Blender 4.2 as a module end before Python does; it crashes otherwise.

    That version keeps the callbacks of properties for ever, and with them their globals, where `bpy` is. Of the modules
    Python empties at its end those that something still holds; so a callback holds all of this package's.
    """
    vars(_picture_changed)["modules"] = [m for name, m in sys.modules.items() if name.startswith(f"{__package__}.")]


def register() -> None:
    _hold_modules()
    bpy.utils.register_class(GaussmithSettings)
    bpy.types.Scene.gaussmith = PointerProperty(type=GaussmithSettings)


def unregister() -> None:
    del bpy.types.Scene.gaussmith
    bpy.utils.unregister_class(GaussmithSettings)

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""Settings of a scene."""

import bpy
from bpy.props import PointerProperty, StringProperty

from . import thumbnails
from .options import PictureOptions
from .result_options import ResultOptions

_PATH_OPTIONS = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()


def _picture_changed(settings: "GaussmithSettings", _context: bpy.types.Context) -> None:
    thumbnails.load(settings.picture)


class GaussmithSettings(ResultOptions, PictureOptions, bpy.types.PropertyGroup):
    """What the next mesh is made from and how."""

    picture: StringProperty(
        name="Picture",
        description="Picture of one object, best on a plain or transparent background",
        subtype="FILE_PATH",
        options=_PATH_OPTIONS,
        update=_picture_changed,
    )


def register() -> None:
    bpy.utils.register_class(GaussmithSettings)
    bpy.types.Scene.gaussmith = PointerProperty(type=GaussmithSettings)


def unregister() -> None:
    del bpy.types.Scene.gaussmith
    bpy.utils.unregister_class(GaussmithSettings)

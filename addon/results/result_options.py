# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What a user can choose about what becomes of a result in Blender: the engine knows nothing of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from ..translations import OURS

ORIGINS = ("BASE", "CENTER", "MASS")
SHADINGS = ("SMOOTH", "ANGLE", "FLAT")
COLLISIONS = ("NONE", "PLAIN", "UNREAL", "GODOT")
SHARP_ANGLE = round(math.radians(30), 6)
MOST_VARIANTS = 16


@dataclass(frozen=True)
class ResultChoice:
    """The choices about one result, taken when it is asked for. The defaults are those of the properties."""

    collection: str = "ACTIVE"
    origin: str = "BASE"
    shading: str = "SMOOTH"
    sharp_angle: float = SHARP_ANGLE
    collision: str = "NONE"
    select_result: bool = False
    as_asset: bool = False
    asset_library: str = ""
    asset_catalog: str = ""
    asset_author: str = ""
    asset_license: str = ""
    asset_tags: str = ""


def _libraries(_settings: Any, context: bpy.types.Context, _typed: str) -> Iterator[str]:
    yield from (library.name for library in context.preferences.filepaths.asset_libraries)


class ResultOptions:
    """Settings of a scene about its results, in the order they are shown."""

    variants: IntProperty(
        name="Variants",
        description="Make as many meshes of the picture, each with the next seed, and lay them out in a row along X",
        default=1,
        min=1,
        max=MOST_VARIANTS,
    )
    collection: EnumProperty(
        name="Collection",
        description="Where new objects go",
        items=[
            ("ACTIVE", "Active Collection", "The collection that is active when the mesh arrives"),
            ("SESSION", "One per Session", "A collection that gathers everything made since Blender was started"),
        ],
        default="ACTIVE",
    )
    origin: EnumProperty(
        name="Origin",
        translation_context=OURS,
        description="Where the object has its origin. The object stands on the floor at the 3D cursor in any case",
        items=[
            ("BASE", "Base", "In the middle of its lowest side"),
            ("CENTER", "Center", "In the middle of its bounding box"),
            ("MASS", "Center of Mass", "In the centre of its volume, for simulation"),
        ],
        default="BASE",
    )
    shading: EnumProperty(
        name="Shading",
        translation_context=OURS,
        description="How faces are shaded. A mesh with a normal map stays smooth, as the map was made for it",
        items=[
            ("SMOOTH", "Smooth", "All faces smooth"),
            ("ANGLE", "By Angle", "Smooth, with sharp edges where faces meet at more than an angle"),
            ("FLAT", "Flat", "Each face by itself"),
        ],
        default="SMOOTH",
    )
    sharp_angle: FloatProperty(
        name="Angle",
        description="Faces that meet at more than this angle have a sharp edge between them",
        subtype="ANGLE",
        default=SHARP_ANGLE,
        min=0.0,
        max=math.pi,
    )
    collision: EnumProperty(
        name="Collision",
        translation_context=OURS,
        description="A convex hull of few faces around the mesh, as its child, for game engines and simulation",
        items=[
            ("NONE", "None", "No collision hull"),
            ("PLAIN", "Convex Hull", "Called after the object, with _collision behind"),
            ("UNREAL", "For Unreal", "Called as Unreal's importer expects: UCX_ before the object's name"),
            ("GODOT", "For Godot", "Called as Godot's importer expects: -convcolonly behind the object's name"),
        ],
        default="NONE",
    )
    select_result: BoolProperty(
        name="Select Result",
        description="Select a new object when it arrives, instead of leaving your selection as it is",
        default=False,
    )
    as_asset: BoolProperty(
        name="Save as Asset",
        description="Make each new object an asset with a preview picture",
        default=False,
    )
    asset_library: StringProperty(
        name="Library",
        description="Asset library to save the object in, as a file of its own. Leave empty to mark it in this file",
        search=_libraries,
        search_options={"SORT", "SUGGESTION"},
    )
    asset_catalog: StringProperty(
        name="Catalog",
        description="Catalog of the asset; slashes separate levels, as in Props/Garden. It is made where it is missing",
    )
    asset_author: StringProperty(name="Author", description="Author of the asset")
    asset_license: StringProperty(name="License", description="License of the asset, for example CC0")
    asset_tags: StringProperty(
        name="Tags", translation_context=OURS, description="Tags of the asset, separated by commas"
    )


def result_choice(settings: Any, asset_library: str = "") -> ResultChoice:
    """What the settings of a scene hold, with another asset library where one is named."""
    held = {field.name: getattr(settings, field.name) for field in fields(ResultChoice)}
    held["sharp_angle"] = round(held["sharp_angle"], 6)  # properties are float32
    return ResultChoice(**{**held, **({"asset_library": asset_library} if asset_library else {})})


def seeds(first: int, count: int) -> list[int]:
    """The seeds of variants: the first one, and those that follow it."""
    largest = 2**31 - 1
    return [(first + number) % (largest + 1) for number in range(count)]


# ---------------------------------------------------------------------------
# How they are shown


def draw_results(layout: bpy.types.UILayout, settings: Any) -> None:
    """All of them, for a panel with split properties."""
    column = layout.column(align=True)
    column.prop(settings, "variants")
    column.prop(settings, "collection")
    column.prop(settings, "origin")
    column = layout.column(align=True)
    column.prop(settings, "shading")
    if settings.shading == "ANGLE":
        column.prop(settings, "sharp_angle")
    layout.prop(settings, "collision")
    layout.prop(settings, "save_splats")
    layout.prop(settings, "select_result")
    layout.prop(settings, "as_asset")
    if settings.as_asset:
        draw_asset(layout, settings)


def draw_asset(layout: bpy.types.UILayout, settings: Any) -> None:
    """What an asset is given."""
    column = layout.column(align=True)
    column.prop(settings, "asset_library")
    column.prop(settings, "asset_catalog")
    column.prop(settings, "asset_author")
    column.prop(settings, "asset_license")
    column.prop(settings, "asset_tags")

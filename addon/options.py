# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false, reportMissingImports=false
"""What a user can choose about a mesh: one property each, for the panel, the file browser and the batch's flags alike.

Names, ranges, words and defaults are those of `engine/options.py`; a test compares them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, IntProperty

from .translations import OURS

LARGEST_INT = 2**31 - 1

_SWITCHES = ("use_crop",)
"""Properties that say whether an option is given at all."""


class MeshOptions:
    """Options of every mesh, in the order they are shown."""

    faces: IntProperty(
        name="Faces",
        description="The mesh has about this many faces, or fewer where its shape needs fewer",
        default=20_000,
        min=100,
        max=1_000_000,
        soft_max=200_000,
        step=1000,
    )
    texture: EnumProperty(
        name="Texture",
        translation_context=OURS,
        description="Width and height of the texture",
        items=[(str(side), f"{side} px", f"{side} by {side} pixels") for side in (512, 1024, 2048, 4096)],
        default="1024",
    )
    size: FloatProperty(
        name="Object Size",
        description="Longest side of the object",
        subtype="DISTANCE",
        default=1.0,
        min=0.0001,
        soft_max=100.0,
        max=100_000.0,
    )
    surface: EnumProperty(
        name="Surface",
        description="How the surface is found between the splats",
        items=[
            ("auto", "Automatic", "Try both at low resolution and take the one that looks more like the splats"),
            ("density", "Density", "Where the splats are dense: closed and smooth, for solid things"),
            ("tsdf", "Depth Fusion", "Where rendered depths agree (TSDF): sharp and thin, for captured things"),
        ],
        default="auto",
    )
    resolution: IntProperty(
        name="Resolution",
        description="Cells of the grid along the longest side; twice as many keep details half as large "
        "and take about four times as long",
        default=256,
        min=32,
        max=512,
        step=3200,
    )
    smoothing: IntProperty(
        name="Smoothing",
        description="Steps of smoothing that keeps the volume",
        default=5,
        min=0,
        max=100,
    )
    refine: IntProperty(
        name="Fitting Steps",
        description="Steps that move vertices and colours so that renders of the mesh look like those of the splats. "
        "Slow: 0 leaves it out",
        default=0,
        min=0,
        max=1000,
        soft_max=200,
    )
    topology: EnumProperty(
        name="Topology",
        translation_context=OURS,
        description="What the faces of the mesh are",
        items=[
            ("triangles", "Triangles", "Follow the shape with as few faces as it needs"),
            (
                "quads",
                "Quads",
                "Four-sided faces of like size that flow along the shape, for sculpting and subdivision",
            ),
        ],
        default="triangles",
    )
    watertight: BoolProperty(
        name="Watertight",
        description="Guarantee a closed mesh without holes or crossings of its edges, as 3D printing needs it, "
        "or fail with the reason",
        default=False,
    )
    lods: IntProperty(
        name="Levels of Detail",
        description="Simpler copies, each with a quarter of the faces of the one before; they arrive hidden",
        default=0,
        min=0,
        max=3,
    )
    save_splats: BoolProperty(
        name="Keep Splats",
        description="Also keep the Gaussian splats the mesh is made from, as a .ply file that lies over the mesh: "
        "to look at them beside it, and for other programs",
        default=False,
    )
    views: IntProperty(
        name="Rendered Views",
        description="Renders of the splats laid over the texture: sharper, and slower. 0 leaves them out; "
        "-1 is 12 for splat files and none for pictures",
        default=-1,
        min=-1,
        max=24,
    )
    symmetry: BoolProperty(
        name="Mirror Unseen Parts",
        description="Colour what no view shows from the other half, where the object proves to be symmetric",
        default=False,
    )
    normal_map: BoolProperty(
        name="Normal Map",
        description="Bake what the faces are too few for into a normal map",
        default=False,
    )
    occlusion: BoolProperty(
        name="Ambient Occlusion",
        translation_context=OURS,
        description="Bake how much ambient light reaches the surface. It is kept for export "
        "and does not darken the base colour",
        default=False,
    )
    image: EnumProperty(
        name="Image Format",
        translation_context=OURS,
        description="How textures are stored",
        items=[
            ("png", "PNG", "Lossless, read by everything"),
            ("webp", "WebP", "Much smaller; some programs cannot read it"),
        ],
        default="png",
    )
    charts: EnumProperty(
        name="Charts",
        description="How the surface is cut and unfolded for its texture",
        items=[
            ("own", "Large", "Fewer and larger charts, faster"),
            ("xatlas", "xatlas", "The library xatlas; slower, more charts"),
        ],
        default="own",
    )


class PictureOptions(MeshOptions):
    """Options of a mesh made from a picture."""

    seed: IntProperty(
        name="Seed",
        description="The same picture, settings and seed give the same mesh",
        default=0,
        min=0,
        max=LARGEST_INT,
    )
    photo: BoolProperty(
        name="Photograph",
        description="Lay the picture itself over the side it shows, as sharp as it is",
        default=True,
    )
    fit: IntProperty(
        name="Fit to Picture",
        description="Steps that fit what was imagined to the picture's outline and colours before the mesh is made: "
        "50 take up to a second and change little where the photograph is laid over the texture. 0 leaves it out",
        default=0,
        min=0,
        max=1000,
        soft_max=200,
    )


def up_axis() -> Any:
    """The property that says which way is up in a file of splats."""
    return EnumProperty(
        name="Up Axis",
        translation_context=OURS,
        description="The direction that is up in the file",
        items=[
            ("y", "Y Up", "As in glTF and most viewers"),
            ("z", "Z Up", "As in Blender"),
            ("-y", "-Y Up", "As cameras see: most captured scenes"),
        ],
        default="y",
    )


class SplatOptions(MeshOptions):
    """Options of a mesh made from a file of Gaussian splats."""

    up: up_axis()
    keep_all: BoolProperty(
        name="Keep Everything",
        description="Make a mesh of all that is in the file, not of the largest dense object alone",
        default=False,
    )
    keep_frame: BoolProperty(
        name="Keep Place and Size",
        description="Leave the object where it is in the file, at its size, instead of setting it at the 3D cursor",
        default=False,
    )
    use_crop: BoolProperty(
        name="Crop",
        translation_context=OURS,
        description="Take only splats within a box",
        default=False,
    )
    crop: FloatVectorProperty(
        name="Crop Box",
        description="Lower and upper corner of the box, in the file's own axes and units",
        size=6,
        default=(-1.0, -1.0, -1.0, 1.0, 1.0, 1.0),
    )


def properties(options: type[MeshOptions]) -> dict[str, Any]:
    """The options of a class by name, each with what it was declared with in `keywords`."""
    found = {}
    for cls in reversed(options.__mro__):
        if issubclass(cls, MeshOptions) and cls.__module__ == __name__:
            found |= {name: value for name, value in cls.__annotations__.items() if hasattr(value, "keywords")}
    return {name: value for name, value in found.items() if name not in _SWITCHES}


def chosen(owner: Any, options: type[MeshOptions]) -> dict[str, Any]:
    """The values an owner of these properties holds, as `engine.options.mesh_options` takes them."""
    values: dict[str, Any] = {}
    for name in properties(options):
        value = getattr(owner, name)
        if name == "texture":
            value = int(value)
        elif name == "crop":
            if not owner.use_crop:
                continue
            value = [round(edge, 6) for edge in value]
        elif isinstance(value, float):
            value = round(value, 6)  # properties are float32
        values[name] = value
    return values


def defaults(options: type[MeshOptions]) -> dict[str, Any]:
    """The options as they are before anybody chose, as `chosen` gives them."""
    found = {name: value.keywords["default"] for name, value in properties(options).items() if name != "crop"}
    return {**found, "texture": int(found["texture"])}


def known(values: Mapping[str, Any], options: type[MeshOptions]) -> dict[str, Any]:
    """Those of some stored options that there still are, of the right kind: a file may be old, or not ours."""
    kept = {}
    for name, default in defaults(options).items():
        value = values.get(name, default)
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if name in values and isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool):
            kept[name] = value
    return kept


# ---------------------------------------------------------------------------
# How they are shown, in the sidebar and in the file browser


def draw_basic(layout: bpy.types.UILayout, owner: Any) -> None:
    """What everybody chooses."""
    column = layout.column(align=True)
    column.prop(owner, "faces")
    column.prop(owner, "texture")
    column = layout.column(align=True)
    size = column.row()
    size.active = not getattr(owner, "keep_frame", False)
    size.prop(owner, "size")
    if hasattr(owner, "seed"):
        column.prop(owner, "seed")


def draw_file(layout: bpy.types.UILayout, owner: Any) -> None:
    """What is in the file."""
    layout.prop(owner, "up")
    column = layout.column(heading="Keep", align=True)
    column.prop(owner, "keep_all", text="Everything")
    column.prop(owner, "keep_frame", text="Place and Size")
    column.prop(owner, "save_splats", text="Splats")
    layout.prop(owner, "use_crop")
    if owner.use_crop:
        for text, first in (("From", 0), ("To", 3)):
            column = layout.column(align=True)
            for axis in range(3):
                label = f"{text} {'XYZ'[axis]}" if axis == 0 else "XYZ"[axis]
                column.prop(owner, "crop", index=first + axis, text=label)


def draw_shape(layout: bpy.types.UILayout, owner: Any) -> None:
    if hasattr(owner, "fit"):
        layout.prop(owner, "fit")
    layout.prop(owner, "topology")
    layout.prop(owner, "watertight")
    layout.prop(owner, "lods")
    column = layout.column(align=True)
    column.prop(owner, "surface")
    column.prop(owner, "resolution")
    column.prop(owner, "smoothing")
    layout.prop(owner, "refine")


def draw_texture(layout: bpy.types.UILayout, owner: Any) -> None:
    layout.prop(owner, "views")
    column = layout.column(heading="Colours", align=True)
    if hasattr(owner, "photo"):
        column.prop(owner, "photo")
    column.prop(owner, "symmetry")
    column = layout.column(heading="Also Bake", align=True)
    column.prop(owner, "normal_map")
    column.prop(owner, "occlusion")
    layout.prop(owner, "image")
    layout.prop(owner, "charts")


def groups(options: type[MeshOptions]) -> Iterator[tuple[str, str, Any]]:
    """Identifier, title and drawing function of each group of options beyond the basic ones."""
    if issubclass(options, SplatOptions):
        yield "file", "Splat File", draw_file
    yield "shape", "Shape", draw_shape
    yield "texture", "Texture", draw_texture

# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportInvalidTypeForm=false
"""Writes one object to a file of another program's format, with its texture, whole or not at all."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import bpy


class FormatError(Exception):
    """A format that this Blender cannot write, or a file that could not be written; its text is one sentence."""


def check_format(kind: str) -> None:
    """Raises `FormatError` when this Blender was built without the exporter needed."""
    if kind not in FORMATS:
        raise FormatError(f"There is no format {kind!r}; there are {', '.join(FORMATS)}.")
    needed = {"obj": "wm.obj_export", "fbx": "export_scene.fbx", "usd": "wm.usd_export", "stl": "wm.stl_export"}
    if kind in needed:
        group, name = needed[kind].split(".")
        if name not in dir(getattr(bpy.ops, group)):
            raise FormatError(f"This Blender ({bpy.app.version_string}) was built without {kind.upper()}.")


def write_object(ob: bpy.types.Object, path: Path, kind: str, overwrite: bool = False) -> list[Path]:
    """Writes `ob`, the only object of its scene, and returns the files made, `path` first.

    The files are made in a folder of their own beside `path` and then moved, `path` last. Files already there are
    replaced only with `overwrite`. Raises `FormatError`.
    """
    making = path.with_name(path.name + ".part")
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        FORMATS[kind](ob, making / path.name)
        made = sorted(making.iterdir(), key=lambda file: file.name == path.name)
        if not made or made[-1].name != path.name:
            raise FormatError(f"Blender wrote no {path.name}.")
        targets = [path.with_name(file.name) for file in made]
        if not overwrite and (taken := next((target for target in targets if target.exists()), None)) is not None:
            raise FormatError(f"{taken} exists already. Use --overwrite, or another folder.")
        for file, target in zip(made, targets, strict=True):
            os.replace(file, target)
    except OSError as error:
        raise FormatError(f"Could not write {path}: {error.strerror or error}.") from error
    except RuntimeError as error:  # how Blender's operators tell their failures
        raise FormatError(f"Could not write {path}: {str(error).removeprefix('Error: ').strip()}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return [targets[-1], *targets[:-1]]


def show_textures() -> None:
    """Makes a file open as it looks: textured views, and colours as they are in the textures."""
    for screen in bpy.data.screens:
        for area in screen.areas:
            if area.type == "VIEW_3D":
                area.spaces.active.shading.type = "MATERIAL"
    for scene in bpy.data.scenes:
        scene.view_settings.view_transform = "Standard"


def _write_blend(_ob: bpy.types.Object, path: Path) -> None:
    show_textures()
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True)


def _write_obj(ob: bpy.types.Object, path: Path) -> None:
    _put_textures_beside(ob, path)
    bpy.ops.wm.obj_export(filepath=str(path), path_mode="STRIP", forward_axis="NEGATIVE_Z", up_axis="Y")


def _write_fbx(ob: bpy.types.Object, path: Path) -> None:
    bpy.ops.export_scene.fbx(
        filepath=str(path),
        object_types={"MESH"},
        path_mode="COPY",
        embed_textures=True,
        axis_forward="-Z",
        axis_up="Y",
        apply_scale_options="FBX_SCALE_ALL",
        bake_space_transform=True,
        mesh_smooth_type="OFF",
    )


def _write_usd(ob: bpy.types.Object, path: Path) -> None:
    _put_textures_beside(ob, path)
    textures = {"export_textures_mode": "KEEP"} if bpy.app.version >= (4, 5, 0) else {"export_textures": False}
    bpy.ops.wm.usd_export(filepath=str(path), relative_paths=True, export_animation=False, **textures)


def _write_stl(_ob: bpy.types.Object, path: Path) -> None:
    bpy.ops.wm.stl_export(filepath=str(path), forward_axis="Y", up_axis="Z")


FORMATS: Mapping[str, Callable[[bpy.types.Object, Path], None]] = {
    "blend": _write_blend,
    "obj": _write_obj,
    "fbx": _write_fbx,
    "usd": _write_usd,
    "stl": _write_stl,
}


def _put_textures_beside(ob: bpy.types.Object, path: Path) -> None:
    """Makes the material use files `NAME_texture.png`, `NAME_normal.png` ... beside `path`, not packed images."""
    for node in ob.active_material.node_tree.nodes:
        if node.type == "TEX_IMAGE":
            suffix = Path(node.image.filepath_raw).suffix
            file = path.with_name(f"{path.stem}_{node.name}{suffix}")
            file.write_bytes(node.image.packed_file.data)
            space = node.image.colorspace_settings.name
            node.image = bpy.data.images.load(str(file))
            node.image.colorspace_settings.name = space

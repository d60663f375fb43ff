# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""Objects as assets: preview, author, licence, tags and catalog; in this file, or in a file of a library's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from mathutils import Matrix

from ..files.names import free_path
from .catalogs import catalog_id, clean_catalog, ensure_catalog
from .record import read_record
from .result_options import ResultChoice

if TYPE_CHECKING:
    import numpy as np

PREVIEW_SIZE = 256
GREY = 0.6
"""Of a mesh without a texture."""


class AssetError(Exception):
    """An asset that could not be saved; its text is one sentence."""


def save_asset(ob: bpy.types.Object, choice: ResultChoice) -> Path | None:
    """Makes an object an asset, as chosen. Returns the file it was saved to, or None where it is in this one.

    In a library it gets a file of its own, named after it, and no file is replaced; the object here is as before.
    Raises `AssetError`; nothing is left behind then.
    """
    if ob.library or ob.override_library:
        raise AssetError(f"{ob.name} is linked from another file, so it cannot be made an asset here.")
    if not choice.asset_library:
        mark(ob, choice, _catalog_here(choice.asset_catalog))
        return None
    folder = library_folder(choice.asset_library)
    try:
        catalog = ensure_catalog(folder, choice.asset_catalog) if clean_catalog(choice.asset_catalog) else ""
        target = free_path(folder, ob.name, ".blend")
        _write(ob, target, choice, catalog)
    except OSError as error:
        reason = str(error.strerror or error).rstrip(".")
        raise AssetError(f"Could not save {ob.name} in {folder}: {reason}.") from error
    _refresh_browsers()
    return target


def library_folder(name: str) -> Path:
    """The folder of an asset library of the preferences. Raises `AssetError` where there is none."""
    library = bpy.context.preferences.filepaths.asset_libraries.get(name)
    if library is None or not library.path:
        raise AssetError(f"There is no asset library {name}. Choose another, or add it in the preferences.")
    folder = Path(bpy.path.abspath(library.path))
    if not folder.is_dir():
        raise AssetError(f"The folder of the asset library {name} is not there: {folder}.")
    return folder


def mark(ob: bpy.types.Object, choice: ResultChoice, catalog: str = "") -> None:
    """Makes an object an asset of this file, with a preview; an asset gets the new words."""
    ob.asset_mark()
    data = ob.asset_data
    data.author, data.license = choice.asset_author, choice.asset_license
    source = Path((read_record(ob) or {}).get("picture") or "").name
    data.description = bpy.app.translations.pgettext_data("Made from a picture") + f": {source}" if source else ""
    if catalog:
        data.catalog_id = catalog
    for tag in filter(None, (tag.strip() for tag in choice.asset_tags.split(","))):
        data.tags.new(tag, skip_if_exists=True)
    set_preview(ob)


def set_preview(ob: bpy.types.Object) -> None:
    """Gives an object a picture of its mesh as preview."""
    picture = preview_of(ob)
    if picture is None:
        return
    preview = ob.preview_ensure()
    preview.image_size = (PREVIEW_SIZE, PREVIEW_SIZE)
    preview.image_pixels_float.foreach_set(picture.ravel())


def preview_of(ob: bpy.types.Object, size: int = PREVIEW_SIZE) -> np.ndarray | None:
    """A picture of a mesh with its texture, RGBA [size, size, 4] float32 in sRGB, the lowest row first."""
    import numpy as np

    from ..files.preview_image import draw_preview

    mesh = ob.data
    if ob.type != "MESH" or not len(mesh.polygons):
        return None
    mesh.calc_loop_triangles()
    count = len(mesh.loop_triangles)
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    triangles, loops = np.empty(3 * count, np.int32), np.empty(3 * count, np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    mesh.loop_triangles.foreach_get("loops", loops)
    uvs = np.zeros((len(mesh.loops), 2), np.float32)
    if mesh.uv_layers.active is not None:
        mesh.uv_layers.active.uv.foreach_get("vector", uvs.ravel())
    texture = _texture(ob)
    return draw_preview(vertices.reshape(-1, 3), triangles.reshape(-1, 3), uvs[loops.reshape(-1, 3)], texture, size)


def _refresh_browsers() -> None:
    """Makes open asset browsers look into their libraries again."""
    for window in [] if bpy.app.background else bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.ui_type == "ASSETS":
                with bpy.context.temp_override(window=window, area=area, region=area.regions[-1]):
                    if bpy.ops.asset.library_refresh.poll():
                        bpy.ops.asset.library_refresh()


def _texture(ob: bpy.types.Object) -> np.ndarray:
    """The texture of an object's first material, [H, W, 4], or one grey pixel."""
    import numpy as np

    tree = ob.active_material.node_tree if ob.active_material is not None else None
    node = next((node for node in tree.nodes if node.type == "TEX_IMAGE" and node.image), None) if tree else None
    ours = tree.nodes.get("texture", node) if tree else None
    image = ours.image if ours is not None and ours.type == "TEX_IMAGE" else None
    if image is None or not image.size[0]:
        return np.full((1, 1, 4), GREY, np.float32)
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(height, width, 4)


def _catalog_here(path: str) -> str:
    """The number of a catalog for this file: listed beside it where it is saved, and the same once it is."""
    if not clean_catalog(path):
        return ""
    if bpy.data.filepath:
        try:
            return ensure_catalog(_root_of(Path(bpy.data.filepath)), path)
        except OSError as error:
            reason = str(error.strerror or error).rstrip(".")
            raise AssetError(f"Could not add the catalog {path}: {reason}.") from error
    return catalog_id(path)


def _root_of(file: Path) -> Path:
    """The folder whose list of catalogs holds for a file: that of its library, or its own."""
    for library in bpy.context.preferences.filepaths.asset_libraries:
        folder = Path(bpy.path.abspath(library.path))
        if library.path and file.is_relative_to(folder):
            return folder
    return file.parent


def _write(ob: bpy.types.Object, target: Path, choice: ResultChoice, catalog: str) -> None:
    """Writes a copy of an object alone, under its name, as an asset that stands at the origin."""
    part = target.with_name(target.stem + ".part.blend")
    name, copy = ob.name, ob.copy()
    try:
        copy.parent = None
        copy.matrix_basis = Matrix.LocRotScale(None, None, ob.scale)
        ob.name = f"{copy.name} (saving)"
        copy.name = name
        mark(copy, choice, catalog)
        try:  # compressed, a file on a full disk would be cut off without an error
            bpy.data.libraries.write(str(part), {copy}, fake_user=True, compress=False)
            with bpy.data.libraries.load(str(part), assets_only=True) as (written, _):
                whole = name in written.objects
        except RuntimeError:  # whose reason is any, "Success" among them
            whole = False
        if not whole:
            raise OSError(0, "Blender could not write the file, check your permission and the free space on the disk")
        os.replace(part, target)
    finally:
        bpy.data.objects.remove(copy)
        ob.name = name
        part.unlink(missing_ok=True)

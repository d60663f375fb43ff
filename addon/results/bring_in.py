# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""What becomes of a finished result in Blender: objects as chosen, in place of others where that was asked for.

The objects come first. What goes with them may fail, on a full disk say: then it is told, and nothing is lost.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from .. import scene
from ..files.file_errors import SplatPointsError
from . import assets, collision, replace, splats_view
from .record import read_record, write_record
from .result_options import ResultChoice

SESSION = "gaussmith_session"
"""Name of a custom property of collections: the session of Blender whose results they gather."""
_this_session = uuid.uuid4().hex


@dataclass(frozen=True)
class Placed:
    """What was made of a result."""

    objects: list[bpy.types.Object]  # the mesh, then its levels of detail
    replaced: bool = False
    notes: list[str] = field(default_factory=list)  # a sentence for each thing that is not as was asked


def place(
    files: Mapping[str, str | Path],
    *,
    name: str,
    record: Mapping[str, Any],
    location: Sequence[float] | None,
    context: bpy.types.Context,
    choice: ResultChoice,
    replacing: str | None = None,
    saved_splats: str | Path | None = None,
) -> Placed:
    """Makes what was chosen of the engine's files, in the scene of `context`; `location` as in `scene.import_meshes`.

    `replacing` names the object that gets the mesh; where it cannot, the mesh is a new object at its place.
    Selection, mode, frame and active object stay as they are. Raises `glb.GlbError` or `OSError` for a damaged file;
    nothing is made then.
    """
    notes: list[str] = []
    refusal = replace.problem(replacing) if replacing is not None else ""
    if replacing is not None and not refusal:
        before = replace.object_called(replacing)
        assert before is not None
        objects, told = replace.replace_meshes(before, files, record=record, choice=choice)
        notes += told
    else:
        notes += [refusal] if refusal else []
        objects = scene.import_meshes(
            files,
            name=name,
            record=record,
            location=location,
            collection=collection_for(context, choice),
            origin=choice.origin,
            shading=choice.shading,
            sharp_angle=choice.sharp_angle,
        )
        before = replace.object_called(replacing) if replacing is not None else None
        if before is not None:
            for ob in objects:
                ob.matrix_world = before.matrix_world
    ob = objects[0]
    if choice.collision != "NONE" or collision.hull_of(ob) is not None:
        notes += _with_hull(ob, choice)
    if saved_splats is not None:
        notes += _with_splats(ob, Path(saved_splats), files["mesh"])
    if choice.as_asset:
        notes += _as_asset(ob, choice)
    elif ob.asset_data is not None:
        assets.set_preview(ob)
    return Placed(objects, bool(replacing) and not refusal, notes)


def collection_for(context: bpy.types.Context, choice: ResultChoice) -> bpy.types.Collection:
    """Where new objects go: always a collection of the scene that can be changed."""
    root = context.scene.collection
    if choice.collection == "SESSION":
        for found in root.children_recursive:
            if found.get(SESSION) == _this_session and _is_own(found):
                return found
        made = bpy.data.collections.new(f"Gaussmith {time.strftime('%Y-%m-%d %H.%M')}")
        made[SESSION] = _this_session
        root.children.link(made)
        return made
    active = context.collection
    return active if active is not None and _is_own(active) else root


def _is_own(collection: bpy.types.Collection) -> bool:
    return collection.library is None and collection.override_library is None


def _with_hull(ob: bpy.types.Object, choice: ResultChoice) -> list[str]:
    old = collision.hull_of(ob)
    kind = choice.collision if choice.collision != "NONE" else collision.kind_of(old)
    try:
        collision.add_hull(ob, kind)
    except collision.HullError as error:
        return [str(error)]
    return []


def _with_splats(ob: bpy.types.Object, source: Path, mesh_file: str | Path) -> list[str]:
    """Keeps the splats' file, and what it takes to show them over the mesh."""
    from ..files.glb import read_glb

    try:
        kept = splats_view.keep_file(source, ob.name)
    except OSError as error:
        reason = str(error.strerror or error).rstrip(".")
        return [f"The splats could not be kept: {reason}."]
    record = dict(read_record(ob) or {})
    content = read_glb(mesh_file)
    record["splats_file"] = kept
    record["splats_origin"] = content.origin(record.get("origin", "BASE")).round(6).tolist()
    write_record(ob, record)
    if (old := splats_view.cloud_of(ob)) is not None:  # of the mesh before
        shown = old.visible_get()
        splats_view.remove(old)
        try:
            splats_view.show_splats(ob, splats_view.cloud_for(ob), shown)
        except (SplatPointsError, OSError) as error:
            return [f"The splats could not be shown: {error}"]
    return []


def _as_asset(ob: bpy.types.Object, choice: ResultChoice) -> list[str]:
    try:
        assets.save_asset(ob, choice)
    except assets.AssetError as error:
        return [str(error)]
    return []

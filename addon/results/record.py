# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept with an object: how it was made, and the engine's report on its mesh. No bpy.

The record is a custom property with JSON text; it stays when the add-on is removed.
"""

import json
from collections.abc import Mapping
from typing import Any

from ..wire import protocol

RECORD = "gaussmith"
"""Name of the custom property."""

RECORD_VERSION = 1

_KEPT = ("engine", "seconds", "watertight", "warnings")
_MESH_FACTS = ("faces", "vertices", "quads", "watertight", "manifold", "components", "genus", "surface")
"""What of the engine's report is about the mesh; the mesh's own file may say more."""


def make_record(request: protocol.Generate | protocol.MakeMesh, result: protocol.Result) -> dict[str, Any]:
    """What it takes to make an object again, and what the engine said about it."""
    made_from = (
        {"picture": request.picture, "generator": request.generator, "seed": request.seed}
        if isinstance(request, protocol.Generate)
        else {"splats": request.splats}
    )
    kept = {key: result.report[key] for key in _KEPT if key in result.report}
    mesh = {key: result.report[key] for key in _MESH_FACTS if key in result.report}
    return {"version": RECORD_VERSION, **made_from, "options": dict(request.options), **kept, "mesh": mesh}


def write_record(ob: Any, record: Mapping[str, Any]) -> None:
    ob[RECORD] = json.dumps(record, ensure_ascii=False)


def read_record(ob: Any) -> dict[str, Any] | None:
    """How an object was made, or None where we did not make it or somebody changed the text."""
    text = ob.get(RECORD)
    try:
        record = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def mesh_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a record says about the mesh, as label and text; what it does not say is left out."""
    mesh = record.get("mesh")
    if not isinstance(mesh, dict):
        return []
    facts = []
    for key, label, form in _SHOWN:
        value = mesh.get(key)
        if isinstance(value, int | float | str):
            facts.append((label, form(value, mesh)))
    return facts


def _yes_or_no(value: Any, _mesh: Mapping[str, Any]) -> str:
    return "Yes" if value else "No"


def _word(value: Any, _mesh: Mapping[str, Any]) -> str:
    return {"density": "Density", "tsdf": "Depth Fusion"}.get(value, str(value))


def _count(value: Any, _mesh: Mapping[str, Any]) -> str:
    return f"{value:,}"


def _faces(value: Any, mesh: Mapping[str, Any]) -> str:
    return f"{value:,} quads" if mesh.get("quads") else f"{value:,} triangles"


def _percent(value: Any, _mesh: Mapping[str, Any]) -> str:
    return f"{value:.0%}"


def _two_digits(value: Any, _mesh: Mapping[str, Any]) -> str:
    return f"{value:.2f}"


_SHOWN = (
    ("faces", "Faces", _faces),
    ("vertices", "Vertices", _count),
    ("watertight", "Watertight", _yes_or_no),
    ("manifold", "Manifold", _yes_or_no),
    ("components", "Pieces", _count),
    ("genus", "Genus", _count),
    ("charts", "UV Charts", _count),
    ("uv_coverage", "UV Coverage", _percent),
    ("uv_stretch", "UV Stretch", _two_digits),
    ("surface", "Surface", _word),
    ("texels_per_metre", "Texels per Metre", lambda value, _mesh: f"{value:,.0f}"),
)
"""What the panel shows of a mesh, in this order."""

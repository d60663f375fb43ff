# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the GLB the engine writes: one textured mesh. No bpy.

Blender's own importer keeps the vertices a GLB has to split at texture seams, changes the selection and works in
Object Mode only. Here they are joined again, so that the mesh is as closed in Blender as it left the engine.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Array = np.ndarray

_DTYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_JSON, _BINARY = 0x4E4F534A, 0x004E4942


class GlbError(ValueError):
    """A file that is not the GLB expected; its text is one sentence."""


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles in Blender's frame (z up, front towards -y), joined at equal positions."""

    vertices: Array  # [V, 3] float32, metres
    faces: Array  # [F, 3] int32
    corner_uvs: Array  # [3 F, 2] float32, origin at the bottom left (Blender's)
    texture: bytes  # an image file
    mime_type: str  # image/png or image/jpeg


def read_glb(path: str | Path) -> TexturedMesh:
    """The mesh in a GLB of one mesh, one primitive and one texture. Raises `GlbError` where it holds something else."""
    document, binary = _chunks(Path(path))
    try:
        mesh_index, to_world = _placed_mesh(document)
        (primitive,) = document["meshes"][mesh_index]["primitives"]
        attributes = primitive["attributes"]
        positions = _accessor(document, binary, attributes["POSITION"]).astype(np.float32)
        uvs = _accessor(document, binary, attributes["TEXCOORD_0"]).astype(np.float32)
        faces = _accessor(document, binary, primitive["indices"]).astype(np.int64).reshape(-1, 3)
        material = document["materials"][primitive["material"]]["pbrMetallicRoughness"]
        image = document["images"][document["textures"][material["baseColorTexture"]["index"]]["source"]]
        texture = _view(document, binary, image["bufferView"]).tobytes()
        mime_type = image["mimeType"]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise GlbError(f"{path} is not a GLB of one textured mesh ({error!r}).") from error
    if not len(faces) or faces.max() >= len(positions):
        raise GlbError(f"{path} has faces that point at no vertex, or none at all.")
    if not np.isfinite(positions).all():
        raise GlbError(f"{path} has vertices that are NaN or infinite.")
    if not np.array_equal(to_world, np.eye(4)):
        positions = (positions @ to_world[:3, :3].T + to_world[:3, 3]).astype(np.float32)
    vertices, joined = np.unique(positions + np.float32(0), axis=0, return_inverse=True)  # + 0: -0.0 equals 0.0
    corners = faces.ravel()
    return TexturedMesh(
        vertices=vertices[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32),
        faces=joined.reshape(-1)[faces].astype(np.int32),
        corner_uvs=uvs[corners] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32),
        texture=texture,
        mime_type=mime_type,
    )


def _chunks(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    if len(content) < 20 or content[:4] != b"glTF":
        raise GlbError(f"{path} is not a GLB file.")
    _, version, length = struct.unpack_from("<III", content)
    if version != 2 or length != len(content):
        raise GlbError(f"{path} is truncated or not glTF 2 (version {version}, {len(content)} of {length} bytes).")
    found: dict[int, bytes] = {}
    offset = 12
    while offset + 8 <= len(content):
        size, kind = struct.unpack_from("<II", content, offset)
        found.setdefault(kind, content[offset + 8 : offset + 8 + size])
        offset += 8 + size
    try:
        return json.loads(found[_JSON]), found[_BINARY]
    except (KeyError, ValueError) as error:
        raise GlbError(f"{path} lacks its description or its data.") from error


def _placed_mesh(document: dict) -> tuple[int, Array]:
    """The mesh of the scene and its matrix to the world, [4, 4]."""
    nodes = document["nodes"]
    roots = document["scenes"][document.get("scene", 0)]["nodes"]
    pending = [(root, np.eye(4)) for root in roots]
    placed = []
    while pending:
        index, parent = pending.pop()
        matrix = parent @ _matrix(nodes[index])
        if "mesh" in nodes[index]:
            placed.append((nodes[index]["mesh"], matrix))
        pending += [(child, matrix) for child in nodes[index].get("children", [])]
    (only,) = placed
    return only


def _matrix(node: dict) -> Array:
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    if node.keys() & {"translation", "rotation", "scale"}:
        raise ValueError("the engine writes nodes with matrices only")
    return np.eye(4)


def _view(document: dict, binary: bytes, index: int) -> Array:
    view = document["bufferViews"][index]
    start = view.get("byteOffset", 0)
    data = np.frombuffer(binary, np.uint8, view["byteLength"], start)
    if "byteStride" in view:
        raise ValueError("interleaved data")
    return data


def _accessor(document: dict, binary: bytes, index: int) -> Array:
    accessor = document["accessors"][index]
    data = _view(document, binary, accessor["bufferView"])[accessor.get("byteOffset", 0) :]
    dtype, width = np.dtype(_DTYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
    values = np.frombuffer(data.tobytes(), dtype, accessor["count"] * width)
    return values.reshape(-1, width) if width > 1 else values

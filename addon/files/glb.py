# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the GLB the engine writes: one textured mesh. No bpy.

Blender's own importer keeps the vertices a GLB has to split at texture seams, changes the selection and works in
Object Mode only. Here they are joined again, so that the mesh is as closed in Blender as it left the engine.
"""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .file_errors import GlbError

Array = np.ndarray

_DTYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
"""Odd numbers without a pattern."""
NGON_ENCODING = "FB_ngon_encoding"
WEBP = "EXT_texture_webp"


@dataclass(frozen=True)
class ImageFile:
    """An image as it was encoded."""

    data: bytes
    suffix: str  # .png, .jpg or .webp


@dataclass(frozen=True)
class TexturedMesh:
    """Faces in Blender's frame (z up, front towards -y), joined at equal positions."""

    vertices: Array  # [V, 3] float64, metres
    corners: Array  # [L] int32, the vertex at each corner, face by face, counter-clockwise from outside
    starts: Array  # [F] int32, the first corner of each face
    corner_uvs: Array  # [L, 2] float32, origin at the bottom left (Blender's)
    color: ImageFile
    normal: ImageFile | None = None  # in tangent space, green up as in Blender
    normals: Array | None = None  # [V, 3] float32, those the normal map was baked for; None without a map
    occlusion: ImageFile | None = None  # in its red channel
    report: dict[str, Any] = field(default_factory=dict)  # what the engine says about the mesh

    def counts(self) -> dict[str, Any]:
        """What can be counted, under the names of the engine's report."""
        sizes = np.diff(self.starts, append=len(self.corners))
        return {"faces": len(sizes), "vertices": len(self.vertices), "quads": bool((sizes == 4).all())}

    def base(self) -> Array:
        """The middle of the lowest side of its box, [3]."""
        lowest, highest = self.vertices.min(0), self.vertices.max(0)
        return np.array([*(lowest[:2] + highest[:2]) / 2, lowest[2]])

    def origin(self, kind: str) -> Array:
        """The point [3] that is called so: BASE, CENTER of the box, or MASS, the centre of what the faces enclose."""
        if kind == "BASE":
            return self.base()
        center = (self.vertices.min(0) + self.vertices.max(0)) / 2
        if kind == "CENTER":
            return center
        a, b, c = np.moveaxis(self.vertices[self.triangles()] - center, 1, 0)
        volumes = np.einsum("ti,ti->t", a, np.cross(b, c))  # six times those of tetrahedra with the centre
        if abs(volumes.sum()) < 1e-9 * max(np.ptp(self.vertices, axis=0).max(), 1e-9) ** 3:
            return center  # nothing is enclosed
        return center + np.einsum("t,ti->i", volumes, a + b + c) / (4 * volumes.sum())

    def triangles(self) -> Array:
        """The faces cut into fans of triangles, [T, 3] vertices."""
        sizes = np.diff(self.starts, append=len(self.corners))
        first = np.repeat(self.starts, sizes - 2)
        # The k-th triangle of a face has its corners 0, k + 1 and k + 2.
        inner = np.arange(len(first)) - np.repeat(np.cumsum(sizes - 2) - (sizes - 2), sizes - 2)
        return self.corners[np.stack([first, first + inner + 1, first + inner + 2], axis=1)]

    def has_degenerate_faces(self) -> bool:
        """Whether some face has a vertex twice, which Blender must not be given."""
        sizes = np.diff(self.starts, append=len(self.corners))
        for size in np.unique(sizes):
            rows = self.corners[self.starts[sizes == size, None] + np.arange(size)]
            if any((rows[:, i] == rows[:, j]).any() for i in range(size) for j in range(i)):
                return True
        return False


def read_glb(path: str | Path) -> TexturedMesh:
    """The mesh in a GLB of one mesh with one material. Raises `GlbError` where it holds something else."""
    document, binary = _chunks(Path(path))
    try:
        node, to_world = _placed_mesh(document)
        (primitive,) = document["meshes"][node["mesh"]]["primitives"]
        attributes = primitive["attributes"]
        positions = _accessor(document, binary, attributes["POSITION"]).astype(np.float32)
        uvs = _accessor(document, binary, attributes["TEXCOORD_0"]).astype(np.float32)
        triangles = _accessor(document, binary, primitive["indices"]).astype(np.int64).reshape(-1, 3)
        material = document["materials"][primitive["material"]]
        color = _image(document, binary, material["pbrMetallicRoughness"]["baseColorTexture"])
        normal = _image(document, binary, material.get("normalTexture"))
        occlusion = _image(document, binary, material.get("occlusionTexture"))
        normals = None if normal is None else _accessor(document, binary, attributes["NORMAL"]).astype(np.float32)
        has_polygons = NGON_ENCODING in primitive.get("extensions", {})
        report = dict((node.get("extras") or {}).get("gaussmith") or {})
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise GlbError(f"{path} is not a GLB of one textured mesh ({error!r}).") from error
    if color is None or not len(triangles) or triangles.max() >= len(positions):
        raise GlbError(f"{path} has faces that point at no vertex, or none at all.")
    if not np.isfinite(positions).all():
        raise GlbError(f"{path} has vertices that are NaN or infinite.")
    points, starts = polygons(triangles) if has_polygons else (triangles.ravel(), np.arange(0, triangles.size, 3))
    first, joined = _joined(positions)
    placed = positions[first].astype(np.float64) @ to_world[:3, :3].T + to_world[:3, 3]
    return TexturedMesh(
        vertices=_in_blenders_frame(placed),
        corners=joined[points].astype(np.int32),
        starts=starts.astype(np.int32),
        corner_uvs=uvs[points] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32),
        color=color,
        normal=normal,
        normals=None if normals is None else _in_blenders_frame(normals[first]),
        occlusion=occlusion,
        report=report,
    )


def polygons(triangles: Array) -> tuple[Array, Array]:
    """Corners [L] and first corners [F] of the polygons in `triangles` [T, 3], by the rule of FB_ngon_encoding:
    triangles that follow one another and begin with the same vertex are the fan of one polygon.
    """
    begins = np.ones(len(triangles), bool)
    begins[1:] = triangles[1:, 0] != triangles[:-1, 0]
    # A triangle that begins a polygon brings three corners, any other the last of its own.
    taken = np.stack([begins, begins, np.ones_like(begins)], axis=1)
    starts = np.cumsum(taken.sum(1)) - taken.sum(1)
    return triangles[taken], starts[begins]


def _in_blenders_frame(points: Array) -> Array:
    """Points or directions [V, 3] of glTF's frame, z up and the front towards -y."""
    return points[:, [0, 2, 1]] * np.array([1, -1, 1], points.dtype)


def _joined(positions: Array) -> tuple[Array, Array]:
    """Of positions [V, 3] float32: one vertex at each place [W], and at which of these places each vertex is [V].

    Sorts one mixed number per position, twice as fast as sorting positions, and looks afterwards whether any two
    places were mixed to the same number.
    """
    positions = positions + np.float32(0)  # -0.0 becomes 0.0
    bits = positions.view(np.uint32).astype(np.uint64)
    _, first, joined = np.unique(bits @ _MIX, return_index=True, return_inverse=True)
    if not np.array_equal(positions[first[joined.reshape(-1)]], positions):
        _, first, joined = np.unique(positions, axis=0, return_index=True, return_inverse=True)
    return first, joined.reshape(-1)


def _chunks(path: Path) -> tuple[dict, memoryview]:
    """The description and the data of the file."""
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise GlbError(f"Could not read {path}: {error.strerror or error}.") from error
    if len(content) < 20 or content[:4] != b"glTF":
        raise GlbError(f"{path} is not a GLB file.")
    _, version, length = struct.unpack_from("<III", content)
    if version != 2 or length != len(content):
        raise GlbError(f"{path} is truncated or not glTF 2 (version {version}, {len(content)} of {length} bytes).")
    found: dict[int, memoryview] = {}
    offset = 12
    while offset + 8 <= len(content):
        size, kind = struct.unpack_from("<II", content, offset)
        found.setdefault(kind, content[offset + 8 : offset + 8 + size])
        offset += 8 + size
    try:
        return json.loads(bytes(found[_JSON])), found[_BINARY]
    except (KeyError, ValueError) as error:
        raise GlbError(f"{path} lacks its description or its data.") from error


def _placed_mesh(document: dict) -> tuple[dict, Array]:
    """The node of the scene that has a mesh, and its matrix to the world, [4, 4]."""
    nodes = document["nodes"]
    roots = document["scenes"][document.get("scene", 0)]["nodes"]
    pending = [(root, np.eye(4)) for root in roots]
    placed = []
    while pending:
        index, parent = pending.pop()
        matrix = parent @ _matrix(nodes[index])
        if "mesh" in nodes[index]:
            placed.append((nodes[index], matrix))
        pending += [(child, matrix) for child in nodes[index].get("children", [])]
    (only,) = placed
    return only


def _matrix(node: dict) -> Array:
    """A node's place in its parent, [4, 4]."""
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    if "rotation" in node:
        raise ValueError("the engine writes no rotations")
    matrix = np.diag([*map(float, node.get("scale", (1, 1, 1))), 1.0])
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _image(document: dict, binary: memoryview, info: dict | None) -> ImageFile | None:
    """The image that a place for a texture in a material leads to."""
    if info is None:
        return None
    texture = document["textures"][info["index"]]
    source = texture.get("extensions", {}).get(WEBP, texture)["source"]
    image = document["images"][source]
    return ImageFile(_view(document, binary, image["bufferView"]).tobytes(), _SUFFIXES[image["mimeType"]])


def _view(document: dict, binary: memoryview, index: int) -> Array:
    view = document["bufferViews"][index]
    start = view.get("byteOffset", 0)
    data = np.frombuffer(binary, np.uint8, view["byteLength"], start)
    if "byteStride" in view:
        raise ValueError("interleaved data")
    return data


def _accessor(document: dict, binary: memoryview, index: int) -> Array:
    accessor = document["accessors"][index]
    data = _view(document, binary, accessor["bufferView"])[accessor.get("byteOffset", 0) :]
    dtype, width = np.dtype(_DTYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
    values = np.frombuffer(data, dtype, accessor["count"] * width)
    return values.reshape(-1, width) if width > 1 else values

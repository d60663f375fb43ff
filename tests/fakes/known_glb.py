# SPDX-License-Identifier: GPL-3.0-or-later
"""A GLB whose every side is known: a closed box with a nose on its front. Standard library only.

In glTF's frame (y up, front towards +z), for size 1: x in [-0.25, 0.25], y in [0, 1], z in [-0.25, 0.25].
The nose's tip is at NOSE, towards the right of the picture. Each side has its colour from the texture; vertices are
split at the texture's seams, as in every GLB.
"""

import base64
import json
import struct
import zlib
from pathlib import Path

NOSE = (0.1, 0.75, 0.25)
SIDES = {  # colour in sRGB, (column, row) of the cell in the texture
    "front": ((255, 0, 0), (0, 0)),
    "back": ((0, 0, 255), (0, 1)),
    "left": ((0, 255, 0), (1, 0)),
    "right": ((255, 255, 0), (2, 1)),
    "top": ((255, 255, 255), (3, 0)),
    "bottom": ((64, 64, 64), (3, 1)),
}
FACES = 14
POLYGONS = 9  # of the object in quads
FLAT = (128, 128, 255)  # of the normal map
SHADE = (200, 255, 0)  # of the occlusion: red counts
WELDED_VERTICES = 9
CELL = 4  # pixels; the texture is 4 by 2 cells

_WEBP = "UklGRjgAAABXRUJQVlA4TCwAAAAvD8ABADUgattGhXb8Se1/CBwBQZH/owkIivwfrf+x4Qp7HNX/GXucqkf1Hw=="
"""The texture as lossless WebP."""

_CORNERS = {(x, y, z): (0.25 * x, float(y), 0.05 if z > 0 else -0.25) for x in (-1, 1) for y in (0, 1) for z in (-1, 1)}
_QUADS = {  # counter-clockwise from outside
    "back": [(1, 0, -1), (-1, 0, -1), (-1, 1, -1), (1, 1, -1)],
    "left": [(-1, 0, -1), (-1, 0, 1), (-1, 1, 1), (-1, 1, -1)],
    "right": [(1, 0, 1), (1, 0, -1), (1, 1, -1), (1, 1, 1)],
    "top": [(-1, 1, 1), (1, 1, 1), (1, 1, -1), (-1, 1, -1)],
    "bottom": [(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1)],
}
_FRONT = [(-1, 0, 1), (1, 0, 1), (1, 1, 1), (-1, 1, 1)]


def known_polygons(size: float = 1.0) -> list[tuple[str, list[tuple[float, float, float]]]]:
    """Each face with the name of its side: five quads, and the four triangles around the nose."""
    polygons = [(side, [_CORNERS[corner] for corner in corners]) for side, corners in _QUADS.items()]
    ring = [_CORNERS[corner] for corner in _FRONT]
    polygons += [("front", [ring[i], ring[(i + 1) % 4], NOSE]) for i in range(4)]
    return [(side, [tuple(size * value for value in point) for point in points]) for side, points in polygons]


def known_triangles(size: float = 1.0) -> list[tuple[str, list[tuple[float, float, float]]]]:
    """Each triangle with the name of its side."""
    return [
        (side, [points[0], points[i], points[i + 1]])
        for side, points in known_polygons(size)
        for i in range(1, len(points) - 1)
    ]


def write_known_glb(
    path: str | Path,
    size: float = 1.0,
    *,
    quads: bool = False,
    normal_map: bool = False,
    occlusion: bool = False,
    image: str = "png",
    extras: dict | None = None,
    placement: tuple[float, tuple[float, float, float]] | None = None,
) -> None:
    """Writes the object `size` metres tall, by choice with all that the engine can put in a file.

    `quads` are told by FB_ngon_encoding, `placement` is the scale and the translation of the node.
    """
    positions, uvs, indices = [], [], []
    for side, points in known_polygons(size) if quads else known_triangles(size):
        column, row = SIDES[side][1]
        first = len(positions)
        positions += points
        uvs += [((column + 0.3 + 0.4 * i / 3) / 4, (row + 0.3 + 0.4 * (i % 2)) / 2) for i in range(len(points))]
        for i in range(1, len(points) - 1):
            indices += [first, first + i, first + i + 1]
    normals = _smooth_normals(positions, indices)
    lowest = [min(p[axis] for p in positions) for axis in range(3)]
    highest = [max(p[axis] for p in positions) for axis in range(3)]
    count = len(positions)
    blobs = [
        b"".join(struct.pack("<3f", *p) for p in positions),
        b"".join(struct.pack("<3f", *n) for n in normals),
        b"".join(struct.pack("<2f", *uv) for uv in uvs),
        struct.pack(f"<{len(indices)}I", *indices),
        base64.b64decode(_WEBP) if image == "webp" else _texture_png(),
    ]
    images = [f"image/{image}"]
    material: dict = {
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    }
    for wanted, slot, colour in ((normal_map, "normalTexture", FLAT), (occlusion, "occlusionTexture", SHADE)):
        if wanted:
            material[slot] = {"index": len(images)}
            images.append("image/png")
            blobs.append(_png([[colour] * 4] * 4))
    views, offset = [], 0
    for blob in blobs:
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(blob)})
        offset += len(blob) + -len(blob) % 4
    binary = b"".join(blob + b"\0" * (-len(blob) % 4) for blob in blobs)
    node: dict = {"mesh": 0, "name": "known", **({"extras": extras} if extras else {})}
    if placement is not None:
        node |= {"scale": [placement[0]] * 3, "translation": list(placement[1])}
    primitive: dict = {"attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2}, "indices": 3, "material": 0}
    used = []
    if quads:
        primitive["extensions"] = {"FB_ngon_encoding": {}}
        used.append("FB_ngon_encoding")
    textures: list[dict] = [{"source": i} for i in range(len(images))]
    if image == "webp":
        textures[0] = {"extensions": {"EXT_texture_webp": {"source": 0}}}
        used.append("EXT_texture_webp")
    document = {
        "asset": {"version": "2.0"},
        **({"extensionsUsed": used} if used else {}),
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"primitives": [primitive]}],
        "materials": [material],
        "textures": textures,
        "images": [{"bufferView": 4 + i, "mimeType": mime_type} for i, mime_type in enumerate(images)],
        "accessors": [
            _accessor(0, 5126, "VEC3", count, min=lowest, max=highest),
            _accessor(1, 5126, "VEC3", count),
            _accessor(2, 5126, "VEC2", count),
            _accessor(3, 5125, "SCALAR", len(indices)),
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    Path(path).write_bytes(struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks)


def _accessor(view: int, component: int, kind: str, count: int, **more) -> dict:
    return {"bufferView": view, "componentType": component, "type": kind, "count": count, **more}


def known_normals() -> dict[tuple[float, ...], tuple[float, float, float]]:
    """The normal in the file at each corner of the object, whose faces are weighed by their area."""
    points = [point for _, triangle in known_triangles() for point in triangle]
    return dict(zip(points, _smooth_normals(points, list(range(len(points)))), strict=True))


def _smooth_normals(positions: list[tuple[float, ...]], indices: list[int]) -> list[tuple[float, float, float]]:
    """One normal per position, whatever triangles it belongs to."""
    sums: dict[tuple[float, ...], list[float]] = {point: [0.0, 0.0, 0.0] for point in positions}
    for i in range(0, len(indices), 3):
        a, b, c = (positions[index] for index in indices[i : i + 3])
        u, v = [b[k] - a[k] for k in range(3)], [c[k] - a[k] for k in range(3)]
        cross = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
        for point in (a, b, c):
            for k in range(3):
                sums[point][k] += cross[k]
    lengths = {point: sum(value**2 for value in total) ** 0.5 for point, total in sums.items()}
    return [tuple(value / lengths[p] for value in sums[p]) for p in positions]


def _texture_png() -> bytes:
    cells = {cell: colour for colour, cell in SIDES.values()}
    return _png([[cells.get((x // CELL, y // CELL), (255, 0, 255)) for x in range(4 * CELL)] for y in range(2 * CELL)])


def _png(rows: list[list[tuple[int, int, int]]]) -> bytes:
    """Rows of sRGB pixels as PNG, from the top."""
    content = b"".join(b"\0" + b"".join(bytes(pixel) for pixel in row) for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")

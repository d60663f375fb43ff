# SPDX-License-Identifier: GPL-3.0-or-later
"""The helper process that runs xatlas, which on rare meshes never ends and cannot be interrupted.

Started by `engine.texture.unwrap`, with the parent's `sys.path` as its first line on stdin. Then for each job one
JSON line with the counts, followed by the arrays' bytes; answered in the same form on stdout. Ends when stdin closes.
"""

import json
import sys

if __name__ == "__main__":
    sys.path[:] = json.loads(sys.stdin.buffer.readline())

import faulthandler

import numpy as np
import xatlas

PACKED_AT = 700
"""Texels asked of the packer: with its own spacing added the atlas comes out near 1024."""


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        job = json.loads(line)
        vertices = _read(source, np.float32, job["vertices"], 3)
        faces = _read(source, np.int32, job["faces"], 3)
        part_of_face = _read(source, np.int32, job["faces"])
        # A parent that dies cannot stop us; this timer runs outside the interpreter, which xatlas blocks.
        faulthandler.dump_traceback_later(job["limit_s"], exit=True)
        origins, charted, uvs, charts = unwrap(vertices, faces, part_of_face, job["margin"], job["many_charts"])
        faulthandler.cancel_dump_traceback_later()
        header = {"vertices": len(origins), "faces": len(charted), "charts": charts}
        sink.write(json.dumps(header).encode() + b"\n")
        for array in (origins.astype(np.int32), charted.astype(np.int32), uvs.astype(np.float32)):
            sink.write(array.tobytes())
        sink.flush()


def unwrap(vertices, faces, part_of_face, margin: float, many_charts: int):
    """Original vertex [W], faces [F, 3] and uvs [W, 2] (v up, in [0, 1]) of the unwrapped mesh, and its number of
    charts.

    Each chart keeps `margin`, a part of the texture's side, to itself all around; half of it where there are
    `many_charts`.
    """
    atlas = xatlas.Atlas()
    part_vertices = []
    for part in np.unique(part_of_face):
        used, local = np.unique(faces[part_of_face == part], return_inverse=True)
        atlas.add_mesh(vertices[used], local.reshape(-1, 3).astype(np.uint32))
        part_vertices.append(used)
    charting, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    packing.rotate_charts = packing.rotate_charts_to_axis = False  # turning swaps u and v, which mirrors charts
    packing.create_image = False
    packing.padding, packing.resolution = 8, PACKED_AT
    atlas.generate(charting, packing)
    meshes = [atlas[i] for i in range(atlas.mesh_count)]
    origins = np.concatenate([used[mapping] for used, (mapping, _, _) in zip(part_vertices, meshes, strict=True)])
    starts = np.cumsum([0] + [len(mapping) for mapping, _, _ in meshes])
    locals_ = [local.astype(np.int64) for _, local, _ in meshes]
    charted = np.concatenate([local + start for local, start in zip(locals_, starts[:-1], strict=True)])
    if atlas.chart_count > many_charts:
        margin /= 2
    side = max(atlas.width, atlas.height)
    uvs = np.concatenate([uv for _, _, uv in meshes]) * np.array([atlas.width, atlas.height], np.float32)
    for _ in range(3):
        if margin <= packing.padding / side <= 1.2 * margin:
            break
        uvs, side, packing.padding = _pack_again(meshes, uvs, starts, margin, side, packing.padding)
    return origins, charted, uvs / side, atlas.chart_count


def _pack_again(meshes, uvs, starts, margin, side, padding):
    """Packs the same charts nearer or further apart. Returns uvs, the atlas's side and the padding, in texels."""
    atlas = xatlas.Atlas()
    for i, (_, local, _) in enumerate(meshes):
        atlas.add_uv_mesh(np.ascontiguousarray(uvs[starts[i] : starts[i + 1]], np.float32), local)
    packing = xatlas.PackOptions()
    packing.rotate_charts = packing.rotate_charts_to_axis = packing.create_image = False
    packing.padding, packing.texels_per_unit = int(np.ceil(1.05 * margin * side)), 1.0
    atlas.generate(xatlas.ChartOptions(), packing)
    packed = np.concatenate([atlas[i][2] for i in range(atlas.mesh_count)])
    width, height = atlas.width, atlas.height
    return packed * np.array([width, height], np.float32), max(width, height), packing.padding


def _read(source, dtype, rows: int, columns: int = 1):
    data = source.read(rows * columns * np.dtype(dtype).itemsize)
    array = np.frombuffer(data, dtype)
    return array.reshape(rows, columns) if columns > 1 else array


if __name__ == "__main__":
    main()

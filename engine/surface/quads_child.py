# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false
"""The process that makes quads: Instant Meshes (Jakob et al. 2015), or QuadriFlow (Huang et al. 2018) in Blender.

Both may print, run for minutes or crash. Started by `engine.surface.quads` with a folder as its last argument, by
Python or by `blender --background`. The folder holds job.json (method, count, and the path where packages are found)
and the arrays vertices.npy [V, 3] and faces.npy [F, 3]; the answer is points.npy [P, 3] and quads.npy [Q, 4].
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(sys.argv[-1])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    if "bpy" not in sys.modules:  # not in Blender, which has all that is needed
        sys.path[:] = job["path"]

import numpy as np


def main() -> None:
    vertices, faces = np.load(folder / "vertices.npy"), np.load(folder / "faces.npy")
    make = {"instant meshes": instant_meshes, "quadriflow": quadriflow}[job["method"]]
    points, quads = make(vertices, faces, job)
    np.save(folder / "points.npy", points)
    np.save(folder / "quads.npy", quads)


def instant_meshes(vertices, faces, job):
    """Quads by a field of directions and one of positions; the count is met within a few per cent."""
    import pynanoinstantmeshes

    return pynanoinstantmeshes.remesh(
        np.array(vertices, np.float32, copy=True),  # it takes neither read-only arrays
        np.array(faces, np.uint32, copy=True),
        max(job["count"] // 4, 4),  # its faces are then cut in four
        align_to_boundaries=True,
        smooth_iter=2,
        deterministic=True,
    )


def quadriflow(vertices, faces, job):
    """Quads by Blender's operator, which returns the mesh as it was where it fails."""
    import bpy

    mesh = bpy.data.meshes.new("surface")
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    thing = bpy.data.objects.new("surface", mesh)
    bpy.context.scene.collection.objects.link(thing)
    bpy.context.view_layer.objects.active = thing
    thing.select_set(True)
    bpy.ops.object.quadriflow_remesh(mode="FACES", target_faces=job["count"], seed=job["seed"], use_mesh_symmetry=False)
    mesh = thing.data
    corners = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_total", corners)
    if (corners != 4).any():
        raise SystemExit("QuadriFlow has returned other faces than quads.")
    quads, points = np.empty(4 * len(corners), np.int32), np.empty(3 * len(mesh.vertices), np.float32)
    mesh.loops.foreach_get("vertex_index", quads)
    mesh.vertices.foreach_get("co", points)
    return points.reshape(-1, 3), quads.reshape(-1, 4)


if __name__ == "__main__":
    main()

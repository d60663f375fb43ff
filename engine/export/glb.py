# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that turns our meshes into files: glTF 2.0, binary.

glTF's frame is ours (right-handed, y up, front towards +z, uv origin top left); only size and place change: metres,
the base on the floor, centred above the origin. trimesh writes the file; it expects uvs with v upwards and turns them
back.
"""

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from engine.errors import OptionError
from engine.paths import written_whole
from engine.render.mesh_cpu import vertex_normals
from engine.surface.mesh import Mesh, validate_mesh

Array = np.ndarray

SMALLEST, LARGEST = 1e-4, 1e5


def write_glb(path: str | Path, mesh: Mesh, name: str, size_m: float = 1.0) -> None:
    """Writes `mesh` as a GLB of one node, one mesh and one material, all called `name`; the longest side is `size_m`
    metres.

    The material is matt (roughness 1, metallic 0) with the texture as base colour, embedded as PNG (grey without one).
    Raises `OptionError` for a size out of range and `OutputError` where the file cannot be written; it appears whole.
    """
    if not SMALLEST <= size_m <= LARGEST:
        raise OptionError(f"Found a size of {size_m:g} metres, expected {SMALLEST:g} to {LARGEST:g}.", "Try 1.")
    data = glb_bytes(validate_mesh(mesh), name, size_m)
    with written_whole(path) as part:
        part.write_bytes(data)


def glb_bytes(mesh: Mesh, name: str, size_m: float) -> bytes:
    """The content of the file; as `write_glb`."""
    material = PBRMaterial(name=name, roughnessFactor=1.0, metallicFactor=0.0, baseColorFactor=[255, 255, 255, 255])
    uvs = np.zeros((len(mesh.vertices), 2), np.float32) if mesh.uvs is None else mesh.uvs
    if mesh.texture is not None:
        material.baseColorTexture = Image.fromarray(mesh.texture)
    else:
        material.baseColorFactor = [153, 153, 153, 255]
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    body = trimesh.Trimesh(
        vertices=placed(mesh.vertices, size_m),
        faces=mesh.faces,
        vertex_normals=normals,
        visual=TextureVisuals(uv=np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1), material=material),
        process=False,
        validate=False,
    )
    scene = trimesh.Scene()
    scene.add_geometry(body, node_name=name, geom_name=name)
    return export_glb(scene, include_normals=True, tree_postprocessor=_named)


def placed(vertices: Array, size_m: float) -> Array:
    """Vertices [V, 3] float32 in metres: longest side `size_m`, lowest point at y = 0, centred in x and z."""
    low, high = vertices.min(0).astype(np.float64), vertices.max(0).astype(np.float64)
    foot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return ((vertices - foot) * (size_m / max((high - low).max(), 1e-12))).astype(np.float32)


def _named(tree: dict) -> None:
    """Gives the image the object's name, so that several imported objects can be told apart, and signs the file."""
    for image in tree.get("images", []):
        image["name"] = tree["meshes"][0]["name"]
    tree["asset"]["generator"] = "Gaussmith"

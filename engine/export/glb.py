# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that turns our meshes into files: glTF 2.0, binary.

glTF's frame is ours (right-handed, y up, front towards +z, uv origin top left); only size and place change: metres,
the base on the floor, centred above the origin. trimesh writes the file; it expects uvs with v upwards and turns them
back.

What a file holds: one scene, one node, one mesh of one primitive, one material.
- POSITION, NORMAL, TEXCOORD_0; with a normal map also TANGENT (`engine.texture.tangents`), so that renderers that do
  not compute MikkTSpace show it as it was baked.
- `baseColorTexture`: PNG, or WebP through EXT_texture_webp, which then is required: there is no second copy. Numbers
  are never stored with loss: the other images are PNG in either case.
- `normalTexture`, scale 1.
- `occlusionTexture` and `metallicRoughnessTexture` are one image: occlusion in red, roughness 1 in green, metallic 0 in
  blue. Both factors are then 1; without this image they are roughness 1 and metallic 0.
- Quads: triangles 2 k and 2 k + 1 are the halves of one, by FB_ngon_encoding on the primitive. They begin with the same
  vertex, which is never the one the pair before begins with. The extension is not required: others see triangles.
- `extras` of the node: what the caller gives, as JSON.
Images are called as the object, with what they hold behind a space; image data is never padded within its view.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

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
from engine.texture.tangents import vertex_tangents

Array = np.ndarray
Placement = tuple[float, Array]

SMALLEST, LARGEST = 1e-4, 1e5

IMAGES = ("png", "webp")
"""How the base colour can be stored."""

PNG_LEVEL = 2
"""zlib's level: a third of the time of the usual 6, files a fifth larger."""

WEBP_QUALITY = 95
"""Root mean square error of 2 of 255 steps at a fifth of a PNG's size."""

_GREY = 153


def write_glb(
    path: str | Path,
    mesh: Mesh,
    name: str,
    size_m: float = 1.0,
    image: str = "png",
    extras: dict[str, Any] | None = None,
    placement: Placement | None = None,
) -> None:
    """Writes `mesh` as a GLB of one node, one mesh and one material, all called `name`; the longest side is `size_m`
    metres.

    With a `placement` (scale, center [3]) vertices are written at scale * position + center instead. The material is
    matt (roughness 1, metallic 0), grey where there is no texture. `image` is how the base colour is stored; `extras`
    (JSON) stay with the node, in Blender as the object's custom properties.
    Raises `OptionError` for a size or image out of range and `OutputError` where the file cannot be written; it appears
    whole.
    """
    if placement is None and not SMALLEST <= size_m <= LARGEST:
        raise OptionError(f"Found a size of {size_m:g} metres, expected {SMALLEST:g} to {LARGEST:g}.", "Try 1.")
    if image not in IMAGES:
        raise OptionError(f"There is no image format {image!r} for textures.", f"Choose one of {', '.join(IMAGES)}.")
    data = glb_bytes(validate_mesh(mesh), name, size_m, image, extras, placement)
    with written_whole(path) as part:
        part.write_bytes(data)


def glb_bytes(
    mesh: Mesh,
    name: str,
    size_m: float = 1.0,
    image: str = "png",
    extras: dict[str, Any] | None = None,
    placement: Placement | None = None,
) -> bytes:
    """The content of the file; as `write_glb`."""
    grey = 255 if mesh.texture is not None else _GREY
    uvs = np.zeros((len(mesh.vertices), 2), np.float32) if mesh.uvs is None else mesh.uvs
    normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
    vertices = placed(mesh.vertices, size_m) if placement is None else moved(mesh.vertices, placement)
    body = trimesh.Trimesh(
        vertices=vertices,
        faces=fans(mesh.faces) if mesh.quads else mesh.faces,
        vertex_normals=normals,
        visual=TextureVisuals(
            uv=np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1),
            material=PBRMaterial(
                name=name, roughnessFactor=1.0, metallicFactor=0.0, baseColorFactor=[grey, grey, grey, 255]
            ),
        ),
        process=False,
        validate=False,
    )
    scene = trimesh.Scene()
    scene.add_geometry(body, node_name=name, geom_name=name)
    blocks = _Blocks(mesh, name, image, extras)
    return export_glb(scene, include_normals=True, buffer_postprocessor=blocks.add, tree_postprocessor=blocks.describe)


def placed(vertices: Array, size_m: float) -> Array:
    """Vertices [V, 3] float32 in metres: longest side `size_m`, lowest point at y = 0, centred in x and z."""
    low, high = vertices.min(0).astype(np.float64), vertices.max(0).astype(np.float64)
    foot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return ((vertices - foot) * (size_m / max((high - low).max(), 1e-12))).astype(np.float32)


def placement_of(vertices: Array, size_m: float) -> Placement:
    """Scale and centre with which `moved` does what `placed` does: for what belongs to these vertices."""
    low, high = vertices.min(0).astype(np.float64), vertices.max(0).astype(np.float64)
    scale = size_m / max((high - low).max(), 1e-12)
    return scale, -scale * np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])


def moved(vertices: Array, placement: Placement) -> Array:
    """Vertices [V, 3] float32 at scale * position + center."""
    scale, center = placement
    return (vertices * np.float64(scale) + np.asarray(center, np.float64)).astype(np.float32)


def fans(faces: Array) -> Array:
    """Faces [2 Q, 3] of Q quads, begun at a corner such that no two that follow each other begin at the same vertex.

    A quad (a, b, c, d), stored as (a, b, c), (a, c, d), may begin at c as well: (c, d, a), (c, a, b) has the same
    diagonal.
    """
    pairs = faces.reshape(-1, 6).copy()
    turned = pairs[:, [2, 5, 0, 2, 0, 1]]
    # One quad's choice depends on the last one's; only where two begin alike is there anything to choose.
    for first in np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0]) + 1:
        quad = first
        while quad < len(pairs) and pairs[quad, 0] == pairs[quad - 1, 0]:
            pairs[quad] = turned[quad]
            quad += 1
    return pairs.reshape(-1, 3)


class _Blocks:
    """What trimesh does not write: images as we encode them, tangents, extensions and extras."""

    def __init__(self, mesh: Mesh, name: str, image: str, extras: dict[str, Any] | None) -> None:
        self.mesh, self.name, self.extras = mesh, name, extras
        self.webp = image == "webp" and mesh.texture is not None
        makers: dict[str, Callable[[], bytes]] = {}
        if (texture := mesh.texture) is not None:
            makers[""] = lambda: encoded(texture, "webp" if self.webp else "png")
        if (normals := mesh.normal_map) is not None and mesh.uvs is not None:
            makers[" normal"] = lambda: encoded(normals)
        if (light := mesh.occlusion) is not None:
            makers[" occlusion roughness metallic"] = lambda: encoded(_packed(light))
        with ThreadPoolExecutor(max_workers=2) as pool:  # the encoders work outside the interpreter's lock
            self.images = dict(zip(makers, pool.map(lambda make: make(), makers.values()), strict=True))
        self.views: dict[str, int] = {}

    def add(self, buffers: dict[str, bytes], tree: dict) -> None:
        """Appends blocks of bytes; each becomes a view of the number it stands at."""
        for name, data in self.images.items():
            self.views[name] = len(buffers)
            buffers[f"image{name}"] = data + bytes(-len(data) % 4)
        if " normal" in self.images:
            tangents = vertex_tangents(self.mesh)
            tree["meshes"][0]["primitives"][0]["attributes"]["TANGENT"] = len(tree["accessors"])
            tree["accessors"]["tangents"] = {
                "bufferView": len(buffers), "componentType": 5126, "count": len(tangents), "type": "VEC4"
            }  # fmt: skip
            buffers["tangents"] = tangents.tobytes()

    def describe(self, tree: dict) -> None:
        """Completes the description: names, images, material, polygons, extras."""
        tree["asset"]["generator"] = "Gaussmith"
        material, (primitive,) = tree["materials"][0], tree["meshes"][0]["primitives"]
        extensions = []
        if self.images:
            tree["images"], tree["textures"] = [], []
        for name, data in self.images.items():
            webp = self.webp and not name
            tree["bufferViews"][self.views[name]]["byteLength"] = len(data)
            source = {"source": len(tree["images"])}
            tree["images"].append(
                {
                    "name": self.name + name,
                    "mimeType": "image/webp" if webp else "image/png",
                    "bufferView": self.views[name],
                }
            )
            tree["textures"].append({"extensions": {"EXT_texture_webp": source}} if webp else source)
            texture = {"index": len(tree["textures"]) - 1}
            surface = material["pbrMetallicRoughness"]
            if not name:
                surface["baseColorTexture"] = texture
            elif name == " normal":
                material["normalTexture"] = texture
            else:
                material["occlusionTexture"] = texture
                surface |= {"metallicRoughnessTexture": dict(texture), "metallicFactor": 1.0, "roughnessFactor": 1.0}
        if self.webp:
            extensions.append("EXT_texture_webp")
            tree["extensionsRequired"] = ["EXT_texture_webp"]
        if self.mesh.quads:
            primitive["extensions"] = {"FB_ngon_encoding": {}}
            extensions.append("FB_ngon_encoding")
        if extensions:
            tree["extensionsUsed"] = extensions
        if self.extras:
            tree["nodes"][0]["extras"] = self.extras


def encoded(picture: Array, kind: str = "png") -> bytes:
    """The file of a picture [H, W, 3] or [H, W] uint8."""
    content = BytesIO()
    if kind == "webp":
        Image.fromarray(picture).save(content, "WEBP", quality=WEBP_QUALITY, method=2)
    else:
        Image.fromarray(picture).save(content, "PNG", compress_level=PNG_LEVEL)
    return content.getvalue()


def _packed(occlusion: Array) -> Array:
    """Occlusion, roughness 1 and metallic 0 in one picture [T, T, 3]."""
    picture = np.zeros((*occlusion.shape, 3), np.uint8)
    picture[..., 0], picture[..., 1] = occlusion, 255
    return picture

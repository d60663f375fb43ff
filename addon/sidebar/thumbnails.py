# SPDX-License-Identifier: GPL-3.0-or-later
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
"""Thumbnails: of pictures, loaded beforehand so that drawing one only reads a number, and of meshes, drawn once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
import bpy.utils.previews

from ..files.png import png_bytes

if TYPE_CHECKING:
    import numpy as np

LARGEST = 40_000_000
"""Bytes of a picture file beyond which no thumbnail is made of it."""
SPARE = 12
"""Thumbnails kept of pictures that are not in use any more: Blender holds 256 KiB for each."""
SIDE = 256
"""Pixels of a mesh's thumbnail, in both directions."""
MOST_CORNERS = 1_500_000
"""Corners of a mesh beyond which it is not drawn: it would take longer than a blink."""
_NO_PREVIEW = 0

_TOWARDS_VIEWER = (0.35, -1.0, 0.4)  # as `scene.frame_all` looks at meshes
_TOWARDS_LIGHT = (0.6, -1.0, 1.2)
_DARKEST = 0.45
_VERTEX = "void main() { seen_uv = uv; seen_light = light; gl_Position = vec4(pos, 1.0); }"
_FRAGMENT = "void main() { color = vec4(texture(image, seen_uv).rgb * seen_light, 1.0); }"

in_use: list[Callable[[], Iterable[str]]] = []
"""Each tells pictures that are shown, or will be soon; their thumbnails stay, as those of the wells do."""

_previews: bpy.utils.previews.ImagePreviewCollection | None = None


def load(path: str) -> None:
    """Prepares the thumbnail of a picture."""
    if _previews is not None and path in _previews:  # the file may have changed
        _previews[path].reload()
    else:
        prepare(path)


def prepare(path: str) -> None:
    """Prepares the thumbnail of a picture that does not change."""
    if _previews is None or not path or path in _previews:
        return
    file = Path(bpy.path.abspath(path))
    try:
        if file.stat().st_size > LARGEST or not file.is_file():
            return
    except (OSError, ValueError):
        return  # not there, or no path at all: the panel shows no thumbnail, and Generate says why
    _previews.load(path, str(file), "IMAGE")
    used = {path, *(scene.gaussmith.picture for scene in bpy.data.scenes)}.union(*(pictures() for pictures in in_use))
    for old in [other for other in _previews if other not in used][:-SPARE]:
        del _previews[old]


def icon(path: str) -> int:
    """The icon of a picture whose thumbnail was loaded, else 0."""
    if _previews is None or path not in _previews:
        return _NO_PREVIEW
    return _previews[path].icon_id


# ---------------------------------------------------------------------------
# Of meshes


def snapshot(ob: bpy.types.Object, side: int = SIDE) -> bytes:
    """A PNG of a textured object from the front, a little to the right and above; empty where nothing can be drawn.

    Draws on the graphics card, off screen: some milliseconds, and nothing in the scene changes.
    """
    image = _texture_of(ob)
    if bpy.app.background or image is None or not 0 < len(ob.data.loops) <= MOST_CORNERS:
        return b""
    try:
        linear = _drawn(ob.data, image, 2 * side)
    except (SystemError, RuntimeError, ValueError):
        return b""  # a driver that cannot: the picture stands in for the mesh
    return png_bytes(_reduced(linear))


def _texture_of(ob: bpy.types.Object) -> bpy.types.Image | None:
    material = ob.active_material
    tree = material.node_tree if material is not None else None
    node = tree.nodes.active if tree is not None else None
    return getattr(node, "image", None)


def _drawn(mesh: bpy.types.Mesh, image: bpy.types.Image, side: int) -> np.ndarray:
    """The mesh as pixels [side, side, 4] float32, linear, top row first."""
    import gpu
    import numpy as np

    corners, uvs, light, triangles = _corners(mesh)
    shader = _shader()
    layout = gpu.types.GPUVertFormat()
    for name, length in (("pos", 3), ("uv", 2), ("light", 1)):
        layout.attr_add(id=name, comp_type="F32", len=length, fetch_mode="FLOAT")
    vertices = gpu.types.GPUVertBuf(layout, len(corners))
    for name, values in (("pos", corners), ("uv", uvs), ("light", light)):
        vertices.attr_fill(name, np.ascontiguousarray(values, np.float32))
    faces = gpu.types.GPUIndexBuf(type="TRIS", seq=np.ascontiguousarray(triangles, np.uint32))
    batch = gpu.types.GPUBatch(type="TRIS", buf=vertices, elem=faces)
    offscreen = gpu.types.GPUOffScreen(side, side, format="RGBA16F")
    try:
        with offscreen.bind():
            framebuffer = gpu.state.active_framebuffer_get()
            framebuffer.clear(color=(0.0, 0.0, 0.0, 0.0), depth=1.0)
            gpu.state.depth_test_set("LESS_EQUAL")
            gpu.state.depth_mask_set(True)
            shader.bind()
            shader.uniform_sampler("image", gpu.texture.from_image(image))
            batch.draw(shader)
            gpu.state.depth_mask_set(False)
            gpu.state.depth_test_set("NONE")
            pixels = framebuffer.read_color(0, 0, side, side, 4, 0, "FLOAT")
        pixels.dimensions = side * side * 4
        return np.array(pixels, np.float32).reshape(side, side, 4)[::-1]
    finally:
        offscreen.free()


def _corners(mesh: bpy.types.Mesh) -> tuple[np.ndarray, ...]:
    """At each corner: place in the view [-1, 1]^3, texture coordinate, light; and corners of the triangles."""
    import numpy as np

    mesh.calc_loop_triangles()
    vertices = _values(mesh.vertices, "co", 3)
    normals = _values(mesh.vertices, "normal", 3)
    at = _values(mesh.loops, "vertex_index", 1, "int32")[:, 0]
    uvs = _values(mesh.uv_layers.active.data, "uv", 2)
    triangles = _values(mesh.loop_triangles, "loops", 3, "int32")
    back = np.array(_TOWARDS_VIEWER) / np.linalg.norm(_TOWARDS_VIEWER)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.linalg.norm(right)
    seen = vertices @ np.array([right, np.cross(back, right), -back]).T
    low, high = seen.min(0), seen.max(0)
    half = np.array([1.0, 1.0, 0.0]) * 0.53 * (high - low)[:2].max() + np.array([0.0, 0.0, 0.55]) * (high - low)[2]
    placed = (seen - (low + high) / 2) / np.maximum(half, 1e-9)
    light = normals @ (np.array(_TOWARDS_LIGHT) / np.linalg.norm(_TOWARDS_LIGHT))
    light = _DARKEST + (1 - _DARKEST) * np.clip(light * 0.5 + 0.5, 0, 1)
    return placed[at], uvs, light[at], triangles


def _values(collection: Any, name: str, width: int, dtype: str = "float32") -> np.ndarray:
    import numpy as np

    values = np.empty(len(collection) * width, dtype)
    collection.foreach_get(name, values)
    return values.reshape(-1, width)


def _shader() -> Any:
    import gpu

    seen = gpu.types.GPUStageInterfaceInfo("gaussmith_thumbnail")
    seen.smooth("VEC2", "seen_uv")
    seen.smooth("FLOAT", "seen_light")
    info = gpu.types.GPUShaderCreateInfo()
    info.sampler(0, "FLOAT_2D", "image")
    for slot, (kind, name) in enumerate((("VEC3", "pos"), ("VEC2", "uv"), ("FLOAT", "light"))):
        info.vertex_in(slot, kind, name)
    info.vertex_out(seen)
    info.fragment_out(0, "VEC4", "color")
    info.vertex_source(_VERTEX)
    info.fragment_source(_FRAGMENT)
    return gpu.shader.create_from_info(info)


def _reduced(linear: np.ndarray) -> np.ndarray:
    """Pixels [2H, 2W, 4], linear and not blended, as [H, W, 4] uint8 sRGB with smooth edges."""
    import numpy as np

    height, width, _ = linear.shape
    blocks = linear.reshape(height // 2, 2, width // 2, 2, 4)
    cover = blocks[..., 3:].mean((1, 3))
    color = (blocks[..., :3] * blocks[..., 3:]).mean((1, 3)) / np.maximum(cover, 1e-6)
    return np.round(np.concatenate([srgb(color), cover], axis=2) * 255).astype(np.uint8)


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear colours as sRGB, both in [0, 1]."""
    import numpy as np

    clipped = np.clip(linear, 0, 1)
    return np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


def register() -> None:
    global _previews
    if not bpy.app.background:
        _previews = bpy.utils.previews.new()


def unregister() -> None:
    global _previews
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None

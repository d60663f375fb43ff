# SPDX-License-Identifier: GPL-3.0-or-later
"""Triangle rasteriser on the CPU: which face each pixel sees, where on it, how far; and shaded pictures from that.

Edge functions after Pineda 1988; barycentrics are corrected for perspective (Blinn 1992, hyperbolic interpolation).
Triangles are seen from both sides. Those that reach behind NEAR are left out: cameras stand outside objects.
"""

from dataclasses import dataclass

import numpy as np

from engine.fields.cameras import Cameras
from engine.jit import parallel_kernel, prange
from engine.surface.mesh import Mesh

Array = np.ndarray

NEAR = 1e-3
"""Distance of the near plane in object units."""

BANDS = 8
"""Rows are dealt out to this many bands, each rasterised by one thread."""


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees."""

    face_ids: Array  # [H, W] int32, -1 where nothing
    barycentrics: Array  # [H, W, 3] float32, perspective-correct, 0 where nothing
    depths: Array  # [H, W] float32, camera z in object units, 0 where nothing


@dataclass(frozen=True)
class Light:
    """A distant light over an even ambient one; shade = ambient + (1 - ambient) * max(0, normal . direction)."""

    direction: Array  # [3] towards the light, unit length, in the world
    ambient: float = 0.6


def rasterize(
    vertices: Array, faces: Array, viewmat: Array, K: Array, width: int, height: int, farthest: bool = False
) -> Fragments:
    """The nearest surface in each pixel (the farthest one with `farthest`).

    vertices [V, 3] in the world, faces [F, 3], viewmat [4, 4] world to camera, K [3, 3] pixels.
    """
    camera = vertices @ viewmat[:3, :3].T + viewmat[:3, 3]
    points = np.empty((len(vertices), 3), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        points[:, 0] = K[0, 0] * camera[:, 0] / camera[:, 2] + K[0, 2]
        points[:, 1] = K[1, 1] * camera[:, 1] / camera[:, 2] + K[1, 2]
    points[:, 2] = camera[:, 2]
    face_ids = np.full((height, width), -1, np.int32)
    barycentrics = np.zeros((height, width, 3), np.float32)
    depths = np.zeros((height, width), np.float32)
    _rasterize(points, np.ascontiguousarray(faces, np.int32), farthest, face_ids, barycentrics, depths)
    return Fragments(face_ids, barycentrics, depths)


def interpolate(fragments: Fragments, faces: Array, values: Array) -> Array:
    """Per-vertex `values` [V, A] at every pixel, [H, W, A] float32; 0 where nothing is seen."""
    picture = np.zeros((*fragments.face_ids.shape, values.shape[1]), np.float32)
    _interpolate(
        fragments.face_ids,
        fragments.barycentrics,
        np.ascontiguousarray(faces, np.int32),
        np.ascontiguousarray(values, np.float32),
        picture,
    )
    return picture


def sample_texture(texture: Array, uvs: Array) -> Array:
    """Bilinear look-up of `texture` [T, S, 3] (uint8) at `uvs` [..., 2] (clamped at the border), float32 in [0, 1]."""
    colors = np.empty((uvs.size // 2, 3), np.float32)
    _sample_texture(texture, np.ascontiguousarray(uvs, np.float32).reshape(-1, 2), colors)
    return colors.reshape(*uvs.shape[:-1], 3)


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Area-weighted unit normals [V, 3]; +y where a vertex has no face of any area."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(faces[:, corner], face_normals[:, axis], len(vertices)).astype(np.float32)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 1e-20, normals / np.maximum(lengths, 1e-20), np.float32([0, 1, 0])).astype(np.float32)


def render_mesh(
    mesh: Mesh, cameras: Cameras, light: Light | None = None, supersample: int = 2, color: Array | None = None
) -> tuple[Array, Array]:
    """Pictures of a mesh: RGBA [C, H, W, 4] float32 with straight alpha, and camera depths [C, H, W] (0 where nothing).

    Takes the texture, or `color` [3] where there is none (mid grey by default). Without a light colours are unshaded.
    Each pixel averages supersample^2 samples; its depth is the nearest of them.
    """
    grey = np.float32([0.6, 0.6, 0.6]) if color is None else np.asarray(color, np.float32)
    normals = None
    if light is not None:
        normals = mesh.normals if mesh.normals is not None else vertex_normals(mesh.vertices, mesh.faces)
    width, height = cameras.width * supersample, cameras.height * supersample
    rgba = np.empty((len(cameras), cameras.height, cameras.width, 4), np.float32)
    depths = np.empty((len(cameras), cameras.height, cameras.width), np.float32)
    for c in range(len(cameras)):
        K = cameras.Ks[c] * np.float32([[supersample], [supersample], [1]])
        seen = rasterize(mesh.vertices, mesh.faces, cameras.viewmats[c], K, width, height)
        if mesh.texture is not None and mesh.uvs is not None:
            colors = sample_texture(mesh.texture, interpolate(seen, mesh.faces, mesh.uvs))
        else:
            colors = np.broadcast_to(grey, (height, width, 3))
        if light is not None and normals is not None:
            colors = colors * _shade(seen, mesh, normals, cameras.viewmats[c], light)[..., None]
        rgba[c], depths[c] = _average(colors, seen, supersample)
    return rgba, depths


def _shade(seen: Fragments, mesh: Mesh, normals: Array, viewmat: Array, light: Light) -> Array:
    """Factor of light per pixel [H, W]; normals are turned towards the camera, so that sheets are lit on both sides."""
    pixel_normals = interpolate(seen, mesh.faces, normals)
    toward_camera = -viewmat[2, :3]
    flip = np.where(pixel_normals @ toward_camera < 0, np.float32(-1), np.float32(1))
    lengths = np.maximum(np.linalg.norm(pixel_normals, axis=-1), 1e-6)
    lambert = np.maximum(pixel_normals @ np.asarray(light.direction, np.float32) * flip / lengths, 0)
    return light.ambient + (1 - light.ambient) * lambert


def _average(colors: Array, seen: Fragments, supersample: int) -> tuple[Array, Array]:
    """Samples to pixels: straight-alpha RGBA [H, W, 4] and the nearest depth [H, W]."""
    s = supersample
    height, width = seen.depths.shape[0] // s, seen.depths.shape[1] // s
    covered = (seen.face_ids >= 0).astype(np.float32)
    blocks = (colors * covered[..., None]).reshape(height, s, width, s, 3).sum((1, 3))
    weights = covered.reshape(height, s, width, s).sum((1, 3))
    rgba = np.zeros((height, width, 4), np.float32)
    rgba[..., :3] = np.clip(blocks / np.maximum(weights, 1)[..., None], 0, 1)
    rgba[..., 3] = weights / (s * s)
    depths = np.where(seen.depths > 0, seen.depths, np.float32(np.inf)).reshape(height, s, width, s).min((1, 3))
    return rgba, np.where(np.isfinite(depths), depths, np.float32(0))


@parallel_kernel
def _rasterize(points, faces, farthest, face_ids, barycentrics, depths):
    height, width = face_ids.shape
    for band in prange(BANDS):
        top = height * band // BANDS
        bottom = height * (band + 1) // BANDS
        for f in range(len(faces)):
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
            if not (za > NEAR and zb > NEAR and zc > NEAR):
                continue
            xa, ya, xb, yb = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
            xc, yc = points[c, 0], points[c, 1]
            y0 = max(top, int(np.ceil(min(ya, yb, yc) - 0.5)))
            y1 = min(bottom - 1, int(np.floor(max(ya, yb, yc) - 0.5)))
            if y1 < y0:
                continue
            x0 = max(0, int(np.ceil(min(xa, xb, xc) - 0.5)))
            x1 = min(width - 1, int(np.floor(max(xa, xb, xc) - 0.5)))
            area = (xb - xa) * (yc - ya) - (yb - ya) * (xc - xa)
            if x1 < x0 or area == 0:
                continue
            for row in range(y0, y1 + 1):
                y = row + np.float32(0.5)
                for column in range(x0, x1 + 1):
                    x = column + np.float32(0.5)
                    wa = ((xb - x) * (yc - y) - (yb - y) * (xc - x)) / area
                    wb = ((xc - x) * (ya - y) - (yc - y) * (xa - x)) / area
                    wc = 1 - wa - wb
                    if wa < 0 or wb < 0 or wc < 0:
                        continue
                    wa, wb, wc = wa / za, wb / zb, wc / zc
                    depth = 1 / (wa + wb + wc)
                    old = depths[row, column]
                    if old == 0 or (depth > old if farthest else depth < old):
                        depths[row, column] = depth
                        face_ids[row, column] = f
                        barycentrics[row, column, 0] = wa * depth
                        barycentrics[row, column, 1] = wb * depth
                        barycentrics[row, column, 2] = wc * depth


@parallel_kernel
def _interpolate(face_ids, barycentrics, faces, values, picture):
    height, width = face_ids.shape
    for row in prange(height):
        for column in range(width):
            f = face_ids[row, column]
            if f < 0:
                continue
            for k in range(values.shape[1]):
                total = np.float32(0)
                for corner in range(3):
                    total += barycentrics[row, column, corner] * values[faces[f, corner], k]
                picture[row, column, k] = total


@parallel_kernel
def _sample_texture(texture, uvs, colors):
    height, width = texture.shape[0], texture.shape[1]
    for p in prange(len(uvs)):
        x = min(max(uvs[p, 0] * width - np.float32(0.5), np.float32(0)), np.float32(width - 1))
        y = min(max(uvs[p, 1] * height - np.float32(0.5), np.float32(0)), np.float32(height - 1))
        column, row = int(x), int(y)
        right, below = min(column + 1, width - 1), min(row + 1, height - 1)
        fx, fy = x - column, y - row
        for k in range(3):
            upper = texture[row, column, k] * (1 - fx) + texture[row, right, k] * fx
            lower = texture[below, column, k] * (1 - fx) + texture[below, right, k] * fx
            colors[p, k] = (upper * (1 - fy) + lower * fy) / np.float32(255)

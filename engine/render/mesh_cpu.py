# SPDX-License-Identifier: GPL-3.0-or-later
"""Triangle rasteriser on the CPU: which face each pixel sees, where on it, how far; and shaded pictures from that.

Edge functions after Pineda 1988; barycentrics are corrected for perspective (Blinn 1992, hyperbolic interpolation).
Triangles are seen from both sides. Those that reach behind NEAR are left out: cameras stand outside objects.
"""

from dataclasses import dataclass

import numpy as np

from engine.fields.cameras import Cameras
from engine.jit import kernel, parallel_kernel, prange
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
    return np.where(lengths > 1e-20, normals / np.maximum(lengths, 1e-20), np.array([0, 1, 0])).astype(np.float32)


def render_mesh(
    mesh: Mesh, cameras: Cameras, light: Light | None = None, supersample: int = 2, color: Array | None = None
) -> tuple[Array, Array]:
    """Pictures of a mesh: RGBA [C, H, W, 4] float32 with straight alpha, and camera depths [C, H, W] (0 where nothing).

    Takes the texture, or `color` [3] where there is none (a light grey by default). Without a light: unshaded.
    Each pixel averages supersample^2 samples; its depth is the nearest of them.
    """
    textured = mesh.texture is not None and mesh.uvs is not None
    texture = mesh.texture if textured else np.full((1, 1, 3), 153, np.uint8)
    if not textured and color is not None:
        texture = np.round(np.asarray(color, np.float32) * 255).astype(np.uint8).reshape(1, 1, 3)
    uvs = mesh.uvs if textured else np.zeros((len(mesh.vertices), 2), np.float32)
    light = light or Light(np.array([0, 1, 0]), ambient=1.0)
    normals = mesh.normals if mesh.normals is not None else vertex_normals(mesh.vertices, mesh.faces)
    width, height = cameras.width * supersample, cameras.height * supersample
    rgba = np.empty((len(cameras), cameras.height, cameras.width, 4), np.float32)
    depths = np.empty((len(cameras), cameras.height, cameras.width), np.float32)
    faces = np.ascontiguousarray(mesh.faces, np.int32)
    for c in range(len(cameras)):
        K = cameras.Ks[c] * np.array([[supersample], [supersample], [1]])
        seen = rasterize(mesh.vertices, faces, cameras.viewmats[c], K, width, height)
        toward_camera = np.ascontiguousarray(-cameras.viewmats[c][2, :3], np.float32)
        direction = np.asarray(light.direction, np.float32)
        _shade(
            seen.face_ids, seen.barycentrics, seen.depths, faces, uvs, texture, normals,
            toward_camera, direction, np.float32(light.ambient), supersample, rgba[c], depths[c],
        )  # fmt: skip
    return rgba, depths


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


@kernel
def _texel(texture, u, v):
    """Bilinear colour (r, g, b) in [0, 1], clamped at the border."""
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * width - np.float32(0.5), np.float32(0)), np.float32(width - 1))
    y = min(max(v * height - np.float32(0.5), np.float32(0)), np.float32(height - 1))
    column, row = int(x), int(y)
    right, below = min(column + 1, width - 1), min(row + 1, height - 1)
    fx, fy = x - column, y - row
    a, b = (1 - fx) * (1 - fy) / np.float32(255), fx * (1 - fy) / np.float32(255)
    c, d = (1 - fx) * fy / np.float32(255), fx * fy / np.float32(255)
    return (
        a * texture[row, column, 0]
        + b * texture[row, right, 0]
        + c * texture[below, column, 0]
        + d * texture[below, right, 0],
        a * texture[row, column, 1]
        + b * texture[row, right, 1]
        + c * texture[below, column, 1]
        + d * texture[below, right, 1],
        a * texture[row, column, 2]
        + b * texture[row, right, 2]
        + c * texture[below, column, 2]
        + d * texture[below, right, 2],
    )


@parallel_kernel
def _sample_texture(texture, uvs, colors):
    for p in prange(len(uvs)):
        colors[p, 0], colors[p, 1], colors[p, 2] = _texel(texture, uvs[p, 0], uvs[p, 1])


@parallel_kernel
def _shade(
    face_ids, barycentrics, depths, faces, uvs, texture, normals, toward_camera, direction, ambient, s, rgba, nearest
):
    """Textured, lit samples averaged into pixels. Normals turn towards the camera: sheets are lit on both sides."""
    for row in prange(rgba.shape[0]):
        for column in range(rgba.shape[1]):
            red = green = blue = depth = np.float32(0)
            count = 0
            for y in range(row * s, row * s + s):
                for x in range(column * s, column * s + s):
                    f = face_ids[y, x]
                    if f < 0:
                        continue
                    u = v = nx = ny = nz = np.float32(0)
                    for corner in range(3):
                        weight, vertex = barycentrics[y, x, corner], faces[f, corner]
                        u += weight * uvs[vertex, 0]
                        v += weight * uvs[vertex, 1]
                        nx += weight * normals[vertex, 0]
                        ny += weight * normals[vertex, 1]
                        nz += weight * normals[vertex, 2]
                    lambert = nx * direction[0] + ny * direction[1] + nz * direction[2]
                    if nx * toward_camera[0] + ny * toward_camera[1] + nz * toward_camera[2] < 0:
                        lambert = -lambert
                    lambert /= max(np.sqrt(nx * nx + ny * ny + nz * nz), np.float32(1e-6))
                    shade = ambient + (1 - ambient) * max(lambert, np.float32(0))
                    r, g, b = _texel(texture, u, v)
                    red += r * shade
                    green += g * shade
                    blue += b * shade
                    if count == 0 or depths[y, x] < depth:
                        depth = depths[y, x]
                    count += 1
            scale = 1 / np.float32(max(count, 1))
            rgba[row, column, 0] = min(red * scale, np.float32(1))
            rgba[row, column, 1] = min(green * scale, np.float32(1))
            rgba[row, column, 2] = min(blue * scale, np.float32(1))
            rgba[row, column, 3] = np.float32(count) / (s * s)
            nearest[row, column] = depth

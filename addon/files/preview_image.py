# SPDX-License-Identifier: GPL-3.0-or-later
"""A small picture of a textured mesh, drawn by numpy alone: Blender renders none without a window. No bpy."""

from collections.abc import Iterator

import numpy as np

Array = np.ndarray

VIEW = np.array([0.35, -1.0, 0.4])
"""From where the mesh is seen: in front of it, a little to the right and above."""
LIGHT = np.array([-0.3, -0.7, 0.9])
AMBIENT = 0.62
FINER = 2
"""Pixels are drawn so many times smaller than they are shown."""
MARGIN = 0.06
_TOGETHER = 1 << 20  # pixels looked at in one go


def draw_preview(vertices: Array, triangles: Array, uvs: Array, texture: Array, size: int = 256) -> Array:
    """RGBA [size, size, 4] float32 in sRGB, the lowest row first, over a transparent background.

    `vertices` [V, 3] with z up, `triangles` [T, 3] counter-clockwise from outside, `uvs` [T, 3, 2] with the origin at
    the bottom left, `texture` [H, W, 3 or 4] in sRGB, the lowest row first.
    """
    side = FINER * size
    right, up, towards = _axes()
    flat = (vertices @ np.stack([right, up, towards], axis=1)).astype(np.float32)  # right, up, nearer
    lowest, highest = flat.min(0), flat.max(0)
    extent = max((highest - lowest)[:2].max(), 1e-12)
    places = (flat - (lowest + highest) / 2) * np.float32((1 - 2 * MARGIN) * side / extent)
    places[:, :2] += side / 2
    corners = places[triangles]  # [T, 3, 3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    seen = normals[:, 2] > 1e-9
    corners, uvs, normals = corners[seen], uvs[seen], normals[seen]
    light = LIGHT / np.linalg.norm(LIGHT)
    lit = np.stack([light @ right, light @ up, light @ towards])
    lengths = np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    shade = AMBIENT + (1 - AMBIENT) * np.maximum(normals @ lit / lengths, 0)
    shade = shade.astype(np.float32)
    inner = np.concatenate([corners[..., 2:], uvs], axis=2, dtype=np.float32)  # [T, 3, 3], what varies within a face
    along, across = inner[:, 1] - inner[:, 0], inner[:, 2] - inner[:, 0]
    pixels, depths, colors = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros((0, 3), np.float32)]
    for chosen, width, height in _by_size(corners):
        triangle, at, b, c = _covered(corners[chosen], width, height, side)
        triangle = chosen[triangle]
        found = inner[triangle, 0] + b[:, None] * along[triangle] + c[:, None] * across[triangle]
        pixels.append(at)
        depths.append(found[:, 0])
        colors.append(_looked_up(texture, found[:, 1:]) * shade[triangle, None])
    order = np.argsort(np.concatenate(depths), kind="stable")  # what is nearer is drawn later
    picture = np.zeros((side * side, 4), np.float32)
    drawn = np.concatenate(pixels)[order]
    picture[drawn, :3] = np.concatenate(colors)[order]
    picture[drawn, 3] = 1
    return _averaged(picture.reshape(size, FINER, size, FINER, 4))


def _axes() -> tuple[Array, Array, Array]:
    """What is right, up and towards the eye in the picture."""
    towards = VIEW / np.linalg.norm(VIEW)
    right = np.cross([0, 0, 1], towards)
    right /= np.linalg.norm(right)
    return right, np.cross(towards, right), towards


def _by_size(corners: Array) -> Iterator[tuple[Array, int, int]]:
    """Numbers of triangles [T, 3, 3] with like boxes, and the width and height in pixels that hold each of them."""
    extent = np.ceil(np.ptp(corners[..., :2], axis=1)).astype(np.int64) + 1
    sizes = 2 ** np.ceil(np.log2(extent)).astype(np.int64)  # powers of 2: few groups
    for width, height in np.unique(sizes, axis=0):
        group = np.flatnonzero((sizes == (width, height)).all(1))
        most = max(_TOGETHER // (width * height), 1)
        for start in range(0, len(group), most):
            yield group[start : start + most], int(width), int(height)


def _covered(corners: Array, width: int, height: int, side: int) -> tuple[Array, Array, Array, Array]:
    """The pixels whose centres lie in triangles [T, 3, 3]: which triangle, which pixel, weights of two corners."""
    first = np.floor(corners[..., :2].min(1))  # [T, 2]
    row, column = np.divmod(np.arange(width * height, dtype=np.int32), width)
    x = first[:, :1] + (column + 0.5).astype(np.float32)  # [T, P]
    y = first[:, 1:] + (row + 0.5).astype(np.float32)
    (ax, ay), (bx, by), (cx, cy) = (corners[:, corner, :2].T[..., None] for corner in range(3))
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
    c = ((y - ay) * (bx - ax) - (x - ax) * (by - ay)) / area
    inside = (b >= 0) & (c >= 0) & (b + c <= 1) & (x >= 0) & (x < side) & (y >= 0) & (y < side)
    triangle, place = np.nonzero(inside)
    b, c = b[inside], c[inside]
    at = y[triangle, place].astype(np.int64) * side + x[triangle, place].astype(np.int64)
    return triangle, at, b, c


def _looked_up(texture: Array, uvs: Array) -> Array:
    """Colours [P, 3] of the texture's pixels at `uvs` [P, 2]."""
    height, width = texture.shape[:2]
    column = np.clip((uvs[:, 0] * width).astype(np.int64), 0, width - 1)
    row = np.clip((uvs[:, 1] * height).astype(np.int64), 0, height - 1)
    return texture[row, column, :3]


def _averaged(picture: Array) -> Array:
    """The mean of the smaller pixels [S, f, S, f, 4], colours weighed by how much they cover."""
    cover = picture[..., 3:].mean((1, 3))
    colors = (picture[..., :3] * picture[..., 3:]).mean((1, 3)) / np.maximum(cover, 1e-6)
    return np.concatenate([colors, cover], axis=2).astype(np.float32)

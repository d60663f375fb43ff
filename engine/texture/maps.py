# SPDX-License-Identifier: GPL-3.0-or-later
"""Textures beside colour: what the dense surface's normals add to the mesh's, and how much ambient light arrives."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from engine.errors import OptionError
from engine.fields.cameras import look_at
from engine.jit import kernel, parallel_kernel, prange
from engine.render.mesh_cpu import rasterize, vertex_normals
from engine.surface.mesh import Mesh
from engine.texture.pad import pad
from engine.texture.project import directions, window_of
from engine.texture.tangents import vertex_tangents
from engine.texture.texels import texels_of

Array = np.ndarray

REACH = 0.02
"""How far along its normal a texel looks for the dense surface, to either side, as a part of the diagonal."""

RIM = 0.2
"""Part of a cell by which triangles are entered beyond their boxes: a line is followed in steps of half a cell."""

TOGETHER = 1 << 19
"""Texels whose normals are looked for in one go: about a second on one slow core."""

LIGHTS = 96
"""Directions from which ambient light comes."""

LIGHT_SIZE = 256
"""Longer side of the depth buffer of each direction, in pixels."""

LIGHT_DISTANCE = 20.0
"""Distance of these cameras in diagonals: their rays are nearly parallel."""

LIGHT_TOLERANCE = 0.004
"""Depth that casts no shadow, as a part of the diagonal."""

OCCLUSION_SIZE = 1024
"""Larger maps of ambient light are enlarged from this size: shadows of this kind are soft."""


def normal_map(mesh: Mesh, dense: Mesh, size: int = 1024, check: Callable[[], None] | None = None) -> Array:
    """The normals of `dense` in the tangent space of `mesh` (with uvs), [size, size, 3] uint8.

    Both lie in the same frame. Each texel looks along its normal, outwards and inwards, for the nearest point of the
    dense surface that faces the same way; where there is none within `REACH`, it keeps the mesh's own normal. glTF's
    encoding: value = 2 texel / 255 - 1, x along growing u, y towards the top of the texture, z along the normal. The
    tangents assumed are those of `vertex_tangents` (MikkTSpace) on `mesh.normals`. `check` is called between parts of
    the texture and may raise to stop.
    """
    texels = texels_of(mesh, size)
    flat = np.full((size * size, 3), [128, 128, 255], np.uint8)
    if len(dense.faces) and len(texels):
        low, high = mesh.bounds()
        reach = np.float32(REACH * np.linalg.norm(high - low))
        corners = np.ascontiguousarray(dense.vertices[dense.faces], np.float32)
        cell = np.float32(max(float(np.median(np.ptp(corners, axis=1).max(1))), float((high - low).max()) / 512))
        starts, members, origin, shape = _grid_of(corners, cell)
        normals = vertex_normals(dense.vertices, dense.faces) if dense.normals is None else dense.normals
        own = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
        encoded = np.empty((len(texels), 3), np.uint8)
        surfaces = (
            np.ascontiguousarray(mesh.faces, np.int32), np.ascontiguousarray(own, np.float32),
            vertex_tangents(mesh), corners,
            np.ascontiguousarray(dense.faces, np.int32), np.ascontiguousarray(normals, np.float32),
        )  # fmt: skip
        for first in range(0, len(texels), TOGETHER):
            if check:
                check()
            part = slice(first, first + TOGETHER)
            _bake_normals(
                texels.points[part], texels.normals[part], texels.faces[part], texels.barycentrics[part],
                *surfaces, starts, members, origin, shape, cell, reach, encoded[part],
            )  # fmt: skip
        flat[texels.index] = encoded
    return pad(flat.reshape(size, size, 3), texels.covered())


def occlusion(mesh: Mesh, size: int = 1024, check: Callable[[], None] | None = None) -> Array:
    """Ambient light that reaches the surface, [size, size] uint8 (linear): 255 where nothing is in the way.

    The share of the sky above each texel that no other part of the mesh hides, weighted by the cosine to the normal:
    depth buffers from `LIGHTS` directions all around. `check` is called between them and may raise to stop.
    Raises `OptionError` for a mesh without uvs.
    """
    if mesh.uvs is None:
        raise OptionError("Found a mesh without uvs, expected an unwrapped one.", "Call unwrap first.")
    work = min(size, OCCLUSION_SIZE)
    texels = texels_of(mesh, work)
    low, high = mesh.bounds()
    center, diagonal = (low + high) / 2, float(np.linalg.norm(high - low))
    sums = np.zeros((len(texels), 2), np.float32)
    for direction in directions(LIGHTS):
        if check:
            check()
        viewmat = look_at(center + LIGHT_DISTANCE * diagonal * direction, center)
        K, width, height = window_of(mesh, viewmat, LIGHT_SIZE)
        depths = rasterize(mesh.vertices, mesh.faces, viewmat, K, width, height).depths
        tolerance = np.float32(LIGHT_TOLERANCE * diagonal)
        camera = viewmat.astype(np.float32), K.astype(np.float32)
        _light(texels.points, texels.normals, direction.astype(np.float32), *camera, depths, tolerance, sums)
    light = np.full(work * work, 255, np.uint8)
    light[texels.index] = np.rint(255 * (sums[:, 0] / np.maximum(sums[:, 1], 1e-6)).clip(0, 1))
    light = pad(light.reshape(work, work, 1), texels.covered())[..., 0]
    if work == size:
        return light
    return np.asarray(Image.fromarray(light).resize((size, size), Image.Resampling.BILINEAR))


@parallel_kernel
def _light(points, normals, direction, viewmat, K, depths, tolerance, sums):
    """Adds cosine times visibility, and the cosine, of one direction to `sums` [P, 2]; visibility is a mean of four."""
    height, width = depths.shape
    for p in prange(len(points)):
        cos = normals[p, 0] * direction[0] + normals[p, 1] * direction[1] + normals[p, 2] * direction[2]
        if cos <= np.float32(0.02):
            continue
        px, py, pz = points[p, 0], points[p, 1], points[p, 2]
        z = viewmat[2, 0] * px + viewmat[2, 1] * py + viewmat[2, 2] * pz + viewmat[2, 3]
        x = K[0, 0] * (viewmat[0, 0] * px + viewmat[0, 1] * py + viewmat[0, 2] * pz + viewmat[0, 3]) / z + K[0, 2]
        y = K[1, 1] * (viewmat[1, 0] * px + viewmat[1, 1] * py + viewmat[1, 2] * pz + viewmat[1, 3]) / z + K[1, 2]
        slope = np.sqrt(max(1 - cos * cos, np.float32(0))) / cos
        limit = z - tolerance - 1.5 * slope * z / K[0, 0]
        x, y = x - np.float32(0.5), y - np.float32(0.5)
        column, row = int(np.floor(x)), int(np.floor(y))
        fx, fy = x - column, y - row
        open_share = np.float32(0)
        for k in range(4):
            r, c = row + k // 2, column + k % 2
            weight = (fy if k // 2 else 1 - fy) * (fx if k % 2 else 1 - fx)
            if r < 0 or c < 0 or r >= height or c >= width or depths[r, c] == 0 or depths[r, c] >= limit:
                open_share += weight
        sums[p, 0] += cos * open_share
        sums[p, 1] += cos


def _grid_of(corners: Array, cell: np.float32) -> tuple[Array, Array, Array, Array]:
    """Which triangles [F, 3, 3] touch each cell of a grid: starts [cells + 1], members, its origin and shape [3]."""
    rim = np.float32(RIM) * cell
    low, high = corners.min((0, 1)) - rim, corners.max((0, 1)) + rim
    shape = np.maximum(np.ceil((high - low) / cell), 1).astype(np.int64)
    first = ((corners.min(1) - low - rim) / cell).astype(np.int32).clip(0, shape - 1)
    last = ((corners.max(1) - low + rim) / cell).astype(np.int32).clip(0, shape - 1)
    starts, members = _members(first, last, shape)
    return starts, members, low, shape


@kernel
def _members(first, last, shape):
    starts = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    for fill in range(2):
        if fill:
            for cell in range(len(starts) - 1):
                starts[cell + 1] += starts[cell]
            members = np.empty(starts[-1], np.int32)
            cursor = starts[:-1].copy()
        else:
            members = np.empty(0, np.int32)
            cursor = starts
        for f in range(len(first)):
            for x in range(first[f, 0], last[f, 0] + 1):
                for y in range(first[f, 1], last[f, 1] + 1):
                    for z in range(first[f, 2], last[f, 2] + 1):
                        cell = (x * shape[1] + y) * shape[2] + z
                        if fill:
                            members[cursor[cell]] = f
                            cursor[cell] += 1
                        else:
                            starts[cell + 1] += 1
    return starts, members


@kernel
def _hit(corners, f, px, py, pz, dx, dy, dz):
    """Distance along the unit direction d from p to triangle f (negative behind), and the weights of its second and
    third corner (Moller and Trumbore 1997); infinity where the line misses it."""
    ax, ay, az = corners[f, 0, 0], corners[f, 0, 1], corners[f, 0, 2]
    bx, by, bz = corners[f, 1, 0] - ax, corners[f, 1, 1] - ay, corners[f, 1, 2] - az
    cx, cy, cz = corners[f, 2, 0] - ax, corners[f, 2, 1] - ay, corners[f, 2, 2] - az
    hx, hy, hz = dy * cz - dz * cy, dz * cx - dx * cz, dx * cy - dy * cx
    det = bx * hx + by * hy + bz * hz
    if det == 0:
        return np.float32(np.inf), np.float32(0), np.float32(0)
    sx, sy, sz = px - ax, py - ay, pz - az
    u = (sx * hx + sy * hy + sz * hz) / det
    qx, qy, qz = sy * bz - sz * by, sz * bx - sx * bz, sx * by - sy * bx
    v = (dx * qx + dy * qy + dz * qz) / det
    rim = np.float32(1e-4)  # neighbours overlap a little: no line slips between them
    if u < -rim or v < -rim or u + v > 1 + rim:
        return np.float32(np.inf), u, v
    return (cx * qx + cy * qy + cz * qz) / det, u, v


@parallel_kernel
def _bake_normals(
    points, toward, face_ids, barycentrics, faces, own, tangents, corners, dense_faces, dense_normals,
    starts, members, origin, shape, cell, reach, encoded,
):  # fmt: skip
    """Looks along the normal, outwards and inwards, until no nearer point can come; then into tangent space."""
    count = int(np.ceil((reach + cell) / (np.float32(0.5) * cell)))
    for p in prange(len(points)):
        last = -1
        px, py, pz = points[p, 0], points[p, 1], points[p, 2]
        dx, dy, dz = toward[p, 0], toward[p, 1], toward[p, 2]
        best, nx, ny, nz = reach, dx, dy, dz
        step = np.float32(0.5) * cell
        for k in range(2 * count):
            t = step * np.float32(k % count) * (1 if k < count else -1)
            if k % count == 0:
                last = -1
            if abs(t) - step > best:  # what this cell adds begins beyond the step before
                continue
            x = int(np.floor((px + t * dx - origin[0]) / cell))
            y = int(np.floor((py + t * dy - origin[1]) / cell))
            z = int(np.floor((pz + t * dz - origin[2]) / cell))
            if x < 0 or y < 0 or z < 0 or x >= shape[0] or y >= shape[1] or z >= shape[2]:
                continue
            number = (x * shape[1] + y) * shape[2] + z
            if number == last:
                continue
            last = number
            for member in range(starts[number], starts[number + 1]):
                f = members[member]
                distance, u, v = _hit(corners, f, px, py, pz, dx, dy, dz)
                if abs(distance) >= best:
                    continue
                a, b, c = dense_faces[f, 0], dense_faces[f, 1], dense_faces[f, 2]
                fx = (1 - u - v) * dense_normals[a, 0] + u * dense_normals[b, 0] + v * dense_normals[c, 0]
                fy = (1 - u - v) * dense_normals[a, 1] + u * dense_normals[b, 1] + v * dense_normals[c, 1]
                fz = (1 - u - v) * dense_normals[a, 2] + u * dense_normals[b, 2] + v * dense_normals[c, 2]
                if fx * dx + fy * dy + fz * dz > 0:
                    best, nx, ny, nz = abs(distance), fx, fy, fz
        # n = a T + b B + c N: interpolated normal N, tangent T and bitangent B = w cross(N, T), none of unit length.
        tx = ty = tz = mx = my = mz = sign = np.float32(0)
        for corner in range(3):
            weight, vertex = barycentrics[p, corner], faces[face_ids[p], corner]
            tx += weight * tangents[vertex, 0]
            ty += weight * tangents[vertex, 1]
            tz += weight * tangents[vertex, 2]
            mx += weight * own[vertex, 0]
            my += weight * own[vertex, 1]
            mz += weight * own[vertex, 2]
            sign += weight * tangents[vertex, 3]
        sign = np.float32(1) if sign >= 0 else np.float32(-1)
        bx, by, bz = sign * (my * tz - mz * ty), sign * (mz * tx - mx * tz), sign * (mx * ty - my * tx)
        tt, mm, tm = tx * tx + ty * ty + tz * tz, mx * mx + my * my + mz * mz, tx * mx + ty * my + tz * mz
        nt, nm = nx * tx + ny * ty + nz * tz, nx * mx + ny * my + nz * mz
        det = max(tt * mm - tm * tm, np.float32(1e-20))
        a, c = (nt * mm - nm * tm) / det, (nm * tt - nt * tm) / det
        b = (nx * bx + ny * by + nz * bz) / max(bx * bx + by * by + bz * bz, np.float32(1e-20))
        c = max(c, np.float32(0))
        length = max(np.sqrt(a * a + b * b + c * c), np.float32(1e-12))
        encoded[p, 0] = np.uint8(np.rint(np.float32(127.5) * (1 + a / length)))
        encoded[p, 1] = np.uint8(np.rint(np.float32(127.5) * (1 + b / length)))
        encoded[p, 2] = np.uint8(np.rint(np.float32(127.5) * (1 + c / length)))

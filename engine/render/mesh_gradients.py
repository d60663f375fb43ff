# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of a textured mesh and their gradients with respect to its vertices and its texture.

Inside a face, a pixel's ray p = z r (r = K^-1 (x, y, 1)) meets the face's plane, normal n, at barycentrics b. Where the
point of the surface that it meets moves by d = sum_k b_k dv_k,

    dz = n . d / n . r,        db_k = -q_k . (d - r dz),       q_k = n x (v_k+2 - v_k+1) / |n|^2

(q_k is the gradient of b_k within the plane), and colour follows from b through uvs and the bilinear texture.

Faces cover a pixel or don't, which has no gradient. So silhouettes are antialiased analytically (Laine et al. 2020,
section 3.4): where a silhouette edge crosses the line between the centres of two neighbouring pixels at t in [0, 1],
the one whose half is crossed takes |t - 1/2| of the other's colour. Edges steeper than 45 degrees are looked for
between pixels of one row, the others between pixels of one column. Colour and coverage change continuously as an edge
passes a pixel's centre, and the crossing's place carries the gradient to the ends of the edge. Unlike there, edges are
walked along from end to end, not looked for at the faces that pixels see: at the rim of a fine mesh faces are thinner
than pixels, and those seen have no silhouette edge. Of several crossings between two pixels the outermost counts; one
within the picture of the mesh counts where its depth is nearer to that of the pixel on its side than to the other's.

An edge is a silhouette where it has one face, or both its faces lie on the same side of it in the picture. Pictures
have the precision of the vertices, float64 for checks and float32 otherwise; what lies between is float64 always, since
faces are small beside their distance. Sums are taken in a fixed order: one result for any number of threads.
"""

from dataclasses import dataclass

import numpy as np

from engine.jit import kernel, parallel_kernel, prange
from engine.render.mesh_cpu import NEAR, rasterize

Array = np.ndarray

BANDS = 8
"""Rows of pixels, and of texels, are dealt out to this many bands, each summed by one thread."""

STEEPEST = 0.02
"""Cosine of the angle between ray and face's normal below which the inside of a face gives its vertices no gradient."""


@dataclass(frozen=True)
class Surface:
    """What is rendered: positions and uvs have vertices of their own, so that seams do not cut the shape."""

    faces: Array  # [F, 3] int32, into positions [V, 3]
    uv_faces: Array  # [F, 3] int32, into uvs
    uvs: Array  # [U, 2] float32, origin top left
    neighbours: Array  # [F, 3] int32: the face across the edge from corner k to k + 1, -1 where there is not just one


@dataclass(frozen=True)
class MeshPicture:
    """One view, and what its gradient needs."""

    colors: Array  # [H, W, 3] antialiased, over black
    alphas: Array  # [H, W] antialiased
    depths: Array  # [H, W] camera z at the pixel's centre, 0 where nothing is
    face_ids: Array  # [H, W] int32
    plain: Array  # [H, W, 4] colour and alpha at the pixel's centre
    crossings: Array  # [H, W, 2] t - 1/2 between this pixel and the one to the right, and the one below; 0 if none
    edges: Array  # [H, W, 2] int32, 3 face + corner of the edge that crosses there, -1 where none does
    camera: Array  # [V, 3] float64, vertices in the camera's frame


def neighbouring_faces(faces: Array) -> Array:
    """For each edge, from corner k to k + 1 of `faces` [F, 3], the one other face at it, [F, 3] int32; else -1."""
    starts, ends = faces.astype(np.int64), np.roll(faces, -1, 1).astype(np.int64)
    keys = (np.minimum(starts, ends) * (int(faces.max(initial=0)) + 1) + np.maximum(starts, ends)).ravel()
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    pairs = first[np.diff(np.r_[first, len(ordered)]) == 2]
    neighbours = np.full(len(keys), -1, np.int32)
    one, other = order[pairs], order[pairs + 1]
    neighbours[one], neighbours[other] = other // 3, one // 3
    return neighbours.reshape(faces.shape)


def render(
    vertices: Array, surface: Surface, texture: Array, viewmat: Array, K: Array, width: int, height: int
) -> MeshPicture:
    """A view of vertices [V, 3] with a texture [S, S, 3] of values in [0, 1] (both float32 or both float64), unlit.

    `viewmat` [4, 4] world to camera, `K` [3, 3] pixels, without skew.
    """
    kind = vertices.dtype
    seen = rasterize(vertices.astype(np.float32), surface.faces, viewmat, K, width, height)
    camera = vertices.astype(np.float64) @ viewmat[:3, :3].T + viewmat[:3, 3]
    lens = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        points = lens[:2] * camera[:, :2] / camera[:, 2:] + lens[2:]
    silhouettes = np.empty((len(surface.faces), 3), np.bool_)
    _find_silhouettes(points, surface.faces, surface.neighbours, silhouettes)
    outline = np.flatnonzero(silhouettes)
    plain, depths = np.zeros((height, width, 4), kind), np.zeros((height, width), kind)
    _shade(camera, surface.faces, surface.uv_faces, surface.uvs, texture, lens, seen.face_ids, plain, depths)
    crossings, edges = np.zeros((height, width, 2), kind), np.full((height, width, 2), -1, np.int32)
    _find_crossings(points, camera, surface.faces, outline, seen.face_ids, depths, crossings, edges)
    colors, alphas = np.empty((height, width, 3), kind), np.empty((height, width), kind)
    _blend(plain, crossings, colors, alphas)
    return MeshPicture(colors, alphas, depths, seen.face_ids, plain, crossings, edges, camera)


def gradients(
    picture: MeshPicture, surface: Surface, texture: Array, viewmat: Array, K: Array,
    grad_colors: Array, grad_alphas: Array, grad_depths: Array, grad_texture: Array, texture_weight: Array,
    steepest: float = STEEPEST,
) -> Array:  # fmt: skip
    """Gradient of the vertices, [V, 3] float64, from those of a picture's colors [H, W, 3], alphas and depths [H, W].

    Adds that of the texture to `grad_texture` [S, S, 3], and to `texture_weight` [S, S] the bilinear weights of each
    texel over all pixels that have a gradient in colour.
    """
    kind = picture.plain.dtype
    lens = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], np.float64)
    height, width = picture.alphas.shape
    inside = np.empty((height, width, 4), kind)
    _unblend(picture.crossings, grad_colors, grad_alphas, inside)
    sums = np.zeros((BANDS, len(picture.camera), 3), np.float64)
    _to_vertices(
        picture.camera, surface.faces, surface.uv_faces, surface.uvs, texture, lens, picture.face_ids, picture.plain,
        picture.crossings, picture.edges, grad_colors, grad_alphas, grad_depths, inside, steepest, sums,
    )  # fmt: skip
    _to_texture(
        picture.camera, surface.faces, surface.uv_faces, surface.uvs, lens, picture.face_ids, inside, grad_texture,
        texture_weight,
    )  # fmt: skip
    return sums.sum(0) @ viewmat[:3, :3].astype(np.float64)


@kernel
def _side(points, a, b, c):
    """Twice the signed area of a, b, c in the picture."""
    x, y = points[a, 0], points[a, 1]
    return (points[b, 0] - x) * (points[c, 1] - y) - (points[b, 1] - y) * (points[c, 0] - x)


@parallel_kernel
def _find_silhouettes(points, faces, neighbours, silhouettes):
    for f in prange(len(faces)):
        for k in range(3):
            other = neighbours[f, k]
            silhouettes[f, k] = other < 0
            if other > f:  # each edge once
                a, b, c = faces[f, k], faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
                d = faces[other, 0] + faces[other, 1] + faces[other, 2] - a - b
                silhouettes[f, k] = _side(points, a, b, c) * _side(points, a, b, d) > 0


@kernel
def _hit(camera, a, b, c, rx, ry):
    """Barycentrics of where the ray (rx, ry, 1) meets the plane of a, b, c, and the camera z there."""
    ax, ay, az = camera[a, 0], camera[a, 1], camera[a, 2]
    bx, by, bz = camera[b, 0], camera[b, 1], camera[b, 2]
    cx, cy, cz = camera[c, 0], camera[c, 1], camera[c, 2]
    ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    wa = rx * ux + ry * uy + uz
    wb = rx * (cy * az - cz * ay) + ry * (cz * ax - cx * az) + (cx * ay - cy * ax)
    wc = rx * (ay * bz - az * by) + ry * (az * bx - ax * bz) + (ax * by - ay * bx)
    scale = 1 / (wa + wb + wc)
    return wa * scale, wb * scale, wc * scale, (ax * ux + ay * uy + az * uz) * scale


@kernel
def _place(uvs, uv_faces, f, wa, wb, wc, size):
    """Column and row of the texel left above the point with these barycentrics, and its offset from there in texels;
    clamped at the border, where the offset is the same everywhere (the last value says so: x, y held)."""
    a, b, c = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
    x = (wa * uvs[a, 0] + wb * uvs[b, 0] + wc * uvs[c, 0]) * size - 0.5
    y = (wa * uvs[a, 1] + wb * uvs[b, 1] + wc * uvs[c, 1]) * size - 0.5
    held_x, held_y = x < 0 or x >= size - 1, y < 0 or y >= size - 1
    x, y = min(max(x, 0.0), size - 1.0), min(max(y, 0.0), size - 1.0)
    column, row = min(int(x), size - 2), min(int(y), size - 2)
    return column, row, x - column, y - row, held_x, held_y


@parallel_kernel
def _shade(camera, faces, uv_faces, uvs, texture, lens, face_ids, plain, depths):
    height, width = face_ids.shape
    size = texture.shape[0]
    for row in prange(height):
        ry = (row + 0.5 - lens[3]) / lens[1]
        for column in range(width):
            f = face_ids[row, column]
            if f < 0:
                continue
            rx = (column + 0.5 - lens[2]) / lens[0]
            wa, wb, wc, z = _hit(camera, faces[f, 0], faces[f, 1], faces[f, 2], rx, ry)
            tx, ty, fx, fy, _, _ = _place(uvs, uv_faces, f, wa, wb, wc, size)
            for channel in range(3):
                upper = (1 - fx) * texture[ty, tx, channel] + fx * texture[ty, tx + 1, channel]
                lower = (1 - fx) * texture[ty + 1, tx, channel] + fx * texture[ty + 1, tx + 1, channel]
                plain[row, column, channel] = (1 - fy) * upper + fy * lower
            plain[row, column, 3] = 1
            depths[row, column] = z


@parallel_kernel
def _find_crossings(points, camera, faces, outline, face_ids, depths, crossings, edges):
    """Every band of rows walks along all edges of the outline, 3 face + corner each, and takes what crosses it."""
    height, width = face_ids.shape
    for band in prange(BANDS):
        top, bottom = height * band // BANDS, height * (band + 1) // BANDS
        for e in outline:
            f, k = e // 3, e % 3
            i, j, third = faces[f, k], faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            if not (camera[i, 2] > NEAR and camera[j, 2] > NEAR and camera[third, 2] > NEAR):
                continue
            side = _side(points, i, j, third)
            wide, tall = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
            direction = 0 if abs(tall) >= abs(wide) else 1
            run, count, end = (tall, height, width) if direction == 0 else (wide, width, height)
            if side == 0 or run == 0:
                continue
            # Which of the two pixels, in the order of columns or rows, lies where the faces are.
            second = side * run < 0 if direction == 0 else side * run > 0
            from_, to = points[i, 1 - direction], points[j, 1 - direction]
            first = int(max(np.ceil(min(from_, to) - 0.5), 0.0))
            last = int(min(np.ceil(max(from_, to) - 0.5), np.float64(count))) - 1
            if direction == 0:
                first, last = max(first, top), min(last, bottom - 1)
            for line in range(first, last + 1):
                part = (line + 0.5 - from_) / run
                place = points[i, direction] + part * (points[j, direction] - points[i, direction]) - 0.5
                if not (place >= 0 and place < end - 1):
                    continue
                start = int(place)
                row, column = (line, start) if direction == 0 else (start, line)
                if row < top or row >= bottom:
                    continue
                r, c = row + direction, column + 1 - direction
                sr, sc = (r, c) if second else (row, column)
                br, bc = (row, column) if second else (r, c)
                if face_ids[sr, sc] < 0:
                    continue
                if face_ids[br, bc] >= 0:
                    z = 1 / ((1 - part) / camera[i, 2] + part / camera[j, 2])
                    before, behind = depths[sr, sc], depths[br, bc]
                    if behind <= z or abs(z - before) >= behind - z:
                        continue
                s = place - start - 0.5
                old = crossings[row, column, direction]
                if edges[row, column, direction] < 0 or (s < old if second else s > old):
                    crossings[row, column, direction] = s
                    edges[row, column, direction] = e


@kernel
def _neighbour_shares(crossings, row, column, k):
    """Of the k-th of a pixel's neighbours (right, below, left, above): its row and column, and what this pixel takes of
    its colour; 0 where nothing."""
    if k == 0:
        return row, column + 1, max(-crossings[row, column, 0], 0.0)
    if k == 1:
        return row + 1, column, max(-crossings[row, column, 1], 0.0)
    if k == 2:
        return row, column - 1, max(crossings[row, column - 1, 0], 0.0) if column else 0.0
    return row - 1, column, max(crossings[row - 1, column, 1], 0.0) if row else 0.0


@parallel_kernel
def _blend(plain, crossings, colors, alphas):
    height, width = alphas.shape
    for index in prange(height):
        row = np.int64(index)
        for column in range(width):
            for channel in range(4):
                own = plain[row, column, channel]
                value = own
                for k in range(4):
                    r, c, share = _neighbour_shares(crossings, row, column, k)
                    if share > 0:
                        value += share * (plain[r, c, channel] - own)
                if channel < 3:
                    colors[row, column, channel] = value
                else:
                    alphas[row, column] = value


@parallel_kernel
def _unblend(crossings, grad_colors, grad_alphas, inside):
    """Gradients [H, W, 4] of colour and alpha before antialiasing."""
    height, width = grad_alphas.shape
    for index in prange(height):
        row = np.int64(index)
        for column in range(width):
            given = 0.0
            for k in range(4):
                given += _neighbour_shares(crossings, row, column, k)[2]
            for channel in range(4):
                own = grad_colors[row, column, channel] if channel < 3 else grad_alphas[row, column]
                value = own * (1 - given)
                # What neighbours took of this pixel: their share has the opposite sign of the same crossing.
                for k in range(4):
                    r, c = row + (k == 1) - (k == 3), column + (k == 0) - (k == 2)
                    if r < 0 or c < 0 or r >= height or c >= width:
                        continue
                    taken = _neighbour_shares(crossings, r, c, (k + 2) % 4)[2]
                    if taken > 0:
                        value += taken * (grad_colors[r, c, channel] if channel < 3 else grad_alphas[r, c])
                inside[row, column, channel] = value


@parallel_kernel
def _to_vertices(
    camera, faces, uv_faces, uvs, texture, lens, face_ids, plain, crossings, edges, grad_colors, grad_alphas,
    grad_depths, inside, steepest, sums,
):  # fmt: skip
    """Adds to sums [BANDS, V, 3] the gradients of the vertices in the camera's frame."""
    height, width = face_ids.shape
    for band in prange(BANDS):
        total = sums[band]
        for row in range(height * band // BANDS, height * (band + 1) // BANDS):
            ry = (row + 0.5 - lens[3]) / lens[1]
            for column in range(width):
                for direction in range(2):
                    if edges[row, column, direction] >= 0:
                        _edge_gradient(
                            camera, faces, lens, plain, crossings, edges, grad_colors, grad_alphas, row, column,
                            direction, total,
                        )  # fmt: skip
                f = face_ids[row, column]
                if f < 0:
                    continue
                red, green, blue = inside[row, column, 0], inside[row, column, 1], inside[row, column, 2]
                deep = grad_depths[row, column]
                if red == 0 and green == 0 and blue == 0 and deep == 0:
                    continue
                rx = (column + 0.5 - lens[2]) / lens[0]
                _face_gradient(
                    camera, faces, uv_faces, uvs, texture, f, rx, ry, red, green, blue, deep, steepest, total
                )  # fmt: skip


@kernel
def _face_gradient(camera, faces, uv_faces, uvs, texture, f, rx, ry, red, green, blue, deep, steepest, total):
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    ax, ay, az = camera[a, 0], camera[a, 1], camera[a, 2]
    ux, uy, uz = camera[b, 0] - ax, camera[b, 1] - ay, camera[b, 2] - az
    vx, vy, vz = camera[c, 0] - ax, camera[c, 1] - ay, camera[c, 2] - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    square = nx * nx + ny * ny + nz * nz
    toward = nx * rx + ny * ry + nz
    if toward * toward <= steepest * steepest * square * (rx * rx + ry * ry + 1):
        return
    wa, wb, wc, _ = _hit(camera, a, b, c, rx, ry)
    size = texture.shape[0]
    tx, ty, fx, fy, held_x, held_y = _place(uvs, uv_faces, f, wa, wb, wc, size)
    gx, gy = 0.0, 0.0  # gradient with respect to the place in the texture, in texels
    for channel in range(3):
        g = red if channel == 0 else (green if channel == 1 else blue)
        t00, t01 = texture[ty, tx, channel], texture[ty, tx + 1, channel]
        t10, t11 = texture[ty + 1, tx, channel], texture[ty + 1, tx + 1, channel]
        gx += g * ((1 - fy) * (t01 - t00) + fy * (t11 - t10))
        gy += g * ((1 - fx) * (t10 - t00) + fx * (t11 - t01))
    gx, gy = 0.0 if held_x else gx * size, 0.0 if held_y else gy * size
    ua, ub, uc = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
    ca = gx * uvs[ua, 0] + gy * uvs[ua, 1]
    cb = gx * uvs[ub, 0] + gy * uvs[ub, 1]
    cc = gx * uvs[uc, 0] + gy * uvs[uc, 1]
    # sum_k c_k (v_k+2 - v_k+1), then its cross product with n over |n|^2: sum_k c_k q_k.
    ex = ca * (vx - ux) - cb * vx + cc * ux
    ey = ca * (vy - uy) - cb * vy + cc * uy
    ez = ca * (vz - uz) - cb * vz + cc * uz
    qx, qy, qz = (ny * ez - nz * ey) / square, (nz * ex - nx * ez) / square, (nx * ey - ny * ex) / square
    along = (deep + qx * rx + qy * ry + qz) / toward
    dx, dy, dz = along * nx - qx, along * ny - qy, along * nz - qz
    total[a, 0] += wa * dx
    total[a, 1] += wa * dy
    total[a, 2] += wa * dz
    total[b, 0] += wb * dx
    total[b, 1] += wb * dy
    total[b, 2] += wb * dz
    total[c, 0] += wc * dx
    total[c, 1] += wc * dy
    total[c, 2] += wc * dz


@kernel
def _edge_gradient(
    camera, faces, lens, plain, crossings, edges, grad_colors, grad_alphas, row, column, direction, total
):
    """Of the crossing to the right of a pixel (direction 0) or below it (1), to the ends of its edge."""
    r, c = row + direction, column + 1 - direction
    s = crossings[row, column, direction]
    mr, mc = (r, c) if s > 0 else (row, column)  # the one whose colour is a mixture
    g = grad_alphas[mr, mc] * (plain[row, column, 3] - plain[r, c, 3])
    for channel in range(3):
        g += grad_colors[mr, mc, channel] * (plain[row, column, channel] - plain[r, c, channel])
    if g == 0:
        return
    f, k = edges[row, column, direction] // 3, edges[row, column, direction] % 3
    i, j = faces[f, k], faces[f, (k + 1) % 3]
    if camera[i, 2] <= NEAR or camera[j, 2] <= NEAR:
        return
    xi = lens[0] * camera[i, 0] / camera[i, 2] + lens[2]
    yi = lens[1] * camera[i, 1] / camera[i, 2] + lens[3]
    xj = lens[0] * camera[j, 0] / camera[j, 2] + lens[2]
    yj = lens[1] * camera[j, 1] / camera[j, 2] + lens[3]
    if direction == 0:
        part = (row + 0.5 - yi) / (yj - yi)
        gx, gy = g, -g * (xj - xi) / (yj - yi)
    else:
        part = (column + 0.5 - xi) / (xj - xi)
        gx, gy = -g * (yj - yi) / (xj - xi), g
    for end in range(2):
        v = i if end == 0 else j
        weight = (1 - part if end == 0 else part) / camera[v, 2]
        x, y = weight * gx * lens[0], weight * gy * lens[1]
        total[v, 0] += x
        total[v, 1] += y
        total[v, 2] -= (x * camera[v, 0] + y * camera[v, 1]) / camera[v, 2]


@parallel_kernel
def _to_texture(camera, faces, uv_faces, uvs, lens, face_ids, inside, grad_texture, texture_weight):
    """Every band of texel rows looks at all pixels and takes what falls on it."""
    height, width = face_ids.shape
    size = texture_weight.shape[0]
    columns = np.full((height, width), -1, np.int32)
    rows = np.empty((height, width), np.int32)
    offsets = np.empty((height, width, 2), np.float32)
    for index in prange(height):
        ry = (index + 0.5 - lens[3]) / lens[1]
        for column in range(width):
            f = face_ids[index, column]
            if f < 0:
                continue
            if inside[index, column, 0] == 0 and inside[index, column, 1] == 0 and inside[index, column, 2] == 0:
                continue
            rx = (column + 0.5 - lens[2]) / lens[0]
            wa, wb, wc, _ = _hit(camera, faces[f, 0], faces[f, 1], faces[f, 2], rx, ry)
            tx, ty, fx, fy, _, _ = _place(uvs, uv_faces, f, wa, wb, wc, size)
            columns[index, column], rows[index, column] = tx, ty
            offsets[index, column, 0], offsets[index, column, 1] = fx, fy
    for band in prange(BANDS):
        first, end = size * band // BANDS, size * (band + 1) // BANDS
        for row in range(height):
            for column in range(width):
                tx = columns[row, column]
                if tx < 0:
                    continue
                ty = rows[row, column]
                if ty + 1 < first or ty >= end:
                    continue
                fx, fy = offsets[row, column, 0], offsets[row, column, 1]
                for dy in range(2):
                    if ty + dy < first or ty + dy >= end:
                        continue
                    for dx in range(2):
                        weight = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
                        texture_weight[ty + dy, tx + dx] += weight
                        for channel in range(3):
                            grad_texture[ty + dy, tx + dx, channel] += weight * inside[row, column, channel]

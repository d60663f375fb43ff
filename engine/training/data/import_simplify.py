# SPDX-License-Identifier: GPL-3.0-or-later
"""Fewer faces for meshes as artists make them: thin boards, open sheets, long triangles, many separate pieces.

Quadric edge collapse, always the cheapest edge first (Garland and Heckbert 1997). Faces never turn over, surfaces never
grow together, and open borders stay where they are. Slower than the threshold sweeps of `engine.surface.simplify`,
which are for dense closed surfaces and take whole boards away from furniture.
"""

from heapq import heapify, heappop, heappush

import numpy as np

from engine.jit import kernel

Array = np.ndarray

BORDER = 30.0
"""Weight of the planes that hold open borders, times the square of the border's length."""

STEADY = 1e-4
"""Price of an edge's length: among edges of a plane, which cost nothing, the short ones go first."""

TURN = 0.2
"""Cosine of the most a face's normal may turn in one collapse."""


def simplified(vertices: Array, faces: Array, most: int) -> tuple[Array, Array]:
    """Vertices [V', 3] and faces [F', 3] with F' <= most where edges that may be collapsed allow it.

    Vertices in one place must be one vertex; each face has three different ones.
    """
    scale = max(float(np.ptp(vertices, axis=0).max()), 1e-30)
    points, corners = vertices.astype(np.float64) / scale, faces.astype(np.int64).copy()
    quadrics = _quadrics(points, corners)
    alive = _collapse(points, corners, quadrics, most)
    kept = corners[alive]
    used, index = np.unique(kept, return_inverse=True)
    return points[used] * scale, index.reshape(-1, 3)


def _quadrics(points: Array, faces: Array) -> Array:
    """Sums of squared distances to the planes around each vertex, weighed by area, [V, 10]: the upper half of the
    symmetric 4 x 4 matrices, row by row."""
    corners = points[faces]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = np.linalg.norm(crossed, axis=1)
    normals = crossed / np.maximum(doubled, 1e-30)[:, None]
    quadrics = np.zeros((len(points), 10))
    _add_planes(quadrics, faces, normals, -np.einsum("fi,fi->f", normals, corners[:, 0]), doubled / 2)
    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    keys = np.minimum(starts, ends) * len(points) + np.maximum(starts, ends)
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    border = first[counts == 1]
    along = points[ends[border]] - points[starts[border]]
    walls = np.cross(along, normals[border // 3])
    lengths = np.linalg.norm(along, axis=1)
    walls /= np.maximum(np.linalg.norm(walls, axis=1, keepdims=True), 1e-30)
    offsets = -np.einsum("ei,ei->e", walls, points[starts[border]])
    _add_planes(quadrics, np.stack([starts[border], ends[border]], 1), walls, offsets, BORDER * lengths**2)
    return quadrics


def _add_planes(quadrics: Array, owners: Array, normals: Array, offsets: Array, weights: Array) -> None:
    planes = np.concatenate([normals, offsets[:, None]], axis=1)
    row, column = np.triu_indices(4)
    products = planes[:, row] * planes[:, column] * weights[:, None]
    for k in range(owners.shape[1]):
        for entry in range(10):
            quadrics[:, entry] += np.bincount(owners[:, k], products[:, entry], len(quadrics))


@kernel
def _error(q, x, y, z):
    return (
        q[0] * x * x + 2 * q[1] * x * y + 2 * q[2] * x * z + 2 * q[3] * x
        + q[4] * y * y + 2 * q[5] * y * z + 2 * q[6] * y + q[7] * z * z + 2 * q[8] * z + q[9]
    )  # fmt: skip


@kernel
def _best_place(points, quadrics, u, v, place):
    """Writes where the edge's vertex should lie into `place` [3]; returns the price of it."""
    q = quadrics[u] + quadrics[v]
    best = np.inf
    a, b, c = q[4] * q[7] - q[5] * q[5], q[2] * q[5] - q[1] * q[7], q[1] * q[5] - q[2] * q[4]
    determinant = q[0] * a + q[1] * b + q[2] * c
    length = 0.0
    for axis in range(3):
        length += (points[u, axis] - points[v, axis]) ** 2
    size = q[0] + q[4] + q[7]
    if abs(determinant) > 1e-9 * size * size * size:
        x = -(a * q[3] + b * q[6] + c * q[8]) / determinant
        y = -(b * q[3] + (q[0] * q[7] - q[2] * q[2]) * q[6] + (q[1] * q[2] - q[0] * q[5]) * q[8]) / determinant
        z = -(c * q[3] + (q[1] * q[2] - q[0] * q[5]) * q[6] + (q[0] * q[4] - q[1] * q[1]) * q[8]) / determinant
        away = (x - points[u, 0]) ** 2 + (y - points[u, 1]) ** 2 + (z - points[u, 2]) ** 2
        if away < 4 * length:
            best = _error(q, x, y, z)
            place[0], place[1], place[2] = x, y, z
    if best == np.inf:
        for t in (0.5, 0.0, 1.0):
            x = points[u, 0] + t * (points[v, 0] - points[u, 0])
            y = points[u, 1] + t * (points[v, 1] - points[u, 1])
            z = points[u, 2] + t * (points[v, 2] - points[u, 2])
            error = _error(q, x, y, z)
            if error < best:
                best = error
                place[0], place[1], place[2] = x, y, z
    return max(best, 0.0) + STEADY * length * size + 1e-12 * length


@kernel
def _around(faces, alive, head, following, u, mark, stamp, ring):
    """Marks the neighbours of a vertex with `stamp` and writes them into `ring`; returns how many there are."""
    count = 0
    c = head[u]
    while c >= 0:
        if alive[c // 3]:
            for k in range(3):
                w = faces[c // 3, k]
                if w != u and mark[w] != stamp:
                    mark[w] = stamp
                    if count < len(ring):
                        ring[count] = w
                    count += 1
        c = following[c]
    return count


@kernel
def _turns_over(points, faces, alive, head, following, u, other, place):
    """Whether a face of `u`, but those it shares with `other`, would turn too far or lose its area."""
    c = head[u]
    while c >= 0:
        f = c // 3
        if alive[f]:
            k = c % 3
            one, two = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            if one != other and two != other:
                ex, ey, ez = (
                    points[two, 0] - points[one, 0],
                    points[two, 1] - points[one, 1],
                    points[two, 2] - points[one, 2],
                )
                ax, ay, az = points[u, 0] - points[one, 0], points[u, 1] - points[one, 1], points[u, 2] - points[one, 2]
                bx, by, bz = place[0] - points[one, 0], place[1] - points[one, 1], place[2] - points[one, 2]
                ox, oy, oz = ey * az - ez * ay, ez * ax - ex * az, ex * ay - ey * ax
                nx, ny, nz = ey * bz - ez * by, ez * bx - ex * bz, ex * by - ey * bx
                old, new = np.sqrt(ox * ox + oy * oy + oz * oz), np.sqrt(nx * nx + ny * ny + nz * nz)
                edge = ex * ex + ey * ey + ez * ez
                if new < 1e-3 * edge and new < 0.5 * old:
                    return True
                if old > 1e-14 and ox * nx + oy * ny + oz * nz < TURN * old * new:
                    return True
        c = following[c]
    return False


@kernel
def _collapse(points, faces, quadrics, most):
    """Collapses edges until `most` faces are left; returns which faces are, [F] bool."""
    count = len(faces)
    alive = np.ones(count, np.bool_)
    head, tail = np.full(len(points), -1, np.int64), np.full(len(points), -1, np.int64)
    following = np.full(3 * count, -1, np.int64)
    for c in range(3 * count):
        u = faces[c // 3, c % 3]
        if head[u] < 0:
            head[u] = c
        else:
            following[tail[u]] = c
        tail[u] = c
    mark = np.full(len(points), -1, np.int64)
    ring, place = np.empty(4096, np.int64), np.empty(3)
    version = np.zeros(len(points), np.int64)
    stamp = 0
    heap = [(0.0, 0, 0, 0) for _ in range(0)]
    for u in range(len(points)):
        size = min(_around(faces, alive, head, following, u, mark, stamp, ring), len(ring))
        stamp += 1
        for r in range(size):
            if ring[r] > u:
                heap.append((_best_place(points, quadrics, u, ring[r], place), u, ring[r], 0))
    heapify(heap)
    left = count
    while left > most and len(heap) > 0:
        _, u, v, then = heappop(heap)
        if then != version[u] + version[v] or head[u] < 0 or head[v] < 0:
            continue
        # neighbours that both have: as many as the edge has faces, else surfaces would grow together
        _around(faces, alive, head, following, u, mark, stamp, ring)
        of_u = stamp
        stamp += 1
        shared, sides = 0, 0
        c = head[v]
        while c >= 0:
            f = c // 3
            if alive[f]:
                if faces[f, 0] == u or faces[f, 1] == u or faces[f, 2] == u:
                    sides += 1
                for k in range(3):
                    w = faces[f, k]
                    if w != v and w != u and mark[w] == of_u:
                        shared += 1
                        mark[w] = -2
            c = following[c]
        if sides == 0 or sides > 2 or shared != sides:
            continue
        _best_place(points, quadrics, u, v, place)
        if _turns_over(points, faces, alive, head, following, u, v, place):
            continue
        if _turns_over(points, faces, alive, head, following, v, u, place):
            continue
        for axis in range(3):
            points[u, axis] = place[axis]
        for entry in range(10):
            quadrics[u, entry] += quadrics[v, entry]
        c = head[v]
        while c >= 0:
            f = c // 3
            if alive[f]:
                if faces[f, 0] == u or faces[f, 1] == u or faces[f, 2] == u:
                    alive[f] = False
                    left -= 1
                else:
                    faces[f, c % 3] = u
            c = following[c]
        following[tail[u]] = head[v]
        tail[u] = tail[v]
        head[v] = -1
        version[u] += 1
        size = min(_around(faces, alive, head, following, u, mark, stamp, ring), len(ring))
        stamp += 1
        for r in range(size):
            w = ring[r]
            one, other = min(u, w), max(u, w)
            heappush(heap, (_best_place(points, quadrics, one, other, place), one, other, version[u] + version[w]))
    return alive

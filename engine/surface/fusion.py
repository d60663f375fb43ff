# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels of `engine.surface.tsdf`: what depth maps say about the voxels of a grid.

Blocks of 8^3 voxels, and in those that matter of 4^3, are first compared with the lowest and highest depth of the
pixels they may fall on: most are wholly free or wholly hidden for most views.
"""

import numpy as np

from engine.jit import kernel, parallel_kernel, prange

BAND = 3.0
"""Voxels before and behind the surface in which distances are measured."""

SHEET = 0.6
"""Least half thickness in voxels."""

CERTAIN = 1.5
"""Least weight on either side of what is taken for a sheet; edges of discs that stand over have less."""

FREE = 3
"""Views that call a voxel free for sure; one alone may look through a crack, so fewer are weighed by what is around."""

WRONG = 2
"""Views that call a voxel free, per unit of weight of those that see it right behind a surface, to overrule them."""

CLEAR = 4
"""Views that call a whole block of voxels free so that the others need not be asked."""

DOUBT = 0.4
"""What is around must lean so far towards free (1) for a voxel that is hidden from all to become free."""

STEEPEST = 0.2
"""Cosine of the angle of view below which a pixel's depth is not used."""

BLOCK, PART = 8, 4
"""Voxels along the side of a block, and of its parts."""

CELL = 4
"""Pixels along the side of the cells for which the range of depth is kept."""

_F = np.float32
_ZERO, _HALF, _ONE = _F(0), _F(0.5), _F(1)
_FAR = _F(1e30)
_VOXELS = PART**3
# Rows of a part's state: sums of the views that call a voxel free; of weight, weight d and weight times the direction
# towards the camera of those in front, and of those behind; then, per view, where it falls on the picture.
_FREE, _FRONT, _BACK, _SUMS = 0, 1, 6, 11
_I, _J, _K, _U, _V, _AHEAD, _COSINE, _ROWS = range(11, 19)
_LITTLE = _F(0.05)  # weight below which nothing was measured
OUTSIDE, WEAK, HIDDEN, INSIDE = np.int8(2), np.int8(1), np.int8(0), np.int8(-1)
"""Signs of voxels: measured or free for sure; free for too few views; seen by none; measured behind the surface."""


@parallel_kernel
def make_planes(depths, deviations, backs, focals, jump, unsure, planes):
    """Per pixel: depth, its change per pixel to the right and downwards, and the cosine of the angle of view.

    The cosine is 0 where depth cannot be trusted, or nothing is seen: then depth is the lowest around, that which
    surely stands free before it. Depth is 0 where a back is seen: nothing is known of that ray.
    """
    C, height, width = depths.shape
    for index in prange(C * height):
        c = index // height
        row = index - c * height
        for column in range(width):
            depth = depths[c, row, column]
            nearest = _FAR
            for y in range(max(row - 1, 0), min(row + 2, height)):
                for x in range(max(column - 1, 0), min(column + 2, width)):
                    if depths[c, y, x] > _ZERO and backs[c, y, x] < _HALF:
                        nearest = min(nearest, depths[c, y, x])
            plane = planes[c, row, column]
            plane[0], plane[1], plane[2], plane[3] = nearest, _ZERO, _ZERO, _ZERO
            if backs[c, row, column] >= _HALF:
                plane[0] = _ZERO
                continue
            if depth == _ZERO or deviations[c, row, column] > unsure or nearest < depth - jump:
                continue
            right, known_x = _slope(depths[c, row, max(column - 1, 0)], depth,
                                    depths[c, row, min(column + 1, width - 1)], jump)  # fmt: skip
            down, known_y = _slope(depths[c, max(row - 1, 0), column], depth,
                                   depths[c, min(row + 1, height - 1), column], jump)  # fmt: skip
            scale = focals[c] / depth
            cosine = _ONE / np.sqrt(_ONE + (right * right + down * down) * scale * scale)
            if known_x and known_y and cosine > _F(STEEPEST):
                plane[0], plane[1], plane[2], plane[3] = depth, right, down, cosine


@kernel
def _slope(before, here, after, jump):
    """Change of depth per pixel, and whether a neighbour on the same surface tells it."""
    has_before = before > _ZERO and abs(here - before) < jump
    has_after = after > _ZERO and abs(after - here) < jump
    if has_before and has_after:
        return (after - before) * _HALF, True
    if has_before:
        return here - before, True
    if has_after:
        return after - here, True
    return _ZERO, False


@parallel_kernel
def depth_ranges(planes, ranges):
    """Lowest and highest depth in each cell of pixels; _FAR where nothing is seen."""
    C, rows, columns = ranges.shape[:3]
    height, width = planes.shape[1:3]
    for index in prange(C * rows):
        c = index // rows
        row = index - c * rows
        for column in range(columns):
            low, high = _FAR, _ZERO
            for y in range(row * CELL, min((row + 1) * CELL, height)):
                for x in range(column * CELL, min((column + 1) * CELL, width)):
                    plane = planes[c, y, x]
                    tilt = _HALF * (abs(plane[1]) + abs(plane[2]))
                    low, high = min(low, plane[0] - tilt), max(high, plane[0] + tilt)
            ranges[c, row, column, 0], ranges[c, row, column, 1] = low, high


@kernel
def _ask(m, focal, ranges, i, j, k, half, voxel):
    """Of a cube with its centre at voxel (i, j, k): 1 if a view sees it wholly free, 0 wholly hidden, else 2."""
    rows, columns = ranges.shape[:2]
    radius = _F(1.7320508) * half * voxel
    depth = m[2, 0] * i + m[2, 1] * j + m[2, 2] * k + m[2, 3]
    u = (m[0, 0] * i + m[0, 1] * j + m[0, 2] * k + m[0, 3]) / depth
    v = (m[1, 0] * i + m[1, 1] * j + m[1, 2] * k + m[1, 3]) / depth
    reach = radius * focal / (depth - radius) + _ONE
    x0, x1 = int(np.floor((u - reach) / CELL)), int(np.floor((u + reach) / CELL))
    y0, y1 = int(np.floor((v - reach) / CELL)), int(np.floor((v + reach) / CELL))
    # outside of the picture nothing is seen
    cut = x0 < 0 or y0 < 0 or x1 >= columns or y1 >= rows
    low, high = _FAR, _FAR if cut else _ZERO
    for row in range(max(y0, 0), min(y1 + 1, rows)):
        for column in range(max(x0, 0), min(x1 + 1, columns)):
            low = min(low, ranges[row, column, 0])
            high = max(high, ranges[row, column, 1])
    if depth + radius + _F(BAND) * voxel < low:
        return 1
    return 2 if depth - radius - _F(2 * BAND) * voxel < high else 0


@parallel_kernel
def ask_blocks(to_camera, focals, ranges, voxel, states):
    """Fills states [X / 8, Y / 8, Z / 8]: 1 wholly outside, 0 wholly hidden, -1 its voxels must be asked."""
    C = len(to_camera)
    X, Y, Z = states.shape
    half = _HALF * _F(BLOCK - 1)
    for x in prange(X):
        for y in range(Y):
            for z in range(Z):
                free, asked = 0, 0
                for c in range(C):
                    answer = _ask(to_camera[c], focals[c], ranges[c], _F(x * BLOCK) + half, _F(y * BLOCK) + half,
                                  _F(z * BLOCK) + half, half, voxel)  # fmt: skip
                    free += answer & 1
                    asked += answer >> 1
                    if free >= CLEAR:
                        break
                if free >= CLEAR or (asked == 0 and free >= FREE):
                    states[x, y, z] = 1
                else:
                    states[x, y, z] = 0 if asked + free == 0 else -1


@parallel_kernel
def fill_blocks(states, far, values, signs):
    """Values and signs of whole blocks."""
    X, Y, Z = values.shape
    for x in prange(X):
        for y in range(Y):
            for z in range(Z):
                free = states[x // BLOCK, y // BLOCK, z // BLOCK] == 1
                values[x, y, z] = far if free else -far
                signs[x, y, z] = OUTSIDE if free else HIDDEN


@parallel_kernel
def fuse_blocks(blocks, to_camera, focals, toward, ranges, planes, voxel, values, signs):
    """Asks the voxels of the given blocks [B, 3], part by part; signs tell how sure their sides are."""
    C = len(to_camera)
    X, Y, Z = values.shape
    per_side = BLOCK // PART
    block_half, half = _HALF * _F(BLOCK - 1), _HALF * _F(PART - 1)
    band = _F(BAND) * voxel
    for b in prange(len(blocks)):
        views, of_block = np.empty(C, np.int32), np.empty(C, np.int32)
        state = np.empty(_ROWS * _VOXELS, np.float32)
        x0, y0, z0 = blocks[b, 0] * BLOCK, blocks[b, 1] * BLOCK, blocks[b, 2] * BLOCK
        wholly_free, count = 0, 0
        for c in range(C):
            answer = _ask(to_camera[c], focals[c], ranges[c], _F(x0) + block_half, _F(y0) + block_half,
                          _F(z0) + block_half, block_half, voxel)  # fmt: skip
            wholly_free += answer & 1
            if answer == 2:
                of_block[count] = c
                count += 1
        for part in range(per_side**3):
            x0 = blocks[b, 0] * BLOCK + part // (per_side * per_side) * PART
            y0 = blocks[b, 1] * BLOCK + part // per_side % per_side * PART
            z0 = blocks[b, 2] * BLOCK + part % per_side * PART
            if x0 >= X or y0 >= Y or z0 >= Z:
                continue
            free, asked = wholly_free, 0
            for s in range(count):
                c = of_block[s]
                answer = _ask(to_camera[c], focals[c], ranges[c], _F(x0) + half, _F(y0) + half, _F(z0) + half, half,
                              voxel)  # fmt: skip
                free += answer & 1
                if answer == 2:
                    views[asked] = c
                    asked += 1
            _measure(views[: 0 if free >= CLEAR else asked], x0, y0, z0, to_camera, toward, planes, band, state)
            for p in range(_VOXELS):
                x, y, z = x0 + p // (PART * PART), y0 + p // PART % PART, z0 + p % PART
                if x < X and y < Y and z < Z:
                    values[x, y, z], signs[x, y, z] = _judge(state, p, _F(free), band, voxel)


@kernel
def _measure(views, x0, y0, z0, to_camera, toward, planes, band, state):
    """Sums over the views what each of the part's voxels is to them; fills state [_ROWS * _VOXELS].

    Three loops over the voxels per view, of which only the one in the middle, which reads scattered pixels, cannot be
    vectorised. All sums stand in one array so that LLVM sees that they don't overlap.
    """
    height, width = planes.shape[1:3]
    state[: _SUMS * _VOXELS] = _ZERO
    for p in range(_VOXELS):
        state[_I * _VOXELS + p] = _F(x0 + p // (PART * PART))
        state[_J * _VOXELS + p] = _F(y0 + p // PART % PART)
        state[_K * _VOXELS + p] = _F(z0 + p % PART)
    for s in range(len(views)):
        c = views[s]
        m00, m01, m02, m03 = to_camera[c, 0, 0], to_camera[c, 0, 1], to_camera[c, 0, 2], to_camera[c, 0, 3]
        m10, m11, m12, m13 = to_camera[c, 1, 0], to_camera[c, 1, 1], to_camera[c, 1, 2], to_camera[c, 1, 3]
        m20, m21, m22, m23 = to_camera[c, 2, 0], to_camera[c, 2, 1], to_camera[c, 2, 2], to_camera[c, 2, 3]
        for p in range(_VOXELS):
            i, j, k = state[_I * _VOXELS + p], state[_J * _VOXELS + p], state[_K * _VOXELS + p]
            depth = m20 * i + m21 * j + m22 * k + m23
            inverse = _ONE / depth
            state[_U * _VOXELS + p] = (m00 * i + m01 * j + m02 * k + m03) * inverse
            state[_V * _VOXELS + p] = (m10 * i + m11 * j + m12 * k + m13) * inverse
            state[_AHEAD * _VOXELS + p] = depth
        for p in range(_VOXELS):
            u, v = state[_U * _VOXELS + p], state[_V * _VOXELS + p]
            ahead, cosine = _FAR, _ZERO  # outside of the picture nothing is seen
            if u >= _ZERO and v >= _ZERO and u < _F(width) and v < _F(height):
                column, row = np.uint32(u), np.uint32(v)
                cosine = planes[c, row, column, 3]
                ahead = (
                    planes[c, row, column, 0]
                    + planes[c, row, column, 1] * (u - _F(column) - _HALF)
                    + planes[c, row, column, 2] * (v - _F(row) - _HALF)
                    - state[_AHEAD * _VOXELS + p]
                )
            state[_AHEAD * _VOXELS + p] = ahead
            state[_COSINE * _VOXELS + p] = cosine
        x, y, z = toward[c, 0], toward[c, 1], toward[c, 2]
        inverse = _ONE / band
        for p in range(_VOXELS):
            ahead, cosine = state[_AHEAD * _VOXELS + p], state[_COSINE * _VOXELS + p]
            d = ahead * cosine
            near = max(_ONE - abs(d) * inverse, _ZERO)
            weight = cosine * cosine * near * near if (ahead <= band) & (ahead > -2 * band) else _ZERO
            front = weight if d >= _ZERO else _ZERO
            back = weight - front
            state[_FREE * _VOXELS + p] += _ONE if ahead > band else _ZERO
            state[_FRONT * _VOXELS + p] += front
            state[(_FRONT + 1) * _VOXELS + p] += front * d
            state[(_FRONT + 2) * _VOXELS + p] += front * x
            state[(_FRONT + 3) * _VOXELS + p] += front * y
            state[(_FRONT + 4) * _VOXELS + p] += front * z
            state[_BACK * _VOXELS + p] += back
            state[(_BACK + 1) * _VOXELS + p] += back * d
            state[(_BACK + 2) * _VOXELS + p] += back * x
            state[(_BACK + 3) * _VOXELS + p] += back * y
            state[(_BACK + 4) * _VOXELS + p] += back * z


@kernel
def _judge(state, p, free, band, voxel):
    """Distance and sign of voxel `p` of a part from what was summed and from how many views call the part free."""
    free += state[_FREE * _VOXELS + p]
    if state[_FRONT * _VOXELS + p] + state[_BACK * _VOXELS + p] <= _LITTLE:
        sure = free >= _F(FREE)
        return (band if sure else -band), (OUTSIDE if sure else (WEAK if free > _ZERO else HIDDEN))
    distance = _distance(
        free,
        state[_FRONT * _VOXELS + p],
        state[(_FRONT + 1) * _VOXELS + p],
        state[(_FRONT + 2) * _VOXELS + p],
        state[(_FRONT + 3) * _VOXELS + p],
        state[(_FRONT + 4) * _VOXELS + p],
        state[_BACK * _VOXELS + p],
        state[(_BACK + 1) * _VOXELS + p],
        state[(_BACK + 2) * _VOXELS + p],
        state[(_BACK + 3) * _VOXELS + p],
        state[(_BACK + 4) * _VOXELS + p],
        voxel,
    )
    return distance, (OUTSIDE if distance > _ZERO else INSIDE)


@kernel
def _distance(
    free, front_weight, front, front_x, front_y, front_z, back_weight, back, back_x, back_y, back_z, voxel
):  # fmt: skip
    """What the views say together, object units."""
    least = _F(2 * SHEET) * voxel
    if back_weight == _ZERO:
        return front / front_weight
    along = front_x * back_x + front_y * back_y + front_z * back_z
    lengths = (front_x**2 + front_y**2 + front_z**2) * (back_x**2 + back_y**2 + back_z**2)
    if front_weight > _ZERO and along < _HALF * np.sqrt(lengths):
        ahead, behind = front / front_weight, back / back_weight
        if along > -_HALF * np.sqrt(lengths) or min(front_weight, back_weight) < _F(CERTAIN):
            return ahead  # beside an edge: those behind look at the other side of it
        return ahead - _HALF * max(least + ahead + behind, _ZERO)  # the thickness is -(ahead + behind)
    mean = (front + back) / (front_weight + back_weight)
    if mean >= _ZERO or free < _F(2) or free <= back_weight:
        return mean
    # Behind the surface and yet free: a sheet with nobody right behind it, or a wrong depth if many contradict.
    return max(mean, -(least + mean)) if free <= _F(WRONG) * back_weight else _F(0.25) * voxel


@parallel_kernel
def reduce_signs(signs, reduced):
    """Fills reduced [X / 2, Y / 2, Z / 2] with what 2^3 voxels say on average: 1 free, -1 inside or hidden, 0 weak."""
    X, Y, Z = signs.shape
    for x in prange(reduced.shape[0]):
        for y in range(reduced.shape[1]):
            for z in range(reduced.shape[2]):
                total, count = 0, 0
                for i in range(2 * x, min(2 * x + 2, X)):
                    for j in range(2 * y, min(2 * y + 2, Y)):
                        for k in range(2 * z, min(2 * z + 2, Z)):
                            sign = signs[i, j, k]
                            total += 1 if sign == OUTSIDE else (0 if sign == WEAK else -1)
                            count += 1
                reduced[x, y, z] = _F(total) / _F(count)


@parallel_kernel
def settle(blocks, signs, leaning, band, values):
    """Decides voxels that nobody measured and too few call free by which way what is around leans, smoothly.

    leaning [X / 2, Y / 2, Z / 2] is `reduce_signs`' result, blurred.
    """
    X, Y, Z = signs.shape
    for b in prange(len(blocks)):
        x0, y0, z0 = blocks[b, 0] * BLOCK, blocks[b, 1] * BLOCK, blocks[b, 2] * BLOCK
        for x in range(x0, min(x0 + BLOCK, X)):
            for y in range(y0, min(y0 + BLOCK, Y)):
                for z in range(z0, min(z0 + BLOCK, Z)):
                    sign = signs[x, y, z]
                    if sign in (WEAK, HIDDEN):
                        lean = _between(leaning, x, y, z) - (_F(DOUBT) if sign == HIDDEN else _ZERO)
                        values[x, y, z] = band * max(lean, -_ONE)


@kernel
def _between(leaning, x, y, z):
    """Trilinear value at voxel (x, y, z) of a grid whose cells are 2^3 voxels."""
    x0, y0, z0 = (x - 1) >> 1, (y - 1) >> 1, (z - 1) >> 1
    total = _ZERO
    for corner in range(8):
        i, j, k = x0 + (corner >> 2), y0 + (corner >> 1 & 1), z0 + (corner & 1)
        weight = (
            (_F(0.75) if i == x >> 1 else _F(0.25))
            * (_F(0.75) if j == y >> 1 else _F(0.25))
            * (_F(0.75) if k == z >> 1 else _F(0.25))
        )
        i, j, k = max(i, 0), max(j, 0), max(k, 0)
        i, j, k = min(i, leaning.shape[0] - 1), min(j, leaning.shape[1] - 1), min(k, leaning.shape[2] - 1)
        total += weight * leaning[i, j, k]
    return total

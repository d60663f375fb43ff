# SPDX-License-Identifier: GPL-3.0-or-later
"""Places charts in the square texture: as large as they fit, all at one scale, a margin apart.

The texture is a grid of bits. Charts, the longest first, go where their lower end comes to lie highest up (v runs
down), in the best of four turns. Each of their rows is a few runs of cells. Whether a run of L cells is free, at all x
at once, is read off two shifted rows in which bit x tells of the cells x to x + 2^j - 1, 2^j <= L.
"""

import numpy as np

from engine.jit import kernel, parallel_kernel, prange

Array = np.ndarray

COARSE, FINE = 256, 512
"""Cells along each side of the texture, multiples of 64: scales are tried on the coarse grid, then on the fine one."""

ROUNDS = 12
"""Rounds in which four scales are tried at once, at most."""

FEW = 40
"""Up to so many charts are tried in more than one order."""

SPREAD, FINE_SPREAD = np.array([0.86, 0.92, 0.98, 1.05]), np.array([0.97, 1.01, 1.05, 1.09])
"""Scales tried at once, as parts of the most likely one and of that of the coarse grid; then four in between."""

ANGLES = 24
"""Turns within a right angle of which the one with the smallest bounding box is taken."""

MANY = 600
"""More charts than this are put on shelves, which is quick and wastes little where all are tiny."""

MARGINS = 0.125
"""A margin is at most this over the square root of the number of charts: 8 texels at 1024 for up to 256 charts."""


def pack(flat: Array, faces: Array, charts: Array, margin: float) -> Array:
    """Places [V, 2] in [0, 1] (float32) of vertices laid flat at `flat` [V, 2], `charts` [V] the chart of each.

    No face [F, 3] joins two charts. Each chart keeps `margin`, a part of the texture's side, to itself all around; less
    where there are very many.
    """
    count = int(charts.max()) + 1
    margin = min(margin, MARGINS / np.sqrt(count))
    turned = upright(flat, charts, count)
    low, high = bounds(turned, charts, count)
    sizes = np.maximum(high - low, 1e-9)
    local = turned - low[charts]
    placed = _on_grid(local, faces, charts, sizes, margin) if count <= MANY else None
    return (_on_shelves(local, charts, sizes, margin) if placed is None else placed).astype(np.float32)


def pack_loosely(flat: Array, charts: Array) -> Array:
    """Places [V, 2] in [0, 1] as `pack` gives them, found at once and not turned: charts side by side."""
    low, high = bounds(flat, charts, int(charts.max()) + 1)
    return _on_shelves(flat - low[charts], charts, np.maximum(high - low, 1e-9), 1e-3 / np.sqrt(len(low)))


def upright(flat: Array, charts: Array, count: int) -> Array:
    """Each chart turned so that its bounding box is smallest, [V, 2]."""
    best, angle = np.full(count, np.inf), np.zeros(count)
    for turn in np.arange(ANGLES) * np.pi / 2 / ANGLES:
        low, high = bounds(_rotated(flat, turn), charts, count)
        area = np.prod(high - low, axis=1)
        better = area < 0.999 * best
        best[better], angle[better] = area[better], turn
    return _rotated(flat, angle[charts])


def _rotated(flat: Array, angle: Array | float) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine * flat[:, 0] - sine * flat[:, 1], sine * flat[:, 0] + cosine * flat[:, 1]], 1)


def bounds(flat: Array, charts: Array, count: int) -> tuple[Array, Array]:
    """Lowest and highest corner of each chart, [count, 2] each."""
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    _extend(flat, charts, low, high)
    return low, high


@kernel
def _extend(flat, charts, low, high):
    for i in range(len(flat)):
        for axis in range(2):
            low[charts[i], axis] = min(low[charts[i], axis], flat[i, axis])
            high[charts[i], axis] = max(high[charts[i], axis], flat[i, axis])


def _quarter_turns(local: Array, box: Array, turns: int) -> Array:
    """Places [V, 2] in boxes [V, 2] (from 0 to width and height) turned by right angles, never mirrored."""
    if turns == 1:
        return np.stack([box[:, 1] - local[:, 1], local[:, 0]], 1)
    if turns == 2:
        return box - local
    return np.stack([local[:, 1], box[:, 0] - local[:, 0]], 1)


def _on_grid(local: Array, faces: Array, charts: Array, sizes: Array, margin: float) -> Array | None:
    """Places [V, 2] in [0, 1] of charts that lie between 0 and `sizes` [count, 2]; None where nothing fits."""
    chart = charts[faces[:, 0]]
    by_chart = np.argsort(chart, kind="stable")
    starts = np.searchsorted(chart[by_chart], np.arange(len(sizes) + 1))
    corners = np.ascontiguousarray(local[faces[by_chart]])
    orders = [np.argsort(-length, kind="stable") for length in (sizes.sum(1), sizes.max(1), sizes.prod(1))]
    start, found = _first_scale(sizes, margin), None
    for order in orders if len(sizes) <= FEW else orders[:1]:
        tried = _best_scale(corners, starts, order, sizes, margin, COARSE, start * SPREAD, 0.08)
        if tried and (found is None or tried[0] > found[0]):
            found = (*tried, order)
    if found is None:
        return None
    fine = _best_scale(corners, starts, found[3], sizes, margin, FINE, found[0] * FINE_SPREAD, 0.025)
    cells, (scale, places, turns) = (FINE, fine) if fine else (COARSE, found[:3])
    result, box = local * (scale * cells), np.floor(sizes * (scale * cells)) + 1
    for turn in (1, 2, 3):
        at = turns[charts] == turn
        result[at] = _quarter_turns(result[at], box[charts[at]], turn)
    return (result + places[charts]) / cells


def _best_scale(
    corners: Array, starts: Array, order: Array, sizes: Array, margin: float, cells: int, scales: Array, step: float
):
    """Largest scale at which the charts fit in their order, with places in cells and turns; None where none does."""
    border, gap = int(np.ceil(margin * cells)), int(np.ceil(2 * margin * cells))
    largest = (1 - (2 * border + 1) / cells) / sizes.max()
    scales, fitting = np.minimum(scales, largest), None
    for _ in range(ROUNDS):
        places, turns, fits = _place(corners, starts, order, scales * cells, cells, border, gap)
        if fits.any():
            best = int(np.flatnonzero(fits)[-1])
            fitting = float(scales[best]), places[best], turns[best]
            if best == len(scales) - 1 or scales[best + 1] < (1 + step) * scales[best]:
                break
            scales = scales[best] + (scales[best + 1] - scales[best]) * np.array([0.2, 0.4, 0.6, 0.8])
        elif fitting:
            break
        else:
            scales = scales[0] * np.array([0.7, 0.8, 0.88, 0.95])
    return fitting


def _first_scale(sizes: Array, margin: float) -> float:
    """The scale at which the charts' bounding boxes with their gaps have the area of the texture."""
    low, high = 0.0, 1 / sizes.max()
    for _ in range(30):
        middle = (low + high) / 2
        if (sizes * middle + 2 * margin).prod(1).sum() > (1 - 2 * margin) ** 2:
            high = middle
        else:
            low = middle
    return low


@parallel_kernel
def _place(faces, starts, order, scales, cells, border, gap):
    """Places [S, count, 2], quarter turns [S, count] and whether all fit [S], at each of `scales` [S]."""
    count = len(starts) - 1
    places = np.zeros((len(scales), count, 2))
    turns = np.zeros((len(scales), count), np.int64)
    fits = np.zeros(len(scales), np.bool_)
    levels = 1
    while 1 << levels < cells:
        levels += 1
    for s in prange(len(scales)):
        table = np.zeros((levels + 1, cells, cells // 64), np.uint64)
        runs = np.empty((4, cells * 8, 2), np.int64)
        firsts = np.empty((4, cells + 1), np.int64)
        masks = np.empty((2, cells, cells // 64), np.uint64)
        all_fit = True
        for n in range(count):
            chart = order[n]
            width, height = _runs(faces, starts[chart], starts[chart + 1], scales[s], gap, masks, runs, firsts)
            x, y, turn = _lowest(table, runs, firsts, width, height, border)
            if turn < 0:
                all_fit = False
                break
            places[s, chart, 0], places[s, chart, 1], turns[s, chart] = x, y, turn
            _occupy(table, runs[turn], firsts[turn], x, y, height if turn % 2 == 0 else width, gap)
        fits[s] = all_fit
    return places, turns, fits


@kernel
def _runs(faces, first, last, scale, gap, masks, runs, firsts):
    """Cells (width, height) of a chart, and for each turn the runs of cells in its rows.

    runs[turn, firsts[turn, row] : firsts[turn, row + 1]] are the first and last cells of row `row`. Runs nearer to
    each other than a gap are one, and rows have at most 8.
    """
    width = height = 1
    for f in range(first, last):
        for k in range(3):
            width = max(width, int(faces[f, k, 0] * scale) + 1)
            height = max(height, int(faces[f, k, 1] * scale) + 1)
    for axis in range(2):  # the chart as it is, then with rows and columns exchanged
        lines, columns = (height, width) if axis == 0 else (width, height)
        masks[axis, :lines] = 0
        for f in range(first, last):
            _fill(faces[f], scale, axis, masks[axis])
        at = 0
        for line in range(lines):
            firsts[axis, line] = at
            most, found, end = 8, 0, -1
            for column in range(columns):
                if masks[axis, line, column // 64] >> np.uint64(column % 64) & np.uint64(1):
                    if found and (column - end <= 2 * gap or found == most):
                        runs[axis, at - 1, 1] = column
                    else:
                        runs[axis, at, 0] = runs[axis, at, 1] = column
                        at += 1
                        found += 1
                    end = column
        firsts[axis, lines] = at
    # With (x, y) the cells of the chart: turn 2 is (width - 1 - x, height - 1 - y), turn 3 (y, width - 1 - x), turn 1
    # (height - 1 - y, x), which is turn 3 of turn 2. Exchanged rows and columns are (y, x).
    _turn(runs[0], firsts[0], runs[2], firsts[2], height, width, True, True)
    _turn(runs[1], firsts[1], runs[3], firsts[3], width, height, True, False)
    _turn(runs[3], firsts[3], runs[1], firsts[1], width, height, True, True)
    return width, height


@kernel
def _turn(runs, firsts, new_runs, new_firsts, lines, columns, upside_down, mirrored):
    """Rows in the opposite order, and each from its end to its start."""
    at = 0
    for line in range(lines):
        old = lines - 1 - line if upside_down else line
        new_firsts[line] = at
        for i in range(firsts[old], firsts[old + 1]):
            left, right = runs[i, 0], runs[i, 1]
            new_runs[at, 0] = columns - 1 - right if mirrored else left
            new_runs[at, 1] = columns - 1 - left if mirrored else right
            at += 1
    new_firsts[lines] = at


@kernel
def _fill(face, scale, axis, mask):
    """Sets every cell that a face touches."""
    top = min(face[0, 1 - axis], face[1, 1 - axis], face[2, 1 - axis]) * scale
    bottom = max(face[0, 1 - axis], face[1, 1 - axis], face[2, 1 - axis]) * scale
    for line in range(int(top), int(bottom) + 1):
        left, right = np.inf, -np.inf
        for k in range(3):
            u0, v0 = face[k, axis] * scale, face[k, 1 - axis] * scale
            u1, v1 = face[(k + 1) % 3, axis] * scale, face[(k + 1) % 3, 1 - axis] * scale
            if v0 > v1:
                u0, v0, u1, v1 = u1, v1, u0, v0
            if v1 < line or v0 > line + 1:
                continue
            slope = (u1 - u0) / (v1 - v0) if v1 > v0 else 0.0
            ua = u0 + slope * (max(v0, line) - v0) if v1 > v0 else u0
            ub = u0 + slope * (min(v1, line + 1) - v0) if v1 > v0 else u1
            left, right = min(left, ua, ub), max(right, ua, ub)
        if right < left:
            continue
        first, last = max(int(left), 0), int(right)
        for word in range(first // 64, last // 64 + 1):
            mask[line, word] |= _bits_between(first, last, word)


@kernel
def _bits_between(first, last, word):
    """The bits of a word of a row that lie in cells `first` to `last`."""
    bits = ~np.uint64(0)
    if 64 * word < first:
        bits = bits << np.uint64(first - 64 * word) if first < 64 * word + 64 else np.uint64(0)
    if 64 * word + 63 > last:
        bits &= ~np.uint64(0) >> np.uint64(64 * word + 63 - last) if last >= 64 * word else np.uint64(0)
    return bits


@kernel
def _bits_from(row, start, word):
    """64 bits of a row of words from bit 64 * `word` + `start` on; beyond the end they are 0."""
    at = word + start // 64
    shift = start % 64
    bits = row[at] >> np.uint64(shift) if at < len(row) else np.uint64(0)
    if shift and at + 1 < len(row):
        bits |= row[at + 1] << np.uint64(64 - shift)
    return bits


@kernel
def _stride(count):
    """A step near 0.382 * count that visits all of `count` rows."""
    step = max(1, int(0.382 * count))
    while True:
        a, b = step, count
        while b:
            a, b = b, a % b
        if a == 1:
            return step
        step += 1


@kernel
def _lowest(table, runs, firsts, width, height, border):
    """The place (x, y) and turn where the chart's lower end lies highest up; turn -1 where it fits nowhere."""
    cells, words = table.shape[1], table.shape[2]
    best_x, best_y, best_turn, best_end = 0, 0, -1, cells - border + 1
    free, allowed = np.empty(words, np.uint64), np.empty(words, np.uint64)
    for turn in range(4):
        columns, rows = (width, height) if turn % 2 == 0 else (height, width)
        last_x = cells - border - columns
        if last_x < border:
            continue
        for word in range(words):
            allowed[word] = _bits_between(border, last_x, word)
        stride = _stride(rows)
        for y in range(border, cells):
            if y + rows >= best_end:
                break
            free[:] = allowed
            some = True
            for step in range(rows):
                row = (step * stride) % rows  # rows far apart first: one of them is soon full
                for i in range(firsts[turn, row], firsts[turn, row + 1]):
                    left, right = runs[turn, i, 0], runs[turn, i, 1]
                    level = 0
                    while 2 << level <= right - left + 1:
                        level += 1
                    line = table[level, y + row]
                    second = right - (1 << level) + 1
                    some = False
                    for word in range(words):
                        if free[word]:
                            free[word] &= ~(_bits_from(line, left, word) | _bits_from(line, second, word))
                            some |= free[word] != 0
                    if not some:
                        break
                if not some:
                    break
            if some:
                for x in range(cells):
                    if free[x // 64] >> np.uint64(x % 64) & np.uint64(1):
                        best_x, best_y, best_turn, best_end = x, y, turn, y + rows
                        break
                break
    return best_x, best_y, best_turn


@kernel
def _occupy(table, runs, firsts, x, y, rows, gap):
    """Marks the cells nearer than `gap` to the chart as taken."""
    levels, cells, words = table.shape
    top, bottom = max(0, y - gap), min(cells, y + rows + gap)
    for row in range(rows):
        for i in range(firsts[row], firsts[row + 1]):
            for line in range(max(top, y + row - gap), min(bottom, y + row + gap + 1)):
                reach = int(np.sqrt(float(gap * gap - (line - y - row) ** 2)))
                first, last = max(0, x + runs[i, 0] - reach), min(cells - 1, x + runs[i, 1] + reach)
                for word in range(first // 64, last // 64 + 1):
                    table[0, line, word] |= _bits_between(first, last, word)
    for line in range(top, bottom):
        for level in range(1, levels):
            before = table[level - 1, line]
            for word in range(words):
                table[level, line, word] = before[word] | _bits_from(before, 1 << (level - 1), word)


def _on_shelves(local: Array, charts: Array, sizes: Array, margin: float) -> Array:
    """Places [V, 2] in [0, 1] of charts side by side on shelves of falling height."""
    order = np.argsort(-sizes[:, 1], kind="stable")
    smallest, largest = 0.0, 1.0 / sizes.max()
    positions = np.zeros((len(sizes), 2))
    for _ in range(16):
        scale = (smallest + largest) / 2
        placed = _shelves(sizes[order] * scale, 2 * margin)
        if placed is None:
            largest = scale
        else:
            smallest = scale
            positions[order] = placed
    return local * smallest + positions[charts]


def _shelves(sizes: Array, spacing: float) -> Array | None:
    """Places [N, 2] of rectangles of falling height in the unit square, `spacing` apart; None if they do not fit."""
    places = np.empty_like(sizes)
    x = y = spacing
    shelf = 0.0
    for i, (width, height) in enumerate(sizes):
        if x + width + spacing > 1:
            x, y, shelf = spacing, y + shelf + spacing, 0.0
        if x + width + spacing > 1 or y + height + spacing > 1:
            return None
        places[i] = x, y
        x += width + spacing
        shelf = max(shelf, height)
    return places

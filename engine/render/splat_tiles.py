# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Gaussians touch which 16 x 16 tile of the picture, nearest first.

Counting sort: the Gaussians are walked in depth order, in fixed blocks, once to count the pairs per tile and block and
once to write them, so that every list is in depth order whatever the number of threads. A tile and an ellipse form a
pair only where the ellipse (alpha >= 1/255) reaches the hull of the tile's pixel centres: within a row of tiles the
ellipse's extent in x is exact, from its leftmost and rightmost point in that band.
"""

import numpy as np

from engine.jit import kernel, parallel_kernel, prange
from engine.render.splat_projection import (
    CUT,
    RADIUS_X,
    RADIUS_Y,
    SLOPE,
    X_REST,
    Y_OF_RIGHT,
    Y_REST,
    H,
    Q,
    X,
    Y,
)

TILE = 16
BLOCK = 1024
"""Gaussians per block of the counting sort: fixed, so that the work splits the same way on every machine."""

_CULLED_BITS = np.float32(np.inf).view(np.uint32)
_DIGIT = 11  # bits per pass: three passes hold the 31 bits of a positive float32


@parallel_kernel
def sort_by_depth(depth_bits, order, visible):
    """Stable radix sort. depth_bits [C, N] uint32 view of positive float32; fills order [C, N], visible [C]."""
    C, N = depth_bits.shape
    for c in prange(C):
        keys, other_keys = np.empty(N, np.uint32), np.empty(N, np.uint32)
        ids, other_ids = np.empty(N, np.int32), np.empty(N, np.int32)
        count = 0
        for n in range(N):
            if depth_bits[c, n] != _CULLED_BITS:
                keys[count] = depth_bits[c, n]
                ids[count] = n
                count += 1
        for digit in range(3):
            shift = np.uint32(digit * _DIGIT)
            mask = np.uint32((1 << _DIGIT) - 1)
            starts = np.zeros((1 << _DIGIT) + 1, np.int64)
            for i in range(count):
                starts[((keys[i] >> shift) & mask) + 1] += 1
            for value in range(1 << _DIGIT):
                starts[value + 1] += starts[value]
            for i in range(count):
                value = (keys[i] >> shift) & mask
                position = starts[value]
                starts[value] = position + 1
                other_keys[position] = keys[i]
                other_ids[position] = ids[i]
            keys, other_keys = other_keys, keys
            ids, other_ids = other_ids, ids
        visible[c] = count
        order[c, :count] = ids[:count]


@kernel
def _range(low, high, tiles):
    """First tile and the one after the last whose pixel centres meet [low, high], in px along one axis."""
    first = min(max(np.ceil((low - (TILE - 0.5)) / TILE), 0.0), float(tiles))
    last = min(max(np.floor((high - 0.5) / TILE), -1.0), tiles - 1.0)
    return int(first), int(last) + 1


@kernel
def _tile_rows(record, tiles_y):
    center = np.float64(record[Y]) + np.float64(record[Y_REST])
    radius = np.float64(record[RADIUS_Y])
    return _range(center - radius, center + radius, tiles_y)


@kernel
def _tile_columns(record, row, tiles_x):
    """Tiles that the ellipse meets in one row of tiles."""
    center_x = np.float64(record[X]) + np.float64(record[X_REST])
    center_y = np.float64(record[Y]) + np.float64(record[Y_REST])
    radius_y = np.float64(record[RADIUS_Y])
    top = max(row * TILE + 0.5 - center_y, -radius_y)
    bottom = min(row * TILE + TILE - 0.5 - center_y, radius_y)
    h, slope, q, cut = np.float64(record[H]), np.float64(record[SLOPE]), np.float64(record[Q]), np.float64(record[CUT])
    y_of_right = np.float64(record[Y_OF_RIGHT])
    dy = min(max(y_of_right, top), bottom)
    right = min(-slope * dy + np.sqrt(max(cut - q * dy * dy, 0.0) / h), np.float64(record[RADIUS_X]))
    dy = min(max(-y_of_right, top), bottom)
    left = max(-slope * dy - np.sqrt(max(cut - q * dy * dy, 0.0) / h), -np.float64(record[RADIUS_X]))
    return _range(center_x + left, center_x + right, tiles_x)


@parallel_kernel
def count_pairs(records, order, visible, tiles_x, tiles_y, counts):
    """Fills counts [C, blocks, tiles]: pairs of each tile with the Gaussians of each block of the depth order."""
    C, blocks, _ = counts.shape
    for index in prange(C * blocks):
        c = index // blocks
        block = index - c * blocks
        counts[c, block, :] = 0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, visible[c])):
            record = records[c, order[c, i]]
            first_row, end_row = _tile_rows(record, tiles_y)
            for row in range(first_row, end_row):
                first, end = _tile_columns(record, row, tiles_x)
                for column in range(first, end):
                    counts[c, block, row * tiles_x + column] += 1


@kernel
def place_pairs(counts, tile_starts, block_starts):
    """Turns counts [C, blocks, tiles] into the first position of each (tile, block) in the list of pairs.

    Fills tile_starts [C * tiles + 1] and block_starts [C, blocks], each block's first slot. Returns how many pairs.
    """
    C, blocks, tiles = counts.shape
    total = 0
    for c in range(C):
        for block in range(blocks):
            block_starts[c, block] = total
            for tile in range(tiles):
                total += counts[c, block, tile]
    position = 0
    for c in range(C):
        for tile in range(tiles):
            tile_starts[c * tiles + tile] = position
            for block in range(blocks):
                count = counts[c, block, tile]
                counts[c, block, tile] = position
                position += count
    tile_starts[C * tiles] = position
    return position


@parallel_kernel
def list_pairs(records, order, visible, tiles_x, tiles_y, positions, block_starts, pairs, slots, slot_starts):
    """Writes pairs [I]: the Gaussian of each (tile, Gaussian) pair, tile by tile, nearest first. Uses up positions.

    With slots [I] not empty also writes, Gaussian by Gaussian, where its pairs stand, from slot_starts[c, n, 0] to
    slot_starts[c, n, 1].
    """
    C, blocks, _ = positions.shape
    for index in prange(C * blocks):
        c = index // blocks
        block = index - c * blocks
        slot = block_starts[c, block]
        for i in range(block * BLOCK, min((block + 1) * BLOCK, visible[c])):
            n = order[c, i]
            record = records[c, n]
            if slots.size:
                slot_starts[c, n, 0] = slot
            first_row, end_row = _tile_rows(record, tiles_y)
            for row in range(first_row, end_row):
                first, end = _tile_columns(record, row, tiles_x)
                for column in range(first, end):
                    tile = row * tiles_x + column
                    position = positions[c, block, tile]
                    positions[c, block, tile] = position + 1
                    pairs[position] = n
                    if slots.size:
                        slots[slot] = position
                        slot += 1
            if slots.size:
                slot_starts[c, n, 1] = slot

# SPDX-License-Identifier: GPL-3.0-or-later
"""How compositing Gaussians begins: ellipses in the picture, and per tile a list of them, nearest first."""

from dataclasses import dataclass

import numpy as np

from engine.render.splat_projection import RECORD, project
from engine.render.splat_tiles import BLOCK, TILE, count_pairs, list_pairs, place_pairs, sort_by_depth

Array = np.ndarray


@dataclass(frozen=True)
class TileLists:
    """C views of N Gaussians, cut in tiles of 16 x 16 pixels; I pairs of a tile and a Gaussian that touches it."""

    records: Array  # [C, N, RECORD] float32
    camera_depths: Array  # [C, N] float32: camera z, infinity where culled
    tiles_x: int
    tiles_y: int
    tile_starts: Array  # [C * tiles + 1]
    pairs: Array  # [I] Gaussian of each pair, tile by tile, nearest first
    slots: Array  # [I] the pairs of each Gaussian (empty unless asked for)
    slot_starts: Array  # [C, N, 2]


def tile_lists(
    means: Array,  # [N, 3]
    quats: Array,  # [N, 4] wxyz, any non-zero length
    scales: Array,  # [N, 3] standard deviations
    opacities: Array,  # [N] in [0, 1]
    colors: Array,  # [N, 3]
    viewmats: Array,  # [C, 4, 4] float64
    Ks: Array,  # [C, 3, 3] float64
    width: int,
    height: int,
    with_slots: bool = False,
) -> TileLists:
    """Projects and lists. Arrays are C-contiguous and float32 where not said otherwise; one thread at a time."""
    C, N = len(viewmats), len(means)
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    blocks = -(-N // BLOCK)
    records = np.empty((C, N, RECORD), np.float32)
    camera_depths = np.empty((C, N), np.float32)
    project(means, quats, scales, opacities, colors, viewmats, Ks, width, height, records, camera_depths)
    order, visible = np.empty((C, N), np.int32), np.empty(C, np.int64)
    sort_by_depth(camera_depths.view(np.uint32), order, visible)
    counts = np.empty((C, blocks, tiles_x * tiles_y), np.int64)
    count_pairs(records, order, visible, tiles_x, tiles_y, counts)
    tile_starts, block_starts = np.empty(C * tiles_x * tiles_y + 1, np.int64), np.empty((C, blocks), np.int64)
    total = place_pairs(counts, tile_starts, block_starts)
    pairs, slots = np.empty(total, np.int32), np.empty(total if with_slots else 0, np.int32)
    slot_starts = np.empty((C, N, 2) if with_slots else (0, 0, 2), np.int64)
    list_pairs(records, order, visible, tiles_x, tiles_y, counts, block_starts, pairs, slots, slot_starts)
    return TileLists(records, camera_depths, tiles_x, tiles_y, tile_starts, pairs, slots, slot_starts)

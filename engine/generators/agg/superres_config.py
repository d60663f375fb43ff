# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes of AGG's Gaussian super-resolution, apart from its network so that nothing here needs torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SuperResConfig:
    """The point-voxel U-Net over the coarse Gaussians and what expands its features. The factor is AggConfig's."""

    width: int = 64  # features of a Gaussian, coarse or child; `heads` of them attend to the picture
    channels: tuple[int, ...] = (32, 64, 96)  # of the U-Net's levels
    grid: int = 16  # cells along an edge of the first level's grid; each further level has half
    heads: int = 4
    reach: float = 3.0  # farthest a child moves from where it starts, in standard deviations of its parent


SUPERRES_PRESETS: dict[str, SuperResConfig] = {
    "xs": SuperResConfig(),
    "s": SuperResConfig(width=96, channels=(32, 64, 128), grid=24),
    "m": SuperResConfig(width=128, channels=(32, 64, 128), grid=32, heads=8),
    "paper": SuperResConfig(width=256, channels=(32, 64, 128, 256), grid=32, heads=8),
}
"""By the names of AggConfig's presets. `paper`: 32, 64 and 128 channels at 32, 16 and 8 cells are PVCNN's own."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""Paints the texture: the colour field at each texel, and on top of it what cameras see."""

from dataclasses import replace

import numpy as np

from engine.errors import OptionError
from engine.fields.gaussians import Gaussians
from engine.surface.mesh import Mesh
from engine.texture.field_colors import colors_at
from engine.texture.pad import pad
from engine.texture.project import lay, splat_views
from engine.texture.texels import texels_of

Array = np.ndarray

SMALLEST, LARGEST = 64, 8192

FIELD_WEIGHT = 0.05
"""Weight of the colour field beside the views' cos^4: it decides only where no view sees well."""

VIEW_SIZE = 512
"""Longer side of a view in pixels. 384 and 768 gave the same textures within 0.1 dB, for any size of texture."""


def bake(mesh: Mesh, gaussians: Gaussians, size: int = 1024, views: int = 0) -> Mesh:
    """`mesh` (with uvs) with a texture [size, size, 3] uint8 sRGB, filled beyond the charts.

    `views` renders of the Gaussians from all around are laid over the colour field: sharper where Gaussians are large
    and lie in many layers, as in captures.
    Raises `OptionError` for a size out of range.
    """
    if not SMALLEST <= size <= LARGEST:
        raise OptionError(f"Found a texture size of {size}, expected {SMALLEST} to {LARGEST} pixels.", "Try 1024.")
    texels = texels_of(mesh, size)
    colors, _ = colors_at(texels.points, gaussians)
    if views:
        sums = np.zeros((len(texels), 4), np.float32)
        for view in splat_views(mesh, gaussians, views, VIEW_SIZE):
            lay(view, texels.points, texels.normals, sums)
        colors = (FIELD_WEIGHT * colors + sums[:, :3]) / (FIELD_WEIGHT + sums[:, 3:])
    texture = np.zeros((size * size, 3), np.uint8)
    texture[texels.index] = np.rint(255 * colors.clip(0, 1)).astype(np.uint8)
    return replace(mesh, texture=pad(texture.reshape(size, size, 3), texels.covered()))

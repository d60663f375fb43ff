# SPDX-License-Identifier: GPL-3.0-or-later
"""Paints the texture in layers: the colour field at each texel, rendered views of the splats, the source photograph;
what nobody saw is filled from the surface around it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from engine.errors import OptionError
from engine.fields.cameras import Photograph
from engine.fields.gaussians import Gaussians, averaged_colors
from engine.surface.mesh import Mesh
from engine.texture.field_colors import colors_at
from engine.texture.fill import fill
from engine.texture.pad import pad
from engine.texture.photograph import lay_photograph, photograph_view
from engine.texture.project import lay, splat_views
from engine.texture.symmetry import Mirror, find_mirror
from engine.texture.texels import Texels, texels_of

Array = np.ndarray

SMALLEST, LARGEST = 64, 8192

FIELD_WEIGHT, DISAGREEMENT = 2.0, 0.05
"""Weight of the colour field beside the sum of the views' cos^4, about 1.5 for twelve, and the difference of colour at
which it has fallen to a half. On clean single layers the field is sharper; in captures, of many layers, it differs from
what is seen. (A constant weight was 0.1 dB worse on statues or 0.4 dB on the sets of one layer.)"""

VIEW_SIZE = 512
"""Longer side of a view in pixels. 384 and 768 gave the same textures within 0.1 dB, for any size of texture."""

SUPPORT = 0.1
"""Share of the usual sum of weights below which the field says nothing about a texel."""

SEEN = 0.1
"""Sum of the views' cos^4 from which a texel counts as seen."""

MIRROR_DISTANCE = 0.01
"""How far from a texel's mirror image another may lie to lend its colour, as a part of the diagonal."""


def bake(
    mesh: Mesh,
    gaussians: Gaussians,
    size: int = 1024,
    views: int = 0,
    photograph: Photograph | None = None,
    symmetry: bool = False,
    check: Callable[[], None] | None = None,
) -> Mesh:
    """`mesh` (with uvs) with a texture [size, size, 3] uint8 sRGB, filled beyond the charts.

    `views` renders of the Gaussians from all around are laid over the colour field: sharper where Gaussians are large
    and lie in many layers, as in captures. Over them lies the `photograph`, where there is one. With `symmetry`, an
    object that is measured to be symmetric shows on the far side the mirror image of what the near side has.
    `check` is called between views and may raise `Cancelled`.
    Raises `OptionError` for a size out of range.
    """
    if not SMALLEST <= size <= LARGEST:
        raise OptionError(f"Found a texture size of {size}, expected {SMALLEST} to {LARGEST} pixels.", "Try 1024.")
    texels = texels_of(mesh, size)
    if not len(texels):  # faces without area in the texture
        mean = np.rint(255 * gaussians.colors.mean(0)).astype(np.uint8)
        return replace(mesh, texture=np.tile(mean, (size, size, 1)))
    colors, support = colors_at(texels.points, _from_outside(gaussians, texels))
    seen = np.minimum(support / max(SUPPORT * float(np.median(support)), 1e-30), 1)
    if views:
        sums = np.zeros((len(texels), 4), np.float32)
        for view in splat_views(mesh, gaussians, views, VIEW_SIZE):
            lay(view, texels.points, texels.normals, sums)
            if check:
                check()
        colors, seen = _seen_over(colors, seen, sums)
    mirror = find_mirror(mesh) if symmetry else None
    if mirror is not None:
        colors, seen = _mirrored(mesh, texels, colors, seen, mirror)
    colors = fill(mesh, texels, colors, seen)
    view = photograph_view(mesh, photograph, _texel_side(mesh, texels)) if photograph else None
    if view is not None:
        if mirror is not None:
            colors = lay_photograph(view, texels, colors, mirror)
        colors = lay_photograph(view, texels, colors)
    texture = np.zeros((size * size, 3), np.uint8)
    texture[texels.index] = np.rint(255 * colors.clip(0, 1)).astype(np.uint8)
    return replace(mesh, texture=pad(texture.reshape(size, size, 3), texels.covered()))


def _seen_over(colors: Array, seen: Array, sums: Array) -> tuple[Array, Array]:
    """What views saw (`sums` [P, 4] of weight times colour, weight) over the field's `colors` [P, 3]; how well each
    texel is known then."""
    total = sums[:, 3:]
    apart = ((colors - sums[:, :3] / np.maximum(total, 1e-6)) ** 2).sum(1, keepdims=True)
    weight = FIELD_WEIGHT * seen[:, None] / (1 + apart / DISAGREEMENT**2) + 1e-6
    blended = (weight * colors + sums[:, :3]) / (weight + total)
    return blended, np.minimum(seen + total[:, 0] / SEEN, 1)


def _from_outside(gaussians: Gaussians, texels: Texels) -> Gaussians:
    """The Gaussians with the mean of the colours they show to cameras before the surface, where these differ."""
    if gaussians.sh is None:
        return gaussians
    few = slice(None, None, max(1, len(texels) // 50_000))
    nearest = np.asarray(KDTree(texels.points[few]).query(gaussians.means, workers=-1)[1])
    return replace(gaussians, colors=averaged_colors(gaussians, texels.normals[few][nearest]), sh=None)


def _mirrored(mesh: Mesh, texels: Texels, colors: Array, seen: Array, mirror: Mirror) -> tuple[Array, Array]:
    """Colours and how well they were seen, those of badly seen texels taken from well seen ones across the plane."""
    bad, good = np.flatnonzero(seen < 1), np.flatnonzero(seen >= 1)
    if not len(bad) or not len(good):
        return colors, seen
    good = good[:: max(1, len(good) // 200_000)]
    low, high = mesh.bounds()
    limit = MIRROR_DISTANCE * float(np.linalg.norm(high - low))
    images = mirror.points(texels.points[bad])
    found = np.asarray(KDTree(texels.points[good]).query(images, distance_upper_bound=limit, workers=-1)[1])
    close = found < len(good)  # the tree's way to say that there is none
    source = good[found[close]]
    bad = bad[close]
    alike = np.einsum("pi,pi->p", mirror.directions(texels.normals[bad]), texels.normals[source]) > 0.5
    bad, source = bad[alike], source[alike]
    colors, seen, part = colors.copy(), seen.copy(), seen[bad, None]
    colors[bad] = part * colors[bad] + (1 - part) * colors[source]
    seen[bad] = 1
    return colors, seen


def _texel_side(mesh: Mesh, texels: Texels) -> float:
    """Side of a texel on the surface, in object units."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
    return float(np.sqrt(area / max(len(texels), 1)))

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mesh should look like: views of the Gaussians from all around, and the photograph.

Gaussians say less about an object's outline than their pictures seem to: flat ones stick out beyond it by their size
along the surface (measured on sets with known surface: alpha 1/2 lies 0.45 to 0.75 % of the object's side outside the
true outline). So a view of Gaussians gives bounds: nothing where they are clear, solid where they are opaque for one
standard deviation around, either in between. The photograph's outline is taken as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import minimum_filter

from engine.fields.cameras import Cameras, Photograph, look_at
from engine.fields.gaussians import Gaussians, view_colors
from engine.render.mesh_cpu import NEAR, rasterize
from engine.render.splat_cpu import render
from engine.render.splat_depth import depth_views
from engine.surface.mesh import Mesh
from engine.surface.visibility import spread_directions
from engine.texture.photograph import shrunk
from engine.texture.project import DISTANCE, window_of

Array = np.ndarray

MARGIN = 8
"""Pixels around the mesh in a view."""

CLEAR, SOLID = 0.25, 0.95
"""Alpha of Gaussians below which a pixel may be empty, and from which its colour and depth are theirs."""

SPREAD = 0.01
"""Standard deviation of the depth of a pixel's light, as a part of the object's side, above which it has no depth."""

EXACT = 0.002
"""Such a deviation, as a part of the object's side, halves the weight of a depth."""

ROUND, THICKEST, LOOSE = 0.5, 3.0, 0.5
"""Smallest over middle deviation from which Gaussians count as round; deviations their surface may lie outside; and the
part of one to which that of flat ones is known."""

FACING = 4
"""Power of the cosine between ray and normal by which colour and depth count. At a slant both err: flat
Gaussians seem 0.01 % of the object's side before the true surface where seen from straight above, and 1 % of it beyond
78 degrees."""

BESIDE = 2
"""Pixels beside an edge of the depth whose colours count as little as if they were seen as steeply as the edge."""

SLANT = 0.02
"""The photograph's colours count fully up to a slant of about 60 degrees, and half where the weight above is this."""

SHARED = 0.5
"""Alpha of the photograph from which a pixel's colour is the object's."""


@dataclass(frozen=True)
class Target:
    """One picture to agree with."""

    viewmat: Array  # [4, 4]
    K: Array  # [3, 3]
    colors: Array  # [H, W, 3] float32 sRGB, straight
    color_weights: Array  # [H, W] float32
    least: Array  # [H, W] float32, alpha that the mesh should have at least
    most: Array  # [H, W] float32, and at most
    depths: Array  # [H, W] float32 camera z, 0 where unknown
    depth_weights: Array  # [H, W] float32
    cosines: Array  # [H, W] float32, between ray and normal of the depths, 0 where unknown
    pixels: float  # about as many as the object covers: errors are per pixel

    @property
    def width(self) -> int:
        return self.least.shape[1]

    @property
    def height(self) -> int:
        return self.least.shape[0]


def splat_targets(
    mesh: Mesh,
    gaussians: Gaussians,
    count: int,
    size: int,
    turn: float = 0.0,
    check: Callable[[float], None] | None = None,
) -> list[Target]:
    """`count` views of the Gaussians from directions spread evenly over the sphere, `size` pixels on the longer side.

    Other values of `turn` give directions between those of 0. `check` is called before each view with the fraction
    done, and may raise.
    """
    low, high = mesh.bounds()
    center, diagonal, side = (low + high) / 2, float(np.linalg.norm(high - low)), float((high - low).max())
    width = float(np.median(np.sort(gaussians.scales, axis=1)[:, 1]))
    targets = []
    for direction in spread_directions(count, turn):
        if check:
            check(len(targets) / count)
        eye = (center + DISTANCE * diagonal * direction).astype(np.float32)
        viewmat = look_at(eye, center)
        K, columns, rows = window_of(mesh, viewmat, size, MARGIN)
        shown = replace(gaussians, colors=view_colors(gaussians, gaussians.means - eye), sh=None)
        seen = render(shown, viewmat, K, columns, rows)
        deep = depth_views(gaussians, Cameras(viewmat[None], K[None], columns, rows))
        solid = seen.alphas >= SOLID
        reach = int(np.ceil(width * K[0, 0] / (DISTANCE * diagonal)))
        sure = minimum_filter(solid, 2 * reach + 1, mode="nearest")
        known = solid & (deep.deviations[0] <= SPREAD * side)
        cosines = _facing(np.where(known, deep.depths[0], 0), K)
        facing = cosines**FACING
        exact = facing / (1 + (deep.deviations[0] / (EXACT * side)) ** 2)
        targets.append(Target(
            viewmat.astype(np.float64), K,
            np.ascontiguousarray(seen.colors / np.maximum(seen.alphas, 1e-3)[..., None]),
            _colored(cosines, solid), sure.astype(np.float32),
            np.clip(seen.alphas / CLEAR, 0, 1).astype(np.float32),
            np.where(facing > 0, deep.depths[0], 0).astype(np.float32), exact.astype(np.float32),
            cosines.astype(np.float32), float(max(facing.sum(), 1)),
        ))  # fmt: skip
    return targets


def heights(gaussians: Gaussians) -> tuple[float, float]:
    """How far above the Gaussians' depth their surface may lie, least and most, in object units.

    Pictures tell it to about `LOOSE` standard deviations. Round ones have no plane, and where their surface lies was
    decided by their outline: up to `THICKEST` deviations before their middles (as in `surface.density_surface`).
    """
    ordered = np.sort(gaussians.scales, axis=1)
    deviation = float(np.median(ordered[:, 0]))
    is_round = np.median(ordered[:, 0] / ordered[:, 1]) > ROUND
    return -LOOSE * deviation, (THICKEST if is_round else LOOSE) * deviation


def lifted(target: Target, height: float) -> Target:
    """`target` with a surface that lies `height`, in object units, before the one it has."""
    heights = np.where(target.cosines > 0, height / np.maximum(target.cosines, 1e-3), 0)
    return replace(target, depths=(target.depths - heights).astype(np.float32))


def _facing(depths: Array, K: Array) -> Array:
    """Cosine [H, W] of the angle between the ray and the normal of a depth map's surface; 0 where it cannot be told."""
    padded = np.pad(depths, 1)
    right, left, below, above = padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]
    known = (depths > 0) & (right > 0) & (left > 0) & (below > 0) & (above > 0)
    nearness = K[0, 0] / np.where(known, depths, np.inf)
    slopes = ((right - left) / 2 * nearness) ** 2 + ((below - above) / 2 * nearness) ** 2
    return np.where(known, 1 / np.sqrt(1 + slopes), 0)


def _colored(cosines: Array, known: Array) -> Array:
    """How much the colour of each pixel counts, [H, W] float32."""
    return (known * minimum_filter(cosines, 2 * BESIDE + 1) ** FACING).astype(np.float32)


def photograph_target(mesh: Mesh, photograph: Photograph, size: int) -> Target | None:
    """The part of the photograph that shows the mesh, reduced to at most about `size` pixels on the longer side.

    None where it shows nothing of the mesh, or its camera stands inside.
    """
    camera = mesh.vertices @ photograph.viewmat[:3, :3].T + photograph.viewmat[:3, 3]
    if camera[:, 2].min() <= NEAR:
        return None
    spots = camera[:, :2] / camera[:, 2:] * [photograph.K[0, 0], photograph.K[1, 1]] + photograph.K[:2, 2]
    low, high = spots.min(0), spots.max(0)
    step = max(1, int(np.ceil((high - low).max() / size)))
    rgba = shrunk(photograph.rgba, step)
    first = np.maximum(np.floor(low / step).astype(int) - MARGIN, 0)
    last = np.minimum(np.ceil(high / step).astype(int) + MARGIN, rgba.shape[1::-1])
    if (last - first < 2).any():
        return None
    rgba = rgba[first[1] : last[1], first[0] : last[0]]
    K = np.diag([1 / step, 1 / step, 1.0]) @ photograph.K
    K[:2, 2] -= first
    alphas = np.ascontiguousarray(rgba[..., 3])
    if not (alphas >= SHARED).any():
        return None
    height, width = alphas.shape
    depths = rasterize(mesh.vertices, mesh.faces, photograph.viewmat, K, width, height).depths
    trust = _colored(_facing(depths, K), alphas >= SHARED)
    return Target(
        np.asarray(photograph.viewmat, np.float64), K, np.ascontiguousarray(rgba[..., :3]),
        trust / (trust + np.float32(SLANT)), alphas, alphas, np.zeros_like(alphas), np.zeros_like(alphas),
        np.zeros_like(alphas), float((alphas >= SHARED).sum()),
    )  # fmt: skip

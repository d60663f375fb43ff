# SPDX-License-Identifier: GPL-3.0-or-later
"""The silhouettes of Gaussians and of a surface from 24 directions, and the level at which they agree best.

From far away a silhouette and that from behind are mirror images: twelve directions say what 24 see.
"""

from dataclasses import dataclass

import numpy as np

from engine.fields.gaussians import Gaussians
from engine.jit import kernel, parallel_kernel, prange
from engine.surface.density import CHUNK, REACH, SLAB, fast_exp, slabs

Array = np.ndarray

DIRECTIONS = 12
"""Directions looked from, of no two opposite ones."""

MOST_PIXELS = 128
"""Side of the pictures in which silhouettes are compared; on coarse grids a pixel covers two voxels."""


@dataclass(frozen=True)
class Frame:
    """A picture seen from far away: the pixel of a point x is `turn @ (x - center) * scale + pixels / 2`."""

    turn: Array  # [2, 3] the picture's axes
    center: Array  # [3]
    scale: float  # pixels per object unit
    pixels: int


def frames_around(origin: Array, voxel: float, shape: tuple[int, ...]) -> list[Frame]:
    """Pictures of a grid from directions spread evenly over half of the sphere (a Fibonacci lattice)."""
    extent = voxel * (np.array(shape) - 1)
    side = float(np.linalg.norm(extent))
    pixels = int(np.clip(side / voxel / 2, CHUNK, MOST_PIXELS))
    frames = []
    for k in range(DIRECTIONS):
        z = (k + 0.5) / DIRECTIONS
        angle = k * np.pi * (3 - np.sqrt(5))
        r = np.sqrt(1 - z * z)
        toward = np.array([r * np.cos(angle), r * np.sin(angle), z])
        first = np.cross(toward, [0.0, 0.0, 1.0])
        first /= np.linalg.norm(first)
        frames.append(Frame(np.stack([first, np.cross(toward, first)]), origin + extent / 2, pixels / side, pixels))
    return frames


def choose_level(values: Array, origin: Array, voxel: float, gaussians: Gaussians, most: float) -> float:
    """The level in [0, `most`] at which the silhouettes of `values` < level agree best with those of the Gaussians.

    `values` [X, Y, Z] are signed distances in object units. The Gaussians cover the pixels where their composited
    opacity exceeds one half, the surface at a level those on whose ray a distance is below it. Both are known for
    every pixel, so one sort of the pixels gives the intersection over union of all levels at once.
    """
    frames = frames_around(origin, voxel, values.shape)
    lowest = np.concatenate([lowest_on_rays(values, origin, voxel, frame, most).ravel() for frame in frames])
    covered = np.concatenate([silhouette(gaussians, frame).ravel() > 0.5 for frame in frames])
    order = np.argsort(lowest, kind="stable")
    hits, area = np.cumsum(covered[order]), np.arange(1, len(order) + 1)
    overlap = hits / (area + covered.sum() - hits)
    first = int(np.searchsorted(lowest[order], 0.0))
    last = int(np.searchsorted(lowest[order], most, "right"))
    if first >= last:
        return 0.0
    return float(lowest[order[first + int(np.argmax(overlap[first:last]))]])


def lowest_on_rays(values: Array, origin: Array, voxel: float, frame: Frame, most: float) -> Array:
    """The lowest of the distances `values` on the ray of each pixel, [pixels, pixels], where it is in [0, `most`].

    Less than 0 is any number below it, more than `most` any number above it: as distances, values say how far one may
    step along a ray (Hart 1996).
    """
    picture = np.empty((frame.pixels, frame.pixels), np.float32)
    toward = np.cross(frame.turn[0], frame.turn[1])
    half = 0.5 * float(np.linalg.norm(voxel * np.array(values.shape)))
    corner = frame.center - origin - (frame.turn.T @ np.full(2, frame.pixels / 2)) / frame.scale - half * toward
    _march(
        values, corner / voxel, frame.turn / (frame.scale * voxel), toward / voxel, 2 * half, np.float32(most), voxel,
        picture,
    )  # fmt: skip
    return picture


def silhouette(gaussians: Gaussians, frame: Frame) -> Array:
    """Opacity composited from far away, a = 1 - prod_i (1 - o_i exp(-q_i / 2)), [pixels, pixels] float32.

    q_i is measured with the marginal covariance, as rasterisers of Gaussians do (Zwicker et al. 2001), and half a pixel
    of deviation more. The product does not depend on the order of depth.
    """
    scaled = np.einsum("ki,nij,nj->nkj", frame.turn * frame.scale, gaussians.rotations(), gaussians.scales)
    covariances = scaled @ scaled.transpose(0, 2, 1) + 0.25 * np.eye(2)
    factors = np.linalg.cholesky(covariances).astype(np.float32)
    centers = ((gaussians.means - frame.center) @ frame.turn.T * frame.scale + frame.pixels / 2).astype(np.float32)
    transmittance = np.ones((frame.pixels, frame.pixels), np.float32)
    starts, members = slabs(centers[:, 0], REACH * np.sqrt(covariances[:, 0, 0]), frame.pixels)
    _composite(np.ascontiguousarray(centers), factors, gaussians.opacities, starts, members, transmittance)
    return 1 - transmittance


@kernel
def _between(values, x, y, z):
    """The value between samples, linear along each axis; infinity beside the grid."""
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    if i < 0 or j < 0 or k < 0 or i + 1 >= values.shape[0] or j + 1 >= values.shape[1] or k + 1 >= values.shape[2]:
        return np.inf
    x, y, z = x - i, y - j, z - k
    front = (1 - z) * values[i, j, k] + z * values[i, j, k + 1]
    lower = (1 - y) * front + y * ((1 - z) * values[i, j + 1, k] + z * values[i, j + 1, k + 1])
    front = (1 - z) * values[i + 1, j, k] + z * values[i + 1, j, k + 1]
    upper = (1 - y) * front + y * ((1 - z) * values[i + 1, j + 1, k] + z * values[i + 1, j + 1, k + 1])
    return (1 - x) * lower + x * upper


@parallel_kernel
def _march(values, corner, turn, toward, length, most, voxel, picture):
    """Walks along the rays; `corner`, `turn` and `toward` are in voxels, lengths in object units."""
    for row in prange(picture.shape[0]):
        for column in range(picture.shape[1]):
            start = corner + turn[0] * row + turn[1] * column
            lowest, t = np.float32(np.inf), 0.0
            while t < length and lowest >= 0:
                value = _between(
                    values, start[0] + t * toward[0], start[1] + t * toward[1], start[2] + t * toward[2]
                )  # fmt: skip
                if value == np.inf:
                    t += voxel
                    continue
                lowest = min(lowest, np.float32(value))
                t += max(value - min(lowest, most), 0.5 * voxel)
            picture[row, column] = lowest


@parallel_kernel
def _composite(centers, factors, opacities, starts, members, transmittance):
    """Product of 1 - a_i per pixel; alpha does not depend on the order of depth."""
    rows, columns = transmittance.shape
    limit = np.float32(REACH * REACH)
    for slab in prange(len(starts) - 1):
        for member in range(starts[slab], starts[slab + 1]):
            i = members[member]
            l00, l10, l11, opacity = factors[i, 0, 0], factors[i, 1, 0], factors[i, 1, 1], opacities[i]
            step = np.float32(1) / l11
            x0 = max(slab * SLAB, int(np.ceil(centers[i, 0] - np.float32(REACH) * l00)))
            x1 = min(min(slab * SLAB + SLAB, rows) - 1, int(np.floor(centers[i, 0] + np.float32(REACH) * l00)))
            for x in range(x0, x1 + 1):
                u = (np.float32(x) - centers[i, 0]) / l00
                rest = limit - u * u
                if rest < 0:
                    continue
                y_center = centers[i, 1] + l10 * u
                y_reach = l11 * np.sqrt(rest)
                y0 = max(0, int(np.ceil(y_center - y_reach)))
                y1 = min(columns - 1, int(np.floor(y_center + y_reach)))
                outer = np.float32(-0.5) * u * u
                for start in range(y0, y1 + 1, CHUNK):
                    base = min(start, columns - CHUNK)
                    first, last = np.int32(start - base), np.int32(y1 - base)
                    v0 = (np.float32(base) - y_center) * step
                    row = transmittance[x, base : base + CHUNK]
                    for k in range(CHUNK):
                        v = v0 + np.float32(k) * step
                        alpha = opacity * fast_exp(outer - np.float32(0.5) * v * v)
                        row[k] *= np.float32(1) - (
                            alpha if np.int32(k) >= first and np.int32(k) <= last else np.float32(0)
                        )

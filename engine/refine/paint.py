# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a texture that may change, and how."""

import numpy as np

from engine.fields.cameras import Photograph
from engine.jit import parallel_kernel, prange
from engine.surface.mesh import Mesh
from engine.texture.pad import pad
from engine.texture.photograph import lay_photograph, photograph_view
from engine.texture.texels import texels_of

Array = np.ndarray

DAMPING = 0.2
"""Added to a texel's weight over the pixels: a texel that a pixel just touches follows it less."""


class Paint:
    """A texture and what changes of it, in texels of `step` x `step` of the texture's."""

    def __init__(self, mesh: Mesh, pixels: float) -> None:
        """`pixels`: as many as a view has of the object. About a third of the texels are seen in one."""
        assert mesh.texture is not None
        assert mesh.uvs is not None
        size = mesh.texture.shape[0]
        a, b, c = (mesh.uvs[mesh.faces[:, k]] for k in range(3))
        area = float(np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() / 2)
        self.step = 1
        while area * (size / self.step) ** 2 / 3 > pixels and size % (2 * self.step) == 0 and size >= 128 * self.step:
            self.step *= 2
        self.small = self.shrunk(mesh.texture)
        self.correction = np.zeros_like(self.small)
        self.sums, self.weights = np.zeros_like(self.small), np.zeros(self.small.shape[:2], np.float32)

    def shrunk(self, texture: Array) -> Array:
        """`texture` [T, T, 3] uint8 averaged over blocks, float32 in [0, 1]."""
        small = np.empty((texture.shape[0] // self.step,) * 2 + (3,), np.float32)
        _shrink(texture, self.step, small)
        return small

    def now(self) -> Array:
        return np.clip(self.small + self.correction, 0, 1)

    def take(self, rate: float) -> None:
        """A step against the gradients gathered, each texel's divided by its weight; forgets them."""
        _take(self.correction, self.sums, self.weights, np.float32(rate))

    def finished(self, mesh: Mesh) -> Array:
        """The whole texture, [T, T, 3] uint8, filled beyond the charts."""
        assert mesh.texture is not None
        size = mesh.texture.shape[0]
        correction = pad(self.correction, texels_of(mesh, size // self.step).covered())
        texture = np.empty_like(mesh.texture)
        _add(mesh.texture, np.ascontiguousarray(correction, np.float32), self.step, texture)
        return pad(texture, texels_of(mesh, size).covered())


def relaid(mesh: Mesh, photograph: Photograph) -> Array:
    """The texture with the photograph laid over it anew, for a mesh whose shape has changed, [T, T, 3] uint8."""
    assert mesh.texture is not None
    size = mesh.texture.shape[0]
    texels = texels_of(mesh, size)
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
    view = photograph_view(mesh, photograph, float(np.sqrt(area / max(len(texels), 1))))
    if view is None:
        return mesh.texture
    texture = mesh.texture.reshape(-1, 3).copy()
    colors = lay_photograph(view, texels, texture[texels.index] / np.float32(255))
    texture[texels.index] = np.rint(255 * colors.clip(0, 1)).astype(np.uint8)
    return pad(texture.reshape(size, size, 3), texels.covered())


@parallel_kernel
def _shrink(texture, step, small):
    scale = np.float32(1 / (255 * step * step))
    for row in prange(small.shape[0]):
        for column in range(small.shape[1]):
            for channel in range(3):
                total = np.int64(0)
                for y in range(row * step, row * step + step):
                    for x in range(column * step, column * step + step):
                        total += texture[y, x, channel]
                small[row, column, channel] = scale * np.float32(total)


@parallel_kernel
def _take(correction, sums, weights, rate):
    for row in prange(weights.shape[0]):
        for column in range(weights.shape[1]):
            weight = weights[row, column]
            if weight > 0:
                scale = rate / (weight + np.float32(DAMPING))
                for channel in range(3):
                    correction[row, column, channel] -= scale * sums[row, column, channel]
                    sums[row, column, channel] = 0
                weights[row, column] = 0


@parallel_kernel
def _add(texture, correction, step, out):
    """`texture` uint8 plus `correction`, bilinear between the middles of its blocks."""
    size, last = texture.shape[0], correction.shape[0] - 1
    for row in prange(size):
        y = min(max((row + np.float32(0.5)) / step - np.float32(0.5), np.float32(0)), np.float32(last))
        top = min(int(y), max(last - 1, 0))
        fy = y - top
        bottom = min(top + 1, last)
        for column in range(size):
            x = min(max((column + np.float32(0.5)) / step - np.float32(0.5), np.float32(0)), np.float32(last))
            left = min(int(x), max(last - 1, 0))
            fx = x - left
            right = min(left + 1, last)
            for channel in range(3):
                upper = (1 - fx) * correction[top, left, channel] + fx * correction[top, right, channel]
                lower = (1 - fx) * correction[bottom, left, channel] + fx * correction[bottom, right, channel]
                value = texture[row, column, channel] + np.float32(255) * ((1 - fy) * upper + fy * lower)
                out[row, column, channel] = np.uint8(min(max(np.rint(value), np.float32(0)), np.float32(255)))

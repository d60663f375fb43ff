# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of gradient on a mesh's vertices and texture, towards renders of the Gaussians and the photograph.

Every step looks at a few of the views. The vertices move as `shape` allows; the texture takes, view by view, for each
texel the mean of what its pixels differ by (simultaneous algebraic reconstruction, Andersen and Kak 1984: gradient
descent with the matrix's row and column sums for preconditioners). What changes of the texture is kept apart, about as
fine as a view's pixels: detail that the views do not show, such as the photograph's at full size, stays.

Other directions than those looked from, and the photograph, tell how good the mesh is, now and then. The best state
found is the result: never worse than the start, which is given back as it was where nothing better was found.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import OptionError
from engine.fields.cameras import Photograph
from engine.fields.gaussians import Gaussians
from engine.jit import parallel_kernel, prange
from engine.refine.loss import DEPTH, UNIT, compare
from engine.refine.shape import Shape, weld
from engine.refine.targets import Target, photograph_target, splat_targets
from engine.render.mesh_cpu import vertex_normals
from engine.render.mesh_gradients import MeshPicture, Surface, gradients, neighbouring_faces, render
from engine.surface.mesh import Mesh
from engine.texture.pad import pad
from engine.texture.texels import texels_of

Array = np.ndarray

VIEWS, CHECKS, SIZE = 24, 8, 384
"""Views of the Gaussians to learn from, further ones to measure with, and the longer side of each in pixels."""

BATCH = 2
"""Views per step."""

RATE = 0.0008
"""Length of the largest vertex's first steps, as a part of the object's longest side; it falls to a tenth."""

PAINT = 0.5
"""Part of a pixel's difference in colour that a texel takes over at first; it falls to a tenth."""

PHOTOGRAPH = 8.0
"""Weight of the photograph, in views."""

LOOKS = 8
"""How often the state is measured on the way."""

Report = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Backend:
    """What draws: everything else in this folder is the same on any machine."""

    splat_targets: Callable[..., list[Target]] = splat_targets
    render: Callable[..., MeshPicture] = render
    gradients: Callable[..., Array] = gradients


CPU = Backend()


@dataclass(frozen=True)
class Refined:
    """The mesh, and its error before and after: the mean loss (`loss`) over the views it was measured on."""

    mesh: Mesh
    before: float
    after: float


def refine(
    mesh: Mesh,
    gaussians: Gaussians,
    steps: int,
    photograph: Photograph | None = None,
    report: Report | None = None,
    backend: Backend = CPU,
) -> Refined:
    """`mesh` (with uvs and texture) after up to `steps` steps towards `gaussians`, in the same frame, and `photograph`.

    Faces, uvs and what is cut at seams stay. `report(stage, fraction, text)` may raise `Cancelled`. Raises
    `OptionError` for a mesh without texture.
    """
    if mesh.uvs is None or mesh.texture is None:
        raise OptionError("Found a mesh without texture, expected an unwrapped, painted one.", "Call bake first.")
    report = report or silent
    low, high = mesh.bounds()
    side = float((high - low).max())
    if steps < 1 or not len(gaussians) or side <= 0:
        return Refined(mesh, 0.0, 0.0)
    report("refine", 0.0, "Looking at the splats from all around")
    views = backend.splat_targets(mesh, gaussians, VIEWS, SIZE)
    report("refine", 0.1, "Looking at the splats from all around")
    checks = backend.splat_targets(mesh, gaussians, CHECKS, SIZE, 0.5)
    seen = photograph_target(mesh, photograph, SIZE) if photograph else None
    start = weld(mesh)
    surface = Surface(
        start.faces, np.ascontiguousarray(mesh.faces, np.int32), np.ascontiguousarray(mesh.uvs, np.float32),
        neighbouring_faces(start.faces),
    )  # fmt: skip
    paint = Paint(mesh, views[0].pixels)
    shape = Shape(start, _pull(backend, views, start.positions, surface, side))

    def error(positions: Array, texture: Array) -> float:
        losses = [look(backend, target, positions, surface, texture, side) for target in checks]
        if seen:
            losses.append(PHOTOGRAPH * look(backend, seen, positions, surface, texture, side))
        return sum(losses) / (len(checks) + (PHOTOGRAPH if seen else 0))

    before = best = error(shape.positions, paint.small)
    kept, pace = (shape.positions, paint.correction.copy()), 1.0
    queue: list[Target] = []
    random = np.random.default_rng(0)
    every = max(1, -(-steps // LOOKS))
    for step in range(steps):
        report("refine", 0.2 + 0.75 * step / steps, f"Fitting to the splats, step {step + 1} of {steps}")
        falling = pace * (0.1 + 0.9 * (0.5 + 0.5 * np.cos(np.pi * step / steps)))
        slope = np.zeros(shape.positions.shape)
        for _ in range(BATCH):
            if not queue:
                queue = [*views, *[seen] * round(PHOTOGRAPH)] if seen else [*views]
                random.shuffle(queue)  # pyright: ignore
            target = queue.pop()
            texture = paint.now()
            picture = backend.render(
                shape.positions, surface, texture, target.viewmat, target.K, target.width, target.height
            )
            by_pixels = compare(picture, target, side)[1:]
            slope += backend.gradients(
                picture, surface, texture, target.viewmat, target.K, *by_pixels, paint.sums, paint.weights
            )
            paint.take(PAINT * falling * target.pixels / 2)
        shape.step(slope, RATE * shape.side * falling)
        if (step + 1) % every == 0 or step + 1 == steps:
            found = error(shape.positions, paint.now())
            if found < best:
                best, kept = found, (shape.positions, paint.correction.copy())
            else:
                pace /= 2
                shape.reset(kept[0])
                paint.correction[:] = kept[1]
    report("refine", 0.95, "Keeping the best")
    positions, paint.correction = kept
    if best >= before:
        return Refined(mesh, before, before)
    texture = paint.finished(mesh)
    after = error(positions, paint.shrunk(texture))
    if not after < before:
        return Refined(mesh, before, before)
    normals = None if mesh.normals is None else vertex_normals(positions, start.faces)[start.index]
    return Refined(replace(mesh, vertices=positions[start.index], normals=normals, texture=texture), before, after)


def look(backend: Backend, target: Target, positions: Array, surface: Surface, texture: Array, side: float) -> float:
    """The loss of one view."""
    picture = backend.render(positions, surface, texture, target.viewmat, target.K, target.width, target.height)
    return compare(picture, target, side)[0]


def _pull(backend: Backend, views: list[Target], positions: Array, surface: Surface, side: float) -> Array:
    """Length of each vertex's gradient, [V], over the views of a step, where all depths are too large by far."""
    blank = np.zeros((2, 2, 3), np.float32)
    total = np.zeros(len(positions))
    for target in views:
        picture = backend.render(positions, surface, blank, target.viewmat, target.K, target.width, target.height)
        none = np.zeros_like(picture.alphas), target.depth_weights * (picture.depths > 0)
        pull = backend.gradients(
            picture, surface, blank, target.viewmat, target.K, np.zeros_like(picture.colors), *none, blank.copy(),
            np.zeros((2, 2), np.float32),
        )  # fmt: skip
        total += np.linalg.norm(pull, axis=1) / target.pixels
    return total * DEPTH / (UNIT * side) * BATCH / len(views)


def silent(stage: str, fraction: float, text: str) -> None:
    """A report to nobody."""


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
                scale = rate / (weight + np.float32(0.2))
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

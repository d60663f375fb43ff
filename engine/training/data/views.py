# SPDX-License-Identifier: GPL-3.0-or-later
"""One training example: a framed picture of an object, its depth layers, points of its surface, and other views of it.

Everything is in the view frame of `engine.generators.agg.anchors`: the object as the picture's camera sees it.
"""

from dataclasses import dataclass, replace

import numpy as np

from engine.fields.cameras import Cameras, intrinsics, look_at, orbit
from engine.render.mesh_cpu import Light, rasterize, render_mesh
from engine.surface.mesh import Mesh

Array = np.ndarray


@dataclass(frozen=True)
class ViewSettings:
    """How examples are drawn. Angles in degrees."""

    picture: int = 128  # pixels of the input picture's side
    layers: int = 64  # pixels of the depth layers' side
    target: int = 80  # pixels of the supervising views' side
    targets: int = 3  # supervising views beside the input view
    fill: float = 0.85  # longest side of the silhouette's box over the picture's side
    fill_jitter: float = 0.03
    fov: tuple[float, float] = (15.0, 60.0)
    elevation: tuple[float, float] = (-10.0, 50.0)  # mean 15, spread 13, cut to this range
    max_depth: float = 2.2  # objects deeper than this many half pictures are seen from elsewhere
    augment: bool = True


@dataclass(frozen=True)
class Example:
    """One object seen once. T = 1 + targets supervising views, the input view first."""

    picture: Array  # [S, S, 4] float32 RGBA, straight alpha
    layers: Array  # [2, L, L] float32: z of the nearest and the farthest surface, 0 where nothing
    mask: Array  # [L, L] bool: where the layers are known
    points: Array  # [P, 3] float32 on the visible surface
    targets: Array  # [T, H, W, 4] float32 RGBA, straight alpha
    depths: Array  # [T, H, W] float32 z from each camera, 0 where nothing is
    viewmats: Array  # [T, 4, 4]
    Ks: Array  # [T, 3, 3]
    tan_half_fov: float
    elevation: float  # radians


def view_frame_camera(tan_half_fov: float, size: int) -> tuple[Array, Array]:
    """viewmat [4, 4] and K [3, 3] of the input picture's camera in the view frame."""
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    viewmat[2, 3] = 1 / tan_half_fov
    focal = 0.5 * size / tan_half_fov
    return viewmat, np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], np.float32)


def view_frame(
    mesh: Mesh, azimuth_deg: float, elevation_deg: float, fov_deg: float, fill: float
) -> tuple[Array, Array, float]:
    """The similarity that brings `mesh` into the view frame of a camera that frames it.

    Returns (matrix [3, 3], shift [3], tan_half_fov): x_view = matrix @ x + shift. The camera stands where the object
    fits into `fov_deg`, looks at the middle of the silhouette's box, and is cropped so that the box's longest side
    takes `fill` of the picture.
    """
    vertices = mesh.vertices.astype(np.float64)
    radius = np.linalg.norm(vertices, axis=1).max()
    distance = 1.05 * radius / np.sin(np.radians(fov_deg) / 2)
    eye = orbit(np.array([azimuth_deg]), np.array([elevation_deg]), distance, fov_deg, 1, 1).centers()[0]

    def looking_at(target: Array) -> tuple[Array, Array, Array, Array]:
        viewmat = look_at(eye, target).astype(np.float64)
        camera = vertices @ viewmat[:3, :3].T + viewmat[:3, 3]
        projected = camera[:, :2] / camera[:, 2:]
        return viewmat, camera, projected.min(0), projected.max(0)

    target = np.zeros(3)
    for _ in range(3):
        viewmat, camera, low, high = looking_at(target)
        ray = viewmat[:3, :3].T @ np.array([*(low + high) / 2, 1.0])
        target = eye + ray / np.linalg.norm(ray) * distance
    viewmat, camera, low, high = looking_at(target)
    tan_half_fov = (high - low).max() / 2 / fill
    middle = (camera[:, 2].min() + camera[:, 2].max()) / 2
    scale = 1 / (middle * tan_half_fov)
    axes = np.diag([1.0, -1.0, -1.0]) * scale
    matrix = axes @ viewmat[:3, :3]
    shift = axes @ (viewmat[:3, 3] - [0, 0, middle])
    return matrix, shift, float(tan_half_fov)


def make_example(mesh: Mesh, points: Array, settings: ViewSettings, rng: np.random.Generator) -> Example:
    """Draws one example of an object in a pack's frame; `points` [P, 3] lie on its visible surface."""
    if settings.augment:
        bend = _random_shape(rng)
        low, high = (f(bend(mesh.vertices), axis=0) for f in (np.min, np.max))
        middle, size = (low + high) / 2, max(float((high - low).max()), 1e-6)
        mesh = replace(mesh, vertices=((bend(mesh.vertices) - middle) / size).astype(np.float32))
        points = (bend(points) - middle) / size
    for _ in range(6):
        elevation = random_elevation(settings, rng)
        fill = settings.fill + rng.uniform(-1, 1) * settings.fill_jitter
        matrix, shift, t = view_frame(mesh, rng.uniform(0, 360), elevation, rng.uniform(*settings.fov), fill)
        vertices = (mesh.vertices @ matrix.T + shift).astype(np.float32)
        if np.ptp(vertices[:, 2]) / 2 < settings.max_depth:
            break
    seen = replace(mesh, vertices=vertices, normals=None)
    light = _random_light(rng)
    viewmat, K = view_frame_camera(t, settings.picture)
    size = settings.picture
    rgba = render_mesh(seen, Cameras(viewmat[None], K[None], size, size), light)[0][0]
    cameras = target_cameras(vertices, viewmat, t, settings.target, settings.targets, rng)
    targets, depths = render_mesh(seen, cameras, light)
    if settings.augment:
        adjust = _random_colors(rng)
        rgba[..., :3], targets[..., :3] = adjust(rgba[..., :3]), adjust(targets[..., :3])
    layers, mask = depth_layers(seen, t, settings.layers)
    return Example(
        rgba,
        layers,
        mask,
        (points @ matrix.T + shift).astype(np.float32),
        targets,
        depths,
        cameras.viewmats,
        cameras.Ks,
        t,
        float(np.radians(elevation)),
    )


def depth_layers(mesh: Mesh, tan_half_fov: float, size: int) -> tuple[Array, Array]:
    """z of the nearest and farthest surface [2, size, size] in the view frame, and where there is one [size, size]."""
    viewmat, K = view_frame_camera(tan_half_fov, size)
    depths = [rasterize(mesh.vertices, mesh.faces, viewmat, K, size, size, far).depths for far in (False, True)]
    mask = depths[0] > 0
    return np.where(mask, 1 / tan_half_fov - np.stack(depths), np.float32(0)).astype(np.float32), mask


def target_cameras(
    vertices: Array, viewmat: Array, tan_half_fov: float, size: int, count: int, rng: np.random.Generator
) -> Cameras:
    """The input camera and `count` others all around, each with the object in frame, `size` pixels a side."""
    radius = float(np.linalg.norm(vertices, axis=1).max())
    viewmats, Ks = [viewmat], [view_frame_camera(tan_half_fov, size)[1]]
    for _ in range(count):
        fov = rng.uniform(30, 50)
        direction = rng.normal(size=3) * [1, 0.5, 1]
        direction /= np.linalg.norm(direction)
        eye = direction * radius / np.sin(np.radians(fov) / 2)
        viewmats.append(look_at(eye, np.zeros(3)))
        Ks.append(intrinsics(fov, size, size))
    return Cameras(np.stack(viewmats), np.stack(Ks), size, size)


def random_elevation(settings: ViewSettings, rng: np.random.Generator) -> float:
    """Degrees above the horizon as pictures are taken: mean 15, spread 13, within the settings' range."""
    return float(np.clip(rng.normal(15, 13), *settings.elevation))


def _random_light(rng: np.random.Generator) -> Light:
    """A light from above and the camera's side more often than from elsewhere."""
    direction = rng.normal(size=3) + np.array([0, 0.8, 0.8])
    return Light((direction / np.linalg.norm(direction)).astype(np.float32), ambient=rng.uniform(0.45, 1.0))


def _random_shape(rng: np.random.Generator):
    """A random change of proportions, at times a taper or a twist about y too, as one function of points [..., 3]."""
    stretch = np.exp(rng.normal(0, 0.2, 3)) if rng.random() < 0.6 else np.ones(3)
    stretch[0] *= rng.choice([-1, 1])  # mirrored
    taper = rng.uniform(-0.5, 0.5, 2) if rng.random() < 0.15 else np.zeros(2)
    twist = rng.normal(0, 0.5) if rng.random() < 0.1 else 0.0

    def bend(points: Array) -> Array:
        x, y, z = np.moveaxis(points * stretch, -1, 0)
        x, z = x * (1 + taper[0] * y), z * (1 + taper[1] * y)
        cos, sin = np.cos(twist * y), np.sin(twist * y)
        return np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)

    return bend


def _random_colors(rng: np.random.Generator):
    """A random change of gain, gamma, saturation and channel gains, as one function of colours [..., 3]."""
    gain, gamma, saturation = rng.uniform(0.8, 1.3), np.exp(rng.normal(0, 0.2)), rng.uniform(0.6, 1.3)
    channels = rng.uniform(0.9, 1.1, 3)
    shuffle = rng.permutation(3) if rng.random() < 0.3 else np.arange(3)

    def adjust(colors: Array) -> Array:
        colors = colors[..., shuffle]
        grey = colors.mean(-1, keepdims=True)
        colors = np.clip((grey + (colors - grey) * saturation) * gain * channels, 0, 1) ** gamma
        return colors.astype(np.float32)

    return adjust

# SPDX-License-Identifier: GPL-3.0-or-later
"""LGM's conversion of splats to a textured mesh (Tang et al. 2024, section 3.4), as far as it goes without CUDA.

LGM fits a hash-grid radiance field to renders of the splats, takes its surface, refines that with a differentiable
mesh rasteriser and fits a texture; all of it in compiled CUDA. Here, with the constants of the original where it has
them:

fit       density and colour on a dense grid instead of hash grids and small networks, coarse to fine, by Adam: each
          iteration sees `RAYS` pixels of a render of 128 x 128 from a random side (elevation -45 to 45 degrees, 1.5 to
          3 away), loss MSE(rgb) + 0.1 MSE(alpha); empty cells of a coarse grid are skipped; fewer than LGM's 512
          iterations
surface   marching cubes of 256^3 samples in [-1, 1] at density 10
clean     edges of 0.01, at most 50,000 faces
unwrap    xatlas on the whole mesh
bake      the field's colour per texel of 1024 x 1024, and where cameras within 15 degrees to the sides and 5 above and
          below the front see it, the mean of their pixels (what LGM's fit of the texture tends to)

Left out: the 2048 steps of moving vertices, whose gradient needs the differentiable rasteriser.
"""

from pathlib import Path

import numpy as np
import torch
from baselines import TEXTURE, Stages, cleaned, fill_around, put, seen_pixels, unwrapped
from skimage.measure import marching_cubes

from engine.fields.cameras import orbit
from engine.fields.gaussians import Gaussians
from engine.fields.splats import read_splats
from engine.render.splat_cpu import render
from engine.surface.mesh import Mesh
from engine.texture.texels import texels_of

Array = np.ndarray
Tensor = torch.Tensor

FOV_Y_DEG, PICTURE, RAYS = 49.1, 128, 4096
HALF = 0.6
"""The grid covers [-HALF, HALF]^3: the sets' longest side is 1."""

SIDES = (32, 64, 128)
"""Samples of the grid along a side; each size gets a third of the iterations."""

STEPS, RATE, SPARSITY, SMOOTH = 256, 0.2, 1e-4, 1e-3
OCCUPIED, OCCUPANCY_SIDE, OCCUPANCY_EVERY = 0.5, 64, 8
LEVEL, MARCHING_SIDE, EDGE, MOST_FACES = 10.0, 256, 0.01, 50_000
FRONT_AZIMUTHS, FRONT_ELEVATIONS, FRONT_SIZE = (-15.0, -7.5, 0.0, 7.5, 15.0), (-5.0, 0.0, 5.0), 512


def lgm_like(path: Path, iterations: int = 200) -> tuple[Mesh | None, Stages, list[str]]:
    """The textured mesh in the file's frame, its clock, and what else to tell; None where nothing is left."""
    clock = Stages()
    notes = [f"a dense grid instead of LGM's hash grids, {iterations} of 512 iterations, no fit of the vertices"]
    gaussians = read_splats(path)
    with clock.stage("fit"):
        field = fitted(gaussians, iterations)
    with clock.stage("surface"):
        ticks = torch.linspace(-1, 1, MARCHING_SIDE)
        points = torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
        values = torch.cat([density_and_color(field, p)[0] for p in points.split(1 << 20)])
        values = values.reshape((MARCHING_SIDE,) * 3).numpy()
        if values.max() <= LEVEL:
            return None, clock, [*notes, f"The density never reaches {LEVEL:g}: {values.max():.2f}."]
        vertices, faces = marching_cubes(values, LEVEL, gradient_direction="ascent")[:2]
        vertices = vertices / (MARCHING_SIDE - 1) * 2 - 1
        mesh = Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces, np.int32))
    with clock.stage("clean"):
        mesh = cleaned(mesh, 0, 0.0, EDGE, MOST_FACES)
    assert mesh is not None
    mesh, more = unwrapped(mesh, clock)
    with clock.stage("bake"):
        texture = painted(mesh, gaussians, field)
    return Mesh(mesh.vertices, mesh.faces, mesh.normals, mesh.uvs, texture), clock, notes + more


def fitted(gaussians: Gaussians, iterations: int) -> Tensor:
    """The field [1, 4, S, S, S]: raw density and colour (before their activations) on a grid with axes z, y, x."""
    random = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    field = torch.zeros(1, 4, *(SIDES[0],) * 3)
    for side in SIDES:
        if side != SIDES[0]:
            field = torch.nn.functional.interpolate(field, (side,) * 3, mode="trilinear", align_corners=True)
        field = field.detach().contiguous().requires_grad_(True)
        optimizer = torch.optim.Adam([field], lr=RATE, eps=1e-12)
        occupied = occupancy(field)
        for step in range(iterations // len(SIDES)):
            if step % OCCUPANCY_EVERY == 0:
                occupied = occupancy(field)
            azimuth, elevation = random.uniform(-180, 180), random.uniform(-45, 45)
            camera = orbit([azimuth], [elevation], random.uniform(1.5, 3.0), FOV_Y_DEG, PICTURE, PICTURE)
            viewmat, K = camera.viewmats[0], camera.Ks[0]
            picture = render(gaussians, viewmat, K, PICTURE, PICTURE, (1.0, 1.0, 1.0))
            pixels = random.choice(PICTURE * PICTURE, RAYS, replace=False)
            origin, directions = rays(viewmat, K, pixels)
            colors, alphas, densities = march(field, occupied, origin, directions, generator)
            wanted = torch.from_numpy(picture.colors.reshape(-1, 3)[pixels])
            solid = torch.from_numpy(picture.alphas.reshape(-1)[pixels])
            loss = ((colors - wanted) ** 2).mean() + 0.1 * ((alphas - solid) ** 2).mean()
            loss = loss + SPARSITY * torch.log1p(densities).mean() + SMOOTH * roughness(field)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return field.detach()


def roughness(field: Tensor) -> Tensor:
    """Mean squared difference of neighbouring samples."""
    return (field.diff(dim=2) ** 2).mean() + (field.diff(dim=3) ** 2).mean() + (field.diff(dim=4) ** 2).mean()


def density_and_color(field: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Density [P] per object unit and colour [P, 3] at points [P, 3]; 0 density outside of the grid."""
    at = (points / HALF).reshape(1, 1, 1, -1, 3)
    values = torch.nn.functional.grid_sample(field, at, mode="bilinear", padding_mode="border", align_corners=True)
    values = values.reshape(4, -1)
    inside = (points.abs() <= HALF).all(-1)
    density = torch.where(inside, torch.exp((values[0] - 1).clamp(max=8)), torch.zeros(()))  # LGM: trunc_exp
    return density, torch.sigmoid(values[1:]).T


def occupancy(field: Tensor) -> Tensor:
    """Which cells [64, 64, 64] (axes x, y, z) of the grid may hold something."""
    with torch.no_grad():
        raw = torch.nn.functional.adaptive_max_pool3d(field[:, :1], OCCUPANCY_SIDE)
        near = torch.nn.functional.max_pool3d(torch.exp(raw - 1), 3, stride=1, padding=1)
        return near[0, 0].permute(2, 1, 0) > OCCUPIED / 2


def rays(viewmat: Array, K: Array, pixels: Array) -> tuple[Tensor, Tensor]:
    """The camera's place [3] and unit directions [R, 3] through the centres of pixels [R] (numbers in rows)."""
    x = (pixels % PICTURE + 0.5 - K[0, 2]) / K[0, 0]
    y = (pixels // PICTURE + 0.5 - K[1, 2]) / K[1, 1]
    directions = np.stack([x, y, np.ones_like(x)], -1)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True) @ viewmat[:3, :3]
    origin = -viewmat[:3, :3].T @ viewmat[:3, 3]
    return torch.from_numpy(origin.astype(np.float32)), torch.from_numpy(directions.astype(np.float32))


def march(
    field: Tensor, occupied: Tensor, origin: Tensor, directions: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours over white [R, 3] and alphas [R] by quadrature along each ray (Max 1995), and densities met [Q]."""
    near, far = origin.norm() - 3**0.5 * HALF, origin.norm() + 3**0.5 * HALF
    step = (far - near) / STEPS
    depths = near + (torch.arange(STEPS) + torch.rand(len(directions), 1, generator=generator)) * step
    points = origin + depths[..., None] * directions[:, None]
    cells = ((points / HALF + 1) * (0.5 * OCCUPANCY_SIDE)).long()
    inside = (points.abs() < HALF).all(-1)
    cells = cells.clamp(0, OCCUPANCY_SIDE - 1)
    met = torch.nonzero((inside & occupied[cells[..., 0], cells[..., 1], cells[..., 2]]).reshape(-1))[:, 0]
    density, color = density_and_color(field, points.reshape(-1, 3)[met])
    flat = torch.zeros(len(directions) * STEPS).index_put((met,), density * step)
    optical = flat.reshape(-1, STEPS)
    before = torch.exp(-(optical.cumsum(1) - optical))
    weights = before * (1 - torch.exp(-optical))
    shares = weights.reshape(-1)[met, None] * color
    row = met.div(STEPS, rounding_mode="floor")
    colors = torch.zeros(len(directions), 3).index_add(0, row, shares)
    alphas = weights.sum(1)
    return colors + (1 - alphas)[:, None], alphas, density


def painted(mesh: Mesh, gaussians: Gaussians, field: Tensor) -> Array:
    """The texture [T, T, 3] uint8: the field's colours, and what cameras at the front see."""
    texels = texels_of(mesh, TEXTURE)
    colors = np.zeros((TEXTURE * TEXTURE, 3), np.float32)
    points = torch.from_numpy(texels.points)
    colors[texels.index] = torch.cat([density_and_color(field, p)[1] for p in points.split(1 << 20)]).numpy()
    colors = colors.reshape(TEXTURE, TEXTURE, 3)
    azimuths, elevations = np.meshgrid(FRONT_AZIMUTHS, FRONT_ELEVATIONS)
    cameras = orbit(azimuths.ravel(), elevations.ravel(), 1.5, FOV_Y_DEG, FRONT_SIZE, FRONT_SIZE)
    total, weights = np.zeros_like(colors), np.zeros((TEXTURE, TEXTURE), np.float32)
    for c in range(len(cameras)):
        values, counts = put(*seen_pixels(mesh, gaussians, cameras, c, least_cosine=0.1), TEXTURE, least=TEXTURE // 2)
        total += values
        weights += counts
    seen = weights > 0.1
    colors[seen] = total[seen] / weights[seen, None]
    return np.rint(255 * np.clip(fill_around(colors, texels.covered()), 0, 1)).astype(np.uint8)

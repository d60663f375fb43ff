# SPDX-License-Identifier: GPL-3.0-or-later
"""Contact sheets: renders of the splats above those of the meshes made from them, from the same cameras."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from shape_metrics import DISTANCE, FOV_Y_DEG

from engine.export.preview import read_mesh
from engine.fields.cameras import Cameras, orbit
from engine.fields.prepare import Prepared, prepare_splats
from engine.fields.splats import read_splats
from engine.options import MeshOptions
from engine.pipeline import splats_to_mesh
from engine.render.mesh_cpu import Light, render_mesh
from engine.render.splat_cpu import render
from engine.surface.mesh import Mesh

Array = np.ndarray

AZIMUTHS, ELEVATIONS = (0, 72, 144, 216, 288, 30, 30), (10, 10, 10, 10, 10, 60, -50)
SIZE, SUPERSAMPLE, MARGIN = 768, 2, 8
"""Pictures are cut to what the meshes cover in any of them, and a margin."""

BACKGROUND = 0.93
GREY = np.array([0.7, 0.7, 0.7])


def write_sheets(splats: Path, meshes: dict[str, Mesh], folder: Path, up: str = "y") -> None:
    """Writes NAME.png: the first row shows the splats, then two rows for each mesh: textured, and in grey under a light
    from the side, which shows holes, steps and double walls.

    `meshes` by name, in the file's frame turned y up; where there is none ours are made, plain and with 24 views.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare_splats(read_splats(splats), up=up)
    if not meshes:
        meshes = {
            f"{views} views": converted(splats, MeshOptions(up=up, views=views, keep_frame=True)) for views in (0, 24)
        }
    placed = [in_object_frame(mesh, prepared) for mesh in meshes.values()]
    cameras = cameras_around(placed[0])
    rows = [splat_row(prepared, cameras)]
    for mesh in placed:
        rows += [mesh_row(mesh, cameras, lit=False), mesh_row(mesh, cameras, lit=True)]
    covered = (np.abs(np.stack([picture for row in rows[1:] for picture in row]) - BACKGROUND) > 0.004).any((0, 3))
    down, across = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    cut = np.s_[max(down[0] - MARGIN, 0) : down[-1] + MARGIN, max(across[0] - MARGIN, 0) : across[-1] + MARGIN]
    sheet = np.concatenate([np.concatenate([picture[cut] for picture in row], axis=1) for row in rows])
    Image.fromarray(np.rint(255 * np.clip(sheet, 0, 1)).astype(np.uint8)).save(folder / f"{splats.stem}.png")
    print(f"  {folder / splats.stem}.png: splats, then " + ", ".join(meshes))


def cameras_around(mesh: Mesh) -> Cameras:
    """From all around a little above, from above and from below."""
    low, high = mesh.bounds()
    radius = DISTANCE * float(np.linalg.norm(high - low)) / 2
    cameras = orbit(AZIMUTHS, ELEVATIONS, radius, FOV_Y_DEG, SIZE, SIZE)
    viewmats = cameras.viewmats.copy()
    viewmats[:, :3, 3] -= viewmats[:, :3, :3] @ ((low + high) / 2)
    return Cameras(viewmats, cameras.Ks, SIZE, SIZE)


def converted(splats: Path, options: MeshOptions) -> Mesh:
    """What the product makes of a file of splats."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "mesh.glb"
        report = splats_to_mesh(splats, output, options)
        print(
            f"  {splats.name}: {report['gaussians']} Gaussians, {report['seconds']['total']:.2f} s",
            *report["warnings"],
            sep="; ",
        )
        return read_mesh(output)


def in_object_frame(mesh: Mesh, prepared: Prepared) -> Mesh:
    vertices = ((mesh.vertices - prepared.center) / prepared.scale).astype(np.float32)
    return Mesh(vertices, mesh.faces, mesh.normals, mesh.uvs, mesh.texture)


def splat_row(prepared: Prepared, cameras: Cameras) -> list[Array]:
    background = (BACKGROUND, BACKGROUND, BACKGROUND)
    return [
        render(prepared.gaussians, viewmat, K, SIZE, SIZE, background).colors
        for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True)
    ]


def mesh_row(mesh: Mesh, cameras: Cameras, lit: bool) -> list[Array]:
    """Unshaded with its texture, or grey and lit from the left above of each camera."""
    row = []
    for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True):
        camera = Cameras(viewmat[None], K[None], SIZE, SIZE)
        if lit:
            from_camera = np.array([-0.6, -0.5, -0.6])
            light = Light(viewmat[:3, :3].T @ from_camera / np.linalg.norm(from_camera), ambient=0.25)
            plain = Mesh(mesh.vertices, mesh.faces, mesh.normals)
            rgba = render_mesh(plain, camera, light, SUPERSAMPLE, GREY)[0][0]
        else:
            rgba = render_mesh(mesh, camera, supersample=SUPERSAMPLE)[0][0]
        row.append(rgba[..., :3] * rgba[..., 3:] + BACKGROUND * (1 - rgba[..., 3:]))
    return row

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of results: one asset from all sides, or several beside the pictures they were made from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from engine.errors import InputError
from engine.fields.cameras import Cameras, orbit
from engine.fields.gaussians import Gaussians
from engine.fields.splats import SUFFIXES, read_splats
from engine.paths import written_whole
from engine.render.mesh_cpu import Light, render_mesh
from engine.render.splat_cpu import render
from engine.surface.mesh import Mesh, validate_mesh

Array = np.ndarray
Asset = Mesh | Gaussians | str | Path

BACKGROUND = (0.93, 0.93, 0.92)

FOV_Y_DEG, DISTANCE = 30.0, 4.2
"""Cameras stand so far from an object scaled into the unit ball that it just fits."""

LIGHT_FROM = np.array([-0.3, 0.5, 0.8])
"""Where the light comes from, in the camera's frame: right, up, towards the camera."""

MARGIN = 4
"""Pixels between pictures of a sheet."""


def contact_sheet(asset: Asset, path: str | Path, views: int = 8, size: int = 256) -> None:
    """Writes a PNG with `views` pictures of `size` pixels of a mesh, of Gaussians, or of a file of either.

    The first shows the front; they go around once, the last two (of six or more) look from above and below.
    Raises `InputError` where the file cannot be read, `OutputError` where the PNG cannot be written.
    """
    pictures = list(view_pictures(load_asset(asset), views, size))
    columns = min(4, views)
    _write(_grid([pictures[row : row + columns] for row in range(0, views, columns)], size), path)


def comparison_sheet(
    pairs: Sequence[tuple[str | Path | Image.Image | None, Asset]], path: str | Path, views: int = 4, size: int = 192
) -> None:
    """Writes a PNG with one row per pair: the input picture (or none), then `views` pictures of the result."""
    rows = []
    for picture, asset in pairs:
        row = [] if picture is None else [_thumbnail(picture, size)]
        rows.append(row + list(view_pictures(load_asset(asset), views, size)))
    _write(_grid(rows, size), path)


def view_pictures(asset: Mesh | Gaussians, views: int, size: int) -> Array:
    """Pictures [views, size, size, 3] uint8 of the asset over a plain background, from cameras around it."""
    cameras = around(views, size)
    pictures = []
    if isinstance(asset, Gaussians):
        low, high = _framed(asset)
        fitted = asset.scaled(_fit(high - low), -(low + high) / 2)
        for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True):
            pictures.append(render(fitted, viewmat, K, size, size, BACKGROUND).colors)
    else:
        low, high = asset.bounds()
        vertices = ((asset.vertices - (low + high) / 2) * _fit(high - low)).astype(np.float32)
        fitted = Mesh(vertices, asset.faces, asset.normals, asset.uvs, asset.texture)
        for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True):
            toward_light = viewmat[:3, :3].T @ (LIGHT_FROM * [1, -1, -1]) / np.linalg.norm(LIGHT_FROM)
            camera = Cameras(viewmat[None], K[None], size, size)
            rgba = render_mesh(fitted, camera, Light(toward_light, ambient=0.65))[0][0]
            pictures.append(rgba[..., :3] * rgba[..., 3:] + np.array(BACKGROUND, np.float32) * (1 - rgba[..., 3:]))
    return np.rint(255 * np.clip(np.stack(pictures), 0, 1)).astype(np.uint8)


def around(views: int, size: int) -> Cameras:
    """`views` cameras around the unit ball: from the front towards +x, a little above; of six or more the last two from
    above and below."""
    ring = views - 2 if views >= 6 else views
    azimuths = np.append(np.arange(ring) * 360 / ring, [0.0] * (views - ring))
    elevations = np.append(np.full(ring, 15.0), [75.0, -60.0][: views - ring])
    return orbit(azimuths, elevations, DISTANCE, FOV_Y_DEG, size, size)


def load_asset(asset: Asset) -> Mesh | Gaussians:
    """The mesh or Gaussians given, or those in a file: splats of any format, meshes from GLB, OBJ, PLY and the like."""
    if isinstance(asset, Mesh | Gaussians):
        return asset
    path = Path(asset)
    if path.suffix.lower() in SUFFIXES and (path.suffix.lower() != ".ply" or _holds_splats(path)):
        return read_splats(path)
    return read_mesh(path)


def read_mesh(path: str | Path) -> Mesh:
    """The triangles of a mesh file in one, with its texture or one of its vertices' colours. Raises `InputError`."""
    import trimesh

    path = Path(path)
    if not path.is_file():
        raise InputError(f"Found no file {path}.", "Check the path.")
    try:
        body = trimesh.load_scene(path).to_mesh()
    except Exception as error:
        # Readers of a dozen formats raise what they like on broken files.
        raise InputError(f"{path.name} could not be read as a mesh: {error}.", "Use a GLB, OBJ, PLY or STL.") from error
    if not len(body.faces):
        raise InputError(f"{path.name} holds no faces, expected a mesh.", "Use a GLB, OBJ, PLY or STL.")
    vertices, faces = body.vertices.astype(np.float32), body.faces.astype(np.int32)
    normals = body.vertex_normals.astype(np.float32)
    material = getattr(body.visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    uvs = getattr(body.visual, "uv", None)
    if uvs is not None and image is not None:
        uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1).astype(np.float32)
        return validate_mesh(Mesh(vertices, faces, normals, uvs, np.asarray(image.convert("RGB"))))
    if body.visual.kind == "vertex":
        colors = np.asarray(body.visual.vertex_colors)[:, :3]
        return validate_mesh(with_colors(Mesh(vertices, faces, normals), colors))
    return validate_mesh(Mesh(vertices, faces, normals))


def with_colors(mesh: Mesh, colors: Array) -> Mesh:
    """`mesh` with the colours [V, 3] uint8 of its vertices as a texture; no two faces share vertices any more.

    Each face has a block of 2 x 2 texels to itself, its corners in the centres of three; the fourth is what makes the
    look-up between four texels linear in the face.
    """
    count = len(mesh.faces)
    columns = max(1, int(np.ceil(np.sqrt(count))))
    row, column = np.divmod(np.arange(count), columns)
    size = 2 * columns
    texture = np.zeros((size, size, 3), np.uint8)
    a, b, c = (colors[mesh.faces[:, corner]].astype(np.int32) for corner in range(3))
    for right, down, value in ((0, 0, a), (1, 0, b), (0, 1, c), (1, 1, (b + c - a).clip(0, 255))):
        texture[2 * row + down, 2 * column + right] = value
    corner = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]])
    uvs = (np.stack([2 * column, 2 * row], 1)[:, None] + corner) / size
    used = mesh.faces.ravel()
    return Mesh(
        mesh.vertices[used],
        np.arange(3 * count, dtype=np.int32).reshape(-1, 3),
        None if mesh.normals is None else mesh.normals[used],
        uvs.reshape(-1, 2).astype(np.float32),
        texture,
    )


def _holds_splats(path: Path) -> bool:
    """Whether the header of a PLY file names the properties of Gaussians."""
    try:
        with path.open("rb") as file:
            header = file.read(1 << 14).split(b"end_header")[0]
    except OSError as error:
        raise InputError(f"{path} could not be read: {error.strerror}.", "Check the path.") from error
    return b"packed_rotation" in header or (b"scale_0" in header and b"rot_0" in header)


def _framed(gaussians: Gaussians) -> tuple[Array, Array]:
    """Box [3], [3] of the means that leaves out 0.5 % of what one sees on each side: area times opacity."""
    weights = gaussians.opacities * np.sort(gaussians.scales, axis=1)[:, 1:].prod(1)
    low, high = np.empty(3, np.float32), np.empty(3, np.float32)
    for axis in range(3):
        order = np.argsort(gaussians.means[:, axis])
        share = np.cumsum(weights[order]) / max(weights.sum(), 1e-30)
        low[axis] = gaussians.means[order[np.searchsorted(share, 0.005)], axis]
        high[axis] = gaussians.means[order[min(np.searchsorted(share, 0.995), len(order) - 1)], axis]
    return low, high


def _fit(extent: Array) -> float:
    """Scale that brings a box of this extent [3] into the unit ball."""
    return float(2 / max(np.linalg.norm(extent), 1e-12))


def _thumbnail(picture: str | Path | Image.Image, size: int) -> Array:
    """A picture made to fit a square of `size` pixels over the background, [size, size, 3] uint8."""
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    image = image.convert("RGBA")
    image.thumbnail((size, size))
    square = Image.new("RGBA", (size, size), tuple(round(255 * channel) for channel in BACKGROUND))
    square.alpha_composite(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(square.convert("RGB"))


def _grid(rows: list[list[Array]], size: int) -> Image.Image:
    """Square pictures in rows, `MARGIN` apart."""
    step = size + MARGIN
    width = step * max(len(row) for row in rows) + MARGIN
    sheet = Image.new("RGB", (width, step * len(rows) + MARGIN), (255, 255, 255))
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (MARGIN + c * step, MARGIN + r * step))
    return sheet


def _write(sheet: Image.Image, path: str | Path) -> None:
    with written_whole(path) as part:
        sheet.save(part, "PNG")

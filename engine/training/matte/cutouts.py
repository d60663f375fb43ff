# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects cut out for composing pictures: rendered once, with the shadows and the reflection they leave on a floor."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.errors import InputError
from engine.fields.cameras import Cameras
from engine.paths import written_whole
from engine.render.mesh_cpu import Light, rasterize, render_mesh
from engine.surface.mesh import Mesh
from engine.training.data.packs import Pack
from engine.training.data.views import view_frame, view_frame_camera

Array = np.ndarray

SIDE = 320
"""Pixels of a cut-out's side; the object's longest side takes FILL of it."""
GROUND = 160
"""Pixels of the same square, of shadows and reflection."""
FILL = 0.7
TEXTURE = 192
"""Pixels of the textures kept for backgrounds."""


@dataclass(frozen=True)
class CutoutSettings:
    """What is rendered: `count` views of objects drawn by their weights, or `each` views of every object."""

    count: int = 2400
    each: int = 0
    textures: int = 400
    seed: int = 0


class Cutouts:
    """Cut-outs in a folder, mapped into memory; what `render_cutouts` wrote."""

    def __init__(self, folder: Path) -> None:
        """Raises `InputError` where the folder holds no whole set."""
        self.folder = folder
        try:
            self.facts = json.loads((folder / "cutouts.json").read_text(encoding="utf-8"))
            self.objects, self.small, self.grounds, self.textures = (
                np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("objects", "small", "grounds", "textures")
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"The cut-outs in {folder} cannot be read: {error}.", "Remove that folder; they are rendered again."
            ) from error

    def __len__(self) -> int:
        return len(self.objects)


def render_cutouts(indexes: list[Path], folder: Path, settings: CutoutSettings) -> Cutouts:
    """The cut-outs of the packs `indexes` in `folder`, rendered unless they are there already.

    objects [N, SIDE, SIDE, 4] uint8, premultiplied; small, the same at half the side; grounds [N, GROUND, GROUND, 6]
    uint8: cast shadow, contact shadow and the premultiplied reflection; textures [M, TEXTURE, TEXTURE, 3] uint8.
    """
    facts = asdict(settings) | {"data": [str(index) for index in indexes]}
    if (folder / "cutouts.json").exists():
        found = Cutouts(folder)
        if found.facts == facts:
            return found
        raise InputError(
            f"{folder} holds cut-outs of other settings: {found.facts}, not {facts}.",
            "Give another --run folder, or remove that one.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(settings.seed)
    packs = [Pack(index) for index in indexes]
    drawn = [(pack, i) for pack in packs for i in range(len(pack))]
    chances = np.concatenate([pack.weights() * len(pack) for pack in packs])
    order = rng.choice(len(drawn), settings.count, p=chances / chances.sum())
    if settings.each:
        order = np.repeat(np.arange(len(drawn)), settings.each)
    shapes = {"objects": (SIDE, SIDE, 4), "small": (SIDE // 2, SIDE // 2, 4), "grounds": (GROUND, GROUND, 6)}
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (len(order), *shape))
        for name, shape in shapes.items()
    }
    textures = np.empty((min(settings.textures, len(order)), TEXTURE, TEXTURE, 3), np.uint8)
    for n, chosen in enumerate(tqdm(order, desc="Rendering cut-outs", disable=None)):
        pack, i = drawn[chosen]
        mesh = pack.mesh(i)
        picture, arrays["grounds"][n] = cutout(mesh, rng)
        arrays["objects"][n] = picture
        arrays["small"][n] = picture.reshape(SIDE // 2, 2, SIDE // 2, 2, 4).mean((1, 3)) + 0.5
        if n < len(textures):
            textures[n] = _texture(mesh, rng)
    for array in arrays.values():
        array.flush()
    np.save(folder / "textures.npy", textures)
    with written_whole(folder / "cutouts.json") as part:  # last: it says that the set is whole
        part.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return Cutouts(folder)


def cutout(mesh: Mesh, rng: np.random.Generator) -> tuple[Array, Array]:
    """One random view of an object in a pack's frame: its picture, and what it leaves on the floor under it."""
    for _ in range(8):
        elevation = float(np.clip(rng.normal(18, 14), -8, 65))
        matrix, shift, t = view_frame(mesh, rng.uniform(0, 360), elevation, rng.uniform(15, 60), FILL)
        vertices = (mesh.vertices @ matrix.T + shift).astype(np.float32)
        if np.ptp(vertices[:, 2]) / 2 < 2.5:
            break
    up = (matrix @ np.array([0.0, 1.0, 0.0])).astype(np.float32)
    up /= np.linalg.norm(up)
    direction = rng.normal(size=3) + np.array([0, 0.9, 0.7])
    direction = (direction / np.linalg.norm(direction)).astype(np.float32)
    light = Light(direction, ambient=float(rng.uniform(0.35, 1.0)))
    seen = replace(mesh, vertices=vertices, normals=None)
    picture = _picture(seen, t, SIDE, light)

    heights = vertices @ up
    ground = np.zeros((GROUND, GROUND, 6), np.uint8)
    if elevation > 2:
        low = heights.min()
        above = (heights - low)[:, None]
        steepness = float(direction @ up)
        if steepness > 0.2:
            ground[..., 0] = _covered(vertices - above / steepness * direction, mesh.faces, t)
        ground[..., 1] = _covered(vertices - above * up, mesh.faces, t)
        ground[..., 2:] = _picture(replace(seen, vertices=vertices - 2 * above * up), t, GROUND, light)
    return picture, ground


def _picture(mesh: Mesh, tan_half_fov: float, size: int, light: Light) -> Array:
    viewmat, K = view_frame_camera(tan_half_fov, size)
    rgba = render_mesh(mesh, Cameras(viewmat[None], K[None], size, size), light)[0][0]
    rgba[..., :3] *= rgba[..., 3:]
    return (rgba * 255 + 0.5).astype(np.uint8)


def _covered(vertices: Array, faces: Array, tan_half_fov: float) -> Array:
    viewmat, K = view_frame_camera(tan_half_fov, GROUND)
    seen = rasterize(vertices.astype(np.float32), faces, viewmat, K, GROUND, GROUND)
    return np.where(seen.face_ids >= 0, 255, 0).astype(np.uint8)


def _texture(mesh: Mesh, rng: np.random.Generator) -> Array:
    """A piece of the object's texture, [TEXTURE, TEXTURE, 3]."""
    assert mesh.texture is not None
    side = min(TEXTURE, *mesh.texture.shape[:2])
    y, x = (int(rng.integers(0, n - side + 1)) for n in mesh.texture.shape[:2])
    piece = mesh.texture[y : y + side, x : x + side]
    return np.pad(piece, ((0, TEXTURE - side), (0, TEXTURE - side), (0, 0)), "symmetric")

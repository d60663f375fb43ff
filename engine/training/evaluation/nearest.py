# SPDX-License-Identifier: GPL-3.0-or-later
"""The baseline that remembers: the training object whose picture looks most like the one shown, posed as it was seen.

Up to OBJECTS objects of a pack, evenly over its index, are pictured from AZIMUTHS x ELEVATIONS and kept as small RGBA
pictures (SIDE pixels, colours premultiplied): silhouette and colours are the descriptor, compared by squared
difference. The pictures are made once (1,145 objects: half a minute on one thread) and kept in this user's cache, named
by the content of the pack.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.fields.cameras import Cameras
from engine.paths import cache_folder, written_whole
from engine.render.mesh_cpu import Light, render_mesh
from engine.surface.mesh import Mesh
from engine.training.data.packs import Pack
from engine.training.data.views import view_frame, view_frame_camera

Array = np.ndarray

OBJECTS = 1200
SIDE = 32
AZIMUTHS = tuple(range(0, 360, 45))
ELEVATIONS = (5.0, 28.0)
FOV = 30.0
FILL = 0.85
LIGHT = Light(np.array([0.3, 0.6, 0.74], np.float32), ambient=0.7)
DEEPEST = 2.2
"""Half pictures: objects seen so end-on that they are deeper are no answer, as training draws none."""
TRIED = 32
ALPHA_WEIGHT = 2.0
"""What a pixel of silhouette counts beside one of a colour channel."""


class NearestObject:
    """Training objects by what they look like."""

    def __init__(self, index: Path, cache: Path | None = None) -> None:
        """Reads the pack at `index` and its pictures from `cache` (this user's by default), or makes them.

        Raises `InputError` where the pack cannot be read, `OutputError` where the cache cannot be written.
        """
        self.pack = Pack(index)
        index = index.with_suffix(".csv") if index.suffix.lower() == ".npz" else index
        self.objects = np.unique(np.linspace(0, len(self.pack) - 1, min(OBJECTS, len(self.pack))).astype(int))
        path = (cache or cache_folder()) / "nearest" / f"{self._key(index)}.npy"
        pictures = _read(path, len(self.objects))
        if pictures is None:
            pictures = np.stack([_pictures(self.pack.mesh(int(i))) for i in self.objects])
            with written_whole(path) as part, part.open("wb") as stream:
                np.save(stream, pictures)
        self.pictures = pictures  # [objects, views, SIDE^2, 4] uint8

    def find(self, photo: Array) -> tuple[Mesh, int]:
        """The object that looks most like `photo` [S, S, 4], in the view frame of its best picture, and its number."""
        flat = self.pictures.reshape(-1, SIDE * SIDE, 4)
        query = _descriptor(photo)
        weights = np.array([1, 1, 1, ALPHA_WEIGHT], np.float32)
        costs = np.concatenate([
            np.einsum("vpc,c->v", (block.astype(np.float32) / 255 - query) ** 2, weights)
            for block in np.array_split(flat, max(1, len(flat) // 1024))
        ])  # fmt: skip
        order = costs.argsort()[:TRIED]
        for place in order:
            mesh, number = self._posed(int(place))
            if np.ptp(mesh.vertices[:, 2]) / 2 < DEEPEST:
                return mesh, number
        return self._posed(int(order[0]))

    def _posed(self, place: int) -> tuple[Mesh, int]:
        """The object of a picture in the view frame of that picture, and its number."""
        best, view = divmod(place, len(AZIMUTHS) * len(ELEVATIONS))
        number = int(self.objects[best])
        mesh = self.pack.mesh(number)
        elevation, azimuth = divmod(view, len(AZIMUTHS))
        matrix, shift, _ = view_frame(mesh, AZIMUTHS[azimuth], ELEVATIONS[elevation], FOV, FILL)
        return replace(mesh, vertices=(mesh.vertices @ matrix.T + shift).astype(np.float32)), number

    def _key(self, index: Path) -> str:
        """Names the pictures: the index's content, its shards' sizes, and how they are taken."""
        digest = hashlib.sha256(index.read_bytes())
        for shard in sorted({entry.shard for entry in self.pack.entries}):
            digest.update(f"{shard} {(index.parent / shard).stat().st_size}".encode())
        digest.update(repr((OBJECTS, SIDE, AZIMUTHS, ELEVATIONS, FOV, FILL, 1)).encode())
        return digest.hexdigest()[:16]


def _read(path: Path, count: int) -> Array | None:
    """The pictures in `path`; `None` where there are none, or damaged ones."""
    try:
        pictures = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return pictures if pictures.shape == (count, len(AZIMUTHS) * len(ELEVATIONS), SIDE * SIDE, 4) else None


def _pictures(mesh: Mesh) -> Array:
    """Descriptors [views, SIDE^2, 4] uint8 of an object of a pack, azimuths fastest."""
    pictures = []
    for elevation in ELEVATIONS:
        for azimuth in AZIMUTHS:
            matrix, shift, t = view_frame(mesh, azimuth, elevation, FOV, FILL)
            seen = replace(mesh, vertices=(mesh.vertices @ matrix.T + shift).astype(np.float32), normals=None)
            viewmat, K = view_frame_camera(t, SIDE)
            rgba = render_mesh(seen, Cameras(viewmat[None], K[None], SIDE, SIDE), LIGHT)[0][0]
            pictures.append(np.round(_descriptor(rgba) * 255).astype(np.uint8))
    return np.stack(pictures)


def _descriptor(picture: Array) -> Array:
    """Premultiplied RGBA [SIDE^2, 4] in [0, 1] of a straight-alpha picture [S, S, 4]; S is a multiple of SIDE."""
    step = len(picture) // SIDE
    premultiplied = np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], -1)
    return premultiplied.reshape(SIDE, step, SIDE, step, 4).mean((1, 3)).reshape(-1, 4).astype(np.float32)

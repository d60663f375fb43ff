# SPDX-License-Identifier: GPL-3.0-or-later
"""A small pack of textured boxes, written as a real one is."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.surface.mesh import Mesh

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) / 2
BOX_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
     [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.int32,
)  # fmt: skip


def box(extent: tuple[float, float, float]) -> Mesh:
    """A textured box with these sides, centred at the origin, in a pack's frame."""
    rng = np.random.default_rng(7)
    texture = rng.integers(60, 220, (16, 16, 3), dtype=np.uint8)
    uvs = rng.random((8, 2)).astype(np.float32)
    return Mesh(CORNERS * np.array(extent, np.float32), BOX_FACES, uvs=uvs, texture=texture)


@pytest.fixture(autouse=True)
def _one_thread():
    """Small networks gain nothing from a second thread, and lose much where the other core is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pack_index(tmp_path_factory) -> Path:
    """Index file of a pack with three boxes."""
    folder = tmp_path_factory.mktemp("pack")
    meshes = [box((1.0, 0.6, 0.4)), box((0.5, 1.0, 0.5)), box((0.3, 0.4, 1.0))]
    encoded = []
    for mesh in meshes:
        buffer = io.BytesIO()
        Image.fromarray(mesh.texture).save(buffer, "PNG")
        encoded.append(np.frombuffer(buffer.getvalue(), np.uint8))

    def offsets(lengths: list[int]) -> np.ndarray:
        return np.cumsum([0, *lengths]).astype(np.int64)

    np.savez(
        folder / "boxes.npz",
        vertices=np.concatenate([m.vertices for m in meshes]).astype(np.float16),
        uvs=np.round(np.concatenate([m.uvs for m in meshes]) * 65535).astype(np.uint16),
        faces=np.concatenate([m.faces for m in meshes]).astype(np.uint16),
        texture_bytes=np.concatenate(encoded),
        vertex_offsets=offsets([8] * 3),
        face_offsets=offsets([12] * 3),
        texture_offsets=offsets([len(e) for e in encoded]),
    )
    index = folder / "index.csv"
    with index.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, ["shard", "row", "name", "style", "weight"])
        writer.writeheader()
        for row in range(3):
            writer.writerow({"shard": "boxes.npz", "row": row, "name": f"box{row}", "style": "scan", "weight": 1})
    return index

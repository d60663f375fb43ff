# SPDX-License-Identifier: GPL-3.0-or-later
"""What facts about the known object are told with, in every Blender: its import, its sides, refusals.

Scripts of facts are called with RESULTS.json and a FOLDER.
"""

import sys
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np

import addon
from addon import scene
from tests.fakes.known_glb import SIDES, known_triangles

RESULTS, FOLDER = (Path(argument) for argument in sys.argv[sys.argv.index("--") + 1 :])
GLB = FOLDER / "known.glb"
SIZE = 2.0


def fresh() -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


def import_known(**options) -> bpy.types.Object:
    ob, *_ = scene.import_meshes({"mesh": GLB}, name="cat", record={"version": 1}, **options)
    bpy.context.view_layer.update()
    return ob


def world_triangles(ob: bpy.types.Object) -> np.ndarray:
    """Corner positions in the world, [F, 3, 3]."""
    return np.array([[ob.matrix_world @ ob.data.vertices[v].co for v in p.vertices] for p in ob.data.polygons])


@contextmanager
def refused(kind: type[Exception], *words: str):
    """The block must raise `kind`, and say these words."""
    try:
        yield
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        if missing:
            raise AssertionError(f"{missing} not said in: {error}") from error
    else:
        raise AssertionError(f"no {kind.__name__}")


def blender_point(x: float, y: float, z: float) -> np.ndarray:
    """A point of the known object in Blender's frame."""
    return SIZE * np.array([x, -z, y])


def texture_of(ob: bpy.types.Object) -> bpy.types.Image:
    """The image linked to the base colour of the only material."""
    (material,) = ob.data.materials
    principled = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    (link,) = principled.inputs["Base Color"].links
    return link.from_node.image


def side_colours(ob: bpy.types.Object) -> dict[str, set[tuple[int, ...]]]:
    """The colours seen on each side of the known object, found by the triangles' places alone."""
    image = texture_of(ob)
    width, height = image.size
    pixels = np.array(image.pixels[:]).reshape(height, width, 4)
    uvs = np.array([corner.uv for corner in ob.data.uv_layers.active.data]).reshape(-1, 3, 2)
    expected = [(side, np.array([blender_point(*p) for p in points])) for side, points in known_triangles()]
    corners = world_triangles(ob) - np.array(ob.location)
    seen: dict[str, set] = {}
    for triangle, uv in zip(corners, uvs, strict=True):
        side = next(s for s, points in expected if same_points(points, triangle))
        column, row = (uv.mean(0) * [width, height]).astype(int)
        seen.setdefault(side, set()).add(tuple(np.round(pixels[row, column, :3] * 255).astype(int).tolist()))
    return seen


def same_points(a: np.ndarray, b: np.ndarray) -> bool:
    return all(np.abs(b - point).max(1).min() < 1e-4 * SIZE for point in a)


def assert_known(ob: bpy.types.Object) -> None:
    """Size, place, orientation and texture of the known object."""
    corners = world_triangles(ob).reshape(-1, 3) - np.array(ob.location)
    np.testing.assert_allclose(corners.min(0), [-0.25 * SIZE, -0.25 * SIZE, 0], atol=1e-4)
    np.testing.assert_allclose(corners.max(0), [0.25 * SIZE, 0.25 * SIZE, SIZE], atol=1e-4)
    assert side_colours(ob) == {side: {colour} for side, (colour, _) in SIDES.items()}


def picture(name: str) -> Path:
    path = FOLDER / f"{name}.png"
    path.write_bytes(b"the fake engine looks at the name only")
    return path


def enabled(fact):
    def run():
        addon.register()
        try:
            fact()
        finally:
            addon.unregister()

    run.__name__ = fact.__name__
    return run

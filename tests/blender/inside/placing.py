# SPDX-License-Identifier: GPL-3.0-or-later
"""Places the known object as a finished job does; for the facts about results, which say what came of it."""

from contextlib import contextmanager

import bpy
import numpy as np

from addon.results import bring_in
from addon.results.bring_in import Placed
from addon.results.result_options import ResultChoice
from tests.blender.inside.known import FOLDER, GLB, SIZE, fresh, world_triangles
from tests.fakes.known_glb import write_known_glb
from tests.fakes.known_splats import write_known_splats

HALF = FOLDER / "half.glb"
"""The known object at half its size."""
PLY = FOLDER / "known.ply"
WITH_MAP = FOLDER / "with map.glb"


def write_known_files() -> None:
    """What a job leaves: the known object, also at half its size and with a normal map, and its splats."""
    write_known_glb(GLB, SIZE)
    write_known_glb(HALF, SIZE / 2)
    write_known_glb(WITH_MAP, SIZE, normal_map=True)
    write_known_splats(PLY, SIZE)


def place(files=None, *, name="cat", location=(3, 2, 1), replacing=None, saved_splats=None, **choice) -> Placed:
    placed = bring_in.place(
        files or {"mesh": GLB},
        name=name,
        record={"version": 1, "picture": f"/pictures/{name}.png"},
        location=location,
        context=bpy.context,
        choice=ResultChoice(**choice),
        replacing=replacing,
        saved_splats=saved_splats,
    )
    bpy.context.view_layer.update()
    return placed


def made(**options) -> bpy.types.Object:
    placed = place(**options)
    assert not placed.notes, placed.notes
    return placed.objects[0]


def box_of(ob: bpy.types.Object) -> np.ndarray:
    corners = world_triangles(ob).reshape(-1, 3)
    return np.array([corners.min(0), corners.max(0)])


def linked_cat() -> bpy.types.Object:
    fresh()
    made()
    path = FOLDER / "shelf.blend"
    bpy.data.libraries.write(str(path), {bpy.data.objects["cat"]}, fake_user=True)
    fresh()
    with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
        wanted.objects = ["cat"]
    cat = bpy.data.objects["cat"]
    bpy.context.scene.collection.objects.link(cat)
    return cat


@contextmanager
def no_room(most: int):
    """Files cannot grow beyond `most` bytes, as on a disk that gets full."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler or signal.SIG_DFL)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about stopping: long stages look often enough whether the user has cancelled, and stop at any such look."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from engine.errors import Cancelled
from engine.surface.density_surface import density_surface
from engine.surface.tsdf import tsdf_grid
from engine.texture import maps
from engine.texture.unwrap import unwrap
from tests.engine.shapes import sphere, sphere_mesh


def looks_of(stage: Callable) -> int:
    """How often `stage` looks; it must end at whichever look says so."""
    total = 0

    def count() -> None:
        nonlocal total
        total += 1

    stage(check=count)
    for last in {1, total}:
        done = 0

        def stop(last: int = last) -> None:
            nonlocal done
            done += 1
            if done == last:
                raise Cancelled

        with pytest.raises(Cancelled):
            stage(check=stop)
        assert done == last
    return total


@pytest.mark.parametrize(("way", "least"), [(density_surface, 6), (tsdf_grid, 2)])
def test_finding_the_surface_can_be_stopped_between_its_steps(way, least):
    assert looks_of(partial(way, sphere(2000), 48)) >= least


@pytest.mark.slow
def test_maps_can_be_stopped_between_their_parts_which_change_nothing(monkeypatch):
    mesh, dense = unwrap(sphere_mesh(16)), sphere_mesh(64)
    whole = maps.normal_map(mesh, dense, 128)
    monkeypatch.setattr(maps, "TOGETHER", 1000)
    assert looks_of(partial(maps.normal_map, mesh, dense, 128)) > 5
    assert np.array_equal(maps.normal_map(mesh, dense, 128), whole)
    assert looks_of(partial(maps.occlusion, mesh, 64)) == maps.LIGHTS

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way to the surface suits which Gaussians, and figures of how a surface agrees with them."""

from dataclasses import replace

import numpy as np
import pytest

from engine.fields.gaussians import Gaussians
from engine.surface.choose import agreement, choose_surfacer, look
from engine.surface.cleanup import clean
from engine.surface.density_surface import density_surface
from engine.surface.isosurface import extract
from engine.surface.tsdf import tsdf_grid
from tests.engine.shapes import shell, sphere, sphere_mesh, sphere_points, torus


def fuzzy_sphere(spread: float = 0.015) -> Gaussians:
    """Thin discs of every opacity in a layer `spread` deep, somewhat tilted: what captures look like."""
    random = np.random.default_rng(0)
    points, normals, spacing = sphere_points(20000, 0.8)
    points = points + normals * random.normal(0, spread, (len(points), 1))
    tilted = normals + random.normal(0, 0.3, normals.shape)
    discs = shell(points, tilted, 1.2 * spacing)
    scales = discs.scales * np.array([1, 1, 0.1])
    return replace(discs, scales=scales, opacities=random.uniform(0.2, 0.95, len(points)))


def fat_balls() -> Gaussians:
    points = sphere_points(4000, 0.8)[0]
    ball = Gaussians(
        points, np.tile([1.0, 0, 0, 0], (len(points), 1)), np.full((len(points), 3), 0.03), np.full(len(points), 0.9),
        np.full((len(points), 3), 0.5),
    )  # fmt: skip
    return ball


@pytest.mark.parametrize(
    ("gaussians", "expected"),
    [(sphere(8000, 0.8), "density"), (torus(), "density"), (fat_balls(), "density"), (fuzzy_sphere(), "tsdf")],
    ids=["one layer", "thin ring", "fat balls", "fuzzy skin"],
)
def test_a_fuzzy_skin_is_fused_what_lies_in_one_layer_is_not(gaussians, expected):
    choice = choose_surfacer(gaussians, look(gaussians), 256)
    assert choice.surface == expected
    assert choice.voxel == pytest.approx(2 * 0.8 / 256, rel=0.25)


def test_the_layers_depth_is_measured():
    shallow, deep = (choose_surfacer(g, look(g)).layer for g in (fuzzy_sphere(0.01), fuzzy_sphere(0.03)))
    assert 1.5 < deep / shallow < 4
    assert 0.003 < shallow < 0.012


def test_on_a_coarse_grid_a_fuzzy_skin_is_even():
    fuzzy = fuzzy_sphere()
    assert choose_surfacer(fuzzy, look(fuzzy), 16).surface == "density"


@pytest.mark.slow
def test_the_choice_is_the_better_one():
    """Distance to the true sphere, root mean square over the vertices."""
    for gaussians, expected in ((sphere(20000, 0.8), "density"), (fuzzy_sphere(), "tsdf")):
        errors = {}
        for name, surfacer in (("density", density_surface), ("tsdf", tsdf_grid)):
            mesh = clean(extract(surfacer(gaussians, 128)))
            errors[name] = np.sqrt(np.mean((np.linalg.norm(mesh.vertices, axis=1) - 0.8) ** 2))
        assert min(errors, key=lambda name: errors[name]) == expected, errors


def test_agreement_is_that_of_silhouettes_and_depths():
    seen = look(sphere(8000, 0.8))
    true, small, large = (agreement(sphere_mesh(48, radius), seen) for radius in (0.8, 0.76, 0.84))
    assert true.silhouettes > 0.96
    assert true.depths > 0.93
    for wrong in (small, large):
        assert wrong.silhouettes < 0.95
        assert wrong.depths < 0.05


def test_nothing_to_see_is_no_reason_to_fail():
    few = sphere(2, 0.1)
    faint = replace(few, opacities=np.full(2, 0.05))
    assert choose_surfacer(faint, look(faint)).surface == "density"

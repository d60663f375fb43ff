# SPDX-License-Identifier: GPL-3.0-or-later
"""The fit to the picture: what the camera sees comes nearer to it, what it cannot tell stays as the network had it."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import Cancelled, OptionError, PictureError
from engine.fields.cameras import Cameras, Photograph, intrinsics, look_at
from engine.fields.gaussians import Gaussians
from engine.fields.splats import read_splats
from engine.generators.agg import fit as fitting
from engine.generators.agg.fit import fit
from engine.generators.base import Imagined
from engine.options import MeshOptions, mesh_options
from engine.pipeline import picture_to_mesh
from engine.render.splat_cpu import render
from engine.render.splat_depth import seen_weights
from engine.training.metrics import psnr
from tests.engine.shapes import shell, sphere_points

Array = np.ndarray
WIDTH, HEIGHT = 200, 160
EYE = np.array([1.5, 1.2, 2.0])


def true_sphere(count: int = 3000) -> Gaussians:
    """Flat Gaussians, so that their three sizes differ; colours that change along the surface."""
    points, normals, spacing = sphere_points(count, 0.8)
    return shell(points, normals, spacing, 0.95, 0.5 + 0.4 * np.sin(4 * normals + [0, 1, 2]))


def photograph_of(gaussians: Gaussians) -> Photograph:
    viewmat, K = look_at(EYE, np.zeros(3)), intrinsics(45, WIDTH, HEIGHT)
    seen = render(gaussians, viewmat, K, WIDTH, HEIGHT)
    alphas = seen.alphas[..., None]
    return Photograph(np.concatenate([seen.colors / np.maximum(alphas, 1e-3), alphas], -1), viewmat, K)


def likeness(gaussians: Gaussians, photograph: Photograph, background: tuple[float, float, float]) -> float:
    """PSNR of what the photograph's camera sees, over a background."""
    seen = render(gaussians, photograph.viewmat, photograph.K, WIDTH, HEIGHT, background)
    alphas = photograph.rgba[..., 3:]
    return psnr(seen.colors, photograph.rgba[..., :3] * alphas + np.array(background) * (1 - alphas))


def depths(gaussians: Gaussians, photograph: Photograph) -> Array:
    return gaussians.means @ photograph.viewmat[2, :3] + photograph.viewmat[2, 3]


@pytest.fixture(scope="module")
def truth() -> Gaussians:
    return true_sphere()


@pytest.fixture(scope="module")
def photograph(truth) -> Photograph:
    return photograph_of(truth)


@pytest.fixture(scope="module")
def wrong(truth) -> Gaussians:
    """Too fat, washed out, and moved a little upwards."""
    return replace(
        truth,
        means=truth.means + np.array([0, 0.02, 0]),
        scales=truth.scales * 1.4,
        colors=0.6 * truth.colors + 0.2,
    )


@pytest.fixture(scope="module")
def fitted(wrong, photograph) -> Gaussians:
    return fit(wrong, photograph, 40)


@pytest.mark.slow
@pytest.mark.parametrize("background", [(0, 0, 0), (1, 1, 1), (0.1, 0.9, 0.2)])
def test_the_picture_is_drawn_better_before_any_background(wrong, fitted, photograph, background):
    assert likeness(fitted, photograph, background) > likeness(wrong, photograph, background) + 4


def test_depth_and_the_shape_of_each_gaussian_stay_the_networks(wrong, fitted, photograph):
    np.testing.assert_allclose(depths(fitted, photograph), depths(wrong, photograph), atol=1e-5)
    np.testing.assert_array_equal(fitted.quats, wrong.quats)
    np.testing.assert_array_equal(fitted.opacities, wrong.opacities)
    ratios = fitted.scales / wrong.scales
    np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:, :1], ratios.shape), rtol=1e-4)
    assert np.ptp(wrong.scales, axis=1).min() > 0  # or the line above would say nothing
    assert np.ptp(ratios[:, 0]) > 0.01


def test_what_the_camera_does_not_see_keeps_its_colour_and_size(wrong, fitted, photograph):
    weights = seen_weights(wrong, Cameras(photograph.viewmat[None], photograph.K[None], WIDTH, HEIGHT))[0]
    hidden, shown = weights < 1e-6, weights > 0.2
    assert hidden.sum() > 300
    for name in ("colors", "scales"):
        moved = np.abs(getattr(fitted, name) - getattr(wrong, name))
        assert moved[hidden].mean() < 0.02 * moved[shown].mean(), name
        assert moved[hidden].max() < 0.02, name


@pytest.mark.slow
def test_the_back_follows_the_front(truth, photograph):
    """A guess that is too high as a whole comes down as a whole, though only its front is seen."""
    high = replace(truth, means=truth.means + np.array([0, 0.03, 0]))
    down = (fit(high, photograph, 40).means - high.means) @ photograph.viewmat[1, :3]
    behind = depths(truth, photograph) > np.linalg.norm(EYE) + 0.1
    assert down[~behind].mean() > 0.005
    assert down[behind].mean() > 0.3 * down[~behind].mean()


def test_no_steps_give_the_very_same(wrong, photograph):
    assert fit(wrong, photograph, 0) is wrong
    nothing = wrong.select(np.zeros(len(wrong), bool))
    assert fit(nothing, photograph, 5) is nothing


def test_steps_that_lead_away_are_not_kept(wrong, photograph, monkeypatch):
    monkeypatch.setattr(fitting, "RATES", {name: 100 * rate for name, rate in fitting.RATES.items()})
    assert fit(wrong, photograph, 5) is wrong


def test_the_same_arguments_give_the_same_gaussians(wrong, photograph):
    first, second = fit(wrong, photograph, 4), fit(wrong, photograph, 4)
    for name in ("means", "scales", "opacities", "colors"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_progress_is_told_and_a_cancelled_fit_ends_at_once(wrong, photograph):
    told = []

    def report(stage: str, fraction: float, text: str) -> None:
        told.append((stage, fraction, text))
        if len(told) == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit(wrong, photograph, 50, report)
    assert [stage for stage, *_ in told] == ["fit"] * 4
    assert [fraction for _, fraction, _ in told] == pytest.approx([0, 0, 1 / 50, 2 / 50])
    assert "3 of 50" in told[-1][2]


def test_a_picture_with_nothing_opaque_is_refused_by_name(wrong, photograph):
    empty = replace(photograph, rgba=photograph.rgba * [1, 1, 1, 0.3])
    with pytest.raises(PictureError, match="nothing in it is opaque"):
        fit(wrong, empty, 5)


@pytest.mark.parametrize("count", [1, 2, 20])
def test_objects_of_a_pixel_and_fields_of_few_gaussians_go_through(photograph, count):
    dot = np.zeros_like(photograph.rgba)
    dot[HEIGHT // 2, WIDTH // 2] = (1, 0, 0, 1)
    points = np.random.default_rng(0).normal(0, 0.002, (count, 3))
    some = Gaussians(points, np.tile([1.0, 0, 0, 0], (count, 1)), np.full((count, 3), 0.003), np.full(count, 0.5),
                     np.full((count, 3), 0.5))  # fmt: skip
    result = fit(some, replace(photograph, rgba=dot), 10)
    assert len(result) == count
    assert result.colors[:, 0].mean() > 0.5 > result.colors[:, 1].mean()


def test_gaussians_all_at_one_place_or_beside_the_picture_come_back_whole(photograph):
    one_place = Gaussians(np.zeros((50, 3)), np.tile([1.0, 0, 0, 0], (50, 1)), np.full((50, 3), 0.3), np.full(50, 0.5),
                          np.full((50, 3), 0.5))  # fmt: skip
    assert len(fit(one_place, photograph, 5)) == 50
    beside = replace(one_place, means=one_place.means + np.array([30.0, 0, 0]))
    assert fit(beside, photograph, 5) is beside


@pytest.mark.slow
def test_many_steps_neither_diverge_nor_lose_the_prior(truth, photograph):
    few = truth.select(np.arange(len(truth)) % 4 == 0)
    few = replace(few, scales=few.scales * 2)
    result = fit(few, photograph, 1000)
    assert likeness(result, photograph, (1, 1, 1)) > likeness(few, photograph, (1, 1, 1)) + 1
    assert np.linalg.norm(result.means - few.means, axis=1).max() < 0.15
    assert 0.2 < (result.scales / few.scales).min() <= (result.scales / few.scales).max() < 5


def test_the_option_has_a_range():
    assert MeshOptions(fit=50).fit == 50
    with pytest.raises(OptionError, match="out of its range"):
        MeshOptions(fit=-1)
    with pytest.raises(OptionError, match="whole number"):
        mesh_options({"fit": 1.5})


@pytest.mark.slow
def test_pictures_are_fitted_on_request_before_splats_are_written(root, tmp_path, truth):
    """The generator's guess is flat and grey; with the option the splats written have the picture's colours."""

    class Grey:
        name = "grey"

        def generate(self, prompt, *, seed=0, report=None):
            height, width = prompt.shape[:2]
            K = intrinsics(45, width, height)
            guess = replace(truth, colors=np.full_like(truth.colors, 0.5))
            return Imagined(guess, Photograph(prompt, look_at(EYE, np.zeros(3)), K))

    options = MeshOptions(faces=2000, texture=128, resolution=64, photo=False, save_splats=True)
    colors, told = {}, []
    for steps in (0, 15):
        report = picture_to_mesh(
            root / "examples/mushroom.png", tmp_path / f"{steps}.glb", Grey(), replace(options, fit=steps),
            lambda *said: told.append(said),
        )  # fmt: skip
        assert ("fit" in report["seconds"]) == (steps > 0)
        colors[steps] = read_splats(tmp_path / f"{steps}.ply").colors
    assert np.ptp(colors[0]) < 0.01
    assert np.ptp(colors[15]) > 0.1
    fractions = [fraction for stage, fraction, _ in told if stage == "fit"]
    assert len(fractions) > 15
    assert fractions == sorted(fractions)

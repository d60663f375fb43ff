# SPDX-License-Identifier: GPL-3.0-or-later
"""The object is found on plain, graded and grainy backgrounds; where that cannot be trusted, the matte says so."""

from functools import cache
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from engine.errors import PictureError
from engine.image.load import Picture
from engine.image.matte import CONFIDENT, classical_matte, matte

SIDE = 300


def coordinates(side=SIDE):
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    return x, y


@cache
def cup(side=SIDE, supersample=4):
    """Coverage [side, side] of a cup: a body, and a handle one can see through."""
    x, y = coordinates(side * supersample)
    body = (np.abs(x + 0.1) < 0.42 - 0.1 * y) & (np.abs(y) < 0.55)
    radius = np.hypot(x - 0.42, (y - 0.0) / 1.1)
    handle = (radius < 0.3) & (radius > 0.2)
    covered = (body | handle).astype(np.float32)
    coverage = covered.reshape(side, supersample, side, supersample).mean((1, 3))
    coverage.flags.writeable = False
    return coverage


def decorated(side=SIDE):
    """Colours [side, side, 3] of the cup: bands of terracotta and blue with a little shading."""
    x, y = coordinates(side)
    bands = (np.sin(12 * y) > 0)[..., None]
    color = np.where(bands, (0.75, 0.33, 0.2), (0.15, 0.25, 0.55))
    return color * (1 - 0.25 * x[..., None])


def plain(color):
    return lambda: np.broadcast_to(np.array(color, float), (SIDE, SIDE, 3))


def slope():
    x, y = coordinates()
    return np.stack([0.75 + 0.12 * x, 0.78 + 0.1 * y, 0.8 - 0.1 * x], -1)


def vignette():
    x, y = coordinates()
    return (0.85 - 0.18 * (x**2 + y**2))[..., None] * np.array([1.0, 0.97, 0.9])


def wall_and_floor():
    """A table's edge a little below the object."""
    _, y = coordinates()
    mix = (1 / (1 + np.exp(-(y - 0.65) / 0.01)))[..., None]
    return (1 - mix) * np.array([0.55, 0.65, 0.8]) + mix * np.array([0.75, 0.72, 0.68])


BACKGROUNDS = {
    "white": plain((1, 1, 1)),
    "black": plain((0, 0, 0)),
    "green screen": plain((0.1, 0.7, 0.2)),
    "slope": slope,
    "vignette": vignette,
    "wall and floor": wall_and_floor,
}


def composed(background, noise=0.0, jpeg=0, coverage=None):
    """The cup before `background`, as a picture without alpha, with grain and compression."""
    alpha = (cup() if coverage is None else coverage)[..., None]
    rgb = decorated() * alpha + background * (1 - alpha)
    rgb = rgb + np.random.default_rng(0).normal(0, noise, rgb.shape)
    image = Image.fromarray((np.clip(rgb, 0, 1) * 255).round().astype(np.uint8))
    if jpeg:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=jpeg)
        image = Image.open(buffer)
    rgba = np.concatenate([np.asarray(image, np.float32) / 255, np.ones((*image.size[::-1], 1), np.float32)], -1)
    return Picture(rgba, False)


def overlap(alpha, truth):
    """Intersection over union of two regions."""
    found, true = alpha > 0.5, truth > 0.5
    return (found & true).sum() / (found | true).sum()


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize(("noise", "jpeg"), [(0, 0), (0.04, 0), (0.01, 75)])
def test_the_object_is_found(background, noise, jpeg):
    cut = matte(composed(BACKGROUNDS[background](), noise, jpeg))
    assert overlap(cut.rgba[..., 3], cup()) > 0.94
    assert cut.confidence >= CONFIDENT
    assert cut.warning == ""


def test_a_handle_has_a_hole_but_a_white_label_has_none():
    """The background is seen through the handle; a label of nearly its colour, with its own shading, is the cup's."""
    x, y = coordinates()
    picture = composed(plain((1, 1, 1))())
    label = (np.abs(x + 0.1) < 0.2) & (np.abs(y) < 0.2)
    picture.rgba[label, :3] = (0.93 - 0.06 * x[..., None] + np.zeros(3))[label]
    alpha = matte(picture).rgba[..., 3]
    assert alpha[SIDE // 2, int(SIDE * (1 + 0.46) / 2)] == 0
    assert (alpha[label] == 1).all()


def test_shading_that_passes_through_the_backgrounds_grey_is_no_hole():
    x, y = coordinates()
    region = np.hypot(x, y) < 0.6
    stone = 0.85 - 0.351 * np.exp(-(x**2 + y**2) / 0.05)
    rgba = np.full((SIDE, SIDE, 4), 0.5, np.float32)
    rgba[region, :3] = stone[region, None]
    rgba[..., 3] = 1
    assert overlap(matte(Picture(rgba, False)).rgba[..., 3], region) > 0.99


def test_an_object_that_touches_the_border():
    coverage = np.roll(cup(), int(0.24 * SIDE), axis=0)
    coverage[: SIDE // 3] = 0
    cut = matte(composed(slope(), 0.01, coverage=coverage))
    assert coverage[-1].any()
    assert overlap(cut.rgba[..., 3], coverage) > 0.95


@pytest.mark.parametrize("background", [slope, vignette])
@pytest.mark.parametrize("color", [(0.3, 0.3, 0.35), (0.6, 0.65, 0.7)])
def test_an_object_along_half_the_border(background, color):
    """Seven tenths of the lower border and the right one too are the object's; it must not bend the model."""
    x, y = coordinates()
    coverage = ((np.abs(x) < 0.7) & (y > -0.2)) | ((np.abs(y) < 0.3) & (x > 0))
    picture = composed(background(), 0.005, coverage=np.zeros((SIDE, SIDE)))
    picture.rgba[coverage, :3] = color
    cut = matte(picture)
    assert overlap(cut.rgba[..., 3], coverage) > 0.97
    assert cut.confidence >= CONFIDENT


def pale_ball(contrast, noise=0.0):
    """A picture of a ball whose rim hardly differs from the graded wall behind it, and its region."""
    x, y = coordinates()
    radius = np.hypot(x, y) / 0.55
    coverage = ndimage.gaussian_filter((radius < 1).astype(float), 1)[..., None]
    wall = 0.8 - 0.2 * y[..., None] + np.array([-0.05, 0, 0.03])
    ball = wall + contrast * (1.6 - 1.2 * radius[..., None])
    rgb = ball * coverage + wall * (1 - coverage) + np.random.default_rng(0).normal(0, noise, (SIDE, SIDE, 3))
    rgba = np.concatenate([np.clip(rgb, 0, 1), np.ones((SIDE, SIDE, 1))], -1)
    return Picture(rgba.astype(np.float32), False), radius < 1


@pytest.mark.parametrize("contrast", [0.1, -0.1])
def test_an_object_of_nearly_the_background_is_not_eaten_from_its_rim(contrast):
    picture, region = pale_ball(contrast)
    assert overlap(matte(picture).rgba[..., 3], region) > 0.95


def test_an_object_lost_in_grain_is_told():
    picture, region = pale_ball(0.1, noise=0.015)
    cut = matte(picture)
    assert cut.warning or overlap(cut.rgba[..., 3], region) > 0.9
    alone = classical_matte(np.ascontiguousarray(picture.rgba[..., :3]))
    assert alone.confidence < CONFIDENT


@pytest.mark.parametrize("size", [(40, 40), (60, 400), (900, 1400)])
def test_small_long_and_large_pictures(size):
    rows, columns = size
    y, x = np.mgrid[:rows, :columns]
    disc = np.hypot((x - columns / 2), (y - rows / 2)) < 0.3 * min(size)
    rgba = np.ones((*size, 4), np.float32)
    rgba[disc, :3] = (0.1, 0.3, 0.6)
    assert overlap(matte(Picture(rgba, False)).rgba[..., 3], disc) > 0.97


def test_the_edge_is_soft_and_free_of_the_background():
    """Half covered pixels keep half their alpha, and none of the green behind them."""
    x, y = coordinates(4 * SIDE)
    disc = (np.hypot(x, y) < 0.6).astype(np.float32).reshape(SIDE, 4, SIDE, 4).mean((1, 3))
    rgb = disc[..., None] * np.array([0.8, 0.1, 0.2]) + (1 - disc[..., None]) * np.array([0.1, 0.8, 0.2])
    picture = Picture(np.concatenate([rgb, np.ones((SIDE, SIDE, 1))], -1).astype(np.float32), False)
    rgba = matte(picture).rgba
    partly = (disc > 0.2) & (disc < 0.8)
    assert np.abs(rgba[partly, 3] - disc[partly]).mean() < 0.08
    assert rgba[..., 3].sum() == pytest.approx(disc.sum(), rel=0.01)
    visible = rgba[..., 3] > 0.1
    assert np.abs(rgba[visible, :3] - (0.8, 0.1, 0.2)).max() < 0.12


def test_the_users_alpha_wins():
    rgba = composed(plain((1, 1, 1))()).rgba.copy()
    rgba[..., 3] = 0
    rgba[10:50, 20:90, 3] = 1
    cut = matte(Picture(rgba, True))
    np.testing.assert_array_equal(cut.rgba, rgba)
    assert (cut.confidence, cut.warning) == (1, "")


@pytest.mark.parametrize("background", ["white", "vignette"])
def test_nothing_but_background_is_refused(background):
    nothing = np.zeros((SIDE, SIDE))
    with pytest.raises(PictureError, match="no object"):
        matte(composed(BACKGROUNDS[background](), 0.01, coverage=nothing))


def rubble():
    """Blotches of every colour, a few pixels to a third of the picture wide."""
    rng = np.random.default_rng(3)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 255, (n, n, 3), np.uint8)).resize((SIDE, SIDE), 1), float) / 255
        for n in (4, 9, 30, 100)
    ]
    return np.mean(layers, 0)


def bricks():
    """A wall: rows of bricks of slightly different reds, with mortar between them."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    row = rows // 22
    column = (columns + 25 * (row % 2)) // 50
    mortar = (rows % 22 < 3) | ((columns + 25 * (row % 2)) % 50 < 3)
    shade = 0.75 + 0.4 * np.random.default_rng(5).random((20, 20))[row, column]
    return np.where(mortar[..., None], (0.8, 0.78, 0.75), shade[..., None] * np.array([0.6, 0.3, 0.22]))


@pytest.mark.slow
@pytest.mark.parametrize("background", [rubble, bricks])
def test_a_busy_background_is_told(background):
    picture = composed(background(), 0.02)
    assert classical_matte(np.ascontiguousarray(picture.rgba[..., :3])).confidence < CONFIDENT
    cut = matte(picture)
    assert "background" in cut.warning or overlap(cut.rgba[..., 3], cup()) > 0.85

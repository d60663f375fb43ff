# SPDX-License-Identifier: GPL-3.0-or-later
"""The learned matte: what the network is shown, how its coarse matte meets the picture's edges, and who is believed."""

import numpy as np
import pytest
from scipy import ndimage

from engine.errors import PictureError, WeightsError
from engine.image import learned_matte, matte
from engine.image.border import hints
from engine.image.edges import refined
from engine.image.learned_matte import Guess, LearnedMatte, expected_overlap, letterboxed
from engine.image.load import Picture

SIDE = 240


def disc(side=SIDE, radius=0.6, x=0.0):
    """Coverage [side, side] of a disc, antialiased."""
    axis = (np.arange(4 * side) + 0.5) / (2 * side) - 1
    covered = np.hypot(axis[None] - x, axis[:, None]) < radius
    return covered.reshape(side, 4, side, 4).mean((1, 3)).astype(np.float32)


def before(coverage, background, color=(0.8, 0.15, 0.2)):
    return (coverage[..., None] * np.array(color) + (1 - coverage[..., None]) * background).astype(np.float32)


def checks(side=SIDE):
    """A chessboard of green and grey: nothing a smooth background could explain."""
    rows, columns = np.mgrid[:side, :side] // 15
    return np.where(((rows + columns) % 2)[..., None], (0.2, 0.6, 0.3), (0.7, 0.7, 0.65))


class Told(LearnedMatte):
    """Stands for the network: a given coarse matte, and given chances."""

    def __init__(self, alpha, learned, classical):
        self.alpha, self.given = alpha, (learned, classical)

    def look(self, rgb):
        return Guess(self.alpha, 0.9)

    def chances(self, score, confidence, agreement):
        return self.given


def coarse(coverage):
    return np.ascontiguousarray(ndimage.zoom(coverage, 0.5, order=1)).astype(np.float32)


def overlap(found, truth):
    a, b = found > 0.5, truth > 0.5
    return (a & b).sum() / (a | b).sum()


def test_hints_tell_the_object_from_a_graded_and_from_a_chequered_border():
    truth = disc()
    graded = 0.6 + 0.2 * np.linspace(-1, 1, SIDE)[:, None, None] + np.zeros((SIDE, SIDE, 3))
    distance = hints(before(truth, graded))[..., 0]
    assert distance[truth == 1].min() > 0.5 > distance[truth == 0].max()
    rarity = hints(before(truth, checks()))[..., 1]
    assert rarity[truth == 1].min() > 0.9
    assert rarity[truth == 0].mean() < 0.1


@pytest.mark.parametrize("size", [(300, 200), (40, 400), (8, 1200), (512, 512)])
def test_a_letterbox_holds_the_whole_picture_in_the_middle(size):
    rgb = np.random.default_rng(0).random((*size, 3)).astype(np.float32)
    planes, (top, bottom, left, right) = letterboxed(rgb, 192)
    assert planes.shape == (6, 192, 192)
    assert (bottom - top) / (right - left) == pytest.approx(size[0] / size[1], abs=1 / 192)
    assert abs(top - (192 - bottom)) <= 1
    assert abs(left - (192 - right)) <= 1
    inside = np.zeros((192, 192))
    inside[top:bottom, left:right] = 1
    np.testing.assert_array_equal(planes[3], inside)
    assert (planes[:, inside == 0] == 0).all()


def test_the_expected_overlap_is_that_of_certain_and_of_doubtful_mattes():
    truth = (disc() > 0.5).astype(np.float32)
    assert expected_overlap(truth) == 1
    assert expected_overlap(0 * truth) == 0
    assert expected_overlap(0.6 * truth + 0.2 * (1 - truth)) == pytest.approx(
        0.6 * truth.sum() / (truth.sum() + 0.2 * (1 - truth).sum()), rel=1e-4
    )


@pytest.mark.parametrize("background", [np.ones(3), checks()])
def test_a_coarse_matte_meets_the_edges_of_the_picture(background):
    """A matte at a quarter of the size, soft over several pixels, becomes one whose edge is where the disc's is."""
    truth = disc()
    alpha = np.clip(ndimage.gaussian_filter(truth.reshape(60, 4, 60, 4).mean((1, 3)), 1), 0, 1)
    rgba = refined(before(truth, background), alpha)
    assert overlap(rgba[..., 3], truth) > 0.985
    assert rgba[..., 3].sum() == pytest.approx(truth.sum(), rel=0.02)
    assert (rgba[..., 3][np.asarray(ndimage.distance_transform_edt(truth == 0)) > 6] == 0).all()
    assert (rgba[..., 3][np.asarray(ndimage.distance_transform_edt(truth == 1)) > 6] == 1).all()


def test_no_rim_of_the_background_is_left():
    truth = disc()
    rgba = refined(before(truth, np.array([0.1, 0.8, 0.2])), truth.reshape(60, 4, 60, 4).mean((1, 3)))
    assert np.abs(rgba[rgba[..., 3] > 0.1][:, :3] - (0.8, 0.15, 0.2)).max() < 0.15


def test_the_likelier_matte_is_taken_and_its_chance_is_the_confidence():
    truth = disc()
    rgb, elsewhere = before(truth, np.ones(3)), coarse(disc(radius=0.3, x=0.5))
    learned = matte.chosen(rgb, Told(elsewhere, 0.8, 0.7))
    assert (learned.confidence, overlap(learned.rgba[..., 3], truth) < 0.5) == (0.8, True)
    classical = matte.chosen(rgb, Told(elsewhere, 0.7, 0.8))
    assert (classical.confidence, overlap(classical.rgba[..., 3], truth) > 0.99) == (0.8, True)


def test_what_the_network_leaves_open_within_the_object_is_no_hole():
    truth = disc()
    holed = truth.copy()
    holed[110:130, 110:130] = 0
    cut = matte.chosen(before(truth, np.ones(3)), Told(coarse(holed), 0.8, 0.7))
    assert (cut.confidence, overlap(cut.rgba[..., 3], truth) > 0.99) == (0.8, True)


def test_holes_are_mended_where_the_classical_matte_sees_none_and_shadows_stay_out():
    y, x = np.mgrid[:120, :120]
    truth = np.hypot(x - 60, y - 50) < 36
    handle = np.hypot(x - 60, y - 50) < 8  # a hole that is one
    found = truth & ~handle
    letters = (abs(y - 70) < 3) & (abs(x - 60) < 20)
    notch = (abs(y - 30) < 2) & (x > 70)  # a crack that reaches the outline
    shadow = (y > 84) & (y < 96) & (abs(x - 60) < 50)
    learned = (found & ~letters & ~notch).astype(np.float32)
    mended = matte.mended(learned, found | shadow) > 0.5
    assert not mended[handle].any()
    assert mended[letters & found].all()
    assert mended[notch & found].mean() > 0.9
    assert (mended & shadow & ~truth).sum() < 0.02 * shadow.sum()
    assert np.array_equal(matte.mended(truth.astype(np.float32), truth) > 0.5, truth)


def test_where_the_network_finds_nothing_the_classical_matte_is_asked():
    truth = disc()
    found = matte.chosen(before(truth, np.ones(3)), Told(np.zeros((120, 120), np.float32), 0.9, 0.4))
    assert overlap(found.rgba[..., 3], truth) > 0.99
    assert found.confidence == 0.4


def test_nothing_but_background_is_refused_unless_the_network_is_sure():
    empty, seen = np.full((SIDE, SIDE, 3), 0.8, np.float32), coarse(disc())
    for alpha, chance in ((seen, 0.1), (0 * seen, 0.9)):
        with pytest.raises(PictureError, match="no object"):
            matte.chosen(empty, Told(alpha, chance, 0.05))
    assert matte.chosen(empty, Told(seen, 0.6, 0.05)).confidence == 0.6


def picture(rgb):
    return Picture(np.concatenate([rgb, np.ones_like(rgb[..., :1])], -1), False)


def test_two_objects_are_kept_and_told(monkeypatch):
    monkeypatch.setattr(matte, "bundled_matte", lambda: None)
    both = disc(radius=0.3, x=-0.45) + disc(radius=0.25, x=0.45)
    cut = matte.matte(picture(before(both, np.ones(3))))
    assert overlap(cut.rgba[..., 3], both) > 0.98
    assert "2 separate objects" in cut.warning
    one = disc(radius=0.4) + disc(radius=0.03, x=0.8)
    assert matte.matte(picture(before(one, np.ones(3)))).warning == ""


def test_without_weights_or_with_damaged_ones_the_classical_matte_stays(monkeypatch, tmp_path):
    truth = disc()
    rgb = before(truth, np.ones(3))
    monkeypatch.setattr(learned_matte, "WEIGHTS", tmp_path / "matte.onnx")
    monkeypatch.setattr(matte, "bundled_matte", learned_matte.bundled_matte.__wrapped__)
    cut = matte.matte(picture(rgb))
    assert (cut.warning, overlap(cut.rgba[..., 3], truth) > 0.99) == ("", True)
    (tmp_path / "matte.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError):
        learned_matte.bundled_matte.__wrapped__()
    cut = matte.matte(picture(rgb))
    assert "learned matte could not be used" in cut.warning
    assert overlap(cut.rgba[..., 3], truth) > 0.99

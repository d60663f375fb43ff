# SPDX-License-Identifier: GPL-3.0-or-later
"""A splat file becomes the object to be meshed: upright, centred, without what is not the object, and told so."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.conventions import OBJECT_EXTENT
from engine.errors import OptionError, SplatFileError
from engine.fields.gaussians import Gaussians, view_colors
from engine.fields.splats import prepare_splats
from tests.engine import shapes


def splats(means, size=0.02, opacity=0.9, sh=None):
    means = np.asarray(means, np.float32)
    random = np.random.default_rng(len(means))
    count = len(means)
    scales = np.broadcast_to(np.asarray(size, np.float32).reshape(-1, 1), (count, 3)) * random.uniform(
        0.5, 1, (count, 3)
    )
    opacities = np.broadcast_to(np.asarray(opacity, np.float32), count)
    return Gaussians(means, random.normal(size=(count, 4)), scales, opacities, random.uniform(0, 1, (count, 3)), sh)


def joined(*parts):
    names = ("means", "quats", "scales", "opacities", "colors")
    return Gaussians(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def sphere_points(count):
    return shapes.sphere_points(count)[0]


def ball(count=4000, radius=1.0, center=(0, 0, 0)):
    return splats(radius * sphere_points(count) + np.asarray(center), 0.02 * radius)


def ground(y, reach, count=4000):
    """A disc whose Gaussians grow sparser and larger outwards, as they do in captures."""
    random = np.random.default_rng(1)
    radius, angle = reach * random.uniform(0, 1, count), random.uniform(0, 2 * np.pi, count)
    means = np.stack([radius * np.cos(angle), random.normal(y, 0.005, count), radius * np.sin(angle)], 1)
    return splats(means, 0.01 + 0.02 * radius)


def far_away(count=3000, near=8, far=80):
    random = np.random.default_rng(2)
    directions = random.normal(size=(count, 3))
    distances = np.exp(random.uniform(np.log(near), np.log(far), count))
    means = distances[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return splats(means, 0.03 * distances)


TURNS = {"y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]], "-y": np.diag([1, -1, -1])}


@pytest.mark.parametrize("up", TURNS)
def test_what_was_up_in_the_file_is_up(up):
    file_up = {"y": [0, 1, 0], "z": [0, 0, 1], "-y": [0, -1, 0]}[up]
    base = sphere_points(2000) * [1, 0.5, 0.25]
    tower = np.asarray(file_up) * np.linspace(0, 3, 500)[:, None]
    prepared = prepare_splats(splats(np.concatenate([base, tower])), up)
    assert prepared.gaussians.means[np.argmax(np.abs(prepared.gaussians.means).max(1)), 1] > 0.8


@pytest.mark.parametrize("up", TURNS)
def test_shapes_and_colours_turn_with_the_object(up):
    random = np.random.default_rng(0)
    before = splats(random.normal(size=(200, 3)), 0.2, sh=random.normal(0, 0.1, (200, 15, 3)))
    prepared = prepare_splats(before, up, keep_all=True)
    turn = np.array(TURNS[up], float)
    np.testing.assert_allclose(
        prepared.gaussians.covariances() * prepared.scale**2, turn @ before.covariances() @ turn.T, atol=1e-6
    )
    views = random.normal(size=(200, 3))
    np.testing.assert_allclose(view_colors(prepared.gaussians, views @ turn.T), view_colors(before, views), atol=1e-3)


@pytest.mark.parametrize("up", TURNS)
@pytest.mark.parametrize(("size", "center"), [(1.0, (0, 0, 0)), (0.003, (5, 6, 7)), (4000.0, (-90_000, 0, 300_000))])
def test_size_and_place_can_be_undone(up, size, center):
    before = ball(2000, size / 2, center)
    prepared = prepare_splats(before, up)
    back = prepared.scale * prepared.gaussians.means.astype(np.float64) + prepared.center
    np.testing.assert_allclose(
        back, before.means @ np.array(TURNS[up]).T, atol=1e-6 * np.abs(center).max() + size * 1e-6
    )
    low, high = prepared.gaussians.bounds()
    assert 0.9 * OBJECT_EXTENT < (high - low).max() <= OBJECT_EXTENT
    assert np.abs(low + high).max() < 0.05
    assert prepared.notes == []


def test_unknown_up():
    with pytest.raises(OptionError, match="up is 'x'"):
        prepare_splats(ball(), "x")


def test_crop_box_is_in_the_frame_of_the_file():
    before = joined(ball(1000), ball(500, 1, (5, 0, 0)))
    prepared = prepare_splats(before, "-y", crop=(3.5, -2, -2, 7, 2, 2))
    assert len(prepared.gaussians) == 500
    np.testing.assert_allclose(prepared.center, [5, 0, 0], atol=0.05)
    assert "1,000 of 1,500 Gaussians lie outside the crop box" in prepared.notes[0]
    with pytest.raises(SplatFileError, match="No Gaussian lies in the crop box") as caught:
        prepare_splats(before, crop=(100, 100, 100, 101, 101, 101))
    assert "between -1, -0.999, -0.999 and 6, 0.999, 0.999" in caught.value.hint


def test_what_cannot_be_seen_is_left_out():
    faint = splats(sphere_points(300), opacity=0.003)
    prepared = prepare_splats(joined(ball(), faint))
    assert len(prepared.gaussians) == 4000
    assert prepared.notes == ["300 Gaussians with an opacity below 1/255 cannot be seen and were left out."]
    with pytest.raises(SplatFileError, match=r"All 300 Gaussians are transparent: the highest opacity is 0\.003"):
        prepare_splats(faint)


def test_haze_as_large_as_the_object_is_left_out():
    haze = splats(np.random.default_rng(0).uniform(-1, 1, (20, 3)), 8.0)
    prepared = prepare_splats(joined(ball(), haze))
    assert len(prepared.gaussians) == 4000
    assert "20 Gaussians as large as the object" in prepared.notes[0]


@pytest.mark.parametrize("count", [1, 2, 3, 100])
@pytest.mark.parametrize("same", [True, False])
def test_few_or_coincident_gaussians_stay_in_the_frame(count, same):
    means = np.random.default_rng(0).normal(size=(count, 3))
    prepared = prepare_splats(splats(means[:1].repeat(count, 0) if same else means))
    assert len(prepared.gaussians) == count
    assert np.isfinite(prepared.gaussians.means).all()
    assert np.abs(prepared.gaussians.means).max() <= 1
    assert prepared.gaussians.scales.max() <= OBJECT_EXTENT


def scene(object_):
    """An object on the ground, trees and sky, some haze: the object's Gaussians come first."""
    low = object_.means[:, 1].min()
    haze = splats(np.random.default_rng(3).uniform(-4, 4, (200, 3)), 0.1, 0.1)
    return joined(object_, ground(low - 0.01, 8), far_away(), haze)


def turned(gaussians, angles):
    return gaussians.rotated(Rotation.from_euler("xyz", angles, degrees=True).as_matrix())


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 30, 40)])
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_the_object_of_a_scene_is_found_and_all_of_it(angles, shift):
    object_ = ball(6000)
    whole = turned(scene(object_), angles).scaled(1.0, np.array([shift, 0, 0]))
    prepared = prepare_splats(whole)
    assert "whole scene" in prepared.notes[-1]
    back = prepared.scale * prepared.gaussians.means + prepared.center - [shift, 0, 0]
    distances = np.linalg.norm(back, axis=1)
    assert (distances < 1.001).sum() >= 0.995 * 6000
    assert np.quantile(distances, 0.995) < 1.5  # the ground under the ball
    assert distances.max() < 2.5  # haze close to it
    assert np.linalg.norm(prepared.center - [shift, 0, 0]) < 0.2


def test_keep_all_keeps_all_of_a_scene():
    whole = scene(ball(6000))
    prepared = prepare_splats(whole, keep_all=True)
    assert len(prepared.gaussians) == len(whole)
    assert prepared.notes == []


def test_detached_parts_of_an_object_in_a_scene_stay_with_it():
    body = ball(6000)
    earring = ball(60, 0.06, (0, 0.9, 1.15))
    cushion = splats(sphere_points(1500) * [0.8, 0.1, 0.8] + np.array([0, 1.25, 0]))
    prepared = prepare_splats(scene(joined(body, earring, cushion)))
    back = prepared.scale * prepared.gaussians.means + prepared.center
    assert (np.linalg.norm(back - [0, 0.9, 1.15], axis=1) < 0.07).sum() >= 55
    assert (back[:, 1] > 1.1).sum() >= 1400


def test_legs_stay_and_the_ground_between_them_goes():
    random = np.random.default_rng(0)
    seat = random.uniform(-1, 1, (3000, 3)) * [1, 0.05, 1] + [0, 1, 0]
    legs = [random.normal(0, 0.05, (700, 3)) * [1, 0, 1] + [x, 0, z] for x in (-0.8, 0.8) for z in (-0.8, 0.8)]
    for leg in legs:
        leg[:, 1] = random.uniform(-1, 1, 700)
    stool = splats(np.concatenate([seat, *legs]))
    prepared = prepare_splats(scene(stool))
    back = prepared.scale * prepared.gaussians.means + prepared.center
    near_legs = (np.abs(np.abs(back[:, [0, 2]]) - 0.8) < 0.3).all(1)
    assert (near_legs & (back[:, 1] < 0.9)).sum() > 0.95 * 2800
    assert (~near_legs & (back[:, 1] < 0.9)).sum() < 0.01 * len(stool)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([ball(5000), ball(500, 0.3, (4, 0, 0))], id="two things apart"),
        pytest.param([ball(5000), ball(500, 0.05, (0, 0, 1.2))], id="a dense detail"),
        pytest.param([splats(sphere_points(5000) * [1, 0.02, 1])], id="a plate"),
        pytest.param([ball(5000), ground(-1, 1.5, 2000)], id="a statue on its base"),
        pytest.param(
            [ball(4000), splats(np.random.default_rng(0).uniform(-2, 2, (150, 3)), 0.05, 0.1)], id="with floaters"
        ),
    ],
)  # fmt: skip
def test_objects_are_no_scenes(parts):
    whole = joined(*parts)
    prepared = prepare_splats(whole)
    assert len(prepared.gaussians) == len(whole)
    assert prepared.notes == []


READ_AND_PREPARE = """
import resource, sys
from engine.fields.splats import prepare_splats, read_splats
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepared = prepare_splats(read_splats(sys.argv[1]), "z")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(prepared.gaussians), (peak - start) * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell the peak of memory this way")
def test_memory_is_bounded_for_a_file_of_captured_splats(tmp_path):
    """At most 450 bytes for each Gaussian of degree 3, which takes 248 in the file: 2 million fit into 1 GB."""
    count, random = 500_000, np.random.default_rng(0)
    names = [*"xyz", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(45)), "opacity"]
    names += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    rows = random.normal(0, 0.3, (count, len(names))).astype("<f4")
    rows[:, :3] /= np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
    rows[:, names.index("scale_0") : names.index("rot_0")] -= 6
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in names]
    (tmp_path / "a.ply").write_bytes(("\n".join([*header, "end_header"]) + "\n").encode() + rows.tobytes())
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_PREPARE, str(tmp_path / "a.ply")], capture_output=True, text=True, check=True
    )
    kept, peak = map(int, done.stdout.split())
    assert kept == count
    assert peak < 450 * count

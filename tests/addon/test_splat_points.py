# SPDX-License-Identifier: GPL-3.0-or-later
"""The .ply of splats as Blender needs it: z up, activated, nothing lost; and what the engine writes is read."""

import numpy as np
import pytest

from addon.files.splat_points import SplatPointsError, read_splat_points
from engine.fields.gaussians import Gaussians
from engine.fields.splats import write_splats
from tests.fakes.known_splats import SPLATS, write_known_splats


def test_known_splats_stand_z_up_with_their_sizes_axes_and_colours(tmp_path):
    write_known_splats(tmp_path / "a.ply", 2.0)
    points = read_splat_points(tmp_path / "a.ply")
    assert len(points) == len(SPLATS)
    for number, splat in enumerate(SPLATS):
        x, y, z = splat.mean
        np.testing.assert_allclose(points.means[number], (2 * x, -2 * z, 2 * y), atol=1e-6)
        np.testing.assert_allclose(points.scales[number], splat.scales, rtol=1e-5)
        np.testing.assert_allclose(points.opacities[number], splat.opacity, rtol=1e-4)
        w, qx, qy, qz = points.quats[number]
        axes = np.array([
            [1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - w * qz), 2 * (qx * qz + w * qy)],
            [2 * (qx * qy + w * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - w * qx)],
            [2 * (qx * qz - w * qy), 2 * (qy * qz + w * qx), 1 - 2 * (qx * qx + qy * qy)],
        ])  # fmt: skip
        assert abs(axes[:, np.argmax(splat.scales)] @ splat.long_axis) > 0.9999
    np.testing.assert_allclose(points.colors[3, :3], 0.2140, atol=1e-3)  # linear of sRGB 0.5
    assert {"extra", "opacity", "scale_1", "rot_3", "f_dc_2"} <= points.raw.keys()
    np.testing.assert_array_equal(points.raw["extra"], 7)


def test_what_the_engine_saves_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    count = 500
    quats = rng.normal(size=(count, 4))
    gaussians = Gaussians(
        rng.normal(size=(count, 3)), quats, rng.uniform(0.01, 0.1, (count, 3)), rng.uniform(0, 1, count),
        rng.uniform(0, 1, (count, 3)), rng.normal(size=(count, 3, 3)),
    )  # fmt: skip
    write_splats(tmp_path / "a.ply", gaussians)
    points = read_splat_points(tmp_path / "a.ply")
    np.testing.assert_allclose(points.means, gaussians.means[:, [0, 2, 1]] * [1, -1, 1], rtol=1e-6)
    np.testing.assert_allclose(points.opacities, gaussians.opacities, atol=1e-5)
    assert {f"f_rest_{i}" for i in range(9)} <= points.raw.keys()


def test_broken_rows_are_left_out_and_a_zero_quaternion_is_no_turn(tmp_path):
    path = tmp_path / "a.ply"
    write_known_splats(path)
    content = bytearray(path.read_bytes())
    row = (len(content) - content.index(b"end_header\n") - 11) // len(SPLATS)
    start = len(content) - row * len(SPLATS)
    content[start : start + 4] = np.float32(np.nan).tobytes()
    content[start + row + 13 * 4 : start + row + 17 * 4] = bytes(16)
    path.write_bytes(content)
    points = read_splat_points(path)
    assert len(points) == len(SPLATS) - 1
    np.testing.assert_allclose(points.quats[0], [np.sqrt(0.5), np.sqrt(0.5), 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a PLY"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nend_header\n", "little endian"),
        (b"ply\nformat binary_little_endian 1.0\nelement face 1\nend_header\n", "vertices"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty list uchar int v\nend_header\n", "numbers"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n0000", "lacks y"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\nend_header\n0000", "truncated"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex x\nproperty float x\nend_header\n0000", "header"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, words):
    path = tmp_path / "other.ply"
    path.write_bytes(content)
    with pytest.raises(SplatPointsError, match=words) as caught:
        read_splat_points(path)
    assert "other.ply" in str(caught.value)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The splat rasteriser equals its float64 specification, and shows what a pinhole camera would."""

import numba
import numpy as np
import pytest
import torch

from engine.fields.cameras import intrinsics, look_at, orbit
from engine.fields.gaussians import Gaussians
from engine.render import splat_cpu, splat_reference
from engine.render.splat_torch import rasterize, rasterize_views

NAMES = ("means", "quats", "scales", "opacities", "colors")


def cloud(count, seed=0, low=0.02, high=0.15, spread=0.8):
    """Float32 inputs of a random cloud around the origin."""
    random = np.random.default_rng(seed)
    arrays = {
        "means": random.uniform(-spread, spread, (count, 3)),
        "quats": random.normal(size=(count, 4)),
        "scales": np.exp(random.uniform(np.log(low), np.log(high), (count, 3))),
        "opacities": 1 / (1 + np.exp(-random.normal(1, 1.5, count))),
        "colors": random.uniform(0, 1, (count, 3)),
    }
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def with_values(arrays, **changes):
    """The same Gaussians with some values of the first few replaced."""
    arrays = {name: value.copy() for name, value in arrays.items()}
    for name, values in changes.items():
        arrays[name][: len(values)] = values
    return arrays


def views_of(arrays, cameras, backgrounds):
    return splat_cpu.forward(
        *(arrays[name] for name in NAMES),
        cameras.viewmats.astype(np.float64),
        cameras.Ks.astype(np.float64),
        cameras.width,
        cameras.height,
        np.asarray(backgrounds, np.float32),
    )


def reference_of(tensors, cameras, index, background):
    return splat_reference.render(
        *tensors,
        torch.from_numpy(cameras.viewmats[index]).double(),
        torch.from_numpy(cameras.Ks[index]).double(),
        cameras.width,
        cameras.height,
        torch.tensor(background, dtype=torch.float64),
    )


def one(mean, scale=0.02, opacity=0.9, color=(1.0, 1.0, 1.0), quat=(1.0, 0.0, 0.0, 0.0)):
    return Gaussians(np.array([mean]), np.array([quat]), np.full((1, 3), scale), np.array([opacity]), np.array([color]))


FRONT = look_at((0, 0, 3), (0, 0, 0))

CASES = {
    "square": (cloud(300), orbit([20.0, 110.0], [15.0, -40.0], 2.5, 50, 48, 48)),
    "not whole tiles": (cloud(300, 1), orbit([200.0], [0.0], 2.5, 50, 50, 37)),
    "wide": (cloud(200, 2), orbit([0.0], [80.0], 2.5, 40, 120, 18)),
    "one pixel": (cloud(50, 3), orbit([0.0], [0.0], 2.5, 50, 1, 1)),
    "small Gaussians": (cloud(500, 4, 1e-4, 3e-3), orbit([70.0], [10.0], 2.5, 50, 48, 48)),
    "large Gaussians": (cloud(60, 5, 0.3, 3.0), orbit([70.0], [10.0], 3.5, 50, 64, 64)),
    "needles": (cloud(200, 6, 1e-4, 2.0), orbit([70.0], [10.0], 2.5, 50, 64, 64)),
    "camera inside": (cloud(300, 7), orbit([30.0], [10.0], 0.3, 70, 64, 64)),
    "opaque stack": (
        with_values(cloud(300, 8), opacities=np.ones(300), colors=np.eye(3)[np.arange(300) % 3]),
        orbit([30.0], [10.0], 2.5, 50, 64, 64),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_picture_equals_reference(name):
    arrays, cameras = CASES[name]
    backgrounds = np.random.default_rng(1).uniform(0, 1, (len(cameras), 3)).astype(np.float32)
    views = views_of(arrays, cameras, backgrounds)
    tensors = [torch.from_numpy(arrays[n]).double() for n in NAMES]
    for index in range(len(cameras)):
        expected = reference_of(tensors, cameras, index, backgrounds[index])
        assert expected.alphas.max() > 0.1
        for ours, theirs in (
            (views.colors, expected.colors),
            (views.alphas, expected.alphas),
            (views.expected_depths, expected.expected_depths),
        ):
            error = np.abs(ours[index] - theirs.numpy())
            # a pixel where float32 puts alpha on the other side of 1/255 may differ by that much
            assert np.mean(error > 1e-4) <= 1e-3
            assert error.max() < 0.02
        assert np.mean(np.abs(views.depths[index] - expected.median_depths.numpy()) > 1e-4) <= 2e-3


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_reference(name):
    arrays, cameras = CASES[name]
    backgrounds = np.full((len(cameras), 3), 0.3, np.float32)
    views = views_of(arrays, cameras, backgrounds)
    random = np.random.default_rng(2)
    grads = [random.normal(size=a.shape).astype(np.float32) for a in (views.colors, views.alphas, views.alphas)]
    ours = splat_cpu.backward(views, *grads)

    tensors = [torch.from_numpy(arrays[n]).double().requires_grad_() for n in NAMES]
    for index in range(len(cameras)):
        image = reference_of(tensors, cameras, index, backgrounds[index])
        outputs = image.colors, image.alphas, image.expected_depths
        torch.autograd.backward(outputs, [torch.from_numpy(g[index]).double() for g in grads])
    for field, tensor in zip(NAMES, tensors, strict=True):
        expected = tensor.grad.numpy()
        error = np.linalg.norm(getattr(ours, field) - expected) / np.linalg.norm(expected)
        assert error < 1e-3, field


@pytest.mark.slow
def test_reference_passes_gradcheck():
    arrays = cloud(4, 3, 0.2, 0.5, 0.4)
    cameras = orbit([35.0], [20.0], 2.0, 50, 5, 4)
    tensors = [torch.from_numpy(arrays[n]).double().requires_grad_() for n in NAMES]

    def outputs(*tensors):
        image = reference_of(tensors, cameras, 0, (0.2, 0.4, 0.6))
        return image.colors, image.alphas, image.expected_depths

    assert torch.autograd.gradcheck(outputs, tensors, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_alpha_follows_the_projected_gaussian():
    width, sigma, opacity = 65, 0.05, 0.8
    K = intrinsics(40, width, width)
    image = splat_cpu.render(one((0, 0, 0), sigma, opacity), FRONT, K, width, width)
    variance = (K[0, 0] * sigma / 3) ** 2 + 0.3
    offsets = np.arange(width) - 32
    expected = opacity * np.exp(-(offsets**2) / (2 * variance))
    expected[expected < 1 / 255] = 0
    np.testing.assert_allclose(image.alphas[32], expected, atol=1e-5)
    np.testing.assert_allclose(image.alphas[:, 32], expected, atol=1e-5)
    assert image.alphas[32, 32] == pytest.approx(opacity, abs=1e-6)


def test_long_axis_turns_with_the_quaternion():
    stick = Gaussians(
        np.zeros((1, 3)),
        np.array([[np.cos(np.pi / 8), 0, 0, np.sin(np.pi / 8)]]),  # 45 degrees about z: x axis to up and right
        np.array([[0.3, 0.02, 0.02]]),
        np.array([0.9]),
        np.ones((1, 3)),
    )
    alphas = splat_cpu.render(stick, FRONT, intrinsics(40, 65, 65), 65, 65).alphas
    assert alphas[26, 38] > 0.5  # above and to the right
    assert alphas[26, 26] == 0


def test_axes_of_the_world_in_the_picture():
    K = intrinsics(40, 64, 64)

    def place(mean):
        rows, columns = np.nonzero(splat_cpu.render(one(mean), FRONT, K, 64, 64).alphas > 0.1)
        return columns.mean() + 0.5, rows.mean() + 0.5

    right, up, centre = place((0.5, 0, 0)), place((0, 0.5, 0)), place((0, 0, 0))
    assert centre == pytest.approx((32, 32), abs=0.3)
    assert right == pytest.approx((32 + 0.5 / 3 * K[0, 0], 32), abs=0.5)
    assert up == pytest.approx((32, 32 - 0.5 / 3 * K[1, 1]), abs=0.5)


def test_nearer_gaussian_hides_the_farther_whatever_their_order():
    near, far = one((0, 0, 1), 0.3, 1.0, (1, 0, 0)), one((0, 0, -1), 0.6, 1.0, (0, 1, 0))
    K = intrinsics(40, 33, 33)
    both = Gaussians(*(np.concatenate([getattr(far, n), getattr(near, n)]) for n in NAMES))
    image = splat_cpu.render(both, FRONT, K, 33, 33, (0, 0, 1))
    assert image.colors[16, 16] == pytest.approx((0.999, 0.001, 0), abs=1e-4)
    assert image.depths[16, 16] == pytest.approx(2.0)
    turned = splat_cpu.render(both.select(np.array([1, 0])), FRONT, K, 33, 33, (0, 0, 1))
    np.testing.assert_array_equal(image.colors, turned.colors)


def test_median_depth_of_an_opaque_plane():
    side = np.linspace(-1, 1, 41)
    means = np.stack([*np.meshgrid(side, side), np.full((41, 41), 0.5)], -1).reshape(-1, 3)
    count = len(means)
    plane = Gaussians(
        means,
        np.tile([1.0, 0, 0, 0], (count, 1)),
        np.tile([0.04, 0.04, 0.001], (count, 1)),
        np.full(count, 0.95),
        np.ones((count, 3)),
    )
    image = splat_cpu.render(plane, FRONT, intrinsics(30, 48, 48), 48, 48)
    assert image.alphas.min() > 0.95
    np.testing.assert_allclose(image.depths, 2.5, atol=1e-5)
    np.testing.assert_allclose(image.expected_depths / image.alphas, 2.5, atol=1e-4)


def test_depth_is_zero_where_more_light_passes_than_stops():
    image = splat_cpu.render(one((0, 0, 0), 0.2, 0.4), FRONT, intrinsics(40, 33, 33), 33, 33)
    assert image.alphas.max() > 0.39
    assert image.depths.max() == 0


def test_empty_and_hidden_sets_show_the_background():
    K = intrinsics(40, 20, 20)
    behind, faint = one((0, 0, 5), 0.5), one((0, 0, 0), 0.5, 1 / 300)
    for gaussians in (behind.select(np.array([], int)), behind, faint):
        image = splat_cpu.render(gaussians, FRONT, K, 20, 20, (0.1, 0.2, 0.3))
        np.testing.assert_allclose(image.colors, np.broadcast_to(np.float32([0.1, 0.2, 0.3]), (20, 20, 3)))
        assert image.alphas.max() == 0


def test_extreme_values_stay_finite():
    arrays = with_values(
        cloud(64, 9),
        means=[(1e6, 0, 0), (0, 0, 2.4999), (0, 0, 2.48), (-1e-6, 1e9, -3), (0, 0, 0), (0, 0, 0)],
        scales=[(1e5, 1e5, 1e5), (1e6, 1e-9, 1e6), (1e9, 1e9, 1e9), (1, 1, 1), (1e18, 1e18, 1e18), (1e-30,) * 3],
    )
    cameras = orbit([0.0], [0.0], 2.5, 50, 40, 40)
    views = views_of(arrays, cameras, [[0, 0, 0]])
    ones = np.ones_like(views.alphas)
    gradients = splat_cpu.backward(views, np.ones_like(views.colors), ones, ones)
    for values in (views.colors, views.alphas, views.depths, *(getattr(gradients, n) for n in NAMES)):
        assert np.isfinite(values).all()
    assert views.alphas.max() <= 1
    assert views.alphas.min() >= 0


def test_values_that_are_not_numbers_are_left_out():
    arrays = cloud(64, 9)
    expected = views_of({n: a[4:] for n, a in arrays.items()}, CASES["square"][1], np.zeros((2, 3)))
    for field in ("means", "quats", "scales", "opacities"):
        arrays[field][NAMES.index(field)] = np.nan
    np.testing.assert_array_equal(views_of(arrays, CASES["square"][1], np.zeros((2, 3))).colors, expected.colors)


def test_same_bits_for_any_number_of_threads():
    arrays, cameras = CASES["square"]
    most = numba.get_num_threads()
    results = []
    try:
        for threads in (1, most, most):
            numba.set_num_threads(threads)
            views = views_of(arrays, cameras, np.zeros((2, 3)))
            gradients = splat_cpu.backward(views, views.colors, views.alphas, views.alphas)
            results.append((views.colors, views.depths, *(getattr(gradients, n) for n in NAMES)))
    finally:
        numba.set_num_threads(most)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def torch_inputs(arrays, dtype=torch.float32):
    return [torch.from_numpy(arrays[n]).to(dtype).requires_grad_() for n in NAMES]


def test_torch_views_equal_single_pictures_and_gradients_add_up():
    arrays, cameras = CASES["square"]
    viewmats, Ks = torch.from_numpy(cameras.viewmats), torch.from_numpy(cameras.Ks)
    weights = torch.rand(2, 48, 48, 3, generator=torch.Generator().manual_seed(0))
    together, apart = torch_inputs(arrays), torch_inputs(arrays)
    colors, alphas, _ = rasterize_views(*together, viewmats, Ks, 48, 48, torch.ones(3))
    ((colors * weights).sum() + alphas.sum()).backward()
    for index in range(2):
        image, alpha = rasterize(*apart, viewmats[index], Ks[index], 48, 48, torch.ones(3))
        assert torch.equal(image, colors[index])
        ((image * weights[index]).sum() + alpha.sum()).backward()
    for one_call, two_calls in zip(together, apart, strict=True):
        torch.testing.assert_close(one_call.grad, two_calls.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torch_casts_inputs_and_gradients(dtype):
    arrays, cameras = CASES["square"]
    inputs = torch_inputs(arrays, dtype)
    colors, _ = rasterize(
        *inputs, torch.from_numpy(cameras.viewmats[0]), torch.from_numpy(cameras.Ks[0]), 48, 48, torch.zeros(3)
    )
    colors.sum().backward()
    assert colors.dtype == torch.float32
    for tensor in inputs:
        assert tensor.grad.dtype == dtype
        assert tensor.grad.abs().max() > 0


@pytest.mark.slow
def test_fitting_colours_lowers_the_error():
    arrays, cameras = CASES["square"]
    viewmats, Ks = torch.from_numpy(cameras.viewmats), torch.from_numpy(cameras.Ks)
    fixed = [tensor.detach() for tensor in torch_inputs(arrays)[:4]]
    target = rasterize_views(*fixed, torch.from_numpy(arrays["colors"]), viewmats, Ks, 48, 48, torch.zeros(3))[0]
    colors = torch.full((len(arrays["colors"]), 3), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([colors], 0.05)
    losses = []
    for _ in range(30):
        loss = (rasterize_views(*fixed, colors, viewmats, Ks, 48, 48, torch.zeros(3))[0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.gpu
def test_a_card_renders_what_the_processor_renders_with_the_same_gradients():
    arrays, cameras = CASES["square"]
    viewmats, Ks = torch.from_numpy(cameras.viewmats).float(), torch.from_numpy(cameras.Ks).float()
    found = {}
    for device in ("cpu", "cuda"):
        leaves = [torch.from_numpy(arrays[name]).to(device).requires_grad_() for name in NAMES]
        images = rasterize_views(*leaves, viewmats.to(device), Ks.to(device), 48, 48, torch.ones(3).to(device))
        sum(image.square().mean() for image in images).backward()
        found[device] = [*(image.detach().cpu() for image in images), *(leaf.grad.cpu() for leaf in leaves)]
    for expected, value in zip(found["cpu"], found["cuda"], strict=True):
        assert (value - expected).norm() < 0.02 * expected.norm()

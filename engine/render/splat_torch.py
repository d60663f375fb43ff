# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPU splat rasteriser as a differentiable torch function: what training renders with."""

import numpy as np
import torch
from torch import Tensor

from engine.render import splat_cpu


def rasterize(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz, any non-zero length
    scales: Tensor,  # [N, 3] standard deviations
    opacities: Tensor,  # [N] in [0, 1]
    colors: Tensor,  # [N, 3]
    viewmat: Tensor,  # [4, 4] world to camera, OpenCV axes
    K: Tensor,  # [3, 3] pixels
    width: int,
    height: int,
    background: Tensor,  # [3]
) -> tuple[Tensor, Tensor]:
    """Colours [H, W, 3] over the background and alphas [H, W] of one view, float32.

    Differentiable in the five Gaussian tensors, not in the camera or background. Any CPU float dtype is cast.
    """
    images, alphas, _ = rasterize_views(
        means, quats, scales, opacities, colors, viewmat[None], K[None], width, height, background
    )
    return images[0], alphas[0]


def rasterize_views(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4]
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [N, 3]
    viewmats: Tensor,  # [C, 4, 4]
    Ks: Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    backgrounds: Tensor,  # [C, 3] or [3]
) -> tuple[Tensor, Tensor, Tensor]:
    """C views of one object: colours [C, H, W, 3], alphas [C, H, W], expected depths [C, H, W] (sum of weight times z).

    Differentiable in the five Gaussian tensors; all views share the threads, so one call is faster than C calls.
    """
    return _Rasterize.apply(  # pyright: ignore[reportReturnType]
        means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, (width, height)
    )


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, size):  # pyright: ignore[reportIncompatibleMethodOverride]
        needs_grad = any(ctx.needs_input_grad[:5])
        width, height = size
        views = splat_cpu.forward(
            _array(means), _array(quats), _array(scales), _array(opacities), _array(colors),
            _array(viewmats, np.float64), _array(Ks, np.float64), width, height,
            _array(backgrounds.expand(len(viewmats), 3)), for_backward=needs_grad,
        )  # fmt: skip
        if needs_grad:
            ctx.views = views
            ctx.dtypes = tuple(tensor.dtype for tensor in (means, quats, scales, opacities, colors))
        return torch.from_numpy(views.colors), torch.from_numpy(views.alphas), torch.from_numpy(views.expected_depths)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_colors, grad_alphas, grad_depths):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients = splat_cpu.backward(ctx.views, _array(grad_colors), _array(grad_alphas), _array(grad_depths))
        arrays = gradients.means, gradients.quats, gradients.scales, gradients.opacities, gradients.colors
        return *(torch.from_numpy(a).to(dtype) for a, dtype in zip(arrays, ctx.dtypes, strict=True)), *(None,) * 4


def _array(tensor: Tensor, dtype: type = np.float32) -> np.ndarray:
    """The tensor's values, C-contiguous and of `dtype`, without a copy where they are so already."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.ascontiguousarray(tensor.numpy(), dtype)

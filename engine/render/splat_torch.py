# SPDX-License-Identifier: GPL-3.0-or-later
"""Splat rasterisers as a differentiable torch function: what training renders with.

Tensors on an NVIDIA card are rendered there by gsplat, where that is installed; all others on the processor, from and
to wherever they lie.
"""

import importlib.util

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

    Differentiable in the five Gaussian tensors, not in the camera or background. Any float dtype is cast.
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
    if means.is_cuda and importlib.util.find_spec("gsplat"):
        return _on_card(means, quats, scales, opacities, colors, viewmats, Ks, width, height, backgrounds)
    return _Rasterize.apply(  # pyright: ignore[reportReturnType]
        means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, (width, height)
    )


def _on_card(means, quats, scales, opacities, colors, viewmats, Ks, width, height, backgrounds):
    """The same by gsplat: blur 0.3 px², no compensation, depth as the sum of weight times z."""
    gsplat = importlib.import_module("gsplat")
    gaussians = (tensor.float() for tensor in (means, quats, scales, opacities, colors))
    images, alphas, _ = gsplat.rasterization(
        *gaussians, viewmats.float(), Ks.float(), width, height,
        eps2d=0.3, near_plane=0.01, rasterize_mode="classic", render_mode="RGB+D", packed=False,
    )  # fmt: skip
    behind = backgrounds.to(images).expand(len(viewmats), 3)[:, None, None]
    return images[..., :3] + (1 - alphas) * behind, alphas[..., 0], images[..., 3]


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
            ctx.likes = tuple((t.device, t.dtype) for t in (means, quats, scales, opacities, colors))
        return tuple(torch.from_numpy(a).to(means.device) for a in (views.colors, views.alphas, views.expected_depths))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_colors, grad_alphas, grad_depths):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients = splat_cpu.backward(ctx.views, _array(grad_colors), _array(grad_alphas), _array(grad_depths))
        arrays = gradients.means, gradients.quats, gradients.scales, gradients.opacities, gradients.colors
        return *(torch.from_numpy(a).to(*like) for a, like in zip(arrays, ctx.likes, strict=True)), *(None,) * 4


def _array(tensor: Tensor, dtype: type = np.float32) -> np.ndarray:
    """The tensor's values, C-contiguous and of `dtype`, without a copy where they are so already."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.ascontiguousarray(tensor.numpy(), dtype)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What both of AGG's stages look up where a point appears in the picture: layers, colours and how both blend."""

import torch
from torch import Tensor

from engine.nets.triplane import sample_picture


def project(means: Tensor, tan_half_fov: Tensor) -> Tensor:
    """Where means [B, N, 3] of the view frame (`anchors`) appear in the picture, uv [B, N, 2] in [-1, 1]."""
    perspective = 1 - tan_half_fov[:, None, None] * means[..., 2:]
    return means[..., :2] / perspective.clamp(min=0.1)


def sample_layers(layers: Tensor, inside: Tensor, uv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z of front and back at uv, from the pixels within the silhouette where there are any near, and how far inside
    of it that is; each [B, N, 1]. layers [B, 2, L, L], inside [B, 1, L, L], uv [B, N, 2]."""
    weights = inside + 0.02
    front, back, found = sample_picture(torch.cat([layers * weights, weights], 1), uv).split(1, -1)
    return front / found, back / found, found


def picture_colors(picture: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """The object's colours [B, N, 3] in the picture [B, 4, S, S] at uv [B, N, 2], and its alpha there [B, N, 1]."""
    found = sample_picture(torch.cat([picture[:, :3] * picture[:, 3:], picture[:, 3:]], 1), uv)
    return found[..., :3] / found[..., 3:].clamp(min=0.1), found[..., 3:]


def blend(keep: Tensor, own: Tensor, cover: Tensor, field: Tensor) -> Tensor:
    """Colours [B, N, 3]: the share `keep` of the picture's `own` where it covers the point, else the field's."""
    share = keep * (2 * cover).clamp(max=1)  # beside the object the picture has no colour to give
    return (share * own + (1 - share) * field).clamp(0, 1)

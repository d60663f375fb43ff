# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-norm transformer blocks (Vaswani et al. 2017; pre-norm after Xiong et al. 2020)."""

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention of queries [B, N, D] to a context [B, M, C]."""

    def __init__(self, width: int, heads: int, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q = self._split(self.query(x))
        k, v = (self._split(part) for part in self.key_value(context).chunk(2, -1))
        attended = F.scaled_dot_product_attention(q, k, v)  # [B, heads, N, D / heads]
        return self.out(attended.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Sequential):
    """Two layers with GELU between; the hidden one `expansion` times as wide."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__(nn.Linear(width, expansion * width), nn.GELU("tanh"), nn.Linear(expansion * width, width))


class Block(nn.Module):
    """Cross-attention to a context (where given), self-attention, MLP: each pre-normed and added.

    With `group`, N tokens attend to each other in N / group strided sets of `group` tokens, so that the cost grows
    linearly with N and the number of tokens may change after training.
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None, group: int | None = None) -> None:
        super().__init__()
        self.group = group
        self.cross = Attention(width, heads, context_width) if context_width else None
        self.norm_cross = nn.LayerNorm(width) if context_width else None
        self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_mlp, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.cross is not None and self.norm_cross is not None:
            x = x + self.cross(self.norm_cross(x), context)
        x = x + self._attend(self.norm_self(x))
        return x + self.mlp(self.norm_mlp(x))

    def _attend(self, x: Tensor) -> Tensor:
        if self.group is None:
            return self.self_attention(x)
        batch, tokens, width = x.shape
        sets = tokens // self.group  # token i belongs to set i % sets
        grouped = x.reshape(batch, self.group, sets, width).transpose(1, 2).reshape(batch * sets, self.group, width)
        attended = self.self_attention(grouped)
        return attended.reshape(batch, sets, self.group, width).transpose(1, 2).reshape(batch, tokens, width)

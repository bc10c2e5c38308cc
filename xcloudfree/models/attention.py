"""Window attention over feature maps of any size, shared by the transformer networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MASKED = -1e4
"""Logit of a cell that must not be seen; finite, so that half precision survives it."""


def window_padding(size: int, window: int, shift: int) -> tuple[int, int]:
    """Cells to add before and after an axis so that shifted windows tile it."""
    # Windows start at ``shift - window, shift, shift + window, ...``: the first one hangs over the
    # border. This groups the real cells exactly as the cyclic shift of Swin does with its region
    # mask, without joining opposite borders first and separating them afterwards.
    before = (window - shift) % window
    return before, -(size + before) % window


class WindowAttention(nn.Module):
    """Multi-head self-attention inside square windows, with relative position bias."""

    # The bias that hides the cells outside the map follows from the size of each input and is never
    # a buffer, so weights fitted on one patch size run on any other.

    index: Tensor

    def __init__(self, features: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)
        self.relative_bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_bias, std=0.02)
        self.register_buffer("index", relative_index(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend inside the windows of ``x`` of shape (n, h, w, features)."""
        n, height, width, features = x.shape
        side = self.window
        top, bottom = window_padding(height, side, self.shift)
        left, right = window_padding(width, side, self.shift)
        if top or bottom or left or right:
            x = functional.pad(x, (0, 0, left, right, top, bottom))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        cells = x.reshape(n, rows, side, columns, side, features)
        cells = cells.transpose(2, 3).reshape(-1, side * side, features)

        q, k, v = self.qkv(cells).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_bias[self.index].permute(2, 0, 1).to(q.dtype)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(1, -1, -1, -1))
        hidden = _hidden_cells(height, width, (top, bottom), (left, right), side, x.device)
        edge = hidden.any(1).nonzero()[:, 0]
        if len(edge):  # windows that hang over the border see only the cells that exist
            which = (torch.arange(n, device=x.device)[:, None] * (rows * columns) + edge).flatten()
            masked = bias + MASKED * hidden[edge].to(q.dtype)[:, None, None, :]
            masked = masked.repeat(n, 1, 1, 1)
            seen = functional.scaled_dot_product_attention(
                q[which], k[which], v[which], attn_mask=masked
            )
            out = out.index_copy(0, which, seen)

        out = self.proj(out.transpose(1, 2).flatten(2))
        out = out.reshape(n, rows, columns, side, side, features).transpose(2, 3)
        out = out.reshape(n, rows * side, columns * side, features)
        return out[:, top : top + height, left : left + width]


class SwinBlock(nn.Module):
    """Transformer block of eq. 6: window attention, then a feed-forward network, both on LN(x)."""

    def __init__(
        self, features: int, heads: int, window: int, shift: int, ratio: int, single_residual: bool
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.attention = WindowAttention(features, heads, window, shift)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = nn.Sequential(
            nn.Linear(features, ratio * features), nn.GELU(), nn.Linear(ratio * features, features)
        )
        self.single_residual = single_residual

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``x`` of shape (n, features, h, w)."""
        x = x.permute(0, 2, 3, 1)
        attended = x + self.attention(self.norm1(x))
        out = (x if self.single_residual else attended) + self.mlp(self.norm2(attended))
        return out.permute(0, 3, 1, 2)


def relative_index(window: int) -> Tensor:
    """Row of the bias table for each pair of cells of a window, (window**2, window**2) of int64."""
    axis = torch.arange(window)
    cells = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
    offset = cells[:, :, None] - cells[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


def _hidden_cells(
    height: int,
    width: int,
    rows: tuple[int, int],
    columns: tuple[int, int],
    window: int,
    device: torch.device,
) -> Tensor:
    """Which cells of each window lie outside the map: (windows, window**2) bool."""
    outside = torch.ones(sum(rows) + height, sum(columns) + width, dtype=torch.bool, device=device)
    outside[rows[0] : rows[0] + height, columns[0] : columns[0] + width] = False
    grid = outside.unflatten(0, (-1, window)).unflatten(2, (-1, window))
    return grid.transpose(1, 2).reshape(-1, window * window)

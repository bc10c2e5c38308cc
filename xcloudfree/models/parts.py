"""Shared parts of networks: dynamic filters, gates between branches, window attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MASKED = -1e4
"""Logit of a masked cell; finite, so that it is safe in half precision."""

FILTERED_AT_ONCE = 4
"""Channels for which the dynamic filter keeps kernels in memory, 25 times as many."""


class DynamicFilter(nn.Module):
    """A 5x5 kernel per pixel and channel, predicted from both branches, applied to one of them."""

    # Dynamic filter generation of GLF-CR (Xu et al. 2022), section 3.2.

    def __init__(self, features: int, size: int = 5) -> None:
        super().__init__()
        self.size = size
        self.enter = nn.Conv2d(2 * features, features, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(features, features, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(features, features, 3, padding=1),
            )
            for _ in range(2)
        )
        self.kernel = nn.Conv2d(features, features * size * size, 1)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Filter ``sar``; all of shape (n, features, h, w)."""
        evidence = self.evidence(optical, sar)
        half = self.size // 2
        # contiguous planes, because a shift then moves whole rows
        padded = functional.pad(sar.contiguous(), (half, half, half, half), mode="replicate")
        filtered = []
        for start in range(0, sar.shape[1], FILTERED_AT_ONCE):
            channels = slice(start, start + FILTERED_AT_ONCE)
            filtered.append(apply_kernels(padded[:, channels], self.kernels(evidence, channels)))
        format_ = torch.channels_last if _channels_last(sar) else torch.contiguous_format
        return torch.cat(filtered, 1).contiguous(memory_format=format_)

    def evidence(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Features (n, features, h, w) that determine the kernels, pixel by pixel."""
        x = functional.leaky_relu(self.enter(torch.cat([optical, sar], 1)), 0.1)
        for block in self.blocks:
            x = x + block(x)
        return x

    def kernels(self, evidence: Tensor, channels: slice) -> Tensor:
        """Kernels of some channels, (n, channels * size**2, h, w), by channel, row, column."""
        # A matrix product instead of the convolution, because it writes planes from features in any
        # memory layout.
        taps = slice(channels.start * self.size**2, channels.stop * self.size**2)
        weight, bias = self.kernel.weight[taps, :, 0, 0], self.kernel.bias
        assert bias is not None
        flat = evidence.flatten(2)
        kernels = torch.baddbmm(bias[taps, None], weight.expand(len(flat), -1, -1), flat)
        return functional.leaky_relu_(kernels, 0.1).unflatten(2, evidence.shape[2:])


def apply_kernels(padded: Tensor, kernels: Tensor) -> Tensor:
    """Weighted sum over the neighbourhood of each pixel, with its own weights per channel."""
    # One shift after the other, in the same order for every pixel: this needs no copy of ``k * k``
    # times the features, and rounds equally at every position of a map, unlike a reduction over
    # the taps.
    size = padded.shape[2] - kernels.shape[2] + 1
    height, width = kernels.shape[2:]
    taps = kernels.unflatten(1, (-1, size**2))
    out = taps[:, :, 0] * padded[..., :height, :width]
    for tap in range(1, size**2):
        dy, dx = divmod(tap, size)
        out = torch.addcmul(out, taps[:, :, tap], padded[..., dy : dy + height, dx : dx + width])
    return out


class CrossGate(nn.Module):
    """Exchange between the branches: each takes the features of the other that a sigmoid passes."""

    def __init__(self, features: int, filtered: bool) -> None:
        super().__init__()
        self.to_optical = nn.Conv2d(features, features, 1)
        self.to_sar = nn.Conv2d(features, features, 1)
        self.filter = DynamicFilter(features) if filtered else None

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new optical and backscatter features, both (n, features, h, w)."""
        source = sar if self.filter is None else self.filter(optical, sar)
        difference = source - optical
        optical = optical + logistic(self.to_optical(difference)) * difference
        difference = optical - source
        return optical, sar + logistic(self.to_sar(difference)) * difference


def logistic(x: Tensor) -> Tensor:
    """Sigmoid that rounds each value in the same way at any position."""
    # ``torch.sigmoid`` on a CPU rounds the last values of a segment differently from those before,
    # and where segments end depends on the size; tiles would differ from the whole in their last
    # bit.
    return 0.5 * torch.tanh(0.5 * x) + 0.5


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Continue right and bottom to a multiple: by reflection, on tiny inputs by the edge."""
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not (below or right):
        return x
    mode = "reflect" if below < height and right < width else "replicate"
    return functional.pad(x, (0, right, 0, below), mode=mode)


def _channels_last(x: Tensor) -> bool:
    """Whether the channels of a map are contiguous in memory."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def window_padding(size: int, window: int, shift: int) -> tuple[int, int]:
    """Cells to add before and after an axis so that shifted windows tile it."""
    # Windows start at ``shift - window, shift, shift + window, ...``: the first one extends beyond
    # the border. This groups the real cells exactly as the cyclic shift of Swin does with its
    # region mask, without joining opposite borders first and separating them afterwards.
    before = (window - shift) % window
    return before, -(size + before) % window


class WindowAttention(nn.Module):
    """Multi-head self-attention inside square windows, with relative position bias."""

    # The bias that masks the cells outside the map depends on the size of each input and is never
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
        if len(edge):  # windows beyond the border read only the cells that exist
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


def feed_forward(features: int, ratio: int) -> nn.Sequential:
    """The part of a transformer block after attention."""
    return nn.Sequential(
        nn.Linear(features, ratio * features), nn.GELU(), nn.Linear(ratio * features, features)
    )


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

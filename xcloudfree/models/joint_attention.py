"""Window attention in two branches, of which one also uses the attention of the other.

The global fusion of GLF-CR (Xu et al., "GLF-CR: SAR-enhanced cloud removal with global-local
fusion", ISPRS Journal 2022): the optical logits are blended with those of the backscatter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.models.parts import MASKED, logistic, relative_index

WINDOWS_AT_ONCE = 8
"""Windows whose logits are in memory together on a CPU: few enough for its cache."""


def both(optical: nn.Module, sar: nn.Module) -> nn.ModuleDict:
    """Two modules of the same kind, one per branch."""
    return nn.ModuleDict({"optical": optical, "sar": sar})


class JointWindowAttention(nn.Module):
    """Self-attention of both branches inside the same square windows."""

    index: Tensor

    def __init__(
        self, features: int, heads: int, window: int, shift: int, mask_sar: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.window, self.shift, self.mask_sar = heads, window, shift, mask_sar
        self.qkv = both(nn.Linear(features, 3 * features), nn.Linear(features, 3 * features))
        self.proj = both(nn.Linear(features, features), nn.Linear(features, features))
        self.gate = nn.Conv2d(heads, heads, 1)
        self.relative_bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_bias, std=0.02)
        self.register_buffer("index", relative_index(window), persistent=False)

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """Attend inside the windows of two maps of shape (n, h, w, features)."""
        height, width = optical.shape[1:3]
        side, shift = self.window, self.shift
        regions = window_regions(height, width, side, shift, optical.device)
        alone = window_regions(height, width, side, shift, optical.device, wrap=not self.mask_sar)
        cells = (to_windows(x, side, shift) for x in (optical, sar))
        x, r = self.attend(*cells, regions=regions, sar_regions=alone)
        return from_windows(x, optical.shape, side, shift), from_windows(r, sar.shape, side, shift)

    def attend(
        self,
        optical: Tensor,
        sar: Tensor,
        *,
        regions: Tensor | None = None,
        sar_regions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend inside windows (n * windows, window**2, features) that are already cut."""
        x, r = (
            self.qkv[name](cells).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            for name, cells in (("optical", optical), ("sar", sar))
        )
        bias = self.relative_bias[self.index].permute(2, 0, 1).to(x.dtype).contiguous()
        step = WINDOWS_AT_ONCE if x.device.type == "cpu" else x.shape[1]
        seen_x, seen_r = [], []
        for start in range(0, x.shape[1], step):
            windows = slice(start, min(start + step, x.shape[1]))
            some_x, some_r = x[:, windows].contiguous(), r[:, windows].contiguous()
            optical_logits, sar_logits = _products(some_x), _products(some_r)
            difference = sar_logits - optical_logits
            optical_logits = torch.addcmul(
                hide(bias, regions, windows) + optical_logits, self._gate(difference), difference
            )
            sar_logits = hide(bias, sar_regions, windows) + sar_logits
            seen_x.append(_weighted(optical_logits, some_x[2]))
            seen_r.append(_weighted(sar_logits, some_r[2]))
        return self.proj["optical"](_tokens(seen_x)), self.proj["sar"](_tokens(seen_r))

    def _gate(self, difference: Tensor) -> Tensor:
        """Share of the difference of the logits that is added to the optical ones, 0 to 1."""
        # The 1x1 convolution over the heads as a matrix product, which is many times faster than a
        # convolution of so few channels.
        weight, offset = self.gate.weight[:, :, 0, 0], self.gate.bias
        assert offset is not None
        flat = difference.flatten(2)
        mixed = torch.baddbmm(offset[:, None], weight.expand(len(flat), -1, -1), flat)
        return logistic(mixed).view_as(difference)


def to_windows(x: Tensor, window: int, shift: int) -> Tensor:
    """Cut (n, h, w, features) into windows (n * windows, window**2, features)."""
    below, right = -x.shape[1] % window, -x.shape[2] % window
    if below or right:
        x = functional.pad(x, (0, 0, 0, right, 0, below))
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)
    return x.flatten(3, 4).flatten(0, 2)


def from_windows(cells: Tensor, shape: torch.Size, window: int, shift: int) -> Tensor:
    """Undo :func:`to_windows` for a map of this shape."""
    n, height, width, features = shape
    rows, columns = -(-height // window), -(-width // window)
    x = cells.view(n, rows, columns, window, window, features).transpose(2, 3)
    x = x.reshape(n, rows * window, columns * window, features)
    if shift:
        x = torch.roll(x, (shift, shift), (1, 2))
    return x[:, :height, :width]


def window_regions(
    height: int, width: int, window: int, shift: int, device: torch.device, wrap: bool = False
) -> Tensor | None:
    """Label the cells of each rolled window by their part of the map: (windows, window**2)."""
    if not (height % window or width % window or (shift and not wrap)):
        return None
    rows, columns = (
        torch.arange(size + -size % window, device=device).roll(-shift) for size in (height, width)
    )
    outside = (rows >= height)[:, None] | (columns >= width)
    across = 0 if wrap else shift  # cells that the roll has moved across the border
    labels = 2 * (rows < across)[:, None] + (columns < across).long()
    return to_windows(labels.masked_fill(outside, -1)[None, :, :, None], window, 0)[..., 0]


def hide(bias: Tensor, regions: Tensor | None, windows: slice) -> Tensor:
    """Bias (windows, heads, cells, cells) that hides cells of other regions from each other."""
    if regions is None:
        return bias
    which = torch.arange(windows.start, windows.stop, device=regions.device) % len(regions)
    labels = regions[which][:, None]
    hidden = labels[..., :, None] != labels[..., None, :]
    return torch.add(bias, hidden.to(bias.dtype), alpha=MASKED)


def _products(qkv: Tensor) -> Tensor:
    """Scaled products of queries and keys: (windows, heads, cells, cells)."""
    return (qkv[0] * qkv.shape[-1] ** -0.5) @ qkv[1].transpose(-2, -1)


def _weighted(logits: Tensor, values: Tensor) -> Tensor:
    """Mean of the values with weights from the logits: (windows, heads, features, cells)."""
    # Features before cells: with 6 features a head this product takes a quarter of the time of the
    # other order, and together with the softmax half the time of ``scaled_dot_product_attention``.
    return values.transpose(-2, -1) @ torch.softmax(logits, -1).transpose(-2, -1)


def _tokens(chunks: list[Tensor]) -> Tensor:
    """Chunks of (windows, heads, features, cells) as (windows, cells, heads * features)."""
    return torch.cat(chunks).flatten(1, 2).transpose(1, 2)

"""Lightweight temporal attention (L-TAE): how much each acquisition counts, pixel by pixel.

Garnot and Landrieu, "Lightweight Temporal Self-Attention for Classifying Satellite Image Time
Series" (2020), in the small form of UnCRtainTS: one learned query a head, and no values, because
the weights are applied to the feature maps themselves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_MASKED = -1000.0

CELLS = 32
"""Side of the map of weights; features of any size are reduced to it by their maxima."""


def day_encoding(days: Tensor, channels: int) -> Tensor:
    """Sines and cosines of the day number (n, dates), (n, dates, channels) in float32."""
    # Channel ``i`` divides the day by ``1000 ** (2 * (i // 2) / channels)``; even channels hold the
    # sine, odd ones the cosine.
    index = torch.arange(channels, device=days.device)
    angle = days.float()[..., None] / 1000.0 ** (2.0 * (index // 2) / channels)
    return torch.where(index % 2 == 0, angle.sin(), angle.cos())


class TemporalAttention(nn.Module):
    """Weight of every acquisition, per head and cell of a coarse map."""

    # The group norm takes its statistics over all acquisitions, padded ones included, as published.
    # So a padded acquisition gets no weight, but is not the same as one left out.

    def __init__(self, features: int, heads: int, d_model: int, d_k: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(heads, features)
        self.embed = nn.Conv1d(features, d_model, 1)
        self.key = nn.Linear(d_model, heads * d_k)
        self.query = nn.Parameter(torch.empty(heads, d_k))
        nn.init.normal_(self.query, std=math.sqrt(2 / d_k))

    def forward(self, x: Tensor, days: Tensor, padded: Tensor) -> Tensor:
        """Weights of the acquisitions that sum to 1, (n, dates, heads, cells, cells)."""
        n = x.shape[0]
        coarse = functional.adaptive_max_pool2d(x.flatten(0, 1), CELLS).unflatten(0, (n, -1))
        series = coarse.permute(0, 3, 4, 2, 1).flatten(0, 2)  # (n * cells**2, features, dates)
        embedded = self.embed(self.norm(series)).transpose(1, 2).unflatten(0, (n, -1))
        days = days.masked_fill(padded, 0)  # its day may be no number
        code = day_encoding(days, embedded.shape[-1] // self.heads).repeat(1, 1, self.heads)
        keys = self.key(embedded + code[:, None].to(embedded.dtype)).unflatten(-1, (self.heads, -1))
        logits = (keys * self.query).sum(-1) / math.sqrt(self.query.shape[1])
        logits = logits.masked_fill(padded[:, None, :, None], _MASKED)
        weights = logits.softmax(2).unflatten(1, (CELLS, CELLS))
        return weights.permute(0, 3, 4, 1, 2)


def resize_weights(weights: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize weight maps (n, dates, heads, cells, cells) to the size of the features."""
    # Bilinear if a side of the features is larger than the map, means if none is.
    maps = weights.flatten(0, 1)
    if max(size) > maps.shape[-1]:
        maps = functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    else:
        maps = functional.adaptive_avg_pool2d(maps, size)
    return maps.unflatten(0, weights.shape[:2])


def weighted_over_dates(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over dates, (n, features, h, w); each head weighs its group of channels."""
    groups = x.unflatten(2, (weights.shape[2], -1))
    total = torch.zeros_like(groups[:, 0])
    for date in range(x.shape[1]):  # one date at a time: no copy of the whole series
        total = total + groups[:, date] * weights[:, date, :, None]
    return total.flatten(1, 2)

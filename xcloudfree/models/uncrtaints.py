"""UnCRtainTS, the network of Ebel et al. (CVPR Workshops 2023), for one image or a time series.

It estimates every value with its variance. Everything is computed at full
resolution, but squeeze-excitation, group norm and temporal attention read the whole input, so there
is no reach, and tiles of the training size (256) are right. Inputs are reflectance and
backscatter times 10, the preset ``uncrtaints-10``; the L2 variants read ``uncrtaints``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from xcloudfree.core.normalisation import Normalisation
from xcloudfree.models.config import NetworkConfig

Norm = Callable[[int], nn.Module]
"""Makes a normalisation layer for a number of channels."""


class InvertedBottleneck(nn.Module):
    """MBConv: widen, filter each channel, weigh the channels by their means, narrow, add."""

    def __init__(self, features: int, expansion: int, norm: Norm) -> None:
        super().__init__()
        hidden = features * expansion
        self.norm = norm(features)
        self.widen = nn.Conv2d(features, hidden, 1, bias=False)
        self.widen_norm = norm(hidden)
        self.depthwise = nn.Conv2d(
            hidden, hidden, 3, padding=1, padding_mode="reflect", groups=hidden, bias=False
        )
        self.depthwise_norm = norm(hidden)
        self.squeeze = nn.Linear(hidden, features // 4, bias=False)
        self.excite = nn.Linear(features // 4, hidden, bias=False)
        self.narrow = nn.Conv2d(hidden, features, 1, bias=False)
        self.narrow_norm = norm(features)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``x`` of shape (n, features, h, w), h and w above 1."""
        inner = functional.gelu(self.widen_norm(self.widen(self.norm(x))))
        inner = functional.gelu(self.depthwise_norm(self.depthwise(inner)))
        gate = self.excite(functional.gelu(self.squeeze(inner.mean((-2, -1))))).sigmoid()
        return x + self.narrow_norm(self.narrow(inner * gate[..., None, None]))


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

    # The group norm takes its statistics over all acquisitions, including padded ones, as
    # published. So a padded acquisition gets no weight, but differs from one that is left out.

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
        days = days.masked_fill(padded, 0)  # its day may be NaN
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


@dataclass(frozen=True, kw_only=True)
class UncrtaintsConfig(NetworkConfig):
    """Hyper-parameters of :class:`Uncrtaints`."""

    # dates that make one image; 1 builds the network without temporal attention
    acquisitions: int = 1
    # whether the network estimates variances; the published L2 models do not
    uncertainty: bool = True
    # factor on reflectance and backscatter of the normalisation, see the presets ``uncrtaints-10``
    # and ``uncrtaints`` (1)
    scale_by: float = 10.0
    # channels of the trunk, and inside a block in units of them
    width: int = 128
    expansion: int = 2
    # blocks before and after the dates are joined
    encoder_blocks: int = 1
    decoder_blocks: int = 5
    # of the temporal attention; `heads` must divide `width` and `d_model`
    heads: int = 16
    d_model: int = 256
    d_k: int = 4

    def __post_init__(self) -> None:
        if self.acquisitions < 1:
            raise ValueError(f"acquisitions is {self.acquisitions}; give 1 or more")
        if self.width % 4 or (
            self.dates > 1 and (self.width % self.heads or self.d_model % self.heads)
        ):
            raise ValueError(
                f"width={self.width} must be a multiple of 4 and, like d_model={self.d_model}, of "
                f"heads={self.heads}; e.g. UncrtaintsConfig(width=128, heads=16, d_model=256)"
            )

    @property
    def dates(self) -> int:
        """Number of acquisitions that make one image."""
        return self.acquisitions

    @property
    def variance(self) -> bool:
        """Whether ``forward(..., variance=True)`` returns a variance as well."""
        return self.uncertainty

    def reads(self, preset: Normalisation) -> bool:
        """Whether the preset has the factor of the output."""
        return preset.gain == self.scale_by and preset.optical_scale[0] == 0

    @property
    def variance_floor(self) -> float:
        """Smallest variance, in units of the output squared."""
        return 1e-9 if self.scale_by == 1 else 1e-3


class Uncrtaints(nn.Module):
    """Fuse cloudy reflectance with backscatter of one or several dates."""

    def __init__(self, config: UncrtaintsConfig) -> None:
        super().__init__()
        c = self.config = config
        self.enter = nn.Conv2d(c.sar_bands + c.optical_bands, c.width, 1)
        self.enter_norm = nn.GroupNorm(4, c.width)
        self.encoder = nn.Sequential(
            *(
                InvertedBottleneck(c.width, c.expansion, lambda n: nn.GroupNorm(4, n))
                for _ in range(c.encoder_blocks)
            )
        )
        self.temporal = (
            TemporalAttention(c.width, c.heads, c.d_model, c.d_k) if c.dates > 1 else None
        )
        self.dropout = nn.Dropout(0.1)
        self.decoder = nn.Sequential(
            *(
                InvertedBottleneck(c.width, c.expansion, nn.BatchNorm2d)
                for _ in range(c.decoder_blocks)
            )
        )
        self.head = nn.Conv2d(c.width, c.optical_bands * (1 + c.uncertainty), 1)

    def forward(
        self,
        optical: Tensor,
        sar: Tensor,
        *,
        dates: Tensor | None = None,
        variance: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Reconstruct from (n, [dates,] bands, h, w) times ``scale_by``; days since 2014-04-03."""
        c = self.config
        if variance and not c.uncertainty:
            raise ValueError(
                "this network estimates no variance; make one that does with "
                'xcloudfree.models.create("uncrtaints", uncertainty=True)'
            )
        height, width = optical.shape[-2:]
        series = _at_least_two_pixels(torch.cat([sar, optical], -3))
        if self.temporal is None:
            decoded = self.decoder(self._encode(_only_date(series)))
        else:
            days = _checked_days(series, dates)
            encoded = self._encode(series.flatten(0, 1)).unflatten(0, series.shape[:2])
            padded = (series == 0).flatten(2).all(-1)
            weights = self.temporal(encoded, days, padded)
            weights = resize_weights(weights, (encoded.shape[-2], encoded.shape[-1]))
            weights = self.dropout(weights) * ~padded[..., None, None, None]
            decoded = self.decoder(weighted_over_dates(encoded, weights))
        out = self.head(decoded)[..., :height, :width]
        mean = c.scale_by * out[:, : c.optical_bands].sigmoid()
        if not variance:
            return mean
        return mean, functional.softplus(out[:, c.optical_bands :]) + c.variance_floor

    def _encode(self, x: Tensor) -> Tensor:
        return self.encoder(functional.relu(self.enter_norm(self.enter(x))))


def _at_least_two_pixels(x: Tensor) -> Tensor:
    """Repeat a single row or column, which cannot be continued by reflection."""
    height, width = x.shape[-2:]
    repeats = [1] * (x.dim() - 2) + [2 if height == 1 else 1, 2 if width == 1 else 1]
    return x.repeat(repeats) if max(repeats) > 1 else x


def _only_date(series: Tensor) -> Tensor:
    if series.dim() == 4:
        return series
    if series.dim() != 5 or series.shape[1] != 1:
        raise ValueError(
            f"this network reads one date and got a series of shape {tuple(series.shape)}; give "
            "(n, bands, h, w), or make a network of several dates with "
            'xcloudfree.models.create("uncrtaints", acquisitions=3)'
        )
    return series[:, 0]


def _checked_days(series: Tensor, dates: Tensor | None) -> Tensor:
    if series.dim() != 5 or dates is None or dates.shape != series.shape[:2]:
        given = "no dates" if dates is None else f"dates {tuple(dates.shape)}"
        raise ValueError(
            f"this network reads a series (n, dates, bands, h, w) and the days since 2014-04-03 "
            f"(n, dates), and got {tuple(series.shape)} and {given}; "
            "call network(optical, sar, dates=days)"
        )
    return dates.to(series.device)


_LAYERS = {
    "norm": "norm",
    "fn.0": "widen",
    "fn.1": "widen_norm",
    "fn.3": "depthwise",
    "fn.4": "depthwise_norm",
    "fn.6.fc.0": "squeeze",
    "fn.6.fc.2": "excite",
    "fn.7": "narrow",
    "fn.8": "narrow_norm",
}
_PUBLISHED = {
    "in_conv.conv.conv.0": "enter",
    "in_conv.conv.conv.1": "enter_norm",
    "temporal_encoder.inconv": "temporal.embed",
    "temporal_encoder.in_norm": "temporal.norm",
    "temporal_encoder.attention_heads.Q": "temporal.query",
    "temporal_encoder.attention_heads.fc1_k": "temporal.key",
    "out_conv.conv.conv.0": "head",
}


def published_name(name: str) -> str | None:
    """Our name of an entry of the authors' checkpoint; None for counters."""
    if name.endswith("num_batches_tracked"):
        return None
    if match := re.fullmatch(r"(in|out)_block\.(\d+)\.conv\.(.+)\.(\w+)", name):
        side, block, layer, entry = match.groups()
        if layer in _LAYERS:
            return f"{'en' if side == 'in' else 'de'}coder.{block}.{_LAYERS[layer]}.{entry}"
    if name in _PUBLISHED:
        return _PUBLISHED[name]
    layer, _, entry = name.rpartition(".")
    return f"{_PUBLISHED[layer]}.{entry}" if layer in _PUBLISHED else name

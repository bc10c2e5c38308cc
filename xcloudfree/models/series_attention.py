"""Attention of each hidden pixel to its clear observations on other dates, on kernel fusion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

from xcloudfree.methods.kernel_fusion.products import product
from xcloudfree.methods.temporal_context import STEADY
from xcloudfree.models.config import NetworkConfig
from xcloudfree.models.other_dates import parts_of
from xcloudfree.models.series_tokens import (
    DECAYS,
    SHOWN,
    STEPS,
    WAITS,
    Tokens,
    mean_of,
    sum_of,
    tokens,
)

FEWEST: Final = 4
"""Clear observations below which a pixel keeps the estimate of kernel fusion."""

LARGEST: Final = 3.0
"""Deviations by which the estimate changes at most."""

SMALLEST: Final = 0.001  # deviation, in reflectance

BATCH: Final = 256
"""Pixels that are computed at once. The number is fixed, so that each is rounded in the same way.
"""

OF_TOKEN: Final = 4 + len(DECAYS) + 5
OF_PIXEL: Final = 2 * len(WAITS) + 3


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(NetworkConfig):
    """Hyper-parameters of :class:`SeriesAttention`.

    Parameters
    ----------
    sar_bands : int
        Always 0: backscatter enters only through kernel fusion.
    heads : int
        Number of weighted means of the observations.
    hidden, features : int
        Sizes of the hidden layers that give the weights, and the shares of the means.
    """

    sar_bands: int = 0
    heads: int = 6
    hidden: int = 16
    features: int = 24

    @property
    def reach(self) -> int:
        """See :attr:`NetworkConfig.reach`."""
        return sum(SHOWN)

    @property
    def needs_mask(self) -> bool:
        """See :attr:`NetworkConfig.needs_mask`."""
        return True

    @property
    def context(self) -> tuple[str, ...]:
        """See :attr:`NetworkConfig.context`."""
        return ("kernel-fusion",)

    @property
    def any_bands(self) -> bool:
        """See :attr:`NetworkConfig.any_bands`."""
        return True

    @property
    def reads_series(self) -> bool:
        """Whether ``forward`` reads all other dates."""
        return True


class SeriesAttention(nn.Module):
    """Correct the estimate of kernel fusion by weighted means of the observations around a date.

    Each head weighs the observations of a pixel by their distance in days and by how much they
    differ from the estimate. A second part decides for each band which share of these differences
    is added. No weight belongs to a band. The untrained network returns the estimate.
    """

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        c = self.config = config
        means = c.heads * (1 + len(STEPS))
        self.weigh = nn.ModuleList([nn.Linear(OF_TOKEN, c.hidden), nn.Linear(c.hidden, c.heads)])
        self.memory = nn.Parameter(torch.linspace(math.log(4), math.log(64), c.heads))
        sizes = (OF_PIXEL + 2 + 2 * means, c.features, c.features, means)
        self.share = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        for last in (self.weigh[-1], self.share[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(
        self,
        optical: Tensor,
        sar: Tensor,
        *,
        mask: Tensor,
        context: Tensor,
        others: Tensor | None = None,
        shown: Tensor | None = None,
        apart: Tensor | None = None,
    ) -> Tensor:
        """Reconstruct an image (n, bands, h, w); occluded pixels of `optical` are not read.

        Parameters
        ----------
        optical, sar : Tensor
            Reflectance, whose clear pixels are returned, and backscatter, which is not read.
        mask : Tensor
            1 where occluded, (n, 1, h, w).
        context : Tensor
            Estimate and deviation of kernel fusion (n, 2 bands + 1, h, w), see
            :func:`xcloudfree.methods.temporal_context.scale`.
        others, shown : Tensor, optional
            Reflectance of the other dates (n, dates, bands, h, w), and 1 where it is clear (n,
            dates, h, w). Without them, the estimate is returned.
        apart : Tensor, optional
            Days from the date to the others, ordered by their distance, (n, dates).
        """
        bands = optical.shape[1]
        part = parts_of(context, ("kernel-fusion",), bands)["kernel-fusion"]
        mean, size, known = part[:, :bands], part[:, bands:-1] / STEADY, part[:, -1] > 0
        size, hidden = size.clamp(min=SMALLEST), mask[:, 0] > 0.5
        out = torch.where(hidden[:, None], mean, optical)
        if others is None or shown is None or apart is None:
            return out
        for n in range(len(optical)):
            ask = (hidden[n] & known[n]).nonzero()
            found = tokens(mean[n], size[n], others[n], shown[n] > 0.5, apart[n], hidden[n], ask,
                           known[n])  # fmt: skip
            if found is not None:
                y, x = ask.T
                change = self.change(found) * size[n][:, y, x].mT
                out[n, :, y, x] = (mean[n][:, y, x].mT + change).mT
        return out

    def change(self, found: Tokens) -> Tensor:
        """Change of the estimate in deviations, (pixel, band), in batches of fixed size."""
        parts = [self.correct(found.of(which)) for which in _batches(len(found.known), found.days)]
        return torch.cat(parts)[: len(found.known)]

    def correct(self, found: Tokens, bounded: bool = True) -> Tensor:
        """The same for one batch; a fit needs it without the bounds."""
        means = self._means(found)
        count, bands = found.size.shape
        sizes = found.size.log()
        both = mean_of(means.unbind(1))[:, None].expand_as(means)
        size = mean_of(sizes.unbind(1))[:, None, None].expand(count, bands, 1)
        pixel = found.pixel[:, None].expand(count, bands, -1)
        x = torch.cat([pixel, sizes[..., None], size, means, both], -1).flatten(0, 1)
        shares = _layers(x, self.share)
        total = (shares * means.flatten(0, 1)).unbind(1)
        change = sum_of(total).view(count, bands)
        if not bounded:
            return change
        change = change.clamp(-LARGEST, LARGEST)
        enough = found.known.sum(1) >= FEWEST
        return torch.where(enough[:, None], change, 0.0)

    def _means(self, found: Tokens) -> Tensor:
        """Weighted means of the differences, (pixel, band, head x (1 + mean))."""
        count, slots, bands, _ = found.different.shape
        score = _layers(found.features.flatten(0, 1), self.weigh).view(count, slots, -1)
        score = score - found.days.abs()[..., None] / self.memory.exp()
        score = score.masked_fill(~found.known[..., None], -torch.inf)
        best = score.amax(1, keepdim=True)
        weight = (score - best.nan_to_num(neginf=0.0)).exp()
        weight = weight / sum_of(weight.unbind(1)).clamp(min=1e-6)[:, None]
        # pixels last, so that long rows are added, always in the same order
        different = found.different.permute(1, 3, 2, 0).contiguous()
        share = weight.permute(1, 2, 0).contiguous()
        total = torch.zeros((share.shape[1], *different.shape[1:]), device=weight.device)
        for slot in range(slots):
            total = total.addcmul(different[slot], share[slot][:, None, None])
        return total.permute(3, 2, 0, 1).reshape(count, bands, -1)


def _layers(x: Tensor, layers: nn.ModuleList) -> Tensor:
    """Linear layers with ReLU between them; rows are independent of each other in every bit."""
    for k, layer in enumerate(layers):
        x = product(x, layer.weight.mT) + layer.bias  # type: ignore[operator,arg-type]
        if k < len(layers) - 1:
            x = x.relu()
    return x


def _batches(count: int, like: Tensor) -> Iterator[Tensor]:
    """Indices of pixels, always as many; the last repeat the first."""
    every = torch.arange(-(-count // BATCH) * BATCH, device=like.device) % count
    yield from every.split(BATCH)

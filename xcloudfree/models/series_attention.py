"""Attention of each hidden pixel to its clear observations on other dates, on kernel fusion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from xcloudfree.methods.kernel_fusion.products import product
from xcloudfree.methods.temporal_context import STEADY
from xcloudfree.models.config import NetworkConfig
from xcloudfree.models.other_dates import parts_of

LONGEST: Final = 150.0
"""Days from which observations are read."""

EACH_SIDE: Final = 8
"""Clear observations of a pixel that are read before the date, and after it."""

FEWEST: Final = 4
"""Clear observations below which a pixel keeps the estimate of kernel fusion."""

FARTHEST: Final = 6.0
"""Deviations of kernel fusion at which differences from it are clipped."""

LARGEST: Final = 3.0
"""Deviations by which the estimate changes at most."""

SMALLEST: Final = 0.001  # deviation, in reflectance
USUAL: Final = 0.02  # deviation whose logarithm counts as 0
DECAYS: Final = (5.0, 15.0, 45.0)
"""Days after which weights of an observation fall to 1/e: inputs of the attention."""

WAITS: Final = DECAYS[1:]
"""The same for the nearest observation: inputs of the shares."""

SPARSE: Final = 0.2
"""Number of differences of zero that is added to the means over squares."""

STEPS: Final = (1, 3)
"""Pixels between the nine points of a mean over a square; one after the other: 3 and 9 px wide."""

SHOWN: Final = (1, 3, 9)
"""The same for the share of visible pixels: 9 px, and 27 px wide."""

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


class Tokens(NamedTuple):
    """Clear observations of hidden pixels.

    Parameters
    ----------
    known : Tensor of bool
        Whether there is an observation, (pixel, observation).
    features : Tensor
        Of the observation, 0 where unknown, (pixel, observation, number).
    days : Tensor
        Days between observation and date, (pixel, observation).
    different : Tensor
        Observation less estimate in deviations, at the pixel and its means over squares around, 0
        where unknown, (pixel, observation, band, 1 + mean).
    pixel : Tensor
        How long ago the nearest observations are, and what is visible nearby, (pixel, number).
    size : Tensor
        Deviation of kernel fusion, in units of :data:`USUAL`, (pixel, band).
    """

    known: Tensor
    features: Tensor
    days: Tensor
    different: Tensor
    pixel: Tensor
    size: Tensor

    def of(self, which: Tensor) -> Tokens:
        """Some of the pixels."""
        return Tokens(*(a[which] for a in self))


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
        both = _mean_of(means.unbind(1))[:, None].expand_as(means)
        size = _mean_of(sizes.unbind(1))[:, None, None].expand(count, bands, 1)
        pixel = found.pixel[:, None].expand(count, bands, -1)
        x = torch.cat([pixel, sizes[..., None], size, means, both], -1).flatten(0, 1)
        shares = _layers(x, self.share)
        total = (shares * means.flatten(0, 1)).unbind(1)
        change = _sum_of(total).view(count, bands)
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
        weight = weight / _sum_of(weight.unbind(1)).clamp(min=1e-6)[:, None]
        # pixels last, so that long rows are added, always in the same order
        different = found.different.permute(1, 3, 2, 0).contiguous()
        share = weight.permute(1, 2, 0).contiguous()
        total = torch.zeros((share.shape[1], *different.shape[1:]), device=weight.device)
        for slot in range(slots):
            total = total.addcmul(different[slot], share[slot][:, None, None])
        return total.permute(3, 2, 0, 1).reshape(count, bands, -1)


def tokens(
    mean: Tensor,
    size: Tensor,
    others: Tensor,
    shown: Tensor,
    apart: Tensor,
    hidden: Tensor,
    ask: Tensor,
    known: Tensor,
) -> Tokens | None:
    """The observations of some hidden pixels; None if there are none.

    Parameters
    ----------
    mean, size : Tensor
        Estimate and its deviation, (band, y, x).
    others, shown : Tensor
        Reflectance of the other dates (date, band, y, x), and where it is clear, (date, y, x).
    apart : Tensor
        Days to these dates, ordered by their distance, (date,).
    hidden, known : Tensor of bool
        Occluded pixels, and those with an estimate, (y, x).
    ask : Tensor
        Rows and columns, (pixel, 2).
    """
    close = (apart.abs() <= LONGEST).nonzero().ravel()
    if not len(ask) or not len(close):
        return None
    apart, shown, others = apart[close], shown[close], others[close]
    y, x = ask.T
    used = shown[:, y, x]
    rank = torch.zeros(used.shape, dtype=torch.long, device=used.device)
    for side in (apart < 0, apart >= 0):
        rank[side] = used[side].long().cumsum(0) - 1
    used = used & (rank < EACH_SIDE)
    read = used.any(1)
    apart, shown, others, used, rank = (a[read] for a in (apart, shown, others, used, rank))
    if not len(apart):
        return None
    slots = 2 * EACH_SIDE
    place = (used.long().cumsum(0) - 1).clamp(min=0)
    which = torch.zeros((slots, len(ask)), dtype=torch.long, device=used.device)
    for date in range(len(apart)):  # each takes the next free slot of its pixels
        there = used[date].nonzero().ravel()
        which[place[date, there], there] = date
    count = used.sum(0)
    filled = torch.arange(slots, device=used.device)[:, None] < count
    picked = which, torch.arange(len(ask), device=used.device).expand_as(which)
    # differences are read on hidden pixels alone: at visible ones the estimate knows the date
    rows, columns = (
        slice(max(0, int(p.min()) - sum(STEPS)), int(p.max()) + sum(STEPS) + 1) for p in (y, x)
    )
    read = (shown & hidden & known)[:, rows, columns]
    weights = read.to(mean.dtype)
    values = others[..., rows, columns] - mean[:, rows, columns]
    values = values.div_(size[:, rows, columns]).clamp_(-FARTHEST, FARTHEST)
    values.masked_fill_(~read[:, None], 0.0)
    far = _mean_of(values.abs().unbind(1))
    flat = (which * values.shape[2] + y - rows.start) * values.shape[3] + x - columns.start
    flat = torch.where(filled, flat, 0).ravel()
    kinds, near = [_picked(values, flat)], None
    for step in STEPS:
        values, weights = _around(values, step), _around(weights, step)
        number = _picked(weights[:, None], flat) + SPARSE
        kinds.append(_picked(values, flat).div_(number))
        if near is None:
            near = _picked(_around(far, step)[:, None], flat).div_(number)
    assert near is not None
    different = torch.stack(kinds, -1).view(slots, len(ask), -1, len(kinds))
    different = torch.where(filled[..., None, None], different, 0.0)
    own = different[..., 0]
    table = _of_days(apart)
    parts = [
        table[which],
        _logarithms(EACH_SIDE, own)[rank[picked].clamp(0, EACH_SIDE - 1)][..., None],
        _mean_of(own.unbind(-1))[..., None],
        _mean_of(own.abs().unbind(-1))[..., None],
        _mean_of(own.square().unbind(-1))[..., None] / 10,
        near.view(slots, -1, 1),
    ]
    features = torch.where(filled[..., None], torch.cat(parts, -1), 0.0)
    pixel = [
        torch.where(used & side[:, None], table[:, 3 + k, None], 0.0).amax(0)
        for k in range(len(DECAYS) - len(WAITS), len(DECAYS))
        for side in (apart < 0, apart >= 0)
    ]
    pixel.append(_logarithms(slots + 1, own)[count])
    share = (~hidden).to(own.dtype)
    for step in SHOWN:
        share = _around(share, step) / 9
        if step != SHOWN[0]:
            pixel.append(share[y, x])
    days = torch.where(filled, apart.to(own.dtype)[which], 0.0)
    return Tokens(
        filled.mT,
        features.transpose(0, 1),
        days.mT,
        different.transpose(0, 1),
        torch.stack(pixel, -1),
        size[:, y, x].mT / USUAL,
    )


def _picked(planes: Tensor, flat: Tensor) -> Tensor:
    """Pixels of planes (date, band, y, x) by their position, as (pixel, band)."""
    return planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1]).index_select(0, flat)


def _of_days(apart: Tensor) -> Tensor:
    """What the attention reads of the distance of dates, (date, number)."""
    days = apart.double()
    far = days.abs()
    parts = [days / 30, far / 30, far.log1p(), *((-far / decay).exp() for decay in DECAYS)]
    return torch.stack([*parts, days.sign()], -1).float()


def _logarithms(count: int, like: Tensor) -> Tensor:
    """Logarithms of 1, 2, 3, ..."""
    return like.new_tensor([math.log1p(n) for n in range(count)])


def _around(planes: Tensor, step: int) -> Tensor:
    """Sum over nine points of a square, 0 beyond the border, always added in the same order."""
    for dim in (-2, -1):
        count = planes.shape[dim] - step
        total = planes.clone()
        if count > 0:
            total.narrow(dim, step, count).add_(planes.narrow(dim, 0, count))
            total.narrow(dim, 0, count).add_(planes.narrow(dim, step, count))
        planes = total
    return planes


def _sum_of(parts: tuple[Tensor, ...]) -> Tensor:
    """Sum that is always added in the same order."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _mean_of(parts: tuple[Tensor, ...]) -> Tensor:
    """Their mean."""
    return _sum_of(parts) / len(parts)


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

"""Clear observations of hidden pixels on other dates, as the attention of a network reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import torch
from torch import Tensor

LONGEST: Final = 150.0
"""Days from which observations are read."""

EACH_SIDE: Final = 8
"""Clear observations of a pixel that are read before the date, and after it."""

FARTHEST: Final = 6.0
"""Deviations of kernel fusion at which differences from it are clipped."""

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
    used, rank = _nearest(shown[:, y, x], apart)
    read = used.any(1)
    apart, shown, others, used, rank = (a[read] for a in (apart, shown, others, used, rank))
    if not len(apart):
        return None
    which, filled = _slots(used)
    different, near = _differences(mean, size, others, shown & hidden & known, ask, which, filled)
    own, table = different[..., 0], _of_days(apart)
    rank = rank.gather(0, which).clamp(0, EACH_SIDE - 1)
    parts = [
        table[which],
        _logarithms(EACH_SIDE, own)[rank][..., None],
        mean_of(own.unbind(-1))[..., None],
        mean_of(own.abs().unbind(-1))[..., None],
        mean_of(own.square().unbind(-1))[..., None] / 10,
        near[..., None],
    ]
    features = torch.where(filled[..., None], torch.cat(parts, -1), 0.0)
    nearest = [
        torch.where(used & side[:, None], table[:, 3 + k, None], 0.0).amax(0)
        for k in range(len(DECAYS) - len(WAITS), len(DECAYS))
        for side in (apart < 0, apart >= 0)
    ]
    count = _logarithms(2 * EACH_SIDE + 1, own)[used.sum(0)]
    pixel = [*nearest, count, *(share[y, x] for share in _visible(~hidden, own))]
    days = torch.where(filled, apart.to(own.dtype)[which], 0.0)
    return Tokens(
        filled.mT,
        features.transpose(0, 1),
        days.mT,
        different.transpose(0, 1),
        torch.stack(pixel, -1),
        size[:, y, x].mT / USUAL,
    )


def _nearest(used: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
    """The observations of pixels that are read, and their numbers on their side of the date."""
    rank = torch.zeros(used.shape, dtype=torch.long, device=used.device)
    for side in (apart < 0, apart >= 0):
        rank[side] = used[side].long().cumsum(0) - 1
    return used & (rank < EACH_SIDE), rank


def _slots(used: Tensor) -> tuple[Tensor, Tensor]:
    """Dates of the observations of each pixel, (observation, pixel), and whether there is one."""
    slots, pixels = 2 * EACH_SIDE, used.shape[1]
    place = (used.long().cumsum(0) - 1).clamp(min=0)
    which = torch.zeros((slots, pixels), dtype=torch.long, device=used.device)
    for date in range(len(used)):  # each takes the next free slot of its pixels
        there = used[date].nonzero().ravel()
        which[place[date, there], there] = date
    return which, torch.arange(slots, device=used.device)[:, None] < used.sum(0)


def _differences(
    mean: Tensor,
    size: Tensor,
    others: Tensor,
    read: Tensor,
    ask: Tensor,
    which: Tensor,
    filled: Tensor,
) -> tuple[Tensor, Tensor]:
    """Differences of :class:`Tokens`, observations first, and their mean size in the first square.

    Only the pixels to `read` count: at visible ones the estimate knows the date.
    """
    y, x = ask.T
    rows, columns = (
        slice(max(0, int(p.min()) - sum(STEPS)), int(p.max()) + sum(STEPS) + 1) for p in (y, x)
    )
    read = read[:, rows, columns]
    weights = read.to(mean.dtype)
    values = others[..., rows, columns] - mean[:, rows, columns]
    values = values.div_(size[:, rows, columns]).clamp_(-FARTHEST, FARTHEST)
    values.masked_fill_(~read[:, None], 0.0)
    far = _around(mean_of(values.abs().unbind(1)), STEPS[0])
    flat = (which * values.shape[2] + y - rows.start) * values.shape[3] + x - columns.start
    flat = torch.where(filled, flat, 0).ravel()
    kinds, numbers = [_picked(values, flat)], []
    for step in STEPS:
        values, weights = _around(values, step), _around(weights, step)
        numbers.append(_picked(weights[:, None], flat) + SPARSE)
        kinds.append(_picked(values, flat).div_(numbers[-1]))
    near = _picked(far[:, None], flat).div_(numbers[0]).view(which.shape)
    different = torch.stack(kinds, -1).view(*which.shape, -1, len(kinds))
    return torch.where(filled[..., None, None], different, 0.0), near


def _visible(shown: Tensor, like: Tensor) -> Iterator[Tensor]:
    """Shares of visible pixels in squares."""
    share = shown.to(like.dtype)
    for step in SHOWN:
        share = _around(share, step) / 9
        if step != SHOWN[0]:
            yield share


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


def sum_of(parts: tuple[Tensor, ...]) -> Tensor:
    """Sum that is always added in the same order."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def mean_of(parts: tuple[Tensor, ...]) -> Tensor:
    """Their mean."""
    return sum_of(parts) / len(parts)

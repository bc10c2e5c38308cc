"""How much of a median and of an interpolation a wholly hidden date takes beside its regression.

Without a visible pixel nothing corrects the regression, and estimates with other errors improve it.
Clear dates of the series, predicted from the others, determine the shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xcloudfree.methods.kernel_fusion.predictors import Pixels

MONTH: Final = 30.0
"""Days around a date for its median."""

FEW: Final = 6.0
"""Number of dates as which the shares of :class:`.settings.Settings` count."""

LEAST: Final = 10
"""Clear pixels of the sample that a date must show."""

FAR: Final = 5.0
"""Deviations at which errors are clipped."""

FLOOR: Final = 0.1
"""Squared error, in deviations of the regression, that is added to that of each date."""

STEP: Final = 0.05
"""Resolution of shares."""


class Guess(NamedTuple):
    """Clear pixels of a date as the regression predicts them from others, (pixel, band) each."""

    day: float
    which: Tensor  # pixels of the sample
    line: Tensor  # interpolated between the clear dates around
    mean: Tensor
    deviation: Tensor
    truth: Tensor


def median(pixels: Pixels, day: float, gap: float, where: Tensor) -> Tensor:
    """Median of the clear dates within a month, but beyond a gap, (pixel, band); NaN without."""
    far = np.abs(pixels.days - day)
    near = np.flatnonzero((far > gap) & (far <= MONTH))
    if not len(near):
        return pixels.values.new_full((len(where), pixels.bands), torch.nan)
    every = pixels.values.flatten(0, 1)
    place = torch.as_tensor(near, device=where.device)[:, None] * pixels.values.shape[1] + where
    some = every.index_select(0, place.ravel())[:, : pixels.bands]
    shown = pixels.clear.ravel()[place]
    some = some.reshape(*place.shape, pixels.bands)
    return torch.where(shown[..., None], some, torch.nan).nanmedian(0).values


def shares(pixels: Pixels, guesses: Sequence[Guess], gap: float, usual: float) -> Tensor:
    """Shares of the median and the interpolation, where there is no median and where there is."""
    # (without and with median, median and interpolation); `usual` is the share of the median that
    # the series corrects
    forms: tuple[list[Form], list[Form]] = [], []
    for guess in (g for g in guesses if len(g.truth) >= LEAST):
        middle = median(pixels, guess.day, gap, guess.which)
        there = torch.isfinite(middle).all(1)
        for kind, use in ((0, ~there), (1, there)):
            if not bool(use.any()):
                continue
            others = torch.stack([middle.nan_to_num(), guess.line])[:, use] - guess.mean[use]
            if not kind:
                others[0] = 0
            away = (others / guess.deviation[use]).clamp(-FAR, FAR).flatten(1).double()
            error = (guess.truth - guess.mean)[use] / guess.deviation[use]
            error = error.clamp(-FAR, FAR).flatten().double()
            sums = error @ error, away @ error, away @ away.mT
            forms[kind].append(Form(*(a / len(error) for a in sums)))
    return torch.stack([_best(dates, usual * kind) for kind, dates in enumerate(forms)])


class Form(NamedTuple):
    """Mean squared error of a date as a quadratic form of the shares."""

    constant: Tensor
    linear: Tensor
    square: Tensor


def _best(dates: Sequence[Form], usual: float) -> Tensor:
    """Shares that are not negative, at most 1 together, with the best mean PSNR of the dates."""
    start = torch.tensor([usual, 0.0]).double()
    if not dates:
        return start
    steps = torch.arange(0, 1 + STEP / 2, STEP).double()
    able = torch.cartesian_prod(steps, steps)
    able = able[able.sum(1) <= 1 + STEP / 2]
    total = torch.zeros(len(able)).double()
    away = (able - start).square()
    for constant, linear, square in dates:
        error = constant - 2 * able @ linear + ((able @ square) * able).sum(1)
        total += (error + FLOOR).log()
        # as many dates as FEW, on which the usual shares are best
        total += FEW / len(dates) * (1 + away @ square.diagonal() / (constant + FLOOR)).log()
    found: Tensor = able[total.argmin()]
    return found

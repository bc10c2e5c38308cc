"""Offsets of whole dates from their prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from xcloudfree.methods.kernel_fusion.mixing import FAR, FEW, Guess

GUESS: Final = 0.4
"""Prior guess of these offsets, in deviations, weighted like :data:`.mixing.FEW` dates."""

LOCAL: Final = 0.1
"""Share of the variance within dates by which a part of the scene may deviate in addition."""

OUTLYING: Final = 4.0
"""Squared distance, in medians of it, of dates that are excluded."""


def of_dates(guesses: Sequence[Guess], bands: int) -> tuple[Tensor, Tensor]:
    """Offset of each date at a gap, and the variance around it, in deviations, (date, band)."""
    offsets = torch.full((len(guesses), bands), torch.nan, dtype=torch.float64)
    within = torch.full_like(offsets, torch.nan)
    for k, guess in enumerate(guesses):
        left = ((guess.truth - guess.mean) / guess.deviation).double()
        if len(left):
            offsets[k] = left.median(0).values
            within[k] = (left - offsets[k]).clamp(-FAR, FAR).square().mean(0)
    return offsets, within


def inverse_spread(offsets: Tensor, within: Tensor) -> Tensor:
    """Inverse covariance of offsets by band: robust, and shrunk to a guess if dates are few."""
    bands = offsets.shape[1]
    guess = GUESS**2 * (torch.eye(bands) + torch.ones(bands, bands)).double() / 2
    table = offsets.clamp(-FAR, FAR)
    local = torch.zeros(bands, bands, dtype=torch.float64)
    if len(table):
        local = LOCAL * within.median(0).values.diag()
    kept = torch.ones(len(table), dtype=torch.bool)
    inverse: Tensor = torch.linalg.inv(guess + local) / bands
    for _ in range(3 * bool(len(table))):
        whole = table[kept].mT @ table[kept] + FEW * guess
        inverse = torch.linalg.inv(whole / (int(kept.sum()) + FEW) + local) / bands
        distance = ((table @ inverse) * table).sum(1)
        kept = distance <= OUTLYING * distance.median()
    return inverse

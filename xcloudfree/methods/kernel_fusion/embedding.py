"""Describe how each pixel of a tile changes over time by a few numbers, with gaps in the data.

The matrix of pixels and (date, band) pairs is completed by a low-rank model. The scores of a pixel
for a target are projections of its values on the nearest dates, and on all others.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcloudfree.methods.kernel_fusion.products import product
from xcloudfree.methods.kernel_fusion.settings import Settings

CLEAR, NEAR_CLEAR = 0.3, 0.5
"""Shares of a tile that a date must show to be used, and to be one of the nearest."""

LARGEST: Final = 4.0
"""Deviations from the mean of the date at which values are clipped."""

THIN: Final = 5
"""Step between the pixels of a tile that determine the scale of its scores."""

SHRINK: Final = 0.98
"""Factor by which filled values shrink to the mean in each round."""


FILLING: Final = 3
"""Rounds in which all pixels are filled from a basis computed from some of them."""


class Courses(NamedTuple):
    """Filled series of a tile's pixels."""

    filled: Tensor  # standardised reflectance, (pixel, date * band)
    loadings: Tensor  # common to all dates, (date * band, score)
    scores: Tensor  # projection of all dates, (pixel, score)
    centre: Tensor  # mean of each column over some of the pixels, float64
    inner: Tensor  # mean products of two columns, float64
    days: NDArray[np.float64]  # day numbers of the dates used
    share: NDArray[np.float64]  # share of the tile that is clear on each

    def deviation(self, weights: Tensor) -> Tensor:
        """Of weighted sums of the columns, (date * band, sum), over some of the pixels."""
        exact = weights.double()
        power = (exact * (self.inner @ exact)).sum(0)
        return (power - (self.centre @ exact).square()).clamp(min=0).sqrt().to(weights)


def courses(
    values: Tensor, clear: Tensor, days: NDArray[np.float64], settings: Settings
) -> Courses | None:
    """Fill the series (time, pixel, band) of a tile; None if no date shows enough."""
    share = clear.double().mean(1).cpu().numpy()
    position = np.flatnonzero(share > CLEAR)
    if not len(position) or clear.shape[1] < 2:
        return None
    if len(position) < len(share):
        values, clear = values[position], clear[position]
    shown = clear.to(values.dtype).mT[..., None]  # (pixel, date, 1)
    table = values.permute(1, 0, 2)
    count = shown.sum(0).clamp(min=1)
    table = (table - (table * shown).sum(0) / count) * shown
    spread = (table.square().sum((0, 1)) / shown.sum((0, 1))).sqrt().clamp(min=1e-4)
    table = (table / spread).clamp_(-LARGEST, LARGEST)
    size, _, bands = table.shape
    flat = table.reshape(size, -1).contiguous()
    gaps = (1 - shown).expand(-1, -1, bands).reshape(size, -1) * SHRINK
    # some of the pixels give the basis, from which all are filled, to save time
    thin = slice(None, None, THIN if size > 4 * THIN * settings.scores else 1)
    part, missing = flat[thin].contiguous(), gaps[thin].contiguous()
    basis = _start(part, min(settings.scores, *part.shape))
    for _ in range(settings.rounds if bool(missing.any()) else 1):
        basis = torch.linalg.qr(part.mT @ (part @ basis)).Q
        part = torch.addcmul(flat[thin], (part @ basis) @ basis.mT, missing)
    scores = flat @ basis
    if bool(gaps.any()):
        observed = flat
        for _ in range(FILLING):
            flat = torch.addcmul(observed, scores @ basis.mT, gaps)
            scores = flat @ basis
    part = flat[thin]
    centre, inner = part.double().mean(0), (part.mT @ part).double() / len(part)
    return Courses(flat, basis, scores, centre, inner, days[position], share[position])


def _start(flat: Tensor, rank: int) -> Tensor:
    """A first basis that is the same on all machines."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(flat.shape[1], rank, generator=generator).to(flat)
    basis: Tensor = torch.linalg.qr(flat.mT @ (flat @ start)).Q
    return basis


def scores(found: Courses, day: float, which: Tensor, settings: Settings) -> Tensor:
    """Scores (pixel, score) that describe how some pixels change over dates other than a day."""
    # on the leading components of the nearest dates, then on those that all dates share, of the
    # others
    far = np.abs(found.days - day)
    other = far > 0
    able = np.flatnonzero(other & (found.share > NEAR_CLEAR))
    near = np.sort(able[np.argsort(far[able], kind="stable")[: settings.nearest]])
    # subtract the contribution of the nearest dates and the day itself: the shorter sum
    read = np.union1d(near, np.flatnonzero(~other))
    rest = len(far) > len(read)
    bands = len(found.loadings) // len(far)
    columns = slice(read[0] * bands, (read[-1] + 1) * bands) if len(read) else slice(0)
    dates = np.repeat(np.arange(len(far)), bands)
    taken = torch.as_tensor(np.isin(dates, read), device=which.device)
    close = torch.as_tensor(np.isin(dates, near), device=which.device)
    parts, weights = [], []
    if len(near):
        inner = found.inner[close][:, close]
        rank = min(settings.scores, len(inner))
        basis = found.loadings.new_zeros(len(dates), rank)
        basis[close] = torch.linalg.eigh(inner).eigenvectors[:, -rank:].flip(1).to(basis)
        parts, weights = [basis], [basis]
    if rest:
        others = torch.where(taken[:, None], 0.0, found.loadings)
        parts, weights = [*parts, others - found.loadings], [*weights, others]
    if not parts:
        return found.scores.new_zeros((len(which), 0))
    table = found.filled[:, columns].index_select(0, which)
    told = product(table, torch.cat(parts, 1)[columns])
    if rest:
        told[:, -found.scores.shape[1] :] += found.scores.index_select(0, which)
    # the scale comes from pixels independent of the blocks
    scale = [found.deviation(w).max().clamp(min=1e-6).expand(w.shape[1]) for w in weights]
    return told / torch.cat(scale)

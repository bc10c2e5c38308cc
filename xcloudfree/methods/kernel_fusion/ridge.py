"""Ridge regression from sums over examples, by date."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

PENALTIES: Final = tuple(float(p) for p in 10.0 ** np.arange(-4, 1.1, 0.5))
"""Candidate ridge penalties on standardised predictors."""

FOLDS: Final = 4
"""Spans of time that are left out in turn to choose the penalty."""


class Moments(NamedTuple):
    """Sums over examples of z z', z y' and y y, by date or of all, in float64."""

    zz: Tensor
    zy: Tensor
    yy: Tensor

    def total(self) -> Moments:
        """Sums over all dates."""
        return Moments(*(a.sum(0) for a in self))

    @property
    def examples(self) -> float:
        """Number of examples."""
        return float(self.zz[..., 0, 0].sum())


def summed(z: Tensor, y: Tensor, date: Tensor, times: int) -> Moments:
    """Moments by date; examples are in order of dates."""
    ends = torch.bincount(date, minlength=times).tolist()
    zz: list[Tensor] = []
    zy: list[Tensor] = []
    yy: list[Tensor] = []
    for a, b in zip(torch.split(z, ends), torch.split(y, ends), strict=True):
        if len(a) or not zz:
            zz.append(a.mT @ a)
            zy.append(a.mT @ b)
            yy.append((b * b).sum(0))
        else:
            for sums in (zz, zy, yy):
                sums.append(torch.zeros_like(sums[0]))
    return Moments(torch.stack(zz), torch.stack(zy), torch.stack(yy))


def penalised(moments: Moments, whole: Moments) -> tuple[float, Tensor]:
    """The best penalty, and the mean squared error of each band on the left-out spans."""
    times = len(moments.yy)
    step = -(-times // FOLDS)
    folds = []
    for start in range(0, times, step):
        fold = Moments(*(a[start : start + step].sum(0) for a in moments))
        rest = Moments(*(w - f for w, f in zip(whole, fold, strict=True)))
        if rest.examples > len(rest.zz) and fold.examples > 0:
            folds.append((fold, rest))
    if not folds:  # one span has nearly all examples: use their own error, with a high penalty
        rule = solved(whole.zz, whole.zy, PENALTIES[-1])
        return PENALTIES[-1], squared(whole, rule) / whole.examples
    best, least = PENALTIES[-1], torch.empty(0)
    for penalty in PENALTIES:
        each = [squared(fold, solved(rest.zz, rest.zy, penalty)) for fold, rest in folds]
        error = torch.stack(each).sum(0) / sum(fold.examples for fold, _ in folds)
        if not len(least) or float(error.sum()) < float(least.sum()):
            best, least = penalty, error
    return best, least


def squared(moments: Moments, rule: Tensor) -> Tensor:
    """Sum of squared errors of each band."""
    error = moments.yy - 2 * (rule * moments.zy).sum(0) + (rule * (moments.zz @ rule)).sum(0)
    return error.clamp(min=0)


def solved(zz: Tensor, zy: Tensor, penalty: float) -> Tensor:
    """Coefficients (..., 1 + predictor, band); almost constant predictors are excluded."""
    count = zz[..., :1, :1].clamp(min=1)
    mean, level = zz[..., :1, 1:] / count, zy[..., :1, :] / count
    covariance = zz[..., 1:, 1:] / count - mean.mT @ mean
    cross = zy[..., 1:, :] / count - mean.mT @ level
    power = zz.diagonal(dim1=-2, dim2=-1)[..., 1:] / count[..., 0]
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    # variation that rounding could explain would amplify rounding
    varies = variance > 1e-9 * power
    factor = torch.where(varies, variance.clamp(min=1e-300).rsqrt(), 0.0)
    standard = covariance * factor[..., :, None] * factor[..., None, :]
    eye = torch.eye(standard.shape[-1], dtype=zz.dtype)
    slope = torch.linalg.solve(standard + penalty * eye, cross * factor[..., None])
    slope = slope * factor[..., None]
    return torch.cat([level - mean @ slope, slope], -2)

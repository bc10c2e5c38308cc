"""The Gaussian process on the residuals of a date's visible pixels.

The covariance of two pixels adds an offset of the whole date, a wide and a narrow field in space,
the similarity of their predictors and that of their changes over time; all bands share it.

References
----------
Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, algorithm 2.1.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from xcloudfree.methods.kernel_fusion.products import LINE, product
from xcloudfree.methods.kernel_fusion.settings import Settings

BATCH: Final = 256
"""Pixels that are predicted at once, so that their data stays in the cache."""


class Points(NamedTuple):
    """Pixels as used by the covariance."""

    # left and right factor of each, (..., pixel, number): the product of a left and a right one is
    # 1 + squared distance in units of the range

    place: tuple[Tensor, Tensor]
    spectrum: tuple[Tensor, Tensor]
    course: tuple[Tensor, Tensor]

    def part(self, which: slice | Tensor) -> Points:
        """Some of the points."""
        return Points(*((a[..., which, :], b[..., which, :]) for a, b in self))


def points(place: Tensor, spectrum: Tensor, course: Tensor, settings: Settings) -> Points:
    """Scale features (..., pixel, number) of pixels to the ranges of the covariance."""
    scaled = (
        place / settings.wide_range,
        spectrum / (max(1, spectrum.shape[-1]) * settings.spectral_range) ** 0.5,
        course / (max(1, course.shape[-1]) * settings.temporal_range) ** 0.5,
    )
    return Points(*(_factors(s) for s in scaled))


def _factors(x: Tensor) -> tuple[Tensor, Tensor]:
    square = (x * x).sum(-1, keepdim=True)
    one = torch.ones_like(square)
    return torch.cat([-2 * x, square, one], -1), torch.cat([x, one, square + 1], -1)


def covariance(a: Points, b: Points, settings: Settings) -> Tensor:
    """Prior covariance of all pairs, (pixel of a, pixel of b), in variances of the regression."""
    # With d the distance in units of the range: 1 / (1 + d^2) for predictors and changes over time,
    # its square for the wide and its eighth power for the narrow field (rational quadratic
    # covariance: Rasmussen and Williams 2006, equation 4.19). It needs no exponentials; memory
    # access dominates.
    out = (a.place[0] @ b.place[1].mT).reciprocal_().square_()
    fourth = out.square()
    one, constant = out.new_ones(()), out.new_tensor(settings.constant)
    out = torch.add(constant, out, alpha=settings.wide)
    out.addcmul_(fourth, fourth, value=settings.narrow)
    for (left, _), (_, right), height in (
        (a.spectrum, b.spectrum, settings.spectral),
        (a.course, b.course, settings.temporal),
    ):
        if left.shape[-1] > 2:
            out.addcdiv_(one, left @ right.mT, value=height)
    return out


def variance(settings: Settings, place: Points) -> float:
    """Prior variance of a pixel."""
    total = settings.constant + settings.wide + settings.narrow
    total += settings.spectral * (place.spectrum[0].shape[-1] > 2)
    return total + settings.temporal * (place.course[0].shape[-1] > 2)


class Fitted(NamedTuple):
    """Support pixels with their weights (support, band), Cholesky factor, and scale by band.

    They are padded with weight 0 to a multiple of :data:`LINE`; the factor has no padding.
    """

    support: Points
    weights: Tensor
    factor: Tensor
    scale: Tensor


def fit(support: Points, residuals: Tensor, settings: Settings) -> Fitted:
    """Condition the process on residuals (support, band) of visible pixels."""
    # the scale is the most likely factor of the whole covariance, by band
    own = covariance(support, support, settings)
    own.diagonal().add_(settings.noise)
    factor, failed = torch.linalg.cholesky_ex(own)
    if int(failed):  # float32 is not enough for very similar pixels
        factor = torch.linalg.cholesky(own.double() + 1e-6 * torch.eye(len(own)).to(own)).to(own)
    weights = torch.cholesky_solve(residuals, factor)
    scale = ((residuals * weights).sum(0) / len(residuals)).clamp(min=0).sqrt()
    # pixels without weight fill the last line, see :func:`.products.product`
    count = len(weights)
    filled = torch.arange(-(-count // LINE) * LINE, device=weights.device) % count
    weights = torch.nn.functional.pad(weights, (0, 0, 0, len(filled) - count))
    return Fitted(support.part(filled), weights, factor, scale)


def predict(
    fitted: Fitted, where: Points, settings: Settings, deviation: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Expected residual (pixel, band), and its deviation, in deviations of the prior."""
    size = len(where.place[0])
    mean = fitted.weights.new_empty((size, fitted.weights.shape[1]))
    spread = torch.empty_like(mean) if deviation else None
    total = variance(settings, where) + settings.noise
    for start in range(0, size, BATCH):
        part = slice(start, start + BATCH)
        cross = covariance(where.part(part), fitted.support, settings)
        mean[part] = product(cross, fitted.weights)
        if spread is not None:
            held = cross[:, : len(fitted.factor)].mT
            told = torch.linalg.solve_triangular(fitted.factor, held, upper=False)
            left = (total - told.square_().sum(0)).clamp(min=settings.noise)
            spread[part] = left.sqrt()[:, None] * fitted.scale
    return mean, spread

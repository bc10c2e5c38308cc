"""For networks that start from other dates: their estimate, and the visible pixels nearby."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xcloudfree.methods import nearby
from xcloudfree.methods.nearby import LARGEST, SPARSE
from xcloudfree.methods.temporal_context import ESTIMATES, SIDES, STEADY, scaled_planes

WIDTHS = nearby.WIDTHS[::-1]
"""Standard deviations in pixels of the Gaussian means over visible pixels nearby."""

SMALLEST = 0.002
"""Smallest standard deviation of that base, in scaled reflectance."""


def around() -> int:
    """Radius in pixels of the widest mean of the visible neighbourhood."""
    return max(math.ceil(3 * width) for width in WIDTHS)


def parts_of(context: Tensor, names: Sequence[str], bands: int) -> dict[str, Tensor]:
    """Split the planes of the temporal context (n, planes, h, w) by part."""
    sizes = [scaled_planes((name,), bands) for name in names]
    return dict(zip(names, context.split(sizes, 1), strict=True))


def standardise(values: Tensor, base: Tensor, size: Tensor) -> Tensor:
    """Difference from the base in units of its deviation, clipped to :data:`LARGEST`."""
    return ((values - base) / size).clamp(-LARGEST, LARGEST)


def visible(
    optical: Tensor, base: Tensor, size: Tensor, mask: Tensor
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Standardised difference of visible pixels from the base, and its local means by width."""
    shown = (mask <= 0.5).to(optical.dtype)
    anomaly = shown * standardise(optical, base, size)
    return anomaly, [spread(anomaly, shown, width) for width in WIDTHS]


def correction(anomaly: Tensor, shown: Tensor, wide: Tensor) -> Tensor:
    """Error of a base, see :func:`xcloudfree.methods.nearby.correction`."""
    total, left = wide, shown * (anomaly - wide)
    for width in nearby.WIDTHS[1:]:
        mean, _ = spread(left, shown, width)
        total, left = total + mean, shown * (left - mean)
    return total


def spread(values: Tensor, shown: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Gaussian mean of known values around each pixel, shrunk to 0 if few are known; and share."""
    radius, count = math.ceil(3 * width), values.shape[1] + 1
    steps = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    weights = torch.exp(-0.5 * (steps / width) ** 2)
    kernel = (weights / weights.sum()).expand(count, 1, 1, -1)
    planes = torch.cat([values, shown], 1)
    planes = functional.conv2d(planes, kernel, padding=(0, radius), groups=count)
    planes = functional.conv2d(planes, kernel.mT, padding=(radius, 0), groups=count)
    mean, share = planes[:, :-1], planes[:, -1:]
    return mean / (share + SPARSE), share


def estimate(
    context: Tensor, names: Sequence[str], base: str, other: Tensor
) -> tuple[Tensor, Tensor]:
    """Estimate from other dates (n, bands, h, w) and its standard deviation."""
    bands = other.shape[1]
    parts = parts_of(context, names, bands)
    sides = [parts[name] for name in SIDES if name in parts]
    mean, size = other, torch.full_like(other, 1 / STEADY)
    for side in sides:
        mean = torch.where(side[:, -1:] > 0, side[:, :bands], mean)
    if len(sides) == 2:
        first, second = (1 / s[:, -2:-1].clamp(min=1e-6) - 1 for s in sides)  # ages
        share = first / (first + second).clamp(min=1e-12)
        line = sides[0][:, :bands] + share * (sides[1][:, :bands] - sides[0][:, :bands])
        both = (sides[0][:, -1:] > 0) & (sides[1][:, -1:] > 0)
        mean = torch.where(both, line, mean)
    if base in ESTIMATES:
        found = parts[base]
        estimated = found[:, -1:] > 0
        mean = torch.where(estimated, found[:, :bands], mean)
        deviation = found[:, bands : 2 * bands] / STEADY
        size = torch.where(estimated, deviation.clamp(min=SMALLEST), size)
    return mean, size

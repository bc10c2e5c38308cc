"""For networks that start from what other dates say: that, and what is visible around a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xcloudfree.methods import nearby
from xcloudfree.methods.nearby import LARGEST, SPARSE
from xcloudfree.methods.temporal_context import SIDES, STEADY, scaled_planes

WIDTHS = nearby.WIDTHS[::-1]
"""Standard deviations in pixels of the Gaussian means of what is visible around a pixel."""

SMALLEST = 0.002
"""Least standard deviation of that base, in scaled reflectance."""


def around() -> int:
    """Pixels around a pixel that enter the means of what is visible there.

    Returns
    -------
    int

    Examples
    --------
    >>> around()
    12
    """
    return max(math.ceil(3 * width) for width in WIDTHS)


def parts_of(context: Tensor, names: Sequence[str], bands: int) -> dict[str, Tensor]:
    """Cut what other dates show into its parts.

    Parameters
    ----------
    context : Tensor
        (n, planes, h, w), from :func:`xcloudfree.methods.temporal_context.scale`.
    names : sequence of str
        Its parts in order.
    bands : int
        Of the image.

    Returns
    -------
    dict of str to Tensor
        Views, (n, planes of the part, h, w).

    Examples
    --------
    >>> parts = parts_of(torch.zeros(1, 7, 2, 2), ("before", "median"), 2)
    >>> {name: part.shape[1] for name, part in parts.items()}
    {'before': 4, 'median': 3}
    """
    sizes = [scaled_planes((name,), bands) for name in names]
    return dict(zip(names, context.split(sizes, 1), strict=True))


def apart(values: Tensor, base: Tensor, size: Tensor) -> Tensor:
    """How far values are from the base, in its deviations, at most :data:`LARGEST` of them."""
    return ((values - base) / size).clamp(-LARGEST, LARGEST)


def visible(
    optical: Tensor, base: Tensor, size: Tensor, mask: Tensor
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """What the date itself shows beside the base; what clouds show hints at nothing below them.

    Parameters
    ----------
    optical, base, size : Tensor
        Cloudy reflectance, and what :func:`estimate` returns, (n, bands, h, w).
    mask : Tensor
        1 where occluded, (n, 1, h, w).

    Returns
    -------
    tuple of (Tensor, list of tuple of Tensor)
        :func:`apart` from the base, 0 where occluded; and of that for each of :data:`WIDTHS` what
        :func:`spread` returns.
    """
    shown = (mask <= 0.5).to(optical.dtype)
    anomaly = shown * apart(optical, base, size)
    return anomaly, [spread(anomaly, shown, width) for width in WIDTHS]


def correction(anomaly: Tensor, shown: Tensor, wide: Tensor) -> Tensor:
    """How far a base is off, see :func:`xcloudfree.methods.nearby.correction`.

    Parameters
    ----------
    anomaly : Tensor
        What is visible, :func:`apart` from the base, 0 elsewhere, (n, bands, h, w).
    shown : Tensor
        1 where visible, (n, 1, h, w).
    wide : Tensor
        The widest mean of :func:`visible`, (n, bands, h, w).

    Returns
    -------
    Tensor
        In deviations of the base, (n, bands, h, w).

    Examples
    --------
    >>> one = torch.ones(1, 1, 40, 40)
    >>> wide, _ = spread(2 * one, one, WIDTHS[-1])
    >>> round(float(correction(2 * one, one, wide)[0, 0, 20, 20]), 3)
    1.999
    """
    found, left = wide, shown * (anomaly - wide)
    for width in nearby.WIDTHS[1:]:
        mean, _ = spread(left, shown, width)
        found, left = found + mean, shown * (left - mean)
    return found


def spread(values: Tensor, shown: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Gaussian mean of the values around each pixel, drawn to 0 where few are known.

    Parameters
    ----------
    values : Tensor
        (n, bands, h, w), 0 where not known.
    shown : Tensor
        1 where known, (n, 1, h, w).
    width : float
        Standard deviation in pixels; cut off at three of them.

    Returns
    -------
    tuple of Tensor
        The mean (n, bands, h, w), and the known share (n, 1, h, w).

    Examples
    --------
    >>> one = torch.zeros(1, 1, 9, 9)
    >>> one[..., 4, 4] = 1
    >>> mean, share = spread(2 * one, one, 1.5)
    >>> round(float(mean[0, 0, 4, 4] / share[0, 0, 4, 4] * (share[0, 0, 4, 4] + 0.02)), 4)
    2.0
    """
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
    """What other dates say of each pixel, and how far off that may be.

    Parameters
    ----------
    context : Tensor
        (n, planes, h, w), from :func:`xcloudfree.methods.temporal_context.scale`.
    names : sequence of str
        Its parts.
    base : {"context", "regression"}
        See :class:`~xcloudfree.models.carf.CarfConfig`.
    other : Tensor
        What stands where they say nothing, (n, bands, h, w).

    Returns
    -------
    tuple of Tensor
        Estimate and its standard deviation, (n, bands, h, w), scaled as `other`; the latter is a
        tenth where none is stated.

    Examples
    --------
    >>> sides = torch.tensor([0.2, 0.5, 1.0, 0.5, 0.5, 1.0]).reshape(1, 6, 1, 1)
    >>> line, _ = estimate(sides, ("before", "after"), "context", torch.zeros(1, 1, 1, 1))
    >>> round(float(line), 3)
    0.35
    """
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
    if base == "regression":
        found = parts["regression"]
        known = found[:, -1:] > 0
        mean = torch.where(known, found[:, :bands], mean)
        deviation = found[:, bands : 2 * bands] / STEADY
        size = torch.where(known, deviation.clamp(min=SMALLEST), size)
    return mean, size

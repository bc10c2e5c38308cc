"""Eq. 13-16 of the paper as limits on stored numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, inf, isnan, nan
from typing import Any

import numpy as np

from xcloudfree.core.radiometry import Calibration

TERMS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("B02",), "0.1", "0.5"),
    (("B01",), "0.1", "0.3"),
    (("B10", "B01"), "0.15", "0.2"),
    (("B04", "B03", "B02"), "0.2", "0.8"),
)
"""Terms of eq. 13: bands to add, and the sums of reflectance that score 0 and 1."""

SNOW_RATIO = 4
"""Green over short-wave infrared above which NDSI exceeds 0.6, eq. 16: (1 + 0.6) / (1 - 0.6)."""


@dataclass(frozen=True)
class Limits:
    """Limits that sums of stored numbers are compared with."""

    # A minimum exceeds a threshold where every term does, so eq. 14 is four comparisons. With the
    # zero of reflectance at z in stored numbers, (g - s) / (g + s) > 0.6 of eq. 16 is
    # g - 4 s > -3 z where g + s > 2 z, and g - 4 s < -3 z where g + s < 2 z.
    kind: type[np.floating[Any]]  # sums are exact in it: float32 for integers of up to 16 bits
    cloud: tuple[float, ...]  # sums of the four terms of eq. 13 that score the threshold
    bright: tuple[float, float]  # g + s and g - 4 s above which a pixel is bright snow
    dark: tuple[float, float]  # g + s and g - 4 s below which a pixel is dark snow
    nodata: float  # stored number without a measurement, NaN if there is none
    largest: float | None  # largest finite number; None for integers, which are all finite


def stored_limits(
    calibration: Calibration, threshold: float, dtype: np.dtype[Any], cirrus: bool = True
) -> Limits:
    """Limits for numbers of a type, as exact as the type allows."""
    scale, offset = _exact(calibration.scale), _exact(calibration.offset)
    limit, zero = _exact(threshold), -offset / scale
    cloud = []
    for names, low, high in TERMS:
        edge = (Fraction(low) + limit * (Fraction(high) - Fraction(low))) / scale
        counts = cirrus or "B10" not in names
        cloud.append(_edge(edge + len(names) * zero, floor, dtype) if counts else -inf)
    snow = (2 * zero, (1 - SNOW_RATIO) * zero)
    whole = np.issubdtype(dtype, np.integer)
    return Limits(
        kind=np.float32 if whole and dtype.itemsize <= 2 else np.float64,
        cloud=tuple(cloud),
        bright=(_edge(snow[0], floor, dtype), _edge(snow[1], floor, dtype)),
        dark=(_edge(snow[0], ceil, dtype), _edge(snow[1], ceil, dtype)),
        nodata=stored_nodata(calibration, dtype),
        largest=None if whole else float(np.finfo(np.float64).max),
    )


def stored_nodata(calibration: Calibration, dtype: np.dtype[Any]) -> float:
    """No-data value as represented by the type of the numbers."""
    declared = calibration.nodata
    if declared is None or isnan(declared):
        return nan
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        fits = limits.min <= declared <= limits.max and declared == floor(declared)
        return float(declared) if fits else nan
    with np.errstate(over="ignore"):
        return float(dtype.type(declared))


def _exact(value: float) -> Fraction:
    """The decimal that a person wrote, not the binary float next to it."""
    return Fraction(str(float(value)))


def _edge(value: Fraction, rounded: Callable[[Fraction], int], dtype: np.dtype[Any]) -> float:
    """A limit in the type of the sums; a whole number beyond their range becomes its bound."""
    if not np.issubdtype(dtype, np.integer):
        return float(value)
    reach = 2**24 if dtype.itemsize <= 2 else 2**53
    return float(max(-reach, min(reach, rounded(value))))

"""Correct an estimate by its errors on the visible pixels around."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy

from xcloudfree.methods.area_regression import AreaRegression
from xcloudfree.methods.base import Booleans, Floats, Prediction, Series

WIDTHS: Final = (4.0, 1.5)
"""Standard deviations in pixels of the Gaussian means, the wider first."""

SPARSE: Final = 0.02
"""Visible share at which a mean gets half its weight."""

LARGEST: Final = 5.0
"""Deviations from the estimate at which errors are clipped: more is missed cloud, not ground."""

REACH: Final = sum(math.ceil(3 * width) for width in WIDTHS)
"""Pixels around a pixel that affect its correction."""

FLAT: Final = 1e-6
"""Deviation, as a share of the estimate, below which a band varies only by rounding."""


@dataclass(frozen=True)
class NearbyRegression(AreaRegression):
    """The area regression, corrected by its errors on the visible pixels around.

    If nothing of the date is visible nearby, it equals the regression. The standard deviation is
    that of the regression, which is too large where much is visible.
    """

    name: str = "area-regression+nearby"
    reach: int = AreaRegression.reach + REACH

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        dates = series.wanted.any((1, 2), keepdims=True)
        clear = series.clear
        found = super().predict(replace(series, wanted=series.wanted | (clear & dates)), statistics)
        assert found.deviation is not None
        for date in np.flatnonzero(dates):
            found.mean[date] += correction(
                series.reflectance[date], found.mean[date], found.deviation[date], clear[date]
            )
        return found


def correction(values: Floats, estimate: Floats, deviation: Floats, shown: Booleans) -> Floats:
    """Error of an estimate at each pixel, from the visible pixels around it."""
    # The differences on visible pixels, in units of the deviation and at most `LARGEST` of them,
    # are spread by a wide Gaussian mean, and the rest of them by a narrow one. A mean shrinks
    # to zero where little is visible (normalised convolution: Knutsson and Westin 1993).
    # A band that does not vary is not corrected; it says nothing about the others.
    varies = deviation > FLAT * np.abs(estimate)
    known = shown & (np.isfinite(values) & np.isfinite(estimate)).all(0) & varies.any(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.clip((values - estimate) / deviation, -LARGEST, LARGEST)
    left = np.where(known & varies, left, 0).astype(np.float32)
    found = np.zeros_like(left)
    for width in WIDTHS:
        share = _mean(known.astype(np.float32), width)
        mean = _mean(left, width) / (share + SPARSE)
        found += mean
        left = np.where(known, left - mean, 0)
    return np.where(np.isfinite(estimate), found * deviation, np.nan).astype(np.float32)


def _mean(planes: Floats, width: float) -> Floats:
    for axis in (-1, -2):
        planes = scipy.ndimage.gaussian_filter1d(planes, width, axis, mode="constant", truncate=3)
    return planes

"""What the visible pixels around a hidden one say of an estimate that holds for both."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

WIDTHS: Final = (4.0, 1.5)
"""Standard deviations in pixels of the Gaussian means, the wider first."""

SPARSE: Final = 0.02
"""Visible share from which a mean is believed by half."""

LARGEST: Final = 5.0
"""Deviations from the estimate that count at most: what a mask missed is cloud, not ground."""

REACH: Final = sum(math.ceil(3 * width) for width in WIDTHS)
"""Pixels around a pixel that enter its correction."""

Floats = NDArray[np.float32]
Booleans = NDArray[np.bool_]


def correction(values: Floats, estimate: Floats, deviation: Floats, shown: Booleans) -> Floats:
    """How far an estimate is off, judged by what is visible around each pixel."""
    # The differences on visible pixels, in units of the deviation and at most `LARGEST` of them,
    # are spread by a wide Gaussian mean, and what that leaves of them by a narrow one. A mean is
    # drawn to nothing where little is visible (normalised convolution: Knutsson and Westin 1993).
    told = shown & (np.isfinite(values) & np.isfinite(estimate) & (deviation > 0)).all(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.clip((values - estimate) / deviation, -LARGEST, LARGEST)
    left = np.where(told, left, 0).astype(np.float32)
    found = np.zeros_like(left)
    for width in WIDTHS:
        share = _mean(told.astype(np.float32), width)
        mean = _mean(left, width) / (share + SPARSE)
        found += mean
        left = np.where(told, left - mean, 0)
    return np.where(np.isfinite(estimate), found * deviation, np.nan).astype(np.float32)


def _mean(planes: Floats, width: float) -> Floats:
    for axis in (-1, -2):
        planes = scipy.ndimage.gaussian_filter1d(planes, width, axis, mode="constant", truncate=3)
    return planes

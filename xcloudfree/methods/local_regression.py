"""Local regression: reflectance as a linear function of the backscatter around each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.box_sums import FADING_REACH, WIDTHS, fading_sums
from xcloudfree.methods.trivial import local_mean, told_apart

SPECKLE: Final = 3
"""Width in px of the mean that calms speckle."""

REACH: Final = FADING_REACH + SPECKLE // 2
"""Pixels beyond a window that influence it."""

CENTRE: Final = (-11.0, -18.0)
"""Backscatter in dB, VV and VH, that sums are taken from: near the mean, so that little cancels."""

PENALTY: Final = 0.3
"""Added to the variance of backscatter in the window, in dB^2: what is left of speckle."""


def local_regression(
    image: NDArray[np.floating],
    backscatter: NDArray[np.floating],
    clear: NDArray[np.bool_],
    *,
    widths: Sequence[int] = WIDTHS,
    penalty: float = PENALTY,
) -> NDArray[np.float32]:
    """Reflectance from VV and VH by a regression of its own for every pixel."""
    # The clear pixels around it are the training data, the near ones weighing most. In dB the ratio
    # of both is their difference, and adds nothing as a third predictor.
    # Kulkarni and Rege, "Pixel level fusion techniques for SAR and optical images: a review",
    # Information Fusion 59, 2020 (regression fusion); Hoerl and Kennard, "Ridge regression",
    # Technometrics 12(1), 1970.
    v, h = (
        local_mean(plane, SPECKLE) - centre
        for plane, centre in zip(told_apart(backscatter), CENTRE, strict=True)
    )
    there = np.isfinite(backscatter).all(axis=0)
    use = clear & there & np.isfinite(image).all(axis=0)
    v_used, h_used = np.where(use, v, 0), np.where(use, h, 0)
    count = fading_sums(use, widths)
    known = (count > 0) & there
    count = np.where(known, count, 1)
    mean_v, mean_h = fading_sums(v_used, widths) / count, fading_sums(h_used, widths) / count
    vv = fading_sums(v_used * v_used, widths) / count - mean_v**2 + penalty
    hh = fading_sums(h_used * h_used, widths) / count - mean_h**2 + penalty
    vh = fading_sums(v_used * h_used, widths) / count - mean_v * mean_h
    determinant = vv * hh - vh**2
    out = np.full(image.shape, np.nan, np.float32)
    for band, result in zip(image, out, strict=True):
        y = np.where(use, band, 0).astype(np.float64)
        mean = fading_sums(y, widths) / count
        vy = fading_sums(v_used * y, widths) / count - mean_v * mean
        hy = fading_sums(h_used * y, widths) / count - mean_h * mean
        by_v = (hh * vy - vh * hy) / determinant
        by_h = (vv * hy - vh * vy) / determinant
        value = mean + by_v * (v - mean_v) + by_h * (h - mean_h)
        result[known] = value[known]
    return out

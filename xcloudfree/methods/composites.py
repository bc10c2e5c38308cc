"""Composites: one spectrum for all clear dates of a pixel, and the spread of these dates.

Spectra are (date, band, pixel), NaN where a date does not count. Sums run date by date and band by
band, so that a value does not depend on the other pixels of the call.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.box_sums import whole_box_sums
from xcloudfree.core.predictor import Booleans, Floats
from xcloudfree.core.windows import Area
from xcloudfree.methods.medians import band_median, sum_along

REACH: Final = 50
"""Pixels beyond which a cloud has no influence, as in Griffiths et al. 2013 (of 30 m there)."""

STEEPNESS: Final = 0.2
"""Steepness of the sigmoid of the distance to cloud, from the same publication."""

NOISE: Final = (0.005, 0.05)
"""Deviation of an observed reflectance r: 0.005 + 0.05 r, the accuracy required of atmospheric
correction in ACIX (Doxani et al. 2018, doi:10.3390/rs10020352)."""


def medoid(spectra: Floats) -> NDArray[np.int64]:
    """Date of each pixel with the smallest sum of distances to the others."""
    # Flood, "Seasonal composite Landsat TM/ETM+ images using the medoid (a multi-dimensional
    # median)", Remote Sensing 5(12), 2013.
    used = np.asarray(np.isfinite(spectra).all(axis=1))
    points = np.where(used[:, None], spectra, 0).astype(np.float64)
    total = np.full(used.shape, np.inf)
    for date, point in enumerate(points):
        step = points - point
        apart = np.where(used, np.sqrt(sum_along(step * step, 1)), 0)
        total[date] = np.where(used[date], sum_along(apart, 0), np.inf)
    return np.asarray(total.argmin(axis=0))


def best(score: Floats, used: Booleans) -> NDArray[np.int64]:
    """Date of each pixel with the highest score, the first if several are equal."""
    return np.asarray(np.where(used, score, -np.inf).argmax(axis=0))


def scores(
    occluded: Booleans, measured: Booleans, days: float, length: float, core: Area
) -> Floats:
    """Score of the pixels of an image, 0 to 1: the mean of three parts."""
    # The clear fraction of the surroundings, the distance to cloud, and the nearness to the middle
    # of the period. The latter two are those of Griffiths, van der Linden, Kuemmerle, Hostert, "A
    # pixel-based Landsat compositing algorithm for large area land cover mapping", IEEE JSTARS
    # 6(5), 2013, with a deviation of a quarter of the period.
    clouds = whole_box_sums(occluded.astype(np.int64), REACH, core)
    there = whole_box_sums((measured | occluded).astype(np.int64), REACH, core)
    clearness = 1 - clouds / np.maximum(there, 1)
    square = np.full(clearness.shape, REACH**2)
    if occluded.any():
        distance = scipy.ndimage.distance_transform_edt(~occluded)[core]
        square = np.minimum(np.rint(distance * distance), REACH**2).astype(np.int64)
    # from a table, as vector code may round by position
    far = (1 / (1 + np.exp(-STEEPNESS * (np.sqrt(np.arange(REACH**2 + 1)) - REACH / 2))))[square]
    near = np.exp(-0.5 * (days / (length / 4)) ** 2)
    return np.asarray((clearness + far + near) / 3, np.float32)


def weighted_mean(spectra: Floats, deviation: Floats | None) -> Floats:
    """Mean of the dates, band by band, weighted by the inverse of the variance."""
    # A pixel without deviation (NaN) was observed: its deviation is that of NOISE at the mean
    # reflectance of the pixel. With its own reflectance, a dark value would weigh more.
    used = np.isfinite(spectra)
    values = np.where(used, spectra, 0).astype(np.float64)
    weight = used.astype(np.float64)
    if deviation is not None:
        count = sum_along(weight, 0)
        level = np.abs(sum_along(values, 0) / np.maximum(count, 1))
        own = NOISE[0] + NOISE[1] * level
        variance = np.where(np.isfinite(deviation), deviation, 0).astype(np.float64) ** 2 + own**2
        weight = np.where(used, 1 / variance, 0)
    total = sum_along(weight, 0)
    mean = sum_along(weight * values, 0) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.nan).astype(np.float32)


def spreads(spectra: Floats, centre: Floats) -> Floats:
    """Median absolute deviations from a spectrum (3, pixel): Euclidean, cosine, Bray-Curtis."""
    # Roberts, Dunn, Mueller, "Open Data Cube products using high-dimensional statistics of time
    # series", IGARSS 2018.
    points, middle = spectra.astype(np.float64), centre.astype(np.float64)
    step, both = points - middle, points + middle
    euclidean = np.sqrt(sum_along(step * step, 1))
    lengths = np.sqrt(sum_along(points * points, 1) * sum_along(middle * middle, 0))
    cosine = 1 - sum_along(points * middle, 1) / np.where(lengths > 0, lengths, np.nan)
    size = sum_along(np.abs(both), 1)
    curtis = sum_along(np.abs(step), 1) / np.where(size > 0, size, np.nan)
    distances = np.stack([euclidean, cosine, curtis], axis=1).astype(np.float32)
    return band_median(distances)

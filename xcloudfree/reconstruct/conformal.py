"""From errors on hidden ground to intervals: quantiles over dates, by class and season.

Numpy alone. Pixels of one date share its light, its haze and its crops, so the dates are the sample
and not the pixels: each date counts alike, however many of its pixels were hidden.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.core.predictor import Booleans, Doubles, Floats

GAPS: Final = (0.0, 15.0, 30.0, 45.0)
"""Days to the nearest clear observation of a pixel above which the classes of gaps begin."""

DISTANCES: Final = (3, 8, 16)
"""Pixels to what is visible on the date up to which the classes of distance reach; of the last one
are those farther away, also on dates that show nothing."""

FEWEST: Final = 4
"""Dates below which a gap has the quantiles of the next shorter one."""

ENOUGH: Final = 6
"""Dates from which a distance has quantiles of its own."""

PIXELS: Final = 20
"""Pixels from which a date counts in full."""

SEASON: Final = 45.0
"""Days of the year after which the weight of a date has fallen to 0.6; chosen, with
:data:`ANYTIME`, on one site (Belgium, 20 m)."""

ANYTIME: Final = 0.1
"""Weight that dates of other seasons keep."""

YEAR: Final = 365.25

LEAST: Final = 1e-3
"""Error of reflectance that is expected in any case."""

ROUNDS: Final = 4
"""Times that the expected error is fitted, each time relative to what it was before."""


class Scores(NamedTuple):
    """Pixels that were hidden and predicted, in order of the hash of their place."""

    rank: NDArray[np.uint64]  # (pixel,)
    date: Doubles  # day number (pixel,); of a date by itself the number of the attempt
    level: NDArray[np.uint8]  # class of the gap (pixel,)
    near: NDArray[np.uint8]  # class of the distance (pixel,)
    error: Floats  # absolute error (pixel, band)
    deviation: Floats  # standard deviation that was stated, or 1 (pixel, band)
    misfit: Floats  # mean error on what is visible around; NaN without any (pixel, band)


class Table(NamedTuple):
    """Half widths of intervals and standard deviations, in errors that are expected."""

    half: Floats  # (time, gap, distance, band); NaN where nothing could be calibrated
    spread: Floats  # (time, gap, distance, band)
    expected: Floats  # what the expected error is made of, (gap, band, 3), see `expected_error`
    dates: NDArray[np.int64]  # number of dates, (gap, distance); 0: taken from a shorter gap


def distances_of(visible: Booleans) -> NDArray[np.uint8]:
    """Class of the distance of each pixel of an image to what is visible."""
    if not visible.any():
        return np.full(visible.shape, len(DISTANCES), np.uint8)
    away = scipy.ndimage.distance_transform_edt(~visible)
    return np.asarray(np.searchsorted(DISTANCES, away, "left"), np.uint8)


def learn(scores: Scores, days: Doubles, interval: float) -> Table:
    """Quantiles for each day, by gap, distance and band.

    Each date weighs alike, more the nearer its season is; the quantile over the dates and their
    pixels is that of Lee, Barber, Willett, "Distribution-free inference with hierarchical data",
    arXiv:2306.06342, 2023, without the mass at infinity that makes its guarantee: with 18 dates it
    would ask for 95 % where 90 % are wanted. Weights as in Barber, Candes, Ramdas, Tibshirani,
    "Conformal prediction beyond exchangeability", Annals of Statistics 51(2), 2023.
    """
    bands = scores.error.shape[1]
    shape = (len(days), len(GAPS), len(DISTANCES) + 1, bands)
    half, spread = (np.full(shape, np.nan, np.float32) for _ in range(2))
    rules = np.full((len(GAPS), bands, 3), np.nan, np.float32)
    dates = np.zeros(shape[1:3], np.int64)
    for gap in range(shape[1]):
        whole = scores.level == gap
        if len(np.unique(scores.date[whole])) < (FEWEST if gap else 1):
            if gap:
                half[:, gap], spread[:, gap] = half[:, gap - 1], spread[:, gap - 1]
                rules[gap] = rules[gap - 1]
            continue
        rules[gap] = _rules(Scores(*(field[whole] for field in scores)))
        expected = expected_error(rules[gap], scores.deviation, scores.misfit)
        ratio = scores.error / expected
        for near in range(shape[2]):
            use = whole & (scores.near == near)
            if len(np.unique(scores.date[use])) < ENOUGH:
                use = whole
            when = scores.date[use]
            each, place, count = np.unique(when, return_inverse=True, return_counts=True)
            dates[gap, near] = len(each)
            weight = _seasonal(days, each)[:, place] / np.maximum(count, PIXELS)[place]
            level = interval + (1 - interval) / (1 + len(each))
            for band in range(bands):
                values = ratio[use, band]
                half[:, gap, near, band] = _quantiles(values, weight, level)
                squares = (weight * values.astype(np.float64) ** 2).sum(1) / weight.sum(1)
                spread[:, gap, near, band] = np.sqrt(squares)
    return Table(half, spread, rules, dates)


def expected_error(rule: Floats, stated: Floats, misfit: Floats) -> Floats:
    """Expected error (pixel, band), by a rule, from the stated deviation and misfit beside."""
    # (band, 3): factor of the deviation where nothing is visible beside, and where something is;
    # factor of the misfit
    beside = np.isfinite(misfit)
    near = rule[:, 1] * stated + rule[:, 2] * np.where(beside, misfit, np.float32(0))
    return np.asarray(np.where(beside, near, rule[:, 0] * stated) + np.float32(LEAST), np.float32)


def _rules(scores: Scores) -> Floats:
    """What the expected error of each band is made of, see :func:`expected_error`."""
    _, place, count = np.unique(scores.date, return_inverse=True, return_counts=True)
    weight = 1 / np.maximum(count, PIXELS)[place]
    found = np.zeros((scores.error.shape[1], 3), np.float32)
    for band, rule in enumerate(found):
        error, stated, misfit = (
            a[:, band].astype(np.float64) for a in (scores.error, scores.deviation, scores.misfit)
        )
        beside = np.isfinite(misfit)
        rule[:1] = _fitted(stated[:, None], error, weight * (beside.all() | ~beside))
        if beside.any():
            terms = np.stack([stated, misfit], 1)[beside]
            rule[1:] = _fitted(terms, error[beside], weight[beside])
    return found


def _fitted(terms: Doubles, error: Doubles, weight: Doubles) -> Doubles:
    """Factors, none below 0, of the terms (pixel, term) of the expected error."""
    scale = np.ones(len(error))
    for _ in range(ROUNDS):
        relative = np.sqrt(weight) / scale
        factors, _ = scipy.optimize.nnls(terms * relative[:, None], error * relative)
        scale = terms @ factors + LEAST
    return np.asarray(factors)


def _seasonal(days: Doubles, dates: Doubles) -> Doubles:
    """Weight of each date for each day, (day, date)."""
    apart = np.abs(days[:, None] - dates) % YEAR
    apart = np.minimum(apart, YEAR - apart)
    weight: Doubles = ANYTIME + np.exp(-0.5 * (apart / SEASON) ** 2)
    return weight


def _quantiles(values: Floats, weight: Doubles, level: float) -> Floats:
    """Smallest value with so much of the weight (row, value) at or below it, for each row."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[:, order], axis=1)
    first = (total >= level * total[:, -1:]).argmax(1)
    return np.asarray(values[order][first])

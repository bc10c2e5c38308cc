"""Kriging in space and time: hidden pixels from clear ones nearby and from other dates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.base import Booleans, Doubles, Floats, Method, Prediction, Series
from xcloudfree.methods.idw import BATCH, Nearest, nearest_points
from xcloudfree.methods.kriging import kriging_weights
from xcloudfree.methods.regression import stepped
from xcloudfree.methods.variogram import LagSums, Variogram, fit_variogram, variogram_sums

REACH: Final = 64
"""Pixels around a pixel whose clear values may contribute."""

AROUND: Final = 12
"""Clear pixels of the same date per value."""

DATES: Final = 8
"""Clear dates of the pixel itself per value."""

BOTH: Final = 4
"""Of these pixels and dates, the nearest that are also combined with each other."""

STEPS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Differences of position in the series at which dates are compared."""

AGES: Final = (0, 3, 7, 12, 18, 26, 36, 50, 70, 100, 140, 200, 300, np.inf)
"""Borders in days between the classes of the variogram in time."""

SHARES: Final = 0.5, 0.999
"""Least and largest product term, in shares of what both variograms allow."""

TWINS: Final = 1e-3
"""Days by which two images differ at least, so that no system is singular."""

Integers = NDArray[np.int64]


class SpacetimeSums(NamedTuple):
    """Sums over the clear pixels of a series, which determine its variogram in space and time."""

    space: LagSums  # by date
    pairs: Doubles  # of clear values of one pixel (class of age,)
    ages: Doubles  # in days, of these pairs (class of age,)
    differences: Doubles  # squared, of these pairs (class of age, band)


class SpacetimeVariograms(NamedTuple):
    """Variograms along space and time, in shares of the variance of each band."""

    nugget: Doubles  # in space and in time, as are sill and reach
    sill: Doubles
    reach: Doubles  # in px and in days
    variance: Doubles  # (band,)


@dataclass(frozen=True)
class SpacetimeKriging(Method):
    """Ordinary kriging with a product-sum variogram of the series."""

    # g(h, u) = s(h) + t(u) - k s(h) t(u), with s and t the variograms along space and time, and k
    # from their sills and that of the series.
    # De Iaco, Myers and Posa, "Space-time analysis using a general product-sum model", Statistics &
    # Probability Letters 52(1), 2001.

    passes: ClassVar[int] = 1
    derived: ClassVar[int] = 4

    temporal: bool = True
    reach: int = REACH
    deviation: bool = True

    def measure(self, series: Series, statistics: Sequence[Any]) -> SpacetimeSums:
        """Squared differences by distance within a date, and by days at a pixel."""
        assert series.days is not None
        images = zip(series.reflectance, series.clear, strict=True)
        space = [variogram_sums(*image, series.core) for image in images]
        by_date = LagSums(*map(np.stack, zip(*space, strict=True)))
        return SpacetimeSums(by_date, *_along_time(series, series.days))

    def conclude(self, total: SpacetimeSums, statistics: Sequence[Any]) -> SpacetimeVariograms:
        """The variograms of the series."""
        space = LagSums(*(dates.sum(0) for dates in total.space))
        time = space._replace(
            pairs=total.pairs, distances=total.ages, differences=total.differences
        )
        both = fit_variogram(space), fit_variogram(time)
        nugget, sill, reach = np.array([(one.nugget, one.sill, one.reach) for one in both]).T
        return SpacetimeVariograms(nugget, sill, reach, np.array(both[0].variance))

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`; clear pixels keep their values."""
        assert series.days is not None
        found: SpacetimeVariograms = statistics[-1]
        values, days = series.reflectance, series.days
        clear: Booleans = series.clear
        mean: Floats = np.where(clear[:, None], values, np.float32(np.nan))
        variance: Floats = np.where(clear[:, None], np.float32(0), mean)
        semivariance = _product_sum(found, days)
        for date, visible in enumerate(clear):
            targets = np.argwhere(series.wanted[date] & ~visible)
            order = np.argsort(np.abs(days - days[date]), kind="stable")
            others = np.asarray(order[order != date])
            points = np.argwhere(visible)
            for batch in _batches(points, targets):
                rows, columns = targets[batch.targets].T
                target = np.stack([np.full_like(rows, date), rows, columns])
                places = _places(clear, points, batch, target, others)
                weights, share = _weights(places, target, semivariance)
                some = np.asarray(places.found.any(axis=1, keepdims=True))
                estimate = np.where(some, _weighted(values, places, weights), np.nan)
                mean[date][:, rows, columns] = estimate.T
                spread = np.maximum(share, 0)[:, None] * found.variance
                variance[date][:, rows, columns] = np.where(some, spread, np.nan).T
        return Prediction(mean, np.sqrt(variance))


class Places(NamedTuple):
    """Clear values in the neighbourhood of some targets."""

    place: Integers  # date, row and column of each (3, target, place)
    found: Booleans  # False where a target has fewer (target, place)


def _along_time(series: Series, days: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Pairs, days, and squared differences of the clear values of each pixel, by class of age."""
    core = (slice(None), *series.core)
    clear = series.clear[core]
    filled = stepped(np.where(clear[:, None], series.reflectance[:, :, *series.core], 0), 18)
    bands = filled.shape[1]
    pairs, ages = np.zeros((2, len(AGES) - 1))
    squares = np.zeros((len(AGES) - 1, bands))
    for step in STEPS:
        for first in range(len(days) - step):
            both = clear[first] & clear[first + step]
            age = days[first + step] - days[first]
            at = int(np.searchsorted(AGES, age, side="right")) - 1
            pairs[at] += both.sum()
            ages[at] += both.sum() * age
            for band in range(bands):
                difference = (filled[first, band] - filled[first + step, band]) * both
                squares[at, band] += np.einsum("yx,yx", difference, difference)
    return pairs, ages, squares


@dataclass(frozen=True, eq=False)
class _Semivariance:
    """Semivariances of pairs of values, in shares of a band's variance."""

    space: Doubles  # by squared distance in px
    time: Doubles  # by two dates (date, date)
    product: float

    def __call__(self, one: Integers, other: Integers, valid: Booleans) -> Doubles:
        """Semivariance of values at (date, row, column)."""
        square = (one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2
        s, t = self.space[np.where(valid, square, 0)], self.time[one[0], other[0]]
        return np.asarray(s + t - self.product * s * t)


def _product_sum(found: SpacetimeVariograms, days: Doubles) -> _Semivariance:
    """The variogram in space and time, for the dates of a series."""
    space, time = (
        Variogram(found.nugget[axis], found.sill[axis], found.reach[axis]) for axis in (0, 1)
    )
    sills = found.nugget + found.sill
    # The sill of the series is 1. Above the upper limit systems have no solution; with a product
    # of 0 the other corners of a rectangle in space and time would determine a value exactly.
    product = np.clip((sills.sum() - 1) / sills.prod(), *(s / sills.max() for s in SHARES))
    apart = np.maximum(np.abs(days[:, None] - days), TWINS)
    np.fill_diagonal(apart, 0)
    return _Semivariance(space(np.sqrt(np.arange(4 * REACH**2 + 1))), time(apart), float(product))


def _batches(points: Integers, targets: Integers) -> Iterator[Nearest]:
    """The nearest clear pixels of a date, of which there may be none."""
    if len(points):
        yield from nearest_points(points, targets, AROUND, REACH)
        return
    for start, stop in pairwise([*range(0, len(targets), BATCH), len(targets)]):
        none = np.zeros((stop - start, 0), np.int64)
        yield Nearest(slice(start, stop), none, none)


def _places(
    clear: Booleans, points: Integers, batch: Nearest, target: Integers, others: Integers
) -> Places:
    """Clear pixels around on the same date, clear dates of the same pixel, and both combined."""
    date, rows, columns = target
    near = points[np.minimum(batch.number, len(points) - 1)]  # (target, pixel, 2)
    around = np.stack(np.broadcast_arrays(date[:, None], near[..., 0], near[..., 1]))
    seen = clear[others[:, None], rows, columns].T  # (target, date), the nearest date first
    nearest = np.argsort(~seen, axis=1, kind="stable")[:, :DATES]
    own = np.stack(np.broadcast_arrays(others[nearest], rows[:, None], columns[:, None]))
    there = np.take_along_axis(seen, nearest, axis=1)
    both = np.stack(
        np.broadcast_arrays(own[0, :, None, :BOTH], *around[1:, :, :BOTH, None])
    ).reshape(3, len(rows), -1)
    pairs = batch.found[:, :BOTH, None] & there[:, None, :BOTH]
    joined = pairs.reshape(len(rows), -1) & clear[tuple(both)]
    found = np.concatenate([batch.found, there, joined], axis=1)
    return Places(np.concatenate([around, own, both], axis=2), found)


def _weights(
    places: Places, target: Integers, semivariance: _Semivariance
) -> tuple[Doubles, Doubles]:
    """Kriging weights (target, place), and variances in shares of a band's variance."""
    place, found = places
    both = found[:, :, None] & found[:, None]
    between = semivariance(place[:, :, :, None], place[:, :, None], both)
    return kriging_weights(between, semivariance(place, target[:, :, None], found), found)


def _weighted(values: Floats, places: Places, weights: Doubles) -> Doubles:
    """Weighted sums of the values at some places, (target, band)."""
    total = np.zeros((len(weights), values.shape[1]))
    for number, weight in enumerate(weights.T):
        date, row, column = places.place[..., number]
        value = values[date, :, row, column].astype(np.float64)
        total += np.where(places.found[:, number, None], weight[:, None] * value, 0)
    return total

"""Hide pixels on purpose and estimate them from other dates, to learn from the truth there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.predictor import Series
from xcloudfree.methods import area_regression
from xcloudfree.methods.kernel_fusion import KernelFusion
from xcloudfree.methods.medians import windowed
from xcloudfree.methods.regression import local_means
from xcloudfree.methods.temporal_context import SIDES, observations, planes

Floats = NDArray[np.float32]
Booleans = NDArray[np.bool_]

APART: Final = 30.0
"""Days, besides both gaps, between dates that kernel fusion predicts in one run."""


class Place(NamedTuple):
    """A series of one place, dates in order of time."""

    # With reflectance (time, band, y, x), clear pixels (time, y, x), backscatter that the network
    # reads and VV, VH that estimates read, if there are any (time, polarisation, y, x), and days.

    reflectance: Floats
    clear: Booleans
    backscatter: Floats
    radar: Floats | None
    days: NDArray[np.float64]


def without(
    place: Place,
    dates: Sequence[int],
    hidden: Booleans,
    gaps: Sequence[float],
    names: Sequence[str],
) -> Floats:
    """The context of dates, as if some of their pixels had not been seen."""
    # The hidden pixels of all these dates are removed at once, from all computations. In addition,
    # for each of the dates separately, all dates within its gap are excluded: as its clear sides,
    # as predictors of its regression, and as examples to learn that from. Two results still come
    # from the whole series, without the hidden pixels: the choice among eleven penalties of the
    # regression, and the error that its deviation starts from. Kernel fusion has no such rest.
    times, bands = place.reflectance.shape[:2]
    place = place._replace(clear=place.clear.copy())
    place.clear[list(dates)] &= ~hidden
    clear = place.clear
    parts = [np.empty((len(dates), 0, *clear.shape[1:]), np.float32)]
    sides = [name for name in SIDES if name in names]
    if sides:
        part = np.empty((len(dates), planes(sides, bands), *clear.shape[1:]), np.float32)
        for gap in set(gaps):
            chosen = [n for n, g in enumerate(gaps) if g == gap]
            where = [dates[n] for n in chosen]
            part[chosen] = observations(place.reflectance, clear, place.days, gap, sides, where)
        parts.append(part)
    if "regression" in names:
        assert place.radar is not None
        least = np.zeros(times)
        least[list(dates)] = gaps
        wanted = np.zeros(clear.shape, bool)
        wanted[list(dates)] = True
        seen = place.reflectance, clear, wanted, local_means(place.radar), place.days
        total = area_regression.sums(*seen, least=least.tolist())
        rule = area_regression.learn(total, place.days, least.tolist())
        mean, deviation = area_regression.predict(*seen, rule, least=least.tolist())
        parts += [mean[list(dates)], deviation[list(dates)]]
    if "median" in names:
        part = np.empty((len(dates), bands, *clear.shape[1:]), np.float32)
        for n, (date, gap) in enumerate(zip(dates, gaps, strict=True)):
            distance = np.abs(place.days - place.days[date])
            kept = np.flatnonzero((distance > gap) | (np.arange(times) == date))
            asked = np.zeros((len(kept), *clear.shape[1:]), bool)
            asked[kept == date] = True
            found = windowed(place.reflectance[kept], clear[kept], place.days[kept], asked)
            part[n] = found[kept == date][0]
        parts.append(part)
    if "kernel-fusion" in names:
        parts.append(_fused(place, dates, gaps))
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _fused(place: Place, dates: Sequence[int], gaps: Sequence[float]) -> Floats:
    """Mean and deviation of kernel fusion, (date, 2 band, y, x), far dates together."""
    bands, shape = place.reflectance.shape[1], place.clear.shape[1:]
    out = np.empty((len(dates), 2 * bands, *shape), np.float32)
    waiting = list(range(len(dates)))
    while waiting:
        chosen: list[int] = []
        for n in waiting:
            day, least = place.days[dates[n]], APART + gaps[n]
            if all(abs(day - place.days[dates[m]]) > least + gaps[m] for m in chosen):
                chosen.append(n)
        waiting = [n for n in waiting if n not in chosen]
        away = np.zeros(len(place.days), bool)
        for n in chosen:
            away |= np.abs(place.days - place.days[dates[n]]) <= gaps[n]
        away[[dates[n] for n in chosen]] = False
        kept = np.flatnonzero(~away)
        at = np.searchsorted(kept, [dates[n] for n in chosen])
        wanted = np.zeros((len(kept), *shape), bool)
        wanted[at] = True
        series = Series(
            place.reflectance[kept],
            ~place.clear[kept],
            wanted & np.isfinite(place.reflectance[kept]).all(1),
            None if place.radar is None else place.radar[kept],
            place.days[kept],
        )
        method = KernelFusion()
        answer = method.predict(series, [method.conclude(method.measure(series, ()), ())])
        assert answer.deviation is not None
        out[chosen] = np.concatenate([answer.mean[at], answer.deviation[at]], 1)
    return out

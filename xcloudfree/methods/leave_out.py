"""Hide pixels on purpose and estimate them from other dates, to learn from the truth there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods import area_regression
from xcloudfree.methods.medians import window_median
from xcloudfree.methods.temporal_context import SIDES, observations, planes

Floats = NDArray[np.float32]
Booleans = NDArray[np.bool_]


class Place(NamedTuple):
    """A series of one place, dates in order of time."""

    # With reflectance (time, band, y, x), clear pixels (time, y, x), backscatter and its local
    # means (time, plane, y, x; see `local_means`) and day numbers.

    reflectance: Floats
    clear: Booleans
    backscatter: Floats
    means: Floats
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
    # regression, and the error that its deviation starts from.
    times, bands = place.reflectance.shape[:2]
    clear = place.clear.copy()
    clear[list(dates)] &= ~hidden
    out = np.empty((len(dates), planes(names, bands), *clear.shape[1:]), np.float32)
    sides = [name for name in SIDES if name in names]
    width = planes(sides, bands)
    for gap in set(gaps) if sides else ():
        chosen = [n for n, g in enumerate(gaps) if g == gap]
        where = [dates[n] for n in chosen]
        out[chosen, :width] = observations(place.reflectance, clear, place.days, gap, sides, where)
    if "regression" in names:
        least = np.zeros(times)
        least[list(dates)] = gaps
        wanted = np.zeros(clear.shape, bool)
        wanted[list(dates)] = True
        seen = place.reflectance, clear, wanted, place.means, place.days
        total = area_regression.sums(*seen, least=least.tolist())
        rule = area_regression.learn(total, place.days, least.tolist())
        mean, deviation = area_regression.predict(*seen, rule, least=least.tolist())
        out[:, width : width + bands] = mean[list(dates)]
        out[:, width + bands : width + 2 * bands] = deviation[list(dates)]
    if "median" in names:
        for n, (date, gap) in enumerate(zip(dates, gaps, strict=True)):
            distance = np.abs(place.days - place.days[date])
            kept = np.flatnonzero((distance > gap) | (np.arange(times) == date))
            asked = np.zeros((len(kept), *clear.shape[1:]), bool)
            asked[kept == date] = True
            found = window_median(place.reflectance[kept], clear[kept], place.days[kept], asked)
            out[n, -bands:] = found[kept == date][0]
    return out

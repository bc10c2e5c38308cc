"""Predict a date from the other dates of its series, pixel by pixel: nearest, last, linear.

All functions exclude the date itself, even where it is clear, so that their errors on visible
pixels equal those on hidden ones. Dates are in order of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.base import Booleans, Doubles, Floats
from xcloudfree.methods.temporal import Temporal

Positions = NDArray[np.int64]


class Sides(NamedTuple):
    """Position of the last clear date before each date and of the next after it; -1 is none."""

    before: Positions
    after: Positions


def waits(clear: Booleans, days: Doubles) -> tuple[Doubles, Doubles]:
    """Days since the last clear date and until the next, infinite without one."""
    before, after = clear_sides(clear, days)
    now = days.reshape(-1, *(1,) * (clear.ndim - 1))
    since = np.where(before < 0, np.inf, now - days[before])
    return since, np.where(after < 0, np.inf, days[after] - now)


def clear_sides(clear: Booleans, days: Doubles, gap: float = 0.0) -> Sides:
    """The clear dates around each date."""
    count = len(days)
    positions = np.arange(count).reshape(-1, *(1,) * (clear.ndim - 1))
    last = np.maximum.accumulate(np.where(clear, positions, -1), axis=0)
    next_ = np.minimum.accumulate(np.where(clear, positions, count)[::-1], axis=0)[::-1]
    until = np.searchsorted(days, days - gap, "left") - 1
    since = np.searchsorted(days, days + gap, "right")
    none = np.full((1, *clear.shape[1:]), -1)
    before = np.concatenate([last, none])[until]
    after = np.concatenate([np.where(next_ == count, -1, next_), none])[np.minimum(since, count)]
    return Sides(before, after)


def pick(reflectance: Floats, positions: Positions) -> Floats:
    """Values of one image, each from the date at its position."""
    flat, dates = reflectance.reshape(-1), positions.reshape(-1)
    place = dates * reflectance[0].size + np.arange(dates.size)
    out = np.empty((reflectance.shape[1], dates.size), reflectance.dtype)
    for band in out:  # takes a third of the time of take_along_axis
        flat.take(place, out=band, mode="wrap")
        place += dates.size
    out[:, dates < 0] = np.nan
    return out.reshape(reflectance.shape[1:])


def last_clear(
    reflectance: Floats, clear: Booleans, days: Doubles, wanted: Booleans | None = None
) -> Floats:
    """The last clear date before each date."""
    before = clear_sides(clear, days).before
    out = np.full(reflectance.shape, np.nan, np.float32)
    for i in _dates(wanted, len(days)):
        out[i] = pick(reflectance, before[i])
    return out


def nearest_date(
    reflectance: Floats, clear: Booleans, days: Doubles, wanted: Booleans | None = None
) -> Floats:
    """The clear date nearest to each date; of two equally near ones, the earlier."""
    # Parameters and return value are those of `last_clear`; NaN without a clear date.
    sides = clear_sides(clear, days)
    out = np.full(reflectance.shape, np.nan, np.float32)
    for i in _dates(wanted, len(days)):
        share, either = _share(days, days[i], Sides(sides.before[i], sides.after[i]))
        out[i] = pick(reflectance, np.where(share <= 0.5, either.before, either.after))
    return out


def linear_time(
    reflectance: Floats,
    clear: Booleans,
    days: Doubles,
    wanted: Booleans | None = None,
    gap: float = 0.0,
) -> Floats:
    """On the straight line between the last clear date and the next."""
    # Before the first and after the last clear date the value is constant.
    sides = clear_sides(clear, days, gap)
    out = np.full(reflectance.shape, np.nan, np.float32)
    for i in _dates(wanted, len(days)):
        share, either = _share(days, days[i], Sides(sides.before[i], sides.after[i]))
        first, second = pick(reflectance, either.before), pick(reflectance, either.after)
        out[i] = first + share.astype(np.float32) * (second - first)
    return out


def _dates(wanted: Booleans | None, count: int) -> list[int]:
    """Positions of the dates with any wanted pixel."""
    if wanted is None:
        return list(range(count))
    found: list[int] = np.flatnonzero(wanted.reshape(count, -1).any(1)).tolist()
    return found


def _share(days: Doubles, day: float, sides: Sides) -> tuple[Doubles, Sides]:
    """Fraction of the way from one side to the other; if a side is missing, both are the same."""
    before = np.where(sides.before < 0, sides.after, sides.before)
    after = np.where(sides.after < 0, sides.before, sides.after)
    start, stop = days[before], days[after]
    length = np.where(stop > start, stop - start, np.inf)
    return np.clip((day - start) / length, 0, 1), Sides(before, after)


@dataclass(frozen=True)
class NearestDate(Temporal):
    """The clear date nearest to each date."""

    values = staticmethod(nearest_date)


@dataclass(frozen=True)
class LastClear(Temporal):
    """The last clear date before each date."""

    looks_back: ClassVar[bool] = True

    values = staticmethod(last_clear)


@dataclass(frozen=True)
class LinearTime(Temporal):
    """Linear interpolation between the clear dates around each date."""

    values = staticmethod(linear_time)

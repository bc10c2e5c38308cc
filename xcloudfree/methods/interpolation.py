"""A date from the other dates of its series, pixel by pixel.

All functions leave the date itself out, also where it is clear: what they say of a visible pixel
is as good as what they say of a hidden one. Dates stand in order of time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Positions = NDArray[np.int64]


class Sides(NamedTuple):
    """Position of the last clear date before each date and of the next after it; -1 is none."""

    before: Positions
    after: Positions


def clear_sides(clear: Booleans, days: Doubles, gap: float = 0.0) -> Sides:
    """The clear dates between which each date lies.

    Parameters
    ----------
    clear : ndarray of bool
        Where a date shows the ground, (time, ...).
    days : ndarray
        Day numbers, ascending, (time,).
    gap : float
        Days: dates that are not further away are passed over, and so is the date itself.

    Returns
    -------
    Sides
        Positions along time, (time, ...).

    Examples
    --------
    >>> clear = np.array([True, False, True, True])
    >>> clear_sides(clear, np.array([0.0, 5.0, 10.0, 15.0]))
    Sides(before=array([-1,  0,  0,  2]), after=array([ 2,  2,  3, -1]))
    """
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
    """Values of one image, each from the date at its position.

    Parameters
    ----------
    reflectance : ndarray
        (time, band, y, x).
    positions : ndarray of int
        (y, x); -1 gives NaN.

    Returns
    -------
    ndarray
        (band, y, x).
    """
    flat, dates = reflectance.reshape(-1), positions.reshape(-1)
    place = dates * reflectance[0].size + np.arange(dates.size)
    out = np.empty((reflectance.shape[1], dates.size), reflectance.dtype)
    for band in out:  # a third of the time of take_along_axis
        flat.take(place, out=band, mode="wrap")
        place += dates.size
    out[:, dates < 0] = np.nan
    return out.reshape(reflectance.shape[1:])


def last_clear(
    reflectance: Floats, clear: Booleans, days: Doubles, wanted: Booleans | None = None
) -> Floats:
    """The last clear date before each date.

    Parameters
    ----------
    reflectance : ndarray of float32
        (time, band, y, x).
    clear : ndarray of bool
        (time, y, x).
    days : ndarray
        Day numbers, ascending, (time,).
    wanted : ndarray of bool, optional
        Where a prediction is wanted, (time, y, x): dates without any stay NaN.

    Returns
    -------
    ndarray of float32
        (time, band, y, x); NaN before the first clear date.
    """
    before = clear_sides(clear, days).before
    out = np.full(reflectance.shape, np.nan, np.float32)
    for i in _dates(wanted, len(days)):
        out[i] = pick(reflectance, before[i])
    return out


def nearest_date(
    reflectance: Floats, clear: Booleans, days: Doubles, wanted: Booleans | None = None
) -> Floats:
    """The clear date nearest to each date; of two at one distance the earlier.

    Parameters and return value are those of :func:`last_clear`; NaN without a clear date.

    Examples
    --------
    >>> series = np.array([0.1, 0.9, 0.3], np.float32).reshape(3, 1, 1, 1)
    >>> clear = np.array([True, False, True]).reshape(3, 1, 1)
    >>> found = nearest_date(series, clear, np.array([0.0, 6.0, 10.0]))
    >>> found.ravel().astype(float).round(2).tolist()
    [0.3, 0.3, 0.1]
    """
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
    gap: float = 0.0,
    wanted: Booleans | None = None,
) -> Floats:
    """On the straight line between the last clear date and the next.

    Before the first and after the last clear date the value is held.

    Parameters
    ----------
    reflectance : ndarray of float32
        (time, band, y, x).
    clear : ndarray of bool
        (time, y, x).
    days : ndarray
        Day numbers, ascending, (time,).
    gap : float
        Days around each date of which nothing is used.
    wanted : ndarray of bool, optional
        See :func:`last_clear`.

    Returns
    -------
    ndarray of float32
        (time, band, y, x); NaN without a clear date.

    Examples
    --------
    >>> series = np.array([0.1, 0.9, 0.3], np.float32).reshape(3, 1, 1, 1)
    >>> clear = np.array([True, False, True]).reshape(3, 1, 1)
    >>> found = linear_time(series, clear, np.array([0.0, 2.0, 8.0]))
    >>> found.ravel().astype(float).round(2).tolist()
    [0.3, 0.15, 0.1]
    """
    sides = clear_sides(clear, days, gap)
    out = np.full(reflectance.shape, np.nan, np.float32)
    for i in _dates(wanted, len(days)):
        out[i] = between(reflectance, days, i, Sides(sides.before[i], sides.after[i]))
    return out


def between(values: Floats, days: Doubles, date: int, sides: Sides) -> Floats:
    """Straight line between two dates of a series, which differ from pixel to pixel.

    Parameters
    ----------
    values : ndarray of float32
        (time, band, y, x).
    days : ndarray
        Day numbers, (time,).
    date : int
        Position of the date that is wanted.
    sides : Sides
        Positions, (y, x) each.

    Returns
    -------
    ndarray of float32
        (band, y, x).
    """
    share, either = _share(days, days[date], sides)
    first, second = pick(values, either.before), pick(values, either.after)
    return np.asarray(first + share.astype(np.float32) * (second - first), np.float32)


def _dates(wanted: Booleans | None, count: int) -> list[int]:
    """Positions of the dates of which anything is wanted."""
    if wanted is None:
        return list(range(count))
    found: list[int] = np.flatnonzero(wanted.reshape(count, -1).any(1)).tolist()
    return found


def _share(days: Doubles, day: float, sides: Sides) -> tuple[Doubles, Sides]:
    """Share of the way from one side to the other; where a side is missing both are the same."""
    before = np.where(sides.before < 0, sides.after, sides.before)
    after = np.where(sides.after < 0, sides.before, sides.after)
    start, stop = days[before], days[after]
    length = np.where(stop > start, stop - start, np.inf)
    return np.clip((day - start) / length, 0, 1), Sides(before, after)

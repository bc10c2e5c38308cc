"""Periods of a series, such as months, seasons or a list of intervals, and their dates."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError

DAY = np.timedelta64(1, "D")

CALL = 'call composite("MS"), composite("10D"), composite("QS-DEC")'


class Period(NamedTuple):
    """A span of time and the dates of the series in it."""

    label: np.datetime64
    start: np.datetime64
    stop: np.datetime64  # the first moment after it
    dates: NDArray[np.int64]  # positions in the series, in order of time

    @property
    def middle(self) -> np.datetime64:
        """Moment halfway."""
        return self.start + (self.stop - self.start) / 2

    @property
    def length(self) -> float:
        """Days."""
        return float((self.stop - self.start) / DAY)


def periods_of(freq: Any, times: NDArray[np.datetime64]) -> list[Period]:
    """Periods of an offset of pandas, labelled as ``xr.resample`` does, or of a list."""
    order = np.argsort(times, kind="stable")
    series = pd.Series(order, index=pd.DatetimeIndex(times[order]))
    try:
        if isinstance(freq, (str, pd.DateOffset, datetime.timedelta, np.timedelta64)):
            found = _regular(freq, series)
        else:
            found = [_interval(one, series) for one in freq]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{freq!r} does not describe periods ({error})",
            fix=f'{CALL}, or composite([("2025-06-01", "2025-08-31"), ...])',
            option="--every MS",
        ) from error
    if not any(len(period.dates) for period in found):
        first, last = times.min().astype("M8[D]"), times.max().astype("M8[D]")
        raise DataError(
            f"no period contains a date of the series, which runs from {first} to {last}",
            fix=f'call composite([("{first}", "{last}")]) or with other periods in it',
            option=f"--between {first}/{last}",
        )
    return found


def _regular(freq: Any, series: Any) -> list[Period]:
    """Periods of a frequency, without gaps."""
    freq = pd.Timedelta(freq) if isinstance(freq, np.timedelta64) else freq
    offset = pd.tseries.frequencies.to_offset(freq)
    parts = series.resample(offset)
    # labels such as month ends close their period, all others open it
    closed = pd.Grouper(freq=offset).closed
    found = []
    for label, dates in parts:
        span = (label, label + offset)
        if closed == "right":
            span = (label - offset + pd.Timedelta("1D"), label + pd.Timedelta("1D"))
        start, stop = (moment.to_datetime64().astype("M8[ns]") for moment in span)
        found.append(Period(label.to_datetime64().astype("M8[ns]"), start, stop, dates.values))
    return found


def _interval(given: Any, series: Any) -> Period:
    """One period of a list: an interval of pandas, or a start and an end."""
    times = series.index
    if isinstance(given, pd.Interval):
        start, stop = given.left, given.right
        after = times >= start if given.closed_left else times > start
        before = times <= stop if given.closed_right else times < stop
    else:
        first, last = given
        # an end without a time includes its whole day, as in ds.sel(time=slice(first, last))
        whole = isinstance(last, str) or type(last) is datetime.date
        start = pd.Timestamp(first)
        stop = (pd.Period(str(last)) + 1).start_time if whole else pd.Timestamp(last)
        start, stop = (t if t.tz is None else t.tz_convert(None) for t in (start, stop))
        after, before = times >= start, times < stop if whole else times <= stop
    if not start < stop:
        raise ValueError(f"{start} does not come before {stop}")
    begin, end = (moment.to_datetime64().astype("M8[ns]") for moment in (start, stop))
    return Period(begin, begin, end, series.values[after & before])

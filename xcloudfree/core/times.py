"""Acquisition times of images: times of any kind as UTC without a time zone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError

_FORMATS = {4: "%Y", 6: "%Y%m", 7: "%Y%j", 8: "%Y%m%d", 14: "%Y%m%d%H%M%S"}
"""Formats of dates that are written as whole numbers, by the count of digits."""

_START = "2025-06-01"
_STEPS = {"days": "D", "hours": "h", "minutes": "m", "seconds": "s"}
_SINCE_1970 = ("D", "s", "ms", "us", "ns")


def utc_times(
    coordinate: xr.DataArray, owner: str = "ds", lacking: bool = False
) -> NDArray[np.datetime64]:
    """Times of a coordinate; text and objects without a time zone are read as UTC."""
    # `owner` is the user's name of the scene, for messages; `lacking` allows missing times
    aware = getattr(coordinate.dtype, "tz", None) is not None
    values = coordinate.to_index().tz_convert(None) if aware else coordinate.values
    values = np.atleast_1d(np.asarray(values))
    missing = pd.isnull(values)
    if not lacking and missing.any():
        raise DataError(
            f"the time coordinate lacks {missing.sum()} of {len(values)} dates",
            fix=f"leave these images out with {owner}.sel(time={owner}.time.notnull())",
            option="leave out the images without a date",
        )
    if values.dtype.kind != "M":
        values = _converted(values, owner, str(coordinate.attrs.get("units", "")))
    return values.astype("datetime64[ns]")


def _converted(values: NDArray[Any], owner: str, units: str) -> NDArray[Any]:
    """Text or objects as dates; numbers raise an error, because they could mean anything."""
    problem = f"the time coordinate contains {values.dtype} instead of dates"
    fix = f"convert it with {owner}.assign_coords(time={{}})".format
    if are_numbers(values):
        raise _refused(problem, fix, *dates_of_numbers(values, f"{owner}.time.values", units))
    # for other text pandas would guess: "June" as this year's
    written = {"format": "ISO8601"} if any(isinstance(v, str) for v in values) else {}
    with suppress(TypeError, ValueError):
        return np.asarray(pd.to_datetime(values, utc=True, **written).tz_localize(None).values)
    if hasattr(values[0], "calendar"):
        calendar = f"convert it with {owner}.convert_calendar('standard', use_cftime=False)"
        raise DataError(problem, fix=calendar, option="write the dates in the standard calendar")
    call, invented = _every_five_days(values.size)
    with suppress(TypeError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns about its guess
        pd.to_datetime(values, utc=True)
        call = f"pandas.to_datetime({owner}.time.values, utc=True).tz_localize(None)"
        invented = ""
    raise _refused(problem, fix, call, invented)


def _refused(problem: str, fix: Callable[[str], str], call: str, invented: str = "") -> DataError:
    own = f", with your own {invented}" if invented else ""
    return DataError(
        problem,
        fix=f"{fix(call)}{own}",
        option="write dates into the coordinate time of the file",
    )


def are_numbers(values: NDArray[Any]) -> bool:
    """Whether an array contains numbers or durations instead of text or dates."""
    return values.dtype.kind in "iufm" or (
        values.size > 0 and all(isinstance(v, Real) for v in values)
    )


def dates_of_numbers(values: NDArray[Any], name: str, units: str = "") -> tuple[str, str]:
    """The call of pandas that reads numbers as dates, and what in it only the user knows.

    `name` is how the user writes the numbers.
    """
    if values.dtype.kind == "m":
        return f"pandas.Timestamp('{_START}') + pandas.to_timedelta({name})", "date of day 0"
    step, _, declared = units.partition(" since ")
    with suppress(ValueError, KeyError):  # as CF declares it
        unit, origin = _STEPS[step.lower()], pd.to_datetime(declared, utc=True).tz_localize(None)
        return f"pandas.to_datetime({name}, unit='{unit}', origin='{origin}')", ""
    numbers = values.astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    text = [f"{number:.0f}" for number in numbers]
    form = _FORMATS.get(len(text[0])) if len({len(t) for t in text}) == 1 else None
    if form and _recent(text, format=form):
        return f"pandas.to_datetime({name}.astype(int).astype(str), format='{form}')", ""
    for unit in _SINCE_1970:
        if _recent(numbers, unit=unit):
            return f"pandas.to_datetime({name}, unit='{unit}')", ""
    steps, most = np.diff(numbers), np.abs(numbers).max(initial=0)
    if most > 36525 or not steps.size or (steps <= 0).any() or (steps == 1).all():
        return _every_five_days(values.size)  # positions, or anything
    if numbers[0] >= 1 and most <= 366:
        text_of_days = f"({_START[:4]}000 + {name}.astype(int)).astype(str)"
        return f"pandas.to_datetime({text_of_days}, format='%Y%j')", "year"
    return f"pandas.to_datetime({name}, unit='D', origin='{_START}')", "date of day 0"


def _every_five_days(size: int) -> tuple[str, str]:
    return f"pandas.date_range('{_START}', periods={size}, freq='5D')", "dates"


def _recent(values: Any, **options: str) -> bool:
    """Whether pandas reads numbers as dates of the age of satellites."""
    with suppress(ValueError):  # also dates beyond what pandas can express
        years = pd.to_datetime(values, **options).year
        return bool(len(years)) and years.min() >= 1980 and years.max() < 2080
    return False

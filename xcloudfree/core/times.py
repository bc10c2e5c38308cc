"""Acquisition times of images: times of any kind as UTC without a time zone."""

from __future__ import annotations

import warnings
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError

_ZONED = "pandas.to_datetime({}.time.values, utc=True).tz_localize(None)"
_NUMBERS = "pandas.to_datetime({}.time.values.astype(int).astype(str), format='%Y%m%d')"


def utc_times(
    coordinate: xr.DataArray, owner: str = "ds", lacking: bool = False
) -> NDArray[np.datetime64]:
    """Times of a coordinate; text and objects without a time zone are read as UTC."""
    # `owner` is the user's name of the scene, for messages; `lacking` allows missing times
    aware = getattr(coordinate.dtype, "tz", None) is not None
    values = coordinate.to_index().tz_convert(None) if aware else coordinate.values
    values = np.atleast_1d(np.asarray(values))
    if values.dtype.kind != "M":
        values = _converted(values, owner)
    if not lacking and np.isnat(values).any():
        raise DataError(
            f"the time coordinate lacks {np.isnat(values).sum()} of {len(values)} dates",
            fix=f"leave these images out with {owner}.sel(time={owner}.time.notnull())",
            option="leave out the images without a date",
        )
    return values.astype("datetime64[ns]")


def _converted(values: NDArray[Any], owner: str) -> NDArray[Any]:
    """Text or objects as dates; numbers raise an error, because they could mean anything."""
    problem = f"the time coordinate contains {values.dtype} instead of dates"
    other = f"pandas.date_range('2025-06-01', periods={values.size}, freq='5D')"
    if values.dtype.kind in "iuf" or (values.size and all(isinstance(v, Real) for v in values)):
        days = values.size and values.min() >= 19000101 and values.max() <= 22001231
        raise _refused(problem, owner, _NUMBERS.format(owner) if days else other)
    # for other text pandas would guess: "June" as this year's
    written = {"format": "ISO8601"} if any(isinstance(v, str) for v in values) else {}
    with suppress(TypeError, ValueError):
        return np.asarray(pd.to_datetime(values, utc=True, **written).tz_localize(None).values)
    if hasattr(values[0], "calendar"):
        fix = f"convert it with {owner}.convert_calendar('standard', use_cftime=False)"
        raise DataError(problem, fix=fix, option="write the dates in the standard calendar")
    with suppress(TypeError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns about its guess
        pd.to_datetime(values, utc=True)
        other = _ZONED.format(owner)
    raise _refused(problem, owner, other)


def _refused(problem: str, owner: str, times: str) -> DataError:
    return DataError(
        problem,
        fix=f"convert it with {owner}.assign_coords(time={times})",
        option="write dates into the coordinate time of the file",
    )

"""When images were taken: times of any kind as UTC without a zone."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError

_ZONED = "ds.assign_coords(time=pandas.to_datetime(ds.time.values, utc=True).tz_localize(None))"
_NUMBERS = "ds.assign_coords(time=pandas.to_datetime(ds.time.values.astype(str), format='%Y%m%d'))"


def utc_times(coordinate: xr.DataArray) -> NDArray[np.datetime64]:
    """Times of a coordinate; text and objects are read as UTC where they name no zone."""
    values = np.atleast_1d(coordinate.values)
    if values.dtype.kind != "M":
        values = _converted(values)
    if np.isnat(values).any():
        raise DataError(
            f"the time coordinate lacks {np.isnat(values).sum()} of {len(values)} dates",
            fix="leave these images out with ds.sel(time=ds.time.notnull())",
        )
    return values.astype("datetime64[ns]")


def _converted(values: NDArray[Any]) -> NDArray[Any]:
    """Text or objects as dates; numbers may be anything, so they are refused."""
    import pandas as pd  # type: ignore[import-untyped]

    problem = f"the time coordinate holds {values.dtype} and no dates"
    if values.dtype.kind in "iuf":
        days = values.size and values.min() >= 19000101 and values.max() <= 22001231
        size = values.size
        other = f"ds.assign_coords(time=pandas.date_range('2025-06-01', periods={size}, freq='5D'))"
        raise DataError(problem, fix=f"convert it with {_NUMBERS if days else other}")
    # of other text pandas would guess: "June" as this year's
    written = {"format": "ISO8601"} if any(isinstance(v, str) for v in values) else {}
    try:
        return np.asarray(pd.to_datetime(values, utc=True, **written).tz_localize(None).values)
    except (TypeError, ValueError):
        raise DataError(
            problem,
            fix=f"convert it with {_ZONED}, or from cftime with "
            "ds.convert_calendar('standard', use_cftime=False)",
        ) from None

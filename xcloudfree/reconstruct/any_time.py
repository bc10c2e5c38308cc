"""Times without an image, and pixels without data, that are treated as hidden."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import optical_band
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene, band_dim
from xcloudfree.core.times import are_numbers, dates_of_numbers, utc_times
from xcloudfree.exceptions import DataError
from xcloudfree.masks.masking import where_occluded
from xcloudfree.masks.plan import MaskPlan

GROUND = 0.1
"""Reflectance of hidden pixels, whose value is never read."""


def at_times(
    obj: Any, times: Any, plan: MaskPlan
) -> tuple[Any, xr.DataArray, NDArray[np.datetime64]]:
    """The series with the times to fill and which of them were ``acquired``, mask, and times."""
    scene = read(obj)
    scene.need_times("times=")
    acquired = utc_times(scene.template()["time"])
    if len(np.unique(acquired)) < len(acquired):
        raise DataError(
            "the series has two images of one time", fix="join them with xcf.join_passes(ds)"
        )
    chosen = requested(times, acquired)

    # Dates that were not requested only serve as evidence: their hidden pixels become no data.
    mask = where_occluded(scene, plan, "mask", {})
    asked = xr.DataArray(np.isin(acquired, chosen), dims="time", coords={"time": mask.time})
    empty, ground = _stored(scene)
    evidence = _with_optical(scene, obj, lambda array: array.where(~mask | asked, empty))
    mask = mask & asked

    # Times without an image are hidden from edge to edge; no predictor reads their values.
    every = np.union1d(acquired, chosen)
    new = ~np.isin(every, acquired)
    whole = evidence.assign_coords(time=acquired).reindex(time=every, fill_value=_fills(obj))
    made = xr.DataArray(new, dims="time", coords={"time": every})
    whole = _with_optical(read(whole), whole, lambda array: array.where(~made, ground))
    whole = whole.assign_coords(acquired=~made)
    hidden = mask.assign_coords(time=acquired).reindex(time=every, fill_value=True)
    return whole, hidden, chosen


def with_missing(obj: Any, plan: MaskPlan) -> tuple[Any, xr.DataArray]:
    """The scene with values where all bands have no data, and its mask, which hides these too."""
    scene = read(obj)
    missing = scene.reflectance().isnull().all("band")
    _, ground = _stored(scene)
    whole = _with_optical(scene, obj, lambda array: array.where(~missing, ground))
    return whole, where_occluded(scene, plan, "mask", {}) | missing


def requested(times: Any, acquired: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Times from a frequency such as "10D", or from a list, all within the days of the series."""
    day = np.timedelta64(1, "D")
    first, last = acquired.min().astype("datetime64[D]"), acquired.max().astype("datetime64[D]")
    if isinstance(times, str):
        try:
            grid = pd.date_range(first, last, freq=times)
        except ValueError as error:
            raise DataError(
                f"times={times!r} is not a frequency", fix='call reconstruct(times="10D")'
            ) from error
        return np.asarray(grid.values, "datetime64[ns]")
    given = np.atleast_1d(np.asarray(times))
    if given.size and are_numbers(given):
        call, _ = dates_of_numbers(given, "numpy.array(times)")
        raise DataError(
            f"times={times!r} contains {given.dtype} instead of dates",
            fix=f"call reconstruct(times={call})",
        )
    values = np.unique(utc_times(xr.DataArray(given))) if given.size else acquired[:0]
    if not len(values) or values.min() < first or values.max() >= last + day:
        raise DataError(
            f"times= must lie inside the series, from {first} to {last}",
            fix=f'call reconstruct(times=["{first}", ...]) with such times, or load a '
            "longer series",
        )
    return values


def _stored(scene: Scene) -> Any:
    """No data, and the value of hidden pixels, as the optical bands are stored."""
    values = np.array([np.nan, GROUND], np.float32)
    return scene.calibration().encode(values, scene.need_bands().dtype())


def _with_optical(scene: Scene, obj: Any, change: Any) -> Any:
    """The object with changed optical bands; types and attributes are kept."""
    variables = scene.need_bands().variables

    def apply(array: xr.DataArray) -> xr.DataArray:
        changed: xr.DataArray = change(array)
        return changed.astype(array.dtype).transpose(*array.dims).assign_attrs(array.attrs)

    if scene.form == "bands":
        return obj.assign({v: apply(obj[v]) for v in variables})
    if scene.form == "stacked":
        (variable,) = variables
        return obj.assign({variable: apply(obj[variable])})
    dim = band_dim(obj)
    optical = xr.DataArray([optical_band(n) is not None for n in obj[dim].values], dims=dim)
    return xr.where(optical, apply(obj), obj).transpose(*obj.dims).assign_attrs(obj.attrs)


def _fills(obj: Any) -> Any:
    """The no-data value of each variable."""
    if isinstance(obj, xr.DataArray):
        return _fill(obj)
    fills: dict[Hashable, Any] = {name: _fill(array) for name, array in obj.data_vars.items()}
    return fills


def _fill(array: xr.DataArray) -> Any:
    if array.dtype.kind not in "iub":
        return xr.core.dtypes.NA
    declared = array.attrs.get("nodata", array.attrs.get("_FillValue"))
    return array.dtype.type(0 if declared is None else declared)

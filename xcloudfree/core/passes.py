"""Images of one satellite pass, which show the same ground within seconds of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.nodata import declared, missing_backscatter, missing_reflectance
from xcloudfree.core.predictor import PASS
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError


def day_numbers(times: xr.DataArray) -> NDArray[np.float64]:
    """Days since the first time of a coordinate, which may be text or have a time zone."""
    moments = utc_times(times)
    days: NDArray[np.float64] = (moments - moments.min()) / np.timedelta64(1, "D")
    return days


def in_utc(ds: Any) -> Any:
    """The same with dates of numpy, in UTC, along time; data without times as it is."""
    time = ds.coords.get("time")
    if time is None or time.dims != ("time",) or np.issubdtype(time.values.dtype, np.datetime64):
        return ds
    return ds.assign_coords(time=("time", utc_times(time), time.attrs))


def same_pass(days: NDArray[np.float64], date: int) -> NDArray[np.bool_]:
    """Images that belong to the same pass as a given one, itself included."""
    together: NDArray[np.bool_] = np.abs(days - days[date]) < PASS
    return together


def one_each_pass(dates: NDArray[np.intp], days: NDArray[np.float64]) -> NDArray[np.intp]:
    """The positions among `dates` that come first in their pass."""
    first: list[int] = []
    for date in dates.tolist():
        if not same_pass(days, date)[first].any():
            first.append(date)
    return np.array(first, np.intp)


def join_passes(ds: Any) -> Any:
    """Join the images of each satellite pass into one image, pixel by pixel.

    A pass may come as several images: two tiles, two processing baselines or two stations. Images
    within half a day of the first one belong to its pass. Each pixel comes from the first image in
    time that has data, band by band. What means no data is the same as in
    ``ds.cloudfree.reconstruct``: NaN, infinity and declared numbers; in integers of Sentinel-2 also
    65535, and 0 if the type is unsigned or nothing is declared; 0 in scene classes and in
    backscatter that is power or integers. Where no image has data, the first one is kept.

    Parameters
    ----------
    ds : Dataset or DataArray
        In any accepted form, with dates along ``time``; lazy or in memory.

    Returns
    -------
    Dataset or DataArray
        In the form of the input. Types, attributes, other coordinates and chunks of y and x are
        kept; dates are in order, and coordinates along time are those of the first image of a pass.

    Raises
    ------
    DataError
        If there is no time coordinate, or its values are no dates.
    UnitsError
        If what a variable declares as no data is no number.

    Examples
    --------
    >>> times = np.array(["2025-06-01T10:00", "2025-06-01T10:01", "2025-06-06"], "datetime64[ns]")
    >>> values = np.array([[0.1, np.nan], [0.3, 0.2], [0.4, 0.5]], "float32")[:, None]
    >>> ds = xr.Dataset({"B02": (("time", "y", "x"), values)}, {"time": times})
    >>> [[f"{v:.1f}" for v in row] for row in join_passes(ds).B02.values[:, 0]]
    [['0.1', '0.2'], ['0.4', '0.5']]
    """
    scene = read(ds)
    if "time" not in scene.lead or "time" not in ds.coords:
        raise DataError(
            "the data has no dates to join",
            fix="give it some with ds.assign_coords(time=...), then call xcf.join_passes(ds)",
        )
    days = day_numbers(ds.time)
    order = np.argsort(days, kind="stable")
    groups = [[int(order[0])]]
    for image in order[1:].tolist():
        if days[image] - days[groups[-1][0]] < PASS:
            groups[-1].append(image)
        else:
            groups.append([image])
    if len(groups) == len(order):
        return ds.isel(time=order) if (np.diff(order) < 0).any() else ds
    first = ds.isel(time=[group[0] for group in groups])
    if isinstance(ds, xr.DataArray):
        return _joined(ds, first, groups, _missing(scene, ds))
    joined = {
        name: _joined(array, first[name], groups, _missing(scene, array))
        for name, array in ds.data_vars.items()
        if "time" in array.dims
    }
    return first.assign(joined)


def _joined(
    array: xr.DataArray, first: xr.DataArray, groups: list[list[int]], missing: tuple[float, ...]
) -> xr.DataArray:
    """The first image of each pass, filled with the others where it has no data."""
    out = first.variable
    for number in range(1, max(map(len, groups))):
        # a pass with fewer images repeats its last one, which changes nothing
        other = array.variable.isel(time=[group[min(number, len(group) - 1)] for group in groups])
        out = out.where(_present(out, missing) | ~_present(other, missing), other)
    return first.copy(data=out.data)


def _present(values: xr.Variable, missing: tuple[float, ...]) -> xr.Variable:
    """Where there is a measurement."""
    present: xr.Variable = values.notnull()
    if values.dtype.kind == "f":
        missing = (*missing, np.inf, -np.inf)
    for number in missing:
        present = present & (values != number)
    return present


def _missing(scene: Scene, array: xr.DataArray) -> tuple[float, ...]:
    """The numbers that mean no data in a variable of a scene."""
    alone, sar = isinstance(scene.source, xr.DataArray), scene.sar
    if scene.optical is not None and (alone or array.name in scene.optical.variables):
        scaled = bool({"scale_factor", "add_offset"} & array.attrs.keys())
        number, others = missing_reflectance((str(array.name),), (array,), scaled)
        return others if number is None else (number, *others)
    if sar is not None and (alone or array.name in sar.variables):
        number, others = missing_backscatter((array,))
        power = array.attrs.get("units") not in (None, "dB", "db", "decibel", "decibels")
        zero = (0.0,) if power or (array.dtype.kind in "iu" and number is None) else ()
        return (*zero, *others) if number is None else (number, *zero, *others)
    numbers = declared(array, f"ds.assign({{{array.name!r}: ds[{array.name!r}].drop_attrs()}})")
    if scene.classes is not None and array.name == scene.classes.name:
        return (*numbers, 0.0)
    # after decoding, NaN means no data, and the declared number was a stored one
    return () if array.dtype.kind == "f" and "scale_factor" in array.encoding else numbers

"""Images of one satellite pass, which show the same ground within seconds of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.predictor import PASS
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError


def day_numbers(times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Days since the first of the given times."""
    days: NDArray[np.float64] = (times - times.min()) / np.timedelta64(1, "D")
    return days


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
    time that has data, band by band. Integers without a declared "no data" use 0 if they are
    reflectance, backscatter or scene classes; others keep the first image.

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
        If there is no time coordinate.

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
    order = np.argsort(ds.time.values, kind="stable")
    days, groups = day_numbers(ds.time.values), [[int(order[0])]]
    for image in order[1:].tolist():
        if days[image] - days[groups[-1][0]] < PASS:
            groups[-1].append(image)
        else:
            groups.append([image])
    if len(groups) == len(order):
        return ds.isel(time=order) if (np.diff(order) < 0).any() else ds
    first = ds.isel(time=[group[0] for group in groups])
    if isinstance(ds, xr.DataArray):
        return _joined(ds, first, groups, _empty_value(ds, integer=0))
    bands = [layer for layer in (scene.optical, scene.sar) if layer is not None]
    known = {name for layer in bands for name in layer.variables}
    if scene.classes is not None:
        known.add(scene.classes.name)
    joined = {}
    for name, array in ds.data_vars.items():
        if "time" in array.dims:
            # 0 means no data in Sentinel-2 and its classes; elsewhere it may be a measurement
            empty = _empty_value(array, integer=0 if name in known else None)
            joined[name] = _joined(array, first[name], groups, empty)
    return first.assign(joined)


def _joined(
    array: xr.DataArray, first: xr.DataArray, groups: list[list[int]], empty: float | None
) -> xr.DataArray:
    """The first image of each pass, filled with the others where it has no data."""
    out = first.variable
    for number in range(1, max(map(len, groups))):
        # a pass with fewer images repeats its last one, which changes nothing
        other = array.variable.isel(time=[group[min(number, len(group) - 1)] for group in groups])
        present = out.notnull()
        if empty is not None:
            present = present & (out != empty)
        out = out.where(present, other)
    return first.copy(data=out.data)


def _empty_value(array: xr.DataArray, integer: int | None) -> float | None:
    """The number that means no data, besides NaN."""
    declared = array.attrs.get("nodata", array.attrs.get("_FillValue"))
    if array.dtype.kind == "f":
        # after decoding, NaN means no data, and the declared number was a stored one
        return None if "scale_factor" in array.encoding else declared
    return integer if declared is None else declared

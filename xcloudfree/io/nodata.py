"""Which stored number means no data, for readers that know no Sentinel-2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.bands import optical_band
from xcloudfree.core.radiometry import holds


def nodata_of(array: xr.Variable | xr.DataArray, names: Iterable[Any]) -> float | int | None:
    """Number that means no data in an array as it stands, declared or understood.

    Declared it is by `nodata` or `_FillValue`. Integer reflectance without a declaration, or with
    one that its type cannot hold, has 0, as when it is read
    (:meth:`xcloudfree.core.scene.Scene.calibration`). Left untold, other readers would scale it to
    a reflectance.

    Parameters
    ----------
    array : Variable or DataArray
        Of any type, with attributes and encoding; nothing is computed.
    names : iterable
        Of the array and of the bands in it.

    Returns
    -------
    float, int or None
        None for flags and booleans, of which every one is a value; where the number is NaN, which
        says so itself; and for numbers that were decoded on reading: there it is a stored one.

    Examples
    --------
    >>> stored = xr.Variable("x", [0, 1500], {"scale_factor": 1e-4})
    >>> nodata_of(stored, ["B02"]), nodata_of(stored, ["height"])
    (0, None)
    >>> nodata_of(xr.Variable("x", np.zeros(2, "float32"), {"nodata": -9999.0}), ["VV"])
    -9999.0
    """
    kind = array.dtype.kind
    if kind not in "iuf" or "flag_values" in array.attrs:
        return None
    number = array.attrs.get("nodata", array.attrs.get("_FillValue"))
    if kind == "f":
        if number is None or np.isnan(number) or "scale_factor" in array.encoding:
            return None
        return float(number)
    number = array.encoding.get("_FillValue") if number is None else number
    if number is not None and holds(array.dtype, number):
        return int(number)
    reflectance = "scale_factor" in array.attrs and any(optical_band(n) for n in names)
    return 0 if reflectance else None

"""The number that means no data in an array as it stands."""

from __future__ import annotations

import numpy as np
import xarray as xr


def declared_nodata(array: xr.DataArray | xr.Variable) -> float | int | None:
    """Number that an array declares to mean no data, by `nodata` or `_FillValue`.

    Parameters
    ----------
    array : DataArray or Variable
        Of any type; nothing is computed.

    Returns
    -------
    float, int or None
        None where none is declared, where it is NaN, which says so itself, where the type cannot
        hold it, and for numbers that were decoded on reading: there it is a stored one.

    Examples
    --------
    >>> declared_nodata(xr.Variable("x", np.zeros(2, "float32"), {"nodata": -9999.0}))
    -9999.0
    >>> print(declared_nodata(xr.Variable("x", np.zeros(2, "uint16"), {"nodata": -9999})))
    None
    """
    kind = array.dtype.kind
    number = array.attrs.get("nodata", array.attrs.get("_FillValue"))
    if number is None and kind in "iu":
        number = array.encoding.get("_FillValue")
    if kind not in "iuf" or number is None or np.isnan(number):
        return None
    if kind == "f":
        return None if "scale_factor" in array.encoding else float(number)
    limits = np.iinfo(array.dtype)
    return int(number) if limits.min <= number <= limits.max and number == int(number) else None

"""Which stored number means no data, for readers that know no Sentinel-2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from xcloudfree.bands import optical_band
from xcloudfree.kernels.radiometry import holds


def nodata_of(array: xr.Variable | xr.DataArray, names: Iterable[Any]) -> Any:
    """No-data value of an array, declared or understood.

    Integer reflectance without a declaration, or with one that its type cannot hold, has 0, as when
    it is read (:meth:`xcloudfree.scene.Scene.calibration`). Left untold, other readers would scale
    it to a reflectance.

    Parameters
    ----------
    array : Variable or DataArray
        With attributes and encoding.
    names : iterable
        Of the array and of the bands in it.

    Returns
    -------
    number or None

    Examples
    --------
    >>> stored = xr.Variable("x", [0, 1500], {"scale_factor": 1e-4})
    >>> nodata_of(stored, ["B02"]), nodata_of(stored, ["height"])
    (0, None)
    """
    told = {**array.encoding, **array.attrs}
    if "flag_values" in told:
        return None  # every flag is a value
    declared = told.get("nodata", told.get("_FillValue"))
    if array.dtype.kind not in "iu" or (declared is not None and holds(array.dtype, declared)):
        return declared
    reflectance = "scale_factor" in array.attrs and any(optical_band(n) for n in names)
    return 0 if reflectance else None

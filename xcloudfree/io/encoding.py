"""Reflectance as integers with a scale, by CF conventions, and the numbers that mean no data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.bands import optical_band
from xcloudfree.core.nodata import KEYS
from xcloudfree.core.radiometry import Calibration, holds
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import CloudFreeError, DataError

Encoding = Literal["int16", "uint16"]

SCALE: Final = 1e-4
OFFSETS: Final = {"int16": 0.0, "uint16": -0.1}
EMPTY: Final = {"int16": -32768, "uint16": 0}
"""Number that means no data; uint16 is as in Sentinel-2 products since 2022."""


def encode_reflectance(
    ds: xr.Dataset, encoding: Encoding, writer: Literal["to_zarr", "to_cog", "append"] = "to_zarr"
) -> xr.Dataset:
    """Store floating-point reflectance as integers, lazily; everything else is kept.

    Parameters
    ----------
    ds : xarray.Dataset
        Scene; backscatter, flags and standard deviations do not change.
    encoding : {"int16", "uint16"}
        ``reflectance = number * 1e-4 + offset`` with offset 0 and no data -32768, or offset -0.1
        and no data 0. Reflectance from -3.2767 to 3.2767, or from -0.0999 to 6.4535.
    writer : {"to_zarr", "to_cog", "append"}
        Function that was called, for the errors.

    Returns
    -------
    xarray.Dataset
        With `scale_factor`, `add_offset` and `nodata` in the attributes.

    Raises
    ------
    DataError
        If there is no floating-point reflectance, or one array also contains backscatter. At
        compute: if a value is out of range, because clipping would lose it.

    Examples
    --------
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.array([[0.25, np.nan]], "float32"))})
    >>> encode_reflectance(ds, "uint16").B02.values.tolist()
    [[3500, 0]]
    """
    if encoding not in OFFSETS:
        raise DataError(
            f"Unknown encoding {encoding!r}",
            fix=f"call xcf.io.{writer}(obj, path, encoding='int16'), 'uint16' or None",
            option="--encoding int16",
        )
    try:
        scene = read(ds)
    except CloudFreeError:
        scene = None
    names = () if scene is None or scene.optical is None else scene.optical.variables
    if scene is not None and scene.sar is not None and set(names) & set(scene.sar.variables):
        raise DataError(
            "One array also contains backscatter, which cannot be encoded as reflectance",
            fix="leave it out, or write variables: xcf.io.to_zarr(xr.Dataset({'s2': ..., 's1': "
            "...}), path, encoding=...)",
            option="leave out --encoding",
        )
    new = {n: _encoded(ds[n], encoding, writer) for n in names if ds[n].dtype.kind == "f"}
    if not new:
        raise DataError(
            f"There is no floating-point reflectance to encode among {', '.join(map(str, ds))}",
            fix=f"leave the encoding out: xcf.io.{writer}(obj, path)",
            option="leave out --encoding",
        )
    return ds.assign(new)


def _encoded(array: xr.DataArray, encoding: Encoding, writer: str) -> xr.DataArray:
    scale, offset = scale_of(array)
    rule = Calibration(scale, offset, nodata_of(array, [array.name]))
    function = _Encoder(str(array.name), rule, encoding, writer)
    if array.chunks is None:
        data = function(array.values)
    else:
        meta = np.empty((0,) * array.ndim, encoding)
        data = array.data.map_blocks(function, dtype=encoding, meta=meta)
    out = array.copy(data=data)
    declared = {
        "scale_factor": SCALE,
        "add_offset": OFFSETS[encoding],
        "nodata": EMPTY[encoding],
    }
    kept = {k: v for k, v in array.attrs.items() if k not in ("_FillValue", "missing_value")}
    out.attrs = {"units": "1"} | kept | declared
    out.encoding = {k: v for k, v in array.encoding.items() if k == "grid_mapping"}
    return out


def flagged(array: xr.DataArray) -> bool:
    """Whether the numbers are flags or a mask, of which there is no mean."""
    return array.dtype == np.bool_ or "flag_values" in array.attrs or "flag_masks" in array.attrs


def nodata_of(array: xr.Variable | xr.DataArray, names: Iterable[Any]) -> float | int | None:
    """Number that means no data in an array, according to its declaration.

    Integer reflectance without a declaration, or with one that its type cannot represent, has 0, as
    on reading; other readers would scale it to a reflectance. The result is None for flags and
    booleans, whose values are all valid, if the number is NaN, and for numbers that were decoded on
    reading, as the declaration then is a stored number. `names` are of the array and its bands.

    >>> stored = xr.Variable("x", [0, 1500], {"scale_factor": 1e-4})
    >>> nodata_of(stored, ["B02"]), nodata_of(stored, ["height"])
    (0, None)
    >>> nodata_of(xr.Variable("x", np.zeros(2, "float32"), {"nodata": -9999.0}), ["VV"])
    -9999.0
    """
    kind = array.dtype.kind
    if kind not in "iuf" or "flag_values" in array.attrs:
        return None
    key = next((k for k in KEYS if k in array.attrs), "_FillValue")
    number = _number(array, key, array.attrs.get(key))
    if kind == "f":
        if number is None or np.isnan(number) or "scale_factor" in array.encoding:
            return None
        return float(number)
    if number is None:
        number = _number(array, "_FillValue", array.encoding.get("_FillValue"))
    if number is not None and holds(array.dtype, number):
        return int(number)
    reflectance = "scale_factor" in array.attrs and any(optical_band(n) for n in names)
    return 0 if reflectance else None


def scale_of(array: xr.DataArray) -> tuple[float, float]:
    """Declared scale and offset; 1 and 0 if there are none."""
    scale = _number(array, "scale_factor", array.attrs.get("scale_factor"))
    offset = _number(array, "add_offset", array.attrs.get("add_offset"))
    return float(1 if scale is None else scale), float(0 if offset is None else offset)


def _number(array: xr.Variable | xr.DataArray, key: str, declared: Any) -> Any:
    """The declared number, which must be one."""
    if declared is None or isinstance(declared, (int, float, np.integer, np.floating)):
        return declared
    try:
        return float(np.asarray(declared).item())  # text or an array of one, as in some files
    except (TypeError, ValueError) as error:
        name = getattr(array, "name", None) or "name"
        raise DataError(
            f"{key} of {name!r} is {declared!r} and not a number",
            fix=f"declare one, or remove it: del ds[{name!r}].attrs[{key!r}]",
            option=f"correct {key} in the attributes of the file",
        ) from error


@dataclass(frozen=True)
class _Encoder:
    """Floating-point numbers of a variable to integers."""

    name: str
    rule: Calibration
    encoding: Encoding
    writer: str

    def __call__(self, stored: NDArray[Any]) -> NDArray[Any]:
        out = np.empty(stored.shape, self.encoding)
        for place in np.ndindex(stored.shape[:-2]):  # one plane at a time is in double precision
            out[place] = self._plane(stored[place])
        return out

    def _plane(self, stored: NDArray[Any]) -> NDArray[Any]:
        reflectance = stored.astype(np.float64)
        empty = np.isnan(reflectance)
        if self.rule.nodata is not None:
            empty |= stored == self.rule.nodata
        reflectance = reflectance * self.rule.scale + self.rule.offset
        reflectance[empty] = 0
        numbers = np.rint((reflectance - OFFSETS[self.encoding]) / SCALE)
        limits, nodata = np.iinfo(self.encoding), EMPTY[self.encoding]
        outside = ~((numbers > nodata) & (numbers <= limits.max)) & ~empty
        if outside.any():
            values = reflectance[outside]
            low, high = (n * SCALE + OFFSETS[self.encoding] for n in (nodata + 1, limits.max))
            other = "encoding='int16'" if self.encoding == "uint16" else "encoding=None"
            again, call = "start again with", self.writer
            if call == "append":  # the object may lack the old dates
                again, call = "write all dates, old and new, from the start:", "to_zarr"
            other += ", mode='overwrite'" * (call == "to_zarr")
            raise DataError(
                f"{values.size} values of {self.name} from {values.min():g} to {values.max():g} "
                f"lie outside the range of {self.encoding} ({low:g} to {high:g})",
                fix=f"{again} xcf.io.{call}(obj, path, {other})",
                option="--encoding int16" if self.encoding == "uint16" else "leave out --encoding",
            )
        whole = numbers.astype(self.encoding)
        whole[empty] = nodata
        return whole

"""Declare the meaning of stored numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xcloudfree.core.nodata import KEYS, declaration, missing_reflectance
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import UnitsError

_STORED = ("scale_factor", "add_offset", *KEYS)  # say how numbers are stored

XarrayObject = TypeVar("XarrayObject", xr.Dataset, xr.DataArray)


def calibrate(
    obj: XarrayObject,
    *,
    scale: float | None = None,
    offset: float | Sequence[float] | xr.DataArray | None = None,
    nodata: float | None = None,
    level: str | None = None,
    sar: str | None = None,
    quantity: str | None = None,
    sar_nodata: float | None = None,
) -> XarrayObject:
    """Declare scale, offset, level and backscatter unit of a scene.

    The numbers do not change; the declaration goes into the attributes. Only if the offset differs
    by date is reflectance computed, lazily.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene in any accepted form.
    scale, offset : float, optional
        ``reflectance = number * scale + offset``; for Sentinel-2 1e-4, and -0.1 from processing
        baseline 04.00 on (0 before, or where the provider has applied it). An offset for each date
        (a sequence, or a DataArray along ``time``) is applied immediately.
    nodata : float, optional
        Stored reflectance number that means no measurement. It replaces the attributes ``nodata``,
        ``_FillValue``, ``missing_value`` and ``nodatavals``. In integers, 65535 also means no
        data, and so does 0 if the type is unsigned or nothing is declared.
    level : {"TOA", "BOA"}, optional
        Top of atmosphere (Level-1C) or surface (Level-2A) reflectance.
    sar : {"dB", "linear"}, optional
        Unit of the backscatter.
    quantity : {"sigma0", "gamma0"}, optional
        Kind of the backscatter.
    sar_nodata : float, optional
        Stored backscatter number that means no measurement; NaN if only NaN does.

    Returns
    -------
    Dataset or DataArray
        In the form of the input.

    Raises
    ------
    UnitsError
        If a value is not one of the above.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xcloudfree
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.array([[3000]], "uint16"))})
    >>> ds = ds.cloudfree.calibrate(scale=1e-4, offset=-0.1, level="BOA")
    >>> ds.B02.attrs
    {'units': '1', 'processing_level': 'BOA', 'scale_factor': 0.0001, 'add_offset': -0.1}
    """
    _one_of("level", level, ("TOA", "BOA"))
    _one_of("sar", sar, ("dB", "linear"))
    _one_of("quantity", quantity, ("sigma0", "gamma0", "beta0"))
    for name, number in (("scale", scale), ("nodata", nodata), ("sar_nodata", sar_nodata)):
        good = _is_finite if name == "scale" else _is_number
        if number is not None and not good(number):
            raise UnitsError(
                f"{name} is {number!r}",
                fix=f"call calibrate({name}={_USUAL[name]})",
                option=f"--{name.replace('_', '-')} {_USUAL[name]}",
            )
    if scale is not None and not scale > 0:
        raise UnitsError(
            f"scale is {scale!r}",
            fix="call calibrate(scale=1e-4, offset=...)",
            option="--scale 1e-4",
        )
    if np.ndim(offset) == 0 and offset is not None and not _is_finite(offset):  # type: ignore[arg-type]
        raise UnitsError(
            f"offset is {offset!r}",
            fix="call calibrate(scale=1e-4, offset=-0.1)",
            option="--scale 1e-4 --offset -0.1",
        )
    scene = read(obj)
    dated = offset is not None and np.ndim(offset) > 0
    optical: dict[str, Any] = {"units": "1"} if scale is not None or dated else {}
    for key, value in (("processing_level", level), ("nodata", None if dated else nodata)):
        if value is not None:
            optical[key] = value
    if scale is not None and not dated:
        optical |= {"scale_factor": float(scale), "add_offset": float(offset or 0)}  # type: ignore[arg-type]
    elif dated and scale is None:
        raise UnitsError(
            "offsets by date need a scale", fix="call calibrate(scale=1e-4, offset=[...])"
        )
    elif offset is not None and not dated:
        raise UnitsError(
            "an offset needs a scale",
            fix="call calibrate(scale=1e-4, offset=...)",
            option="--scale 1e-4",
        )
    backscatter: dict[str, Any] = {} if sar is None else {"units": "dB" if sar == "dB" else "1"}
    for key, value in (("quantity", quantity), ("nodata", sar_nodata)):
        if value is not None:
            backscatter[key] = value
    if dated and scale is not None:
        obj = _reflectance(scene, scale, offset, nodata)
    return _stamp(obj, scene, optical, backscatter)


def _stamp(
    obj: XarrayObject, scene: Scene, optical: dict[str, Any], backscatter: dict[str, Any]
) -> XarrayObject:
    if isinstance(obj, xr.DataArray):
        extra = {f"sar_{k}": v for k, v in backscatter.items()} if scene.optical else backscatter
        return _declaring(obj, optical | extra)
    out = obj.copy()
    for layer, attrs in ((scene.optical, optical), (scene.sar, backscatter)):
        for variable in () if layer is None else layer.variables:
            out[variable] = _declaring(out[variable], attrs)
    return out


def _declaring(array: xr.DataArray, attrs: dict[str, Any]) -> xr.DataArray:
    """An array with attributes; a new no-data number replaces the declared one."""
    out = array.assign_attrs(attrs)
    if "nodata" in attrs:
        out.attrs = declaration(out.attrs, attrs["nodata"])
    return out


def _reflectance(scene: Scene, scale: float, offset: Any, nodata: float | None) -> Any:
    """Apply an offset that differs by date."""
    source, layer = scene.source, scene.optical
    if layer is None or not scene.lead:
        raise UnitsError(
            "there is one date but several offsets",
            fix="call calibrate(offset=-0.1) or 0",
            option="--offset -0.1",
        )
    if any(np.issubdtype(a.dtype, np.floating) for a in layer.arrays):
        raise UnitsError(
            "the reflectance bands are floating-point numbers, to which an offset by date may have "
            "been applied already",
            fix="start from the stored integers, or use arithmetic: ds + offsets",
        )
    along = scene.lead[0]
    dates = layer.arrays[0][along]
    if isinstance(offset, xr.DataArray) and along in offset.coords:
        offset = offset.reindex({along: dates})
    values = np.asarray(offset, np.float32)
    if values.shape != dates.shape or np.isnan(values).any():
        raise UnitsError(
            f"there are {dates.size} dates and the offsets have shape {values.shape}, or lack one",
            fix="call calibrate(scale=..., offset=[one for each date])",
        )
    offsets = xr.DataArray(values, dims=[along])
    arrays = [a if nodata is None else _declaring(a, {"nodata": nodata}) for a in layer.arrays]
    first, others = missing_reflectance(layer.names, arrays, scaled=True)
    rule = Calibration(nodata=first, others=others)

    def apply(array: xr.DataArray) -> xr.DataArray:
        out = array.astype(np.float32) * np.float32(scale) + offsets
        valid = xr.apply_ufunc(rule.valid, array, dask="parallelized", output_dtypes=[bool])
        out = out.where(valid).transpose(*array.dims)
        out.attrs = {k: v for k, v in array.attrs.items() if k not in _STORED}
        out.encoding = {k: v for k, v in array.encoding.items() if k == "grid_mapping"}
        return out

    if isinstance(source, xr.DataArray):
        if scene.sar is not None:
            raise UnitsError(
                "one array contains Sentinel-1 and Sentinel-2",
                fix="split it before offsets by date, with xr.Dataset({'s2': ..., 's1': ...})",
            )
        return apply(source)
    return source.assign({v: apply(source[v]) for v in layer.variables})


_USUAL = {"scale": "1e-4, offset=-0.1", "nodata": "0", "sar_nodata": "0"}
_MEANING = {"TOA": " for Level-1C", "BOA": " for Level-2A"}


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        choices = " or ".join(f"calibrate({name}={k!r}){_MEANING.get(k, '')}" for k in known)
        raise UnitsError(f"{name} is {value!r}{did_you_mean(value, known)}", fix=f"call {choices}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    number = value.item() if isinstance(value, (xr.DataArray, np.ndarray)) else value
    return _is_number(number) and bool(np.isfinite(number))

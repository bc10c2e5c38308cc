"""Adapt a Dataset to Zarr: plain attributes, regular blocks, strings; and back."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.grid import coordinate_system
from xcloudfree.core.recognise import SPATIAL
from xcloudfree.core.scene import BAND_DIMS
from xcloudfree.io.encoding import nodata_of
from xcloudfree.io.layout import FILES


def storable(ds: xr.Dataset) -> xr.Dataset:
    """Copy without content that Zarr cannot store, and without the encoding of the source file.

    `nodata` of integers, 0 for reflectance that declares none, also becomes `_FillValue`, so that
    every CF reader recognises it. A warning names the omitted content.

    >>> ds = xr.Dataset(attrs={"scale": np.float32(0.5), "bbox": (1, 2)})
    >>> storable(ds).attrs
    {'scale': 0.5, 'bbox': [1, 2]}
    """
    lost: list[str] = []
    out = ds.copy()
    out.attrs = _attributes({k: v for k, v in ds.attrs.items() if k != FILES}, "", lost)
    out.encoding = {}
    for name in list(out.variables):
        variable = out.variables[name]
        kind = variable.dtype.kind
        if kind == "O" and not all(isinstance(v, str) for v in np.ravel(variable.values)):
            lost.append(f"the variable {name!r}, which contains Python objects")
            out = out.drop_vars([name])
            continue
        if variable.chunks is not None and kind not in "biufc":
            out[name] = out[name].compute()
        if kind == "U":  # Zarr 3 specifies strings of variable length only
            out = out.assign({name: out[name].astype(object)})
        attrs = _attributes(variable.attrs, f" of {name!r}", lost)
        kept = ("units", "calendar") if kind in "Mm" else ()
        encoding = {key: variable.encoding[key] for key in kept if key in variable.encoding}
        mapping = attrs.pop("grid_mapping", variable.encoding.get("grid_mapping"))
        if mapping in out.variables:
            encoding["grid_mapping"] = mapping
        fill = nodata_of(ds[name], [name, *_bands(ds, name)])
        if kind in "iu" and fill is not None:
            encoding["_FillValue"] = variable.dtype.type(fill)
        elif fill is not None:
            attrs.setdefault("nodata", fill)
        for key in ("_FillValue", "coordinates"):
            attrs.pop(key, None)
        out.variables[name].attrs = _axis(ds, name) | attrs
        out.variables[name].encoding = encoding
    if lost:
        warnings.warn(f"Not stored, since Zarr cannot hold it: {'; '.join(lost)}.", stacklevel=3)
    return out


def _axis(ds: xr.Dataset, name: Hashable) -> dict[str, str]:
    """What CF asks of the coordinate of a dimension: ``axis``, ``standard_name`` and ``units``."""
    from pyproj import CRS

    if name not in ds.dims:
        return {}
    if ds[name].dtype.kind == "M":
        return {"axis": "T", "standard_name": "time"} if name == "time" else {}
    pair = next((pair for pair in SPATIAL if name in pair and set(pair) <= set(ds.dims)), None)
    on_grid = (a for a in ds.data_vars.values() if pair is not None and set(pair) <= set(a.dims))
    array = next(on_grid, None)
    system = None if array is None else coordinate_system(ds, array)
    if pair is None or system is None:
        return {}
    letter = "Y" if name == pair[0] else "X"
    return next((axis for axis in CRS(system).cs_to_cf() if axis.get("axis") == letter), {})


def made(ds: xr.Dataset) -> dict[str, Any]:
    """What is known of how an object was made, and from which items.

    >>> ds = xr.Dataset({"provenance": ("time", [0], {"model": "carf-tiny", "flag_values": [0]})},
    ...                 {"item_id": ("time", ["S2A_1"])}, {"title": "mine"})
    >>> made(ds)
    {'model': 'carf-tiny', 'item_id': ['S2A_1']}
    """
    provenance = ds.variables.get("provenance")
    if provenance is None or "model" not in provenance.attrs:
        return {}
    own = ("long_name", "units", "grid_mapping", "nodata", "_FillValue", "coordinates")
    attrs = provenance.attrs.items()
    out = {str(k): v for k, v in attrs if k not in own and not str(k).startswith("flag_")}
    for name in ("item_id", "s1_item_id"):
        if name in ds.coords and ds[name].chunks is None:
            out[name] = np.ravel(ds[name].values).tolist()
            out |= {k: v for k, v in ds[name].attrs.items() if k == "request"}
    return out


def summary(ds: xr.Dataset) -> dict[str, Any]:
    """What a store says about itself as a whole, beside the attributes of the object."""
    return {k: v for k, v in made(ds).items() if k not in ds.attrs}


def regular_chunks(ds: xr.Dataset) -> xr.Dataset:
    """Dataset whose lazy variables have blocks of one size per dimension, that of the largest one.

    >>> ds = xr.Dataset({"a": ("x", np.zeros(9))}).chunk(x=(2, 4, 3))
    >>> regular_chunks(ds).chunksizes["x"]
    (4, 4, 1)
    """
    lazy = [name for name, variable in ds.variables.items() if variable.chunks is not None]
    lazy.sort(key=lambda name: -ds.variables[name].nbytes)
    size: dict[Hashable, int] = {}
    for name in lazy:
        variable = ds.variables[name]
        for dim, chunks in zip(variable.dims, variable.chunks or (), strict=True):
            size.setdefault(dim, max(chunks))
    new = {}
    for name in lazy:
        variable = ds.variables[name]
        part = variable.chunk({d: size[d] for d in variable.dims})
        part.encoding = dict(variable.encoding)
        new[name] = part
    return ds.assign(new)


def restore(ds: xr.Dataset) -> xr.Dataset:
    """Undo changes required by the format, after opening: grid mappings, fill values, strings."""
    for name in list(ds.variables):
        variable = ds.variables[name]
        for key in ("grid_mapping", "_FillValue"):
            if key in variable.attrs:
                variable.encoding[key] = variable.attrs.pop(key)
        mapping = variable.encoding.get("grid_mapping")
        if mapping in ds.data_vars:
            ds = ds.set_coords(mapping)
    for name, variable in list(ds.variables.items()):
        if variable.dtype.kind in "OT":
            text = np.array(variable.compute().values.tolist(), dtype=str)
            ds = ds.assign({name: ds[name].copy(data=text.reshape(variable.shape))})
    return ds


def _bands(ds: xr.Dataset, name: Hashable) -> list[Any]:
    """Names along the band dimension of a variable."""
    dims = [d for d in ds.variables[name].dims if d in BAND_DIMS and d in ds.coords]
    return [label for dim in dims for label in ds[dim].values]


def _attributes(attrs: dict[Any, Any], where: str, lost: list[str]) -> dict[str, Any]:
    """Attributes that JSON can represent; the names of the others go to ``lost``."""
    out = {}
    for key, value in attrs.items():
        try:
            out[str(key)] = _plain(value)
        except TypeError:
            lost.append(f"the attribute {str(key)!r}{where} ({type(value).__name__})")
    return out


def _plain(value: Any) -> Any:
    """The value in types of JSON."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return str(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    raise TypeError

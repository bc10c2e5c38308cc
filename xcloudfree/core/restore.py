"""Put new values of optical bands into the form of an input, and read what lies beside them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.bands import optical_band, sar_band
from xcloudfree.core.scene import Layer, Scene, band_dim


def restore(
    scene: Scene,
    data: Any,
    planes: Mapping[str, xr.DataArray],
    deviation: Any = None,
    bounds: Mapping[str, tuple[Any, Mapping[str, Any]]] | None = None,
) -> Any:
    """Put new values of all optical bands into the form of the input; bounds beside them."""
    layer = scene.need_bands()
    source, variable = scene.source, layer.variables[0]
    if scene.form == "array":
        assert isinstance(source, xr.DataArray)
        out = _replaced(scene, source, data).assign_coords(planes)
        beside = {n: _beside(scene, source, v, a) for n, (v, a) in (bounds or {}).items()}
        if deviation is not None:
            beside["std"] = _spread(_of_bands(scene, source, deviation))
        return out.assign_coords(beside)
    assert isinstance(source, xr.Dataset)
    if scene.form == "stacked":
        array = source[variable]
        new: dict[Hashable, xr.DataArray] = {variable: _replaced(scene, array, data)}
        new.update(planes)
        if deviation is not None:
            new[f"{variable}_std"] = _spread(_of_bands(scene, array, deviation))
        for name, (values, attrs) in (bounds or {}).items():
            new[f"{variable}_{name}"] = _beside(scene, array, values, attrs)
        return source.assign(new)
    dims = layer.arrays[0].dims
    new = {}
    for i, v in enumerate(layer.variables):
        new[v] = _like(source[v], dims, data[..., i, :, :])
        if deviation is not None:
            new[f"{v}_std"] = _spread(_like(source[v], dims, deviation[..., i, :, :]))
        for name, (values, attrs) in (bounds or {}).items():
            band = _like(source[v], dims, values[..., i, :, :])
            new[f"{v}_{name}"] = band.assign_attrs(attrs)
    return source.assign(new).assign(planes)


def with_radar(scene: Scene, data: Any) -> Any:
    """The scene with other backscatter (*lead, polarisation, y, x), in the chunks it had."""
    assert scene.sar is not None
    source: Any = scene.source
    new = {}
    for k, name in enumerate(scene.sar.variables):
        old = source if scene.form == "array" else source[name]
        if not set(scene.lead) <= set(old.dims):  # one image may hold for all dates
            old = old.broadcast_like(scene.template())
        if scene.form == "bands":
            out = _like(old, (*scene.lead, *scene.spatial), data[..., k, :, :])
        else:
            out = _replaced(scene, old, data, radar=True)
        # several dates may have been made together
        new[name] = out if old.chunks is None else out.chunk(old.chunksizes)
    return out if scene.form == "array" else source.assign(new)


def _beside(
    scene: Scene, array: xr.DataArray, values: Any, attrs: Mapping[str, Any]
) -> xr.DataArray:
    """Bounds of the optical bands of a stacked array, stored as these are."""
    out = _of_bands(scene, array, values).assign_attrs({**array.attrs, **attrs})
    out.encoding = dict(array.encoding)
    return out


def _of_bands(scene: Scene, array: xr.DataArray, values: Any) -> xr.DataArray:
    """Values beside the optical bands of a stacked array."""
    assert scene.optical is not None
    dim = band_dim(array)
    names = [n for n in array[dim].values if optical_band(n) is not None]
    coords = {k: v for k, v in array.coords.items() if dim not in v.dims}
    out = xr.DataArray(
        values, dims=(*scene.lead, dim, *scene.spatial), coords={**coords, dim: names}
    )
    if len(names) < array.sizes[dim]:  # a coordinate has the bands of its array
        out = out.reindex({dim: array[dim].values})
    return out.transpose(*array.dims)


def _replaced(scene: Scene, array: xr.DataArray, data: Any, radar: bool = False) -> xr.DataArray:
    """A stacked array with new optical bands or radar; others along its dimension are kept."""
    layer = scene.sar if radar else scene.optical
    assert layer is not None
    dim, lead = band_dim(array), len(scene.lead)
    layout = (*scene.lead, dim, *scene.spatial)
    if array.sizes[dim] == len(layer.names):
        whole = xr.Variable(layout, data)
    else:
        ordered = array.transpose(*layout)
        labels = array[dim].values
        names = [(sar_band(n) or ("",))[0] if radar else optical_band(n) for n in labels]
        planes = [
            data[..., layer.names.index(name), :, :] if name else ordered.isel({dim: i}).data
            for i, name in enumerate(names)
        ]
        whole = xr.Variable(layout, _stack(planes, lead))
    if array.chunks is not None:
        whole = whole.chunk({dim: array.variable.chunksizes[dim]})
    out = array.copy(data=whole.transpose(*array.dims).data)
    out.encoding = dict(array.encoding)
    return out


def _stack(planes: list[Any], axis: int) -> Any:
    if all(isinstance(p, np.ndarray) for p in planes):
        return np.stack(planes, axis)
    dims = [f"d{i}" for i in range(planes[0].ndim)]
    whole = xr.concat([xr.DataArray(p, dims=dims) for p in planes], dim="band")
    return whole.transpose(*dims[:axis], "band", *dims[axis:]).data


def _like(array: xr.DataArray, dims: tuple[Hashable, ...], data: Any) -> xr.DataArray:
    """New values in place of a variable: same dims, coords, attrs, encoding."""
    if set(array.dims) == set(dims):
        values = xr.Variable(dims, data).transpose(*array.dims).data
        out = array.copy(data=values)
    else:
        out = xr.DataArray(data, dims=dims, coords=array.coords, attrs=array.attrs)
    out.encoding = dict(array.encoding)
    return out


def _spread(array: xr.DataArray) -> xr.DataArray:
    """The attributes of a standard deviation; those of the band itself do not apply."""
    array.attrs = {"long_name": "standard deviation of the reconstructed reflectance", "units": "1"}
    array.encoding = {}
    return array


def labelled(scene: Scene, data: Any, name: str, attrs: Mapping[str, Any]) -> xr.DataArray:
    """An array with the dimensions and coordinates of a scene."""
    template = scene.template()
    out = xr.DataArray(data, template.coords, template.dims, name=name, attrs=dict(attrs))
    return out.transpose(*scene.dims)


# ------------------------------------------------------------------ read them again


def provenance_of(obj: xr.Dataset | xr.DataArray) -> xr.DataArray | None:
    """Provenance flags of an object; None without them."""
    return (obj if isinstance(obj, xr.Dataset) else obj.coords).get("provenance")


def beside(scene: Scene, kind: str) -> list[xr.DataArray] | None:
    """The "std", "lower" or "upper" of each optical band in reflectance, (*lead, y, x), if any."""
    layer = scene.need_bands()
    source, variables = scene.source, layer.variables
    if scene.form == "bands":
        names = [f"{v}_{kind}" for v in variables]
        if not set(names) <= set(map(str, source.variables)):
            return None
        planes = [source[name] for name in names]
    else:
        name = kind if scene.form == "array" else f"{variables[0]}_{kind}"
        if name not in source.coords and (scene.form == "array" or name not in source):
            return None
        whole = source[name]
        dim = band_dim(whole)
        where = {optical_band(n): i for i, n in enumerate(whole[dim].values)}
        planes = [whole.isel({dim: where[n]}, drop=True) for n in layer.names]
    planes = [p.transpose(*scene.lead, *scene.spatial) for p in planes]
    # bounds are stored as their bands are, deviations in reflectance
    return planes if kind == "std" else [scene.decoded(p) for p in planes]


def stacked_beside(scene: Scene, kind: str) -> xr.DataArray | None:
    """The same as one array (*lead, band, y, x), with the nominal level of bounds."""
    planes = beside(scene, kind)
    if planes is None:
        return None
    layer = scene.need_bands()
    whole = Layer(layer.names, tuple(planes), layer.variables).stack()
    return whole.assign_attrs({k: v for k, v in planes[0].attrs.items() if k == "interval"})

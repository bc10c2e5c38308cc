"""Mosaics by stackstac, with the same pixels, grid and chunks as by odc-stac.

stackstac builds the graph; pixels are read by :mod:`xcloudfree.stac.read.reading`. Its own reader
blends
undeclared nodata into neighbours, takes overviews as it likes, writes addresses with their tokens
into errors, and turns a missing file into nodata without a word. Its ``stack()`` is left out too:
it needs ``proj:epsg``, which pystac no longer writes, and pandas before version 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from xcloudfree.exceptions import CatalogError, GridError
from xcloudfree.stac.read.access import Access, Asset
from xcloudfree.stac.read.declared_grid import declared, declared_grid
from xcloudfree.stac.read.faults import fuse
from xcloudfree.stac.read.mosaic import Layer, Reader
from xcloudfree.stac.read.reading import read_asset, read_reporting
from xcloudfree.stac.search.query import item_time


class StackReader:
    """Reads windows of one asset, as stackstac's reader.

    Parameters
    ----------
    grid : GeoBox
        Grid that windows are cut from.
    layer : Layer
        How the asset is read.
    access : Access
        How its address is opened.
    reporting : bool
        Whether pixels come with the codes of :mod:`xcloudfree.stac.read.faults`.
    url : Asset
        What stackstac takes for an address.
    **options
        What stackstac tells its own reader.
    """

    def __init__(
        self,
        grid: GeoBox,
        layer: Layer,
        access: Access,
        reporting: bool,
        *,
        url: Asset,
        **options: Any,
    ) -> None:
        self._grid, self._layer, self._asset, self._access = grid, layer, url, access
        self._function = read_reporting if reporting else read_asset

    def read(self, window: Any, **options: Any) -> npt.NDArray[np.generic]:
        """Read one window of the grid."""
        rows, columns = window.toslices()
        return self._function(self._asset, self._access, self._grid[rows, columns], self._layer)

    def close(self) -> None:
        """Nothing is open between two reads."""


def open_items(
    reader: Reader,
    items: Sequence[Any],
    groups: Sequence[int],
    layers: Sequence[Layer],
    positions: Mapping[str, int],
) -> xr.Dataset:
    """Mosaics of groups of items by stackstac; reads no pixel.

    Parameters
    ----------
    reader : Reader
        Grid, chunks and access.
    items : sequence of pystac.Item
        Items.
    groups : sequence of int
        The mosaic that each is part of.
    layers : sequence of Layer
        What is read.
    positions : mapping
        Position of each item among those of its mosaic.

    Returns
    -------
    xarray.Dataset
        A variable for each asset, (time, y, x).

    Raises
    ------
    CatalogError
        stackstac is not installed.
    GridError
        A grid that stackstac does not know.
    """
    members = [[n for n, g in enumerate(groups) if g == group] for group in sorted(set(groups))]
    times = [item_time(items[own[0]]).astimezone(UTC).replace(tzinfo=None) for own in members]
    out = xr.Dataset(coords={"time": np.array(times, "datetime64[ns]")})
    for kind, assets in _kinds(layers):
        stack = _stack(reader, items, kind, assets, positions)
        nodata = 0 if reader.reporting else kind.nodata
        for asset in assets:
            own = stack.sel(band=asset)
            steps = [_mosaic([own.isel(item=n) for n in group], nodata) for group in members]
            out[asset] = xr.concat(steps, dim="time")
            out[asset].attrs = {"nodata": nodata}
            out[asset].encoding = {"grid_mapping": "spatial_ref"}
    # last, because joining drops their attributes
    return out[[layer.asset for layer in layers]].assign_coords(xr_coords(reader.grid))


def _kinds(layers: Sequence[Layer]) -> Iterable[tuple[Layer, list[str]]]:
    """Layers that differ in their asset alone: stackstac takes one type and nodata for all."""
    kinds: list[tuple[Layer, list[str]]] = []
    for layer in layers:
        for known, assets in kinds:
            alike = (known.data_type, str(known.nodata), known.resampling, known.read)
            if alike == (layer.data_type, str(layer.nodata), layer.resampling, layer.read):
                assets.append(layer.asset)
                break
        else:
            kinds.append((layer, [layer.asset]))
    return kinds


def _stack(
    reader: Reader,
    items: Sequence[Any],
    layer: Layer,
    assets: list[str],
    positions: Mapping[str, int],
) -> xr.DataArray:
    """All assets of one kind, (item, band, y, x)."""
    from odc.loader import resolve_chunk_shape

    try:
        from stackstac.prepare import prepare_items  # type: ignore[import-untyped]
        from stackstac.to_dask import items_to_dask  # type: ignore[import-untyped]
    except ImportError:
        raise CatalogError(
            "loader='stackstac' needs the package stackstac: pip install 'xcloudfree[stackstac]'."
        ) from None

    data_type = np.dtype("complex64" if reader.reporting else layer.data_type)
    table, spec, _, _ = prepare_items(
        [_plain(item, assets, reader.grid) for item in items],
        assets=assets,
        rescale=False,
        snap_bounds=False,
        dtype=data_type,
        **_place(reader.grid),
    )
    if tuple(spec.shape) != tuple(reader.grid.shape) or table.shape != (len(items), len(assets)):
        raise GridError(
            f"stackstac makes {spec.shape} pixels of a grid of {tuple(reader.grid.shape)}: "
            'load(..., loader="odc").'
        )
    for n, item in enumerate(items):
        for k, key in enumerate(assets):
            address = reader.address(item.assets[key].get_absolute_href())
            place = declared_grid(item, key)
            table["url"][n, k] = Asset(item.id, key, address, positions[item.id], place)
    _, height, width = resolve_chunk_shape(len(items), reader.grid, reader.chunks, data_type)
    array = items_to_dask(
        table,
        spec,
        chunksize=(1, 1, height, width),
        dtype=data_type,
        fill_value=data_type.type(0 if reader.reporting else layer.nodata),
        rescale=False,
        reader=partial(StackReader, reader.grid, layer, reader.access, reader.reporting),
    )
    coordinates = {"band": assets, **xr_coords(reader.grid)}
    return xr.DataArray(array, coordinates, ("item", "band", *reader.grid.dimensions))


def _place(grid: GeoBox) -> dict[str, Any]:
    """Grid in the words of stackstac."""
    epsg = None if grid.crs is None else grid.crs.epsg
    step = grid.resolution
    if epsg is None or not grid.axis_aligned or step.x <= 0 or step.y >= 0:
        raise GridError(
            "stackstac knows only grids with an EPSG code, north up: load(..., loader='odc')."
        )
    return {
        "epsg": epsg,
        "bounds": tuple(grid.boundingbox.bbox),
        "resolution": (step.x, -step.y),
    }


def _asset(item: Any, key: str) -> dict[str, Any]:
    """One asset, its grid in the fields that stackstac reads."""
    found = declared(item, key)
    out = {f"proj:{name}": found[name] for name in ("shape", "transform") if name in found}
    code = re.fullmatch(r"(?:EPSG:)?(\d+)", str(found.get("code", found.get("epsg"))))
    return out | {"href": key} | ({"proj:epsg": int(code.group(1))} if code else {})


def _plain(item: Any, keys: Sequence[str], grid: GeoBox) -> dict[str, Any]:
    """An item for stackstac; one that does not tell its place may lie anywhere on the grid."""
    return {
        "id": item.id,
        "bbox": list(item.bbox or grid.geographic_extent.boundingbox),
        "properties": {},
        "assets": {key: _asset(item, key) for key in keys},
    }


def _mosaic(parts: Sequence[xr.DataArray], nodata: float) -> xr.DataArray:
    """The first part, and the others in turn where nothing is there yet."""
    bare = [part.drop_vars(["band", "item"], errors="ignore") for part in parts]
    if len(bare) == 1:
        return bare[0]
    out: xr.DataArray = xr.apply_ufunc(
        _first, *bare, kwargs={"nodata": nodata}, dask="parallelized", output_dtypes=[bare[0].dtype]
    )
    return out


def _first(*parts: npt.NDArray[Any], nodata: float) -> npt.NDArray[Any]:
    out = parts[0].copy()
    for part in parts[1:]:
        if out.dtype.kind == "c":
            fuse(out, part)
            continue
        empty = out == nodata if out.dtype.kind in "iu" else np.isnan(out) | (out == nodata)
        np.copyto(out, part, where=empty)
    return out

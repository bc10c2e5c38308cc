"""Graphs by stackstac, with the same pixels, grid and chunks as by odc-stac.

Pixels are read by :mod:`xcloudfree.stac.read.reading`, because stackstac's own reader blends
undeclared nodata into neighbours, writes addresses with their tokens into errors, and silently
turns a missing file into nodata. Its ``stack()`` needs ``proj:epsg``, which pystac omits now, so
the table of assets is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from xcloudfree.stac.read.faults import fuse
from xcloudfree.stac.read.grids import declared_asset, declared_grid
from xcloudfree.stac.read.mosaic import Layer, Reader
from xcloudfree.stac.read.reading import read_asset, read_reporting
from xcloudfree.stac.search.area import dense, footprint
from xcloudfree.stac.search.query import item_time


class StackReader:
    """Reads windows of one asset, as stackstac's reader."""

    def __init__(
        self, grid: GeoBox, layer: Layer, access: Access, reporting: bool, *, url: Asset, **_: Any
    ) -> None:
        self._grid, self._layer, self._asset, self._access = grid, layer, url, access
        self._function = read_reporting if reporting else read_asset

    def read(self, window: Any, **_: Any) -> npt.NDArray[np.generic]:
        """Read one window of the grid."""
        rows, columns = window.toslices()
        return self._function(self._asset, self._access, self._grid[rows, columns], self._layer)

    def close(self) -> None:
        """Nothing stays open between two reads."""


def open_items(
    reader: Reader,
    items: Sequence[Any],
    groups: Sequence[int],
    layers: Sequence[Layer],
    positions: Mapping[str, int],
) -> xr.Dataset:
    """Mosaics of groups of items by stackstac; reads no pixel."""
    members = [[n for n, g in enumerate(groups) if g == group] for group in sorted(set(groups))]
    times = [item_time(items[own[0]]).astimezone(UTC).replace(tzinfo=None) for own in members]
    out = xr.Dataset(coords={"time": np.array(times, "datetime64[ns]")})
    for layer in layers:
        nodata = 0 if reader.reporting else layer.nodata
        stack = _stack(reader, items, layer, positions)
        steps = [_mosaic([stack.isel(item=n) for n in own], nodata) for own in members]
        out[layer.asset] = xr.concat(steps, dim="time")
        out[layer.asset].attrs = {"nodata": nodata}
        out[layer.asset].encoding = {"grid_mapping": "spatial_ref"}
    # last, because joining drops their attributes
    return out.assign_coords(xr_coords(reader.grid))


def _stack(
    reader: Reader, items: Sequence[Any], layer: Layer, positions: Mapping[str, int]
) -> xr.DataArray:
    """One asset of all items, (item, y, x)."""
    from odc.loader import resolve_chunk_shape

    try:
        from stackstac.prepare import ASSET_TABLE_DT  # type: ignore[import-untyped]
        from stackstac.raster_spec import RasterSpec  # type: ignore[import-untyped]
        from stackstac.to_dask import items_to_dask  # type: ignore[import-untyped]
    except ImportError:
        raise CatalogError(
            "loader='stackstac' needs the package stackstac",
            fix="install it with pip install 'xcloudfree[stackstac]'",
        ) from None
    grid = reader.grid
    epsg = None if grid.crs is None else grid.crs.epsg
    if epsg is None or not grid.axis_aligned or grid.resolution.x <= 0 or grid.resolution.y >= 0:
        raise GridError(
            "stackstac supports only north-up grids with an EPSG code",
            fix="call load(..., loader='odc')",
        )
    pixel = grid.resolution.x, -grid.resolution.y
    spec = RasterSpec(epsg, tuple(grid.boundingbox.bbox), pixel)
    table = np.empty((len(items), 1), ASSET_TABLE_DT)
    for n, item in enumerate(items):
        address = reader.address(item.assets[layer.asset].get_absolute_href())
        asset = declared_asset(item, layer, positions[item.id], address)
        table[n, 0] = asset, _outline(item, layer, grid).boundingbox.bbox, (1.0, 0.0)
    data_type = np.dtype("complex64" if reader.reporting else layer.data_type)
    _, height, width = resolve_chunk_shape(len(items), grid, reader.chunks, data_type)
    array = items_to_dask(
        table,
        spec,
        chunksize=(1, 1, height, width),
        dtype=data_type,
        fill_value=data_type.type(0 if reader.reporting else layer.nodata),
        rescale=False,
        reader=partial(StackReader, grid, layer, reader.access, reader.reporting),
    )
    return xr.DataArray(array[:, 0], xr_coords(grid), ("item", *grid.dimensions))


def _outline(item: Any, layer: Layer, grid: GeoBox) -> Any:
    """Where an asset lies on the grid; one without a declared position may lie anywhere."""
    declared = declared_grid(item, layer.asset)
    outline = footprint(item) if declared is None else declared.extent
    return grid.extent if outline.is_empty else dense(outline).to_crs(grid.crs)


def _mosaic(parts: Sequence[xr.DataArray], nodata: float) -> xr.DataArray:
    """The first part, with gaps filled from the others in turn."""
    if len(parts) == 1:
        return parts[0]
    out: xr.DataArray = xr.apply_ufunc(
        _first,
        *parts,
        kwargs={"nodata": nodata},
        dask="parallelized",
        output_dtypes=[parts[0].dtype],
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

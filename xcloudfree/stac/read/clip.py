"""Pixels outside an area become no data, block by block."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely  # type: ignore[import-untyped]
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from xcloudfree.stac.search.area import dense

STEP: Final = 256
"""Corners of the outline are rounded to this part of a pixel: sums of such numbers are exact, so
that blocks of any size agree on every pixel."""


def clipped(ds: xr.Dataset, grid: GeoBox, area: Any) -> xr.Dataset:
    """A series in which pixels with a centre outside an area are no data."""
    inside = inside_area(ds, grid, area)
    out = ds.assign({name: _kept(v, inside) for name, v in ds.data_vars.items()})
    if "read_status" in ds.coords:
        out = out.assign_coords(read_status=_kept(ds["read_status"], inside))
    return out


def _kept(array: xr.DataArray, inside: xr.DataArray) -> xr.DataArray:
    nothing = np.nan if array.dtype.kind == "f" else 0
    out = array.where(inside, array.dtype.type(nothing)).transpose(*array.dims)
    out.attrs, out.encoding = array.attrs, array.encoding
    return out


def inside_area(ds: xr.Dataset, grid: GeoBox, area: Any) -> xr.DataArray:
    """Whether the centre of each pixel lies inside an area, lazily, (y, x)."""
    # in parts of a pixel: whole numbers
    outline = shapely.set_precision(grid.project(dense(area)).geom, 1 / STEP)
    outline = shapely.transform(outline, lambda corners: corners * STEP)
    places = (
        xr.DataArray(np.arange(size), dims=dim).chunk({dim: ds.chunksizes[dim]})
        for dim, size in zip(grid.dimensions, grid.shape, strict=True)
    )
    out: xr.DataArray = xr.apply_ufunc(
        _inside,
        *places,
        kwargs={"outline": outline},
        dask="parallelized",
        output_dtypes=[np.bool_],
    )
    return out


def _inside(
    rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], outline: Any
) -> npt.NDArray[np.bool_]:
    top, left = rows.min(), columns.min()
    burnt = rasterio.features.rasterize(
        [(outline, 1)],
        out_shape=(rows.size, columns.size),
        transform=Affine(STEP, 0, STEP * left, 0, STEP, STEP * top),
        dtype="uint8",
    )
    return np.asarray(burnt, np.bool_)

"""Read the pixels of one asset on a grid, inside the task, optionally with fault codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.features
import rasterio.warp
from odc.geo.converters import rio_geobox
from odc.geo.geobox import GeoBox
from odc.geo.overlap import compute_reproject_roi
from odc.geo.roi import roi_is_empty
from odc.geo.warp import resampling_s2rio
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from xcloudfree.exceptions import UnitsError
from xcloudfree.stac.read.access import Access, Asset, AssetError, open_raster, with_asset
from xcloudfree.stac.read.faults import Cause, Failure, failure_code, pack
from xcloudfree.stac.read.mosaic import Layer


def read_window(dataset: Any, grid: GeoBox, layer: Layer) -> npt.NDArray[np.generic]:
    """Pixels of one raster on a grid; ``layer.nodata`` where there is none."""
    # If the grids agree to a twentieth of a pixel, pixels are copied; else they are resampled from
    # the overview that fits. Nodata is that of the file, or that of the layer if the file declares
    # none; otherwise undeclared nodata would be blended into its neighbours.
    if dataset.crs is None:
        raise RasterioIOError("the file has no map projection, so its place is unknown")
    out = np.full(grid.shape, layer.nodata, layer.data_type)
    nearest = layer.resampling == "nearest"
    tolerance = 0.9 if nearest else 0.05
    where = compute_reproject_roi(rio_geobox(dataset), grid, ttol=tolerance)
    if roi_is_empty(where.roi_dst) or roi_is_empty(where.roi_src):
        return out
    declared = dataset.nodatavals[0]
    nodata = layer.nodata if declared is None else declared
    if where.paste_ok and where.read_shrink == 1:
        pixels = dataset.read(1, window=Window.from_slices(*where.roi_src))
        empty = np.isnan(pixels) if np.isnan(nodata) else pixels == nodata
        out[where.roi_dst] = np.where(empty, out[where.roi_dst], pixels)
        return out
    part = np.full(grid[where.roi_dst].shape, layer.nodata, layer.data_type)
    with _overview(dataset, where.read_shrink) as source:
        rasterio.warp.reproject(
            rasterio.band(source, 1),
            part,
            src_nodata=nodata,
            dst_crs=str(grid.crs),
            dst_transform=grid[where.roi_dst].transform,
            dst_nodata=layer.nodata,
            resampling=resampling_s2rio(layer.resampling),
        )
    out[where.roi_dst] = part
    return out


@contextmanager
def _overview(dataset: Any, shrink: int) -> Iterator[Any]:
    """The coarsest overview that is not coarser than wanted, or the raster itself."""
    fine = [n for n, factor in enumerate(dataset.overviews(1)) if factor <= shrink]
    if not fine:
        yield dataset
        return
    with open_raster(dataset.name, overview_level=fine[-1]) as overview:
        yield overview


def read_asset(asset: Asset, access: Access, grid: GeoBox, layer: Layer) -> npt.NDArray[np.generic]:
    """Pixels of one asset on a grid; see :func:`read_window` and :func:`with_asset`."""
    return with_asset(
        asset, access, lambda dataset: (layer.read or read_window)(dataset, grid, layer)
    )


def read_reporting(
    asset: Asset, access: Access, grid: GeoBox, layer: Layer
) -> npt.NDArray[np.complex64]:
    """Pixels of one asset with their codes, whether it can be read or not."""
    # if it cannot, the pixels inside the declared grid of the file are marked; without a grid, all
    try:
        return pack(read_asset(asset, access, grid, layer), layer.nodata, None, 0)
    except AssetError as error:
        code = failure_code(error.failure.cause, asset.position)
    except UnitsError:  # a product without control points, or with a damaged calibration table
        code = failure_code(Cause.OTHER, asset.position)
    nothing = np.full(grid.shape, layer.nodata, layer.data_type)
    return pack(nothing, layer.nodata, _covered(grid, asset.footprint), code)


def _covered(grid: GeoBox, footprint: GeoBox | None) -> npt.NDArray[np.bool_]:
    if footprint is None or footprint.crs is None:
        return np.ones(grid.shape, np.bool_)
    outline = footprint.extent.to_crs(grid.crs).geom
    burnt = rasterio.features.rasterize(
        [(outline, 1)], out_shape=tuple(grid.shape), transform=grid.transform, dtype="uint8"
    )
    return np.asarray(burnt, np.bool_)


def probe(asset: Asset, access: Access) -> Failure | None:
    """Whether one asset can be read: header, and last block, which a truncated file lacks."""

    def last_block(dataset: Any) -> None:
        dataset.read(1, window=Window(dataset.width - 1, dataset.height - 1, 1, 1))

    try:
        with_asset(asset, access, last_block)
    except AssetError as error:
        return error.failure
    return None

"""Ground range detected (GRD) Sentinel-1: calibrated to sigma0, warped by its control points.

The files lie in radar geometry and hold amplitudes. Whatever projection a catalog states for them
is made up (a bounding box divided by the number of pixels), so none is looked at. Within a task
the part of the file that a chunk needs is read, calibrated to linear power with the product's own
table, and only then brought onto the grid. Thermal noise is left as it is. There is no terrain
correction: over relief, pixels lie where they would lie at the height of the control points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
from odc.geo.geobox import GeoBox
from odc.geo.warp import resampling_s2rio
from rasterio.control import GroundControlPoint
from rasterio.errors import RasterioIOError
from rasterio.transform import GCPTransformer
from rasterio.windows import Window

from xcloudfree.exceptions import CloudFreeError, UnitsError
from xcloudfree.stac.read.access import Access
from xcloudfree.stac.read.calibration_table import CalibrationTable, parse_calibration
from xcloudfree.stac.read.mosaic import Layer, Reader
from xcloudfree.stac.read.signing import without_secrets
from xcloudfree.stac.read.text_file import read_text
from xcloudfree.stac.rules.radar_rule import SarRule
from xcloudfree.stac.search.footprints import footprint

if TYPE_CHECKING:
    import pystac
    import xarray as xr

MARGIN: Final = 8
"""Pixels that are read around what a chunk needs, for resampling and the bend of its outline."""

LARGEST: Final = 4096 * 4096
"""Pixels of a file that are held at a time; a larger part is read in quarters."""

OUTLINE: Final = 17
"""Points along each side of a chunk at which its place in the file is looked up."""

NOTES: Final = {
    "terrain_correction": "none; placed by the ground control points of the product",
    "thermal_noise": "not removed",
}
"""What the attributes say about backscatter that comes from here."""


@lru_cache(maxsize=8)
def _table(address: str, access: Access) -> CalibrationTable:
    signed = address
    try:
        signed = address if access.sign is None else access.sign(address)
        return parse_calibration(read_text(signed))
    except RasterioIOError as error:
        failure = str(error).replace(signed, "")
    except CloudFreeError:
        raise
    except Exception as error:  # whatever the user's function raises, its text may hold a token
        failure = f"sign= failed with {type(error).__name__}"
    # outside of the except clause: the cause may hold a token
    raise RasterioIOError(f"calibration table {without_secrets(address)}: {failure}")


@dataclass(frozen=True)
class Calibrated:
    """Reads the sigma0 of one polarisation of one product, as :class:`Layer` asks for it.

    Parameters
    ----------
    table : str
        Address of the calibration table, unsigned.
    access : Access
        How addresses are opened.
    """

    table: str
    access: Access

    def __call__(self, dataset: Any, grid: GeoBox, layer: Layer) -> npt.NDArray[np.float32]:
        """Linear power on a grid, NaN where there is none."""
        return read_sigma0(dataset, grid, layer, _table(self.table, self.access))


def read_sigma0(
    dataset: Any, grid: GeoBox, layer: Layer, table: CalibrationTable
) -> npt.NDArray[np.float32]:
    """Sigma0 of a product in radar geometry, on a map grid.

    Positions are right to an eighth of a pixel of the file (GDAL's approximation of the thin plate
    spline through the control points).

    Parameters
    ----------
    dataset : rasterio.DatasetReader
        Amplitudes with ground control points; 0 is no data.
    grid : GeoBox
        Grid to read on.
    layer : Layer
        Resampling, of linear power.
    table : CalibrationTable
        Calibration of the product.

    Returns
    -------
    ndarray of float32
        (y, x), linear power; NaN where there is none.

    Raises
    ------
    UnitsError
        The file has no ground control points.
    """
    points, crs = dataset.gcps
    if len(points) < 4 or crs is None:
        raise UnitsError(
            f"{without_secrets(dataset.name)} has no ground control points, so its place on the "
            'map is unknown. Take RTC: load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]).'
        )
    out = np.full(grid.shape, np.nan, np.float32)
    _fill(out, dataset, grid, layer, table, _on_one_side(points, crs, grid), crs)
    return out


def _on_one_side(points: Sequence[Any], crs: Any, grid: GeoBox) -> list[GroundControlPoint]:
    """The control points, those beyond the 180th meridian counted on from the side of the grid."""
    x = [point.x for point in points]
    if crs.is_geographic and max(x) - min(x) > 180:
        east = grid.geographic_extent.centroid.coords[0][0] > 0
        x = [v + 360 * (v < 0) if east else v - 360 * (v > 0) for v in x]
    return [
        GroundControlPoint(row=p.row, col=p.col, x=v, y=p.y) for p, v in zip(points, x, strict=True)
    ]


def _fill(
    out: npt.NDArray[np.float32],
    dataset: Any,
    grid: GeoBox,
    layer: Layer,
    table: CalibrationTable,
    points: list[GroundControlPoint],
    crs: Any,
) -> None:
    window = _window(dataset, grid, points, crs)
    if window is None:
        return
    if window.width * window.height > LARGEST and min(grid.shape) > 1:
        y, x = (size // 2 for size in grid.shape)
        for rows in (slice(0, y), slice(y, None)):
            for columns in (slice(0, x), slice(x, None)):
                part = grid[rows, columns]
                _fill(out[rows, columns], dataset, part, layer, table, points, crs)
        return
    numbers = dataset.read(1, window=window).astype(np.float32)
    lines = np.arange(window.row_off, window.row_off + window.height)
    pixels = np.arange(window.col_off, window.col_off + window.width)
    amplitude = numbers / table.at(lines, pixels).astype(np.float32)
    power = np.where(numbers > 0, amplitude**2, np.float32(np.nan))
    moved = [
        GroundControlPoint(row=p.row - window.row_off, col=p.col - window.col_off, x=p.x, y=p.y)
        for p in points
    ]
    part = np.full(out.shape, np.nan, np.float32)
    rasterio.warp.reproject(
        power,
        part,
        gcps=moved,
        src_crs=crs,
        src_nodata=np.nan,
        dst_crs=str(grid.crs),
        dst_transform=grid.transform,
        dst_nodata=np.nan,
        resampling=resampling_s2rio(layer.resampling),
        SRC_METHOD="GCP_TPS",  # passes through every control point
    )
    out[...] = part


def _window(
    dataset: Any, grid: GeoBox, points: list[GroundControlPoint], crs: Any
) -> Window | None:
    """Part of the file that holds what a grid needs; None if it holds nothing of it."""
    y, x = np.meshgrid(
        np.linspace(0, grid.shape[0], OUTLINE), np.linspace(0, grid.shape[1], OUTLINE)
    )
    map_x, map_y = grid.transform * (x.ravel(), y.ravel())
    map_x, map_y = rasterio.warp.transform(str(grid.crs), crs, map_x, map_y)[:2]
    with GCPTransformer(points, tps=True) as transformer:
        rows, columns = transformer.rowcol(map_x, map_y, op=np.asarray)
    rows, columns = np.asarray(rows, float), np.asarray(columns, float)
    reach = MARGIN + max(np.ptp(rows), np.ptp(columns)) / (OUTLINE - 1) / 4
    top, left = (int(max(np.floor(v.min() - reach), 0)) for v in (rows, columns))
    bottom = int(min(np.ceil(rows.max() + reach), dataset.height))
    right = int(min(np.ceil(columns.max() + reach), dataset.width))
    if bottom <= top or right <= left:
        return None
    return Window(left, top, right - left, bottom - top)


def open_swath(
    reader: Reader, item: pystac.Item, rule: SarRule, polarisations: Sequence[str], resampling: str
) -> xr.Dataset:
    """Sigma0 of one product in linear power, as a mosaic of its own; reads no pixel.

    Parameters
    ----------
    reader : Reader
        Opens items on a grid.
    item : pystac.Item
        Ground range detected item.
    rule : SarRule
        What it holds.
    polarisations : sequence of str
        Which are opened.
    resampling : str
        How power comes onto the grid.

    Returns
    -------
    xarray.Dataset
        One step of ``time``.
    """
    keys, tables = dict(rule.assets), dict(rule.calibration)
    layers = tuple(
        (
            pol,
            Layer(
                keys[pol],
                "float32",
                float("nan"),
                resampling,
                Calibrated(item.assets[tables[pol]].get_absolute_href() or "", reader.access),
            ),
        )
        for pol in polarisations
    )
    return reader.open([_without_projection(item)], [0], layers)


def _without_projection(item: pystac.Item) -> pystac.Item:
    """The item without the projection that its catalog made up, its outline a little wider."""
    out = item.clone()
    for fields in (out.properties, *(asset.extra_fields for asset in out.assets.values())):
        for name in [name for name in fields if name.startswith("proj:")]:
            del fields[name]
    outline = footprint(item).buffer(0.1)
    out.geometry, out.bbox = outline.json, list(outline.boundingbox)
    return out

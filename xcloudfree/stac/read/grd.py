"""Ground range detected (GRD) Sentinel-1: calibrated to sigma0, warped by its control points.

The files are in radar geometry and contain amplitudes. Catalogs declare an invented projection for
them (a bounding box divided by the number of pixels), so it is ignored. A task reads the part of
the file that a chunk needs, calibrates it to linear power with the product's own table, and then
resamples it to the grid. Thermal noise is not removed. There is no terrain correction: in relief,
pixels are placed as if they lay at the height of the control points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.warp import resampling_s2rio
from rasterio.control import GroundControlPoint
from rasterio.errors import RasterioIOError
from rasterio.transform import GCPTransformer
from rasterio.windows import Window

from xcloudfree.exceptions import CloudFreeError, UnitsError
from xcloudfree.stac.read.access import Access
from xcloudfree.stac.read.mosaic import Layer, Reader
from xcloudfree.stac.read.signing import without_secrets
from xcloudfree.stac.rules.harmonise import SarRule
from xcloudfree.stac.search.area import extent_of, footprint

if TYPE_CHECKING:
    import pystac


MARGIN: Final = 8
"""Margin in pixels to read around a chunk, for resampling and the curvature of its outline."""

LARGEST: Final = 4096 * 4096
"""Pixels of a file in memory at a time; a larger part is read in quarters."""

OUTLINE: Final = 17
"""Points along each side of a chunk whose position in the file is computed."""

NOTES: Final = {
    "terrain_correction": "none; placed by the ground control points of the product",
    "thermal_noise": "not removed",
}
"""Attributes of backscatter from this module."""


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
    except Exception as error:  # from the user's function; its text may contain a token
        failure = f"sign= failed with {type(error).__name__}"
    # outside of the except clause: the cause may hold a token
    raise RasterioIOError(f"calibration table {without_secrets(address)}: {failure}")


@dataclass(frozen=True)
class Calibrated:
    """Reads the sigma0 of one polarisation of one product, as :class:`Layer` requests it."""

    table: str
    access: Access

    def __call__(self, dataset: Any, grid: GeoBox, layer: Layer) -> npt.NDArray[np.float32]:
        """Linear power on a grid, NaN where there is none."""
        return read_sigma0(dataset, grid, layer, _table(self.table, self.access))


def read_sigma0(
    dataset: Any, grid: GeoBox, layer: Layer, table: CalibrationTable
) -> npt.NDArray[np.float32]:
    """Sigma0 (linear power, NaN: none) of a product in radar geometry, on a map grid."""
    # accurate to an eighth of a pixel: GDAL approximates the thin plate spline through the points
    points, crs = dataset.gcps
    if len(points) < 4 or crs is None:
        raise UnitsError(
            f"{without_secrets(dataset.name)} has no ground control points, so its position on the "
            "map is unknown",
            fix='take RTC: load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"])',
            option="--collections sentinel-2-l2a,sentinel-1-rtc",
        )
    out = np.full(grid.shape, np.nan, np.float32)
    _fill(out, dataset, grid, layer, table, *_on_one_side(points, crs, grid))
    return out


def _on_one_side(
    points: Sequence[Any], crs: Any, grid: GeoBox
) -> tuple[list[GroundControlPoint], Any]:
    """The control points on one side of the 180th meridian, and their coordinate system."""
    x, y = [point.x for point in points], [point.y for point in points]
    if crs.is_geographic and max(x) - min(x) > 180:
        around = extent_of(grid).boundingbox
        if around.span_x > 180:  # the grid crosses the meridian too
            crs, (x, y) = str(grid.crs), rasterio.warp.transform(crs, str(grid.crs), x, y)[:2]
        else:
            x = [v + 360 * (v < 0) if around.left >= 0 else v - 360 * (v > 0) for v in x]
    return [
        GroundControlPoint(row=p.row, col=p.col, x=v, y=w)
        for p, v, w in zip(points, x, y, strict=True)
    ], crs


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
    """Part of the file that a grid needs; None if the file covers nothing of it."""
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
    reader: Reader,
    item: pystac.Item,
    rule: SarRule,
    polarisations: Sequence[str],
    resampling: str,
    positions: Mapping[str, int],
) -> xr.Dataset:
    """Sigma0 of one product in linear power, as a separate mosaic; reads no pixel."""
    keys, tables = dict(rule.assets), dict(rule.calibration)
    layers = []
    for pol in polarisations:
        table = reader.address(item.assets[tables[pol]].get_absolute_href() or "")
        read = Calibrated(table, reader.access)
        layers.append((pol, Layer(keys[pol], "float32", float("nan"), resampling, read)))
    return reader.open([_without_projection(item)], [0], tuple(layers), positions)


def _without_projection(item: pystac.Item) -> pystac.Item:
    """The item without its invented projection, with a slightly wider outline."""
    out = item.clone()
    for fields in (out.properties, *(asset.extra_fields for asset in out.assets.values())):
        for name in [name for name in fields if name.startswith("proj:")]:
            del fields[name]
    outline = footprint(item).buffer(0.1)
    out.geometry, out.bbox = outline.json, list(outline.boundingbox)
    return out


# Calibration tables of Level-1 products: amplitude to radar cross section


@dataclass(frozen=True, eq=False)
class CalibrationTable:
    """The value A of ``sigma0 = DN**2 / A**2`` at given lines and pixels of a product."""

    # ESA, Radiometric Calibration of S-1 Level-1 Products Generated by the S-1 IPF
    # (ESA-EOPG-CSCOP-TN-0002): values between the entries by bilinear interpolation

    lines: npt.NDArray[np.float64]
    vectors: tuple[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]], ...]

    def at(
        self, rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float64]:
        """Values on a window of the product."""
        place = np.interp(rows, self.lines, np.arange(self.lines.size))
        first = np.floor(place).astype(int)
        second = np.minimum(first + 1, self.lines.size - 1)
        needed = {n: np.interp(columns, *self.vectors[n]) for n in {*first, *second}}
        share = (place - first)[:, None]
        before = np.stack([needed[n] for n in first])
        after = np.stack([needed[n] for n in second])
        out: npt.NDArray[np.float64] = before * (1 - share) + after * share
        return out


def parse_calibration(text: bytes) -> CalibrationTable:
    """The sigma0 table of a calibration file."""
    try:
        root = ElementTree.fromstring(text)
        found = {}
        for vector in root.iter("calibrationVector"):
            pixels = _numbers(vector.findtext("pixel"))
            values = _numbers(vector.findtext("sigmaNought"))
            if pixels.size == values.size > 0 and (values > 0).all():
                found[float(vector.findtext("line") or "")] = (pixels, values)
    except (ElementTree.ParseError, ValueError) as error:
        raise UnitsError(
            f"The calibration table cannot be read ({error})",
            fix=_TAKE_RTC,
            option="--collections sentinel-2-l2a,sentinel-1-rtc",
        ) from None
    if not found:
        raise UnitsError(
            "The calibration table contains no sigmaNought values",
            fix=_TAKE_RTC,
            option="--collections sentinel-2-l2a,sentinel-1-rtc",
        )
    lines = sorted(found)
    return CalibrationTable(np.array(lines), tuple(found[line] for line in lines))


_TAKE_RTC = (
    "take terrain-corrected (RTC) Sentinel-1: "
    'load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"])'
)


def _numbers(text: str | None) -> npt.NDArray[np.float64]:
    return np.array((text or "").split(), np.float64)


# A text file is read like a raster: on disk, over HTTP, in object storage

_BLOCK: Final = 1 << 16
_RAW_BAND: Final = (
    '<VRTDataset rasterXSize="{size}" rasterYSize="1"><VRTRasterBand dataType="Byte" band="1" '
    'subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="0">{path}</SourceFilename>'
    "<ImageOffset>{start}</ImageOffset><PixelOffset>1</PixelOffset>"
    "<LineOffset>{size}</LineOffset></VRTRasterBand></VRTDataset>"
)
_PREFIXES: Final = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "abfs": "/vsiadls/"}


def read_text(address: str) -> bytes:
    """A text file, read with the same paths and credentials as rasters."""
    scheme, separator, rest = address.partition("://")
    if scheme == "file":
        address = re.sub(r"^/(?=[A-Za-z]:)", "", rest)  # of Windows: file:///C:/...
    elif separator:
        address = _PREFIXES[scheme] + rest if scheme in _PREFIXES else f"/vsicurl/{address}"
    out, size = b"", _BLOCK
    with rasterio.Env(GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE="ALL"):
        while size:  # GDAL reads any file as a band of bytes, with zeros a little beyond its end
            band = _RAW_BAND.format(size=size, start=len(out), path=escape(address))
            try:
                with rasterio.open(band, driver="VRT", sharing=False) as source:
                    text = bytes(source.read(1).tobytes()).rstrip(b"\0")
            except RasterioIOError as error:
                if "too small" not in str(error):
                    raise RasterioIOError(without_secrets(error)) from None
                size //= 2
                continue
            out += text
            if len(text) < size:
                break
    return out

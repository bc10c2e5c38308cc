"""STAC items as lazy mosaics on one pixel grid. The only file that knows odc-stac."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xcloudfree.exceptions import GridError

if TYPE_CHECKING:
    import pystac
    import xarray as xr
    from odc.geo.geobox import GeoBox

HTTP = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}
"""How long a read over HTTP may take before it fails. The process environment, and a
``rasterio.Env`` that is open when :func:`xcloudfree.stac.load` is called, go before."""


PIXEL_SHARE = 0.01
"""Share of a pixel by which an area may stick out of its grid, so that rounding adds no row."""


@dataclass(frozen=True)
class Layer:
    """How one asset is read."""

    asset: str
    data_type: str
    nodata: float
    resampling: str


Layers = tuple[tuple[str, Layer], ...]


def _options(layers: Layers) -> dict[str, Any]:
    assets = {
        layer.asset: {"data_type": layer.data_type, "nodata": layer.nodata} for _, layer in layers
    }
    return {"*": {"assets": assets, "warnings": "ignore"}}


def given_grid(like: Any) -> GeoBox:
    """Grid of an object to be matched.

    Parameters
    ----------
    like : GeoBox, Dataset or DataArray
        What ``like=`` was given.

    Returns
    -------
    GeoBox

    Raises
    ------
    GridError
        The object has no georeference.
    """
    from odc.geo.geobox import GeoBox

    if isinstance(like, GeoBox):
        return like
    import odc.geo.xr  # noqa: F401  registers the .odc accessor

    grid = getattr(getattr(like, "odc", None), "geobox", None)
    if grid is None or grid.crs is None:
        raise GridError(
            "like= has no georeferenced grid. Give it one first: "
            'load(..., like=ds.rio.write_crs("EPSG:32632")).'
        )
    return grid


def native_grid(
    items: Sequence[pystac.Item],
    layers: Sequence[Layers],
    area: Any = None,
    *,
    resolution: Any = None,
    crs: Any = None,
) -> GeoBox:
    """Grid to load on: the commonest finest grid of the items, or the one asked for.

    Parameters
    ----------
    items : sequence of pystac.Item
        Items.
    layers : sequence of Layers
        What is read of each item.
    area : odc.geo.geom.Geometry, optional
        Area that the grid must hold. Default: all items.
    resolution, crs : optional
        Instead of the native ones.

    Returns
    -------
    GeoBox

    Raises
    ------
    GridError
        The items do not tell their grid.
    """
    from odc.geo import CRS, geom
    from odc.geo.crs import CRSError
    from odc.geo.geobox import GeoBox
    from odc.stac import parse_items

    if crs is not None:
        try:
            crs = CRS(crs)
        except (CRSError, TypeError, ValueError) as error:
            raise GridError(
                f'crs={crs!r} is unknown ({error}). Name one: load(..., crs="EPSG:32632", '
                "resolution=10)."
            ) from error
    boxes: list[GeoBox] = []
    for kind in dict.fromkeys(layers):
        members = [item for item, own in zip(items, layers, strict=True) if own == kind]
        names = [layer.asset for _, layer in kind]
        for parsed in parse_items(members, _options(kind)):
            boxes += parsed.geoboxes(names)[:1]
    if boxes:
        commonest = Counter((box.crs, box.resolution, box.anchor) for box in boxes).most_common(1)
        native = next(b for b in boxes if (b.crs, b.resolution, b.anchor) == commonest[0][0])
        if crs is None and resolution is None:
            if area is None:
                corners = [box.extent.to_crs(native.crs).boundingbox for box in boxes]
                area = geom.bbox_union(corners).polygon
            return _enclosing(native, area)
        if crs is None or crs == native.crs:
            crs, resolution = native.crs, resolution or native.resolution
    if crs is None or resolution is None:
        raise GridError(
            "The grid to load on is not known: the items do not declare theirs, or only crs= was "
            'given. Name both: load(..., crs="EPSG:32632", resolution=10).'
        )
    if area is None:
        area = geom.unary_union(box.extent.to_crs("EPSG:4326") for box in boxes)
    if area is None:
        raise GridError(
            "The area to load is not known: the items do not declare their grid. Name it: "
            "load(..., bbox=(9.0, 48.0, 9.2, 48.1))."
        )
    return GeoBox.from_geopolygon(_dense(area), resolution=resolution, crs=crs)


def _dense(area: Any) -> Any:
    """The same outline with more corners: straight lines of one projection bend in another."""
    box = area.boundingbox
    return area.segmented(max(box.span_x, box.span_y) / 64)


def _enclosing(native: GeoBox, area: Any) -> GeoBox:
    """Part (or extension) of a grid that holds an area, pixel on pixel."""
    from odc.geo.geobox import GeoBox

    left, low, right, high = native.project(_dense(area)).boundingbox.bbox
    x, y = math.floor(left + PIXEL_SHARE), math.floor(low + PIXEL_SHARE)
    shape = (math.ceil(high - PIXEL_SHARE) - y, math.ceil(right - PIXEL_SHARE) - x)
    return GeoBox(shape, native.translate_pix(x, y).affine, native.crs)


@dataclass(frozen=True)
class Reader:
    """Opens items as mosaics on one grid.

    Parameters
    ----------
    grid : GeoBox
        Grid to load on.
    chunks : mapping
        Chunk size along ``x`` and ``y``.
    sign : callable, optional
        Turns an address into one that may be read.
    """

    grid: GeoBox
    chunks: Mapping[str, int]
    sign: Callable[[str], str] | None = None

    def open(
        self, items: Sequence[pystac.Item], groups: Sequence[int], layers: Layers
    ) -> xr.Dataset:
        """Mosaics of groups of items, as stored, one per step of ``time``; reads no pixel.

        Parameters
        ----------
        items : sequence of pystac.Item
            Items whose assets have the same names and meaning.
        groups : sequence of int
            For every item the mosaic that it is part of; mosaics come out in ascending order.
            Where items overlap, the earlier one is on top.
        layers : Layers
            Variable name and how its asset is read.

        Returns
        -------
        xarray.Dataset
        """
        import rasterio
        from odc.stac import load

        from xcloudfree.stac.odc_driver import KnownNodataDriver

        theirs = rasterio.env.getenv() if rasterio.env.hasenv() else {}
        http = {k: v for k, v in HTTP.items() if k not in os.environ and k not in theirs}
        with rasterio.Env(**http):  # odc-stac hands the environment of this moment to every task
            out: xr.Dataset = load(
                items,
                bands=[layer.asset for _, layer in layers],
                geobox=self.grid,
                groupby=lambda item, parsed, position: groups[position],
                chunks={**self.chunks, "time": 1},
                resampling={layer.asset: layer.resampling for _, layer in layers},
                stac_cfg=_options(layers),
                patch_url=self.sign,
                driver=KnownNodataDriver(),
            )
        return out.rename({layer.asset: name for name, layer in layers if layer.asset != name})


def join(names: Iterable[str]) -> str:
    """Several names in one, each once.

    Parameters
    ----------
    names : iterable of str
        Names.

    Returns
    -------
    str

    Examples
    --------
    >>> join(["a", "b", "a"])
    'a, b'
    """
    return ", ".join(dict.fromkeys(names))

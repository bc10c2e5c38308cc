"""The pixel grid that a series is loaded on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xcloudfree.exceptions import GridError
from xcloudfree.stac.read.declared_grid import declared_grid
from xcloudfree.stac.read.mosaic import Layers

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

PIXEL_SHARE = 0.01
"""Share of a pixel by which an area may stick out of its grid, so that rounding adds no row."""


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
    import odc.geo.xr  # noqa: F401  registers the .odc accessor
    from odc.geo.geobox import GeoBox

    grid = like if isinstance(like, GeoBox) else getattr(getattr(like, "odc", None), "geobox", None)
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
    from odc.geo import CRS, geom, res_
    from odc.geo.crs import CRSError
    from odc.geo.geobox import GeoBox

    if crs is not None:
        try:
            crs = CRS(crs)
        except (CRSError, TypeError, ValueError) as error:
            raise GridError(
                f'crs={crs!r} is unknown ({error}). Name one: load(..., crs="EPSG:32632", '
                "resolution=10)."
            ) from error
    if resolution is not None:
        try:
            resolution = res_(resolution)
        except ValueError:
            raise GridError(
                f"resolution={resolution!r} is no pixel size, in units of the map projection: "
                'load(..., crs="EPSG:32632", resolution=10).'
            ) from None
    boxes: list[GeoBox] = []
    for item, own in zip(items, layers, strict=True):
        grids = [declared_grid(item, layer.asset) for _, layer in own]
        known = [grid for grid in grids if grid is not None]
        boxes += sorted(known, key=lambda grid: abs(grid.resolution.x))[:1]
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

"""Areas and footprints in degrees, also across the 180th meridian."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from odc.geo import CRS, geom
from odc.geo.geobox import GeoBox
from shapely import get_srid, make_valid  # type: ignore[import-untyped]

from xcloudfree.exceptions import DataError

if TYPE_CHECKING:
    import pystac

DEGREES: Final = "EPSG:4326"

STEPS: Final = 64
"""Pieces into which the longer side of a shape is divided before it is reprojected."""


def box_area(bbox: Any) -> Any:
    """A box in degrees as a geometry; west may be east of east, across the 180th meridian."""
    numbers: tuple[float, ...] = ()
    with suppress(TypeError, ValueError):
        numbers = tuple(float(v) for v in bbox)
    if len(numbers) == 4:
        west, south, east, north = numbers
        if -180 <= east < west <= 180:
            east += 360
        # a wider one could not be told from one across the 180th meridian
        if -180 <= west < east <= 360 and east - west <= 180 and -90 <= south < north <= 90:
            return unwrapped(geom.box(west, south, east, north, DEGREES))
    raise DataError(
        f"bbox={numbers or bbox!r} is not west, south, east, north in degrees, at most 180 wide",
        fix="call load(..., bbox=(9.0, 48.0, 9.2, 48.1))",
        option="--bbox 9.0,48.0,9.2,48.1",
    )


def shape_area(shape: Any) -> Any:
    """The area of GeoJSON, as text or mapping, or of an object that has one, in degrees."""
    try:
        if isinstance(shape, str):
            shape = json.loads(shape)
        crs = _crs_of(shape)
        out = geom.Geometry(getattr(shape, "__geo_interface__", shape), crs or DEGREES)
    except Exception as error:  # shapely, odc-geo, pyproj and json each raise their own
        raise DataError(
            f"intersects= is not a geometry ({type(error).__name__})",
            fix="give GeoJSON or an object of shapely or geopandas: load(..., "
            "intersects=shapely.box(9, 48, 9.2, 48.1))",
        ) from None
    out = valid(out)
    if not out.area:
        raise DataError(
            "intersects= has no extent, but must be an area",
            fix="widen it: load(..., intersects=shape.buffer(0.01))",
        )
    west, south, east, north = out.boundingbox
    if crs is None and not (west >= -180 and east <= 360 and south >= -90 and north <= 90):
        raise DataError(
            "intersects= is not in degrees, and declares no map projection",
            fix='declare it: load(..., intersects=odc.geo.geom.Geometry(shape, "EPSG:32632"))',
        )
    if crs is not None and not crs.geographic:
        out = dense(out)
    return unwrapped(out.to_crs(DEGREES))


def _crs_of(shape: Any) -> Any:
    """Map projection of a shape of geopandas, odc-geo or shapely, or of old GeoJSON; else None."""
    stated = getattr(shape, "crs", None)
    if isinstance(shape, Mapping):  # the member of GeoJSON of 2008, which GDAL still writes
        member = shape.get("crs") or {}
        stated = member.get("properties", {}).get("name") if isinstance(member, Mapping) else None
    elif stated is None and (code := get_srid(shape)) > 0:
        stated = int(code)
    return None if stated is None else CRS(stated)


def extent_of(grid: GeoBox) -> Any:
    """The area of a grid, in degrees."""
    return unwrapped(dense(grid.extent).to_crs(DEGREES))


def dense(shape: Any) -> Any:
    """The same outline with more corners: straight lines become curved in another projection."""
    longest = max(max(part.boundingbox.span_x, part.boundingbox.span_y) for part in _parts(shape))
    return shape.segmented(longest / STEPS)


def _parts(shape: Any) -> list[Any]:
    return list(shape.geoms) if hasattr(shape.geom, "geoms") else [shape]


def enclosing_box(shape: Any) -> tuple[float, float, float, float]:
    """Box around a shape; west is east of east if the shape lies on both sides of 180 degrees."""
    west, south, east, north = shape.boundingbox
    if east - west <= 180:
        return west, south, east, north
    boxes = [part.boundingbox for part in _parts(shape)]
    return (
        min((box.left for box in boxes if box.left >= 0), default=180.0),
        south,
        max((box.right for box in boxes if box.left < 0), default=-180.0),
        north,
    )


def halves(shape: Any) -> Sequence[Any]:
    """A shape, or its two parts if it lies on both sides of the 180th meridian."""
    if shape.boundingbox.span_x <= 180:
        return [shape]
    return [geom.unary_union(_cut(shape, west, west + 180)) for west in (0, -180)]


def _cut(shape: Any, west: float, east: float) -> list[Any]:
    """The polygons of a shape between two meridians."""
    inside = shape & geom.box(west, -90, east, 90, DEGREES)
    return [part for part in _parts(inside) if part.area > 0]


def footprint(item: pystac.Item) -> Any:
    """Footprint of an item as an odc.geo geometry in degrees; empty if it declares none."""
    stated = dict(item.geometry or {})
    if stated.get("type") == "MultiPolygon":  # some items have parts without any corner
        stated["coordinates"] = [part for part in stated["coordinates"] if part]
    if stated.get("coordinates"):
        return unwrapped(valid(geom.Geometry(stated, DEGREES)))
    if item.bbox:
        west, south, east, north = (*item.bbox[:2], *item.bbox[len(item.bbox) // 2 :][:2])
        return unwrapped(geom.box(west, south, east + 360 * (west > east), north, DEGREES))
    return geom.Geometry({"type": "Polygon", "coordinates": []}, DEGREES)


def unwrapped(shape: Any) -> Any:
    """A shape in degrees, split at the 180th meridian if its outline lies or jumps beyond it."""
    parts = _parts(shape)
    if not any(p.boundingbox.span_x > 180 or 180 < p.boundingbox.right <= 360 for p in parts):
        return shape
    out = []
    for part in parts:
        moved = part
        if part.boundingbox.span_x > 180:
            moved = part.transform(lambda x, y, *_: ([v + 360 * (v < 0) for v in x], y))
        out += _cut(moved, -180, 180)
        for beyond in _cut(moved, 180, 360):
            out.append(beyond.transform(lambda x, y, *_: ([v - 360 for v in x], y)))
    return geom.unary_union(out)


def valid(shape: Any) -> Any:
    """A shape, repaired if its outline crosses itself, as it does for some items."""
    return shape if shape.is_valid else geom.Geometry(make_valid(shape.geom), shape.crs)

"""Where an item says that it lies, also across the 180th meridian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pystac


def footprint(item: pystac.Item) -> Any:
    """Footprint of an item as an odc.geo geometry in degrees; empty if it states none.

    Parameters
    ----------
    item : pystac.Item
        A STAC item.

    Returns
    -------
    odc.geo.geom.Geometry
        Cut at the 180th meridian if the item crosses it: no scene is half a globe wide.
    """
    from odc.geo import geom

    stated = dict(item.geometry or {})
    if stated.get("type") == "MultiPolygon":  # some items have parts without any corner
        stated["coordinates"] = [part for part in stated["coordinates"] if part]
    if stated.get("coordinates"):
        return unwrapped(valid(geom.Geometry(stated, "EPSG:4326")))
    if item.bbox:
        west, south, east, north = (*item.bbox[:2], *item.bbox[len(item.bbox) // 2 :][:2])
        if west > east:
            return geom.unary_union(
                [
                    geom.box(west, south, 180, north, "EPSG:4326"),
                    geom.box(-180, south, east, north, "EPSG:4326"),
                ]
            )
        return unwrapped(geom.box(west, south, east, north, "EPSG:4326"))
    return geom.Geometry({"type": "Polygon", "coordinates": []}, "EPSG:4326")


def unwrapped(shape: Any) -> Any:
    """A footprint, cut in two at the 180th meridian if its outline jumps across it.

    Parameters
    ----------
    shape : odc.geo.geom.Geometry
        In degrees.

    Returns
    -------
    odc.geo.geom.Geometry

    Examples
    --------
    >>> from odc.geo import geom
    >>> round(unwrapped(geom.box(-179.5, 10, 179.5, 11, "EPSG:4326")).area, 6)
    1.0
    """
    from odc.geo import geom

    parts = list(shape.geoms) if shape.geom_type.startswith("Multi") else [shape]
    if not any(part.boundingbox.span_x > 180 for part in parts):
        return shape
    out = []
    for part in parts:
        if part.boundingbox.span_x <= 180:
            out.append(part)
            continue
        shifted = part.transform(lambda x, y, *_: ([v + 360 * (v < 0) for v in x], y))
        out.append(shifted & geom.box(0, -90, 180, 90, "EPSG:4326"))
        beyond = shifted & geom.box(180, -90, 360, 90, "EPSG:4326")
        out.append(beyond.transform(lambda x, y, *_: ([v - 360 for v in x], y)))
    return geom.unary_union(out)


def sides(shape: Any) -> tuple[float, float, float, float]:
    """Western and eastern edge, and latitudes, of a shape that lies on both sides of 180 degrees.

    Parameters
    ----------
    shape : odc.geo.geom.Geometry
        In degrees.

    Returns
    -------
    tuple of float
        West (positive), south, east (negative), north.
    """
    _, south, _, north = shape.boundingbox
    longitudes: list[float] = []

    def note(x: Any, y: Any, *_: Any) -> tuple[Any, Any]:
        longitudes.extend(x)
        return x, y

    shape.transform(note)  # whatever it is made of
    west = min((x for x in longitudes if x >= 0), default=180.0)
    east = max((x for x in longitudes if x < 0), default=-180.0)
    return west, south, east, north


def valid(shape: Any) -> Any:
    """A shape, mended where its outline crosses itself, as that of some items does.

    Parameters
    ----------
    shape : odc.geo.geom.Geometry
        Any.

    Returns
    -------
    odc.geo.geom.Geometry
    """
    from odc.geo import geom
    from shapely import make_valid  # type: ignore[import-untyped]

    return shape if shape.is_valid else geom.Geometry(make_valid(shape.geom), shape.crs)

"""Area, time and conditions of a search, and whether an item meets them."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from xcloudfree.exceptions import DataError

if TYPE_CHECKING:
    import pystac


@dataclass(frozen=True)
class Query:
    """Area and time of a search; None means everywhere, always."""

    bbox: tuple[float, float, float, float] | None = None
    intersects: Any = None
    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of(cls, bbox: Sequence[float] | None, intersects: Any, interval: Any) -> Query:
        """Check and normalise the user's arguments."""
        if bbox is not None and intersects is not None:
            raise DataError(
                "bbox= and intersects= exclude each other",
                fix="leave one out: load(..., intersects=None)",
            )
        box = None
        if bbox is not None:
            box = _numbers(bbox)
            if len(box) == 4 and -180 <= box[2] < box[0] <= 180:
                raise _across_meridian(box[0], box[1], box[2], box[3])
            if len(box) != 4 or not (
                -180 <= box[0] < box[2] <= 180 and -90 <= box[1] < box[3] <= 90
            ):
                raise DataError(
                    f"bbox={box or bbox!r} is not west, south, east, north in degrees",
                    fix="call load(..., bbox=(9.0, 48.0, 9.2, 48.1))",
                )
        if intersects is not None:
            from odc.geo import geom

            intersects = _geojson(intersects)
            west, south, east, north = geom.Geometry(intersects, "EPSG:4326").boundingbox
            if not (west >= -180 and east <= 180 and south >= -90 and north <= 90):
                raise DataError(
                    "intersects= is not in degrees",
                    fix='reproject it first: load(..., intersects=frame.to_crs("EPSG:4326"))',
                )
            if east - west > 180:
                raise _across_meridian(*sides(geom.Geometry(intersects, "EPSG:4326")))
        start, end = _interval(interval)
        if start is not None and end is not None and end < start:
            raise DataError(
                f"datetime={interval!r} ends before it starts",
                fix='call load(..., datetime="2025-05/2025-07")',
            )
        return cls(box, intersects, start, end)  # type: ignore[arg-type]

    @property
    def interval(self) -> str | None:
        """The interval in STAC notation."""
        if self.start is None and self.end is None:
            return None
        ends = (
            ".." if e is None else e.strftime("%Y-%m-%dT%H:%M:%SZ") for e in (self.start, self.end)
        )
        return "/".join(ends)

    def within(self, extent: Any) -> Query:
        """The same time, in the box around an extent."""
        box = tuple(extent.boundingbox)
        if box[2] - box[0] > 180:
            raise _across_meridian(*sides(extent))
        return replace(self, bbox=box, intersects=None)

    def around(self, times: Sequence[datetime], gap: timedelta) -> Query:
        """The same area, from the first to the last of some times and a gap on either side."""
        return replace(self, start=min(times) - gap, end=max(times) + gap)

    def holds(self, item: pystac.Item) -> bool:
        """Whether an item lies in the query, checked independently of the server."""
        time = item_time(item)
        late = self.end is not None and time >= self.end + timedelta(seconds=1)
        if late or (self.start is not None and time < self.start):
            return False
        area = self.area()
        return area is None or area.intersects(footprint(item))

    def area(self) -> Any:
        """Area as an odc.geo geometry in degrees, or None."""
        from odc.geo import geom

        if self.bbox is not None:
            return geom.box(*self.bbox, "EPSG:4326")
        return None if self.intersects is None else geom.Geometry(self.intersects, "EPSG:4326")

    def __str__(self) -> str:
        area = self.bbox if self.intersects is None else "the given geometry"
        return f"bbox={area}, datetime={self.interval!r}"


def _across_meridian(west: float, south: float, east: float, north: float) -> DataError:
    return DataError(
        "The area crosses the 180th meridian, where the map grids of both sides do not join",
        fix=f"load each side on its own: load(..., bbox={(west, south, 180.0, north)}) and "
        f"load(..., bbox={(-180.0, south, east, north)})",
    )


def _numbers(bbox: Any) -> tuple[float, ...]:
    """The numbers of a box, or none if they are not numbers."""
    try:
        return tuple(float(v) for v in bbox)
    except (TypeError, ValueError):
        return ()


def _geojson(shape: Any) -> Any:
    """The geometry of GeoJSON, as text or mapping, or of an object that has one."""
    from odc.geo import geom

    try:
        if isinstance(shape, str):
            shape = json.loads(shape)
        out = geom.Geometry(getattr(shape, "__geo_interface__", shape), "EPSG:4326")
    except Exception as error:  # shapely, odc-geo and json each raise their own
        raise DataError(
            f"intersects= is not a geometry ({type(error).__name__})",
            fix="give GeoJSON or an object of shapely or geopandas, in degrees: load(..., "
            "intersects=shapely.box(9, 48, 9.2, 48.1))",
        ) from None
    out = valid(out)
    if out.is_empty or not (out.boundingbox.span_x and out.boundingbox.span_y):
        raise DataError(
            "intersects= has no extent, but must be an area",
            fix="widen it: load(..., intersects=shape.buffer(0.01))",
        )
    return out.json


def _text(time: Any) -> Any:
    """A date of Python or numpy as text, which pystac-client does not accept; others unchanged."""
    if isinstance(time, date) and not isinstance(time, datetime):
        return time.isoformat()
    return str(time)[:19] if isinstance(time, np.datetime64) else time


def _interval(interval: Any) -> tuple[datetime | None, datetime | None]:
    if interval is None:
        return None, None
    from pystac_client import ItemSearch

    if isinstance(interval, slice):  # as in xarray
        interval = (interval.start, interval.stop)
    several = isinstance(interval, (list, tuple))
    interval = [_text(time) for time in interval] if several else _text(interval)
    try:
        text = ItemSearch("http://localhost", method="GET", datetime=interval).get_parameters()
        ends = [
            None if end in ("..", "") else datetime.fromisoformat(end.replace("Z", "+00:00"))
            for end in text["datetime"].split("/")
        ]
    except Exception as error:  # pystac-client raises nothing narrower
        raise DataError(
            f"datetime={interval!r} is not an interval ({error})",
            fix='write it as load(..., datetime="2025-05/2025-07")',
        ) from error
    return ends[0], ends[-1]


def item_time(item: pystac.Item) -> datetime:
    """Acquisition time of an item, in UTC."""
    time = item.datetime or item.common_metadata.start_datetime
    if time is None:
        raise DataError(
            f"Item {item.id!r} has no time", fix="leave it out: load([...items with a time])"
        )
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


# Conditions on properties: sent to the server, and applied again on this side

Conditions = Mapping[str, Mapping[str, Any]]


def _on_text(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, wanted: test(str(value), str(wanted))


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, wanted: value in wanted,
    "startsWith": _on_text(str.startswith),
    "endsWith": _on_text(str.endswith),
    "contains": _on_text(str.__contains__),
}
_CQL2 = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
"""Operators that every server understands, in CQL2 notation."""


def checked_conditions(name: str, query: Any) -> dict[str, dict[str, Any]]:
    """The user's conditions, checked."""
    example = f'load(..., {name}={{"eo:cloud_cover": {{"lt": 20}}}})'
    if query is None:
        return {}
    if not isinstance(query, Mapping):
        raise DataError(
            f"{name}={query!r} is not a mapping of properties to conditions", fix=f"call {example}"
        )
    out = {}
    for key, condition in query.items():
        if not isinstance(condition, Mapping):
            condition = {"eq": condition}
        unknown = [name for name in condition if name not in _TESTS]
        if unknown or not condition:
            raise DataError(
                f"{name}: {key!r} has the operators {list(condition)}",
                fix=f"use one of {', '.join(_TESTS)}: {example}",
            )
        out[str(key)] = dict(condition)
    return out


def portable(conditions: Conditions) -> dict[str, dict[str, Any]]:
    """The conditions that every server understands; others are applied only on this side."""
    kept = {
        key: {name: value for name, value in condition.items() if name in _CQL2}
        for key, condition in conditions.items()
    }
    return {key: condition for key, condition in kept.items() if condition}


def cql2(conditions: Conditions) -> dict[str, Any]:
    """All conditions together, in CQL2 JSON."""
    terms: list[dict[str, Any]] = [
        {"op": _CQL2[name], "args": [{"property": key}, value]}
        for key, condition in conditions.items()
        for name, value in condition.items()
    ]
    return terms[0] if len(terms) == 1 else {"op": "and", "args": terms}


def holds(properties: Mapping[str, Any], conditions: Conditions) -> bool:
    """Whether an item meets all conditions; an item that lacks a property does not."""
    return all(
        key in properties and properties[key] is not None and _meets(properties[key], condition)
        for key, condition in conditions.items()
    )


def _meets(value: Any, condition: Mapping[str, Any]) -> bool:
    try:
        return all(_TESTS[name](value, wanted) for name, wanted in condition.items())
    except TypeError:  # a number compared with a word
        return False


# Footprints, also across the 180th meridian


def footprint(item: pystac.Item) -> Any:
    """Footprint of an item as an odc.geo geometry in degrees; empty if it declares none."""
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
    """A footprint, split at the 180th meridian if its outline jumps across it."""
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
    """West (positive), south, east (negative) and north of a shape on both sides of 180 degrees."""
    _, south, _, north = shape.boundingbox
    longitudes: list[float] = []

    def note(x: Any, y: Any, *_: Any) -> tuple[Any, Any]:
        longitudes.extend(x)
        return x, y

    shape.transform(note)  # works for any geometry
    west = min((x for x in longitudes if x >= 0), default=180.0)
    east = max((x for x in longitudes if x < 0), default=-180.0)
    return west, south, east, north


def valid(shape: Any) -> Any:
    """A shape, repaired if its outline crosses itself, as it does for some items."""
    from odc.geo import geom
    from shapely import make_valid  # type: ignore[import-untyped]

    return shape if shape.is_valid else geom.Geometry(make_valid(shape.geom), shape.crs)

"""Area, time and conditions of a search, and whether an item meets them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from xcloudfree.exceptions import DataError
from xcloudfree.stac.search.area import box_area, enclosing_box, footprint, halves, shape_area

if TYPE_CHECKING:
    import pystac


@dataclass(frozen=True)
class Query:
    """Area and time of a search; None means everywhere, always."""

    bbox: tuple[float, ...] | None = None  # of a requested box
    area: Any = None  # odc.geo geometry in degrees, split at the 180th meridian
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
        area = None
        if bbox is not None:
            area = box_area(bbox)
            bbox = enclosing_box(area)
        elif intersects is not None:
            area = shape_area(intersects)
        start, end = _interval(interval)
        if start is not None and end is not None and end < start:
            raise DataError(
                f"datetime={interval!r} ends before it starts",
                fix='call load(..., datetime="2025-05/2025-07")',
                option="--datetime 2025-05/2025-07",
            )
        return cls(None if bbox is None else tuple(bbox), area, start, end)

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
        """The same time, in the box around an area."""
        return replace(self, bbox=enclosing_box(extent), area=box_area(enclosing_box(extent)))

    def searches(self) -> list[dict[str, Any]]:
        """Areas to send to a server: servers differ in how they read one beyond 180 degrees."""
        if self.area is None:
            return [{}]
        if self.bbox is not None:
            return [{"bbox": tuple(half.boundingbox)} for half in halves(self.area)]
        return [{"intersects": half.json} for half in halves(self.area)]

    def around(self, times: Sequence[datetime], gap: timedelta) -> Query:
        """The same area, from the first to the last of some times and a gap on either side."""
        return replace(self, start=min(times) - gap, end=max(times) + gap)

    def holds(self, item: pystac.Item) -> bool:
        """Whether an item lies in the query, checked independently of the server."""
        time = item_time(item)
        late = self.end is not None and time >= self.end + timedelta(seconds=1)
        if late or (self.start is not None and time < self.start):
            return False
        return self.area is None or self.area.intersects(footprint(item))

    def __str__(self) -> str:
        area = self.bbox if self.bbox or self.area is None else "the given geometry"
        return f"bbox={area}, datetime={self.interval!r}"


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
            option="--datetime 2025-05/2025-07",
        ) from error
    return ends[0], ends[-1]


def item_time(item: pystac.Item) -> datetime:
    """Acquisition time of an item, in UTC."""
    time = item.datetime or item.common_metadata.start_datetime
    if time is None:
        raise DataError(
            f"Item {item.id!r} has no time",
            fix="leave it out: load([...items with a time])",
            option="name a collection whose items have a time with --collections",
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

"""Which Sentinel-1 pass goes with which Sentinel-2 scene."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xcloudfree.stac.rules.items import plain

TIE = np.timedelta64(6, "h")
"""Passes whose distances in time differ by less count as equally near: within half a day the
ground changes less than the shading of slopes changes from one orbit to another."""

FULL = 0.9
"""A pass that covers less than this share of what the best pass covers is no candidate."""

_PRODUCT = re.compile(r"^S1[A-D]_.{40,}?_(\d{6})_[0-9A-F]{6}", re.IGNORECASE)
_TILE = re.compile(r"^s1_rtc_([0-9A-F]{6})_", re.IGNORECASE)
_FIRST_ORBIT = {"a": 73, "b": 27}
_TRACKS = 175


@dataclass(frozen=True)
class Pass:
    """One Sentinel-1 pass over the area."""

    key: str
    time: np.datetime64
    relative_orbit: int | None
    coverage: float = 1.0


def _platform(item: Mapping[str, Any]) -> str:
    return str(item.get("properties", {}).get("platform") or "sentinel-1").lower()


def absolute_orbit(item: Any) -> int | None:
    """Absolute orbit of a Sentinel-1 item, as stated or in the product's name, or None.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-1 item.

    Returns
    -------
    int or None

    Examples
    --------
    >>> name = "S1A_IW_GRDH_1SDV_20250311T044231_20250311T044249_058252_073302_rtc"
    >>> absolute_orbit({"id": name, "properties": {}})
    58252
    """
    item = plain(item)
    stated = item.get("properties", {}).get("sat:absolute_orbit")
    if stated is not None:
        return int(stated)
    match = _PRODUCT.match(str(item.get("id")))
    return None if match is None else int(match.group(1))


def relative_orbit(item: Any) -> int | None:
    """Relative orbit (track) of a Sentinel-1 item, stated or from the absolute orbit, or None.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-1 item.

    Returns
    -------
    int or None

    Examples
    --------
    >>> relative_orbit({"id": "", "properties": {"platform": "sentinel-1a",
    ...                                          "sat:absolute_orbit": 58252}})
    80
    """
    item = plain(item)
    stated = item.get("properties", {}).get("sat:relative_orbit")
    if stated is not None:
        return int(stated)
    orbit, first = absolute_orbit(item), _FIRST_ORBIT.get(_platform(item)[-1:])
    return None if orbit is None or first is None else (orbit - first) % _TRACKS + 1


def pass_key(item: Any) -> str:
    """Name of the satellite pass that an item is a slice of.

    Slices of one pass may be mosaicked; passes of one day may not, since an ascending and a
    descending one see every slope from opposite sides. Near the poles both are in one orbit, so the
    direction is part of the name.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-1 item.

    Returns
    -------
    str

    Examples
    --------
    >>> pass_key({"id": "", "properties": {"platform": "SENTINEL-1A", "sat:absolute_orbit": 58252,
    ...                                    "sat:orbit_state": "descending"}})
    'sentinel-1a descending orbit 58252'
    """
    item = plain(item)
    properties = item.get("properties", {})
    words = [_platform(item), str(properties.get("sat:orbit_state") or "").lower()]
    who = " ".join(filter(None, words))
    orbit = absolute_orbit(item)
    if orbit is not None:
        return f"{who} orbit {orbit}"
    tile = _TILE.match(str(item.get("id")))
    take = properties.get("s1:datatake_id") or (tile and tile.group(1))
    if take is not None:
        return f"{who} datatake {take}"
    if properties.get("sat:relative_orbit") is not None:
        day = str(properties.get("datetime") or properties.get("start_datetime"))[:10]
        return f"{who} track {properties['sat:relative_orbit']} on {day}"
    return str(item.get("id"))


def nearest_passes(
    times: Sequence[np.datetime64], passes: Sequence[Pass], max_gap: np.timedelta64
) -> list[int | None]:
    """Nearest pass of every scene.

    Of the passes within `max_gap` those that cover clearly less of the area than the best one are
    left out (:data:`FULL`), and the nearest is taken. Where others are about as near
    (:data:`TIE`), the one on the orbit that can serve most scenes of the series goes first, so that
    slopes keep their shading through the series.

    Parameters
    ----------
    times : sequence of numpy.datetime64
        Times of the Sentinel-2 scenes.
    passes : sequence of Pass
        The Sentinel-1 passes.
    max_gap : numpy.timedelta64
        Largest allowed distance in time, in either direction.

    Returns
    -------
    list of (int or None)
        For every scene the position of its pass in ``passes``; None where none is near enough.

    Examples
    --------
    >>> day = np.datetime64("2025-06-10")
    >>> passes = [Pass("a", day - np.timedelta64(2, "D"), 37), Pass("b", day, 110)]
    >>> nearest_passes([day + np.timedelta64(9, "h")], passes, np.timedelta64(3, "D"))
    [1]
    """
    gaps = [[abs(one.time - time) for one in passes] for time in times]
    tied = [_about_as_near(own, passes, max_gap) for own in gaps]
    served: dict[Any, int] = {}
    distance: dict[Any, np.timedelta64] = {}
    for own, near in zip(gaps, tied, strict=True):
        best: dict[Any, np.timedelta64] = {}
        for n in near:
            orbit = _orbit(passes[n])
            best[orbit] = min(best.get(orbit, own[n]), own[n])
        for orbit, gap in best.items():
            served[orbit] = served.get(orbit, 0) + 1
            distance[orbit] = distance.get(orbit, np.timedelta64(0)) + gap

    def rank(own: list[np.timedelta64], n: int) -> Any:
        orbit = _orbit(passes[n])
        return (-served[orbit], distance[orbit], str(orbit), own[n], passes[n].key)

    return [
        min(near, key=lambda n, own=own: rank(own, n)) if near else None  # type: ignore[misc]
        for own, near in zip(gaps, tied, strict=True)
    ]


def _about_as_near(
    gaps: Sequence[np.timedelta64], passes: Sequence[Pass], max_gap: np.timedelta64
) -> list[int]:
    near = [n for n, gap in enumerate(gaps) if gap <= max_gap]
    best = max((passes[n].coverage for n in near), default=0.0)
    near = [n for n in near if passes[n].coverage >= FULL * best]
    least = min((gaps[n] for n in near), default=max_gap)
    return [n for n in near if gaps[n] - least < TIE]


def _orbit(one: Pass) -> Any:
    """Orbit whose passes look alike; a pass of unknown orbit looks like no other."""
    return one.key if one.relative_orbit is None else one.relative_orbit

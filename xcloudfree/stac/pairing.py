"""Which Sentinel-1 pass goes with which Sentinel-2 scene."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xcloudfree.stac.assets import plain

TIE = np.timedelta64(1, "h")
"""Passes whose distances in time differ by less count as equally near."""

FULL = 0.9
"""A pass that covers less than this share of what the best pass covers is no candidate."""


@dataclass(frozen=True)
class Pass:
    """One Sentinel-1 pass over the area."""

    key: str
    time: np.datetime64
    relative_orbit: int | None
    coverage: float = 1.0


def pass_key(item: Any) -> str:
    """Name of the satellite pass that an item is a slice of.

    Slices of one pass may be mosaicked; passes of one day may not, since an ascending and a
    descending one see every slope from opposite sides.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-1 item.

    Returns
    -------
    str

    Examples
    --------
    >>> pass_key({"id": "", "properties": {"platform": "SENTINEL-1A", "sat:absolute_orbit": 58252}})
    'sentinel-1a orbit 58252'
    """
    item = plain(item)
    properties = item.get("properties", {})
    platform = str(properties.get("platform") or "sentinel-1").lower()
    if properties.get("sat:absolute_orbit") is not None:
        return f"{platform} orbit {properties['sat:absolute_orbit']}"
    if properties.get("s1:datatake_id") is not None:
        return f"{platform} datatake {properties['s1:datatake_id']}"
    if properties.get("sat:relative_orbit") is not None:
        day = str(properties.get("datetime") or properties.get("start_datetime"))[:10]
        return f"{platform} track {properties['sat:relative_orbit']} on {day}"
    return str(item.get("id"))


def nearest_passes(
    times: Sequence[np.datetime64], passes: Sequence[Pass], max_gap: np.timedelta64
) -> list[int | None]:
    """Nearest pass of every scene.

    Where two passes are equally near, the one on the relative orbit that most of the other scenes
    were given is taken, so that slopes keep their shading through the series.

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
    tied: list[list[int]] = []
    for time in times:
        gaps = {i: abs(one.time - time) for i, one in enumerate(passes)}
        near = [i for i, gap in gaps.items() if gap <= max_gap]
        best = max((passes[i].coverage for i in near), default=0.0)
        near = [i for i in near if passes[i].coverage >= FULL * best]
        least = min((gaps[i] for i in near), default=max_gap)
        tied.append(sorted((i for i in near if gaps[i] - least < TIE), key=lambda i: gaps[i]))
    series = Counter(passes[near[0]].relative_orbit for near in tied if len(near) == 1)
    return [
        min(near, key=lambda i: -series[passes[i].relative_orbit]) if near else None
        for near in tied
    ]

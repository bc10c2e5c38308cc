"""Sentinel-2 items as a calibrated series of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudfree.bands import S2_BANDS, is_scene_classification, optical_band
from xcloudfree.exceptions import DataError, MissingBandError, UnitsError
from xcloudfree.stac.assets import optical_assets
from xcloudfree.stac.harmonise import OpticalRule, optical_rule, reflectance
from xcloudfree.stac.mosaic import Layer, Layers, Reader, join
from xcloudfree.stac.query import item_time

if TYPE_CHECKING:
    import pystac


def requested_bands(bands: Sequence[str] | None) -> tuple[list[str] | None, bool | None]:
    """Canonical bands that the user asked for, and whether the scene classification is too.

    Parameters
    ----------
    bands : sequence of str, optional
        As the user wrote them.

    Returns
    -------
    tuple of (list of str or None, bool or None)
        None: whatever there is.

    Raises
    ------
    MissingBandError
        A name that is no Sentinel-2 band.

    Examples
    --------
    >>> requested_bands(["red", "B8A", "SCL"])
    (['B04', 'B8A'], True)
    """
    if bands is None:
        return None, None
    bands = [bands] if isinstance(bands, str) else list(bands)
    named = {band: optical_band(band) for band in bands if not is_scene_classification(band)}
    unknown = [band for band, name in named.items() if name is None]
    if unknown or not named:
        raise MissingBandError(
            f"{unknown or bands} names no Sentinel-2 band. Take some of {', '.join(S2_BANDS)}: "
            'load(..., bands=["B02", "B03", "B04"]).'
        )
    return [b for b in S2_BANDS if b in named.values()], len(named) < len(bands)


def optical_rules(items: Sequence[pystac.Item], bands: Sequence[str] | None) -> list[OpticalRule]:
    """Rule of every item, for one set of bands that all have and one level.

    Parameters
    ----------
    items : sequence of pystac.Item
        Sentinel-2 items.
    bands : sequence of str, optional
        Canonical bands. Default: those that every item has.

    Returns
    -------
    list of OpticalRule

    Raises
    ------
    MissingBandError
        An item lacks a band.
    UnitsError
        Items of both levels.
    """
    offered = {item.id: optical_assets(item) for item in items}
    common = [b for b in S2_BANDS if all(b in keys for keys in offered.values())]
    for id_, keys in offered.items():
        missing = [b for b in bands or () if b not in keys]
        if missing:
            raise MissingBandError(
                f"Item {id_!r} has no {', '.join(missing)}. All items have {', '.join(common)}: "
                f"load(..., bands={common})."
            )
    if not common:
        raise MissingBandError(
            "The Sentinel-2 items have no band in common. Search one collection: "
            'load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]).'
        )
    rules = [optical_rule(item, common if bands is None else bands) for item in items]
    levels: dict[str, set[str]] = {}
    for item, rule in zip(items, rules, strict=True):
        levels.setdefault(rule.level, set()).add(str(item.collection_id))
    if len(levels) > 1:
        found = "; ".join(f"{lev}: {', '.join(sorted(ids))}" for lev, ids in levels.items())
        raise UnitsError(
            f"The search returned top- and bottom-of-atmosphere scenes ({found}), which do not "
            "mix. Name the collections of one level: "
            'load(..., collections=["sentinel-2-l1c", "sentinel-1-rtc"]).'
        )
    return rules


def optical_layers(rules: Sequence[OpticalRule], *, scl: bool | None) -> list[Layers]:
    """How the assets of every item are read.

    Parameters
    ----------
    rules : sequence of OpticalRule
        Rule of each item.
    scl : bool or None
        Whether the scene classification is read; None: if every item has one.

    Returns
    -------
    list of Layers

    Raises
    ------
    MissingBandError
        A scene classification is wanted, and an item has none.
    """
    complete = all(rule.classification is not None for rule in rules)
    if scl and not complete:
        raise MissingBandError(
            "Not every item has a scene classification (SCL); only Level-2A has one: "
            'load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]).'
        )
    out = []
    for rule in rules:
        layers = [
            (band, Layer(key, rule.data_type, rule.nodata, "bilinear")) for band, key in rule.assets
        ]
        if complete and scl is not False and rule.classification is not None:
            layers.append(("SCL", Layer(rule.classification, "uint8", 0.0, "nearest")))
        out.append(tuple(layers))
    return out


def group_scenes(items: Sequence[pystac.Item], by: str, longitude: float) -> list[int]:
    """Number of the scene that each item is part of, scenes counted in order of time.

    Parameters
    ----------
    items : sequence of pystac.Item
        Items, sorted by time.
    by : {"solar_day", "time", "id"}
        What the items of one scene share.
    longitude : float
        Longitude of the area in degrees, for the solar day.

    Returns
    -------
    list of int

    Raises
    ------
    DataError
        Another `by`.
    """
    keys: list[Any]
    if by == "solar_day":
        keys = [(item_time(i) + timedelta(hours=longitude / 15)).date() for i in items]
    elif by == "time":
        keys = [item_time(i) for i in items]
    elif by == "id":
        keys = [i.id for i in items]
    else:
        raise DataError(f'groupby={by!r} is unknown: load(..., groupby="solar_day").')
    order = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    return [order[key] for key in keys]


def load_optical(
    items: Sequence[pystac.Item],
    rules: Sequence[OpticalRule],
    layers: Sequence[Layers],
    reader: Reader,
    groupby: str,
) -> xr.Dataset:
    """Series of scenes as reflectance; items of unequal rule are calibrated before they are merged.

    Parameters
    ----------
    items : sequence of pystac.Item
        Sentinel-2 items, sorted by time.
    rules : sequence of OpticalRule
        Rule of each.
    layers : sequence of Layers
        How each is read.
    reader : Reader
        Opens them on the grid.
    groupby : str
        See :func:`group_scenes`.

    Returns
    -------
    xarray.Dataset
    """
    longitude = reader.grid.geographic_extent.centroid.coords[0][0]
    scene_of = group_scenes(items, groupby, longitude)
    kinds: dict[Any, list[int]] = {}
    for n, (item, rule, kind) in enumerate(zip(items, rules, layers, strict=True)):
        key = (item.collection_id, kind, rule.scale, rule.offset, rule.nodata)
        kinds.setdefault(key, []).append(n)

    pieces: dict[int, list[xr.Dataset]] = {}
    for members in kinds.values():
        rule = rules[members[0]]
        opened = reader.open(
            [items[n] for n in members], [scene_of[n] for n in members], layers[members[0]]
        )
        part = _calibrated(opened, rule)
        for step, scene in enumerate(sorted({scene_of[n] for n in members})):
            pieces.setdefault(scene, []).append(part.isel(time=[step]))
    if len(kinds) == 1:
        pieces = {0: [part]}
    out = xr.concat(
        [_fused(pieces[scene]) for scene in sorted(pieces)],
        dim="time",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    out = out.assign_coords(_coordinates(items, rules, scene_of))
    for name, variable in out.data_vars.items():
        if name == "SCL":
            variable.attrs = {"long_name": "scene classification", "nodata": 0}
        else:
            variable.attrs = {"units": "1", "processing_level": rules[0].level}
    out.attrs = {}
    return out


def _calibrated(opened: xr.Dataset, rule: OpticalRule) -> xr.Dataset:
    numbers = opened.drop_vars("SCL", errors="ignore")
    out: xr.Dataset = xr.apply_ufunc(
        reflectance,
        numbers,
        kwargs={"scale": rule.scale, "offset": rule.offset, "nodata": rule.nodata},
        dask="parallelized",
        output_dtypes=[np.float32],
    )
    return out.assign(SCL=opened["SCL"]) if "SCL" in opened else out


def _fused(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The first part, and the others in turn where nothing is there yet."""
    first, *others = parts
    for other in others:
        other = other.drop_vars("time")
        merged = {}
        for name, variable in first.data_vars.items():
            if name in other:
                empty = variable == 0 if name == "SCL" else variable.isnull()
                merged[name] = variable.where(~empty, other[name].isel(time=0))
        first = first.assign(merged)
    return first


def _coordinates(
    items: Sequence[pystac.Item], rules: Sequence[OpticalRule], scene_of: Sequence[int]
) -> dict[str, Any]:
    members: dict[int, list[int]] = {}
    for n, scene in enumerate(scene_of):
        members.setdefault(scene, []).append(n)
    groups = [members[scene] for scene in sorted(members)]
    platform = [str(i.properties.get("platform") or "unknown").lower() for i in items]
    offsets = [{rules[n].offset for n in group} for group in groups]
    times = [item_time(items[group[0]]).astimezone(UTC).replace(tzinfo=None) for group in groups]
    return {
        "time": ("time", np.array(times, "datetime64[ns]")),
        "item_id": ("time", np.array([join(items[n].id for n in g) for g in groups])),
        "offset": (
            "time",
            np.array([o.pop() if len(o) == 1 else np.nan for o in offsets]),
            {"long_name": "reflectance offset that was applied; NaN where items differ"},
        ),
        "offset_reason": (
            "time",
            np.array([join(rules[n].offset_reason for n in g) for g in groups]),
        ),
        "level": ("time", np.array([rules[g[0]].level for g in groups])),
        "platform": ("time", np.array([join(platform[n] for n in g) for g in groups])),
    }

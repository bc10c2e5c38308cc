"""Which bands of which Sentinel-2 items to read, how, and as part of which scene."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from odc.geo import geom
from odc.geo.geobox import GeoBox

from xcloudfree.core.bands import S2_BANDS, is_scene_classification, optical_band
from xcloudfree.exceptions import CatalogWarning, DataError, MissingBandError, UnitsError
from xcloudfree.stac.read.grids import item_projection
from xcloudfree.stac.read.mosaic import Layer, Layers, Reader, codes_of, join, positions_of
from xcloudfree.stac.rules.assets import asset_metres, optical_assets
from xcloudfree.stac.rules.harmonise import (
    AGAINST,
    OpticalRule,
    optical_rule,
    processing_baseline,
    processing_level,
    reflectance,
)
from xcloudfree.stac.search.query import item_time

if TYPE_CHECKING:
    import pystac


COARSER = 1.5
"""Pixels are averaged onto a grid that is coarser than theirs by more than this factor."""

METRES_PER_DEGREE = 111_320.0


def requested_bands(bands: Sequence[str] | None) -> tuple[list[str] | None, str | None]:
    """Canonical names of the requested bands, and which classification."""
    if bands is None:
        return None, None
    bands = [bands] if isinstance(bands, str) else list(bands)
    classes = {band: "SCL" for band in bands if is_scene_classification(band)}
    classes |= {band: "fmask" for band in bands if str(band).lower() in ("fmask", "oa_fmask")}
    named = {band: optical_band(band) for band in bands if band not in classes}
    unknown = [band for band, name in named.items() if name is None]
    if unknown or not named:
        raise MissingBandError(
            f"{unknown or bands} contains no Sentinel-2 band",
            fix=f'take some of {", ".join(S2_BANDS)}: load(..., bands=["B02", "B03", "B04"])',
            option="--bands B02,B03,B04",
        )
    return [b for b in S2_BANDS if b in named.values()], next(iter(classes.values()), "")


def optical_rules(
    items: Sequence[pystac.Item],
    bands: Sequence[str] | None,
    offsets: Mapping[str, float] | float | None = None,
) -> list[OpticalRule]:
    """Rule of every item, for one set of bands that all have, and one level."""
    unknown = set(offsets) - {item.id for item in items} if isinstance(offsets, Mapping) else ()
    if unknown:
        warnings.warn(
            f"offsets= names {', '.join(sorted(map(str, unknown))[:5])}, and the search found no "
            f"such item. Name those of item_id: load(..., offsets={{{items[0].id!r}: -0.1}}).",
            CatalogWarning,
            stacklevel=3,
        )
    for item in items:
        processing_level(item)  # a composite raises an error before its bands are checked
    offered = {item.id: optical_assets(item) for item in items}
    common = [b for b in S2_BANDS if all(b in keys for keys in offered.values())]
    for id_, keys in offered.items():
        missing = [b for b in bands or () if b not in keys]
        if missing:
            raise MissingBandError(
                f"Item {id_!r} has no {', '.join(missing)}",
                fix=f"choose among the bands of all items: load(..., bands={common})",
                option=f"--bands {','.join(common)}",
            )
    if not common:
        raise MissingBandError(
            "The Sentinel-2 items have no band in common",
            fix="search one collection: "
            'load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"])',
            option="--collections sentinel-2-l2a,sentinel-1-rtc",
        )
    rules = [optical_rule(item, common if bands is None else bands, offsets) for item in items]
    doubtful = [i.id for i, r in zip(items, rules, strict=True) if AGAINST in r.offset_reason]
    if doubtful:
        warnings.warn(
            f"An offset is declared for {', '.join(doubtful[:5])}, but its processing baseline is "
            "before 04.00, which has none. Check the pixels, check_offset(ds), or load without: "
            f"load(..., offsets={dict.fromkeys(doubtful[:5], 0.0)}).",
            CatalogWarning,
            stacklevel=3,
        )
    levels: dict[str, set[str]] = {}
    for item, rule in zip(items, rules, strict=True):
        levels.setdefault(rule.level, set()).add(str(item.collection_id))
    if len(levels) > 1:
        found = "; ".join(f"{lev}: {', '.join(sorted(ids))}" for lev, ids in levels.items())
        raise UnitsError(
            f"The search returned top- and bottom-of-atmosphere scenes ({found}), which do not mix",
            fix="name the collections of one level: "
            'load(..., collections=["sentinel-2-l1c", "sentinel-1-rtc"])',
            option="--collections sentinel-2-l1c,sentinel-1-rtc",
        )
    return rules


def optical_layers(rules: Sequence[OpticalRule], *, classes: str | None) -> list[Layers]:
    """How to read the assets of every item."""
    offered = {rule.classes if rule.classification is not None else "" for rule in rules}
    if classes is None:
        classes = offered.pop() if len(offered) == 1 else ""
    elif classes and offered != {classes}:
        other = ", ".join(sorted(filter(None, offered - {classes})))
        raise MissingBandError(
            f"Not every item has a classification {classes}"
            + (f", and there is {other}" if other else "")
            + " (only Level-2A has the scene classification SCL)",
            fix='search Level-2A: load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"])',
            option="--collections sentinel-2-l2a,sentinel-1-rtc",
        )
    out = []
    for rule in rules:
        how = rule.data_type, rule.nodata, rule.resampling
        layers = [(band, Layer(key, *how)) for band, key in rule.assets]
        if classes and rule.classification is not None:
            layers.append((classes, Layer(rule.classification, "uint8", 0.0, "nearest")))
        out.append(tuple(layers))
    return out


def grid_metres(grid: GeoBox) -> float:
    """Pixel size of a grid."""
    size = float(min(abs(grid.resolution.x), abs(grid.resolution.y)))
    return size * METRES_PER_DEGREE if grid.crs is not None and grid.crs.geographic else size


def centre_longitude(grid: GeoBox) -> float:
    """Longitude of the centre of a grid, also if it crosses the 180th meridian."""
    x, y = grid.transform * (grid.shape[1] / 2, grid.shape[0] / 2)
    return float(geom.point(x, y, grid.crs).to_crs("EPSG:4326").coords[0][0])


def at_resolution(item: pystac.Item, layers: Layers, grid: GeoBox) -> Layers:
    """The layers of an item, with averages if the grid is coarser than the pixels."""
    metres, out = grid_metres(grid), []
    for name, layer in layers:
        coarser = metres > COARSER * asset_metres(item, layer.asset, name)
        averaged = layer.resampling == "bilinear" and coarser
        out.append((name, replace(layer, resampling="average") if averaged else layer))
    return tuple(out)


def group_scenes(items: Sequence[pystac.Item], by: str, longitude: float) -> list[int]:
    """Number of the scene that each item belongs to, in order of time."""
    keys: list[Any]
    if by == "solar_day":
        keys = [(item_time(i) + timedelta(hours=longitude / 15)).date() for i in items]
    elif by == "time":
        keys = [item_time(i) for i in items]
    elif by == "id":
        keys = [i.id for i in items]
    else:
        raise DataError(f"groupby={by!r} is unknown", fix='call load(..., groupby="solar_day")')
    order = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    return [order[key] for key in keys]


# The series

CLASSES: dict[str, dict[str, Any]] = {
    "SCL": {"long_name": "scene classification", "nodata": 0},
    "fmask": {
        "long_name": "Fmask classification",
        "nodata": 0,
        "flag_values": np.arange(6, dtype="uint8"),
        "flag_meanings": "nodata valid cloud cloud_shadow snow water",
    },
}
"""Attributes of classifications."""

SUN = {"units": "degree", "comment": "mean of the items; NaN: not stated"}


def load_optical(
    items: Sequence[pystac.Item],
    rules: Sequence[OpticalRule],
    layers: Sequence[Layers],
    reader: Reader,
    groupby: str,
) -> xr.Dataset:
    """Series of scenes as reflectance; unlike items are calibrated before they are merged."""
    scene_of = group_scenes(items, groupby, centre_longitude(reader.grid))
    layers = [at_resolution(i, own, reader.grid) for i, own in zip(items, layers, strict=True)]
    home = None if reader.grid.crs is None else f"EPSG:{reader.grid.crs.epsg}"
    # within a scene, pixels that need no warp take precedence over a neighbouring projection, and a
    # later processing of one product over an earlier one
    order = sorted(
        range(len(items)),
        key=lambda n: (
            scene_of[n],
            item_projection(items[n]) != home,
            -(processing_baseline(items[n]) or 0.0),
        ),
    )
    kinds: dict[Any, list[int]] = {}
    for n in order:
        rule = rules[n]
        key = (items[n].collection_id, layers[n], rule.scale, rule.offset, rule.nodata)
        kinds.setdefault(key, []).append(n)

    parts: list[tuple[xr.Dataset, dict[int, int]]] = []  # with the rank in each scene
    positions = positions_of(items, scene_of)
    for members in kinds.values():
        opened = reader.open(
            [items[n] for n in members],
            [scene_of[n] for n in members],
            layers[members[0]],
            positions,
        )
        own = {scene_of[n]: order.index(n) for n in reversed(members)}
        parts.append((_calibrated(opened, rules[members[0]]), dict(sorted(own.items()))))
    out = parts[0][0] if len(parts) == 1 else _in_order(parts)
    out = out.assign_coords(_coordinates(items, rules, scene_of))
    for name, variable in out.data_vars.items():
        units = {"units": "1", "processing_level": rules[0].level}
        variable.attrs = dict(CLASSES.get(str(name), units))
    out.attrs = {}
    return out


def _calibrated(opened: xr.Dataset, rule: OpticalRule) -> xr.Dataset:
    others = [*(name for name in CLASSES if name in opened), *codes_of(opened)]
    numbers = opened.drop_vars(others)
    out: xr.Dataset = xr.apply_ufunc(
        reflectance,
        numbers,
        kwargs={"scale": rule.scale, "offset": rule.offset, "nodata": rule.nodata},
        dask="parallelized",
        output_dtypes=[np.float32],
    )
    return out.assign({name: opened[name] for name in others})


def _in_order(parts: Sequence[tuple[xr.Dataset, Mapping[int, int]]]) -> xr.Dataset:
    """Join several series into one, each with its rank in its scenes; equal scenes are fused."""
    ranked: dict[int, list[tuple[int, xr.Dataset]]] = {}
    for part, ranks in parts:
        for step, (scene, rank) in enumerate(ranks.items()):
            # a slice: with a list of one, dask shuffles every chunk
            ranked.setdefault(scene, []).append((rank, part.isel(time=slice(step, step + 1))))
    pieces = {
        scene: [piece for _, piece in sorted(own, key=lambda one: one[0])]
        for scene, own in ranked.items()
    }
    return xr.concat(
        [fused(pieces[scene]) for scene in sorted(pieces)],
        dim="time",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )


def fused(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The first part, with gaps filled from the others in turn."""
    first, *others = parts
    codes = codes_of(first)
    for other in others:
        other = other.drop_vars("time", errors="ignore")
        merged = {}
        for name in (str(name) for name in first.data_vars if name in other):
            variable, theirs = first[name], other[name].isel(time=0)
            if name in codes:
                merged[name] = np.maximum(variable, theirs)
                continue
            empty = variable == 0 if name in CLASSES else variable.isnull()
            merged[name] = variable.where(~empty, theirs)
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
    tracks = [_track(item) for item in items]
    offsets = [{rules[n].offset for n in group} for group in groups]
    suns = np.array([_sun([items[n] for n in g]) for g in groups])
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
        "s2_relative_orbit": (
            "time",
            np.array([tracks[g[0]] for g in groups], "int16"),
            {"long_name": "relative orbit of Sentinel-2; -1: unknown"},
        ),
        "sun_azimuth": ("time", suns[:, 0], SUN | {"standard_name": "solar_azimuth_angle"}),
        "sun_elevation": ("time", suns[:, 1], SUN | {"standard_name": "solar_elevation_angle"}),
        "cloud_cover": (
            "time",
            np.array([_cover([items[n] for n in g]) for g in groups]),
            {"long_name": "cloud cover of the products", "units": "%"},
        ),
    }


def _cover(items: Sequence[pystac.Item]) -> float:
    """Mean cloud cover that items declare, in percent; NaN if none does."""
    stated = [item.properties.get("eo:cloud_cover") for item in items]
    found = [float(share) for share in stated if share is not None]
    return float(np.mean(found)) if found else np.nan


def _sun(items: Sequence[pystac.Item]) -> tuple[float, float]:
    """Mean azimuth and elevation of the sun over the items that declare both, in degrees."""
    found = []
    for stated in (item.properties for item in items):
        azimuth = stated.get("view:sun_azimuth", stated.get("s2:mean_solar_azimuth"))
        elevation, zenith = stated.get("view:sun_elevation"), stated.get("s2:mean_solar_zenith")
        if elevation is None and zenith is not None:
            elevation = 90.0 - float(zenith)
        if azimuth is not None and elevation is not None and float(elevation) > 0:
            found.append((float(azimuth), float(elevation)))
    if not found:
        return np.nan, np.nan
    azimuths, elevations = np.radians(found).T
    mean = np.arctan2(np.sin(azimuths).mean(), np.cos(azimuths).mean())
    return float(np.degrees(mean)) % 360.0, float(np.degrees(elevations.mean()))


def _track(item: pystac.Item) -> int:
    """Relative orbit, declared or from the product name, or -1."""
    stated = item.properties.get("sat:relative_orbit")
    if stated is not None:
        return int(stated)
    names = (item.properties.get("s2:product_uri"), item.properties.get("sentinel:product_id"))
    for name in (*names, item.id):
        match = re.search(r"_R(\d{3})_", str(name))
        if match:
            return int(match.group(1))
    return -1

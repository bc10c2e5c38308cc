"""Sentinel-2 items as a calibrated series of scenes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xcloudfree.stac.read.mosaic import Layers, Reader, join
from xcloudfree.stac.rules.harmonise import OpticalRule, reflectance
from xcloudfree.stac.search.query import item_time
from xcloudfree.stac.series.optical import at_resolution, centre_longitude, group_scenes
from xcloudfree.stac.series.zones import item_projection

if TYPE_CHECKING:
    import pystac

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
    scene_of = group_scenes(items, groupby, centre_longitude(reader.grid))
    layers = [at_resolution(i, own, reader.grid) for i, own in zip(items, layers, strict=True)]
    home = None if reader.grid.crs is None else f"EPSG:{reader.grid.crs.epsg}"
    # of one scene, pixels that need no warp go before those of a neighbouring projection
    order = sorted(
        range(len(items)), key=lambda n: (scene_of[n], item_projection(items[n]) != home)
    )
    kinds: dict[Any, list[int]] = {}
    for n in order:
        rule = rules[n]
        key = (items[n].collection_id, layers[n], rule.scale, rule.offset, rule.nodata)
        kinds.setdefault(key, []).append(n)

    parts: list[tuple[xr.Dataset, list[int]]] = []
    for members in kinds.values():
        opened = reader.open(
            [items[n] for n in members], [scene_of[n] for n in members], layers[members[0]]
        )
        own = sorted({scene_of[n] for n in members})
        parts.append((_calibrated(opened, rules[members[0]]), own))
    out = parts[0][0] if len(parts) == 1 else _in_order(parts)
    out = out.assign_coords(_coordinates(items, rules, scene_of))
    for name, variable in out.data_vars.items():
        units = {"units": "1", "processing_level": rules[0].level}
        variable.attrs = dict(CLASSES.get(str(name), units))
    out.attrs = {}
    return out


def _calibrated(opened: xr.Dataset, rule: OpticalRule) -> xr.Dataset:
    classes = [name for name in CLASSES if name in opened]
    numbers = opened.drop_vars(classes)
    out: xr.Dataset = xr.apply_ufunc(
        reflectance,
        numbers,
        kwargs={"scale": rule.scale, "offset": rule.offset, "nodata": rule.nodata},
        dask="parallelized",
        output_dtypes=[np.float32],
    )
    return out.assign({name: opened[name] for name in classes})


def _in_order(parts: Sequence[tuple[xr.Dataset, Sequence[int]]]) -> xr.Dataset:
    """One series of several, each with the numbers of its scenes; equal scenes are fused."""
    pieces: dict[int, list[xr.Dataset]] = {}
    for part, scenes in parts:
        for step, scene in enumerate(scenes):
            # a slice: a list of one makes dask shuffle every chunk
            pieces.setdefault(scene, []).append(part.isel(time=slice(step, step + 1)))
    return xr.concat(
        [_fused(pieces[scene]) for scene in sorted(pieces)],
        dim="time",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )


def _fused(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The first part, and the others in turn where nothing is there yet."""
    first, *others = parts
    for other in others:
        other = other.drop_vars("time")
        merged = {}
        for name, variable in first.data_vars.items():
            if name in other:
                empty = variable == 0 if name in CLASSES else variable.isnull()
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
    }


def _sun(items: Sequence[pystac.Item]) -> tuple[float, float]:
    """Mean azimuth and elevation of the sun over the items that state both, in degrees."""
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
    """Relative orbit, as stated or in the product's name, or -1."""
    stated = item.properties.get("sat:relative_orbit")
    if stated is not None:
        return int(stated)
    names = (item.properties.get("s2:product_uri"), item.properties.get("sentinel:product_id"))
    for name in (*names, item.id):
        match = re.search(r"_R(\d{3})_", str(name))
        if match:
            return int(match.group(1))
    return -1

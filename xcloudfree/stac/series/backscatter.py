"""Sentinel-1 items as passes, each paired with the nearest scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from odc.geo import geom
from odc.geo.geobox import GeoBox

from xcloudfree.core.bands import sar_band
from xcloudfree.exceptions import DataError, MissingBandError, UnitsError
from xcloudfree.stac.read.mosaic import (
    CODE,
    Layer,
    Layers,
    Reader,
    codes_of,
    join,
    positions_of,
)
from xcloudfree.stac.rules.harmonise import SarRule, decibel, sar_rule
from xcloudfree.stac.search.area import extent_of, footprint
from xcloudfree.stac.search.choice import RTC_ELSEWHERE
from xcloudfree.stac.search.query import item_time
from xcloudfree.stac.series.optical import COARSER, at_resolution, fused, grid_metres
from xcloudfree.stac.series.pairing import SAME_PASS, Pass, nearest_passes, pass_coordinates

if TYPE_CHECKING:
    import pystac


@dataclass(frozen=True)
class _Slices:
    """The slices of one pass."""

    own: Pass
    items: tuple[pystac.Item, ...]
    rule: SarRule


def requested_polarisations(polarisations: Sequence[str] | None) -> list[str]:
    """Canonical names of the requested polarisations."""
    if isinstance(polarisations, str):
        polarisations = [polarisations]
    out = []
    for name in polarisations or ():
        band = sar_band(name)
        if band is None:
            raise MissingBandError(
                f"{name!r} is not a polarisation", fix='call load(..., polarisations=("VV", "VH"))'
            )
        out.append(band[0])
    return out


def group_passes(
    items: Sequence[pystac.Item],
    polarisations: Sequence[str],
    grid: GeoBox,
    named: Sequence[str] | None = None,
) -> list[_Slices]:
    """Slices of each pass that has the wanted polarisations."""
    area = extent_of(grid)
    found: dict[Any, list[tuple[pystac.Item, SarRule]]] = {}
    latest: dict[Any, tuple[datetime, str]] = {}
    seen: set[str] = set()
    for item in items:
        rule = sar_rule(item, detected=item.collection_id in (named or ()))
        have = dict(rule.assets)
        seen |= set(have)
        if all(pol in have for pol in polarisations):
            kind = (item.collection_id, rule.assets, rule.units, str(rule.nodata))
            time, flight = item_time(item), (item.properties.get("platform"), rule.orbit_state)
            before, key = latest.get((*flight, *kind), (None, ""))
            if not all(flight) or before is None or time - before > SAME_PASS:
                key = rule.pass_key
            latest[(*flight, *kind)] = time, key
            found.setdefault((key, *kind), []).append((item, rule))
    if items and not found:
        raise MissingBandError(
            f"No Sentinel-1 item has {' and '.join(polarisations)}, but {', '.join(sorted(seen))}",
            fix=f"load these: load(..., polarisations={tuple(sorted(seen))})",
            option="choose another with --collections or --sar-catalog",
        )
    quantities = {rule.quantity for slices in found.values() for _, rule in slices}
    if len(quantities) > 1:
        raise UnitsError(
            f"Sentinel-1 items of different quantities, {', '.join(sorted(quantities))}, do not "
            "mix",
            fix='name one collection: load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"])',
            option="--collections sentinel-2-l2a,sentinel-1-rtc",
        )
    out = []
    for (key, *_), slices in found.items():
        shape = geom.unary_union(footprint(item) for item, _ in slices)
        covered = 0.0 if shape is None else (shape & area).area / area.area
        if not covered:
            continue
        rule = slices[0][1]
        start = np.datetime64(item_time(slices[0][0]).astimezone(UTC).replace(tzinfo=None), "ns")
        ids = join(item.id for item, _ in slices)
        own = Pass(key, start, rule.relative_orbit, covered, rule.orbit_state, ids)
        out.append(_Slices(own, tuple(item for item, _ in slices), rule))
    return out


def load_backscatter(
    scenes: xr.Dataset,
    items: Sequence[pystac.Item],
    polarisations: Sequence[str],
    max_gap: np.timedelta64,
    on_gap: str,
    reader: Reader,
    named: Sequence[str] | None = None,
) -> xr.Dataset:
    """The scenes with the backscatter of their nearest pass."""
    passes = group_passes(items, polarisations, reader.grid, named)
    pairs = nearest_passes(list(scenes["time"].values), [p.own for p in passes], max_gap)
    alone = [str(t)[:16] for t, p in zip(scenes["time"].values, pairs, strict=True) if p is None]
    if alone and (on_gap == "raise" or (on_gap == "drop" and len(alone) == len(pairs))):
        fix = (
            'or continue without: load(..., on_gap="drop") or load(..., on_gap="nan")'
            if items
            else f'take Sentinel-1 from another catalog, load(..., sar_catalog="{RTC_ELSEWHERE}"), '
            "or leave it out: load(..., polarisations=())"
        )
        raise DataError(
            f"No Sentinel-1 pass within {max_gap.astype(object)} of {len(alone)} of {len(pairs)} "
            f"scenes: {', '.join(alone)}",
            fix=f'allow a larger distance, load(..., max_gap="6D"), {fix}',
            option=f"change --datetime, or use --sar-catalog {RTC_ELSEWHERE} --sign "
            "planetary_computer:sign",
        )
    if on_gap == "drop":
        scenes = scenes.isel(time=[n for n, p in enumerate(pairs) if p is not None])
        pairs = [p for p in pairs if p is not None]

    opened = _open(passes, {p for p in pairs if p is not None}, polarisations, reader)
    first = scenes[next(iter(scenes.data_vars))].drop_vars("time").reset_coords(drop=True)
    blank = xr.full_like(first.isel(time=slice(0, 1)), np.nan)
    runs = _runs([None if p is None else opened[p] for p in pairs])
    for pol in polarisations:
        series = _series(runs, pol, blank)
        attrs = {"units": "dB"}
        if passes:
            attrs["quantity"] = passes[0].rule.quantity
        if any(one.rule.geolocation == "gcps" for one in passes):
            from xcloudfree.stac.read.grd import NOTES

            attrs |= NOTES
        scenes = scenes.assign({pol: (blank.dims, series.data, attrs)})
        if reader.reporting:
            codes = _series(runs, pol + CODE, xr.zeros_like(blank, np.uint8))
            scenes = scenes.assign({pol + CODE: (blank.dims, codes.data)})
    chosen = [None if p is None else passes[p].own for p in pairs]
    return scenes.assign_coords(pass_coordinates(scenes["time"].values, chosen))


def _series(
    runs: Sequence[tuple[xr.Dataset | None, int, int]], name: str, blank: xr.DataArray
) -> xr.DataArray:
    """A variable of the runs, one after another."""
    # slices: for a list, dask shuffles every chunk
    steps = [blank if p is None else p[name].isel(time=slice(a, b)) for p, a, b in runs]
    return xr.concat(steps, dim="time", coords="minimal", compat="override", join="override")


def _runs(
    places: Sequence[tuple[xr.Dataset, int] | None],
) -> list[tuple[xr.Dataset | None, int, int]]:
    """Places in one series that follow each other, in one piece."""
    out: list[tuple[xr.Dataset | None, int, int]] = []
    for place in places:
        series, step = place or (None, 0)
        last, start, end = out[-1] if out else (None, 0, 0)
        if series is not None and last is series and end == step:
            out[-1] = (series, start, end + 1)
        else:
            out.append((series, step, step + 1))
    return out


def _open(
    passes: Sequence[_Slices], used: set[int], polarisations: Sequence[str], reader: Reader
) -> dict[int, tuple[xr.Dataset, int]]:
    """Backscatter of the passes in use: a series, and the position of the pass in it."""
    kinds: dict[Any, list[int]] = {}
    out: dict[int, tuple[xr.Dataset, int]] = {}
    slices = [(item, n) for n in sorted(used) for item in passes[n].items]
    positions = positions_of(*map(list, zip(*slices, strict=True))) if slices else {}
    for n in sorted(used):
        rule = passes[n].rule
        if rule.geolocation == "gcps":
            swaths = _open_swaths(passes[n], polarisations, reader, positions)
            out[n] = _decibel(swaths, rule), 0
            continue
        kind = (passes[n].items[0].collection_id, rule.assets, rule.units, str(rule.nodata))
        kinds.setdefault((*kind, _layers(passes[n], polarisations, reader)), []).append(n)
    for (*_, layers), members in kinds.items():
        items = [item for n in members for item in passes[n].items]
        groups = [n for n in members for _ in passes[n].items]
        power = reader.open(items, groups, layers, positions)
        power = _decibel(power, passes[members[0]].rule).drop_vars("time")
        out |= {n: (power, step) for step, n in enumerate(members)}
    return out


def _layers(one: _Slices, polarisations: Sequence[str], reader: Reader) -> Layers:
    keys = dict(one.rule.assets)
    # the mean of dB values is not the dB value of the mean
    how = "nearest" if one.rule.units == "dB" else one.rule.resampling
    layers = tuple((p, Layer(keys[p], "float32", one.rule.nodata, how)) for p in polarisations)
    return at_resolution(one.items[0], layers, reader.grid)


def _open_swaths(
    one: _Slices, polarisations: Sequence[str], reader: Reader, positions: Mapping[str, int]
) -> xr.Dataset:
    """Power of a pass in radar geometry; each slice has its own calibration."""
    from xcloudfree.stac.read.grd import open_swath

    parts = []
    for item in one.items:
        rule = sar_rule(item, detected=True)
        spacing = float(item.properties.get("sar:pixel_spacing_range") or 10.0)
        how = "average" if grid_metres(reader.grid) > COARSER * spacing else rule.resampling
        part = open_swath(reader, item, rule, polarisations, how, positions)
        parts.append(part.drop_vars("time"))
    return fused(parts)


def _decibel(power: xr.Dataset, rule: SarRule) -> xr.Dataset:
    stored = power.drop_vars(codes_of(power))
    if rule.units != "dB":
        out = xr.apply_ufunc(decibel, stored, dask="parallelized", output_dtypes=[np.float32])
    else:
        out = stored if np.isnan(rule.nodata) else stored.where(stored != rule.nodata)
    return power.assign(out)

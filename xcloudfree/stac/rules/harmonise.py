"""The meaning of an item's pixels: bands, scale, offset, level; quantity, unit, pass.

Every rule reads only one item. Collections mix processing baselines, and dates do not
separate reprocessed from original scenes, so no rule may use either first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudfree.core.bands import sar_band
from xcloudfree.exceptions import UnitsError
from xcloudfree.stac.rules.assets import calibration_asset, common_field, optical_assets, sar_assets
from xcloudfree.stac.rules.providers import CollectionRule, as_mapping, collection_rule

SCALE = 1e-4
"""Reflectance per digital number of ESA's Sentinel-2 products."""

BASELINE_OFFSET = -0.1
"""Reflectance offset since processing baseline 04.00 (-1000 digital numbers)."""

AGAINST = "against processing baseline"
"""Reason of an offset that is declared for a scene that cannot have one."""

_OFFSET_SINCE = "2022-01-25"
_BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
_PRODUCT_NAMES = ("s2:product_uri", "sentinel:product_id")
_PRODUCT_TYPES = ("s2:product_type", "product:type")
_LEVEL = re.compile(r"(?:^|MSI|[-_])(?:L([123])[AC]?|([123])[AC])(?:$|[-_.])")


@dataclass(frozen=True)
class OpticalRule:
    """How to convert the pixels of one Sentinel-2 item to reflectance."""

    assets: tuple[tuple[str, str], ...]  # band and asset key
    classification: str | None  # asset key
    scale: float  # reflectance = number * scale + offset, where the number is not nodata
    offset: float
    offset_reason: str
    level: str
    data_type: str
    nodata: float
    classes: str = "SCL"  # or fmask
    resampling: str = "bilinear"


def processing_level(item: Any) -> str:
    """Top or bottom of atmosphere."""
    item = as_mapping(item)
    properties = item.get("properties", {})
    rule = collection_rule(item, "S2")
    composite = rule.refused or _composite(properties)
    if composite:
        raise UnitsError(
            f"Item {item.get('id')!r} of collection {item.get('collection')!r} is {composite}, "
            "so it is no Sentinel-2 scene of Level-1C or Level-2A",
            fix="search scenes instead: "
            'load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"])',
            option="--collections sentinel-2-l2a,sentinel-1-rtc",
        )
    stated = _level_in(properties.get(key) for key in (*_PRODUCT_TYPES, "processing:level"))
    named = (*(properties.get(key) for key in _PRODUCT_NAMES), item.get("id"))
    level = stated or rule.level or _level_in((*named, item.get("collection")))
    if level in ("TOA", "BOA"):
        return level
    raise UnitsError(
        f"Item {item.get('id')!r} of collection {item.get('collection')!r} is no Sentinel-2 "
        "scene of Level-1C or Level-2A, so its reflectance is undefined",
        fix='search scenes instead: load(..., collections=["sentinel-2-l1c", "sentinel-1-rtc"])',
        option="--collections sentinel-2-l1c,sentinel-1-rtc",
    )


def _level_in(texts: Iterable[Any]) -> str:
    """Level in the first text that names one; empty if none does."""
    match = next(filter(None, (_LEVEL.search(str(text or "").upper()) for text in texts)), None)
    if match is None:
        return ""
    return {"1": "TOA", "2": "BOA"}.get(match.group(1) or match.group(2), "other")


def _composite(properties: Mapping[str, Any]) -> str:
    """Words for an item that spans more than a day, empty for a scene."""
    start, end = (str(properties.get(f"{edge}_datetime") or "")[:10] for edge in ("start", "end"))
    if not start or not end or np.datetime64(end) - np.datetime64(start) <= np.timedelta64(1, "D"):
        return ""
    return f"a composite from {start} to {end}, not an acquisition"


def processing_baseline(item: Any) -> float | None:
    """Processing baseline of a Sentinel-2 item, declared or from the product's name, or None."""
    item = as_mapping(item)
    properties = item.get("properties", {})
    for key in _BASELINES:
        match = re.match(r"N?(\d{1,2})(?:\.?(\d{2})|\.(\d))?(?!\d)", str(properties.get(key, "")))
        if match:
            return float(f"{match.group(1)}.{match.group(2) or match.group(3) or 0}")
    for name in (*(properties.get(key) for key in _PRODUCT_NAMES), item.get("id")):
        match = re.search(r"_N(\d{2})(\d{2})_", str(name))
        if match:
            return float(f"{match.group(1)}.{match.group(2)}")
    return None


def reflectance_offset(item: Any, assets: Iterable[str]) -> tuple[float, str]:
    """Offset that turns the stored numbers of one item into reflectance, and why."""
    # in this order, from which a collection may omit steps: a flag that the offset was already
    # applied; the offset declared by the assets; the processing baseline; the date, a guess
    item, assets = as_mapping(item), list(assets)
    properties = item.get("properties", {})
    rule = collection_rule(item, "S2")
    for step in rule.offset:
        found: tuple[float, str] | None = None
        if step == "none":
            found = 0.0, f"{item.get('collection')} has no offset"
        elif step == "flag":
            flag = next((f for f in rule.flags if str(properties.get(f)).lower() == "true"), None)
            found = None if flag is None else (0.0, f"{flag} is true")
        elif step == "declared":
            declared = common_field(item, assets, "offset")
            found = None if declared is None else (float(declared), "declared by the assets")
            baseline = processing_baseline(item)
            if found and found[0] and baseline is not None and baseline < 4:
                found = found[0], f"{found[1]}, {AGAINST} {baseline:.2f}"
        elif step == "baseline" and (baseline := processing_baseline(item)) is not None:
            offset = BASELINE_OFFSET if baseline >= 4 else 0.0
            found = offset, f"processing baseline {baseline:.2f}"
        elif step == "date":
            date = str(properties.get("datetime") or properties.get("start_datetime"))
            found = (BASELINE_OFFSET if date >= _OFFSET_SINCE else 0.0), "GUESS from the date"
        if found is not None:
            return found
    raise UnitsError(
        f"Item {item.get('id')!r} declares no reflectance offset",
        fix=f"set it: load(..., offsets={{{item.get('id')!r}: -0.1}})",
        option="choose a catalog or --collections that declare it",
    )


def optical_rule(
    item: Any,
    bands: Iterable[str] | None = None,
    offsets: Mapping[str, float] | float | None = None,
) -> OpticalRule:
    """Everything needed to read one Sentinel-2 item as reflectance."""
    item = as_mapping(item)
    level = processing_level(item)
    declared: CollectionRule = collection_rule(item, "S2")
    keys = optical_assets(item)
    classes = next((name for name in ("SCL", "fmask") if name in keys), "SCL")
    classification = keys.pop(classes, None)
    wanted = set(keys) if bands is None else set(bands)
    assets = {band: key for band, key in keys.items() if band in wanted}
    given = offsets.get(str(item.get("id"))) if isinstance(offsets, Mapping) else offsets
    if given is None:
        offset, reason = reflectance_offset(item, assets.values())
    else:
        offset, reason = float(given), "given by the caller"
        if not abs(offset) <= 1:
            raise UnitsError(
                f"offsets= gives {offset:g} for item {item.get('id')!r}, but must be in "
                "reflectance, not in stored numbers",
                fix=f"call load(..., offsets={{{item.get('id')!r}: {BASELINE_OFFSET}}})",
            )
    scale = common_field(item, assets.values(), "scale")
    data_type = common_field(item, assets.values(), "data_type")
    nodata = common_field(item, assets.values(), "nodata")
    return OpticalRule(
        assets=tuple(assets.items()),
        classification=classification,
        scale=declared.scale if scale is None else float(scale),
        offset=offset,
        offset_reason=reason,
        level=level,
        data_type=str(data_type or declared.data_type),
        nodata=declared.nodata if nodata is None else float(nodata),
        classes=classes,
        resampling=declared.resampling,
    )


def reflectance(
    numbers: npt.NDArray[Any], *, scale: float, offset: float, nodata: float
) -> npt.NDArray[np.float32]:
    """Reflectance of stored numbers, NaN where there are none."""
    # in whole numbers first: 0.1 is not a binary fraction, and thresholds are compared exactly
    shifted = numbers.astype(np.float32) + np.float32(round(offset / scale, 6))
    out = shifted / np.float32(round(1 / scale, 6))
    return np.where(numbers == nodata, np.float32(np.nan), out)


def decibel(power: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Decibels of linear power, NaN where there is none."""
    valid = power > 0
    safe = np.where(valid, power, 1.0)
    return np.where(valid, 10 * np.log10(safe), np.nan).astype(np.float32)


# Sentinel-1

_UNIT_STAMP, _QUANTITY_STAMP = "xcloudfree:units", "xcloudfree:quantity"


@dataclass(frozen=True)
class SarRule:
    """Meaning of the pixels of one Sentinel-1 item, and its pass."""

    assets: tuple[tuple[str, str], ...]
    quantity: str
    units: str  # "1" (linear power), "dB", or "DN" (amplitude, made power by calibration tables)
    nodata: float
    pass_key: str
    relative_orbit: int | None
    orbit_state: str = ""
    geolocation: str = "grid"
    calibration: tuple[tuple[str, str], ...] = ()  # polarisation and asset key of its table
    resampling: str = "bilinear"


def sar_rule(item: Any, *, detected: bool = False) -> SarRule:
    """Return the meaning of the pixels of one Sentinel-1 item."""
    item = as_mapping(item)
    properties = item.get("properties", {})
    declared = collection_rule(item, "S1")
    assets = sar_assets(item)
    stamps = [properties, *(item["assets"][key] for key in assets.values())]
    quantity = next((s[_QUANTITY_STAMP] for s in stamps if _QUANTITY_STAMP in s), None)
    units = str(next((s[_UNIT_STAMP] for s in stamps if _UNIT_STAMP in s), declared.units))
    geolocation, tables = "grid", {}
    if quantity is None and declared.quantity is not None and declared.units != "DN":
        quantity = declared.quantity
    if quantity is None and _terrain_corrected(item, assets):
        quantity = "gamma0"
        units = "dB" if str(common_field(item, assets.values(), "unit")).lower() == "db" else "1"
    if quantity is None:
        tables = {pol: calibration_asset(item, pol) for pol in assets}
        name = item.get("collection")
        fix = (
            'take an RTC collection, load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]), '
            'or one of another catalog, load(..., sar_catalog="https://planetarycomputer.microsoft'
            '.com/api/stac/v1"), or leave Sentinel-1 out: load(..., polarisations=())'
        )
        if not tables or None in tables.values():
            raise UnitsError(
                f"Item {item.get('id')!r} of collection {name!r} is not terrain corrected: its GRD "
                "amplitudes are uncalibrated, and it offers no calibration tables "
                "(schema-calibration-vv) to turn them into sigma0",
                fix=fix,
                option="--collections sentinel-2-l2a,sentinel-1-rtc",
            )
        if not detected:
            raise UnitsError(
                f"Item {item.get('id')!r} of collection {name!r} is not terrain corrected: its "
                "GRD amplitudes have neither calibration nor a map grid",
                fix="name the collection to have them calibrated to sigma0 and warped with their "
                "ground control points, without terrain correction, "
                f'load(..., collections=["sentinel-2-l2a", {name!r}]), or {fix}',
                option=f"--collections sentinel-2-l2a,{name} to calibrate it without terrain "
                "correction, or --collections sentinel-2-l2a,sentinel-1-rtc",
            )
        quantity, units, geolocation = "sigma0", "DN", "gcps"
    nodata = common_field(item, assets.values(), "nodata")
    known = declared.nodata
    if units != declared.units:
        known = 0.0 if units == "DN" else float("nan")
    return SarRule(
        assets=tuple(sorted(assets.items(), reverse=True)),
        quantity=str(quantity),
        units=units,
        nodata=known if nodata is None else float(nodata),
        pass_key=pass_key(item),
        relative_orbit=relative_orbit(item),
        orbit_state=str(properties.get("sat:orbit_state") or "").lower(),
        geolocation=geolocation,
        calibration=tuple((pol, str(key)) for pol, key in sorted(tables.items(), reverse=True)),
        resampling=declared.resampling,
    )


def _terrain_corrected(item: Mapping[str, Any], assets: Mapping[str, str]) -> bool:
    properties = item.get("properties", {})
    product = f"{properties.get('sar:product_type')} {item.get('collection')} {item.get('id')}"
    named = {band[1] for band in map(sar_band, assets.values()) if band is not None}
    return "RTC" in product.upper() or named == {"gamma0"}


_PRODUCT = re.compile(r"^S1[A-D]_.{40,}?_(\d{6})_[0-9A-F]{6}", re.IGNORECASE)
_TILE = re.compile(r"^s1_rtc_([0-9A-F]{6})_", re.IGNORECASE)
_BURST = re.compile(r"^OPERA_L2_RTC-S1_T(\d{3})-\d{6}-IW\d_.*_S1([A-D])_", re.IGNORECASE)
_FIRST_ORBIT = {"a": 73, "b": 27, "c": 172, "d": 42}
_MOVED = ("2026-06-09", "2026-06-24")
"""Days between which Sentinel-1C moved in its orbit; tracks are counted from 99 afterwards."""
_TRACKS = 175


def _platform(item: Mapping[str, Any]) -> str:
    stated = item.get("properties", {}).get("platform")
    burst = _BURST.match(str(item.get("id")))
    return str(stated or (f"sentinel-1{burst.group(2)}" if burst else "sentinel-1")).lower()


def absolute_orbit(item: Any) -> int | None:
    """Absolute orbit of a Sentinel-1 item, declared or from the product's name, or None."""
    item = as_mapping(item)
    stated = item.get("properties", {}).get("sat:absolute_orbit")
    if stated is not None:
        return int(stated)
    match = _PRODUCT.match(str(item.get("id")))
    return None if match is None else int(match.group(1))


def relative_orbit(item: Any) -> int | None:
    """Relative orbit (track) of a Sentinel-1 item, declared or from the absolute orbit, or None."""
    item = as_mapping(item)
    stated = item.get("properties", {}).get("sat:relative_orbit")
    if stated is not None:
        return int(stated)
    if burst := _BURST.match(str(item.get("id"))):
        return int(burst.group(1))
    orbit, first = absolute_orbit(item), _FIRST_ORBIT.get(_platform(item)[-1:])
    if first == _FIRST_ORBIT["c"] and _day(item) >= _MOVED[0]:
        first = 99 if _day(item) >= _MOVED[1] else None
    return None if orbit is None or first is None else (orbit - first) % _TRACKS + 1


def _day(item: Mapping[str, Any]) -> str:
    properties = item.get("properties", {})
    return str(properties.get("datetime") or properties.get("start_datetime"))[:10]


def pass_key(item: Any) -> str:
    """Name of the satellite pass that an item is a slice of."""
    # Slices of one pass may be mosaicked. Passes of one day may not, since an ascending and a
    # descending one see every slope from opposite sides. Near the poles one orbit has both, so
    # the direction is part of the name.
    item = as_mapping(item)
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
    track = properties.get("sat:relative_orbit")
    if track is None and (burst := _BURST.match(str(item.get("id")))):
        track = int(burst.group(1))
    if track is not None:
        return f"{who} track {track} on {_day(item)}"
    return str(item.get("id"))

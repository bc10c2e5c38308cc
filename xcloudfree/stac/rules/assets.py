"""Which assets of one STAC item contain which band, in the vocabulary of any catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from xcloudfree.core.bands import S2_BANDS, is_scene_classification, optical_band, sar_band
from xcloudfree.exceptions import UnitsError
from xcloudfree.stac.rules.providers import as_mapping, collection_rule, mission_of

_NATIVE_METRES = {
    **dict.fromkeys(S2_BANDS, 20.0),
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10.0),
    **dict.fromkeys(("B01", "B09", "B10"), 60.0),
    "SCL": 20.0,
}


def mission(item: Any) -> str | None:
    """Which mission an item belongs to."""
    item = as_mapping(item)
    properties = item.get("properties", {})
    for text in (
        properties.get("constellation"),
        properties.get("platform"),
        item.get("collection"),
    ):
        match = re.search(r"sentinel[-_ ]?([12])|^(?:sentinel-)?s([12])[-_]", str(text).lower())
        if match:
            return f"S{match.group(1) or match.group(2)}"
    return mission_of(item.get("collection"))


def _names_of(asset: Mapping[str, Any]) -> list[Any]:
    """Names of the only band of an asset, by eo:bands or by STAC 1.1; none if it has several."""
    names = []
    for field in ("bands", "eo:bands"):
        bands = asset.get(field) or []
        if len(bands) > 1:
            return []
        names += [band.get(k) for band in bands for k in ("name", "common_name", "eo:common_name")]
    return names


def _raster_field(asset: Mapping[str, Any], field: str) -> Any:
    """A field of the raster extension, version 1 (raster:bands), version 2, or STAC 1.1 core."""
    for source in (*(asset.get("raster:bands") or [])[:1], asset, *(asset.get("bands") or [])[:1]):
        for key in (f"raster:{field}", field):
            if source.get(key) is not None:
                return source[key]
    return None


def asset_metres(item: Any, key: str, band: str) -> float:
    """Pixel size of an asset."""
    asset = as_mapping(item)["assets"][key]
    return _metres(key, asset, _NATIVE_METRES.get(band, 10.0))


def _metres(key: str, asset: Mapping[str, Any], native: float) -> float:
    suffix = re.search(r"_(10|20|60)m$", key)
    if suffix:
        return float(suffix.group(1))
    transform = asset.get("proj:transform")
    found = asset.get("gsd") or _raster_field(asset, "spatial_resolution")
    size = float(found or (abs(transform[0]) if transform else native))
    return size if size >= 1 else native  # degrees


def _is_jpeg2000(key: str, asset: Mapping[str, Any]) -> bool:
    href = str(asset.get("href", "")).lower()
    return asset.get("type") == "image/jp2" or key.endswith("-jp2") or href.endswith(".jp2")


def _name(key: str, asset: Mapping[str, Any]) -> str | None:
    if is_scene_classification(key.removesuffix("-jp2")):
        return "SCL"
    if optical_band(key) is not None:
        return optical_band(key)
    if {"thumbnail", "overview", "visual"} & set(asset.get("roles") or []):
        return None
    return next(filter(None, map(optical_band, _names_of(asset))), None)


def optical_assets(item: Any) -> dict[str, str]:
    """Asset key of every Sentinel-2 band and of the classification of one item."""
    # The provider's own keys take precedence; other bands are recognised by their names. If several
    # assets contain a band, the one at the band's own resolution is used, and a cloud-optimised
    # GeoTIFF before its JPEG 2000 twin.
    item = as_mapping(item)
    assets = item["assets"]
    rule = collection_rule(item, "S2")
    declared = dict(rule.assets)
    if rule.classes is not None:
        declared[rule.classes[0]] = rule.classes[1]
    found: dict[str, list[tuple[bool, float, str]]] = {}
    for name, keys in declared.items():
        for place, key in enumerate(keys):
            if key in assets:
                rank = (_is_jpeg2000(key, assets[key]), float(place), key)
                found.setdefault(name, []).append(rank)
    settled = {name for name, ranks in found.items() if not min(ranks)[0]}  # those with a COG
    for key, asset in assets.items():
        guess = _name(key, asset)
        if guess is not None and guess not in settled:
            native = _NATIVE_METRES[guess]
            distance = abs(_metres(key, asset, native) - native)
            found.setdefault(guess, []).append((_is_jpeg2000(key, asset), distance, key))
    order = (*S2_BANDS, "SCL", "fmask")
    return {name: min(found[name])[-1] for name in order if name in found}


def sar_assets(item: Any) -> dict[str, str]:
    """Asset key of every polarisation of one Sentinel-1 item."""
    item = as_mapping(item)
    assets = item["assets"]
    named = {band[0]: key for key in assets if (band := sar_band(key)) is not None}
    for pol, keys in collection_rule(item, "S1").assets.items():
        present = [key for key in keys if key in assets]
        if present:
            named[pol] = present[0]
    return named


def calibration_asset(item: Any, polarisation: str) -> str | None:
    """Asset key of the calibration table of one polarisation, or None."""
    pattern = re.compile(rf"(?:^|[-_])calibration[-_](?:.*[-_])?{polarisation.lower()}(?:$|[-_.])")
    keys = [key for key in as_mapping(item)["assets"] if pattern.search(key.lower())]
    return min(keys, key=len, default=None)


def common_field(item: Any, assets: Iterable[str], field: str) -> Any:
    """A field of the raster extension on which all named assets of one item agree."""
    item = as_mapping(item)
    declared = [_raster_field(item["assets"][key], field) for key in assets]
    values = {_comparable(value): value for value in declared}
    if field != "offset":  # an undeclared one is that of the collection
        values.pop(None, None)
    if len(values) > 1:
        raise UnitsError(
            f"Item {item.get('id')!r}: its bands declare different {field}s, "
            f"{sorted(map(str, values))}",
            fix="load only bands that agree: load(..., bands=[...])",
            option="--bands with those that agree",
        )
    return next(iter(values.values()), None)


def _comparable(value: Any) -> str | None:
    """The value as text, in which 0 is 0.0 and NaN equals itself."""
    try:
        return None if value is None else str(float(value))
    except ValueError:
        return str(value)

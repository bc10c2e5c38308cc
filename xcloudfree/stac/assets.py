"""Which assets of one STAC item hold which band, in the words of any catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from xcloudfree.bands import S2_BANDS, is_scene_classification, optical_band, sar_band
from xcloudfree.exceptions import UnitsError

_NATIVE_METRES = {
    **dict.fromkeys(S2_BANDS, 20.0),
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10.0),
    **dict.fromkeys(("B01", "B09", "B10"), 60.0),
    "SCL": 20.0,
}


def plain(item: Any) -> Mapping[str, Any]:
    """The item as a plain mapping, links untouched (nothing is resolved over the network).

    Parameters
    ----------
    item : pystac.Item or mapping
        A STAC item.

    Returns
    -------
    mapping
    """
    if isinstance(item, Mapping):
        return item
    out: Mapping[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    return out


def mission(item: Any) -> str | None:
    """Which mission an item belongs to.

    Parameters
    ----------
    item : pystac.Item or mapping
        A STAC item.

    Returns
    -------
    {"S1", "S2", None}

    Examples
    --------
    >>> mission({"properties": {"constellation": "Sentinel 2"}}), mission({"properties": {}})
    ('S2', None)
    """
    item = plain(item)
    properties = item.get("properties", {})
    for text in (
        properties.get("constellation"),
        properties.get("platform"),
        item.get("collection"),
    ):
        match = re.search(r"sentinel[-_ ]?([12])|^(?:sentinel-)?s([12])[-_]", str(text).lower())
        if match:
            return f"S{match.group(1) or match.group(2)}"
    return None


def _bands_of(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(asset.get("bands") or asset.get("eo:bands") or [])


def _raster_field(asset: Mapping[str, Any], field: str) -> Any:
    """A field of the raster extension, version 1 (raster:bands), version 2, or STAC 1.1 core."""
    for source in (*(asset.get("raster:bands") or [])[:1], asset, *(asset.get("bands") or [])[:1]):
        for key in (f"raster:{field}", field):
            if source.get(key) is not None:
                return source[key]
    return None


def _metres(key: str, asset: Mapping[str, Any], native: float) -> float:
    suffix = re.search(r"_(10|20|60)m$", key)
    if suffix:
        return float(suffix.group(1))
    transform = asset.get("proj:transform")
    found = asset.get("gsd") or _raster_field(asset, "spatial_resolution")
    return float(found or (abs(transform[0]) if transform else native))


def _is_jpeg2000(key: str, asset: Mapping[str, Any]) -> bool:
    href = str(asset.get("href", "")).lower()
    return asset.get("type") == "image/jp2" or key.endswith("-jp2") or href.endswith(".jp2")


def _name(key: str, asset: Mapping[str, Any]) -> str | None:
    if is_scene_classification(key.removesuffix("-jp2")):
        return "SCL"
    if optical_band(key) is not None:
        return optical_band(key)
    bands = _bands_of(asset)
    if len(bands) != 1 or {"thumbnail", "overview", "visual"} & set(asset.get("roles") or []):
        return None
    candidates = (bands[0].get(k) for k in ("name", "common_name", "eo:common_name"))
    return next(filter(None, map(optical_band, candidates)), None)


def optical_assets(item: Any) -> dict[str, str]:
    """Asset key of every Sentinel-2 band and of the scene classification of one item.

    Of several assets for one band the one at the band's own resolution is taken, and a cloud
    optimised GeoTIFF before its JPEG 2000 twin.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-2 item.

    Returns
    -------
    dict
        Canonical name (``B01``..``B12``, ``SCL``) to asset key, in spectral order.

    Examples
    --------
    >>> optical_assets({"assets": {"B02_20m": {}, "B02_10m": {}, "blue-jp2": {}}})
    {'B02': 'B02_10m'}
    """
    found: dict[str, list[tuple[bool, float, str]]] = {}
    for key, asset in plain(item)["assets"].items():
        name = _name(key, asset)
        if name is not None:
            native = _NATIVE_METRES[name]
            rank = (_is_jpeg2000(key, asset), abs(_metres(key, asset, native) - native), key)
            found.setdefault(name, []).append(rank)
    return {name: min(found[name])[-1] for name in (*S2_BANDS, "SCL") if name in found}


def sar_assets(item: Any) -> dict[str, str]:
    """Asset key of every polarisation of one Sentinel-1 item.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-1 item.

    Returns
    -------
    dict

    Examples
    --------
    >>> sar_assets({"assets": {"gamma0_vv": {}, "vh": {}, "incidence": {}}})
    {'VV': 'gamma0_vv', 'VH': 'vh'}
    """
    named = ((sar_band(key), key) for key in plain(item)["assets"])
    return {band[0]: key for band, key in named if band is not None}


def agreed(item: Any, assets: Iterable[str], field: str) -> Any:
    """A field of the raster extension on which all named assets of one item agree.

    Parameters
    ----------
    item : pystac.Item or mapping
        A STAC item.
    assets : iterable of str
        Asset keys.
    field : str
        ``scale``, ``offset``, ``nodata`` or ``data_type``.

    Returns
    -------
    The value, or None where no asset declares one.

    Raises
    ------
    UnitsError
        The assets disagree.
    """
    item = plain(item)
    values = {_raster_field(item["assets"][key], field) for key in assets}
    if len(values) > 1:
        raise UnitsError(
            f"Item {item.get('id')!r}: its bands declare different {field}s, "
            f"{sorted(map(str, values))}. Load bands of one kind: load(..., bands=[...])."
        )
    return next(iter(values), None)

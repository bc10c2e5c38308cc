"""What one Sentinel-2 item says about its pixels: bands, scale, offset, level.

Every rule reads one item and nothing else. Collections mix processing baselines, dates do not tell
reprocessed from original scenes, so no rule is allowed to look at either first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudfree.exceptions import UnitsError
from xcloudfree.stac.rules.assets import agreed, optical_assets
from xcloudfree.stac.rules.items import plain
from xcloudfree.stac.rules.provider_rule import CollectionRule
from xcloudfree.stac.rules.providers import collection_rule
from xcloudfree.stac.rules.radar_rule import SarRule, sar_rule

__all__ = [
    "BASELINE_OFFSET", "SCALE", "OpticalRule", "SarRule", "decibel", "optical_rule",
    "processing_baseline", "processing_level", "reflectance", "reflectance_offset", "sar_rule",
]  # fmt: skip

SCALE = 1e-4
"""Reflectance per digital number of ESA's Sentinel-2 products."""

BASELINE_OFFSET = -0.1
"""Reflectance offset since processing baseline 04.00 (-1000 digital numbers)."""

AGAINST = "against processing baseline"
"""In the reason of an offset that is declared of a scene that cannot have one."""

_OFFSET_SINCE = "2022-01-25"
_BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
_PRODUCT_NAMES = ("s2:product_uri", "sentinel:product_id")
_PRODUCT_TYPES = ("s2:product_type", "product:type")
_LEVEL = re.compile(r"(?:^|MSI|[-_])(?:L([123])[AC]?|([123])[AC])(?:$|[-_.])")


@dataclass(frozen=True)
class OpticalRule:
    """How the pixels of one Sentinel-2 item become reflectance.

    ``reflectance = digital number * scale + offset`` wherever the number is not ``nodata``.
    """

    assets: tuple[tuple[str, str], ...]
    classification: str | None
    scale: float
    offset: float
    offset_reason: str
    level: str
    data_type: str
    nodata: float
    classes: str = "SCL"
    resampling: str = "bilinear"


def processing_level(item: Any) -> str:
    """Top or bottom of atmosphere.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-2 item.

    Returns
    -------
    {"TOA", "BOA"}

    Raises
    ------
    UnitsError
        The item is neither Level-1C nor Level-2A, or does not tell.
    """
    item = plain(item)
    properties = item.get("properties", {})
    rule = collection_rule(item, "S2")
    composite = rule.refused or _composite(properties)
    if composite:
        raise UnitsError(
            f"Item {item.get('id')!r} of collection {item.get('collection')!r} is {composite}; it "
            "is no Sentinel-2 scene of Level-1C or Level-2A. Search scenes instead: "
            'load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]).'
        )
    stated = _level_in(properties.get(key) for key in (*_PRODUCT_TYPES, "processing:level"))
    named = (*(properties.get(key) for key in _PRODUCT_NAMES), item.get("id"))
    level = stated or rule.level or _level_in((*named, item.get("collection")))
    if level in ("TOA", "BOA"):
        return level
    raise UnitsError(
        f"Item {item.get('id')!r} of collection {item.get('collection')!r} is no Sentinel-2 scene "
        "of Level-1C or Level-2A, so its reflectance is undefined. "
        'Search scenes instead: load(..., collections=["sentinel-2-l1c", "sentinel-1-rtc"]).'
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
    return f"a composite from {start} to {end}, no acquisition"


def processing_baseline(item: Any) -> float | None:
    """Processing baseline of a Sentinel-2 item, as stated or in the product's name, or None."""
    item = plain(item)
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
    """Offset that turns the stored numbers of one item into reflectance, and why.

    In this order: a flag that the offset is in the pixels already; the offset that the assets
    declare; the processing baseline; the date, which is a guess and says so. A collection may
    leave steps out: see :class:`xcloudfree.stac.CollectionRule`.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-2 item.
    assets : iterable of str
        Keys of the assets to be read.

    Returns
    -------
    tuple of (float, str)

    Raises
    ------
    UnitsError
        Assets of one item that declare different offsets, or nothing tells the offset.

    Examples
    --------
    >>> reflectance_offset({"id": "", "properties": {"s2:processing_baseline": "03.01"},
    ...                     "assets": {"B02": {}}}, ["B02"])
    (0.0, 'processing baseline 3.01')
    """
    item, assets = plain(item), list(assets)
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
            declared = agreed(item, assets, "offset")
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
        f"Item {item.get('id')!r} tells no reflectance offset. Say it: "
        f"load(..., offsets={{{item.get('id')!r}: -0.1}})."
    )


def optical_rule(
    item: Any,
    bands: Iterable[str] | None = None,
    offsets: Mapping[str, float] | float | None = None,
) -> OpticalRule:
    """Everything needed to read one Sentinel-2 item as reflectance.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-2 item.
    bands : iterable of str, optional
        Canonical bands that will be read. Default: all that the item has.
    offsets : mapping of str to float, or float, optional
        Offsets that the caller knows better, by the item's id, or one for all.

    Returns
    -------
    OpticalRule

    Raises
    ------
    UnitsError
        The item does not tell its level, or its bands contradict each other.
    """
    item = plain(item)
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
                f"offsets= gives {offset:g} for item {item.get('id')!r}, and reflectance is meant, "
                f"not stored numbers: load(..., offsets={{{item.get('id')!r}: {BASELINE_OFFSET}}})."
            )
    scale = agreed(item, assets.values(), "scale")
    data_type = agreed(item, assets.values(), "data_type")
    nodata = agreed(item, assets.values(), "nodata")
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
    """Reflectance of stored numbers, NaN where there are none.

    Parameters
    ----------
    numbers : numpy.ndarray
        Stored (integer) numbers.
    scale, offset, nodata : float
        See :class:`OpticalRule`.

    Returns
    -------
    numpy.ndarray
        float32.

    Examples
    --------
    >>> reflectance(np.array([0, 1, 3500], "uint16"), scale=1e-4, offset=-0.1, nodata=0)
    array([    nan, -0.0999,  0.25  ], dtype=float32)
    """
    # in whole numbers first: 0.1 is no binary fraction, and thresholds are compared exactly
    shifted = numbers.astype(np.float32) + np.float32(round(offset / scale, 6))
    out = shifted / np.float32(round(1 / scale, 6))
    return np.where(numbers == nodata, np.float32(np.nan), out)


def decibel(power: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Decibels of linear power, NaN where there is none.

    Parameters
    ----------
    power : numpy.ndarray
        Linear power; nodata is anything not above zero.

    Returns
    -------
    numpy.ndarray
        float32.

    Examples
    --------
    >>> decibel(np.array([1.0, 0.01, 0.0, -32768.0]))
    array([  0., -20.,  nan,  nan], dtype=float32)
    """
    valid = power > 0
    safe = np.where(valid, power, 1.0)
    return np.where(valid, 10 * np.log10(safe), np.nan).astype(np.float32)

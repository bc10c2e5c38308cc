"""What one STAC item says about its pixels: bands, scale, offset, level, backscatter, pass.

Every rule reads one item and nothing else. Collections mix processing baselines, dates do not tell
reprocessed from original scenes, so no rule is allowed to look at either first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xcloudfree.bands import sar_band
from xcloudfree.exceptions import UnitsError
from xcloudfree.stac.assets import agreed, optical_assets, plain, sar_assets
from xcloudfree.stac.pairing import pass_key

SCALE = 1e-4
"""Reflectance per digital number of every Sentinel-2 product."""

BASELINE_OFFSET = -0.1
"""Reflectance offset since processing baseline 04.00 (-1000 digital numbers)."""

_OFFSET_SINCE = "2022-01-25"
_APPLIED_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
_PRODUCT_NAMES = ("s2:product_uri", "sentinel:product_id")
_PRODUCT_TYPES = ("s2:product_type", "product:type")
_LEVEL = re.compile(r"(?:^|MSI|[-_])(?:L([123])[AC]?|([123])[AC])(?:$|[-_.])")
_UNIT_STAMP, _QUANTITY_STAMP = "xcloudfree:units", "xcloudfree:quantity"


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


@dataclass(frozen=True)
class SarRule:
    """What the pixels of one Sentinel-1 item mean, and which pass they belong to."""

    assets: tuple[tuple[str, str], ...]
    quantity: str
    units: str
    nodata: float
    pass_key: str
    relative_orbit: int | None


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
    keys = (*_PRODUCT_TYPES, "processing:level", *_PRODUCT_NAMES)
    texts = (*(properties.get(key) for key in keys), item.get("id"), item.get("collection"))
    match = next(filter(None, (_LEVEL.search(str(text or "").upper()) for text in texts)), None)
    level = "" if match is None else match.group(1) or match.group(2)
    if level in ("1", "2"):
        return "TOA" if level == "1" else "BOA"
    raise UnitsError(
        f"Item {item.get('id')!r} of collection {item.get('collection')!r} is no Sentinel-2 scene "
        "of Level-1C or Level-2A, so its reflectance is undefined. "
        'Search scenes instead: load(..., collections=["sentinel-2-l1c", "sentinel-1-rtc"]).'
    )


def processing_baseline(item: Any) -> float | None:
    """Processing baseline of a Sentinel-2 item, as stated or in the product's name, or None."""
    item = plain(item)
    properties = item.get("properties", {})
    for key in _BASELINES:
        match = re.match(r"\d+(\.\d+)?", str(properties.get(key, "")))
        if match:
            return float(match.group())
    for name in (*(properties.get(key) for key in _PRODUCT_NAMES), item.get("id")):
        match = re.search(r"_N(\d{2})(\d{2})_", str(name))
        if match:
            return float(f"{match.group(1)}.{match.group(2)}")
    return None


def reflectance_offset(item: Any, assets: Iterable[str]) -> tuple[float, str]:
    """Offset that turns the stored numbers of one item into reflectance, and why.

    In this order: a flag that the offset is in the pixels already; the offset that the assets
    declare; the processing baseline; the date, which is a guess and says so.

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
        Assets of one item that declare different offsets.

    Examples
    --------
    >>> reflectance_offset({"id": "", "properties": {"s2:processing_baseline": "03.01"},
    ...                     "assets": {"B02": {}}}, ["B02"])
    (0.0, 'processing baseline 3.01')
    """
    item = plain(item)
    properties = item.get("properties", {})
    for flag in _APPLIED_FLAGS:
        if properties.get(flag) is True:
            return 0.0, f"{flag} is true"
    declared = agreed(item, assets, "offset")
    if declared is not None:
        return float(declared), "declared by the assets"
    baseline = processing_baseline(item)
    if baseline is not None:
        offset = BASELINE_OFFSET if baseline >= 4 else 0.0
        return offset, f"processing baseline {baseline:.2f}"
    date = str(properties.get("datetime") or properties.get("start_datetime"))
    return (BASELINE_OFFSET if date >= _OFFSET_SINCE else 0.0), "GUESS from the date"


def optical_rule(item: Any, bands: Iterable[str] | None = None) -> OpticalRule:
    """Everything needed to read one Sentinel-2 item as reflectance.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-2 item.
    bands : iterable of str, optional
        Canonical bands that will be read. Default: all that the item has.

    Returns
    -------
    OpticalRule

    Raises
    ------
    UnitsError
        The item does not tell its level, or its bands contradict each other.
    """
    item = plain(item)
    keys = optical_assets(item)
    classification = keys.pop("SCL", None)
    wanted = set(keys) if bands is None else set(bands)
    assets = {band: key for band, key in keys.items() if band in wanted}
    offset, reason = reflectance_offset(item, assets.values())
    scale = agreed(item, assets.values(), "scale")
    data_type = agreed(item, assets.values(), "data_type")
    nodata = agreed(item, assets.values(), "nodata")
    return OpticalRule(
        assets=tuple(assets.items()),
        classification=classification,
        scale=SCALE if scale is None else float(scale),
        offset=offset,
        offset_reason=reason,
        level=processing_level(item),
        data_type=str(data_type or "uint16"),
        nodata=0.0 if nodata is None else float(nodata),
    )


def sar_rule(item: Any) -> SarRule:
    """What the pixels of one Sentinel-1 item mean.

    Parameters
    ----------
    item : pystac.Item or mapping
        A Sentinel-1 item.

    Returns
    -------
    SarRule

    Raises
    ------
    UnitsError
        The item is not radiometrically terrain corrected (RTC): ground range detected (GRD)
        products hold uncalibrated amplitudes without a map projection.
    """
    item = plain(item)
    properties = item.get("properties", {})
    assets = sar_assets(item)
    stamps = [properties, *(item["assets"][key] for key in assets.values())]
    quantity = next((s[_QUANTITY_STAMP] for s in stamps if _QUANTITY_STAMP in s), None)
    if quantity is None:
        product = f"{properties.get('sar:product_type')} {item.get('collection')} {item.get('id')}"
        named = {band[1] for band in map(sar_band, assets.values()) if band is not None}
        if "RTC" not in product.upper() and named != {"gamma0"}:
            raise UnitsError(
                f"Item {item.get('id')!r} of collection {item.get('collection')!r} is not terrain "
                "corrected: GRD amplitudes have neither calibration nor a map grid. Take an RTC "
                'collection, load(..., collections=["sentinel-2-l2a", "sentinel-1-rtc"]), or leave '
                "Sentinel-1 out: load(..., polarisations=())."
            )
        quantity = "gamma0"
    nodata = agreed(item, assets.values(), "nodata")
    relative = properties.get("sat:relative_orbit")
    return SarRule(
        assets=tuple(sorted(assets.items(), reverse=True)),
        quantity=str(quantity),
        units=str(next((s[_UNIT_STAMP] for s in stamps if _UNIT_STAMP in s), "1")),
        nodata=float("nan") if nodata is None else float(nodata),
        pass_key=pass_key(item),
        relative_orbit=None if relative is None else int(relative),
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

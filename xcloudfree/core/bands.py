"""Names of Sentinel-1 and Sentinel-2 bands: one canonical name each, and common aliases."""

from __future__ import annotations

import re

S2_BANDS: tuple[str, ...] = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip
"""The 13 bands of Sentinel-2 MSI in the order that every network expects."""

POLARISATIONS: tuple[str, ...] = ("VV", "VH", "HH", "HV")
"""Polarisations of Sentinel-1."""

RGB: tuple[str, str, str] = ("B04", "B03", "B02")

_ALIASES: dict[str, tuple[str, ...]] = {
    "B01": ("coastal", "coastal_aerosol"),
    "B02": ("blue",),
    "B03": ("green",),
    "B04": ("red",),
    "B05": ("rededge1", "red_edge_1", "rededge071"),
    "B06": ("rededge2", "red_edge_2", "rededge075"),
    "B07": ("rededge3", "red_edge_3", "rededge078"),
    "B08": ("nir", "nir_1"),
    "B8A": ("nir08", "nir_2"),
    "B09": ("nir09", "water_vapour", "water_vapor"),
    "B10": ("cirrus",),
    "B11": ("swir16", "swir_2"),
    "B12": ("swir22", "swir_3"),
}
_BY_ALIAS = {alias: band for band, aliases in _ALIASES.items() for alias in aliases}

_PREFIX = re.compile(r"^(nbart_|nbar_|boa_|toa_)")
_SUFFIX = re.compile(r"_(10|20|60)m$")
_NUMBER = re.compile(r"^b0?(\d{1,2}|8a)$")
_SAR = re.compile(r"^(?:(gamma0|sigma0|beta0)_)?(vv|vh|hh|hv)(?:_asc|_desc)?$")


def optical_band(name: object) -> str | None:
    """Return the canonical Sentinel-2 band of a variable or coordinate name, or None.

    Parameters
    ----------
    name : object
        A name as used by catalogs: ``B02``, ``b2``, ``blue``, ``B02_10m``, ``nbart_blue``.

    Returns
    -------
    str or None
        One of :data:`S2_BANDS`, or None if the name is not a Sentinel-2 band.

    Examples
    --------
    >>> [optical_band(n) for n in ("B02", "blue", "B02_10m", "nbart_blue", "B8A", "SCL")]
    ['B02', 'B02', 'B02', 'B02', 'B8A', None]
    """
    key = _SUFFIX.sub("", _PREFIX.sub("", str(name).lower()))
    if key in _BY_ALIAS:
        return _BY_ALIAS[key]
    match = _NUMBER.match(key)
    if match is None:
        return None
    number = match.group(1)
    band = "B8A" if number == "8a" else f"B{int(number):02d}"
    return band if band in S2_BANDS else None


def sar_band(name: object) -> tuple[str, str | None] | None:
    """Return the polarisation, and the quantity if named, of a Sentinel-1 band name.

    Parameters
    ----------
    name : object
        A name as used by catalogs: ``VV``, ``vh``, ``gamma0_vv``, ``vv_asc``.

    Returns
    -------
    tuple of (str, str or None), or None
        Polarisation (one of :data:`POLARISATIONS`) and ``"gamma0"``, ``"sigma0"``, ``"beta0"`` or
        None; or None if the name is not a Sentinel-1 band.

    Examples
    --------
    >>> sar_band("gamma0_vv"), sar_band("VH"), sar_band("B02")
    (('VV', 'gamma0'), ('VH', None), None)
    """
    match = _SAR.match(str(name).lower())
    return None if match is None else (match.group(2).upper(), match.group(1))


def is_scene_classification(name: object) -> bool:
    """Return whether a name is the scene classification (SCL) of Sentinel-2 Level-2A.

    Parameters
    ----------
    name : object
        A variable or coordinate name.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_scene_classification("SCL_20m"), is_scene_classification("B02")
    (True, False)
    """
    return _SUFFIX.sub("", str(name).lower()) == "scl"

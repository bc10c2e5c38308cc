"""What can be said about a provider and its collections; the words of the provider table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

OFFSET_STEPS: tuple[str, ...] = ("flag", "declared", "baseline", "date")
"""Where the offset of a Sentinel-2 item is looked for, in this order. ``flag``: the item says that
the offset is in its pixels already. ``declared``: the offset that the assets declare. ``baseline``:
-0.1 from processing baseline 04.00 on. ``date``: -0.1 from 25 January 2022 on, marked a guess. The
only other step, ``none``, says that the collection has no offset at all."""

APPLIED_FLAGS: tuple[str, ...] = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Properties that say, if true, that the offset is in the pixels already."""


@dataclass(frozen=True)
class CollectionRule:
    """How the pixels of one collection become reflectance or backscatter.

    What an item itself declares (scale, offset, nodata, data type) always goes before what stands
    here.

    Parameters
    ----------
    collection : str
        Name of the collection; ``?`` and ``*`` stand for any letter and any letters.
    mission : {"S2", "S1"}
        Sentinel-2 or Sentinel-1.
    assets : mapping of str to tuple of str
        For every band (``B01``..``B12``) or polarisation (``VV``..) the keys of its assets, best
        first. Bands that are not named here are recognised by their names.
    classes : tuple of (str, tuple of str), optional
        Variable and asset keys of the classification: ``("SCL", ("scl",))`` or
        ``("fmask", ("oa_fmask",))``.
    level : {"TOA", "BOA"}, optional
        Top or bottom of atmosphere. Default: what the item says.
    quantity : {"gamma0", "sigma0"}, optional
        Kind of backscatter.
    units : {"1", "dB", "DN"}
        Unit of stored backscatter: linear power, decibel, or uncalibrated amplitude.
    data_type : str
        Type of the stored numbers.
    scale : float
        Reflectance per stored number.
    nodata : float
        Stored number without a measurement.
    offset : tuple of str
        Where the reflectance offset is looked for: see :data:`OFFSET_STEPS`.
    flags : tuple of str
        Properties that say, if true, that the offset is in the pixels already.
    geolocation : {"grid", "gcps"}
        Whether the files lie on a map grid, or in radar geometry with ground control points.
    resampling : str
        How pixels are brought onto a grid that is as fine or finer; onto a coarser one they are
        averaged. Classes are always taken from the nearest pixel.
    refused : str
        Why the collection cannot be loaded; empty where it can.

    Examples
    --------
    >>> rule = CollectionRule("farm-s2", "S2", {"B04": ("red",)}, level="BOA", offset=("none",))
    >>> rule.scale, rule.offset
    (0.0001, ('none',))
    """

    collection: str
    mission: Literal["S2", "S1"] = "S2"
    assets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, tuple[str, ...]] | None = None
    level: Literal["TOA", "BOA"] | None = None
    quantity: Literal["gamma0", "sigma0"] | None = None
    units: Literal["1", "dB", "DN"] = "1"
    data_type: str = "uint16"
    scale: float = 1e-4
    nodata: float = 0.0
    offset: tuple[str, ...] = OFFSET_STEPS
    flags: tuple[str, ...] = APPLIED_FLAGS
    geolocation: Literal["grid", "gcps"] = "grid"
    resampling: str = "bilinear"
    refused: str = ""


@dataclass(frozen=True)
class Provider:
    """A catalog and its collections.

    Parameters
    ----------
    name : str
        What people call it.
    url : str
        Address of its STAC API; empty where there is none.
    collections : tuple of CollectionRule
        What it offers.
    hosts : tuple of str
        Ends of the host names of its API.
    dialect : {"query", "cql2", ""}
        How its API takes property filters although it does not declare it. Empty: only as declared.
    access : str
        What a user must do before pixels can be read.

    Examples
    --------
    >>> from xcloudfree.stac.rules.provider_table import PROVIDERS
    >>> PROVIDERS[0].name, PROVIDERS[0].dialect
    ('Planetary Computer', 'query')
    """

    name: str
    url: str
    collections: tuple[CollectionRule, ...]
    hosts: tuple[str, ...] = ()
    dialect: Literal["query", "cql2", ""] = ""
    access: str = ""

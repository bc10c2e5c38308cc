"""Which rule applies to an item: the provider table, users' entries, and a generic rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urlsplit

from xcloudfree.core.bands import POLARISATIONS, S2_BANDS
from xcloudfree.exceptions import CatalogError

OFFSET_STEPS: tuple[str, ...] = ("flag", "declared", "baseline", "date")
"""Steps that determine the offset of a Sentinel-2 item, in this order. ``flag``: the item says that
the offset was already applied. ``declared``: the offset that the assets declare. ``baseline``:
-0.1 from processing baseline 04.00 on. ``date``: -0.1 from 25 January 2022 on, marked a guess. The
only other step, ``none``, says that the collection has no offset."""

APPLIED_FLAGS: tuple[str, ...] = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Properties that say, if true, that the offset was already applied."""


@dataclass(frozen=True)
class CollectionRule:
    """How to convert the pixels of one collection to reflectance or backscatter.

    What an item itself declares (scale, offset, nodata, data type) takes precedence over this
    rule.

    Parameters
    ----------
    collection : str
        Name of the collection; ``?`` matches any letter and ``*`` any letters.
    mission : {"S2", "S1"}
        Sentinel-2 or Sentinel-1.
    assets : mapping of str to tuple of str
        Asset keys of every band (``B01``..``B12``) or polarisation (``VV``..), best
        first. Bands that are not listed are recognised by their names.
    classes : tuple of (str, tuple of str), optional
        Variable and asset keys of the classification: ``("SCL", ("scl",))`` or
        ``("fmask", ("oa_fmask",))``.
    level : {"TOA", "BOA"}, optional
        Top or bottom of atmosphere. Default: as declared by the item.
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
        Steps that determine the reflectance offset: see :data:`OFFSET_STEPS`.
    flags : tuple of str
        Properties that say, if true, that the offset was already applied.
    geolocation : {"grid", "gcps"}
        Whether the files lie on a map grid, or in radar geometry with ground control points.
    resampling : str
        How pixels are resampled to a grid that is as fine or finer; onto a coarser one they are
        averaged. Classes are always resampled by nearest neighbour.
    refused : str
        Why the collection cannot be loaded; empty if it can.

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
        Common name.
    url : str
        Address of its STAC API; empty if there is none.
    collections : tuple of CollectionRule
        Its collections.
    hosts : tuple of str
        Last parts of the host names of its API.
    dialect : {"query", "cql2", ""}
        Property filters that its API supports without declaring them. Empty: only as declared.
    access : str
        What a user must do before pixels can be read.

    Examples
    --------
    >>> from xcloudfree.stac.rules.providers import PROVIDERS
    >>> PROVIDERS[0].name, PROVIDERS[0].dialect
    ('Planetary Computer', 'query')
    """

    name: str
    url: str
    collections: tuple[CollectionRule, ...]
    hosts: tuple[str, ...] = ()
    dialect: Literal["query", "cql2", ""] = ""
    access: str = ""


# The known providers, as data; docs/catalogs.md is generated from this table

_NO_CIRRUS = tuple(band for band in S2_BANDS if band != "B10")
_METRES = {
    **dict.fromkeys(S2_BANDS, (20, 60)),
    **dict.fromkeys(("B02", "B03", "B04"), (10, 20, 60)),
    **dict.fromkeys(("B01",), (60, 20)),
    **dict.fromkeys(("B09", "B10"), (60,)),
    "B08": (10,),
}
_COMMON = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1",
    "B06": "rededge2", "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09",
    "B10": "cirrus", "B11": "swir16", "B12": "swir22",
}  # fmt: skip

_NUMBERED = {band: (band,) for band in S2_BANDS}
_NUMBERED_L2A = {band: (band,) for band in _NO_CIRRUS}
_NAMED = {band: (name,) for band, name in _COMMON.items()}
_NAMED_L2A = {band: (_COMMON[band], f"{_COMMON[band]}-jp2") for band in _NO_CIRRUS}
_TWINS = {band: tuple(f"{band}_{metres}m" for metres in _METRES[band]) for band in _NO_CIRRUS}
_EITHER = {band: (_COMMON[band], band) for band in _NO_CIRRUS}
_NBART = {
    "B01": ("nbart_coastal_aerosol",), "B02": ("nbart_blue",), "B03": ("nbart_green",),
    "B04": ("nbart_red",), "B05": ("nbart_red_edge_1",), "B06": ("nbart_red_edge_2",),
    "B07": ("nbart_red_edge_3",), "B08": ("nbart_nir_1",), "B8A": ("nbart_nir_2",),
    "B11": ("nbart_swir_2",), "B12": ("nbart_swir_3",),
}  # fmt: skip
_SCL = ("SCL", ("SCL",))
_SCL_TWIN = ("SCL", ("scl", "scl-jp2"))
_SCL_EITHER = ("SCL", ("scl", "SCL"))
_POLS = {pol: (pol.lower(),) for pol in POLARISATIONS}
_UPPER = {pol: (pol,) for pol in POLARISATIONS}
_GAMMA = {pol: (f"gamma0_{pol.lower()}",) for pol in POLARISATIONS}


def _rtc(collection: str, assets: Mapping[str, tuple[str, ...]], nodata: float) -> CollectionRule:
    return CollectionRule(
        collection, "S1", assets, quantity="gamma0", data_type="float32", nodata=nodata
    )


_GRD = CollectionRule(
    "sentinel-1-grd", "S1", _POLS, quantity="sigma0", units="DN", geolocation="gcps"
)

PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "Planetary Computer",
        "https://planetarycomputer.microsoft.com/api/stac/v1",
        (
            CollectionRule("sentinel-2-l2a", "S2", _NUMBERED_L2A, _SCL, "BOA"),
            _rtc("sentinel-1-rtc", _POLS, -32768.0),
            _GRD,
        ),
        hosts=("planetarycomputer.microsoft.com",),
        dialect="query",
        access="`sign=planetary_computer.sign` (an account for sentinel-1-rtc)",
    ),
    Provider(
        "Earth Search v1",
        "https://earth-search.aws.element84.com/v1",
        (
            CollectionRule("sentinel-2-l1c", "S2", _NAMED, None, "TOA"),
            CollectionRule("sentinel-2-c1-l2a", "S2", _NAMED_L2A, _SCL_TWIN, "BOA"),
            CollectionRule("sentinel-2-l2a", "S2", _NAMED_L2A, _SCL_TWIN, "BOA"),
            _GRD,
        ),
        hosts=("earth-search.aws.element84.com",),
        access="Level-2A: none. Level-1C and GRD: requester pays, see below",
    ),
    Provider(
        "Earth Search v0",
        "https://earth-search.aws.element84.com/v0",
        (CollectionRule("sentinel-s2-l2a-cogs", "S2", _NUMBERED_L2A, _SCL, "BOA"),),
        hosts=("earth-search.aws.element84.com",),
        access="none",
    ),
    Provider(
        "Copernicus Data Space (CDSE)",
        "https://stac.dataspace.copernicus.eu/v1",
        (
            CollectionRule("sentinel-2-l1c", "S2", _NUMBERED, None, "TOA"),
            CollectionRule("sentinel-2-l2a", "S2", _TWINS, ("SCL", ("SCL_20m", "SCL_60m")), "BOA"),
            _GRD,
            CollectionRule(
                "sentinel-2-global-mosaics",
                "S2",
                refused="a composite of three months, no acquisition: it has no time to pair "
                "Sentinel-1 with, and no level",
            ),
        ),
        hosts=("dataspace.copernicus.eu",),
        access="S3 keys, see below",
    ),
    Provider(
        "AWS (Indigo RTC)",
        "",
        (_rtc("sentinel1-rtc-aws", _GAMMA, 0.0), _rtc("sentinel-s1-rtc-indigo", _GAMMA, 0.0)),
        access="none; no API, give the items",
    ),
    Provider(
        "OPERA",
        "",
        (
            _rtc("OPERA_L2_RTC-S1_V1*", _UPPER, float("nan")),
            _rtc("opera-s1-rtc-v1", _UPPER, float("nan")),
        ),
        access="an Earthdata login; bursts at 30 m, give the items",
    ),
    Provider(
        "Digital Earth Australia",
        "https://explorer.dea.ga.gov.au/stac",
        (
            CollectionRule(
                "ga_s2?m_ard_3",
                "S2",
                _NBART,
                ("fmask", ("oa_fmask",)),
                "BOA",
                data_type="int16",
                nodata=-999.0,
                offset=("none",),
            ),
        ),
        hosts=("dea.ga.gov.au",),
        dialect="cql2",
        access="public S3, see below",
    ),
    Provider(
        "Digital Earth Africa",
        "https://explorer.digitalearth.africa/stac",
        (
            CollectionRule("s2_l2a_c1", "S2", _EITHER, _SCL_EITHER, "BOA"),
            CollectionRule("s2_l2a", "S2", _EITHER, _SCL_EITHER, "BOA"),
            _rtc("s1_rtc", _POLS, float("nan")),
        ),
        hosts=("digitalearth.africa",),
        dialect="cql2",
        access="public S3 in af-south-1, see below",
    ),
)
"""All known providers. The first collection that fits an item determines its rule."""

GENERIC: dict[str, CollectionRule] = {
    "S2": CollectionRule("*", "S2"),
    "S1": CollectionRule("*", "S1", data_type="float32", nodata=float("nan")),
}
"""The rule for any other catalog: bands by their names, the rest as the item declares it."""


# Which rule applies to an item

_TELLING = ("self", "root", "collection", "parent")


def as_mapping(item: Any) -> Mapping[str, Any]:
    """The item as a plain mapping, links untouched (nothing is resolved over the network)."""
    if isinstance(item, Mapping):
        return item
    out: Mapping[str, Any] = item.to_dict(include_self_link=True, transform_hrefs=False)
    return out


def link_hosts(item: Mapping[str, Any]) -> set[str]:
    """Names of the hosts that the item refers to."""
    addresses = [
        str(link.get("href")) for link in item.get("links") or [] if link.get("rel") in _TELLING
    ]
    return {host for host in (urlsplit(address).hostname for address in addresses) if host}


_registered: list[Provider] = []


def register(provider: Provider | CollectionRule) -> None:
    """Add a provider or a collection to those that :func:`xcloudfree.stac.load` knows.

    The latest entry takes precedence, so you can also override known collections.

    Parameters
    ----------
    provider : Provider or CollectionRule
        The entry to add. It replaces an earlier entry of the same name.

    Raises
    ------
    CatalogError
        The entry contradicts itself.

    Examples
    --------
    >>> register(CollectionRule("my-s2", "S2", {"B04": ("band_3",)}, level="BOA",
    ...                         data_type="int16", nodata=-9999, offset=("none",)))
    >>> collection_rule({"collection": "my-s2", "assets": {"band_3": {}}}, "S2").nodata
    -9999
    >>> unregister("my-s2")
    """
    if isinstance(provider, CollectionRule):
        provider = Provider(provider.collection, "", (provider,))
    for rule in provider.collections:
        unknown = set(rule.offset) - {*OFFSET_STEPS, "none"}
        if unknown or not rule.offset:
            raise CatalogError(
                f"offset={rule.offset!r} of collection {rule.collection!r} is not a sequence of "
                f"{', '.join(OFFSET_STEPS)}, or none",
                fix=f"call register(CollectionRule({rule.collection!r}, offset={OFFSET_STEPS}))",
            )
    unregister(provider.name)
    _registered.insert(0, provider)


def unregister(name: str) -> None:
    """Remove the entry with a name; nothing happens if there is none."""
    _registered[:] = [provider for provider in _registered if provider.name != name]


def known_providers() -> tuple[Provider, ...]:
    """Every provider, users' entries first."""
    return (*_registered, *PROVIDERS)


def provider_at(host: str | None) -> Provider | None:
    """Provider of an API."""
    return next((one for one in known_providers() if _serves(one, {host or ""})), None)


def _serves(provider: Provider, hosts: Iterable[str]) -> bool:
    return any(h == end or h.endswith(f".{end}") for h in hosts for end in provider.hosts)


def collection_rule(item: Any, mission: str) -> CollectionRule:
    """Return the rule for an item, or the generic one of the mission."""
    # several providers use the same collection name, so the item decides: by the hosts of its
    # links, then by the rule that names most of its assets
    item = as_mapping(item)
    name = str(item.get("collection") or "")
    hosts, keys = link_hosts(item), set(item.get("assets") or ())
    best, found = (False, 0), None
    for provider in known_providers():
        for rule in provider.collections:
            if rule.mission != mission or not fnmatchcase(name, rule.collection):
                continue
            fit = sum(bool(keys.intersection(candidates)) for candidates in rule.assets.values())
            if rule.assets and not fit:
                continue
            if provider in _registered:
                return rule
            if found is None or (_serves(provider, hosts), fit) > best:
                best, found = (_serves(provider, hosts), fit), rule
    return found or GENERIC[mission]


def mission_of(collection: str | None) -> str | None:
    """Mission of a known collection."""
    rules = (rule for provider in known_providers() for rule in provider.collections)
    return next((r.mission for r in rules if fnmatchcase(collection or "", r.collection)), None)

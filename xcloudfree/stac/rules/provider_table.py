"""The providers that are known, as data. ``docs/catalogs.md`` is written from this table."""

from __future__ import annotations

from collections.abc import Mapping

from xcloudfree.core.bands import POLARISATIONS, S2_BANDS
from xcloudfree.stac.rules.provider_rule import CollectionRule, Provider

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
        (
            _rtc("sentinel1-rtc-aws", _GAMMA, 0.0),
            _rtc("sentinel-s1-rtc-indigo", _GAMMA, 0.0),
        ),
        access="none; no API, give the items",
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
"""Every provider that is known. The first collection that fits an item speaks for it."""

GENERIC: dict[str, CollectionRule] = {
    "S2": CollectionRule("*", "S2"),
    "S1": CollectionRule("*", "S1", data_type="float32", nodata=float("nan")),
}
"""What holds for any other catalog: bands by their names, the rest as the item declares it."""

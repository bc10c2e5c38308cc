"""Items of every provider, real and made up, and how each stores its reflectance."""

from tests import archive
from tests.archive import L2A, NAMES, NBART, TWIN, Encoding, keyed

JP2 = {"driver": "JP2OpenJPEG", "declared": False}  # JPEG 2000 cannot tell its nodata

# What each item's own metadata and ESA's and the providers' descriptions say of its pixels.
REAL = {
    "planetary-computer/sentinel-2-l2a": Encoding(
        keyed(str, L2A), shift=1000, declared=False, classes="SCL"
    ),
    "earth-search/sentinel-2-l1c": Encoding(dict(NAMES), shift=1000, **JP2),
    "earth-search/sentinel-2-l1c.oldest": Encoding(dict(NAMES), shift=1000, **JP2),
    "earth-search/sentinel-2-l2a": Encoding(keyed(NAMES.get, L2A), shift=0, classes="scl"),
    "earth-search/sentinel-2-c1-l2a": Encoding(keyed(NAMES.get, L2A), shift=1000, classes="scl"),
    "earth-search-v0/sentinel-s2-l2a-cogs": Encoding(keyed(str, L2A), classes="SCL"),
    "earth-search-v0/sentinel-s2-l2a-cogs_28QCH_s3": Encoding(keyed(str, L2A), classes="SCL"),
    "cdse/sentinel-2-l2a": Encoding(TWIN, shift=1000, classes="SCL_20m", **JP2),
    "stactools/sentinel2-l1c-example": Encoding(dict(NAMES), **JP2),
    "stactools/sentinel2-l2a-example": Encoding(keyed(NAMES.get, L2A), classes="scl"),
}


def cdse_l1c(baseline):
    assets = {b: {"href": "", "type": "image/jp2", "proj:code": "EPSG:32632"} for b in NAMES}
    number = baseline.replace(".", "")
    return archive.made_up(
        f"S2A_MSIL1C_20180601T104021_N{number}_R008_T32UNA_20230801T000000",
        "sentinel-2-l1c",
        "2018-06-01T10:40:21Z",
        {key: asset | at(key) for key, asset in assets.items()},
        **{
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "processing:version": baseline,
            "product:type": "S2MSI1C",
            "sat:relative_orbit": 8,
        },
    )


def at(band):
    size = archive.metres(band) if band in NAMES else 20
    return {"proj:transform": [size, 0, 600000, 0, -size, 5300040], "proj:shape": [1, 1]}


def dea(satellite):
    keys = [*NBART.items(), ("SCL", "oa_fmask")]
    assets = {key: {"href": "", "proj:code": "EPSG:32755"} | at(band) for band, key in keys}
    return archive.made_up(
        f"ga_s2{satellite}m_ard_3-2-1_55HFB_2023-01-01_final",
        f"ga_s2{satellite}m_ard_3",
        "2023-01-01T00:06:35Z",
        assets,
        epsg=32755,
        top=6100000,
        platform=f"sentinel-2{satellite}",
        **{
            "odc:region_code": "55HFB",
            "dea:dataset_maturity": "final",
            "proj:code": "EPSG:32755",
            "sentinel:datastrip_id": "S2B_OPER_MSI_L1C_DS_2BPS_20230101T041812_N05.09",
        },
    )


def de_africa():
    keys = [*((b, NAMES[b]) for b in L2A), ("SCL", "scl")]
    return archive.made_up(
        "S2A_36LYJ_20230305_0_L2A",
        "s2_l2a",
        "2023-03-05T07:51:00Z",
        {key: {"href": ""} | at(band) for band, key in keys},
        epsg=32736,
        top=8400040,
        platform="sentinel-2a",
        **{"proj:epsg": 32736, "odc:product": "s2_l2a", "sentinel:boa_offset_applied": True},
    )


def reprocessed(data_root):
    """An old scene at Planetary Computer, processed anew: its date misleads."""
    item = archive.read_item(data_root, "planetary-computer/sentinel-2-l2a")
    item["properties"] |= {"datetime": "2018-06-01T01:45:49Z", "s2:processing_baseline": "05.00"}
    return item


def old(data_root):
    item = archive.read_item(data_root, "planetary-computer/sentinel-2-l2a")
    name = item["properties"]["s2:product_uri"].replace("N0511", "N0212")
    item["properties"] |= {"s2:product_uri": name, "s2:processing_baseline": "02.12"}
    return item


def not_applied(data_root):
    item = archive.read_item(data_root, "earth-search/sentinel-2-l2a")
    item["properties"] |= {
        "earthsearch:boa_offset_applied": False,
        "s2:processing_baseline": "04.00",
    }
    return item


MADE_UP = {
    "cdse l1c 05.00": (lambda _: cdse_l1c("05.00"), Encoding(keyed(str), shift=1000, **JP2)),
    "cdse l1c 02.06": (lambda _: cdse_l1c("02.06"), Encoding(keyed(str), **JP2)),
    "dea a": (lambda _: dea("a"), Encoding(NBART, 0, "int16", -999, classes="oa_fmask")),
    "dea c": (lambda _: dea("c"), Encoding(NBART, 0, "int16", -999, False, "oa_fmask")),
    "de africa": (lambda _: de_africa(), Encoding(keyed(NAMES.get, L2A), classes="scl")),
    "pc reprocessed": (reprocessed, Encoding(keyed(str, L2A), shift=1000, classes="SCL")),
    "pc old": (old, Encoding(keyed(str, L2A), classes="SCL")),
    "earth search not applied": (
        not_applied,
        Encoding(keyed(NAMES.get, L2A), shift=1000, classes="scl"),
    ),
}


def case(data_root, name):
    if name in REAL:
        return archive.read_item(data_root, name), REAL[name]
    make, encoding = MADE_UP[name]
    return make(data_root), encoding

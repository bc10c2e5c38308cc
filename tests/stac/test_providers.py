"""Every archive's own encoding, on its real items and on made-up ones where it left no sample."""

import copy
import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from tests import archive
from tests.archive import BANDS, L2A, Encoding
from tests.provider_items import (
    MADE_UP,
    REAL,
    case,
    dea,
)
from xcloudfree import stac
from xcloudfree.exceptions import CatalogError, MissingBandError, UnitsError
from xcloudfree.stac.rules.assets import optical_assets
from xcloudfree.stac.rules.harmonise import optical_rule
from xcloudfree.stac.rules.providers import collection_rule, unregister

HALF_NUMBER = 5.01e-5  # half a digital number, and the rounding of float32


def worst(found, expected):
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    return np.nanmax(np.abs(found - expected))


@pytest.mark.parametrize("name", [*REAL, *MADE_UP])
def test_reflectance_within_half_a_number_on_the_exact_grid(data_root, tmp_path, name):
    item, encoding = case(data_root, name)
    lowest = -0.05 if encoding.shift or encoding.dtype == "int16" else 2e-4
    item, truth = archive.shrink(item, encoding, tmp_path, lowest=lowest)
    for size, names in BANDS.items():
        bands = [band for band in names if band in truth]
        if not bands:
            continue
        ds = stac.load([item], bands=bands, polarisations=())
        grid = GeoBox(
            truth[bands[0]].shape, archive.transform_at(item, size), archive.origin(item)[2]
        )
        assert ds.odc.geobox == grid
        for band in bands:
            assert ds[band].attrs["units"] == "1"
            assert worst(ds[band].values[0], truth[band]) < HALF_NUMBER


@pytest.mark.parametrize("name", [name for name in REAL if REAL[name].classes])
def test_all_bands_on_the_finest_grid_and_classes_unblended(data_root, tmp_path, name):
    item, encoding = case(data_root, name)
    item, truth = archive.shrink(item, encoding, tmp_path)
    ds = stac.load([item], polarisations=()).isel(time=0)
    assert ds.odc.geobox.shape == (archive.N, archive.N)
    assert ds.odc.geobox.affine == archive.transform_at(item, 10)
    np.testing.assert_array_equal(ds["SCL"], archive.classes().repeat(2, 0).repeat(2, 1))
    for band in ("B05", "B01"):
        found, coarse = ds[band].values, truth[band]
        factor = archive.N // coarse.shape[0]
        # bilinear between pixel centres, so a fine pixel lies between its coarse neighbours
        inner = found[factor:-factor, factor:-factor]
        valid = np.isfinite(inner)
        assert np.nanmin(coarse) - HALF_NUMBER < inner[valid].min()
        assert inner[valid].max() < np.nanmax(coarse) + HALF_NUMBER


def test_a_path_with_a_space(data_root, tmp_path):
    item, encoding = case(data_root, "planetary-computer/sentinel-2-l2a")
    item, truth = archive.shrink(item, encoding, tmp_path / "100 % of it")
    found = stac.load([item], bands=["B02"], polarisations=())["B02"].values[0]
    assert worst(found, truth["B02"]) < HALF_NUMBER


def test_a_plane_is_kept_from_20_and_60_metres_to_10(data_root, tmp_path, monkeypatch):
    def plane(band, seed=0, size=archive.N, lowest=0.0):
        step = archive.metres(band)
        y, x = (np.indices((size * 10 // step,) * 2) + 0.5) * step
        return 0.1 + 5e-4 * x + 2e-4 * y

    monkeypatch.setattr(archive, "truth", plane)
    item, encoding = case(data_root, "planetary-computer/sentinel-2-l2a")
    item, _ = archive.shrink(item, encoding, tmp_path)
    ds = stac.load([item], polarisations=()).isel(time=0)
    expected = plane("B02")
    inner = (slice(6, -6), slice(6, -6))
    for band in L2A:
        assert np.abs(ds[band].values - expected)[inner].max() < 2 * HALF_NUMBER


def test_pixels_are_averaged_onto_a_coarser_grid(data_root, tmp_path):
    item, encoding = case(data_root, "planetary-computer/sentinel-2-l2a")
    item, truth = archive.shrink(item, encoding, tmp_path)
    side = archive.N // 4
    grid = GeoBox((side, side), archive.transform_at(item, 40), archive.origin(item)[2])
    found = stac.load([item], bands=["B02"], like=grid, polarisations=())["B02"].values[0]
    blocks = truth["B02"].reshape(archive.N // 4, 4, archive.N // 4, 4)
    whole = np.isfinite(blocks).all((1, 3))
    error = np.abs(found - blocks.mean((1, 3)))[whole]
    assert error.max() < 1e-4


@pytest.mark.parametrize("left", ["proj:code", "nothing"])
@pytest.mark.parametrize("name", ["cdse l1c 05.00", "dea c"])
def test_a_grid_that_is_not_declared_is_that_of_the_files(data_root, tmp_path, name, left):
    item, encoding = case(data_root, name)
    item, truth = archive.shrink(item, encoding, tmp_path)
    x, y, crs = archive.origin(item)
    for fields in (item["properties"], *item["assets"].values()):
        for key in [key for key in fields if key.startswith("proj:")]:
            del fields[key]
    if left == "proj:code":
        item["properties"]["proj:code"] = crs
    ds = stac.load([item], bands=["B02", "B05"], polarisations=())
    expected = GeoBox((archive.N, archive.N), Affine(10, 0, x, 0, -10, y), crs)
    assert ds.odc.geobox == expected
    assert worst(ds["B02"].values[0], truth["B02"]) < HALF_NUMBER
    part = expected[20:50, 30:80]
    box = tuple(part.geographic_extent.boundingbox)
    found = stac.load([item], bands=["B02"], bbox=box, polarisations=())["B02"]
    assert set(expected.coordinates["x"].values[30:80]) <= set(found.x.values)


def test_digital_earth_australia_keeps_its_own_classification(tmp_path):
    items = []
    satellites = "abc"
    for day, satellite in enumerate(satellites):
        item, _ = archive.shrink(dea(satellite), MADE_UP["dea a"][1], tmp_path, day)
        item["properties"]["datetime"] = f"2023-01-0{day + 1}T00:06:35Z"
        items.append(item)
    ds = stac.load(items, polarisations=())
    assert ds.sizes["time"] == 3
    assert list(ds.offset_reason.values) == [f"ga_s2{s}m_ard_3 has no offset" for s in satellites]
    assert set(ds.level.values) == {"BOA"}
    assert "SCL" not in ds
    assert ds["fmask"].attrs["flag_meanings"].split()[2] == "cloud"
    np.testing.assert_array_equal(ds["fmask"][0, ::2, ::2], archive.classes())
    with pytest.raises(MissingBandError, match=r"there is fmask.*load\("):
        stac.load(items, bands=["B02", "SCL"], polarisations=())
    assert list(stac.load(items, bands=["B02", "fmask"], polarisations=())) == ["B02", "fmask"]


def near_scene(tmp_path, crs, left, top, time):
    """A Sentinel-2 item in some place, so that Sentinel-1 there has a scene to go with."""
    key = {"B02": "B02"}
    item = archive.made_up(
        "S2B_MSIL2A_20250311T044231_N0511_R074_T53NKG_20250312T041213",
        "sentinel-2-l2a",
        time,
        {"B02": {"href": "", "proj:transform": [10, 0, left, 0, -10, top], "proj:shape": [1, 1]}},
        epsg=int(crs.split(":")[1]),
        left=left,
        top=top,
        **{"proj:code": crs, "s2:processing_baseline": "05.11", "platform": "Sentinel-2B"},
    )
    return archive.shrink(item, Encoding(key, shift=1000), tmp_path)[0]


RTC = {
    "planetary-computer/sentinel-1-rtc": ("vv", "vh", -32768.0, 10),
    "stactools/sentinel1-rtc-aws": ("gamma0_vv", "gamma0_vh", 0.0, 20),
    "stactools/sentinel1-rtc-aws.oldest": ("gamma0_vv", "gamma0_vh", 0.0, 20),
}


@pytest.mark.parametrize("name", RTC)
def test_backscatter_within_a_twentieth_decibel_on_the_exact_grid(data_root, tmp_path, name):
    vv, vh, nodata, size = RTC[name]
    item = archive.read_item(data_root, name)
    _, _, left, _, _, top = item["properties"]["proj:transform"][:6]
    crs = f"EPSG:{item['properties']['proj:epsg']}"
    transform = Affine(size, 0, left, 0, -size, top)
    power = {}
    for seed, key in enumerate((vv, vh)):
        values = np.random.default_rng(seed).gamma(4, 0.02, (80, 80)).astype("float32")
        values[:9, :7] = nodata
        power[key] = np.where(values == nodata, np.nan, values)
        path = tmp_path / f"{key}.tif"
        item["assets"][key]["href"] = archive.write(path, values, transform, crs, nodata)
    item["properties"] |= {"proj:transform": list(transform)[:6], "proj:shape": [80, 80]}
    item["properties"].pop("proj:bbox", None)
    archive.place(item, left, top, crs, 80 * size)
    time = item["properties"]["datetime"]
    scene = near_scene(tmp_path, crs, left, top, time)
    grid = GeoBox((80, 80), transform, crs)
    ds = stac.load([scene, item], like=grid)
    assert ds.odc.geobox == grid
    assert ds["VV"].attrs == {"units": "dB", "quantity": "gamma0"}
    for pol, key in (("VV", vv), ("VH", vh)):
        assert worst(ds[pol].values[0], 10 * np.log10(power[key])) < 0.05
    assert ds.relative_orbit.values[0] == item["properties"]["sat:relative_orbit"]
    assert ds.orbit_state.values[0] == item["properties"]["sat:orbit_state"]


def test_digital_earth_africa_backscatter_in_degrees(tmp_path):
    step, west, north = 0.0002, 34.5, -14.2
    items = []
    power = np.random.default_rng(0).gamma(50, 0.002, (200, 400)).astype("float32")
    power[:20, :30] = np.nan
    for n in range(2):  # two tiles of one datatake
        own = power[:, 200 * n : 200 * (n + 1)]
        transform = Affine(step, 0, west + 200 * n * step, 0, -step, north)
        assets = {}
        for pol in ("vv", "vh"):
            path = tmp_path / f"{n}{pol}.tif"
            href = archive.write(path, own, transform, "EPSG:4326", float("nan"))
            assets[pol] = {"href": href}
        assets |= {key: {"href": "https://archive.invalid/x"} for key in ("area", "angle", "mask")}
        item = archive.made_up(
            f"s1_rtc_0AB45D_S15E0{34 + n}_2023_03_05",
            "s1_rtc",
            "2023-03-05T16:02:31Z",
            assets,
            platform="sentinel-1a",
            **{
                "proj:epsg": 4326,
                "proj:shape": [200, 200],
                "proj:transform": list(transform)[:6],
                "sat:orbit_state": "ascending",
            },
        )
        archive.place(item, transform.c, transform.f, "EPSG:4326", 200 * step)
        items.append(item)
    items.append(near_scene(tmp_path, "EPSG:32736", 662000, 8428000, "2023-03-05T07:51:00Z"))
    grid = GeoBox((200, 400), Affine(step, 0, west, 0, -step, north), "EPSG:4326")
    ds = stac.load(items, like=grid)
    assert ds.s1_item_id.values[0].count("s1_rtc_0AB45D") == 2
    assert worst(ds["VH"].values[0], 10 * np.log10(power)) < 0.05
    assert ds["VH"].attrs["quantity"] == "gamma0"


def test_the_mosaics_of_the_samples_are_refused_in_words(data_root):
    item = archive.read_item(data_root, "cdse/sentinel-2-global-mosaics")
    with pytest.raises(UnitsError, match=r"three months, no acquisition.*load\(.*\)$"):
        stac.load([item], polarisations=())
    item["collection"] = "somebody-elses-mosaics"
    with pytest.raises(UnitsError, match=r"composite from 2023-01-01 to 2023-03-31"):
        stac.load([item], polarisations=())


def test_jpeg2000_twins_are_taken_only_where_there_is_no_cog(data_root):
    item = archive.read_item(data_root, "earth-search/sentinel-2-l2a")
    early = copy.deepcopy(item)  # published before its conversion
    early["assets"]["blue"] |= {"href": "s3://sentinel-s2-l2a/B02.jp2", "type": "image/jp2"}
    assert optical_assets(item)["B02"] == optical_assets(early)["B02"] == "blue"
    early["assets"]["B02"] = item["assets"]["blue"]
    assert optical_assets(early)["B02"] == "B02"
    del item["assets"]["blue"]
    assert optical_assets(item)["B02"] == "blue-jp2"


V1 = {"raster:bands": [{"scale": 2e-4, "offset": -0.2, "nodata": 7, "data_type": "int16"}]}
V2 = {"raster:scale": 2e-4, "raster:offset": -0.2, "nodata": 7, "data_type": "int16"}


@pytest.mark.parametrize("declared", [V1, V2, {"bands": [V2]}], ids=["v1", "v2", "1.1"])
@pytest.mark.parametrize("where", ["item", "asset"])
@pytest.mark.parametrize("code", [{"proj:epsg": 32633}, {"proj:code": "EPSG:32633"}])
@pytest.mark.parametrize("eo", ["eo:bands", "bands"])
def test_an_unknown_catalog_is_read_by_its_extensions(tmp_path, declared, where, code, eo):
    value = np.random.default_rng(0).integers(8, 6000, (60, 60)).astype("int16")
    value[:5, :5] = 7
    transform = Affine(10, 0, 500000, 0, -10, 5300000)
    href = archive.write(tmp_path / "x.tif", value, transform, "EPSG:32633")
    band = {"name": "x", "common_name": "red"} if eo == "eo:bands" else {"eo:common_name": "red"}
    asset = {"href": href, "roles": ["data"]} | copy.deepcopy(declared)
    asset[eo] = [band | (asset.get(eo) or [{}])[0]]
    projection = code | {"proj:shape": [60, 60], "proj:transform": list(transform)[:6]}
    properties = {"platform": "sentinel-2a", "processing:level": "L2A"}
    if where == "item":
        properties |= projection
    else:
        asset |= projection
    item = archive.made_up("x", "mine", "2025-06-01T10:00:00Z", {"layer_7": asset}, **properties)
    archive.place(item, 500000, 5300000, "EPSG:32633", 600)
    item["stac_version"] = "1.1.0" if "proj:code" in code else "1.0.0"
    ds = stac.load([item], polarisations=())
    assert ds.odc.geobox == GeoBox((60, 60), transform, "EPSG:32633")
    expected = np.where(value == 7, np.nan, value * 2e-4 - 0.2)
    assert worst(ds["B04"].values[0], expected) < 1e-6
    assert ds.offset_reason.values[0] == "declared by the assets"


@pytest.fixture
def mine():
    rule = stac.CollectionRule(
        "farm-*",
        "S2",
        {"B04": ("channel3",)},
        level="TOA",
        data_type="int16",
        scale=1e-3,
        nodata=-1,
        offset=("none",),
    )
    stac.register(rule)
    yield rule
    unregister("farm-*")


def test_users_add_their_own_collection(mine, tmp_path):
    numbers = np.arange(-1, 899).reshape(30, 30).astype("int16")
    transform = Affine(10, 0, 500000, 0, -10, 5300000)
    href = archive.write(tmp_path / "x.tif", numbers, transform, "EPSG:32633")
    properties = {
        "proj:epsg": 32633,
        "proj:shape": [30, 30],
        "proj:transform": list(transform)[:6],
    }
    item = archive.made_up(
        "x", "farm-7", "2025-06-01T10:00:00Z", {"channel3": {"href": href}}, **properties
    )
    archive.place(item, 500000, 5300000, "EPSG:32633", 300)
    ds = stac.load([item], polarisations=())
    assert worst(ds["B04"].values[0], np.where(numbers == -1, np.nan, numbers / 1000)) < 1e-6
    assert ds["B04"].attrs["processing_level"] == "TOA"


def test_what_is_registered_goes_before_what_is_known(mine, data_root):
    item = archive.read_item(data_root, "planetary-computer/sentinel-2-l2a")
    before = optical_rule(item)
    stac.register(dataclasses.replace(mine, collection="sentinel-2-l2a", assets={}, nodata=5))
    try:
        assert optical_rule(item).nodata == 5
    finally:
        unregister("sentinel-2-l2a")
    assert optical_rule(item) == before
    with pytest.raises(CatalogError, match=r"register\("):
        stac.register(dataclasses.replace(mine, offset=("guess",)))


@pytest.mark.parametrize("strip", [False, True], ids=["links", "no links"])
@pytest.mark.parametrize(
    ("name", "asset"),
    [
        ("planetary-computer/sentinel-2-l2a", "B02"),
        ("earth-search/sentinel-2-l2a", "blue"),
        ("cdse/sentinel-2-l2a", "B02_10m"),
    ],
)
def test_collections_of_one_name_are_told_apart(data_root, name, asset, strip):
    item = archive.read_item(data_root, name)
    if strip:
        item["links"] = []
    for form in (item, pystac.Item.from_dict(item)):
        assert collection_rule(form, "S2").assets["B02"][0] == asset


def test_every_real_item_of_a_scene_is_tried(data_root):
    folder = data_root / "stac_items"
    found = {str(p.relative_to(folder).with_suffix("")) for p in folder.glob("*/*.json")}
    scenes = {name for name in found if "sentinel-2" in name or "s2" in name or "nel2" in name}
    assert scenes == {*REAL, "cdse/sentinel-2-global-mosaics"}
    assert {name for name in found if "rtc" in name} == set(RTC)


def test_offsets_that_the_caller_knows_better(data_root, tmp_path):
    item, encoding = case(data_root, "earth-search/sentinel-2-l2a")
    item["properties"]["earthsearch:boa_offset_applied"] = False  # a lie, as on some items
    item, truth = archive.shrink(item, encoding, tmp_path)
    wrong = stac.load([item], bands=["B02"], polarisations=())
    assert np.nanmax(np.abs(wrong["B02"].values[0] - truth["B02"])) > 0.09
    for offsets in ({item["id"]: 0.0}, 0.0):
        ds = stac.load([item], bands=["B02"], polarisations=(), offsets=offsets)
        assert worst(ds["B02"].values[0], truth["B02"]) < HALF_NUMBER
        assert ds.offset_reason.values[0] == "given by the caller"


def test_the_page_of_catalogs_is_up_to_date():
    root = Path(__file__).parents[2]
    made = runpy.run_path(str(root / "examples" / "provider_table.py"))
    page = (root / "docs" / "catalogs.md").read_text("utf-8")
    assert made["with_table"](page) == page
    assert "nbart_blue" in made["table"]()


def test_rasters_of_the_archive_are_what_they_say(tmp_path):
    """The generator itself: a JPEG 2000 keeps every number."""
    pixels = np.arange(3600, dtype="uint16").reshape(60, 60)
    path = archive.write(
        tmp_path / "x.tif", pixels, Affine(10, 0, 0, 0, -10, 0), "EPSG:32632", driver="JP2OpenJPEG"
    )
    with rasterio.open(path) as source:
        assert source.driver == "JP2OpenJPEG"
        np.testing.assert_array_equal(source.read(1), pixels)

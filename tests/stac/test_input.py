"""What people and catalogs hand in: forms of catalogs, areas and dates, and broken metadata."""

import copy
import datetime
import json
import pickle

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pystac_client import Client

from tests.archive import L2A, Encoding, keyed, made_up, metres, place, shrink, write
from xcloudfree import stac
from xcloudfree.exceptions import (
    CatalogError,
    CatalogWarning,
    CloudFreeError,
    DataError,
    UnitsError,
)
from xcloudfree.stac.read.access import AssetError
from xcloudfree.stac.rules.harmonise import processing_baseline

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
NAME = "S2C_MSIL2A_20250610T100000_N0511_R008_T32UNA_20250610T120000"
RADAR = "S1A_IW_GRDH_1SDV_20250610T053000_20250610T053025_058252_073302_rtc"


def optical(folder, name=NAME, time="2025-06-10T10:00:00Z", baseline="05.11", shift=1000):
    assets = {band: {"href": ""} for band in L2A}
    for band in L2A:
        size = metres(band)
        assets[band] |= {"proj:transform": [size, 0, 600000, 0, -size, 5300040]}
        assets[band] |= {"proj:shape": [1200 // size, 1200 // size]}
    properties = {"platform": "sentinel-2c", "proj:code": "EPSG:32632"}
    properties |= {"s2:processing_baseline": baseline}
    item = made_up(name, "sentinel-2-l2a", time, assets, **properties)
    return shrink(item, Encoding(keyed(str, L2A), shift=shift), folder)


def radar(folder, power=0.1):
    transform = rasterio.Affine(10, 0, 599955, 0, -10, 5300085)
    href = write(folder / "vv.tif", np.full((140, 140), power, "f4"), transform, "EPSG:32632", 0)
    properties = {"platform": "sentinel-1a", "sat:orbit_state": "descending"}
    properties |= {"proj:epsg": 32632}
    item = made_up(RADAR, "sentinel-1-rtc", "2025-06-10T05:30:00Z", {"vv": {"href": href}})
    item["properties"] |= properties
    item["assets"]["vv"] |= {"proj:transform": list(transform)[:6], "proj:shape": [140, 140]}
    place(item, 599955, 5300085, "EPSG:32632", 1400)
    return item


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("input")


@pytest.fixture(scope="module")
def made(folder):
    return optical(folder)


@pytest.fixture
def item(made):
    return copy.deepcopy(made[0])


def load(source, **options):
    return stac.load(source, **{"bands": ["B04"], "polarisations": (), **options})


def error_of(ds, truth):
    return float(np.nanmax(np.abs(ds.B04.values[0] - truth["B04"])))


def saved(item, folder):
    """A catalog of items without collections, on disk."""
    catalog = pystac.Catalog("mine", "mine")
    catalog.add_item(pystac.Item.from_dict(item))
    catalog.normalize_and_save(str(folder), pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


@pytest.mark.filterwarnings("ignore::pystac_client.warnings.PystacClientWarning")
def test_every_form_of_a_catalog(item, made, tmp_path):
    path = saved(item, tmp_path)
    one = pystac.Item.from_dict(item)
    for source in (item, one, [item], (i for i in [one]), pystac.ItemCollection([one])):
        assert error_of(load(source), made[1]) < 5.01e-5
    for source in (path, str(path), pystac.Catalog.from_file(path), Client.open(str(path))):
        assert error_of(load(source), made[1]) < 5.01e-5


@pytest.mark.parametrize("source", [None, 42, ["abc"], [{"id": "x"}], [7]])
def test_what_is_no_catalog_is_named(source):
    with pytest.raises(CatalogError, match=r"is not a STAC (catalog|item).*; .*load\("):
        load(source)


def test_a_password_in_the_address_of_a_catalog_is_not_shown():
    with pytest.raises(CatalogError) as caught:
        load("http://me:hunter2@127.0.0.1:9/?token=abc")
    assert "hunter2" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_every_form_of_an_area(item):
    area = shapely.box(*item["bbox"])
    outline = shapely.geometry.mapping(area)
    feature = {"type": "Feature", "geometry": outline, "properties": {}}
    expected = load([item], bbox=item["bbox"]).odc.geobox
    for form in (area, outline, json.dumps(outline), feature):
        assert load([item], intersects=form).odc.geobox == expected


@pytest.mark.parametrize(
    "options",
    [{"intersects": "here"}, {"intersects": shapely.Point(10.34, 47.84)}, {"bbox": "1,2"}],
)
def test_what_is_no_area_is_named(item, options):
    with pytest.raises(DataError, match=r"load\(\.\.\., "):
        load([item], **options)


@pytest.mark.parametrize(
    "interval",
    [
        datetime.date(2025, 6, 10),
        np.datetime64("2025-06-10"),
        slice("2025-06", None),
        [datetime.date(2025, 6, 1), datetime.date(2025, 6, 10)],
    ],
)
def test_every_form_of_an_interval(item, interval):
    assert load([item], datetime=interval).sizes["time"] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": 64},
        {"resolution": "10"},
        {"like": GeoBox((3, 3), rasterio.Affine.identity(), None)},
        {"offsets": -1000},
    ],
)
def test_wrong_options_are_refused_in_words(item, options):
    with pytest.raises(CloudFreeError, match=r"load\("):
        load([item], **options)


def test_offsets_of_items_that_are_not_there_are_told_of(item):
    with pytest.warns(CatalogWarning, match="names other"):
        load([item], offsets={"other": 0.0})


def test_without_any_sentinel_1_the_way_out_is_named(item):
    with pytest.raises(DataError, match=r"sar_catalog=.*polarisations=\(\)"):
        load([item], polarisations=("VV",))


@pytest.mark.parametrize(
    ("stated", "baseline"),
    [
        ("05.11", 5.11),
        ("5.1", 5.1),
        (2.12, 2.12),
        ("N0300", 3.0),
        ("0212", 2.12),
        ("05.10.01", 5.1),
    ],
)
def test_the_baseline_in_any_spelling(stated, baseline):
    item = {"id": "x", "properties": {"s2:processing_baseline": stated}}
    assert processing_baseline(item) == baseline


def declare(item, **fields):
    for asset in item["assets"].values():
        asset["raster:bands"] = [dict(fields)]
    return item


def test_declared_numbers_agree_by_value_and_where_they_are_missing(item, made):
    item = declare(item, nodata=0, scale=0.0001, offset=-0.1, data_type="uint16")
    item["assets"]["B03"]["raster:bands"][0]["nodata"] = 0.0
    item["assets"]["B02"]["raster:bands"][0] = {"offset": -0.1}
    assert error_of(load([item], bands=["B02", "B03", "B04"]), made[1]) < 5.01e-5
    del item["assets"]["B02"]["raster:bands"]
    with pytest.raises(UnitsError, match="different offsets"):
        load([item], bands=["B02", "B03", "B04"])


def test_an_offset_that_is_declared_of_an_old_baseline_is_told_of(item):
    item = declare(item, offset=-0.1)
    item["properties"] |= {"s2:processing_baseline": "02.14"}
    with pytest.warns(CatalogWarning, match=r"before 04\.00.*check_offset.*offsets="):
        ds = load([item])
    assert ds.offset == -0.1
    assert ds.offset_reason == "declared by the assets, against processing baseline 2.14"


def test_a_flag_that_is_text(item):
    item["properties"]["earthsearch:boa_offset_applied"] = "True"
    assert load([item]).offset == 0


def test_a_transform_without_a_projection_is_looked_up_in_the_file(item, made):
    del item["properties"]["proj:code"]
    ds = load([item])
    assert ds.odc.geobox.crs == "EPSG:32632"
    assert error_of(ds, made[1]) < 5.01e-5


def test_an_outline_that_crosses_itself(item, folder):
    sar = radar(folder)
    west, south, east, north = sar["bbox"]
    bow = [[west, south], [east, north], [east, south], [west, north], [west, south]]
    sar["geometry"] = {"type": "Polygon", "coordinates": [bow]}
    ds = load([item, sar], polarisations=("VV",))
    np.testing.assert_allclose(ds.VV.values, -10, atol=1e-4)


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_a_file_without_a_place_is_a_fault(item, folder, loader):
    item["assets"]["B04"]["href"] = write(
        folder / "nowhere.tif", np.full((120, 120), 3000, "u2"), None, None, driver="GTiff"
    )
    with pytest.raises(AssetError, match=f"'B04' of item '{NAME}'.*no map projection"):
        load([item], loader=loader).compute()
    ds = load([item], loader=loader, on_error="report").compute()
    assert np.isnan(ds.B04).all()
    assert list(ds.cloudfree.report().asset) == ["B04"]


def test_a_grid_in_degrees_is_reported_and_checked_too(item):
    ds = load([item], crs="EPSG:4326", resolution=1e-4, on_error="report")
    assert ds.B04.dims == ("time", "latitude", "longitude")
    assert ds.read_status.dims == ("time", "asset", "latitude", "longitude")
    assert len(ds.cloudfree.report()) == 0
    assert (ds.read_status == 1).mean() > 0.8
    assert list(stac.check_offset(ds, on_error="report").verdict) == ["agrees"]


def test_a_series_costs_no_task_beyond_reading_and_calibrating(tmp_path):
    series = [optical(tmp_path, f"{NAME}_{n}", f"2025-06-{10 + n}T10:00:00Z")[0] for n in range(4)]
    graph = load(series).B04.__dask_graph__()
    assert not [name for name in graph.layers if "getitem" in name or "shuffle" in name]
    series.append(optical(tmp_path, "old", "2025-06-20T10:00:00Z", "03.00", 0)[0])
    graph = load(series).B04.__dask_graph__()
    assert not [name for name in graph.layers if "shuffle" in name]
    assert len(pickle.dumps(load(series))) < 1e6

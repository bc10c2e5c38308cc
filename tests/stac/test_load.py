"""Loading from a real STAC API and real COGs over HTTP, against numbers made with numpy."""

import json
import pickle
import re
import time
import warnings

import affine
import dask
import numpy as np
import odc.geo.xr
import pystac
import pystac_client
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox

from tests.checks import check_scene
from xcloudfree import stac
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.exceptions import CatalogError, DataError, GridError, MissingBandError, UnitsError
from xcloudfree.stac import publish, serve
from xcloudfree.stac.search.choice import choose_collections

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
]

HALF_NUMBER = 5.01e-5  # half a digital number, and the rounding of float32
N = 256
GRID = GeoBox((N, N), affine.Affine(10, 0, 500003, 0, -10, 5300017), "EPSG:32632")
SCENES = np.array(
    ["2025-06-01T10:20:31", "2025-06-04T10:20:31", "2025-06-11T10:20:31"], "datetime64[ns]"
)
PASS_1, PASS_2A, PASS_2B = np.array(
    ["2025-06-02T05:30:00", "2025-06-10T05:30:00", "2025-06-10T17:00:00"], "datetime64[ns]"
)
SLICE = np.timedelta64(25, "s")
TOA = ["sentinel-2-l1c", "sentinel-1-rtc"]


def dataset(values, times, grid=GRID, **attrs):
    out = xr.Dataset(
        {
            name: (("time", "y", "x"), array.astype("float32"), attrs)
            for name, array in values.items()
        },
        coords={"time": np.atleast_1d(times)},
    )
    return out.assign_coords(odc.geo.xr.xr_coords(grid))


def speckled(rng, shape):
    return 10 * np.log10(rng.gamma(4, 0.05 / 4, shape))


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(7)
    bands = {b: rng.uniform(2e-4, 1.2, (3, N, N)) for b in S2_BANDS}
    bands["B02"][0, :9, :17] = np.nan
    s2 = dataset(bands, SCENES, units="1", processing_level="TOA")
    s1 = dataset(
        {p: speckled(rng, (3, N, N)) for p in ("VV", "VH")},
        [PASS_1, PASS_2A, PASS_2B],
        units="dB",
        quantity="gamma0",
    )
    s1["VV"][2, 40:60, 50:90] = np.nan
    return s2, s1


@pytest.fixture(scope="module")
def folder(truth, tmp_path_factory):
    s2, s1 = truth
    folder = tmp_path_factory.mktemp("archive")
    publish(s2.isel(time=[0, 2]), folder)
    publish(s2.isel(time=[1]), folder, baseline="03.01", declare=False)
    first = s1.isel(time=[0])  # one pass in two slices
    publish(first.where(first.y > first.y[100]), folder)
    late = first.where(first.y <= first.y[100]).assign_coords(time=first.time + SLICE)
    publish(late, folder)
    publish(s1.isel(time=[1, 2]), folder)

    classes = (np.indices((N, N)).sum(0) // 16 % 12).astype("uint8")
    ground = s2.isel(time=[0]).drop_vars("B10")
    ground["SCL"] = (("time", "y", "x"), classes[None])
    publish(ground, folder, level="BOA")
    detected = json.loads(next((folder / "items").glob("S1A*")).read_text())
    detected |= {"id": "S1A_IW_GRDH_1SDV_detected", "collection": "sentinel-1-grd"}
    del detected["properties"]["xcloudfree:quantity"]
    (folder / "items" / "grd.json").write_text(json.dumps(detected))
    entry = json.loads((folder / "collections" / "sentinel-1-rtc.json").read_text())
    entry["id"] = "sentinel-1-grd"
    (folder / "collections" / "sentinel-1-grd.json").write_text(json.dumps(entry))
    return folder


@pytest.fixture(scope="module")
def catalog(folder):
    with serve(folder) as catalog:
        yield catalog


@pytest.fixture(scope="module")
def loaded(catalog):
    return stac.load(catalog.url, datetime="2025-06")


@pytest.fixture(scope="module")
def computed(loaded):
    return loaded.compute()


@pytest.fixture
def items(catalog):
    return list(pystac_client.Client.open(catalog.url).search(collections=TOA).items())


def worst(found, expected):
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    return np.nanmax(np.abs(found - expected))


def fresh(address):
    """An address that no cache of GDAL knows."""
    return f"{address}?{time.monotonic_ns()}"


def no_compute(*args, **kwargs):
    raise AssertionError("something was computed")


def test_layout(loaded):
    check_scene(loaded, level="TOA", lazy=True, crs="EPSG:32632")
    assert list(loaded.data_vars) == [*S2_BANDS, "VV", "VH"]
    for name, variable in loaded.data_vars.items():
        assert variable.dims == ("time", "y", "x")
        assert variable.dtype == np.float32
        assert variable.chunks == ((1, 1, 1), (N,), (N,))
        sar = {"units": "dB", "quantity": "gamma0"}
        assert variable.attrs == (
            sar if name in ("VV", "VH") else {"units": "1", "processing_level": "TOA"}
        )
    np.testing.assert_array_equal(loaded.time, SCENES)
    assert loaded.attrs == {"source": "sentinel-2-l1c, sentinel-1-rtc"}


def test_grid_and_crs_are_those_of_the_files(loaded):
    assert loaded.odc.geobox == GRID
    assert loaded["VV"].odc.geobox == GRID
    assert loaded.spatial_ref.attrs["crs_wkt"].startswith("PROJCRS")
    np.testing.assert_array_equal(loaded.x, 500003 + 10 * np.arange(N) + 5)
    np.testing.assert_array_equal(loaded.y, 5300017 - 10 * np.arange(N) - 5)


def test_reflectance_within_half_a_number_across_baselines(computed, truth):
    s2, _ = truth
    for band in S2_BANDS:
        assert worst(computed[band].values, s2[band].values) < HALF_NUMBER
    np.testing.assert_array_equal(computed.offset, [-0.1, 0.0, -0.1])
    assert [("03.01" in r or "3.01" in r) for r in computed.offset_reason.values] == [0, 1, 0]
    assert set(computed.level.values) == {"TOA"}
    assert all("MSIL1C" in i for i in computed.item_id.values)
    assert set(computed.platform.values) == {"sentinel-2a"}


def test_pairing_takes_the_nearest_pass_and_keeps_passes_apart(computed, truth):
    _, s1 = truth
    for step, source in enumerate([0, 0, 2]):  # the hole of pass 2B is not filled from pass 2A
        for pol in ("VV", "VH"):
            assert worst(computed[pol].values[step], s1[pol].values[source]) < 0.05
    times = np.array([PASS_1, PASS_1, PASS_2B])
    np.testing.assert_array_equal(computed.time_gap, times - SCENES)
    assert computed.s1_item_id.values[0].count("S1A") == 2  # two slices
    assert computed.s1_item_id.values[2].count("20250610T170000") == 1
    assert (computed.relative_orbit.values > 0).all()


def test_building_reads_no_pixel_and_reading_only_what_is_asked(catalog):
    catalog.requests.clear()
    with dask.config.set(scheduler=no_compute):
        ds = stac.load(catalog.url, datetime="2025-06", sign=fresh)
    assert catalog.requests == []
    ds["B04"][2, :8, :8].compute()
    assert {request.path.split("/")[-1] for request in catalog.requests} == {"B04.tif"}
    assert {request.path.split("_")[2] for request in catalog.requests} == {"20250611T102031"}
    assert 206 in {request.status for request in catalog.requests}


def test_bbox_is_cut_on_the_native_grid(catalog, truth):
    s2, _ = truth
    part = GRID[60:100, 80:140]
    box = tuple(part.geographic_extent.boundingbox)
    ds = stac.load(catalog.url, bbox=box, datetime="2025-06-01", bands=["red"], polarisations=())
    assert list(ds.data_vars) == ["B04"]
    found = ds["B04"].isel(time=0).compute()
    assert found.sizes["x"] < 70
    assert found.sizes["y"] < 50
    assert set(s2.x.values[80:140]) <= set(found.x.values)  # to the last bit
    assert set(s2.y.values[60:100]) <= set(found.y.values) <= set(s2.y.values)
    whole = s2["B04"].isel(time=0).sel(x=found.x, y=found.y)
    assert worst(found.values, whole.values) < HALF_NUMBER


def test_like_gives_exactly_that_grid(catalog, truth):
    s2, s1 = truth
    part = s2.isel(x=slice(30, 95), y=slice(200, 240))
    ds = stac.load(catalog.url, like=part, datetime="2025-06-11")
    xr.testing.assert_equal(ds.x, part.x)
    xr.testing.assert_equal(ds.y, part.y)
    assert worst(ds["B8A"].values[0], part["B8A"].values[2]) < HALF_NUMBER
    assert worst(ds["VH"].values[0], s1["VH"].values[2, 200:240, 30:95]) < 0.05


def test_resolution_and_crs(catalog):
    ds = stac.load(catalog.url, datetime="2025-06-01", resolution=20, polarisations=())
    assert ds.odc.geobox.resolution.xy == (20, -20)
    ds = stac.load(
        catalog.url, datetime="2025-06-01", crs="EPSG:32633", resolution=10, polarisations=()
    )
    assert ds.odc.geobox.crs.epsg == 32633
    with pytest.raises(GridError, match=r"load\(.*resolution="):
        stac.load(catalog.url, datetime="2025-06-01", crs="EPSG:4326", polarisations=())


def test_scene_classification_stays_what_it_is(catalog):
    ds = stac.load(
        catalog.url, collections=["sentinel-2-l2a", "sentinel-1-rtc"], datetime="2025-06"
    )
    assert "B10" not in ds
    assert ds["B02"].attrs["processing_level"] == "BOA"
    assert ds["SCL"].dtype == np.uint8
    np.testing.assert_array_equal(ds["SCL"][0], np.indices((N, N)).sum(0) // 16 % 12)


def test_every_kind_of_catalog(catalog, items, tmp_path):
    static = pystac.Catalog("static", "of files")
    static.add_items([item.clone() for item in items])
    static.normalize_and_save(str(tmp_path), pystac.CatalogType.SELF_CONTAINED)
    kinds = [
        pystac_client.Client.open(catalog.url),
        items,
        iter(items),
        pystac.ItemCollection(items),
        [item.to_dict(transform_hrefs=False) for item in items],
        pystac.Catalog.from_file(str(tmp_path / "catalog.json")),
        pystac.Catalog.from_file(catalog.url),  # the front page of an API, read as a file
    ]
    for kind in kinds:
        named = {"collections": TOA} if isinstance(kind, pystac.Catalog) else {}
        ds = stac.load(kind, datetime="2025-06-01/2025-06-05", **named)
        np.testing.assert_array_equal(ds.time, SCENES[:2])  # the filter is applied again here


def test_items_of_unequal_offset_on_one_day_are_calibrated_before_they_are_merged(tmp_path):
    rng = np.random.default_rng(1)
    values = rng.uniform(2e-4, 1, (1, N, N))
    whole = dataset({"B04": values, "B08": values[:, ::-1]}, SCENES[:1])
    left, right = whole.where(whole.x < whole.x[150]), whole.where(whole.x > whole.x[90])
    publish(left, tmp_path, level="BOA", baseline="02.09")
    late = right.assign_coords(time=right.time + SLICE)
    _, found = publish(late, tmp_path, level="BOA", baseline="05.09")
    with serve(tmp_path) as catalog:
        ds = stac.load(catalog.url, polarisations=())
        assert ds.sizes["time"] == 1
        for band in ("B04", "B08"):
            assert worst(ds[band].values, whole[band].values) < HALF_NUMBER
    assert found[0]["id"] in str(ds.item_id.values[0])
    assert np.isnan(ds.offset.values).all()
    assert ds.time.values[0] == SCENES[0]


def test_backscatter_is_resampled_in_linear_power(truth, tmp_path):
    s2, _ = truth
    rng = np.random.default_rng(3)
    power = rng.gamma(1, 0.1, (1, N + 1, N + 1))
    shifted = GeoBox(
        (N + 1, N + 1), GRID.transform * affine.Affine.translation(-0.5, -0.5), GRID.crs
    )
    s1 = dataset({"VV": power, "VH": power}, PASS_1, shifted, units="1", quantity="sigma0")
    publish(s2[["B02"]].isel(time=[0]), tmp_path)
    publish(s1, tmp_path)
    with serve(tmp_path) as catalog:
        ds = stac.load(catalog.url).compute()
    assert ds["VV"].attrs == {"units": "dB", "quantity": "sigma0"}
    assert ds.odc.geobox == GRID
    # half a pixel off: bilinear is the mean of four neighbours
    four = power[0, :-1, :-1] + power[0, 1:, :-1] + power[0, :-1, 1:] + power[0, 1:, 1:]
    error = np.abs(ds["VV"].values[0] - 10 * np.log10(four / 4))
    assert error.max() < 0.05
    dB = 10 * np.log10(power[0])
    wrong = (dB[:-1, :-1] + dB[1:, :-1] + dB[:-1, 1:] + dB[1:, 1:]) / 4
    assert np.abs(ds["VV"].values[0] - wrong).mean() > 1  # the test could tell


def test_undeclared_nodata_is_not_blended_into_its_neighbours(tmp_path):
    coarse = GeoBox((N // 2, N // 2), GRID.transform * affine.Affine.scale(2), GRID.crs)
    values = np.full((1, N // 2, N // 2), 0.5)
    values[:, :, :40] = np.nan
    publish(dataset({"B05": values}, SCENES[:1], coarse), tmp_path, level="BOA")
    path = next(tmp_path.glob("*/B05.tif"))
    with rasterio.open(path) as source:
        numbers, profile = source.read(), source.profile
    assert profile["nodata"] == 0
    profile |= {"driver": "GTiff", "nodata": None}
    with rasterio.open(path, "w", **profile) as target:
        target.write(numbers)
    with serve(tmp_path) as catalog:
        found = stac.load(catalog.url, resolution=10, polarisations=())["B05"].values
    assert np.isnan(found[..., :79]).all()
    assert np.nanmax(np.abs(found - 0.5)) < HALF_NUMBER


def test_a_scene_without_a_pass_within_the_gap(catalog):
    with pytest.raises(
        DataError, match=r"(?s)1 of 3.*2025-06-04T10:20.*max_gap=.*on_gap="
    ) as error:
        stac.load(catalog.url, datetime="2025-06", max_gap="2D")
    assert "2025-06-01" not in str(error.value)
    ds = stac.load(catalog.url, datetime="2025-06", max_gap="2D", on_gap="drop")
    np.testing.assert_array_equal(ds.time, SCENES[[0, 2]])
    np.testing.assert_array_equal(ds.time_gap, np.array([PASS_1, PASS_2B]) - SCENES[[0, 2]])
    ds = stac.load(catalog.url, datetime="2025-06", max_gap="2D", on_gap="nan")
    assert ds["VV"].chunks == ds["B02"].chunks
    empty = np.isnan(ds["VH"]).all(("y", "x")).values
    np.testing.assert_array_equal(empty, [False, True, False])
    assert np.isnat(ds.time_gap.values[1])
    assert ds.s1_item_id.values[1] == ""
    assert ds.relative_orbit.values[1] == -1


def test_no_pass_at_all(catalog):
    query = {"datetime": "2025-06-01", "max_gap": "1h"}
    for on_gap in ("raise", "drop"):
        with pytest.raises(DataError, match="2025-06-01T10:20"):
            stac.load(catalog.url, on_gap=on_gap, **query)
    assert np.isnan(stac.load(catalog.url, on_gap="nan", **query)["VV"]).all()


def test_grd_is_refused_with_words_that_name_rtc(catalog):
    with pytest.raises(UnitsError, match="RTC"):
        stac.load(catalog.url, collections=["sentinel-2-l1c", "sentinel-1-grd"])
    with pytest.raises(CatalogError, match=r"sentinel-1-grd, which is not RTC.*polarisations=\(\)"):
        choose_collections(["sentinel-2-l2a", "sentinel-1-grd"], sar=True)


def test_both_levels_in_one_search_are_refused(catalog):
    with pytest.raises(UnitsError, match=r"collections="):
        stac.load(catalog.url, collections=["sentinel-2-l2a", *TOA])


def test_collections_by_default_and_by_name(catalog):
    assert choose_collections(["sentinel-2-l2a", *TOA], sar=True) == TOA
    assert choose_collections(["sentinel-2-l2a"], sar=False) == ["sentinel-2-l2a"]
    with pytest.raises(CatalogError, match=r"landsat.*collections="):
        choose_collections(["landsat-c2-l2"], sar=False)
    with pytest.raises(CatalogError, match="sentinel-1-rtc"):
        stac.load(catalog.url, collections="sentinel-2-l1c")
    ds = stac.load(catalog.url, collections="sentinel-2-l1c", polarisations=None)
    assert list(ds.data_vars) == list(S2_BANDS)


def test_nothing_found_names_the_search(catalog):
    with pytest.raises(CatalogError, match=r"(?s)2019-01-01T00.*sentinel-2-l1c.*load\("):
        stac.load(catalog.url, datetime="2019")
    with pytest.raises(CatalogError, match=r"bbox=\(1\.0, 2\.0, 3\.0, 4\.0\)"):
        stac.load(catalog.url, bbox=(1, 2, 3, 4))


def test_an_unreachable_catalog_is_reported_without_its_secret():
    start = time.monotonic()
    with pytest.raises(CatalogError, match=r"does not answer.*load\(") as error:
        stac.load("http://127.0.0.1:9/?token=SECRET", bbox=(9, 48, 9.1, 48.1))
    assert "SECRET" not in str(error.value)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"bands": ["B99"]}, MissingBandError, "B99"),
        ({"bands": ["B02", "SCL"]}, MissingBandError, "sentinel-2-l2a"),
        ({"polarisations": ("HH",)}, MissingBandError, "VH, VV"),
        ({"polarisations": ("XY",)}, MissingBandError, "XY"),
        ({"bbox": (170, 0, -190, 1)}, DataError, "not west, south"),
        ({"clip": True}, DataError, "needs an area"),
        ({"datetime": "yesterday"}, DataError, "yesterday"),
        ({"max_gap": "soon"}, DataError, "soon"),
        ({"max_gap": "-3D"}, DataError, "max_gap='-3D' is not a duration"),
        ({"max_gap": np.timedelta64("NaT")}, DataError, "NaT"),
        ({"max_gap": 3}, DataError, "max_gap=3 is not a duration"),
        ({"on_gap": "ignore"}, DataError, "ignore"),
        ({"groupby": "orbit"}, DataError, "orbit"),
        ({"like": xr.Dataset()}, GridError, "like="),
        ({"crs": "EPSG:nothing"}, GridError, "EPSG:nothing"),
    ],
)
def test_wrong_arguments_end_with_the_call_that_mends_them(catalog, arguments, error, words):
    with pytest.raises(error) as caught:
        stac.load(catalog.url, **arguments)
    assert words in str(caught.value)
    assert re.search(r"load\(.*\)$", str(caught.value))


def test_signed_addresses_are_read_and_kept_out_of_sight(catalog):
    def sign(address):
        return f"{address}?sig=SECRET"

    ds = stac.load(catalog.url, datetime="2025-06-01", sign=sign)
    catalog.requests.clear()
    assert np.isfinite(ds["B03"].values).all()
    assert catalog.requests
    shown = (
        f"{ds!r}{ds._repr_html_()}{ds.to_dict(data=False)}{ds.coords!r}{list(ds.__dask_keys__())}"
    )
    shown += "".join(str(ds[name].values) for name in ds.coords)
    assert "SECRET" not in shown


def test_it_pickles_and_survives_zarr(loaded, computed, tmp_path):
    again = pickle.loads(pickle.dumps(loaded))
    np.testing.assert_array_equal(again["VV"][2].values, computed["VV"].values[2])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        loaded[["B02", "VV"]].to_zarr(tmp_path / "out.zarr", zarr_format=3)
        back = xr.open_zarr(tmp_path / "out.zarr", decode_coords="all").load()
    xr.testing.assert_identical(
        back.drop_vars("spatial_ref"), computed[["B02", "VV"]].drop_vars("spatial_ref")
    )
    assert back.odc.geobox == GRID
    assert back["s1_item_id"].dtype.kind == "U"


def test_a_server_that_keeps_failing_fails_the_read_in_bounded_time(catalog):
    ds = stac.load(catalog.url, datetime="2025-06-01", bands=["B11"], polarisations=(), sign=fresh)
    catalog.faults["B11.tif"] = 503
    try:
        start = time.monotonic()
        with pytest.raises(rasterio.errors.RasterioIOError):
            ds["B11"].values  # noqa: B018
        assert time.monotonic() - start < 60
    finally:
        catalog.faults.clear()


@pytest.mark.parametrize(
    ("name", "epsg", "x", "y"),
    [
        ("planetary-computer/sentinel-2-l2a", 32653, 199980, 700020),
        ("earth-search/sentinel-2-l2a", 32720, 600000, 3300040),
        ("earth-search-v0/sentinel-s2-l2a-cogs_28QCH_s3", 32628, 300000, 2300040),
        ("cdse/sentinel-2-l2a", 32655, 600000, 7600020),
    ],
)
@pytest.mark.filterwarnings("ignore:Could not parse bucket")
def test_real_items_open_lazily_on_their_own_grid(data_root, name, epsg, x, y):
    item = json.loads((data_root / "stac_items" / f"{name}.json").read_text())
    ds = stac.load([item], polarisations=())
    expected = GeoBox((10980, 10980), affine.Affine(10, 0, x, 0, -10, y), f"EPSG:{epsg}")
    assert ds.odc.geobox == expected
    assert ds["SCL"].dtype == np.uint8
    assert ds["B05"].chunks[2][0] == 1024


def test_publishing_says_what_is_missing(truth, tmp_path):
    s2, _ = truth
    with pytest.raises(UnitsError, match="level="):
        publish(s2[["B02"]].assign(B02=s2["B02"].drop_attrs(deep=False)), tmp_path)
    with pytest.raises(DataError, match="time"):
        publish(s2.isel(time=0, drop=True), tmp_path)
    with pytest.raises(CatalogError, match="publish"), serve(tmp_path / "nothing"):
        pass


def test_a_missing_server_program_is_named(folder, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CatalogError, match=r"xcloudfree\[demo\]"), serve(folder):
        pass

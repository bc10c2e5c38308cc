"""What the user sees when an archive fails, fault by fault; a fault is never a footprint."""

import copy
import itertools
import pickle
import re
import time

import affine
import numpy as np
import odc.geo.xr
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox

import xcloudfree as xcf
from tests.checks import no_computes
from tests.fault_server import Fault, serve_faults
from xcloudfree import stac
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.exceptions import CatalogError, DataError
from xcloudfree.stac.read.access import AssetError
from xcloudfree.stac.read.faults import (
    WORDS,
    Cause,
    classify,
    failure_code,
    fault_of,
    stacked,
)

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
]

N = 512  # four blocks of a file
HALF = N // 2
GRID = GeoBox((N, N), affine.Affine(10, 0, 500000, 0, -10, 5300000), "EPSG:32632")
TIMES = np.array(["2025-06-01T10:20:31", "2025-06-04T10:20:31"], "datetime64[ns]")
BOUND = 20.0  # seconds
COUNTER = itertools.count()


def dataset(values, times, grid=GRID, **attrs):
    out = xr.Dataset(
        {n: (("time", "y", "x"), v.astype("float32"), attrs) for n, v in values.items()},
        coords={"time": np.atleast_1d(times)},
    )
    return out.assign_coords(odc.geo.xr.xr_coords(grid))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two scenes in B03 and B04, and one pass."""
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(0)
    bands = {b: rng.uniform(0.01, 1, (2, N, N)) for b in ("B03", "B04")}
    sar = {p: rng.uniform(-20, -5, (1, N, N)) for p in ("VV", "VH")}
    truth = dataset(bands, TIMES, units="1", processing_level="BOA")
    with serve_faults(folder) as (address, requests, faults):
        found = stac.publish(truth, folder, base_url=address)[1]
        radar = dataset(sar, TIMES[:1], units="dB", quantity="gamma0")
        found += stac.publish(radar, folder, base_url=address)[1]
        yield folder, found, requests, faults


@pytest.fixture
def items(archive):
    return archive[1]


@pytest.fixture
def requests(archive):
    archive[2].clear()
    return archive[2]


@pytest.fixture
def faults(archive):
    archive[3].clear()
    yield archive[3]
    archive[3].clear()


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """The documented options, set for a test that does not wait."""
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")


def fresh(address):
    """An address that no cache of GDAL knows."""
    return f"{address}?{next(COUNTER)}"


def load(items, **options):
    options = {"polarisations": (), "sign": fresh, "chunks": {"x": HALF, "y": HALF}} | options
    return stac.load(items, **options)


def block(archive, name, row, column):
    """First and last byte of a block of a file of the first scene."""
    with rasterio.open(archive[0] / SCENE / name) as file:
        place = f"{column}_{row}"
        start = int(file.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=1))
        return start, start + int(file.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=1))


SCENE = "S2A_MSIL2A_20250601T102031_N0500_R037_T32UNA"
PATH = f"{SCENE}/B04.tif"
TABLE = {
    "not found": (Fault(404), Cause.NOT_FOUND, "not found (HTTP 404)"),
    "refused": (Fault(403), Cause.REFUSED, "refused (HTTP 403)"),
    "unauthorised": (Fault(401), Cause.REFUSED, "refused (HTTP 401)"),
    "server error for ever": (Fault(503), Cause.SERVER, "server error (HTTP 503)"),
    "too many requests": (Fault(429), Cause.SERVER, "server error (HTTP 429)"),
    "server error behind the header": (Fault(503, spare=20000), Cause.SERVER, "HTTP 503"),
    "stalled": (Fault(delay=1.5), Cause.NO_ANSWER, "no answer in time"),
    "cut": (Fault(cut_at=200_000), Cause.DAMAGED, "damaged file"),
    "not a raster": (Fault(broken=(0, 4000)), Cause.DAMAGED, "damaged file"),
}
CASES = [
    *itertools.product(TABLE, ["odc"]),
    ("not found", "stackstac"),
    ("server error behind the header", "stackstac"),
    ("not a raster", "stackstac"),
]


@pytest.mark.parametrize(("name", "loader"), CASES)
def test_a_fault_ends_the_task_with_item_asset_and_cause(items, faults, name, loader):
    fault, cause, words = TABLE[name]
    ds = load(items, loader=loader)
    faults.by_path[PATH] = fault
    start = time.monotonic()
    with pytest.raises(AssetError) as caught:
        ds["B04"][0, :8, :8].compute()
    assert time.monotonic() - start < BOUND
    message = str(caught.value)
    assert SCENE in message
    assert "'B04'" in message
    assert words in message
    assert re.search(r'load\(.*on_error="report"\)$', message)
    assert (caught.value.item, caught.value.asset) == (SCENE, "B04")
    assert caught.value.failure.cause is cause
    assert isinstance(caught.value, CatalogError)
    assert isinstance(caught.value, rasterio.errors.RasterioIOError)
    assert np.isfinite(ds["B04"][1].values).all()  # the other scene
    assert np.isfinite(ds["B03"].values).all()


@pytest.mark.parametrize(("name", "loader"), CASES)
def test_a_fault_is_reported_and_everything_else_is_read(items, faults, name, loader):
    fault, cause, words = TABLE[name]
    faults.by_path[PATH] = fault
    start = time.monotonic()
    ds = load(items, on_error="report", loader=loader, chunks={"x": N, "y": N})
    assert words in ds["status"].values[0]
    assert ds["status"].values[0].startswith("B04 ")
    assert ds["status"].values[1] == "ok"
    out = ds.compute()
    assert time.monotonic() - start < BOUND
    assert np.isnan(out["B04"].values[0]).all()
    assert np.isfinite(out["B04"].values[1]).all()
    assert np.isfinite(out["B03"].values).all()
    table = out.cloudfree.report()
    assert list(table.columns) == ["time", "item", "asset", "chunk", "error"]
    row = [SCENE, "B04", f"y 0:{N}, x 0:{N}", WORDS[cause]]
    assert table.drop(columns="time").values.tolist() == [row]
    codes = out["read_status"]
    assert set(np.unique(codes.sel(asset="B04")[0])) == {int(cause)}
    assert set(np.unique(codes.sel(asset="B04")[1])) == {1}
    assert set(np.unique(codes.sel(asset="B03"))) == {1}


@pytest.mark.parametrize("mode", ["raise", "report"])
def test_what_passes_by_itself_is_no_fault(items, faults, mode):
    for fault in (Fault(503, times=1), Fault(delay=0.1)):
        faults.by_path[PATH] = fault
        ds = load(items, on_error=mode).compute()
        assert np.isfinite(ds["B04"].values).all()
        if mode == "report":
            assert list(ds["status"].values) == ["ok", "ok"]
            assert ds.cloudfree.report().empty


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_a_broken_block_costs_its_chunk_only(archive, items, faults, loader):
    faults.by_path[PATH] = Fault(broken=block(archive, "B04.tif", 0, 1))
    ds = load(items, on_error="report", loader=loader)
    assert list(ds["status"].values) == ["ok", "ok"]  # not seen when the file is opened
    out = ds.compute()
    hole = np.isnan(out["B04"].values[0])
    assert hole[:HALF, HALF:].all()
    assert hole.sum() == HALF**2
    table = ds.cloudfree.report()  # of the lazy series: reads again
    assert table.drop(columns="time").values.tolist() == [
        [SCENE, "B04", f"y 0:{HALF}, x {HALF}:{N}", "damaged file"]
    ]
    with pytest.raises(AssetError, match="damaged"):
        load(items, loader=loader)["B04"][0].compute()


def test_a_file_that_was_cut_off_is_seen_when_opened_and_costs_what_is_missing(
    archive, items, faults
):
    faults.by_path[PATH] = Fault(cut_at=block(archive, "B04.tif", 1, 1)[0])
    ds = load(items, on_error="report")
    assert list(ds["status"].values) == ["B04 damaged file", "ok"]
    out = ds.compute()
    hole = np.isnan(out["B04"].values[0])
    assert hole[HALF:, HALF:].all()
    assert hole.sum() == HALF**2
    assert out.cloudfree.report()["chunk"].tolist() == [f"y {HALF}:{N}, x {HALF}:{N}"]


def test_resampling_over_a_broken_block_raises_too(archive, items, faults):
    faults.by_path[PATH] = Fault(broken=block(archive, "B04.tif", 0, 1))
    shifted = GeoBox(GRID.shape, GRID.transform * affine.Affine.translation(0.5, 0.5), GRID.crs)
    with pytest.raises(AssetError, match="damaged"):
        load(items, like=shifted)["B04"][0].compute()


@pytest.mark.parametrize("status", [404, 403, 503])
def test_what_was_mended_can_be_read_by_the_same_process(items, faults, status, monkeypatch):
    monkeypatch.setattr("xcloudfree.stac.read.access.PROMPT", 60.0)  # however busy the machine
    ds = load(items, sign=lambda address: f"{address}?mended={status}")
    faults.by_path["B04.tif"] = Fault(status)
    with pytest.raises(AssetError, match=str(status)):
        ds["B04"].compute()
    faults.clear()
    assert np.isfinite(ds["B04"].values).all()


def test_a_server_that_never_answers_well_ends_in_bounded_time_by_default(
    items, faults, monkeypatch, requests
):
    for name in ("GDAL_HTTP_RETRY_DELAY", "GDAL_HTTP_MAX_RETRY", "GDAL_HTTP_TIMEOUT"):
        monkeypatch.delenv(name)
    faults.by_path["B04.tif"] = Fault(503)
    ds = load(items, sign=lambda address: f"{address}?never")
    spent = []
    for column in (0, HALF):
        start = time.monotonic()
        with pytest.raises(AssetError, match="503"):
            ds["B04"][0, 0, column].compute()
        spent.append(time.monotonic() - start)
        if column == 0:
            reads = [r for r in requests if r.range != "bytes=-1"]  # asks how long to wait
            assert len(reads) == 4  # one and three more
    assert spent[0] < BOUND
    assert spent[1] < spent[0] / 2  # the other chunks do not wait as long


def test_an_expired_token_is_named_and_mended_by_sign(items, faults):
    faults.tokens = {"new"}
    ds = load(items, sign=None)
    with pytest.raises(AssetError, match=r"refused \(HTTP 403\).*sign=planetary_computer.sign"):
        ds["B04"][0, 0, 0].compute()
    out = load(items, sign=None, on_error="report")
    assert set(out["status"].values) == {"all assets refused (HTTP 403)"}
    assert (out.cloudfree.report()["error"] == "refused").all()


def test_every_asset_is_read_once_and_nothing_before(items, faults, requests):
    def ranges(options):
        with no_computes():
            ds = load(items, **options)
        before = len(requests)
        ds.compute()
        read = [r for r in requests[before:] if r.method == "GET"]
        requests.clear()
        return before, len(read)

    before, plain = ranges({})
    assert before == 0
    _, reporting = ranges({"on_error": "report"})
    assert 0 < reporting <= plain


def test_trying_every_asset_keeps_to_its_threads(items, faults):
    many = [{**i, "id": f"{i['id']}{n}"} for n in range(12) for i in items if "S2" in i["id"]]
    for item in items:
        faults.by_path[item["id"]] = Fault()
    faults.by_path[".tif"] = Fault(delay=0.02)
    load(many, on_error="report")
    assert 1 < faults.busiest <= 8


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """One scene of two overlapping items, of two processing baselines, on a wider grid."""
    folder = tmp_path_factory.mktemp("halves")
    values = np.random.default_rng(2).uniform(0.1, 1, (1, N, N))
    whole = dataset({"B04": values}, TIMES[:1], units="1", processing_level="BOA")
    with serve_faults(folder) as (address, _, faults):
        found = []
        for columns, baseline, lag in ((slice(0, 300), "02.09", 0), (slice(200, 400), "05.09", 25)):
            part = whole.isel(x=columns)
            part = part.assign_coords(time=part.time + np.timedelta64(lag, "s"))
            found += stac.publish(part, folder, baseline=baseline, base_url=address)[1]
        yield whole, found, faults


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_a_hole_from_a_fault_is_told_from_a_hole_in_the_footprint(halves, loader):
    whole, items, faults = halves
    options = {"like": GRID, "loader": loader, "on_error": "report"}
    codes = load(items, **options)["read_status"].sel(asset="B04").values[0]
    assert (codes[:, :400] == 1).all()
    assert (codes[:, 400:] == 0).all()  # no item
    for lost, readable, mine, position in (
        (items[0], slice(200, 400), slice(0, 200), 0),
        (items[1], slice(0, 300), slice(300, 400), 1),
    ):
        faults.by_path[f"{lost['id']}/B04.tif"] = Fault(404)
        out = load(items, **options).compute()
        faults.clear()
        codes = out["read_status"].sel(asset="B04").values[0]
        assert (codes[:, readable] == 1).all()  # also where the lost item lay on top
        assert (codes[:, mine] == failure_code(Cause.NOT_FOUND, position)).all()
        assert (codes[:, 400:] == 0).all()
        seen = out["B04"].values[0][:, readable]
        np.testing.assert_allclose(seen, whole["B04"].values[0][:, readable], atol=5.1e-5)
        assert np.isnan(out["B04"].values[0][:, mine]).all()
        table = out.cloudfree.report()
        assert table["item"].tolist() == [lost["id"]]
        assert table["chunk"].tolist() == [f"y 0:{N}, x {mine.start}:{mine.stop}"]


def test_dates_that_are_made_in_different_ways_keep_their_own_records(halves):
    _, items, faults = halves
    others = [copy.deepcopy(items[1]) for _ in range(3)]
    for item, day in zip(others, ("05-29", "05-28", "06-03"), strict=True):
        item["id"] += f"_{day}"
        item["properties"]["datetime"] = f"2025-{day}T10:20:31Z"
    faults.by_path[f"{items[0]['id']}/B04.tif"] = Fault(404)
    options = {"like": GRID, "on_error": "report"}
    series = load([*items, *others], **options)
    assert series["read_status"].chunksizes["time"] == (1, 1, 1, 1)
    in_order = ([others[1]], [others[0]], items, [others[2]])
    alone = [load(part, **options) for part in in_order]
    for step, one in enumerate(alone):
        assert series["status"][step] == one["status"][0]
        xr.testing.assert_equal(
            series["read_status"].isel(time=step), one["read_status"].isel(time=0)
        )
    assert (series["read_status"].isel(time=2) > 1).any()


def test_backscatter_that_fails_is_reported_under_its_own_item(items, faults):
    radar = items[2]["id"]
    faults.by_path["vv.tif"] = Fault(404)
    ds = load(items, on_error="report", polarisations=("VV", "VH"), max_gap="5D")
    assert list(ds["asset"].values) == ["B03", "B04", "VV", "VH"]
    out = ds.compute()
    assert np.isnan(out["VV"].values).all()
    assert np.isfinite(out["VH"].values).all()
    table = out.cloudfree.report()
    assert set(table["item"]) == {radar}
    assert set(table["asset"]) == {"vv"}
    assert set(out["status"].values) == {"vv not found (HTTP 404)"}  # both scenes take this pass
    ds = load(items, on_error="report", polarisations="VV", max_gap="1D", on_gap="nan")
    assert (ds["read_status"].sel(asset="VV")[1] == 0).all()  # no pass: nothing to read
    assert ds["status"].values[1] == "ok"


def test_the_record_survives_storage_and_is_that_of_the_run(items, faults, requests, tmp_path):
    faults.by_path[PATH] = Fault(404)
    ds = load(items, on_error="report")
    back = xcf.io.to_zarr(ds, tmp_path / "ours.zarr", progress=False)
    ds.to_zarr(tmp_path / "xarray.zarr", consolidated=False)
    theirs = xr.open_zarr(tmp_path / "xarray.zarr", consolidated=False)
    faults.clear()  # it would be read now
    requests.clear()
    for stored in (back, theirs):
        assert stored["status"].values[0] == "B04 not found (HTTP 404)"
        table = stored.cloudfree.report()
        assert set(table["item"]) == {SCENE}
        assert len(table) == 4  # chunks
        assert stored["read_status"].attrs["flag_meanings"].split()[:3] == [
            "no_data", "read", "not_found",
        ]  # fmt: skip
    assert requests == []
    assert ds.cloudfree.report().empty


def test_the_record_follows_a_part_and_leaves_single_bands_alone(items, faults, requests):
    ds = load(items, on_error="report")
    part = ds.isel(time=[1], x=slice(0, 10), y=slice(0, 10))
    requests.clear()
    part.compute()
    assert {r.path.split("/")[1] for r in requests} == {items[1]["id"]}
    assert "read_status" not in ds["B04"].coords
    requests.clear()
    ds["B04"][0, :2, :2].compute()
    assert {r.path for r in requests} == {f"/{PATH}"}


def test_workers_of_a_cluster_keep_the_record_and_raise_the_same_error(items, faults):
    distributed = pytest.importorskip("distributed")
    faults.by_path[PATH] = Fault(404)
    reporting = load(items, on_error="report")
    raising = load(items)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        out = reporting.compute()
        assert set(out.cloudfree.report()["item"]) == {SCENE}
        with pytest.raises(AssetError, match=f"'B04' of item '{SCENE}'.*404"):
            raising["B04"].compute()
    assert set(np.unique(out["read_status"].sel(asset="B04")[0])) == {2}


def test_the_error_can_be_pickled(items, faults):
    faults.by_path[PATH] = Fault(404)
    with pytest.raises(AssetError) as caught:
        load(items)["B04"][0].compute()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.item, again.failure) == (
        str(caught.value), SCENE, caught.value.failure,
    )  # fmt: skip


def test_a_failed_pixel_is_no_data_and_never_cloud(tmp_path, faults):
    rng = np.random.default_rng(5)
    side = 64
    grid = GeoBox((side, side), GRID.transform, GRID.crs)
    bands = {b: rng.uniform(0.6, 0.9, (1, side, side)) for b in S2_BANDS}  # bright: all cloud
    radar = {p: rng.uniform(-20, -5, (1, side, side)) for p in ("VV", "VH")}
    with serve_faults(tmp_path) as (address, _, own):
        s2 = dataset(bands, TIMES[:1], grid, units="1", processing_level="TOA")
        s1 = dataset(radar, TIMES[:1], grid, units="dB", quantity="gamma0")
        found = stac.publish(s2, tmp_path, base_url=address)[1]
        found += stac.publish(s1, tmp_path, base_url=address)[1]
        own.by_path["B02.tif"] = Fault(404)
        ds = load(found, on_error="report", polarisations=("VV", "VH")).compute()
    assert not ds.cloudfree.mask().values.any()
    out = ds.cloudfree.reconstruct(model="idw")
    assert (out["provenance"].values == 0).all()
    assert out["provenance"].attrs["flag_meanings"].split()[0] == "nodata"
    assert np.isnan(out["B02"].values).all()
    xr.testing.assert_identical(out["read_status"], ds["read_status"])
    assert set(out.cloudfree.report()["asset"]) == {"B02"}


def test_items_that_do_not_tell_their_grid_fail_or_are_reported_too(items, faults):
    def without_grid(item):
        bare = {k: v for k, v in item["properties"].items() if not k.startswith("proj:")}
        assets = {
            name: {k: v for k, v in asset.items() if not k.startswith("proj:")}
            for name, asset in item["assets"].items()
        }
        return item | {"properties": bare, "assets": assets}

    bare = [without_grid(item) for item in items[:2]]
    assert load(bare).odc.geobox == GRID
    for name in ("B03.tif", "B04.tif"):
        faults.by_path[f"{SCENE}/{name}"] = Fault(404)
    with pytest.raises(AssetError, match=SCENE):
        load(bare)
    out = load(bare, on_error="report").compute()
    assert out.odc.geobox == GRID
    assert list(out["status"].values) == ["all assets not found (HTTP 404)", "ok"]
    assert set(np.unique(out["read_status"][0])) == {2}
    assert len(out.cloudfree.report()) == 2


def test_a_series_without_record_says_how_to_get_one(items):
    with pytest.raises(DataError, match=r'load\(.*on_error="report"\)$'):
        load(items).cloudfree.report()
    with pytest.raises(DataError, match=r"on_error="):
        load(items, on_error="ignore")
    with pytest.raises(DataError, match=r"loader="):
        load(items, loader="other")


def test_codes_tell_cause_and_item():
    for cause, position in itertools.product(Cause, (0, 1, 30)):
        code = failure_code(cause, position)
        assert 2 <= code < 255
        assert fault_of(code) == (cause, position)
    assert fault_of(failure_code(Cause.DAMAGED, 99)) == (Cause.DAMAGED, 30)
    # where mosaics meet, values hide faults, and faults hide nothing
    first = np.array([255, 0, 2, 2 + 8, 0], np.uint8)
    second = np.array([2, 0, 255, 3 + 16, 3], np.uint8)
    found = stacked(np.maximum(first, second))
    np.testing.assert_array_equal(found[:, 0], [1, 0, 1, 3 + 16, 3])


@pytest.mark.parametrize(
    ("messages", "logged", "cause"),
    [
        (["HTTP response code: 410"], [], Cause.NOT_FOUND),
        (["Read failed.", "got 0 bytes, expected 9"], ["HTTP error code: 502 - x"], Cause.SERVER),
        (["Read failed.", "got 0 bytes, expected 9"], [], Cause.DAMAGED),
        (["CURL error: Could not resolve host: nowhere"], [], Cause.NO_ANSWER),
        (["x.tif: No such file or directory"], [], Cause.NOT_FOUND),
        (["ExpiredToken: The provided token has expired."], [], Cause.REFUSED),
        (["something else"], [], Cause.OTHER),
    ],
)
def test_causes_are_read_from_what_gdal_says(messages, logged, cause):
    assert classify(messages, logged).cause is cause

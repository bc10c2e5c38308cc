"""How pixels are read: signed when read, secrets left nowhere, the same by every loader."""

import contextlib
import datetime
import functools
import itertools
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
import types

import affine
import cloudpickle
import numpy as np
import odc.geo.xr
import odc.stac
import pystac
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox

from tests.archive import shrink
from tests.checks import no_computes
from tests.fault_server import Fault, serve_faults
from tests.provider_items import MADE_UP, REAL, case
from tests.swath import Swath, grd, scene
from xcloudfree import stac
from xcloudfree.exceptions import CatalogError, DataError, GridError
from xcloudfree.stac.read import signing
from xcloudfree.stac.read.access import AssetError
from xcloudfree.stac.read.mosaic import Layer
from xcloudfree.stac.read.reading import read_window
from xcloudfree.stac.read.signing import Signer, without_secrets

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
]

N = 96
GRID = GeoBox((N, N), affine.Affine(10, 0, 500003, 0, -10, 5300017), "EPSG:32632")
TIMES = np.array(["2025-06-01T10:20:31", "2025-06-04T10:20:31"], "datetime64[ns]")
SECRET = "SECRETTOKEN"
COUNTER = itertools.count()


def dataset(values, times, grid=GRID, **attrs):
    out = xr.Dataset(
        {n: (("time", "y", "x"), v.astype("float32"), attrs) for n, v in values.items()},
        coords={"time": np.atleast_1d(times)},
    )
    return out.assign_coords(odc.geo.xr.xr_coords(grid))


def moved(x, y, shape=(N, N), scale=1.0, crs=GRID.crs):
    """A grid beside GRID, its corner some pixels away."""
    transform = GRID.transform * affine.Affine.translation(x, y) * affine.Affine.scale(scale)
    return GeoBox(shape, transform, crs)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Six kinds of items as archives encode them; scenes are in two parts, the pass in three."""
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(4)

    def bands(names, grid):
        return {b: rng.uniform(0.01, 1, (2, *grid.shape)) for b in names}

    kinds = {}
    with serve_faults(folder) as (address, requests, faults):

        def put(kind, ds, **options):
            kinds[kind] = (
                kinds.get(kind, []) + stac.publish(ds, folder, base_url=address, **options)[1]
            )

        for kind, level, options in (
            ("toa", "TOA", {"collection": "sentinel-2-l1c"}),
            ("boa", "BOA", {"collection": "sentinel-2-l2a"}),
            ("old", "BOA", {"collection": "sentinel-2-c1-l2a", "baseline": "02.09"}),
            ("silent", "BOA", {"collection": "sentinel-s2-l2a-cogs", "declare": False}),
        ):
            ds = dataset(bands(("B02", "B04"), GRID), TIMES, units="1", processing_level=level)
            if level == "BOA":
                classes = rng.integers(1, 12, (2, N, N)).astype("uint8")
                ds["SCL"] = (("time", "y", "x"), classes)
            for columns, lag in ((slice(0, 60), 0), (slice(40, N), 25)):
                part = ds.isel(x=columns)
                late = part.assign_coords(time=part.time + np.timedelta64(lag, "s"))
                put(kind, late, **options)
        coarse = moved(0, 0, (N // 2, N // 2), 2)
        ds = dataset(bands(("B05", "B11"), coarse), TIMES, coarse, units="1")
        put("coarse", ds, level="TOA", collection="sentinel-2-l1c")
        off = moved(-0.5, -0.5, (N + 1, N + 1))
        power = {p: rng.gamma(4, 0.02, (1, N + 1, N + 1)) for p in ("VV", "VH")}
        power["VV"][:, 20:30, 5:50] = np.nan
        radar = dataset(power, TIMES[:1], off, units="1", quantity="gamma0")
        for n, rows in enumerate((slice(0, 40), slice(30, 70), slice(60, N + 1))):
            lag = np.timedelta64(20 * n, "s")
            put("radar", radar.isel(y=rows).assign_coords(time=radar.time + lag))
        (folder / SECRET).symlink_to(folder)
        yield types.SimpleNamespace(
            folder=folder, address=address, requests=requests, faults=faults, **kinds
        )


@pytest.fixture(autouse=True)
def well(archive, monkeypatch):
    """Every test begins with a server in order, and does not wait long for one that is not."""
    archive.faults.clear()
    archive.requests.clear()
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "2")
    yield
    archive.faults.clear()


def load(items, **options):
    return stac.load(items, **({"polarisations": ()} | options))


def fresh(address):
    """An address that no cache of GDAL knows."""
    return f"{address}?{next(COUNTER)}"


# ------------------------------------------------------------------------------ signing


def test_addresses_are_signed_when_a_task_reads_and_not_before(archive):
    now = {"token": "morning"}
    asked = []

    def sign(address):
        asked.append(address)
        return f"{address}?sig={now['token']}&n={next(COUNTER)}"

    with no_computes():
        ds = load(archive.boa, sign=sign)
    assert asked == []
    now["token"] = "evening"
    archive.faults.tokens = {"evening"}  # what was valid when the graph was built no longer is
    assert np.isfinite(ds["B04"].values).all()
    assert {a.split("/")[-1] for a in asked} == {"B04.tif"}
    assert all("?" not in a for a in asked)
    assert {r.status for r in archive.requests} == {200, 206}


def test_what_is_refused_is_signed_anew_once(archive):
    given = []

    def sign(address):  # a cache of tokens that has not noticed
        given.append("stale" if len(given) == 0 else "valid")
        return f"{address}?sig={given[-1]}&n={next(COUNTER)}"

    archive.faults.tokens = {"valid"}
    assert np.isfinite(load(archive.boa, sign=sign)["B04"][0, :4, :4].values).all()
    assert given[:2] == ["stale", "valid"]

    given.clear()
    archive.faults.tokens = {"other"}
    with pytest.raises(AssetError, match="refused"):
        load(archive.boa, sign=sign)["B04"][0, :4, :4].compute()
    assert len(given) == 2


def test_a_token_that_expires_between_header_and_pixels_is_renewed(archive):
    path = f"{archive.boa[0]['id']}/B04.tif"
    archive.faults.by_path[path] = Fault(403, times=2, spare=1000)  # GDAL asks for a range twice
    values = load(archive.boa, sign=fresh)["B04"][0, :4, :4].values
    assert np.isfinite(values).all()


def by_reference(address):
    return f"{address}?sig={SECRET}&n={next(COUNTER)}"


class Holder:
    def __init__(self, token):
        self.token = token

    def __call__(self, address):
        return f"{address}?sig={self.token}&n={next(COUNTER)}"


def signers():
    token = SECRET
    return {
        "function": by_reference,
        "closure": lambda address: f"{address}?sig={token}&n={next(COUNTER)}",
        "object": Holder(SECRET),
        "path": lambda address: address.replace("/S", f"/{token}/S", 1),
    }


def everything_about(error):
    out = [*traceback.format_exception(error)]
    while error is not None:
        out += [str(error), repr(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "".join(out)


@pytest.mark.parametrize(
    ("kind", "loader"),
    [("function", "odc"), ("object", "odc"), ("path", "odc"), ("closure", "stackstac")],
)
def test_no_token_is_left_behind(archive, tmp_path, caplog, monkeypatch, kind, loader):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    sign = signers()[kind]
    items = [*archive.boa, *archive.radar]
    options = {"polarisations": ("VV",), "max_gap": "4D", "loader": loader}
    ds = load(items, sign=sign, **options)
    shown = [pickle.dumps(ds), cloudpickle.dumps(ds), cloudpickle.dumps(dict(ds.__dask_graph__()))]
    shown += [repr(ds), ds._repr_html_(), repr(ds.to_dict(data=False)), repr(ds.__dask_keys__())]
    ds[["B04"]].to_zarr(tmp_path / "out.zarr", consolidated=False)
    assert archive.requests
    assert all(SECRET in (r.path if kind == "path" else r.query) for r in archive.requests)
    shown += [p.read_bytes() for p in (tmp_path / "out.zarr").rglob("*.json")]
    archive.faults.by_path["B02.tif"] = Fault(broken=(0, 4000))  # GDAL's message has the address
    with pytest.raises(AssetError) as caught:
        ds["B02"].compute()
    archive.faults.by_path["B04.tif"] = Fault(503)
    shown.append(everything_about(caught.value))
    reporting = load(items, sign=sign, on_error="report", **options).compute()
    shown += [repr(reporting), pickle.dumps(reporting), reporting.cloudfree.report().to_string()]
    assert "B02" in str(reporting["status"].values)
    shown += [caplog.text, *(str(r.__dict__) for r in caplog.records)]
    assert "127.0.0.1" in caplog.text  # GDAL did talk
    for text in shown:
        assert (SECRET.encode() if isinstance(text, bytes) else SECRET) not in text


def failing(address):
    raise ValueError(f"{address}?sig={SECRET}")


def test_what_sign_raises_is_not_shown(archive):
    with pytest.raises(AssetError, match=r"sign= failed with ValueError") as caught:
        load(archive.boa, sign=failing)["B02"].compute()
    assert SECRET not in everything_about(caught.value)
    with pytest.raises(DataError, match=r"load\(.*sign="):
        load(archive.boa, sign="https://")
    with pytest.raises(DataError, match=r"load\(.*sign="):
        load(archive.boa, sign=lambda address: None)["B02"].compute()


def signed_by_search(items):
    text = json.dumps(items).replace('.tif"', '.tif?se=2025&sig=EXPIRED"')
    return json.loads(text)


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_tokens_that_a_search_put_into_the_items_are_replaced(archive, loader):
    archive.faults.tokens = {SECRET}
    items = signed_by_search(archive.boa)
    ds = load(items, sign=by_reference, loader=loader)
    assert b"EXPIRED" not in cloudpickle.dumps(ds)
    assert np.isfinite(ds["B04"].values).all()
    assert set(load(items, sign=by_reference, on_error="report")["status"].values) == {"ok"}


def test_tokens_in_the_items_without_sign_are_used_with_a_warning(archive):
    archive.faults.tokens = {"EXPIRED"}
    with pytest.warns(UserWarning, match=r"tokens, which expire.*load\(.*sign=") as caught:
        ds = load(signed_by_search(archive.boa))
    assert {w.filename for w in caught if "tokens" in str(w.message)} == {__file__}
    assert np.isfinite(ds["B04"].values).all()


@functools.singledispatch
def dispatched(address):
    return address


def test_sign_is_pickled_by_reference():
    for function in (by_reference, dispatched, without_secrets, os.path.join):
        again = pickle.loads(pickle.dumps(Signer(function)))
        assert again._function is function
        assert len(pickle.dumps(again)) < 200
    held = Holder(SECRET)
    partial = functools.partial(lambda token, address: f"{address}?{token}", SECRET)
    for function in (lambda address: address, held, held.__call__, partial):
        local = Signer(function)
        assert pickle.loads(pickle.dumps(local)) is local
        assert SECRET.encode() not in cloudpickle.dumps(local)


def test_a_sign_that_cannot_leave_the_process_says_so_elsewhere(archive, monkeypatch):
    ds = load(archive.boa, sign=lambda address: address)
    assert np.isfinite(pickle.loads(pickle.dumps(ds))["B04"].values).all()
    monkeypatch.setattr(signing, "_HERE", {})  # as in a process that did not call load
    with pytest.raises(CatalogError, match=r"load\(\.\.\., sign=my_module\.sign\)$"):
        pickle.loads(pickle.dumps(ds)).compute()


def test_a_cluster_in_this_process_takes_any_sign(archive):
    distributed = pytest.importorskip("distributed")
    archive.faults.tokens = {SECRET}
    ds = load(archive.boa, sign=Holder(SECRET))
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        assert np.isfinite(ds["B04"].compute().values).all()


def test_names_of_tasks_are_those_of_another_process_so_that_writes_resume(archive):
    code = """if True:
        import json, sys
        from xcloudfree import stac
        class Holder:
            def __call__(self, address):
                return address
        items = json.load(sys.stdin)
        for loader in ("odc", "stackstac"):
            options = {"polarisations": ("VV",), "max_gap": "4D", "loader": loader}
            signs = (None, lambda address: address, Holder(), str)
            for sign in signs if loader == "odc" else signs[:2]:
                ds = stac.load(items, sign=sign, **options)
                print([v.data.name for v in ds.variables.values() if v.chunks])
            options = {"polarisations": (), "on_error": "report", "loader": loader}
            ds = stac.load(items[:1], **options)
            print([v.data.name for v in ds.variables.values() if v.chunks])
    """
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONHASHSEED": seed},
            text=True,
        )
        for seed in ("1", "2")
    ]
    items = json.dumps([*archive.boa[:1], *archive.radar[:1]])
    found = [process.communicate(items)[0].splitlines() for process in running]
    assert found[0] == found[1]
    assert len(set(found[0])) == 8  # another sign, or another mode, is another job


# --------------------------------------------------------------------------- environment


def test_credentials_of_an_open_environment_are_not_carried_into_the_graph(archive):
    with (
        rasterio.Env(GDAL_HTTP_BEARER=SECRET, GDAL_HTTP_USERAGENT="tester"),
        pytest.warns(UserWarning, match=r"GDAL_HTTP_BEARER.*os\.environ"),
    ):
        ds = load(archive.boa, sign=fresh)
    assert SECRET.encode() not in cloudpickle.dumps(ds)
    ds["B04"][0, 0, 0].compute()
    assert {r.headers["user-agent"] for r in archive.requests} == {"tester"}


def test_options_of_the_process_that_reads_go_before_ours(archive, monkeypatch):
    ds = load(archive.boa, sign=fresh)
    archive.faults.by_path["B04.tif"] = Fault(503)
    seen = {}
    for retries in ("0", "2"):
        monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", retries)
        archive.requests.clear()
        with pytest.raises(AssetError):
            ds["B04"][0, 0, 0].compute()
        # "bytes=-1" asks how long to wait
        seen[retries] = len([r for r in archive.requests if r.range != "bytes=-1"])
    # what failed at once is asked for anew, lest it be GDAL's memory: twice, as that is off then
    assert seen == {"0": 3, "2": 9}


@pytest.mark.parametrize("anonymous", [True, False])
def test_buckets_are_read_by_the_documented_environment(archive, monkeypatch, anonymous):
    monkeypatch.setenv("AWS_S3_ENDPOINT", archive.address.removeprefix("http://"))
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    if anonymous:
        monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    else:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    items = json.loads(json.dumps(archive.boa).replace(archive.address + "/", "s3://"))
    ds = load(items)
    assert SECRET.encode() not in cloudpickle.dumps(ds)
    band = "B02" if anonymous else "B04"  # GDAL remembers what it has read
    expected = load(archive.boa)[band][0].values
    archive.requests.clear()
    np.testing.assert_array_equal(ds[band][0].values, expected)
    assert archive.requests
    for request in archive.requests:
        assert ("authorization" in request.headers) is not anonymous
        payer = request.headers.get("x-amz-request-payer")
        assert payer == (None if anonymous else "requester")


# --------------------------------------------------------------------------------- pixels


GRIDS = {
    "same": GRID,
    "part": GRID[10:50, 20:90],
    "wider": moved(-7, -9, (N + 20, N + 20)),
    "half a pixel": moved(0.5, 0.5),
    "thirds": moved(1 / 3, -1 / 3, (N + 4, N + 4)),
    "twice as coarse": moved(0, 0, (N // 2, N // 2), 2),
    "five times as coarse": moved(1, 2, (18, 18), 5),
    "finer": moved(3, 4, (120, 120), 0.5),
    "other zone": GeoBox.from_bbox(
        GRID.extent.to_crs("EPSG:32633").boundingbox.bbox, "EPSG:32633", resolution=10
    ),
    "degrees": GeoBox.from_bbox((9.001, 47.84, 9.013, 47.852), "EPSG:4326", resolution=1e-4),
}


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    path = tmp_path_factory.mktemp("raster") / "image.tif"
    pixels = np.random.default_rng(9).integers(1, 9000, (N, N)).astype("uint16")
    pixels[5:40, 30:45] = 0
    with rasterio.open(
        path, "w", driver="COG", height=N, width=N, count=1, dtype="uint16", nodata=0,
        crs="EPSG:32632", transform=GRID.transform, blocksize=128, overview_count=2,
        overview_resampling="average",
    ) as file:  # fmt: skip
        file.write(pixels, 1)
    return path


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average", "cubic"])
@pytest.mark.parametrize("name", GRIDS)
def test_windows_are_those_that_odc_stac_reads(raster, name, resampling):
    extent = GRID.geographic_extent
    item = pystac.Item(
        "a", extent.json, list(extent.boundingbox), datetime.datetime(2025, 6, 1),
        {"proj:epsg": 32632},
        stac_extensions=["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
    )  # fmt: skip
    extra = {"proj:shape": [N, N], "proj:transform": list(GRID.transform)[:6]}
    item.add_asset("B04", pystac.Asset(str(raster), extra_fields=extra, roles=["data"]))
    grid = GRIDS[name]
    expected = odc.stac.load([item], geobox=grid, resampling=resampling, dtype="uint16", nodata=0)
    with rasterio.open(raster) as dataset:
        found = read_window(dataset, grid, Layer("B04", "uint16", 0, resampling))
    np.testing.assert_array_equal(found, expected["B04"].values[0])
    assert found.any()


# ------------------------------------------------------------------------------- stackstac


CASES = [
    *itertools.product(("half a pixel",), ("boa", "silent", "coarse"), ["raise"]),
    ("native", "toa", "raise"),
    ("twice as coarse", "coarse", "raise"),
    ("other zone", "boa", "raise"),
    ("native", "old", "report"),
    ("half a pixel", "boa", "report"),
]


@pytest.mark.parametrize(("name", "kind", "mode"), CASES)
def test_stackstac_gives_what_odc_stac_gives(archive, kind, name, mode):
    options = {} if name == "native" else {"like": GRIDS[name]}
    options |= {"chunks": {"x": 50, "y": 33}, "polarisations": ("VV", "VH"), "on_error": mode}
    items = [*getattr(archive, kind), *archive.radar]
    both = [load(items, loader=la, max_gap="4D", **options) for la in ("odc", "stackstac")]
    assert both[0].chunks == both[1].chunks
    xr.testing.assert_identical(both[0].compute(), both[1].compute())
    assert np.isfinite(both[0]["VH"].values).any()
    for variable, coords in both[0].variables.items():
        assert coords.encoding == both[1][variable].encoding


def test_stackstac_agrees_with_its_own_reader_where_that_is_right(archive):
    from stackstac.prepare import prepare_items
    from stackstac.to_dask import items_to_dask

    items = [
        i for i in archive.toa if i["properties"]["datetime"].startswith("2025-06-01T10:20:31")
    ]
    table, spec, _, _ = prepare_items(
        items, assets=["B02", "B04"], epsg=32632, rescale=False, snap_bounds=False
    )
    own = items_to_dask(
        table, spec, 1024, dtype=np.dtype("uint16"), fill_value=np.uint16(0), rescale=False
    ).compute(scheduler="single-threaded")
    ds = load(items, loader="stackstac")
    assert own.shape[2:] == ds["B02"].shape[1:]
    for n, band in enumerate(("B02", "B04")):
        numbers = np.where(own[0, n] == 0, np.nan, own[0, n] * 1e-4 - 0.1)
        np.testing.assert_allclose(ds[band].values[0], numbers, atol=1e-6)


@pytest.mark.parametrize(
    "name", [*REAL, *(pytest.param(name, marks=pytest.mark.slow) for name in MADE_UP)]
)
def test_stackstac_reads_every_archive_alike(data_root, tmp_path, name):
    item, encoding = case(data_root, name)
    item, _ = shrink(item, encoding, tmp_path)
    options = {"bands": None, "chunks": {"x": 70, "y": 70}}
    found = [load([item], loader=loader, **options) for loader in ("odc", "stackstac")]
    assert found[0].chunks == found[1].chunks
    xr.testing.assert_identical(found[0].compute(), found[1].compute())
    assert np.isfinite(found[0]["B03"].values).any()


@pytest.mark.parametrize("mode", ["raise", "report"])
def test_stackstac_warps_radar_geometry_alike(tmp_path, mode):
    items = [grd(tmp_path, Swath()), scene(tmp_path, Swath())]
    named = sorted({item["collection"] for item in items})
    options = {"collections": named, "polarisations": ("VV",), "on_error": mode}
    found = [load(items, loader=loader, **options) for loader in ("odc", "stackstac")]
    xr.testing.assert_identical(found[0].compute(), found[1].compute())
    assert np.isfinite(found[0]["VV"].values).any()


@pytest.mark.parametrize(
    ("name", "epsg"),
    [
        ("planetary-computer/sentinel-2-l2a", 32653),
        ("earth-search/sentinel-2-l2a", 32720),
        ("cdse/sentinel-2-l2a", 32655),
    ],
)
@pytest.mark.filterwarnings("ignore:Could not parse bucket")
def test_real_items_open_alike_with_both_loaders(data_root, name, epsg):
    item = json.loads((data_root / "stac_items" / f"{name}.json").read_text())
    found = [load([item], loader=loader) for loader in ("odc", "stackstac")]
    assert found[0].odc.geobox == found[1].odc.geobox
    assert found[0].odc.geobox.crs.epsg == epsg
    assert found[0].odc.geobox.shape == (10980, 10980)
    assert found[0].chunks == found[1].chunks
    xr.testing.assert_identical(found[0].coords.to_dataset(), found[1].coords.to_dataset())


def test_grids_and_packages_that_stackstac_lacks_are_named(archive, monkeypatch):
    odd = "+proj=laea +lat_0=47.846 +lon_0=9.006 +datum=WGS84 +units=m"
    grid = GeoBox.from_bbox((-200, -200, 200, 200), odd, resolution=10)
    with pytest.raises(GridError, match=r"load\(.*loader='odc'\)$"):
        load(archive.boa, like=grid, loader="stackstac")
    monkeypatch.setitem(sys.modules, "stackstac.prepare", None)
    with pytest.raises(CatalogError, match=r"pip install 'xcloudfree\[stackstac\]'$"):
        load(archive.boa, loader="stackstac")


# ------------------------------------------------------------------------------------ grid


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
@pytest.mark.parametrize("name", list(GRIDS))
def test_like_is_exact_to_the_pixel_with_the_chunks_asked_for(archive, loader, name):
    like = xr.DataArray(
        np.zeros(GRIDS[name].shape), odc.geo.xr.xr_coords(GRIDS[name]), GRIDS[name].dimensions
    )
    items = [*archive.boa, *archive.radar]
    with no_computes():
        ds = load(
            items, like=like, loader=loader, chunks={"x": 40, "y": 25}, polarisations=("VV",),
            max_gap="4D",
        )  # fmt: skip
    assert archive.requests == []
    y, x = GRIDS[name].dimensions
    for dim, size in ((y, 25), (x, 40)):
        np.testing.assert_array_equal(ds[dim], like[dim])  # to the last bit
        whole, rest = divmod(like.sizes[dim], size)
        assert ds.chunksizes[dim] == (size,) * whole + ((rest,) if rest else ())
    assert ds.odc.geobox == GRIDS[name]
    assert ds.chunksizes["time"] == (1, 1)


def test_secrets_are_taken_out_of_any_text():
    for text in (
        f"https://host/a.tif?sig={SECRET}",
        f"'/vsicurl/https://me:{SECRET}@host/a.tif' is no raster",
        f"a.tif?se=1&sig={SECRET}, band 1: IReadBlock failed",
        f"GET https://host/a.tif?X-Amz-Signature={SECRET}: refused",
    ):
        assert SECRET not in without_secrets(text)
    with contextlib.suppress(ImportError):
        import planetary_computer

        assert "planetary_computer" in repr(Signer(planetary_computer.sign))

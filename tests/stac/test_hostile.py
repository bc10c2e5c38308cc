"""Files that are not what their item says, catalogs that reach too far, secrets, stalls."""

import itertools
import logging
import pickle
import re
import time

import affine
import cloudpickle
import numpy as np
import pystac
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from tests import archive
from tests.fault_server import Fault, serve_faults
from xcloudfree import stac
from xcloudfree.exceptions import CatalogError
from xcloudfree.stac.read import access
from xcloudfree.stac.read.access import AssetError
from xcloudfree.stac.read.signing import without_secrets

pytestmark = pytest.mark.network

N = 300
GRID = GeoBox((N, N), affine.Affine(10, 0, 500000, 0, -10, 5300000), "EPSG:32632")
SECRET = "SECRETWORD"
COUNTER = itertools.count()


def write(path, pixels=None, crs="EPSG:32632", left=500000, step=10, turn=0):
    pixels = np.full((N, N), 3000, "uint16") if pixels is None else pixels
    transform = affine.Affine(step, turn, left, turn, -step, 5300000)
    return archive.write(path, pixels, transform, crs, None)


def item_of(href, **links):
    assets = {
        "B04": {
            "href": str(href),
            "proj:shape": [N, N],
            "proj:transform": list(GRID.transform)[:6],
            "raster:bands": [{"data_type": "uint16", "nodata": 0}],
        }
    }
    made = archive.made_up(
        "S2A_MSIL2A_20250601T102031_N0500_R037_T32UNA", "sentinel-2-l2a", "2025-06-01T10:20:31Z",
        assets, left=500000, top=5300000, **{"proj:code": "EPSG:32632"},
    )  # fmt: skip
    archive.place(made, 500000, 5300000, "EPSG:32632", 10 * N)
    return made | links


def load(items, **options):
    return stac.load(items, polarisations=(), **options)


# ------------------------------------------------------------- not what the item says


OTHERS = {
    "another projection": {"crs": "EPSG:32633"},
    "far away": {"left": 900000},
    "two pixels off": {"left": 500020},
    "smaller": {"pixels": np.full((N // 2, N), 3000, "uint16")},
    "other pixels": {"step": 20},
    "floats": {"pixels": np.full((N, N), 0.3, "float32")},
    "a preview of 8 bits": {"pixels": np.full((N, N), 184, "uint8")},
    "a projection without a code": {"crs": "+proj=laea +lat_0=47 +lon_0=9 +datum=WGS84"},
    "turned": {"turn": 2},
}
SAYS = {
    "a preview of 8 bits": "contains uint8, not uint16",
    "another projection": "is in EPSG:32633, not EPSG:32632",
    "floats": "contains float32, not uint16",
}


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_that_is_not_what_its_item_says_is_an_error_or_a_status(tmp_path, kind, loader):
    href = write(tmp_path / "B04.tif", **OTHERS[kind])
    words = SAYS.get(kind, "which is off by")
    with pytest.raises(AssetError, match=rf"the file .*{words}.*on_error=\"report\"\)$"):
        load([item_of(href)], loader=loader).compute()
    ds = load([item_of(href)], loader=loader, on_error="report")
    assert words in ds.status.item()
    out = ds.compute()
    assert np.isnan(out.B04.values).all()
    assert out.cloudfree.report()["error"].tolist() == ["not readable"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step": 20, "pixels": np.full((N // 2, N // 2), 3000, "uint16")},
        {"left": 500004},
        {"crs": "+proj=tmerc +lat_0=0 +lon_0=9 +k=0.9996 +x_0=500000 +datum=WGS84 +units=m"},
    ],
)
def test_what_agrees_to_a_pixel_is_read(tmp_path, options):
    """Some items declare the grid of their 10 m bands for those of 20 m, too."""
    ds = load([item_of(write(tmp_path / "B04.tif", **options))], like=GRID[10:200, 10:200])
    np.testing.assert_allclose(ds.B04.values, 0.2, atol=1e-6)


# ----------------------------------------------------------- what a catalog may name


VRT = (
    '<VRTDataset rasterXSize="{n}" rasterYSize="{n}"><SRS>EPSG:32632</SRS><GeoTransform>500000, 10,'
    ' 0, 5300000, 0, -10</GeoTransform><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
    "<SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    "</VRTRasterBand></VRTDataset>"
)


@pytest.mark.parametrize("inline", [True, False])
def test_only_rasters_are_opened_and_no_lists_of_other_files(tmp_path, inline):
    text = VRT.format(n=N, path=write(tmp_path / "private.tif"))
    (tmp_path / "B04.tif").write_text(text)
    href = text if inline else tmp_path / "B04.tif"
    with rasterio.open(tmp_path / "B04.tif") as dataset:
        assert dataset.read(1).max() == 3000  # so GDAL would
    with pytest.raises((AssetError, CatalogError)):
        load([item_of(href)]).compute()


@pytest.mark.parametrize("tags", [("OVERVIEWS", "OVERVIEW_FILE"), ("GEOLOCATION", "X_DATASET")])
def test_a_geotiff_names_no_other_file_to_be_read_in_its_place(tmp_path, tags):
    other = np.full((N // 2, N // 2), 7000, "uint16")
    private = write(tmp_path / "private.tif", other, step=20)
    path, (space, name) = write(tmp_path / "B04.tif"), tags
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.update_tags(ns=space, **{name: str(private)})
    if space == "OVERVIEWS":
        with rasterio.open(path) as dataset:
            assert dataset.read(1, out_shape=other.shape).max() == 7000  # so GDAL would
    with pytest.raises(AssetError, match="names other files"):
        load([item_of(path)], resolution=20).compute()


@pytest.mark.parametrize("form", ["file", "vsi", "zip"])
def test_items_of_other_machines_name_no_files_of_this_one(tmp_path, form):
    path = write(tmp_path / "B04.tif")
    href = {"file": f"file://{path}", "vsi": f"/vsisubfile/0_,{path}", "zip": f"zip://{path}!a.tif"}
    there = [{"rel": "self", "href": "https://catalog.example.org/items/a.json"}]
    item = item_of(href[form], links=there)
    with pytest.raises(CatalogError, match=r"of this machine.*\"links\": \[\]\} for item in items"):
        load([item])
    here = [{"rel": "self", "href": "http://127.0.0.1:9/items/a.json"}]
    assert load([item_of(f"file://{path}", links=here)]).B04.values.max() > 0
    trusted = pystac.Item.from_dict(item_of(f"file://{path}", links=there))
    found = load([{**trusted.to_dict(), "links": []}])
    assert found.B04.values.max() > 0


# ------------------------------------------------------------------------- secrets


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    pixels = np.random.default_rng(0).integers(1000, 9000, (N, N)).astype("uint16")
    write(tmp_path / "B04.tif", pixels)
    with serve_faults(tmp_path) as (address, requests, faults):
        yield f"{address}/B04.tif", requests, faults


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_a_password_in_an_address_is_used_here_and_left_nowhere(served, loader, caplog):
    caplog.set_level(logging.DEBUG)
    href, requests, faults = served
    address = href.replace("//", f"//me:{SECRET}@")
    with pytest.warns(UserWarning, match=r"user names and passwords.*sign=my_module\.sign") as told:
        ds = load([item_of(address)], loader=loader)
    assert np.isfinite(ds.B04.values).all()
    assert any("authorization" in r.headers for r in requests)
    shown = [pickle.dumps(ds), cloudpickle.dumps(dict(ds.__dask_graph__())), repr(ds).encode()]
    assert np.isfinite(pickle.loads(shown[0]).B04.values).all()  # of the same process
    faults.by_path["B04.tif"] = Fault(404)
    with pytest.raises(AssetError) as caught, pytest.warns(match="passwords"):
        load([item_of(f"{address}?{next(COUNTER)}#{SECRET}")]).compute()
    shown += [
        repr(caught.value).encode(),
        str(caught.value.__notes__ if hasattr(caught.value, "__notes__") else "").encode(),
    ]
    shown += [caplog.text.encode(), *(str(w.message).encode() for w in told)]
    assert not [text for text in shown if SECRET.encode() in text]


def test_a_signature_beside_a_password_is_kept(served):
    href, requests, _ = served
    address = href.replace("//", "//me:word@") + "?sig=abc"
    with pytest.warns(match="tokens"), pytest.warns(match="passwords"):
        ds = load([item_of(address)])
    assert np.isfinite(ds.B04.values).all()
    assert {r.query for r in requests} == {"sig=abc"}
    assert all("authorization" in r.headers for r in requests)


def test_the_password_of_a_catalog_shows_in_no_log_and_no_error(caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(CatalogError) as caught:
        load(f"http://me:{SECRET}@127.0.0.1:9/stac?key={SECRET}")
    assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text
    assert "Basic" not in caplog.text
    assert "127.0.0.1" in caplog.text


def test_secrets_of_every_place_are_taken_out():
    for text in (
        f"https://me:{SECRET}@host/a.tif", f"s3://me:p@{SECRET}@host/a.tif",
        f"https://host/a.tif#{SECRET}", f"https://host/a.tif?a=1#{SECRET}",
        f"GET http://host/a#access_token={SECRET}: refused",
        f"Headers: {{'Authorization': 'Basic {SECRET}', 'Accept': '*/*'}}",
    ):  # fmt: skip
        assert SECRET not in without_secrets(text)
    assert without_secrets("item #3 of https://host/a.tif") == "item #3 of https://host/a.tif"


# ---------------------------------------------------------------------------- time


def test_a_stall_is_told_as_one_and_ends_sooner_for_the_next_chunk(served, monkeypatch):
    href, _, faults = served
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    ds = load([item_of(href)], sign=lambda a: f"{a}?{next(COUNTER)}", chunks={"x": 128, "y": 128})
    faults.by_path["B04.tif"] = Fault(stall_at=20_000)
    start = time.monotonic()
    with pytest.raises(AssetError, match=r"no answer in time \(the server sent nothing for 1 s\)"):
        ds.B04[0, -1, -1].compute()
    assert time.monotonic() - start < 15


def test_patience_with_an_asset_that_stalled_is_short(monkeypatch):
    asked = []
    monkeypatch.setattr(access, "_attempt", lambda *args: asked.append(args[3]) or 1)
    asset = access.Asset("a", "B04", "https://host/B04.tif")
    access.with_asset(asset, access.Access(), len)
    monkeypatch.setitem(access._stalled, asset.address, time.monotonic())
    access.with_asset(asset, access.Access(), len)
    monkeypatch.setitem(access._stalled, asset.address, time.monotonic() - 301)
    access.with_asset(asset, access.Access(), len)
    assert [o["GDAL_HTTP_LOW_SPEED_TIME"] for o in asked] == ["10", "2", "10"]


def test_a_server_that_says_when_to_come_back_is_asked_again_then(served):
    href, _, faults = served
    ds = load([item_of(href)], sign=lambda a: f"{a}?{next(COUNTER)}")
    faults.by_path["B04.tif"] = Fault(429, until=time.monotonic() + 2, retry_after="2")
    start = time.monotonic()
    assert np.isfinite(ds.B04.values).all()
    assert time.monotonic() - start > 1.9


def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(served):
    href, _, faults = served
    ds = load([item_of(href)], sign=lambda a: f"{a}?{next(COUNTER)}")
    faults.by_path["B04.tif"] = Fault(503, retry_after="3600")
    start = time.monotonic()
    with pytest.raises(AssetError, match=r"HTTP 503, which asks to wait 3600 s"):
        ds.compute()
    assert time.monotonic() - start < 15


def test_no_message_has_a_row_that_no_file_has(tmp_path):
    pixels = np.random.default_rng(0).integers(1000, 9000, (N, N)).astype("uint16")
    path = tmp_path / "B04.tif"
    write(path, pixels)
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(AssetError) as caught:
        load([item_of(path)]).compute()
    assert "damaged file" in str(caught.value)
    assert not re.search(r"\d{9}", str(caught.value))

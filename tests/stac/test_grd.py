"""Sentinel-1 in radar geometry: calibrated with the product's table, warped by control points."""

import copy
import pickle

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioIOError

from tests import archive, swath
from tests.swath import LINES, PIXELS, TIME, Swath, grd, scene
from xcloudfree import stac
from xcloudfree.exceptions import CatalogError, UnitsError
from xcloudfree.stac.read import grd as module
from xcloudfree.stac.read.access import Access
from xcloudfree.stac.read.grd import parse_calibration
from xcloudfree.stac.search.choice import choose_collections

REAL = (
    "planetary-computer/sentinel-1-grd",
    "planetary-computer/sentinel-1-grd.oldest",
    "earth-search/sentinel-1-grd",
    "earth-search/sentinel-1-grd.oldest",
    "stactools/sentinel1-grd",
    "stactools/sentinel1-grd.oldest",
)


def expected(grid, pol="VV"):
    y, x = np.indices(grid.shape) + 0.5
    x, y = grid.transform * (x, y)
    return 10 * np.log10(swath.sigma0(x, y, pol))


def load(items, **arguments):
    named = sorted({item["collection"] for item in items})
    return stac.load(items, collections=named, **arguments)


def check(found, truth, valid=0.5):
    error = np.abs(found - truth)
    error = error[np.isfinite(found)]
    assert error.size > valid * found.size
    assert np.median(error) < 0.05
    assert np.percentile(error, 95) < 0.1


def same(address):
    return address


def test_a_worker_reads_a_calibration_table_once(tmp_path, monkeypatch):
    _, table = swath.write(tmp_path, Swath(), "VV", 0, LINES)
    asked = []
    text = table.read_bytes()
    monkeypatch.setattr(module, "read_text", lambda address: asked.append(address) or text)
    access = pickle.dumps(Access.of(same))  # each task gets a copy of its own
    tables = [module._table(str(table), pickle.loads(access)) for _ in range(2)]
    assert asked == [str(table)]
    assert tables[0] is tables[1]


def test_sigma0_of_a_tilted_swath(tmp_path):
    place = Swath()
    ds = load([grd(tmp_path, place), scene(tmp_path, place)])
    for pol in ("VV", "VH"):
        check(ds[pol].values[0], expected(ds.odc.geobox, pol), valid=0.95)
        assert ds[pol].attrs == {
            "units": "dB",
            "quantity": "sigma0",
            "terrain_correction": "none; placed by the ground control points of the product",
            "thermal_noise": "not removed",
        }
    assert ds.time_gap.values[0] == np.timedelta64(-(5 * 60 + 10) * 60 - 31, "s")
    assert (ds.relative_orbit.values[0], ds.orbit_state.values[0]) == (66, "descending")


@pytest.mark.parametrize("name", REAL)
def test_real_items_with_made_up_pixels(data_root, tmp_path, name):
    """Whatever projection the catalog invents for them, control points decide."""
    place = Swath()
    item = archive.read_item(data_root, name)
    pols = item["properties"]["sar:polarizations"]
    made = grd(tmp_path, place, pols=[{"HH": "VV", "HV": "VH"}.get(pol, pol) for pol in pols])
    for pol in pols:
        own = {"hh": "vv", "hv": "vh"}.get(pol.lower(), pol.lower())
        for prefix in ("", "schema-calibration-"):
            asset = item["assets"][prefix + pol.lower()]
            asset["href"] = made["assets"][prefix + own]["href"]
    item["properties"] |= {"datetime": TIME, "start_datetime": TIME, "end_datetime": TIME}
    item |= {"geometry": made["geometry"], "bbox": made["bbox"]}
    ds = load([item, scene(tmp_path, place)], polarisations=pols[:1])
    truth = expected(ds.odc.geobox, {"HH": "VV", "HV": "VH"}.get(pols[0], pols[0]))
    check(ds[pols[0]].values[0], truth, valid=0.95)
    assert ds.relative_orbit.values[0] == item["properties"]["sat:relative_orbit"]


def test_made_up_projections_are_ignored(tmp_path):
    place = Swath()
    honest = grd(tmp_path, place)
    lying = copy.deepcopy(honest)
    west, south, east, north = lying["bbox"]
    lying["properties"] |= {  # as Earth Search does: a box over the number of pixels, transposed
        "proj:epsg": 4326,
        "proj:shape": [PIXELS, LINES],
        "proj:transform": [(east - west) / LINES, 0, west, 0, -(north - south) / PIXELS, north],
    }
    optical = scene(tmp_path, place)
    both = [load([item, optical])["VV"].values for item in (honest, lying)]
    np.testing.assert_array_equal(*both)


def test_nothing_beyond_the_swath_and_nothing_from_its_empty_border(tmp_path):
    place = Swath()
    wide = scene(tmp_path, place, (200, 900), place.x - 2500, place.y - 1500)
    ds = load([grd(tmp_path, place, pols=("VV",)), wide], polarisations=("VV",))
    found = ds["VV"].values[0]
    y, x = np.indices(found.shape) + 0.5
    x, y = ds.odc.geobox.transform * (x, y)
    # how far across the swath each pixel lies, in its own pixels
    across = ((x - place.x) * np.cos(place.tilt) + (y - place.y) * np.sin(place.tilt)) / 10
    bent = across - 4e-5 * (across - PIXELS / 2) ** 2
    assert np.isnan(found[bent < 11]).all()  # twelve empty pixels on the left
    assert np.isnan(found[bent > PIXELS + 4]).all()
    assert np.isfinite(found[(bent > 16) & (bent < PIXELS - 4)]).all()
    check(found, expected(ds.odc.geobox), valid=0.5)


def test_chunks_change_nothing(tmp_path):
    place = Swath()
    items = [grd(tmp_path, place, pols=("VV",)), scene(tmp_path, place)]
    whole = load(items, polarisations=("VV",))["VV"].values
    parts = load(items, polarisations=("VV",), chunks={"x": 90, "y": 70})
    assert len(parts["VV"].chunks[1]) > 4
    found = parts["VV"].values
    np.testing.assert_array_equal(np.isnan(found), np.isnan(whole))
    # GDAL places pixels to an eighth of a pixel, where the field rises by up to 0.35 dB a pixel
    assert np.nanmax(np.abs(found - whole)) < 0.09
    assert np.nanmedian(np.abs(found - whole)) < 0.005


def test_a_large_part_is_read_in_quarters(tmp_path, monkeypatch):
    place = Swath()
    items = [grd(tmp_path, place, pols=("VV",)), scene(tmp_path, place)]
    monkeypatch.setattr("xcloudfree.stac.read.grd.LARGEST", 100 * 100)
    ds = load(items, polarisations=("VV",))
    check(ds["VV"].values[0], expected(ds.odc.geobox), valid=0.95)


@pytest.mark.parametrize("how", [{"on_error": "report"}, {"loader": "stackstac"}])
def test_every_way_of_reading_gives_the_same(tmp_path, how):
    tmp_path = tmp_path / "with a space, 100 %"
    if "loader" in how:
        pytest.importorskip("stackstac")
    place = Swath()
    items = [grd(tmp_path, place, pols=("VV",)), scene(tmp_path, place)]
    usual = load(items, polarisations=("VV",))["VV"].values
    np.testing.assert_array_equal(load(items, polarisations=("VV",), **how)["VV"].values, usual)


def test_slices_of_one_pass_join_without_a_seam(tmp_path):
    place = Swath()
    cut = 260
    items = [
        grd(tmp_path / "a", place, pols=("VV",), first=0, last=cut),
        grd(tmp_path / "b", place, pols=("VV",), first=cut, last=LINES),
    ]
    items[1]["id"] += "_2"
    ds = load([*items, scene(tmp_path, place)], polarisations=("VV",))
    assert ds.s1_item_id.values[0].count("S1A") == 2
    found = ds["VV"].values[0]
    assert np.isfinite(found).mean() > 0.95
    check(found, expected(ds.odc.geobox), valid=0.95)


def test_power_is_averaged_onto_a_coarser_grid(tmp_path):
    place = Swath()
    grid = GeoBox((40, 40), Affine(60, 0, place.x + 900, 0, -60, place.y - 1800), place.crs)
    ds = load([grd(tmp_path, place, pols=("VV",)), scene(tmp_path, place)], like=grid,
              polarisations=("VV",))  # fmt: skip
    fine = GeoBox((240, 240), Affine(10, 0, place.x + 900, 0, -10, place.y - 1800), place.crs)
    power = (10 ** (expected(fine) / 10)).reshape(40, 6, 40, 6).mean((1, 3))
    check(ds["VV"].values[0], 10 * np.log10(power), valid=0.95)


@pytest.mark.parametrize(("zone", "x"), [("EPSG:32660", 826000.0), ("EPSG:32601", 167500.0)])
def test_control_points_on_both_sides_of_the_180th_meridian(tmp_path, zone, x):
    place = Swath(zone, x, 1110000.0)
    lon = [point.x for point in place.control_points()]
    assert max(lon) - min(lon) > 300  # the swath crosses it
    east = zone == "EPSG:32660"
    left = place.x + (500 if east else 4700)
    item = grd(tmp_path, place, pols=("VV",))
    ds = load(
        [item, scene(tmp_path, place, (150, 150), left)],
        polarisations=("VV",),
        like=GeoBox((150, 150), Affine(10, 0, left, 0, -10, place.y - 1500), zone),
    )
    check(ds["VV"].values[0], expected(ds.odc.geobox), valid=0.9)


def test_it_is_never_taken_unnamed(tmp_path):
    place = Swath()
    items = [grd(tmp_path, place), scene(tmp_path, place)]
    with pytest.raises(
        UnitsError, match=r'collections=\["sentinel-2-l2a", .sentinel-1-grd.\].*RTC.*sar_catalog='
    ):
        stac.load(items)
    with pytest.raises(CatalogError, match=r"sar_catalog=.*sentinel-1-grd"):
        choose_collections(["sentinel-2-l2a", "sentinel-1-grd"], sar=True)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_without_a_table_or_without_points_it_is_refused_and_rtc_named(tmp_path):
    place = Swath()
    item, optical = grd(tmp_path, place, pols=("VV",)), scene(tmp_path, place)
    bare = copy.deepcopy(item)
    del bare["assets"]["schema-calibration-vv"]
    with pytest.raises(UnitsError, match=r"no calibration tables.*RTC.*polarisations=\(\)"):
        load([bare, optical], polarisations=("VV",))
    path, _ = swath.write(tmp_path / "bare", place, "VV", points=False)
    item["assets"]["vv"]["href"] = str(path)
    ds = load([item, optical], polarisations=("VV",))
    with pytest.raises(UnitsError, match="control points.*RTC"):
        ds["VV"].values  # noqa: B018


def test_a_missing_table_says_so(tmp_path):
    place = Swath()
    item = grd(tmp_path, place, pols=("VV",))
    item["assets"]["schema-calibration-vv"]["href"] = str(tmp_path / "missing.xml")
    ds = load([item, scene(tmp_path, place)], polarisations=("VV",))
    with pytest.raises(RasterioIOError, match=r"calibration table.*missing\.xml"):
        ds["VV"].values  # noqa: B018


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("broken", ["points", "table"])
def test_a_product_that_cannot_be_calibrated_or_placed_is_reported(tmp_path, broken):
    place = Swath()
    item, optical = grd(tmp_path, place, pols=("VV",)), scene(tmp_path, place)
    if broken == "points":
        path, _ = swath.write(tmp_path / "bare", place, "VV", points=False)
        item["assets"]["vv"]["href"] = str(path)
    else:
        page = tmp_path / "page.xml"
        page.write_text("<html>sign in</html>")
        item["assets"]["schema-calibration-vv"]["href"] = str(page)
    ds = load([item, optical], polarisations=("VV",), on_error="report").compute()
    assert np.isnan(ds["VV"]).all()
    rows = ds.cloudfree.report()
    assert set(rows.asset) == {"vv"}
    assert set(rows.item) == {item["id"]}
    assert set(rows.error) == {"not readable"}
    if broken == "table":
        with pytest.raises(UnitsError, match="calibration table") as caught:
            load([item, optical], polarisations=("VV",)).compute()
        assert item["id"] in caught.value.__notes__[0]


def sign_that_fails(address):
    if address.endswith(".xml"):
        raise ValueError("https://host/?sig=SECRET")
    return address


def test_a_sign_that_fails_for_the_table_shows_no_token(tmp_path):
    place = Swath()
    items = [grd(tmp_path, place, pols=("VV",)), scene(tmp_path, place)]
    with pytest.raises(RasterioIOError, match="sign= failed with ValueError") as caught:
        load(items, polarisations=("VV",), sign=sign_that_fails).compute()
    assert "SECRET" not in str(caught.value)


def signed(address):
    return f"{address}?sig=SECRET"


def test_it_is_signed_and_read_over_http(tmp_path):
    from xcloudfree.stac.local.serve import serve

    place = Swath()
    items = [grd(tmp_path, place), scene(tmp_path, place)]
    for item in items:
        for asset in item["assets"].values():
            if not asset["href"].startswith("https"):
                asset["href"] = "./" + asset["href"].removeprefix(str(tmp_path)).lstrip("/")
        archive.dump(item, tmp_path / "items" / f"{item['id']}.json")
        archive.dump(archive.collection(item), tmp_path / "collections" / f"{item['id']}.json")
    with serve(tmp_path) as catalog:
        ds = stac.load(catalog.url, collections=["sentinel-2-l2a", "sentinel-1-grd"], sign=signed)
        check(ds["VV"].values[0], expected(ds.odc.geobox), valid=0.95)
        asked = {request.path.split("/")[-1] for request in catalog.requests}
    assert {"iw-vv-0.tiff", "calibration-iw-vv-0.xml"} <= asked
    assert "noise.xml" not in asked


def test_the_calibration_table_against_an_interpolation_of_scipy():
    lines, pixels, value = swath.calibration("VH")
    table = parse_calibration(swath.calibration_xml("VH").encode())
    from scipy.interpolate import RegularGridInterpolator

    rows, columns = np.arange(0, LINES, 13), np.arange(0, PIXELS, 17)
    at = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).astype(float)
    reference = RegularGridInterpolator((lines, pixels), value)(at)
    np.testing.assert_allclose(table.at(rows, columns), reference, rtol=1e-6)
    # beyond the last entry the value at it
    assert table.at(np.array([10**6]), np.array([10**6])) == pytest.approx(value[-1, -1], rel=1e-6)


@pytest.mark.parametrize("text", [b"", b"<calibration/>", b"<a><b></a>", b"no xml at all"])
def test_a_file_that_is_no_calibration_table(text):
    with pytest.raises(UnitsError, match=r"RTC.*load\("):
        parse_calibration(text)

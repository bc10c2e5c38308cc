"""pair(): arrays that people have, each date with its nearest pass."""

import warnings

import dask
import numpy as np
import odc.geo.xr
import pandas as pd
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

import xcloudfree as xcf
from tests.checks import no_computes
from xcloudfree.exceptions import DataError, GridError, MissingBandError

GRID = GeoBox((6, 8), Affine(10, 0, 500000, 0, -10, 5300000), "EPSG:32632")
BANDS = ("B02", "B03", "B04")


def series(names, times, seed, **attrs):
    values = np.random.default_rng(seed).uniform(0.1, 1, (len(names), len(times), *GRID.shape))
    out = xr.Dataset(
        {
            n: (("time", "y", "x"), v.astype("float32"), attrs)
            for n, v in zip(names, values, strict=True)
        },
        coords={"time": np.array(times, "datetime64[ns]")},
    )
    return out.assign_coords(odc.geo.xr.xr_coords(GRID))


@pytest.fixture
def s2():
    days = ["2025-06-01T10:20", "2025-06-06T10:20", "2025-06-11T10:20", "2025-06-30T10:20"]
    return series(BANDS, days, 1, units="1", processing_level="BOA")


@pytest.fixture
def s1():
    passes = ["2025-06-02T05:30", "2025-06-07T05:30", "2025-06-13T05:30"]
    return series(("VV", "VH"), passes, 2, units="dB", quantity="gamma0")


def stack(ds, dim="band"):
    return ds.to_dataarray(dim).transpose("time", dim, "y", "x")


@pytest.mark.parametrize("s2_form", ["bands", "stacked", "array"])
@pytest.mark.parametrize("s1_form", ["bands", "stacked", "array"])
@pytest.mark.parametrize("lazy", [True, False])
def test_every_form_gets_the_nearest_pass_and_nothing_is_computed(s2, s1, s2_form, s1_form, lazy):
    if lazy:
        s2, s1 = s2.chunk(time=1, y=3), s1.chunk(time=2, x=5)
    optical = {
        "bands": lambda: s2,
        "stacked": lambda: xr.Dataset({"s2": stack(s2)}),
        "array": lambda: stack(s2),
    }[s2_form]()
    radar = {
        "bands": lambda: s1,
        "stacked": lambda: xr.Dataset({"s1": stack(s1, "polarization")}),
        "array": lambda: stack(s1),
    }[s1_form]()
    with no_computes(), pytest.warns(UserWarning, match=r"1 of 4 dates: 2025-06-30.*\"18D\"\)$"):
        ds = xcf.pair(optical, radar)
    names = {"bands": [*BANDS, "VV", "VH"]}.get(s2_form, ["s2", "s1"])
    assert list(ds.data_vars) == names
    for pol in ("VV", "VH"):
        found = ds[pol] if s2_form == "bands" else ds["s1"].sel(polarization=pol)
        assert (found.chunks is not None) is lazy
        np.testing.assert_array_equal(found[:3], s1[pol])
        assert np.isnan(found[3]).all()
        if s1_form == "bands":
            assert found.attrs == s1[pol].attrs
    hours = ds.time_gap.values / np.timedelta64(1, "m")
    np.testing.assert_array_equal(hours[:3], [19 * 60 + 10, 19 * 60 + 10, 43 * 60 + 10])
    assert np.isnat(ds.time_gap.values[3])
    page = repr(ds.cloudfree)
    assert "3 optical bands, VV VH, 4 dates" in page


def test_the_orbit_that_serves_most_dates_goes_first_where_passes_are_about_as_near(s2):
    """Two orbits, one always three hours nearer on the first date alone."""
    times = ["2025-06-01T05:20", "2025-06-01T17:20", "2025-06-06T05:20", "2025-06-11T05:20"]
    s1 = series(("VV",), times, 3, units="dB")
    s1 = s1.assign_coords(relative_orbit=("time", [80, 15, 80, 80]))
    ds = xcf.pair(s2.isel(time=slice(0, 3)), s1)
    assert ds.relative_orbit.values.tolist() == [80, 80, 80]
    # far apart in time the nearest counts, whatever its orbit
    near = s1.assign_coords(time=s1.time + np.array([-30, 0, 0, 0], "timedelta64[h]"))
    assert xcf.pair(s2.isel(time=slice(0, 3)), near).relative_orbit.values.tolist() == [15, 80, 80]
    # stackstac's names, and a scalar where all passes share it
    other = s1.drop_vars("relative_orbit").assign_coords({"sat:relative_orbit": 44})
    other = other.assign_coords({"sat:orbit_state": "descending", "id": ("time", list("abcd"))})
    ds = xcf.pair(s2.isel(time=[0]), other)
    assert ds.relative_orbit.values.tolist() == [44]
    assert ds.orbit_state.values.tolist() == ["descending"]


def test_slices_of_one_pass_are_joined(s2, s1):
    halves = xr.concat([s1.isel(time=[0]), s1.isel(time=[0])], "time")
    halves = halves.assign_coords(time=s1.time.values[0] + np.array([0, 25], "timedelta64[s]"))
    rows = xr.DataArray(np.arange(GRID.shape[0]), dims="y")
    halves = halves.where((rows < 3) == (halves.time == halves.time[0]))
    found = xcf.pair(s2.isel(time=[0]), halves.chunk(time=1))
    xr.testing.assert_equal(found.VV[0].drop_vars(found.coords), s1.VV[0].drop_vars(s1.coords))


def test_no_data_of_one_slice_leaves_room_for_the_other(s2, s1):
    whole = (1000 * s1.isel(time=[0])).astype("int16")
    both = xr.concat([whole, whole], "time")
    both = both.assign_coords(time=s1.time.values[0] + np.array([0, 25], "timedelta64[s]"))
    rows = xr.DataArray(np.arange(GRID.shape[0]), dims="y")
    halves = both.where((rows < 3) == (both.time == both.time[0]), -9999).astype("int16")
    for name in halves:
        halves[name].attrs = {"units": "dB", "quantity": "gamma0", "nodata": -9999}
    found = xcf.pair(s2.isel(time=[0]), halves)
    np.testing.assert_array_equal(found.VV[0], whole.VV[0])


def test_a_pass_just_as_far_away_as_is_allowed_is_taken(s2, s1):
    date, radar = s2.isel(time=[0]), s1.isel(time=[0])
    gap = radar.time.values[0] - date.time.values[0]
    assert xcf.pair(date, radar, max_gap=gap).time_gap.values[0] == gap
    with pytest.raises(DataError, match="No Sentinel-1 pass within"):
        xcf.pair(date, radar, max_gap=gap - np.timedelta64(1, "s"))


@pytest.mark.parametrize(
    "kind", ["text with Z", "zone", "objects", "other zone", "date", "text without zone"]
)
def test_times_of_any_kind_are_taken_in_utc(s2, s1, kind):
    expected = xcf.pair(s2.isel(time=slice(0, 3)), s1)
    index = pd.DatetimeIndex(s1.time.values)
    times = {
        "text with Z": [f"{t:%Y-%m-%dT%H:%M:%S}Z" for t in index],
        "text without zone": [f"{t:%Y-%m-%dT%H:%M:%S}" for t in index],
        "zone": index.tz_localize("UTC"),
        "other zone": index.tz_localize("UTC").tz_convert("Asia/Tokyo"),
        "objects": np.array(list(index.tz_localize("UTC")), object),
        "date": np.array(list(index.tz_localize("UTC").date), object),
    }[kind]
    found = xcf.pair(s2.isel(time=slice(0, 3)), s1.assign_coords(time=("time", times)))
    np.testing.assert_array_equal(found.VV, expected.VV)
    if kind != "date":
        np.testing.assert_array_equal(found.time_gap, expected.time_gap)
    zoned = pd.DatetimeIndex(s2.time[:1].values).tz_localize("UTC")
    aware = s2.isel(time=[0]).assign_coords(time=("time", zoned))
    assert xcf.pair(aware, s1).time.dtype == "datetime64[ns]"


def test_one_date_and_one_pass_need_no_time_dimension(s2, s1):
    ds = xcf.pair(s2.isel(time=1), s1.isel(time=1))
    assert ds.VV.dims == ("y", "x")
    assert ds.time_gap.dims == ()
    np.testing.assert_array_equal(ds.VV, s1.VV[1])


def test_integers_keep_their_type_where_no_data_is_declared(s2, s1):
    numbers = (s1 * 1e4).round().astype("int32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert xcf.pair(s2, numbers).VV.dtype == "float32"
        numbers["VV"].attrs["nodata"] = -9999
        found = xcf.pair(s2, numbers).VV
    assert found.dtype == "int32"
    assert (found[3] == -9999).all()


def test_refusals_name_the_call(s2, s1):
    shifted = s1.assign_coords(x=s1.x + 10)
    for other in (shifted, s1.isel(x=slice(0, 4)), s1.rename(y="latitude", x="longitude")):
        with pytest.raises(GridError, match=r"s1\.odc\.reproject\(s2\.odc\.geobox\)$"):
            xcf.pair(s2, other)
    elsewhere = GeoBox(GRID.shape, GRID.transform, "EPSG:32633")
    with pytest.raises(GridError, match="coordinate systems"):
        xcf.pair(s2, s1.drop_vars("spatial_ref").assign_coords(odc.geo.xr.xr_coords(elsewhere)))
    with pytest.raises(MissingBandError, match=r"pair\(s2, s1\[\['VV', 'VH'\]\]\)"):
        xcf.pair(s2, s2)
    with pytest.raises(MissingBandError, match=r"pair\(s2\[\['B02'"):
        xcf.pair(s1, s1)
    with pytest.raises(DataError, match=r"3 of 3 dates.*max_gap=\"2D\"\)$"):
        xcf.pair(s2.isel(time=slice(0, 3)), s1, "1h")
    with pytest.raises(DataError, match=r"pair\(s2, s1, max_gap=\"3D\"\)"):
        xcf.pair(s2, s1, max_gap=3)
    with pytest.raises(DataError, match="s1 has no date"):
        xcf.pair(s2, s1.isel(time=slice(0, 0)))
    with pytest.raises(DataError, match="coordinate 'time'"):
        xcf.pair(s2.drop_vars("time"), s1)
    with pytest.raises(DataError, match=r"s1\.assign_coords\(time=pandas\.to_datetime"):
        xcf.pair(s2, s1.assign_coords(time=[20250601, 20250606, 20250611]))


def test_a_real_series_gets_the_passes_that_are_nearest(data_root):
    pytest.importorskip("h5netcdf")
    folder = data_root / "series" / "worldcereal_000028085BF08E7E"
    files = sorted(folder.glob("*.nc"))
    if not files:
        pytest.skip(f"there is no {folder}")
    radar, optical = (
        xr.open_dataset(f, mask_and_scale=False, chunks={}).rename(timestamp="time") for f in files
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = xcf.pair(optical[["B05", "B8A", "B11"]], radar[["VV", "VH"]], max_gap="6D")
    step = np.timedelta64(1, "s")
    apart = np.abs((radar.time.values[None] - optical.time.values[:, None]) / step)
    found = np.abs(ds.time_gap.values / step)
    known = np.isfinite(found)
    assert known.sum() == (apart.min(1) <= 6 * 86400).sum()
    assert (found[known] - apart.min(1)[known] < 6 * 3600 + 600).all()
    n = int(np.flatnonzero(known)[0])
    with dask.config.set(scheduler="single-threaded"):
        source = radar.VV.sel(time=ds.time.values[n] + ds.time_gap.values[n]).values
        np.testing.assert_array_equal(ds.VV[n].values.astype(source.dtype), source)


def test_the_errors_name_no_zone_but_that_of_the_data(s2, s1, tmp_path):
    from xcloudfree.stac.local.publish import publish
    from xcloudfree.stac.read.grids import native_grid

    bare = xr.Dataset({n: (v.dims, v.values) for n, v in s2.items()})
    with pytest.raises(DataError, match=r'write_crs\("EPSG:\.\.\."\)'):
        publish(bare, tmp_path)
    item = type(
        "Item", (), {"to_dict": lambda self, **_: {"properties": {"proj:code": "EPSG:32748"}}}
    )
    for items, call in (([], r'crs="EPSG:\.\.\."'), ([item()], 'crs="EPSG:32748"')):
        with pytest.raises(GridError, match=call):
            native_grid(items, [], crs="EPSG:nowhere")
    with pytest.raises(GridError, match='crs="EPSG:4326", resolution=1e-4'):
        native_grid([], [], crs="EPSG:4326")


def test_publishing_takes_times_with_a_zone(s2, tmp_path):
    zoned = pd.DatetimeIndex(s2.time.values).tz_localize("UTC").tz_convert("Asia/Tokyo")
    aware = s2.assign_coords(time=("time", np.array(list(zoned), object)))
    items = xcf.stac.publish(aware.isel(time=[0]), tmp_path)[1]
    assert items[0]["properties"]["datetime"] == "2025-06-01T10:20:00.000Z"


def test_no_date_and_unknown_dates(s2, s1):
    assert xcf.pair(s2.isel(time=slice(0, 0)), s1).VV.shape == (0, *GRID.shape)
    unknown = np.array([s2.time.values[0], np.datetime64("NaT")])
    with pytest.warns(UserWarning, match="1 of 2 dates: NaT"):
        ds = xcf.pair(s2.isel(time=[0, 1]).assign_coords(time=unknown), s1)
    assert np.isfinite(ds.VV[0]).all()
    late = s1.assign_coords(time=np.array([np.datetime64("NaT"), *s1.time.values[1:]]))
    np.testing.assert_array_equal(xcf.pair(s2.isel(time=[1]), late).VV[0], s1.VV[1])


def test_the_help_page_offers_pairing_where_there_are_dates(s2):
    assert "xcloudfree.pair(ds, s1)" in repr(s2.cloudfree)
    assert "ds.assign(VV=..., VH=...)" in repr(s2.isel(time=0, drop=True).cloudfree)

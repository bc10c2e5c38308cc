"""Classical methods on labelled scenes: the contract of the networks, exact over chunks, lazy."""

import numpy as np
import pytest
import xarray as xr

from tests.builders import as_array, blobs, make_bands, make_series, stacked
from tests.checks import check_kept, check_plane, no_computes
from xcloudfree import methods
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.exceptions import (
    CloudFreeError,
    DataError,
    MissingBandError,
    ModelError,
    UnitsError,
)

DATES, HEIGHT, WIDTH = 7, 40, 33
PLAIN = ["nearest-date", "last-clear", "linear-time", "median", "geomedian", "whittaker"]


@pytest.fixture(scope="module")
def series():
    return make_series()


def test_every_temporal_method_comes_with_an_offset_and_without():
    assert {*PLAIN, *(f"{n}+offset" for n in PLAIN), "area-regression"} <= set(methods.names())


@pytest.mark.parametrize("name", ["linear-time", "median+offset", "area-regression"])
@pytest.mark.parametrize("form", [lambda ds: ds, stacked, as_array])
def test_every_form_comes_back_as_it_came(series, name, form):
    obj = form(series).chunk(time=3, y=20, x=15)
    with no_computes():
        out = obj.cloudfree.reconstruct(model=name, mask=blobs())
    bare = out.drop_vars("provenance")
    check_kept(obj, bare)
    check_plane(out.provenance, out.provenance, "uint8")
    values = form(series).cloudfree.reconstruct(model=name, mask=blobs())
    xr.testing.assert_allclose(out.compute(), values, atol=2e-6)
    assert isinstance(values.provenance.data, np.ndarray)


@pytest.mark.parametrize(
    "name", ["nearest-date", "median+offset", "area-regression", "area-regression+nearby"]
)
def test_clear_pixels_leave_as_they_came_and_flags_say_so(series, name):
    gone = series.copy(deep=True)
    gone.B03[1, :4] = np.nan
    mask = blobs().copy()
    mask[:, 20:22, 20:22] = True
    out = gone.cloudfree.reconstruct(model=name, mask=mask)
    flags = out.provenance
    np.testing.assert_array_equal(flags == 0, gone.B03.isnull())
    np.testing.assert_array_equal(flags == 1, ~mask & gone.B03.notnull())
    assert (flags[:, 20:22, 20:22] == 3).all()
    for band in S2_BANDS:
        assert (out[band] == gone[band]).where(flags == 1, True).all()
        assert out[band].where(flags == 2).notnull().sum() == (flags == 2).sum()
        assert out[band].where(flags == 3).isnull().all()


def test_integers_come_back_as_integers_with_no_data_where_nothing_is_known():
    ds = make_series(dtype="uint16")
    mask = blobs()
    mask[:, 3, 3] = True
    out = ds.cloudfree.reconstruct(model="linear-time", mask=mask, blend=None)
    assert out.B04.dtype == np.uint16
    assert (out.B04[:, 3, 3] == 0).all()
    exact = make_series(dtype="uint16").cloudfree.reconstruct(model="nearest-date", mask=mask)
    assert exact.B04.attrs == ds.B04.attrs


def test_without_blending_linear_time_is_numpy_interpolation(series):
    mask = blobs()
    out = series.cloudfree.reconstruct(model="linear-time", mask=mask, blend=None)
    days = (series.time.values - series.time.values[0]) / np.timedelta64(1, "D")
    for t, y, x in ((0, 5, 5), (3, 20, 30), (6, 11, 2)):
        use = ~mask.values[:, y, x]
        use[t] = False
        expected = np.interp(days[t], days[use], series.B8A.values[use, y, x])
        np.testing.assert_allclose(out.B8A[t, y, x], expected, atol=1e-6)


def test_a_deviation_belongs_to_its_band_in_any_order_of_bands(series):
    ds = stacked(series)
    options = {"model": "whittaker", "mask": blobs(), "uncertainty": True}
    each = series.cloudfree.reconstruct(**options)
    for bands in (list(S2_BANDS), sorted(S2_BANDS), list(S2_BANDS[::-1])):
        out = ds.sel(band=bands).cloudfree.reconstruct(**options)
        for name in ("B08", "B8A", "B12"):
            np.testing.assert_array_equal(out.s2_std.sel(band=name), each[f"{name}_std"])


def test_the_order_of_dates_does_not_matter(series):
    order = [3, 0, 6, 1, 5, 2, 4]
    for name in ("median+offset", "whittaker"):
        straight = series.cloudfree.reconstruct(model=name, mask=blobs())
        mixed = series.isel(time=order).cloudfree.reconstruct(
            model=name, mask=blobs().isel(time=order)
        )
        xr.testing.assert_allclose(mixed.sortby("time"), straight, atol=1e-6)


def test_the_offset_is_the_mean_difference_over_the_whole_scene(series):
    mask = blobs()
    plain = series.cloudfree.reconstruct(model="linear-time", mask=mask, blend=None)
    out = series.cloudfree.reconstruct(model="linear-time+offset", mask=mask, blend=None)
    clear = ~mask & (plain.provenance == 2)
    expected = (series.B05 - plain.B05).where(clear).mean(("y", "x"))
    np.testing.assert_allclose((out.B05 - plain.B05).mean(("y", "x")), expected, atol=1e-6)
    np.testing.assert_allclose((out.B05 - plain.B05).std(("y", "x")), 0, atol=1e-6)


@pytest.mark.parametrize("name", [f"{n}+offset" for n in PLAIN])
@pytest.mark.parametrize("blend", ["feather", None])
def test_one_date_out_of_a_series_is_as_if_all_were_asked_for(series, name, blend):
    """In memory dates of which nothing is wanted are passed over; from chunks they are measured."""
    one = blobs() & (xr.DataArray(np.arange(series.sizes["time"]), dims="time") == 3)
    options = {"model": name, "mask": one, "blend": blend}
    here = series.cloudfree.reconstruct(**options)
    chunked = series.chunk(time=-1, y=20, x=15).cloudfree.reconstruct(**options).compute()
    xr.testing.assert_identical(here, chunked)
    assert (here.provenance.isel(time=3) == 2).any()


def test_a_brighter_date_is_met_with_its_offset(series):
    mask = blobs()
    factor = xr.ones_like(series.time, float)
    factor[3] = 1.0
    lifted = series.copy(deep=True)
    for band in S2_BANDS:
        lifted[band][3] += 0.2
    change = [
        ds.cloudfree.reconstruct(model="median+offset", mask=mask).B04[3].where(mask[3])
        for ds in (lifted, series)
    ]
    np.testing.assert_allclose((change[0] - change[1]).mean(), 0.2, atol=1e-3)


def test_other_windows_by_name(series):
    wide = series.cloudfree.reconstruct(model="median-90d", mask=blobs(), blend=None)
    t, y, x = 3, 20, 30
    use = ~blobs().values[:, y, x]
    use[t] = False
    np.testing.assert_allclose(wide.B02[t, y, x], np.median(series.B02.values[use, y, x]))
    assert wide.provenance.attrs["model"] == "median-90d"
    assert not methods.known("median-0d")
    assert not methods.known("linear-time-5d")


def test_uncertainty_where_the_method_has_one(series):
    out = series.chunk(y=20).cloudfree.reconstruct(
        model="area-regression", mask=blobs(), uncertainty=True
    )
    np.testing.assert_array_equal(out.B04_std.notnull(), out.provenance == 2)
    assert (out.B04_std > 0).where(out.provenance == 2, True).all()


def test_any_bands_of_any_level_and_no_backscatter_will_do(series):
    few = series[["B04"]].cloudfree.calibrate(level="BOA")
    out = few.chunk(y=11).cloudfree.reconstruct(model="median+offset", mask=blobs()).compute()
    assert int((out.provenance == 2).sum()) > 1000
    assert out.B04.where(out.provenance == 2).notnull().sum() == (out.provenance == 2).sum()


def test_what_cannot_work_is_refused_with_the_call_that_mends_it(series):
    mask = blobs()
    with pytest.raises(DataError, match="time"):
        series.isel(time=0, drop=True).cloudfree.reconstruct(model="median", mask=mask[0])
    with pytest.raises(DataError, match="assign_coords"):
        series.drop_vars("time").cloudfree.reconstruct(model="median", mask=mask)
    with pytest.raises(DataError, match="pandas.date_range"):
        series.assign_coords(time=np.arange(7)).cloudfree.reconstruct(model="median", mask=mask)
    with pytest.raises(DataError, match="longer interval"):
        series.isel(time=[0]).cloudfree.reconstruct(model="median", mask=mask[:1])
    with pytest.raises(MissingBandError, match="Sentinel-1"):
        series.drop_vars(["VV", "VH"]).cloudfree.reconstruct(model="area-regression", mask=mask)
    with pytest.raises(MissingBandError, match="optical"):
        series[["VV", "VH"]].cloudfree.reconstruct(model="median", mask=mask)
    with pytest.raises(UnitsError, match="astype"):
        series.assign(B02=series.B02.astype(float)).cloudfree.reconstruct(model="median", mask=mask)
    with pytest.raises(ModelError, match="halo='exact'"):
        series.cloudfree.reconstruct(model="median", mask=mask, halo=32)
    with pytest.raises(ModelError, match="blend"):
        series.cloudfree.reconstruct(model="median", mask=mask, blend="linear")
    twice = series.assign_coords(time=series.time.values[[0, 0, 1, 2, 3, 4, 5]])
    with pytest.raises(DataError, match="join_passes"):
        twice.cloudfree.reconstruct(model="whittaker", mask=mask)
    with pytest.raises(ModelError, match=r"methods.get\(\)"):
        methods.get("kalman")
    with pytest.raises(CloudFreeError):
        series.cloudfree.reconstruct(model="medain", mask=mask)


def test_what_is_visible_helps_whether_or_not_it_is_wanted(series):
    hidden = np.zeros((DATES, HEIGHT, WIDTH), bool)
    hidden[2, :, :16] = True
    reflectance, radar = (
        np.stack([series[name].values for name in names], 1) for names in (S2_BANDS, ("VV", "VH"))
    )
    days = (series.time.values - series.time.values[0]) / np.timedelta64(1, "D")
    method = methods.get("area-regression+nearby")
    few, all_ = (
        methods.Series(reflectance, hidden, wanted, radar, days)
        for wanted in (hidden, np.ones_like(hidden))
    )
    statistics = [method.conclude(method.measure(few, []), [])]
    one, other = (method.predict(s, statistics).mean[2][:, hidden[2]] for s in (few, all_))
    np.testing.assert_array_equal(one, other)


def test_a_scene_without_pixels_comes_back_empty():
    ds = make_bands().isel(time=0, y=slice(0))
    assert ds.cloudfree.reconstruct(model="idw").B02.shape == (0, 38)

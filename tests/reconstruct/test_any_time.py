"""reconstruct(times=...): any time inside a series."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xcloudfree.datasets import simulate_scene
from xcloudfree.exceptions import DataError

BANDS = ["B02", "B04", "B08", "B11"]


@pytest.fixture(scope="module")
def series():
    return simulate_scene((48, 40), seed=1, dates=7).drop_vars("VH")


@pytest.fixture(scope="module")
def mask(series):
    return series.cloudfree.mask()


@pytest.mark.parametrize("model", ["kernel-fusion", "linear-time", "median"])
def test_a_withheld_date_equals_the_date_wholly_hidden(series, mask, model):
    series = series[[*BANDS, "VV"]]
    date = series.time.values[3]
    kept = series.time != date
    whole = series.assign(VV=series.VV.where(kept))
    hidden = whole.cloudfree.reconstruct(model=model, mask=mask | ~kept, shadow=False)
    options = {"model": model, "mask": mask.sel(time=kept), "shadow": False}
    out = series.sel(time=kept).cloudfree.reconstruct(times=[date], **options)
    for band in BANDS:
        np.testing.assert_array_equal(out[band], hidden[band].sel(time=[date]))
    assert not out.acquired.any()


def test_an_acquired_time_is_reconstructed_as_it_is(series, mask):
    series = series[[*BANDS, "VV"]]
    date = series.time.values[2]
    options = {"model": "kernel-fusion", "mask": mask, "shadow": False}
    out = series.cloudfree.reconstruct(times=[date], **options)
    plain = series.cloudfree.reconstruct(**options).sel(time=[date])
    assert out.acquired.all()
    out = out.drop_vars("acquired")
    xr.testing.assert_equal(out[BANDS], plain[BANDS])
    xr.testing.assert_equal(out.provenance, plain.provenance)


@pytest.mark.filterwarnings("error::UserWarning")  # no time that was made lacks a pass
def test_a_frequency_gives_a_regular_cube_without_a_gap(series):
    lazy = series.chunk(time=1, y=30).cloudfree.reconstruct(model="kernel-fusion", times="10D")
    assert lazy.B02.chunks is not None
    first = series.time.values[0].astype("datetime64[D]")
    expected = pd.date_range(first, series.time.values[-1], freq="10D")
    assert list(lazy.time.values) == list(expected.values)
    out = lazy.compute()
    assert (out.provenance == 2).all()
    assert np.isfinite(out.B08).all()
    whole = series.cloudfree.reconstruct(model="kernel-fusion", times="10D")
    xr.testing.assert_equal(out, whole)


def test_integers_and_stacked_arrays_come_back_as_they_came(series):
    numbers = (series[BANDS] * 1e4 + 1000).round().astype("uint16")
    for array in numbers.data_vars.values():
        array.attrs = {"processing_level": "TOA"}
    numbers = numbers.cloudfree.calibrate(scale=1e-4, offset=-0.1, nodata=0)
    given = xr.zeros_like(numbers.B02, bool)
    out = numbers.cloudfree.reconstruct(model="median", mask=given, times="7D")
    assert out.B02.dtype == np.uint16
    assert out.B02.attrs == numbers.B02.attrs
    array = series[[*BANDS, "VV"]].to_dataarray("band").transpose("time", "band", "y", "x")
    array = array.assign_attrs(units="1", sar_units="dB", processing_level="TOA")
    stacked = array.cloudfree.reconstruct(model="median", mask=given, times="7D")
    assert stacked.dims == array.dims
    assert stacked.sizes["time"] == out.sizes["time"]
    np.testing.assert_allclose(stacked.sel(band="B08"), out.B08 * 1e-4 - 0.1, atol=1.1e-4)


@pytest.mark.parametrize("times", [["1999-01-01"], ["2040-01-01"], "ten days", []])
def test_times_outside_the_series_are_refused_with_its_range(series, times):
    with pytest.raises(DataError, match=r"reconstruct\(times="):
        series.cloudfree.reconstruct(model="median", times=times)


def test_an_image_without_dates_is_refused(series):
    with pytest.raises(DataError, match="no time coordinate"):
        series.isel(time=0, drop=True).cloudfree.reconstruct(model="median", times="10D")


@pytest.mark.parametrize("form", ["bands", "stacked", "integers", "lazy"])
def test_clouds_that_were_cut_out_are_filled_on_request_as_if_they_were_hidden(series, form):
    series = series[[*BANDS, "VV"]].isel(y=slice(0, 28), x=slice(0, 30))
    mask = series.cloudfree.mask(shadow=False)
    if form == "integers":
        numbers = {b: (series[b] * 1e4).round().clip(1).astype("uint16") for b in BANDS}
        series = series.assign(numbers).cloudfree.calibrate(scale=1e-4, offset=0, nodata=0)
    cut = series.assign(
        {b: series[b].where(~mask, 0 if form == "integers" else np.nan).astype(series[b].dtype)
         .assign_attrs(series[b].attrs) for b in BANDS}
    )  # fmt: skip
    if form == "stacked":
        s2, s1 = (cut[names].to_dataarray("band") for names in (BANDS, ["VV"]))
        attrs = {"units": "1", "processing_level": "TOA"}
        cut = xr.Dataset({"s2": s2.assign_attrs(attrs), "s1": s1.assign_attrs(units="dB")})
    if form == "lazy":
        cut = cut.chunk(time=1, y=20, x=20)
    nothing = xr.zeros_like(mask)
    plain = cut.cloudfree.reconstruct(mask=nothing, shadow=False)
    assert set(np.unique(plain.provenance)) == {0, 1}
    out = cut.cloudfree.reconstruct(mask=nothing, shadow=False, fill_missing=True)
    expected = series.cloudfree.reconstruct(mask=mask, shadow=False)
    xr.testing.assert_equal(out.provenance.drop_attrs(), expected.provenance.drop_attrs())
    got = out.s2.sel(band="B08", drop=True) if form == "stacked" else out.B08
    np.testing.assert_array_equal(got.values, expected.B08.values)
    assert out.provenance.attrs["mask"] == "given"


def test_missing_pixels_are_filled_at_any_time_too_and_a_single_band_stays(series):
    series = series[[*BANDS, "VV"]]
    gone = series.assign(B02=series.B02.where(series.x != series.x[3]))
    out = gone.cloudfree.reconstruct(fill_missing=True)
    assert out.B02.isel(x=3).isnull().all()  # other bands saw the ground: nothing replaces it
    cut = series.assign({b: series[b].where(series.x != series.x[3]) for b in BANDS})
    cube = cut.cloudfree.reconstruct(times="10D", fill_missing=True)
    assert cube.B02.notnull().all()
    assert (cube.provenance.isel(x=3) == 2).all()

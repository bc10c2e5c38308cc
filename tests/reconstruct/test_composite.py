"""composite(): periods, methods, what counts, and the form that comes back."""

import datetime
import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import as_array, blobs, make_series, stacked
from tests.checks import no_computes
from tests.real_series import SITES, load
from xcloudfree.exceptions import DataError
from xcloudfree.methods.medians import Median
from xcloudfree.reconstruct.composite import METHODS
from xcloudfree.reconstruct.periods import periods_of

BANDS = ["B02", "B04", "B08", "B11"]
DAYS = np.r_[pd.date_range("2025-01-03T10:06", periods=40, freq="5D").values][
    [*range(9), *range(20, 40)]
]
"""Without a date in a whole month."""


@pytest.fixture(scope="module")
def series():
    days = list(pd.date_range("2025-05-01T10:06", periods=14, freq="5D"))
    return xcf.datasets.simulate_scene((48, 42), dates=days, cover=0.6, seed=2)


@pytest.fixture(scope="module")
def hidden(series):
    return series.cloudfree.mask("score", dilate=2)


@pytest.fixture(scope="module")
def filled(series, hidden):
    return series.cloudfree.reconstruct(
        "kernel-fusion", mask=hidden, shadow=False, uncertainty=True
    )


@pytest.mark.parametrize("freq", ["MS", "ME", "10D", "QS-DEC", "QE", "W", "YE-NOV", "2MS"])
def test_labels_and_dates_are_those_of_xarray(freq):
    numbers = xr.DataArray(np.ones(len(DAYS)), dims="time", coords={"time": DAYS})
    expected = numbers.resample(time=freq).count().fillna(0)
    found = periods_of(freq, DAYS[::-1].astype("M8[ns]"))
    np.testing.assert_array_equal([p.label for p in found], expected.time.values)
    np.testing.assert_array_equal([len(p.dates) for p in found], expected)
    for period in found:
        inside = DAYS[::-1][period.dates]
        assert ((inside >= period.start) & (inside < period.stop)).all()
    for one, other in itertools.pairwise(found):
        assert one.stop == other.start


def test_a_listed_end_without_time_is_that_whole_day():
    days = np.array(["2025-06-01T23:00", "2025-06-02T00:00", "2025-06-30T12:00"], "M8[ns]")
    june = ("2025-06-02", "2025-06-30"), (datetime.date(2025, 6, 1), datetime.date(2025, 6, 2))
    exact = (pd.Timestamp("2025-06-01"), pd.Timestamp("2025-06-30"))
    month = pd.interval_range(pd.Timestamp("2025-06-02"), periods=1, freq="7D", closed="right")
    counts = [
        len(p.dates) for p in periods_of([*june, exact, ("2025-06", "2025-06"), *month], days)
    ]
    assert counts == [2, 2, 2, 3, 0]


def test_medians_equal_those_of_xarray(series, hidden):
    found = series.cloudfree.composite("MS", "median", mask=hidden)
    clear = series.where(~hidden)
    monthly = clear.resample(time="MS")
    np.testing.assert_array_equal(found.time, monthly.count().time)
    for band in BANDS:
        np.testing.assert_allclose(found[band], monthly.median()[band], atol=1e-7)
        np.testing.assert_array_equal(found["count"], monthly.count()[band])
    assert not found.count_reconstructed.any()
    lost = np.isnan(found.B08)
    np.testing.assert_array_equal(found.provenance, xr.where(lost, 3, 1))
    np.testing.assert_array_equal(np.isnan(found.age), lost)


def test_seasons_of_a_real_series_equal_those_of_geomad(data_root):
    geomad = pytest.importorskip("geomad")
    ds = load(data_root, SITES[0]).isel(y=slice(0, 32), x=slice(0, 32))
    bands = [b for b in xcf.bands.S2_BANDS if b in ds]
    found = ds.cloudfree.composite("QS-DEC", mask="scl")
    clear = ds[bands].where(~ds.cloudfree.mask("scl")).to_dataarray()
    assert found.sizes["time"] > 4
    for number, (_, season) in enumerate(clear.resample(time="QS-DEC")):
        cube = np.ascontiguousarray(season.transpose("y", "x", "variable", "time").values)
        expected = geomad.nangeomedian_pcm(cube, eps=1e-8, maxiters=2000, num_threads=1)
        mine = found.isel(time=number)
        several = mine["count"].values > 2  # every point between two has the smallest sum
        values = mine[bands].to_dataarray("band").transpose("y", "x", "band").values
        np.testing.assert_allclose(values[several], expected[several], atol=1e-5)
        spread = geomad.emad_pcm(cube, expected, num_threads=1)
        np.testing.assert_allclose(mine.emad.values[several], spread[several], atol=1e-5)


def test_seasons_and_lists_of_intervals(series, hidden):
    spans = [("2025-05-01", "2025-05-31"), ("2025-05-11", "2025-06-15")]
    listed = series.cloudfree.composite(spans, mask=hidden)
    monthly = series.cloudfree.composite("MS", mask=hidden)
    assert list(listed.time.values) == [np.datetime64("2025-05-01"), np.datetime64("2025-05-11")]
    xr.testing.assert_equal(listed.isel(time=0)[BANDS], monthly.isel(time=0)[BANDS])
    part = series.sel(time=slice(*spans[1])).cloudfree.composite(
        "YS", mask=hidden.sel(time=slice(*spans[1]))
    )
    np.testing.assert_array_equal(listed.B08[1], part.B08[0])
    season = series.cloudfree.composite("QS-DEC", mask=hidden)
    assert list(season.time.dt.month.values) == [3, 6]
    assert season.period_end.values[0] == np.datetime64("2025-06-01")
    gap = [("2019", "2019"), ("2025-05", "2025-05")]
    empty = series.cloudfree.composite(gap, "best", mask=hidden)
    assert (empty.provenance[0] == 0).all()
    assert np.isnan(empty.B02[0]).all()
    assert not empty["count"][0].any()


ROWS, DATES = {"time": 1, "y": 22, "x": 42}, {"time": 5, "y": 48, "x": 17}


@pytest.mark.parametrize(
    ("method", "chunks"),
    [
        *((method, ROWS) for method in METHODS),
        ("geomedian", DATES),
        *(pytest.param(m, DATES, marks=pytest.mark.slow) for m in METHODS if m != "geomedian"),
    ],
)
def test_chunks_change_no_bit(series, hidden, filled, method, chunks):
    whole = series.cloudfree.composite("MS", method, mask=hidden)
    both = filled.cloudfree.composite("MS", method, fill=True)
    with no_computes():
        lazy = series.chunk(chunks).cloudfree.composite("MS", method, mask=hidden.chunk(chunks))
        other = filled.chunk(chunks).cloudfree.composite("MS", method, fill=True)
    assert lazy.B02.chunks[0] == (1, 1, 1)
    xr.testing.assert_identical(lazy.compute(), whole)
    xr.testing.assert_identical(other.compute(), both)


def test_a_month_reads_the_dates_of_that_month_alone(series, hidden):
    def only_may(values):
        assert not (values == 2).any(), "a date of another month was read"
        return values

    may = series.time < np.datetime64("2025-06-01")
    marked = xr.where(may, series[BANDS], np.float32(2)).transpose("time", "y", "x")
    lazy = xr.apply_ufunc(only_may, marked.chunk(time=1), dask="parallelized", keep_attrs=True)
    maps = lazy.cloudfree.composite("MS", mask=hidden.chunk(time=1))
    expected = series[BANDS].cloudfree.composite("MS", mask=hidden)
    np.testing.assert_array_equal(maps.B08[0], expected.B08[0])
    with pytest.raises(AssertionError, match="another month"):
        maps.B08[1].compute()


def test_what_was_filled_is_worked_through_once_when_it_is_stored(
    series, hidden, tmp_path, monkeypatch
):
    calls, estimate = [], Median.estimate

    def counted(self, *arguments):
        calls.append(1)
        return estimate(self, *arguments)

    monkeypatch.setattr(Median, "estimate", counted)
    chunks = {"time": 1, "y": 24, "x": 42}
    made = series[BANDS].chunk(chunks).cloudfree.reconstruct("median", mask=hidden, shadow=False)
    maps = made.cloudfree.composite("MS", fill=True)
    xcf.io.to_zarr(maps, tmp_path / "maps.zarr", progress=False)
    assert len(calls) == 2  # blocks of all dates
    stored = xcf.io.open_zarr(tmp_path / "maps.zarr").compute()
    xr.testing.assert_equal(stored[BANDS], maps[BANDS])
    assert stored.time.equals(maps.time)
    assert stored["count"].dtype == np.uint16
    assert stored.period_end.equals(maps.period_end)


def test_best_and_medoid_take_spectra_that_were_observed(series, hidden):
    for method in ("medoid", "best"):
        found = series.cloudfree.composite("MS", method, mask=hidden)
        assert found["count"].max() == 1
        clear = series[BANDS].where(~hidden).sel(time="2025-05").to_dataarray().values
        value = found[BANDS].isel(time=0).to_dataarray().values
        same = (clear == value[:, None]).all(0).any(0)
        np.testing.assert_array_equal(same, found.provenance[0] == 1)


def test_fill_takes_what_was_reconstructed_and_says_so(series, hidden, filled):
    made = filled.cloudfree.composite("MS", "median", fill=True)
    assert (made.provenance > 0).all()
    for band in BANDS:
        expected = filled[band].resample(time="MS").median()
        np.testing.assert_allclose(made[band], expected, atol=1e-7)
    np.testing.assert_array_equal(made.provenance == 2, made.count_reconstructed > 0)
    plain = series.cloudfree.composite("MS", "median", mask=hidden)
    observed = filled.cloudfree.composite("MS", "median")
    xr.testing.assert_equal(plain[[*BANDS, "count"]], observed[[*BANDS, "count"]])
    best = filled.cloudfree.composite("MS", "best", fill=True)
    seen = (plain["count"] > 0).values
    np.testing.assert_array_equal(best.provenance.values, np.where(seen, 1, 2))


def test_fill_reconstructs_where_nothing_is_yet(series):
    series = series.isel(y=slice(0, 20), x=slice(0, 24))
    found = series.cloudfree.composite("MS", "mean", mask="score", fill=True)
    first = series.cloudfree.reconstruct(mask="score", uncertainty=True)
    xr.testing.assert_equal(found, first.cloudfree.composite("MS", "mean", fill=True))


def test_fill_comes_nearer_to_the_middle_of_the_month():
    """Against the median of all images by two thirds, of the clear ones by a tenth and more."""
    days = list(pd.date_range("2025-05-01T10:06", periods=18, freq="5D"))
    options = {"cover": 0.6, "seed": 1}
    ds = xcf.datasets.simulate_scene((96, 96), dates=days, **options)
    middles = list(pd.DatetimeIndex(["2025-05-16T12:00", "2025-06-16", "2025-07-16T12:00"]))
    truth = xcf.datasets.simulate_truth((96, 96), dates=middles, **options)[BANDS]

    def error(maps):
        apart = maps[BANDS].to_dataarray().values - truth.to_dataarray().values
        return np.sqrt(np.nanmean(apart**2))

    made = ds.cloudfree.reconstruct()
    filled = error(made.cloudfree.composite("MS", fill=True))
    clear = error(made.cloudfree.composite("MS", "median"))
    every = error(ds.cloudfree.composite("MS", "median", mask=xr.zeros_like(ds.B02, bool)))
    assert filled < 0.67 * every
    assert filled < 0.9 * clear


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_the_form_that_came_in_comes_back(dtype):
    ds, mask = make_series(dtype=dtype), blobs()
    mask = mask.assign_coords(time=ds.time)
    plain = ds.cloudfree.composite("MS", mask=mask)
    assert plain.B02.dtype == dtype
    assert plain.rio.crs == ds.rio.crs
    assert plain.attrs == ds.attrs
    assert "VV" not in plain
    assert plain.B02.attrs == ds.B02.attrs | {"cell_methods": "time: median (comment: geometric)"}
    two = stacked(ds).cloudfree.composite("MS", mask=mask)
    array = as_array(ds).cloudfree.composite("MS", mask=mask)
    assert two.s2.dims == array.dims == ("time", "band", "y", "x")
    for k, band in enumerate(two.band.values):
        np.testing.assert_array_equal(two.s2[:, k], plain[band])
        # one array of radar and integers is floating point
        off = 0.51 if dtype == "uint16" else 0
        np.testing.assert_allclose(array.sel(band=band), plain[band], rtol=0, atol=off)
    for name in ("count", "age", "provenance", "emad"):
        np.testing.assert_array_equal(two[name], plain[name])
        np.testing.assert_array_equal(array.coords[name], plain[name])
    # a result that is an array has its provenance and deviation as coordinates
    made = as_array(ds).cloudfree.reconstruct("area-regression", mask=mask, uncertainty=True)
    again = made.cloudfree.composite("MS", "mean", fill=True)
    whole = ds.cloudfree.reconstruct("area-regression", mask=mask, uncertainty=True)
    expected = whole.cloudfree.composite("MS", "mean", fill=True)
    np.testing.assert_allclose(again.sel(band="B8A"), expected.B8A, rtol=0, atol=2 * off)


def test_one_band_and_several_series_at_a_time(series, hidden):
    one = series[["B08"]].cloudfree.composite("MS", "median", mask=hidden)
    whole = series.cloudfree.composite("MS", "median", mask=hidden)
    np.testing.assert_array_equal(one.B08, whole.B08)
    two = xr.concat(
        [series, series.isel(y=slice(None, None, -1)).assign_coords(y=series.y)], "patch"
    )
    masks = xr.concat(
        [hidden, hidden.isel(y=slice(None, None, -1)).assign_coords(y=hidden.y)], "patch"
    )
    found = two.cloudfree.composite("MS", "median", mask=masks)
    np.testing.assert_array_equal(found.B08.isel(patch=0), whole.B08)
    np.testing.assert_array_equal(found.B08.isel(patch=1), whole.B08.isel(y=slice(None, None, -1)))


def test_what_cannot_be_composed_is_refused(series, hidden, filled):
    with pytest.raises(DataError, match="did you mean 'median'"):
        series.cloudfree.composite("MS", "medain", mask=hidden)
    with pytest.raises(DataError, match="no period contains a date"):
        series.cloudfree.composite([("2019", "2020")], mask=hidden)
    with pytest.raises(DataError, match="does not describe periods"):
        series.cloudfree.composite("often", mask=hidden)
    with pytest.raises(DataError, match="does not come before"):
        series.cloudfree.composite([("2025-06-01", "2025-05-01")], mask=hidden)
    with pytest.raises(DataError, match="both provenance and a mask"):
        filled.cloudfree.composite("MS", mask=hidden)
    with pytest.raises(DataError, match="which is missing"):
        filled.drop_vars([f"{b}_std" for b in xcf.bands.S2_BANDS]).cloudfree.composite(
            "MS", "mean", fill=True
        )
    with pytest.raises(DataError, match="no time coordinate"):
        series.isel(time=0, drop=True).cloudfree.composite("MS", mask=hidden)

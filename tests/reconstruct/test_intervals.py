"""Bounds and deviations from ground that was hidden again: arithmetic, strictness, real dates."""

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import FEW, as_array, blobs, make_series, stacked
from tests.checks import no_computes
from tests.real_series import SITES, load
from xcloudfree import methods
from xcloudfree.core.predictor import Series
from xcloudfree.exceptions import DataError, ModelError
from xcloudfree.methods.base import Method, Prediction
from xcloudfree.reconstruct.conformal import GAPS, Scores, distances_of, expected_error, learn
from xcloudfree.reconstruct.hiding import levels_of, scores

YEAR = 365.25


def scored(errors, dates, deviation=1.0, near=3, level=0):
    """Scores of one band: absolute errors of pixels of some dates."""
    errors = np.asarray(errors, np.float32)[:, None]
    count = np.zeros(len(errors), np.uint8)
    stated = np.broadcast_to(np.asarray(deviation, np.float32), len(errors))[:, None]
    rank, when = np.arange(len(errors), dtype=np.uint64), np.asarray(dates, np.float64)
    none = np.full_like(errors, np.nan)
    levels, places = count + np.uint8(level), count + np.uint8(near)
    return Scores(rank, when, levels, places, errors, stated, none)


def half(found, interval=0.9, day=0.0):
    table = learn(found, np.array([day]), interval)
    nowhere = np.full((1, 1), np.nan, np.float32)  # nothing is visible beside
    expected = expected_error(table.expected[0], np.ones((1, 1), np.float32), nowhere)
    return float(table.half[0, 0, 3, 0] * expected[0, 0])


def test_of_single_pixels_it_is_the_order_statistic_that_a_new_date_asks_for():
    years = YEAR * np.arange(19)  # one season, so that all weigh alike
    errors = np.arange(1, 20)
    for interval in (0.5, 0.8, 0.9):
        level = interval + (1 - interval) / 20
        expected = np.quantile(errors, level, method="inverted_cdf")
        assert half(scored(errors, years), interval) == pytest.approx(expected)


def test_every_date_counts_alike_however_many_of_its_pixels_were_hidden():
    years = YEAR * np.repeat(np.arange(9), 40)
    errors = np.repeat(np.arange(1.0, 10), 40)
    more = np.concatenate([errors, np.full(4000, 1.0)])
    when = np.concatenate([years, np.zeros(4000)])
    assert half(scored(more, when)) == pytest.approx(9)
    assert half(scored(errors, years)) == pytest.approx(9)


def test_what_is_stated_scales_the_interval():
    years, stated = YEAR * np.arange(30), np.random.default_rng(0).uniform(0.01, 0.1, 30)
    factors = np.arange(1, 31) / 10
    found = scored(factors * stated, years, stated)
    assert half(found) == pytest.approx(half(scored(factors, years)), rel=0.05)


def test_what_the_date_shows_beside_scales_the_interval_where_it_tells_more():
    rng = np.random.default_rng(2)
    misfit = rng.uniform(0.02, 0.2, 400).astype(np.float32)
    found = scored(misfit * rng.uniform(0.5, 1.5, 400), YEAR * np.repeat(np.arange(20), 20))
    rule = learn(found._replace(misfit=misfit[:, None]), np.zeros(1), 0.9).expected[0, 0]
    np.testing.assert_allclose(rule[1:], [0, 1], atol=0.05)


def test_dates_of_the_same_season_count_most():
    days = np.concatenate([YEAR * np.arange(10), YEAR * (np.arange(10) + 0.5)])
    found = scored([*[0.01] * 10, *[0.1] * 10], days)
    assert half(found, 0.5, day=7 * YEAR) < half(found, 0.5, day=7.5 * YEAR)


def test_new_dates_are_covered_as_often_as_asked_for():
    """Dates with offsets of their own: the share is that over dates, not over pixels."""
    rng, covered = np.random.default_rng(1), []
    for _ in range(200):
        size = rng.lognormal(sigma=0.5, size=16)
        errors = np.abs(rng.normal(size=(16, 50)) * size[:, None])
        years = YEAR * np.repeat(np.arange(16), 50)
        bound = half(scored(errors.ravel(), years))
        new = np.abs(rng.normal(size=200)) * rng.lognormal(sigma=0.5)
        covered.append((new <= bound).mean())
    assert 0.88 < np.mean(covered) < 0.93


def test_a_gap_with_few_dates_has_the_quantiles_of_the_shorter_one():
    years = YEAR * np.arange(8)
    short, long = scored(np.arange(1, 9), years), scored([50.0], [0.0], level=1)
    both = Scores(*(np.concatenate(pair) for pair in zip(short, long, strict=True)))
    table = learn(both, np.zeros(1), 0.9)
    np.testing.assert_array_equal(table.half[:, 1], table.half[:, 0])
    assert table.dates[:2].tolist() == [[8] * 4, [0] * 4]


def test_classes_of_gaps_and_distances_are_those_of_plain_counting():
    days = np.array([0.0, 10.0, 40.0, 100.0])
    clear = np.array([True, False, True, True]).reshape(4, 1, 1)
    waits = [40, 10, 40, 60]
    expected = [max(0, sum(w > g for g in GAPS) - 1) for w in waits]
    assert levels_of(clear, days).ravel().tolist() == expected
    visible = np.zeros((40, 40), bool)
    visible[20, 5] = True
    rows, columns = np.indices(visible.shape)
    away = np.hypot(rows - 20, columns - 5)
    expected = (away[..., None] > np.array([3, 8, 16])).sum(-1)
    np.testing.assert_array_equal(distances_of(visible), expected)
    assert (distances_of(np.zeros((4, 4), bool)) == 3).all()


@dataclass(frozen=True)
class Watcher(Method):
    """Keeps what it is given, and predicts a constant."""

    name: str = "watcher"
    temporal: bool = True

    def predict(self, series, statistics):
        SEEN.append(series)
        return Prediction(np.full_like(series.reflectance, 0.5))


SEEN: list[Series] = []


def test_what_is_hidden_again_is_seen_by_nobody_and_no_date_within_the_gap_stays():
    rng = np.random.default_rng(0)
    days = np.sort(rng.choice(700, 70, replace=False)).astype(np.float64)
    values = rng.random((70, 2, 32, 32), np.float32)
    hidden = np.zeros((70, 32, 32), bool)
    hidden[::3, :20] = True
    series = Series(values, hidden, hidden, days=days)
    for level, gap in enumerate(GAPS):
        SEEN.clear()
        found = scores(series, days, Watcher(), False, [level])
        assert set(found.level) == {level}
        assert len(set(found.date)) >= 12
        assert SEEN
        for given in SEEN:
            for date in np.flatnonzero(given.wanted.any((1, 2))):
                apart = np.abs(given.days - given.days[date])
                assert (np.delete(apart, date) > gap).all()
                (own,) = np.flatnonzero(days == given.days[date])
                again = series.clear[own] & ~given.clear[date]
                assert again.any()
                assert (given.reflectance[date] != values[own])[:, again].all()
                assert given.wanted[date][again].all()
        assert found.error.mean() == pytest.approx(
            0.25, abs=0.01
        )  # of uniform numbers from one half


OPTIONS = {"mask": blobs(), "interval": 0.9, "uncertainty": True}


@pytest.fixture(scope="module")
def series():
    return make_series()


@pytest.mark.parametrize("name", ["median", "area-regression", "idw"])
@pytest.mark.parametrize("chunks", [{"y": 40, "x": 33, "time": 7}, {"y": 9, "x": 14, "time": 1}])
def test_bounds_are_the_same_over_all_chunks(series, name, chunks):
    series = series[FEW]
    whole = series.cloudfree.reconstruct(name, **OPTIONS)
    with no_computes():
        lazy = series.chunk(chunks).cloudfree.reconstruct(name, **OPTIONS)
    assert lazy.B02_lower.chunks == lazy.B02.chunks
    lazy = lazy.compute()
    for variable in whole.data_vars:
        np.testing.assert_array_equal(lazy[variable], whole[variable])


def test_observed_pixels_are_their_own_bounds_and_others_lie_inside(series):
    mask = blobs()
    mask[:, 3, 3] = True  # on no date clear
    out = series.cloudfree.reconstruct("linear-time", mask=mask, interval=0.9)
    seen, filled, lost = (out.provenance == n for n in (1, 2, 3))
    assert lost[:, 3, 3].all()
    for band in ("B02", "B12"):
        value, lower, upper = (out[band + end] for end in ("", "_lower", "_upper"))
        assert ((lower == value) & (upper == value)).where(seen, True).all()
        assert ((lower < value) & (value < upper)).where(filled, True).all()
        assert (lower.isnull() & upper.isnull()).where(lost, True).all()
    assert out.B02_lower.attrs["interval"] == 0.9
    assert out.B02_lower.attrs["interval_dates"] >= 4
    assert "B02_std" not in out


@pytest.mark.parametrize("form", [stacked, as_array])
def test_bounds_come_in_the_form_of_the_input(series, form):
    each = series.cloudfree.reconstruct("median", **OPTIONS)
    out = form(series).cloudfree.reconstruct("median", **OPTIONS)
    prefix = "s2_" if isinstance(out, xr.Dataset) else ""
    for end in ("lower", "upper", "std"):
        np.testing.assert_array_equal(out[prefix + end].sel(band="B8A"), each[f"B8A_{end}"])
    again = out.cloudfree.reconstruct("median", mask=blobs())  # they are no bands
    assert (again.provenance > 0).any()


def test_bounds_of_integers_are_integers_of_the_same_scale():
    ds = make_series(dtype="uint16")
    out = ds.cloudfree.reconstruct("median", mask=blobs(), interval=0.8)
    assert out.B04_lower.dtype == np.uint16
    assert out.B04_upper.attrs["scale_factor"] == ds.B04.attrs["scale_factor"]
    filled = out.provenance == 2
    assert (out.B04_lower <= out.B04).where(filled, True).all()
    assert (out.B04_lower < out.B04_upper).where(filled, True).any()


def test_wider_is_what_must_hold_more(series):
    widths = []
    for interval in (0.5, 0.8, 0.95):
        out = series.cloudfree.reconstruct("median", mask=blobs(), interval=interval)
        widths.append(float((out.B04_upper - out.B04_lower).where(out.provenance == 2).mean()))
    assert widths == sorted(widths)


PLAIN = [n for n in methods.names() if n not in ("starfm", "kernel-fusion")]


@pytest.mark.parametrize("name", PLAIN)
def test_every_method_has_a_deviation(series, name):
    few = series[["B02", "B08", "B11", "VV", "VH"]].isel(y=slice(0, 24), x=slice(0, 24))
    mask = blobs().isel(y=slice(0, 24), x=slice(0, 24))
    out = few.cloudfree.reconstruct(name, mask=mask, uncertainty=True)
    np.testing.assert_array_equal(out.B08_std.notnull(), out.provenance == 2)
    assert (out.B08_std > 0).where(out.provenance == 2, True).all()


def test_one_date_is_calibrated_on_its_own_ground():
    ds = make_series().isel(time=0, drop=True)
    mask = blobs().isel(time=0, drop=True)
    out = ds.cloudfree.reconstruct("kriging", mask=mask, interval=0.9)
    assert ((out.B04_lower < out.B04) & (out.B04_upper > out.B04)).where(mask, True).all()
    patches = xr.concat([ds, ds + 0.1], "patch")
    both = xr.concat([mask, mask], "patch")
    several = patches.cloudfree.calibrate(level="TOA", sar="dB")
    alone = several.isel(patch=0).cloudfree.reconstruct("kriging", mask=mask, interval=0.9)
    each = several.chunk(patch=2).cloudfree.reconstruct("kriging", mask=both, interval=0.9)
    np.testing.assert_array_equal(each.B04_lower.isel(patch=0), alone.B04_lower)


def test_where_nothing_is_clear_no_interval_is_made_up(series):
    with pytest.raises(DataError, match=r"interval=None"):
        series.cloudfree.reconstruct("idw", mask=blobs() | True, interval=0.9)


@pytest.mark.parametrize("interval", [0, 1, 90, True, "0.9", np.nan])
def test_a_level_that_is_no_share_is_refused(series, interval):
    with pytest.raises(ModelError, match=r"interval=0\.9"):
        series.cloudfree.reconstruct("median", mask=blobs(), interval=interval)


def test_times_that_were_not_acquired_have_bounds_too(series):
    times = [series.time.values[2] + np.timedelta64(2, "D")]
    out = series.cloudfree.reconstruct("linear-time", mask=blobs(), times=times, interval=0.9)
    assert (out.B02_lower < out.B02_upper).all()


def test_bounds_are_stored_and_read_back(series, tmp_path):
    series = series[FEW].assign(B04=series.B04)
    made = series.chunk(y=20, x=20, time=1).cloudfree.reconstruct("median", **OPTIONS)
    xcf.io.to_zarr(made, tmp_path / "out.zarr", progress=False)
    back = xcf.io.open_zarr(tmp_path / "out.zarr")
    whole = series.cloudfree.reconstruct("median", **OPTIONS)
    np.testing.assert_array_equal(back.B04_upper, whole.B04_upper)
    assert back.B04_upper.attrs["interval"] == 0.9
    xcf.io.to_zarr(whole, tmp_path / "whole.zarr", progress=False)
    stored = xcf.io.open_zarr(tmp_path / "whole.zarr").B04_upper.attrs
    assert stored["interval_dates"] == whole.B04_upper.attrs["interval_dates"]
    assert stored["interval_quantiles"] == whole.B04_upper.attrs["interval_quantiles"]


@pytest.mark.parametrize("site", SITES[1:])
def test_on_real_dates_bounds_hold_about_as_much_as_they_say(data_root, site):
    inside = []
    for case in xcf.benchmarking.hidden_dates(load(data_root, site), gaps=[15], count=4, clouds=1):
        out = case.data.cloudfree.reconstruct(
            "median", mask=case.hidden, shadow=False, interval=0.9
        ).sel(time=case.date)
        where = case.hidden.sel(time=case.date)
        for band in case.truth.data_vars:
            lower, upper, truth = out[f"{band}_lower"], out[f"{band}_upper"], case.truth[band]
            inside.append(((lower <= truth) & (truth <= upper)).where(where).mean())
    assert 0.8 < np.mean(inside) < 0.98


def test_the_truth_of_a_hidden_date_changes_no_bound(data_root):
    series = load(data_root, SITES[1])
    case = next(xcf.benchmarking.hidden_dates(series, gaps=[15], count=5, clouds=1))
    results = []
    for shift in (0.0, 0.2):
        ds = case.data.copy(deep=True)
        for band in case.truth.data_vars:
            ds[band] = ds[band].where(~case.hidden, ds[band] + np.float32(shift))
        out = ds.cloudfree.reconstruct("median", mask=case.hidden, shadow=False, interval=0.9)
        results.append(out.B05_upper.where(case.hidden).values)
    np.testing.assert_array_equal(*results)

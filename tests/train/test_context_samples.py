"""Samples from an area's own series: what is asked for has entered nothing that is given."""

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.builders import blobs, make_series
from tests.checks import no_computes
from xcloudfree.exceptions import DataError, MissingBandError, UnitsError
from xcloudfree.methods.leave_out import Place, without
from xcloudfree.train import Recipe
from xcloudfree.train.series_samples import SeriesSamples, Skies, hide_twins
from xcloudfree.train.splits import check_apart, split_series

NAMES = ("before", "after", "regression")
SPEC = xcf.models.create("carf-tiny-regression").spec
QUICK = {"spec": SPEC, "crop": 24, "views": 2}


@pytest.fixture(scope="module")
def series():
    return make_series(dates=9)


@pytest.fixture(scope="module")
def mask():
    hidden = blobs(dates=9)
    hidden[4] = True
    return hidden


@pytest.fixture(scope="module")
def place(series, mask):
    bands = list(SPEC.optical_bands)
    values = series[bands].to_dataarray("band").transpose("time", "band", "y", "x").values
    radar = series[["VV", "VH"]].to_dataarray("band").transpose("time", "band", "y", "x").values
    days = (series.time.values - np.datetime64("2014-04-03")) / np.timedelta64(1, "D")
    return Place(values, ~mask.values, radar, radar, days)


def test_what_is_taken_away_has_no_influence(place):
    dates, gaps = [2, 6], [0.0, 15.0]
    hidden = np.zeros((2, 40, 33), bool)
    hidden[0, 5:25], hidden[1, :, 10:] = True, True
    found = without(place, dates, hidden, gaps, NAMES)
    values = place.reflectance.copy()
    for k, date in enumerate(dates):
        values[date][:, hidden[k]] = 0.77
    other = without(place._replace(reflectance=values), dates, hidden, gaps, NAMES)
    np.testing.assert_array_equal(found, other)
    assert np.isfinite(found).all(1).mean() > 0.2


def test_another_image_of_a_pass_shows_nothing_of_what_is_hidden(place):
    """With date 2 hidden, what its twin of 12 seconds later shows of those pixels is not read."""
    order = [0, 1, 2, 2, 3, 4, 5, 6, 7, 8]
    twice = Place(*(array[order] for array in place))
    twice.days[3] += 12 / 86400
    hidden = np.zeros((1, 40, 33), bool)
    hidden[0, 5:25] = True

    def context(place):
        return without(hide_twins(place, [2], hidden), [2], hidden, [0.0], NAMES)

    values = twice.reflectance.copy()
    values[3][:, hidden[0]] = 0.77
    changed = twice._replace(reflectance=values)
    np.testing.assert_array_equal(context(twice), context(changed))
    shown = (without(p, [2], hidden, [0.0], NAMES) for p in (twice, changed))
    assert not np.array_equal(*shown, equal_nan=True)  # as it was without hiding the twin
    assert twice.clear[3].any()


def test_sides_and_regression_leave_out_the_gap(place):
    hidden = np.zeros((1, 40, 33), bool)
    hidden[0, :30] = True
    found = without(place, [5], hidden, [15.0], NAMES)
    near = np.flatnonzero(np.abs(place.days - place.days[5]) <= 15)
    assert len(near) >= 4
    count = place.reflectance.shape[1]
    ages = found[0, [count, 2 * count + 1]]
    assert np.nanmin(ages) > 15
    values = place.reflectance.copy()
    values[near[near != 5]] += 0.3
    other = without(place._replace(reflectance=values), [5], hidden, [15.0], NAMES[:2])
    np.testing.assert_array_equal(other, found[:, : 2 * (count + 1)])


def test_it_is_what_reconstruct_gives_the_network(series, mask, place):
    hidden = np.zeros((1, 40, 33), bool)
    hidden[0, 8:30, 4:20] = True
    found = without(place, [3], hidden, [0.0], NAMES)
    more = mask.copy()
    more[3] |= hidden[0]
    count = len(SPEC.optical_bands)
    mean = series.cloudfree.reconstruct(model="area-regression", mask=more, blend=None)
    for k, band in enumerate(SPEC.optical_bands):
        np.testing.assert_allclose(found[0, 2 * count + 2 + k], mean[band][3], atol=2e-6)
    around = series.cloudfree.context(mask=more)
    np.testing.assert_array_equal(found[0, :count], around.before[3])
    np.testing.assert_array_equal(found[0, 2 * count + 1], around.after_age[3])


def test_draws_keep_their_promises(series, mask):
    samples = SeriesSamples(series, mask=mask, **QUICK)
    batch = samples.draw(np.random.default_rng(1), 6)
    assert batch.cloudy.shape == batch.target.shape == (6, 13, 24, 24)
    assert batch.sar.shape == (6, 2, 24, 24)
    assert batch.mask.shape == (6, 1, 24, 24)
    assert batch.context.shape == (6, 54, 24, 24)
    known = np.isfinite(batch.target).all(1)
    assert (known & batch.mask[:, 0]).any((1, 2)).all()
    seen = known & ~batch.mask[:, 0]
    for cloudy, target, clear in zip(batch.cloudy, batch.target, seen, strict=True):
        np.testing.assert_allclose(cloudy[:, clear], target[:, clear], atol=3e-4)
    assert len(batch.origins) == 6
    assert batch.cloudy.dtype == batch.context.dtype == np.float32
    truth = series.B04.values[np.broadcast_to(~mask.values, series.B04.shape)]
    assert np.isin(batch.target[:, 3][known], truth).all()


def test_a_seed_decides_and_a_folder_keeps(series, mask, tmp_path):
    draws = [
        SeriesSamples(series, mask=mask, **QUICK, **more).draw(np.random.default_rng(0), 3)
        for more in ({}, {"cache": tmp_path}, {"cache": tmp_path}, {"seed": 1})
    ]
    for other in draws[1:3]:
        np.testing.assert_array_equal(other.context, draws[0].context)
        np.testing.assert_array_equal(other.target, draws[0].target)
    assert not np.array_equal(draws[3].mask, draws[0].mask)
    assert len(list(tmp_path.glob("view-*.npz"))) >= 1


def test_lazy_data_stays_lazy_and_gives_the_same(series, mask):
    chunked = series.chunk(time=2, y=20)
    with no_computes():
        samples = SeriesSamples(chunked, mask=mask, **QUICK)
    whole = SeriesSamples(series, mask=mask, **QUICK)
    one, other = (s.draw(np.random.default_rng(5), 2) for s in (samples, whole))
    np.testing.assert_array_equal(one.cloudy, other.cloudy)
    np.testing.assert_array_equal(one.context, other.context)


def test_simulated_clouds_and_places_of_a_large_series(series, mask):
    spec = SPEC.replace(context=("before", "after"))
    samples = SeriesSamples(
        series, mask=mask, spec=spec, crop=16, views=4, place=16, simulated=1.0, gaps=(3,)
    )
    assert len(samples.series[0].windows) == 4
    batch = samples.draw(np.random.default_rng(2), 8)
    assert batch.context.shape[1] == 28
    assert np.nanmin(batch.context[:, 13]) > 3
    assert samples.mean_spectrum().shape == (13,)


def test_shadow_of_simulated_clouds_is_that_of_the_level(place):
    """Of surface reflectance shadow takes more, by most in the blue."""
    share = place.clear.mean((1, 2))
    blue = {}
    for level in ("TOA", "BOA"):
        skies = Skies(place, share, 1.0, SPEC.optical_bands, level)
        drawn = [skies.draw(np.random.default_rng(seed), 0) for seed in range(6)]
        blue[level] = np.stack([sky.cloudy[:3] for sky in drawn])
    assert np.nanmin(blue["TOA"] - blue["BOA"]) >= 0
    assert np.nanmax(blue["TOA"] - blue["BOA"]) > 0.01


def test_parts_do_not_overlap_and_overlap_is_refused(series):
    early, late = split_series(series, before="2025-07-01")
    assert early.time.max() < np.datetime64("2025-07-01") <= late.time.min()
    check_apart(early, late)
    some, others = split_series(series, dates=series.time.values[[1, 4]])
    assert (some.sizes["time"], others.sizes["time"]) == (7, 2)
    placed = series.assign_coords(y=np.arange(40.0), x=np.arange(33.0))
    top, bottom = split_series(placed, rows=slice(30, 40))
    check_apart(top, bottom)
    with pytest.raises(DataError, match="split_series"):
        check_apart(placed.isel(time=slice(0, 5)), placed.isel(time=slice(4, 9)))
    with pytest.raises(DataError, match="border"):
        split_series(series, rows=slice(10, 20))
    with pytest.raises(DataError, match="empty"):
        split_series(series, before="2020-01-01")
    with pytest.raises(DataError, match="one way"):
        split_series(series)


def test_data_that_cannot_teach_is_refused_with_the_call_that_mends_it(series, mask):
    with pytest.raises(DataError, match="0 of 9 dates"):
        SeriesSamples(series, mask=xr.ones_like(mask), **QUICK).mean_spectrum()
    with pytest.raises(DataError, match="longer interval"):
        SeriesSamples(series.isel(time=[0]), mask=mask[:1], **QUICK)
    with pytest.raises(DataError, match="crop=33"):
        SeriesSamples(series, mask=mask, spec=SPEC, crop=64)
    lost = series.assign(VV=series.VV.where(False))
    gone = SeriesSamples(lost, mask=mask, **QUICK)
    with pytest.raises(DataError, match="backscatter"):
        gone.draw(np.random.default_rng(0), 1)
    with pytest.raises(MissingBandError, match="Sentinel-1"):
        SeriesSamples(series.drop_vars(["VV", "VH"]), mask=mask, **QUICK)
    with pytest.raises(DataError, match="gaps"):
        SeriesSamples(series, mask=mask, gaps=(7,), **QUICK)
    boa = series.cloudfree.calibrate(level="BOA")
    with pytest.raises(UnitsError, match="level"):
        SeriesSamples([series, boa], mask=mask, **QUICK)
    spec = SPEC.replace(optical_bands=tuple(b for b in SPEC.optical_bands if b != "B10"))
    bare = series.drop_vars("B10").copy(deep=True)
    for variable in bare.data_vars.values():
        variable.attrs.pop("processing_level", None)
    with pytest.raises(UnitsError, match="calibrate"):
        SeriesSamples(bare, mask=mask, spec=spec, crop=24)


def test_a_date_without_backscatter_is_never_asked_for(series, mask):
    gone = series.copy(deep=True)
    gone.VV[2] = np.nan
    samples = SeriesSamples(gone, mask=mask, spec=SPEC, crop=24, views=6)
    dates = {int(d) for i in range(6) for d in samples.view(0, i)[1].dates}
    assert dates
    assert 2 not in dates
    assert 4 not in dates


def test_a_place_that_is_always_cloudy_gives_way_to_others(series, mask):
    more = mask.copy()
    more[:, :20, :16] = True
    samples = SeriesSamples(series, mask=more, spec=SPEC, crop=16, views=4, place=16)
    assert len(samples.series[0].windows) == 4
    batch = samples.draw(np.random.default_rng(0), 4)
    assert np.isfinite(batch.target).any((1, 2, 3)).all()
    assert np.isfinite(samples.mean_spectrum()).all()


def test_kernel_fusion_leaves_out_what_is_hidden_and_the_gap(place):
    """Two dates that are far apart are predicted together, as if neither had been seen."""
    place = place._replace(days=place.days[0] + np.arange(9) * 10.0)
    dates, gaps = [1, 7], [0.0, 15.0]
    hidden = np.zeros((2, 40, 33), bool)
    hidden[:, 5:25] = True
    found = without(place, dates, hidden, gaps, ("kernel-fusion",))
    assert found.shape[1] == 2 * place.reflectance.shape[1]
    values = place.reflectance.copy()
    for k, date in enumerate(dates):
        values[date][:, hidden[k]] = 0.77
    values[[6, 8]] += 0.2  # within the gap of the second
    other = without(place._replace(reflectance=values), dates, hidden, gaps, ("kernel-fusion",))
    np.testing.assert_array_equal(found, other)
    assert np.isfinite(found[:, :, 5:25]).mean() > 0.9


def test_kernel_fusion_is_what_reconstruct_gives_the_network(series, mask, place):
    hidden = np.zeros((1, 40, 33), bool)
    hidden[0, 8:30, 4:20] = True
    found = without(place, [3], hidden, [0.0], ("kernel-fusion",))
    more = mask.copy()
    more[3] |= hidden[0]
    mean = series[[*SPEC.optical_bands, "VV", "VH"]].cloudfree.reconstruct(mask=more, blend=None)
    where = more[3].values
    for k, band in enumerate(SPEC.optical_bands):
        expected = mean[band].values[3]
        np.testing.assert_allclose(found[0, k][where], expected[where], atol=2e-6)


def test_a_network_on_kernel_fusion_is_fitted_and_returns_its_start_if_that_is_better():
    pytest.importorskip("lightning")
    ds = make_series(dates=12)[["B02", "B8A", "VV", "VH"]].cloudfree.calibrate(level="TOA")
    classes = xr.where(blobs(dates=12), 9, 4).astype("uint8")
    ds["SCL"] = ds.B02.copy(data=classes.transpose(*ds.B02.dims).values).drop_attrs()
    start = xcf.models.create(
        "carf-bandwise", base="kernel-fusion", context=(), polarisations=(), moved=False,
        optical_bands=["B02", "B8A"], features=4, growth=4, stages=1, heads=2,
    )  # fmt: skip
    options = {"steps": 2, "batch": 2, "crop": 16, "mask": "scl", "progress": False}
    options |= {"device": "cpu", "recipe": Recipe(gaps=(0,), held_out=1)}
    fitted = xcf.fit(ds, start, **options)
    assert fitted.spec.trained
    assert fitted.digest != start.digest
    with pytest.warns(UserWarning, match="no step of the fit was better than its start"):
        again = xcf.fit(ds, fitted, learning_rate=0.5, **options)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(*(m.network.state_dict().values() for m in (fitted, again)), strict=True)
    )

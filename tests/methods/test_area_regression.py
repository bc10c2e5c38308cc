"""Area regression: learns a law exactly, counts in sums, and helps itself from what is visible."""

import numpy as np
import pytest
import xarray as xr

from xcloudfree.datasets import simulate_scene
from xcloudfree.methods import area_regression as area
from xcloudfree.methods.regression import local_means


@pytest.fixture
def scene():
    """Reflectance that a straight line in time and the radar explain, up to an offset a date."""
    rng = np.random.default_rng(4)
    days = np.cumsum(rng.integers(3, 9, 24)).astype(float)
    radar = rng.normal(-12, 2, (24, 2, 20, 22)).astype("float32")
    ground = rng.uniform(0.1, 0.3, (3, 20, 22))
    light = rng.normal(0, 0.02, (24, 3, 1, 1))
    values = ground + 0.01 * (radar[:, :1] + 12) * np.array([1, -1, 2]).reshape(3, 1, 1) + light
    clear = rng.random((24, 20, 22)) > 0.3
    return values.astype("float32"), clear, local_means(radar), days


def test_sums_of_parts_are_the_sums_of_the_whole(scene):
    values, clear, radar, days = scene
    whole = area.sums(values, clear, ~clear, radar, days)
    cuts = (slice(0, 9), slice(9, 10), slice(10, 22))
    parts = [area.sums(*(a[..., c] for a in (values, clear, ~clear, radar)), days) for c in cuts]
    for name in whole._fields:
        np.testing.assert_array_equal(sum(getattr(p, name) for p in parts), getattr(whole, name))


def test_sums_are_those_of_the_clear_pixels(scene):
    values, clear, radar, days = scene
    total = area.sums(values, clear, ~clear, radar, days)
    others = clear.sum(0) - clear > 0
    np.testing.assert_array_equal(total.zz[:, 0, 0, 0], (clear & others).sum((1, 2)))
    expected = np.where(clear & others, values[:, 1].astype(float), 0).sum((1, 2))
    np.testing.assert_allclose(total.zy[:, 0, 0, 1], expected, rtol=1e-4)  # in whole steps
    assert total.hidden.sum() == (~clear & (clear.sum(0) > 0)).sum()


def test_ridge_equals_least_squares_on_stacked_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 2))
    z = np.concatenate([np.ones((60, 1)), x], axis=1)
    found = area._ridge(area.Moments(z.T @ z, z.T @ y, (y * y).sum(0)), 0.3)
    centred, scale = x - x.mean(0), x.std(0)
    rows = np.concatenate([centred / scale, np.sqrt(0.3 * 60) * np.eye(4)])
    right = np.concatenate([y - y.mean(0), np.zeros((4, 2))])
    slope = np.linalg.lstsq(rows, right, rcond=None)[0] / scale[:, None]
    np.testing.assert_allclose(found[1:], slope, atol=1e-10)
    np.testing.assert_allclose(found[0], y.mean(0) - x.mean(0) @ slope, atol=1e-10)


def test_a_constant_predictor_takes_no_part():
    z = np.array([[1.0, 3e4, 1.0], [1.0, 3e4, 2.0], [1.0, 3e4, 4.0]])
    y = 2 * z[:, 2:] + 1
    found = area._ridge(area.Moments(z.T @ z, z.T @ y, (y * y).sum(0)), 1e-9)
    np.testing.assert_allclose(found.ravel(), [1, 0, 2], atol=1e-6)


def test_hidden_pixels_are_found_better_than_by_time_alone(scene):
    values, clear, radar, days = scene
    from xcloudfree.methods.interpolation import linear_time

    rule = area.learn(area.sums(values, clear, ~clear, radar, days))
    mean, deviation = area.predict(values, clear, ~clear, radar, days, rule)
    known = np.isfinite(mean) & ~clear[:, None]
    assert known.sum() >= 0.99 * 3 * (~clear).sum()
    error = np.sqrt(np.mean((mean - values)[known] ** 2))
    naive = np.sqrt(np.nanmean((linear_time(values, clear, days) - values)[known] ** 2))
    assert error < 0.2 * naive
    assert 0.25 < error / np.sqrt(np.mean(deviation[known] ** 2)) < 1.5


@pytest.mark.parametrize("gone", [slice(0, 1), slice(9, 10), slice(1, None, 2)])
def test_dates_without_radar_leave_no_hole_in_those_that_have_some(scene, gone):
    values, clear, radar, days = scene
    radar, heard = radar.copy(), np.ones(24, bool)
    radar[gone], heard[gone] = np.nan, False
    rule = area.learn(area.sums(values, clear, ~clear, radar, days))
    mean, _ = area.predict(values, clear, ~clear, radar, days, rule)
    told, shown = np.isfinite(mean).all(1), clear[heard].any(0)
    assert not told[~heard].any()
    assert told[heard][~clear[heard] & shown].all()
    asked = told[:, None] & ~clear[:, None]
    error = np.sqrt(np.mean((mean - values)[np.broadcast_to(asked, mean.shape)] ** 2))
    assert error < 0.01  # radar explains 0.02 to 0.04


@pytest.mark.parametrize("seconds", [0, 12])
def test_another_image_of_a_pass_makes_the_estimate_no_surer(scene, seconds):
    """A pass that comes twice shows itself, which says nothing of how well others show it."""
    values, clear, radar, days = scene
    position, second = np.repeat(np.arange(24), 2), np.tile([False, True], 24)
    twice = values[position] + np.float32(1e-4) * second[:, None, None, None]
    after = days[position] + second * seconds / 86400
    found = []
    for seen, at, when in ((values, np.arange(24), days), (twice, position, after)):
        shown, backscatter = clear[at], radar[at]
        rule = area.learn(area.sums(seen, shown, ~shown, backscatter, when))
        found.append([
            image[~second] if len(at) > 24 else image
            for image in area.predict(seen, shown, ~shown, backscatter, when, rule)
        ])  # fmt: skip
    (one, sure), (other, surer) = found
    np.testing.assert_allclose(other, one, atol=0.02)
    np.testing.assert_allclose(np.nanmedian(surer), np.nanmedian(sure), rtol=0.15)


def test_the_values_of_hidden_pixels_have_no_influence(scene):
    values, clear, radar, days = scene
    results = []
    for cloud in (0.9, np.nan):
        seen = np.where(clear[:, None], values, np.float32(cloud))
        rule = area.learn(area.sums(seen, clear, ~clear, radar, days))
        results.append(area.predict(seen, clear, ~clear, radar, days, rule)[0])
    np.testing.assert_array_equal(*results)


def test_an_offset_of_one_date_is_taken_from_its_visible_pixels(scene):
    values, clear, radar, days = scene
    found = []
    for shift in (0.0, 0.1):
        seen = values.copy()
        seen[12] += np.float32(shift)
        rule = area.learn(area.sums(seen, clear, ~clear, radar, days))
        mean, _ = area.predict(seen, clear, ~clear, radar, days, rule)
        found.append(mean[12])
    np.testing.assert_allclose(np.nanmean(found[1] - found[0]), 0.1, atol=0.01)


def test_without_any_clear_date_or_backscatter_nothing_is_told(scene):
    values, clear, radar, days = scene
    clear, radar = clear.copy(), radar.copy()
    clear[:, 2, 3] = False
    radar[:, :, 5, 5] = np.nan
    rule = area.learn(area.sums(values, clear, ~clear, radar, days))
    mean, deviation = area.predict(values, clear, ~clear, radar, days, rule)
    assert np.isnan(mean[:, :, 2, 3]).all()
    assert np.isnan(mean[:, :, 5, 5]).all()
    assert np.isnan(deviation[:, :, 5, 5]).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_without_any_backscatter_there_is_no_rule_and_no_warning(scene):
    values, clear, radar, days = scene
    rule = area.learn(area.sums(values, clear, ~clear, np.full_like(radar, np.nan), days))
    assert np.isnan(rule.coefficients).all()


def test_with_all_examples_in_one_span_the_error_is_still_told():
    days = np.datetime64("2020-01-01", "ns") + 50 * np.arange(8) * np.timedelta64(1, "D")
    ds = simulate_scene((24, 24), dates=list(days), seed=2, cover=0.3)
    hidden = xr.ones_like(ds.B02, dtype=bool)
    hidden[:2] = False
    out = ds.cloudfree.reconstruct(model="area-regression", mask=hidden, uncertainty=True)
    filled = out.provenance == 2
    assert filled.any()
    assert np.isfinite(out.B04_std.values[filled.values]).all()


def test_backscatter_may_be_lazy_where_reflectance_is_not():
    ds = simulate_scene((24, 24), dates=4, seed=2, cover=0.3)
    mixed = ds.assign(VV=ds.VV.chunk(y=10), VH=ds.VH.chunk(y=10))
    whole = ds.cloudfree.reconstruct(model="area-regression")
    np.testing.assert_allclose(
        mixed.cloudfree.reconstruct(model="area-regression").B04, whole.B04, atol=1e-5
    )

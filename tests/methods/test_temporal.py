"""Temporal methods against literals, direct solves and other libraries."""

import numpy as np
import pytest
from scipy import interpolate, optimize

from xcloudfree.methods import interpolation as temporal
from xcloudfree.methods import medians
from xcloudfree.methods.whittaker import penalty_bands, whittaker

DAYS = np.array([0.0, 4.0, 10.0, 11.0, 30.0, 55.0, 58.0, 90.0])


@pytest.fixture
def series():
    rng = np.random.default_rng(1)
    values = rng.uniform(0, 0.5, (8, 3, 4, 5)).astype("float32")
    clear = rng.random((8, 4, 5)) > 0.4
    clear[:, 0, 0], clear[:, 0, 1] = False, True
    return values, clear


def column(values):
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)


def flags(values):
    return np.array(values, bool).reshape(-1, 1, 1)


def test_nearest_date_takes_the_nearer_side_and_the_earlier_of_two():
    values, clear = column([0.1, 0.2, 0.3, 0.4]), flags([1, 0, 1, 0])
    found = temporal.nearest_date(values, clear, np.array([0.0, 5.0, 10.0, 50.0])).ravel()
    np.testing.assert_allclose(found, [0.3, 0.1, 0.1, 0.3])


def test_last_clear_never_looks_ahead():
    values, clear = column([0.1, 0.2, 0.3]), flags([0, 1, 1])
    found = temporal.last_clear(values, clear, np.array([0.0, 5.0, 10.0])).ravel()
    np.testing.assert_allclose(found, [np.nan, np.nan, 0.2])


def test_linear_time_equals_numpy_interpolation_without_the_date_itself(series):
    values, clear = series
    found = temporal.linear_time(values, clear, DAYS)
    for t, y, x in np.ndindex(8, 4, 5):
        use = clear[:, y, x].copy()
        use[t] = False
        for band in range(3):
            expected = np.nan
            if use.any():
                expected = np.interp(DAYS[t], DAYS[use], values[use, band, y, x])
            np.testing.assert_allclose(found[t, band, y, x], expected, atol=1e-6)


def test_a_gap_passes_over_dates_that_are_not_further_away(series):
    values, clear = series
    found = temporal.linear_time(values, clear, DAYS, gap=10)
    for t, y, x in np.ndindex(8, 4, 5):
        use = clear[:, y, x] & (np.abs(DAYS - DAYS[t]) > 10)
        if use.any():
            expected = np.interp(DAYS[t], DAYS[use], values[use, 0, y, x])
            np.testing.assert_allclose(found[t, 0, y, x], expected, atol=1e-6)


def test_window_median_equals_numpy(series):
    values, clear = series
    found = medians.windowed(values, clear, DAYS, np.ones_like(clear), 30)
    for t, y, x in np.ndindex(8, 4, 5):
        use = clear[:, y, x].copy()
        use[t] = False
        near = use & (np.abs(DAYS - DAYS[t]) <= 30)
        if near.any():
            expected = np.median(values[near][..., y, x], axis=0)
            np.testing.assert_allclose(found[t, :, y, x], expected, atol=1e-7)
        assert np.isfinite(found[t, :, y, x]).all() == use.any()


def test_window_without_a_clear_date_is_widened_until_it_holds_one():
    values, clear = column([0.1, 0.2, 0.9]), flags([1, 1, 0])
    found = medians.windowed(values, clear, np.array([0.0, 60.0, 100.0]), ~clear, 30)
    np.testing.assert_allclose(found.ravel(), [np.nan, np.nan, 0.2])  # 30, 45: one of them


def test_geometric_median_is_the_minimum_that_scipy_finds():
    rng = np.random.default_rng(2)
    spectra = rng.uniform(0, 0.5, (7, 4, 6)).astype("float32")
    spectra[2, 1, 3] = np.nan
    found = medians.geometric_median(spectra)
    for pixel in range(6):
        points = spectra[np.isfinite(spectra[..., pixel]).all(1), :, pixel].astype(float)

        def distance(centre, points=points):
            return np.linalg.norm(points - centre, axis=1).sum()

        options = {"xatol": 1e-8, "fatol": 1e-12, "maxiter": 8000}
        best = optimize.minimize(distance, points.mean(0), method="Nelder-Mead", options=options)
        np.testing.assert_allclose(found[:, pixel], best.x, atol=2e-5)


def test_geometric_median_ignores_a_minority_however_far():
    spectra = np.array([[0.1, 0.1]] * 3 + [[9.0, -9.0]] * 2, np.float32)[..., None]
    np.testing.assert_allclose(medians.geometric_median(spectra).ravel(), [0.1, 0.1], atol=1e-6)


def test_geometric_median_of_one_two_and_no_spectra():
    pair = np.array([[0.1], [0.3]], np.float32)[:, :, None]
    np.testing.assert_allclose(medians.geometric_median(pair).ravel(), [0.2])
    np.testing.assert_allclose(medians.geometric_median(pair[:1]).ravel(), [0.1])
    assert np.isnan(medians.geometric_median(pair * np.nan)).all()


def roughness(days):
    """Integral of the squared second divided differences, written out."""
    rows = np.zeros((len(days) - 2, len(days)))
    for i in range(len(days) - 2):
        basis = np.eye(3)
        for j in range(3):
            parabola = interpolate.lagrange(days[i : i + 3], basis[j])
            rows[i, i + j] = np.polyder(parabola, 2)(0) * np.sqrt((days[i + 2] - days[i]) / 2)
    return rows.T @ rows


def test_penalty_is_the_second_derivative_of_parabolas_through_three_dates():
    expected = roughness(DAYS)
    for k, diagonal in enumerate(penalty_bands(DAYS)):
        np.testing.assert_allclose(diagonal, np.diag(expected, k), rtol=1e-8)


@pytest.mark.parametrize("smoothness", [10.0, 3000.0])
def test_whittaker_equals_dense_solves_without_the_date_itself(series, smoothness):
    values, clear = series
    found = whittaker(values, clear, DAYS, smoothness).mean
    penalty = smoothness * roughness(DAYS)
    for t, y, x in np.ndindex(8, 4, 5):
        weight = clear[:, y, x].astype(float)
        weight[t] = 0
        if weight.sum() < 2:
            assert np.isnan(found[t, :, y, x]).all()
            continue
        right = weight[:, None] * values[..., y, x]
        expected = np.linalg.solve(np.diag(weight) + penalty, right)[t]
        np.testing.assert_allclose(found[t, :, y, x], expected, atol=1e-5)


def test_whittaker_keeps_a_straight_line():
    line = column(0.1 + 0.002 * DAYS)
    found = whittaker(line, flags([1, 1, 0, 1, 1, 0, 1, 1]), DAYS, 1e4).mean
    np.testing.assert_allclose(found, line, atol=1e-6)


def test_geometric_median_equals_geomad():
    geomad = pytest.importorskip("geomad")
    rng = np.random.default_rng(5)
    spectra = rng.uniform(0.01, 0.5, (9, 6, 4, 5)).astype("float32")
    np.moveaxis(spectra, 1, -1)[rng.random((9, 4, 5)) < 0.3] = np.nan
    cube = np.moveaxis(spectra, (0, 1), (3, 2)).copy()  # (y, x, band, time)
    expected = geomad.nangeomedian_pcm(cube, eps=1e-7, maxiters=1000, num_threads=1)
    found = medians.geometric_median(spectra.reshape(9, 6, -1)).reshape(6, 4, 5)
    np.testing.assert_allclose(found, np.moveaxis(expected, 2, 0), atol=2e-5)


@pytest.mark.parametrize("smoothness", [125.0, 5000.0])
def test_whittaker_equals_whittaker_eilers(series, smoothness):
    """Dates five days apart, where the usual lambda is the smoothness over 125."""
    library = pytest.importorskip("whittaker_eilers")
    values, clear = series
    found = whittaker(values, clear, np.arange(8) * 5.0, smoothness).mean
    for t, y, x in np.ndindex(8, 4, 5):
        weight = clear[:, y, x].astype(float)
        weight[t] = 0
        if weight.sum() < 2:
            continue
        smoother = library.WhittakerSmoother(
            lmbda=smoothness / 125, order=2, data_length=8, weights=weight.tolist()
        )
        expected = smoother.smooth(np.where(weight > 0, values[:, 1, y, x], 0).tolist())
        np.testing.assert_allclose(found[t, 1, y, x], expected[t], atol=1e-5)


def test_the_deviation_of_the_curve_is_that_of_dense_solves(series):
    values, clear = series
    found = whittaker(values, clear, DAYS, 300.0).deviation
    penalty = 300.0 * roughness(DAYS)
    for t, y, x in np.ndindex(8, 4, 5):
        use = clear[:, y, x]
        others = [i for i in np.flatnonzero(use) if i != t]
        if len(others) < 3:
            assert np.isnan(found[t, :, y, x]).all()
            continue

        def curve(left, use=use, y=y, x=x):
            weight = use.astype(float)
            weight[left] = 0
            system = np.linalg.inv(np.diag(weight) + penalty)
            return (system @ (weight * values[:, 0, y, x]))[left], system[left, left]

        squares = [(values[i, 0, y, x] - curve(i)[0]) ** 2 / (1 + curve(i)[1]) for i in others]
        expected = np.sqrt(np.mean(squares) * (1 + curve(t)[1]))
        np.testing.assert_allclose(found[t, 0, y, x], expected, rtol=1e-4)


def test_the_deviation_of_the_curve_holds_for_what_it_assumes():
    """A random walk of slopes seen through noise: two of three errors within one deviation."""
    rng, days = np.random.default_rng(8), np.arange(40) * 5.0
    noise, smoothness = 0.01, 2000.0
    slope = np.cumsum(rng.normal(0, noise * np.sqrt(5 / smoothness), (40, 1, 60, 60)), axis=0)
    truth = 0.3 + 5 * np.cumsum(slope, axis=0)
    seen = (truth + rng.normal(0, noise, truth.shape)).astype("float32")
    clear = rng.random((40, 60, 60)) < 0.5
    found = whittaker(seen, clear, days, smoothness)
    score = ((found.mean - seen) / found.deviation)[5:-5][~clear[5:-5, None]]
    assert 0.6 < np.nanmean(np.abs(score) < 1) < 0.72

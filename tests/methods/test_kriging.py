"""Ordinary kriging, variograms, regression kriging."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import image_with_gaps
from xcloudfree.core.predictor import added
from xcloudfree.methods.kriging import krige, krige_points
from xcloudfree.methods.regression import moments, sar_features
from xcloudfree.methods.regression_kriging import (
    FEATURE_REACH,
    Drift,
    fit_coefficients,
    regression_krige,
    sar_trend,
)
from xcloudfree.methods.variogram import (
    LAGS,
    Lags,
    Variogram,
    fit_lags,
    fit_variogram,
    variogram_sums,
)

MODELS = [
    Variogram(0.0, 1.0, 9.0, "exponential", (0.01, 0.04), (0.2, 0.3)),
    Variogram(0.2, 0.8, 12.0, "spherical", (0.01, 0.04), (0.2, 0.3)),
]


def semivariance(model, h):
    h = np.asarray(h, float)
    if model.shape == "exponential":
        rise = 1 - np.exp(-3 * h / model.reach)
    else:
        t = np.minimum(h / model.reach, 1)
        rise = 1.5 * t - 0.5 * t**3
    return np.where(h > 0, model.nugget + model.sill * rise, 0)


@pytest.mark.parametrize("model", MODELS)
def test_it_equals_a_direct_solve_in_covariance_form(model):
    points = np.array([[0, 0], [0, 5], [3, 1], [6, 6], [7, 0]])
    values = np.array([[0.1, 0.5], [0.2, 0.1], [0.4, 0.3], [0.3, 0.2], [0.25, 0.6]])
    target = np.array([[3, 3], [10, 2]])
    out = krige_points(points, values, target, model)
    total = model.nugget + model.sill
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    covariance = total - semivariance(model, distance)
    inverse = np.linalg.inv(covariance)
    for place, mean, variance in zip(target, out.mean, out.variance, strict=True):
        c = total - semivariance(model, np.linalg.norm(points - place, axis=-1))
        ones = np.ones(5)
        multiplier = (1 - ones @ inverse @ c) / (ones @ inverse @ ones)
        weights = inverse @ (c + multiplier)
        np.testing.assert_allclose(mean, weights @ values, atol=1e-6)
        expected = total - weights @ c + multiplier
        np.testing.assert_allclose(variance, expected * np.array(model.variance), atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_it_reproduces_its_data_with_variance_zero(model):
    rng = np.random.default_rng(0)
    points = np.argwhere(rng.uniform(size=(12, 12)) < 0.5)
    values = rng.uniform(size=(len(points), 2))
    out = krige_points(points, values, points, model)
    np.testing.assert_allclose(out.mean, values, atol=1e-9)
    np.testing.assert_allclose(out.variance, 0, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_it_agrees_with_pykrige(model):
    ok = pytest.importorskip("pykrige.ok")
    rng = np.random.default_rng(3)
    places = rng.permutation(np.argwhere(np.ones((15, 15), bool)))
    points, targets = places[:60], places[60:100]
    values = rng.uniform(size=(60, 2))
    ours = krige_points(points, values, targets, model, neighbours=60)
    for band in range(2):
        scale = model.variance[band]
        theirs = ok.OrdinaryKriging(
            *points.T.astype(float),
            values[:, band],
            variogram_model=model.shape,
            variogram_parameters={
                "psill": model.sill * scale, "range": model.reach, "nugget": model.nugget * scale
            },
        )  # fmt: skip
        mean, variance = theirs.execute("points", *targets.T.astype(float))
        np.testing.assert_allclose(ours.mean[:, band], mean, atol=1e-6)
        np.testing.assert_allclose(ours.variance[:, band], variance, atol=1e-6)


def test_missing_neighbours_change_nothing_for_the_others():
    points = np.array([[0, 0], [0, 4], [0, 100]])
    values = np.array([[0.1], [0.3], [0.9]])
    model = Variogram(0.1, 0.9, 20.0, variance=(1.0,), mean=(0.5,))
    target = np.array([[0, 1], [50, 50]])
    near = krige_points(points[:2], values[:2], target[:1], model)
    out = krige_points(points, values, target, model, neighbours=3, radius=10)
    np.testing.assert_allclose(out.mean[0], near.mean[0], atol=1e-12)
    np.testing.assert_allclose(out.variance[0], near.variance[0], atol=1e-12)
    assert (out.mean[1, 0], out.variance[1, 0]) == (0.5, 1.0)  # nothing near: the scene's mean


def test_only_hidden_and_wanted_pixels_are_filled():
    image, clear = image_with_gaps(0, 40, 2)
    wanted = np.zeros(clear.shape, bool)
    wanted[:, :20] = True
    out = krige(image, clear, MODELS[0], wanted, radius=8)
    np.testing.assert_array_equal(out.mean[:, clear], image[:, clear])
    assert (out.variance[:, clear] == 0).all()
    assert np.isnan(out.mean[:, ~clear & ~wanted]).all()
    assert (out.variance[:, ~clear & wanted] > 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 4), st.tuples(*[st.integers(0, 39)] * 4), st.sampled_from(MODELS))
def test_any_window_with_its_halo_equals_the_whole(seed, corners, model):
    image, clear = image_with_gaps(seed, 40, 2)
    y0, y1, x0, x1 = *sorted(corners[:2]), *sorted(corners[2:])
    whole = krige(image, clear, model, radius=7)
    top, left = max(y0 - 7, 0), max(x0 - 7, 0)
    area = slice(top, y1 + 8), slice(left, x1 + 8)
    part = krige(image[:, *area], clear[area], model, radius=7)
    for one, other in zip(part, whole, strict=True):
        core = one[:, y0 - top : y1 + 1 - top, x0 - left : x1 + 1 - left]
        np.testing.assert_array_equal(core, other[:, y0 : y1 + 1, x0 : x1 + 1])


@pytest.mark.parametrize("shape", ["exponential", "spherical"])
@pytest.mark.parametrize(("nugget", "sill", "reach"), [(0.1, 0.7, 25.0), (0.0, 1.0, 60.0)])
def test_the_fit_finds_the_model_behind_exact_semivariances(shape, nugget, sill, reach):
    h = np.array(LAGS, float)
    true = Variogram(nugget, sill, reach, shape)
    model = fit_lags(Lags(h, semivariance(true, h), np.full(len(h), 50.0)), shape)
    np.testing.assert_allclose(
        (model.nugget, model.sill, model.reach), (nugget, sill, reach), rtol=1e-3, atol=1e-5
    )


def test_sums_equal_those_over_all_pairs_one_by_one():
    image, clear = image_with_gaps(1, 16, 2)
    image[1, 0, :3] = np.nan
    sums = variogram_sums(image, clear)
    usable = clear & ~np.isnan(image).any(0)
    assert sums.pixels == usable.sum()
    np.testing.assert_allclose(sums.total, image[:, usable].astype(float).sum(1), rtol=1e-6)
    for lag in (0, 3, 7):
        step = LAGS[lag]
        slant = max(round(step / 2**0.5), 1)
        count, length, square = 0, 0.0, np.zeros(2)
        for y, x in np.argwhere(usable):
            for dy, dx in ((0, step), (step, 0), (slant, slant), (slant, -slant)):
                v, u = y + dy, x + dx
                if v < 16 and 0 <= u < 16 and usable[v, u]:
                    count, length = count + 1, length + np.hypot(dy, dx)
                    square += (image[:, y, x].astype(float) - image[:, v, u]) ** 2
        assert sums.pairs[lag] == count
        assert sums.distances[lag] == pytest.approx(length)
        np.testing.assert_allclose(sums.differences[lag], square, rtol=1e-5)  # in whole steps


def test_the_model_of_the_scene_follows_from_the_sums_of_its_blocks():
    image, clear = image_with_gaps(2, 160, 2)
    image = image + np.linspace(0, 0.5, 160, dtype="float32")
    parts = []
    for y0, y1 in ((0, 70), (70, 160)):
        for x0, x1 in ((0, 31), (31, 100), (100, 160)):
            top, left = max(y0 - 64, 0), max(x0 - 64, 0)
            area = slice(top, y1 + 64), slice(left, x1 + 64)
            core = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
            parts.append(variogram_sums(image[:, *area], clear[area], core))
    total, whole = added(parts), variogram_sums(image, clear)
    for one, other in zip(total, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert fit_variogram(total) == fit_variogram(whole)


def test_the_variance_tells_the_error():
    """A field with an exponential covariance, cut out of a larger one to leave no period."""
    size, rng = 256, np.random.default_rng(4)
    step = np.fft.fftfreq(size, 1 / size)
    covariance = np.exp(-3 * np.hypot(step[:, None], step) / 30)
    power = np.maximum(np.fft.fft2(covariance).real, 0)
    noise = np.fft.fft2(rng.normal(size=(size, size)))
    field = np.fft.ifft2(noise * np.sqrt(power)).real[None, :160, :160] * 0.1 + 0.3
    clear = np.ones((160, 160), bool)
    for y, x in ((20, 20), (20, 90), (90, 20), (90, 90)):
        clear[y : y + 40, x : x + 40] = False
    model = fit_variogram(variogram_sums(field, clear))
    assert 15 < model.reach < 60
    out = krige(field, clear, model)
    error = (out.mean - field)[0, ~clear] / np.sqrt(out.variance[0, ~clear])
    assert 0.8 < np.sqrt((error**2).mean()) < 1.25


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_scene_is_filled_with_its_constant_and_no_variance(value):
    image, clear = np.full((2, 40, 40), value, np.float32), image_with_gaps(0, 40, 2)[1]
    out = krige(image, clear, fit_variogram(variogram_sums(image, clear)))
    np.testing.assert_allclose(out.mean, value, atol=1e-6)
    np.testing.assert_allclose(out.variance, 0, atol=1e-12)


def test_a_scene_without_clear_pixels_stays_empty():
    image, clear = np.zeros((2, 40, 40), np.float32), np.zeros((40, 40), bool)
    out = krige(image, clear, fit_variogram(variogram_sums(image, clear)))
    assert np.isnan(out.mean).all()


def radar(seed, size=40):
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-15, -5, (size, size)), rng.uniform(-24, -12, (size, size))])


def drift(image, clear, backscatter, penalty=1e-9):
    shown = np.where(clear, image, np.nan)
    coefficients = fit_coefficients(moments(sar_features(backscatter), shown), penalty=penalty)
    left = image - sar_trend(backscatter, coefficients)
    return Drift(coefficients, fit_variogram(variogram_sums(left, clear)))


def test_what_backscatter_explains_is_found_far_from_any_clear_pixel():
    backscatter, clear = radar(0), np.zeros((40, 40), bool)
    clear[:, :12] = True
    image = np.stack([0.5 + backscatter[0] / 50, 0.7 + (backscatter[0] - backscatter[1]) / 100])
    out = regression_krige(image, backscatter, clear, drift(image, clear, backscatter), radius=4)
    np.testing.assert_allclose(out.mean, image, atol=2e-4)


def test_what_backscatter_leaves_is_kriged():
    backscatter, (_, clear) = radar(1), image_with_gaps(1, 40, 2)
    smooth = 0.2 + 0.1 * np.sin(np.arange(40) / 9.0)[None, :, None] * np.ones((1, 1, 40))
    image = smooth + backscatter[:1] / 50
    found = drift(image, clear, backscatter)
    out = regression_krige(image, backscatter, clear, found)
    trend = sar_trend(backscatter, found.coefficients)
    error, alone = (np.abs(e - image)[:, ~clear].mean() for e in (out.mean, trend))
    assert error < alone / 4
    assert (out.variance[:, clear] == 0).all()
    np.testing.assert_array_equal(out.mean[:, clear], image[:, clear].astype("float32"))


def test_without_backscatter_there_is_no_estimate():
    backscatter, (image, clear) = radar(2), image_with_gaps(3, 40, 2)
    found = drift(image, clear, backscatter)
    backscatter[:, 10:20, 10:20] = np.nan
    out = regression_krige(image, backscatter, clear, found)
    blind = np.zeros(clear.shape, bool)
    blind[10:20, 10:20] = True
    assert np.isnan(out.mean[:, blind & ~clear]).all()
    assert np.isfinite(out.mean[:, ~blind | clear]).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 3), st.tuples(*[st.integers(0, 39)] * 4))
def test_any_window_of_regression_kriging_equals_the_whole(seed, corners):
    (image, clear), backscatter = image_with_gaps(seed, 40, 2), radar(seed)
    found = drift(image, clear, backscatter)
    halo = 6 + FEATURE_REACH
    y0, y1, x0, x1 = *sorted(corners[:2]), *sorted(corners[2:])
    whole = regression_krige(image, backscatter, clear, found, radius=6)
    top, left = max(y0 - halo, 0), max(x0 - halo, 0)
    area = slice(top, y1 + halo + 1), slice(left, x1 + halo + 1)
    part = regression_krige(image[:, *area], backscatter[:, *area], clear[area], found, radius=6)
    for one, other in zip(part, whole, strict=True):
        core = one[:, y0 - top : y1 + 1 - top, x0 - left : x1 + 1 - left]
        np.testing.assert_array_equal(core, other[:, y0 : y1 + 1, x0 : x1 + 1])


@pytest.mark.slow
def test_a_large_scene_takes_less_than_a_minute():
    image, clear = image_with_gaps(0, 1024, 10)
    start = time.process_time()
    krige(image, clear, fit_variogram(variogram_sums(image, clear)))
    assert time.process_time() - start < 60

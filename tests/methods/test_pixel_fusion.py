"""Fusion of optical and SAR pixels: component substitution, wavelets, local regression."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcloudfree.core.box_sums import WIDTHS
from xcloudfree.methods.pixel_fusion import (
    CENTRE,
    DETAIL_REACH,
    PENALTY,
    REGRESSION_REACH,
    SPECKLE,
    backscatter_details,
    backscatter_intensity,
    detail_sums,
    fit_detail_gains,
    fit_substitution,
    inject_details,
    joint_sums,
    local_regression,
    substitute,
    wavelet_details,
)
from xcloudfree.methods.regression import local_mean


def scene(seed, size=40, bands=3):
    """Bands that share two patterns; backscatter that knows one of them."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, size, size))
    slopes = rng.uniform(0.01, 0.05, (bands, 2)) * [2, 1]
    image = 0.3 + np.tensordot(slopes, np.stack([first, second]), 1)
    radar = np.stack([-11 - first, -18 - first]) + rng.normal(0, 0.5, (2, size, size))
    blobs = rng.uniform(size=(size // 8, size // 8)) < 0.4
    return image.astype("float32"), radar, ~np.kron(blobs, np.ones((8, 8), bool))


def sums(image, radar, clear):
    return joint_sums(np.concatenate([image, backscatter_intensity(radar)[None]]), clear)


def test_ihs_gives_the_intensity_of_backscatter_and_keeps_the_differences_of_bands():
    image, radar, clear = scene(0)
    out = substitute(image, radar, fit_substitution(sums(image, radar, clear), "ihs"))
    intensity, seen = out.mean(0)[clear], image.mean(0)[clear]
    assert intensity.mean() == pytest.approx(seen.mean(), abs=1e-6)
    assert intensity.std() == pytest.approx(seen.std(), abs=1e-6)
    radar_there = backscatter_intensity(radar)[clear]
    assert np.corrcoef(intensity, radar_there)[0, 1] == pytest.approx(-1, abs=1e-6)
    assert np.corrcoef(seen, radar_there)[0, 1] < 0  # the sign is that of the scene
    np.testing.assert_allclose(np.diff(out, axis=0), np.diff(image, axis=0), atol=1e-6)


def test_pca_replaces_the_first_component_and_keeps_the_others():
    image, radar, clear = scene(1)
    out = substitute(image, radar, fit_substitution(sums(image, radar, clear), "pca"))
    pixels = image[:, clear].T.astype(float)
    axes = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)[2]
    before, after = (a.reshape(3, -1).T.astype(float) @ axes.T for a in (image, out))
    np.testing.assert_allclose(after[:, 1:], before[:, 1:], atol=1e-5)
    first = after[clear.ravel(), 0]
    assert abs(np.corrcoef(first, backscatter_intensity(radar)[clear])[0, 1]) > 1 - 1e-6
    assert first.std() == pytest.approx(before[clear.ravel(), 0].std(), rel=1e-5)


@pytest.mark.parametrize("component", ["ihs", "pca"])
def test_by_regression_backscatter_predicts_the_component_by_least_squares(component):
    image, radar, clear = scene(2)
    fit = fit_substitution(sums(image, radar, clear), component, "regression")
    target = np.tensordot(fit.weights, image[:, clear].astype(float), 1)
    slope, offset = np.polyfit(backscatter_intensity(radar)[clear], target, 1)
    assert (fit.gain, fit.offset) == pytest.approx((slope, offset), rel=1e-4)  # in whole steps


def test_sums_of_blocks_give_the_fit_of_the_scene():
    image, radar, clear = scene(3)
    parts = [
        sums(image[:, a], radar[:, a], clear[a]) for a in (slice(0, 7), slice(7, 29), slice(29, 40))
    ]
    one, other = (fit_substitution(s, "pca") for s in (sum(parts), sums(image, radar, clear)))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_vary_is_not_substituted():
    image, radar, clear = scene(4)
    flat = np.full_like(radar, -12.0)
    assert fit_substitution(sums(image, flat, clear), "ihs").gain == 0
    nothing = np.zeros(clear.shape, bool)
    assert fit_substitution(sums(image, radar, nothing), "pca").gain == 0


def test_without_backscatter_there_is_no_result():
    image, radar, clear = scene(5)
    fit = fit_substitution(sums(image, radar, clear), "ihs")
    radar[1, 3, 4] = np.nan
    out = substitute(image, radar, fit)
    assert np.isnan(out[:, 3, 4]).all()
    assert np.isnan(out).sum() == 3


def test_details_and_remainder_add_up_to_the_image():
    plane = np.random.default_rng(0).normal(size=(30, 41))
    np.testing.assert_allclose(wavelet_details(plane, 4).sum(0), plane, atol=1e-12)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_smooth_remainder_is_that_of_pywavelets(level):
    pywt = pytest.importorskip("pywt")
    low = np.array([0, 1, 4, 6, 4, 1]) / 16
    bank = pywt.Wavelet("spline", filter_bank=[low, np.roll(low, 1), low, low])
    plane = np.random.default_rng(1).normal(size=(64, 64))
    spot = np.zeros((64, 64))
    spot[32, 32] = 1

    def theirs(image):
        for axis in (0, 1):
            image = pywt.swt(image, bank, level, axis=axis, trim_approx=True)[0]
        return image

    shift = 32 - np.array(np.unravel_index(theirs(spot).argmax(), spot.shape))
    ours, other = wavelet_details(plane, level)[-1], np.roll(theirs(plane), shift, (0, 1))
    inner = slice(20, -20)
    np.testing.assert_allclose(ours[inner, inner], other[inner, inner], atol=1e-12)


def test_gains_bring_the_details_of_backscatter_to_those_of_the_bands():
    image, radar, clear = scene(6, size=96)
    clear[:] = True
    clear[:20, :20] = False
    table = detail_sums(image, radar, clear)
    gains = fit_detail_gains(table)
    inner = np.ones((96, 96), bool)
    inner[: 20 + DETAIL_REACH, : 20 + DETAIL_REACH] = False
    source = backscatter_details(radar)
    for band in range(3):
        details = wavelet_details(image[band])[:-1]
        for level in range(3):
            a, b = details[level][inner], source[level][inner]
            expected = np.sign((a * b).sum()) * np.sqrt((a**2).sum() / (b**2).sum())
            assert gains[band, level] == pytest.approx(expected, rel=1e-4)
    regressed = fit_detail_gains(table, "regression")
    assert (np.abs(regressed) < np.abs(gains)).all()


def test_details_are_found_again_under_a_cloud():
    """Bands that follow backscatter without noise: what the fill lost comes back."""
    rng = np.random.default_rng(7)
    radar = np.stack([rng.uniform(-13, -9, (80, 80)), rng.uniform(-20, -16, (80, 80))])
    image = (0.3 - backscatter_intensity(radar)[None] / 100).astype("float32")
    clear = np.ones((80, 80), bool)
    clear[20:50, 20:50] = False
    gains = fit_detail_gains(detail_sums(image, radar, clear))
    base = np.stack([wavelet_details(p)[-1] for p in image])
    np.testing.assert_allclose(inject_details(base, radar, gains), image, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.tuples(*[st.integers(0, 39)] * 4))
def test_any_window_of_the_details_equals_the_whole(seed, corners):
    _, radar, _ = scene(seed)
    y0, y1, x0, x1 = *sorted(corners[:2]), *sorted(corners[2:])
    top, left = max(y0 - DETAIL_REACH, 0), max(x0 - DETAIL_REACH, 0)
    part = backscatter_details(radar[:, top : y1 + DETAIL_REACH + 1, left : x1 + DETAIL_REACH + 1])
    core = part[:, y0 - top : y1 + 1 - top, x0 - left : x1 + 1 - left]
    np.testing.assert_array_equal(core, backscatter_details(radar)[:, y0 : y1 + 1, x0 : x1 + 1])


def test_detail_sums_of_blocks_add_up_to_those_of_the_scene():
    image, radar, clear = scene(8, size=80)
    clear[40:, :] = True
    total = 0
    for y0, y1 in ((0, 33), (33, 80)):
        top, bottom = max(y0 - DETAIL_REACH, 0), min(y1 + DETAIL_REACH, 80)
        area = slice(top, bottom)
        core = (slice(y0 - top, y1 - top), slice(None))
        total = total + detail_sums(image[:, area], radar[:, area], clear[area], core)
    np.testing.assert_allclose(total, detail_sums(image, radar, clear), rtol=1e-10)
    assert total[0].min() > 0


def test_local_regression_equals_a_weighted_ridge_solved_directly():
    image, radar, clear = scene(9)
    widths = (5, 11, 21)
    out = local_regression(image, radar, clear, widths=widths)
    smooth = np.stack([local_mean(s, SPECKLE) - c for s, c in zip(radar, CENTRE, strict=True)])
    rows, columns = np.indices(clear.shape)
    for y, x in ((0, 0), (13, 22), (39, 5)):
        distance = np.maximum(abs(rows - y), abs(columns - x))
        weight = clear * sum((5 / w) ** 4 * (distance <= w // 2) for w in widths)
        w, z, target = weight[clear], smooth[:, clear], image[:, clear].astype(float)
        middle, level = (z * w).sum(1) / w.sum(), (target * w).sum(1) / w.sum()
        z, target = z - middle[:, None], target - level[:, None]
        normal = (z * w) @ z.T / w.sum() + PENALTY * np.eye(2)
        slope = np.linalg.solve(normal, (z * w) @ target.T / w.sum())
        expected = level + (smooth[:, y, x] - middle) @ slope
        np.testing.assert_allclose(out[:, y, x], expected, atol=1e-6)


def test_local_regression_follows_a_relation_that_changes_over_the_scene():
    rng = np.random.default_rng(10)
    radar = np.stack([rng.uniform(-15, -7, (60, 160)), rng.uniform(-22, -14, (60, 160))])
    slope = np.where(np.arange(160) < 80, 0.01, -0.02)
    smooth = np.stack([local_mean(s, SPECKLE) for s in radar])
    image = (0.4 + slope * (smooth[:1] + 11)).astype("float32")
    clear = np.ones((60, 160), bool)
    clear[20:40, 20:40] = clear[20:40, 120:140] = False
    out = local_regression(image, radar, clear, penalty=1e-6)
    assert np.abs(out - image)[:, ~clear].mean() < 0.003
    assert np.abs(image - 0.4)[:, ~clear].mean() > 0.008


def test_local_regression_is_empty_where_nothing_is_known():
    image, radar, clear = scene(11)
    radar[0, 5, 6] = np.nan
    clear[:, 20:] = False
    out = local_regression(image, radar, clear, widths=(3, 9))
    assert np.isnan(out[:, 5, 6]).all()
    assert np.isnan(out[..., 24:]).all()
    assert np.isnan(local_regression(image, radar, np.zeros_like(clear))).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.tuples(*[st.integers(0, 39)] * 4))
def test_any_window_of_local_regression_equals_the_whole(seed, corners):
    image, radar, clear = scene(seed)
    radar[:, 10:12, 30:] = np.nan
    halo, widths = 6, (5, 11)
    y0, y1, x0, x1 = *sorted(corners[:2]), *sorted(corners[2:])
    whole = local_regression(image, radar, clear, widths=widths)
    top, left = max(y0 - halo, 0), max(x0 - halo, 0)
    area = slice(top, y1 + halo + 1), slice(left, x1 + halo + 1)
    part = local_regression(image[:, *area], radar[:, *area], clear[area], widths=widths)
    core = part[:, y0 - top : y1 + 1 - top, x0 - left : x1 + 1 - left]
    np.testing.assert_array_equal(core, whole[:, y0 : y1 + 1, x0 : x1 + 1])


def test_the_stated_reach_is_that_of_the_widest_window():
    assert max(WIDTHS) // 2 + SPECKLE // 2 == REGRESSION_REACH

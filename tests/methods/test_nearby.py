"""What is visible nearby moves an estimate: closed forms, and a series where the truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from xcloudfree.methods import nearby

SIZE = 2 * nearby.REACH + 21


def plane(value):
    return np.full((1, SIZE, SIZE), value, np.float32)


def holed(radius=2):
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    return np.hypot(y, x) > radius


def test_an_error_that_is_the_same_everywhere_is_taken_away():
    added = nearby.correction(plane(0.25), plane(0.22), plane(0.02), holed())
    # two means, each believed to 1 / (1 + SPARSE): what they leave is SPARSE squared
    assert added[0, SIZE // 2, SIZE // 2] == pytest.approx(0.03, rel=0.02)


def test_a_single_visible_pixel_counts_as_the_normalised_convolution_says():
    shown = np.zeros((SIZE, SIZE), bool)
    middle = SIZE // 2
    shown[middle, middle] = True
    added = nearby.correction(plane(0.3), plane(0.2), plane(0.1), shown)
    left, expected = 1.0, np.zeros((SIZE, SIZE))
    for width in nearby.WIDTHS:
        one = ndimage.gaussian_filter(shown.astype(float), width, mode="constant", truncate=3)
        mean = left * one / (one + nearby.SPARSE)
        left -= mean[middle, middle]
        expected += mean
    np.testing.assert_allclose(added[0], 0.1 * expected, atol=1e-6)


def test_nothing_visible_changes_nothing_and_no_estimate_stays_none():
    estimate = plane(0.2)
    estimate[0, 3, 3] = np.nan
    added = nearby.correction(plane(0.9), estimate, plane(0.1), np.zeros((SIZE, SIZE), bool))
    assert np.isnan(added[0, 3, 3])
    assert (np.nan_to_num(added) == 0).all()


def test_cloud_that_the_mask_missed_counts_as_a_few_deviations_at_most():
    cloudy = nearby.correction(plane(9.0), plane(0.2), plane(0.01), holed())
    assert cloudy.max() <= 1.01 * nearby.LARGEST * 0.01


@settings(max_examples=20, deadline=None)
@given(row=st.integers(0, SIZE - 1), column=st.integers(0, SIZE - 1), seed=st.integers(0, 9))
def test_pixels_beyond_the_reach_have_no_influence(row, column, seed):
    rng = np.random.default_rng(seed)
    values, shown = rng.random((1, SIZE, SIZE), np.float32), rng.random((SIZE, SIZE)) > 0.4
    before = nearby.correction(values, plane(0.5), plane(0.2), shown)
    values[0, row, column] += 0.5
    shown[row, column] ^= True
    after = nearby.correction(values, plane(0.5), plane(0.2), shown)
    y, x = np.nonzero((before != after)[0])
    assert max(np.abs(y - row).max(initial=0), np.abs(x - column).max(initial=0)) <= nearby.REACH


def test_values_under_clouds_have_no_influence():
    rng = np.random.default_rng(0)
    values = rng.random((1, SIZE, SIZE), np.float32)
    shown = rng.random((SIZE, SIZE)) > 0.4
    other = np.where(shown, values, np.nan)
    first = nearby.correction(values, plane(0.5), plane(0.2), shown)
    np.testing.assert_array_equal(first, nearby.correction(other, plane(0.5), plane(0.2), shown))

"""Inverse-distance weighting."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from tests.builders import image_with_gaps
from xcloudfree.methods.idw import (
    REACH,
    inverse_distance_weighting,
    nearest_points,
)


def test_a_gap_equals_the_direct_sum_over_its_neighbours():
    image = np.array([[[0.1, 0.2, 9, 9, 0.5], [9, 9, 9, 9, 0.3], [0.4, 9, 9, 9, 9]]])
    clear = image[0] < 1
    out = inverse_distance_weighting(image, clear)
    places = [(0, 0), (0, 1), (0, 4), (1, 4), (2, 0)]
    for y, x in np.argwhere(~clear):
        weights = [((y - v) ** 2 + (x - u) ** 2) ** -1.0 for v, u in places]
        expected = sum(w * image[0, v, u] for w, (v, u) in zip(weights, places, strict=True))
        assert out[0, y, x] == pytest.approx(expected / sum(weights), abs=1e-6)
    np.testing.assert_array_equal(out[0][clear], image[0][clear].astype("float32"))


def test_only_the_nearest_count():
    image = np.full((1, 1, 20), 9.0)
    image[0, 0, [0, 1, 2, 16, 19]] = [0.1, 0.2, 0.3, 0.4, 0.5]
    out = inverse_distance_weighting(image, image[0] < 1, neighbours=2, power=1)
    assert out[0, 0, 5] == pytest.approx((0.3 / 3 + 0.2 / 4) / (1 / 3 + 1 / 4), abs=1e-6)


def test_it_agrees_with_an_exhaustive_interpolation_of_all_clear_pixels():
    image, clear = image_with_gaps(1, size=16)
    count = int(clear.sum())
    out = inverse_distance_weighting(image, clear, neighbours=count)
    weights = cdist(np.argwhere(~clear), np.argwhere(clear)) ** -2.0
    every = image[:, clear] @ (weights / weights.sum(1, keepdims=True)).T
    np.testing.assert_allclose(out[:, ~clear], every, atol=1e-6)


def test_within_the_radius_fewer_serve_then_the_nearest_alone_then_nothing():
    image = np.full((2, 1, 40), np.nan)
    image[:, 0, 0], image[:, 0, 1] = (0.2, 0.3), (0.4, 0.5)
    clear = np.ones((1, 40), bool)  # NaN hides a pixel as well
    out = inverse_distance_weighting(image, clear, radius=4, nearest=10)
    both = (0.2 / 16 + 0.4 / 9) / (1 / 16 + 1 / 9)
    np.testing.assert_allclose(out[:, 0, 4], [both, both + 0.1], atol=1e-6)
    np.testing.assert_allclose(out[:, 0, [5, 6, 11]].T, [[0.4, 0.5]] * 3, atol=1e-6)
    assert np.isnan(out[:, 0, 12:]).all()


def test_without_clear_pixels_nothing_is_filled():
    out = inverse_distance_weighting(np.zeros((2, 3, 3)), np.zeros((3, 3), bool))
    assert np.isnan(out).all()


def test_only_wanted_pixels_are_filled():
    image, clear = image_with_gaps(2)
    wanted = np.zeros(clear.shape, bool)
    wanted[:20] = True
    out = inverse_distance_weighting(image, clear, wanted)
    assert np.isnan(out[:, 20:][:, ~clear[20:]]).all()
    np.testing.assert_array_equal(out[:, :20], inverse_distance_weighting(image, clear)[:, :20])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.tuples(*[st.integers(0, 47)] * 4))
def test_any_window_with_its_halo_equals_the_whole(seed, corners):
    image, clear = image_with_gaps(seed)
    y0, y1, x0, x1 = *sorted(corners[:2]), *sorted(corners[2:])
    options = {"radius": 6, "nearest": 9}
    whole = inverse_distance_weighting(image, clear, **options)
    top, left = max(y0 - 9, 0), max(x0 - 9, 0)
    area = slice(top, y1 + 10), slice(left, x1 + 10)
    part = inverse_distance_weighting(image[:, *area], clear[area], **options)
    core = slice(y0 - top, y1 + 1 - top), slice(x0 - left, x1 + 1 - left)
    np.testing.assert_array_equal(part[:, *core], whole[:, y0 : y1 + 1, x0 : x1 + 1])


def test_the_halo_is_needed_and_the_stated_reach_suffices():
    image = np.full((1, 1, 200), np.nan)
    image[0, 0, 0] = 0.2
    out = inverse_distance_weighting(image, image[0] < 1)
    assert out[0, 0, REACH] == pytest.approx(0.2)
    assert np.isnan(out[0, 0, REACH + 1])


def test_among_equally_near_points_the_choice_does_not_depend_on_the_place():
    points = np.argwhere(np.ones((9, 9), bool))
    found = []
    for shift in (0, 1000, 100_000):
        (batch,) = nearest_points(points + shift, np.array([[4, 4]]) + shift, 7)
        found.append(points[batch.number[0]].tolist())
    assert found[0] == found[1] == found[2]
    shuffled = points[np.random.default_rng(0).permutation(len(points))]
    (batch,) = nearest_points(shuffled, np.array([[4, 4]]), 7)
    assert shuffled[batch.number[0]].tolist() == found[0]


@pytest.mark.slow
def test_a_large_scene_takes_seconds():
    image, clear = image_with_gaps(0, size=1024, bands=10, share=0.4)
    start = time.process_time()
    out = inverse_distance_weighting(image, clear)
    assert time.process_time() - start < 15
    assert np.isfinite(out).all()

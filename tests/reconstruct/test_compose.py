"""The seamless join of reconstruction and observation."""

import numpy as np
import pytest

from xcloudfree.reconstruct.compose import feather


def strip(length, clear):
    mask = np.zeros((9, length), bool)
    mask[:, :clear] = True
    return mask


@pytest.mark.parametrize("margin", [0, 2])
def test_a_constant_difference_fades_linearly_from_the_border(margin):
    """On a straight border the share of clear pixels falls linearly, and so does the correction."""
    radius, clear = 4, strip(40, 20)
    guess = np.full((2, 9, 40), 0.1, np.float32)
    seen = guess + np.array([0.2, -0.05], np.float32)[:, None, None]
    out = feather(guess, seen, clear, radius, margin)
    inside = np.arange(1, 21) + margin  # distance from the last trusted pixel
    share = np.clip((radius + 1 - inside) / (2 * radius + 1), 0, 1)
    for band, offset in enumerate((0.2, -0.05)):
        expected = 0.1 + offset * np.minimum(1, 2 * share)
        np.testing.assert_allclose(out[band, 4, 20:], expected, atol=1e-6)


def test_the_rim_beside_a_cloud_is_not_carried_inwards():
    clear = strip(40, 20)
    guess = np.full((1, 9, 40), 0.1, np.float32)
    seen = guess.copy()
    seen[..., 17:20] = 0.3  # thin cloud that the mask misses
    np.testing.assert_array_equal(feather(guess, seen, clear, 8, 3), guess)
    assert feather(guess, seen, clear, 8, 2)[0, 4, 20] > 0.1


def test_where_prediction_and_observation_agree_nothing_changes():
    rng = np.random.default_rng(0)
    guess = rng.uniform(0, 1, (3, 30, 30)).astype("float32")
    clear = rng.uniform(size=(30, 30)) > 0.5
    np.testing.assert_array_equal(feather(guess, guess, clear, 8), guess)


def test_cloud_never_leaks_into_the_result():
    clear = strip(40, 20)
    guess = np.full((1, 9, 40), 0.1, np.float32)
    seen = np.where(clear, np.float32(0.1), np.float32(5.0))[None]
    np.testing.assert_allclose(feather(guess, seen, clear, 8), 0.1, atol=1e-6)


@pytest.mark.parametrize("radius", [0, 8])
def test_nothing_clear_or_no_radius_leaves_the_prediction(radius):
    guess = np.full((1, 5, 5), 0.3, np.float32)
    clear = np.zeros((5, 5), bool) if radius else np.ones((5, 5), bool)
    np.testing.assert_array_equal(feather(guess, guess + 1, clear, radius), guess)

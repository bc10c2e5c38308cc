"""The seamless join of reconstruction and observation."""

import numpy as np
import pytest

from xcloudfree.core.predictor import Prediction
from xcloudfree.core.radiometry import Calibration
from xcloudfree.reconstruct.compose import Compose, Provenance, feather


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


def composed(stored, hidden, mean):
    """Values and flags of one image, of which the block writes all."""
    rule = Calibration(1e-4, -0.1, 0)
    compose = Compose(rule, (0, 1), "feather", uncertainty=False, flags=False)
    core = slice(0, hidden.shape[0]), slice(0, hidden.shape[1])
    valid = rule.valid(stored).all(0)
    return compose.image(stored, hidden & valid, valid, Prediction(mean), core)


def test_what_is_under_the_cloud_has_no_part_in_the_join_and_flags_say_what_was_done():
    rng = np.random.default_rng(3)
    stored = rng.integers(1500, 3000, (2, 30, 40), np.uint16)
    hidden = np.zeros((30, 40), bool)
    hidden[:, 22:] = True
    stored[:, 5, 3:6] = 0  # no data in the clear, and under the cloud
    stored[1, 6, 30] = 0
    mean = rng.uniform(0.1, 0.2, (2, 30, 40)).astype("float32")
    mean[:, 9, 35] = np.nan
    out, flags = composed(stored, hidden, mean)
    other = np.where(hidden & (stored > 0), np.uint16(9000), stored)
    again, _ = composed(other, hidden, mean)
    filled = flags == Provenance.RECONSTRUCTED
    np.testing.assert_array_equal(out[:, filled], again[:, filled])
    expected = np.where(hidden, Provenance.RECONSTRUCTED, Provenance.OBSERVED)
    expected[9, 35] = Provenance.UNRECONSTRUCTABLE
    expected[5, 3:6] = expected[6, 30] = Provenance.NODATA
    np.testing.assert_array_equal(flags, expected)
    seen = flags == Provenance.OBSERVED
    np.testing.assert_array_equal(out[:, seen], stored[:, seen])
    assert (out[:, 9, 35] == 0).all()

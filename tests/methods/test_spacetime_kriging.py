"""Kriging in space and time, against systems written out by hand and against plain kriging."""

import numpy as np
import pytest

from xcloudfree import methods
from xcloudfree.core.predictor import Series
from xcloudfree.methods.spacetime_kriging import SpacetimeVariograms

METHOD = methods.get("spacetime-kriging")


def variograms(bands=1, variance=0.01):
    """Sills of space and time that need a product term: they add up to more than 1."""
    return SpacetimeVariograms(
        np.array([0.1, 0.05]),
        np.array([0.7, 0.55]),
        np.array([9.0, 40.0]),
        np.full(bands, variance),
    )


def block(values, hidden, days):
    values = np.asarray(values, np.float32)
    return Series(values, hidden, hidden, days=np.asarray(days, float))


def by_hand(place, values, target):
    """Ordinary kriging of one target, with the covariance of the product-sum model."""
    found = variograms()

    def along(distance, axis):
        rise = 1 - np.exp(-3 * distance / found.reach[axis])
        return np.where(distance > 0, found.nugget[axis] + found.sill[axis] * rise, 0)

    sills = found.nugget + found.sill
    product = (sills.sum() - 1) / sills.prod()

    def semivariance(one, other):
        s = along(np.hypot(*(one - other)[..., 1:].T).T, 1 - 1)
        t = along(np.abs(one - other)[..., 0], 1)
        return s + t - product * s * t

    count = len(place)
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = semivariance(place[:, None], place[None])
    system[count, count] = 0
    right = np.append(semivariance(place, target), 1)
    answer = np.linalg.solve(system, right)
    return answer[:count] @ values, 0.01 * answer @ right


def test_a_hidden_pixel_equals_the_system_written_out():
    rng = np.random.default_rng(1)
    days = [0, 5, 12]
    values = rng.uniform(0.05, 0.4, (3, 1, 2, 2))
    hidden = np.zeros((3, 2, 2), bool)
    hidden[1, 0, 0] = hidden[2, 1, 1] = True
    values[hidden[:, None]] = 9  # cloud
    got = METHOD.predict(block(values, hidden, days), [variograms()])
    # date 1, pixel (0, 0): three pixels of the date, two dates of the pixel, and both combined
    place = [(5, 0, 1), (5, 1, 0), (5, 1, 1), (0, 0, 0), (12, 0, 0)]
    place += [(day, y, x) for day in (0, 12) for y, x in ((0, 1), (1, 0), (1, 1))]
    place = np.array([p for p in place if p != (12, 1, 1)], float)
    known = np.array([values[days.index(int(d)), 0, int(y), int(x)] for d, y, x in place])
    mean, variance = by_hand(place, known.astype(np.float32), np.array([5.0, 0, 0]))
    np.testing.assert_allclose(got.mean[1, 0, 0, 0], mean, rtol=1e-5)
    np.testing.assert_allclose(got.deviation[1, 0, 0, 0], np.sqrt(variance), rtol=1e-5)
    clear = np.broadcast_to(~hidden[:, None], values.shape)
    np.testing.assert_array_equal(got.mean[clear], values[clear].astype(np.float32))


def test_one_date_is_kriged_as_by_plain_kriging():
    rng = np.random.default_rng(2)
    values = np.cumsum(rng.normal(0, 0.01, (1, 2, 40, 30)), axis=-1) + 0.2
    hidden = np.zeros((1, 40, 30), bool)
    hidden[0, 10:22, 5:19] = True
    series = block(values, hidden, [3.0])
    plain = methods.get("kriging", neighbours=12)
    results = []
    for method in (METHOD, plain):
        total = method.combine([method.measure(series, [])])
        results.append(method.predict(series, [method.conclude(total, [])]))
    np.testing.assert_allclose(results[0].mean, results[1].mean, atol=1e-6)
    np.testing.assert_allclose(results[0].deviation, results[1].deviation, atol=1e-6)


def test_a_wholly_hidden_date_has_estimates_and_larger_deviations_farther_away_in_time():
    rng = np.random.default_rng(3)
    days = [0, 4, 30, 60]
    values = rng.uniform(0.1, 0.3, (4, 1, 8, 8))
    hidden = np.zeros((4, 8, 8), bool)
    hidden[1] = hidden[2] = True
    got = METHOD.predict(block(values, hidden, days), [variograms()])
    assert np.isfinite(got.mean).all()
    assert (got.deviation[2][0] > got.deviation[1][0]).all()
    nothing = METHOD.predict(block(values, np.ones_like(hidden), days), [variograms()])
    assert np.isnan(nothing.mean).all()


def test_a_series_that_never_changes_and_two_images_of_one_time_have_solutions():
    values = np.broadcast_to(np.linspace(0.1, 0.3, 400).reshape(1, 1, 20, 20), (4, 1, 20, 20))
    hidden = np.zeros((4, 20, 20), bool)
    hidden[1, 5:15, 5:15] = True
    series = block(values, hidden, [0, 5, 5, 9])
    total = METHOD.combine([METHOD.measure(series, [])])
    got = METHOD.predict(series, [METHOD.conclude(total, [])])
    np.testing.assert_allclose(got.mean, values, atol=2e-3)


def test_the_variogram_in_time_is_that_of_a_process_with_a_known_one():
    rng = np.random.default_rng(4)
    count, decay = 60, np.exp(-3 * 5 / 60)  # every 5 days, 95 % of the rise after 60
    values = np.empty((count, 1, 48, 48))
    values[0] = rng.normal(0, 1, (1, 48, 48))
    for date in range(1, count):
        step = rng.normal(0, np.sqrt(1 - decay**2), (1, 48, 48))
        values[date] = decay * values[date - 1] + step
    series = block(0.3 + 0.02 * values, np.zeros((count, 48, 48), bool), 5.0 * np.arange(count))
    found = METHOD.conclude(METHOD.combine([METHOD.measure(series, [])]), [])
    assert found.reach[1] == pytest.approx(60, rel=0.1)
    assert (found.nugget + found.sill)[1] == pytest.approx(1, rel=0.05)
    assert found.variance[0] == pytest.approx(4e-4, rel=0.05)

"""Arithmetic of composites against other libraries and closed forms."""

import numpy as np
import pytest
from scipy import spatial

from xcloudfree.methods import composites, medians


@pytest.fixture(scope="module")
def spectra():
    """12 dates, 6 bands, 300 pixels, most dates of most pixels missing; (date, band, pixel)."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0.01, 0.5, (12, 6, 300)).astype("float32")
    missing = rng.random((12, 300)) < 0.6
    return np.where(missing[:, None], np.float32(np.nan), values)


def test_geomedian_and_deviations_equal_geomad(spectra):
    geomad = pytest.importorskip("geomad")
    cube = np.ascontiguousarray(spectra.transpose(2, 1, 0)[:, None])
    # of two points every one between them has the least sum of distances
    usual = np.isfinite(spectra[:, 0]).sum(0) > 2
    assert usual.sum() > 250
    found = medians.geometric_median(spectra)
    expected = geomad.nangeomedian_pcm(cube, eps=1e-10, maxiters=5000, num_threads=1)[:, 0].T
    np.testing.assert_allclose(found[:, usual], expected[:, usual], atol=1e-5)
    apart = composites.spreads(spectra, found)
    centre = np.ascontiguousarray(found.T[:, None])
    for row, name in zip(apart, ("emad_pcm", "smad_pcm", "bcmad_pcm"), strict=True):
        reference = getattr(geomad, name)(cube[usual], centre[usual], num_threads=1)[:, 0]
        np.testing.assert_allclose(row[usual], reference, atol=1e-5)


def test_a_geomedian_does_not_depend_on_the_pixels_beside_it(spectra):
    whole = medians.geometric_median(spectra)
    for pixel in range(40):
        alone = medians.geometric_median(spectra[..., pixel : pixel + 1])
        np.testing.assert_array_equal(alone[:, 0], whole[:, pixel])


def test_the_medoid_has_the_least_sum_of_distances(spectra):
    found = composites.medoid(spectra)
    for pixel in range(spectra.shape[-1]):
        points = spectra[..., pixel]
        used = np.flatnonzero(np.isfinite(points[:, 0]))
        if used.size:
            total = spatial.distance.cdist(points[used], points[used]).sum(1)
            assert total[list(used).index(found[pixel])] <= total.min() + 1e-9


def test_a_weighted_mean_is_that_of_the_inverse_variances():
    values = np.array([0.2, 0.4], np.float32).reshape(2, 1, 1)
    stated = np.array([np.nan, 0.03], np.float32).reshape(2, 1, 1)
    own = 0.005 + 0.05 * 0.3
    weights = np.array([own**-2, 1 / (own**2 + 0.03**2)])
    expected = (weights * [0.2, 0.4]).sum() / weights.sum()
    found = composites.weighted_mean(values, stated)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-6)
    np.testing.assert_allclose(composites.weighted_mean(values, None).item(), 0.3, rtol=1e-6)


def test_the_score_falls_with_clouds_their_distance_and_the_days():
    clear = np.zeros((140, 3), bool)
    cloud = clear.copy()
    cloud[0] = True
    core = (slice(0, 140), slice(0, 3))

    def score(occluded, days):
        return composites.scores(occluded, ~occluded, days, 30, core)[:, 1]

    np.testing.assert_allclose(score(clear, 0), (2 + 1 / (1 + np.exp(-5))) / 3, rtol=1e-6)
    np.testing.assert_array_equal(score(cloud, 0)[101:], score(clear, 0)[101:])
    assert (np.diff(score(cloud, 0)[:50]) > 0).all()
    # at the cloud: one row of 51 hidden, distance 0
    expected = (50 / 51 + 1 / (1 + np.exp(5)) + 1) / 3
    np.testing.assert_allclose(score(cloud, 0)[0], expected, rtol=1e-6)
    near = np.exp(-0.5 * (6 / 7.5) ** 2)
    np.testing.assert_allclose(score(clear, 0)[0] - score(clear, -6)[0], (1 - near) / 3, rtol=1e-5)

"""Area regression on real series with hidden dates: what it must reach, and never fall behind."""

import numpy as np
import pytest

from tests.real_series import SITES, load
from xcloudfree.judge import hidden_dates

DATES = 22


def cases(root, site, gap, dates):
    """Clear dates under real partial clouds, without other dates within the gap."""
    return hidden_dates(load(root, site), gaps=[gap], count=dates)


def judged(root, site, methods, gap, dates=DATES):
    """Mean PSNR in dB of the hidden pixels, for each method."""
    found = {name: [] for name in methods}
    for case in cases(root, site, gap, dates):
        (place,) = np.flatnonzero(case.hidden.any(("y", "x")))
        where = case.hidden.values[place]
        bands = list(case.truth.data_vars)
        truth = np.stack([case.truth[b].values[where] for b in bands])
        for name, errors in found.items():
            out = case.data.cloudfree.reconstruct(model=name, mask=case.hidden)
            guess = np.stack([out[b].values[place][where] for b in bands])
            assert np.isfinite(guess).mean() > 0.99
            error = np.clip(guess, 0, 1) - np.clip(truth, 0, 1)
            errors.append(-10 * np.log10(np.nanmean(error**2)))
    return [float(np.mean(errors)) for errors in found.values()]


@pytest.mark.slow
@pytest.mark.parametrize(("gap", "least"), [(0, 30.5), (15, 28.7), (30, 26.4)])
def test_it_reaches_what_the_prototype_did(data_root, gap, least):
    assert judged(data_root, SITES[0], ["area-regression"], gap)[0] >= least


@pytest.mark.slow
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("gap", [0, 15])
def test_at_short_gaps_it_never_falls_behind_the_median_with_offset(data_root, site, gap):
    ours, median = judged(data_root, site, ["area-regression", "median-30d+offset"], gap)
    assert ours >= median


@pytest.mark.parametrize("site", SITES[1:])
def test_on_two_dates_of_each_site_it_beats_the_median_with_offset(data_root, site):
    ours, median = judged(data_root, site, ["area-regression", "median-30d+offset"], 15, 2)
    assert ours > median


def test_the_truth_of_a_hidden_date_is_never_read(data_root):
    """Strict leave-out on real data: other numbers there, the same prediction bit for bit."""
    case = next(cases(data_root, SITES[1], 15.0, 5))
    (place,) = np.flatnonzero(case.hidden.any(("y", "x")))
    mask, bands = case.hidden.values[place], list(case.truth.data_vars)
    rng = np.random.default_rng(0)
    results = []
    for put in (lambda b: rng.random(mask.sum(), "float32"), lambda b: case.truth[b].values[mask]):
        ds = case.data.copy(deep=True)
        for band in bands:
            ds[band].values[place][mask] = put(band)
        out = ds.cloudfree.reconstruct(model="area-regression", mask=case.hidden, uncertainty=True)
        names = [*bands, *(f"{b}_std" for b in bands), "provenance"]
        results.append(np.stack([out[n].values for n in names]))
    np.testing.assert_array_equal(*results)
    days = np.abs(case.data.time.values - case.date) / np.timedelta64(1, "D")
    assert (days <= 15).sum() == 1


@pytest.mark.slow
@pytest.mark.parametrize("site", SITES)
def test_the_stated_deviation_holds_about_two_of_three_errors(data_root, site):
    inside, ratio = calibration(data_root, site, "area-regression", 15, 8)
    assert 0.6 < inside < 0.9
    assert 0.5 < ratio < 1.3


def calibration(root, site, method, gap, dates):
    """Share of errors within one deviation, and root mean square of their ratio."""
    scores = []
    for case in cases(root, site, gap, dates):
        (place,) = np.flatnonzero(case.hidden.any(("y", "x")))
        where = case.hidden.values[place]
        out = case.data.cloudfree.reconstruct(model=method, mask=case.hidden, uncertainty=True)
        for band in case.truth.data_vars:
            error = out[band].values[place][where] - case.truth[band].values[where]
            scores.append(error / out[f"{band}_std"].values[place][where])
    score = np.concatenate(scores)
    score = score[np.isfinite(score)]
    return float((np.abs(score) < 1).mean()), float(np.sqrt((score**2).mean()))


@pytest.mark.parametrize(
    ("site", "dates"),
    [
        *((site, 1) for site in SITES[1:]),
        *(pytest.param(site, 6, marks=pytest.mark.slow) for site in SITES),
    ],
)
def test_what_is_visible_nearby_helps_the_regression(data_root, site, dates):
    methods = ["area-regression", "area-regression+nearby"]
    plain, moved = judged(data_root, site, methods, 15, dates)
    assert moved > plain + (0.5 if dates == 6 else 0)


def test_a_wholly_hidden_date_is_that_of_the_regression(data_root):
    case, *_ = hidden_dates(load(data_root, SITES[1]), gaps=[0], kinds=("full",), count=2)
    plain, moved = (
        case.at_date(case.data.cloudfree.reconstruct(model=name, mask=case.hidden)).B05
        for name in ("area-regression", "area-regression+nearby")
    )
    np.testing.assert_allclose(plain, moved, atol=1e-6)

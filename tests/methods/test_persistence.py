"""Errors of the regression persist: those of the dates around correct a target."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import xcloudfree as xcf
from xcloudfree.methods.kernel_fusion import mixing, persistence, prior
from xcloudfree.methods.kernel_fusion.corrected import Corrected
from xcloudfree.methods.kernel_fusion.settings import Settings
from xcloudfree.methods.kernel_fusion.window import Window, pixels_of, sample_of

DAYS = np.arange(24) * 5.0


def window(seed=0):
    """Half of the fields change slowly, the others from date to date; no radar."""
    rng = np.random.default_rng(seed)
    slow = np.repeat(rng.normal(size=(2, 2, 8, 8)), 12, 0)
    fast = rng.normal(size=(24, 2, 8, 8))
    fields = np.kron(np.where(np.arange(8) < 4, slow, fast), np.ones((1, 1, 4, 4)))
    season = 0.2 + 0.05 * np.sin(DAYS / 40)[:, None, None, None]
    values = season + 0.03 * fields + 0.003 * rng.normal(size=fields.shape)
    return Window(values.astype("float32"), np.ones((24, 32, 32), bool), None, DAYS)


def statistics_of(seen, settings):
    core = np.ones(seen.clear.shape[1:], bool)
    targets = prior.Targets(seen.days, np.arange(len(seen.days)))
    return prior.conclude(sample_of(seen, core, settings), seen.days, targets, settings.mix)


def test_errors_around_a_day_by_hand():
    values = {2: 0.4, 4: 0.2}  # 5 days before and after day 15
    errors = {date: torch.full((1, 1), value) for date, value in values.items()}
    levels = []

    def error(date, level):
        levels.append(level)
        return (errors[date], torch.tensor([True])) if date in errors else None

    found = persistence.persistent(DAYS, 15.0, 0, error)
    near = np.exp(-0.5)
    assert float(found) == pytest.approx(near * 0.6 / (2 * near + persistence.SPARSE))
    assert set(levels) == {1}
    assert persistence.persistent(DAYS, 15.0, 1, lambda *_: None) is None


@pytest.mark.parametrize("truth", [0.0, 0.5])
def test_the_series_says_how_much_errors_persist(truth):
    rng = np.random.default_rng(1)
    which = torch.arange(60)

    def guesses(error):
        mean = torch.full((60, 2), 0.3)
        return [
            mixing.Guess(day, which, mean, mean, torch.full((60, 2), 0.05), mean + error[k])
            for k, day in enumerate(DAYS)
        ]

    noise = torch.tensor(rng.normal(0, 0.02, (24, 60, 2))).float()
    noise -= noise.median(1, keepdim=True).values
    others = {level: guesses(noise + 0.01) for level in set(persistence.LONGER)}

    def seen(date, level):
        return noise[date], torch.ones(60, dtype=torch.bool)

    parts = torch.stack([persistence.persistent(DAYS, day, 0, seen) for day in DAYS])
    shares, offsets, better = persistence.learned(DAYS, [guesses(truth * parts)] * 4, others, 60)
    assert shares[0] == pytest.approx(0.8 * truth, abs=0.051)  # six more dates without any
    assert shares[3] == 0
    np.testing.assert_allclose(offsets[1], 0.01, atol=1e-6)
    moved = torch.stack([guess.mean for guess in better[0]]) - 0.3
    torch.testing.assert_close(moved, float(shares[0]) * parts)


def test_the_prior_of_a_date_does_not_read_that_date():
    settings = Settings()
    seen = window()
    found = statistics_of(seen, settings)._replace(persistence=np.full(4, 0.5))
    targets = prior.Targets(DAYS, np.arange(24))
    changed = seen._replace(reflectance=seen.reflectance.copy())
    changed.reflectance[9] += np.random.default_rng(2).random((2, 32, 32)).astype("float32")
    place = torch.device("cpu")
    means = [Corrected(pixels_of(w, place), found, targets).predict(9)[1] for w in (seen, changed)]
    assert torch.equal(*means)
    plain = Corrected(pixels_of(seen, place), found._replace(persistence=np.zeros(4)), targets)
    assert not torch.equal(plain.predict(9)[1], means[0])


@pytest.mark.skipif("XCLOUDFREE_DATA" not in os.environ, reason="needs a real series")
@pytest.mark.parametrize("count", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_real_fields_are_better_with_it(monkeypatch, count):
    pytest.importorskip("h5netcdf")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    from series_data import load

    series = load(Path(os.environ["XCLOUDFREE_DATA"]) / "series/worldcereal_000028085BF08E7E")
    cases = list(xcf.benchmarking.hidden_dates(series, gaps=(0,), count=count, clouds=1))
    with_errors = xcf.benchmark(cases, ["kernel-fusion"]).value
    monkeypatch.setattr(persistence, "LONGER", ())
    gain = with_errors - xcf.benchmark(cases, ["kernel-fusion"]).value
    assert float(gain.sel(metric="psnr", pixels="cloudy").mean()) > 0.15


def test_a_date_with_clouds_lends_no_errors():
    seen = window()
    seen.clear[8, :8] = False
    found = statistics_of(seen, Settings())
    assert found.open.tolist() == [date != 8 for date in range(24)]

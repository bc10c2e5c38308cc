"""Fitting networks that read all dates of a series, on its own hidden dates."""

import os
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

import xcloudfree as xcf
from tests.builders import blobs, make_series
from tests.real_series import SITES, load
from xcloudfree.cli import main
from xcloudfree.core.progress import Progress
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError, ModelError
from xcloudfree.train import Recipe, series_fitting
from xcloudfree.train.hidden_dates import hide
from xcloudfree.train.series_fitting import HiddenDates, Part, _hidden, _parted, _places
from xcloudfree.train.series_samples import Skies
from xcloudfree.train.tasks import shared_bands

pytest.importorskip("lightning")

SHAPE = {"height": 24, "width": 20, "dates": 10}
FEW = {"steps": 6, "batch": 4, "device": "cpu", "progress": False, "recipe": Recipe(gaps=(0,))}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(series_fitting, "ROUNDS", 1)


@pytest.fixture(scope="module")
def series():
    ds = make_series(**SHAPE)[["B02", "B8A", "B11", "VV", "VH"]]
    return ds.cloudfree.calibrate(level="BOA")


def hidden():
    return blobs(**SHAPE)


def shaken(name="series-attention"):
    """Weights far from good ones."""
    model = xcf.models.load(name)
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=drawn))
    model.spec = model.spec.replace(trained=True)
    return model


def same_weights(one, other):
    pairs = zip(*(m.network.state_dict().values() for m in (one, other)), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_bad_start_gets_better_and_the_result_is_a_model_like_any_other(series, quick, tmp_path):
    start = shaken()
    options = FEW | {"steps": 60, "learning_rate": 0.02}
    fitted = xcf.fit(series, start, mask=hidden(), log=tmp_path / "log", **options)
    after, before, count = fitted.spec.metrics.values()
    assert after > before
    assert count == 2  # a fifth of ten
    assert "60 steps of 4 hidden dates" in fitted.spec.note
    assert fitted.spec.optical_bands == ("B02", "B8A", "B11")
    rows = (tmp_path / "log/metrics.csv").read_text().splitlines()
    assert len(rows) == 61
    assert float(rows[-1].rsplit(",", 1)[1]) < 0

    loaded = xcf.models.load(fitted.save(tmp_path / "mine.safetensors"))
    assert loaded.digest == fitted.digest
    whole = series.cloudfree.reconstruct(fitted, mask=hidden())
    lazy = series.chunk(y=10, x=17).cloudfree.reconstruct(loaded, mask=hidden())
    xr.testing.assert_equal(lazy.compute(scheduler="sync"), whole)
    first = series.cloudfree.reconstruct(start, mask=hidden())
    assert float(abs(whole.B8A - first.B8A).max()) > 0.001


def test_damaging_data_return_the_start(series, quick):
    """The dates to fit on are noise; those that are held out are not."""
    scene = read(series)
    places = _places(scene, xcf.models.load("carf-series").spec.replace(
        optical_bands=tuple(shared_bands([scene]))), hidden())  # fmt: skip
    _, held_out = _parted(places, 0.2)
    rng, damaged = np.random.default_rng(0), series.copy(deep=True)
    for band in ("B02", "B8A", "B11"):
        noise = rng.uniform(0, 0.5, damaged[band].shape).astype("float32")
        damaged[band][~held_out.usable] = noise[~held_out.usable]
    before = xcf.models.load("carf-series")
    with pytest.warns(UserWarning, match=r"no step .* clearly better than its start"):
        fitted = xcf.fit(damaged, "carf-series", mask=hidden(), learning_rate=0.1, **FEW)
    assert same_weights(fitted, before)
    assert "they are unchanged" in fitted.spec.note
    assert fitted.spec.metrics == before.spec.metrics
    assert fitted.spec.trained


def test_an_untrained_network_that_gains_nothing_stays_untrained(series, quick):
    with pytest.warns(UserWarning, match="no step"):
        fitted = xcf.fit(series, "series-attention", mask=hidden(), learning_rate=5.0, **FEW)
    assert not fitted.spec.trained
    assert same_weights(fitted, xcf.models.load("series-attention"))


def parts_of(series):
    """The series to fit on and to judge on, with the specification that reads them."""
    scene = read(series)
    spec = xcf.models.load("carf-series").for_bands(shared_bands([scene])).spec
    return spec, *_parted(_places(scene, spec, hidden()), 0.2)


def samples(part, spec):
    with Progress("", 1, show=False) as bar:
        return _hidden(part, "series", spec, (0.0,), 1, 0, bar)


def test_held_out_dates_are_spread_and_never_read_in_the_fit(series):
    spec, fit, judge = parts_of(series)
    assert np.flatnonzero(judge.usable).tolist() == [2, 7]
    assert len(fit.places.days) == 8
    other = series.copy(deep=True)
    for band in ("B02", "B8A", "B11"):
        other[band][judge.usable] += np.float32(0.1)
    _, fit2, judge2 = parts_of(other)
    prints = [
        HiddenDates([samples(part, spec)]).fingerprint() for part in (fit, fit2, judge, judge2)
    ]
    assert prints[0] == prints[1]
    assert prints[2] != prints[3]
    judged = {origin.split(", ")[1] for origin in samples(judge, spec).origins}
    assert judged <= set(series.time.values[judge.usable].astype("datetime64[D]").astype(str))


def test_the_truth_is_in_no_input_of_its_sample(series, monkeypatch):
    """Other numbers on a date that is wholly hidden: only its errors change."""
    monkeypatch.setattr(Skies, "over", lambda self, rng, date, known: self.overcast(rng, date))
    spec, fit, _ = parts_of(series)
    place, found = fit.places.place(0), []
    for more in (0.0, 0.2):
        changed = place._replace(reflectance=place.reflectance.copy())
        changed.reflectance[4] += np.float32(more)
        part = Part(
            replace(fit.places, kept=OrderedDict({0: changed})),
            np.arange(len(fit.places.days)) == 4,
        )
        found.append(samples(part, spec))
    one, other = (each.samples[0] for each in found)
    for before, after in zip((*one.tokens, one.size), (*other.tokens, other.size), strict=True):
        assert torch.equal(before, after)
    torch.testing.assert_close(other.error - one.error, torch.full_like(one.error, 0.2))


def test_dates_within_the_gap_are_not_read(series):
    spec, fit, _ = parts_of(series)
    usable = np.ones(len(fit.places.days), bool)
    found = list(hide(fit.places.place(0), usable, 8.0, spec, np.random.default_rng(0)))
    assert found
    for _, date in found:
        assert 8 < abs(date.apart).min() < 20


def test_chunks_give_the_same_weights_and_a_fit_resumes(series, quick, tmp_path):
    options = FEW | {"mask": hidden(), "learning_rate": 0.01}
    one = xcf.fit(series, shaken(), checkpoints=tmp_path, **options)
    lazy = xcf.fit(series.chunk(time=5, y=10), shaken(), **options)
    assert one.digest == lazy.digest
    again = xcf.fit(series, shaken(), checkpoints=tmp_path, **options)
    assert one.digest == again.digest
    options["mask"] = hidden().isel(y=slice(4, None))
    with pytest.raises(DataError, match="belongs to another fit"):
        xcf.fit(series.isel(y=slice(4, None)), shaken(), checkpoints=tmp_path, **options)


def test_several_series_and_separate_validation(series, monkeypatch):
    monkeypatch.setattr(series_fitting, "ROUNDS", 8)
    early, late = series.isel(time=slice(0, 5)), series.isel(time=slice(5, None))
    mask = lambda ds: xr.zeros_like(ds.B02, bool)  # noqa: E731
    fitted = xcf.fit(iter([early, early]), "carf-series", validation=late, mask=mask, **FEW)
    assert 2 <= fitted.spec.metrics["held-out dates"] <= 4
    with pytest.raises(DataError, match="same pixels"):
        xcf.fit(series, shaken(), validation=late, mask=mask, **FEW)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"crop": 64}, "crop"), ({"simulated": 0.0}, "simulated"), ({"loss": "l1"}, "loss"),
        ({"target": "target"}, "target"), ({"alpha": 0.5}, "alpha"), ({"cache": "here"}, "cache"),
        ({"shrinkage": 1.0}, "shrinkage"), ({"recipe": Recipe(devices=2)}, "devices"),
    ],
)  # fmt: skip
def test_arguments_without_effect_are_refused(series, given, name):
    with pytest.raises(DataError, match=f"so {name} has no effect"):
        xcf.fit(series, "carf-series", **given)


def test_what_cannot_be_fitted_is_refused(series):
    with pytest.raises(DataError, match="the data has one"):
        xcf.fit(series.isel(time=[0]), "carf-series")
    with pytest.raises(DataError, match="leaves a part with less than two"):
        xcf.fit(series.isel(time=slice(0, 3)), "carf-series", mask=hidden()[:3])
    with pytest.raises(DataError, match="gaps"):
        xcf.fit(series, "carf-series", mask=hidden(), recipe=Recipe(gaps=(-1,)))
    with pytest.raises(DataError, match="show the ground"):
        xcf.fit(series, "carf-series", mask=xr.ones_like(hidden()))
    with pytest.raises(ModelError, match="reads 3 dates"):
        xcf.fit(series, "uncrtaints-t3")


def test_the_command_line(series, quick, tmp_path):
    ds = series.assign(SCL=xr.where(hidden(), 9, 4).astype("uint8").assign_coords(series.coords))
    xcf.io.to_zarr(ds, tmp_path / "series.zarr", progress=False)
    words = [
        "fit", str(tmp_path / "series.zarr"), str(tmp_path / "mine.safetensors"), "--model",
        "carf-series", "--steps", "2", "--batch", "2", "--quiet", "--mask", "scl",
    ]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    fitted = xcf.models.load(tmp_path / "mine.safetensors")
    assert fitted.spec.note.startswith("2 steps of 2 hidden dates")
    assert fitted.spec.optical_bands == ("B02", "B8A", "B11")
    refused = CliRunner().invoke(main, [*words, "--crop", "32"])
    assert "leave out --crop" in refused.output


@pytest.mark.skipif("XCLOUDFREE_DATA" not in os.environ, reason="needs a real series")
def test_a_real_series_is_not_worse_on_what_was_held_out(quick):
    ds = load(Path(os.environ["XCLOUDFREE_DATA"]), SITES[2]).isel(time=slice(0, 30))
    start = shaken("carf-series")
    fitted = xcf.fit(ds, start, mask="scl", **FEW | {"steps": 40, "learning_rate": 0.01})
    after, before, count = fitted.spec.metrics.values()
    assert after > before
    assert count >= 2

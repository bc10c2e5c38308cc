"""The network that reads all dates of a series on top of kernel fusion, and its weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import xcloudfree as xcf
from tests.builders import blobs, make_series
from tests.checks import no_computes
from xcloudfree.methods.kernel_fusion import KernelFusion
from xcloudfree.models.series_attention import FEWEST, LARGEST
from xcloudfree.models.series_tokens import tokens

pytestmark = pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")
BANDS = ("B02", "B8A", "B11")
NAME = "series-attention"


@pytest.fixture(scope="module")
def series():
    return make_series()[[*BANDS, "VV", "VH"]]


def shaken(seed=0):
    """A network whose every weight is drawn."""
    model = xcf.models.create(NAME)
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=drawn))
    return model


def scene(seed=0, dates=12, bands=3, side=12):
    """Estimate, deviation, other dates and a mask that covers the middle."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(0.1, 0.3, (bands, side, side))
    hidden = np.zeros((side, side), bool)
    hidden[2:-2, 2:-2] = True
    apart = np.array([-3, 4, -8, 9, -15, 20, -30, 31, -50, 70, -160, 170])[:dates]
    found = {
        "mean": mean, "size": np.full_like(mean, 0.02),
        "others": mean + rng.normal(0, 0.03, (dates, bands, side, side)),
        "shown": rng.uniform(size=(dates, side, side)) < 0.7,
        "apart": apart, "hidden": hidden, "known": np.ones_like(hidden),
    }  # fmt: skip
    kinds = {"shown": bool, "hidden": bool, "known": bool, "apart": float}
    return {k: torch.from_numpy(v.astype(kinds.get(k, np.float32))) for k, v in found.items()}


def test_untrained_it_is_kernel_fusion(series):
    ours = series.cloudfree.reconstruct(xcf.models.create(NAME), mask=blobs())
    theirs = series.cloudfree.reconstruct("kernel-fusion", mask=blobs())
    for name in (*BANDS, "provenance", "quality"):
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("chunks", [{"y": 20, "x": 17}, {"time": 3, "y": (7, 33), "x": 11}])
def test_chunks_give_the_same_bits(series, chunks):
    model = shaken()
    whole = series.cloudfree.reconstruct(model, mask=blobs(), uncertainty=True)
    with no_computes():
        lazy = series.chunk(chunks).cloudfree.reconstruct(model, mask=blobs(), uncertainty=True)
    xr.testing.assert_equal(lazy.compute(scheduler="sync"), whole)
    plain = series.cloudfree.reconstruct("kernel-fusion", mask=blobs())
    assert float(abs(whole.B8A - plain.B8A).max()) > 0.01


def test_what_clouds_show_has_no_influence(series):
    model, mask = shaken(), blobs()
    white = series.copy()
    for band in BANDS:
        white[band] = series[band].where(~mask.values, 0.9)
    plain = series.cloudfree.reconstruct(model, mask=mask)
    for band in BANDS:
        other = white.cloudfree.reconstruct(model, mask=mask)[band]
        np.testing.assert_array_equal(other, plain[band])


def test_observed_pixels_and_single_images_stay_as_they_are(series):
    out = series.cloudfree.reconstruct(shaken(), mask=blobs())
    clear = ~blobs().values
    np.testing.assert_array_equal(out.B02.values[clear], series.B02.values[clear])
    one = series.isel(time=0, drop=True)
    mask = blobs().isel(time=0, drop=True)
    ours, theirs = (one.cloudfree.reconstruct(m, mask=mask) for m in (shaken(), "kernel-fusion"))
    np.testing.assert_array_equal(ours.B02, theirs.B02)


def test_no_estimate_stays_no_estimate(series, monkeypatch):
    plain = KernelFusion.predict

    def without_a_row(*given):
        answer = plain(*given)
        answer.mean[:, :, 7] = np.nan
        return answer

    monkeypatch.setattr(KernelFusion, "predict", without_a_row)
    out = series.cloudfree.reconstruct(shaken(), mask=blobs())
    assert out.B02.values[:, 7][blobs().values[:, 7]].size
    assert np.isnan(out.B02.values[:, 7][blobs().values[:, 7]]).all()


def test_even_weights_give_the_mean_of_the_observations_around():
    given, ask = scene(), torch.tensor([[5, 6], [3, 3], [8, 4]])
    network = xcf.models.create(NAME).network
    with torch.no_grad():
        network.memory.fill_(30.0)  # no weight falls with time
        network.share[-1].bias[0] = 0.5  # half of the first mean, at the pixel itself
    found = tokens(**given, ask=ask)
    change = network.change(found).detach().numpy()
    for k, (y, x) in enumerate(ask.tolist()):
        near = given["shown"][:, y, x].numpy() & (abs(given["apart"].numpy()) <= 150)
        away = (given["others"][near, :, y, x] - given["mean"][:, y, x]) / 0.02
        assert near.sum() >= FEWEST
        np.testing.assert_allclose(change[k], away.clamp(-6, 6).mean(0) / 2, atol=1e-5)


def test_few_observations_change_nothing_and_no_change_is_large():
    given, ask = scene(), torch.tensor([[5, 6], [3, 3]])
    given["shown"][:] = True
    given["shown"][FEWEST - 1 :, 5, 6] = False
    network = shaken().network
    with torch.no_grad():
        network.share[-1].bias.add_(100.0)
    change = network.change(tokens(**given, ask=ask))
    assert (change[0] == 0).all()
    torch.testing.assert_close(change[1].abs(), torch.full((3,), LARGEST))


def test_dates_far_away_and_pixels_beyond_the_reach_are_not_read():
    given, ask, network = scene(side=40), torch.tensor([[20, 20]]), shaken().network
    plain = network.change(tokens(**given, ask=ask))
    for change in ("far", "beyond", "inside"):
        other = {k: v.clone() for k, v in given.items()}
        if change == "far":
            other["others"][-2:] += 0.3
        rows = slice(0, 20 - 13) if change == "beyond" else slice(18, 20)
        if change != "far":
            other["others"][:, :, rows] += 0.3
            other["hidden"][rows] = False
        same = torch.equal(network.change(tokens(**other, ask=ask)), plain)
        assert same == (change != "inside")


def test_bands_in_another_order_give_the_same_in_that_order():
    given, ask, network = scene(), torch.tensor([[5, 6], [3, 3]]), shaken().network
    turned = {k: v[..., [2, 0, 1], :, :] if v.ndim > 2 and k != "shown" else v
              for k, v in given.items()}  # fmt: skip
    plain, other = (network.change(tokens(**one, ask=ask)) for one in (given, turned))
    torch.testing.assert_close(other, plain[:, [2, 0, 1]])


def test_the_weights_load_for_any_bands_and_levels(series):
    model = xcf.models.load("carf-series")
    assert model.spec.trained
    assert not model.spec.demonstration
    assert all(torch.isfinite(p).all() for p in model.network.parameters())
    out = series.cloudfree.reconstruct("carf-series", mask=blobs())
    assert out.provenance.attrs["model"] == "carf-series"
    assert np.isfinite(out.B8A.values).all()


@pytest.mark.slow
@pytest.mark.skipif("XCLOUDFREE_DATA" not in os.environ, reason="needs a real series")
def test_a_real_series_is_better_with_the_weights(monkeypatch):
    # they were fitted on this series too; docs/results.md has regions left out
    pytest.importorskip("h5netcdf")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    from series_data import load

    series = load(Path(os.environ["XCLOUDFREE_DATA"]) / "series/worldcereal_2021_TZA_COPERNI")
    cases = list(xcf.benchmarking.hidden_dates(series, gaps=(0,), count=2, clouds=1))
    found = xcf.benchmark(cases, ["kernel-fusion", "carf-series"]).value
    psnr = found.sel(metric="psnr", pixels="cloudy").mean("case")
    before, after = (float(psnr.sel({"method": name})) for name in psnr["method"].values)
    assert after > before

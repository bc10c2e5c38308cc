"""Fitting: it learns, it repeats itself, it refuses what cannot work."""

import numpy as np
import pytest
import torch
import xarray as xr

import xcloudfree as xcf
from tests.builders import QUICK, fields
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.exceptions import DataError, MissingBandError, ModelError
from xcloudfree.train.inputs import pair
from xcloudfree.train.samples import PatchSamples


@pytest.fixture(scope="module")
def patches():
    return fields()


def error(model, patches):
    out = patches.drop_vars("target").cloudfree.reconstruct(model=model, blend=None)
    return float(np.abs(out.s2 - patches.target)[..., 20:].mean())


@pytest.mark.filterwarnings("ignore")
def test_it_learns_reflectance_from_backscatter(patches):
    """A constant cannot do better than 0.037 here; backscatter tells the fields apart."""
    model = xcf.models.create("carf-tiny", base="prior", mask_input=True)
    fitted = xcf.fit(
        patches, model, steps=40, batch=4, crop=32, learning_rate=3e-3, loss="error",
        simulated=0.0, progress=False,
    )  # fmt: skip
    assert error(model, patches) > 0.036
    assert error(fitted, patches) < 0.015
    assert fitted.spec.sar_quantity == "gamma0"
    assert fitted.spec.trained
    assert not model.spec.trained
    assert "40 steps" in fitted.spec.note


def test_the_prior_starts_at_the_mean_spectrum_in_the_scale_of_the_network(patches):
    model = xcf.models.create("carf-tiny", base="prior", normalisation="dsen2cr-2000")
    fitted = xcf.fit(patches, model, learning_rate=1e-9, **QUICK)
    bias = fitted.network.prior.spectrum.bias.detach().numpy()
    mean = patches.target.mean(("patch", "y", "x")).values
    np.testing.assert_allclose(fitted.denormalise(bias), mean, rtol=1e-3)


def test_one_seed_one_result_lazy_or_not(patches):
    one = xcf.fit(patches, "carf-tiny", **QUICK)
    again = xcf.fit(patches.chunk(patch=1), "carf-tiny", **QUICK)
    other = xcf.fit(patches, "carf-tiny", seed=1, **QUICK)
    assert one.digest == again.digest
    assert one.digest != other.digest


def test_a_fitted_model_saves_loads_and_goes_on(patches, tmp_path):
    first = xcf.fit(patches, "carf-tiny", **QUICK)
    path = first.save(tmp_path / "mine.safetensors")
    second = xcf.fit(patches, xcf.models.load(path), **QUICK)
    assert second.digest != first.digest
    scene = patches.drop_vars("target").chunk(patch=1)
    out = scene.cloudfree.reconstruct(model=path)
    assert out.s2.chunks == scene.s2.chunks


def samples(patches, **options):
    spec = xcf.models.load("carf-tiny").spec
    settings = {"crop": 32, "simulated": 0.0, "mask": "score"} | options
    return PatchSamples([pair(patches, "target")], spec=spec, **settings)


def test_samples_stay_together_under_symmetries(patches):
    drawn = samples(patches).draw(np.random.default_rng(0), 16)
    field = drawn.target[:, :1] > 0.08
    np.testing.assert_array_equal(drawn.sar[:, :1] > -13, field)
    clear = ~drawn.mask[:, 0]
    np.testing.assert_array_equal(
        np.moveaxis(drawn.cloudy, 1, -1)[clear], np.moveaxis(drawn.target, 1, -1)[clear]
    )
    assert (drawn.cloudy[:, 1][~clear] > 0.6).all()


def test_crops_with_hardly_any_cloud_get_simulated_ones(patches):
    clear = patches.assign(s2=patches.target)
    drawn = samples(clear).draw(np.random.default_rng(0), 16)
    assert (drawn.cloudy != drawn.target).any((1, 2, 3)).all()
    assert drawn.mask.mean() > 0.05


def test_mean_spectrum_weighs_datasets_alike(patches):
    darker = patches.isel(patch=[0]).assign(target=patches.target.isel(patch=[0]) * 0 + 0.01)
    darker.target.attrs = patches.target.attrs
    spec = xcf.models.load("carf-tiny").spec
    pairs = [pair(patches, "target"), pair(darker, "target")]
    both = PatchSamples(pairs, spec=spec, crop=32, simulated=0, mask="score")
    expected = (patches.target.mean(["patch", "y", "x"]) + 0.01) / 2
    np.testing.assert_allclose(both.mean_spectrum(), expected, rtol=1e-4)


def as_bands(patches):
    """Cloudy scene and truth as variables by band."""
    one = patches.rename(patch="time")
    names = {n: one.s2.sel(band=n, drop=True) for n in S2_BANDS}
    radar = {p: one.s1.sel(polarisation=p, drop=True) for p in ("VV", "VH")}
    truth = {n: one.target.sel(band=n, drop=True) for n in S2_BANDS}
    return xr.Dataset(names | radar), xr.Dataset(truth)


def test_every_form_fits_the_same(patches):
    scene, truth = as_bands(patches)
    expected = xcf.fit(patches, "carf-tiny", **QUICK)
    assert xcf.fit(scene, "carf-tiny", target=truth, **QUICK).digest == expected.digest
    assert xcf.fit([scene], "carf-tiny", target=[truth], **QUICK).digest == expected.digest
    with pytest.raises(DataError, match="one for each"):
        xcf.fit([scene], "carf-tiny", target=[truth, truth], **QUICK)


def test_surface_reflectance_and_fewer_bands(patches):
    scene, truth = (d.drop_vars("B10").cloudfree.calibrate(level="BOA") for d in as_bands(patches))
    model = xcf.models.create("carf-tiny", optical_bands=("B02", "B03", "B04", "B08"))
    fitted = xcf.fit(scene, model, target=truth, mask="l2a", **QUICK)
    assert fitted.spec.level == "BOA"
    with pytest.raises(MissingBandError, match=r"mask='score'"):
        xcf.fit(scene, model, target=truth, **QUICK)
    with pytest.raises(DataError, match="mask='score'"):
        xcf.fit(scene, model, target=truth, mask="scl", **QUICK)


def test_a_name_without_weights_takes_bands_and_level_from_the_data(patches):
    scene, truth = (
        d.drop_vars(["B01", "B10"]).cloudfree.calibrate(level="BOA") for d in as_bands(patches)
    )
    hidden = {"mask": "simulated", "simulated": 1.0}
    fitted = xcf.fit(scene, "carf-tiny", target=truth, **hidden, **QUICK)
    assert fitted.spec.optical_bands == tuple(b for b in S2_BANDS if b not in ("B01", "B10"))
    assert fitted.spec.level == "BOA"
    with pytest.raises(MissingBandError, match="B01"):  # a model says itself what it needs
        xcf.fit(scene, xcf.models.load("carf-tiny"), target=truth, **hidden, **QUICK)


def test_the_target_inherits_the_declaration_of_the_scene(patches):
    stored = patches.copy()
    for name in ("s2", "target"):
        stored[name] = (stored[name] * 1e4).round().astype("uint16")
        stored[name].attrs = {}
    stored = stored.cloudfree.calibrate(scale=1e-4, offset=0, level="TOA")
    assert xcf.fit(stored, "carf-tiny", **QUICK).spec.trained


def test_what_cannot_work_is_refused(patches):
    with pytest.raises(DataError, match=r"'time' .* fit\(..., target=...\)"):
        xcf.fit(patches.drop_vars("target"), **QUICK)
    with pytest.raises(DataError, match=r"one date, .* target=ds"):
        xcf.fit(patches.isel(patch=[0]).rename(patch="time").drop_vars("target"), **QUICK)
    with pytest.raises(DataError, match=r"fit\(..., crop=48\)"):
        xcf.fit(patches, steps=1, crop=64, progress=False)
    with pytest.raises(ModelError, match="loss='paper'"):
        xcf.fit(patches, loss="l2", **QUICK)
    with pytest.raises(ModelError, match=r"models.list\(\)"):
        xcf.fit(patches, "carf-huge", **QUICK)
    with pytest.raises(MissingBandError, match="VH"):
        xcf.fit(patches.isel(polarisation=[0]), **QUICK)
    with pytest.raises(DataError, match="no data"):
        xcf.fit([], **QUICK)
    with pytest.raises(DataError, match=r"batch of 30 .* 24 different .*batch=24"):
        xcf.fit(patches, "carf-tiny", steps=1, crop=48, batch=30, progress=False)
    with pytest.raises(DataError, match="validation=0.1"):
        xcf.fit(patches, "carf-tiny", patience=2, **QUICK)
    wrong = {"steps": 0, "batch": 0, "alpha": 2, "simulated": 3, "learning_rate": 0.0}
    for name, value in wrong.items():
        with pytest.raises(DataError, match=name):
            xcf.fit(patches, **QUICK | {name: value})
    with pytest.raises(DataError, match="no valid target"):
        xcf.fit(patches.assign(target=patches.target * np.nan), **QUICK)
    undeclared = patches.sel(band=[b for b in S2_BANDS if b != "B10"]).copy()
    undeclared["s2"] = undeclared.s2.drop_attrs()
    with pytest.raises(DataError, match="calibrate"):
        xcf.fit(undeclared, **QUICK)
    surface = patches.copy()
    surface["s2"] = surface.s2.assign_attrs(processing_level="BOA")
    with pytest.raises(DataError, match="mixes levels"):
        xcf.fit([patches, surface], **QUICK)
    fitted = xcf.fit(patches, "carf-tiny", **QUICK)
    with pytest.raises(ModelError, match="models.create"):
        xcf.fit(surface, fitted, **QUICK)


def test_a_loss_without_meaning_stops_with_the_step(patches, monkeypatch):
    broken = {"paper": lambda p, y, m, a, x: p.sum() * torch.nan}
    monkeypatch.setattr("xcloudfree.train.objective.LOSSES", broken)
    with pytest.raises(DataError, match=r"nan at step 0, of dataset 0, sample \d, rows \d+:"):
        xcf.fit(patches, "carf-tiny", **QUICK)


def test_backscatter_has_a_gradient_during_fitting(patches):
    model = xcf.models.create("carf-tiny")
    fitted = xcf.fit(patches, model, **QUICK | {"steps": 2})
    before, after = (dict(m.network.named_parameters()) for m in (model, fitted))
    moved = [n for n in before if n.startswith("sar.") and not torch.equal(before[n], after[n])]
    assert len(moved) > 10


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("uncrtaints", {"width": 16, "decoder_blocks": 1}),
        ("simulation-fusion-gan-resnet", {"features": 8, "blocks": 1}),
        ("diffusion-tiny", {"features": 8, "blocks": 1}),
        ("sar-opt-cgan", {"features": 8, "levels": 4}),
        ("distortion-coding", {"features": 8, "units": 2}),
        ("dsen2cr-small", {"features": 8, "blocks": 2}),
        ("glfcr", {"features": 8, "growth": 8, "heads": 2, "layers": 2, "stages": 2}),
    ],
)
def test_every_part_of_every_network_is_fitted(patches, name, options):
    """All parameters move, but for the last gate of GLF-CR, which leads nowhere as published."""
    model = xcf.models.create(name, **options)
    fitted = xcf.fit(patches, model, simulated=0.0, **{**QUICK, "steps": 6})
    before = dict(model.network.named_parameters())
    still = {
        key
        for key, value in fitted.network.named_parameters()
        if torch.allclose(value, before[key], atol=1e-7)
    }
    assert {k for k in still if not k.startswith("cross.1.to_sar")} == set()


@pytest.mark.filterwarnings("ignore")
def test_the_variance_learns_the_size_of_the_error(patches):
    model = xcf.models.create("uncrtaints", width=16, decoder_blocks=1)
    fitted = xcf.fit(
        patches, model, steps=60, batch=4, crop=32, learning_rate=6e-3, loss="error",
        simulated=0.0, progress=False,
    )  # fmt: skip
    scene = patches.drop_vars("target")

    def likelihood(which):
        out = scene.cloudfree.reconstruct(model=which, blend=None, uncertainty=True)
        error, variance = out.s2 - patches.target, out.s2_std**2
        return float((np.log(variance) + error**2 / variance)[..., 20:].mean())

    assert likelihood(fitted) < likelihood(model) - 1

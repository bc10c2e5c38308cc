"""The shipped single-date weights for Level-2A."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import xcloudfree as xcf
from xcloudfree.exceptions import DemonstrationWarning, MissingBandError, UnitsError
from xcloudfree.plot.help.page import page

FOLDER = Path(xcf.__file__).parent / "models" / "weights"
TWELVE = tuple(b for b in xcf.bands.S2_BANDS if b != "B10")
TEN = tuple(b for b in TWELVE if b not in ("B01", "B09"))
BANDS = {"carf-small-l2a-demo": TWELVE, "carf-small-l2a-10-demo": TEN}

real = pytest.mark.skipif("XCLOUDFREE_DATA" not in os.environ, reason="needs the real images")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    pytest.importorskip("h5netcdf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import l2a_weights

        yield l2a_weights


def scene(level="BOA"):
    return xcf.datasets.simulate_scene((64, 64), level=level, seed=1).isel(time=0)


@pytest.mark.parametrize("name", BANDS)
def test_weights_tell_bands_level_and_that_they_are_a_demonstration(name):
    spec = xcf.models.load(name).spec
    assert (spec.optical_bands, spec.level, spec.sar_quantity) == (BANDS[name], "BOA", "sigma0")
    assert spec.trained
    assert spec.demonstration
    assert not spec.context
    assert "BigEarthNet" in spec.training_data
    assert ("WorldCereal" in spec.training_data) == (name == "carf-small-l2a-10-demo")
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 8e6
    card = (FOLDER / f"{name}.md").read_text()
    assert card.startswith(f"# {name}\n\n**Demonstration weights**")
    for value in spec.metrics.values():
        assert f"{value:g}" in card or f"{value:.2f}" in card


@pytest.mark.parametrize("name", BANDS)
def test_they_fill_what_is_hidden_and_keep_the_rest(name):
    pytest.importorskip("torch")
    data = scene()[[*BANDS[name], "VV", "VH"]]
    hidden = data.B02.copy(data=np.add.outer(np.arange(64), np.arange(64)) % 40 < 20)
    with pytest.warns(DemonstrationWarning):
        out = data.cloudfree.reconstruct(model=name, mask=hidden)
    for band in BANDS[name]:
        assert np.isfinite(out[band]).all()
        seen = out.provenance == 1
        np.testing.assert_array_equal(out[band].where(seen), data[band].where(seen))
        assert float(abs(out[band] - data[band]).where(hidden).max()) > 1e-3
    white = {b: data[b].where(~hidden, 0.9).assign_attrs(data[b].attrs) for b in BANDS[name]}
    with pytest.warns(DemonstrationWarning):
        same = data.assign(white).cloudfree.reconstruct(model=name, mask=hidden)
    np.testing.assert_array_equal(same.B04.where(hidden), out.B04.where(hidden))


def test_level_1c_is_refused_and_the_message_names_what_reads_it():
    for name in BANDS:
        with pytest.raises(UnitsError, match=r"choose a model for TOA, such as 'carf-small-demo'"):
            scene("TOA").cloudfree.reconstruct(model=name)


def test_weights_for_level_1c_name_those_for_level_2a():
    data = scene()
    cases = {"carf-small-l2a-demo": data, "carf-small-l2a-10-demo": data[[*TEN, "VV", "VH"]]}
    for name, ds in cases.items():
        with pytest.raises(MissingBandError, match=f'model="{name}" for one date'):
            ds.cloudfree.reconstruct(model="carf-small-demo")
    with pytest.raises(MissingBandError, match=r'mask\("scl"\)'):
        data[[*TEN, "VV", "VH"]].cloudfree.reconstruct(mask="score")
    with pytest.raises(MissingBandError, match="needs B01, B09"):
        data[[*TEN, "VV", "VH"]].cloudfree.reconstruct(model="carf-small-l2a-demo")


def test_what_is_said_of_a_scene_offers_the_weights_for_its_bands_and_dates():
    data = scene()
    classes = data.B02.copy(data=np.full((64, 64), 4, "uint8")).drop_attrs()
    series = xcf.datasets.simulate_scene((64, 64), dates=2, level="BOA", seed=1)
    wanted = {
        "carf-small-l2a-demo": data,
        "carf-small-l2a-10-demo": data[[*TEN, "VV", "VH"]].assign(SCL=classes),
        "carf-series-l2a-demo": series,
    }
    for name, ds in wanted.items():
        told = page(ds)
        assert next(v.fits for v in told.models if v.name == name)
    # of these only the network of series is no demonstration that something simpler beats
    offered = [call for call, about in told.calls if about.startswith("by a network")]
    assert offered == ["ds.cloudfree.reconstruct('carf-series-l2a-demo')"]


@real
@pytest.mark.parametrize("name", BANDS)
def test_a_real_patch_comes_out_as_the_card_says(name, example):
    case = next(c for c in example.simulated_cases(BANDS[name]) if example.CHECKED in c.name)
    with pytest.warns(DemonstrationWarning):
        out = case.data.cloudfree.reconstruct(model=name, mask=case.hidden)
    guess = out.s2.values * 1e-4 if out.s2.dtype.kind == "u" else out.s2.values
    truth = case.truth.s2.values * 1e-4
    error = (guess - truth)[:, case.hidden.values]
    found = -10 * np.log10(np.mean(error**2))
    card = (FOLDER / f"{name}.md").read_text()
    told = re.search(r"the shipped weights reach ([\d.]+) dB", card)
    assert found == pytest.approx(float(told[1]), abs=0.02)


@real
@pytest.mark.slow
def test_the_card_tells_what_a_fit_without_the_place_reaches(tmp_path, example):
    name = "carf-small-l2a-10-demo"
    model = example.fitted(name, "C", tmp_path)
    cases = [c for c in example.simulated_cases(TEN) if c.region == "Chile"]
    result = xcf.benchmark(cases, {"fitted": model})
    card = (FOLDER / f"{name}.md").read_text()
    for case in cases:
        row = re.search(rf"\| Chile 433D, {case.kind} \|(.*)\|", card)
        told = float(row[1].split("|")[-1].strip(" *"))
        found = result.value.sel(case=case.name, metric="psnr", pixels="cloudy").item()
        assert found == pytest.approx(told, abs=0.1)

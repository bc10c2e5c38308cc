"""Fitting on an area's own series, from the same call."""

import numpy as np
import pytest
from click.testing import CliRunner

import xcloudfree as xcf
from tests.builders import QUICK, field_series, fields
from xcloudfree.cli import main
from xcloudfree.exceptions import CloudFreeError, DataError
from xcloudfree.train import Recipe, split_series

FEW = QUICK | {"recipe": Recipe(gaps=(0, 15), every=1, held_out=1)}


def test_a_series_is_fitted_on_its_own_clear_pixels(tmp_path):
    one, again = (xcf.fit(field_series(), "carf-tiny", **FEW) for _ in range(2))
    assert one.digest == again.digest
    lazy = xcf.fit(field_series().chunk(time=2), "carf-tiny", checkpoints=tmp_path, **FEW)
    assert lazy.digest == one.digest


def test_a_network_with_context_is_fitted_on_it():
    model = xcf.models.create("carf-tiny", context=("before", "after"))
    fitted = xcf.fit(field_series(), model, **FEW)
    assert fitted.digest != model.digest
    out = field_series().cloudfree.reconstruct(model=fitted)
    assert np.isfinite(out.s2.isel(time=1)).all()
    with pytest.raises(CloudFreeError, match="series"):
        xcf.fit(fields(), model, **QUICK)


def test_the_latest_dates_or_another_series_are_held_out():
    fitted = xcf.fit(field_series(8), "carf-tiny", validation=0.4, **FEW)
    assert "mean absolute error under the mask" in fitted.spec.note
    early, late = split_series(field_series(8), before="2024-06-20")
    assert xcf.fit(early, "carf-tiny", validation=late, **FEW).spec.trained
    with pytest.raises(DataError, match="same pixels"):
        xcf.fit(field_series(8), "carf-tiny", validation=late, **FEW)


def test_pairs_and_series_together():
    fitted = xcf.fit([fields(), field_series(), field_series(seed=2)], "carf-tiny", **FEW)
    assert fitted.spec.trained


def test_a_series_without_a_clear_date_is_refused():
    ds = field_series()
    ds.s2[:] = ds.s2.values[1, :, 30, 30][None, :, None, None]
    with pytest.raises(DataError, match="0 of 6 dates show the ground"):
        xcf.fit(ds, "carf-tiny", **FEW)


def test_one_date_and_no_radar_are_refused():
    with pytest.raises(DataError, match="one date"):
        xcf.fit(field_series().isel(time=[0]), "carf-tiny", **FEW)
    silent = field_series()
    silent.s1[:] = np.nan
    with pytest.raises(DataError, match="backscatter"):
        xcf.fit(silent, "carf-tiny", **FEW)


def test_radar_on_some_dates_only_is_enough():
    gap = field_series()
    gap.s1[2:4] = np.nan
    fitted = xcf.fit(gap, "carf-tiny", **FEW)
    assert all(p.isfinite().all() for p in fitted.network.parameters())


def test_levels_that_differ_are_refused():
    surface = field_series(seed=3)
    surface["s2"] = surface.s2.assign_attrs(processing_level="BOA")
    with pytest.raises(DataError, match="mixes levels"):
        xcf.fit([field_series(), surface], "carf-tiny", **FEW)


def test_the_command_line(tmp_path):
    xcf.io.to_zarr(field_series(), tmp_path / "series.zarr", progress=False)
    words = [
        "fit", str(tmp_path / "series.zarr"), str(tmp_path / "mine.safetensors"), "--model",
        "carf-tiny", "--steps", "2", "--batch", "2", "--crop", "32", "--quiet", "--validation",
        "0.4", "--checkpoints", str(tmp_path / "kept"), "--log", str(tmp_path / "log"),
    ]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert xcf.models.load(tmp_path / "mine.safetensors").spec.note.startswith("2 steps of 2 x 32")
    assert (tmp_path / "kept/checkpoint.safetensors").is_file()
    assert (tmp_path / "log/metrics.csv").is_file()


def test_the_command_line_fits_other_bands_than_those_of_level_1c(tmp_path):
    surface = field_series().drop_sel(band=["B09", "B10"])
    surface["s2"] = surface.s2.assign_attrs(processing_level="BOA")
    xcf.io.to_zarr(surface, tmp_path / "l2a.zarr", progress=False)
    out = tmp_path / "mine.safetensors"
    words = [
        "fit", str(tmp_path / "l2a.zarr"), str(out), "--model", "carf-tiny", "--steps", "2",
        "--batch", "2", "--crop", "32", "--quiet",
    ]  # fmt: skip
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1
    assert "--optical-bands" in refused.output
    assert not out.exists()
    more = ["--optical-bands", "B02,B04,B8A", "--mask", "l2a", "--simulated", "0"]
    done = CliRunner().invoke(main, [*words, *more])
    assert done.exit_code == 0, done.output
    fitted = xcf.models.load(out)
    assert fitted.spec.optical_bands == ("B02", "B04", "B8A")
    assert fitted.spec.level == "BOA"
    assert "simulated 0," in fitted.spec.note
    trained = CliRunner().invoke(main, [*words, "--model", str(out), "--optical-bands", "B02"])
    assert trained.exit_code == 1
    assert "belong to its bands" in trained.output

"""The demonstration, small."""

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from xcloudfree import methods
from xcloudfree.cli import demonstration as demo
from xcloudfree.cli.demonstration import own_series, simulated
from xcloudfree.exceptions import DataError

pytestmark = [
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning"),
    pytest.mark.filterwarnings("ignore:.*patches lack an image"),
]


def test_from_catalog_to_picture(tmp_path, monkeypatch):
    for name in {*simulated.COMPARED, *own_series.COMPARED} - {"do nothing", "clear mean"}:
        assert name in methods.names() or xcf.models.known(name)
    monkeypatch.setattr(simulated, "SIZE", 128)
    few = ("median", simulated.MODEL, "carf-series-l2a-demo")
    monkeypatch.setattr(simulated, "COMPARED", few)
    said = []
    result = demo.run(tmp_path, say=said.append)
    names = {p.name for p in tmp_path.iterdir()}
    assert {
        "catalog",
        "cloudfree.zarr",
        "cloudfree.tif",
        "demo.png",
        "series.png",
        "metrics.md",
    } <= names
    stored = xcf.io.open_zarr(tmp_path / "cloudfree.zarr")
    assert stored.rio.crs.to_epsg() == 32633
    assert {1, 2} <= set(np.unique(stored.provenance)) <= {1, 2, 3}
    assert stored.sizes["time"] == len(simulated.COVER)
    assert {"do nothing", "mean of the clear pixels", *simulated.COMPARED} - {
        simulated.MODEL
    } <= set(result.estimate.values)
    cloudy = result.psnr.sel(pixels="cloudy").mean("time")
    assert float(cloudy.sel(estimate="prediction")) > float(
        cloudy.sel(estimate="mean of the clear pixels")
    )
    assert any("7/7" in line for line in said)


def test_on_real_patches(tmp_path, data_root):
    said = []
    result = demo.run(tmp_path, data=data_root / "sen12mscr", model="carf-tiny", say=said.append)
    assert (tmp_path / "1970_fall_139_p839.png").exists()
    scene = xcf.datasets.sen12mscr(data_root / "sen12mscr").drop_vars("target")
    stored = xcf.io.open_zarr(tmp_path / "cloudfree.zarr")
    clear = ~scene.cloudfree.mask()
    xr.testing.assert_equal(stored.s2.where(clear), scene.s2.where(clear))
    rows = result.psnr.sel(pixels="clear")
    np.testing.assert_allclose(
        rows.sel(estimate="prediction"), rows.sel(estimate="do nothing"), rtol=1e-12
    )


@pytest.fixture
def store(tmp_path):
    """A series with clear and half-covered dates, larger than what the demonstration takes."""
    scene = xcf.datasets.simulate_scene(
        (80, 72), dates=8, cover=[0, 0.5, 0, 0.5, 0, 0.6, 0, 0.4], level="BOA", seed=3
    )
    path = tmp_path / "series.zarr"
    xcf.io.to_zarr(scene, path, progress=False)
    return path


def test_a_series_of_ones_own_is_judged_on_hidden_dates(tmp_path, store, monkeypatch):
    monkeypatch.setattr(own_series, "LARGEST", 64)
    monkeypatch.setattr(own_series, "DATES", 2)
    few = ("clear mean", "area-regression+nearby", own_series.MODEL, "carf-series-l2a-demo")
    monkeypatch.setattr(own_series, "COMPARED", few)
    said, out = [], tmp_path / "out"
    result = demo.run(out, data=store, say=said.append)
    assert {p.name for p in out.iterdir()} == {
        "cloudfree.zarr", "demo.png", "metrics.md", "series.png",
    }  # fmt: skip
    assert result.sizes["case"] == 2
    psnr = result.value.sel(metric="psnr", pixels="cloudy").mean("case")
    ahead = psnr.sel({"method": own_series.MODEL}) - psnr.sel({"method": "clear mean"})
    assert float(ahead) > 0
    made = xcf.io.open_zarr(out / "cloudfree.zarr")
    series = xcf.io.open_zarr(store).isel(y=slice(8, 72), x=slice(4, 68))
    xr.testing.assert_equal(made.y, series.y)
    xr.testing.assert_equal(made.x, series.x)
    seen = made.provenance == 1
    assert {1, 2} <= set(np.unique(made.provenance))
    xr.testing.assert_equal(made.B04.where(seen), series.B04.where(seen))
    hidden = series.cloudfree.mask(dilate=own_series.DILATE)
    np.testing.assert_array_equal(made.provenance >= 2, hidden)
    assert any(f"with {own_series.MODEL}" in line for line in said)
    text = (out / "metrics.md").read_text(encoding="utf-8")
    assert "| area-regression+nearby |" in text
    assert "carf-series-l2a-demo" in text


def test_one_array_of_bands_is_refused_with_the_call_that_splits_it(tmp_path, store):
    array = xcf.io.open_zarr(store)[["B02", "B08"]].to_dataarray("band").compute()
    xcf.io.to_zarr(array.drop_attrs(), tmp_path / "array.zarr", progress=False)
    with pytest.raises(DataError, match=r"array\.to_dataset\('band'\)"):
        demo.run(tmp_path / "out", data=tmp_path / "array.zarr", say=lambda _: None)


def test_a_series_without_radar_is_filled_from_its_dates(tmp_path, store, monkeypatch):
    monkeypatch.setattr(own_series, "DATES", 1)
    monkeypatch.setattr(own_series, "COMPARED", ("clear mean", "median"))
    bare = xcf.io.open_zarr(store).drop_vars(["VV", "VH"]).compute()
    xcf.io.to_zarr(bare, tmp_path / "bare.zarr", progress=False)
    said = []
    demo.run(tmp_path / "out", data=tmp_path / "bare.zarr", say=said.append)
    assert any(f"with {own_series.MODEL}" in line for line in said)


def test_a_series_without_bands_for_a_mask_says_what_is_missing(tmp_path, store):
    few = xcf.io.open_zarr(store)[["B04", "B08", "VV", "VH"]].isel(time=slice(4)).compute()
    xcf.io.to_zarr(few, tmp_path / "few.zarr", progress=False)
    with pytest.raises(DataError, match=r"ds\.assign\(SCL=\.\.\.\)"):
        demo.run(tmp_path / "out", data=tmp_path / "few.zarr", say=lambda _: None)


def test_a_single_file_is_refused_with_the_call_that_makes_a_store(tmp_path):
    (tmp_path / "scene.nc").touch()
    with pytest.raises(DataError, match=r"xcf\.io\.to_zarr\(ds, 'series\.zarr'\)$"):
        demo.run(tmp_path / "out", data=tmp_path / "scene.nc")
    assert not (tmp_path / "out").exists()

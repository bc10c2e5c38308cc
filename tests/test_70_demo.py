"""The demonstration, small."""

import numpy as np
import pytest
import xarray as xr

import xcloudfree as xcf
from xcloudfree import demo

pytestmark = [
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning"),
    pytest.mark.filterwarnings("ignore:.*patches lack an image"),
]


def test_from_catalog_to_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SIZE", 192)
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
    assert stored.sizes["time"] == len(demo.COVER)
    assert {"do nothing", "mean of the clear pixels", *demo.COMPARED} - {demo.SERIES} <= set(
        result.estimate.values
    )
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

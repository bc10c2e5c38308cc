"""The demonstration, small."""

import numpy as np
import pytest

import xcloudfree as xcf
from xcloudfree import methods
from xcloudfree.cli import demonstration as demo

pytestmark = pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")


def test_from_catalog_to_picture(tmp_path, monkeypatch):
    for name in demo.COMPARED:
        assert name in methods.names() or xcf.models.known(name)
    monkeypatch.setattr(demo, "SIZE", 128)
    few = ("median", demo.MODEL, "linear-time")
    monkeypatch.setattr(demo, "COMPARED", few)
    said = []
    result = demo.run(tmp_path, say=said.append)
    names = {p.name for p in tmp_path.iterdir()}
    assert {
        "catalog",
        "cloudfree.zarr",
        "cloudfree.tif",
        "demo.png",
        "series.png",
        "calendar.png",
        "ndvi.png",
        "swipe.html",
        "metrics.md",
    } <= names
    stored = xcf.io.open_zarr(tmp_path / "cloudfree.zarr")
    assert stored.rio.crs.to_epsg() == 32633
    assert {1, 2} <= set(np.unique(stored.provenance)) <= {1, 2, 3}
    assert stored.sizes["time"] == len(demo.COVER)
    assert {"do nothing", "mean of the clear pixels", *demo.COMPARED} - {demo.MODEL} <= set(
        result.estimate.values
    )
    cloudy = result.psnr.sel(pixels="cloudy").mean("time")
    assert float(cloudy.sel(estimate="prediction")) > float(
        cloudy.sel(estimate="mean of the clear pixels")
    )
    assert any("8/8" in line for line in said)
    assert any("the mask has" in line for line in said)

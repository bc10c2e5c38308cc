"""composite and plot on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.cli.test_cli import call, refused

image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series in a store, and what was made of it."""
    place = tmp_path_factory.mktemp("products")
    days = list(pd.date_range("2025-05-20T10:06", periods=6, freq="6D"))
    series = xcf.datasets.simulate_scene((40, 36), dates=days, cover=0.4, seed=1)
    xcf.io.to_zarr(series.chunk(time=1, y=20, x=20), place / "scene.zarr", progress=False)
    opened = xcf.io.open_zarr(place / "scene.zarr")
    made = opened.cloudfree.reconstruct("linear-time", mask="score", shadow=False)
    xcf.io.to_zarr(made, place / "out.zarr", progress=False)
    return place


def test_months_of_a_store(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "months.zarr"
    call(
        "composite", folder / "scene.zarr", out, "--mask", "score", "--method", "median", "--quiet"
    )
    expected = xcf.io.open_zarr(folder / "scene.zarr").cloudfree.composite(
        "MS", "median", mask="score"
    )
    xr.testing.assert_equal(xcf.io.open_zarr(out)[["B08", "count"]], expected[["B08", "count"]])


def test_intervals_of_a_result_as_geotiffs(folder: Path, tmp_path: Path) -> None:
    words = ("--between", "2025-05-20/2025-06-01", "--between", "2025-06-02/2025-06", "--fill")
    shown = call("composite", folder / "out.zarr", tmp_path / "two.tif", *words, "--quiet")
    written = sorted(tmp_path.glob("*.tif"))
    assert [path.name.count("provenance") for path in written] == [0, 1, 0, 1]
    assert shown.output.count("written: ") == 4
    told = call("info", written[0], "--level", "TOA", "--sar", "dB")  # it can be read again
    assert "13 optical bands" in told.output


def test_pictures_films_and_pages(folder: Path, tmp_path: Path) -> None:
    before = ("--observed", folder / "scene.zarr", "--mask", "score")
    ds = xcf.io.open_zarr(folder / "scene.zarr")
    at = f"{float(ds.x[5])},{float(ds.y[9])}"
    call("plot", folder / "out.zarr", tmp_path / "all.png", *before)
    call("plot", folder / "out.zarr", tmp_path / "curve.png", "--at", at, "--of", "B8A", *before)
    call("plot", folder / "scene.zarr", tmp_path / "year.png", "--calendar", "--mask", "score")
    call("plot", folder / "out.zarr", tmp_path / "film.gif", *before)
    call("plot", folder / "out.zarr", tmp_path / "page.html", *before, "--time", "2025-06-01")
    for name in ("all.png", "curve.png", "year.png", "film.gif"):
        with image.open(tmp_path / name) as picture:
            assert np.ptp(np.asarray(picture.convert("L"))) > 100
    assert "2025-06-01" in (tmp_path / "page.html").read_text()


def test_what_cannot_be_made_is_refused_in_options(folder: Path, tmp_path: Path) -> None:
    scene, out = folder / "scene.zarr", tmp_path / "out.zarr"
    assert "use --every MS" in refused("composite", scene, out, "--every", "often")
    assert "give --between" in refused("composite", scene, out, "--between", "2025")
    assert "not a known format" in refused("plot", scene, tmp_path / "a.txt")
    assert "not two numbers" in refused("plot", scene, tmp_path / "a.png", "--at", "north")
    assert "use the ending .png" in refused("plot", scene, tmp_path / "a.gif", "--calendar")
    assert "use --observed" in refused("plot", scene, tmp_path / "a.html")
    assert not out.exists()

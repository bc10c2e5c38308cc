"""The command that judges: tables, files, patches, and the winner that reconstruct takes."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xcloudfree as xcf
from tests.cli.test_cli import call, refused
from xcloudfree import judge as bench


@pytest.fixture(scope="module")
def series():
    cover = [0, 0.5, 0, 0.5, 0, 0.6]
    ds = xcf.datasets.simulate_scene((40, 40), dates=6, cover=cover, level="BOA", seed=3)
    return ds[["B01", "B02", "B03", "B04", "B08", "B11"]]


@pytest.fixture
def store(tmp_path, series):
    path = tmp_path / "series.zarr"
    xcf.io.to_zarr(series.chunk(y=20), path, progress=False)
    return path


def test_tables_are_printed_and_every_format_is_written(store, series, tmp_path):
    words = ("--models", "linear-time, median", "--gaps", "0,7", "--cases", 2, "--mask", "l2a")
    outputs = [tmp_path / name for name in ("t.md", "t.csv", "t.png")]
    files = [word for path in outputs for word in ("--output", path)]
    done = call("judge", store, *words, *files, "--quiet")
    assert done.exit_code == 0, done.output
    table = series.cloudfree.judge(
        ["linear-time", "median"], gaps=[0, 7], cases=2, mask="l2a", progress=False
    )
    winner = table.attrs["winner"]
    assert f"Best: {winner}: " in done.output
    for by in ("distance", "band"):
        metrics = ["psnr" if by == "distance" else "mae"]
        assert bench.to_markdown(table, by=[by], metrics=metrics) in done.output
    assert outputs[0].read_text().strip() in done.output
    figures = pd.read_csv(outputs[1])
    row = figures.query("model == 'median' and gap == 7 and distance == 'any' and band == 'B04'")
    expected = table.psnr.sel(model="median", gap=7, distance="any", band="B04")
    np.testing.assert_allclose(row.psnr, expected, rtol=1e-6)
    assert outputs[2].stat().st_size > 1000


def test_what_the_command_cannot_do_is_refused_in_its_options(store, tmp_path):
    assert "not numbers of days; give --gaps 0,15,30" in refused("judge", store, "--gaps", "few")
    assert "use --gaps 0,15,30" in refused("judge", store, "--gaps", "-1")
    assert "use --cases 6" in refused("judge", store, "--cases", "0")
    assert ".md, .csv, .png" in refused("judge", store, "--output", tmp_path / "t.xls")
    assert "did you mean 'median'" in refused("judge", store, "--models", "medain")
    bare = call("demo", "--data", store)
    assert bare.exit_code == 2
    assert "No such option" in bare.output


def test_the_winner_is_reconstructed_with_and_a_dry_run_says_why(store, monkeypatch, tmp_path):
    whole = bench.own_scene.judge_scene

    def few(obj, models=None, **options):
        return whole(obj, ["median"], gaps=[0], cases=1, mask="l2a", progress=False)

    monkeypatch.setattr(bench.own_scene, "judge_scene", few)
    words = ("reconstruct", store, tmp_path / "out.zarr", "--model", "judged", "--mask", "l2a")
    told = call(*words, "--dry-run")
    assert told.exit_code == 0, told.output
    assert "model       judged takes median: judged best: " in told.output
    assert not (tmp_path / "out.zarr").exists()
    assert call(*words, "--quiet").exit_code == 0
    assert xr.open_zarr(tmp_path / "out.zarr").provenance.attrs["model"] == "median"


@pytest.mark.filterwarnings("ignore:.*patches lack an image")
def test_patches_are_compared_with_their_own_clear_images(data_root, tmp_path):
    words = ("--models", "do nothing,clear mean", "--output", tmp_path / "t.csv", "--quiet")
    done = call("judge", data_root / "sen12mscr", "--mask", "score", *words)
    assert done.exit_code == 0, done.output
    pair = xcf.datasets.sen12mscr(data_root / "sen12mscr").sel(patch="1970_fall_139_p839")
    case = bench.patch_case("one", pair)
    psnr = xcf.benchmark([case], ["clear mean"]).value.sel(metric="psnr", pixels="cloudy").item()
    column = done.output.splitlines()[0].split("|").index(" 1970_fall_139_p839 ")
    row = next(line for line in done.output.splitlines() if line.startswith("| clear mean"))
    assert row.split("|")[column].strip(" *") == f"{psnr:.2f}"
    assert (tmp_path / "t.csv").read_text().startswith("method,case,")

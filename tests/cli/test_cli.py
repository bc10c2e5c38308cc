"""The command line: every command on Zarr, GeoTIFFs and a catalog, and how it fails."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import rioxarray
import xarray as xr
from click.testing import CliRunner, Result

import xcloudfree as xcf
from tests.builders import make_bands, make_series, stacked
from xcloudfree.cli import main, plan
from xcloudfree.cli.inputs import open_geotiffs
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.exceptions import DataError
from xcloudfree.models.cost import peak_bytes

pytestmark = pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning")


def call(*words: Any) -> Result:
    """Run a command; an error that is none of ours would come out as a traceback here."""
    found = CliRunner().invoke(main, [str(w) for w in words])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert "Traceback" not in found.output
    return found


def refused(*words: Any) -> str:
    found = call(*words)
    assert found.exit_code == 1
    lines = [line for line in found.output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "scene.zarr"
    xcf.io.to_zarr(make_bands().chunk(y=20, x=20), path, progress=False)
    return path


def geotiff(path: Path, ds: xr.Dataset, names: list[str], *, named: bool = True) -> Path:
    """Integers of 1e-4 without a declared scale, as many tools write them."""
    numbers = (ds[names].isel(time=0, drop=True).to_dataarray("band") * 1e4).round()
    numbers = numbers.astype("uint16").assign_attrs(
        long_name=tuple(names) if named and len(names) > 1 else names[0] if named else None
    )
    if not named:
        del numbers.attrs["long_name"]
    numbers.rio.write_crs(ds.rio.crs).rio.to_raster(path)
    return path


def test_mask_and_reconstruction_of_a_store(store: Path, tmp_path: Path) -> None:
    ds = make_bands()
    done = call("mask", store, tmp_path / "mask.zarr", "--method", "l2a", "--dilate", 2)
    assert done.exit_code == 0
    assert "written: " in done.output
    stored = xcf.io.open_zarr(tmp_path / "mask.zarr").mask
    np.testing.assert_array_equal(stored, ds.cloudfree.mask("l2a", dilate=2))
    assert stored.sum() > ds.cloudfree.mask("l2a").sum()
    words = ("reconstruct", store, f"{tmp_path / 'o.zarr'}/", "--model", "idw", "--quiet")
    quiet = call(*words)
    assert quiet.exit_code == 0
    assert "%|" not in quiet.output
    out = xcf.io.open_zarr(tmp_path / "o.zarr")
    xr.testing.assert_equal(out.B04.drop_vars("item_id"), idw(ds).B04.drop_vars("item_id"))
    words = ("reconstruct", store, tmp_path / "plain.zarr", "--model", "idw", "--no-blend")
    assert "writing plain.zarr 100%|" in call(*words, "--progress").output
    plain = xcf.io.open_zarr(tmp_path / "plain.zarr")
    assert (plain.provenance.attrs["blend"], out.provenance.attrs["blend"]) == ("none", "feather")


def idw(ds: xr.Dataset) -> xr.Dataset:
    out: xr.Dataset = ds.cloudfree.reconstruct(model="idw")
    return out


def test_geotiffs_in_and_out(tmp_path: Path) -> None:
    ds = make_bands(1)
    names = ["B01", "B02", "B03", "B04", "B08", "B11"]
    optical = geotiff(tmp_path / "s2.tif", ds, names)
    radar = tmp_path / "scene_VV.tif"
    ds.VV.isel(time=0, drop=True).rio.write_crs(ds.rio.crs).rio.to_raster(radar)
    declared = ("--scale", 1e-4, "--offset", 0, "--level", "BOA", "--sar", "dB")
    out = tmp_path / "out.tif"
    done = call("reconstruct", optical, radar, out, "--model", "idw", "--mask", "l2a", *declared)
    assert done.exit_code == 0, done.output
    found = rioxarray.open_rasterio(out)
    assert isinstance(found, xr.DataArray)
    assert list(found.attrs["long_name"])[: len(names)] == names
    assert found.rio.crs == ds.rio.crs
    hidden = ds[names].isel(time=0).cloudfree.calibrate(level="BOA").cloudfree.mask("l2a")
    changed = found[1].values != (ds.B02[0] * 1e4).round().values
    np.testing.assert_array_equal(changed, hidden)
    mask = tmp_path / "mask.tif"
    assert call("mask", optical, mask, "--method", "l2a", *declared[:6]).exit_code == 0
    written = rioxarray.open_rasterio(mask)
    assert isinstance(written, xr.DataArray)
    np.testing.assert_array_equal(written.values[0], hidden)


def test_a_geotiff_that_was_written_here_can_be_judged(tmp_path: Path) -> None:
    ds = make_bands()
    scene = geotiff(tmp_path / "s2.tif", ds, list(S2_BANDS))
    units = ("--scale", "1e-4", "--offset", 0, "--level", "TOA")
    out = tmp_path / "out.tif"
    assert call("reconstruct", scene, out, "--model", "idw", *units).exit_code == 0
    flags = tmp_path / "out_provenance.tif"
    found = open_geotiffs([str(out), str(flags)], None, 64)
    assert found.B02.attrs["scale_factor"] == 1e-4
    assert found.provenance.attrs.get("scale_factor", 1) == 1
    done = call("evaluate", out, scene, "--observed", scene, "--mask", "score", *units)
    assert done.exit_code == 0
    assert "Scales differ" not in done.output


def test_bands_are_named_by_the_file_its_name_or_the_user(tmp_path: Path) -> None:
    ds = make_bands(1)
    names = ["B01", "B02", "B03", "B04", "B11"]
    plain = geotiff(tmp_path / "plain.tif", ds, names, named=False)
    declared = ("--scale", 1e-4, "--level", "BOA", "--method", "l2a")
    assert "name them with --bands" in refused("mask", plain, tmp_path / "m.tif", *declared)
    few = refused("mask", plain, tmp_path / "m.tif", *declared, "--bands", "B01,B02")
    assert "names 2 and the files have 5" in few
    listed = ",".join(names)
    done = call("mask", plain, tmp_path / "a.tif", *declared, "--bands", listed)
    assert done.exit_code == 0, done.output
    single = [geotiff(tmp_path / f"T33_{n}.tif", ds, [n], named=False) for n in names]
    assert call("mask", *single, tmp_path / "b.tif", *declared).exit_code == 0
    one, two = (rioxarray.open_rasterio(tmp_path / f"{n}.tif") for n in "ab")
    np.testing.assert_array_equal(one, two)
    twice = refused("mask", single[0], single[0], tmp_path / "c.tif", *declared)
    assert "B01 occurs twice" in twice


def test_units_are_asked_for_and_never_guessed(tmp_path: Path) -> None:
    ds = make_bands(1)
    path = geotiff(tmp_path / "s2.tif", ds, ["B01", "B02", "B03", "B04", "B11"])
    said = refused("mask", path, tmp_path / "m.tif", "--method", "l2a")
    mend = re.search(r"; use (--scale \S+ --offset \S+)$", said)
    assert mend is not None
    words = mend[1].split()
    assert call("mask", path, tmp_path / "m.tif", "--method", "l2a", *words).exit_code == 0


def test_a_file_without_a_place_is_told_in_words_of_the_command_line(tmp_path: Path) -> None:
    ds = make_bands(1).drop_vars(["spatial_ref", "y", "x"]).isel(time=0, drop=True)
    xcf.io.to_zarr(ds, tmp_path / "nowhere.zarr", progress=False)
    said = refused("mask", tmp_path / "nowhere.zarr", tmp_path / "m.tif")
    assert "with the ending .zarr" in said
    assert "ds.rio" not in said


def test_files_of_two_grids_are_refused(tmp_path: Path) -> None:
    ds = make_bands(1)
    one = geotiff(tmp_path / "one.tif", ds, ["B02", "B03"])
    two = geotiff(tmp_path / "two.tif", ds.isel(x=slice(1, None)), ["B04"])
    assert "on different grids" in refused("mask", one, two, tmp_path / "m.tif")


@pytest.mark.network
def test_a_catalog_is_searched_where_and_when_it_is_told(tmp_path: Path) -> None:
    scene = xcf.datasets.simulate_scene((64, 64), seed=3)
    xcf.stac.publish(scene, tmp_path / "catalog")
    with xcf.stac.serve(tmp_path / "catalog") as served:
        search(scene, served.url, tmp_path)


def search(scene: xr.Dataset, catalog: str, tmp_path: Path) -> None:
    assert "--bbox" in refused("mask", catalog, tmp_path / "m.zarr")
    box = scene.odc.geobox.geographic_extent.boundingbox.bbox
    where = ("--bbox", ",".join(map(str, box)), "--datetime", "2025-06", "--resolution", 10)
    wrong = refused("mask", catalog, tmp_path / "m.zarr", "--bbox", "1,2,x", *where[2:])
    assert "four numbers" in wrong
    unsigned = refused("mask", catalog, tmp_path / "m.zarr", *where, "--sign", "absent_module:sign")
    assert "cannot be imported" in unsigned
    planned = call("reconstruct", catalog, tmp_path / "o.zarr", *where, "--dry-run", "--chunks", 32)
    assert planned.exit_code == 0, planned.output
    assert "13 optical bands" in planned.output
    assert not (tmp_path / "o.zarr").exists()
    done = call("mask", catalog, tmp_path / "m.zarr", *where, "--quiet")
    assert done.exit_code == 0, done.output
    found = xcf.io.open_zarr(tmp_path / "m.zarr").mask
    assert float(found.mean()) == pytest.approx(float(scene.cloudfree.mask().mean()), abs=0.05)


def test_intervals_are_written_and_the_result_is_read_again(store: Path, tmp_path: Path) -> None:
    options = ("--model", "median", "--interval", 0.8, "--uncertainty", "--quiet")
    for out in (tmp_path / "o.zarr", tmp_path / "o.tif"):
        done = call("reconstruct", store, out, *options)
        assert done.exit_code == 0, done.output
    made = xcf.io.open_zarr(tmp_path / "o.zarr")
    assert made.B02_lower.attrs["interval"] == 0.8
    assert bool((made.B02_lower <= made.B02_upper).where(made.provenance == 2, True).all())
    again = call("mask", tmp_path / "o.zarr", tmp_path / "m.zarr", "--quiet")
    assert again.exit_code == 0, again.output
    wrong = refused(
        "reconstruct", store, tmp_path / "p.zarr", "--model", "median", "--interval", 90
    )
    assert "--interval 0.9" in wrong


def test_dry_run_tells_blocks_reading_memory_and_size(store: Path, tmp_path: Path) -> None:
    told = call("reconstruct", store, tmp_path / "o.zarr", "--dry-run", "--model", "carf-tiny")
    assert told.exit_code == 0
    assert not (tmp_path / "o.zarr").exists()
    lines = dict(line.split(None, 1) for line in told.output.splitlines())
    assert lines["blocks"].startswith("12 of 20 x 20 px")
    assert "carf-tiny: 0.37 M parameters" in lines["network"]
    assert "stride 16, reach 42 px" in lines["reading"]
    assert lines["output"].endswith("KiB before compression")
    size = 2 * 45 * 38 * (13 * 4 + 1)
    assert f"{size / 1024:.3g} KiB" in lines["output"]
    assert re.fullmatch(
        r"about \d+ (s|min) on \d+ threads without reading: 45 x 38 px of it took \d+\.\d s",
        lines["time"],
    )
    wrong = refused("reconstruct", store, tmp_path / "o.zarr", "--dry-run", "--mask", "scl")
    assert "needs the scene classification" in wrong
    plain = call("reconstruct", store, tmp_path / "o.zarr", "--dry-run", "--model", "median")
    assert "needs no weights" in plain.output
    masked = call("mask", store, tmp_path / "o.zarr", "--dry-run", "--method", "scl")
    assert "scl: needs SCL" in masked.output


def test_the_time_of_a_dry_run_grows_with_the_scene_and_shrinks_with_the_threads(monkeypatch):
    scene = xcf.datasets.simulate_scene((300, 200), seed=1)
    clock = iter([0.0, 8.0])
    monkeypatch.setattr("xcloudfree.io.schedulers.CPU_COUNT", 4)
    monkeypatch.setattr("xcloudfree.cli.plan.time.perf_counter", lambda: 0.0)
    monkeypatch.setattr("xcloudfree.cli.plan.time.process_time", lambda: next(clock))
    told = plan.time_text(scene, lambda window: window)
    seconds = 8 / 4 * (300 * 200) / (128 * 128)
    assert told.startswith(f"time        about {seconds:.0f} s on 4 threads without reading: 128 x")

    def nothing_clear(window):
        raise DataError("nothing is clear", fix="load more")

    told = plan.time_text(scene, nothing_clear)
    assert told.endswith("unknown: in the middle of the scene, nothing is clear")


def test_a_dry_run_is_refused_where_the_run_would_be(store: Path, tmp_path: Path) -> None:
    ds = xcf.io.open_zarr(store)
    for name in ("VV", "VH"):
        del ds[name].attrs["units"]
    xcf.io.to_zarr(ds, tmp_path / "bare.zarr", progress=False)
    said = refused("reconstruct", tmp_path / "bare.zarr", tmp_path / "o.zarr", "--dry-run")
    assert said.endswith("; use --sar dB or --sar linear")
    told = call(
        "reconstruct", tmp_path / "bare.zarr", tmp_path / "o.zarr", "--dry-run", "--model", "median"
    )
    assert "--sar dB or --sar linear" in told.output
    said = refused("reconstruct", store, tmp_path / "o.zarr", "--device", "cuda:99", "--dry-run")
    assert said.endswith("; use --device cpu")


def test_a_fill_of_the_backscatter_is_declared_as_the_error_says(tmp_path: Path) -> None:
    ds = make_bands(1)
    west = ds.x < ds.x[9]
    radar = {n: ds[n].where(~west, -9999).astype("float32") for n in ("VV", "VH")}
    filled = ds.assign({n: v.assign_attrs(ds[n].attrs) for n, v in radar.items()})
    path, out = tmp_path / "filled.zarr", tmp_path / "o.zarr"
    xcf.io.to_zarr(filled, path, progress=False)
    said = refused("reconstruct", path, out, "--model", "pixel-fusion")
    assert said.endswith("; use --sar-nodata -9999")
    done = call("reconstruct", path, out, "--model", "pixel-fusion", "--sar-nodata", -9999)
    assert done.exit_code == 0, done.output
    hidden = ds.cloudfree.mask()
    found = xcf.io.open_zarr(out).provenance
    np.testing.assert_array_equal(found == 3, (hidden & west).transpose(*found.dims))


def test_warnings_are_one_line(store: Path, tmp_path: Path) -> None:
    told = call(
        "reconstruct", store, tmp_path / "o.zarr", "--dry-run", "--model", "carf-small-demo"
    )
    (line,) = [line for line in told.output.splitlines() if "demonstrates the software" in line]
    assert line.startswith("Warning: model 'carf-small-demo'")


def test_memory_estimate_counts_what_is_alive() -> None:
    model = xcf.models.create("carf-tiny")
    small, large = peak_bytes(model, 64), peak_bytes(model, 128)
    assert 3.5 < large / small < 4.5
    features = model.spec.options.get("features", 32)
    assert small > 4 * features * 32 * 32 * 3


def test_the_help_page_speaks_of_options(store: Path, tmp_path: Path) -> None:
    assert "13 optical bands" in call("info", store).output
    path = geotiff(tmp_path / "s2.tif", make_bands(1), ["B01", "B02", "B03", "B04", "B11"])
    told = call("info", path)
    assert told.exit_code == 0
    assert "use --scale 1e-4 --offset" in told.output
    assert "use --level TOA or BOA" in told.output


@pytest.mark.parametrize(
    "change",
    [
        "nothing", "reconstructed", "SCL",
        *(pytest.param(change, marks=pytest.mark.slow) for change in ("no radar", "small chunks")),
    ],
)  # fmt: skip
def test_the_command_line_names_commands_and_no_calls(change: str, tmp_path: Path) -> None:
    ds = make_series(32, 32, dates=6)
    if change == "no radar":
        ds = ds.drop_vars(["VV", "VH"])
    elif change == "SCL":
        ds = ds[["B02", "B03"]].assign(SCL=xr.full_like(ds.B02, 4, "uint8")).drop_attrs()
    elif change == "reconstructed":
        ds = ds.cloudfree.reconstruct("median")
    side = 16 if change == "small chunks" else 32
    xcf.io.to_zarr(ds.chunk(y=side, x=32), tmp_path / "in.zarr", progress=False)
    told = call("info", tmp_path / "in.zarr").output
    told += call("reconstruct", tmp_path / "in.zarr", tmp_path / "out.zarr", "--dry-run").output
    assert "Next steps\n  xcloudfree " in told
    assert not re.search(r"\b(ds|xcf|xcloudfree|array)\.\w+|\w\(", told), told
    for line in told.partition("Next steps\n")[2].splitlines():
        if line.startswith("  xcloudfree "):
            words = line.split("    ")[0].split()[1:]
            places = {"SCENE": str(tmp_path / "in.zarr"), "mask.zarr": str(tmp_path / "mask.zarr"),
                      "out.zarr": str(tmp_path / "o.zarr"), "picture.png": str(tmp_path / "p.png"),
                      "TRUTH": str(tmp_path / "in.zarr")}  # fmt: skip
            done = call(*(places.get(word, word) for word in words))
            assert done.exit_code == 0 or "no square has a date" in done.output, (line, done.output)


def test_netcdf_as_openeo_writes_it_is_opened_with_its_dates(tmp_path: Path) -> None:
    ds = make_series(24, 20, dates=6)[["B02", "B03", "B04", "B08"]]
    path = tmp_path / "openEO.nc"
    ds.rename(time="t").to_netcdf(path, engine="h5netcdf")
    told = call("info", path)
    assert "4 optical bands, 6 dates, 24 x 20 px" in told.output
    assert call("mask", path, tmp_path / "mask.zarr").exit_code == 0
    xr.testing.assert_equal(
        xcf.io.open_zarr(tmp_path / "mask.zarr").mask.drop_attrs(), ds.cloudfree.mask().drop_attrs()
    )
    path.write_bytes(b"nothing")
    assert "cannot be read as NetCDF" in refused("info", path)


def test_judging_stores(store: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.zarr"
    clear = make_bands()
    for name in clear.data_vars:
        if str(name).startswith("B"):
            clear[name] = (clear[name] * 0.5).assign_attrs(clear[name].attrs)
    xcf.io.to_zarr(clear, truth, progress=False)
    words = ("evaluate", store, truth, "--observed", store, "--table", tmp_path / "t.md")
    done = call(*words, "--mask", "score")
    assert done.exit_code == 0, done.output
    rows = [line for line in done.output.splitlines() if line.startswith("| prediction | cloudy")]
    same = [line for line in done.output.splitlines() if line.startswith("| do nothing | cloudy")]
    assert rows[0].split("|")[3:6] == same[0].split("|")[3:6]
    assert (tmp_path / "t.md").read_text().strip() in done.output
    assert "give --observed" in refused("evaluate", store, truth, "--mask", "score")
    call("mask", store, tmp_path / "m.zarr", "--quiet")
    by_store = call(*words, "--mask", tmp_path / "m.zarr")
    assert by_store.output.count("cloudy") == done.output.count("cloudy")


def test_a_single_array_comes_out_with_its_provenance(tmp_path: Path) -> None:
    scene = stacked(make_bands())
    path = tmp_path / "array.zarr"
    xcf.io.to_zarr(scene.s2.to_dataset(name="s2"), path, progress=False)
    done = call("reconstruct", path, tmp_path / "o.zarr", "--model", "idw", "--quiet")
    assert done.exit_code == 0, done.output
    out = xcf.io.open_zarr(tmp_path / "o.zarr")
    assert set(out.data_vars) == {"s2", "provenance"}


def test_models_are_listed_and_shown() -> None:
    assert "carf-small-demo  (shipped weights)" in call("models").output
    assert call("methods", "kr*").output.split() == ["kriging"]
    assert "kriging  (method" in call("models", "list", "kr*", "--methods").output
    shown = call("models", "show", "carf-tiny", "--cost").output
    assert "stride: 16" in shown
    assert "multiply-adds per pixel: 9.9" in shown
    assert "there is no model 'carf-huge'" in refused("models", "show", "carf-huge")


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"nothing")
    refused(
        "models", "convert", tmp_path / "a.pth", tmp_path / "b.safetensors",
        "--architecture", "glfcr",
    )  # fmt: skip


def test_doctor_tells_versions_and_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    well = call("doctor")
    assert well.exit_code == 0, well.output
    assert "shipped weights: carf-series, carf-small-demo" in well.output
    assert "s2cloudless" in well.output
    monkeypatch.setattr(
        "xcloudfree.core.plugins.problems", lambda kind, own=(): [f"a {kind} plug-in is broken"]
    )
    ill = call("doctor")
    assert ill.exit_code == 1
    assert "problem: a masks plug-in is broken" in ill.output


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "xcloudfree", "--version"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == f"xcloudfree, version {xcf.__version__}\n"


def test_wrong_words_are_exit_code_2_and_refusals_1(store: Path, tmp_path: Path) -> None:
    assert call("mask").exit_code == 2
    assert call("reconstruct", store, tmp_path / "o.zarr", "--nonsense").exit_code == 2
    assert call("nonsense").exit_code == 2
    assert "unknown mask method" in refused("mask", store, tmp_path / "m.zarr", "--method", "best")
    assert "there is no" in refused("mask", tmp_path / "absent.zarr", tmp_path / "m.zarr")
    assert "not a known format" in refused("mask", store, tmp_path / "m.nc")
    (tmp_path / "empty").mkdir()
    assert "no Zarr store" in refused("mask", tmp_path / "empty", tmp_path / "m.zarr")
    (tmp_path / "bad.tif").write_bytes(b"nothing")
    assert "cannot be read" in refused("mask", tmp_path / "bad.tif", tmp_path / "m.zarr")
    assert "there is no model" in refused(
        "reconstruct", store, tmp_path / "o.zarr", "--model", "carf-huge"
    )


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Any:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(("path", "command"), list(commands(main)), ids=lambda v: str(v))
def test_every_command_teaches_by_examples_that_parse(
    path: tuple[str, ...], command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = call(*path, "--help")
    assert shown.exit_code == 0
    assert command.help
    assert max(map(len, shown.output.splitlines())) <= 100
    monkeypatch.chdir(tmp_path)
    for folder in ("SEN12MS-CR", "my_series.zarr"):
        (tmp_path / folder).mkdir()
    text = (command.epilog or "").replace("\\\n", " ")
    for line in [entry for entry in text.splitlines() if "xcloudfree " in entry]:
        words = shlex.split(line)[1:]
        if tuple(words[: len(path)]) == path:
            command.make_context(path[-1], words[len(path) :])

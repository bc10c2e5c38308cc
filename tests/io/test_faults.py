"""Stores that are damaged, changed, contended or without room: our errors, no half results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
import zarr

from tests.builders import contents
from tests.processes import exit_code, pool
from xcloudfree.exceptions import DataError
from xcloudfree.io import geotiff, lifecycle, open_zarr, to_cog, to_zarr
from xcloudfree.io.ledger import Ledger


def scene(seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    values = rng.random((2, 12, 16), np.float32)
    values[0, :6, :8] = np.nan  # a block without data
    coords = {
        "time": np.array(["2024-01-01", "2024-01-06"], "M8[ns]"),
        "y": 10.0 * np.arange(12)[::-1],
        "x": 10.0 * np.arange(16),
        "item": ("time", ["a", "b"]),
    }
    dims = ("time", "y", "x")
    ds = xr.Dataset({"B02": (dims, values), "flags": (dims, np.ones((2, 12, 16), "u1"))}, coords)
    return ds.rio.write_crs("EPSG:32631").chunk(time=1, y=6, x=8)  # type: ignore[no-any-return]


def interrupt(ds: xr.Dataset, path: Path, after: int = 3) -> None:
    """Write some cells of a store, and stop."""
    real, count = Ledger.add, iter(range(100))

    def add(self: Ledger, key: str) -> None:
        if next(count) == after:
            raise KeyboardInterrupt
        real(self, key)

    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr(Ledger, "add", add)
        with pytest.raises(KeyboardInterrupt):
            to_zarr(ds, path, progress=False)


# ------------------------------------------------------------------ input that changes


def open_address(path: Path) -> xr.Dataset:
    return xr.open_zarr(f"file://{path}")


def open_zipped(path: Path) -> xr.Dataset:
    archive = Path(shutil.make_archive(str(path), "zip", path))
    return xr.open_zarr(zarr.storage.ZipStore(archive, mode="r"))


@pytest.mark.parametrize("opened", [open_zarr, xr.open_zarr, open_address, open_zipped])
def test_a_resumed_write_refuses_an_input_store_that_was_changed(
    tmp_path: Path, opened: Callable[..., xr.Dataset]
) -> None:
    source, out = tmp_path / "in.zarr", tmp_path / "out.zarr"
    to_zarr(scene(), source, progress=False)
    interrupt(opened(source) + 1, out)
    zarr.open_array(source / "B02", mode="r+")[1] = 5
    with pytest.raises(DataError, match=r"other inputs \(.*in\.zarr.*\).*mode='overwrite'\)$"):
        to_zarr(opened(source) + 1, out, progress=False)
    back = to_zarr(opened(source) + 1, out, mode="overwrite", progress=False)
    assert (back.B02[1] == 6).all()


def test_a_resumed_write_goes_on_while_its_input_store_is_the_same(tmp_path: Path) -> None:
    source, out = tmp_path / "in.zarr", tmp_path / "out.zarr"
    to_zarr(scene(), source, progress=False)
    interrupt(open_zarr(source) + 1, out)
    back = to_zarr(open_zarr(source) + 1, out, progress=False)
    np.testing.assert_array_equal(back.B02, scene().B02 + 1)


# ------------------------------------------------------------------ two writers


def write_slowly(path: Path) -> str:
    """What a writer says at the end."""
    try:
        to_zarr(scene().map(slowly), path, progress=False)
    except DataError as error:
        return str(error)
    return "wrote"


def slowly(array: xr.DataArray) -> xr.DataArray:
    return array.copy(data=array.data.map_blocks(_wait, dtype=array.dtype))


def _wait(block: np.ndarray) -> np.ndarray:
    import time

    time.sleep(0.2)
    return block


def test_of_two_writers_at_once_one_wins_and_the_other_is_told_what_to_call(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    out = tmp_path / "out.zarr"
    with pool(2) as writers:
        told = list(writers.map(write_slowly, [out, out]))
    assert "wrote" in told
    for words in set(told) - {"wrote"}:  # the second may have begun after the first had ended
        assert "Another process is writing" in words
        assert words.endswith(f"xcf.io.open_zarr({str(out)!r})")
    np.testing.assert_array_equal(open_zarr(out).B02, scene().B02)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.zarr"]


def test_a_writer_is_kept_out_while_another_one_is_at_work(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    out, partial = tmp_path / "out.zarr", tmp_path / "out.zarr.partial"
    for mode in ("w", "overwrite"):
        with (
            lifecycle.exclusive(partial, out),
            pytest.raises(DataError, match=r"Another process .*open_zarr\('.*'\)$"),
        ):
            to_zarr(scene(), out, mode=mode, progress=False)
    to_zarr(scene(), out, progress=False)


@pytest.mark.parametrize("lost", ["B02", "B02/zarr.json", "zarr.json"])
def test_what_is_lost_of_an_unfinished_store_is_made_again(tmp_path: Path, lost: str) -> None:
    out = tmp_path / "out.zarr"
    to_zarr(scene(), tmp_path / "whole.zarr", progress=False)
    interrupt(scene(), out)
    path = tmp_path / "out.zarr.partial" / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    to_zarr(scene(), out, progress=False)
    assert contents(out) == contents(tmp_path / "whole.zarr")


def test_an_array_that_is_lost_while_it_is_written_stops_the_write(tmp_path: Path) -> None:
    out, real = tmp_path / "out.zarr", Ledger.add

    def lose(self: Ledger, key: str) -> None:
        real(self, key)
        shutil.rmtree(tmp_path / "out.zarr.partial/B02", ignore_errors=True)

    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr(Ledger, "add", lose)
        with pytest.raises(DataError, match=r"to_zarr\(obj, '.*'\)$"):
            to_zarr(scene(), out, progress=False)
    xr.testing.assert_equal(to_zarr(scene(), out, progress=False), scene())


# ------------------------------------------------------------------ killed while it is begun


@pytest.mark.parametrize("mode", ["w", "overwrite"])
@pytest.mark.parametrize("left", [[], ["zarr.json.53d0ac95.partial"], [lifecycle.LOCK]])
def test_a_write_that_was_killed_before_its_store_had_a_name_goes_on(
    tmp_path: Path, mode: str, left: list[str]
) -> None:
    partial = tmp_path / "out.zarr.partial"
    partial.mkdir()
    for name in left:
        (partial / name).write_text("{}")
    back = to_zarr(scene(), tmp_path / "out.zarr", mode=mode, progress=False)
    xr.testing.assert_equal(back, scene())
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]


@pytest.mark.parametrize("mode", ["w", "overwrite"])
def test_a_folder_that_is_not_ours_stays(tmp_path: Path, mode: str) -> None:
    (tmp_path / "out.zarr.partial").mkdir()
    (tmp_path / "out.zarr.partial/notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"by xcloudfree; .*to_zarr\(obj, '.*out-new\.zarr'\)$"):
        to_zarr(scene(), tmp_path / "out.zarr", mode=mode, progress=False)
    assert (tmp_path / "out.zarr.partial/notes.txt").read_text() == "mine"


def write_until(number: int, path: Path) -> None:
    """The child: ends at one of its changes of the disk."""
    die_at(number)
    to_zarr(scene(), path, progress=False)


def die_at(number: int) -> None:
    """End the process at one of its changes of folders and names."""
    count = iter(range(10_000))
    for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
        real = getattr(os, name)

        def change(*args: Any, _real: Any = real, **options: Any) -> Any:
            if next(count) == number:
                os._exit(77)
            return _real(*args, **options)

        setattr(os, name, change)


@pytest.mark.parametrize("number", [0, 2, 8, 16, pytest.param(40, marks=pytest.mark.slow)])
def test_a_write_goes_on_wherever_it_was_killed(tmp_path: Path, number: int) -> None:
    out = tmp_path / "out.zarr"
    assert exit_code(write_until, number, out) == 77
    to_zarr(scene(), out, progress=False)
    to_zarr(scene(), tmp_path / "whole.zarr", progress=False)
    assert contents(out) == contents(tmp_path / "whole.zarr")


# ------------------------------------------------------------------ damaged stores


@pytest.mark.parametrize("damage", ["{", "[]", "", '{"node_type": 7}'])
def test_damaged_metadata_is_an_error_of_ours(tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out.zarr"
    to_zarr(scene(), out, progress=False)
    (out / "zarr.json").write_text(damage)
    with pytest.raises(DataError, match=r"damaged .*mode='overwrite'\)$"):
        open_zarr(out)
    xr.testing.assert_equal(to_zarr(scene(), out, mode="overwrite", progress=False), scene())


@pytest.mark.parametrize("field", ["shape", "data_type", "codecs", "fill_value", "chunk_grid"])
def test_damaged_metadata_of_an_array_is_an_error_of_ours(tmp_path: Path, field: str) -> None:
    out = tmp_path / "out.zarr"
    to_zarr(scene(), out, progress=False)
    root = json.loads((out / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["B02"][field] = {"no": "sense"}
    (out / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(DataError, match=r"damaged .*mode='overwrite'\)$"):
        open_zarr(out)


@pytest.mark.parametrize("kept", [7, -1, None])
def test_a_damaged_shard_is_an_error_of_ours(tmp_path: Path, kept: int | None) -> None:
    out = tmp_path / "out.zarr"
    to_zarr(scene(), out, chunks=4, progress=False)
    shard = out / "B02/c/1/1/1"
    content = bytearray(shard.read_bytes())
    content[20] ^= kept is None  # one bit of a value
    shard.write_bytes(content[:kept])
    ds = open_zarr(out)
    with pytest.raises(DataError, match=r"B02 of .* is damaged .*mode='overwrite'\)$"):
        ds.B02.compute()
    np.testing.assert_array_equal(ds.B02[0], scene().B02[0])


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("lost", ["B02/c/1/1/1", "flags/c/0/0/0", "item/c/0"])
def test_a_finished_store_that_lacks_a_file_says_so(
    tmp_path: Path, lost: str, emptied: bool
) -> None:
    out = tmp_path / "out.zarr"
    to_zarr(scene(), out, progress=False)
    (out / lost).unlink()
    if emptied:
        (out / lost).touch()
    with pytest.raises(DataError, match=r"not complete: 1 of \d files of .*mode='overwrite'\)$"):
        open_zarr(out)


def test_what_a_store_says_of_its_files_is_no_attribute_of_the_object(tmp_path: Path) -> None:
    to_zarr(scene(), tmp_path / "a.zarr", progress=False)
    assert open_zarr(tmp_path / "a.zarr").attrs == {}
    other = xr.open_zarr(tmp_path / "a.zarr").isel(x=slice(8))
    assert to_zarr(other, tmp_path / "b.zarr", progress=False).attrs == {}
    assert open_zarr(tmp_path / "b.zarr").sizes["x"] == 8


@pytest.mark.parametrize("key", ["scale_factor", "add_offset", "nodata"])
@pytest.mark.parametrize("wrong", ["many", [1, 2], {"a": 1}])
def test_a_declaration_that_is_no_number_is_an_error_of_ours(
    tmp_path: Path, key: str, wrong: Any
) -> None:
    ds = scene().isel(time=0)[["B02"]]
    ds.B02.attrs = {"scale_factor": 1.0, "units": "1", "processing_level": "BOA", key: wrong}
    with pytest.raises(DataError, match=rf"{key} of 'B02' is .* not a number; .*$"):
        to_cog(ds, tmp_path / "out.tif", progress=False)
    if key == "nodata":
        with pytest.raises(DataError, match=rf"{key} of 'B02' is .* not a number; .*$"):
            to_zarr(ds, tmp_path / "out.zarr", progress=False)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ GeoTIFF without room


def image() -> xr.Dataset:
    return scene().isel(time=[0])[["B02"]]


@pytest.mark.parametrize("step", ["mkdir", "open", "replace"])
def test_a_geotiff_that_the_disk_refuses_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "out.tif").write_text("old")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    if step == "open":
        monkeypatch.setattr("rasterio.open", refuse)
    else:
        monkeypatch.setattr(Path, step, refuse)
    with pytest.raises(DataError, match=r"Read-only file system.*to_cog\(obj, '.*out\.tif'\)$"):
        to_cog(image(), tmp_path / "out.tif", progress=False)
    monkeypatch.undo()
    assert (tmp_path / "out.tif").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]


def test_a_geotiff_through_a_store_names_the_geotiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xcloudfree.io.layout.flush", full)
    monkeypatch.setattr(geotiff, "_WINDOW_BYTES", 1)
    ds = image()
    ds["B02"] = ds.B02 - ds.B02.mean()
    with pytest.raises(DataError, match=r"out\.tif stopped: No space left .*to_cog\(obj, '.*'\)"):
        to_cog(ds, tmp_path / "out.tif", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["size=200k", "size=1m", "size=1m,ro"])
def bad_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    command = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(tmp_path)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_geotiff_on_a_disk_that_is_really_full_or_read_only(bad_disk: Path) -> None:
    values = da.from_array(np.random.default_rng(0).random((500, 500)), chunks=250)
    coords = {"y": 10.0 * np.arange(500)[::-1], "x": 10.0 * np.arange(500)}
    ds = xr.Dataset({"B02": (("y", "x"), values)}, coords).rio.write_crs("EPSG:32631")
    with pytest.raises(DataError, match=r"to_cog\(obj, '.*out\.tif'\)$"):
        to_cog(ds, bad_disk / "out.tif", progress=False)
    assert list(bad_disk.iterdir()) == []


def test_a_geotiff_of_degrees_in_single_precision_is_on_their_grid(tmp_path: Path) -> None:
    ds = image()
    lat = (47.0 - 9e-5 * np.arange(12)).astype("f4")
    lon = (101.0 + 9e-5 * np.arange(16)).astype("f4")
    ds = ds.assign_coords(y=lat, x=lon).rio.write_crs("EPSG:4326")
    (file,) = to_cog(ds, tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as opened:
        assert opened.transform.a == pytest.approx(9e-5, rel=0.02)
        assert opened.transform.c == pytest.approx(101 - 4.5e-5, abs=1e-5)


# ------------------------------------------------------------------ the same bytes, the same form


def test_the_order_of_coordinates_changes_no_byte(tmp_path: Path) -> None:
    ds = scene()
    names = sorted(map(str, ds.coords), reverse=True)
    other = ds.drop_vars(names).assign_coords({name: ds.coords[name] for name in names})
    first = to_zarr(ds, tmp_path / "a.zarr", progress=False)
    second = to_zarr(other, tmp_path / "b.zarr", progress=False)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
    assert list(first.variables) == list(second.variables)
    to_zarr(first, tmp_path / "c.zarr", progress=False)
    to_zarr(second, tmp_path / "d.zarr", progress=False)
    assert contents(tmp_path / "c.zarr") == contents(tmp_path / "d.zarr")


@pytest.mark.parametrize("name", [None, "stackstac-5fb1", "s2"])
def test_a_stored_array_with_bands_is_recognised_when_it_is_opened(
    tmp_path: Path, name: str | None
) -> None:
    attrs = {"units": "1", "processing_level": "BOA", "scale_factor": 1e-4, "add_offset": 0.0}
    values = np.random.default_rng(0).integers(100, 4000, (3, 4, 12, 10)).astype("u2")
    values[1, :, 2:5, 3:7] = 9000
    array = xr.DataArray(
        values,
        dims=("time", "band", "y", "x"),
        coords={
            "time": np.array(["2024-01-01", "2024-01-06", "2024-01-11"], "M8[ns]"),
            "band": ["B02", "B03", "B04", "B08"],
        },
        attrs=attrs,
        name=name,
    ).chunk(time=1, band=1, y=6)
    mask = (array.sel(band="B02") == 9000).drop_vars("band")
    to_zarr(array, tmp_path / "a.zarr", progress=False)
    stored = open_zarr(tmp_path / "a.zarr")
    expected = array.cloudfree.reconstruct(model="median", mask=mask)
    out = stored.cloudfree.reconstruct(model="median", mask=mask)
    (variable,) = (n for n in out.data_vars if n != "provenance")
    np.testing.assert_array_equal(out[variable], expected)
    np.testing.assert_array_equal(out.provenance, expected.provenance)
    again = to_zarr(out, tmp_path / "b.zarr", progress=False)
    assert again.cloudfree.reconstruct(model="median", mask=mask)[variable].equals(out[variable])

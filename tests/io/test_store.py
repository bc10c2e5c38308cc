"""Storage: round trips, interruption and resumption, and GeoTIFFs that other readers read."""

from __future__ import annotations

import json
from itertools import pairwise
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

from tests.builders import as_array, make_bands, stacked
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError, GridError
from xcloudfree.io import geotiff, open_zarr, to_cog, to_zarr
from xcloudfree.io.cells import strips, widths
from xcloudfree.io.encoding import EMPTY, OFFSETS, Encoding
from xcloudfree.io.ledger import LEDGER

SHAPE = (3, 40, 28)


def scene(*, lazy: bool = True) -> xr.Dataset:
    """Integer band with a scale, float band with NaN, flags, a mask, and a CRS."""
    rng = np.random.default_rng(0)
    dims = ("time", "y", "x")
    floats = rng.normal(-12, 3, SHAPE).astype(np.float32)
    floats[0, :3] = np.nan
    digital = rng.integers(0, 9000, SHAPE, dtype=np.uint16)
    digital[:, -2:] = 0
    scale = {"scale_factor": 1e-4, "add_offset": -0.1, "nodata": 0, "units": "1"}
    flags = {"flag_values": np.arange(4, dtype=np.uint8), "flag_meanings": "nodata a b c"}
    ds: xr.Dataset = xr.Dataset(
        {
            "B02": (dims, digital, scale),
            "VV": (dims, floats, {"units": "dB", "quantity": "sigma0"}),
            "provenance": (dims, rng.integers(0, 4, SHAPE, dtype=np.uint8), flags),
            "mask": (dims, rng.random(SHAPE) < 0.5),
            "height": (("y", "x"), rng.random(SHAPE[1:])),
        },
        coords={
            "time": np.array(
                ["2025-06-01", "2025-06-03T10:11:12.123456789", "2025-07-01"], "M8[ns]"
            ),
            "y": 5_000_000.0 - 10 * np.arange(SHAPE[1]),
            "x": 600_005.0 + 10 * np.arange(SHAPE[2]),
            "item": ("time", ["a", "bb", "ccc"]),
        },
        attrs={"title": "test", "bbox": (1.0, 2.0)},
    ).rio.write_crs("EPSG:32631")
    return ds.chunk(time=1, y=16, x=20) if lazy else ds


def assert_same(back: xr.Dataset, ds: xr.Dataset) -> None:
    xr.testing.assert_equal(back, ds)
    assert set(back.coords) == set(ds.coords)
    for name, variable in ds.variables.items():
        assert back[name].dtype == variable.dtype, name
        assert back[name].dims == variable.dims, name
    assert back.rio.crs == ds.rio.crs
    for name in ("B02", "VV"):
        assert back[name].attrs == ds[name].attrs
        assert back[name].encoding["grid_mapping"] == "spatial_ref"


class Faulty:
    """Counts the blocks it makes, and fails at one of them the first time."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[tuple[int, int, int]] = []
        self.fail_at = fail_at

    def __call__(self, block: np.ndarray, block_info: Any = None) -> np.ndarray:
        time, row, column = map(int, block_info[0]["chunk-location"])
        if len(self.calls) == self.fail_at:
            self.fail_at = None
            raise RuntimeError("the power went")
        self.calls.append((time, row, column))
        return block + np.float32(1)

    __name__ = "faulty"  # the task graph's name, the same in every process

    def __dask_tokenize__(self) -> str:
        return "faulty"

    def on(self, ds: xr.Dataset) -> xr.Dataset:
        data = da.map_blocks(
            self, ds.VV.data, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
        )
        return ds[["VV"]].assign(VV=ds.VV.copy(data=data))


@pytest.mark.parametrize("lazy", [True, False])
def test_round_trip_of_numbers_types_attributes_and_crs(tmp_path: Path, lazy: bool) -> None:
    ds = scene(lazy=lazy)
    back = to_zarr(ds, tmp_path / "out.zarr", progress=False)
    assert_same(back, ds)
    assert back.attrs == {"title": "test", "bbox": [1.0, 2.0]}
    assert back.VV.chunks is not None
    if lazy:
        assert back.VV.chunks == ds.VV.chunks
    assert back.provenance.attrs["flag_values"] == [0, 1, 2, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.zarr"]
    assert not (tmp_path / "out.zarr" / LEDGER).exists()
    assert json.loads((tmp_path / "out.zarr/zarr.json").read_text())["zarr_format"] == 3


def test_other_readers_decode_reflectance_and_no_data(tmp_path: Path) -> None:
    ds = scene()
    to_zarr(ds, tmp_path / "out.zarr", progress=False)
    decoded = xr.open_zarr(tmp_path / "out.zarr", consolidated=False)
    expected = (ds.B02 * 1e-4 - 0.1).where(ds.B02 != 0)
    assert int(decoded.B02.isnull().sum()) == int((ds.B02 == 0).sum()) > 0
    np.testing.assert_allclose(decoded.B02, expected, atol=1e-6)
    assert decoded.provenance.dtype == np.uint8


def test_data_array_comes_back_as_one(tmp_path: Path) -> None:
    array = scene().VV.rename(None).expand_dims(band=["VV"])
    back = to_zarr(array, tmp_path / "out.zarr", progress=False)
    assert isinstance(back, xr.DataArray)
    assert back.name is None
    xr.testing.assert_equal(back, array)
    assert back.rio.crs == array.rio.crs


def test_irregular_chunks_are_made_regular(tmp_path: Path) -> None:
    ds = scene().chunk(y=(7, 20, 13), x=(3, 25))
    back = to_zarr(ds, tmp_path / "out.zarr", progress=False)
    xr.testing.assert_equal(back, ds)
    assert back.VV.chunksizes["y"] == (20, 20)


def test_blocks_are_computed_one_after_another_each_once(tmp_path: Path) -> None:
    faulty = Faulty()
    with dask.config.set(scheduler="sync"):
        to_zarr(faulty.on(scene()), tmp_path / "out.zarr", progress=False)
    assert faulty.calls == [
        (t, row, column) for t in range(3) for row in range(3) for column in (0, 1)
    ]


def ledger_of(partial: Path) -> list[str]:
    _, *lines = (partial / LEDGER).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_interrupted_write_is_never_taken_for_done_and_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    ds, path = scene(), tmp_path / "out.zarr"
    faulty = Faulty(fail_at=9)  # inside the second date, in the middle of a row
    with dask.config.set(scheduler="sync"):
        with pytest.raises(RuntimeError, match="power"):
            to_zarr(faulty.on(ds), path, progress=False)
        assert not path.exists()
        with pytest.raises(DataError, match=r"interrupted.*to_zarr\(obj, "):
            open_zarr(path)
        with pytest.raises(DataError, match="unfinished"):
            open_zarr(tmp_path / "out.zarr.partial")
        done = ledger_of(tmp_path / "out.zarr.partial")
        rows, columns = ((0, 16), (16, 32), (32, 40)), ((0, 20), (20, 28))
        assert done[:6] == [f"time=0:1,y={a}:{b},x={c}:{d}" for a, b in rows for c, d in columns]
        assert done[6:] == [f"time=1:2,y=0:16,x={c}:{d}" for c, d in columns] + [
            "time=1:2,y=16:32,x=0:20"
        ]
        faulty.calls.clear()
        back = to_zarr(faulty.on(ds), path, progress=False)
    assert faulty.calls == [(1, 1, 1), (1, 2, 0), (1, 2, 1)] + [
        (2, row, column) for row in range(3) for column in (0, 1)
    ]
    xr.testing.assert_equal(back.VV, ds.VV + np.float32(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.zarr"]


def test_a_torn_line_of_the_ledger_does_not_count(tmp_path: Path) -> None:
    ds, path = scene(), tmp_path / "out.zarr"
    partial = tmp_path / "out.zarr.partial"
    with dask.config.set(scheduler="sync"):
        with pytest.raises(RuntimeError, match="power"):
            to_zarr(Faulty(fail_at=3).on(ds), path, progress=False)
        with (partial / LEDGER).open("a") as file:
            file.write('"time=0:1,y=16:32,x=20:')
        faulty = Faulty(fail_at=3)
        with pytest.raises(RuntimeError, match="power"):
            to_zarr(faulty.on(ds), path, progress=False)
        assert faulty.calls == [(0, 1, 1), (0, 2, 0), (0, 2, 1)]
        assert len(ledger_of(partial)) == 6  # and what follows it is whole
        back = to_zarr(Faulty().on(ds), path, progress=False)
    xr.testing.assert_equal(back.VV, ds.VV + np.float32(1))


@pytest.mark.parametrize("step", ["rename", "unlink"])
def test_an_end_while_the_store_takes_its_name_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ds, path = scene(), tmp_path / "out.zarr"
    to_zarr(ds[["VV"]], path, progress=False)
    real = getattr(Path, step)

    def end(self: Path, *args: Any, **options: Any) -> Any:
        if self.name == "out.zarr.partial" or self == path / LEDGER:
            raise KeyboardInterrupt
        return real(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, end)
        with pytest.raises(KeyboardInterrupt):
            to_zarr(Faulty().on(ds), path, progress=False)
    again = Faulty()
    back = to_zarr(again.on(ds), path, progress=False)
    assert again.calls == []
    xr.testing.assert_equal(back.VV, ds.VV + np.float32(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.zarr"]
    assert not (path / LEDGER).exists()


def test_a_finished_store_stays_until_its_successor_is_complete(tmp_path: Path) -> None:
    ds, path = scene(), tmp_path / "out.zarr"
    to_zarr(ds[["VV"]], path, progress=False)
    with pytest.raises(RuntimeError, match="power"):
        to_zarr(Faulty(fail_at=5).on(ds), path, progress=False)
    xr.testing.assert_equal(open_zarr(path).VV, ds.VV)
    back = to_zarr(Faulty().on(ds), path, progress=False)
    xr.testing.assert_equal(back.VV, ds.VV + np.float32(1))


def test_another_object_does_not_resume(tmp_path: Path) -> None:
    ds, path = scene(), tmp_path / "out.zarr"
    with pytest.raises(RuntimeError, match="power"):
        to_zarr(Faulty(fail_at=5).on(ds), path, progress=False)
    with pytest.raises(DataError, match=r"VV: other values.*mode='overwrite'\)$"):
        to_zarr(ds[["VV"]], path, progress=False)
    with pytest.raises(DataError, match="B02: new"):
        to_zarr(ds[["VV", "B02"]], path, progress=False)
    other = Faulty().on(ds)
    other.VV.attrs["units"] = "1"
    with pytest.raises(DataError, match=r"VV: other attributes \(units is '1', was 'dB'\)"):
        to_zarr(other, path, progress=False)
    with pytest.raises(DataError, match="other chunk_side"):
        to_zarr(Faulty().on(ds), path, chunks=256, progress=False)
    with pytest.raises(DataError, match=r"VV: other.*chunks"):
        to_zarr(Faulty().on(ds.chunk(y=20)), path, progress=False)
    back = to_zarr(ds[["VV"]], path, mode="overwrite", progress=False)
    xr.testing.assert_equal(back.VV, ds.VV)


def test_a_store_without_a_ledger_or_with_a_damaged_one_is_begun_anew(tmp_path: Path) -> None:
    ds, path = scene(), tmp_path / "out.zarr"
    ledger = tmp_path / "out.zarr.partial" / LEDGER
    for damage in (ledger.unlink, lambda: ledger.write_text('{"identity": {"VV')):
        with pytest.raises(RuntimeError, match="power"):
            to_zarr(Faulty(fail_at=9).on(ds), path, mode="overwrite", progress=False)
        damage()
        faulty = Faulty()
        back = to_zarr(faulty.on(ds), path, progress=False)
        assert len(faulty.calls) == 3 * 3 * 2
        xr.testing.assert_equal(back.VV, ds.VV + np.float32(1))


def test_rows_not_yet_written_read_as_no_data(tmp_path: Path) -> None:
    with (
        dask.config.set(scheduler="sync"),
        pytest.raises(RuntimeError, match="power"),
    ):
        to_zarr(Faulty(fail_at=9).on(scene()), tmp_path / "out.zarr", progress=False)
    partial = xr.open_zarr(tmp_path / "out.zarr.partial", consolidated=False)
    assert np.isnan(partial.VV[2]).all()


def test_what_zarr_cannot_hold_is_named(tmp_path: Path) -> None:
    ds = scene()
    ds.attrs["model"] = object()
    ds.VV.attrs["date"] = np.datetime64("2025-01-01")
    ds = ds.assign_coords(proj=("time", np.array([{"a": 1}, None, 3], dtype=object)))
    with pytest.warns(UserWarning, match=r"attribute 'model' \(object\); the variable 'proj'"):
        back = to_zarr(ds, tmp_path / "out.zarr", progress=False)
    assert back.VV.attrs["date"] == "2025-01-01"
    xr.testing.assert_equal(back, ds.drop_vars("proj"))


def test_encoding_of_a_former_file_does_not_reach_the_values(tmp_path: Path) -> None:
    ds = scene()[["VV"]]
    ds.VV.encoding |= {"dtype": "int16", "scale_factor": 0.1, "chunks": (1, 5, 5), "filters": None}
    back = to_zarr(ds, tmp_path / "out.zarr", progress=False)
    xr.testing.assert_equal(back, ds)


@pytest.mark.parametrize("nodata", [-9999, float("nan"), 0.5])
def test_a_no_data_value_that_the_type_cannot_hold_marks_nothing(
    tmp_path: Path, nodata: float
) -> None:
    ds = scene().isel(time=[0])[["B02"]]
    ds.B02.attrs = {"nodata": nodata}
    back = to_zarr(ds, tmp_path / "out.zarr", progress=False)
    np.testing.assert_array_equal(back.B02, ds.B02)
    assert "_FillValue" not in back.B02.encoding
    (file,) = to_cog(ds, tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as source:
        assert source.nodata is None
        np.testing.assert_array_equal(source.read(1), ds.B02[0])


def test_refusals(tmp_path: Path) -> None:
    ds = scene()[["VV"]]
    with pytest.raises(DataError, match=r"'out\.zarr'\)$"):
        to_zarr(ds, "s3://bucket/out.zarr")
    with pytest.raises(DataError, match=r"mode='w'\)$"):
        to_zarr(ds, tmp_path / "out.zarr", mode="a")
    for memory in ("much", None):
        with pytest.raises(DataError, match=r"memory='2 GiB'\)$"):
            to_zarr(ds, tmp_path / "out.zarr", memory=memory)  # type: ignore[arg-type]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").touch()
    with pytest.raises(DataError, match="not a Zarr store"):
        to_zarr(ds, tmp_path / "photos", mode="overwrite")
    assert (tmp_path / "photos/cat.jpg").exists()
    to_zarr(ds, tmp_path / "out.zarr", progress=False)
    with pytest.raises(DataError, match=r"exists; .*mode='w'\)$"):
        to_zarr(ds, tmp_path / "out.zarr", mode="w-")
    with pytest.raises(DataError, match="There is no Zarr store"):
        open_zarr(tmp_path / "nowhere.zarr")


# ------------------------------------------------------------------ layout


def test_a_block_is_one_file_of_smaller_chunks(tmp_path: Path) -> None:
    ds = scene()[["VV"]]
    back = to_zarr(ds, tmp_path / "out.zarr", chunks=8, progress=False)
    array = zarr.open_array(tmp_path / "out.zarr/VV", mode="r")
    assert array.shards == (1, 16, 20)
    assert array.chunks == (1, 8, 5)  # the largest divisors of the shard up to 8
    files = [p for p in (tmp_path / "out.zarr/VV/c").rglob("*") if p.is_file()]
    assert len(files) == 3 * 3 * 2
    assert back.VV.chunks == ds.VV.chunks
    xr.testing.assert_equal(back, ds)


def test_chunks_hold_one_band_and_one_date(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((2, 13, 48, 40))
    array = xr.DataArray(values, dims=("time", "band", "y", "x")).chunk(time=2, band=-1, y=24)
    back = to_zarr(array, tmp_path / "out.zarr", chunks=16, progress=False)
    stored = zarr.open_array(tmp_path / "out.zarr/data", mode="r")
    assert stored.shards == (2, 13, 24, 40)
    assert stored.chunks == (1, 1, 12, 10)
    xr.testing.assert_equal(back, array)


def test_metadata_is_in_one_file_too(tmp_path: Path) -> None:
    to_zarr(scene(), tmp_path / "out.zarr", progress=False)
    for array in (tmp_path / "out.zarr").glob("*/zarr.json"):
        array.rename(array.with_suffix(".away"))
    group = zarr.open_consolidated(tmp_path / "out.zarr")
    assert group["VV"].attrs["units"] == "dB"


def test_strips_are_as_wide_as_memory_allows_and_about_equally_wide() -> None:
    assert [len(g) for g in strips((4, 11), held=6, cells=1000)] == [16, 12, 16]
    assert [len(g) for g in strips((4, 11), held=11, cells=1000)] == [44]
    tall = list(strips((5, 3), held=3, cells=8))  # two rows of three
    assert [len(g) for g in tall] == [6, 6, 3]
    assert tall[0] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    for counts in ((1, 1), (7, 1), (1, 7), (5, 9)):
        for held in (1, 3, 4, 10):
            found = [cell for group in strips(counts, held, 6) for cell in group]
            assert sorted(found) == list(np.ndindex(counts))


def test_strips_with_what_they_read_beside_them_are_not_wider_than_allowed() -> None:
    for columns in range(1, 60):
        for held in range(3, 20):
            edges = np.cumsum([0, *widths(columns, held)])
            read = [min(b + 1, columns) - max(a - 1, 0) for a, b in pairwise(edges)]
            assert edges[-1] == columns
            assert max(read) <= held
            assert len(read) == 1 or max(read) - min(read) <= 1


def test_data_without_columns_or_without_rows_is_written_too(tmp_path: Path) -> None:
    ds = xr.Dataset(
        {"a": ("time", np.arange(7)), "b": (("time", "y"), np.arange(28.0).reshape(7, 4))}
    ).chunk(time=2, y=3)
    xr.testing.assert_equal(to_zarr(ds, tmp_path / "out.zarr", progress=False), ds)
    line = xr.Dataset({"a": ("x", np.arange(9))}).chunk(x=4)
    xr.testing.assert_equal(to_zarr(line, tmp_path / "line.zarr", progress=False), line)


# ------------------------------------------------------------------ reflectance as integers


def reflectance() -> xr.Dataset:
    ds = make_bands().chunk(time=1, y=20, x=20)
    dark = ds.B01.where(ds.B01 > 0.04) - np.float32(0.09)  # NaN, and below zero
    return ds.assign(B01=dark.assign_attrs(ds.B01.attrs))


@pytest.mark.parametrize(("encoding", "nodata"), [("int16", -32768), ("uint16", 0)])
def test_integers_decode_to_reflectance_within_half_a_number(
    tmp_path: Path, encoding: Any, nodata: int
) -> None:
    ds = reflectance()
    back = to_zarr(ds, tmp_path / "out.zarr", encoding=encoding, progress=False)
    decoded = xr.open_zarr(tmp_path / "out.zarr")
    assert int(ds.B01.isnull().sum()) > 0
    assert float(ds.B01.min()) < -0.04
    for band in S2_BANDS:
        assert back[band].dtype == encoding
        np.testing.assert_array_equal(decoded[band].isnull(), ds[band].isnull())
        assert float(abs(decoded[band].astype(float) - ds[band].astype(float)).max()) <= 5.0001e-5
        assert int((back[band] == nodata).sum()) == int(ds[band].isnull().sum())
    np.testing.assert_array_equal(decoded.VV, ds.VV)
    assert back.VV.dtype == np.float32
    rule = read(back).calibration()
    np.testing.assert_allclose(rule.decode(back.B02.values), ds.B02, atol=5.001e-5)


def test_two_forms_of_bands_are_encoded_alike(tmp_path: Path) -> None:
    ds = reflectance()
    plain = to_zarr(ds, tmp_path / "a.zarr", encoding="uint16", progress=False)
    both = to_zarr(stacked(ds), tmp_path / "b.zarr", encoding="uint16", progress=False)
    alone = to_zarr(stacked(ds).s2, tmp_path / "c.zarr", encoding="uint16", progress=False)
    for i, band in enumerate(S2_BANDS):
        np.testing.assert_array_equal(both.s2.isel(band=i), plain[band])
        np.testing.assert_array_equal(alone.isel(band=i), plain[band])
    assert both.s1.dtype == np.float32


def test_stored_numbers_that_are_floating_point_are_decoded_first(tmp_path: Path) -> None:
    numbers = np.array([[1250.0, -1.0, 3000.0]], np.float32)
    attrs = {"scale_factor": 1e-4, "add_offset": -0.1, "nodata": -1.0}
    ds = xr.Dataset({"B02": (("y", "x"), numbers, attrs)})
    back = to_zarr(ds, tmp_path / "out.zarr", encoding="int16", progress=False)
    assert back.B02.values.tolist() == [[250, -32768, 2000]]


def test_a_value_out_of_range_is_refused_and_not_limited(tmp_path: Path) -> None:
    ds = reflectance()
    low = ds.assign(B03=ds.B03.where(ds.B03 < 0.5, -0.11).assign_attrs(ds.B03.attrs))
    count = int((ds.B03 >= 0.5).isel(time=0, y=slice(20), x=slice(20)).sum())
    with (
        dask.config.set(scheduler="sync"),
        pytest.raises(DataError, match=rf"{count} values of B03 from -0.11 .*'int16', mode=") as e,
    ):
        to_zarr(low, tmp_path / "out.zarr", encoding="uint16", progress=False)
    assert "(-0.0999 to 6.4535)" in str(e.value)
    to_zarr(low, tmp_path / "out.zarr", encoding="int16", mode="overwrite", progress=False)
    for value in (np.inf, -3.3, 3.3):
        wrong = ds.assign(B03=xr.full_like(ds.B03.compute(), value))
        with pytest.raises(DataError, match="outside the range of int16"):
            to_zarr(wrong, tmp_path / "other.zarr", encoding="int16", progress=False)


@pytest.mark.parametrize("encoding", ["int16", "uint16"])
def test_a_value_never_becomes_the_number_for_no_data(tmp_path: Path, encoding: Any) -> None:
    empty = EMPTY[encoding] * 1e-4 + OFFSETS[encoding]
    ds = xr.Dataset({"B02": (("y", "x"), np.array([[empty, 0.2]]), {"units": "1"})})
    with pytest.raises(DataError, match=f"1 values of B02 .* outside the range of {encoding}"):
        to_zarr(ds, tmp_path / "out.zarr", encoding=encoding, progress=False)
    back = to_zarr(ds + 1e-4, tmp_path / "in.zarr", encoding=encoding, progress=False)
    assert back.B02.values[0, 0] == EMPTY[encoding] + 1


def test_what_cannot_be_encoded_is_refused(tmp_path: Path) -> None:
    ds = reflectance()
    with pytest.raises(DataError, match=r"no floating-point reflectance.*to_zarr\(obj, path\)$"):
        to_zarr(ds[["VV"]], tmp_path / "out.zarr", encoding="int16", progress=False)
    with pytest.raises(DataError, match="no floating-point reflectance"):
        to_zarr(scene()[["B02"]], tmp_path / "out.zarr", encoding="int16", progress=False)
    with pytest.raises(DataError, match="also contains backscatter"):
        to_zarr(as_array(ds), tmp_path / "out.zarr", encoding="int16", progress=False)
    with pytest.raises(DataError, match="Unknown encoding 'int8'"):
        to_zarr(ds, tmp_path / "out.zarr", encoding="int8", progress=False)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ cloud-optimised GeoTIFF


def test_cog_of_integer_bands_one_file_per_date(tmp_path: Path) -> None:
    ds = scene()[["B02"]].assign(B03=lambda d: d.B02 + 1)
    ds.B03.attrs = ds.B02.attrs
    files = to_cog(ds, tmp_path / "out.tif")
    assert [f.name for f in files] == [
        "out_20250601T000000.tif",
        "out_20250603T101112.tif",
        "out_20250701T000000.tif",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f.name for f in files]
    for i, file in enumerate(files):
        with rasterio.open(file) as source:
            assert source.dtypes == ("uint16", "uint16")
            assert source.descriptions == ("B02", "B03")
            assert source.nodata == 0
            assert source.crs == "EPSG:32631"
            assert source.scales == (1e-4, 1e-4)
            assert source.offsets == (-0.1, -0.1)
            assert source.transform[:6] == (10, 0, 600_000, 0, -10, 5_000_005)
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            np.testing.assert_array_equal(source.read(1), ds.B02.values[i])
            np.testing.assert_array_equal(source.read(2), ds.B03.values[i])


def test_cog_in_a_folder_is_called_after_it(tmp_path: Path) -> None:
    (tmp_path / "v1.0").mkdir()
    one = scene()[["B02"]].isel(time=0)
    assert to_cog(one, f"{tmp_path}/maps/") == [tmp_path / "maps/maps.tif"]
    assert to_cog(one, tmp_path / "v1.0") == [tmp_path / "v1.0/v1.0.tif"]


def test_cog_has_overviews_and_reads_the_same_through_rioxarray(tmp_path: Path) -> None:
    size = 1200
    values = np.random.default_rng(1).random((2, size, size)).astype(np.float32)
    array = xr.DataArray(
        da.from_array(values, chunks=(1, 500, 700)),
        dims=("band", "y", "x"),
        coords={
            "band": ["VV", "VH"],
            "y": 10.0 * np.arange(size)[::-1],
            "x": 10.0 * np.arange(size),
        },
    ).rio.write_crs("EPSG:32719")
    (file,) = to_cog(array, tmp_path / "sar.tif")
    with rasterio.open(file) as source:
        assert source.overviews(1)
        assert source.block_shapes == [(512, 512)] * 2
        assert source.descriptions == ("VV", "VH")
    back = xr.open_dataarray(file, engine="rasterio")
    np.testing.assert_array_equal(back, values)
    np.testing.assert_allclose(back.x, array.x)
    np.testing.assert_allclose(back.y, array.y)


def test_cog_of_mixed_types_keeps_values_and_no_data(tmp_path: Path) -> None:
    ds = scene().isel(time=0)[["B02", "VV"]].assign(height=scene().isel(time=0).B02.drop_attrs())
    (file,) = to_cog(ds, tmp_path / "out.tif")
    with rasterio.open(file) as source:
        assert source.dtypes == ("float32",) * 3
        assert np.isnan(source.nodata)
        planes = source.read()
    expected = ds.B02.astype(np.float32).where(ds.B02 != 0)
    np.testing.assert_array_equal(planes[0], expected)
    np.testing.assert_array_equal(planes[1], ds.VV)
    np.testing.assert_array_equal(planes[2], ds.height)


@pytest.mark.parametrize("form", ["variables", "coordinates"])
def test_cog_keeps_flags_and_masks_apart_with_their_type(tmp_path: Path, form: str) -> None:
    ds = scene().isel(time=[0, 1])[["B02", "VV", "provenance", "mask"]]
    ds["mask"] = ds.mask.astype(bool)
    obj = ds if form == "variables" else ds.VV.assign_coords(ds[["provenance", "mask"]])
    files = to_cog(obj, tmp_path / "out.tif", progress=False)
    dates = ("20250601T000000", "20250603T101112")
    assert [f.name for f in files] == [f"out_{date}.tif" for date in dates] + [
        f"out_{date}_{name}.tif" for date in dates for name in ("provenance", "mask")
    ]
    with rasterio.open(files[1]) as source:
        assert source.count == (2 if form == "variables" else 1)
        np.testing.assert_array_equal(source.read(source.count), ds.VV[1])
    for number, file in enumerate(files[2:]):
        name = ("provenance", "mask")[number % 2]
        with rasterio.open(file) as source:
            assert source.dtypes == ("uint8",)
            assert source.descriptions == (name,)
            np.testing.assert_array_equal(source.read(1), ds[name][number // 2])
    (alone,) = to_cog(ds.provenance[0], tmp_path / "flags.tif", progress=False)
    assert alone.name == "flags.tif"


def test_cog_of_an_array_holds_deviations_and_ages_beside_its_bands(tmp_path: Path) -> None:
    ds = scene().isel(time=0, drop=True)
    array = ds.assign(B04=ds.height)[["B02", "B04"]].to_dataarray("band").astype("float32")
    array = array.assign_coords(std=array / 8, age=array[0].drop_vars("band") + 1)
    (file,) = to_cog(array, tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as source:
        assert source.descriptions == ("B02", "B04", "std_B02", "std_B04", "age")
        np.testing.assert_array_equal(source.read(4), array[1] / 8)
        np.testing.assert_array_equal(source.read(5), array[0] + 1)


def test_cog_of_numbers_that_declare_no_data_has_none_there(tmp_path: Path) -> None:
    values = np.full(SHAPE[1:], 0.25, np.float32)
    values[3, :5] = -9999
    ds = scene().isel(time=0)[["VV"]].assign(VV=(("y", "x"), values, {"nodata": -9999.0}))
    (file,) = to_cog(ds, tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as source:
        assert np.isnan(source.nodata)
        np.testing.assert_array_equal(source.read(1), np.where(values > 0, values, np.nan))


def test_cog_of_variables_with_bands_of_one_name_holds_all_of_them(tmp_path: Path) -> None:
    ds = scene().isel(time=0)[["VV"]]
    bands = {"band": ["B02", "B03"]}
    mean = xr.concat([ds.VV, ds.VV + 1], "band").assign_coords(bands)
    both = xr.Dataset({"s2": mean, "s2_std": mean + 9})
    (file,) = to_cog(both, tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as source:
        assert source.descriptions == ("B02", "B03", "s2_std_B02", "s2_std_B03")
        np.testing.assert_array_equal(source.read(), np.concatenate([mean, mean + 9]))


def test_cog_for_each_band_keeps_its_type_and_no_data(tmp_path: Path) -> None:
    ds = scene().isel(time=[0, 1])[["B02", "VV", "provenance"]]
    files = to_cog(ds, tmp_path / "out.tif", per="band")
    assert [f.name for f in files] == [
        f"out_{date}_{band}.tif"
        for date in ("20250601T000000", "20250603T101112")
        for band in ("B02", "VV", "provenance")
    ]
    for file, (date, band) in zip(files, np.ndindex(2, 3), strict=True):
        name = ("B02", "VV", "provenance")[band]
        with rasterio.open(file) as source:
            assert source.count == 1
            assert source.dtypes == (str(ds[name].dtype),)
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            np.testing.assert_array_equal(source.read(1), ds[name].values[date])
    with pytest.raises(DataError, match=r"per='band'\)$"):
        to_cog(ds, tmp_path / "out.tif", per="date and band")  # type: ignore[arg-type]


def test_cog_is_made_of_windows_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geotiff, "_WINDOW_BYTES", 16 * 20 * 4 + 1)  # one block
    faulty = Faulty()
    ds = faulty.on(scene()).isel(time=[1])
    with dask.config.set(scheduler="sync"):
        (file,) = to_cog(ds, tmp_path / "out.tif")
    assert faulty.calls == [(1, row, column) for row in range(3) for column in range(2)]
    with rasterio.open(file) as source:
        np.testing.assert_array_equal(source.read(1), ds.VV.values[0])


def test_interrupted_cog_leaves_nothing(tmp_path: Path) -> None:
    ds = Faulty(fail_at=2).on(scene()).isel(time=0)
    with pytest.raises(RuntimeError, match="power"):
        to_cog(ds, tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def test_cog_refusals(tmp_path: Path) -> None:
    ds = scene().isel(time=0)[["VV"]]
    with pytest.raises(GridError, match=r"ds\.rio\.write_crs\('EPSG:\.\.\.'\)$"):
        to_cog(ds.drop_vars("spatial_ref"), tmp_path / "out.tif")
    with pytest.raises(DataError, match=r"'out\.tif'\)$"):
        to_cog(ds, tmp_path / "out.zarr")
    with pytest.raises(DataError, match="one date"):
        to_cog(ds.drop_vars("time").expand_dims(patch=2, time=2), tmp_path / "out.tif")
    with pytest.raises(GridError, match="evenly"):
        to_cog(ds.assign_coords(x=np.arange(28.0) ** 2), tmp_path / "out.tif")
    with pytest.raises(DataError, match=r"nothing to write among .*'out\.tif'\)$"):
        to_cog(scene().isel(time=[]), tmp_path / "out.tif")
    clash = scene().isel(time=0)[["B02"]].assign(B03=lambda d: d.B02.assign_attrs(nodata=9))
    with pytest.raises(DataError, match="no-data"):
        to_cog(clash, tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def test_variables_stay_in_their_order_for_every_reader(tmp_path: Path) -> None:
    ds = scene()
    back = to_zarr(ds, tmp_path / "out.zarr", progress=False)
    order = list(ds.data_vars)
    assert order != sorted(order)
    assert list(back.data_vars) == list(open_zarr(tmp_path / "out.zarr").data_vars) == order
    assert list(xr.open_zarr(tmp_path / "out.zarr").data_vars) == order


@pytest.mark.parametrize("nodata", [float("nan"), -9999, 70000])
def test_no_data_that_integers_cannot_hold_stops_no_write(tmp_path: Path, nodata: float) -> None:
    ds = scene().isel(time=0)[["B02"]]
    ds = ds.rename(B02="height")
    ds.height.attrs["nodata"] = nodata
    assert "_FillValue" not in to_zarr(ds, tmp_path / "out.zarr", progress=False).height.encoding
    (file,) = to_cog(ds, tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as opened:
        assert opened.nodata is None


@pytest.mark.parametrize("form", ["bands", "stacked", "array"])
def test_other_readers_learn_that_0_of_undeclared_reflectance_is_no_data(
    tmp_path: Path, form: str
) -> None:
    ds = make_bands(1, dtype="uint16").isel(time=0, drop=True)
    for name in S2_BANDS:
        ds[name][:3] = 0
        del ds[name].attrs["nodata"]
    obj: Any = ds[["B02", "B03"]]
    if form != "bands":
        obj = obj.to_dataarray("band").assign_attrs(ds.B02.attrs).rename("s2")
    if form == "stacked":
        obj = obj.to_dataset()
    back = to_zarr(obj, tmp_path / "out.zarr", progress=False)
    assert "nodata" not in (back if form == "array" else next(iter(back.values()))).attrs
    (other,) = list(xr.open_zarr(tmp_path / "out.zarr").values())[:1]
    assert other[..., :3, :].isnull().all()
    assert other[..., 3:, :].notnull().all()
    (file,) = to_cog(obj, tmp_path / "out.tif", progress=False)
    with rasterio.open(file) as opened:
        assert opened.nodata == 0


def test_the_stored_no_data_of_decoded_floats_is_a_value_like_any_other(tmp_path):
    ds = make_bands()[["B02"]].isel(time=0)
    ds["B02"] = ds.B02.assign_attrs(nodata=0.0)
    ds.B02[0, 0] = 0.0
    ds.B02.encoding["scale_factor"] = 1e-4  # as xarray leaves what it decoded
    to_cog(ds, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.read(1)[0, 0] == 0


@pytest.mark.parametrize("key", ["nodata", "_FillValue"])
def test_a_number_that_means_no_data_in_floats_is_known_again(tmp_path, key):
    ds = make_bands()[["B02", "VV", "VH"]]
    for name in ("VV", "VH"):
        ds[name] = ds[name].copy()
        ds[name][0, :4] = -9999
        ds[name].attrs[key] = -9999.0
    to_zarr(ds, tmp_path / "a.zarr", progress=False)
    back = read(open_zarr(tmp_path / "a.zarr")).backscatter().compute()
    np.testing.assert_array_equal(back, read(ds).backscatter())
    assert np.isnan(back).sum() == 2 * 4 * ds.sizes["x"]


@pytest.mark.parametrize("system", ["EPSG:32631", "EPSG:4326"])
def test_axes_are_described_as_cf_asks_and_own_words_stay(tmp_path: Path, system: str) -> None:
    values = np.ones((2, 3, 4), "float32")
    coords = {"time": np.arange(2).astype("datetime64[D]").astype("datetime64[ns]"),
              "y": 10.0 * np.arange(3)[::-1], "x": 10.0 * np.arange(4)}  # fmt: skip
    ds = xr.Dataset({"B02": (("time", "y", "x"), values)}, coords).rio.write_crs(system)
    ds.x.attrs["long_name"] = "mine"
    to_zarr(ds, tmp_path / "a.zarr", progress=False)
    stored = xr.open_zarr(tmp_path / "a.zarr")
    degrees = system == "EPSG:4326"
    assert stored.time.attrs["standard_name"] == "time"
    assert stored.x.attrs["standard_name"] == (
        "longitude" if degrees else "projection_x_coordinate"
    )
    assert stored.y.attrs["units"] == ("degrees_north" if degrees else "metre")
    assert [stored[d].attrs["axis"] for d in ("time", "y", "x")] == ["T", "Y", "X"]
    assert stored.x.attrs["long_name"] == "mine"


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("encoding", ["int16", "uint16"])
def test_cog_holds_reflectance_as_integers_with_a_scale(
    tmp_path: Path, encoding: Encoding, lazy: bool
) -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(-0.05, 1.2, SHAPE[1:]).astype(np.float32)
    values[:2] = np.nan
    flags = {"flag_values": np.arange(4, dtype=np.uint8), "flag_meanings": "nodata a b c"}
    ds = xr.Dataset(
        {"B02": (("y", "x"), values, {"units": "1"}),
         "provenance": (("y", "x"), rng.integers(0, 4, values.shape, dtype=np.uint8), flags)},
        {"y": 10.0 * np.arange(SHAPE[1])[::-1], "x": 10.0 * np.arange(SHAPE[2])},
    ).rio.write_crs(32631)  # fmt: skip
    ds = ds.chunk(y=16) if lazy else ds
    options: Any = {"encoding": encoding, "progress": False}
    array = ds.B02.assign_coords(provenance=ds.provenance)
    beside = to_cog(array, tmp_path / "array.tif", **options)
    assert [f.name for f in beside] == ["array.tif", "array_provenance.tif"]
    file, flags_file = to_cog(ds, tmp_path / "out.tif", **options)
    with rasterio.open(flags_file) as source:
        assert source.dtypes == ("uint8",)
        np.testing.assert_array_equal(source.read(1), ds.provenance)
    with rasterio.open(file) as source:
        assert source.dtypes == (encoding,)
        assert (source.scales[0], source.offsets[0]) == (1e-4, OFFSETS[encoding])
        assert source.nodata == EMPTY[encoding]
        stored = source.read(1)
    np.testing.assert_array_equal(stored == EMPTY[encoding], np.isnan(values))
    decoded = np.where(np.isnan(values), np.nan, stored * 1e-4 + OFFSETS[encoding])
    np.testing.assert_allclose(decoded, values, rtol=0, atol=0.501e-4)
    (tmp_path / "big").mkdir()
    with pytest.raises(DataError, match=r"xcf.io.to_cog\(obj, path, encoding="):
        to_cog(ds * 99, tmp_path / "big" / "out.tif", encoding=encoding, progress=False)
    assert not list((tmp_path / "big").iterdir())

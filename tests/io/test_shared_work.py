"""What cells share is computed once: the work of all dates of a place, and sums of the scene."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr

import xcloudfree as xcf
from tests.builders import contents
from xcloudfree.core.blocks import Output, Together, map_windows
from xcloudfree.core.graphs import ALL_DATES, SCENE_SUM
from xcloudfree.core.windows import Halo
from xcloudfree.io import cog, geotiff, to_cog, to_zarr
from xcloudfree.io.ledger import Ledger
from xcloudfree.reconstruct import predict as stages

DATES, ROWS, COLUMNS, SIDE = 3, 4, 6, 4
NARROW = 1
"""Bytes for neighbours: strips of three, two and three columns, or fewer."""


class Series:
    """Blocks (1, side, side) that count how often they are read, and what is in memory."""

    known: ClassVar[dict[int, Series]] = {}

    def __init__(self, dates: int = DATES, rows: int = ROWS, columns: int = COLUMNS) -> None:
        self.reads: Counter[Any] = Counter()
        self.alive = self.most = 0
        self.lock, self.known[id(self)] = threading.RLock(), self
        chunks = ((1,) * dates, (SIDE,) * rows, (SIDE,) * columns)
        self.blocks = dates * rows * columns
        self.array = da.map_blocks(
            self._read, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
        )

    def _read(self, block_info: Any = None) -> np.ndarray:
        place = block_info[None]
        values = np.random.default_rng(place["chunk-location"]).random(place["chunk-shape"])
        with self.lock:
            self.reads[place["chunk-location"]] += 1
        return values.astype(np.float32)

    def watched(self, block: np.ndarray) -> np.ndarray:
        """A copy that counts as in memory."""
        mine = block.copy()
        with self.lock:
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(mine, self._gone)
        return mine

    def _gone(self) -> None:
        with self.lock:
            self.alive -= 1

    def __reduce__(self) -> Any:
        """Counted here also where a cluster of threads pickles it."""
        return _known, (id(self),)

    def __dask_tokenize__(self) -> Any:
        return "series", id(self)


def _known(number: int) -> Series:
    return Series.known[number]


def whole_series(source: da.Array) -> da.Array:
    """Blocks with all dates, and the annotation that says so."""
    with dask.annotate(**{ALL_DATES: True}):
        return source.rechunk({0: -1})


def scene_sum(source: da.Array) -> da.Array:
    """Total over the scene of each date, with the annotation that says so."""
    with dask.annotate(**{SCENE_SUM: True}):
        return source.sum((1, 2), keepdims=True)


def temporal(source: da.Array) -> da.Array:
    """Deviation from the mean of all dates, by date."""
    whole = whole_series(source)
    return (whole - whole.mean(0, keepdims=True)).rechunk({0: 1})


def summed(source: da.Array) -> da.Array:
    """Temporal, and the total of each date over the scene."""
    whole = whole_series(source)
    return (whole - scene_sum(whole)).rechunk({0: 1})


def summed_twice(source: da.Array) -> da.Array:
    """Temporal, with a total over the scene that another one needs."""
    whole = whole_series(source)
    total = scene_sum(whole)
    return ((whole - total) / scene_sum((whole - total) ** 2)).rechunk({0: 1})


def by_date(source: da.Array) -> da.Array:
    """The total of each date over the scene, date by date."""
    return source - scene_sum(source)


def of_all(source: da.Array) -> da.Array:
    """One number of the whole series."""
    with dask.annotate(**{SCENE_SUM: True}):
        total = source.sum()
    return source - total


def alone(source: da.Array) -> da.Array:
    """Blocks by themselves."""
    return source * np.float32(2) + np.float32(1)


def around(source: Series) -> da.Array:
    """All dates of a place and what is around it, in two passes, as a method does."""
    whole = whole_series(source.array).map_blocks(source.watched, dtype=np.float32)
    (near,) = map_windows(_near, [[whole]], [Output(np.dtype("float32"))], lead=1, plan=Halo(1))
    total = scene_sum(near)
    (out,) = map_windows(
        _near, [[whole], [whole - total]], [Output(np.dtype("float32"))], lead=1, plan=Halo(1)
    )
    return out.rechunk({0: 1})


def _near(*windows: np.ndarray, core: tuple[slice, slice]) -> tuple[np.ndarray, ...]:
    return ((windows[-1] - windows[0].mean(0))[:, *core].astype(np.float32),)


def dataset(array: da.Array) -> xr.Dataset:
    return xr.Dataset({"B02": (("time", "y", "x"), array)})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Threads, so that reading can be counted."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None,
        silence_logs=50,
    ) as started:  # fmt: skip
        yield started


@contextmanager
def scheduler(name: str, request: pytest.FixtureRequest) -> Iterator[None]:
    if name != "cluster":
        with dask.config.set(scheduler=name, num_workers=2):
            yield
        return
    from distributed import Client

    with Client(request.getfixturevalue("cluster")):
        yield


WORKS = [(alone, 1), (temporal, 1), (summed, 2), (summed_twice, 3), (by_date, 2), (of_all, 2)]
"""Work, and how often it reads the scene."""


@pytest.mark.parametrize(
    ("name", "work", "passes"),
    [
        pytest.param(name, *work, marks=() if quick else pytest.mark.slow)
        for name in ("sync", "threads", "cluster")
        for work in WORKS
        for quick in [name == "sync" or work[0] in (temporal, summed_twice)]
    ],
)
def test_input_is_read_once_for_each_pass_over_the_scene(
    tmp_path: Path,
    work: Callable[[da.Array], da.Array],
    passes: int,
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    source = Series()
    lazy = work(source.array)
    expected = lazy.compute(scheduler="sync")
    source.reads.clear()
    with scheduler(name, request):
        back = to_zarr(dataset(lazy), tmp_path / "out.zarr", memory=NARROW, progress=False)
    assert set(source.reads.values()) == {passes}
    assert len(source.reads) == source.blocks
    np.testing.assert_array_equal(back.B02, expected)


def test_dates_are_written_one_after_another_where_they_share_nothing(tmp_path: Path) -> None:
    ground = da.ones((ROWS * SIDE, COLUMNS * SIDE), chunks=SIDE, dtype=np.float32)
    order = recorded(dataset(by_date(Series().array) * ground), tmp_path / "out.zarr")
    assert order == sorted(order)


def test_the_dates_of_a_place_are_written_together_where_they_share_work(tmp_path: Path) -> None:
    order = recorded(dataset(temporal(Series().array)), tmp_path / "out.zarr")
    places = [index[1:] for index in order]
    assert sorted(order[:DATES]) == [(t, 0, 0) for t in range(DATES)]
    assert places[::DATES] == list(dict.fromkeys(places))


def recorded(ds: xr.Dataset, path: Path) -> list[tuple[int, ...]]:
    """Cells in the order in which they are stored."""
    order: list[tuple[int, ...]] = []
    real = Ledger.add

    def add(self: Ledger, key: str) -> None:
        starts = [int(part.split("=")[1].split(":")[0]) for part in key.split(",")]
        order.append((starts[0], starts[1] // SIDE, starts[2] // SIDE))
        real(self, key)

    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr(Ledger, "add", add)
        to_zarr(ds, path, progress=False)
    return order


@pytest.mark.parametrize(
    ("name", "ahead"),
    [("sync", 4), ("threads", 4), pytest.param("cluster", 16, marks=pytest.mark.slow)],
)
def test_memory_is_that_of_a_strip_also_while_the_scene_is_summed_up(
    tmp_path: Path, name: str, ahead: int, request: pytest.FixtureRequest
) -> None:
    source = Series(DATES, 15, 8)
    lazy = around(source)
    with scheduler(name, request):
        back = to_zarr(dataset(lazy), tmp_path / "out.zarr", memory=NARROW, progress=False)
    # three rows of a strip and the columns beside it, a corner, and what is worked on
    assert source.most <= 3 * 4 + 1 + ahead
    assert max(source.reads.values()) <= 2 * 4  # where two strips and two groups of rows meet
    np.testing.assert_array_equal(back.B02, lazy)


def test_what_stays_as_it_is_does_not_wait_for_other_dates(tmp_path: Path) -> None:
    source = Series(DATES, 8)
    plain = source.array.map_blocks(source.watched, dtype=np.float32)
    kind = np.dtype("float32")
    (near,) = map_windows(
        _near, [[plain]], [Output(kind)], lead=1, plan=Halo(1), together=Together(0, 99)
    )
    ds = dataset(near.rechunk({0: 1})).assign(VV=(("time", "y", "x"), plain))
    with dask.config.set(scheduler="sync"):
        back = to_zarr(ds, tmp_path / "out.zarr", memory=NARROW, progress=False)
    assert source.most <= 2 * DATES  # those of the place that is read, not of two rows
    xr.testing.assert_equal(back, ds.compute())


@pytest.mark.parametrize("work", [temporal, summed, by_date])
def test_an_interrupted_write_goes_on_where_it_stopped(
    tmp_path: Path, work: Callable[[da.Array], da.Array]
) -> None:
    source = Series()
    ds, real, count = dataset(work(source.array)), Ledger.add, [0]
    to_zarr(ds, tmp_path / "whole.zarr", progress=False)

    def stop(self: Ledger, key: str) -> None:
        count[0] += 1
        if count[0] == 31:  # in the middle of a place
            raise KeyboardInterrupt
        real(self, key)

    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr(Ledger, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            to_zarr(ds, tmp_path / "out.zarr", progress=False)
    stored: list[Any] = []

    def note(self: Ledger, key: str) -> None:
        stored.append(key)
        real(self, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "add", note)
        to_zarr(ds, tmp_path / "out.zarr", progress=False)
    assert len(stored) == source.blocks - 30
    assert contents(tmp_path / "out.zarr") == contents(tmp_path / "whole.zarr")


# ------------------------------------------------------------------ GeoTIFF


def placed(array: da.Array) -> xr.Dataset:
    """The series on a grid, by day."""
    days = np.datetime64("2025-06-01", "ns") + np.arange(DATES) * np.timedelta64(1, "D")
    rows, columns = array.shape[1:]
    coords = {"time": days, "y": 5e6 - 10.0 * np.arange(rows), "x": 6e5 + 10.0 * np.arange(columns)}
    return dataset(array).assign_coords(coords).rio.write_crs("EPSG:32631")  # type: ignore[no-any-return]


@pytest.mark.parametrize(("work", "passes"), [(alone, 1), (temporal, 1), (summed, 2)])
def test_a_geotiff_of_each_date_reads_input_once_too(
    tmp_path: Path,
    work: Callable[[da.Array], da.Array],
    passes: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(geotiff, "_WINDOW_BYTES", 1)
    source = Series()
    lazy = work(source.array)
    expected = lazy.compute(scheduler="sync")
    source.reads.clear()
    files = to_cog(placed(lazy), tmp_path / "out.tif", progress=True)
    assert set(source.reads.values()) == {passes}
    assert sorted(tmp_path.iterdir()) == files
    for file, image in zip(files, expected, strict=True):
        with rasterio.open(file) as opened:
            np.testing.assert_array_equal(opened.read(1), image)
    told = capsys.readouterr().err
    assert "writing out.tif 100%" in told
    assert f"{source.blocks}/{source.blocks}" in told
    assert ("writing out.zarr" in told) == (work is not alone)
    assert ("summing up the scene" in told) == (work is summed)


def test_a_geotiff_of_a_store_takes_no_other_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = to_zarr(placed(Series().array), tmp_path / "in.zarr", progress=False)
    monkeypatch.setattr(geotiff, "_WINDOW_BYTES", 1)
    monkeypatch.setattr(cog, "to_zarr", lambda *_, **__: pytest.fail("stored again"))
    files = to_cog(stored, tmp_path / "out.tif", progress=False)
    assert len(files) == DATES


# ------------------------------------------------------------------ methods


def series() -> xr.Dataset:
    made = xcf.datasets.simulate_scene((60, 60), dates=3, seed=3, cover=0.3)
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "model", [pytest.param("median", marks=pytest.mark.slow), "median+offset", "area-regression"]
)
def test_a_method_measures_and_predicts_each_place_once(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    for stage in (stages.Measure, stages.ReconstructSeries):
        counting(monkeypatch, stage, calls)
    ds = series().chunk(time=1, y=20, x=20)
    lazy = ds.cloudfree.reconstruct(model=model)
    whole = lazy.compute(scheduler="sync")
    expected = dict(calls)
    assert expected["ReconstructSeries"] == 9
    calls.clear()
    with dask.config.set(scheduler="threads", num_workers=2):
        back = to_zarr(lazy, tmp_path / "out.zarr", progress=False)
    assert dict(calls) == expected
    for name, array in whole.data_vars.items():
        np.testing.assert_array_equal(back[name], array)
    assert int((back.provenance == 2).sum()) > 1000


def counting(patch: pytest.MonkeyPatch, stage: Any, calls: Counter[str]) -> None:
    real = stage.__call__

    def call(self: Any, *windows: Any, **options: Any) -> Any:
        calls[stage.__name__] += 1
        return real(self, *windows, **options)

    patch.setattr(stage, "__call__", call)


def test_a_network_that_reads_other_dates_gives_the_same_on_a_cluster(
    tmp_path: Path, workers: Any
) -> None:
    from distributed import Client

    model = xcf.models.create("carf-tiny", base="regression")
    ds = to_zarr(series().chunk(time=1, y=30, x=30), tmp_path / "scene.zarr", progress=False)
    lazy = ds.cloudfree.reconstruct(model=model)
    with dask.config.set(scheduler="sync"):
        to_zarr(lazy, tmp_path / "sync.zarr", progress=False)
    with Client(workers):
        back = to_zarr(lazy, tmp_path / "cluster.zarr", progress=False)
    assert contents(tmp_path / "cluster.zarr") == contents(tmp_path / "sync.zarr")
    whole = ds.compute().cloudfree.reconstruct(model=model)
    np.testing.assert_array_equal(back.provenance, whole.provenance)
    np.testing.assert_allclose(back.B04, whole.B04, atol=2e-6)

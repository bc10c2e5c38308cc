"""Large areas: any dask scheduler gives the same bytes, input is shared, memory does not grow."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner

import xcloudfree as xcf
from tests.builders import contents, make_bands, stacked
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.blocks import Output, map_windows
from xcloudfree.core.windows import Halo

ROOT = Path(__file__).parents[2]
BLOCK = 48


def reconstructed(ds: xr.Dataset) -> xr.Dataset:
    model = xcf.models.create("carf-tiny", base="prior")
    return ds.cloudfree.reconstruct(model=model)  # type: ignore[no-any-return]


# ------------------------------------------------------------------ any dask


@pytest.fixture(scope="module")
def scene_and_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.Dataset, Path]:
    """A scene in a store, so that workers read it, and its reconstruction with one thread."""
    folder = tmp_path_factory.mktemp("any")
    ds = xcf.datasets.simulate_scene((96, 120), seed=2, cover=0.3).chunk(time=1, y=BLOCK, x=BLOCK)
    ds = ds.assign_coords(item_id=("time", ["S2A_1"]))
    scene = xcf.io.to_zarr(ds, folder / "scene.zarr", progress=False)
    with dask.config.set(scheduler="sync"):
        xcf.io.to_zarr(reconstructed(scene), folder / "out.zarr", progress=False)
    return scene, folder / "out.zarr"


def test_the_store_of_a_lazy_scene_holds_what_the_whole_gives(
    scene_and_store: tuple[xr.Dataset, Path],
) -> None:
    scene, store = scene_and_store
    whole, back = reconstructed(scene.compute()), xcf.io.open_zarr(store)
    for name in (*S2_BANDS, "VV", "VH", "provenance"):
        np.testing.assert_array_equal(back[name], whole[name])
    assert int((back.provenance == 2).sum()) > 1000


def test_the_store_tells_how_it_was_made(scene_and_store: tuple[xr.Dataset, Path]) -> None:
    scene, store = scene_and_store
    made = reconstructed(scene).provenance.attrs
    for source in (xr.open_zarr(store), xcf.io.open_zarr(store)):
        assert source.item_id.values.tolist() == ["S2A_1"]
        assert source.attrs["item_id"] == ["S2A_1"]
        for key in ("model", "model_digest", "mask", "blend", "xcloudfree_version"):
            assert source.attrs[key] == source.provenance.attrs[key] == made[key]
        assert source.attrs["title"] == scene.attrs["title"]
        assert "flag_values" not in source.attrs


@pytest.mark.parametrize(
    "scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_schedulers_of_one_machine_give_the_same_bytes(
    tmp_path: Path, scene_and_store: tuple[xr.Dataset, Path], scheduler: str
) -> None:
    scene, store = scene_and_store
    with dask.config.set(scheduler=scheduler, num_workers=2):
        xcf.io.to_zarr(reconstructed(scene), tmp_path / "out.zarr", progress=False)
    assert contents(tmp_path / "out.zarr") == contents(store)


def test_a_cluster_gives_the_same_bytes_and_shows_how_far_it_is(
    tmp_path: Path,
    scene_and_store: tuple[xr.Dataset, Path],
    workers: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from distributed import Client

    scene, store = scene_and_store
    with Client(workers) as client:
        xcf.io.to_zarr(reconstructed(scene), tmp_path / "out.zarr", progress=True)
        assert contents(tmp_path / "out.zarr") == contents(store)
        told = capsys.readouterr().err
        assert "writing out.zarr 100%" in told
        assert "6/6" in told
        ran = client.run(lambda: "xcloudfree.models.cache" in sys.modules)
        assert any(ran.values())  # and not in this process
        held = client.persist(scene)
        xcf.io.to_zarr(reconstructed(held), tmp_path / "held.zarr", progress=False)
        for name in ("B02", "provenance"):
            np.testing.assert_array_equal(
                xcf.io.open_zarr(tmp_path / "held.zarr")[name], xcf.io.open_zarr(store)[name]
            )


def test_an_unknown_scheduler_of_the_user_is_used(tmp_path: Path) -> None:
    calls: list[Any] = []

    def get(dsk: Any, keys: Any, **options: Any) -> Any:
        calls.extend(key for key in keys if str(key[0]).startswith("store-"))
        return dask.get(dsk, keys, **options)

    ds = make_bands()[["B02"]].chunk(time=1, y=20, x=20)
    with dask.config.set(scheduler=get):
        back = xcf.io.to_zarr(ds, tmp_path / "out.zarr", progress=False)
    assert len(calls) == 2 * 3 * 2
    xr.testing.assert_equal(back.B02, ds.B02)


class Gauge:
    """How many calls run at once."""

    lock = threading.Lock()
    now = top = 0


def gauged(block: np.ndarray) -> np.ndarray:
    with Gauge.lock:
        Gauge.now += 1
        Gauge.top = max(Gauge.top, Gauge.now)
    time.sleep(0.03)
    with Gauge.lock:
        Gauge.now -= 1
    return block + 1


def test_what_tasks_ask_of_workers_reaches_the_cluster(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    source = da.zeros((64, 64), chunks=16)
    options: dict[str, Any] = {"dtype": float, "meta": np.empty((0, 0))}
    with dask.annotate(resources={"GPU": 1}):
        asking = source.map_blocks(gauged, **options) + 1
    plain = source.map_blocks(gauged, **options) + 1
    with distributed.Client(
        n_workers=1, threads_per_worker=4, processes=False, dashboard_address=None,
        resources={"GPU": 1},
    ):  # fmt: skip
        for name, array in (("plain", plain), ("asking", asking)):
            Gauge.top = 0
            ds = xr.Dataset({"a": (("y", "x"), array)})
            back = xcf.io.to_zarr(ds, tmp_path / f"{name}.zarr", progress=False)
            assert (back.a == 2).all()
            assert (Gauge.top == 1) == (name == "asking")


def test_a_network_asks_for_a_gpu_of_the_cluster_and_nothing_else_does(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")

    class Seen(distributed.diagnostics.plugin.SchedulerPlugin):  # type: ignore[misc]
        tasks: ClassVar[set[Any]] = set()
        asking: ClassVar[dict[Any, Any]] = {}

        def update_graph(self, *_: Any, tasks: Any, annotations: Any, **__: Any) -> None:
            self.tasks.update(tasks)
            self.asking.update(annotations.get("resources", {}))

    ds = xcf.datasets.simulate_scene((96, 96), seed=2, cover=0.3).chunk(time=1, y=BLOCK, x=BLOCK)
    with distributed.Client(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None,
        resources={"GPU": 1},
    ) as client:  # fmt: skip
        client.cluster.scheduler.add_plugin(Seen())
        back = xcf.io.to_zarr(reconstructed(ds), tmp_path / "out.zarr", progress=False)
    assert int((back.provenance == 2).sum()) > 1000
    networks = {key for key in Seen.tasks if is_network(key)}
    assert len(networks) == 4
    assert Seen.asking == {key: {"GPU": 1} for key in networks}


def is_network(key: Any) -> bool:
    """Whether a task is the work on a block, and not one of the picks from its result."""
    name = str(key[0]) if isinstance(key, tuple) else ""
    return name.startswith("reconstructblock-") and name.count("-") == 1


# ------------------------------------------------------------------ input is shared


class Source:
    """Scene whose blocks count how often they are read."""

    bands = ("B02", "B03", "B04", "B08", "VV", "VH")

    def __init__(self, rows: int, columns: int, side: int = 16) -> None:
        self.reads: Counter[Any] = Counter()
        chunks = ((side,) * rows, (side,) * columns)
        options: dict[str, Any] = {"dtype": np.float32, "meta": np.empty((0, 0), np.float32)}
        self.arrays = [
            da.map_blocks(self._read, name, chunks=chunks, **options) for name in self.bands
        ]

    def _read(self, name: str, block_info: Any = None) -> np.ndarray:
        place = block_info[None]
        self.reads[name, place["chunk-location"]] += 1
        return np.full(place["chunk-shape"], sum(place["chunk-location"]), np.float32)

    def __dask_tokenize__(self) -> int:
        return id(self)

    def seen_by_neighbours(self) -> xr.Dataset:
        """Each block as a task that reads it with the eight around it; backscatter as it is."""
        (data,) = map_windows(
            keep_core,
            [self.arrays[:4], self.arrays[4:]],
            [Output(np.dtype(np.float32), 4)],
            lead=0,
            plan=Halo(4, 1),
        )
        arrays = [*data, *self.arrays[4:]]
        return xr.Dataset({n: (("y", "x"), a) for n, a in zip(self.bands, arrays, strict=True)})


def keep_core(
    optical: np.ndarray, sar: np.ndarray, *, core: tuple[slice, slice]
) -> tuple[np.ndarray, ...]:
    return (optical[:, *core],)


CELL = 6 * 16 * 16 * 4


@pytest.mark.parametrize(
    ("memory", "strips", "scheduler"),
    [
        ("1 MiB", 1, "sync"),
        (10 * CELL, 2, "threads"),
        (8 * CELL, 3, "sync"),
        (1, 3, "threads"),
    ],
)
def test_input_is_read_once_and_beside_strips_again(
    tmp_path: Path, memory: int | str, strips: int, scheduler: str
) -> None:
    rows, columns = 5, 8
    source = Source(rows, columns)
    with dask.config.set(scheduler=scheduler):
        back = xcf.io.to_zarr(
            source.seen_by_neighbours(), tmp_path / "out.zarr", memory=memory, progress=False
        )
    np.testing.assert_array_equal(back.B03[::16, ::16], np.add.outer(range(rows), range(columns)))
    beside = 2 * (strips - 1)  # columns that two strips read
    assert sum(source.reads.values()) == 6 * rows * (columns + beside)


def test_reading_does_not_run_ahead(tmp_path: Path) -> None:
    rows, columns = 20, 4  # in one strip
    source = Source(rows, columns)
    read: list[int] = []

    def watch(key: Any, *_: Any) -> None:
        if isinstance(key, tuple) and str(key[0]).startswith("store-"):
            read.append(len({place for _, place in source.reads}))

    with (
        dask.config.set(scheduler="threads", num_workers=2),
        dask.callbacks.Callback(posttask=watch),
    ):
        xcf.io.to_zarr(source.seen_by_neighbours(), tmp_path / "out.zarr", progress=False)
    assert len(read) == rows * columns
    for stored, blocks in enumerate(read, start=1):
        # the row below and a corner, three blocks ahead, and two that are stored and not told yet
        assert blocks <= stored + columns + 2 + 3 + 2


# ------------------------------------------------------------------ the example


@pytest.fixture
def example() -> Any:
    spec = importlib.util.spec_from_file_location("large_area", ROOT / "examples/large_area.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_runs_the_whole_path_on_a_cluster(
    tmp_path: Path, example: Any, workers: Any
) -> None:
    out, maps = tmp_path / "out.zarr", tmp_path / "maps/area.tif"
    words = [
        str(out), "--scheduler", workers.scheduler_address, "--size", "96", "--block", "48",
        "--model", "carf-tiny", "--cog", str(maps), "--per", "band",
    ]  # fmt: skip
    result = CliRunner().invoke(example.main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "2 workers" in result.output
    scene, stored = xcf.io.open_zarr(tmp_path / "out-scene.zarr"), xcf.io.open_zarr(out)
    assert stored.B02.dtype == np.int16
    assert stored.B02.chunksizes["x"] == (48, 48)
    expected = scene.compute().cloudfree.reconstruct(model="carf-tiny")
    np.testing.assert_array_equal(stored.provenance, expected.provenance)
    decoded = xr.open_zarr(out)
    assert float(abs(decoded.B08.astype(float) - expected.B08).max()) <= 5.0001e-5
    with rasterio.open(maps.with_name("area_B08.tif")) as file:
        np.testing.assert_array_equal(file.read(1), stored.B08[0])
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_the_example_says_what_is_wrong(tmp_path: Path, example: Any, workers: Any) -> None:
    words = [str(tmp_path / "out.zarr"), "--scheduler", workers.scheduler_address]
    (tmp_path / "scene.zarr").mkdir()
    for wrong, message in (
        (["--catalog", "http://127.0.0.1:9"], "--catalog needs --bbox and --datetime"),
        (["--scene", str(tmp_path / "scene.zarr")], "There is no Zarr store"),
    ):
        result = CliRunner().invoke(example.main, words + wrong)
        assert result.exit_code != 0
        assert message in result.output
    told = CliRunner().invoke(example.main, ["--help"]).output
    assert "--scheduler tcp://head-node:8786" in told


# ------------------------------------------------------------------ memory


MEASURE = """
import sys, threading, time
import psutil, torch
from tests.io.test_large_area import write_large
torch.set_num_threads(1)
write_large(2, sys.argv[2])
process, peak, stop = psutil.Process(), [0], threading.Event()
start = process.memory_info().rss
def watch():
    while not stop.is_set():
        peak[0] = max(peak[0], process.memory_info().rss)
        time.sleep(0.01)
thread = threading.Thread(target=watch)
thread.start()
write_large(int(sys.argv[1]), sys.argv[2])
stop.set()
thread.join()
print(peak[0] - start)
"""


def tile(name: str, side: int, block_info: Any = None) -> np.ndarray:
    """Clear ground with a bright cloud in the corner of every block."""
    rng = np.random.default_rng([*block_info[None]["chunk-location"], len(name)])
    texture = rng.random((1, 64, 64), dtype=np.float32)
    values = np.tile(texture, (1, side // 64, side // 64))
    if name.startswith("V"):
        return values - np.float32(12)
    values *= np.float32(0.08)
    values[:, : side // 8, : side // 8] += np.float32(0.5)
    return values + np.float32(0.02)


def write_large(count: int, path: str, side: int = 512) -> None:
    """Reconstruct count x count blocks of a scene that is made as it is read, with two threads."""
    ds = stacked(make_bands(1, 2, 2))
    chunks = ((1,), (side,) * count, (side,) * count)
    variables = {}
    for name in (*S2_BANDS, "VV", "VH"):
        array = da.map_blocks(
            tile, name, side, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
        )
        attrs = ds.s1.attrs if name.startswith("V") else ds.s2.attrs
        variables[name] = (("time", "y", "x"), array, attrs)
    scene = xr.Dataset(variables)
    with dask.config.set(scheduler="threads", num_workers=2):
        xcf.io.to_zarr(reconstructed(scene), path, mode="overwrite", memory=2**26, progress=False)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    pytest.importorskip("psutil")

    def peak(count: int) -> int:
        words = [sys.executable, "-c", MEASURE, str(count), str(tmp_path / "out.zarr")]
        done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
        return int(done.stdout.split()[-1])

    small, large = peak(4), peak(8)
    assert large <= 1.15 * small, f"{large >> 20} MiB against {small >> 20} MiB"

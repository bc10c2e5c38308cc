"""Graphs: tasks of a block, how long an area of 100 000 x 100 000 px takes, what is sent."""

from __future__ import annotations

import gc
import pickle
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.highlevelgraph import HighLevelGraph

import xcloudfree as xcf
from tests import archive
from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from tests.benchmarks.scenes import ATTRS
from tests.benchmarks.timing import ROUNDS
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.core.graphs import is_task, tasks_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning"),
]

SIDE, BLOCK = 100_000, 1024
MEGABYTE = 1e6


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    gc.collect()
    yield
    gc.collect()


def area(side: int) -> xr.Dataset:
    """A lazy area whose input has the chunks of the output: a task each, which reads nothing."""
    variables = {}
    for name, count, dims in (("s2", 13, "band"), ("s1", 2, "polarisation")):
        array = da.empty((count, side, side), dtype="float32", chunks=(count, BLOCK, BLOCK))
        attrs = {"units": "1", "processing_level": "TOA"} if name == "s2" else ATTRS["s1"]
        variables[name] = ((dims, "y", "x"), array, attrs)
    return xr.Dataset(variables, {"band": list(S2_BANDS), "polarisation": ["VV", "VH"]})


def tasks(ds: xr.Dataset) -> Counter[str]:
    """Tasks a layer after optimisation; other names for a result are not counted, nor data."""
    (optimised,) = dask.optimize(ds)
    graph = tasks_of(HighLevelGraph.from_collections("all", optimised.__dask_graph__()))
    return Counter(
        str(key[0] if isinstance(key, tuple) else key)
        for key, task in graph.items()
        if is_task(task)
    )


def test_tasks_of_a_block(record: Record) -> None:
    lazy = area(8 * BLOCK).cloudfree.reconstruct(model="carf-tiny")
    one, both = (sum(tasks(ds).values()) / 64 for ds in (lazy[["s2"]], lazy[["s2", "provenance"]]))
    record("graph", "tasks a block after optimisation, 2 sources among them", f"{one:.2f}",
           "at most 3", one <= 3)  # fmt: skip
    record("graph", "the same, with `provenance`, where 2 tasks only pick an output", f"{both:.2f}")


def test_tasks_of_a_block_from_a_catalog(tmp_path: Path, record: Record) -> None:
    scene = xcf.datasets.simulate_scene((96, 96), seed=1)
    items = xcf.stac.publish(scene, tmp_path, base_url=tmp_path.as_uri())[1]
    ds = xcf.stac.load(items, chunks={"x": 32, "y": 32})
    lazy = ds.cloudfree.reconstruct(model="carf-tiny")
    found = tasks(lazy[[*S2_BANDS, "provenance"]])
    arrays = len(S2_BANDS) + 2 + 1  # read, or made
    count = sum(n for n in found.values() if n >= 9) / 9
    record(
        "graph", f"`stac.load` and `reconstruct`, tasks a block of {arrays} arrays",
        f"{count:.1f}, {count / arrays:.2f} a block of each array", "at most 3 of each",
        count / arrays <= 3,
    )  # fmt: skip


TILES = (
    ("UNA", 499_980, 5_400_000),
    ("UPA", 600_000, 5_400_000),
    ("UNV", 499_980, 5_300_040),
    ("UPV", 600_000, 5_300_040),
)


def tiles_of_a_year() -> list[dict[str, Any]]:
    """Items of 73 dates over 4 tiles, of both missions; no file is opened."""
    items = []
    day, size = np.timedelta64(5, "D"), 109_800
    for n in range(73):
        time_ = np.datetime64("2025-01-01T10:40:31") + n * day
        for name, left, top in TILES:
            assets = {}
            for band in (*archive.L2A, "SCL"):
                metres = 20 if band == "SCL" else archive.metres(band)
                assets[band] = {"href": f"/nowhere/{n}_{name}_{band}.tif"}
                assets[band]["proj:shape"] = [size // metres] * 2
                assets[band]["proj:transform"] = [metres, 0, left, 0, -metres, top]
            keys = ("vv", "vh")
            radar = {k: {"href": f"/nowhere/{n}_{name}_{k}.tif"} for k in keys}
            for asset in radar.values():
                asset |= {"proj:shape": [10_980] * 2, "proj:transform": [10, 0, left, 0, -10, top]}
            made = (
                (f"S2A_MSIL2A_{n}_N0511_R008_T32{name}", "sentinel-2-l2a", time_, assets),
                (f"S1A_{n}_{name}_rtc", "sentinel-1-rtc", time_ + np.timedelta64(6, "h"), radar),
            )
            for id_, collection, when, own in made:
                item = archive.made_up(id_, collection, f"{when}Z", own)
                item["properties"] |= {
                    "proj:code": "EPSG:32632",
                    "platform": "sentinel-1a" if own is radar else "sentinel-2a",
                    "s2:processing_baseline": "05.11",
                    "sat:absolute_orbit": 1000 + n,
                    "sat:relative_orbit": 66,
                    "sat:orbit_state": "ascending",
                }
                archive.place(item, left, top, "EPSG:32632", size)
                items.append(item)
    return items


def test_a_year_over_four_tiles(record: Record) -> None:
    items = tiles_of_a_year()
    start, used = time.perf_counter(), time.process_time()
    ds = xcf.stac.load(items)
    took, worked = time.perf_counter() - start, time.process_time() - used
    blocks = sum(int(np.prod(v.data.numblocks)) for v in ds.data_vars.values())
    count = len(dict(ds.__dask_graph__()))
    record("graph", f"`stac.load`, 73 dates of {ds.sizes['y']} x {ds.sizes['x']} px, s",
           f"{took:.1f}; CPU-seconds {worked:.1f}", "at most 20", worked <= 20)  # fmt: skip
    record("graph", "the same, tasks a block of each array, before optimisation",
           f"{count / blocks:.2f}", "under 10", count < 10 * blocks)  # fmt: skip


def test_an_area_of_100_000_pixels_squared(record: Record) -> None:
    model = xcf.models.load("carf-tiny")
    tensors = [t.numpy().tobytes()[:64] for t in model.network.state_dict().values()]
    weights = [t for t in tensors if len(t) == 64 and any(t)]
    built, optimised, worked, sizes = [], [], [], []
    for _ in range(ROUNDS + 1):
        gc.collect()
        start, used = time.perf_counter(), time.process_time()
        lazy = area(SIDE).cloudfree.reconstruct(model="carf-tiny")
        middle = time.perf_counter()
        (ready,) = dask.optimize(lazy[["s2"]])
        optimised.append(time.perf_counter() - middle)
        worked.append(time.process_time() - used)
        built.append(middle - start)
        graph: Any = ready.__dask_graph__()
        data = pickle.dumps(graph, protocol=5)
        sizes.append(len(data))
        assert not any(t in data for t in weights)
        del lazy, ready, graph
    total = [a + b for a, b in zip(built, optimised, strict=True)][1:]
    record("graph", "100 000 x 100 000 px, build, s", spread(built[1:]))
    record("graph", "100 000 x 100 000 px, optimise, s", spread(optimised[1:]))
    record(
        "graph",
        "build and optimise, s",
        f"{spread(total)}; CPU-seconds {spread(worked[1:])}",
        "at most 5",
        np.median(total) <= 5,
    )
    record(
        "graph", "pickled, MB, no weights in it", f"{max(sizes) / MEGABYTE:.1f}", "at most 10",
        max(sizes) <= 10 * MEGABYTE,
    )  # fmt: skip

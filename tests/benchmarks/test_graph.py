"""Graphs: tasks of a block, how long an area of 100 000 x 100 000 px takes, what is sent."""

from __future__ import annotations

import gc
import pickle
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.highlevelgraph import HighLevelGraph

import xcloudfree as xcf
from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from tests.benchmarks.scenes import ATTRS
from tests.benchmarks.timing import ROUNDS
from xcloudfree.bands import S2_BANDS

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
        plain = {k: v for k, v in ATTRS[name].items() if k not in ("nodata",)}
        if name == "s2":
            plain = {"units": "1", "processing_level": "TOA"}
        variables[name] = ((dims, "y", "x"), array, plain)
    return xr.Dataset(variables, {"band": list(S2_BANDS), "polarisation": ["VV", "VH"]})


def test_tasks_of_a_block(record: Record) -> None:
    lazy = area(8 * BLOCK).cloudfree.reconstruct(model="carf-tiny")
    (optimised,) = dask.optimize(lazy[["s2", "provenance"]])
    kinds = Counter(
        str(key[0] if isinstance(key, tuple) else key) for key in dict(optimised.__dask_graph__())
    )
    # tasks that are aliases or pick an output cost nothing to speak of, but are counted too
    count = sum(n for n in kinds.values() if n > 1) / 64
    names = {name.rpartition("-")[0] or name for name in kinds}
    record(
        "graph", "tasks a block after optimisation, of which 2 read and 2 pick an output",
        f"{count:.1f} ({', '.join(sorted(names))})",
    )  # fmt: skip


def test_an_area_of_100_000_pixels_squared(record: Record) -> None:
    model = xcf.models.load("carf-tiny")
    weights = max(model.network.state_dict().values(), key=lambda t: t.numel())
    built, optimised, sizes = [], [], []
    for _ in range(ROUNDS + 1):
        gc.collect()
        start = time.perf_counter()
        lazy = area(SIDE).cloudfree.reconstruct(model="carf-tiny")
        middle = time.perf_counter()
        (ready,) = dask.optimize(lazy[["s2"]])
        optimised.append(time.perf_counter() - middle)
        built.append(middle - start)
        graph: Any = ready.__dask_graph__()
        data = pickle.dumps(graph, protocol=5)
        sizes.append(len(data))
        assert weights.numpy().tobytes()[:64] not in data
        del lazy, ready, graph
    total = [a + b for a, b in zip(built, optimised, strict=True)][1:]
    record("graph", "100 000 x 100 000 px, build, s", spread(built[1:]))
    record("graph", "100 000 x 100 000 px, optimise, s", spread(optimised[1:]))
    record("graph", "build and optimise, s", spread(total), "at most 5", np.median(total) <= 5)
    record(
        "graph", "pickled, MB, no weights in it", f"{max(sizes) / MEGABYTE:.1f}", "at most 10",
        max(sizes) <= 10 * MEGABYTE,
    )  # fmt: skip

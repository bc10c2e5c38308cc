"""Peak memory by the size of the scene, and against a bare loop; each run in its own process."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest

import xcloudfree as xcf
from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from tests.benchmarks.scenes import scene, series, stored
from tests.benchmarks.timing import QUICK, used

pytestmark = pytest.mark.slow

ROUNDS = 1 if QUICK else 3  # minutes each, and memory hardly varies
BLOCK = 256 if QUICK else 1024
SMALL, LARGE = 4 * BLOCK, 8 * BLOCK

LIBRARY = """
import sys, warnings
from pathlib import Path
import dask, torch
import xcloudfree as xcf
from tests.benchmarks.scenes import reconstruct_and_store, scene, stored

warnings.simplefilter("ignore")
source, out = map(Path, sys.argv[1:3])
torch.set_num_threads(2)

def prepare():
    tiny = stored(out.with_name("tiny"), scene(64, 32))
    reconstruct_and_store(tiny, out.with_name("tiny.zarr"), 2, model="carf-tiny", blend=None)()

def work():
    ds = xcf.io.open_zarr(source)
    reconstruct_and_store(ds, out, 2, model="carf-tiny")()
"""

LOOP = """
import sys, warnings
from pathlib import Path
import torch
import xcloudfree as xcf
from tests.benchmarks.scenes import bare_loop, empty_like_ours

warnings.simplefilter("ignore")
source, ours, out = map(Path, sys.argv[1:4])
block, side_by_side, rows = map(int, sys.argv[4:7])
torch.set_num_threads(2)
model = xcf.models.load("carf-tiny")
model.network.to(memory_format=torch.channels_last)

def prepare():
    with torch.inference_mode():
        model.network(torch.zeros(1, 13, 64, 64), torch.zeros(1, 2, 64, 64))
    empty_like_ours(ours, out)

def work():
    bare_loop(model, source, out, block, side_by_side=side_by_side, rows=rows)
"""


SERIES = """
import sys, warnings
from pathlib import Path
import dask
import numpy as np
import xcloudfree as xcf
from tests.benchmarks.scenes import reconstruct_and_store, series

warnings.simplefilter("ignore")
source, out, model, every = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def prepare():
    ds, mask = (a.load() for a in series(64, 4, 64))
    ds.cloudfree.reconstruct(model=model, mask=mask)

def work():
    ds = xcf.io.open_zarr(source)
    some = np.arange(ds.sizes["time"]) % every == 0
    options = {"model": model, "mask": (ds.hidden > 0) & some[:, None, None]}
    reconstruct_and_store(ds.drop_vars("hidden"), out, 2, **options)()
"""

DATES, CHUNK = 30, 128 if QUICK else 512
PLACE = CHUNK**2 * DATES * (10 * 2 + 2 * 4)
"""Bytes of a chunk with all dates as it is stored: ten bands of integers, two of float32."""


def overcast_rows(side: int) -> np.ndarray:
    """A band of cloud, one row of blocks high; all else is clear."""
    mask = np.zeros((side, side), bool)
    mask[BLOCK : 2 * BLOCK] = True
    return mask


def test_memory_does_not_grow_and_stays_near_that_of_a_loop(tmp_path: Path, record: Record) -> None:
    pytest.importorskip("psutil")
    sources = {}
    for side in (SMALL, LARGE):
        stored(tmp_path / str(side), scene(side, BLOCK, overcast_rows(side)))
        sources[side] = tmp_path / str(side) / "scene.zarr"
    peaks: dict[object, list[int]] = {SMALL: [], LARGE: [], 1: [], 2: []}
    for _ in range(ROUNDS):
        for side in (SMALL, LARGE):
            words = (str(sources[side]), str(tmp_path / f"{side}.zarr"))
            peaks[side].append(used(LIBRARY, *words).above)
        for side_by_side in (1, 2):
            words = (str(sources[SMALL]), str(tmp_path / f"{SMALL}.zarr"))
            options = map(str, (BLOCK, side_by_side, 1))
            bare = str(tmp_path / "bare.zarr")
            peaks[side_by_side].append(used(LOOP, *words, bare, *options).above)
    subject, gib = "memory", 2**30
    for side in (SMALL, LARGE):
        record(
            subject, f"{side} x {side} x 13, peak above start, GiB",
            spread([p / gib for p in peaks[side]]),
        )  # fmt: skip
    growth = statistics.median(peaks[LARGE]) / statistics.median(peaks[SMALL])
    record(subject, f"{LARGE} over {SMALL}", f"{growth:.2f}", "at most 1.15", growth <= 1.15)
    for name, side_by_side in (
        ("two windows at a time, as the library", 2), ("one window at a time, 2 threads", 1)
    ):  # fmt: skip
        found = spread([p / gib for p in peaks[side_by_side]])
        record(subject, f"loop, {name}, peak above start, GiB", found)
        ratio = statistics.median(peaks[LARGE]) / statistics.median(peaks[side_by_side])
        limit = {"limit": "at most 1.7", "holds": ratio <= 1.7} if side_by_side == 2 else {}
        record(subject, f"{LARGE} x {LARGE} over the loop with {name}", f"{ratio:.2f}", **limit)


@pytest.mark.parametrize(
    ("model", "limit"), [("area-regression+nearby", 16), ("kernel-fusion", 20)]
)
def test_series_wait_as_they_are_stored(
    tmp_path: Path, record: Record, model: str, limit: float
) -> None:
    pytest.importorskip("psutil")
    ds, mask = series(2 * CHUNK, DATES, CHUNK)
    source = tmp_path / "series.zarr"
    xcf.io.to_zarr(ds.assign(hidden=mask.astype("uint8")), source, progress=False)
    found = used(SERIES, str(source), str(tmp_path / "out.zarr"), model, "1")
    what = f"{2 * CHUNK} x {2 * CHUNK} px x {DATES} dates x 10 bands, `{model}`"
    record("memory-series", f"{what}, peak above start, GiB", f"{found.above / 2**30:.2f}")
    ratio = found.above / PLACE
    record(
        "memory-series", f"{what}, over the stored bytes of a chunk with all dates",
        f"{ratio:.1f}", f"at most {limit}", ratio <= limit,
    )  # fmt: skip


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of four by four chunks."""
    folder = tmp_path_factory.mktemp("large")
    ds, mask = series(4 * CHUNK, DATES, CHUNK)
    xcf.io.to_zarr(ds.assign(hidden=mask.astype("uint8")), folder / "series.zarr", progress=False)
    return folder


@pytest.mark.parametrize("model", ["kernel-fusion", "area-regression+nearby"])
def test_a_large_series_takes_little_more(large: Path, record: Record, model: str) -> None:
    pytest.importorskip("psutil")
    # clouds on every sixth date: all dates are read, and it takes minutes instead of an hour
    found = used(SERIES, str(large / "series.zarr"), str(large / "out.zarr"), model, "6")
    what = f"{4 * CHUNK} x {4 * CHUNK} px x {DATES} dates x 10 bands, `{model}`"
    subject, above, peak = "memory-large-series", found.above / 2**30, found.peak / 2**30
    record(subject, f"{what}, peak above start, GiB", f"{above:.2f}")
    limit = {"limit": "at most 4", "holds": peak <= 4}
    record(subject, f"{what}, peak of the whole process, GiB", f"{peak:.2f}", **limit)
    record(subject, f"{what}, CPU-seconds", f"{found.cpu:.0f}")

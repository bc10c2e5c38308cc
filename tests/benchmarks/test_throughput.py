"""What the machinery costs beside the network: the library against a bare loop of torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

import xcloudfree as xcf
from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from tests.benchmarks.scenes import (
    bare_loop,
    empty_like_ours,
    reconstruct_and_store,
    scene,
    stored,
)
from tests.benchmarks.timing import QUICK, rounds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning"),
]

SIDE, BLOCK = (512, 128) if QUICK else (1536, 384)
THREADS = 2
LOOPS = {
    "one window at a time, 2 threads of torch": 1,
    "two windows at a time, a thread of torch each": 2,
}


def test_throughput_against_a_bare_loop(tmp_path: Path, record: Record) -> None:
    torch.set_num_threads(THREADS)
    ds = stored(tmp_path, scene(SIDE, BLOCK))
    model = xcf.models.load("carf-tiny")
    model.network.to(memory_format=torch.channels_last)
    ours, bare = tmp_path / "ours.zarr", tmp_path / "bare.zarr"
    library = reconstruct_and_store(ds, ours, THREADS, model=model, blend=None)
    library()
    empty_like_ours(ours, bare)
    ways = {"library": library}
    for name, side_by_side in LOOPS.items():
        ways[name] = lambda n=side_by_side: bare_loop(
            model, tmp_path / "scene.zarr", bare, BLOCK, side_by_side=n
        )
    default = tmp_path / "default.zarr"
    ways["defaults"] = reconstruct_and_store(ds, default, THREADS, model=model)
    costs = rounds(ways)
    for name in ("s2", "s1", "provenance"):
        written, expected = (zarr.open_group(p, mode="r")[name][:] for p in (ours, bare))
        np.testing.assert_array_equal(written, expected)

    subject = "throughput"
    rate = SIDE**2 / 1e6
    for name in ("library", *LOOPS):
        label = "`reconstruct(blend=None)` + `to_zarr`" if name == "library" else f"loop, {name}"
        found = spread([rate / c.wall for c in costs[name]], 3)
        record(subject, f"{label}, Mpx/s", found)
    for name in LOOPS:
        pairs = list(zip(costs["library"], costs[name], strict=True))
        faster = spread(ratios := [theirs.wall / own.wall for own, theirs in pairs])
        record(
            subject, f"throughput over the loop with {name}", faster, "at least 0.9",
            np.median(ratios) >= 0.9,
        )  # fmt: skip
        dearer = spread(ratios := [own.cpu / theirs.cpu for own, theirs in pairs])
        record(
            subject, f"CPU-seconds over the loop with {name}", dearer, "at most 1.15",
            np.median(ratios) <= 1.15,
        )  # fmt: skip
    best = [min(costs[n][k].wall for n in LOOPS) for k in range(len(costs["library"]))]
    ratios = [b / c.wall for b, c in zip(best, costs["defaults"], strict=True)]
    record(
        subject, "throughput with mask and feather over the faster loop, which has neither",
        spread(ratios),
    )  # fmt: skip

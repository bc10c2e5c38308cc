"""A whole Sentinel-2 tile, overcast, from store to store on a small machine."""

from __future__ import annotations

from pathlib import Path

import pytest

import xcloudfree as xcf
from tests.benchmarks.conftest import Record
from tests.benchmarks.scenes import scene, stored
from tests.benchmarks.timing import QUICK, used

pytestmark = pytest.mark.slow

SIDE, BLOCK = (1098, 256) if QUICK else (10980, 1024)

WORK = """
import sys, warnings
from pathlib import Path
import torch
import xcloudfree as xcf
from tests.benchmarks.scenes import reconstruct_and_store

warnings.simplefilter("ignore")
source, out = map(Path, sys.argv[1:3])
torch.set_num_threads(2)

def prepare():
    pass

def work():
    reconstruct_and_store(xcf.io.open_zarr(source), out, 2, model="carf-tiny")()
"""


def test_a_tile_in_six_gibibytes(tmp_path: Path, record: Record) -> None:
    pytest.importorskip("psutil")
    stored(tmp_path, scene(SIDE, BLOCK))
    out = tmp_path / "out.zarr"
    use = used(WORK, str(tmp_path / "scene.zarr"), str(out))
    back = xcf.io.open_zarr(out)
    assert dict(back.sizes) == {"band": 13, "polarisation": 2, "y": SIDE, "x": SIDE}
    sample = back.isel(y=slice(None, None, SIDE // 16), x=slice(None, None, SIDE // 16))
    assert bool((sample.provenance == 2).all())
    subject, gib, rate = "tile", use.peak / 2**30, SIDE**2 / use.wall / 1e6
    record(
        subject, f"{SIDE} x {SIDE} x 13 + 2, overcast, `carf-tiny`, Zarr to Zarr, 2 threads",
        f"{use.wall / 60:.1f} min, {use.cpu / 60:.1f} CPU-min, {rate:.2f} Mpx/s",
        "at most 40 min", use.wall <= 2400,
    )  # fmt: skip
    record(subject, "memory of its process, GiB", f"{gib:.2f}", "under 6", gib < 6)

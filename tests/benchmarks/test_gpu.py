"""An accelerator: a tile through the network, end to end, and what 16 bits cost in accuracy.

Runs where torch has CUDA; elsewhere the table says that it was not measured.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

import xcloudfree as xcf
from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from tests.benchmarks.scenes import plan_of, reconstruct_and_store, scene, stored
from tests.benchmarks.timing import QUICK, ROUNDS, rounds
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.reconstruct.network import MICRO_BATCH

pytestmark = pytest.mark.slow

MODEL = "carf-small-demo"  # the architecture carf-small with fitted weights
SIDE, BLOCK = (2048, 512) if QUICK else (10980, 1024)
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bfloat16 operations a second that the vendor states, by part of the device's name."""

HERE = torch.cuda.is_available()
NAME = torch.cuda.get_device_name() if HERE else "a CPU"


@pytest.fixture
def model() -> xcf.models.model.Model:
    return xcf.models.load(MODEL)


def test_what_is_not_measured(record: Record) -> None:
    if HERE:
        pytest.skip("there is a GPU")
    what = f"{SIDE} x {SIDE} through `carf-small`, end to end, fraction of peak"
    record("gpu", what, "not measured: no GPU at hand")


@pytest.mark.skipif(not HERE, reason="no GPU")
def test_a_tile_through_the_network(model: xcf.models.model.Model, record: Record) -> None:
    network = model.network.to("cuda")
    plan, batch = plan_of(model, SIDE, BLOCK), MICRO_BATCH["cuda"]
    sizes: dict[tuple[int, int], int] = {}
    for y in plan:
        for x in plan:
            size = (y.read_stop - y.read_start, x.read_stop - x.read_start)
            sizes[size] = sizes.get(size, 0) + 1
    largest = max(sizes)
    images = torch.rand(batch, 16, *largest, device="cuda")

    def forward(count: int, height: int, width: int) -> None:
        part = images[:count, :, :height, :width]
        optical = part[:, :13].contiguous(memory_format=torch.channels_last)
        extra = {"mask": part[:, 15:].round()} if model.spec.needs_mask else {}
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            network(optical, part[:, 13:15].contiguous(), **extra)

    with FlopCounterMode(display=False) as counter:
        forward(1, *largest)
    pixels = sum(h * w * n for (h, w), n in sizes.items())
    work = counter.get_total_flops() / (largest[0] * largest[1]) * pixels
    seconds = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for (height, width), count in sizes.items():
            for first in range(0, count, batch):
                forward(min(batch, count - first), height, width)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    seconds = seconds[1:]
    what = f"{NAME}: {SIDE} x {SIDE} through `carf-small`, bfloat16, halos included, s"
    enough = None if QUICK else float(np.median(seconds)) <= 10
    record("gpu", what, spread(seconds), "at most 10 (H200)", enough if "H200" in NAME else None)
    rate = work / float(np.median(seconds))
    peak = next((p for n, p in PEAK.items() if n in NAME), None)
    share = f", {rate / peak:.2f} of the peak" if peak else ""
    record("gpu", "arithmetic of convolutions and products", f"{rate / 1e12:.1f} TFLOP/s{share}")


@pytest.mark.skipif(not HERE, reason="no GPU")
def test_end_to_end_is_bound_by_network_or_codec(tmp_path: Path, record: Record) -> None:
    threads = os.cpu_count() or 1
    ds = stored(tmp_path, scene(SIDE, BLOCK))
    ways = {
        "end to end": reconstruct_and_store(
            ds, tmp_path / "out.zarr", threads, model=MODEL, precision="bfloat16", device="cuda"
        ),
        "codec": lambda: xcf.io.to_zarr(
            ds, tmp_path / "copy.zarr", mode="overwrite", progress=False
        ),
    }
    costs = rounds(ways, count=min(ROUNDS, 3))
    for name, found in costs.items():
        record("gpu", f"{name}, overcast, {threads} threads, s", spread([c.wall for c in found]))
    ratios = [a.wall / b.wall for a, b in zip(costs["end to end"], costs["codec"], strict=True)]
    record("gpu", "end to end over reading and writing alone", spread(ratios))


def triplets() -> list[Path]:
    root = os.environ.get("XCLOUDFREE_DATA")
    return sorted(Path(root, "triplets").glob("*")) if root else []


def read(folder: Path) -> xr.Dataset:
    """A real cloudy patch with its backscatter."""
    variables = {}
    for name, file, dim in (("s2", "s2_cloudy", "band"), ("s1", "s1", "polarisation")):
        with rasterio.open(folder / f"{file}.tif") as source:
            variables[name] = ((dim, "y", "x"), source.read())
    ds = xr.Dataset(variables, {"band": list(S2_BANDS), "polarisation": ["VV", "VH"]})
    ds["s2"] = (ds.s2 * np.float32(1e-4)).assign_attrs(units="1", processing_level="TOA")
    ds["s1"] = ds.s1.assign_attrs(units="dB", quantity="sigma0")
    return ds


@pytest.mark.skipif(not triplets(), reason="needs XCLOUDFREE_DATA")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_error_of_sixteen_bits_on_real_patches(record: Record) -> None:
    errors = []
    for folder in triplets()[:: 8 if QUICK else 2]:
        ds = read(folder)
        full, low = (
            ds.cloudfree.reconstruct(
                model=MODEL, blend=None, precision=p, device="cuda" if HERE else None
            ).s2
            for p in ("float32", "bfloat16")
        )
        errors.append(np.abs(full - low).values.ravel())
    values = np.concatenate(errors)
    figure = (
        f"mean {values.mean():.1e}, 99 % below {np.quantile(values, 0.99):.1e}, "
        f"largest {values.max():.1e}"
    )
    what = f"bfloat16 against float32 on {NAME}, {len(errors)} real patches, reflectance"
    record("gpu", what, figure)

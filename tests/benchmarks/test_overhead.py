"""What the machinery costs beside the network; run with ``make bench``."""

from __future__ import annotations

import statistics
import time

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

import xcloudfree as xcf
from xcloudfree.bands import S2_BANDS
from xcloudfree.kernels.windows import spans

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning"),
]

SIZE, CHUNK, ROUNDS = 768, 256, 5


def overcast() -> xr.Dataset:
    rng = np.random.default_rng(0)
    s2 = rng.uniform(0.5, 0.7, (13, SIZE, SIZE)).astype("float32")
    s2[10] = 0.1
    s1 = rng.normal(-14, 3, (2, SIZE, SIZE)).astype("float32")
    return xr.Dataset(
        {
            "s2": (("band", "y", "x"), s2, {"units": "1", "processing_level": "TOA"}),
            "s1": (("polarisation", "y", "x"), s1, {"units": "dB"}),
        },
        coords={"band": list(S2_BANDS), "polarisation": ["VV", "VH"]},
    )


def bare_loop(model: xcf.models.model.Model, ds: xr.Dataset) -> None:
    plan = spans((CHUNK,) * (SIZE // CHUNK), model.spec.reach, model.spec.stride)
    out = np.empty(ds.s2.shape, "float32")
    for y in plan:
        for x in plan:
            window = (..., slice(y.read_start, y.read_stop), slice(x.read_start, x.read_stop))
            a, b = model.normalise(ds.s2.values[window][None], ds.s1.values[window][None])
            with torch.inference_mode():
                a = a.contiguous(memory_format=torch.channels_last)
                block = model.denormalise(model.network(a, b))[0]
            out[:, y.start : y.stop, x.start : x.stop] = block[:, y.core, x.core]


def test_overhead_of_reconstruct_over_a_bare_loop(capsys: pytest.CaptureFixture[str]) -> None:
    model = xcf.models.load("carf-tiny")
    model.network.to(memory_format=torch.channels_last)
    ds = overcast()
    lazy = ds.chunk(y=CHUNK, x=CHUNK).cloudfree.reconstruct(model=model, blend=None, halo="exact")
    ratios = []
    for _ in range(ROUNDS):
        a = time.process_time()
        da.compute(lazy.s2.data, lazy.provenance.data, scheduler="threads", num_workers=1)
        b = time.process_time()
        bare_loop(model, ds)
        ratios.append((b - a) / (time.process_time() - b))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    with capsys.disabled():
        print(
            f"\nCPU of reconstruct / bare loop: median {statistics.median(ratios):.2f} ({spread})"
        )
    assert statistics.median(ratios) < 1.5

"""Whether samples for fitting are made faster than a network consumes them."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import torch
import xarray as xr

import xcloudfree as xcf
from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from tests.benchmarks.timing import QUICK, rounds
from xcloudfree.core.bands import S2_BANDS
from xcloudfree.train.inputs import pair
from xcloudfree.train.samples import PatchSamples

pytestmark = pytest.mark.slow

BATCH, CROP = (1, 64) if QUICK else (4, 128)


def patches() -> xr.Dataset:
    """As the dataset reader gives them: integers, 256 px, ground that is not white noise."""
    rng = np.random.default_rng(0)
    ground = rng.uniform(0.02, 0.12, (4, 13, 32, 32)).repeat(8, 2).repeat(8, 3)
    radar = rng.uniform(-20, -8, (4, 2, 256, 256)).astype("float32")
    attrs = {"units": "1", "scale_factor": 1e-4, "add_offset": 0.0, "nodata": 0}
    image = (1e4 * ground).astype("uint16")
    optical = (("patch", "band", "y", "x"), image, attrs | {"processing_level": "TOA"})
    return xr.Dataset(
        {
            "s2": optical,
            "target": optical,
            "s1": (("patch", "polarisation", "y", "x"), radar, {"units": "dB"}),
        },
        coords={"band": list(S2_BANDS), "polarisation": ["VV", "VH"]},
    )


def test_samples_are_made_three_times_as_fast_as_carf_small_takes_them(record: Record) -> None:
    model = xcf.models.load("carf-small")
    network, steps = model.network.train(), count()
    samples = PatchSamples(
        [pair(patches(), "target")], spec=model.spec, crop=CROP, simulated=1.0, mask="score"
    )
    optical, sar = torch.rand(BATCH, 13, CROP, CROP), torch.rand(BATCH, 2, CROP, CROP)

    def make() -> None:
        samples.draw(np.random.default_rng([0, next(steps)]), BATCH)

    def consume() -> None:
        network.zero_grad()
        network(optical, sar).square().mean().backward()

    costs = rounds({"make": make, "consume": consume})
    ratio = [c.cpu / m.cpu for m, c in zip(costs["make"], costs["consume"], strict=True)]
    subject = "fitting"
    made = [1e3 * c.cpu / BATCH for c in costs["make"]]
    taken = [1e3 * c.cpu / BATCH for c in costs["consume"]]
    record(subject, f"a sample of {CROP} px under simulated clouds", f"{spread(made)} ms of CPU")
    record(subject, "its step through carf-small, without optimiser", f"{spread(taken)} ms of CPU")
    record(
        subject,
        "samples made in the time in which one is consumed, on the same cores",
        spread(ratio),
        "at least 3",
        min(ratio) >= 3,
    )

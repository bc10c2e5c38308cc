"""What a scene costs by how much of it is cloud, and by the shape of the clouds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.benchmarks.conftest import Record
from tests.benchmarks.report import spread
from tests.benchmarks.scenes import reconstruct_and_store, scene, stored
from tests.benchmarks.timing import QUICK, rounds
from xcloudfree.datasets.fields import power_law_noise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning"),
]

SIDE, BLOCK = (512, 128) if QUICK else (2048, 512)
COVER = 0.1
BEYOND = 11000.0
"""Outer scale, in pixels, of weather that is larger than a tile."""

FIELDS: dict[str, dict[str, Any]] = {
    "weather larger than a tile, ragged borders (slope 3.3)": {
        "side": 2 * SIDE, "slope": 3.3, "scale": BEYOND, "limit": 0.35,
    },
    "weather larger than a tile, much broken (slope 3.0)": {
        "side": 2 * SIDE, "slope": 3.0, "scale": BEYOND,
    },
    "clouds strewn over all of the scene, none larger than 8 km (slope 3.4)": {
        "side": SIDE, "slope": 3.4, "scale": 800.0,
    },
}  # fmt: skip


def field(side: int, slope: float, scale: float, seed: int = 0) -> NDArray[np.bool_]:
    """Mask of a tenth: noise above its threshold."""
    noise = power_law_noise(np.random.default_rng(seed), (side, side), slope=slope, scale=scale)
    return np.asarray(noise > np.quantile(noise, 1 - COVER))


def test_a_tenth_of_cloud_costs_at_most_a_third(tmp_path: Path, record: Record) -> None:
    masks = {"overcast": np.ones((SIDE, SIDE), bool), "clear": np.zeros((SIDE, SIDE), bool)}
    for name, f in FIELDS.items():
        masks[name] = field(f["side"], f["slope"], f["scale"])
    ways = {}
    for number, (name, clouds) in enumerate(masks.items()):
        folder = tmp_path / str(number)
        ds = stored(folder, scene(len(clouds), BLOCK, clouds))
        assert float(ds.cloudfree.mask().mean()) == pytest.approx(float(clouds.mean()), abs=1e-6)
        ways[name] = reconstruct_and_store(ds, folder / "out.zarr", 2, model="carf-tiny")
    ways["clear"]()  # loads what is loaded once
    costs = rounds(ways, warm=0)
    overcast = costs.pop("overcast")
    rates = [SIDE**2 / c.wall / 1e6 for c in overcast]
    record("clouds", f"overcast, {SIDE} x {SIDE}, Mpx/s", spread(rates))
    for name, some in costs.items():
        side, limit = len(masks[name]), FIELDS.get(name, {}).get("limit")
        area = (SIDE / side) ** 2
        pairs = list(zip(some, overcast, strict=True))
        ratios = [area * c.cpu / whole.cpu for c, whole in pairs]
        walls = [area * c.wall / whole.wall for c, whole in pairs]
        record(
            "clouds", f"{name}, {side} x {side}: CPU-seconds a pixel over overcast",
            f"{spread(ratios, 3)}; by the clock {spread(walls)}",
            f"at most {limit}" if limit else "", np.median(ratios) <= limit if limit else None,
        )  # fmt: skip

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
from xcloudfree.kernels.fields import power_law_noise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::xcloudfree.exceptions.UntrainedWarning"),
]

SIDE, BLOCK = (1024, 256) if QUICK else (2048, 512)
COVER = 0.1
BEYOND = 11000.0
"""Outer scale, in pixels, of weather that is larger than a tile."""

FIELDS: dict[str, dict[str, Any]] = {
    "cloud systems as large as a tile, smooth borders (spectral slope 3.6)": {
        "slope": 3.6, "scale": BEYOND, "limit": 0.35,
    },
    "the same with ragged borders (3.3)": {"slope": 3.3, "scale": BEYOND, "limit": 0.35},
    "the same, much broken (3.0)": {"slope": 3.0, "scale": BEYOND, "limit": 0.35},
    "clouds strewn over all of the scene, none larger than 8 km (3.4)": {
        "slope": 3.4, "scale": 800.0,
    },
}  # fmt: skip


def field(slope: float, scale: float, seed: int = 0) -> NDArray[np.bool_]:
    """Mask of a tenth: noise above its threshold."""
    noise = power_law_noise(np.random.default_rng(seed), (SIDE, SIDE), slope=slope, scale=scale)
    return np.asarray(noise > np.quantile(noise, 1 - COVER))


def test_a_tenth_of_cloud_costs_at_most_a_third(tmp_path: Path, record: Record) -> None:
    masks: dict[str, Any] = {
        "overcast": "overcast",
        "clear": np.zeros((SIDE, SIDE), bool),
    } | {name: field(f["slope"], f["scale"]) for name, f in FIELDS.items()}
    ways = {}
    for number, (name, clouds) in enumerate(masks.items()):
        folder = tmp_path / str(number)
        ds = stored(folder, scene(SIDE, BLOCK, clouds))
        hidden = float(ds.cloudfree.mask().mean())
        cover = 1.0 if name == "overcast" else float(np.mean(masks[name]))
        assert hidden == pytest.approx(cover, abs=1e-6)
        ways[name] = reconstruct_and_store(ds, folder / "out.zarr", 2, model="carf-tiny")
    costs = rounds(ways)
    overcast = costs.pop("overcast")
    record("clouds", "overcast, seconds by the clock", spread([c.wall for c in overcast]))
    for name, some in costs.items():
        ratios = [c.cpu / whole.cpu for c, whole in zip(some, overcast, strict=True)]
        walls = [c.wall / whole.wall for c, whole in zip(some, overcast, strict=True)]
        limit = FIELDS.get(name, {}).get("limit")
        record(
            "clouds", f"{name}: CPU-seconds over overcast",
            f"{spread(ratios, 3)}; by the clock {spread(walls)}",
            f"at most {limit}" if limit else "", np.median(ratios) <= limit if limit else None,
        )  # fmt: skip

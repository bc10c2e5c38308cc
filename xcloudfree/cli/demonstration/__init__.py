"""The demonstration: from data to picture, with a table that compares methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from xcloudfree.cli.demonstration.own_series import from_series
from xcloudfree.cli.demonstration.patches import from_patches
from xcloudfree.cli.demonstration.simulated import from_simulation
from xcloudfree.exceptions import DataError

_ZARR = ("zarr.json", ".zgroup")


def run(
    out: Path,
    *,
    data: Path | None = None,
    model: str | None = None,
    say: Callable[[str], Any] = print,
) -> xr.Dataset:
    """Run the demonstration."""
    start = time.monotonic()
    if data is not None and not data.is_dir():
        raise DataError(
            f"{data} is neither a Zarr store nor a folder in the layout of SEN12MS-CR",
            fix="write a store with xcf.io.to_zarr(ds, 'series.zarr')",
        )
    out.mkdir(parents=True, exist_ok=True)
    if data is None:
        result = from_simulation(out, model, say)
    elif any((data / name).is_file() for name in _ZARR):
        result = from_series(out, data, model, say)
    else:
        result = from_patches(out, data, model, say)
    say(f"\n{out.resolve()}: " + ", ".join(sorted(p.name for p in out.iterdir())))
    say(f"done in {time.monotonic() - start:.0f} s")
    return result

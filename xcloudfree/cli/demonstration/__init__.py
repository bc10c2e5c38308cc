"""The demonstration: from data to picture, with a table that compares methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from xcloudfree.cli.demonstration.simulated import MODEL, from_simulation


def run(out: Path, *, model: str = MODEL, say: Callable[[str], Any] = print) -> xr.Dataset:
    """Run the demonstration."""
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    result = from_simulation(out, model, say)
    say(f"\n{out.resolve()}: " + ", ".join(sorted(p.name for p in out.iterdir())))
    say(f"done in {time.monotonic() - start:.0f} s")
    return result

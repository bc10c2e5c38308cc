"""A small series with occlusion, for tests of temporal context."""

import numpy as np
import xarray as xr

from tests.conftest import make_bands

FEW = ["B02", "B8A", "VV", "VH"]


def make_series(height=40, width=33, dtype="float32", dates=7):
    parts = [make_bands(1, height, width, seed, dtype) for seed in range(dates)]
    start = np.datetime64("2025-06-01", "ns")
    for i, part in enumerate(parts):
        parts[i] = part.assign_coords(time=[start + np.timedelta64(6 * i + i % 2, "D")])
    return xr.concat(parts, "time", data_vars="all", coords="minimal", compat="override")


def blobs(height=40, width=33, dates=7):
    t, y, x = np.mgrid[:dates, :height, :width]
    hidden = np.sin(y / 5 + 2 * t) * np.cos(x / 6 - t) > 0.3
    return xr.DataArray(hidden, dims=("time", "y", "x"))

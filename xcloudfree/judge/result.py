"""Records of a benchmark as one Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError
from xcloudfree.judge.case import Case
from xcloudfree.judge.evaluation import PIXELS
from xcloudfree.judge.metrics import METRICS
from xcloudfree.judge.store import Record

UNITS = {"psnr": "dB", "ssim": "1", "mae": "1", "rmse": "1", "sam": "degree"}
"""Units of the metrics."""

BETTER = {"psnr": 1, "ssim": 1, "mae": -1, "rmse": -1, "sam": -1}
"""Whether more of a metric is better (1) or worse (-1)."""


def check_names(result: xr.Dataset, call: str, named: Mapping[str, Sequence[str]]) -> None:
    """Refuse a method, metric or selection of pixels that a result does not hold."""
    for dim, names in named.items():
        there = [str(label) for label in result[dim].values]
        if wrong := [name for name in names if name not in there]:
            raise DataError(
                f"{wrong[0]!r}{did_you_mean(wrong[0], there)} is no {dim} of the result; call "
                f"{call} with some of {there}"
            )


def assemble(
    methods: Sequence[str], cases: Sequence[Case], records: Sequence[Sequence[Record]]
) -> xr.Dataset:
    """Figures by method and case."""
    shape = (len(methods), len(cases))
    empty = [[np.nan] * (len(METRICS) + 2)] * len(PIXELS)
    grid = [[records[c][m] for c in range(shape[1])] for m in range(shape[0])]
    table = np.array([[r.rows or empty for r in row] for row in grid], np.float64)
    pair, many = ("method", "case"), len(METRICS)
    counts = np.nan_to_num(table[..., many:]).astype(np.int64)

    def column(name: str) -> Any:
        return np.array([[getattr(r, name) for r in row] for row in grid])

    dims = ("method", "case", "pixels")
    variables = {
        "value": (("method", "case", "metric", "pixels"), table[..., :many].swapaxes(2, 3)),
        "count": (dims, counts[..., 0], {"units": "1", "long_name": "pixels compared"}),
        "left_out": (dims, counts[..., 1], {"units": "1", "long_name": "pixels without data"}),
        "cpu_seconds": (pair, column("cpu"), {"units": "s", "long_name": "CPU time, all threads"}),
        "wall_seconds": (pair, column("wall"), {"units": "s"}),
        "fit_cpu_seconds": (pair, column("fit_cpu"), {"units": "s"}),
        "peak_memory": (
            pair,
            column("memory") / 1e6,
            {"units": "MB", "long_name": "highest resident memory above that before the call"},
        ),
        "failure": (pair, np.array(column("failure"), dtype=str)),
    }
    coords = {
        "method": list(methods),
        "case": [c.name for c in cases],
        "metric": list(METRICS),
        "pixels": list(PIXELS),
        "units": ("metric", [UNITS[m] for m in METRICS]),
        "region": ("case", [c.region for c in cases]),
        "gap": ("case", [float(c.gap) for c in cases], {"units": "day"}),
        "protocol": ("case", [c.protocol for c in cases]),
        "kind": ("case", [c.kind for c in cases]),
    }
    attrs = {
        "title": "Methods over cases, all on the same pixels",
        "xcloudfree_version": __version__,
    }
    return xr.Dataset(variables, coords, attrs)

"""Finished pairs of method and case: a small file each in a folder, and together a Dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.core.files import replacing
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError
from xcloudfree.judge.case import Case
from xcloudfree.judge.evaluation import PIXELS
from xcloudfree.judge.metrics import METRICS, UNITS

_FORM = 2
"""Version of the file format; files of other versions are not read."""


@dataclass(frozen=True)
class Record:
    """The figures of one method on one case."""

    rows: list[list[float]] = field(default_factory=list)  # by pixels; empty if it failed
    cpu: float = float("nan")  # seconds
    wall: float = float("nan")  # seconds
    memory: float = float("nan")  # bytes
    fit_cpu: float = float("nan")  # seconds of the fit before
    failure: str = ""  # message of the error; empty if there was none
    more: Any = None  # further figures of its reconstruction


@dataclass(frozen=True)
class Store:
    """A folder of records; several processes may use it at once."""

    folder: Path | None  # None stores nothing

    def path(self, method: str, case: str, *identity: str) -> Path | None:
        """File of a pair: readable names, and a hash of everything that affects the figures."""
        if self.folder is None:
            return None
        digest = blake2b("\n".join((str(_FORM), *identity)).encode(), digest_size=8).hexdigest()
        return self.folder / _slug(method) / f"{_slug(case)}-{digest}.json"

    def read(self, path: Path | None) -> Record | None:
        """The record of a file; None if there is none or it is damaged."""
        if path is None:
            return None
        try:
            return Record(**json.loads(path.read_text())["record"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, path: Path | None, record: Record, **about: str) -> None:
        """Write a record atomically."""
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, f"benchmark(..., folder={str(self.folder)!r})") as partial:
            partial.write_text(json.dumps({**about, "record": asdict(record)}, indent=1))


def _slug(name: str) -> str:
    """Name of a file; different names may give the same, but their hashes differ."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("._")[:60] or "_"


def assemble(
    methods: Sequence[str], cases: Sequence[Case], records: Sequence[Sequence[Record]]
) -> xr.Dataset:
    """The result of a benchmark from a record of each case and method."""
    empty = [[np.nan] * (len(METRICS) + 2)] * len(PIXELS)
    grid = [[row[m] for row in records] for m in range(len(methods))]
    table = np.array([[r.rows or empty for r in row] for row in grid], np.float64)
    counts = np.nan_to_num(table[..., len(METRICS) :]).astype(np.int64)

    def column(name: str) -> Any:
        return np.array([[getattr(r, name) for r in row] for row in grid])

    pair = ("method", "case")
    values = table[..., : len(METRICS)].swapaxes(2, 3)
    peak = about("highest resident memory above that before the call", "MB")
    variables = {
        "value": ((*pair, "metric", "pixels"), values),
        "count": ((*pair, "pixels"), counts[..., 0], about("pixels compared")),
        "left_out": ((*pair, "pixels"), counts[..., 1], about("pixels without data")),
        "cpu_seconds": (pair, column("cpu"), about("CPU time, all threads", "s")),
        "wall_seconds": (pair, column("wall"), {"units": "s"}),
        "fit_cpu_seconds": (pair, column("fit_cpu"), {"units": "s"}),
        "peak_memory": (pair, column("memory") / 1e6, peak),
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


def about(words: str, units: str = "1") -> dict[str, str]:
    """Attributes of a variable."""
    return {"units": units, "long_name": words}


def check_names(result: xr.Dataset, call: str, named: Mapping[str, Sequence[str]]) -> None:
    """Raise an error for a method, metric or selection of pixels that a result lacks."""
    for dim, names in named.items():
        present = [str(label) for label in result[dim].values]
        if wrong := [name for name in names if name not in present]:
            raise DataError(
                f"{wrong[0]!r}{did_you_mean(wrong[0], present)} is not a {dim} of the result",
                fix=f"call {call} with some of {present}",
            )

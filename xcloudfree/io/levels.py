"""Overviews of a store: each level has half the rows and columns of the one before.

The layout follows the Zarr conventions multiscales, spatial and proj, which GeoZarr builds on:
levels are child groups ``0`` (full resolution), ``1``, ``2`` ..., and the attributes of the root
say how they relate.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.grid import evenly_spaced
from xcloudfree.core.recognise import spatial_dims
from xcloudfree.exceptions import GridError
from xcloudfree.io.encoding import flagged, nodata_of
from xcloudfree.io.passport import place_of

FULL: Final = "0"
"""Group of the full resolution."""

_ADDRESS: Final = "https://raw.githubusercontent.com/zarr-conventions/{}/refs/tags/v0.1/schema.json"
_PAGE: Final = "https://github.com/zarr-conventions/{}/blob/v0.1/README.md"

CONVENTIONS: Final = {
    "multiscales": ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    "spatial": ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
    "proj": (
        "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "Coordinate reference system information for geospatial data",
    ),
}
"""Registered Zarr conventions by name: UUID and description."""


def data_folder(store: Path) -> Path:
    """Folder of the full resolution: the store itself, or its first level."""
    return store / FULL if has_levels(store) else store


def has_levels(store: Path) -> bool:
    """Whether a store has overviews, written by this library."""
    try:
        root = json.loads((store / "zarr.json").read_text())
        return FULL in [level["asset"] for level in root["attributes"]["multiscales"]["layout"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_grid(ds: xr.Dataset) -> tuple[str, str]:
    """Rows and columns of which there can be overviews."""
    pair = spatial_dims(ds)
    if pair is None:
        raise GridError(
            "There are no rows and columns of which to write overviews",
            fix="call xcf.io.to_zarr(obj, path, multiscales=False)",
        )
    for name in pair:
        if name in ds.coords and not evenly_spaced(ds[name]):
            raise GridError(
                f"The coordinate {name} is not evenly spaced, so overviews have no grid",
                fix="call xcf.io.to_zarr(obj, path, multiscales=False)",
            )
    return pair


def count_levels(shape: tuple[int, int], side: int) -> int:
    """Number of levels until one fits into a chunk.

    >>> count_levels((1500, 800), 512), count_levels((300, 200), 512)
    (3, 1)
    """
    levels, longest = 1, max(shape)
    while longest > side:
        levels, longest = levels + 1, -(-longest // 2)
    return levels


# ------------------------------------------------------------------ halve a level


def halved(ds: xr.Dataset) -> xr.Dataset:
    """Half the rows and columns, lazily, with blocks as large as before: a mean, or a mode."""
    pair = check_grid(ds)
    new: dict[Hashable, xr.Variable] = {}
    for name, variable in ds.variables.items():
        if set(pair) <= set(variable.dims):
            new[name] = _halved(ds[name], pair)
        elif name in pair:
            new[name] = _centres(variable)
    parts = {name: new.get(name, variable) for name, variable in ds.variables.items()}
    return xr.Dataset(parts, attrs=ds.attrs).set_coords(list(ds.coords))


def _halved(array: xr.DataArray, pair: tuple[str, str]) -> xr.Variable:
    axes = (array.dims.index(pair[0]), array.dims.index(pair[1]))
    function = Halve(axes, *_rule_of(array))
    variable = array.variable
    if variable.chunks is None:
        data = function(variable.values)
    else:
        blocks = {d: 2 * max(variable.chunksizes[d]) for d in pair}
        wide = variable.chunk(blocks)
        chunks = tuple(
            tuple(-(-n // 2) for n in sizes) if axis in axes else sizes
            for axis, sizes in enumerate(wide.chunks or ())
        )
        meta = np.empty((0,) * array.ndim, array.dtype)
        data = wide.data.map_blocks(function, chunks=chunks, dtype=array.dtype, meta=meta)
    kept = {k: v for k, v in variable.encoding.items() if k in ("_FillValue", "grid_mapping")}
    return xr.Variable(variable.dims, data, variable.attrs, kept)


def _rule_of(array: xr.DataArray) -> tuple[str, float | int | None]:
    """How to reduce an array, and its number that means no data."""
    if flagged(array) or (array.dtype.kind != "f" and "scale_factor" not in array.attrs):
        return "mode", None
    decibels = array.dtype.kind == "f" and array.attrs.get("units") == "dB"
    return "power" if decibels else "mean", nodata_of(array, [array.name])


@dataclass(frozen=True)
class Halve:
    """Function of a block with an even number of rows and columns before it."""

    axes: tuple[int, int]
    how: str  # "mean", "power" (mean of dB in power) or "mode"
    nodata: float | int | None

    def __call__(self, block: NDArray[Any]) -> NDArray[Any]:
        """Half of the rows and columns; of an odd number, the last one stands for two."""
        odd = [(0, n % 2 if axis in self.axes else 0) for axis, n in enumerate(block.shape)]
        even = np.pad(block, odd, "edge") if any(n for _, n in odd) else block
        four = np.stack([
            even[tuple(
                slice(i if a == self.axes[0] else j, None, 2) if a in self.axes else slice(None)
                for a in range(even.ndim)
            )]
            for i in (0, 1) for j in (0, 1)
        ])  # fmt: skip
        if self.how == "mode":
            votes = np.stack([(four == one).sum(0) for one in four])
            return np.asarray(np.take_along_axis(four, votes.argmax(0)[None], 0)[0])
        return self._mean(four)

    def _mean(self, four: NDArray[Any]) -> NDArray[Any]:
        floats = four.dtype.kind == "f"
        valid = np.isfinite(four) if floats else np.ones(four.shape, bool)
        if self.nodata is not None:
            valid &= four != self.nodata
        values = np.where(valid, four, 0).astype(np.float64)
        if self.how == "power":
            values = np.where(valid, 10 ** (values / 10), 0)
        count = valid.sum(0)
        mean = values.sum(0) / np.maximum(count, 1)
        if self.how == "power":
            mean = 10 * np.log10(np.where(count, mean, 1))
        empty: Any = self.nodata if self.nodata is not None else np.nan
        out = (mean if floats else np.rint(mean)).astype(four.dtype)
        if floats or self.nodata is not None:
            out[count == 0] = empty
        return np.asarray(out)


def _centres(variable: xr.Variable) -> xr.Variable:
    """Centres of pixels twice as large, from the same edge."""
    values = variable.values.astype(np.float64)
    if len(values) < 2:
        return variable
    step = (values[-1] - values[0]) / (len(values) - 1)
    count = -(-len(values) // 2)
    return xr.Variable(
        variable.dims, values[0] + step / 2 + 2 * step * np.arange(count), variable.attrs
    )


# ------------------------------------------------------------------ what the root says


def root_attributes(levels: list[xr.Dataset]) -> dict[str, Any]:
    """Attributes of the root by the conventions."""
    layout: list[dict[str, Any]] = []
    used = ["multiscales"]
    pair = check_grid(levels[0])
    grid = place_of(levels[0])[1]
    placed = "proj:transform" in grid
    for number, ds in enumerate(levels):
        level: dict[str, Any] = {"asset": str(number)}
        if number:
            level["derived_from"] = str(number - 1)
            level["transform"] = {"scale": [2.0, 2.0], "translation": [0.0, 0.0]}
        level["spatial:shape"] = [ds.sizes[name] for name in pair]
        if placed:
            size = 2.0**number
            dx, _, left, _, dy, top = grid["proj:transform"]
            level["spatial:transform"] = [size * dx, 0.0, left, 0.0, size * dy, top]
        layout.append(level)
    out: dict[str, Any] = {"multiscales": {"layout": layout, "resampling_method": "average"}}
    if placed:
        used += ["spatial", "proj"]
        (dx, _, left, _, dy, top), (rows, columns) = grid["proj:transform"], grid["proj:shape"]
        xs, ys = sorted((left, left + dx * columns)), sorted((top, top + dy * rows))
        out |= {
            "spatial:dimensions": list(pair),
            "spatial:bbox": [xs[0], ys[0], xs[1], ys[1]],
            **{k: grid[k] for k in ("proj:code", "proj:wkt2") if grid.get(k)},
        }
    out["zarr_conventions"] = [
        {
            "schema_url": _ADDRESS.format(name),
            "spec_url": _PAGE.format(name),
            "uuid": CONVENTIONS[name][0],
            "name": name,
            "description": CONVENTIONS[name][1],
        }
        for name in used
    ]
    return out

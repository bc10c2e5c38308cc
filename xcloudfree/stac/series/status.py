"""Unreadable pixels of a series: a word for each scene, a code for each pixel, a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from xcloudfree.core.bands import POLARISATIONS
from xcloudfree.exceptions import DataError
from xcloudfree.stac.read.faults import (
    NO_DATA,
    READ,
    WORDS,
    Cause,
    Failure,
    fault_of,
    stacked,
)
from xcloudfree.stac.read.grids import declared_asset
from xcloudfree.stac.read.mosaic import CODE, Reader, join
from xcloudfree.stac.read.reading import probe

THREADS: Final = 8
"""Number of assets tested at a time when a series is loaded."""

COLUMNS: Final = ("time", "item", "asset", "chunk", "error")


def with_status(ds: xr.Dataset, codes: xr.Dataset, reader: Reader) -> xr.Dataset:
    """The series with ``status`` for each scene and ``read_status`` for each pixel."""
    # read_status (time, asset, y, x) is made by the tasks that read the pixels: 0 no data (outside
    # the footprint), 1 read, else the fault (remainder modulo 8) and the item of the scene
    # (multiple of 8). It is a coordinate, so that no step treats it as a band, and has one chunk
    # along asset, so that a scene is not read twice.
    names = [str(name) for name in ds.data_vars]
    opened = {(i.id, name): (i, layer) for i, layers in reader.log for name, layer in layers}
    found = _probe(reader)
    keys: dict[str, list[str]] = {name: [] for name in names}
    words = []
    for step in range(ds.sizes["time"]):
        failures: dict[str, Failure] = {}
        for name in names:
            for item in _items(ds, name, step):
                if (item, name) not in opened:
                    continue
                asset = opened[item, name][1].asset
                keys[name].append(asset)
                if (failure := found[item, asset]) is not None:
                    failures.setdefault(asset, failure)
        count = sum(any((i, n) in opened for i in _items(ds, n, step)) for n in names)
        words.append(_word(failures, count))
    planes: xr.DataArray = xr.apply_ufunc(
        stacked,
        *(codes[name + CODE] for name in names),
        output_core_dims=[["asset"]],
        dask="parallelized",
        output_dtypes=[np.uint8],
        dask_gufunc_kwargs={"output_sizes": {"asset": len(names)}},
    )
    planes = planes.transpose("time", "asset", *reader.grid.dimensions)
    causes = [NO_DATA, READ, *Cause]
    planes.attrs = {
        "long_name": "what became of each pixel of each asset when it was read",
        "flag_values": np.array(causes, np.uint8),
        "flag_masks": np.full(len(causes), 7, np.uint8),
        "flag_meanings": " ".join(
            ["no_data", "read", *(WORDS[c].replace(" ", "_") for c in Cause)]
        ),
        "comment": "the bits above are the position of the item in item_id or s1_item_id",
    }
    return ds.assign_coords(
        status=("time", np.array(words), {"long_name": "whether all assets opened when loaded"}),
        asset=("asset", np.array(names)),
        asset_key=("asset", np.array([join(keys[name]) for name in names])),
        read_status=planes.drop_vars(planes.coords),
    )


def _items(ds: xr.Dataset, name: str, step: int) -> list[str]:
    source = "s1_item_id" if name in POLARISATIONS else "item_id"
    text = str(ds[source].values[step]) if source in ds.coords else ""
    return text.split(", ") if text else []


def _probe(reader: Reader) -> dict[tuple[str, str], Failure | None]:
    assets = {
        (item.id, layer.asset): declared_asset(
            item, layer, address=reader.address(item.assets[layer.asset].get_absolute_href() or "")
        )
        for item, layers in reader.log
        for _, layer in layers
    }
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(lambda asset: probe(asset, reader.access), assets.values())
        return dict(zip(assets, results, strict=True))


def _word(failures: dict[str, Failure], count: int) -> str:
    if not failures:
        return "ok"
    words = {}
    for asset, failure in failures.items():
        explained = failure.status or failure.cause is Cause.OTHER
        words[asset] = str(failure) if explained else WORDS[failure.cause]
    if len(words) == count > 1 and len(set(words.values())) == 1:
        return f"all assets {next(iter(words.values()))}"
    return ", ".join(f"{asset} {word}" for asset, word in words.items())


def report(ds: xr.Dataset) -> pd.DataFrame:
    """List unreadable pixels: one row for each asset of each item and each chunk.

    For a lazy series this reads every chunk. For a series that was computed, or stored and opened
    again, it reads nothing: the table lists the reads that produced its pixels.

    Parameters
    ----------
    ds : xarray.Dataset
        Series loaded with ``on_error="report"``.

    Returns
    -------
    pandas.DataFrame
        ``time``, ``item``, ``asset`` (its key), ``chunk`` (pixels of this Dataset within one of its
        chunks, ``"y 0:1024, x 0:512"``) and ``error``. Empty if everything was read.

    Raises
    ------
    DataError
        The series does not carry ``read_status``.
    """
    if "read_status" not in getattr(ds, "coords", {}):
        raise DataError(
            "This Dataset carries no read log",
            fix='record faults when you load it: load(..., on_error="report")',
        )
    rows = [row for step in range(ds.sizes["time"]) for row in _rows(ds.isel(time=[step]))]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(scene: xr.Dataset) -> Iterator[tuple[Any, ...]]:
    codes = scene["read_status"].isel(time=0)
    down, across = (dim for dim in codes.dims if dim != "asset")
    codes = codes.transpose("asset", down, across)
    blocks = codes.chunksizes or codes.sizes
    for y in block_slices(blocks[down]):
        for x in block_slices(blocks[across]):
            block = codes.isel({down: y, across: x}).values
            for n, plane in enumerate(block):
                for code in [int(c) for c in np.unique(plane) if c > READ]:
                    yield _row(scene, n, code, np.nonzero(plane == code), (y.start, x.start))


def block_slices(sizes: int | Sequence[int]) -> list[slice]:
    """Positions of the chunks along one dimension."""
    ends = np.cumsum(np.append(0, sizes)).tolist()
    return [slice(a, b) for a, b in pairwise(ends)]


def _row(
    scene: xr.Dataset, n: int, code: int, where: Sequence[Any], start: tuple[int, int]
) -> tuple[Any, ...]:
    name = str(scene["asset"].values[n])
    items = _items(scene, name, 0)
    cause, position = fault_of(code)
    item = items[position] if position < len(items) else join(items)
    y, x = (
        f"{first + int(index.min())}:{first + int(index.max()) + 1}"
        for first, index in zip(start, where, strict=True)
    )
    key = str(scene["asset_key"].values[n]) if "asset_key" in scene.coords else name
    return scene["time"].values[0], item, key, f"y {y}, x {x}", WORDS[cause]

"""Unreadable pixels of a series: a word for each scene, a code for each pixel, a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    merge,
)
from xcloudfree.stac.read.grids import declared_asset
from xcloudfree.stac.read.mosaic import Opened, Reader, join
from xcloudfree.stac.read.reading import probe

THREADS: Final = 8
"""Number of assets tested at a time when a series is loaded."""

COLUMNS: Final = ("time", "item", "asset", "chunk", "error")


def with_status(ds: xr.Dataset, reader: Reader) -> xr.Dataset:
    """The series with ``status`` for each scene and ``read_status`` for each pixel."""
    # read_status (time, asset, y, x) is made by the tasks that read the pixels: 0 no data (outside
    # the footprint), 1 read, else the fault (remainder modulo 8) and the item of the scene
    # (multiple of 8). It is a coordinate, so that no step treats it as a band, and has one chunk
    # along asset, so that a scene is not read twice.
    names = [str(name) for name in ds.data_vars]
    words = []
    alike: dict[Any, list[_Scene]] = {}
    keys: dict[str, dict[str, None]] = {}
    mosaics = _mosaics(reader)
    found = _probe(reader)
    for step in range(ds.sizes["time"]):
        parts = {name: _parts(ds, name, step, mosaics) for name in names}
        failures: dict[str, Failure] = {}
        for name, own in parts.items():
            for part in own:
                asset = dict(part.opened.layers)[name].asset
                keys.setdefault(name, {})[asset] = None
                for item in part.items:
                    if (failure := found[item, asset]) is not None:
                        failures.setdefault(asset, failure)
        words.append(_word(failures, sum(map(bool, parts.values()))))
        scene = _Scene(step, parts)
        alike.setdefault(scene.layout, []).append(scene)
    # one call for all scenes of the same layout: a call for each would dominate the loading time
    planes = xr.concat([_planes(scenes) for scenes in alike.values()], dim="time")
    steps = [scene.step for scenes in alike.values() for scene in scenes]
    if len(alike) > 1:
        planes = xr.concat([planes.isel(time=slice(n, n + 1)) for n in np.argsort(steps)], "time")
    codes = planes.transpose("time", "asset", *reader.grid.dimensions)
    causes = [NO_DATA, READ, *Cause]
    codes.attrs = {
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
        asset_key=("asset", np.array([join(keys.get(name, {})) for name in names])),
        read_status=codes.drop_vars(codes.coords),
    )


@dataclass(frozen=True)
class _Part:
    """A mosaic of a scene: its data, its items, and their positions in the scene."""

    opened: Opened
    step: int
    items: tuple[str, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class _Scene:
    """A date, and the mosaics of each of its variables."""

    step: int
    parts: dict[str, list[_Part]]

    @property
    def layout(self) -> Any:
        """Layout of a scene; scenes of one layout differ only in the steps of their mosaics."""
        return tuple(
            tuple((id(part.opened), part.positions) for part in own) for own in self.parts.values()
        )


def _mosaics(reader: Reader) -> dict[str, list[tuple[Opened, int, tuple[str, ...]]]]:
    """All mosaics by their first item: source, position, and items."""
    out: dict[str, list[tuple[Opened, int, tuple[str, ...]]]] = {}
    for opened in reader.log:
        for step, items in enumerate(opened.items):
            ids = tuple(item.id for item in items)
            out.setdefault(ids[0], []).append((opened, step, ids))
    return out


def _parts(
    ds: xr.Dataset,
    name: str,
    step: int,
    mosaics: Mapping[str, Sequence[tuple[Opened, int, tuple[str, ...]]]],
) -> list[_Part]:
    """Mosaics that form a variable at one date."""
    scene = _items(ds, name, step)
    return [
        _Part(opened, n, ids, tuple(scene.index(i) for i in ids))
        for first in scene
        for opened, n, ids in mosaics.get(first, ())
        if name in dict(opened.layers) and set(ids) <= set(scene)
    ]


def _items(ds: xr.Dataset, name: str, step: int) -> list[str]:
    source = "s1_item_id" if name in POLARISATIONS else "item_id"
    text = str(ds[source].values[step]) if source in ds.coords else ""
    return text.split(", ") if text else []


def _probe(reader: Reader) -> dict[tuple[str, str], Failure | None]:
    assets = {
        (item.id, layer.asset): declared_asset(
            item, layer, address=reader.address(item.assets[layer.asset].get_absolute_href() or "")
        )
        for opened in reader.log
        for mosaic in opened.items
        for item in mosaic
        for _, layer in opened.layers
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


def _planes(scenes: Sequence[_Scene]) -> xr.DataArray:
    """Codes of all assets of scenes of one layout, (time, y, x, asset)."""
    arrays: list[xr.DataArray] = []
    layout = []
    for name, parts in scenes[0].parts.items():
        own = []
        for place, part in enumerate(parts):
            own.append((len(arrays), part.positions))
            steps = [scene.parts[name][place].step for scene in scenes]
            arrays.append(_taken(part.opened.codes[name], steps))
        layout.append(tuple(own))
    out: xr.DataArray = xr.apply_ufunc(
        _stack,
        *arrays,
        kwargs={"layout": tuple(layout)},
        output_core_dims=[["asset"]],
        dask="parallelized",
        output_dtypes=[np.uint8],
        dask_gufunc_kwargs={"output_sizes": {"asset": len(layout)}},
    )
    return out


def _taken(codes: xr.DataArray, steps: Sequence[int]) -> xr.DataArray:
    """Some mosaics, without their times: they lie along ``time`` like the scenes."""
    bare = codes.drop_vars("time")
    if list(steps) == list(range(bare.sizes["time"])):
        return bare
    # slices: for a list, dask shuffles every chunk
    return xr.concat([bare.isel(time=slice(n, n + 1)) for n in steps], dim="time")


def _stack(*arrays: Any, layout: Sequence[Sequence[tuple[int, tuple[int, ...]]]]) -> Any:
    empty = np.zeros(arrays[0].shape, np.uint8)
    planes = [
        merge([arrays[n] for n, _ in parts], [own for _, own in parts]) if parts else empty
        for parts in layout
    ]
    return np.stack(planes, axis=-1)


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

"""What could not be read of a series: a word for each scene, a code for each pixel, a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from xcloudfree.bands import POLARISATIONS
from xcloudfree.exceptions import DataError
from xcloudfree.stac.faults import (
    NO_DATA,
    READ,
    WORDS,
    Cause,
    Failure,
    cause_of,
    merge,
    position_of,
)
from xcloudfree.stac.mosaic import Opened, Reader, join

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

THREADS: Final = 8
"""Assets that are tried at a time when a series is loaded."""

COLUMNS: Final = ("time", "item", "asset", "chunk", "error")


def with_status(ds: xr.Dataset, reader: Reader) -> xr.Dataset:
    """The series with ``status`` for each scene and ``read_status`` for each pixel.

    ``status`` (time) is text: ``"ok"``, or the assets of which the header or the last block could
    not be read just now. ``read_status`` (time, asset, y, x), uint8, lazy, is made by the very
    tasks that read the pixels: 0 no data (footprint), 1 read, else what failed (the remainder by
    8, see ``flag_meanings``) and which item of the scene (the multiple of 8). It is a coordinate,
    so that no step takes it for a band, and has one chunk along ``asset``, so that a scene is not
    read twice. One band never carries it: ``ds["B04"]`` reads B04 alone.

    Parameters
    ----------
    ds : xarray.Dataset
        Series with ``item_id`` (and ``s1_item_id``) along ``time``.
    reader : Reader
        What opened it, reporting.

    Returns
    -------
    xarray.Dataset
    """
    words, planes = [], []
    keys: dict[str, dict[str, None]] = {}
    found = _probe(reader)
    for step in range(ds.sizes["time"]):
        assets: dict[str, list[tuple[Opened, int, list[int]]]] = {str(n): [] for n in ds.data_vars}
        failures: dict[str, Failure] = {}
        for name, parts in assets.items():
            scene = _items(ds, name, step)
            for opened in reader.log:
                layer = dict(opened.layers).get(name)
                for n, items in enumerate(opened.items if layer else ()):
                    ids = [item.id for item in items]
                    if layer and set(ids) <= set(scene):
                        keys.setdefault(name, {})[layer.asset] = None
                        parts.append((opened, n, [scene.index(i) for i in ids]))
                        for i in ids:
                            if (failure := found[i, layer.asset]) is not None:
                                failures.setdefault(layer.asset, failure)
        words.append(_word(failures, sum(map(bool, assets.values()))))
        planes.append(_plane(ds, assets))
    codes = xr.concat(planes, dim="time").transpose("time", "asset", *reader.grid.dimensions)
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
    names = [str(name) for name in ds.data_vars]
    return ds.assign_coords(
        status=("time", np.array(words), {"long_name": "whether all assets opened when loaded"}),
        asset=("asset", np.array(names)),
        asset_key=("asset", np.array([join(keys.get(name, {})) for name in names])),
        read_status=codes.drop_vars(codes.coords),
    )


def _items(ds: xr.Dataset, name: str, step: int) -> list[str]:
    source = "s1_item_id" if name in POLARISATIONS else "item_id"
    text = str(ds[source].values[step]) if source in ds.coords else ""
    return text.split(", ") if text else []


def _probe(reader: Reader) -> dict[tuple[str, str], Failure | None]:
    from xcloudfree.stac.access import Asset
    from xcloudfree.stac.reading import probe

    assets = {
        (item.id, layer.asset): Asset(
            item.id,
            layer.asset,
            reader.address(item.assets[layer.asset].get_absolute_href() or ""),
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
    words = {
        asset: str(failure) if failure.detail.startswith("HTTP ") else WORDS[failure.cause]
        for asset, failure in failures.items()
    }
    if len(words) == count > 1 and len(set(words.values())) == 1:
        return f"all assets {next(iter(words.values()))}"
    return ", ".join(f"{asset} {word}" for asset, word in words.items())


def _plane(ds: xr.Dataset, assets: dict[str, list[tuple[Opened, int, list[int]]]]) -> xr.DataArray:
    """Codes of all assets of one scene, (y, x, asset)."""
    arrays: list[xr.DataArray] = []
    layout = []
    for name, parts in assets.items():
        own = []
        for opened, n, positions in parts:
            own.append((len(arrays), tuple(positions)))
            arrays.append(opened.codes[name].isel(time=n, drop=True))
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


def _stack(*arrays: Any, layout: Sequence[Sequence[tuple[int, tuple[int, ...]]]]) -> Any:
    empty = np.zeros(arrays[0].shape, np.uint8)
    planes = [
        merge([arrays[n] for n, _ in parts], [own for _, own in parts]) if parts else empty
        for parts in layout
    ]
    return np.stack(planes, axis=-1)


def report(ds: xr.Dataset) -> pd.DataFrame:
    """What could not be read: one row for each asset of each item and each chunk.

    Of a lazy series every chunk is read for this; of one that was computed, or stored and opened
    again, nothing, and the table is that of the very reads that made its pixels.

    Parameters
    ----------
    ds : xarray.Dataset
        Series that was loaded with ``on_error="report"``.

    Returns
    -------
    pandas.DataFrame
        ``time``, ``item``, ``asset`` (its key), ``chunk`` (pixels of this Dataset within one of its
        chunks, ``"y 0:1024, x 0:512"``) and ``error``. Empty if all was read.

    Raises
    ------
    DataError
        The series does not carry ``read_status``.
    """
    import pandas as pd

    if "read_status" not in getattr(ds, "coords", {}):
        raise DataError(
            "What was read is not known of this Dataset. Load it so that faults are noted: "
            'load(..., on_error="report").'
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
    """Where the chunks along one dimension lie.

    Parameters
    ----------
    sizes : int or sequence of int
        Size of each, or of the only one.

    Returns
    -------
    list of slice

    Examples
    --------
    >>> block_slices((2, 3)), block_slices(4)
    ([slice(0, 2, None), slice(2, 5, None)], [slice(0, 4, None)])
    """
    ends = np.cumsum(np.append(0, sizes)).tolist()
    return [slice(a, b) for a, b in pairwise(ends)]


def _row(
    scene: xr.Dataset, n: int, code: int, where: Sequence[Any], start: tuple[int, int]
) -> tuple[Any, ...]:
    name = str(scene["asset"].values[n])
    items = _items(scene, name, 0)
    position = position_of(code)
    item = items[position] if position < len(items) else join(items)
    y, x = (
        f"{first + int(index.min())}:{first + int(index.max()) + 1}"
        for first, index in zip(start, where, strict=True)
    )
    key = str(scene["asset_key"].values[n]) if "asset_key" in scene.coords else name
    cause = cause_of(code)
    error = WORDS[cause] if cause is not None else ""
    return scene["time"].values[0], item, key, f"y {y}, x {x}", error

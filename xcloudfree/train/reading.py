"""Read crops: chunks that were read are kept, and a disk cache has chunks of about a crop."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from threading import RLock
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError

KEPT = 2**30
"""Capacity of a :class:`LeastRecentlyUsed` in bytes."""


class Planes(Protocol):
    """An array (sample, band, y, x) to cut windows from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes."""

    def __getitem__(self, window: Any) -> NDArray[np.float32]:
        """Cut ``sample, bands, rows, columns``; the first an integer, the others slices."""


class LeastRecentlyUsed:
    """Values with ``nbytes`` up to a limit; only the first of several threads makes a value."""

    def __init__(self, limit: int = KEPT) -> None:
        self.limit, self.size = limit, 0
        self.values: OrderedDict[Hashable, Any] = OrderedDict()
        self.lock = RLock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key, made if it is not kept."""
        with self.lock:
            if key in self.values:
                self.values.move_to_end(key)
                return self.values[key]
            value = self.values[key] = make()
            self.size += value.nbytes
            while self.size > self.limit and len(self.values) > 1:
                self.size -= self.values.popitem(last=False)[1].nbytes
            return value


class Chunks:
    """Windows of a lazily chunked array; each chunk needed is read once and kept."""

    def __init__(self, array: xr.DataArray, kept: LeastRecentlyUsed) -> None:
        self.array, self.kept = array, kept
        sizes = [array.chunksizes[d] for d in ("sample", "y", "x")]
        self.starts = [np.concatenate([[0], np.cumsum(s)]) for s in sizes]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes."""
        return self.array.shape

    def __getitem__(self, window: tuple[int, slice, slice, slice]) -> NDArray[np.float32]:
        """Cut a window."""
        sample, bands, *sides = window
        height, width = self.shape[-2:]
        (y0, y1, _), (x0, x1, _) = (
            s.indices(n) for s, n in zip(sides, (height, width), strict=True)
        )
        out = np.empty((self.shape[1], y1 - y0, x1 - x0), np.float32)
        k = int(np.searchsorted(self.starts[0], sample, "right")) - 1
        for i, j in product(_touched(self.starts[1], y0, y1), _touched(self.starts[2], x0, x1)):
            (s0, s1), (r0, r1), (c0, c1) = (
                map(int, starts[n : n + 2])
                for starts, n in zip(self.starts, (k, i, j), strict=True)
            )
            lazy = self.array[s0:s1, :, r0:r1, c0:c1]
            chunk = self.kept.get((id(self), k, i, j), partial(np.asarray, lazy))[sample - s0]
            top, bottom, left, right = max(y0, r0), min(y1, r1), max(x0, c0), min(x1, c1)
            out[:, top - y0 : bottom - y0, left - x0 : right - x0] = chunk[
                :, top - r0 : bottom - r0, left - c0 : right - c0
            ]
        return out[bands]


def planes(array: xr.DataArray, kept: LeastRecentlyUsed) -> Planes:
    """Windows of an array in memory or of a lazy one."""
    return np.asarray(array) if array.chunks is None else Chunks(array, kept)


def cached(
    folder: Path, arrays: Sequence[xr.DataArray], names: Sequence[str], crop: int
) -> tuple[Planes, ...]:
    """Copy arrays into a folder, or open the existing copy."""
    import zarr

    about = {"names": list(names), "shapes": [list(a.shape) for a in arrays]}
    note = folder / "about.json"
    if not note.is_file():
        if folder.exists() and any(folder.iterdir()):
            raise DataError(
                f"{folder} contains something other than cached samples",
                fix="call fit(..., cache=...) with another folder",
                option="use another folder for --cache",
            )
        _copy(folder, arrays, about, crop)
    stored = tuple(zarr.open_array(folder / str(i), mode="r") for i in range(len(arrays)))
    last = arrays[0].shape[0] - 1
    same = json.loads(note.read_text()) == about and all(
        np.array_equal(array[i].values, kept[i], equal_nan=True)
        for array, kept in zip(arrays, stored, strict=True)
        for i in {0, last}
    )
    if not same:
        raise DataError(
            f"{folder} is a cache of other data",
            fix="call fit(..., cache=...) with another folder, or remove this one",
            option="use another folder for --cache, or remove this one",
        )
    return stored


def _copy(folder: Path, arrays: Sequence[xr.DataArray], about: dict[str, Any], crop: int) -> None:
    """Write everything to a temporary folder and move it into place at once."""
    import zarr

    partial = folder.with_name(f"{folder.name}.{uuid4().hex}.partial")
    for number, array in enumerate(arrays):
        count, bands, height, width = array.shape
        chunks = (1, bands, min(height, max(crop, 64)), min(width, max(crop, 64)))
        store = zarr.create_array(
            partial / str(number), shape=array.shape, chunks=chunks, dtype="float32"
        )
        for i in range(count):
            store[i] = array[i].values
    (partial / "about.json").write_text(json.dumps(about))
    if folder.exists():
        folder.rmdir()
    try:
        partial.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(partial)


def _touched(starts: NDArray[Any], low: int, high: int) -> range:
    """Chunks that overlap an interval."""
    first = int(np.searchsorted(starts, low, "right")) - 1
    last = int(np.searchsorted(starts, high, "left"))
    return range(first, last)

"""How a store is laid out: one shard a block, in it chunks that a reader takes singly."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.recognise import SPATIAL
from xcloudfree.exceptions import DataError
from xcloudfree.io.cells import Index, Piece, grid_of
from xcloudfree.io.ledger import current_run

FILES: Final = "xcloudfree_files"
"""Attribute of a finished store: how many files each variable has."""

_BLOCK: Final = 1024
_SPATIAL: Final = {name for pair in SPATIAL for name in pair}


def inner_chunks(dims: tuple[Hashable, ...], block: tuple[int, ...], side: int) -> tuple[int, ...]:
    """Chunks inside a shard, which they divide: one date and band, about `side` pixels squared.

    Where no divisor lies between a quarter of `side` and `side`, a chunk is as long as the block.

    >>> inner_chunks(("time", "band", "y", "x"), (1, 13, 1024, 1000), 512)
    (1, 1, 512, 500)
    >>> inner_chunks(("y", "x"), (300, 1009), 512)
    (300, 1009)
    """
    if not _SPATIAL & set(map(str, dims)):
        return block
    return tuple(
        (_divisor(n, side) if n > side else n) if str(d) in _SPATIAL else 1
        for d, n in zip(dims, block, strict=True)
    )


def is_image(variable: xr.Variable) -> bool:
    """Whether a variable has rows and columns."""
    return any(set(pair) <= set(map(str, variable.dims)) for pair in SPATIAL)


def block_of(variable: xr.Variable, steps: Mapping[Hashable, int]) -> tuple[int, ...]:
    """Block in which a variable is stored: its own where it is lazy, else as others have it."""
    if variable.chunks is not None:
        return tuple(max(1, *c) for c in variable.chunks)
    usual = [_BLOCK if str(d) in _SPATIAL else n for d, n in variable.sizes.items()]
    return tuple(
        max(1, min(n, steps.get(d, size)))
        for (d, n), size in zip(variable.sizes.items(), usual, strict=True)
    )


def _divisor(length: int, side: int) -> int:
    found = (n for n in range(side, max(1, side // 4) - 1, -1) if length % n == 0)
    return next(found, length)


def create(ds: xr.Dataset, folder: Path, side: int) -> None:
    """Write metadata, what is in memory, and empty arrays for what is lazy."""
    encoding: dict[Hashable, dict[str, Any]] = {}
    hollow = {}
    grid = grid_of(ds)
    steps = dict(zip(grid.dims, grid.steps, strict=True))
    for name, variable in ds.variables.items():
        options: dict[str, Any] = dict(variable.encoding)  # what is passed replaces it
        if variable.dtype.kind == "f":  # a block not yet written reads as no data, not as zero
            options["fill_value"] = variable.dtype.type(np.nan)
        elif "_FillValue" in options and variable.dtype.kind in "iu":
            options["fill_value"] = options["_FillValue"]
        if variable.chunks is not None or is_image(variable):
            block = block_of(variable, steps)
            options["chunks"] = inner_chunks(variable.dims, block, side)
            if options["chunks"] != block:
                options["shards"] = block
        if variable.chunks is not None:
            data = da.zeros(variable.shape, dtype=variable.dtype, chunks=-1)
            hollow[name] = xr.Variable(variable.dims, data, variable.attrs)
        if options:
            encoding[name] = options
    coords = {name: v for name, v in hollow.items() if name in ds.coords}
    whole = ds.assign({n: v for n, v in hollow.items() if n not in coords}).assign_coords(coords)
    with _own_files():
        whole.to_zarr(
            folder, mode="a", compute=False, zarr_format=3, consolidated=False, encoding=encoding,
            safe_chunks=False,
        )  # fmt: skip


@contextmanager
def _own_files() -> Iterator[None]:
    """Without zarr's warnings of the ledger and the lock, which are no part of a store."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized")
        yield


@dataclass(frozen=True)
class BlockStore:
    """Function that writes the blocks of a cell, wherever it is called; picklable."""

    folder: str
    target: str  # name that the store is to have, for messages
    run: str  # name of the write, see the ledger

    def __call__(self, parts: Sequence[Piece], index: Index, *blocks: NDArray[Any]) -> None:
        """Write blocks, each of which is a shard or chunk of its own, through to the disk."""
        import zarr

        # threads and workers of a write that was interrupted finish what they are at
        if current_run(Path(self.folder)) != self.run:
            raise DataError(
                f"Another write of {self.target} has begun, or this one is over",
                fix=f"begin it again: xcf.io.to_zarr(obj, {self.target!r}, mode='overwrite')",
            )
        queue = iter(blocks)
        for part in parts:
            own = part.blocks(index)
            if not own:
                continue
            with disk(self.target):
                array = zarr.open_array(Path(self.folder, part.name), mode="r+")
                for block in own:
                    array[part.region(block)] = next(queue)
                    flush(Path(self.folder, part.name, "c", *map(str, block)))


def flush(path: Path) -> None:
    """Wait until a file, if it exists, and its name are on the disk, not in memory only."""
    if path.is_file():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextmanager
def disk(target: Path | str, advice: str = "", kinds: type[Exception] = OSError) -> Iterator[None]:
    """Say what to do when the disk refuses."""
    try:
        yield
    except kinds as error:
        why = error.strerror if isinstance(error, OSError) else None
        fix = advice or (
            "make room, then go on from what is finished with the same object: "
            f"xcf.io.to_zarr(obj, {str(target)!r})"
        )
        raise DataError(f"Writing {target} stopped: {why or error}", fix=fix) from error


def tidy(folder: Path, names: Sequence[str]) -> None:
    """Remove what interrupted writes left beside the chunks, and gather the metadata in one file.

    There the variables stand in the given order, since that of a folder is any.
    """
    import zarr

    for path in folder.rglob("*.partial"):
        if path.is_file():
            path.unlink()
    with _own_files():
        warnings.filterwarnings("ignore", "Consolidated metadata")
        zarr.consolidate_metadata(folder)
    root = json.loads((folder / "zarr.json").read_text())
    gathered = root["consolidated_metadata"]["metadata"]
    root["consolidated_metadata"]["metadata"] = {
        n: gathered[n] for n in dict.fromkeys([*names, *sorted(gathered)]) if n in gathered
    }
    root["attributes"][FILES] = {name: count_files(folder, name) for name in names}
    whole = folder / "zarr.json.partial"
    whole.write_text(json.dumps(root, indent=2))
    flush(whole)
    whole.replace(folder / "zarr.json")  # complete at any time, also if the power goes


def count_files(folder: Path, name: str) -> int:
    """Number of files that hold the values of a variable; an empty one holds none."""
    files = (file for file in (folder / name).rglob("*") if file.name != "zarr.json")
    return sum(file.is_file() and file.stat().st_size > 0 for file in files)


def order_of(folder: Path) -> list[str]:
    """Variables of a store in the order of the object that was written, if it says so."""
    file = folder / "zarr.json"
    root = json.loads(file.read_text()) if file.is_file() else {}
    return list((root.get("consolidated_metadata") or {}).get("metadata", {}))

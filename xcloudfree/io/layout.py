"""Layout of a store: one shard per block, divided into chunks that can be read separately."""

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

from xcloudfree.core.recognise import SPATIAL, spatial_dims
from xcloudfree.exceptions import DataError
from xcloudfree.io.cells import Index, Piece, grid_of
from xcloudfree.io.ledger import current_run

FILES: Final = "xcloudfree_files"
"""Attribute of a finished store: number of files of each variable."""

_BLOCK: Final = 1024
_SPATIAL: Final = {name for pair in SPATIAL for name in pair}


def inner_chunks(dims: tuple[Hashable, ...], block: tuple[int, ...], side: int) -> tuple[int, ...]:
    """Chunks inside a shard, which they divide: one date and band, about `side` pixels squared.

    If no divisor lies between a quarter of `side` and `side`, a chunk is as long as the block.

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
    return spatial_dims(variable) is not None


def block_of(variable: xr.Variable, steps: Mapping[Hashable, int]) -> tuple[int, ...]:
    """Block in which a variable is stored: its own if it is lazy, else that of the others."""
    if variable.chunks is not None:
        return tuple(max(1, *c) for c in variable.chunks)
    usual = [_BLOCK if str(d) in _SPATIAL else n for d, n in variable.sizes.items()]
    return tuple(
        max(1, min(n, steps.get(d, size)))
        for (d, n), size in zip(variable.sizes.items(), usual, strict=True)
    )


def create_group(folder: Path) -> None:
    """Write the metadata of a group without arrays."""
    import zarr

    with _own_files():
        zarr.create_group(folder, zarr_format=3)


def same_layout(one: Path, other: Path, name: str) -> bool:
    """Whether a variable is stored in the same way in two stores, so that files can move."""
    keys = ("data_type", "chunk_grid", "chunk_key_encoding", "codecs", "fill_value")
    try:
        found = [json.loads((store / name / "zarr.json").read_text()) for store in (one, other)]
    except (OSError, ValueError):
        return False
    return all(found[0].get(key) == found[1].get(key) for key in keys)


def _divisor(length: int, side: int) -> int:
    found = (n for n in range(side, max(1, side // 4) - 1, -1) if length % n == 0)
    return next(found, length)


def create(ds: xr.Dataset, folder: Path, side: int) -> None:
    """Write metadata, values in memory, and empty arrays for lazy variables."""
    from zarr.codecs import ZstdCodec

    encoding: dict[Hashable, dict[str, Any]] = {}
    hollow = {}
    grid = grid_of(ds)
    steps = dict(zip(grid.dims, grid.steps, strict=True))
    for name, variable in ds.variables.items():
        options: dict[str, Any] = dict(variable.encoding)  # arguments override it
        # the usual compression, with a checksum by which readers of all kinds notice damage
        options["compressors"] = ZstdCodec(level=0, checksum=True)
        if variable.dtype.kind == "f":  # an unwritten block reads as no data, not as zero
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
    with _own_files():
        ds.assign(hollow).to_zarr(
            folder, mode="a", compute=False, zarr_format=3, consolidated=False, encoding=encoding,
            safe_chunks=False,
        )  # fmt: skip


@contextmanager
def _own_files() -> Iterator[None]:
    """Suppress zarr's warnings about the ledger and the lock, which are not part of a store."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized")
        yield


@dataclass(frozen=True)
class BlockStore:
    """Function that writes the blocks of a cell, in any process; picklable."""

    folder: str
    target: str  # final name of the store, for messages
    run: str  # name of the write, see the ledger
    call: str = "to_zarr"  # the function that writes, for messages
    group: str = ""  # inside the folder

    def __call__(self, parts: Sequence[Piece], index: Index, *blocks: NDArray[Any]) -> None:
        """Write blocks, each of which is a separate shard or chunk, through to the disk."""
        import zarr

        # threads and workers of an interrupted write finish their current task
        if current_run(Path(self.folder)) != self.run:
            raise DataError(
                f"Another write of {self.target} has begun, or this one has ended",
                fix=f"begin it again: xcf.io.{self.call}(obj, {self.target!r})",
                option="repeat the command",
            )
        queue = iter(blocks)
        for part in parts:
            own = part.blocks(index)
            if not own:
                continue
            with disk(self.target, call=self.call):
                array = zarr.open_array(Path(self.folder, self.group, part.name), mode="r+")
                for block in own:
                    array[part.region(block)] = next(queue)
                    flush(Path(self.folder, self.group, part.name, "c", *map(str, block)))


def flush(path: Path) -> None:
    """Wait until a file, if it exists, and its name are on the disk and not only in memory."""
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
def disk(
    target: Path | str,
    advice: str = "",
    kinds: type[Exception] = OSError,
    call: str = "to_zarr",
) -> Iterator[None]:
    """Raise a helpful error when the disk fails."""
    try:
        yield
    except kinds as error:
        why = error.strerror if isinstance(error, OSError) else None
        fix = advice or (
            f"make room, then resume with the same object: xcf.io.{call}(obj, {str(target)!r})"
        )
        raise DataError(
            f"Writing {target} stopped: {why or error}",
            fix=fix,
            option="make room, then repeat the command",
        ) from error


def tidy(folder: Path, names: Sequence[str], attrs: Mapping[str, Any] | None = None) -> None:
    """Remove temporary files of interrupted writes, and consolidate the metadata, in order."""
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
    if attrs is None:
        root["attributes"][FILES] = {name: count_files(folder, name) for name in names}
    else:
        root["attributes"] = dict(attrs)
    whole = folder / "zarr.json.partial"
    whole.write_text(json.dumps(root, indent=2))
    flush(whole)
    whole.replace(folder / "zarr.json")  # complete at any time, even after a power failure


def count_files(folder: Path, name: str) -> int:
    """Number of files with the values of a variable; 0 for an empty one."""
    files = (file for file in (folder / name).rglob("*") if file.name != "zarr.json")
    return sum(file.is_file() and file.stat().st_size > 0 for file in files)


def order_of(folder: Path) -> list[str]:
    """Variables of a store in the order of the written object, if recorded."""
    file = folder / "zarr.json"
    root = json.loads(file.read_text()) if file.is_file() else {}
    return list((root.get("consolidated_metadata") or {}).get("metadata", {}))

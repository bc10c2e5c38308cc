"""How a store is laid out: one shard a block, in it chunks that a reader takes singly."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
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

_BLOCK: Final = 1024


def inner_chunks(dims: tuple[Hashable, ...], block: tuple[int, ...], side: int) -> tuple[int, ...]:
    """Chunks inside a shard: one date and one band, about `side` pixels squared.

    Parameters
    ----------
    dims : tuple of hashable
        Dimensions of the variable.
    block : tuple of int
        Size of the shard, which chunks must divide.
    side : int
        Pixels that a chunk may have along rows and columns.

    Returns
    -------
    tuple of int
        Where no divisor lies between a quarter of `side` and `side`, a chunk is as long as the
        block.

    Examples
    --------
    >>> inner_chunks(("time", "band", "y", "x"), (1, 13, 1024, 1000), 512)
    (1, 1, 512, 500)
    >>> inner_chunks(("y", "x"), (300, 1009), 512)
    (300, 1009)
    """
    spatial = {name for pair in SPATIAL for name in pair}
    if not spatial & set(map(str, dims)):
        return block
    return tuple(
        (_divisor(n, side) if n > side else n) if str(d) in spatial else 1
        for d, n in zip(dims, block, strict=True)
    )


def is_image(variable: xr.Variable) -> bool:
    """Whether a variable has rows and columns."""
    return any(set(pair) <= set(map(str, variable.dims)) for pair in SPATIAL)


def block_of(variable: xr.Variable, steps: Mapping[Hashable, int]) -> tuple[int, ...]:
    """Block in which a variable is stored: its own where it is lazy, else as others have it."""
    if variable.chunks is not None:
        return tuple(max(1, *c) for c in variable.chunks)
    spatial = {name for pair in SPATIAL for name in pair}
    usual = [_BLOCK if str(d) in spatial else n for d, n in variable.sizes.items()]
    return tuple(
        max(1, min(n, steps.get(d, size)))
        for (d, n), size in zip(variable.sizes.items(), usual, strict=True)
    )


def _divisor(length: int, side: int) -> int:
    found = (n for n in range(side, max(1, side // 4) - 1, -1) if length % n == 0)
    return next(found, length)


def create(ds: xr.Dataset, folder: Path, side: int) -> None:
    """Make the store: metadata, what is in memory, and empty arrays for what is lazy.

    Parameters
    ----------
    ds : xarray.Dataset
        From :func:`xcloudfree.io.storable.regular_chunks`.
    folder : Path
        Must not exist.
    side : int
        See :func:`inner_chunks`.
    """
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
    whole.to_zarr(
        folder, mode="w", compute=False, zarr_format=3, consolidated=False, encoding=encoding,
        safe_chunks=False,
    )  # fmt: skip


@dataclass(frozen=True)
class BlockStore:
    """Function that writes the blocks of a cell, wherever it is called; picklable.

    Parameters
    ----------
    folder : str
        The store.
    target : str
        Name that it is to have, for error messages.
    run : str
        Name of the write, see :class:`xcloudfree.io.ledger.Ledger`.
    """

    folder: str
    target: str
    run: str

    def __call__(self, parts: Sequence[Piece], index: Index, *blocks: NDArray[Any]) -> None:
        """Write blocks, each of which is a shard or chunk of its own, through to the disk.

        Parameters
        ----------
        parts : sequence of Piece
            Variables.
        index : tuple of int
            The cell.
        *blocks : ndarray
            Of the cell, variable by variable.

        Raises
        ------
        DataError
            If the disk refuses, or another write has begun there: threads and workers of one
            that was interrupted finish what they are at.
        """
        import zarr

        if current_run(Path(self.folder)) != self.run:
            raise DataError(
                f"Another write of {self.target} has begun, or this one is over; begin it again: "
                f"xcf.io.to_zarr(obj, {self.target!r}, mode='overwrite')."
            )
        queue = iter(blocks)
        for part in parts:
            wanted = part.blocks(index)
            try:
                array = zarr.open_array(Path(self.folder, part.name), mode="r+") if wanted else None
                for block in wanted:
                    assert array is not None
                    array[part.region(block)] = next(queue)
                    flush(Path(self.folder, part.name, "c", *map(str, block)))
            except OSError as error:
                raise refused(error, self.target) from error


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


def refused(error: OSError, target: str) -> DataError:
    """What to say when the disk refuses."""
    return DataError(
        f"Writing {target} stopped: {error.strerror or error}. What is finished is kept; when "
        f"there is room again, go on with the same object: xcf.io.to_zarr(obj, {target!r})."
    )


def tidy(folder: Path, names: Sequence[str]) -> None:
    """Remove what interrupted writes left beside the chunks, and gather the metadata in one file.

    There the variables stand in the order of the object: that of a folder is any.

    Parameters
    ----------
    folder : Path
        Complete store.
    names : sequence of str
        Variables in their order.
    """
    import zarr

    for path in folder.rglob("*.partial"):
        if path.is_file():
            path.unlink()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata")
        warnings.filterwarnings("ignore", "Object at .* is not recognized")  # the ledger
        zarr.consolidate_metadata(folder)
    root = json.loads((folder / "zarr.json").read_text())
    gathered = root["consolidated_metadata"]["metadata"]
    root["consolidated_metadata"]["metadata"] = {
        n: gathered[n] for n in dict.fromkeys([*names, *gathered]) if n in gathered
    }
    whole = folder / "zarr.json.partial"
    whole.write_text(json.dumps(root, indent=2))
    flush(whole)
    whole.replace(folder / "zarr.json")  # complete at any time, also if the power goes


def order_of(folder: Path) -> list[str]:
    """Variables of a store in the order of the object that was written; empty if it tells none."""
    file = folder / "zarr.json"
    root = json.loads(file.read_text()) if file.is_file() else {}
    return list((root.get("consolidated_metadata") or {}).get("metadata", {}))

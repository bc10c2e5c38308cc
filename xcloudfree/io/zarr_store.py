"""Storage: Zarr in bounded memory, resumable, on any dask scheduler."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import xarray as xr
from dask.utils import parse_bytes

from xcloudfree.core.progress import Progress
from xcloudfree.exceptions import DataError
from xcloudfree.io.cells import Index, grid_of
from xcloudfree.io.encoding import Encoding, encode_reflectance
from xcloudfree.io.layout import BlockStore, disk, tidy
from xcloudfree.io.ledger import Ledger, identity
from xcloudfree.io.lifecycle import (
    begin,
    check_target,
    exclusive,
    local_path,
    publish,
    published,
)
from xcloudfree.io.opening import open_zarr
from xcloudfree.io.storable import regular_chunks, storable, summary
from xcloudfree.io.streaming import stream

Spatial = xr.Dataset | xr.DataArray


def to_zarr(
    obj: Spatial,
    path: str | os.PathLike[str],
    *,
    mode: str = "w",
    encoding: Encoding | None = None,
    chunks: int = 512,
    memory: int | str = "256 MiB",
    progress: bool = True,
) -> Any:
    """Write to a Zarr store (format 3), block by block.

    Each dask block becomes a shard, one file that holds smaller chunks, and is written whole by
    whichever thread, process or worker of a cluster has computed it; only a few rows of blocks of
    a narrow strip are in memory at a time, however large the scene is. Where the dates of a place
    share their work, as with temporal methods, they are written together; what a method sums up
    of the whole scene is computed once, before the first block. The blocks go to a store
    beside the target, ``<path>.partial``, which keeps a list of the finished ones; it takes the
    name `path` when all are there, so that what stands under `path` is always complete. After an
    interruption of any kind the same call with the same object goes on where it stopped, unless a
    local Zarr store that is read has changed; other input, such as remote files, is not compared
    and must be the same. One process at a time writes to a `path`.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataArray
        What to write; dask arrays stay lazy until their block is due.
    path : str or path-like
        Local folder, by custom with the ending ``.zarr``; on a cluster one that all workers see.
    mode : {"w", "w-", "overwrite"}
        "w" goes on with an unfinished write of the same object, refuses that of another, and
        replaces a finished store; "w-" refuses to replace one; "overwrite" begins anew.
    encoding : {"int16", "uint16"}, optional
        Store floating-point reflectance as integers of 1e-4 that readers decode, within half of
        that; see :func:`xcloudfree.io.encoding.encode_reflectance`. A value out of their range is
        an error: it would be lost.
    chunks : int
        Pixels, at most, along the sides of a chunk in a shard: 512, or 256 for web maps.
    memory : int or str
        How much input each worker may hold, beside the few blocks it works on, so that
        neighbouring blocks need not read it again. It sets the width of a strip: two rows of it,
        and at least four blocks a row. The columns of blocks beside a strip are read once more;
        a scene of 11 blocks a row is read 1.7 times with four columns in memory, 1.4 times with
        six, and once with eleven.
    progress : bool
        Show how far it is on the terminal.

    Returns
    -------
    xarray.Dataset or xarray.DataArray
        The store, opened lazily by :func:`open_zarr`, in the form that came in.

    Raises
    ------
    DataError
        If `path` holds something else, an unfinished write of another object or of input that has
        changed, or is no local path; if another process is writing to it; if the disk refuses; if
        a value does not fit the encoding.

    Warns
    -----
    UserWarning
        If attributes or coordinates cannot be stored; it names them.

    Notes
    -----
    Beside the attributes of the object, a reconstruction's store has those of ``provenance``
    (model, digest, mask, ...) and the names of the items.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.ones((6, 4), "float32"))}).chunk(y=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     back = to_zarr(ds, folder + "/out.zarr", progress=False)
    ...     print(back.B02.chunksizes["y"], float(back.B02.sum()))
    (2, 2, 2) 24.0
    """
    if mode not in ("w", "w-", "overwrite"):
        raise DataError(f"Unknown mode {mode!r}", fix="call xcf.io.to_zarr(obj, path, mode='w')")
    if isinstance(chunks, bool) or not isinstance(chunks, int) or chunks < 1:
        raise DataError(f"chunks is {chunks!r}", fix="call xcf.io.to_zarr(obj, path, chunks=512)")
    if not isinstance(obj, (xr.Dataset, xr.DataArray)):
        raise DataError(
            f"A {type(obj).__name__} is neither a Dataset nor a DataArray",
            fix="call xcf.io.to_zarr(ds.cloudfree.reconstruct(), path)",
        )
    try:
        most = parse_bytes(memory)
    except (ValueError, AttributeError) as error:  # of what is neither number nor text
        raise DataError(
            f"memory is {memory!r}", fix="call xcf.io.to_zarr(obj, path, memory='2 GiB')"
        ) from error
    target = local_path(path)
    check_target(target, mode)
    name = "" if isinstance(obj, xr.Dataset) else str(obj.name or "data")
    ds = obj if isinstance(obj, xr.Dataset) else obj.to_dataset(name=name)
    if encoding is not None:
        ds = encode_reflectance(ds, encoding)
    ds = regular_chunks(storable(ds.assign_attrs(summary(ds))))

    partial = target.with_name(target.name + ".partial")
    mine = identity(ds, chunk_side=chunks)
    if not published(target, mine):
        with exclusive(partial, target):
            with disk(target):
                ledger = begin(ds, partial, target, mine, chunks, anew=mode == "overwrite")
            _fill(ds, ledger, partial, target, most, progress)
            with disk(target):
                # coordinates come in any order, and the same object gives the same bytes
                names = [*ds.data_vars, *sorted(ds.coords, key=str)]
                tidy(partial, [str(name) for name in names])
                publish(partial, target)
    back = open_zarr(target)
    return back if not name else back[name].rename(getattr(obj, "name", None))


def _fill(
    ds: xr.Dataset, ledger: Ledger, partial: Path, target: Path, memory: int, progress: bool
) -> None:
    """Compute and store the cells that the ledger lacks."""
    grid = grid_of(ds)
    every = {grid.key(index) for index in product(*map(range, grid.counts)) if index}
    left = every - ledger.done
    resumed = f" ({len(every) - len(left)} of {len(every)} blocks are there)"
    label = f"writing {target.name}{resumed if len(left) < len(every) else ''}"
    bar = Progress(label, len(left), show=progress)

    def finished(index: Index) -> None:
        with disk(target):
            ledger.add(grid.key(index))  # only now: the write has returned
        bar.step()

    def summing(count: int) -> Callable[[], None]:
        first = Progress("summing up the scene", count, show=progress)

        def step() -> None:
            first.step()
            if not bar.count:
                bar.start = time.monotonic()  # what is left to write counts from here

        return step

    stream(
        ds,
        grid,
        BlockStore(str(partial), str(target), ledger.run),
        memory=memory,
        skip=lambda index: grid.key(index) in ledger.done,
        finished=finished,
        summing=summing,
    )

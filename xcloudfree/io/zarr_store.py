"""Storage: Zarr in bounded memory, resumable, on any dask scheduler."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import xarray as xr
from dask.utils import parse_bytes

from xcloudfree.core.progress import Progress
from xcloudfree.exceptions import DataError
from xcloudfree.io.cells import Index, grid_of
from xcloudfree.io.encoding import Encoding, encode_reflectance
from xcloudfree.io.layout import BlockStore, create, disk, tidy
from xcloudfree.io.ledger import Identity, Ledger, identity
from xcloudfree.io.levels import (
    FULL,
    check_grid,
    count_levels,
    halved,
    has_levels,
    root_attributes,
)
from xcloudfree.io.lifecycle import (
    begin,
    check_target,
    exclusive,
    local_path,
    publish,
    published,
)
from xcloudfree.io.opening import open_zarr, opened
from xcloudfree.io.passport import write_collection, write_passport
from xcloudfree.io.storable import made, regular_chunks, storable, summary
from xcloudfree.io.streaming import stream

Spatial = xr.Dataset | xr.DataArray


def to_zarr(
    obj: Spatial,
    path: str | os.PathLike[str],
    *,
    mode: str = "w",
    encoding: Encoding | None = None,
    chunks: int = 512,
    multiscales: bool = False,
    memory: int | str = "256 MiB",
    progress: bool | None = None,
) -> Any:
    """Write to a Zarr store (format 3), block by block.

    Each dask block becomes a shard: one file with smaller chunks, written whole by the thread,
    process or worker that computed it. Only a few rows of blocks of a narrow strip are in memory at
    a time, however large the scene. If the dates of a place share their work, as with temporal
    methods, they are written together; sums over the whole scene are computed once, before the
    first block. The blocks go to a store next to the target, ``<path>.partial``, which keeps a list
    of the finished ones and is renamed to `path` when it is complete, so a store at `path` is
    always complete. After any interruption, the same call with the same object resumes, unless a
    local Zarr store that it reads has changed. Other input, such as remote files, is not compared
    and must be the same. Only one process at a time can write to a `path`.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataArray
        Object to write; dask arrays stay lazy until their block is computed.
    path : str or path-like
        Local folder, usually ending in ``.zarr``; on a cluster, one that all workers can access.
    mode : {"w", "w-", "overwrite"}
        "w" resumes an unfinished write of the same object, raises an error for that of another, and
        replaces a finished store; "w-" never replaces a store; "overwrite" starts again.
    encoding : {"int16", "uint16"}, optional
        Store floating-point reflectance as integers in steps of 1e-4, which readers decode with an
        error of at most half a step; see :func:`xcloudfree.io.encoding.encode_reflectance`. A value
        out of range raises an error, because it would be lost.
    chunks : int
        Largest side of a chunk in a shard, in pixels: 512, or 256 for web maps.
    multiscales : bool
        Also write overviews for maps and quick looks, each with half the rows and columns of the
        level before, until one fits into a chunk: the mean of the valid pixels (of backscatter in
        dB, in power), or the most frequent value of flags, masks and classes. Groups ``0`` (full
        resolution), ``1``, ``2`` ... by the Zarr conventions ``multiscales``, ``spatial`` and
        ``proj``, on which GeoZarr builds. :func:`open_zarr` opens the full resolution,
        ``xarray.open_datatree`` all levels.
    memory : int or str
        Input that each worker may keep in addition to its current blocks, so that
        neighbouring blocks need not read it again. It sets the width of a strip: two rows of it,
        and at least four blocks per row. The columns of blocks next to a strip are read once more:
        a scene of 11 blocks per row is read 1.7 times with four columns in memory, 1.4 times with
        six, and once with eleven.
    progress : bool, optional
        Whether to show a progress bar; by default in a terminal or notebook only.

    Returns
    -------
    xarray.Dataset or xarray.DataArray
        The store, opened lazily by :func:`open_zarr`, in the form of the input.

    Raises
    ------
    DataError
        If `path` contains something else, or an unfinished write of another object or of changed
        input, or is not a local path; if another process is writing to it; if the disk fails; if
        a value does not fit the encoding.
    GridError
        With `multiscales`, if there are no rows and columns, or unevenly spaced ones.

    Warns
    -----
    UserWarning
        If attributes or coordinates cannot be stored; the warning names them.

    Notes
    -----
    Besides the attributes of the object, the store of a reconstruction has those of ``provenance``
    (model, digest, mask, parameters, ...) and the names of the items. A STAC item next to it,
    ``<path>.item.json``, says the same, and where the data lie and what the bands mean; without
    dates there is none. A STAC collection, ``<path>.collection.json``, makes both part of a static
    catalog. ``xcloudfree remake`` makes the product again from it.

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
    ds, name = dataset_of(obj, "to_zarr")
    most = bytes_of(memory, "to_zarr")
    target = local_path(path)
    check_target(target, mode)
    if encoding is not None:
        ds = encode_reflectance(ds, encoding)
    if multiscales:
        check_grid(ds)
    ds = regular_chunks(storable(ds.assign_attrs(summary(ds))))
    mine = identity_of(ds, chunks, multiscales)
    if not published(target, mine):
        writer = Writer(target, chunks, most, progress)
        writer.write(ds, mine, anew=mode == "overwrite", multiscales=multiscales)
    return finished(obj, target, name, encoding, chunks)


def identity_of(ds: xr.Dataset, side: int, multiscales: bool, **options: Any) -> Identity:
    """What identifies a write, to resume it."""
    return identity(
        ds, chunk_side=side, **({"multiscales": True} if multiscales else {}), **options
    )


def dataset_of(obj: Any, call: str) -> tuple[xr.Dataset, str]:
    """The object as a Dataset, and its name if it is a DataArray."""
    if not isinstance(obj, (xr.Dataset, xr.DataArray)):
        raise DataError(
            f"A {type(obj).__name__} is neither a Dataset nor a DataArray",
            fix=f"call xcf.io.{call}(ds.cloudfree.reconstruct(), path)",
        )
    if isinstance(obj, xr.Dataset):
        return obj, ""
    name = str(obj.name or "data")
    return obj.to_dataset(name=name), name


def bytes_of(memory: int | str, call: str) -> int:
    """The memory for neighbours in bytes."""
    try:
        return int(parse_bytes(memory))
    except (ValueError, AttributeError) as error:  # neither a number nor text
        raise DataError(
            f"memory is {memory!r}", fix=f"call xcf.io.{call}(obj, path, memory='2 GiB')"
        ) from error


def finished(
    obj: Spatial, target: Path, name: str, encoding: Encoding | None, chunks: int
) -> xr.Dataset | xr.DataArray:
    """Open the complete store in the form of the input, and write its passport."""
    back = open_zarr(target)
    written = {"format": "zarr", "encoding": encoding, "chunks": chunks, "name": name or None}
    if has_levels(target):
        written["multiscales"] = True
    with disk(target):
        write_passport(target, back, {"data": (target, back)}, written, made(back))
        write_collection(target, [target])
    return back if not name else back[name].rename(getattr(obj, "name", None))


Keep = Callable[[xr.Dataset, Path, str], set[str]]
"""Function that puts cells of a group into the unfinished store, and returns their keys."""


@dataclass(frozen=True)
class Writer:
    """Writes the cells of an object, and of its overviews, into one unfinished store."""

    target: Path
    side: int  # of chunks
    memory: int
    progress: bool | None
    keep: Keep | None = None  # for cells that need no computing

    @property
    def partial(self) -> Path:
        """Folder of the unfinished store."""
        return self.target.with_name(self.target.name + ".partial")

    @property
    def call(self) -> str:
        """The function that users call."""
        return "to_zarr" if self.keep is None else "append"

    def disk(self) -> AbstractContextManager[None]:
        """See :func:`xcloudfree.io.layout.disk`."""
        return disk(self.target, call=self.call)

    def write(
        self, ds: xr.Dataset, mine: Identity, *, anew: bool = False, multiscales: bool = False
    ) -> None:
        """Write all cells, and publish the store when it is complete."""
        partial, group = self.partial, FULL if multiscales else ""
        with exclusive(partial, self.target):
            with self.disk():
                ledger = begin(
                    ds, partial, self.target, mine, self.side,
                    anew=anew, group=group, call=self.call,
                )  # fmt: skip
            self._group(ds, ledger, group, "")
            if multiscales:
                self._overviews(ds, ledger)
            with self.disk():
                publish(partial, self.target)

    def _overviews(self, ds: xr.Dataset, ledger: Ledger) -> None:
        """Every level from the one before, which is complete."""
        levels = [ds]
        rows, columns = (ds.sizes[name] for name in check_grid(ds))
        for number in range(1, count_levels((rows, columns), self.side)):
            group = str(number)
            with self.disk():
                source = storable(opened(self.partial / str(number - 1)))
                level = regular_chunks(storable(halved(source)))
                folder, begun = self.partial / group, f"{group}/begun"
                if begun not in ledger.done:  # or it may lack arrays
                    shutil.rmtree(folder, ignore_errors=True)
                    create(level, folder, self.side)
                    ledger.add(begun)
            self._group(level, ledger, group, f"{group}/")
            levels.append(level)
        with self.disk():
            tidy(self.partial, [], ds.attrs | root_attributes(levels))

    def _group(self, ds: xr.Dataset, ledger: Ledger, group: str, prefix: str) -> None:
        """Compute and store the cells of a group that are neither kept nor in the ledger."""
        grid, target = grid_of(ds), self.target
        kept: set[str] = set()
        if self.keep is not None:
            with self.disk():
                kept = self.keep(ds, self.partial, group)
        every = {grid.key(index) for index in product(*map(range, grid.counts)) if index} - kept
        there = {key for key in every if prefix + key in ledger.done}
        label = f"writing {target.name}{f', overview {group}' if prefix else ''}"
        label += f" ({len(there)} of {len(every)} blocks are finished)" if there else ""
        count = len(every) - len(there)

        def stored(index: Index) -> None:
            with self.disk():
                ledger.add(prefix + grid.key(index))  # only now that the write has returned
            bar.step()

        def summing(parts: int) -> Callable[[], None]:
            blocks = bar.count
            bar.begin("summing up the scene", parts)

            def step() -> None:
                bar.step()
                if bar.count == parts:  # the time left is that of the blocks alone
                    bar.begin(label, count, blocks)

            return step

        there |= kept
        with Progress(label, count, show=self.progress) as bar:
            stream(
                ds,
                grid,
                BlockStore(str(self.partial), str(target), ledger.run, self.call, group),
                memory=self.memory,
                skip=lambda index: grid.key(index) in there,
                finished=stored,
                summing=summing,
            )
        with self.disk():
            # coordinates come in any order, but the same object must give the same bytes
            names = [*ds.data_vars, *sorted(ds.coords, key=str)]
            tidy(self.partial / group, [str(name) for name in names])

"""Storage: Zarr in bounded memory, resumable, and cloud-optimised GeoTIFF."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree.exceptions import DataError
from xcloudfree.io.ledger import LEDGER, Ledger, identity
from xcloudfree.io.storable import regular_chunks, restore, storable
from xcloudfree.progress import Progress

_WHOLE: Final = {"band", "bands", "polarisation", "polarization", "x", "longitude", "lon"}
"""Dimensions that a region always spans: bands share their input, rows are written whole."""

Spatial = xr.Dataset | xr.DataArray


def to_zarr(
    obj: Spatial, path: str | os.PathLike[str], *, mode: str = "w", progress: bool = True
) -> Any:
    """Write to a Zarr store (format 3), one row of blocks after another.

    Only one row of blocks of one date is in memory at a time. The rows are written to a store
    beside the target, ``<path>.partial``, which keeps a list of the finished ones; it takes the
    name `path` when all are there, so that what stands under `path` is always complete. After an
    interruption the same call with the same object goes on where it stopped.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataArray
        What to write; dask arrays stay lazy until their row is due.
    path : str or path-like
        Local folder, by custom with the ending ``.zarr``.
    mode : {"w", "w-", "overwrite"}
        "w" goes on with an unfinished write of the same object, refuses that of another, and
        replaces a finished store; "w-" refuses to replace one; "overwrite" begins anew.
    progress : bool
        Show how far it is on the terminal.

    Returns
    -------
    xarray.Dataset or xarray.DataArray
        The store, opened lazily by :func:`open_zarr`, in the form that came in.

    Raises
    ------
    DataError
        If `path` holds something else, an unfinished write of another object, or is no local path.

    Warns
    -----
    UserWarning
        If attributes or coordinates cannot be stored; it names them.

    Examples
    --------
    >>> import tempfile, xarray as xr
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.ones((6, 4), "float32"))}).chunk(y=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     back = to_zarr(ds, folder + "/out.zarr", progress=False)
    ...     print(back.B02.chunksizes["y"], float(back.B02.sum()))
    (2, 2, 2) 24.0
    """
    if mode not in ("w", "w-", "overwrite"):
        raise DataError(f"Unknown mode {mode!r}: xcf.io.to_zarr(obj, path, mode='w').")
    target = _local(path)
    _check_target(target, mode)
    name = "" if isinstance(obj, xr.Dataset) else str(obj.name or "data")
    ds = regular_chunks(storable(obj if isinstance(obj, xr.Dataset) else obj.to_dataset(name=name)))

    partial = target.with_name(target.name + ".partial")
    ledger = _begin(ds, partial, target, anew=mode == "overwrite")
    regions = list(_regions(ds))
    bar = Progress(f"writing {target.name}", len(regions), show=progress)
    for key, where in regions:
        if key not in ledger.done:
            _write(ds, partial, where)
            ledger.add(key)  # only now: the write has returned
        bar.step()
    _publish(partial, target)
    back = open_zarr(target)
    return back if not name else back[name].rename(getattr(obj, "name", None))


def open_zarr(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a store that :func:`to_zarr` wrote: lazy, with the numbers and attributes as stored.

    Integers stay integers with their `scale_factor`; other readers decode them to reflectance.

    Parameters
    ----------
    path : str or path-like
        Local folder.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    DataError
        If there is no store, or only an unfinished one.
    """
    target = _local(path)
    if not _is_store(target):
        if _is_store(target.with_name(target.name + ".partial")):
            raise DataError(
                f"The write of {target} was interrupted; to finish it call again with the same "
                f"object: xcf.io.to_zarr(obj, {str(target)!r})."
            )
        raise DataError(
            f"There is no Zarr store at {target}: xcf.io.to_zarr(obj, {str(target)!r})."
        )
    if target.suffix == ".partial":
        raise DataError(
            f"{target} is an unfinished write; to finish it call again with the same object: "
            f"xcf.io.to_zarr(obj, {str(target.with_suffix(''))!r})."
        )
    return restore(xr.open_zarr(target, consolidated=False, mask_and_scale=False))


def _local(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if "://" in text:
        raise DataError(
            f"{text} is not a local path; write here and copy the finished store: "
            "xcf.io.to_zarr(obj, 'out.zarr')."
        )
    return Path(text).absolute()


def _is_store(folder: Path) -> bool:
    return (folder / "zarr.json").is_file() or (folder / ".zgroup").is_file()


def _check_target(target: Path, mode: str) -> None:
    """Refuse to replace what is no Zarr store, or any store if so asked."""
    if not target.exists():
        return
    if not _is_store(target) and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(
            f"{target} exists and is not a Zarr store; choose another name: "
            f"xcf.io.to_zarr(obj, {str(target.with_name(target.stem + '-new.zarr'))!r})."
        )
    if mode == "w-":
        raise DataError(f"{target} exists: xcf.io.to_zarr(obj, {str(target)!r}, mode='w').")


def _begin(ds: xr.Dataset, partial: Path, target: Path, *, anew: bool) -> Ledger:
    """Ledger of the unfinished write of this very object, or of a new one with empty arrays."""
    mine = identity(ds)
    ledger = None if anew else Ledger.read(partial)
    if ledger is not None:
        if differences := ledger.differences(mine):
            raise DataError(
                f"{partial} holds an unfinished write of another object ({differences}); pass "
                "that object to finish it, or begin anew: "
                f"xcf.io.to_zarr(obj, {str(target)!r}, mode='overwrite')."
            )
        return ledger
    if partial.exists():
        if not (_is_store(partial) or not any(partial.iterdir())):
            raise DataError(
                f"{partial} is in the way and not ours; choose another name: "
                f"xcf.io.to_zarr(obj, {str(target.with_name(target.stem + '-new.zarr'))!r})."
            )
        shutil.rmtree(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    encoding: dict[Hashable, dict[str, Any]] = {}
    for name, variable in ds.variables.items():
        options: dict[str, Any] = dict(variable.encoding)  # what is passed replaces it
        if variable.dtype.kind == "f":  # a row not yet written reads as no data, not as zero
            options["fill_value"] = variable.dtype.type(np.nan)
        if variable.chunks is not None:
            options["chunks"] = tuple(c[0] for c in variable.chunks)
        if options:
            encoding[name] = options
    ds.to_zarr(
        partial, mode="w", compute=False, zarr_format=3, consolidated=False, encoding=encoding
    )
    return Ledger.begin(partial, mine)


def _regions(ds: xr.Dataset) -> Iterator[tuple[str, dict[Hashable, slice]]]:
    """Rows of blocks: a key for the ledger and a slice per dimension that is cut."""
    steps: dict[Hashable, int] = {}
    for variable in ds.variables.values():
        if variable.chunks is not None:
            for dim, chunks in zip(variable.dims, variable.chunks, strict=True):
                if dim not in _WHOLE:
                    steps[dim] = max(chunks)
    order = sorted(steps, key=lambda d: d in ("y", "latitude", "lat"))
    ranges = [range(0, ds.sizes[d], steps[d]) for d in order]
    for starts in itertools.product(*ranges):
        where = {
            d: slice(start, min(start + steps[d], ds.sizes[d]))
            for d, start in zip(order, starts, strict=True)
        }
        yield ",".join(f"{d}={s.start}:{s.stop}" for d, s in where.items()), where


def _write(ds: xr.Dataset, partial: Path, where: dict[Hashable, slice]) -> None:
    """Compute and store one region of every lazy variable in one go; values go as they are."""
    import dask.array as da
    import zarr

    group = zarr.open_group(partial, mode="r+")
    sources, targets, slices = [], [], []
    for name, variable in ds.variables.items():
        if variable.chunks is None:
            continue
        if any(s.start > 0 for d, s in where.items() if d not in variable.dims):
            continue  # an array without time is written with the first date
        part = tuple(where.get(d, slice(None)) for d in variable.dims)
        sources.append(variable.data[part])
        targets.append(group[str(name)])
        slices.append(part)
    if sources:
        da.store(sources, targets, regions=slices, lock=False, compute=True)


def _publish(partial: Path, target: Path) -> None:
    """Give the complete store its name."""
    old = target.with_name(target.name + ".replaced")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    (target / LEDGER).unlink()
    if old.exists():
        shutil.rmtree(old)

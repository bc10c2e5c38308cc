"""Open a store, with helpful errors for unfinished or damaged ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from numpy.typing import NDArray

from xcloudfree.exceptions import DataError
from xcloudfree.io.layout import FILES, count_files, order_of
from xcloudfree.io.levels import data_folder
from xcloudfree.io.lifecycle import is_store, local_path
from xcloudfree.io.storable import restore

_DAMAGE: Final = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
"""Errors that readers raise for damaged files."""


def open_zarr(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a store written by :func:`to_zarr`: lazily, with stored numbers and attributes.

    Integers stay integers with their `scale_factor`; other readers decode them to reflectance.

    Parameters
    ----------
    path : str or path-like
        Local folder.

    Returns
    -------
    xarray.Dataset
        Dask blocks are shards. Of a store with overviews, the full resolution.

    Raises
    ------
    DataError
        If there is no store, only an unfinished one, or one that is damaged or lacks files. At
        compute: if a file is damaged.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from xcloudfree.io import to_zarr
    >>> ds = xr.Dataset({"B02": (("y", "x"), np.ones((6, 4), "float32"))}).chunk(y=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = to_zarr(ds, folder + "/out.zarr", progress=False)
    ...     dict(open_zarr(folder + "/out.zarr").sizes)
    {'y': 6, 'x': 4}
    """
    target = local_path(path)
    if not is_store(target):
        if is_store(target.with_name(target.name + ".partial")):
            raise DataError(
                f"The write of {target} was interrupted",
                fix="finish it by calling again with the same object: xcf.io.to_zarr(obj, "
                f"{str(target)!r})",
                option="repeat the command that writes it",
            )
        raise DataError(
            f"There is no Zarr store at {target}",
            fix=f"call xcf.io.to_zarr(obj, {str(target)!r})",
            option="name an existing store",
        )
    if target.suffix == ".partial":
        raise DataError(
            f"{target} is an unfinished write",
            fix="finish it by calling again with the same object: xcf.io.to_zarr(obj, "
            f"{str(target.with_suffix(''))!r})",
            option="repeat the command that writes it",
        )
    try:
        return opened(data_folder(target))
    except DataError:
        raise
    except _DAMAGE as error:
        raise _damaged(target, str(target), error) from error


def _damaged(path: Path, what: str, error: Exception) -> DataError:
    """The error for a store that cannot be read."""
    return DataError(
        f"{what} is damaged ({type(error).__name__}: {error})",
        fix=f"copy the store again, or write it again: xcf.io.to_zarr(obj, {str(path)!r}, "
        "mode='overwrite')",
        option="copy the store again, or write it again",
    )


class ShardReader:
    """A variable of a store as read by dask, with a helpful error if a file is damaged."""

    def __init__(self, array: xr.Variable, path: Path, name: str) -> None:
        self.array, self.path, self.name = array, path, name  # the array is lazy
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Values of a part."""
        try:
            return np.asarray(self.array[index].values)
        except _DAMAGE as error:
            raise _damaged(self.path, f"{self.name} of {self.path}", error) from error


def opened(target: Path) -> xr.Dataset:
    """The group with one dask block per shard, and the variables in their original order."""
    raw = xr.open_dataset(
        target, engine="zarr", mask_and_scale=False, chunks=None, cache=False,
        backend_kwargs={"consolidated": bool(order_of(target))},
    )  # fmt: skip
    _check_complete(target, raw.attrs.pop(FILES, {}))
    names = dict.fromkeys([*order_of(target), *sorted(raw.variables, key=str)])
    token = (target / "zarr.json").stat().st_mtime_ns if (target / "zarr.json").is_file() else 0
    variables = {}
    for name in (name for name in names if name in raw.variables):
        variable = raw.variables[name]
        if variable.ndim and name not in raw.indexes:
            reader = ShardReader(variable, target, str(name))
            encoding = variable.encoding
            blocks = encoding.get("shards") or encoding.get("chunks") or variable.shape
            key = f"open_zarr-{name}-{tokenize(str(target), str(name), token)}"
            data = da.from_array(
                reader, blocks, key, meta=np.empty((0,) * variable.ndim, reader.dtype)
            )
            variable = xr.Variable(variable.dims, data, variable.attrs, encoding)
        variables[name] = variable
    return restore(xr.Dataset(variables, attrs=raw.attrs).set_coords(list(raw.coords)))


def _check_complete(target: Path, files: dict[str, int]) -> None:
    """Raise an error for a store that lacks files, whose blocks would read as no data."""
    for name, count in files.items():
        found = count_files(target, name)
        if found < count:
            raise DataError(
                f"{target} is not complete: {count - found} of {count} files of {name} are missing",
                fix="copy the store again, or write it again: xcf.io.to_zarr(obj, "
                f"{str(target)!r}, mode='overwrite')",
                option="copy the store again, or write it again",
            )

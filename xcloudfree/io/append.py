"""Append new dates to a finished store: compute what they change, and keep the rest."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree.core.times import utc_times
from xcloudfree.exceptions import DataError, GridError
from xcloudfree.io.cells import Grid, Index, Piece, grid_of, pieces
from xcloudfree.io.encoding import OFFSETS, Encoding, encode_reflectance
from xcloudfree.io.layout import is_image, same_layout
from xcloudfree.io.levels import has_levels
from xcloudfree.io.lifecycle import local_path, recover
from xcloudfree.io.opening import open_zarr
from xcloudfree.io.passport import passport_of
from xcloudfree.io.storable import made, regular_chunks, storable, summary
from xcloudfree.io.zarr_store import (
    Spatial,
    Writer,
    bytes_of,
    dataset_of,
    finished,
    identity_of,
)

ALONE: Final = ("own", "earlier")
"""Values of the attribute ``dates_read`` with which a later date changes no earlier one."""

COMPARED: Final = 2
"""Earliest and latest kept blocks, of each of which the values are compared."""


def append(
    obj: Spatial,
    path: str | os.PathLike[str],
    *,
    memory: int | str = "256 MiB",
    progress: bool | None = None,
) -> Any:
    """Append the new dates of an object to a finished store.

    `obj` is what you would write from the start: the reconstruction of all dates, old and new.
    The result is the same, but dates that cannot have changed are taken from the store. The
    attribute ``dates_read`` of ``provenance`` decides which those are:

    * ``"own"``: a date depends on itself alone, as with ``idw`` or a network of one date, and a
      mask of single dates. Only the new dates are computed. `obj` may then consist of them alone.
    * ``"earlier"``: a date depends on itself and earlier ones (``last-clear``). Only the new dates
      are computed, from the whole series.
    * ``"all"``, or no such attribute: everything is computed again. All other temporal methods
      are of this kind. Statistics of the scene (regressions, offsets, the prior of
      ``kernel-fusion``) contain every date. Methods without them look for the nearest clear date
      of a pixel, which may be the new one at any distance in time. Masks that compare dates
      (``"series"``, ``"auto"``), masks passed as arrays, intervals, quality flags and ages also
      depend on all dates.

    In every case the values are bit for bit those of ``to_zarr`` with all dates, because sums
    and factorisations are never updated, but kept or computed from the start.

    The blocks go to ``<path>.partial``, where kept ones are hard links (copies, if the file system
    has no links). Until it is complete, the store at `path` keeps its old dates. After any
    interruption, the same call resumes.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataArray
        Object with a `time` coordinate in ascending order, with the variables, bands, types, grid,
        model and parameters of the store. It takes over the blocks, chunks and encoding of the
        store. Dates that the store has must be there unless ``dates_read`` is "own".
    path : str or path-like
        Finished store, written by :func:`to_zarr` or by this function.
    memory : int or str
        Input that each worker may keep for neighbouring blocks, as for :func:`to_zarr`.
    progress : bool, optional
        Whether to show a progress bar; by default in a terminal or notebook only.

    Returns
    -------
    xarray.Dataset or xarray.DataArray
        The store with all dates, opened lazily, in the form of the input. Without new dates the
        store is returned unchanged.

    Raises
    ------
    DataError
        If there is no finished store, or it contains other variables, items, models or parameters;
        if new dates lie before its last one, or old ones are missing; if kept values differ from
        those of `obj` in the compared blocks (the first and the last of the first and the last
        kept date); or for the reasons of :func:`to_zarr`.
    GridError
        If the object is on another grid.

    Warns
    -----
    UserWarning
        If kept dates were written by another version of this library.

    Examples
    --------
    >>> import tempfile
    >>> from xcloudfree.io import to_zarr
    >>> days = np.array(["2025-06-01", "2025-06-06", "2025-06-11"], "datetime64[ns]")
    >>> values = np.ones((3, 6, 4), "float32")
    >>> ds = xr.Dataset({"B02": (("time", "y", "x"), values)}, {"time": days}).chunk(time=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = to_zarr(ds.isel(time=slice(2)), folder + "/out.zarr", progress=False)
    ...     append(ds, folder + "/out.zarr", progress=False).sizes["time"]
    3
    """
    ds, name = dataset_of(obj, "append")
    most = bytes_of(memory, "append")
    target = local_path(path)
    recover(target)
    store = open_zarr(target)
    encoding = _encoding_of(store, ds)
    if encoding is not None:
        ds = encode_reflectance(ds, encoding, "append")
    _check_form(store, ds, target)
    kept, ds = _kept(store, storable(ds.assign_attrs(summary(ds))), target)
    ds = _blocks_of(store, ds)
    side = _side_of(store, target)
    if ds.sizes["time"] > store.sizes["time"]:
        multiscales = has_levels(target)
        mine = identity_of(ds, side, multiscales, kept=kept)
        writer = Writer(target, side, most, progress, _Keep(target, kept))
        writer.write(ds, mine, multiscales=multiscales)
    return finished(obj, target, name, encoding, side)


@dataclass(frozen=True)
class _Keep:
    """Links the files of cells with old dates alone."""

    target: Path
    count: int  # of dates to keep

    def __call__(self, ds: xr.Dataset, partial: Path, group: str) -> set[str]:
        """The keys of these cells; none if the files are not alike."""
        grid = grid_of(ds)
        parts = pieces(ds, grid)
        cells = _whole_cells(grid, parts, self.count)
        old, new = self.target / group, partial / group
        if not cells or not all(same_layout(old, new, part.name) for part in parts):
            return set()
        _link(old, new, parts, cells)
        return {grid.key(index) for index in cells}


# ------------------------------------------------------------------ what may be appended


def _encoding_of(store: xr.Dataset, ds: xr.Dataset) -> Encoding | None:
    """The encoding in which the store holds floating-point reflectance of the object."""
    for name in set(store.data_vars) & set(ds.data_vars):
        stored, array = store[name], ds[name]
        if array.dtype.kind == "f" and stored.dtype.name in OFFSETS:
            return "int16" if stored.dtype.name == "int16" else "uint16"
    return None


def _check_form(store: xr.Dataset, ds: xr.Dataset, target: Path) -> None:
    """Raise an error for other variables, types or another grid."""
    again = f"write a store of its own: xcf.io.to_zarr(obj, {_beside(target)!r})"
    for one, what in ((ds, "The object"), (store, str(target))):
        if "time" not in one.coords or not one.sizes.get("time"):
            raise DataError(f"{what} has no dates to append to or from", fix=again)
    names = set(store.variables) ^ set(ds.variables)
    if names:
        lists = [
            f"{who} lacks {', '.join(sorted(map(str, names - set(one.variables))))}"
            for who, one in (("the object", ds), (target.name, store))
            if names - set(one.variables)
        ]
        raise DataError(
            f"The variables differ: {'; '.join(lists)}",
            fix=f"select those of the store, or {again}",
        )
    for name in store.variables:
        old, new = store.variables[name], ds.variables[name]
        kinds = [v.dtype.kind if v.dtype.kind in "UTO" else v.dtype for v in (old, new)]
        text = all(kind in ("U", "T", "O") for kind in kinds if isinstance(kind, str))
        if old.dims != new.dims or (kinds[0] != kinds[1] and not (text and old.dtype.kind == "U")):
            if {old.dtype.kind, new.dtype.kind} <= set("Mm") and old.dims == new.dims:
                continue
            raise DataError(
                f"{name} is {new.dims} of {new.dtype}, and in {target.name} {old.dims} of "
                f"{old.dtype}",
                fix=again,
            )
        if "time" in old.dims or name not in store.coords:
            continue
        if old.shape != new.shape or not _equal(old.values, new.values):
            raise GridError(f"The coordinate {name} differs from that of {target.name}", fix=again)
        if old.attrs.get("crs_wkt") != new.attrs.get("crs_wkt"):
            raise GridError(f"{target.name} has another coordinate reference system", fix=again)


def _kept(store: xr.Dataset, ds: xr.Dataset, target: Path) -> tuple[int, xr.Dataset]:
    """Number of dates to keep, and the object with all dates."""
    anew = f"write all dates from the start: xcf.io.to_zarr(obj, {str(target)!r}, mode='overwrite')"
    was, now = made(store), made(ds)
    before, after = utc_times(store["time"]), utc_times(ds["time"])
    _check_making(was, now, target)
    if (np.diff(after) <= np.timedelta64(0)).any():
        raise DataError(
            "The dates of the object are not in ascending order, each once",
            fix="sort them, and join images of one pass: xcf.join_passes(obj)",
        )
    reads = now.get("dates_read", "all")
    same = all(was.get(key) == now.get(key) for key in ("mask", "blend", "precision"))
    count = len(before) if reads in ALONE and same else 0
    if after[0] > before[-1] and reads == "own" and same:
        return count, _joined(store, ds)
    missing = before[~np.isin(before, after)]
    if len(missing):
        why = f"with dates_read {reads!r} its values depend on them"
        fix = "reconstruct all dates together, old and new: "
        fix += f"xcf.io.append(ds.cloudfree.reconstruct(...), {str(target)!r})"
        if reads == "own" and same and after[-1] > before[-1]:
            why, old = "it must have all dates or new ones alone", int((after <= before[-1]).sum())
            fix = f"select those: xcf.io.append(obj.isel(time=slice({old}, None)), {str(target)!r})"
        raise DataError(
            f"The object lacks {len(missing)} of {len(before)} dates of {target.name}, such as "
            f"{_day(missing[0])}; {why}",
            fix=fix,
        )
    inside = after[~np.isin(after, before) & (after < before[-1])]
    if len(inside):
        raise DataError(
            f"{_day(inside[0])} lies before {_day(before[-1])}, the last date of {target.name}",
            fix=anew,
        )
    items = [np.ravel(d["item_id"].values)[: len(before)].tolist() for d in (store, ds)
             if "item_id" in d.coords and d["item_id"].dims == ("time",)]  # fmt: skip
    if len(items) == 2 and items[0] != items[1]:
        first = next(n for n, (a, b) in enumerate(zip(*items, strict=True)) if a != b)
        raise DataError(
            f"{_day(before[first])} was made from {items[0][first]}, and now from "
            f"{items[1][first]}",
            fix=anew,
        )
    if count:
        version = was.get("xcloudfree_version")
        if version != now.get("xcloudfree_version"):
            warnings.warn(
                f"The {count} kept dates of {target.name} were written by xcloudfree {version}; to "
                f"compute them again, {anew}",
                stacklevel=3,
            )
        _compare(store, ds, count, target, anew)
    return count, ds


def _joined(store: xr.Dataset, ds: xr.Dataset) -> xr.Dataset:
    """The dates of the store and those of the object; attributes that differ are left out."""
    both = [storable(store), ds]
    for one in both:
        for key in made(one):  # of these dates; the summary below is of all
            one.attrs.pop(key, None)
        one["time"].encoding = {}  # units of the first dates may round those of the others
    out = xr.concat(
        both, "time", data_vars="minimal", coords="minimal", compat="override", join="exact",
        combine_attrs="drop_conflicts",
    )  # fmt: skip
    return storable(out.assign_attrs(summary(out)))


def _check_making(was: dict[str, Any], now: dict[str, Any], target: Path) -> None:
    """Raise an error if another model or other parameters made the store."""
    differing = []
    for key in ("model", "model_digest", "parameters"):
        old, new = was.get(key), now.get(key)
        if key == "parameters" and old and new:
            old, new = json.loads(old), json.loads(new)
            names = sorted(k for k in {*old, *new} if old.get(k) != new.get(k) and k != "times")
            differing += [f"{k} is {new.get(k)!r}, was {old.get(k)!r}" for k in names]
        elif old != new:
            differing.append(f"{key} is {new!r}, was {old!r}")
    if differing:
        raise DataError(
            f"{target.name} was made in another way ({'; '.join(differing)})",
            fix="reconstruct with what it was made with, or write a store of its own: "
            f"xcf.io.to_zarr(obj, {_beside(target)!r})",
        )


def _compare(store: xr.Dataset, ds: xr.Dataset, count: int, target: Path, anew: str) -> None:
    """Compute a few blocks of dates to keep, and raise an error if the store has other values."""
    sizes = {d: max(c) for d, c in store.chunksizes.items() if d != "time" and d in ds.dims}
    names = [n for n, v in ds.variables.items() if is_image(v) and "time" in v.dims]
    corners = {d: sorted({0, (ds.sizes[d] - 1) // s * s}) for d, s in sizes.items()}
    diagonal = zip(*([c[0], c[-1]] for c in corners.values()), strict=True)
    places = list(dict.fromkeys(diagonal))[:COMPARED]
    for date in sorted({0, count - 1}):
        for place in places:
            area: dict[Hashable, Any] = {
                d: slice(start, start + sizes[d]) for d, start in zip(corners, place, strict=True)
            }
            area["time"] = slice(date, date + 1)
            there, here = (
                xr.Dataset({n: d[n].variable.isel(area, missing_dims="ignore") for n in names})
                for d in (store, ds)
            )
            there, here = there.compute(), here.compute()
            for name in names:
                if not _equal(there[name].values, here[name].values):
                    raise DataError(
                        f"{name} of {_day(utc_times(store['time'])[date])} has other values in "
                        f"{target.name} than in the object",
                        fix=anew,
                    )


# ------------------------------------------------------------------ what is kept


def _blocks_of(store: xr.Dataset, ds: xr.Dataset) -> xr.Dataset:
    """The object in the blocks of the store, lazy where the store is."""
    new: dict[Hashable, xr.Variable] = {}
    for name, variable in ds.variables.items():
        blocks = store.variables[name].chunks
        if blocks is None or not (is_image(variable) or variable.chunks is not None):
            continue
        sizes = dict(zip(variable.dims, (max(1, *c) for c in blocks), strict=True))
        new[name] = variable.chunk(sizes)
        new[name].encoding = dict(variable.encoding)
    return regular_chunks(ds.assign(new))


def _side_of(store: xr.Dataset, target: Path) -> int:
    """Side of the chunks inside a block: as the passport says, or else as they are."""
    try:
        item = json.loads(passport_of(target).read_text(encoding="utf-8"))
        return int(item["properties"]["xcloudfree:written"]["chunks"])
    except (OSError, ValueError, KeyError, TypeError):
        images = [v for v in store.variables.values() if is_image(v) and v.encoding.get("chunks")]
        return int(max((max(v.encoding["chunks"][-2:]) for v in images), default=512))


def _whole_cells(grid: Grid, parts: tuple[Piece, ...], kept: int) -> list[Index]:
    """Cells with dates to keep alone."""
    if not kept or "time" not in grid.dims:
        return []
    axis = grid.dims.index("time")
    # arrays without time may come from all dates; they belong to the first cells
    first = int(any(axis not in part.axes for part in parts))
    last = kept // grid.steps[axis]
    counts = (range(first, last) if k == axis else range(n) for k, n in enumerate(grid.counts))
    return list(product(*counts))


def _link(target: Path, partial: Path, parts: tuple[Piece, ...], cells: list[Index]) -> None:
    """Put the files of some cells into the unfinished store too."""
    for part in parts:
        for index in cells:
            for block in part.blocks(index):
                inner = Path(part.name, "c", *map(str, block))
                source, copy = target / inner, partial / inner
                if copy.exists() or not source.exists():
                    continue  # a block without any data has no file
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, copy)
                except OSError:  # a file system without links
                    whole = copy.with_name(copy.name + ".partial")
                    shutil.copy2(source, whole)
                    whole.replace(copy)


def _equal(old: Any, new: Any) -> bool:
    """Whether two arrays have the same values; NaN equals NaN."""
    nan = old.dtype.kind == "f" and new.dtype.kind == "f"
    return bool(np.array_equal(old, new, equal_nan=nan))


def _day(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="s"))


def _beside(target: Path) -> str:
    """A name for another store."""
    return str(target.with_name(target.stem + "-new.zarr"))

"""Parts of a series to fit on and to judge by, which share no image of any pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError


def split_series(
    series: xr.Dataset,
    *,
    before: Any = None,
    dates: Sequence[Any] | None = None,
    rows: slice | None = None,
    columns: slice | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Divide a series into a part to fit on and a part that is held out.

    Fitting sees nothing of what is held out: dates that are held out are neither asked for, nor
    neighbours of those that are, nor examples of the area's regression. What is held out may well
    be reconstructed later from all dates of the series: the past is known when a later date is to
    be judged, and only what is hidden of that date must be unknown.

    Parameters
    ----------
    series : Dataset
        Series in any accepted form, lazy or in memory.
    before : date, optional
        Fit on dates before this one, hold out the others.
    dates : sequence of dates, optional
        Hold out these.
    rows, columns : slice, optional
        Hold out this block of whole rows or columns at a border of the scene.

    Returns
    -------
    tuple of Dataset
        What to fit on, and what is held out.

    Raises
    ------
    DataError
        If not exactly one way to split is given, or one part would be empty.

    Examples
    --------
    >>> times = np.array(["2025-06-01", "2025-06-07", "2025-07-11"], "datetime64[ns]")
    >>> ds = xr.Dataset({"B04": (("time", "y", "x"), np.zeros((3, 8, 8)))}, coords={"time": times})
    >>> [part.sizes["time"] for part in split_series(ds, before="2025-07-01")]
    [2, 1]
    >>> [part.sizes["y"] for part in split_series(ds, rows=slice(6, 8))]
    [6, 2]
    """
    ways = {"before": before, "dates": dates, "rows": rows, "columns": columns}
    chosen = [name for name, value in ways.items() if value is not None]
    if len(chosen) != 1:
        raise DataError(
            f"a series is split in one way and this call has {chosen or 'none'}; call "
            "split_series(ds, before='2025-07-01'), or with dates=, rows= or columns="
        )
    if before is not None or dates is not None:
        times = series["time"].values
        try:
            if before is not None:
                held = times >= np.datetime64(before)
            else:
                held = np.isin(times, np.asarray(dates, times.dtype))
        except ValueError as error:
            raise DataError(
                f"{chosen[0]}={ways[chosen[0]]!r} is no date ({error}); call "
                "split_series(ds, before='2025-07-01')"
            ) from error
        parts = series.isel(time=~held), series.isel(time=held)
    else:
        parts = _cut(series, rows, columns)
    if min(part.sizes[d] for part in parts for d in part.dims) == 0:
        raise DataError(
            f"splitting by {chosen[0]}={ways[chosen[0]]!r} leaves one part empty; choose it inside "
            "the series, such as split_series(ds, before=ds.time.values[len(ds.time) // 2])"
        )
    return parts


def check_apart(fitted: xr.Dataset, judged: xr.Dataset) -> None:
    """Refuse series that share an image of a pixel."""
    scenes = [read(part) for part in (fitted, judged)]
    shared = 1
    for dims in (("time", "time"), *zip(*(s.spatial for s in scenes), strict=True)):
        found = []
        for scene, dim in zip(scenes, dims, strict=True):
            coords = scene.template().coords
            if dim not in coords:
                raise DataError(
                    f"there is no coordinate {dim!r} by which to tell whether the parts overlap; "
                    f"set it with ds.assign_coords({dim}=...)"
                )
            found.append(coords[dim].values)
        shared = min(shared, np.intersect1d(*found).size)
    if shared:
        raise DataError(
            "what to fit on and what to judge by share images of the same pixels; divide them with "
            "xcloudfree.train.splits.split_series(ds, before=...)"
        )


def _cut(
    series: xr.Dataset, rows: slice | None, columns: slice | None
) -> tuple[xr.Dataset, xr.Dataset]:
    scene = read(series)
    axis, block = (0, rows) if rows is not None else (1, columns)
    assert block is not None
    dim, size = scene.spatial[axis], scene.shape[axis]
    start, stop, step = block.indices(size)
    if step != 1 or (start > 0 and stop < size):
        raise DataError(
            f"{block} does not touch a border of the {size} pixels along {dim!r}; hold out a block "
            f"at one, such as slice({size - size // 4}, {size})"
        )
    rest = slice(0, start) if stop == size else slice(stop, size)
    return series.isel({dim: rest}), series.isel({dim: slice(start, stop)})

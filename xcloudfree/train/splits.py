"""Training, validation and test without leakage: whole regions, or dates in order."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.recognise import read
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError

OFFICIAL: dict[str, dict[str, tuple[int, ...]]] = {
    "test": {
        "spring": (31, 44, 106, 123, 140),
        "summer": (73, 119),
        "fall": (139,),
        "winter": (63, 108),
    },
    "validation": {
        "spring": (17,),
        "summer": (17, 19, 80, 127),
        "fall": (65,),
        "winter": (22, 84, 107, 130),
    },
}
"""Hold-out regions of SEN12MS-CR by season; all others are for fitting."""


class Split(NamedTuple):
    """Three parts of a dataset; a part is empty if its share is 0.

    Parameters
    ----------
    train, validation, test : Dataset
        Data to fit on, to choose with, and to test on.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"patch": range(3), "region": ("patch", list("abc"))})
    >>> Split(ds, ds, ds).test.sizes["patch"]
    3
    """

    train: xr.Dataset
    validation: xr.Dataset
    test: xr.Dataset


def split(
    ds: xr.Dataset,
    by: Literal["region", "date", "paper", "official"] = "region",
    *,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Split:
    """Split into training, validation and test without shared regions or dates.

    Parameters
    ----------
    ds : Dataset
        Patches with a coordinate ``region`` along their dimension, or ``season`` and ``roi`` as
        returned by :func:`xcloudfree.datasets.sen12mscr`; or a series with ``time``.
    by : {"region", "date", "paper", "official"}
        Whole regions at random; dates in order, the latest for the test; whole regions 80/10/10 as
        in the paper, which averages three seeds; or the customary hold-out regions of SEN12MS-CR.
    shares : tuple of float
        Shares of patches or dates, for "region" and "date"; they add up to 1.
    seed : int
        Seed of the draw, for "region" and "paper".

    Returns
    -------
    Split
        Named tuple ``train``, ``validation``, ``test``.

    Raises
    ------
    DataError
        If regions or dates are unknown, or fewer than the parts.

    References
    ----------
    Cloud-Aware SAR Fusion for Enhanced Optical Sensing in Space Missions, section IV; Ebel et al.
    (2023), UnCRtainTS, CVPR Workshops, for the hold-out regions.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"patch": range(5), "region": ("patch", list("aabbc"))})
    >>> [sorted(set(part.region.values.tolist())) for part in split(ds, seed=1)]
    [['a'], ['b'], ['c']]
    """
    if by == "paper":
        by, shares = "region", (0.8, 0.1, 0.1)
    if by not in ("region", "date", "official"):
        ways = ("region", "date", "official", "paper")
        raise DataError(
            f"unknown split {by!r}{did_you_mean(by, ways)}",
            fix=f"call split(ds, by='region'), or with another of {ways}",
        )
    if min(shares) < 0 or not np.isclose(sum(shares), 1):
        raise DataError(f"shares are {shares}", fix="call split(ds, shares=(0.8, 0.1, 0.1))")
    if by == "date":
        if "time" not in ds.dims:
            raise DataError("there is no dimension 'time'", fix="call split(ds, by='region')")
        dates = ds.time.values.astype("datetime64[D]")
        return _parts(ds, "time", dates, _allotted(np.unique(dates), dates, shares))
    labels, dim = regions(ds, by)
    if by == "region":
        order = np.random.default_rng(seed).permutation(np.unique(labels))
        return _parts(ds, dim, labels, _allotted(order, labels, shares))
    official = {
        f"{season} {roi}": part
        for part, seasons in OFFICIAL.items()
        for season, rois in seasons.items()
        for roi in rois
    }
    return _parts(ds, dim, labels, {label: official.get(label, "train") for label in labels})


def check_apart(one: xr.Dataset, other: xr.Dataset) -> None:
    """Raise an error for two datasets that show the same ground, unless on different days.

    Series are compared pixel by pixel and day by day, patches by region or name, scenes by their
    outlines. If nothing can be compared, there is a warning.

    Parameters
    ----------
    one, other : Dataset
        Data to fit on, and data to validate or test on.

    Raises
    ------
    DataError
        If they overlap.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"patch": ["p1", "p2"]})
    >>> check_apart(ds, ds.isel(patch=[1]))
    Traceback (most recent call last):
    ...
    xcloudfree.exceptions.DataError: training and held-out data share ground (p2); ...
    """
    if "time" in one.dims and "time" in other.dims:
        _check_series_apart(one, other)
        return
    shared = _shared_ground(one, other)
    if shared is None:
        warnings.warn(
            "it is unknown whether training and held-out data share ground; name the regions "
            "with ds.assign_coords(region=('patch', [...]))",
            UserWarning,
            stacklevel=2,
        )
    elif shared:
        raise DataError(
            f"training and held-out data share ground ({', '.join(shared[:5])})",
            fix="split them with xcloudfree.train.split(ds, by='region')",
        )


def regions(ds: xr.Dataset, by: str = "region") -> tuple[NDArray[np.str_], str]:
    """Region of each patch, and the dimension of patches."""
    choices = [("season", "roi")] if by == "official" else [("region",), ("season", "roi")]
    for names in choices:
        if set(names) <= set(ds.coords) and ds[names[0]].ndim == 1:
            columns = [ds[n].values.astype(str) for n in names]
            labels = np.array([" ".join(c) for c in zip(*columns, strict=True)])
            return labels, str(ds[names[0]].dims[0])
    official = "season and roi, as returned by xcloudfree.datasets.sen12mscr"
    raise DataError(
        "no coordinate says which patches share ground",
        fix="give coordinates "
        + (official if by == "official" else "with ds.assign_coords(region=('patch', [...]))"),
        option="leave out --split, or use --validation 0.2",
    )


def _allotted(
    order: NDArray[Any], labels: NDArray[Any], shares: tuple[float, float, float]
) -> dict[Any, str]:
    """Part of each label: one after the other until its share of patches is full."""
    parts = [n for n, share in zip(Split._fields, shares, strict=True) if share > 0]
    if len(order) < len(parts):
        raise DataError(
            f"there are {len(order)} regions or dates but {len(parts)} parts",
            fix="add more, or call split(ds, shares=(1, 0, 0))",
            option="leave out --split, or add more regions",
        )
    sizes = np.array([(labels == label).sum() for label in order])
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    cuts: list[int] = []
    for share in np.cumsum([s for s in shares if s > 0])[:-1]:  # every part gets at least one
        before, left = (cuts or [0])[-1], len(parts) - 1 - len(cuts)
        cuts.append(min(max(int((middle < share).sum()), before + 1), len(order) - left))
    place = np.searchsorted(cuts, np.arange(len(order)), "right")
    return {label: parts[k] for label, k in zip(order, place, strict=True)}


def _parts(ds: xr.Dataset, dim: str, labels: NDArray[Any], part: dict[Any, str]) -> Split:
    where = np.array([part[label] for label in labels])
    return Split(*(ds.isel({dim: np.flatnonzero(where == name)}) for name in Split._fields))


def _shared_ground(one: xr.Dataset, other: xr.Dataset) -> list[str] | None:
    """Ground that both show; None if unknown."""
    try:
        labels = [set(regions(d)[0].tolist()) for d in (one, other)]
        return sorted(labels[0] & labels[1])
    except DataError:
        pass
    if all("patch" in d.coords and d.patch.dtype.kind in "UOST" for d in (one, other)):
        names = [set(d.patch.values.astype(str).tolist()) for d in (one, other)]
        return sorted(names[0] & names[1])
    import odc.geo.xr  # noqa: F401

    boxes = [d.odc.geobox for d in (one, other)]
    if any(b is None or b.crs is None for b in boxes):
        return None
    outline, second = boxes[0].extent, boxes[1].extent.to_crs(boxes[0].crs)
    return ["their outlines"] if outline.intersection(second).area > 0 else []


def split_series(
    series: xr.Dataset,
    *,
    before: Any = None,
    dates: Sequence[Any] | None = None,
    rows: slice | None = None,
    columns: slice | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Divide a series into a part to fit on and a held-out part.

    The fit never uses held-out data: held-out dates are neither predicted, nor neighbours of
    predicted dates, nor examples of the area regression. You may reconstruct held-out data later
    from all dates of the series: when a later date is tested, the past is known,
    and only the hidden pixels of that date must be unknown.

    Parameters
    ----------
    series : Dataset
        Series in any accepted form, lazy or in memory.
    before : date, optional
        Fit on dates before this one, and hold out the others.
    dates : sequence of dates, optional
        Hold out these.
    rows, columns : slice, optional
        Hold out this block of whole rows or columns at a border of the scene.

    Returns
    -------
    tuple of Dataset
        The part to fit on, and the held-out part.

    Raises
    ------
    DataError
        If there is not exactly one way to split, or one part would be empty.

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
            f"a series must be split in one way, but this call has {chosen or 'none'}",
            fix="call split_series(ds, before='2025-07-01'), or with dates=, rows= or columns=",
        )
    if before is not None or dates is not None:
        times = series["time"].values
        try:
            if before is not None:
                held_out = times >= np.datetime64(before)
            else:
                held_out = np.isin(times, np.asarray(dates, times.dtype))
        except ValueError as error:
            raise DataError(
                f"{chosen[0]}={ways[chosen[0]]!r} is not a date ({error})",
                fix="call split_series(ds, before='2025-07-01')",
            ) from error
        parts = series.isel(time=~held_out), series.isel(time=held_out)
    else:
        parts = _cut(series, rows, columns)
    if min(part.sizes[d] for part in parts for d in part.dims) == 0:
        raise DataError(
            f"splitting by {chosen[0]}={ways[chosen[0]]!r} leaves one part empty",
            fix="choose it inside the series, such as split_series(ds, "
            "before=ds.time.values[len(ds.time) // 2])",
        )
    return parts


def _check_series_apart(fitted: xr.Dataset, judged: xr.Dataset) -> None:
    """Raise an error for series that share an image of a pixel."""
    scenes = [read(part) for part in (fitted, judged)]
    shared = 1
    for dims in (("time", "time"), *zip(*(s.spatial for s in scenes), strict=True)):
        coordinates = []
        for scene, dim in zip(scenes, dims, strict=True):
            coords = scene.template().coords
            if dim not in coords:
                raise DataError(
                    f"there is no coordinate {dim!r} to check whether the parts overlap",
                    fix=f"set it with ds.assign_coords({dim}=...)",
                )
            coordinates.append(coords[dim].values)
        shared = min(shared, np.intersect1d(*coordinates).size)
    if shared:
        raise DataError(
            "the parts to fit and to test on share images of the same pixels",
            fix="divide them with xcloudfree.train.split_series(ds, before=...)",
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
            f"{block} does not touch a border of the {size} pixels along {dim!r}",
            fix=f"hold out a block at one, such as slice({size - size // 4}, {size})",
        )
    rest = slice(0, start) if stop == size else slice(stop, size)
    return series.isel({dim: rest}), series.isel({dim: slice(start, stop)})

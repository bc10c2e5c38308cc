"""Cases of a series: clear dates hidden under the clouds of others, lazy, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
import xarray as xr

from xcloudfree.core.recognise import read
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError
from xcloudfree.judge.case import Case
from xcloudfree.masks import masking as masks
from xcloudfree.masks.resolve import Mask

GROUND: Final = (4, 5, 6, 7)
"""Scene classes that show the ground: vegetation, bare, water, unclassified."""

GAPS: Final = (0.0, 15.0, 30.0, 45.0)
"""Days."""

Kind = Literal["partial", "full"]

_CLEAR_BELOW: Final = 0.02
_CLOUD: Final = (0.2, 0.9)
_WHITE: Final = 0.9


def hidden_dates(
    series: xr.Dataset,
    *,
    region: str = "",
    clear: Mask = "scl",
    gaps: Sequence[float] = GAPS,
    kinds: Sequence[Kind] = ("partial",),
    count: int = 22,
    clouds: int = 2,
    seed: int = 0,
) -> Iterator[Case]:
    """Clear dates of a series, hidden under real clouds of other dates of the same series.

    A date is clear if less than 2 % of it shows anything but ground; `count` of them, evenly
    spread, are hidden in turn under the clouds of dates that are 20 to 90 % clouded ("partial"), or
    wholly ("full"). The hidden pixels hold what the sensor saw where the clouds come from. On all
    other dates what is not ground is no data, and dates within the gap are taken away. The
    backscatter stays, at the times for which it was given.

    Parameters
    ----------
    series : Dataset
        In any accepted form, with dates along ``time``; best in memory, since each case is cut from
        it.
    region : str
        Name of the area.
    clear : str, DataArray or callable
        ``"scl"``: ground is what the scene classification calls vegetation, bare, water or
        unclassified. Otherwise what :func:`xcloudfree.masks.mask` does not call occluded.
    gaps : sequence of float
        Days before and after the date without any other date; 0 takes away none.
    kinds : sequence of {"partial", "full"}
        How much is hidden.
    count : int
        Dates to hide at most.
    clouds : int
        Clouds under which each date is hidden, for "partial".
    seed : int
        Of the choice of clouds, which is the same for all gaps.

    Yields
    ------
    Case
        Gap by gap.

    Raises
    ------
    DataError
        If the series has no time, no clear date, or no cloud to hide one under, or if it is a
        reconstruction.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> cover = [0, 0.6, 0, 0.6, 0]
    >>> series = xcf.datasets.simulate_scene((64, 64), dates=5, cover=cover, level="BOA")
    >>> cases = list(hidden_dates(series, clear="l2a", gaps=(0, 7), clouds=1))
    >>> sorted({case.gap for case in cases})
    [0.0, 7.0]
    """
    scene = read(series)
    if "provenance" in series:
        raise DataError(
            "the series was reconstructed, and what is guessed in it is no truth; call "
            "hidden_dates() with the series as it was observed"
        )
    if scene.lead != ("time",) or "time" not in series.coords:
        raise DataError(
            "hidden_dates hides dates of a series; give a Dataset whose only dimension besides "
            f"{scene.spatial} is time, for example with ds.isel(patch=0)"
        )
    ground = _ground(series, scene, clear)
    days = series.time.values
    tasks = list(_chosen(ground, count, clouds, seed, kinds))
    bare = series.drop_vars([] if scene.classes is None else [str(scene.classes.name)])
    stack = scene.reflectance().compute()
    for gap in gaps:
        for date, cloud in tasks:
            distance = np.abs(days - days[date]) / np.timedelta64(1, "D")
            keep = np.flatnonzero((distance > gap) | (np.arange(len(days)) == date))
            cover = np.ones_like(ground[date]) if cloud is None else ~ground[cloud]
            hidden = cover & ground[date]
            place = int(np.flatnonzero(keep == date)[0])
            here = np.zeros((len(keep), *hidden.shape), bool)
            here[place] = hidden
            values = stack.values[keep]
            values[np.broadcast_to(~ground[keep][:, None], values.shape)] = np.nan
            values[place][:, hidden] = _seen(stack.values, cloud)[:, hidden]
            day = str(days[date].astype("datetime64[D]"))
            under = "full" if cloud is None else str(days[cloud].astype("datetime64[D]"))
            dims = ("time", *scene.spatial)
            yield Case(
                name=f"{region} {day} under {under}, gap {gap:g}".strip(),
                data=_with(bare.isel(time=keep), scene, values),
                hidden=xr.DataArray(here, {"time": days[keep]}, dims),
                truth=_with(
                    bare.isel(time=[date]), scene, stack.values[[date]], (dims, ground[[date]])
                ).isel(time=0, drop=True),
                region=region,
                date=days[date],
                gap=float(gap),
                protocol="hidden-dates",
                kind="full" if cloud is None else "partial",
            )


def _ground(series: xr.Dataset, scene: Any, clear: Mask) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Pixels that show the ground, (time, y, x)."""
    valid = scene.reflectance().notnull().all("band")
    if isinstance(clear, str) and clear == "scl":
        if scene.classes is None:
            raise DataError(
                "the series has no scene classification; call hidden_dates(series, clear='l2a') "
                "or with another mask"
            )
        ground = scene.classes.isin(GROUND)
    else:
        ground = valid & ~masks.mask(series, clear)
    out: np.ndarray[Any, np.dtype[np.bool_]]
    out = ground.transpose("time", *scene.spatial).values
    return out


def _chosen(
    ground: np.ndarray[Any, np.dtype[np.bool_]],
    count: int,
    clouds: int,
    seed: int,
    kinds: Sequence[Kind],
) -> Iterator[tuple[int, int | None]]:
    """(date, date of its cloud or None)."""
    share = 1 - ground.mean((1, 2))
    clear = np.flatnonzero(share < _CLEAR_BELOW)
    cloudy = np.flatnonzero((share >= _CLOUD[0]) & (share <= _CLOUD[1]))
    if wrong := [kind for kind in kinds if kind not in get_args(Kind)]:
        raise DataError(
            f"there is no kind {wrong[0]!r}{did_you_mean(wrong[0], get_args(Kind))}; call "
            "hidden_dates(..., kinds=['partial', 'full']), or with one of them"
        )
    if not len(clear):
        raise DataError(
            f"the series has no date of which less than {_CLEAR_BELOW:.0%} is clouded, and such "
            "dates are hidden; load a longer one, or call hidden_dates(..., clear=...) with "
            "another mask"
        )
    if "partial" in kinds and len(cloudy) < clouds + 1:
        raise DataError(
            f"the series has {len(clear)} clear dates and {len(cloudy)} with clouds to hide one "
            "under; load a longer one, or call hidden_dates(..., clouds=1) or kinds=['full']"
        )
    dates = clear[np.unique(np.linspace(0, len(clear) - 1, count).round().astype(int))]
    if "partial" in kinds:
        rng = np.random.default_rng(seed)
        for date in dates:
            for cloud in rng.choice(cloudy[cloudy != date], clouds, replace=False):
                yield int(date), int(cloud)
    if "full" in kinds:
        yield from ((int(date), None) for date in dates)


def _seen(
    stack: np.ndarray[Any, np.dtype[np.float32]], cloud: int | None
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the sensor saw under the cloud, white where that is not known, (band, y, x)."""
    white = np.full(stack.shape[1:], _WHITE, np.float32)
    if cloud is None:
        return white
    known = np.isfinite(stack[cloud]).all(0)
    return np.where(known, stack[cloud], white)


def _with(
    bare: xr.Dataset, scene: Any, values: Any, where: tuple[Any, Any] | None = None
) -> xr.Dataset:
    """The Dataset with other reflectance (time, band, y, x), and, for a truth, nothing else."""
    attrs = {"units": "1"} | ({"processing_level": scene.level} if scene.level else {})
    if where is not None:
        values = np.where(where[1][:, None], values, np.float32(np.nan))
    new = {}
    if scene.form == "bands":
        for index, name in enumerate(scene.optical.variables):
            new[name] = xr.Variable(("time", *scene.spatial), values[:, index].copy(), attrs)
    else:
        name = scene.optical.variables[0]
        new[name] = xr.Variable(("time", "band", *scene.spatial), values, attrs)
    out = bare.assign(new)
    return out if where is None else out[list(new)]

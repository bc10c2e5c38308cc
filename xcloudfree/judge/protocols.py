"""Cases of a series: clear dates hidden under the clouds of others, lazily, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.passes import day_numbers, in_utc, join_passes, one_each_pass, same_pass
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.core.spelling import did_you_mean
from xcloudfree.exceptions import DataError
from xcloudfree.judge.case import Case
from xcloudfree.masks import masking as masks
from xcloudfree.masks.resolve import Mask
from xcloudfree.masks.scores import check_classes, dilate

GROUND: Final = (4, 5, 6, 7)
"""Scene classes that show the ground: vegetation, bare, water, unclassified."""

GAPS: Final = (0.0, 15.0, 30.0, 45.0)
"""Days."""

Kind = Literal["partial", "full"]
Visible = Literal["clean", "realistic"]

_CLEAR_BELOW: Final = 0.02  # share of a clear date that may show anything but ground
_CLOUD: Final = (0.2, 0.9)  # the same share of a cloudy date; above it is overcast
_WHITE: Final = 0.9  # reflectance of cloud that comes from no date

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float32]


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
    visible: Visible = "clean",
    rim: int = 3,
) -> Iterator[Case]:
    """Hide clear dates of a series under real clouds of other dates of the same series.

    A date is clear if less than 2 % of it shows anything but ground. `count` of these dates, evenly
    spread, are hidden in turn, under the clouds of dates that are 20 to 90 % cloudy ("partial"), or
    wholly ("full"). Hidden pixels contain the cloudy values of the other date. On all
    other dates, everything but ground becomes no data, and dates within the gap are withheld. The
    backscatter is kept, at its original times.

    A satellite pass may come as several images (tiles, processing baselines), which are joined
    first, as in :func:`xcloudfree.join_passes`. If `clear` is an array, they are kept, and all
    images within half a day of a hidden date are withheld with it, since they show the truth.

    Parameters
    ----------
    series : Dataset
        In any accepted form, with dates along ``time``; best in memory, since each case is cut from
        it.
    region : str
        Name of the area.
    clear : str, DataArray or callable
        ``"scl"``: vegetation, bare soil, water and unclassified of the scene classification are
        ground. Otherwise a mask, see :func:`xcloudfree.masks.mask`; pixels outside it are ground.
    gaps : sequence of float
        Days before and after the date for which other dates are withheld; 0 withholds only its
        pass.
    kinds : sequence of {"partial", "full"}
        Whether to hide dates partly or wholly.
    count : int
        Largest number of dates to hide.
    clouds : int
        Number of clouds under which each date is hidden, for "partial".
    seed : int
        Seed of the choice of clouds, which is the same for all gaps.
    visible : {"clean", "realistic"}
        Visible pixels of the hidden date. ``"clean"``: only ground. ``"realistic"``: like real
        cloudy dates, with values of the date that the clouds come from: rims and specks of cloud
        that masks miss, here the outermost `rim` pixels of its mask; and for "full" the visible
        pixels of a date that is over 90 % cloudy, in place of everything that the hidden date
        showed.
    rim : int
        Pixels inside the mask of the other date that stay visible, for ``"realistic"``.

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
            "the series was reconstructed, and estimates are not the truth",
            fix="call hidden_dates() with the series as it was observed",
        )
    if scene.lead != ("time",) or "time" not in series.coords:
        raise DataError(
            "hidden_dates hides dates of a series",
            fix=f"give a Dataset whose only dimension besides {scene.spatial} is time, for "
            "example with ds.isel(patch=0)",
        )
    if wrong := [kind for kind in kinds if kind not in get_args(Kind)]:
        raise DataError(
            f"there is no kind {wrong[0]!r}{did_you_mean(wrong[0], get_args(Kind))}",
            fix="call hidden_dates(..., kinds=['partial', 'full']), or with one of them",
        )
    if visible not in get_args(Visible):
        raise DataError(
            f"visible={visible!r} is not one of {get_args(Visible)}",
            fix="call hidden_dates(..., visible='realistic')",
        )
    series = in_utc(series)
    if isinstance(clear, xr.DataArray):
        clear = in_utc(clear)
    else:  # an array belongs to the images before joining
        series = join_passes(series)
    scene = read(series)
    ground = ground_of(series, scene, clear)
    stack: Floats = scene.reflectance().compute().values
    days = day_numbers(series.time)
    tasks = tasks_of(ground, stack, days, count, clouds, seed, kinds, visible)
    yield from build_cases(series, ground, stack, list(tasks), gaps, region, visible, rim)


def build_cases(
    series: xr.Dataset,
    ground: Booleans,
    stack: Floats,
    tasks: Sequence[Task],
    gaps: Sequence[float],
    region: str = "",
    visible: Visible = "clean",
    rim: int = 3,
) -> Iterator[Case]:
    """The case of each task and gap, from what a series shows of the ground."""
    scene = read(series)
    times, days = series.time.values, day_numbers(series.time)
    bare = series.drop_vars([] if scene.classes is None else [str(scene.classes.name)])
    dims = ("time", *scene.spatial)
    for gap in gaps:
        for date, donor, kind in tasks:
            keep = _kept(days, date, gap)
            place = int(np.flatnonzero(keep == date)[0])
            values = np.where(ground[keep][:, None], stack[keep], np.float32(np.nan))
            pasted, hidden = _clouds(ground, stack, date, donor, kind, visible, rim)
            values[place][:, pasted] = _seen(stack, donor)[:, pasted]
            all_hidden = np.zeros((len(keep), *hidden.shape), bool)
            all_hidden[place] = hidden
            truth = np.where(ground[date], stack[date], np.float32(np.nan))
            day, under = (
                "full" if d is None else str(times[d].astype("datetime64[D]"))
                for d in (date, donor)
            )
            under += ", realistic" * (visible == "realistic")
            yield Case(
                name=f"{region} {day} under {under}, gap {gap:g}".strip(),
                data=with_reflectance(bare.isel(time=keep), scene, values),
                hidden=xr.DataArray(all_hidden, {"time": times[keep]}, dims),
                truth=_truth(bare.isel(time=[date]), scene, truth),
                region=region,
                date=times[date],
                gap=float(gap),
                protocol="hidden-dates" + ", realistic" * (visible == "realistic"),
                kind=kind,
            )


class Task(NamedTuple):
    """A date to hide, the date of its clouds (None: white), and the kind."""

    date: int
    donor: int | None
    kind: Kind


def ground_of(
    series: xr.Dataset, scene: Scene, clear: Mask, ground: Sequence[int] = GROUND
) -> Booleans:
    """Pixels that show the ground, (time, y, x)."""
    if isinstance(clear, str) and clear == "scl":
        if scene.classes is None:
            raise DataError(
                "the series has no scene classification",
                fix="call hidden_dates(series, clear='l2a') or with another mask",
            )
        classes = scene.classes.compute()
        check_classes(classes.values, classes.attrs.get("nodata"))
        shown = classes.isin(ground)
    else:
        shown = scene.reflectance().notnull().all("band") & ~masks.mask(series, clear)
    out: Booleans = shown.transpose("time", *scene.spatial).values
    return out


def tasks_of(
    ground: Booleans,
    stack: Floats,
    days: NDArray[np.float64],
    count: int,
    clouds: int,
    seed: int,
    kinds: Sequence[Kind],
    visible: Visible,
) -> Iterator[Task]:
    """Dates to hide, and the dates whose clouds hide them."""
    share = 1 - ground.mean((1, 2))
    clear, cloudy = clear_dates(ground, days), clouded_dates(ground)
    if not len(clear):
        raise DataError(
            f"the series has no date with less than {_CLEAR_BELOW:.0%} of cloud, and only such "
            "dates are hidden",
            fix="load a longer one, or call hidden_dates(..., clear=...) with another mask",
        )
    fewest = min(int((~same_pass(days, date)[cloudy]).sum()) for date in clear)
    if "partial" in kinds and fewest < clouds:
        raise DataError(
            f"the series has {len(clear)} clear dates and {len(cloudy)} with clouds to hide one "
            "under",
            fix="load a longer one, or call hidden_dates(..., "
            + (f"clouds={fewest})" if fewest else "kinds=['full'])"),
        )
    spread = np.unique(np.linspace(0, len(clear) - 1, count).round().astype(int))
    dates = clear[spread].tolist()
    rng = np.random.default_rng(seed)
    if "partial" in kinds:
        for date in dates:
            others = cloudy[~same_pass(days, date)[cloudy]]
            for donor in rng.choice(others, min(clouds, len(others)), replace=False):
                yield Task(date, int(donor), "partial")
    if "full" in kinds and visible == "clean":
        yield from (Task(date, None, "full") for date in dates)
    elif "full" in kinds:
        measured = np.isfinite(stack).all(1).mean((1, 2))
        overcast = one_each_pass(np.flatnonzero((share > _CLOUD[1]) & (measured > _CLOUD[1])), days)
        if not len(overcast):
            raise DataError(
                f"the series has no date with over {_CLOUD[1]:.0%} of cloud to replace a "
                "hidden one",
                fix="load a longer one, or call hidden_dates(..., kinds=['partial'])",
            )
        yield from (Task(date, int(rng.choice(overcast)), "full") for date in dates)


def clear_dates(ground: Booleans, days: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions of the dates that can be hidden, one of each pass."""
    return one_each_pass(np.flatnonzero(1 - ground.mean((1, 2)) < _CLEAR_BELOW), days)


def clouded_dates(ground: Booleans) -> NDArray[np.intp]:
    """Positions of the dates whose clouds can hide a part of another."""
    share = 1 - ground.mean((1, 2))
    return np.flatnonzero((share >= _CLOUD[0]) & (share <= _CLOUD[1]))


def _kept(days: NDArray[np.float64], date: int, gap: float) -> NDArray[np.intp]:
    """Positions of the dates to keep: the date, without its twins and all within the gap."""
    away = same_pass(days, date) | (np.abs(days - days[date]) <= gap)
    away[date] = False
    return np.flatnonzero(~away)


def _clouds(
    ground: Booleans,
    stack: Floats,
    date: int,
    donor: int | None,
    kind: Kind,
    visible: Visible,
    rim: int,
) -> tuple[Booleans, Booleans]:
    """Pixels that get the values of the donor, and those of them that are hidden, (y, x)."""
    cover = np.ones_like(ground[date]) if donor is None else ~ground[donor]
    if visible == "clean" or donor is None:
        hidden = cover & ground[date]
        return hidden, hidden
    # pixels without data in the donor cannot stay visible
    missed = cover & dilate(~cover, rim) & np.isfinite(stack[donor]).all(0)
    pasted = np.ones_like(cover) if kind == "full" else cover
    return pasted, cover & ~missed & ground[date]


def _seen(stack: Floats, donor: int | None) -> Floats:
    """The sensor's values under the cloud, white if unknown, (band, y, x)."""
    white = np.full(stack.shape[1:], _WHITE, np.float32)
    if donor is None:
        return white
    return np.where(np.isfinite(stack[donor]).all(0), stack[donor], white)


def declared(scene: Scene) -> dict[str, str]:
    """Attributes of the reflectance of a scene."""
    return {"units": "1"} | ({"processing_level": scene.level} if scene.level else {})


def with_reflectance(ds: xr.Dataset, scene: Scene, values: Floats) -> xr.Dataset:
    """The Dataset of a scene, or some of its dates, with other reflectance (*lead, band, y, x)."""
    names, attrs = scene.need_bands().variables, declared(scene)
    if scene.form != "bands":
        layout = (*scene.lead, "band", *scene.spatial)
        return ds.assign({names[0]: xr.Variable(layout, values, attrs)})
    dims = (*scene.lead, *scene.spatial)
    planes = (values[..., index, :, :].copy() for index in range(len(names)))
    return ds.assign({n: xr.Variable(dims, p, attrs) for n, p in zip(names, planes, strict=True)})


def bands_alone(ds: xr.Dataset, scene: Scene) -> xr.Dataset:
    """The optical variables and nothing else."""
    return ds[list(dict.fromkeys(scene.need_bands().variables))]


def _truth(bare: xr.Dataset, scene: Scene, values: Floats) -> xr.Dataset:
    """The clear image (band, y, x) in the form of the series, and nothing else."""
    whole = with_reflectance(bare, scene, values[None])
    return bands_alone(whole, scene).isel(time=0, drop=True)

"""Compare models on the user's own scene: hidden clear ground is the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from xcloudfree._version import __version__
from xcloudfree.core.progress import Progress
from xcloudfree.core.recognise import read
from xcloudfree.core.restore import provenance_of
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError
from xcloudfree.judge.baselines import TRIVIAL
from xcloudfree.judge.case import Case
from xcloudfree.judge.estimators import label, resolve
from xcloudfree.judge.evaluation import reflectance
from xcloudfree.judge.places import (
    Place,
    read_place,
    windows_of,
    with_hidden_dates,
    with_mirrored_clouds,
)
from xcloudfree.judge.run import run
from xcloudfree.judge.scene_table import Errors, band_errors, indices_of, table_of
from xcloudfree.judge.summary import summary
from xcloudfree.masks.resolve import Mask
from xcloudfree.masks.shadow import Shadow
from xcloudfree.plot.help.suitability import judge_methods
from xcloudfree.reconstruct.choice import best_model

ROWS: Final = ("do nothing", "clear mean")
"""Trivial estimates that every table shows first."""

OF_SERIES: Final = ("linear-time", "median", "area-regression+nearby")
"""Models to compare on a series, in addition to the choice of ``model="auto"``."""

OF_IMAGE: Final = ("idw", "kriging", "regression-kriging", "pixel-fusion")
"""The same for a single image."""

PLACES: Final = 3
"""Squares of a large scene to read."""

TRIES: Final = 4
"""Squares to read at most for each of them, since some are never clear."""


def judge_scene(
    obj: xr.Dataset | xr.DataArray,
    models: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    gaps: Sequence[float] = (0, 15, 30),
    cases: int = 6,
    seed: int = 0,
    mask: Mask = "auto",
    dilate: int = 0,
    shadow: Shadow = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Compare models on a scene: hide clear ground, fill it again, and measure the errors.

    Clear dates are hidden under the clouds of other dates of the same place, or wholly if no two
    dates are partly clouded. The models see nothing of a hidden date: neither another image of the
    same pass nor, by `gaps`, the dates around it (:func:`xcloudfree.benchmarking.hidden_dates`). A
    single image is hidden under its own clouds, mirrored. Of a large scene, 3 squares of 64 x 64
    pixels are read, which `seed` draws on the grid of the scene, for any chunks; the mask of a
    square sees 32 pixels around it. The call computes everything at once, in memory.

    Parameters
    ----------
    obj : Dataset or DataArray
        Scene in any accepted form, lazy or not: a series with dates along ``time``, or one image.
    models : sequence, or mapping from labels, optional
        Models and methods that :func:`xcloudfree.benchmark` takes. By default the choice of
        ``model="auto"`` and cheaper methods. "do nothing" and "clear mean" are always included.
    gaps : sequence of float
        Days before and after a hidden date without any image; 0 withholds only its own pass. No
        effect on a single image.
    cases : int
        Clear dates to hide, over all squares.
    seed : int
        Seed for the squares, the dates and the clouds.
    mask : str, DataArray or callable
        The occluded pixels, see :func:`xcloudfree.masks.mask`. The others are the truth.
    dilate, shadow
        See :func:`xcloudfree.reconstruct.reconstruct`.
    progress : bool, optional
        Whether to show a progress bar; by default in a terminal or notebook only.

    Returns
    -------
    Dataset
        ``psnr`` (dB), ``mae`` and ``bias`` (reflectance; prediction minus truth) over ``model``,
        ``gap``, ``distance`` (class of the distance to the nearest visible pixel, and ``"any"``)
        and ``band`` (bands, NDVI and NDWI if their bands are available, and ``"all"``, all bands
        jointly); ``sam`` (degree) and ``reconstructed`` (share of the hidden pixels that the model
        filled) over model, gap and distance; ``pixels`` over gap and distance; ``cpu_seconds``,
        ``wall_seconds``, ``peak_memory`` (MB) and ``failure`` over model. Each figure is the mean
        over the hidden dates, as :func:`xcloudfree.evaluate` defines it, also for indices. The
        coordinates ``hidden_row``, ``hidden_column`` (of the square) and ``hidden_date`` describe
        the hidden ground, the attributes the ``winner``, ``winner_reason``, ``mask``, ``seed`` and
        more. :func:`xcloudfree.benchmarking.to_markdown` prints the table, also with
        ``by=["distance"]`` or ``by=["band"]``; :func:`xcloudfree.benchmarking.plot` draws it;
        ``reconstruct(model=table)`` uses its winner.

    Raises
    ------
    DataError
        If no ground is clear, if there are only two dates, or if the scene is a reconstruction.
    ModelError
        If a model is not known.
    CloudFreeError
        If the scene cannot be masked, see :func:`xcloudfree.masks.mask`.

    Examples
    --------
    >>> import xcloudfree as xcf
    >>> cover = [0, 0.6, 0, 0.5, 0, 0.6]
    >>> ds = xcf.datasets.simulate_scene((48, 48), dates=6, cover=cover, level="BOA", seed=1)
    >>> table = judge_scene(ds, ["linear-time"], gaps=[0, 5], cases=2, mask="l2a", progress=False)
    >>> table.psnr.sel(model="linear-time", distance="any", band="all").dims
    ('gap',)
    >>> table.attrs["winner"]
    'linear-time'
    """
    scene = read(obj)
    gaps = _checked(scene, gaps, cases)
    series = bool(scene.lead)
    if series and scene.source.sizes["time"] == 1:
        obj, series = obj.isel(time=0), False
        if isinstance(mask, xr.DataArray) and "time" in mask.dims:
            mask = mask.isel(time=0)
        scene = read(obj)
    rows = _rows(scene, models, series)
    for model in rows.values():
        resolve(model)  # an unknown name raises an error before anything is read
    places = list(_places(obj, scene, series, cases, seed, (mask, dilate, shadow), progress))
    shown = gaps if series else [float("nan")]
    indices = indices_of(scene.bands)

    def look(case: Case, guess: Any) -> Errors:
        truth = case.reference
        image = reflectance(case.at_date(guess)).sel(band=truth.band).transpose(*truth.dims)
        return band_errors(image.values, truth.values, case.occluded.values, indices)

    hidden = (case for place in places for case in place.cases(shown))
    total = sum(p.count for p in places) * len(shown)
    with Progress("judging", total, show=progress) as bar:
        names, seen, records = run(hidden, rows, bar, look=look)
    bands = [*scene.bands, *indices]
    table = table_of(names, seen, records, bands)
    return _with_attributes(table, places, seen, rows, seed)


def _checked(scene: Scene, gaps: Sequence[float], cases: int) -> list[float]:
    """Gaps in days; raises an error, without reading, for a scene that cannot be tested."""
    source = scene.source
    if provenance_of(source) is not None:
        raise DataError(
            "the scene was reconstructed, and estimates are not the truth",
            fix="call judge() with the scene as it was observed",
            option="name the scene as it was observed",
        )
    scene.need_bands("judge")
    if others := [d for d in scene.lead if d != "time"]:
        raise DataError(
            f"judge takes one series at a time but the data has a dimension {others[0]!r}",
            fix=f"choose one with ds.isel({others[0]}=0)",
            option=f"keep one element along {others[0]} in the file",
        )
    dates = source.sizes["time"] if scene.lead else 1
    if dates > 1 and "time" not in source.coords:
        raise DataError(
            "the dates along time have no coordinate",
            fix="call ds.assign_coords(time=[...]) with the days on which they were taken",
            option="write the dates into the coordinate time of the file",
        )
    if dates == 2:
        raise DataError(
            "two dates are too few to hide one under the other",
            fix="load more of them, or judge one date with ds.isel(time=[0])",
            option="give more dates",
        )
    try:
        found = [float(gap) for gap in np.atleast_1d(gaps)]
    except (TypeError, ValueError):
        found = []
    if not found or min(found) < 0 or len(set(found)) < len(found) or not np.isfinite(found).all():
        raise DataError(
            f"gaps is {gaps!r} and must be days, each number once",
            fix="call ds.cloudfree.judge(..., gaps=[0, 15, 30])",
            option="--gaps 0,15,30",
        )
    if isinstance(cases, bool) or not isinstance(cases, (int, np.integer)) or cases < 1:
        raise DataError(
            f"cases is {cases!r} and must be a number of dates",
            fix="call ds.cloudfree.judge(..., cases=6)",
            option="--cases 6",
        )
    return found


def _rows(
    scene: Scene, models: Sequence[Any] | Mapping[str, Any] | None, series: bool
) -> dict[str, Any]:
    """Models by their labels, after the trivial estimates."""
    if models is None:
        unfit = {verdict.name for verdict in judge_methods(scene) if not verdict.fits}
        named = [best_model(scene)[0], *(OF_SERIES if series else OF_IMAGE)]
        models = [name for name in dict.fromkeys(named) if name not in unfit]
    if isinstance(models, Mapping):
        return {name: name for name in ROWS} | dict(models)
    given = list(models) if isinstance(models, (list, tuple)) else [models]
    names = [label(model) for model in given]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise DataError(
            f"two models are called {doubled[0]!r}",
            fix="name them with ds.cloudfree.judge({'one name': model, 'another': model})",
            option="name each model once",
        )
    return {name: name for name in ROWS} | dict(zip(names, given, strict=True))


def _places(
    obj: xr.Dataset | xr.DataArray,
    scene: Scene,
    series: bool,
    cases: int,
    seed: int,
    masked: tuple[Mask, int, Shadow],
    progress: bool | None,
) -> Iterator[Place]:
    """Squares of the scene that can be tested, each with its part of the cases."""
    mask, dilate, shadow = masked
    if isinstance(mask, xr.DataArray):  # also for the check that it fits
        from xcloudfree.masks.masking import mask as check

        mask, dilate, shadow = check(obj, mask, dilate=dilate, shadow=shadow), 0, False
    windows = windows_of(scene.shape, seed)
    wanted = min(PLACES, cases, len(windows))
    partly: list[Place] = []
    wholly: list[Place] = []
    with Progress("reading squares", wanted, show=progress) as bar:
        for window in windows[: TRIES * wanted]:
            place = read_place(obj, window, mask, dilate, shadow)
            each = -(-(cases - sum(p.count for p in partly)) // (wanted - len(partly)))
            if series:
                place = with_hidden_dates(place, each, seed)
            else:
                place = with_mirrored_clouds(place, each)
            if place.count:
                (partly if place.partial else wholly).append(place)
            if place.count and place.partial:
                bar.step(place.name)
            if len(partly) == wanted:
                break
    if not partly and not wholly:
        name = place.hidden.attrs.get("method", "given")
        raise DataError(
            f"no square has a date of which less than 2 % is hidden by mask {name!r}"
            if series
            else f"no square has clear ground that its own clouds, mirrored, hide a part of (mask "
            f"{name!r})",
            fix="load more dates, or choose another mask: ds.cloudfree.judge(mask=...)",
            option="load more dates, or choose another mask with --mask",
        )
    yield from partly or wholly[:wanted]


def _with_attributes(
    table: xr.Dataset, places: Sequence[Place], cases: Sequence[Case], rows: Any, seed: int
) -> xr.Dataset:
    """The table with a description of the hidden ground, and its winner."""
    first = [case for case in cases if case.gap == cases[0].gap or np.isnan(case.gap)]
    corners = {place.name: (place.row, place.column) for place in places}
    row, column = np.array([corners[case.region] for case in first]).T
    table = table.assign_coords(
        hidden_row=("hidden", row, {"long_name": "first row of the square"}),
        hidden_column=("hidden", column, {"long_name": "first column of the square"}),
    )
    if first[0].date is not None:
        dates = np.array([case.date for case in first], "datetime64[ns]")
        table = table.assign_coords(hidden_date=("hidden", dates))
    how = {
        "hidden-dates": "under the clouds of other dates",
        "full": "wholly, since no square has two dates that are partly clouded",
        "mirrored clouds": "under the clouds of the image itself, mirrored",
    }["full" if first[0].kind == "full" else first[0].protocol]
    square = " x ".join(str(n) for n in places[0].hidden.shape[-2:])
    what = "image" if first[0].date is None else "clear date"
    masked = places[0].hidden.attrs
    winner, reason = _winner(table)
    called = rows.get(winner, winner)
    table.attrs = {
        "title": "Models on this scene: hidden clear ground compared with its reconstruction",
        "winner": str(called) if isinstance(called, (str, Path)) else winner,
        "winner_reason": reason,
        "hidden": f"{_counted(first, what)} at {_counted(places, 'square')} of {square} px, {how}",
        "dates": int(places[0].scene.sizes.get("time", 1)),
        "seed": int(seed),
        "mask": str(masked.get("method", "given")),
        **({"mask_reason": str(masked["reason"])} if "reason" in masked else {}),
        "xcloudfree_version": __version__,
    }
    return table


def _counted(things: Sequence[Any], word: str) -> str:
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"


def _winner(table: xr.Dataset) -> tuple[str, str]:
    """The best of the models that filled nearly everything at the gaps where any did, and why."""
    means = summary(table, ["gap"]).sel(metric="psnr", pixels="cloudy")
    ranked = means.ranked & ~means.method.isin(list(TRIVIAL))
    usable = ranked.any("method").values
    whole = ranked.isel(group=usable).all("group").values & usable.any()
    if not whole.any():
        return "", "no model filled 99 % of the hidden pixels"
    value = means.value.isel(group=usable).mean("group").values[whole]
    order = np.argsort(-value, kind="stable")
    names, figures = means.method.values[whole][order], value[order]
    days = ", ".join(f"{gap:g}" for gap in means.gap.values[usable] if not np.isnan(gap))
    over = f", mean over gaps of {days} days" if days else ""
    after = f"; {names[1]} follows with {figures[1]:.2f} dB" if len(names) > 1 else ""
    return str(names[0]), f"{figures[0]:.2f} dB on hidden ground of the scene itself{over}{after}"

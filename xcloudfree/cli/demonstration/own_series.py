"""The user's series: clear dates hidden under the clouds of others, and its real gaps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import xarray as xr

import xcloudfree as xcf
from xcloudfree.cli.demonstration.simulated import MODEL, OF_SERIES
from xcloudfree.core.recognise import read
from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import DataError
from xcloudfree.judge import Case, hidden_dates, to_markdown
from xcloudfree.plot import plot
from xcloudfree.plot.help.suitability import judge_masks, judge_models

LARGEST = 128
"""Rows and columns to use from the middle of a series."""
DATES = 12
"""Number of clear dates to hide in turn."""
MASKS = ("scl", "score", "l2a", "series")
"""Masks to try; the first that finds its bands decides which pixels of hidden dates are ground."""
DILATE = 2
"""Pixels by which real clouds are extended before the gaps are filled."""
COMPARED = ("do nothing", "clear mean", *OF_SERIES)
METRICS = ("psnr", "ssim", "mae", "sam")


def from_series(out: Path, data: Path, model: str | None, say: Callable[[str], Any]) -> xr.Dataset:
    """Test methods on hidden dates of a series, then fill its gaps; see `run`."""
    say(f"1/4 reading {data}")
    series = _middle(_opened(data)).compute()
    scene = read(series)
    say(repr(series.cloudfree))
    model = model or MODEL
    mask = _mask(series)
    say(f"2/4 hiding up to {DATES} clear dates, each under the cloud of another date")
    kept: list[Case] = []
    cases = hidden_dates(series, clear=mask, gaps=[0], count=DATES, clouds=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = xcf.benchmark(_watched(cases, kept, say), _rivals(scene, model))
    (case,) = kept
    shown = result.sel({"case": case.name})
    summary = (
        "Hidden pixels, mean over the hidden dates:\n\n"
        + to_markdown(result, by=[], metrics=METRICS, cost=True)
        + f"\n\nFor the date in demo.png, {case.name}:\n\n"
        + to_markdown(shown.expand_dims("case"), by=[], metrics=METRICS)
    )
    (out / "metrics.md").write_text(summary + "\n", encoding="utf-8")
    say(f"3/4 reconstructing all dates with {model} into {out / 'cloudfree.zarr'}")
    hidden = series.cloudfree.mask(dilate=DILATE)
    lazy = series.cloudfree.reconstruct(model=model, mask=hidden)
    stored = xcf.io.to_zarr(lazy, out / "cloudfree.zarr", mode="overwrite")
    say("4/4 drawing a hidden date next to its truth, demo.png, and the series, series.png")
    _draw(case, model, out / "demo.png")
    strip = xcf.plot.series(stored, observed=series, mask=hidden)
    strip.savefig(out / "series.png", dpi=110)
    say("\n" + summary)
    return result


def _opened(data: Path) -> xr.Dataset:
    series = xcf.io.open_zarr(data)
    names = list(series.data_vars)
    if len(names) == 1 and "band" in series[names[0]].dims:
        raise DataError(
            f"the store contains one array of bands, {names[0]!r}",
            fix="write a Dataset with xcf.io.to_zarr(array.to_dataset('band'), 'series.zarr')",
        )
    return series


def _rivals(scene: Scene, model: str) -> list[str]:
    """Methods to compare, without networks that do not fit the series."""
    unfit = {verdict.name for verdict in judge_models(scene) if not verdict.fits}
    return list(dict.fromkeys(name for name in (*COMPARED, model) if name not in unfit))


def _watched(cases: Iterable[Case], kept: list[Case], say: Callable[[str], Any]) -> Iterator[Case]:
    """Yield the cases one by one, to save memory; keep the one nearest to half hidden."""
    for case in cases:
        say(f"    {case.name}")
        nearest = min([*kept, case], key=lambda c: abs(float(c.occluded.mean()) - 0.5))
        kept[:] = [nearest]
        yield case


def _middle(series: xr.Dataset) -> xr.Dataset:
    """The middle of a large series: hidden dates are tested in memory."""
    where = {}
    for name in map(str, read(series).spatial):
        start = max(0, (series.sizes[name] - LARGEST) // 2)
        where[name] = slice(start, start + LARGEST)
    return series.isel(where)


def _mask(series: xr.Dataset) -> str:
    fitting = {verdict.name for verdict in judge_masks(read(series)) if verdict.fits}
    chosen = next((name for name in MASKS if name in fitting), None)
    if chosen is None:
        raise DataError(
            "no mask finds its bands in the series",
            fix="add the scene classification with ds.assign(SCL=...), and write the store again",
        )
    return chosen


def _draw(case: Case, model: str, path: Path) -> None:
    figure = plot(
        case.data.cloudfree.reconstruct(model=model, mask=case.hidden),
        observed=case.data,
        truth=case.truth,
        mask=case.hidden,
        time=case.date,
    )
    figure.savefig(path, dpi=110)

"""Hidden dates of real series with the estimate of kernel-fusion, to fit and judge networks on.

Needs XCLOUDFREE_DATA; examples/series_network.py makes and reads them. Dates are hidden as
xcloudfree.benchmarking.hidden_dates does, but several far dates of a series at once.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
import rioxarray
import xarray as xr
from numpy.typing import NDArray
from series_data import clear_by, load

import xcloudfree as xcf
from xcloudfree.core.passes import day_numbers, in_utc, join_passes
from xcloudfree.core.predictor import PASS, Series
from xcloudfree.core.recognise import read
from xcloudfree.exceptions import DataError
from xcloudfree.judge.protocols import Task, ground_of, tasks_of
from xcloudfree.methods.kernel_fusion import KernelFusion
from xcloudfree.train.hidden_dates import HiddenDate

DATA = Path(os.environ.get("XCLOUDFREE_DATA", "data")) / "series"
KEPT = Path("out/series-network")

GAPS = (0, 15, 30, 45)
FORTNIGHT = 15.0
"""Days, besides both gaps, between dates that are hidden at once."""


class Site(NamedTuple):
    """A series, the corner that is read, gaps in days, dates to hide and clouds over each."""

    region: str
    folder: str
    corner: tuple[int, int, int] | None = None  # row, column, side
    gaps: tuple[int, ...] = GAPS
    dates: int = 22
    clouds: int = 2


SITES = {
    "be20": Site("Belgium 20 m", "worldcereal_000028085BF08E7E"),
    "tza": Site("Tanzania 20 m", "worldcereal_2021_TZA_COPERNI"),
    "be10": Site("Belgium 10 m", "worldcereal_00002806639B424A", dates=14, clouds=1),
    "terv": Site("Tervuren", "tervuren_2022_dekads", gaps=(0, 15, 30), dates=10, clouds=1),
    "fin1": Site("Finland", "biomassters_finland/288afc34.nc", (64, 64, 96), (0, 45), 8, 1),
    "fin2": Site("Finland", "biomassters_finland/000aa810.nc", (64, 64, 96), (0, 45), 6, 1),
    "bolz": Site("Bolzano", "bolzano_2022", (256, 128, 128), (0, 4), 7, 1),
    "boad": Site("Boadella", "boadella_l2a", (128, 128, 96), (0, 45), 8, 1),
    "ts": Site("SEN12MS-CR-TS", "sen12mscr_ts_2017_146_patch0", (64, 64, 96), (0, 15, 30), 8, 1),
}


class Hidden(NamedTuple):
    """A hidden date of a site, and whether all of it is hidden."""

    gap: int
    full: bool
    date: HiddenDate


def series_of(site: Site) -> tuple[xr.Dataset, Any]:
    """The series of a site, and what says where it shows the ground."""
    ds = _time_series(DATA / site.folder) if "_ts_" in site.folder else load(DATA / site.folder)
    if site.corner is not None:
        top, left, side = site.corner
        ds = ds.isel(y=slice(top, top + side), x=slice(left, left + side))
    clear = "score" if "_ts_" in site.folder else clear_by(ds)
    ds = in_utc(ds)
    return (ds if isinstance(clear, xr.DataArray) else join_passes(ds)), clear


def _time_series(folder: Path) -> xr.Dataset:
    """SEN12MS-CR-TS: 13 bands of Level-1C."""
    paths = {pd.Timestamp(path.stem.split("_")[-3]): path for path in folder.glob("*.tif")}
    images = [rioxarray.open_rasterio(paths[day], mask_and_scale=False) for day in sorted(paths)]
    stack = xr.concat(images, pd.Index(sorted(paths), name="time"), join="override")
    attrs = {"units": "1", "processing_level": "TOA"}
    values = (stack.astype("float32") * np.float32(1e-4)).drop_attrs()
    return xr.Dataset(
        {
            name: values.isel(band=k, drop=True).assign_attrs(attrs)
            for k, name in enumerate(xcf.bands.S2_BANDS)
        }
    )


def prepare(name: str) -> None:
    """Estimate the hidden dates of a site; those on disk are not done again."""
    KEPT.mkdir(parents=True, exist_ok=True)
    site = SITES[name]
    ds, clear_by_what = series_of(site)
    scene, days = read(ds), day_numbers(ds.time)
    stack = scene.reflectance().compute().values
    ground = ground_of(ds, scene, clear_by_what) & np.isfinite(stack).all(1)
    sar = None if scene.sar is None else np.asarray(scene.backscatter(("VV", "VH")).data)
    np.savez(KEPT / f"{name}.npz", reflectance=stack, clear=ground, days=days)
    tasks: list[Task] = []
    for kind in ("partial", "full"):
        for clouds in (site.clouds, 1):
            try:
                tasks += tasks_of(ground, stack, days, site.dates, clouds, 0, (kind,), "clean")
                break
            except DataError as error:
                click.echo(f"{name}, {kind}: {error}")
    rng = np.random.default_rng(0)
    for gap in site.gaps:
        waiting, run = [tasks[k] for k in rng.permutation(len(tasks))], 0
        while waiting:
            chosen: list[Task] = []
            for task in waiting:
                far = [abs(days[task.date] - days[other.date]) for other in chosen]
                if all(d > FORTNIGHT + 2 * gap for d in far):
                    chosen.append(task)
            waiting = [task for task in waiting if task not in chosen]
            path = KEPT / f"{name}-{gap:02d}-{run:03d}.npz"
            run += 1
            if not path.exists():
                found = _estimated(stack, ground, sar, days, chosen, gap)
                partial = path.with_suffix(".partial.npz")
                np.savez(partial, gap=gap, **found)
                partial.replace(path)
                click.echo(f"{path.stem}: {len(chosen)} dates, {len(waiting)} left at this gap")


def _estimated(
    stack: NDArray, ground: NDArray, sar: NDArray | None, days: NDArray, tasks: list[Task], gap: int
) -> dict[str, Any]:
    """Kernel-fusion of some dates, each without all dates within the gap."""
    dates, clear = [task.date for task in tasks], ground.copy()
    away = (np.abs(days[:, None] - days[dates]) <= max(gap, PASS)).any(1)
    away[dates] = False
    kept, hidden = np.flatnonzero(~away), []
    for task in tasks:
        cloud = np.ones_like(ground[0]) if task.donor is None else ~ground[task.donor]
        hidden.append(cloud & ground[task.date])
        clear[task.date] &= ~hidden[-1]
    at = np.searchsorted(kept, dates)
    wanted = np.zeros((len(kept), *ground.shape[1:]), bool)
    wanted[at] = True
    series = Series(
        np.where(clear[kept][:, None], stack[kept], np.float32(np.nan)), ~clear[kept], wanted,
        None if sar is None else sar[kept], days[kept],
    )  # fmt: skip
    method = KernelFusion()
    answer = method.predict(series, [method.conclude(method.measure(series, ()), ())])
    assert answer.deviation is not None
    return {
        "mean": answer.mean[at], "size": answer.deviation[at], "hidden": np.stack(hidden),
        "dates": np.array(dates), "kept": kept, "full": np.array([t.donor is None for t in tasks]),
    }  # fmt: skip


def cases(name: str) -> Iterator[Hidden]:
    """The hidden dates of a site."""
    with np.load(KEPT / f"{name}.npz") as site:
        stack, ground, days = site["reflectance"], site["clear"], site["days"]
    for path in sorted(KEPT.glob(f"{name}-*-*.npz")):
        with np.load(path) as stored:
            found = dict(stored)
        clear = np.zeros_like(ground)
        clear[found["kept"]] = ground[found["kept"]]
        for date, hidden in zip(found["dates"], found["hidden"], strict=True):
            clear[date] &= ~hidden
        for k, date in enumerate(found["dates"].tolist()):
            mean, apart = found["mean"][k], days - days[date]
            order = np.argsort(np.abs(apart), kind="stable")
            order = order[(np.abs(apart[order]) > PASS) & clear[order].any((1, 2))]
            judged = found["hidden"][k] & np.isfinite(mean).all(0)
            if judged.sum() >= 20:
                answer = HiddenDate(
                    stack[date], mean, found["size"][k], ~clear[date], judged, stack[order],
                    clear[order], apart[order],
                )  # fmt: skip
                yield Hidden(int(found["gap"]), bool(found["full"][k]), answer)

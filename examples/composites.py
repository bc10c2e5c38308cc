"""Compare composites with the truth: of simulated series, or of clear dates that they did not read.

    python examples/composites.py --simulated SEED [SEED ...] [--side 128]
    python examples/composites.py FOLDER [FOLDER ...]

Simulated series have 36 dates under 60 % cloud, five days apart from 3 April 2025. The composites
of May to August are compared with the truth of the middle day of each month, under the default
mask and under one that hides all cloud and shadow.

A folder contains one site, as examples/series_data.py reads it. Dates with at least 97 % of ground
(SCL classes 4 to 7), 35 days apart and 20 days from the ends, are left out of the series. The
composite of the 15 days before and after each of them is compared with it.

Errors are root mean squares over all optical bands, where a clear observation lies in the period,
and everywhere.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from series_data import load

import xcloudfree as xcf

GROUND = [4, 5, 6, 7]
HALF = pd.Timedelta("15D")


def clear_dates(ds):
    """Positions of the dates to compare with."""
    clear = ds.SCL.isin(GROUND).mean(["y", "x"]).values
    days = (ds.time.values - ds.time.values[0]) / np.timedelta64(1, "D")
    chosen = []
    for date in np.flatnonzero(clear > 0.97):
        inside = 20 < days[date] < days[-1] - 20
        if inside and all(abs(days[date] - days[other]) >= 35 for other in chosen):
            chosen.append(int(date))
    return chosen


def composites(ds, made, periods):
    """Name and composite."""
    nothing = xr.zeros_like(made.provenance, bool)
    yield "median of all images", ds.cloudfree.composite(periods, "median", mask=nothing)
    yield "median of clear pixels", made.cloudfree.composite(periods, "median")
    yield "geomedian of clear pixels", made.cloudfree.composite(periods)
    yield "best of clear pixels", made.cloudfree.composite(periods, "best")
    for method in ("median", "geomedian", "mean"):
        yield f"{method}, filled", made.cloudfree.composite(periods, method, fill=True)


def simulated(seed, side):
    """Name, cloudy series, its reconstruction, periods, and the truth of their middle days."""
    dates = list(pd.date_range("2025-04-03T10:06", periods=36, freq="5D"))
    options = {"dates": dates, "cover": 0.6, "seed": seed}
    ds = xcf.datasets.simulate_scene((side, side), **options)
    layers = xcf.datasets.simulate_layers((side, side), **options)
    starts = pd.date_range("2025-05-01", periods=5, freq="MS")
    periods = list(pd.IntervalIndex.from_breaks(starts, closed="left"))
    middles = {"dates": [period.mid for period in periods]}
    truth = xcf.datasets.simulate_truth((side, side), **(options | middles))
    for name, mask in (
        ("default mask", "auto"),
        ("all hidden", (layers.opacity > 0.01) | (layers.shadow > 0.01)),
    ):
        made = ds.cloudfree.reconstruct(mask=mask, uncertainty=True)
        yield f"simulated {seed}, {name}", ds, made, periods, truth


def left_out(folder):
    """Name, series without some dates, its reconstruction, periods, and these dates."""
    ds = xcf.join_passes(load(folder))
    chosen = clear_dates(ds)
    rest = ds.isel(time=[i for i in range(ds.sizes["time"]) if i not in chosen])
    centres = pd.DatetimeIndex(ds.time.values[chosen])
    periods = [(day - HALF, day + HALF) for day in centres]
    truth = ds.isel(time=chosen).where(ds.SCL.isel(time=chosen).isin(GROUND))
    made = rest.cloudfree.reconstruct(uncertainty=True)
    yield f"{folder.name} ({len(chosen)})", rest, made, periods, truth


def main():
    """Print a row per series and composite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--simulated", nargs="+", type=int, default=[], help="seeds")
    parser.add_argument("--side", type=int, default=128, help="pixels of a simulated series")
    options = parser.parse_args()
    print("| series | composite | where something was clear | everywhere | without a value |")
    print("|---|---|---|---|---|")
    series = [simulated(seed, options.side) for seed in options.simulated]
    series += [left_out(folder) for folder in options.folders]
    for name, ds, made, periods, truth in itertools.chain(*series):
        bands = [b for b in xcf.bands.S2_BANDS if b in ds]
        truth = truth[bands].to_dataarray().values
        seen = (made.cloudfree.composite(periods, "median")["count"] > 0).values[None]
        for composite, maps in composites(ds, made, periods):
            values = maps[bands].to_dataarray().values
            apart = values - truth
            some, every = (
                np.sqrt(np.nanmean(np.where(where, apart, np.nan) ** 2)) for where in (seen, True)
            )
            lost = 1 - np.isfinite(values).mean()
            print(f"| {name} | {composite} | {some:.4f} | {every:.4f} | {lost:.0%} |", flush=True)


if __name__ == "__main__":
    main()

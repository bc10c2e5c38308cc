"""Compare composites of real series with clear dates that they did not read.

    python examples/composites.py FOLDER [FOLDER ...]

A folder contains one site, as examples/series_data.py reads it. Dates with at least 97 % of ground
(SCL classes 4 to 7), 35 days apart and 20 days from the ends, are left out of the series. The
composite of the 15 days before and after each of them is compared with it, in all optical bands:
on the pixels with a clear observation in the period, and on all.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from series_data import load

import xcloudfree as xcf

GROUND = [4, 5, 6, 7]
HALF = pd.Timedelta("15D")


def left_out(ds):
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
    nothing = xr.zeros_like(ds.SCL, bool)
    yield "median of all images", ds.cloudfree.composite(periods, "median", mask=nothing)
    yield "median of clear pixels", made.cloudfree.composite(periods, "median")
    yield "geomedian of clear pixels", made.cloudfree.composite(periods)
    yield "best of clear pixels", made.cloudfree.composite(periods, "best")
    for method in ("median", "geomedian", "mean"):
        yield f"{method}, filled", made.cloudfree.composite(periods, method, fill=True)


def main():
    """Print a row per site and composite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    print("| site | composite | where something was clear | everywhere | without a value |")
    print("|---|---|---|---|---|")
    for folder in parser.parse_args().folders:
        ds = xcf.join_passes(load(folder))
        chosen = left_out(ds)
        rest = ds.isel(time=[i for i in range(ds.sizes["time"]) if i not in chosen])
        centres = pd.DatetimeIndex(ds.time.values[chosen])
        periods = [(day - HALF, day + HALF) for day in centres]
        bands = [b for b in xcf.bands.S2_BANDS if b in ds]
        truth = ds[bands].isel(time=chosen).where(ds.SCL.isin(GROUND)).to_dataarray().values
        made = rest.cloudfree.reconstruct(uncertainty=True)
        seen = (made.cloudfree.composite(periods, "median")["count"] > 0).values[None]
        for name, maps in composites(rest, made, periods):
            values = maps[bands].to_dataarray().values
            apart = values - truth
            some, every = (
                np.sqrt(np.nanmean(np.where(where, apart, np.nan) ** 2)) for where in (seen, True)
            )
            lost = 1 - np.isfinite(values).mean()
            place = f"{folder.name} ({len(chosen)})"
            print(f"| {place} | {name} | {some:.4f} | {every:.4f} | {lost:.0%} |")


if __name__ == "__main__":
    main()

"""Hide clear dates of a real series under the clouds of other dates, and reconstruct them.

    python examples/hidden_dates.py FOLDER [FOLDER ...] --methods linear-time area-regression
    python examples/hidden_dates.py FOLDER --store site.zarr; xcloudfree judge site.zarr

A folder holds one site as examples/series_data.py reads it. What is hidden how:
xcloudfree.benchmarking.hidden_dates.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from series_data import clear_by, load

import xcloudfree as xcf


def prepared(series, options):
    """The corner to judge on, with filtered radar if asked."""
    series = series.isel(y=slice(options.side), x=slice(options.side))
    return series.cloudfree.remove_speckle(options.speckle) if options.speckle else series


def alone(case):
    """The case without its other dates."""
    data, hidden = (a.sel(time=case.date).drop_vars("time") for a in (case.data, case.hidden))
    return replace(case, data=data, hidden=hidden, date=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument(
        "--methods", nargs="+", default=["linear-time", "median+offset", "area-regression"]
    )
    parser.add_argument("--gaps", nargs="+", type=float, default=[0, 15, 30])
    parser.add_argument("--dates", type=int, default=22)
    parser.add_argument("--full", action="store_true", help="hide whole images too")
    parser.add_argument("--whole", action="store_true", help="hide whole images alone")
    parser.add_argument("--alone", action="store_true", help="give methods the judged date alone")
    parser.add_argument("--side", type=int, help="pixels of a corner to judge on, default all")
    parser.add_argument("--speckle", help="filter of remove_speckle for the radar, default none")
    parser.add_argument("--keep", type=Path, help="folder to resume from")
    parser.add_argument("--store", type=Path, help="only write the first folder's series as Zarr")
    options = parser.parse_args()
    if options.store:
        xcf.io.to_zarr(load(options.folders[0]), options.store, mode="overwrite")
        return
    kinds = ("partial", "full") if options.full else ("full",) if options.whole else ("partial",)
    cases = (
        case
        for folder in options.folders
        for series in [prepared(load(folder), options)]
        for case in xcf.benchmarking.hidden_dates(
            series,
            region=folder.stem,
            clear=clear_by(series),
            gaps=options.gaps,
            kinds=kinds,
            count=options.dates,
        )
    )
    if options.alone:
        cases = map(alone, cases)
    result = xcf.benchmark(cases, options.methods, folder=options.keep)
    for metric in ("psnr", "mae"):
        print(xcf.benchmarking.NAMES[metric], "of the hidden pixels\n")
        print(
            xcf.benchmarking.to_markdown(
                result, by=("region", "kind", "gap"), metrics=[metric], cost=metric == "psnr"
            ),
            end="\n\n",
        )


if __name__ == "__main__":
    main()

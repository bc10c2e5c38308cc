"""Overcast dates of a real series: how many come out as something else than ground.

    python examples/overcast_dates.py FOLDER --methods kernel-fusion median --masks auto scl

A folder holds one site as examples/series_data.py reads it, with B02. A date counts as overcast
where the scene classification has ground on less than a tenth of it; its filled pixels must be
0.5 to 1.5 times as bright in the blue as they are where clear within 60 days
(xcloudfree.benchmarking.overcast).
"""

import argparse
from pathlib import Path

from series_data import load

import xcloudfree as xcf


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=["auto"])
    parser.add_argument("--masks", nargs="+", default=["auto"])
    options = parser.parse_args()
    ds = load(options.folder)
    print("| method | mask | overcast dates | no ground | not filled | largest ratio |")
    print("|---|---|---|---|---|---|")
    for method in options.methods:
        for mask in options.masks:
            ratio = xcf.benchmarking.overcast(ds, ds.cloudfree.reconstruct(method, mask=mask)).ratio
            wrong = int(((ratio > 1.5) | (ratio < 0.5)).sum())
            counts = (
                f"{ratio.size} | {wrong} | {int(ratio.isnull().sum())} | {float(ratio.max()):.2f}"
            )
            print(f"| {method} | {mask} | {counts} |", flush=True)


if __name__ == "__main__":
    main()

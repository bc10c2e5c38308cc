"""How often intervals hold the truth: dates of real series, hidden and predicted with bounds.

    python examples/intervals.py FOLDER [FOLDER ...] --methods median area-regression --dates 10

A folder holds one site as examples/hidden_dates.py reads it. Each date is hidden under the clouds
of another one, and its bounds are calibrated on what is left, without the hidden pixels and without
the dates within the gap. "width" is against the stated 90 % interval of area-regression (1.645
deviations either way). Prints a table; --keep FILE goes on where an earlier run ended.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import scipy
from hidden_dates import load

import xcloudfree as xcf

HEAD = "| site | gap | method | covers | worst band | dates within 78-98 % | width | rank |"


def judged(case, method, interval):
    """Shares inside by band, width, stated width and rank correlation of one hidden date."""
    out = case.data.cloudfree.reconstruct(
        method, mask=case.hidden, shadow=False, interval=interval, uncertainty=True
    ).sel(time=[case.date])
    hidden = case.hidden.sel(time=[case.date])
    found = xcf.evaluate(out, case.truth, mask=hidden, interval=True)
    inside = found.coverage.isel(time=0)
    bands = [str(b) for b in inside.band.values]
    deviation, error = [], []
    for band in bands:
        use = hidden & out[f"{band}_std"].notnull() & case.truth[band].notnull()
        deviation.append(out[f"{band}_std"].values[use.values])
        error.append(np.abs(out[band] - case.truth[band]).values[use.values])
    return {
        "inside": dict(zip(bands, inside.values.tolist(), strict=True)),
        "pixels": len(error[0]),
        "width": float(found.width.mean()),
        "stated": 2 * 1.645 * float(np.mean(np.concatenate(deviation))),
        "deviation": np.concatenate(deviation)[::7].tolist(),
        "error": np.concatenate(error)[::7].tolist(),
    }


def row(cases, stated):
    """One line of the table from the cases of a site, gap and method."""
    pixels = [c["pixels"] for c in cases]
    bands = {
        b: np.average([c["inside"][b] for c in cases], weights=pixels) for b in cases[0]["inside"]
    }
    dates = np.array([np.mean(list(c["inside"].values())) for c in cases])
    within = int(((dates >= 0.78) & (dates <= 0.98)).sum())
    pooled = [np.concatenate([c[k] for c in cases]) for k in ("deviation", "error")]
    rank = scipy.stats.spearmanr(*pooled).statistic
    width = np.mean([c["width"] for c in cases]) / stated if stated else np.nan
    return (
        f"{np.mean(list(bands.values())):.1%} | {min(bands.values()):.1%} | "
        f"{within} of {len(dates)} | {width:.2f} | {rank:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", default=["median", "area-regression"])
    parser.add_argument("--gaps", nargs="+", type=float, default=[0, 15, 30, 45])
    parser.add_argument("--dates", type=int, default=10)
    parser.add_argument("--interval", type=float, default=0.9)
    parser.add_argument("--keep", type=Path, help="file of what is done")
    options = parser.parse_args()
    done = {}
    if options.keep and options.keep.exists():
        done = dict(map(json.loads, options.keep.read_text().splitlines()))
    lines = []
    for folder in options.folders:
        series = load(folder)
        for gap in options.gaps:
            stated = None
            for method in sorted(options.methods, key=lambda m: m != "area-regression"):
                found = []
                for case in xcf.benchmarking.hidden_dates(
                    series, region=folder.name, gaps=[gap], count=options.dates, clouds=1
                ):
                    key = f"{case.name} {method} {options.interval}"
                    if key not in done:
                        done[key] = judged(case, method, options.interval)
                        if options.keep:
                            with options.keep.open("a") as file:
                                file.write(json.dumps([key, done[key]]) + "\n")
                    found.append(done[key])
                if method == "area-regression":
                    stated = np.mean([c["stated"] for c in found])
                lines.append(f"| {folder.name} | {gap:g} | {method} | {row(found, stated)}")
                print(lines[-1], flush=True)
    print("\n" + HEAD + "\n" + "|" + "---|" * 8 + "\n" + "\n".join(lines))


if __name__ == "__main__":
    main()

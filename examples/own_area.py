"""Fit a small network on an area's own series, and judge it on dates that it never saw.

    python examples/own_area.py FOLDER --before 2018-07-01 --keep out/own-area

A folder holds one site as for examples/series_data.py. Judged twice, always on clear dates that
are hidden under real clouds of other dates or wholly, with all dates within a gap taken away:

1. fitted on the dates before a day, judged on those after it;
2. fitted on all but a span of the series, judged in that span, for each of several spans.

The dates that are judged were no part of what was fitted, neither as truth nor as neighbours. Needs
h5netcdf and the extra [train]; hours on two cores, minutes on many. Call it again to go on.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from series_data import load

import xcloudfree as xcf
from xcloudfree.judge.protocols import GROUND
from xcloudfree.train import Recipe, fit

RIVALS = [
    "last-clear",
    "nearest-date",
    "linear-time",
    "median",
    "area-regression",
    "area-regression+nearby",
]
NAME = "carf-tiny-regression"
LABEL = "CARF with context, fitted here"


def ground_only(series):
    """The series with no data where the scene classification shows anything but ground."""
    ground = series.SCL.isin(GROUND)
    bands = [n for n in series.data_vars if n.startswith("B")]
    return series.assign({n: series[n].where(ground).assign_attrs(series[n].attrs) for n in bands})


def network(series, options, name):
    """The network fitted on a series, or what was kept of an earlier call."""
    path = options.keep / f"{name}-{options.steps}-{options.learning_rate:g}.safetensors"
    if options.model != NAME:
        path = path.with_stem(f"{Path(options.model).stem}-{path.stem}")
    if path.is_file():
        return xcf.models.load(path)
    bands = [n for n in series.data_vars if n.startswith("B")]
    if Path(options.model).is_file():
        start = xcf.models.load(options.model, optical_bands=bands)
    else:
        start = xcf.models.create(options.model, optical_bands=bands, level="BOA")
    begun = time.perf_counter()
    model = fit(
        series,
        start,
        steps=options.steps,
        batch=8,
        crop=min(48, *(series.sizes[d] for d in ("y", "x"))),
        learning_rate=options.learning_rate,
        loss="l1",
        simulated=0.0,
        mask="scl",
        recipe=Recipe(weight_decay=0.01),
        cache=options.keep / "views",
        progress=False,
    )
    print(f"{name}: fitted in {time.perf_counter() - begun:.0f} s", flush=True)
    model.save(path)
    return model


def judged(series, options, model, chosen):
    """Figures of all methods on the cases whose date is chosen."""
    cases = (
        case
        for case in xcf.benchmarking.hidden_dates(
            series, gaps=options.gaps, kinds=("partial", "full"), count=options.dates
        )
        if chosen(case.date)
    )
    methods = {name: name for name in RIVALS} | {LABEL: model}
    return xcf.benchmark(cases, methods, folder=options.keep / "records")


def show(title, result):
    """Print the tables of one experiment."""
    for metric in ("psnr", "mae"):
        print(f"{title}: {xcf.benchmarking.NAMES[metric]} of the hidden pixels\n")
        print(
            xcf.benchmarking.to_markdown(result, by=("kind", "gap"), metrics=[metric]), end="\n\n"
        )
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--before", type=np.datetime64, required=True)
    parser.add_argument("--keep", type=Path, default=Path("out/own-area"))
    parser.add_argument(
        "--model",
        default=NAME,
        help="name of a network, or a file of weights to go on from; carf-bandwise costs more and "
        "may gain more",
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--dates", type=int, default=22)
    parser.add_argument("--gaps", nargs="+", type=float, default=[0, 15, 30, 45])
    parser.add_argument("--spans", type=int, default=3, help="0 leaves the second experiment out")
    options = parser.parse_args()
    options.keep = options.keep / options.folder.name
    options.keep.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    series = load(options.folder)
    seen = ground_only(series)
    early, _ = xcf.train.split_series(seen, before=options.before)
    model = network(early, options, f"before-{options.before}")
    show(
        f"Fitted before {options.before}, judged after",
        judged(series, options, model, lambda day: day >= options.before),
    )
    parts = []
    for number, span in enumerate(np.array_split(series.time.values, options.spans or 1)):
        if not options.spans:
            break
        rest, _ = xcf.train.split_series(seen, dates=span)
        model = network(rest, options, f"without-{number + 1}-of-{options.spans}")
        parts.append(judged(series, options, model, lambda day, span=span: day in span))
    if parts:
        show(f"{options.spans} spans of dates left out in turn", xr.concat(parts, dim="case"))


if __name__ == "__main__":
    main()

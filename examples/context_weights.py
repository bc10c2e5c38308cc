"""Fit the shipped network of other dates on real series, and judge it where it was never fitted.

    python examples/context_weights.py fit      # without each site in turn, then on all: 10 minutes
    python examples/context_weights.py judge    # each on the site that it left out; writes the card

Folders as for examples/series_data.py, below $XCLOUDFREE_DATA/series. Fitted on the six bands that
all sites have; weights belong to no band, so the site at 10 m is judged in all its ten. Needs
h5netcdf and the extra [train]. Call it again to go on.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

from own_area import ground_only
from results_pages import put
from series_data import load

import xcloudfree as xcf
from xcloudfree.models.model import Model
from xcloudfree.train import Recipe, fit

SITES = {
    "Belgium 10 m": "worldcereal_00002806639B424A",
    "Belgium 20 m": "worldcereal_000028085BF08E7E",
    "Tanzania 20 m": "worldcereal_2021_TZA_COPERNI",
}
BANDS = ["B05", "B06", "B07", "B8A", "B11", "B12"]
NAME = "carf-bandwise"
SHIPPED = "carf-series-l2a-demo"
FINE = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
LABEL = "CARF, fitted on the other two sites"
WEIGHTS = Path(xcf.__file__).parent / "models" / "weights"
RIVALS = [
    "last-clear",
    "nearest-date",
    "linear-time",
    "median",
    "median+offset",
    "area-regression",
    "area-regression+nearby",
]
STEPS = 600
DEMONSTRATION = True


def site(name):
    """One of the series."""
    return load(Path(os.environ["XCLOUDFREE_DATA"]) / "series" / SITES[name])


def fitted(left_out, keep):
    """Network fitted on all sites but one, or what was kept of an earlier call."""
    path = keep / f"without-{left_out or 'none'}.safetensors".replace(" ", "-")
    if path.is_file():
        return xcf.models.load(path)
    names = [name for name in SITES if name != left_out]
    series = [ground_only(site(name))[[*BANDS, "VV", "VH", "SCL"]] for name in names]
    start = xcf.models.create(NAME, optical_bands=BANDS, level="BOA")
    begun = time.process_time()
    model = fit(
        series, start, steps=STEPS, batch=8, crop=32, learning_rate=2e-3, loss="l1-cloud",
        alpha=1.0, simulated=0.0, mask="scl", recipe=Recipe(weight_decay=0.01),
        cache=keep / "views", log=keep / f"log-{path.stem}", progress=False, device="cpu",
    )  # fmt: skip
    print(f"{path.stem}: {time.process_time() - begun:.0f} CPU-seconds", flush=True)
    model.save(path)
    return model


def ship(keep, metrics):
    """Put the weights of all sites among those of the library."""
    model = fitted(None, keep).for_bands(FINE)
    spec = model.spec.replace(
        name=SHIPPED,
        demonstration=DEMONSTRATION,
        training_data="three Sentinel-2 L2A series with Sentinel-1 (sigma0) of the WorldCereal "
        "extraction, two in Belgium of 16 months, one in Tanzania of 24",
        licence="Apache-2.0; fitted on modified Copernicus Sentinel data in a public collection "
        "whose licence for redistribution was not confirmed",
        metrics=metrics,
    )
    Model(spec, model.network).save(WEIGHTS / f"{SHIPPED}.safetensors")


def judged(name, keep, dates, gaps=(0, 15, 30, 45)):
    """Figures of all methods on clear dates of a site, hidden under clouds of others or wholly."""
    series, model = site(name), fitted(name, keep)
    bands = [n for n in series.data_vars if n.startswith("B")]
    cases = xcf.benchmarking.hidden_dates(
        series, region=name, gaps=gaps, kinds=("partial", "full"), count=dates
    )
    methods = {rival: rival for rival in RIVALS} | {LABEL: model.for_bands(bands)}
    return xcf.benchmark(cases, methods, folder=keep / "records")


def tables(results):
    """The figures of each site, and of all the cells how many the network wins."""
    lines = []
    for name, result in results.items():
        count = int((result.kind == "full").sum()) // len(set(result.gap.values.tolist()))
        lines.append(f"**{name}**, fitted on the other two; {count} dates.")
        for metric in ("psnr", "mae"):
            lines.append(f"{xcf.benchmarking.NAMES[metric]} of the hidden pixels:")
            lines.append(
                xcf.benchmarking.to_markdown(
                    result, by=("kind", "gap"), metrics=[metric], notes=False
                )
            )
        lines.append(summary(name, result))
    return "\n\n".join(lines)


def figures(site, result):
    """Metrics for the specification: of the network, mean over the cases of a site it never saw."""
    for kind, word in (("partial", "partly"), ("full", "wholly")):
        for metric, digits in (("psnr", 2), ("mae", 4)):
            value = result.value.sel({"method": LABEL, "metric": metric, "pixels": "cloudy"})
            mean = float(value.where(result.kind == kind).mean())
            yield f"{site}, {word} hidden: {metric}", round(mean, digits)


def summary(site, result):
    """The lead over each rival, kind by kind, and where it is none."""
    value = result.value.sel(metric="psnr", pixels="cloudy")
    lines = ["| PSNR minus that of | partial | full | ahead, of all cases |", "|---|---|---|---|"]
    for rival in RIVALS:
        lead = value.sel({"method": LABEL}) - value.sel({"method": rival})
        cells = []
        for kind in ("partial", "full"):
            cases = lead.where(lead.kind == kind, drop=True).dropna("case")
            days = [str(c).removeprefix(f"{site} ")[:10] for c in cases.case.values]
            each = cases.assign_coords(day=("case", days)).groupby("day").mean().values
            cells.append(f"{each.mean():+.2f} ± {each.std(ddof=1) / len(each) ** 0.5:.2f}")
        lines.append(f"| {rival} | {' | '.join(cells)} | {100 * float((lead > 0).mean()):.0f} % |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["fit", "judge"])
    parser.add_argument("--keep", type=Path, default=Path("out/context-weights"))
    parser.add_argument("--dates", type=int, default=12)
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    if options.what == "fit":
        for name in [*SITES, None]:
            fitted(name, options.keep)
        return
    results = {name: judged(name, options.keep, options.dates) for name in SITES}
    text = tables(results)
    print(text)
    ship(options.keep, {key: v for name, r in results.items() for key, v in figures(name, r)})
    put(WEIGHTS / f"{SHIPPED}.md", "judge", text)


if __name__ == "__main__":
    main()

"""The tables of the cards and of docs/results.md, from what l2a_weights.py found."""

from __future__ import annotations

import numpy as np
import xarray as xr
from l2a_data import SNOW
from results_pages import METRICS

from xcloudfree import judge as bench

KINDS = {"partial": "under real clouds of two other dates each", "full": "with all of it hidden"}


def card(found: xr.Dataset, name: str, real: xr.Dataset | None) -> str:
    """What stands between the markers of a card."""
    partly, wholly = parts(without_snow(found))
    snow, _ = parts(only_snow(found))
    lines = [
        f"PSNR in dB of the hidden pixels, {partly.sizes['case']} cases of "
        f"{len(set(partly.region.values.tolist()))} places, each tested with weights fitted "
        "without its group; the best of each row is bold:",
        by_case(partly),
        "Means over these cases, hidden pixels:",
        bench.to_markdown(partly, by=[], metrics=METRICS, notes=False),
        leads(partly, name),
        "The same images wholly hidden, so that nothing in them shows the brightness of the place:",
        by_case(wholly),
        leads(wholly, name),
        "Snow, on which nothing was fitted, PSNR in dB:",
        by_case(snow),
    ]
    if real is not None:
        for kind, words in KINDS.items():
            chosen = real.isel(case=real.kind.values == kind)
            dates = len({str(case).split(" under")[0] for case in chosen.case.values})
            lines += [
                f"The Belgian series, which these weights were not fitted on: {dates} clear dates "
                f"{words}:",
                bench.to_markdown(chosen, by=[], metrics=METRICS, notes=False),
            ]
    return "\n\n".join(lines)


def page(found: xr.Dataset, name: str) -> str:
    """The means, for docs/results.md."""
    partly, wholly = parts(without_snow(found))
    return "\n\n".join(
        [
            "Partly hidden:",
            bench.to_markdown(partly, by=[], metrics=METRICS, notes=False),
            "Wholly hidden:",
            bench.to_markdown(wholly, by=[], metrics=METRICS, notes=False),
        ]
    )


def parts(found: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Cases with something visible, and without, there with the rows that have a value."""
    whole = found.kind.values == "whole"
    wholly = found.isel(case=whole)
    has = wholly.value.sel(metric="psnr", pixels="cloudy").notnull().any("case").values
    return found.isel(case=~whole), wholly.isel(method=has)


def figures(found: xr.Dataset, name: str) -> dict[str, float]:
    """Metrics for the specification."""
    own = parts(without_snow(found))[0].value.sel({"method": name, "pixels": "cloudy"}).mean("case")
    words = "partly hidden by simulated clouds, places never seen"
    return {
        f"{words}: {metric}": round(float(own.sel(metric=metric)), digits)
        for metric, digits in (("psnr", 2), ("mae", 4))
    }


def without_snow(found: xr.Dataset) -> xr.Dataset:
    """Cases that the weights are for."""
    return found.isel(case=[not _snow(case) for case in found.case.values])


def only_snow(found: xr.Dataset) -> xr.Dataset:
    """The others."""
    return found.isel(case=[_snow(case) for case in found.case.values])


def by_case(found: xr.Dataset) -> str:
    """PSNR of every case, a row each, and their mean."""
    methods = found.method.values.tolist()
    psnr = found.value.sel(metric="psnr", pixels="cloudy").transpose("case", "method").values
    share = (found["count"].sel(pixels="cloudy") / found["count"].sel(pixels="all")).max("method")
    lines = ["| | hidden | " + " | ".join(methods) + " |", "|---" * (len(methods) + 2) + "|"]
    for case, part, values in zip(found.case.values, share.values, psnr, strict=True):
        lines.append(f"| {_short(case)} | {100 * part:.0f} % | {_cells(values)} |")
    lines.append(f"| mean | | {_cells(psnr.mean(0))} |")
    return "\n".join(lines)


def leads(found: xr.Dataset, name: str) -> str:
    """The lead over each row: mean over places with its standard error, and where it is one."""
    psnr = found.value.sel(metric="psnr", pixels="cloudy")
    lines = [f"| PSNR of {name} minus that of | mean of places | ahead |", "|---|---|---|"]
    for row in found.method.values.tolist():
        if row == name:
            continue
        lead = psnr.sel({"method": name}) - psnr.sel({"method": row})
        each = lead.groupby("region").mean().values
        error = each.std(ddof=1) / np.sqrt(len(each))
        ahead = f"{int((lead > 0).sum())} of {lead.size} cases"
        places = f"{int((each > 0).sum())} of {len(each)} places"
        lines.append(f"| {row} | {each.mean():+.2f} ± {error:.2f} dB | {places}, {ahead} |")
    return "\n".join(lines)


def _cells(values: np.ndarray) -> str:
    best = np.nanmax(np.round(values, 2))
    return " | ".join(f"**{v:.2f}**" if round(v, 2) == best else f"{v:.2f}" for v in values)


def _snow(case: str) -> bool:
    return any(name in str(case) for name in SNOW)


def _short(case: str) -> str:
    """Place, patch or date, kind of cloud."""
    place, _, rest = str(case).partition(" ")
    patch, _, kind = rest.partition(", ")
    words = patch.split("_")
    date = " ".join([words[2][:8], *words[-2:]]) if patch.startswith("S2") else words[-1]
    return f"{place} {words[1] if words[0] == 'terramind' else date}, {kind}"

"""Single Level-2A dates under their own clouds, against clear dates a few days before and after.

    python examples/near_dates.py

Needs XCLOUDFREE_DATA. A cloudy date of a series is given alone. Its truth is the straight line in
time between the nearest clear dates within NEAR days on either side, where these differ by less
than ALIKE on the mean over bands. Clear is what both the mask of the single date and that of the
series call clear. One spectrum, the ridge and the mask that looks for haze are fitted on other
regions.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import xarray as xr
from haze_mask import between, every_row, fitted
from numpy.typing import NDArray
from one_date_networks import SIDE, fused
from results_pages import put
from scipy.ndimage import binary_dilation
from series_data import load
from training_data import BANDS, DATA, RADAR, Case, clear_pairs

import xcloudfree as xcf
from xcloudfree.judge.baselines import Ridge, TrainingImage, fit_ridge
from xcloudfree.masks import haze_network as haze
from xcloudfree.masks.resolve import MARGINS
from xcloudfree.masks.scores import dilate

SERIES = {
    "worldcereal_00002806639B424A": "Belgium 10 m",
    "worldcereal_000028085BF08E7E": "Belgium 20 m",
    "worldcereal_2021_TZA_COPERNI": "Tanzania",
    "boadella_l2a": "Boadella",
    "bolzano_2022": "Bolzano",
}
"""Folders and names of the sites."""

COVER, JUDGED = (0.05, 0.98), 60
"""Least and largest hidden share of a date, and least number of pixels with a truth."""

GROWN = (2, 4, 8)
"""Pixels by which the mask is extended."""

BASE, HAZE = "kernel-fusion", "kernel-fusion, haze masked too"


@click.command()
@click.option("--page", type=click.Path(path_type=Path), help="With the two markers in it.")
def main(page: Path | None) -> None:
    """PSNR of the hidden pixels, means over the dates of each site."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pairs, rows, found = list(clear_pairs("BOA")), every_row(), defaultdict(list)
    ridge = fit_ridge([TrainingImage(c.truth, c.radar, c.region) for c in pairs])
    regions = {c.region: [] for c in pairs}
    for c in pairs:
        regions[c.region].append(c.truth.mean((1, 2)))
    spectrum = np.median([np.mean(spectra, 0) for spectra in regions.values()], 0)
    layers: dict[str, haze.Layers] = {}
    for case in near_dates():
        country = case.region.split()[0]
        if country not in layers:
            weights = fitted([r for r in rows if r.region.split()[0] != country])
            layers[country] = haze.layers_of(weights)
        values = {
            row: psnr(estimate, case.truth)
            for row, estimate in estimates(case, ridge, spectrum, layers[country]).items()
        }
        for row, value in values.items():
            found[row, case.region].append(value)
        click.echo(f"{case.region} {case.name} " + " ".join(f"{v:.2f}" for v in values.values()))
    text = f"{table(found)}\n\n{compared(found)}"
    click.echo(text)
    if page is not None:
        put(page, "near-dates", text)


def near_dates() -> Iterator[Case]:
    """Cloudy dates of the series, each alone; the truth is NaN where it is not known."""
    for folder, region in SERIES.items():
        series = load(DATA / "series" / folder).transpose("time", "y", "x")
        series = series.isel(y=slice(SIDE), x=slice(SIDE))
        bands = tuple(band for band in BANDS["BOA"] if band in series)
        values, radar = (
            np.stack([series[name].values for name in names], 1) if names[0] in series else None
            for names in (bands, RADAR)
        )
        days = (series.time.values - series.time.values[0]) / np.timedelta64(1, "D")
        dates = (series.isel(time=n, drop=True) for n in range(len(days)))
        start = "scl" if "SCL" in series else "l2a"
        options = {"method": start, "dilate": MARGINS[start]}
        alone = np.stack([date.cloudfree.mask(**options).values for date in dates])
        alone |= ~np.isfinite(values).all(1)
        clear = ~(alone | series.cloudfree.mask("auto").values)
        for n, mask in enumerate(alone):
            truth = between(values, clear, days, n)
            judged = mask & np.isfinite(truth).all(0)
            if COVER[0] < mask.mean() < COVER[1] and judged.sum() >= JUDGED:
                name, shown = f"{series.time.values[n]:.10}", None if radar is None else radar[n]
                truth = np.where(judged, truth, np.nan)
                yield Case(region, name, "BOA", "near", values[n], truth, shown, mask, bands)


def estimates(
    case: Case, ridge: Ridge, spectrum: NDArray, layers: haze.Layers
) -> dict[str, NDArray]:
    """Every row's estimate (band, y, x), NaN where it has none."""
    cloudy, radar, mask = case.cloudy, case.radar, case.mask()
    nothing, index = np.full_like(cloudy, np.nan), [BANDS["BOA"].index(b) for b in case.bands]
    planes = dict(zip(case.bands, cloudy, strict=True))
    hazy = dilate(mask | haze.hazy(planes, mask, False, layers), MARGINS["haze"])
    masks = {BASE: mask, HAZE: hazy}
    for steps in GROWN:
        wider = binary_dilation(mask, np.ones((3, 3)), iterations=steps)
        masks[f"{BASE}, mask {steps} px wider"] = wider
    rows = {
        row: nothing if hidden.all() else fused(cloudy, radar, hidden)[0]
        for row, hidden in masks.items()
    }
    rows["clear mean"] = np.broadcast_to(cloudy[:, ~mask].mean(1)[:, None, None], cloudy.shape)
    hidden = xr.DataArray(mask, dims=("y", "x"))
    for name in ("idw", "kriging", "regression-kriging"):
        try:
            out = case.scene.cloudfree.reconstruct(name, mask=hidden, blend=None)
        except xcf.exceptions.CloudFreeError:  # without radar
            rows[name] = nothing
        else:
            rows[name] = np.stack([out[band].values for band in case.bands])
    rows["ridge on radar"] = nothing if radar is None else ridge.predict(radar)[index]
    rows["one spectrum"] = np.broadcast_to(spectrum[index, None, None], cloudy.shape)
    return rows


def psnr(estimate: NDArray, truth: NDArray) -> float:
    """PSNR in dB; NaN if a tenth of the pixels has no estimate."""
    error = ((estimate - truth) ** 2)[:, np.isfinite(truth).all(0)].mean(0)
    known = np.isfinite(error)
    return float(-10 * np.log10(error[known].mean())) if known.mean() > 0.9 else np.nan


def table(found: dict[Any, list[float]]) -> str:
    """Means over the dates of a site; the gain alone, and on how many, if some have no value."""
    rows, sites = (list(dict.fromkeys(key[n] for key in found)) for n in (0, 1))
    head = [f"{site} ({len(found[BASE, site])})" for site in sites]
    lines = ["| PSNR in dB (dates) | " + " | ".join(head) + " |", "|---" * (1 + len(sites)) + "|"]
    for row in rows:
        cells = []
        for site in sites:
            values, base = np.array(found[row, site]), np.array(found[BASE, site])
            known = np.isfinite(values)
            mean, gained = values[known].mean(), (values - base)[known].mean()
            few = f"{gained:+.2f} on {known.sum()}" if known.any() else ""
            cells.append(f"{mean:.2f}" if known.all() else few)
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compared(found: dict[Any, list[float]]) -> str:
    """Means of some masks over the dates that the haze mask leaves visible pixels, and the rest."""
    sites = list(dict.fromkeys(key[1] for key in found))
    lines = [
        "| PSNR in dB | " + " | ".join(f"{site}, visible | nothing left" for site in sites) + " |",
        "|---" * (1 + 2 * len(sites)) + "|",
    ]
    for row in (BASE, HAZE, f"{BASE}, mask {GROWN[0]} px wider", "one spectrum"):
        cells = []
        for site in sites:
            values, answered = np.array(found[row, site]), np.isfinite(found[HAZE, site])
            for part in (values[answered], values[~answered]):
                known = part[np.isfinite(part)]
                few = "" if len(known) in (0, len(part)) else f" on {len(known)} of {len(part)}"
                cells.append(f"{known.mean():.2f}{few}" if len(known) else "")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Single Level-2A dates under their own clouds, against clear dates a few days before and after.

    python examples/one_date_networks.py prepare --level BOA   # what the network is fitted on
    python examples/near_dates.py

Needs XCLOUDFREE_DATA. A cloudy date of a series is given alone, with its default mask. Its truth is
the straight line in time between the nearest clear dates within NEAR days on either side, where
these differ by less than ALIKE on the mean over bands. Clear is what both the mask of the single
date and that of the series call clear. One spectrum, ridge and network are fitted on other regions.
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
from numpy.typing import NDArray
from one_date_networks import KEPT, SIDE, Part, cells_of, fitted, fused, gain, read, usual
from results_pages import put
from scipy.ndimage import binary_dilation
from series_data import load
from training_data import BANDS, DATA, RADAR, Case, clear_pairs

import xcloudfree as xcf
from xcloudfree.judge.baselines import Ridge, TrainingImage, fit_ridge

SERIES = {
    "worldcereal_00002806639B424A": "Belgium 10 m",
    "worldcereal_000028085BF08E7E": "Belgium 20 m",
    "worldcereal_2021_TZA_COPERNI": "Tanzania",
    "boadella_l2a": "Boadella",
    "bolzano_2022": "Bolzano",
}
"""Folders and names of the sites."""

NEAR, ALIKE = 15, 0.03
COVER, JUDGED = (0.05, 0.98), 60
"""Least and largest hidden share of a date, and least number of pixels with a truth."""

GROWN = (2, 4, 8)
"""Pixels by which the mask is extended."""

BASE, NETWORK = "kernel-fusion", "network, pasted clouds"


@click.command()
@click.option("--page", type=click.Path(path_type=Path), help="With the two markers in it.")
def main(page: Path | None) -> None:
    """PSNR of the hidden pixels, means over the dates of each site."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parts, found = read(KEPT / "BOA"), defaultdict(list)
    ridge = fit_ridge([TrainingImage(c.truth, c.radar, c.region) for c in clear_pairs("BOA")])
    spectrum, networks = usual(parts), {}
    for case in near_dates():
        if case.bands not in networks:
            networks[case.bands] = network_for(parts, spectrum, case.bands)
        rows = estimates(case, ridge, spectrum)
        values = {row: psnr(estimate, case.truth) for row, estimate in rows.items()}
        values[NETWORK] = values[BASE] + moved(case, networks[case.bands])
        for row, value in values.items():
            found[row, case.region].append(value)
        click.echo(f"{case.region} {case.name} " + " ".join(f"{v:.2f}" for v in values.values()))
    text = table(found)
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
        alone = np.stack([date.cloudfree.mask("auto").values for date in dates])
        alone |= ~np.isfinite(values).all(1)
        clear = ~(alone | series.cloudfree.mask("auto").values)
        for n, mask in enumerate(alone):
            truth = between(values, clear, days, n)
            judged = mask & np.isfinite(truth).all(0)
            if COVER[0] < mask.mean() < COVER[1] and judged.sum() >= JUDGED:
                name, shown = f"{series.time.values[n]:.10}", None if radar is None else radar[n]
                truth = np.where(judged, truth, np.nan)
                yield Case(region, name, "BOA", "near", values[n], truth, shown, mask, bands)


def between(values: NDArray, clear: NDArray, days: NDArray, date: int) -> NDArray:
    """Straight line in time between the nearest clear dates, NaN where these differ."""
    sides = []
    for sign in (-1, 1):
        value, age = np.full_like(values[0], np.nan), np.full(clear.shape[1:], np.nan)
        away = sign * (days - days[date])
        for n in sorted(np.flatnonzero((away > 0) & (away <= NEAR)), key=lambda n: -away[n]):
            value[:, clear[n]], age[clear[n]] = values[n][:, clear[n]], away[n]
        sides.append((value, age))
    (before, past), (after, future) = sides
    line = before + past / (past + future) * (after - before)
    return np.where(np.abs(after - before).mean(0) < ALIKE, line, np.nan).astype("float32")


def estimates(case: Case, ridge: Ridge, spectrum: NDArray) -> dict[str, NDArray]:
    """Every row's estimate (band, y, x), NaN where it has none."""
    cloudy, radar, mask = case.cloudy, case.radar, case.mask()
    nothing, index = np.full_like(cloudy, np.nan), [BANDS["BOA"].index(b) for b in case.bands]
    rows = {BASE: fused(cloudy, radar, mask)[0]}
    for steps in GROWN:
        wider = binary_dilation(mask, np.ones((3, 3)), iterations=steps)
        rows[f"{BASE}, mask {steps} px wider"] = (
            nothing if wider.all() else fused(cloudy, radar, wider)[0]
        )
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


def network_for(parts: list[Part], spectrum: NDArray, bands: tuple[str, ...]) -> Any:
    """The network, fitted for some bands; None without those that it compares."""
    if not {"B02", "B03", "B04", "B11", "B12"} <= {*bands}:
        return None
    index, start = [BANDS["BOA"].index(band) for band in bands], bands.index("B02")
    planes = ("mean", "unsure", "near", "wide", "error")
    some = [p._replace(**{name: getattr(p, name)[:, index] for name in planes}) for p in parts]
    return fitted(some, spectrum[index], ("pasted",), slice(start, start + 3))


def moved(case: Case, network: Any) -> float:
    """Gain of the network over kernel fusion; NaN without one."""
    mean, deviation = fused(case.cloudy, case.radar, case.mask())
    mean = np.where(np.isfinite(case.truth), mean, np.nan)
    cells = cells_of(case.cloudy, np.nan_to_num(case.truth), case.mask(), mean, deviation)
    if network is None or not len(cells["count"]):
        return np.nan
    part = Part(case.region, "near", **cells)
    part = part._replace(rest=part.rest[:, 0], count=part.count[:, 0])
    return gain(part, network(part))


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


if __name__ == "__main__":
    main()

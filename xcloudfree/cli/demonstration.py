"""The demonstration on a simulated series: from a catalog to pictures, and a table of methods."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

import xcloudfree as xcf
from xcloudfree.core.progress import Progress
from xcloudfree.exceptions import DemonstrationWarning
from xcloudfree.judge.evaluation import table
from xcloudfree.plot import plot
from xcloudfree.reconstruct.compose import Provenance
from xcloudfree.stac import publish, serve

SIZE = 512
SEED = 7
COVER = (0.5, 0.15, 0.9, 0.35, 0.7, 0.2)
"""Cloud cover of each date."""
CHANGE = 0.03
"""Reflectance by which cloud or shadow change a pixel that the mask should have."""
CURVE = 128
"""Side in px of the window for the curve of a place."""
DILATE = 1
"""Pixels by which the mask is extended."""
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
MODEL = "kernel-fusion"
COMPARED = (
    "kernel-fusion",
    "nearest-date",
    "linear-time",
    "median",
    "area-regression",
    "area-regression+nearby",
)


def run(out: Path, *, model: str = MODEL, say: Callable[[str], Any] = print) -> xr.Dataset:
    """Reconstruct and evaluate a simulated series from a local STAC API, and draw it."""
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    shape = (SIZE, SIZE)
    options: dict[str, Any] = {"seed": SEED, "cover": COVER, "dates": len(COVER), "level": "BOA"}
    say(f"1/8 simulating {len(COVER)} dates of Sentinel-1 and Sentinel-2, {SIZE} x {SIZE} px")
    scene = xcf.datasets.simulate_scene(shape, **options)
    truth = xcf.datasets.simulate_truth(shape, **options)[list(BANDS)]
    folder = out / "catalog"
    say(f"2/8 publishing them as COGs and STAC items in {folder}")
    publish(scene, folder)
    with serve(folder) as catalog:
        say(f"3/8 searching {catalog.url} and opening it lazily")
        ds = xcf.stac.load(
            catalog.url,
            bbox=scene.odc.geobox.geographic_extent.boundingbox.bbox,
            like=scene,
            chunks={"x": 256, "y": 256},
        )
        say(repr(ds.cloudfree))
        say("4/8 masking cloud and shadow, and reading the rest")
        series = ds[[*BANDS, "VV", "VH"]]
        hidden = ds.cloudfree.mask(dilate=DILATE, shadow=None)
        observed = series.assign(cloudy=hidden).compute()  # once, for all the steps that follow
        cloudy, observed = observed.cloudy, observed.drop_vars("cloudy")
        say(f"5/8 reconstructing with {model}, block by block, into {out / 'cloudfree.zarr'}")
        lazy = series.cloudfree.reconstruct(model=model, mask=cloudy)
        stored = xcf.io.to_zarr(lazy, out / "cloudfree.zarr", mode="overwrite").compute()
    truth = truth.assign_coords(time=observed.time)
    found, lost = _mask_against(truth, observed, cloudy)
    say(
        f"    the mask has {found:.0%} of the pixels that cloud or shadow change by more than "
        f"{CHANGE:g}, and {lost:.0%} of the others"
    )
    others = _others(observed, cloudy, model, say)
    judged = _filled_by_all(cloudy, [stored, *others.values()])
    share = judged.sum().item() / cloudy.sum().item()
    say(f"    on the {share:.0%} of the hidden pixels that all fill")
    result = xcf.evaluate(stored, truth, mask=judged, observed=observed, others=others).compute()
    tables = [table(result), table(result.sel(pixels=["cloudy"]), per_image=True)]
    (out / "metrics.md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    shown = {"time": int(abs(cloudy.mean(["y", "x"]) - 0.5).argmin("time"))}
    say("7/8 writing a COG of one date")
    xcf.io.to_cog(stored[list(BANDS)].isel(shown), out / "cloudfree.tif")
    say("8/8 drawing that date (demo.png, swipe.html) and all of them (series.png, calendar.png)")
    figure = plot(
        stored.isel(shown),
        observed=observed.isel(shown),
        truth=truth.isel(shown),
        mask=cloudy.isel(shown),
    )
    figure.savefig(out / "demo.png", dpi=110)
    strip = xcf.plot.series(stored, observed=observed, mask=cloudy)
    strip.savefig(out / "series.png", dpi=110)
    xcf.plot.calendar(observed, cloudy).savefig(out / "calendar.png", dpi=110)
    xcf.plot.swipe(stored, out / "swipe.html", observed=observed, mask=cloudy, index=shown["time"])
    if model == MODEL:
        say("    and the NDVI of a place with its deviation (ndvi.png)")
        _curve(observed, cloudy).savefig(out / "ndvi.png", dpi=110)
    say(
        f"\nHidden pixels, mean over the dates (metrics.md has each date); prediction is {model}:"
        f"\n\n{table(result.sel(pixels=['cloudy']))}"
    )
    say(f"\n{out.resolve()}: " + ", ".join(sorted(p.name for p in out.iterdir())))
    say(f"done in {time.monotonic() - start:.0f} s")
    return result


def _curve(observed: xr.Dataset, cloudy: xr.DataArray) -> Any:
    """The NDVI of the place that varies most in time, from a window around it."""
    window = {dim: slice(0, CURVE) for dim in ("y", "x")}
    near, hidden = observed.isel(window), cloudy.isel(window)
    out = near.cloudfree.reconstruct(MODEL, mask=hidden, uncertainty=True)
    spread = out.B08.std("time").where(~hidden.all("time"))
    place = spread.stack(place=("y", "x")).idxmax().item()
    return xcf.plot.series(out, at=place[::-1], of="NDVI", observed=near, mask=hidden)


def _mask_against(
    truth: xr.Dataset, observed: xr.Dataset, cloudy: xr.DataArray
) -> tuple[float, float]:
    """Shares of what the sky changed, and of the other pixels, that the mask has."""
    seen = observed[list(BANDS)].to_dataarray()
    change = abs(seen - truth.to_dataarray()).max("variable") > CHANGE
    return float(cloudy.where(change).mean()), float(cloudy.where(~change).mean())


def _filled_by_all(cloudy: xr.DataArray, made: list[xr.Dataset]) -> xr.DataArray:
    """Hidden pixels that every method fills: some leave gaps without any clear view."""
    for out in made:
        if "provenance" in out:
            cloudy = cloudy & (out.provenance == Provenance.RECONSTRUCTED).values
    return cloudy


def _others(
    observed: xr.Dataset, cloudy: xr.DataArray, model: str, say: Callable[[str], Any]
) -> dict[str, xr.Dataset]:
    """Baselines: one value per band, and other methods and networks."""
    names = [name for name in COMPARED if name != model]
    say(f"6/8 comparing with the simulated truth, next to {', '.join(names)}")
    bands = observed[list(BANDS)]
    made = {"mean of the clear pixels": bands.where(~cloudy, bands.where(~cloudy).mean(["y", "x"]))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DemonstrationWarning)
        with Progress("comparing", len(names)) as bar:
            for name in names:
                made[name] = observed.cloudfree.reconstruct(model=name, mask=cloudy).compute()
                bar.step(name)
    return made

"""The whole path on one page: catalog, mask, reconstruction, storage, judgement, picture."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

import xcloudfree as xcf
from xcloudfree.exceptions import DemonstrationWarning
from xcloudfree.plot import plot
from xcloudfree.tables import table

SIZE = 512
SEED = 7
COVER = (0.5, 0.15, 0.9, 0.35, 0.7, 0.2)
"""Share of cloud of each date."""
DILATE = 6
"""Pixels by which the mask of the simulated scene is extended: thin rims are missed."""
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SERIES, PATCHES = "area-regression", "carf-small-demo"
"""What reconstructs unless the caller chooses: a series of dates, or single images."""
COMPARED = (
    "nearest-date",
    "linear-time",
    "median",
    "area-regression",
    "area-regression+nearby",
    "carf-series-l2a-demo",
    "carf-small-l2a-10-demo",
)


def run(
    out: Path,
    *,
    data: Path | None = None,
    model: str | None = None,
    say: Callable[[str], Any] = print,
) -> xr.Dataset:
    """Run the demonstration.

    Parameters
    ----------
    out : Path
        Folder for the results; made if absent.
    data : Path, optional
        Folder in the layout of SEN12MS-CR; by default a simulated series behind a STAC API on this
        machine.
    model : str, optional
        Name or path of the model; by default a regression for the series, and the demonstration
        weights for single images.
    say : callable
        Where the words go.

    Returns
    -------
    Dataset
        Metrics, see :func:`xcloudfree.evaluate`.
    """
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    model = model or (SERIES if data is None else PATCHES)
    result = _simulated(out, model, say) if data is None else _patches(out, data, model, say)
    (out / "metrics.md").write_text(table(result) + "\n")
    say(f"\nprediction: {model}\n\n" + table(result))
    say(f"\n{out.resolve()}: " + ", ".join(sorted(p.name for p in out.iterdir())))
    say(f"done in {time.monotonic() - start:.0f} s")
    return result


def _simulated(out: Path, model: str, say: Callable[[str], Any]) -> xr.Dataset:
    from xcloudfree.stac import publish, serve

    shape = (SIZE, SIZE)
    options: dict[str, Any] = {"seed": SEED, "cover": COVER, "dates": len(COVER), "level": "BOA"}
    say(f"1/7 simulating {len(COVER)} dates of Sentinel-1 and Sentinel-2, {SIZE} x {SIZE} px")
    scene = xcf.datasets.simulate_scene(shape, **options)
    truth = xcf.datasets.simulate_truth(shape, **options)[list(BANDS)]
    folder = out / "catalog"
    say(f"2/7 publishing them as COGs and STAC items in {folder}")
    publish(scene, folder)
    with serve(folder) as catalog:
        say(f"3/7 searching {catalog.url} and opening it lazily")
        ds = xcf.stac.load(
            catalog.url,
            bbox=scene.odc.geobox.geographic_extent.boundingbox.bbox,
            like=scene,
            chunks={"x": 256, "y": 256},
        )
        say(repr(ds.cloudfree))
        say(f"4/7 reconstructing with {model}, block by block, into {out / 'cloudfree.zarr'}")
        hidden = ds.cloudfree.mask("l2a", dilate=DILATE)
        series = ds[[*BANDS, "VV", "VH"]]
        lazy = series.cloudfree.reconstruct(model=model, mask=hidden)
        stored = xcf.io.to_zarr(lazy, out / "cloudfree.zarr", mode="overwrite").compute()
        observed = series.assign(cloudy=hidden).compute()
    cloudy, observed = observed.cloudy, observed.drop_vars("cloudy")
    truth = truth.assign_coords(time=observed.time)
    others = _others(observed, cloudy, model, say)
    result = xcf.evaluate(stored, truth, mask=cloudy, observed=observed, others=others).compute()
    say("\n" + table(result.sel(pixels=["cloudy"]), per_image=True))
    shown = {"time": int(abs(cloudy.mean(["y", "x"]) - 0.5).argmin("time"))}
    say("6/7 writing a COG of one date")
    xcf.io.to_cog(stored[list(BANDS)].isel(shown), out / "cloudfree.tif")
    say("7/7 drawing that date, demo.png, and all of them, series.png")
    figure = plot(
        stored.isel(shown),
        observed=observed.isel(shown),
        truth=truth.isel(shown),
        mask=cloudy.isel(shown),
    )
    figure.savefig(out / "demo.png", dpi=110)
    strip = xcf.plot.series(stored, observed=observed, mask=cloudy)
    strip.savefig(out / "series.png", dpi=110)
    return result


def _others(
    observed: xr.Dataset, cloudy: xr.DataArray, model: str, say: Callable[[str], Any]
) -> dict[str, xr.Dataset]:
    """What the method is judged beside: one value a band, and other methods and networks."""
    names = [name for name in COMPARED if name != model]
    say(f"5/7 judging against the simulated truth, beside {', '.join(names)}")
    bands = observed[list(BANDS)]
    made = {"mean of the clear pixels": bands.where(~cloudy, bands.where(~cloudy).mean(["y", "x"]))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DemonstrationWarning)
        for name in names:
            made[name] = observed.cloudfree.reconstruct(model=name, mask=cloudy).compute()
    return made


def _patches(out: Path, data: Path, model: str, say: Callable[[str], Any]) -> xr.Dataset:
    say(f"1/3 reading {data}")
    patches = xcf.datasets.sen12mscr(data)
    scene = patches.drop_vars("target")
    truth = patches[["target"]].rename(target="s2")
    say(repr(scene.cloudfree))
    say(f"2/3 reconstructing {patches.sizes['patch']} patches with {model}")
    stored = xcf.io.to_zarr(
        scene.cloudfree.reconstruct(model=model), out / "cloudfree.zarr", mode="overwrite"
    )
    mask = scene.cloudfree.mask().compute()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = scene.cloudfree.reconstruct(model=model, blend=None)
    result = xcf.evaluate(
        stored, truth, mask=mask, observed=scene, others={"network everywhere": raw}
    ).compute()
    say(table(result, per_image=True))
    say("3/3 drawing")
    for i, name in enumerate(patches.patch.values):
        figure = plot(
            stored.isel(patch=i),
            observed=scene.isel(patch=i),
            truth=truth.isel(patch=i),
            mask=mask.isel(patch=i),
        )
        figure.savefig(out / f"{name}.png", dpi=110)
    return result

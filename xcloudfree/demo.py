"""The whole path on one page: catalog, mask, reconstruction, storage, judgement, picture."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

import xcloudfree as xcf
from xcloudfree.models.model import Model
from xcloudfree.plot import plot
from xcloudfree.tables import table

SIZE = 1024
SEED = 7
FIT_STEPS = 240
FIT_SEEDS = (21, 22)
DILATE = 6
"""Pixels by which the mask of the simulated scene is extended: eq. 13 misses the thin rims."""


def run(
    out: Path,
    *,
    data: Path | None = None,
    model: str = "carf-small-demo",
    say: Callable[[str], Any] = print,
) -> xr.Dataset:
    """Run the demonstration.

    Parameters
    ----------
    out : Path
        Folder for the results; made if absent.
    data : Path, optional
        Folder in the layout of SEN12MS-CR; by default a simulated scene behind a STAC API on this
        machine.
    model : str
        Name or path of the model.
    say : callable
        Where the words go.

    Returns
    -------
    Dataset
        Metrics, see :func:`xcloudfree.evaluate`.
    """
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    result = _simulated(out, model, say) if data is None else _patches(out, data, model, say)
    (out / "metrics.md").write_text(table(result) + "\n")
    say(f"\nprediction: {model}\n\n" + table(result))
    say(f"\n{out.resolve()}: " + ", ".join(sorted(p.name for p in out.iterdir())))
    say(f"done in {time.monotonic() - start:.0f} s")
    return result


def _simulated(out: Path, model: str, say: Callable[[str], Any]) -> xr.Dataset:
    from xcloudfree.stac import publish, serve

    options: dict[str, Any] = {"seed": SEED, "cover": 0.5, "kind": "mixed"}
    say(f"1/7 simulating a Sentinel-1 and Sentinel-2 scene of {SIZE} x {SIZE} px, seed {SEED}")
    scene = xcf.datasets.simulate_scene((SIZE, SIZE), **options)
    truth = xcf.datasets.simulate_truth((SIZE, SIZE), **options)
    folder = out / "catalog"
    say(f"2/7 publishing it as COGs and STAC items in {folder}")
    publish(scene, folder)
    with serve(folder) as catalog:
        say(f"3/7 searching {catalog.url} and opening it lazily")
        ds = xcf.stac.load(
            catalog.url,
            bbox=scene.odc.geobox.geographic_extent.boundingbox.bbox,
            like=scene,
            chunks={"x": 512, "y": 512},
        )
        say(repr(ds.cloudfree))
        say(f"4/7 reconstructing with {model}, block by block, into {out / 'cloudfree.zarr'}")
        lazy = ds.cloudfree.reconstruct(model=model, dilate=DILATE)
        stored = xcf.io.to_zarr(lazy, out / "cloudfree.zarr", mode="overwrite")
        observed = ds.compute()
    say("5/7 fitting a small network on two clear scenes of other seeds, about a minute")
    own = _fitted()
    own.save(out / "fitted.safetensors")
    refit = observed.cloudfree.reconstruct(model=own, dilate=DILATE)
    say("6/7 writing a COG and judging against the simulated truth")
    xcf.io.to_cog(stored[list(xcf.bands.S2_BANDS)], out / "cloudfree.tif")
    cloudy = observed.cloudfree.mask(dilate=DILATE)
    others = {
        "mean of the clear pixels": _clear_mean(observed, cloudy),
        "carf-tiny fitted here for a minute": refit,
    }
    result = xcf.evaluate(
        stored.compute(), _at(truth, observed), mask=cloudy, observed=observed, others=others
    )
    say("7/7 drawing: demo.png with the shipped weights, fitted.png with those fitted here")
    for name, image in (("demo", stored), ("fitted", refit)):
        figure = plot(image, observed=observed, truth=_at(truth, observed), mask=cloudy)
        figure.savefig(out / f"{name}.png", dpi=110)
    return result


def _fitted() -> Model:
    """What a minute of fitting gives: clear scenes of the same kind under simulated clouds."""
    side = max(64, SIZE // 2)
    clear = [xcf.datasets.simulate_truth((side, side), seed=s) for s in FIT_SEEDS]
    start = xcf.models.create("carf-tiny", base="prior", mask_input=True)
    return xcf.fit(
        clear,
        start,
        target=clear,
        steps=FIT_STEPS,
        batch=4,
        crop=min(96, side),
        learning_rate=3e-3,
        loss="error",
        alpha=0.9,
        simulated=1.0,
    )


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


def _at(truth: xr.Dataset, like: xr.Dataset) -> xr.Dataset:
    """The truth under the times of what was loaded: one date, whatever a catalog calls it."""
    return truth.assign_coords(time=like.time)


def _clear_mean(scene: xr.Dataset, cloudy: xr.DataArray) -> xr.Dataset:
    bands = scene[list(xcf.bands.S2_BANDS)]
    mean = bands.where(~cloudy).mean(["y", "x"])
    return bands.where(~cloudy, mean)

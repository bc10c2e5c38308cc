"""Real patches with a clear truth, one date each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

import xcloudfree as xcf
from xcloudfree.judge.evaluation import table
from xcloudfree.plot import plot

MODEL = "carf-small-demo"


def from_patches(out: Path, data: Path, model: str | None, say: Callable[[str], Any]) -> xr.Dataset:
    """Reconstruct and evaluate every patch of a folder like SEN12MS-CR; see `run`."""
    model = model or MODEL
    say(f"1/3 reading {data}")
    pairs = xcf.datasets.sen12mscr(data)
    scene = pairs.drop_vars("target")
    truth = pairs[["target"]].rename(target="s2")
    say(repr(scene.cloudfree))
    say(f"2/3 reconstructing {pairs.sizes['patch']} patches with {model}")
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
    (out / "metrics.md").write_text(table(result) + "\n", encoding="utf-8")
    say("3/3 drawing")
    for i, name in enumerate(pairs.patch.values):
        figure = plot(
            stored.isel(patch=i),
            observed=scene.isel(patch=i),
            truth=truth.isel(patch=i),
            mask=mask.isel(patch=i),
        )
        figure.savefig(out / f"{name}.png", dpi=110)
    say(f"\nprediction: {model}\n\n" + table(result, per_image=True))
    return result

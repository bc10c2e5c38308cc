"""The default model, and the winner in a table of ``judge()``."""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import xarray as xr

from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import ModelError

AUTO: Final = "auto"
"""Name of the default, which depends on the data."""

JUDGED: Final = "judged"
"""Name of the model that wins on the data's own hidden ground."""

BEST: Final = "kernel-fusion"
"""The model that ``"auto"`` chooses. It takes a series or one date, with Sentinel-1 on all, some or
no dates.

It beats the others on hidden dates of real series, and on single images under real clouds if the
mask has a margin, as all default masks have (docs/results.md).
"""


FIGURES: Final = {"psnr": 3, "mae": 5, "bias": 5, "reconstructed": 4}
"""Columns of the table of judge() that a result carries, and their digits."""


def best_model(scene: Scene) -> tuple[str, str]:
    """Name of the best model for a scene, and the data that it can use."""
    scene.need_bands('model "auto"')
    radar = "with Sentinel-1" if scene.sar is not None else "without Sentinel-1"
    dates = scene.source.sizes["time"] if "time" in scene.lead else 1
    return BEST, f"a series of {dates} dates {radar}" if dates > 1 else f"one date {radar}"


def winner_of(table: xr.Dataset) -> tuple[str, dict[str, str]]:
    """Name of the winner in a table of ``ds.cloudfree.judge()``; reason and table as attributes."""
    winner = table.attrs.get("winner")
    if not winner:
        raise ModelError(
            "the Dataset given as model is no table of judge, or nothing has won in it",
            fix='call ds.cloudfree.reconstruct(model="judged")',
            option="--model judged",
        )
    reason = f"judged best: {table.attrs.get('winner_reason', '')}"
    return str(winner), {"model_reason": reason, "judge_table": _brief(table)}


def _brief(table: xr.Dataset) -> str:
    """The figures of all hidden pixels and bands together, by model and gap, in JSON."""
    whole = table.isel(distance=0, band=0)  # the first label stands for all of them
    models = {
        str(name): {
            figure: [
                round(v, digits) if np.isfinite(v) else None
                for v in whole[figure].sel(model=name).values.tolist()
            ]
            for figure, digits in FIGURES.items()
        }
        for name in table["model"].values
    }
    gaps = [g if np.isfinite(g) else None for g in table["gap"].values.astype(float).tolist()]
    kept = {k: table.attrs[k] for k in ("mask", "seed") if k in table.attrs}
    return json.dumps({"gap_days": gaps, "models": models, **kept})

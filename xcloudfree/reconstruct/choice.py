"""The default model, and the winner in a table of ``judge()``."""

from __future__ import annotations

from typing import Final

import xarray as xr

from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import MissingBandError, ModelError

AUTO: Final = "auto"
"""Name of the default, which depends on the data."""

JUDGED: Final = "judged"
"""Name of the model that wins on the data's own hidden ground."""

BEST: Final = "kernel-fusion"
"""The model that ``"auto"`` chooses. It takes a series or one date, with Sentinel-1 on all, some or
no dates.

It beats the others on hidden dates of real series, and on single images under real clouds if the
mask has a margin (docs/results.md). With a perfect mask, ``"regression-kriging"`` may
be better on single images.
"""


def best_model(scene: Scene) -> tuple[str, str]:
    """Name of the best model for a scene, and the data that it can use."""
    if scene.optical is None:
        raise MissingBandError(
            "reconstructs optical bands and the data has none",
            fix="load some, for example with xcf.stac.load(...)",
            subject='model "auto"',
        )
    radar = "with Sentinel-1" if scene.sar is not None else "without Sentinel-1"
    dates = scene.source.sizes["time"] if "time" in scene.lead else 1
    return BEST, f"a series of {dates} dates {radar}" if dates > 1 else f"one date {radar}"


def winner_of(table: xr.Dataset) -> tuple[str, str]:
    """Name of the winner in a table of ``ds.cloudfree.judge()``, and the reason."""
    winner = table.attrs.get("winner")
    if not winner:
        raise ModelError(
            "the Dataset given as model is no table of judge(), or nothing has won in it",
            fix='call ds.cloudfree.reconstruct(model="judged")',
            option="--model judged",
        )
    return str(winner), f"judged best: {table.attrs.get('winner_reason', '')}"

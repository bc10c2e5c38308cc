"""The default model."""

from __future__ import annotations

from typing import Final

from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import MissingBandError

AUTO: Final = "auto"
"""Name of the default, which depends on the data."""

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

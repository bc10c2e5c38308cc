"""What runs where no model is named."""

from __future__ import annotations

from typing import Final

from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import MissingBandError

AUTO: Final = "auto"
"""Name of the model that the data chooses."""

SERIES: Final = "kernel-fusion"
"""For a series, with Sentinel-1, with it on some dates, or without."""

SINGLE: Final = "kernel-fusion"
"""For images by themselves."""


def best_model(scene: Scene) -> tuple[str, str]:
    """Name of the best model for a scene, and why it is that."""
    if scene.optical is None:
        raise MissingBandError(
            "reconstructs optical bands and the data has none",
            fix="load some, for example with xcf.stac.load(...)",
            subject='model "auto"',
        )
    radar = "Sentinel-1" if scene.sar is not None else "no Sentinel-1"
    dates = scene.source.sizes.get("time", 1) if "time" in scene.lead else 1
    if dates > 1:
        return SERIES, f"a series of {dates} dates with {radar}"
    return SINGLE, f"one date with {radar}"

"""What runs where no model is named."""

from __future__ import annotations

from typing import Final

from xcloudfree.core.scene import Scene
from xcloudfree.exceptions import MissingBandError

AUTO: Final = "auto"
"""Name of the model that the data chooses."""

SERIES: Final = "kernel-fusion"
"""For a series, with Sentinel-1 on all, some or no dates: ahead of the others on hidden dates of
real series (docs/results.md)."""

SINGLE, SINGLE_WITHOUT_RADAR = "regression-kriging", "kriging"
"""For images by themselves: ahead on the mean of 16 clear images under clouds of others, 27.5 and
26.8 dB, where ``"kernel-fusion"`` has 26.6 and ``"idw"`` 26.1."""


def best_model(scene: Scene) -> tuple[str, str]:
    """Name of the best model for a scene, and why it is that."""
    if scene.optical is None:
        raise MissingBandError(
            "reconstructs optical bands and the data has none",
            fix="load some, for example with xcf.stac.load(...)",
            subject='model "auto"',
        )
    radar = "with Sentinel-1" if scene.sar is not None else "without Sentinel-1"
    dates = scene.source.sizes["time"] if "time" in scene.lead else 1
    if dates > 1:
        return SERIES, f"a series of {dates} dates {radar}"
    return (SINGLE if scene.sar is not None else SINGLE_WITHOUT_RADAR), f"one date {radar}"

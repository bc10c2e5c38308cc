"""Coarse images for STARFM where no coarse sensor is given: means of the clear pixels around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.box_sums import FADING_REACH, WIDTHS, fading_sums

REACH: Final = FADING_REACH
"""Pixels beyond a window that influence its coarse images."""


class CoarsePair(NamedTuple):
    """The scene as a coarse sensor would see it on two dates, (band, y, x) on the fine grid."""

    then: NDArray[np.float32]
    now: NDArray[np.float32]


def coarse_pair(
    then: NDArray[np.floating],
    now: NDArray[np.floating],
    clear: NDArray[np.bool_],
    *,
    widths: Sequence[int] = WIDTHS,
) -> CoarsePair:
    """Coarse images of a clear date and of a cloudy one, from their own fine pixels."""
    # The change is averaged over the pixels that both dates show and added to the coarse image of
    # the clear date: change is smoother than reflectance, and a mean over other pixels would be
    # mistaken for it. Moving means, not blocks: the result does not depend on where a grid starts.
    base = fading_mean(then, widths)
    change = fading_mean(np.where(clear, now, np.nan) - then, widths)
    return CoarsePair(base.astype(np.float32), (base + change).astype(np.float32))


def fading_mean(image: NDArray[np.floating], widths: Sequence[int] = WIDTHS) -> NDArray[np.float64]:
    """Mean of the valid pixels around each pixel, near ones weighing most."""
    valid = np.isfinite(image).all(axis=0)
    weight = fading_sums(valid.astype(np.float64), widths)
    out = np.full(image.shape, np.nan)
    for band, mean in zip(image, out, strict=True):
        np.divide(fading_sums(np.where(valid, band, 0), widths), weight, out=mean, where=weight > 0)
    return out

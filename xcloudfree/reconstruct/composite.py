"""Joining a reconstruction with the pixels that were observed."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import scipy
from numpy.typing import NDArray

RADIUS = 8
"""Pixels over which the reconstruction is drawn to the observed pixels around it."""

MARGIN = 3
"""Pixels beside a cloud that are observed but rarely free of it, and not trusted for that."""


class Provenance(IntEnum):
    """Where the value of an output pixel comes from."""

    NODATA = 0
    OBSERVED = 1
    RECONSTRUCTED = 2
    UNRECONSTRUCTABLE = 3


def feather(
    prediction: NDArray[np.float32],
    observed: NDArray[np.float32],
    clear: NDArray[np.bool_],
    radius: int = RADIUS,
    margin: int = MARGIN,
) -> NDArray[np.float32]:
    """Meet the observed pixels without a seam, and without touching them."""
    if radius <= 0 or not clear.any():
        return prediction
    side = 2 * radius + 1
    trusted = scipy.ndimage.minimum_filter(clear, 2 * margin + 1, mode="nearest")
    share = scipy.ndimage.uniform_filter(trusted.astype(np.float32), side, mode="nearest")
    gain = np.minimum(1, 2 * share) / np.maximum(share, 1 / side**2)
    out = prediction.copy()
    for band, (guess, seen) in enumerate(zip(prediction, observed, strict=True)):
        offset = np.where(trusted, seen - guess, 0)
        out[band] += gain * scipy.ndimage.uniform_filter(offset, side, mode="nearest")
    return out

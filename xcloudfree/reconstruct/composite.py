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
    """Meet the observed pixels without a seam, and without touching them.

    The difference between observation and prediction is known on clear pixels. Its local mean is
    added to the prediction near them, and fades with the share of such pixels in the window. Those
    next to a cloud are left out: thin cloud that the mask misses would be carried inwards.

    Parameters
    ----------
    prediction, observed : ndarray
        Reflectance (band, y, x).
    clear : ndarray of bool
        Where `observed` shows the ground, (y, x).
    radius, margin : int
        Pixels over which the correction fades; width of the rim that is left out.

    Returns
    -------
    ndarray of float32
        Corrected prediction, to be used where not `clear`.

    Examples
    --------
    >>> flat = np.zeros((1, 1, 9), np.float32)
    >>> clear = np.array([[True] * 4 + [False] * 5])
    >>> [round(float(v), 2) for v in feather(flat, flat + 0.3, clear, 2, 0)[0, 0, 4:]]
    [0.24, 0.12, 0.0, 0.0, 0.0]
    """
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

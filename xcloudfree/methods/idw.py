"""Inverse-distance weighting: hidden pixels from the nearest clear ones of the same image."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.neighbours import nearest_points

RADIUS: Final = 64
"""Distance in px within which clear pixels share in a value."""

REACH: Final = 128
"""Pixels beyond a window that may influence it: the largest distance of a single nearest pixel."""


def inverse_distance_weighting(
    image: NDArray[np.floating],
    clear: NDArray[np.bool_],
    wanted: NDArray[np.bool_] | None = None,
    *,
    neighbours: int = 12,
    radius: int = RADIUS,
    nearest: int = REACH,
    power: float = 2.0,
) -> NDArray[np.float32]:
    """Fill hidden pixels with the inverse-distance mean of the nearest clear pixels."""
    # All bands share the weights. With fewer than `neighbours` clear pixels within `radius` those
    # there are serve; without any, the nearest one within `nearest`. Farther than that a pixel
    # stays empty: no halo would reach what it should be filled with.
    # Shepard, "A two-dimensional interpolation function for irregularly-spaced data", Proc. 23rd
    # ACM National Conference, 1968.
    clear = clear & ~np.isnan(image).any(axis=0)
    out = np.where(clear, image, np.nan).astype(np.float32)
    points = np.argwhere(clear)
    holes = np.argwhere(~clear if wanted is None else wanted & ~clear)
    known = image[:, clear].T.astype(np.float64)
    left = [holes[:0]]
    for batch in nearest_points(points, holes, neighbours, radius):
        targets = holes[batch.targets]
        some = batch.found[:, 0]
        weight = np.zeros(batch.square.shape)
        np.power(batch.square, -power / 2, out=weight, where=batch.found)
        total = np.zeros((len(targets), len(image)))
        for share, index in zip(weight.T, batch.number.T, strict=True):
            total += share[:, None] * known[np.minimum(index, len(known) - 1)]
        y, x = targets[some].T
        out[:, y, x] = (total[some] / weight[some].sum(axis=1, keepdims=True)).T
        left.append(targets[~some])
    far = np.concatenate(left)
    for batch in nearest_points(points, far, 1, nearest):
        some = batch.found[:, 0]
        y, x = far[batch.targets][some].T
        out[:, y, x] = known[batch.number[some, 0]].T
    return out

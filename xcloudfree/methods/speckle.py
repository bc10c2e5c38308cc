"""Filters of speckle on linear power: refined Lee on one date, Quegan and Yu on all."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.methods.misalignment import moved

Doubles = NDArray[np.float64]

SIDE: Final = 7
"""Rows and columns of the window of both filters."""

REACH: Final = SIDE // 2
"""Pixels beyond a pixel that a filter reads."""


def _halves() -> NDArray[np.float64]:
    """Halves of a window: above, below, left, right of its centre, and beside both diagonals."""
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    sides = (y <= 0, y >= 0, x <= 0, x >= 0, x + y <= 0, x + y >= 0, y <= x, y >= x)
    return np.array(sides, float)


HALVES: Final = _halves()

_OF_EDGE: Final = ((0, 1), (2, 3), (4, 5), (6, 7))
"""The two halves that an edge divides, for each direction of the edge."""


def refined_lee(power: Doubles, looks: float) -> Doubles:
    """An image without speckle, NaN where it has none.

    Lee (1981), Refined filtering of image noise using local statistics: mean and variance come from
    the half of a 7 x 7 window that lies on the pixel's own side of the strongest edge.
    """
    valid = np.isfinite(power)
    filled = np.where(valid, power, 0.0)
    small = _ratio(_sums(filled, np.ones((3, 3))), _sums(valid, np.ones((3, 3))))
    shifted = {  # means of 3 x 3 px two pixels away
        (j, i): moved(moved(small, 2 * j, -2), 2 * i, -1) for j in (-1, 0, 1) for i in (-1, 0, 1)
    }

    def mean(*places: tuple[int, int]) -> Doubles:
        out: Doubles = np.mean([shifted[p] for p in places], axis=0)
        return out

    pairs = (
        (mean((-1, -1), (-1, 0), (-1, 1)), mean((1, -1), (1, 0), (1, 1)), (-1, 0), (1, 0)),
        (mean((-1, -1), (0, -1), (1, -1)), mean((-1, 1), (0, 1), (1, 1)), (0, -1), (0, 1)),
        (mean((-1, -1), (-1, 0), (0, -1)), mean((1, 1), (1, 0), (0, 1)), (-1, -1), (1, 1)),
        (mean((-1, 1), (-1, 0), (0, 1)), mean((1, -1), (1, 0), (0, -1)), (-1, 1), (1, -1)),
    )
    gradient = np.nan_to_num([np.abs(one - other) for one, other, _, _ in pairs])
    direction = gradient.argmax(0)
    own = np.zeros(power.shape, np.intp)
    for k, (_, _, one, other) in enumerate(pairs):
        nearer = np.abs(shifted[one] - shifted[0, 0]) <= np.abs(shifted[other] - shifted[0, 0])
        here = direction == k
        own[here] = np.where(nearer, _OF_EDGE[k][0], _OF_EDGE[k][1])[here]
    centre, spread = np.full(power.shape, np.nan), np.full(power.shape, np.nan)
    for k, half in enumerate(HALVES):
        here = own == k
        if here.any():
            count = _sums(valid, half)
            average = _ratio(_sums(filled, half), count)
            squares = _ratio(_sums(filled**2, half), count)
            centre[here] = average[here]
            spread[here] = np.maximum(squares - average**2, 0)[here]
    noise = 1 / looks
    signal = np.maximum(spread - noise * centre**2, 0) / (1 + noise)
    weight = _ratio(signal, spread)
    return np.where(valid, centre + np.nan_to_num(weight) * (power - centre), np.nan)


def quegan(power: Doubles) -> Doubles:
    """Dates (date, y, x) without speckle, NaN where a date has none.

    Quegan and Yu (2001), Filtering of multichannel SAR images, eq. 7 for independent dates: the
    local mean of a date times the mean, over all dates, of the pixel divided by its local mean.
    """
    valid = np.isfinite(power)
    filled = np.where(valid, power, 0.0)
    box = np.ones((SIDE, SIDE))
    local = np.stack([
        _ratio(_sums(one, box), _sums(there, box)) for one, there in zip(filled, valid, strict=True)
    ])  # fmt: skip
    total, count = np.zeros(power.shape[1:]), np.zeros(power.shape[1:])
    for one, there, mean in zip(filled, valid, local, strict=True):
        total += np.where(there, _ratio(one, mean), 0.0)
        count += there
    return np.where(valid, local * _ratio(total, count), np.nan)


def _sums(image: NDArray[np.generic], kernel: Doubles) -> Doubles:
    """Weighted sums of the neighbourhood of each pixel, 0 beyond the border."""
    out: Doubles = scipy.ndimage.correlate(image.astype(float), kernel, mode="constant")
    return out


def _ratio(one: Doubles, other: Doubles) -> Doubles:
    """Quotients, NaN where the divisor is 0 or NaN."""
    out = np.full(np.shape(one), np.nan)
    np.divide(one, other, out=out, where=other > 0)
    return out

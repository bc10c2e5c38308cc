"""Sums over moving windows that are the same bit for bit wherever the array was cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

SCALE: Final = 2.0**30
"""Steps per unit in which values are summed: whole numbers add up without rounding."""

WIDTHS: Final = (25, 49, 97, 193, 385)
"""Widths in px of the windows that together fade with distance."""

FADE: Final = 4
"""Each window weighs width ** -FADE, so that the sum fades about like distance ** -FADE."""

FADING_REACH: Final = WIDTHS[-1] // 2
"""Pixels beyond a pixel that :func:`fading_sums` reads."""

Doubles = NDArray[np.float64]


def box_sums(plane: NDArray[np.floating], width: int) -> Doubles:
    """Sums over square windows, cut off at the border, in steps of 2^-30.

    Running sums in floating point depend on where they start, and a window of the scene would
    differ from the whole in the last digits; in whole numbers they do not.

    Parameters
    ----------
    plane : numpy.ndarray
        Values (y, x) without NaN, the sum of any window below 2^32.
    width : int
        Of the window in px, odd.

    Returns
    -------
    numpy.ndarray
        (y, x), float64.

    Examples
    --------
    >>> box_sums(np.array([[1.0, 2.0, 3.0, 4.0]]), 3).tolist()
    [[3.0, 6.0, 9.0, 7.0]]
    """
    steps = np.rint(np.asarray(plane, np.float64) * SCALE).astype(np.int64)
    half = width // 2
    for axis in (0, 1):
        size = steps.shape[axis]
        running = np.zeros((size + 1, steps.shape[1 - axis]), np.int64)
        np.cumsum(np.moveaxis(steps, axis, 0), axis=0, out=running[1:])
        place = np.arange(size)
        total = running[np.minimum(place + half + 1, size)] - running[np.maximum(place - half, 0)]
        steps = np.moveaxis(total, 0, axis)
    return steps / SCALE


def fading_sums(plane: NDArray[np.floating], widths: Sequence[int] = WIDTHS) -> Doubles:
    """Weighted sums of the neighbourhood of each pixel, near ones weighing most.

    Windows of several widths are added up, each with weight width ** -4: close pixels lie in all
    of them. The cost does not depend on the widths, and gaps as wide as the widest are bridged.

    Parameters
    ----------
    plane : numpy.ndarray
        Values (y, x) without NaN.
    widths : sequence of int
        In px, odd.

    Returns
    -------
    numpy.ndarray
        (y, x), float64, in units of one value inside the narrowest window.

    Examples
    --------
    >>> fading_sums(np.array([[0.0, 0.0, 0.0, 1.0]]), (3, 5)).round(3).tolist()
    [[0.0, 0.13, 1.13, 1.13]]
    """
    total = np.zeros(plane.shape)
    for width in widths:
        total += (widths[0] / width) ** FADE * box_sums(plane, width)
    return total

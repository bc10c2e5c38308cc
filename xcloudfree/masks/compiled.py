"""Cloud score and mask pixel by pixel, compiled by numba if it is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORTH = 512 * 512
"""Pixels from which compiled code is used; below, numpy finishes before it is loaded."""

PIECE = 64 * 1024
"""Pixels of a strip if planes have to be copied to be contiguous."""

COMPILED = frozenset(["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
"""Types of stored numbers that the code is compiled for."""

_ONE_AT_A_TIME = Lock()


def compiled(loop: Callable[..., None]) -> Callable[..., None] | None:
    """Compiled form of a loop over pixels; None without a numba that works and may compile."""
    with _ONE_AT_A_TIME:
        return _compile(loop)


@cache
def _compile(loop: Callable[..., None]) -> Callable[..., None] | None:
    try:
        numba: Any = import_module("numba")
    except ImportError:
        return None
    if numba.config.DISABLE_JIT:
        return None
    fresh: Callable[..., None] = numba.njit(nogil=True)(loop)
    try:
        kept: Callable[..., None] = numba.njit(nogil=True, cache=True)(loop)
    except RuntimeError:  # no folder for the machine code can be written
        return fresh

    def run(*arguments: Any) -> None:
        try:
            kept(*arguments)
        except OSError:  # the folder is full, or was removed
            fresh(*arguments)

    return run


def mark_pixels(
    b01: NDArray[Any],
    b02: NDArray[Any],
    b03: NDArray[Any],
    b04: NDArray[Any],
    b10: NDArray[Any],
    b11: NDArray[Any],
    out: NDArray[np.bool_],
    kind: type[np.floating[Any]],
    edges: tuple[Any, ...],
    nodata: Any,
    largest: Any,
) -> None:
    """Mask of eq. 14-16; see :class:`xcloudfree.masks.thresholds.Limits`."""
    blue, aerosol, cirrus, visible, sum_above, gap_above, sum_below, gap_below = edges
    for i in range(out.size):
        p01, p02, p03 = kind(b01[i]), kind(b02[i]), kind(b03[i])
        p04, p10, p11 = kind(b04[i]), kind(b10[i]), kind(b11[i])
        cloud = (p02 > blue) & (p01 > aerosol) & (p10 + p01 > cirrus) & (p04 + p03 + p02 > visible)
        total, gap = p03 + p11, p03 - kind(4) * p11
        bright = (total > sum_above) & (gap > gap_above)
        dark = (total < sum_below) & (gap < gap_below)
        good = (p01 != nodata) & (p02 != nodata) & (p03 != nodata)
        good &= (p04 != nodata) & (p10 != nodata) & (p11 != nodata)
        if largest is not None:
            good &= (abs(p01) <= largest) & (abs(p02) <= largest) & (abs(p03) <= largest)
            good &= (abs(p04) <= largest) & (abs(p10) <= largest) & (abs(p11) <= largest)
        out[i] = cloud & good & (not (bright | dark))


def score_pixels(
    b01: NDArray[Any],
    b02: NDArray[Any],
    b03: NDArray[Any],
    b04: NDArray[Any],
    b10: NDArray[Any],
    out: NDArray[np.float32],
    scale: Any,
    offset: Any,
    nodata: Any,
    lows: tuple[float, ...],
    spans: tuple[float, ...],
) -> None:
    """Score of eq. 13."""
    for i in range(out.size):
        r01 = np.float64(np.float32(b01[i]) * scale + offset)
        r02 = np.float64(np.float32(b02[i]) * scale + offset)
        r03 = np.float64(np.float32(b03[i]) * scale + offset)
        r04 = np.float64(np.float32(b04[i]) * scale + offset)
        r10 = np.float64(np.float32(b10[i]) * scale + offset)
        least = (r02 - lows[0]) / spans[0]
        least = min(least, (r01 - lows[1]) / spans[1])
        least = min(least, (r10 + r01 - lows[2]) / spans[2])
        least = min(least, (r04 + r03 + r02 - lows[3]) / spans[3])
        good = (b01[i] != nodata) & (b02[i] != nodata) & (b03[i] != nodata)
        good &= (b04[i] != nodata) & (b10[i] != nodata)
        good &= (abs(r01) < np.inf) & (abs(r02) < np.inf) & (abs(r03) < np.inf)
        good &= (abs(r04) < np.inf) & (abs(r10) < np.inf)
        out[i] = least if good else np.nan

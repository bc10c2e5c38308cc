"""Sums over moving windows that are identical, bit for bit, for any chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import Area

SCALE: Final = 2.0**30
"""Steps per unit in which values are summed: whole numbers add up without rounding."""

WIDTHS: Final = (25, 49, 97, 193, 385)
"""Widths in px of the windows whose sum fades with distance."""

FADE: Final = 4
"""Each window weighs width ** -FADE, so that the sum fades about like distance ** -FADE."""

FADING_REACH: Final = WIDTHS[-1] // 2
"""Pixels beyond a pixel that :func:`fading_sums` reads."""

Doubles = NDArray[np.float64]


def whole_box_sums(
    numbers: NDArray[np.integer[Any]], radius: int, core: Area | None = None
) -> NDArray[np.integer[Any]]:
    """Sums of whole numbers (..., y, x) over the box around each pixel, truncated at the border."""
    if numbers.ndim > 2:
        return np.stack([whole_box_sums(image, radius, core) for image in numbers])
    out = numbers
    for axis in (0, 1):
        size = numbers.shape[axis]
        area = slice(0, size) if core is None else core[axis]
        running = np.zeros((*out.shape[:axis], size + 1, *out.shape[axis + 1 :]), out.dtype)
        before: tuple[slice, ...] = (slice(None),) * axis
        np.cumsum(out, axis, dtype=out.dtype, out=running[(*before, slice(1, None))])
        first, count = area.start + radius + 1, area.stop - area.start
        inside = min(max(size + 1 - first, 0), count)  # boxes that end before the border
        out = np.empty((*out.shape[:axis], count, *out.shape[axis + 1 :]), out.dtype)
        out[(*before, slice(0, inside))] = running[(*before, slice(first, first + inside))]
        out[(*before, slice(inside, None))] = running[(*before, slice(size, None))]
        begun = min(max(radius - area.start, 0), count)  # boxes truncated by the border
        low = slice(area.start + begun - radius, area.stop - radius)
        out[(*before, slice(begun, None))] -= running[(*before, low)]
    return out


def box_sums(plane: NDArray[np.floating], width: int) -> Doubles:
    """Sums over square windows, truncated at the border, in steps of 2^-30."""
    steps = np.rint(np.asarray(plane, np.float64) * SCALE).astype(np.int64)
    return np.asarray(whole_box_sums(steps, width // 2) / SCALE)


def fading_sums(plane: NDArray[np.floating], widths: Sequence[int] = WIDTHS) -> Doubles:
    """Weighted sums of the neighbourhood of each pixel; near pixels weigh most."""
    total = np.zeros(plane.shape)
    for width in widths:
        total += (widths[0] / width) ** FADE * box_sums(plane, width)
    return total

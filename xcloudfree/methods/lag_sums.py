"""What a scene says of its variogram, in sums that add up over its blocks."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

LAGS: Final = (1, 2, 3, 4, 6, 8, 11, 14, 18, 23, 29, 36, 44, 53, 64)
"""Distances in px that are looked at, along four directions."""

REACH: Final = LAGS[-1]
"""Pixels beyond a block that its sums read."""

STRIP: Final = 32
"""Rows whose differences are taken at a time: they stay in the processor's cache."""


def variogram_sums(
    image: NDArray[np.floating],
    clear: NDArray[np.bool_],
    core: tuple[slice, slice] = (slice(None), slice(None)),
) -> Doubles:
    """Sums over a block from which the variogram of the scene follows: they add up over blocks."""
    # Every pair of clear pixels counts, not a random few: with a raster that costs seconds, and
    # needs no seed that all blocks agree on.
    clear = clear & np.isfinite(image).all(axis=0)
    filled = np.where(clear, image, 0).astype(np.float64)
    (y0, y1, _), (x0, x1, _) = (s.indices(n) for s, n in zip(core, clear.shape, strict=True))
    inside = filled[:, y0:y1, x0:x1]
    pairs, distances = np.zeros((2, len(LAGS)))
    squares = np.zeros((len(LAGS), len(image)))
    for lag, (dy, dx) in product(range(len(LAGS)), ((0, 1), (1, 0), (1, 1), (1, -1))):
        step = LAGS[lag] if dy * dx == 0 else max(round(LAGS[lag] / 2**0.5), 1)
        dy, dx = dy * step, dx * step
        top, bottom = y0, min(y1, clear.shape[0] - dy)
        left, right = max(x0, -dx), min(x1, clear.shape[1] - dx)
        if top >= bottom or left >= right:
            continue
        for y in range(top, bottom, STRIP):
            end = min(y + STRIP, bottom)
            here = slice(y, end), slice(left, right)
            there = slice(y + dy, end + dy), slice(left + dx, right + dx)
            both = clear[here] & clear[there]
            pairs[lag] += both.sum()
            distances[lag] += both.sum() * (dy**2 + dx**2) ** 0.5
            for band, plane in enumerate(filled):
                difference = plane[here] - plane[there]
                difference *= both
                squares[lag, band] += np.einsum("yx,yx", difference, difference)
    return np.concatenate(
        [
            [clear[y0:y1, x0:x1].sum()],
            inside.sum(axis=(1, 2)),
            (inside**2).sum(axis=(1, 2)),
            pairs,
            distances,
            squares.ravel(),
        ]
    )


def numbers(bands: int) -> int:
    """Length of what :func:`variogram_sums` returns."""
    return 1 + 2 * bands + len(LAGS) * (2 + bands)

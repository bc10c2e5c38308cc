"""Sample of pixels to learn from, drawn by a hash of their place, independent of the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import ranks

Floats = NDArray[np.float32]
Booleans = NDArray[np.bool_]

LEAST, MOST = 384, 4096
"""Pixels of a sample."""


class Sample(NamedTuple):
    """Series of the drawn pixels."""

    rank: NDArray[np.uint64]  # hash of the place, ascending, (pixel,)
    place: NDArray[np.int64]  # row and column on the scene, (pixel, 2)
    values: Floats  # reflectance, 0 where not clear, (time, pixel, band)
    clear: Booleans  # (time, pixel)
    # local means of backscatter, 0 where missing, (time, pixel, plane); no plane without radar
    radar: Floats
    heard: Booleans  # where there is radar, (time, pixel)


def size_of(dates: int, rows: int) -> int:
    """Pixels to draw from a series of some dates, for about so many pairs of a pixel and a date.

    >>> size_of(24, 24000), size_of(1, 24000), size_of(200, 24000)
    (1000, 4096, 384)
    """
    return min(MOST, max(LEAST, rows // max(1, dates)))


def drawn(
    clear: Booleans, core: Booleans, origin: tuple[int, int], size: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Hash, row and column of a block's clear pixels with the smallest hashes."""
    rank = ranks(origin, core.shape).ravel()
    able = np.flatnonzero(core & clear.any(0))
    best = able[np.argsort(rank[able])[:size]]
    return rank[best], *np.divmod(best, core.shape[1])


def merged(samples: Sequence[Sample], size: int) -> Sample:
    """The sample of several blocks together, in any order."""
    rank = np.concatenate([s.rank for s in samples])
    order = np.argsort(rank)[:size]
    joined = [np.concatenate([getattr(s, n) for s in samples]) for n in ("rank", "place")]
    series = [
        np.concatenate([getattr(s, n) for s in samples], axis=1)[:, order]
        for n in ("values", "clear", "radar", "heard")
    ]
    return Sample(joined[0][order], joined[1][order], *series)

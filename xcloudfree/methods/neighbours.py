"""Nearest clear pixels, in an order that does not depend on how the scene is cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

TILT: Final = (1e-4, 1e-4 * (5**0.5 - 1) / 2)
"""Rows and columns by which targets are moved for the search. Pixels lie on a lattice and many are
equally far; a tree would return any of them. The ratio is irrational, so that no two offsets stay
equally far, and too small to change the order of others: the answer is the same in every window."""

BATCH: Final = 4096
"""Targets whose neighbours are held in memory at a time."""

Integers = NDArray[np.int64]


class Nearest(NamedTuple):
    """Neighbours of some targets, nearest first."""

    targets: slice  # which of the targets
    # which point it is (target, neighbour); the number of points where there is none
    number: Integers
    square: Integers  # squared distance in px^2 (target, neighbour); -1 where there is none

    @property
    def found(self) -> NDArray[np.bool_]:
        """Where a neighbour exists (target, neighbour)."""
        return self.square >= 0


def nearest_points(
    points: Integers, targets: Integers, count: int, radius: float = np.inf
) -> Iterator[Nearest]:
    """The nearest points of each target, batch by batch."""
    count = min(count, len(points))
    if count == 0:
        return
    tree = scipy.spatial.cKDTree(points, balanced_tree=False)
    ranks = np.arange(1, count + 1)
    limit = radius + 0.01 if np.isfinite(radius) else np.inf
    for start in range(0, len(targets), BATCH):
        part = slice(start, min(start + BATCH, len(targets)))
        _, index = tree.query(targets[part] + TILT, k=ranks, distance_upper_bound=limit)
        there = index < len(points)
        offset = points[np.where(there, index, 0)] - targets[part, None]
        square = (offset**2).sum(axis=-1)
        there &= square <= radius**2
        yield Nearest(part, np.where(there, index, len(points)), np.where(there, square, -1))

"""Inverse-distance weighting: hidden pixels from the nearest clear ones of the same image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.methods.base import Method, Option, Prediction, Series, positive, whole

RADIUS: Final = 64
"""Distance in px within which clear pixels contribute to a value."""

REACH: Final = 128
"""Pixels beyond a window that may influence it: the largest distance of a single nearest pixel."""

TILT: Final = (1e-4, 1e-4 * (5**0.5 - 1) / 2)
"""Rows and columns by which targets are shifted for the search. Pixels lie on a lattice and many
are equally far; a tree would return any of them. The ratio is irrational, so that no two offsets
stay equally far, and too small to change the order of others: every window gives the same
result."""

BATCH: Final = 4096
"""Targets whose neighbours are in memory at a time."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class InverseDistance(Method):
    """Inverse-distance mean of the nearest clear pixels."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "neighbours": whole(1, 256),
        "power": Option("a number above 0", positive),
    }

    reach: int = REACH
    neighbours: int = 12  # clear pixels per value
    power: float = 2.0  # weight = distance ** -power

    def predict(self, series: Series, statistics: Sequence[Any] = ()) -> Prediction:
        """See :meth:`Method.predict`; clear pixels keep their values, as with any interpolation."""
        options = {"neighbours": self.neighbours, "power": self.power}
        images = zip(series.reflectance, series.clear, series.wanted, strict=True)
        return Prediction(
            np.stack([inverse_distance_weighting(*i, **options) for i in images])  # type: ignore[arg-type]
        )


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
    # All bands share the weights. With fewer than `neighbours` clear pixels within `radius`, those
    # available are used; without any, the nearest one within `nearest`. A pixel farther away
    # stays empty: no halo would contain the pixels needed to fill it.
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

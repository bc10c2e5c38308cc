"""Medians of the clear dates around a date, band by band or of whole spectra.

As in :mod:`xcloudfree.methods.interpolation`, a date itself never counts, and dates are in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.base import Booleans, Doubles, Floats, Option, positive
from xcloudfree.methods.temporal import Temporal

WINDOW: Final = 30.0
"""Days before and after a date from which the medians use values."""

GROWTH: Final = 1.5
"""Factor by which a window without a clear date is widened until it has one."""

ITERATIONS: Final = 2000
"""Largest number of steps of the geometric median."""

STEP: Final = 1e-8
"""Length of a step in reflectance at which the geometric median ends."""

CHECK: Final = 10
"""Steps of the geometric median after which the nearest point is tested."""


@dataclass(frozen=True)
class Median(Temporal):
    """Median of the clear dates within some days."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "window": Option("days before and after a date, above 0", positive)
    }

    window: float = WINDOW
    geometric: bool = False  # whether all bands are treated together

    def set(self, **options: Any) -> Self:
        """See :meth:`Method.set`; the window appears in the name as in ``median-45d``."""
        found = replace(self, **options)
        return replace(found, name=f"{self.name}-{found.window:g}d")

    def values(
        self, reflectance: Floats, clear: Booleans, days: Doubles, wanted: Booleans
    ) -> Floats:
        """See :attr:`Temporal.values`."""
        median = geometric_median if self.geometric else band_median
        return windowed(reflectance, clear, days, wanted, self.window, median)


def geometric_median(spectra: Floats) -> Floats:
    """The point with the least sum of distances to others."""
    # Weiszfeld, "Sur le point pour lequel la somme des distances de n points donnes est minimum",
    # Tohoku Mathematical Journal 43, 1937; with the step of Vardi and Zhang, "The multivariate
    # L1-median and associated data depth", PNAS 97(4), 2000, where it meets a point. Roberts,
    # Mueller, McIntyre, "High-dimensional pixel composites from Earth observation time series",
    # IEEE TGRS 55(11), 2017.
    valid: Booleans = np.asarray(np.isfinite(spectra).all(axis=1))
    points = np.where(valid[:, None], spectra, 0).astype(np.float64)
    count = valid.sum(0)
    guess = sum_along(points, 0) / np.maximum(count, 1)
    out = guess.copy()
    active = np.flatnonzero(count > 2)
    points, valid, guess = points[..., active], valid[:, active], guess[:, active]
    for iteration in range(ITERATIONS):
        if not active.size:
            break
        pull, total, met = _pull(points, valid, guess)
        force = np.sqrt(sum_along(pull * pull, 0))
        stays = np.where(force > 0, np.minimum(1, met / np.maximum(force, 1e-300)), 1.0)
        move = (1 - stays) * pull / np.maximum(total, 1e-300)
        guess = guess + move
        on = np.sqrt(sum_along(move * move, 0)) > STEP
        if iteration % CHECK == CHECK - 1:
            # towards a point the steps shrink without end: if it is the solution, take it
            nearest, solves = _nearest(points, valid, guess)
            guess = np.where(solves, nearest, guess)
            on &= ~solves
        out[:, active] = guess
        if not on.all():
            active, points = active[on], points[..., on]
            valid, guess = valid[:, on], guess[:, on]
    return np.where(count > 0, out, np.nan).astype(np.float32)


def _pull(
    points: Doubles, valid: Booleans, place: Doubles
) -> tuple[Doubles, Doubles, NDArray[np.int64]]:
    """Sum of the unit vectors to the points, sum of their weights, and points at the place."""
    step = points - place
    distance = np.sqrt(sum_along(step * step, 1))
    met = valid & (distance < 1e-9)
    weight = np.divide(1, distance, out=np.zeros_like(distance), where=valid & ~met)
    return sum_along(weight[:, None] * step, 0), sum_along(weight, 0), met.sum(0)


def _nearest(points: Doubles, valid: Booleans, place: Doubles) -> tuple[Doubles, Booleans]:
    """The nearest point, and whether it is the geometric median: the others pull less than it."""
    step = points - place
    distance = np.where(valid, sum_along(step * step, 1), np.inf)
    nearest = np.take_along_axis(points, distance.argmin(0)[None, None], 0)[0]
    pull, _, met = _pull(points, valid, nearest)
    return nearest, np.asarray(np.sqrt(sum_along(pull * pull, 0)) <= met)


def sum_along(values: Doubles, axis: int) -> Doubles:
    """Sum along an axis in its order; numpy's own changes with the length of other axes."""
    return np.asarray(reduce(np.add, np.moveaxis(values, axis, 0)))


def band_median(values: Floats) -> Floats:
    """Median of the valid values along the first axis, (point, band, pixel)."""
    ordered = np.sort(values, axis=0)  # NaN comes last
    count = np.isfinite(values).sum(0)
    middle = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1)])
    low, high = np.take_along_axis(ordered, middle, axis=0)
    return np.asarray((low + high) / 2, np.float32)


def windowed(
    reflectance: Floats,
    clear: Booleans,
    days: Doubles,
    wanted: Booleans,
    radius: float = WINDOW,
    function: Callable[[Floats], Floats] = band_median,
) -> Floats:
    """A median of the clear values within some days; `GROWTH` widens a window that has none."""
    out = np.full(reflectance.shape, np.nan, np.float32)
    longest = max(radius, float(days[-1] - days[0]))
    for i, day in enumerate(days):
        places, width = np.nonzero(wanted[i]), radius
        while places[0].size:
            near = np.flatnonzero(np.abs(days - day) <= width)
            near = near[near != i]
            seen = clear[near][:, places[0], places[1]]
            some = seen.any(0)
            if some.any():
                chosen = tuple(p[some] for p in places)
                values = reflectance[near][:, :, *chosen]
                spectra = np.where(seen[:, None, some], values, np.float32(np.nan))
                out[i][:, *chosen] = function(spectra)
                places = tuple(p[~some] for p in places)
            if width >= longest:
                break
            width = min(width * GROWTH, longest)
    return out

"""What area regression reads: predictors of a date from the other dates and from its radar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.base import Booleans, Doubles, Floats
from xcloudfree.methods.interpolation import Sides, between, clear_sides
from xcloudfree.methods.regression import local_mean

GAPS: Final = (0.0, 15.0, 30.0, 45.0)
"""Days around a date without anything clear, for each of which there is a regression."""

MEMORIES: Final = (12.0, 40.0)
"""Days after which the weight of a date in the running means falls to 1/e."""

WINDOWS: Final = (1, 3, 9)
"""Widths in pixels of the local means of backscatter."""

STRIP: Final = 4096
"""Pixels that are worked through at once."""


def predictors(bands: int) -> int:
    """Number of predictors with the constant."""
    return 1 + bands * (1 + len(MEMORIES)) + 4 * len(WINDOWS) + 4


def local_means(backscatter: Floats) -> Floats:
    """Backscatter and its means around each pixel."""
    times, count, *size = backscatter.shape
    out = np.empty((times, len(WINDOWS), count, *size), np.float32)
    for place in np.ndindex(times, count):
        for k, width in enumerate(WINDOWS):
            image = backscatter[place]
            mean = image if width == 1 else local_mean(image, width)
            out[place[0], k, place[1]] = np.where(np.isnan(image), np.nan, mean)
    return out.reshape(times, -1, *size)


@dataclass(frozen=True)
class Strip:
    """Some pixels of a series, (time, ..., pixel), with running means from both ends."""

    values: Floats
    clear: Booleans
    radar: Floats
    days: Doubles

    def running(self) -> list[tuple[Doubles, Doubles]]:
        """For each memory the weighted sums of [1, values] up to each date and from it on."""
        weighted = np.concatenate([np.ones_like(self.values[:, :1]), self.values], axis=1)
        weighted = np.where(self.clear[:, None], weighted, 0).astype(np.float64)
        found = []
        for memory in MEMORIES:
            fade = np.exp(-np.diff(self.days) / memory)
            past, future = weighted.copy(), weighted.copy()
            for i in range(1, len(fade) + 1):
                past[i] += fade[i - 1] * past[i - 1]
                future[-i - 1] += fade[-i] * future[-i]
            found.append((past, future))
        return found

    def rows(self, running: list[tuple[Doubles, Doubles]], date: int, gap: float) -> Doubles:
        """Predictors of a date, (1 + predictor, pixel); NaN where one is missing."""
        days, day = self.days, self.days[date]
        before = int(np.searchsorted(days, day - gap, "left")) - 1
        after = int(np.searchsorted(days, day + gap, "right"))
        sides = self.sides[gap]
        here = Sides(sides.before[date][None], sides.after[date][None])
        line = between(self.values[:, :, None], days, date, here)[:, 0]
        means = []
        for memory, (past, future) in zip(MEMORIES, running, strict=True):
            total = np.zeros_like(past[0])
            if before >= 0:
                total += np.exp(-(day - days[before]) / memory) * past[before]
            if after < len(days):
                total += np.exp(-(days[after] - day) / memory) * future[after]
            means.append(total[1:] / np.where(total[:1] > 0, total[:1], np.nan))
        change = self.radar[date] - between(self.radar[:, :, None], days, date, here)[:, 0]
        none = np.float64(np.inf)
        waits = [
            np.where(here.before[0] < 0, none, day - days[here.before[0]]),
            np.where(here.after[0] < 0, none, days[here.after[0]] - day),
        ]
        season = 2 * np.pi * day / 365.25
        size = line.shape[-1]
        constants = [np.full((1, size), v) for v in (np.sin(season), np.cos(season))]
        near = [(1 / (1 + w / MEMORIES[0]))[None] for w in waits]
        return np.concatenate(
            [np.ones((1, size)), line, *means, self.radar[date], change, *constants, *near]
        )

    @cached_property
    def sides(self) -> dict[float, Sides]:
        """Clear dates on both sides for each gap."""
        return {gap: clear_sides(self.clear, self.days, gap) for gap in GAPS}

    def level(self, date: int, least: float = 0.0) -> NDArray[np.int64]:
        """Which gap a pixel has, by position in :data:`GAPS`; -1 without a clear date."""
        # Dates within `least` days, one of these gaps, count as not there.
        before, after = (s[date] for s in self.sides[least])
        day = self.days[date]
        waits = np.minimum(
            np.where(before < 0, np.inf, day - self.days[before]),
            np.where(after < 0, np.inf, self.days[after] - day),
        )
        found = np.searchsorted(GAPS, waits, "left") - 1
        return np.where(np.isfinite(waits), np.maximum(found, 0), -1)


def strips(
    reflectance: Floats, clear: Booleans, radar: Floats, days: Doubles
) -> Iterator[tuple[slice, Strip]]:
    """A series in parts of some thousand pixels each, which bounds the memory of its predictors."""
    times = len(days)
    flat = [a.reshape(times, *a.shape[1:-2], -1) for a in (reflectance, clear, radar)]
    for start in range(0, flat[1].shape[-1], STRIP):
        part = slice(start, start + STRIP)
        cut = [np.ascontiguousarray(a[..., part]) for a in flat]
        yield part, Strip(cut[0], cut[1], cut[2], days)  # type: ignore[arg-type]

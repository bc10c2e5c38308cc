"""Clouds for the clear dates of a series: those of its other dates, or simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.datasets.clouds import simulate_clouds
from xcloudfree.masks.scores import score
from xcloudfree.methods.leave_out import Place
from xcloudfree.train.samples import SEEN

OVERCAST = 0.15
"""Share of samples in which everything is hidden."""

PARTLY = (0.05, 0.95)
"""Shares that a date must hide of a place for its clouds to be laid over another."""

COVER = (0.2, 0.9)
"""Shares of simulated clouds."""


class Sky(NamedTuple):
    """Reflectance under clouds (band, y, x), and what they hide (y, x)."""

    cloudy: NDArray[np.float32]
    hidden: NDArray[np.bool_]


class Skies:
    """Clouds for the dates of a place."""

    def __init__(
        self,
        place: Place,
        share: NDArray[np.float64],
        simulated: float,
        bands: Sequence[str],
        level: str,
    ) -> None:
        self.place, self.simulated, self.bands = place, simulated, tuple(bands)
        self.surface = level == "BOA"
        self.partly = np.flatnonzero((1 - share >= PARTLY[0]) & (1 - share <= PARTLY[1]))
        self.closed = np.flatnonzero(1 - share > PARTLY[1])

    def draw(self, rng: np.random.Generator, date: int) -> Sky:
        """Draw clouds over a date."""
        others = self.partly[self.partly != date]
        if rng.random() < OVERCAST:
            return self.overcast(rng, date)
        if not others.size or rng.random() < self.simulated:
            return self._simulate(rng, date)
        return self._over(date, int(rng.choice(others)))

    def overcast(self, rng: np.random.Generator, date: int) -> Sky:
        """All of a date under the clouds of an overcast one; no data where there is none."""
        own = self.place.reflectance[date]
        all_ = np.ones(own.shape[-2:], bool)
        others = self.closed[self.closed != date]
        if not others.size:
            return Sky(np.full_like(own, np.nan), all_)
        return Sky(self.place.reflectance[rng.choice(others)], all_)

    def _over(self, date: int, donor: int) -> Sky:
        """The clouds of another date, as opaque as their score says."""
        ground, cloud = self.place.reflectance[date], self.place.reflectance[donor]
        hidden = ~self.place.clear[donor]
        opacity = np.ones(hidden.shape, np.float32)
        if {"B01", "B02", "B03", "B04"} <= set(self.bands):
            cirrus = "B10" in self.bands
            found = score(dict(zip(self.bands, cloud, strict=True)), cirrus=cirrus)
            opacity = np.where(np.isfinite(found), np.clip(found, 0, 1), 1).astype(np.float32)
        mixed = ground + opacity * (cloud - ground)
        return Sky(np.where(hidden, mixed, ground), hidden)

    def _simulate(self, rng: np.random.Generator, date: int) -> Sky:
        ground, cover = self.place.reflectance[date], rng.uniform(*COVER)
        sky = simulate_clouds(ground, rng=rng, cover=cover, bands=self.bands, surface=self.surface)
        return Sky(sky.cloudy, (sky.opacity > SEEN) | (sky.shadow > SEEN))

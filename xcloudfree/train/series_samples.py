"""Samples from an area's own series: clear pixels of a date are hidden and predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xcloudfree.core.files import replacing
from xcloudfree.core.passes import same_pass
from xcloudfree.core.scene import Scene
from xcloudfree.datasets.clouds import simulate_clouds
from xcloudfree.exceptions import DataError
from xcloudfree.masks.resolve import Mask
from xcloudfree.masks.scores import score
from xcloudfree.methods.area_regression import GAPS
from xcloudfree.methods.leave_out import Place, without
from xcloudfree.models.spec import ModelSpec
from xcloudfree.train.reading import LeastRecentlyUsed
from xcloudfree.train.samples import SEEN, Batch, symmetry
from xcloudfree.train.series_places import SeriesPlaces

Array = NDArray[np.float32]

OVERCAST = 0.15
"""Share of samples that are wholly hidden."""

PARTLY = (0.05, 0.95)
"""Range of the hidden share of a place on a date whose clouds may be laid over another."""

COVER = (0.2, 0.9)
"""Shares of simulated clouds."""

USABLE = 0.1
"""Share of a place that a date must show to be used."""

AT_ONCE = 4
"""One in so many of these dates is hidden at a time, so that the others remain around it."""

ENOUGH = 16
"""Number of hidden pixels with a known truth that makes a date useful."""


class Sky(NamedTuple):
    """Reflectance under clouds (band, y, x), and the pixels that they hide (y, x)."""

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

    def over(self, rng: np.random.Generator, date: int, known: NDArray[np.bool_]) -> Sky:
        """Clouds over a date that hide some of its visible pixels; if necessary, all of it."""
        for _ in range(8):
            sky = self.draw(rng, date)
            if (sky.hidden & known).sum() >= min(ENOUGH, known.sum()):
                return sky
        return self.overcast(rng, date)

    def overcast(self, rng: np.random.Generator, date: int) -> Sky:
        """All of a date under the clouds of an overcast one; no data if there is none."""
        ground = self.place.reflectance[date]
        everything = np.ones(ground.shape[-2:], bool)
        others = self.closed[self.closed != date]
        if not others.size:
            return Sky(np.full_like(ground, np.nan), everything)
        return Sky(self.place.reflectance[rng.choice(others)], everything)

    def _over(self, date: int, donor: int) -> Sky:
        """The clouds of another date, with opacity from their score."""
        ground, cloud = self.place.reflectance[date], self.place.reflectance[donor]
        hidden = ~self.place.clear[donor]
        opacity = np.ones(hidden.shape, np.float32)
        if {"B01", "B02", "B03", "B04"} <= set(self.bands):
            cirrus = "B10" in self.bands
            scores = score(dict(zip(self.bands, cloud, strict=True)), cirrus=cirrus)
            opacity = np.where(np.isfinite(scores), np.clip(scores, 0, 1), 1).astype(np.float32)
        mixed = ground + opacity * (cloud - ground)
        return Sky(np.where(hidden, mixed, ground), hidden)

    def _simulate(self, rng: np.random.Generator, date: int) -> Sky:
        ground, cover = self.place.reflectance[date], rng.uniform(*COVER)
        sky = simulate_clouds(ground, rng=rng, cover=cover, bands=self.bands, surface=self.surface)
        return Sky(sky.cloudy, (sky.opacity > SEEN) | (sky.shadow > SEEN))


@dataclass(frozen=True)
class View:
    """A place with some dates hidden: (sample, ...) each."""

    dates: NDArray[np.int64]  # positions in the series
    hidden: NDArray[np.bool_]  # hidden pixels, (sample, y, x)
    # reflectance under the clouds, and the context, (sample, plane, y, x). Half precision:
    # 0.0001 at a reflectance of 0.3
    cloudy: NDArray[np.float16]
    context: NDArray[np.float16]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.hidden.nbytes + self.cloudy.nbytes + self.context.nbytes


class SeriesSamples:
    """Random crops of a series under clouds of its other dates, with the truth beneath."""

    # A *view* of a place hides, on some of its dates at once, the pixels covered by clouds of other
    # dates, and recomputes their context from the rest of the series (methods.leave_out.without).
    # Crops are cut from these views, in random symmetries. A view is made when it is first drawn,
    # the same in every run, and kept. No target enters the inputs of its own sample. That applies
    # within this series, so test data must be split off before, with split_series.

    def __init__(
        self,
        data: xr.Dataset | Scene | Sequence[xr.Dataset | Scene],
        *,
        spec: ModelSpec,
        crop: int,
        mask: Mask = "score",
        seed: int = 0,
        simulated: float = 0.0,
        gaps: Sequence[float] = GAPS,
        views: int = 48,
        place: int = 128,
        cache: Path | None = None,
    ) -> None:
        check_gaps(gaps, spec)
        alone = [data] if isinstance(data, (xr.Dataset, Scene)) else list(data)
        self.spec, self.crop, self.seed = spec, crop, seed
        self.simulated, self.gaps, self.views = simulated, tuple(map(float, gaps)), views
        self.series = [SeriesPlaces.read(one, spec, mask, max(place, crop), crop) for one in alone]
        self.cache = cache
        self._kept = LeastRecentlyUsed()

    def mean_spectrum(self) -> Array:
        """Mean of the clear pixels in each band, with equal weights of series."""
        means = []
        for series in self.series:
            place = series.place(0)
            shown = np.where(place.clear[:, None], place.reflectance, np.nan)
            means.append(np.nanmean(shown, axis=(0, 2, 3), dtype=np.float64))
        return np.asarray(np.mean(means, axis=0), np.float32)

    def draw(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw a batch; the target is NaN where the date shows no ground."""
        samples = [self._one(rng) for _ in range(size)]
        *arrays, origins = zip(*samples, strict=True)
        cloudy, target, sar, mask, context = (np.stack(a) for a in arrays)
        return Batch(
            cloudy, target, sar, mask, context if self.spec.context else None, tuple(origins)
        )

    def view(self, number: int, index: int) -> tuple[Place, View]:
        """A view of a series with its place, made if it is not kept."""
        with self._kept.lock:  # one thread at a time loads a place
            place = self.series[number].place(index)
            make = partial(self._stored, number, index, place)
            return place, self._kept.get((number, index), make)

    def _one(self, rng: np.random.Generator) -> tuple[NDArray[np.generic] | str, ...]:
        number, index = int(rng.integers(len(self.series))), int(rng.integers(self.views))
        place, view = self.view(number, index)
        sample = int(rng.integers(len(view.dates)))
        date, hidden = int(view.dates[sample]), view.hidden[sample]
        clear = place.clear[date]
        usable = clear & np.isfinite(place.backscatter[date]).all(0)
        candidates = np.argwhere(hidden & usable)
        centre = candidates[rng.integers(len(candidates))]
        window = tuple(
            slice(start, start + self.crop)
            for start in (
                int(np.clip(rng.integers(p - self.crop + 1, p + 1), 0, n - self.crop))
                for p, n in zip(centre, clear.shape, strict=True)
            )
        )
        target = np.where(usable, place.reflectance[date], np.float32(np.nan))
        planes = (
            view.cloudy[sample].astype(np.float32),
            target,
            place.backscatter[date],
            (hidden | ~clear)[None],
            view.context[sample].astype(np.float32),
        )
        flip, turns = bool(rng.integers(2)), int(rng.integers(4))
        day = self.series[number].times[date].astype("datetime64[D]")
        origin = f"series {number}, {day}, view {index}"
        return (*(symmetry(a[:, *window], flip, turns) for a in planes), origin)

    def _stored(self, number: int, index: int, place: Place) -> View:
        if self.cache is None:
            return self._make(number, index, place)
        sha = hashlib.blake2b(digest_size=12)
        for array in (place.reflectance, place.clear, place.backscatter, place.days):
            sha.update(np.ascontiguousarray(array).tobytes())
        sha.update(repr((self.seed, number, index, self.simulated, self.gaps)).encode())
        sha.update(repr((self.spec.context, self.spec.optical_bands, self.spec.level)).encode())
        path = self.cache / f"view-{sha.hexdigest()}.npz"
        if path.is_file():
            with np.load(path) as stored:
                return View(*(stored[name] for name in ("dates", "hidden", "cloudy", "context")))
        view = self._make(number, index, place)
        self.cache.mkdir(parents=True, exist_ok=True)
        with replacing(path, f"fit(..., cache={str(self.cache)!r})") as partial:
            np.savez(partial, **view.__dict__)
        return view

    def _make(self, number: int, index: int, place: Place) -> View:
        rng = np.random.default_rng([self.seed, number, index])
        share = place.clear.mean((1, 2))
        has_backscatter = np.isfinite(place.backscatter).all(1)
        known = place.clear & has_backscatter
        usable = np.flatnonzero(known.mean((1, 2)) >= min(USABLE, known.mean((1, 2)).max()))
        usable = usable[known[usable].any((1, 2))]
        skies = Skies(place, share, self.simulated, self.spec.optical_bands, self.spec.level)
        dates = np.sort(rng.choice(usable, max(1, len(usable) // AT_ONCE), replace=False))
        clouds = [skies.over(rng, int(date), known[date]) for date in dates]
        gaps = [float(rng.choice(self.gaps)) for _ in dates]
        hidden = np.stack([sky.hidden for sky in clouds])
        seen = hide_twins(place, dates.tolist(), hidden)
        context = without(seen, dates.tolist(), hidden, gaps, self.spec.context)
        return View(
            dates,
            hidden,
            np.stack([sky.cloudy for sky in clouds]).astype(np.float16),
            context.astype(np.float16),
        )


def hide_twins(place: Place, dates: Sequence[int], hidden: NDArray[np.bool_]) -> Place:
    """Hide the same pixels in all images of a pass, since the others show the truth."""
    clear = place.clear.copy()
    for date, gone in zip(dates, hidden, strict=True):
        clear[same_pass(place.days, date)] &= ~gone
    return place._replace(clear=clear)


def check_gaps(gaps: Sequence[float], spec: ModelSpec) -> None:
    """Raise an error for gaps in days that samples cannot have."""
    wrong = [g for g in gaps if g not in GAPS] if "regression" in spec.context else []
    if not gaps or wrong or min(gaps) < 0:
        raise DataError(
            f"gaps are {tuple(gaps)}",
            fix=f"call fit(..., gaps=...) with some of {GAPS}"
            + ("" if "regression" in spec.context else " or other days, 0 or more"),
        )

"""The composite of one period in a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.blocks import Stage
from xcloudfree.core.predictor import Booleans
from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.windows import LARGEST, Area
from xcloudfree.methods import composites as kernel
from xcloudfree.methods.medians import band_median, geometric_median
from xcloudfree.reconstruct.compose import Provenance
from xcloudfree.reconstruct.observe import BYTE, Arrays

COUNT: Final = np.dtype("uint16")

COUNTS: Final = {
    "count": "number of observations in the value",
    "count_reconstructed": "number of reconstructed values in the value",
}
NUMBERS: Final = {
    "age": ("mean distance in days of the values from the middle of the period", "days"),
    "emad": ("Euclidean median absolute deviation from the composite", "1"),
    "smad": ("spectral (cosine) median absolute deviation from the composite", "1"),
    "bcmad": ("Bray-Curtis median absolute deviation from the composite", "1"),
}


@dataclass(frozen=True)
class ComposePeriod(Stage):
    """The composite of the core of a block."""

    method: str
    calibration: Calibration
    days: tuple[float, ...]  # from the middle of the period, in order of time
    length: float  # of the period in days
    reconstructed: bool  # whether flags are a provenance, not a mask
    fill: bool
    stacked: bool  # whether one array contains all bands, after time
    others: int  # leading dimensions beside time

    @property
    def reach(self) -> int:
        """Pixels around a pixel that influence its value."""
        return kernel.REACH if self.method == "best" else 0

    def __call__(
        self, stored: NDArray[Any], flags: NDArray[Any], *deviation: Any, core: Area
    ) -> Arrays:
        """Values, provenance, counts and numbers."""
        head = flags.shape[: self.others]
        if flags.ndim == stored.ndim:  # a single band
            stored = stored[..., None, :, :]
        elif not self.stacked:
            stored = np.moveaxis(stored, self.others, self.others + 1)
        spread = np.moveaxis(deviation[0], self.others, self.others + 1) if deviation else None
        results = []
        for place in np.ndindex(head):
            one = None if spread is None else spread[place]
            results.append(self._series(stored[place], flags[place], one, core))
        return tuple(
            np.stack(part).reshape(*head, *part[0].shape) for part in zip(*results, strict=True)
        )

    def _series(
        self, stored: NDArray[Any], flags: NDArray[Any], deviation: Any, core: Area
    ) -> Arrays:
        """The same of one place along the other dimensions, (time, [band,] y, x)."""
        state = self._state(stored, flags)
        inner = state[:, *core]
        score = None
        if self.method == "best":
            score = np.zeros(inner.shape, np.float32)
            for n, (image, day) in enumerate(zip(state, self.days, strict=True)):
                score[n] = self._score(image, day, core)
        dates, bands = stored.shape[:2]
        rows, columns = inner.shape[1:]
        out: Arrays = (
            np.empty((bands, rows, columns), stored.dtype),
            np.empty((rows, columns), np.uint8),
            np.empty((len(COUNTS), rows, columns), COUNT),
            np.empty((len(NUMBERS), rows, columns), np.float32),
        )
        step = max(1, LARGEST // max(1, dates * bands * columns))
        for start in range(0, rows, step):
            here = slice(start, min(start + step, rows))
            numbers = stored[:, :, *core][:, :, here]
            parts = self._pixels(
                np.ascontiguousarray(numbers),
                _flat(inner[:, here]),
                None if score is None else _flat(score[:, here]),
                None if deviation is None else _flat(deviation[:, :, *core][:, :, here]),
            )
            for whole, part in zip(out, parts, strict=True):
                whole[..., here, :] = part.reshape(*part.shape[:-1], -1, columns)
        return out

    def _state(self, stored: NDArray[Any], flags: NDArray[Any]) -> NDArray[np.uint8]:
        """Provenance of each pixel of each date."""
        measured = self.calibration.valid(stored).all(1)
        state = flags.astype(np.uint8)
        if not self.reconstructed:
            state = np.where(flags, Provenance.UNRECONSTRUCTABLE, Provenance.OBSERVED).astype(BYTE)
            state[~measured] = Provenance.NODATA
        lost = ~measured & (state != Provenance.UNRECONSTRUCTABLE)
        return np.where(lost, np.uint8(Provenance.NODATA), state)

    def _score(self, state: NDArray[np.uint8], day: float, core: Area) -> NDArray[np.float32]:
        occluded = np.asarray(state >= Provenance.RECONSTRUCTED)
        measured = np.asarray(state == Provenance.OBSERVED)
        score = kernel.scores(occluded, measured, day, self.length, core)
        return np.where(state[core] == Provenance.RECONSTRUCTED, score - 1, score)

    def _pixels(
        self,
        stored: NDArray[Any],
        state: NDArray[np.uint8],
        score: NDArray[np.float32] | None,
        deviation: NDArray[np.float32] | None,
    ) -> Arrays:
        """Values (band, pixel), provenance, counts and numbers of a strip."""
        dates = len(stored)
        observed = np.asarray(state == Provenance.OBSERVED)
        filled = np.asarray((state == Provenance.RECONSTRUCTED) & self.fill)
        used = observed | filled
        spectra = _flat(self.calibration.decode(stored))
        spectra[~np.broadcast_to(used[:, None], spectra.shape)] = np.nan
        some = used.any(0)

        # the value, and the dates that enter it
        rests = used
        if self.method in ("medoid", "best") and dates:
            chosen = kernel.medoid(spectra) if score is None else kernel.best(score, used)
            rests = used & (np.arange(dates)[:, None] == chosen)
            values = np.take_along_axis(_flat(stored), chosen[None, None], 0)[0]
            centre = np.take_along_axis(spectra, chosen[None, None], 0)[0]
            values[:, ~some] = self.calibration.encode(np.array([np.nan]), values.dtype)[0]
        else:
            if not dates:
                centre = np.full(spectra.shape[1:], np.nan, np.float32)
            elif self.method == "mean":
                centre = kernel.weighted_mean(spectra, deviation)
            else:
                centre = (geometric_median if self.method == "geomedian" else band_median)(spectra)
            values = self.calibration.encode(centre, stored.dtype)

        provenance = self._origin(state, rests & filled, some)
        counts = np.stack([(rests & observed).sum(0), (rests & filled).sum(0)]).astype(COUNT)
        spread = kernel.spreads(spectra, centre) if dates else np.full((3, some.size), np.nan)
        age = self._age(rests, some)
        return values, provenance, counts, np.concatenate([age[None], spread]).astype(np.float32)

    def _origin(
        self, state: NDArray[np.uint8], made: Booleans, some: Booleans
    ) -> NDArray[np.uint8]:
        out = np.full(some.shape, Provenance.NODATA, np.uint8)
        out[(state != Provenance.NODATA).any(0)] = Provenance.UNRECONSTRUCTABLE
        out[some] = Provenance.OBSERVED
        out[made.any(0)] = Provenance.RECONSTRUCTED
        return out

    def _age(self, rests: Booleans, some: Booleans) -> NDArray[np.float64]:
        """Mean distance in days of the dates in a value from the middle of the period."""
        total, count = np.zeros(some.shape), np.zeros(some.shape)
        for row, day in zip(rests, self.days, strict=True):
            total += np.where(row, abs(day), 0)
            count += row
        return np.where(some, total / np.maximum(count, 1), np.nan)


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """(..., y, x) as (..., pixel), also of no date."""
    return array.reshape(*array.shape[:-2], array.shape[-2] * array.shape[-1])

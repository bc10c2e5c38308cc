"""The work on one block, stage by stage: look around, measure, predict, join.

What is read before, and how it becomes series, is in :mod:`xcloudfree.reconstruct.series_windows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.radiometry import Calibration
from xcloudfree.core.windows import Area
from xcloudfree.methods.base import Method, Prediction, Series
from xcloudfree.reconstruct.composite import Provenance, feather
from xcloudfree.reconstruct.series_windows import HIDDEN, Arrays, Reader

VALUES = 1 << 22
"""Reflectances that a method which needs no pixels around reads at a time: bounds its memory."""


@dataclass(frozen=True)
class Surround:
    """What a method wants to know of the pixels around."""

    method: Method
    reader: Reader

    def __call__(self, *windows: NDArray[Any], core: Area) -> Arrays:
        """Planes (*lead, plane, y, x) of the core."""
        found = [self.method.context(s)[..., *core] for s, _ in self.reader.series(windows)]
        return (self.reader.join(found, windows[1].shape[:-2]),)


@dataclass(frozen=True)
class Measure:
    """Sums over the core of a block, as planes that hold one number at all pixels."""

    method: Method
    reader: Reader

    def __call__(self, *windows: NDArray[Any], core: Area) -> Arrays:
        """Sums (*lead, number, y, x): a view that takes the memory of one pixel."""
        sums = self.sums(*windows, core=core)
        size = windows[1][..., *core].shape[-2:]
        return (np.broadcast_to(sums, (*sums.shape[:-2], *size)),)

    def sums(
        self, *windows: NDArray[Any], core: Area, asked: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Sums (*lead, number, 1, 1)."""
        found = []
        for series, known in self.reader.series(windows, asked):
            total: Any = 0.0
            for area, inner in _parts(self.method, series, core):
                total = total + self.method.measure(series.cut(area), known, inner)
            found.append(total[..., None, None])
        return self.reader.join(found, windows[1].shape[:-2])


@dataclass(frozen=True)
class Conclude:
    """Sums over the scene to what is used of them."""

    method: Method
    reader: Reader

    def __call__(self, *numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(*lead, number, 1, 1) from totals and what was known before."""
        lead = numbers[0].ndim - 3
        found = []
        for planes in zip(*(self.reader.split(n, lead) for n in numbers), strict=True):
            totals, *known = (p[:, :, 0, 0] for p in planes)
            found.append(self.method.conclude(totals, known)[..., None, None])
        return self.reader.join(found, numbers[0].shape[:lead])


@dataclass(frozen=True)
class Predict:
    """The prediction of a block."""

    method: Method
    reader: Reader
    uncertainty: bool

    def __call__(self, *windows: NDArray[Any], core: Area) -> Arrays:
        """Mean (*lead, band, y, x) and, if asked for, standard deviation of the core."""
        guesses = [self._guess(s, known, core) for s, known in self.reader.series(windows)]
        head = windows[1].shape[:-2]
        means = self.reader.join([g.mean for g in guesses], head)
        if not self.uncertainty:
            return (means,)
        return means, self.reader.join([g.deviation for g in guesses], head)  # type: ignore[misc]

    def _guess(self, series: Series, known: list[Any], core: Area) -> Prediction:
        wanted = np.zeros_like(series.wanted)
        wanted[..., *core] = series.wanted[..., *core]
        series = replace(series, wanted=wanted)
        mean = np.full(series.reflectance[..., *core].shape, np.nan, np.float32)
        deviation = np.full(mean.shape, np.nan, np.float32) if self.uncertainty else None
        top = core[0].indices(wanted.shape[-2])[0]
        for area, (rows, columns) in _parts(self.method, series, core):
            part = series.cut(area)
            if not part.wanted.any():
                continue
            start = area[0].start + rows.start - top
            place = slice(start, start + rows.stop - rows.start)
            guess = self.method.predict(part, known)
            mean[..., place, :] = guess.mean[..., rows, columns]
            if deviation is not None:
                assert guess.deviation is not None
                deviation[..., place, :] = guess.deviation[..., rows, columns]
        return Prediction(mean, deviation)


def _parts(method: Method, series: Series, core: Area) -> Iterator[tuple[Area, Area]]:
    """Windows of a series that are worked on in turn, and the core in each."""
    rows, columns = (
        slice(*s.indices(n)[:2]) for s, n in zip(core, series.hidden.shape[-2:], strict=True)
    )
    if not method.pixelwise:
        height, width = series.hidden.shape[-2:]
        yield (slice(0, height), slice(0, width)), (rows, columns)
        return
    times, bands = series.reflectance.shape[:2]
    side = columns.stop - columns.start
    step = max(1, VALUES // max(1, times * bands * side))
    for start in range(rows.start, rows.stop, step):
        stop = min(start + step, rows.stop)
        yield (slice(start, stop), columns), (slice(0, stop - start), slice(0, side))


@dataclass(frozen=True)
class Join:
    """Prediction and observation to what leaves: stored numbers, provenance, deviation."""

    calibration: Calibration
    blend: bool
    uncertainty: bool

    def __call__(self, *windows: NDArray[Any], core: Area) -> Arrays:
        """Of the core; windows are stored numbers, state, mean and perhaps the deviation."""
        lead = windows[1].shape[:-2]
        images = [[w[place] for w in windows] for place in np.ndindex(lead)]
        parts = [self._image(*image, core=core) for image in images]
        return tuple(
            np.stack(part).reshape(*lead, *part[0].shape) for part in zip(*parts, strict=True)
        )

    def _image(
        self,
        stored: NDArray[Any],
        state: NDArray[np.uint8],
        mean: NDArray[np.float32],
        deviation: NDArray[np.float32] | None = None,
        *,
        core: Area,
    ) -> Arrays:
        hidden, valid = (
            np.asarray((state & HIDDEN) > 0),
            np.asarray(self.calibration.valid(stored).all(0)),
        )
        wanted = hidden[core] if self.blend else valid[core]
        known = np.asarray(np.isfinite(mean).all(0))
        provenance = np.full(wanted.shape, Provenance.OBSERVED, np.uint8)
        provenance[~valid[core]] = Provenance.NODATA
        provenance[wanted & ~known[core]] = Provenance.UNRECONSTRUCTABLE
        filled = wanted & known[core]
        provenance[filled] = Provenance.RECONSTRUCTED
        if self.blend and filled.any():
            seen, clear = self.calibration.decode(stored), valid & ~hidden & known
            mean = feather(np.where(known, mean, np.float32(0)), seen, clear)
        out = stored[:, *core].copy()
        encode: Callable[..., NDArray[Any]] = self.calibration.encode
        out[:, filled] = encode(mean[:, *core][:, filled], out.dtype)
        empty = encode(np.array([np.nan], np.float32), out.dtype)[0]
        out[:, provenance == Provenance.UNRECONSTRUCTABLE] = empty
        if not self.uncertainty:
            return out, provenance
        assert deviation is not None
        return out, provenance, np.where(filled, deviation[:, *core], np.float32(np.nan))

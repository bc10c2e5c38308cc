"""Windows of a block: seen, heard, and taken apart into series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import prod
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree._version import __version__
from xcloudfree.core.radiometry import Calibration, SarCalibration
from xcloudfree.core.windows import Area
from xcloudfree.masks.plan import MaskPlan
from xcloudfree.methods.base import Series

HIDDEN, WANTED = 1, 2
"""Bits of the state of a pixel."""

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class See:
    """Stored numbers to reflectance and the state of each pixel."""

    bands: tuple[str, ...]
    calibration: Calibration
    mask: MaskPlan
    around: int | None
    read: int | None = None

    def __dask_tokenize__(self) -> Any:
        return (
            __version__,
            self.bands,
            self.calibration,
            self.mask.__dask_tokenize__(),
            self.around,
            self.read,
        )

    def __call__(self, stored: NDArray[Any], *given: NDArray[Any], core: Area) -> Arrays:
        """Reflectance (*lead, band, y, x) and state (*lead, y, x) of the core."""
        reflectance = self.calibration.decode(stored[..., *core])
        state = np.zeros((*stored.shape[:-3], *reflectance.shape[-2:]), np.uint8)
        for image in np.ndindex(stored.shape[:-3]):
            valid = self.calibration.valid(stored[image][: self.read]).all(0)
            hidden = self._occluded(stored[image], given[0][image] if given else None) & valid
            wanted = valid
            if self.around is not None:
                wanted = scipy.ndimage.maximum_filter(hidden, 2 * self.around + 1)
            state[image] = (HIDDEN * hidden + WANTED * (wanted & valid))[core]
        return reflectance, state

    def _occluded(self, stored: NDArray[Any], given: NDArray[Any] | None) -> NDArray[np.bool_]:
        if given is not None:
            return self.mask.compute(given)
        return self.mask.compute(stored[[self.bands.index(b) for b in self.mask.bands]])


@dataclass(frozen=True)
class Hear:
    """Stored numbers to dB, or to the reflectance of another sensor."""

    calibration: SarCalibration | Calibration

    def __call__(self, stored: NDArray[Any], *, core: Area) -> Arrays:
        """Physical values (*lead, polarisation or band, y, x) of the core."""
        return (self.calibration.decode(stored[..., *core]),)


@dataclass(frozen=True)
class Reader:
    """Windows to series, one for each place along the dimensions other than time."""

    time: int | None  # which of the leading dimensions is time; None reads all images as one series
    days: tuple[float, ...] | None  # day number of each date
    # whether there are windows of them, after those of reflectance and state: backscatter, coarse
    # images, context
    backscatter: bool
    # whether there are windows of them, after those of reflectance and state: backscatter, coarse
    # images, context
    context: bool
    # whether there are windows of them, after those of reflectance and state: backscatter, coarse
    # images, context
    coarse: bool = False

    def series(
        self, windows: Sequence[NDArray[Any]], asked: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[Series, list[Any]]]:
        """The series, and the known numbers (time, number) of each; `asked` is (*lead)."""
        lead = windows[1].ndim - 2
        all_asked = repeat(None) if asked is None else self.split(asked, lead)
        every = zip(*(self.split(w, lead) for w in windows), strict=True)
        for planes, dates in zip(every, all_asked, strict=False):
            rest = list(planes[2:])
            state = planes[1]
            series = Series(
                planes[0],
                (state & HIDDEN) > 0,
                (state & WANTED) > 0,
                rest.pop(0) if self.backscatter else None,
                None if self.days is None else np.array(self.days),
                rest.pop(0) if self.coarse else None,
                rest.pop(0) if self.context else None,
                dates,
            )
            yield series, [k[:, :, 0, 0] for k in rest]

    def split(self, window: NDArray[Any], lead: int) -> NDArray[Any]:
        """A window (*lead, ...) as (series, time, ...)."""
        inner = window.shape[lead:]
        if self.time is None:
            return window.reshape(1, prod(window.shape[:lead]), *inner)
        moved = np.moveaxis(window, self.time, lead - 1)
        return moved.reshape(prod(moved.shape[: lead - 1]), moved.shape[lead - 1], *inner)

    def join(self, results: Sequence[NDArray[Any]], head: tuple[int, ...]) -> NDArray[Any]:
        """What came of the series, (time, ...) each, with the leading dimensions `head`."""
        stacked = results[0][None] if len(results) == 1 else np.stack(results)
        inner = stacked.shape[2:]
        if self.time is None:
            return stacked.reshape(*head, *inner)
        others = tuple(n for i, n in enumerate(head) if i != self.time)
        return np.moveaxis(
            stacked.reshape(*others, head[self.time], *inner), len(others), self.time
        )

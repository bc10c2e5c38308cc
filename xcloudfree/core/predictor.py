"""The interface of networks and classical methods, so that one pipeline serves both.

Predictors use only numpy: no labels, graphs or devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import Area, Mosaic, Plan

PASS: Final = 0.5
"""Days within which images belong to one pass of a satellite."""

DERIVED: Final = 8
"""Arrays of the size of its reflectance that a block takes, unless its method knows better."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]


class Nearest(NamedTuple):
    """The dates nearest to each date, for networks that make one image from several."""

    reflectance: Floats  # (time, other, band, y, x)
    backscatter: Floats  # (time, other, polarisation, y, x)
    days: Floats  # of the date itself and of the others (time, 1 + other)


@dataclass(frozen=True)
class Series:
    """The input of a predictor: images of one block.

    Parameters
    ----------
    reflectance : ndarray of float32
        (time, band, y, x), NaN is no data. Occluded pixels contain the cloudy values. For a
        predictor that reads parts, a :class:`.windows.Encoded`, of which ``[date]`` is an image.
    hidden : ndarray of bool
        Occluded pixels, (time, y, x).
    wanted : ndarray of bool
        Pixels whose prediction is used, (time, y, x): the occluded ones and, if the
        reconstruction is blended, clear ones around them. A method may predict others too.
    backscatter : ndarray of float32 or None
        (time, polarisation, y, x) in dB, NaN is no data; the polarisations that the method names.
        Read like `reflectance`.
    days : ndarray of float64 or None
        Day number of each date, ascending, (time,); None for a method that is not temporal.
    coarse : ndarray of float32 or None
        Coarse images passed to the method, like `reflectance`; NaN is no data.
    context : ndarray of float32 or None
        What other dates show, (time, plane, y, x), for networks that read it.
    asked : ndarray of bool or None
        Dates with any wanted pixel in the scene, (time,); None if that is
        unknown.
    origin : tuple of int
        Row and column on the scene of the first pixel.
    core : tuple of slice
        Rows and columns that belong to the block; the others are only read. Each pixel
        of a scene is in one core.
    nearest : Nearest or None
        Dates nearest to each, for networks that read several.
    measured : ndarray of bool or None
        Pixels with data in all bands, (time, y, x); None if `reflectance` is an array.

    Examples
    --------
    >>> values = np.full((2, 1, 1, 1), 0.1, np.float32)
    >>> hidden = np.array([False, True]).reshape(2, 1, 1)
    >>> Series(values, hidden, hidden).clear.ravel().tolist()
    [True, False]
    """

    reflectance: Floats
    hidden: Booleans
    wanted: Booleans
    backscatter: Floats | None = None
    days: Doubles | None = None
    coarse: Floats | None = None
    context: Floats | None = None
    asked: Booleans | None = None
    origin: tuple[int, int] = (0, 0)
    core: Area = (slice(None), slice(None))
    nearest: Nearest | None = None
    measured: Booleans | None = None

    @property
    def clear(self) -> Booleans:
        """Pixels that show the ground in all bands, (time, y, x)."""
        known: Any = self.measured
        if known is None:
            known = np.isfinite(self.reflectance).all(1)
        return np.asarray(known & ~self.hidden)

    def cut(self, area: Area, core: Area = (slice(None), slice(None))) -> Series:
        """Some rows and columns of it, as views; `core` lies within these."""
        names = ("reflectance", "hidden", "wanted", "backscatter", "coarse", "context")
        planes: dict[str, Any] = {name: getattr(self, name) for name in names}
        rows, columns = (s.indices(n)[0] for s, n in zip(area, self.hidden.shape[1:], strict=True))
        parts: dict[str, Any] = {k: v if v is None else v[..., *area] for k, v in planes.items()}
        origin = (self.origin[0] + rows, self.origin[1] + columns)
        return replace(self, **parts, origin=origin, core=core)


@dataclass(frozen=True)
class Prediction:
    """Reflectance and, if the predictor estimates it, its standard deviation.

    Parameters
    ----------
    mean : ndarray of float32
        (time, band, y, x); NaN where the predictor has no estimate. Images of which nothing is
        wanted may contain anything.
    deviation : ndarray of float32 or None
        Of the same shape.
    flags : ndarray of uint8 or None
        How each value was predicted, (time, y, x), in bits that the predictor names.

    Examples
    --------
    >>> Prediction(np.zeros((1, 1, 2, 2), np.float32)).deviation is None
    True
    """

    mean: Floats
    deviation: Floats | None = None
    flags: NDArray[np.uint8] | None = None

    def at(self, date: int) -> Prediction:
        """The planes of one image."""
        planes = (self.mean, self.deviation, self.flags)
        return Prediction(*(None if p is None else p[date] for p in planes))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Dates:
    """Which leading dimension of a window is time, and the acquisition days of its images."""

    time: int | None  # which leading dimension is time; None reads all images as one series
    days: tuple[float, ...] | None  # day number of each date, in the order of the data

    @property
    def ordered(self) -> Doubles:
        """Day numbers in chronological order."""
        return np.sort(np.array(self.days), kind="stable")

    def join(self, results: Sequence[NDArray[Any]], head: tuple[int, ...]) -> NDArray[Any]:
        """Results of the series, (time, ...) each, with the leading dimensions `head`."""
        order = self._order()
        if order is not None:
            results = [r[np.argsort(order, kind="stable")] for r in results]
        stacked = results[0][None] if len(results) == 1 else np.stack(results)
        inner = stacked.shape[2:]
        if self.time is None:
            return stacked.reshape(*head, *inner)
        others = tuple(n for i, n in enumerate(head) if i != self.time)
        out = stacked.reshape(*others, head[self.time], *inner)
        return np.moveaxis(out, len(others), self.time)

    def split(self, window: NDArray[Any], lead: int) -> NDArray[Any]:
        """A window (*lead, ...) as (series, time, ...)."""
        inner = window.shape[lead:]
        if self.time is None:
            return window.reshape(1, prod(window.shape[:lead]), *inner)
        moved = np.moveaxis(window, self.time, lead - 1)
        out = moved.reshape(prod(moved.shape[: lead - 1]), moved.shape[lead - 1], *inner)
        order = self._order()
        return out if order is None else out[:, order]

    def places(self, windows: Sequence[Mosaic]) -> Iterator[list[Mosaic]]:
        """The windows (*lead, [band,] y, x) of each place, (time, [band,] y, x)."""
        lead = windows[0].ndim - 3
        if lead == 1 and self._order() is None:  # one place, and nothing to change
            yield list(windows)
            return
        split = [window.each(lambda part: self.split(part, lead)) for window in windows]
        for n in range(split[0].shape[0]):
            yield [window.each(itemgetter(n)) for window in split]

    def _order(self) -> NDArray[np.int64] | None:
        """Positions of the dates in order of time; None if they are in order."""
        if self.days is None or list(self.days) == sorted(self.days):
            return None
        return np.argsort(self.days, kind="stable")


class Predictor(Protocol):
    """A network or a classical method: a frozen value that declares its needs, and predicts."""

    @property
    def name(self) -> str:
        """Name for users."""

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Optical bands that it reads and predicts, in its order; None for all available ones."""

    @property
    def polarisations(self) -> tuple[str, ...]:
        """Backscatter that it reads."""

    @property
    def temporal(self) -> bool:
        """Whether it gets all dates of a place together, in order of time."""

    @property
    def plan(self) -> Plan:
        """Pixels that it reads around a block: a halo, or fixed tiles of the scene."""

    @property
    def measured(self) -> Plan:
        """The same for its passes over the scene."""

    @property
    def derived(self) -> int:
        """Arrays of the size of a block's reflectance that it takes, itself included."""

    @property
    def passes(self) -> int:
        """Number of passes over the whole scene before it predicts."""

    @property
    def deviation(self) -> bool:
        """Whether it estimates its uncertainty."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Meanings of the bits of :attr:`Prediction.flags`, the lowest first."""

    @property
    def needs_radar(self) -> bool:
        """Whether occluded pixels without backscatter stay empty, even if it predicts them."""

    def measure(self, series: Series, statistics: Sequence[Any]) -> Any:
        """Named tuple of arrays over the core of a block, given what earlier passes concluded."""

    def combine(self, parts: Sequence[Any]) -> Any:
        """Join measurements of several blocks; :func:`added` if they are sums."""

    def conclude(self, total: Any, statistics: Sequence[Any]) -> Any:
        """Named tuple of arrays: the statistics used, from measurements of the whole scene."""

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """Predict the wanted pixels as if they were unseen."""


def added(parts: Sequence[Any]) -> Any:
    """Add the sums of several blocks.

    >>> class Total(NamedTuple):
    ...     count: float
    >>> added([Total(1.0), Total(2.0)])
    Total(count=3.0)
    """
    first = parts[0]
    if not isinstance(first, tuple):
        return sum(parts[1:], start=first)
    joined = [added(same) for same in zip(*parts, strict=True)]
    return getattr(first, "_make", tuple)(joined)


def gathered(parts: Sequence[Any], most: int | None = None) -> Any:
    """Join the samples of several blocks, in the order of their first field.

    All arrays run along the sampled pixels first. The first field identifies a pixel only by its
    position on the scene, so the order does not depend on the blocks. If there are more
    than `most` pixels, the first are kept.

    >>> class Sample(NamedTuple):
    ...     place: Any
    ...     value: Any
    >>> one = Sample(np.array([7, 1]), np.array([0.7, 0.1]))
    >>> other = Sample(np.array([4]), np.array([0.4]))
    >>> gathered([one, other], most=2).value.tolist()
    [0.1, 0.4]
    """
    fields = [np.concatenate(same) for same in zip(*parts, strict=True)]
    order = np.argsort(fields[0], kind="stable")[:most]
    return type(parts[0])(*(field[order] for field in fields))

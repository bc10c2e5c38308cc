"""Methods that take a date from the other dates of its series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import Area
from xcloudfree.exceptions import DataError
from xcloudfree.methods import interpolation as kernel
from xcloudfree.methods import medians
from xcloudfree.methods.base import Booleans, Doubles, Floats, Method, Prediction, Series
from xcloudfree.methods.options import Option, labelled, positive
from xcloudfree.methods.whittaker import Smooth, whittaker

WINDOW: Final = 30.0
"""Days before and after a date from which the medians take values."""

STEPS: Final = 2.0**24
"""Steps per unit of reflectance in which differences are summed: whole numbers add up without
rounding, so that the mean does not depend on the chunks."""

SMOOTHNESS: Final = 3000.0
"""Of the Whittaker smoother in days^3; for dates 5 days apart the usual lambda is 1/125 of it."""

Kernel = Callable[[Floats, Booleans, Doubles, Booleans], Floats | Smooth]
"""(reflectance, clear, days in ascending order, wanted) to predictions (time, band, y, x), or to
these and their standard deviations."""


@dataclass(frozen=True)
class Temporal(Method):
    """A function of the clear dates."""

    temporal: bool = True
    kernel: Kernel | None = None  # what it computes

    def options(self) -> Mapping[str, Option]:
        """Those of the kernel."""
        return getattr(self.kernel, "OPTIONS", {})

    def check(self, days: Sequence[float]) -> None:
        """See :meth:`Method.check`."""
        if isinstance(self.kernel, Whittaker) and len(set(days)) < len(days):
            raise DataError(
                "the series has two images of one time, through which no curve leads; "
                "join them with ds.groupby('time').first()"
            )

    def set(self, **options: Any) -> Self:
        """See :meth:`Method.set`; a window stands in the name as in ``median-45d``."""
        kernel = replace(self.kernel, **options)  # type: ignore[type-var]
        if isinstance(kernel, Median):
            base, plus, rest = self.name.partition("+")
            name = f"{base}-{kernel.window:g}d{plus}{rest}"
        else:
            name = labelled(self.name, options)
        return replace(self, name=name, kernel=kernel)

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        return self.estimate(series, series.wanted)

    def estimate(self, series: Series, wanted: NDArray[np.bool_]) -> Prediction:
        """Each date from the others."""
        assert self.kernel is not None
        assert series.days is not None
        order = np.argsort(series.days, kind="stable")
        sorted_ = [a[order] for a in (series.reflectance, series.clear, series.days, wanted)]
        found = self.kernel(*sorted_)  # type: ignore[arg-type]
        mean, deviation = found if isinstance(found, tuple) else (found, None)
        back = np.argsort(order)
        return Prediction(mean[back], None if deviation is None else deviation[back])


@dataclass(frozen=True)
class Offset(Temporal):
    """The same, with the mean difference on the visible pixels of the date added, band by band."""

    # Where a date shows nothing, or nothing that the method predicts, nothing is added.

    def passes(self, bands: int) -> tuple[tuple[int, int], ...]:
        """One: sums of the differences of each band, and how many there are."""
        return ((bands + 1, bands),)

    def measure(self, series: Series, known: Sequence[Doubles], core: Area) -> Doubles:
        """See :meth:`Method.measure`."""
        clear, asked = series.clear, series.asked
        dates = np.flatnonzero(np.ones(len(clear), bool) if asked is None else asked)
        visible = np.zeros_like(clear)
        visible[dates] = clear[dates]
        guess = self.estimate(series, visible).mean[dates]
        difference = series.reflectance[dates].astype(np.float64) - guess
        counts = clear[dates] & np.isfinite(difference).all(1)
        difference = np.where(counts[:, None], difference, 0)[..., *core]
        difference = np.rint(difference * STEPS) / STEPS
        out = np.zeros((len(clear), difference.shape[1] + 1))
        out[dates, :-1] = difference.sum((-2, -1))
        out[dates, -1] = counts[..., *core].sum((-2, -1))
        return out

    def conclude(self, totals: Doubles, known: Sequence[Doubles]) -> Doubles:
        """The mean difference of each band."""
        return totals[:, :-1] / np.maximum(totals[:, -1:], 1)

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        mean = self.estimate(series, series.wanted).mean
        return Prediction(mean + known[0].astype(np.float32)[..., None, None])


def _linear(reflectance: Floats, clear: Booleans, days: Doubles, wanted: Booleans) -> Floats:
    return kernel.linear_time(reflectance, clear, days, wanted=wanted)


@dataclass(frozen=True)
class Median:
    """Kernel of a median within some days."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "window": Option("days before and after a date, above 0", positive)
    }

    window: float = WINDOW  # days before and after the date
    geometric: bool = False  # whether all bands count together

    def __call__(
        self, reflectance: Floats, clear: Booleans, days: Doubles, wanted: Booleans
    ) -> Floats:
        """See :data:`Kernel`."""
        function = medians.window_geomedian if self.geometric else medians.window_median
        return function(reflectance, clear, days, wanted, self.window)


@dataclass(frozen=True)
class Whittaker:
    """Kernel of the Whittaker smoother."""

    # Its deviation held 70 to 90 % of the errors on hidden dates of two real series.

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "smoothness": Option("days^3 above 0, such as 3000.0", positive)
    }

    smoothness: float = SMOOTHNESS  # in days^3

    def __call__(
        self, reflectance: Floats, clear: Booleans, days: Doubles, wanted: Booleans
    ) -> Smooth:
        """See :data:`Kernel`."""
        return whittaker(reflectance, clear, days, self.smoothness, wanted)


_PLAIN = (
    Temporal("nearest-date", kernel=kernel.nearest_date),
    Temporal("last-clear", kernel=kernel.last_clear),
    Temporal("linear-time", kernel=_linear),
    Temporal("median", kernel=Median()),
    Temporal("geomedian", kernel=Median(geometric=True)),
    Temporal("whittaker", deviation=True, kernel=Whittaker()),
)

METHODS: Final[tuple[Method, ...]] = (
    *_PLAIN,
    *(Offset(f"{m.name}+offset", kernel=m.kernel) for m in _PLAIN),
)

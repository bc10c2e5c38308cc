"""Methods that predict a date from the other dates of its series, and the offset of a date."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np

from xcloudfree.methods.base import Booleans, Doubles, Floats, Method, Option, Prediction, Series

STEPS: Final = 2.0**24
"""Steps per unit of reflectance in which differences are summed: whole numbers add up without
rounding, so the mean does not depend on the chunks."""


@dataclass(frozen=True)
class Temporal(Method):
    """A function of the clear dates; subclasses implement :attr:`values` or :meth:`estimate`."""

    values: ClassVar[Callable[..., Floats]]  # from reflectance, clear, days and wanted

    temporal: bool = True

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        return self.estimate(series, series.wanted)

    def estimate(self, series: Series, wanted: Booleans) -> Prediction:
        """Each date from the others."""
        assert series.days is not None
        return Prediction(self.values(series.reflectance, series.clear, series.days, wanted))


class Differences(NamedTuple):
    """Sums of the differences between the visible pixels of each date and their prediction."""

    total: Doubles  # (time, band)
    pixels: Doubles  # (time,)


class Offsets(NamedTuple):
    """Mean difference of each date."""

    mean: Doubles  # (time, band)


@dataclass(frozen=True)
class Offset(Temporal):
    """Another method plus the mean difference on the visible pixels of the date.

    If a date has no visible pixel, or none that the method predicts, nothing is added.
    """

    passes: ClassVar[int] = 1

    base: Temporal = field(kw_only=True)

    @classmethod
    def of(cls, base: Temporal) -> Self:
        """The method with an offset, named after the base."""
        return cls(f"{base.name}+offset", base=base)

    def options(self) -> Mapping[str, Option]:
        """Settings of the base."""
        return self.base.options()

    def set(self, **options: Any) -> Self:
        """See :meth:`Method.set`."""
        base = self.base.set(**options)
        windowed = "window" in options  # which appears in the name of the base
        name = f"{base.name}+offset" if windowed else super().named(options)
        return replace(self, name=name, base=base)

    def check(self, days: Sequence[float]) -> None:
        """See :meth:`Method.check`."""
        self.base.check(days)

    def estimate(self, series: Series, wanted: Booleans) -> Prediction:
        """Reach of the base."""
        return self.base.estimate(series, wanted)

    def measure(self, series: Series, statistics: Sequence[Any]) -> Differences:
        """Differences of the clear pixels, for the requested dates."""
        clear, asked = series.clear, series.asked
        dates = np.flatnonzero(np.ones(len(clear), bool) if asked is None else asked)
        visible = np.zeros_like(clear)
        visible[dates] = clear[dates]
        guess = self.estimate(series, visible).mean[dates]
        difference = series.reflectance[dates].astype(np.float64) - guess
        counts = clear[dates] & np.isfinite(difference).all(1)
        difference = np.where(counts[:, None], difference, 0)[..., *series.core]
        difference = np.rint(difference * STEPS) / STEPS
        total, count = np.zeros((len(clear), difference.shape[1])), np.zeros(len(clear))
        total[dates] = difference.sum((-2, -1))
        count[dates] = counts[..., *series.core].sum((-2, -1))
        return Differences(total, count)

    def conclude(self, total: Differences, statistics: Sequence[Any]) -> Offsets:
        """The mean difference of each band."""
        return Offsets(total.total / np.maximum(total.pixels, 1)[:, None])

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        mean = self.estimate(series, series.wanted).mean
        return Prediction(mean + statistics[0].mean.astype(np.float32)[..., None, None])

"""Regression on the area's own series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xcloudfree.core.windows import Area
from xcloudfree.methods import area_predictors, nearby
from xcloudfree.methods import area_regression as kernel
from xcloudfree.methods.base import Doubles, Floats, Method, Prediction, Series

_GAPS = len(area_predictors.GAPS)


@dataclass(frozen=True)
class AreaRegression(Method):
    """See :mod:`xcloudfree.methods.area_regression`."""

    # Its deviation is a little too large: on three hidden dates of two real series each, 76 to 86 %
    # of the errors lay within one deviation (68 % would, were they normal), at gaps of 0 and 15
    # days.

    name: str = "area-regression"
    temporal: bool = True
    reach: int = max(area_predictors.WINDOWS) // 2
    polarisations: tuple[str, ...] = ("VV", "VH")
    deviation: bool = True
    planes: int = 2 * len(area_predictors.WINDOWS)

    def context(self, series: Series) -> Floats:
        """Local means of backscatter."""
        assert series.backscatter is not None
        return area_predictors.local_means(series.backscatter)

    def passes(self, bands: int) -> tuple[tuple[int, int], ...]:
        """One: the normal equations of each date and gap, and the coefficients."""
        width = area_predictors.predictors(bands)
        equations = width * width + width * bands + bands + 1
        return ((_GAPS * equations, _GAPS * (width + 1) * bands),)

    def measure(self, series: Series, known: Sequence[Doubles], core: Area) -> Doubles:
        """See :meth:`Method.measure`."""
        order, days = _ordered(series)
        reflectance, clear, wanted, radar = (
            np.asarray(a[order][..., *core])
            for a in (series.reflectance, series.clear, series.wanted, _radar(series))
        )
        sums = kernel.sums(reflectance, clear, wanted, radar, days)  # type: ignore[arg-type]
        found = np.concatenate([s.reshape(len(days), _GAPS, -1) for s in sums], axis=-1)
        return found.reshape(len(days), -1)  # by date, also where the images are not

    def conclude(self, totals: Doubles, known: Sequence[Doubles]) -> Doubles:
        """See :meth:`Method.conclude`."""
        planes = totals.reshape(len(totals), _GAPS, -1)
        bands = next(b for b in range(1, 99) if self.passes(b)[0][0] == totals.shape[1])
        width = area_predictors.predictors(bands)
        ends = np.cumsum([width * width, width * bands, bands])
        zz, zy, yy, hidden = np.split(planes, ends, axis=-1)
        sums = kernel.Sums(
            zz.reshape(*zz.shape[:2], width, width),
            zy.reshape(*zy.shape[:2], width, bands),
            yy,
            hidden[..., 0],
        )
        rule = kernel.learn(sums)
        joined = np.concatenate([rule.coefficients, rule.deviation[:, :, None]], axis=2)
        return joined.reshape(len(totals), -1)

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        order, days = _ordered(series)
        bands = series.reflectance.shape[1]
        joined = known[0].reshape(len(days), _GAPS, -1, bands)
        rule = kernel.Rule(joined[:, :, :-1], joined[:, :, -1])
        found = kernel.predict(
            series.reflectance[order],
            series.clear[order],
            series.wanted[order],
            _radar(series)[order],
            days,
            rule,
        )
        mean, deviation = np.empty_like(found[0]), np.empty_like(found[1])
        mean[order], deviation[order] = found
        return Prediction(mean, deviation)


@dataclass(frozen=True)
class NearbyRegression(AreaRegression):
    """The same, moved by its errors on the visible pixels around, see :mod:`.nearby`."""

    # Where nothing of the date is visible nearby it is the regression alone. The deviation is that
    # of the regression: too large where much is visible.

    name: str = "area-regression+nearby"
    reach: int = AreaRegression.reach + nearby.REACH
    planes: int = 0

    def measure(self, series: Series, known: Sequence[Doubles], core: Area) -> Doubles:
        """See :meth:`Method.measure`."""
        return super().measure(self._around(series), known, core)

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        dates = series.wanted.any((1, 2), keepdims=True)
        clear = series.clear
        everywhere = replace(self._around(series), wanted=series.wanted | (clear & dates))
        found = super().predict(everywhere, known)
        assert found.deviation is not None
        for date in np.flatnonzero(dates):
            found.mean[date] += nearby.correction(
                series.reflectance[date], found.mean[date], found.deviation[date], clear[date]
            )
        return found

    def _around(self, series: Series) -> Series:
        return replace(series, context=self.context(series))


def _ordered(series: Series) -> tuple[NDArray[np.int64], Doubles]:
    assert series.days is not None
    order = np.argsort(series.days, kind="stable")
    return order, series.days[order]


def _radar(series: Series) -> Floats:
    assert series.context is not None
    return series.context


METHODS: Final[tuple[Method, ...]] = (AreaRegression(), NearbyRegression())

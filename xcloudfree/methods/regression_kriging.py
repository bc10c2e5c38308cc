"""Regression kriging: a linear map from backscatter, and kriging of its residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods import kriging
from xcloudfree.methods.base import Prediction, Series
from xcloudfree.methods.kriging import Kriged, Kriging, krige
from xcloudfree.methods.regression import (
    Moments,
    moments,
    sar_features,
    significant,
    solve_ridge,
    stepped,
)
from xcloudfree.methods.variogram import Variogram

FEATURE_REACH: Final = 4
"""Pixels beyond a pixel that its predictors read: 9 x 9 means."""

REACH: Final = kriging.REACH + FEATURE_REACH
"""Pixels beyond a window that may influence it."""

PENALTY: Final = 1e-3
"""Ridge penalty for standardised predictors, because the ratio VV - VH repeats VV and VH."""

DIGITS: Final = 6
"""Significant digits of a coefficient: sums over blocks differ in their last digits, but
coefficients must not. The correlated predictors amplify these differences a thousand times."""


class Trend(NamedTuple):
    """Map from backscatter of each image."""

    coefficients: NDArray[np.float64]  # (image, 1 + predictor, band)


@dataclass(frozen=True)
class RegressionKriging(Kriging):
    """A linear map from backscatter, and kriging of its residual."""

    passes: ClassVar[int] = 2

    reach: int = REACH
    polarisations: tuple[str, ...] = ("VV", "VH")

    def measure(self, series: Series, statistics: Sequence[Any]) -> Any:
        """The map from backscatter, then the variogram of its residual."""
        assert series.backscatter is not None
        if statistics:
            pairs = zip(series.backscatter, statistics[0].coefficients, strict=True)
            rest = series.reflectance - np.stack([sar_trend(*pair) for pair in pairs])
            return super().measure(replace(series, reflectance=np.asarray(rest)), statistics)
        found = []
        for n, radar in enumerate(series.backscatter):
            target = np.where(series.clear[n], series.reflectance[n], np.nan)[:, *series.core]
            features = stepped(sar_features(radar)[series.core], 10)
            found.append(moments(features, stepped(target, 14)))
        return Moments(*(np.stack(same) for same in zip(*found, strict=True)))

    def conclude(self, total: Any, statistics: Sequence[Any]) -> Any:
        """Coefficients of the map, then the variogram."""
        if statistics:
            return super().conclude(total, statistics)
        return Trend(np.stack([fit_coefficients(Moments(*o)) for o in zip(*total, strict=True)]))

    def predict(self, series: Series, statistics: Sequence[Any]) -> Prediction:
        """See :meth:`Method.predict`."""
        assert series.backscatter is not None
        seen = zip(series.reflectance, series.backscatter, series.clear, strict=True)
        found = []
        for n, image in enumerate(seen):
            drift = Drift(statistics[0].coefficients[n], self.model(statistics[1], n))
            wanted, count = series.wanted[n], self.neighbours
            found.append(regression_krige(*image, drift, wanted, neighbours=count))
        return kriging.joined(found)


@dataclass(frozen=True, eq=False)
class Drift:
    """Linear map from backscatter to reflectance, and the variogram of its residual."""

    coefficients: NDArray[np.float64]  # (1 + predictor, band), from fit_coefficients
    variogram: Variogram  # of the residual of sar_trend


def fit_coefficients(sums: Moments, *, penalty: float = PENALTY) -> NDArray[np.float64]:
    """Map from backscatter of a scene."""
    # Odeh, McBratney and Chittleborough, "Further results on prediction of soil properties from
    # terrain attributes: heterotopic cokriging and regression-kriging", Geoderma 67, 1995.
    if sums.zz[0, 0] == 0:
        return np.zeros_like(sums.zy)
    return significant(solve_ridge(sums, penalty), DIGITS)


def linear_map(
    planes: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear combinations of planes, summed in one order so that windows agree bit for bit."""
    out = np.empty((coefficients.shape[1], *planes.shape[1:]))
    for band, (constant, *slopes) in zip(out, coefficients.T, strict=True):
        band[...] = constant
        for plane, slope in zip(planes, slopes, strict=True):
            band += plane * slope
    return out


def sar_trend(
    backscatter: NDArray[np.floating], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Reflectance predicted from backscatter alone."""
    return linear_map(np.moveaxis(sar_features(backscatter), -1, 0), coefficients)


def regression_krige(
    image: NDArray[np.floating],
    backscatter: NDArray[np.floating],
    clear: NDArray[np.bool_],
    drift: Drift,
    wanted: NDArray[np.bool_] | None = None,
    *,
    neighbours: int = 16,
    radius: int = kriging.REACH,
) -> Kriged:
    """Fill hidden pixels by the map from backscatter plus its kriged residual."""
    clear = clear & ~np.isnan(image).any(axis=0)
    trend = sar_trend(backscatter, drift.coefficients)
    rest = krige(
        image - trend, clear, drift.variogram, wanted, neighbours=neighbours, radius=radius
    )
    known = clear | np.isnan(trend).any(axis=0)
    mean = np.where(clear, image, trend + rest.mean)
    variance = np.where(clear, 0, np.where(known, np.nan, rest.variance))
    return Kriged(mean.astype(np.float32), variance.astype(np.float32))

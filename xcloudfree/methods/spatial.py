"""Methods that fill a gap from the clear pixels around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from xcloudfree.core.windows import Area
from xcloudfree.methods import idw, kriging, lag_sums, regression_kriging, variogram
from xcloudfree.methods.base import Doubles, Method, Prediction, Series
from xcloudfree.methods.kriging import Kriged
from xcloudfree.methods.options import Option, positive, whole
from xcloudfree.methods.trivial import FEATURES, Moments, moments, sar_features

TERMS: Final = 1 + len(FEATURES)
"""Coefficients of a band in the map from backscatter."""


@dataclass(frozen=True)
class InverseDistance(Method):
    """Inverse-distance mean of the nearest clear pixels."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "neighbours": whole(1, 256),
        "power": Option("a number above 0", positive),
    }

    reach: int = idw.REACH
    neighbours: int = 12  # clear pixels that share in one value
    power: float = 2.0  # weight = distance ** -power

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`; clear pixels keep their values, as with any interpolation."""
        options = {"neighbours": self.neighbours, "power": self.power}
        images = zip(series.reflectance, series.clear, series.wanted, strict=True)
        return Prediction(
            np.stack([idw.inverse_distance_weighting(*i, **options) for i in images])  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Kriging(Method):
    """Ordinary kriging with the variogram of the scene."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "shape": Option("'exponential' or 'spherical'", ("exponential", "spherical").__contains__),
        "neighbours": whole(1, 256),
    }

    reach: int = kriging.REACH
    deviation: bool = True
    shape: variogram.Shape = "exponential"  # of the variogram
    neighbours: int = 32  # clear pixels that share in one estimate

    def passes(self, bands: int) -> tuple[tuple[int, int], ...]:
        """One: squared differences by distance, from which the variogram follows."""
        return ((lag_sums.numbers(bands), 3 + 2 * bands),)

    def measure(self, series: Series, known: Sequence[Doubles], core: Area) -> Doubles:
        """See :meth:`Method.measure`."""
        images = zip(series.reflectance, series.clear, strict=True)
        return np.stack([lag_sums.variogram_sums(*image, core) for image in images])

    def conclude(self, totals: Doubles, known: Sequence[Doubles]) -> Doubles:
        """Nugget, sill, range, and the variance and mean of each band."""
        lags = len(lag_sums.LAGS)
        bands = (totals.shape[1] - 1 - 2 * lags) // (2 + lags)
        models = [variogram.fit_variogram(row, bands, self.shape) for row in totals]
        return np.array([[m.nugget, m.sill, m.reach, *m.variance, *m.mean] for m in models])

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        images = zip(series.reflectance, series.clear, series.wanted, known[0], strict=True)
        return _joined(
            [
                kriging.krige(image, clear, self.model(numbers), wanted, neighbours=self.neighbours)
                for image, clear, wanted, numbers in images
            ]
        )

    def model(self, numbers: Doubles) -> variogram.Variogram:
        """Variogram from what :meth:`conclude` returned for an image."""
        variance, mean = numbers[3:].reshape(2, -1).tolist()
        nugget, sill, reach = numbers[:3].tolist()
        return variogram.Variogram(nugget, sill, reach, self.shape, tuple(variance), tuple(mean))


@dataclass(frozen=True)
class RegressionKriging(Kriging):
    """A linear map from backscatter, and kriging of what it leaves."""

    reach: int = regression_kriging.REACH
    polarisations: tuple[str, ...] = ("VV", "VH")

    def passes(self, bands: int) -> tuple[tuple[int, int], ...]:
        """Two: the map from backscatter, then the variogram of what it leaves."""
        return ((TERMS * (TERMS + bands), TERMS * bands), *super().passes(bands))

    def measure(self, series: Series, known: Sequence[Doubles], core: Area) -> Doubles:
        """See :meth:`Method.measure`."""
        if known:
            rest = series.reflectance - _trend(series, known[0])
            left = replace(series, reflectance=np.asarray(rest, np.float64))
            return super().measure(left, known, core)
        assert series.backscatter is not None
        out = []
        for image, clear, radar in zip(
            series.reflectance, series.clear, series.backscatter, strict=True
        ):
            target = np.where(clear, image, np.nan)[:, *core]
            sums = moments(sar_features(radar)[core], target)
            out.append(np.concatenate([sums.zz.ravel(), sums.zy.ravel()]))
        return np.stack(out)

    def conclude(self, totals: Doubles, known: Sequence[Doubles]) -> Doubles:
        """Coefficients of the map, then the variogram."""
        if known:
            return super().conclude(totals, known)
        return np.stack(
            [
                regression_kriging.fit_coefficients(
                    Moments(row[: TERMS**2].reshape(TERMS, TERMS), _table(row[TERMS**2 :]), 0.0)
                ).ravel()
                for row in totals
            ]
        )

    def predict(self, series: Series, known: Sequence[Doubles]) -> Prediction:
        """See :meth:`Method.predict`."""
        assert series.backscatter is not None
        return _joined(
            [
                regression_kriging.regression_krige(
                    series.reflectance[t],
                    series.backscatter[t],
                    series.clear[t],
                    regression_kriging.Drift(_table(known[0][t]), self.model(known[1][t])),
                    series.wanted[t],
                    neighbours=self.neighbours,
                )
                for t in range(len(series.reflectance))
            ]
        )


def _table(numbers: Doubles) -> Doubles:
    """Coefficients (1 + predictor, band)."""
    return numbers.reshape(TERMS, -1)


def _trend(series: Series, coefficients: Doubles) -> Doubles:
    """What backscatter alone says, (time, band, y, x)."""
    assert series.backscatter is not None
    pairs = zip(series.backscatter, coefficients, strict=True)
    return np.stack([regression_kriging.sar_trend(radar, _table(c)) for radar, c in pairs])


def _joined(images: Sequence[Kriged]) -> Prediction:
    return Prediction(
        np.stack([np.asarray(i.mean, np.float32) for i in images]),
        np.sqrt(np.stack([np.asarray(i.variance, np.float32) for i in images])),
    )


METHODS: Final[tuple[Method, ...]] = (
    InverseDistance("idw"),
    Kriging("kriging"),
    RegressionKriging("regression-kriging"),
)

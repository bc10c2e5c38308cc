"""Variogram of a scene: how fast reflectance changes with distance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.methods.digits import significant
from xcloudfree.methods.lag_sums import LAGS, REACH

Shape = Literal["exponential", "spherical"]
Doubles = NDArray[np.float64]

DIGITS: Final = 4
"""Significant digits of a model: sums over blocks differ in their last digits, a model must not."""


@dataclass(frozen=True)
class Variogram:
    """Model of half the mean squared difference of two pixels, as a function of their distance."""

    # One shape serves all bands (proportional covariances), scaled by the variance of each: then
    # all bands share the kriging weights, and other bands add nothing to the estimate of one.
    # Wackernagel, "Multivariate Geostatistics", Springer 2003, chapters 7 and 25 (intrinsic
    # correlation, autokrigeability).

    nugget: float  # jump at distance 0, in shares of a band's variance
    sill: float  # rise beyond the nugget, in shares of a band's variance
    reach: float  # practical range in px: 95 % of the rise (exponential), or all of it (spherical)
    shape: Shape = "exponential"  # form of the rise
    variance: tuple[float, ...] = (1.0,)  # variance and mean of each band in the scene
    mean: tuple[float, ...] = (0.0,)  # variance and mean of each band in the scene

    def __call__(self, distance: NDArray[np.floating]) -> Doubles:
        """Semivariance in shares of a band's variance."""
        far = self.nugget + self.sill * _rise(np.asarray(distance, np.float64), self)
        return np.where(np.asarray(distance) > 0, far, 0.0)


class Lags(NamedTuple):
    """What a scene says, by class of distance."""

    distance: Doubles  # mean distance in px
    semivariance: Doubles  # in shares of a band's variance, mean over bands
    pairs: Doubles  # number of pairs


def fit_variogram(sums: Doubles, bands: int, shape: Shape = "exponential") -> Variogram:
    """Variogram model of a scene."""
    # It is a statistic of the scene: a fit on each window would give each other weights.
    # Matheron, "Principles of geostatistics", Economic Geology 58, 1963 (the empirical variogram).
    count = sums[0]
    if count == 0:
        return Variogram(0.0, 1.0, REACH, shape, (0.0,) * bands, (np.nan,) * bands)
    mean = sums[1 : 1 + bands] / count
    variance = np.maximum(sums[1 + bands : 1 + 2 * bands] / count - mean**2, 0)
    variance[variance < 1e-12 * mean**2] = 0
    n = len(LAGS)
    pairs, distances = sums[1 + 2 * bands :][: 2 * n].reshape(2, n)
    squares = sums[1 + 2 * bands + 2 * n :].reshape(n, bands)
    plain = Variogram(
        0.0, 1.0, REACH, shape, *(tuple(significant(v, DIGITS).tolist()) for v in (variance, mean))
    )
    use, there = variance > 0, pairs > 0
    if not use.any() or there.sum() < 3:
        return plain
    half = (squares[there][:, use] / (2 * variance[use])).mean(axis=1) / pairs[there]
    if half.max() <= 0:
        return plain
    model = fit_lags(Lags(distances[there] / pairs[there], half, pairs[there]), shape)
    nugget, sill, reach = significant((model.nugget, model.sill, model.reach), DIGITS).tolist()
    return replace(plain, nugget=nugget, sill=sill, reach=reach)


def fit_lags(found: Lags, shape: Shape) -> Variogram:
    """Weighted least squares of a variogram model."""
    # Weights are pairs / semivariance^2. For a given range nugget and sill follow in closed form,
    # both >= 0; the range is searched between 1 px and three times the largest distance.
    # Cressie, "Fitting variogram models by weighted least squares", Mathematical Geology 17(5),
    # 1985.
    weight = found.pairs / np.maximum(found.semivariance, found.semivariance.max() * 1e-3) ** 2

    def solved(log_reach: float) -> tuple[float, Variogram]:
        trial = Variogram(0.0, 1.0, float(np.exp(log_reach)), shape)
        rise = _rise(found.distance, trial)
        best = (np.inf, trial)
        for columns in ((0, 1), (0,), (1,)):  # both, only nugget, only sill
            design = np.stack([np.ones_like(rise), rise], axis=1)[:, columns]
            scaled = design * np.sqrt(weight)[:, None]
            answer = np.linalg.lstsq(scaled, found.semivariance * np.sqrt(weight), rcond=None)[0]
            if (answer < 0).any():
                continue
            both = dict(zip(columns, answer.tolist(), strict=True))
            error = float((weight * (found.semivariance - design @ answer) ** 2).sum())
            if error < best[0] * (1 - 1e-12):
                nugget, sill = both.get(0, 0.0), both.get(1, 0.0)
                best = (error, Variogram(nugget, sill, trial.reach, shape))
        return best

    grid = np.linspace(0, np.log(3 * found.distance.max()), 61)
    errors = [solved(float(g))[0] for g in grid]
    at = int(np.argmin(errors))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    finer = scipy.optimize.minimize_scalar(
        lambda g: solved(g)[0], bounds=(low, high), method="bounded", options={"xatol": 1e-9}
    )
    return solved(float(finer.x if finer.fun < errors[at] else grid[at]))[1]


def _rise(distance: Doubles, model: Variogram) -> Doubles:
    """Share of the sill that is reached at a distance."""
    scaled = distance / model.reach
    if model.shape == "exponential":
        return np.asarray(1 - np.exp(-3 * scaled))
    scaled = np.minimum(scaled, 1)
    return np.asarray(1.5 * scaled - 0.5 * scaled**3)

"""Variogram of a scene: how reflectance differences grow with distance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from xcloudfree.methods.regression import significant, stepped

Shape = Literal["exponential", "spherical"]
Doubles = NDArray[np.float64]

LAGS: Final = (1, 2, 3, 4, 6, 8, 11, 14, 18, 23, 29, 36, 44, 53, 64)
"""Distances in px to use, along four directions."""

REACH: Final = LAGS[-1]
"""Pixels beyond a block that its sums read."""

STRIP: Final = 32
"""Rows whose differences are computed at a time: they stay in the processor's cache."""

DIGITS: Final = 4
"""Significant digits of a model: sums over blocks differ in their last digits, models must not."""


FLAT: Final = 1e-10
"""Share of the largest mean square of a band below which the variance of another is rounding."""


@dataclass(frozen=True)
class Variogram:
    """Model of half the mean squared difference of two pixels, as a function of their distance."""

    # One shape applies to all bands (proportional covariances), scaled by the variance of each. All
    # bands then share the kriging weights, and other bands add nothing to the estimate of one.
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


class LagSums(NamedTuple):
    """Sums over the clear pixels of images, which determine their variograms."""

    pixels: Doubles  # clear ones (image,)
    total: Doubles  # of the values (image, band)
    squares: Doubles  # of the values squared (image, band)
    pairs: Doubles  # of clear pixels, by distance (image, lag)
    distances: Doubles  # of these pairs (image, lag)
    differences: Doubles  # squared, of these pairs (image, lag, band)


def variogram_sums(
    image: NDArray[np.floating],
    clear: NDArray[np.bool_],
    core: tuple[slice, slice] = (slice(None), slice(None)),
) -> LagSums:
    """Sums over a block that determine the variogram of the scene: they add up over blocks."""
    # Every pair of clear pixels counts, not a random sample: on a raster this takes seconds, and
    # needs no seed that all blocks agree on.
    clear = clear & np.isfinite(image).all(axis=0)
    filled = stepped(np.where(clear, image, 0), 18)
    (y0, y1, _), (x0, x1, _) = (s.indices(n) for s, n in zip(core, clear.shape, strict=True))
    inside = filled[:, y0:y1, x0:x1]
    pairs, distances = np.zeros((2, len(LAGS)))
    squares = np.zeros((len(LAGS), len(image)))
    for lag, (dy, dx) in product(range(len(LAGS)), ((0, 1), (1, 0), (1, 1), (1, -1))):
        step = LAGS[lag] if dy * dx == 0 else max(round(LAGS[lag] / 2**0.5), 1)
        dy, dx = dy * step, dx * step
        top, bottom = y0, min(y1, clear.shape[0] - dy)
        left, right = max(x0, -dx), min(x1, clear.shape[1] - dx)
        if top >= bottom or left >= right:
            continue
        for y in range(top, bottom, STRIP):
            end = min(y + STRIP, bottom)
            here = slice(y, end), slice(left, right)
            there = slice(y + dy, end + dy), slice(left + dx, right + dx)
            both = clear[here] & clear[there]
            pairs[lag] += both.sum()
            distances[lag] += both.sum() * (dy**2 + dx**2) ** 0.5
            for band, plane in enumerate(filled):
                difference = plane[here] - plane[there]
                difference *= both
                squares[lag, band] += np.einsum("yx,yx", difference, difference)
    total, power = inside.sum(axis=(1, 2)), (inside**2).sum(axis=(1, 2))
    count = np.asarray(clear[y0:y1, x0:x1].sum(), np.float64)
    return LagSums(count, total, power, pairs, distances, squares)


class Lags(NamedTuple):
    """Empirical variogram of a scene, by distance class."""

    distance: Doubles  # mean distance in px
    semivariance: Doubles  # in shares of a band's variance, mean over bands
    pairs: Doubles  # number of pairs


def fit_variogram(sums: LagSums, shape: Shape = "exponential") -> Variogram:
    """Variogram model of an image."""
    # It is a statistic of the scene: a fit for each window would give each other weights.
    # Matheron, "Principles of geostatistics", Economic Geology 58, 1963 (the empirical variogram).
    bands = len(sums.total)
    if sums.pixels == 0:
        return Variogram(0.0, 1.0, REACH, shape, (0.0,) * bands, (np.nan,) * bands)
    mean = sums.total / sums.pixels
    variance = np.maximum(sums.squares / sums.pixels - mean**2, 0)
    # A constant band is excluded separately. Variation that rounding could explain is constant:
    # rounding of the values, or of the largest of them if bands are residuals.
    variance[variance < np.maximum(1e-12 * mean**2, FLAT * (variance + mean**2).max())] = 0
    plain = Variogram(
        0.0, 1.0, REACH, shape, *(tuple(significant(v, DIGITS).tolist()) for v in (variance, mean))
    )
    use, there = variance > 0, sums.pairs > 0
    if not use.any() or there.sum() < 3:
        return plain
    pairs, distances = sums.pairs[there], sums.distances[there]
    half = (sums.differences[there][:, use] / (2 * variance[use])).mean(axis=1) / pairs
    if half.max() <= 0:
        return plain
    model = fit_lags(Lags(distances / pairs, half, pairs), shape)
    nugget, sill, reach = significant((model.nugget, model.sill, model.reach), DIGITS).tolist()
    return replace(plain, nugget=nugget, sill=sill, reach=reach)


def fit_lags(found: Lags, shape: Shape) -> Variogram:
    """Weighted least squares of a variogram model."""
    # Weights are pairs / semivariance^2. For a given range, nugget and sill follow in closed form,
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
    """Fraction of the sill that is reached at a distance."""
    scaled = distance / model.reach
    if model.shape == "exponential":
        return np.asarray(1 - np.exp(-3 * scaled))
    scaled = np.minimum(scaled, 1)
    return np.asarray(1.5 * scaled - 0.5 * scaled**3)

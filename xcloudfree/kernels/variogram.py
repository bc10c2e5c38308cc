"""Variogram of a scene: how fast reflectance changes with distance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Shape = Literal["exponential", "spherical"]
Doubles = NDArray[np.float64]

LAGS: Final = (1, 2, 3, 4, 6, 8, 11, 14, 18, 23, 29, 36, 44, 53, 64)
"""Distances in px that are looked at, along four directions."""

REACH: Final = LAGS[-1]
"""Pixels beyond a block that its sums read."""

STRIP: Final = 32
"""Rows whose differences are taken at a time: they stay in the processor's cache."""

DIGITS: Final = 4
"""Significant digits of a model: sums over blocks differ in their last digits, a model must not."""


@dataclass(frozen=True)
class Variogram:
    """Model of half the mean squared difference of two pixels, as a function of their distance.

    One shape serves all bands (proportional covariances), scaled by the variance of each: then all
    bands share the kriging weights, and other bands add nothing to the estimate of one.

    Parameters
    ----------
    nugget : float
        Jump at distance 0, in shares of a band's variance.
    sill : float
        Rise beyond the nugget, in shares of a band's variance.
    reach : float
        Practical range in px: 95 % of the rise (exponential), or all of it (spherical).
    shape : {"exponential", "spherical"}
        Form of the rise.
    variance, mean : tuple of float
        Variance and mean of each band in the scene.

    References
    ----------
    Wackernagel, "Multivariate Geostatistics", Springer 2003, chapters 7 and 25 (intrinsic
    correlation, autokrigeability).
    """

    nugget: float
    sill: float
    reach: float
    shape: Shape = "exponential"
    variance: tuple[float, ...] = (1.0,)
    mean: tuple[float, ...] = (0.0,)

    def __call__(self, distance: NDArray[np.floating]) -> Doubles:
        """Semivariance in shares of a band's variance.

        Parameters
        ----------
        distance : numpy.ndarray
            In px, >= 0.

        Returns
        -------
        numpy.ndarray
            0 at distance 0.

        Examples
        --------
        >>> Variogram(0.1, 0.9, 10, "spherical")(np.array([0.0, 5.0, 10.0, 99.0])).tolist()
        [0.0, 0.71875, 1.0, 1.0]
        """
        far = self.nugget + self.sill * _rise(np.asarray(distance, np.float64), self)
        return np.where(np.asarray(distance) > 0, far, 0.0)


class Lags(NamedTuple):
    """What a scene says, by class of distance.

    Parameters
    ----------
    distance : numpy.ndarray
        Mean distance in px.
    semivariance : numpy.ndarray
        In shares of a band's variance, mean over bands.
    pairs : numpy.ndarray
        Number of pairs.
    """

    distance: Doubles
    semivariance: Doubles
    pairs: Doubles


def variogram_sums(
    image: NDArray[np.floating],
    clear: NDArray[np.bool_],
    core: tuple[slice, slice] = (slice(None), slice(None)),
) -> Doubles:
    """Sums over a block from which the variogram of the scene follows: they add up over blocks.

    Every pair of clear pixels counts, not a random few: with a raster that costs seconds, and
    needs no seed that all blocks agree on.

    Parameters
    ----------
    image : numpy.ndarray
        Reflectance (band, y, x) of the block and :data:`REACH` pixels around it.
    clear : numpy.ndarray
        Boolean (y, x), True = shows the ground.
    core : tuple of slice
        Rows and columns of the block.

    Returns
    -------
    numpy.ndarray
        Clear pixels, sums and sums of squares by band; pairs by distance, their summed distance,
        and summed squared differences (distance, band), in one row: see :func:`numbers`.
    """
    clear = clear & np.isfinite(image).all(axis=0)
    filled = np.where(clear, image, 0).astype(np.float64)
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
    return np.concatenate(
        [
            [clear[y0:y1, x0:x1].sum()],
            inside.sum(axis=(1, 2)),
            (inside**2).sum(axis=(1, 2)),
            pairs,
            distances,
            squares.ravel(),
        ]
    )


def numbers(bands: int) -> int:
    """Length of what :func:`variogram_sums` returns.

    Parameters
    ----------
    bands : int
        Bands of the image.

    Returns
    -------
    int

    Examples
    --------
    >>> numbers(1) == variogram_sums(np.zeros((1, 4, 4)), np.ones((4, 4), bool)).size
    True
    """
    return 1 + 2 * bands + len(LAGS) * (2 + bands)


def fit_variogram(sums: Doubles, bands: int, shape: Shape = "exponential") -> Variogram:
    """Variogram model of a scene.

    It is a statistic of the scene: a fit on each window would give each other weights.

    Parameters
    ----------
    sums : numpy.ndarray
        What :func:`variogram_sums` returned, summed over the scene.
    bands : int
        Bands of the image.
    shape : {"exponential", "spherical"}
        Form of the model.

    Returns
    -------
    Variogram
        Without nugget and with 64 px as range where the scene tells nothing (constant reflectance,
        too few clear pixels); mean NaN without any.

    References
    ----------
    Matheron, "Principles of geostatistics", Economic Geology 58, 1963 (the empirical variogram).
    """
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
        0.0, 1.0, REACH, shape, *(tuple(map(_rounded, v.tolist())) for v in (variance, mean))
    )
    use, there = variance > 0, pairs > 0
    if not use.any() or there.sum() < 3:
        return plain
    half = (squares[there][:, use] / (2 * variance[use])).mean(axis=1) / pairs[there]
    if half.max() <= 0:
        return plain
    model = fit_lags(Lags(distances[there] / pairs[there], half, pairs[there]), shape)
    return replace(
        plain,
        nugget=_rounded(model.nugget),
        sill=_rounded(model.sill),
        reach=_rounded(model.reach),
    )


def fit_lags(found: Lags, shape: Shape) -> Variogram:
    """Weighted least squares of a variogram model.

    Weights are pairs / semivariance^2. For a given range nugget and sill follow in closed form,
    both >= 0; the range is searched between 1 px and three times the largest distance.

    Parameters
    ----------
    found : Lags
        Of the scene.
    shape : {"exponential", "spherical"}
        Form of the model.

    Returns
    -------
    Variogram

    References
    ----------
    Cressie, "Fitting variogram models by weighted least squares", Mathematical Geology 17(5), 1985.

    Examples
    --------
    >>> true = Variogram(0.05, 0.8, 30.0)
    >>> h = np.arange(2.0, 64, 4)
    >>> model = fit_lags(Lags(h, true(h), np.full(16, 100.0)), "exponential")
    >>> round(model.nugget, 4), round(model.sill, 4), round(model.reach, 2)
    (0.05, 0.8, 30.0)
    """
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
    finer = minimize_scalar(
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


def _rounded(value: float) -> float:
    """A few significant digits."""
    return float(f"{value:.{DIGITS}g}")

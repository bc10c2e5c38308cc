"""Linear regression on backscatter: predictors, sums that add up over images, coefficients."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

DB_LOW: Final = (-25.0, -32.5)
"""Lowest backscatter in dB that is kept, for VV and VH; everything above 0 dB counts as 0."""

WINDOWS: Final = (1, 3, 9)
"""Widths in pixels of the local means of backscatter in a series."""

Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]


class Moments(NamedTuple):
    """Sums over pixels that determine a linear regression: they add up over images."""

    # With z = [1, predictors]: `zz` = sum of z z', `zy` = sum of z y', `yy` = sum of y^2.

    zz: Doubles
    zy: Doubles
    yy: Doubles | float

    def plus(self, other: Moments, sign: int = 1) -> Moments:
        """Moments of both sets of pixels together, or (sign -1) of the first without the second."""
        return Moments(
            self.zz + sign * other.zz, self.zy + sign * other.zy, self.yy + sign * other.yy
        )


def significant(values: ArrayLike, digits: int) -> NDArray[np.float64]:
    """Values rounded to some significant digits."""
    # Sums over blocks differ in their last digits with the blocks, but results must not.
    exact = np.asarray(values, np.float64)
    return np.reshape([float(f"{v:.{digits}g}") for v in exact.ravel()], exact.shape)


def stepped(values: Floats, bits: ArrayLike) -> Doubles:
    """Round values to whole steps of 2^-bits, so that sums of products of them are exact.

    >>> stepped(np.array([0.3, 0.26]), 2).tolist()
    [0.25, 0.25]
    """
    # Exact sums are the same for any blocks. The last digit of other sums depends on their order,
    # which BLAS chooses by the shape of its input.
    steps = np.exp2(np.asarray(bits, np.float64))
    return np.asarray(np.rint(values * steps) / steps)


def local_mean(image: Floats, size: int) -> Doubles:
    """Mean of the valid pixels in a square window, truncated at the border."""
    valid = ~np.isnan(image)
    window = np.ones(size)

    def total(values: Doubles) -> Doubles:
        rows = scipy.ndimage.correlate1d(values, window, axis=0, mode="constant")
        return np.asarray(scipy.ndimage.correlate1d(rows, window, axis=1, mode="constant"))

    count = np.rint(total(valid.astype(np.float64)))
    sums = total(np.where(valid, image, 0).astype(np.float64))
    mean = np.full(image.shape, np.nan)
    np.divide(sums, count, out=mean, where=count > 0)
    return mean


def local_means(backscatter: NDArray[np.float32]) -> NDArray[np.float32]:
    """Backscatter and its means around each pixel."""
    times, count, *size = backscatter.shape
    out = np.empty((times, len(WINDOWS), count, *size), np.float32)
    for place in np.ndindex(times, count):
        for k, width in enumerate(WINDOWS):
            image = backscatter[place]
            mean = image if width == 1 else local_mean(image, width)
            out[place[0], k, place[1]] = np.where(np.isnan(image), np.nan, mean)
    return out.reshape(times, -1, *size)


def clip_backscatter(sar: Floats) -> tuple[Doubles, Doubles]:
    """VV and VH in dB, clipped to :data:`DB_LOW` and 0."""
    vv, vh = (np.clip(s.astype(np.float64), low, 0) for s, low in zip(sar, DB_LOW, strict=True))
    return vv, vh


def sar_features(sar: Floats) -> Doubles:
    """Predictors of the linear map: VV, VH and VV - VH, each as value and as 3x3 and 9x9 mean."""
    vv, vh = clip_backscatter(sar)
    base = [vv, vh, vv - vh]
    planes = base + [local_mean(plane, size) for size in (3, 9) for plane in base]
    features = np.stack(planes, axis=-1)
    features[np.isnan(base[2])] = np.nan
    return features


def moments(features: Doubles, target: Floats) -> Moments:
    """Sums of one image for :func:`solve_ridge`; pixels with NaN on either side do not count."""
    y = np.moveaxis(np.asarray(target, np.float64), 0, -1)
    use = ~(np.isnan(features).any(axis=-1) | np.isnan(y).any(axis=-1))
    y = y[use]
    z = np.concatenate([np.ones((len(y), 1)), features[use]], axis=1)
    return Moments(z.T @ z, z.T @ y, float((y * y).sum()))


def solve_ridge(sums: Moments, penalty: float) -> Doubles:
    """Coefficients of the ridge regression, closed form, the intercept not penalised."""
    # Predictors are standardised internally, so that one penalty fits them all: the coefficients of
    # standardised predictors minimise mean squared error + penalty * sum of squared coefficients.
    # Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems",
    # Technometrics 12(1), 1970, equation 2.1.
    count = sums.zz[0, 0]
    mean_x = sums.zz[0, 1:] / count
    mean_y = sums.zy[0] / count
    covariance = sums.zz[1:, 1:] / count - np.outer(mean_x, mean_x)
    cross = sums.zy[1:] / count - np.outer(mean_x, mean_y)
    scale = np.sqrt(np.maximum(np.diag(covariance), 0))
    scale[scale < 1e-9] = np.inf  # a constant predictor is excluded
    standard = covariance / np.outer(scale, scale) + penalty * np.eye(len(scale))
    slope = np.linalg.pinv(standard, rcond=1e-10, hermitian=True) @ (cross / scale[:, None])
    slope /= scale[:, None]
    return np.concatenate([(mean_y - mean_x @ slope)[None], slope])


def squared_error(sums: Moments, coefficients: Doubles) -> float:
    """Sum of squared errors of a linear map on the pixels behind ``sums``."""
    explained = 2 * (coefficients * sums.zy).sum()
    return float(sums.yy - explained + (coefficients * (sums.zz @ coefficients)).sum())

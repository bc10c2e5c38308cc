"""Arithmetic of the trivial estimates: mean spectrum, neighbours, linear map from backscatter."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

FEATURES: Final[tuple[str, ...]] = tuple(
    f"{name}{suffix}" for suffix in ("", " 3x3", " 9x9") for name in ("VV", "VH", "VV-VH")
)
"""Names of the predictors of the linear map, in the order of :func:`sar_features`."""

DB_LOW: Final = (-25.0, -32.5)
"""Lowest backscatter in dB that is told apart, for VV and VH; everything above 0 dB counts as 0."""

Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]
Booleans = NDArray[np.bool_]


class Moments(NamedTuple):
    """Sums over pixels from which a linear regression follows: they add up over images.

    With z = [1, predictors]: ``zz`` = sum of z z', ``zy`` = sum of z y', ``yy`` = sum of y^2.
    """

    zz: Doubles
    zy: Doubles
    yy: float

    def plus(self, other: Moments, sign: int = 1) -> Moments:
        """Moments of both sets of pixels together, or (sign -1) of the first without the second."""
        return Moments(
            self.zz + sign * other.zz, self.zy + sign * other.zy, self.yy + sign * other.yy
        )


def local_mean(image: Floats, size: int) -> Doubles:
    """Mean of the valid pixels in a square window, cut off at the border.

    Parameters
    ----------
    image : numpy.ndarray
        Image (y, x); NaN = no data.
    size : int
        Width of the window in pixels, odd.

    Returns
    -------
    numpy.ndarray
        Means (y, x), float64; NaN where the window holds no valid pixel.

    Examples
    --------
    >>> local_mean(np.array([[1.0, 2.0, np.nan, np.nan, np.nan]]), 3)[0].tolist()
    [1.5, 1.5, 2.0, nan, nan]
    """
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


def told_apart(sar: Floats) -> tuple[Doubles, Doubles]:
    """VV and VH clipped to the backscatter that is told apart, see :data:`DB_LOW`.

    Parameters
    ----------
    sar : numpy.ndarray
        Backscatter (2, y, x) in dB, VV then VH; NaN stays.

    Returns
    -------
    tuple of numpy.ndarray
        (y, x) each, float64.

    Examples
    --------
    >>> [plane.tolist() for plane in told_apart(np.array([[[2.0]], [[-40.0]]]))]
    [[[0.0]], [[-32.5]]]
    """
    vv, vh = (np.clip(s.astype(np.float64), low, 0) for s, low in zip(sar, DB_LOW, strict=True))
    return vv, vh


def sar_features(sar: Floats) -> Doubles:
    """Predictors of the linear map: VV, VH and VV - VH, each as it is and as 3x3 and 9x9 mean.

    Parameters
    ----------
    sar : numpy.ndarray
        Backscatter (2, y, x) in dB, VV then VH; NaN = no data.

    Returns
    -------
    numpy.ndarray
        Predictors (y, x, 9) in the order of :data:`FEATURES`; NaN where VV or VH is NaN.

    Examples
    --------
    >>> sar = np.stack([np.full((4, 4), -10.0), np.full((4, 4), -16.0)])
    >>> sar_features(sar)[0, 0].tolist()
    [-10.0, -16.0, 6.0, -10.0, -16.0, 6.0, -10.0, -16.0, 6.0]
    """
    vv, vh = told_apart(sar)
    base = [vv, vh, vv - vh]
    planes = base + [local_mean(plane, size) for size in (3, 9) for plane in base]
    features = np.stack(planes, axis=-1)
    features[np.isnan(base[2])] = np.nan
    return features


def inverse_distance(
    image: Floats, mask: Booleans, *, neighbours: int = 12, power: float = 2.0
) -> Floats:
    """Fill occluded pixels with the inverse-distance mean of the nearest clear pixels.

    Clear = not occluded and without NaN in any band. With fewer clear pixels than ``neighbours``
    those there are serve; without any, the occluded pixels become NaN.

    Parameters
    ----------
    image : numpy.ndarray
        Reflectance (band, y, x).
    mask : numpy.ndarray
        Boolean (y, x), True = occluded.
    neighbours : int
        Number of clear pixels that share in one value.
    power : float
        Weight = distance ** -power.

    Returns
    -------
    numpy.ndarray
        Reflectance (band, y, x); pixels outside the mask as they came in.

    References
    ----------
    Shepard, "A two-dimensional interpolation function for irregularly-spaced data", Proc. 23rd ACM
    National Conference, 1968.

    Examples
    --------
    >>> row = np.array([[[0.0, 9.0, 9.0, 0.3]]])
    >>> inverse_distance(row, row[0] > 1)[0, 0].round(3).tolist()
    [0.0, 0.06, 0.24, 0.3]
    """
    out = image.copy()
    clear = ~mask & ~np.isnan(image).any(axis=0)
    if not mask.any():
        return out
    if not clear.any():
        out[:, mask] = np.nan
        return out
    values = image[:, clear].astype(np.float64)
    k = min(neighbours, values.shape[1])
    distance, index = scipy.spatial.cKDTree(np.argwhere(clear)).query(np.argwhere(mask), k=k)
    distance, index = distance.reshape(-1, k), index.reshape(-1, k)
    weight = distance**-power
    weight /= weight.sum(axis=1, keepdims=True)
    for band, known in zip(out, values, strict=True):
        band[mask] = (weight * known[index]).sum(axis=1)
    return out


def moments(features: Doubles, target: Floats) -> Moments:
    """Sums of one image for :func:`solve_ridge`; pixels with NaN on either side do not count.

    Parameters
    ----------
    features : numpy.ndarray
        Predictors (y, x, feature).
    target : numpy.ndarray
        Reflectance (band, y, x).

    Returns
    -------
    Moments

    Examples
    --------
    >>> moments(np.ones((1, 2, 1)), np.ones((1, 1, 2))).zz.tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """
    y = np.moveaxis(np.asarray(target, np.float64), 0, -1)
    use = ~(np.isnan(features).any(axis=-1) | np.isnan(y).any(axis=-1))
    y = y[use]
    z = np.concatenate([np.ones((len(y), 1)), features[use]], axis=1)
    return Moments(z.T @ z, z.T @ y, float((y * y).sum()))


def solve_ridge(sums: Moments, penalty: float) -> Doubles:
    """Coefficients of the ridge regression, closed form, the intercept not penalised.

    Predictors are standardised inside, so that one penalty fits them all: the coefficients of
    standardised predictors minimise mean squared error + penalty * sum of squared coefficients.

    Parameters
    ----------
    sums : Moments
        Sums over the training pixels.
    penalty : float
        Ridge penalty, >= 0. Without bound the answer tends to the mean spectrum.

    Returns
    -------
    numpy.ndarray
        Coefficients (1 + feature, band), the intercept first, for predictors as they are.

    References
    ----------
    Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems",
    Technometrics 12(1), 1970, equation 2.1.

    Examples
    --------
    >>> line = np.arange(5.0).reshape(1, 5, 1)
    >>> solve_ridge(moments(line, 2 * line[None, ..., 0] + 1), 0.0).round(6).tolist()
    [[1.0], [2.0]]
    """
    count = sums.zz[0, 0]
    mean_x = sums.zz[0, 1:] / count
    mean_y = sums.zy[0] / count
    covariance = sums.zz[1:, 1:] / count - np.outer(mean_x, mean_x)
    cross = sums.zy[1:] / count - np.outer(mean_x, mean_y)
    scale = np.sqrt(np.maximum(np.diag(covariance), 0))
    scale[scale < 1e-9] = np.inf  # a constant predictor takes no part
    standard = covariance / np.outer(scale, scale) + penalty * np.eye(len(scale))
    slope = np.linalg.pinv(standard, rcond=1e-10, hermitian=True) @ (cross / scale[:, None])
    slope /= scale[:, None]
    return np.concatenate([(mean_y - mean_x @ slope)[None], slope])


def squared_error(sums: Moments, coefficients: Doubles) -> float:
    """Sum of squared errors of a linear map on the pixels behind ``sums``.

    Parameters
    ----------
    sums : Moments
        Sums over the pixels to judge on.
    coefficients : numpy.ndarray
        From :func:`solve_ridge`.

    Returns
    -------
    float

    Examples
    --------
    >>> line = np.arange(3.0).reshape(1, 3, 1)
    >>> squared_error(moments(line, line[None, ..., 0]), np.array([[1.0], [1.0]]))
    3.0
    """
    explained = 2 * (coefficients * sums.zy).sum()
    return float(sums.yy - explained + (coefficients * (sums.zz @ coefficients)).sum())

"""Component substitution: a component of the optical image gives way to backscatter (IHS, PCA)."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xcloudfree.methods.digits import significant
from xcloudfree.methods.trivial import told_apart

REACH: Final = 0
"""Pixels beyond a pixel that it reads."""

DIGITS: Final = 7
"""Significant digits of a fit: sums over blocks differ in their last digits, a fit must not."""

Doubles = NDArray[np.float64]
Component = Literal["ihs", "pca"]
Match = Literal["spread", "regression"]


class Substitution(NamedTuple):
    """A component of the optical image, and what backscatter says of it.

    Parameters
    ----------
    weights : numpy.ndarray
        The component is the sum of weights times bands (band,).
    injection : numpy.ndarray
        What one unit of it changes in each band (band,).
    offset, gain : float
        What takes its place is offset + gain * (VV + VH) / 2, in dB.
    """

    weights: Doubles
    injection: Doubles
    offset: float
    gain: float


def backscatter_intensity(backscatter: NDArray[np.floating]) -> Doubles:
    """Mean of VV and VH in dB, clipped to what is told apart.

    Parameters
    ----------
    backscatter : numpy.ndarray
        dB (2, y, x), VV then VH.

    Returns
    -------
    numpy.ndarray
        (y, x); NaN where either is NaN.

    Examples
    --------
    >>> backscatter_intensity(np.array([[[-10.0]], [[-40.0]]])).tolist()
    [[-21.25]]
    """
    vv, vh = told_apart(backscatter)
    return np.asarray((vv + vh) / 2)


def joint_sums(planes: NDArray[np.floating], use: NDArray[np.bool_]) -> Doubles:
    """Sums of [1, planes] [1, planes]' over pixels, from which means and covariances follow.

    Parameters
    ----------
    planes : numpy.ndarray
        Values (plane, y, x).
    use : numpy.ndarray
        Boolean (y, x): pixels that count, less those with NaN in any plane.

    Returns
    -------
    numpy.ndarray
        (1 + plane, 1 + plane); sums of several blocks add up.

    Examples
    --------
    >>> joint_sums(np.array([[[1.0, 3.0, np.nan]]]), np.ones((1, 3), bool)).tolist()
    [[2.0, 4.0], [4.0, 10.0]]
    """
    use = use & np.isfinite(planes).all(axis=0)
    z = np.concatenate([np.ones((1, int(use.sum()))), planes[:, use].astype(np.float64)])
    return np.asarray(z @ z.T)


def fit_substitution(sums: Doubles, component: Component, match: Match = "spread") -> Substitution:
    """Component of a scene and its match with backscatter.

    Parameters
    ----------
    sums : numpy.ndarray
        :func:`joint_sums` of the bands and, last, :func:`backscatter_intensity`, over the clear
        pixels of the scene.
    component : {"ihs", "pca"}
        Intensity, the mean of the bands, or the first principal component.
    match : {"spread", "regression"}
        Backscatter gets the mean and the spread of the component, as published, with the sign of
        their correlation; or it predicts the component by least squares, and so tells only as much
        as the two have in common.

    Returns
    -------
    Substitution
        Gain 0 where either does not vary.

    References
    ----------
    Tu, Su, Shyu and Huang, "A new look at IHS-like image fusion methods", Information Fusion 2(3),
    2001; Chavez, Sides and Anderson, "Comparison of three different methods to merge
    multiresolution and multispectral data", PE&RS 57(3), 1991; Kulkarni and Rege, "Pixel level
    fusion techniques for SAR and optical images: a review", Information Fusion 59, 2020.

    Examples
    --------
    >>> dB = np.linspace(-20.0, -10, 50)
    >>> planes = np.stack([dB / 100 + 0.3, dB / 100 + 0.4, dB])[:, None]
    >>> fit = fit_substitution(joint_sums(planes, np.ones((1, 50), bool)), "ihs")
    >>> round(fit.gain, 6), round(fit.offset, 6)
    (0.01, 0.35)
    """
    mean, covariance = _statistics(sums)
    bands = len(mean) - 1
    weights, injection = np.full(bands, 1 / bands), np.ones(bands)
    if component == "pca":
        weights = np.linalg.eigh(covariance[:-1, :-1])[1][:, -1]
        weights = significant(weights * (1 if weights.sum() >= 0 else -1), DIGITS)
        injection = weights
    both = np.concatenate([weights, [0.0]])
    variance = float(both @ covariance @ both)
    gain = matched_gain(variance, float(covariance[-1, -1]), float(both @ covariance[-1]), match)
    offset = float(significant(weights @ mean[:-1] - gain * mean[-1], DIGITS))
    return Substitution(weights, injection, offset, gain)


def matched_gain(variance: float, source: float, covariance: float, match: Match) -> float:
    """Factor that brings a source to a target.

    Parameters
    ----------
    variance, source : float
        Variance of the target and of the source.
    covariance : float
        Of both.
    match : {"spread", "regression"}
        See :func:`fit_substitution`.

    Returns
    -------
    float
        0 where either does not vary.

    Examples
    --------
    >>> matched_gain(4.0, 1.0, -1.0, "spread"), matched_gain(4.0, 1.0, -1.0, "regression")
    (-2.0, -1.0)
    """
    if variance < 1e-14 or source < 1e-14:
        return 0.0
    gain = np.sign(covariance) * np.sqrt(variance / source)
    return float(significant(covariance / source if match == "regression" else gain, DIGITS))


def substitute(
    base: NDArray[np.floating], backscatter: NDArray[np.floating], substitution: Substitution
) -> NDArray[np.float32]:
    """Put matched backscatter in the place of a component of a filled image.

    Parameters
    ----------
    base : numpy.ndarray
        Reflectance (band, y, x) without gaps, filled by other means.
    backscatter : numpy.ndarray
        dB (2, y, x), VV then VH.
    substitution : Substitution
        Of the scene, from :func:`fit_substitution`.

    Returns
    -------
    numpy.ndarray
        Reflectance (band, y, x), float32; NaN where either is NaN.

    References
    ----------
    See :func:`fit_substitution`.

    Examples
    --------
    >>> half = Substitution(np.array([0.5, 0.5]), np.ones(2), 0.0, -0.01)
    >>> base, dB = np.array([[[0.1]], [[0.3]]]), np.full((2, 1, 1), -25.0)
    >>> substitute(base, dB, half).astype(float).round(3).ravel().tolist()
    [0.15, 0.35]
    """
    difference = substitution.offset + substitution.gain * backscatter_intensity(backscatter)
    for band, weight in zip(base, substitution.weights, strict=True):
        difference = difference - weight * band.astype(np.float64)
    out = np.empty(base.shape, np.float32)
    for band, result, injection in zip(base, out, substitution.injection, strict=True):
        result[...] = band + injection * difference
    return out


def _statistics(sums: Doubles) -> tuple[Doubles, Doubles]:
    """Means and covariances; zeros where no pixel counted."""
    count = max(sums[0, 0], 1)
    mean = sums[0, 1:] / count
    return mean, sums[1:, 1:] / count - np.outer(mean, mean)
